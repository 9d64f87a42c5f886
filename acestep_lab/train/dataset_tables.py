"""Tables about many songs: CSV of two kinds and audiofolder's, JSON lines, and the reference's data set in both its shapes.

Knows text and names; it resolves no path. A line that cannot be read costs one song's words: a problem names it.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab.errors import LabError, RecipeError, SourceError, shown
from acestep_lab.files import decode_text, parse_json, read_bytes
from acestep_lab.takes.library import Problem
from acestep_lab.train.encodings import decoded
from acestep_lab.train.labels import FIELDS, SOURCES, Remark
from acestep_lab.train.told import Told, bare_key, guess_remark, words_of

MOST_TABLE = 256 * 2**20
"""Bytes of the largest table that is read."""

FILE_KEYS = ("filename", "file", "audiopath", "audiofilepath", "filepath", "path", "audio", "audiofile")
"""What a column that names the sound is called, letters only."""

OURS = "acestep_lab"
"""The part of a reference JSON that only we write: who said what, and locks. Other programs leave it aside."""

OWN_FIELDS = ("instruments",)
"""Fields that the reference's samples have no place for; they stand in our own part."""

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Entry:
    """One line of a table: where it says that the sound lies, and what it says of it."""

    places: tuple[str, ...]
    told: Told


@dataclass(frozen=True)
class Table:
    """A table that was read."""

    name: str
    """Its place within the folder."""
    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)
    """What it says of the data set as a whole."""


def read_table(path: Path, name: str) -> Table | None:
    """A table by its file's ending; None for JSON that is no data set's."""
    try:
        data = read_bytes(path, "The table", SourceError, MOST_TABLE)
        return _READERS[path.suffix.lower()](data, name)
    except (SourceError, RecipeError, csv.Error) as problem:
        return Table(name, problems=(Problem(name, f"This table is not read: {problem}"),))


# -- CSV ---------------------------------------------------------------------------------------------------------------


def read_csv(data: bytes, name: str) -> Table:
    """A table of commas, semicolons, tabs or bars; SourceError where no column names a file."""
    where = Path(name).name
    text, guessed = decoded(data, shown(where))
    wrong = guess_remark(where, guessed) if guessed else None
    problems: list[Problem] = []
    rows = _rows(text, name, problems)
    _, header = next(rows, (1, []))
    column = _file_column(header)
    if column is None:
        if not _is_about_songs(header):
            return Table(name, problems=tuple(problems))
        raise SourceError(f"no column of {where} names a sound; call it file_name or File.")
    entries = []
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) <= column or not cells[column].strip():
            problems.append(Problem(name, f"Row {number} names no sound; it is left out."))
            continue
        entries.append(_csv_entry(header, cells, column, where, number, wrong))
    problems += [Problem(name, wrong.text)] if wrong else []
    return Table(name, tuple(entries), tuple(problems))


def _rows(text: str, name: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Rows by number, the head being 1; one that cannot be read, or whose quotation mark is never closed, is a problem."""
    lines = [f"{line}\n" for line in text.split("\n")]
    reader = csv.reader(lines, delimiter=_delimiter(text))
    for number in itertools.count(1):
        begun = reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            problems.append(Problem(name, f"Row {number} is not read ({problem}); it is left out."))
            continue
        if cells is None:
            return
        if reader.line_num - begun > 1 and reader.line_num == len(lines) and _is_open(lines[begun:], reader.dialect):
            problems.append(
                Problem(name, f"Row {number} opens a quotation mark that nothing closes; the rest is left out.")
            )
            return
        yield number, cells


def _is_open(lines: list[str], dialect: Any) -> bool:
    """Whether a last row ends inside a quotation."""
    try:
        list(csv.reader(lines, dialect, strict=True))
    except csv.Error as problem:
        return "end of data" in str(problem)
    return False


def _csv_entry(
    header: list[str], cells: list[str], column: int, where: str, number: int, wrong: Remark | None
) -> Entry:
    remarks = [] if wrong is None or all(cell.isascii() for cell in cells) else [wrong]
    if len(cells) > len(header):
        sentence = f"Row {number} of {where} has {len(cells)} cells for {len(header)} columns: put words with commas in quotes."
        remarks.append(Remark("form", sentence))
    data = {name: cell.strip() for name, cell in zip(header, cells) if name.strip()}
    return _entry(data, where, (cells[column].strip(),), tuple(remarks))


def _delimiter(text: str) -> str:
    """The delimiter under which the head of a table has a column for the file, and most columns."""
    line = text.split("\n", 1)[0]

    def columns(delimiter: str) -> tuple[bool, int]:
        header = next(csv.reader([line], delimiter=delimiter), [])
        return _file_column(header) is not None, len(header)

    return max(_DELIMITERS, key=columns)


def _file_column(header: list[str]) -> int | None:
    names = [bare_key(name) for name in header]
    return next((names.index(key) for key in FILE_KEYS if key in names), None)


def _is_about_songs(header: list[str]) -> bool:
    return len(words_of(dict.fromkeys(header, "x"))[0]) >= 2


# -- JSON --------------------------------------------------------------------------------------------------------------


def read_jsonl(data: bytes, name: str) -> Table:
    """One JSON object a line, as audiofolder's metadata.jsonl: those that name a file."""
    text, where = decode_text(data, shown(Path(name).name)), Path(name).name
    entries, problems = [], []
    about: dict[str, object] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"Line {number} of {where}", RecipeError)
        except RecipeError as problem:
            problems.append(Problem(name, f"{problem} It is left out."))
            continue
        if not isinstance(row, dict) or not (place := _places(row)):
            problems.append(Problem(name, f"Line {number} of {where} names no sound (file_name); it is left out."))
            continue
        about = about or _about(row)
        entries.append(_ours(row, where, place) if _is_ours(row) else _entry(row, where, place))
    return Table(name, tuple(entries), tuple(problems), about)


