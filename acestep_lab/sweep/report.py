"""`lab.report`: a sweep as one HTML file that needs nothing else, with its sounds, what was thought of them, and how to repeat it.

No script and no address of anywhere: the file plays in any browser without network, and its own policy forbids both. Whatever comes from
outside (captions, lyrics, names, problems) is text. Knows a sweep's run and takes; no session beyond it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, RecipeError, sentence
from acestep_lab.files import write_whole
from acestep_lab.prompt import checks
from acestep_lab.prompt.literal import literal
from acestep_lab.sweep import axes
from acestep_lab.sweep.begin import seen
from acestep_lab.sweep.intervals import Interval
from acestep_lab.sweep.layout import layout
from acestep_lab.sweep.run import CellState, SweepRun
from acestep_lab.sweep.votes import Effect, Preference, distinct
from acestep_lab.takes.embedding import excerpt, liveliest
from acestep_lab.takes.page import base64_of, escaped, wave_path
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import EAR_DECIBELS, WORDS
from acestep_lab.versions import version_of

BITRATE = 64
"""Kilobits a second of the sounds inside: twenty seconds are 160 kB, 215 kB as text."""
MOST_PLAYERS = 240
"""Takes that sound in a report; the table has all."""
LEAST_SECONDS, MOST_SECONDS = 0.5, 600.0
MOST_WORDS = 20_000
_WIDTH, _HEIGHT, _POINTS = 220, 40, 110
_POLICY = "default-src 'none'; media-src data:; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5a6373; --paper: #fbfaf7; --line: #d9d5ca; --mark: #0072b2; --other: #d55e00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e1; --soft: #a3acba; --paper: #14171d; --line: #323946; --mark: #56b4e9;
  --other: #e69f00 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-inline-size: 1100px; margin: 0 auto; padding: 40px 20px 80px }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 6px } h2 { font-size: 1.15rem; margin: 44px 0 10px } h3 { font-size: 1rem }
p { max-inline-size: 75ch; margin: 0 0 10px } .soft { color: var(--soft) }
.scroll { overflow-x: auto } .scroll + .scroll { margin-block-start: 14px } table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: start; padding: 6px 10px; border: 1px solid var(--line); vertical-align: top }
th, td, h1, p, li, dd { unicode-bidi: isolate } audio { inline-size: 230px; display: block } td svg { display: block }
path.wave, rect.span { fill: var(--mark) } circle { fill: var(--other) } line { stroke: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px } dt { color: var(--soft) } dd { margin: 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 12px 14px; border: 1px solid var(--line); border-radius: 8px;
  font-size: .85rem }
@media print { audio { display: none } }
"""


@dataclass(frozen=True)
class _Asked:
    """What a report is to say."""

    run: SweepRun
    question: str
    answer: str
    seconds: float
    measures: tuple[str, ...]


def report(
    session: Any, sweep: Any, path: Any = None, *, question: str = "", answer: str = "", seconds: float = 20.0,
    measures: Iterable[str] = (),
) -> Path:  # fmt: skip
    """Write the report of a sweep, its value or its name; RecipeError where nothing of it is made, LibraryError where the disk refuses."""
    return written(seen(session, sweep), path, question=question, answer=answer, seconds=seconds, measures=measures)


def written(
    run: SweepRun,
    path: Any = None,
    *,
    question: str = "",
    answer: str = "",
    seconds: float = 20.0,
    measures: Iterable[str] = (),
) -> Path:
    """The same of a run at hand."""
    if not run.made:
        raise RecipeError(f"No take of the sweep {run.sweep.full_name!r} is made yet; there is nothing to report.")
    asked = _Asked(
        run, checks.text("The question", question, MOST_WORDS).strip(), checks.text("The answer", answer, MOST_WORDS).strip(),
        checks.real("The seconds of each take", seconds, LEAST_SECONDS, MOST_SECONDS),
        tuple(checks.sequence("measures", measures, 100, ordered=True)),
    )  # fmt: skip
    place = f"{run.sweep.full_name}.html" if path is None else checks.place("A report", path, LibraryError)
    text = page(asked)
    return write_whole(
        Path(place).expanduser(), lambda draft: draft.write_text(text, encoding="utf-8"), "The report", LibraryError
    )


def page(asked: _Asked) -> str:
    """The report as HTML."""
    run = asked.run
    title = asked.question or run.sweep.full_name
    parts = [
        f"<h1>{escaped(title)}</h1>", _summary(run), _words("What was found", asked.answer), _grid(asked), _votes(run),
        *(_measure(run, name) for name in asked.measures), _verdicts(run), _table(run), _recipe(run), _repeat(run),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body><main>\n" + "\n".join(filter(None, parts))
        + "\n</main></body></html>\n"
    )  # fmt: skip


def _summary(run: SweepRun) -> str:
    over = ", ".join(
        f"{name} ({len(distinct(cell.values[name] for cell in run.sweep.cells))} values)" for name, _ in run.sweep.axes
    )
    failed = sum(one.state in ("failed", "refused") for one in run.cells)
    said = f"{len(run.made)} of {len(run.cells)} takes over {over}."
    return _paragraph(said + (f" {failed} could not be made; the table says why." if failed else ""))


