"""A data set as a table in a notebook that has no widgets. Everything that a file or a person wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from acestep_lab.takes.library import Problem
from acestep_lab.train.labels import FIELDS, Label
from acestep_lab.train.song import Song

MOST_ROWS = 50
MOST_LETTERS = 80
_MARKS = {"written": "", "heard": " ♪", "guessed": " ?"}
_STYLE = "text-align:start;vertical-align:top;white-space:pre-wrap;max-inline-size:22em;overflow-wrap:anywhere"


def table(songs: Sequence[Song], problems: Sequence[Problem], title: str) -> str:
    """The first songs, field by field with who said them and what is locked, their remarks, and files left out."""
    heads = "".join(f"<th scope='col'>{name}</th>" for name in ("song", "s", *FIELDS, "remarks"))
    rows = "".join(_row(song) for song in songs[:MOST_ROWS])
    more = len(songs) - MOST_ROWS
    rest = f"<p>… and {more:,} more songs.</p>" if more > 0 else ""
    key = "<p><small>♪ heard, ? guessed, 🔒 locked; everything else is written.</small></p>"
    return f"<table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{rest}{key}{_left(problems)}"


def _row(song: Song) -> str:
    cells = "".join(_cell(song.labels[name]) for name in FIELDS)
    remarks = "<br>".join(escape(_short(str(remark), 300)) for remark in song.remarks)
    name = f"<th scope='row' style='{_STYLE}'>{escape(_short(song.name))}</th>"
    return f"<tr>{name}<td>{song.seconds:.1f}</td>{cells}<td style='{_STYLE}'>{remarks}</td></tr>"


def _cell(label: Label) -> str:
    value = {True: "yes", False: "no"}[label.value] if isinstance(label.value, bool) else label.value
    text = "" if value is None else escape(_short(str(value)))
    lock = " <span title='locked'>🔒</span>" if label.locked else ""
    mark = "" if value is None else _MARKS[label.source]
    told = f"{label.source}{'' if label.sure is None else f', {label.sure:.0%} sure'}"
    return f"<td style='{_STYLE}' title='{told}'>{text}{mark}{lock}</td>"


def _left(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(_short(str(problem), 300))}</li>" for problem in problems[:MOST_ROWS])
    more = f"<li>… and {len(problems) - MOST_ROWS:,} more</li>" if len(problems) > MOST_ROWS else ""
    return f"<details><summary>{len(problems)} files left out</summary><ul>{items}{more}</ul></details>"


def _short(text: str, most: int = MOST_LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