def _about(row: Mapping[str, object]) -> dict[str, object]:
    """What one of our rows says of the data set as a whole."""
    said = row.get("about")
    return _object(said) if _is_ours(row) and isinstance(said, str) and said else {}


def read_json_table(data: bytes, name: str) -> Table | None:
    """The reference's data set, or a bare list of its samples; None for any other JSON."""
    where = Path(name).name
    found = parse_json(data, where, RecipeError)
    samples = found.get("samples") if isinstance(found, dict) else found
    if not isinstance(samples, list) or not any(isinstance(one, dict) and _places(one) for one in samples):
        return Table(name) if isinstance(found, dict) and samples == [] else None
    about = found.get("metadata", {}) if isinstance(found, dict) else {}
    about = about if isinstance(about, dict) else {}
    ours = found.get(OURS, {}) if isinstance(found, dict) else {}
    entries, problems = [], []
    for number, one in enumerate(samples, start=1):
        if not isinstance(one, dict) or not (places := _places(one)):
            problems.append(Problem(name, f"Sample {number} of {where} names no sound (audio_path); it is left out."))
        else:
            entries.append(_sample(one, where, places, about, ours if isinstance(ours, dict) else {}))
    return Table(name, tuple(entries), tuple(problems), about)


def _sample(
    one: Mapping[str, Any], where: str, places: tuple[str, ...], about: Mapping[str, Any], ours: Mapping[str, Any]
) -> Entry:
    words, repeat = words_of(one)
    if "tag" not in words and about.get("custom_tag"):
        words["tag"] = about["custom_tag"]
    if "instrumental" not in words and about.get("all_instrumental") is True:
        words["instrumental"] = True
    own = ours.get(str(one.get("id", "")))
    if isinstance(own, dict):
        sources, locked, sure = _marks(own)
        said = {name: value for name, value in words.items() if name not in {n for n, _ in _pairs(own.get("open"))}}
        said |= {name: own[name] for name in OWN_FIELDS if own.get(name)}
        return Entry(places, Told(where, said, sources, locked, sure, own.get("repeat", repeat), dict(one), whole=True))
    sources = dict.fromkeys(words, "guessed") if one.get("labeled") is True else {}
    if words.get("lyrics") and words.get("lyrics") == one.get("raw_lyrics"):
        sources.pop("lyrics", None)  # the person's own
    for name in ("tag", "instrumental"):
        sources.pop(name, None)
    return Entry(places, Told(where, words, sources, repeat=repeat, given=dict(one)))


def _entry(data: Mapping[str, object], where: str, places: tuple[str, ...], remarks: tuple[Remark, ...] = ()) -> Entry:
    words, repeat = words_of(data)
    return Entry(places, Told(where, words, repeat=repeat, remarks=remarks))


def _places(row: Mapping[str, object]) -> tuple[str, ...]:
    """Where a row says that its sound lies: its path, then its file's name."""
    named = {bare_key(key): value for key, value in row.items()}
    order = ("audiopath", "filename", *(key for key in FILE_KEYS if key not in ("audiopath", "filename")))
    values = (named.get(key) for key in order)
    return tuple(value for value in values if isinstance(value, str) and value.strip())


# -- our own columns ---------------------------------------------------------------------------------------------------


def _is_ours(row: Mapping[str, object]) -> bool:
    return isinstance(row.get("sources"), str) and isinstance(row.get("locked"), str) and "keyscale" in row


def _ours(row: Mapping[str, Any], where: str, places: tuple[str, ...]) -> Entry:
    sources, locked, sure = _marks(row)
    words = {name: row[name] for name in FIELDS if row.get(name) not in (None, "")}
    given = row.get("given")
    raw = _object(given) if isinstance(given, str) else {}
    take = row.get("take") if isinstance(row.get("take"), str) else ""
    return Entry(places, Told(where, words, sources, locked, sure, row.get("repeat"), raw, str(take or ""), whole=True))


def _object(text: str) -> dict[str, object]:
    try:
        found = parse_json(text)
    except LabError:
        return {}
    return found if isinstance(found, dict) else {}


def marks_text(labels: Mapping[str, Any]) -> dict[str, str]:
    """Who said what, what is locked and how sure it is, as three columns of plain text."""
    sources = [f"{name} {label.source}" for name, label in labels.items() if label.source != "written"]
    sure = [f"{name} {label.sure!r}" for name, label in labels.items() if label.sure is not None]
    locked = [name for name, label in labels.items() if label.locked]
    return {"sources": ", ".join(sources), "locked": ", ".join(locked), "sure": ", ".join(sure)}


def _marks(row: Mapping[str, Any]) -> tuple[dict[str, str], frozenset[str], dict[str, float]]:
    sources = {name: said for name, said in _pairs(row.get("sources")) if said in SOURCES}
    locked = frozenset(name for name, _ in _pairs(row.get("locked")))
    sure = {name: float(said) for name, said in _pairs(row.get("sure")) if _is_share(said)}
    return sources, locked, sure


def _pairs(text: object) -> Iterator[tuple[str, str]]:
    for part in str(text or "").split(","):
        name, _, said = part.strip().partition(" ")
        if name in FIELDS:
            yield name, said.strip()


def _is_share(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False


def line(row: Mapping[str, object]) -> str:
    """A row as one line of JSON."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


_READERS: Mapping[str, Callable[[bytes, str], Table | None]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
    ".json": read_json_table,
}
TABLES = tuple(_READERS)
"""Endings of files that may be tables."""