def _words(title: str, text: str) -> str:
    """Somebody's own words, by paragraphs; nothing where there are none."""
    return _part(title, "".join(f"<p>{escaped(one)}</p>" for one in text.split("\n\n"))) if text else ""


# -- the sounds --------------------------------------------------------------------------------------------------------


def _grid(asked: _Asked) -> str:
    """The cells as they lie in the sweep, each with its player."""
    across, columns, down, rows = layout(asked.run.sweep)
    loud, cells = _level(asked.run), asked.run.cells
    head = "".join(
        f'<th scope="col">{escaped(one)}</th>' for one in [" / ".join(filter(None, (down, across))), *columns]
    )
    body = []
    for at, row in enumerate(rows):
        line = cells[at * len(columns) : (at + 1) * len(columns)]
        heard = "".join(f"<td>{_cell(asked, one, loud)}</td>" for one in line)
        body.append(f'<tr><th scope="row">{escaped(row)}</th>{heard}</tr>')
    said = f"All are played equally loud, at most {asked.seconds:g} s of each, where it is liveliest."
    more = f" The first {MOST_PLAYERS} sound here; the table has all." if len(asked.run.made) > MOST_PLAYERS else ""
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    return _part("The takes", _paragraph(said + more) + table)


def _heard(run: SweepRun) -> list[int]:
    return sorted(run.made)[:MOST_PLAYERS]


def _level(run: SweepRun) -> dict[int, float]:
    """How much each take is turned, so that all are as loud as the softest."""
    levels = {place: take.audio.loudness() for place in _heard(run) if isinstance(take := _take(run, place), Take)}
    softest = min(filter(isfinite, levels.values()), default=0.0)
    return {place: softest - level if isfinite(level) else 0.0 for place, level in levels.items()}


def _take(run: SweepRun, place: int) -> Take | str:
    """The take of a cell, or why it cannot be read: its file is gone or broken, and the others still sound."""
    try:
        return run.take(place)
    except LabError as problem:
        return sentence(problem)


def _cell(asked: _Asked, one: CellState, gains: Mapping[int, float]) -> str:
    if not one.take:
        return escaped(f"{one.state}: {one.problem}" if one.problem else one.state)
    take = _take(asked.run, one.place) if one.place in _heard(asked.run) else one.take
    if isinstance(take, str):
        return escaped(take)
    return _player(one, take, excerpt_of(take.audio, asked.seconds).gain(gains.get(one.place, 0.0)))


def excerpt_of(sound: Audio, seconds: float) -> Audio:
    """At most so many seconds of a sound, where it is liveliest, its ends faded."""
    length = min(seconds, sound.seconds)
    return excerpt(sound, liveliest(sound, length), length)


def _player(one: CellState, take: Take, sound: Audio) -> str:
    name = escaped(f"Cell {one.place}: {one.cell.title}")
    wave = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="Waveform">'
        f'<path class="wave" d="{wave_path(sound, _WIDTH, _HEIGHT, _POINTS)}"/></svg>'
    )
    data = base64_of(sound.encoded("opus", bitrate=BITRATE))
    player = (
        f'<audio controls preload="none" aria-label="{name}" src="data:audio/ogg;codecs=opus;base64,{data}"></audio>'
    )
    return f'{wave}{player}<span class="soft">{escaped(f"cell {one.place} · {take.audio.loudness():.1f} LUFS")}</span>'


# -- what was thought of them ------------------------------------------------------------------------------------------


def _votes(run: SweepRun) -> str:
    """Votes by axis, with Wilson intervals; that nobody voted, where nobody did."""
    votes = run.votes
    if not votes:
        return _part("Votes", _paragraph("Nobody has voted yet."))
    people = len({vote.by for vote in votes})
    blind = sum(vote.blind for vote in votes)
    said = f"{len(votes)} votes of {people} listener{'s' * (people != 1)}, {blind} of them without knowing which was which; only these count."
    parts = [_paragraph(said)]
    for name, _ in run.sweep.axes:
        rows = [one for one in run.preferences(name) if one.share.count]
        if rows:
            parts.append(_rows(name, ("preferred", "share [95 %]", "", "by chance"), map(_preference, rows)))
    return _part("Votes", "".join(parts))


def _preference(one: Preference) -> Sequence[str]:
    drawn = _bar(one.share, 0.0, 1.0, one.chance)
    chance = f"{one.by_chance:.2g}{', more than chance' if one.is_more_than_chance else ''}"
    return (
        escaped(axes.label(one.value)),
        f"{one.won} of {one.share.count}",
        escaped(str(one.share)),
        drawn,
        escaped(chance),
    )


def _measure(run: SweepRun, name: str) -> str:
    """A measure by axis: means, and differences all else equal."""
    parts = []
    for axis, _ in run.sweep.axes:
        rows = run.effects(axis, by=name)
        known = [one.mean for one in rows if one.mean.count > 1]
        if len(rows) > 1 and known:
            low, high = min(one.low for one in known), max(one.high for one in known)
            drawn = [_effect(one, low, high) for one in rows]
            parts.append(_rows(axis, ("mean [95 %]", "", "against the first, all else equal"), drawn))
    return _part(name.replace("_", " ").capitalize(), "".join(parts)) if parts else ""


def _effect(one: Effect, low: float, high: float) -> Sequence[str]:
    against = "–" if one.difference is None else f"{one.difference}{', sure' if one.is_sure else ''}"
    return escaped(axes.label(one.value)), escaped(str(one.mean)), _bar(one.mean, low, high, None), escaped(against)


def _rows(axis: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table by the values of an axis; what its cells hold is HTML already."""
    head = "".join(f'<th scope="col">{escaped(one)}</th>' for one in (axis, *heads))
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{one}</td>" for one in rest)}</tr>' for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _bar(one: Interval, low: float, high: float, chance: float | None) -> str:
    """An interval as a bar with a dot for its value, and a line where chance is."""
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return 200 * min(1.0, max(0.0, (value - low) / span))

    mark = "" if chance is None else f'<line x1="{x(chance):.1f}" x2="{x(chance):.1f}" y1="0" y2="20"/>'
    return (
        f'<svg viewBox="-5 0 210 20" width="210" height="20" role="img" aria-label="{escaped(str(one))}">{mark}<rect class="span" '
        f'x="{x(one.low):.1f}" y="8" width="{max(1.0, x(one.high) - x(one.low)):.1f}" height="4"/>'
        f'<circle cx="{x(one.value):.1f}" cy="10" r="4"/></svg>'
    )


def _verdicts(run: SweepRun) -> str:
    """What other machines made of the same cells."""
    found = run.verdicts
    if not found:
        return _part(
            "Made again elsewhere",
            _paragraph("Nobody has made these takes again: lab.verify(run, on=another session)."),
        )
    places = distinct(where for rows in found.values() for where in rows)
    rows = []
    for where in places:
        words = [rows_[where].word for rows_ in found.values() if where in rows_]
        rows.append([escaped(where), *(str(words.count(word)) for word in WORDS)])
    said = f"Same to the ear: third-octave band levels differ by at most {EAR_DECIBELS:g} dB on average."
    return _part("Made again elsewhere", _rows("machine", WORDS, rows) + _paragraph(said))


# -- the rest ----------------------------------------------------------------------------------------------------------


def _table(run: SweepRun) -> str:
    rows = run.to_records()
    head = "".join(f'<th scope="col">{escaped(str(name))}</th>' for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escaped(_shown(value))}</td>' for value in row.values())}</tr>" for row in rows
    )
    return _part(
        "All cells", f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _shown(value: object) -> str:
    return "" if value is None else axes.label(value) if not isinstance(value, str) else value


def _recipe(run: SweepRun) -> str:
    made = _made_with(run)
    facts = {
        **run.sweep.recipe.to_json(), "adapters": run.sweep.adapters or "none", "made by": made.get("checkpoint", ""),
        **{name: made[name] for name in ("device", "dtype", "precision", "threads", "tier") if name in made},
        **dict(made.get("versions") or {"acestep_lab": version_of("acestep_lab")}), "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip
    rows = "".join(f"<dt>{escaped(str(name))}</dt><dd>{escaped(_plain(value))}</dd>" for name, value in facts.items())
    return _part("Recipe and versions", f"<dl>{rows}</dl>")


def _made_with(run: SweepRun) -> Mapping[str, Any]:
    """What the first take that can be read was made with."""
    takes = (_take(run, place) for place in _heard(run))
    return next((take.made_with for take in takes if isinstance(take, Take)), {})


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _repeat(run: SweepRun) -> str:
    """How to make it again: the sweep as it is, and what to do with it."""
    text = json.dumps(run.sweep.to_json(), ensure_ascii=False, sort_keys=True)
    worn = [cell.adapters for cell in run.sweep.cells if cell.adapters]
    checkpoint = _made_with(run).get("checkpoint")
    opened = "Session.open()" if checkpoint is None else f"Session.open({literal(str(checkpoint))})"
    code = (
        "import json\nfrom acestep_lab import Session, Sweep\n\n"
        f"lab = {opened}\nrun = lab.sweep(Sweep.from_json(json.loads({literal(text)})))\nrun.result()"
    )
    needs = [*run.sweep.recipe.task.sources().values()]
    said = "With the same package, checkpoint and machine these are the same bytes."
    said += " It starts from sounds that the library has by these ids." if needs else ""
    said += " Its adapters are files, which you need as well." if worn else ""
    return _part("How to repeat it", _paragraph(said) + f"<pre>{escaped(code)}</pre>")


def _part(title: str, inner: str) -> str:
    return f"<section>\n<h2>{escaped(title)}</h2>\n{inner}\n</section>"


def _paragraph(text: str) -> str:
    return f'<p class="soft">{escaped(text)}</p>'
