"""What was labelled already, one line of JSON for each song, so that a thousand songs go on after a kill.

Knows labels and a file; no song, no model. A line counts once it is whole: half a line, or one that somebody spoilt, is passed
over, and that song is listened to again. Lines are only ever added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acestep_lab.errors import LabError, LibraryError, SourceError, shown
from acestep_lab.files import parse_json, read_bytes
from acestep_lab.train.labels import FIELDS, Label, Remark, read_value

MOST_BYTES = 512 * 2**20
_VERSION = 1

Finished = tuple[dict[str, Label], tuple[Remark, ...]]
"""What was said of a song, and what was odd."""


class LabelProgress:
    """Songs that are finished, by a key of their content; kept in memory alone where there is no file."""

    def __init__(self, place: str | os.PathLike[str] | None = None) -> None:
        self.path = None if place is None else Path(place)
        self._finished: dict[str, Finished] = {}
        if self.path is not None:
            self._finished = _read(self.path)
            self._begin(self.path)

    def __len__(self) -> int:
        return len(self._finished)

    def get(self, key: str) -> Finished | None:
        """What was said of the song of a key, None where it is not finished."""
        return self._finished.get(key)

    def add(self, key: str, name: str, labels: Mapping[str, Label], remarks: tuple[Remark, ...]) -> None:
        """A song is finished; LibraryError where the disk takes no more. Its line is on the disk when this returns."""
        self._finished[key] = (dict(labels), remarks)
        if self.path is not None:
            self._append(self.path, _line(key, name, labels, remarks))

    def _begin(self, path: Path) -> None:
        """Make the file, and end a half-written line, before any work is done."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
        except OSError as problem:
            raise _refused(path, problem) from None

    def _append(self, path: Path, line: str) -> None:
        try:
            with path.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise _refused(path, problem) from None


def _refused(path: Path, problem: OSError) -> LibraryError:
    why = problem.strerror or type(problem).__name__
    return LibraryError(f"What is labelled cannot be kept in {shown(str(path), 120)} ({why}); name another place.")


def _line(key: str, name: str, labels: Mapping[str, Label], remarks: tuple[Remark, ...]) -> str:
    said = {field: [label.value, label.source, label.sure] for field, label in labels.items()}
    odd = [[remark.kind, remark.text, remark.field] for remark in remarks]
    return json.dumps(
        {"version": _VERSION, "key": key, "song": name, "labels": said, "remarks": odd}, ensure_ascii=True
    )


def _read(path: Path) -> dict[str, Finished]:
    """Every whole line of a file; none where there is no file. LibraryError for what is no ordinary file."""
    if not os.path.lexists(path):
        return {}
    try:
        data = read_bytes(path, "What was labelled", SourceError, MOST_BYTES)
    except SourceError as problem:
        raise LibraryError(str(problem)) from None
    found: dict[str, Finished] = {}
    for line in data.split(b"\n"):
        try:
            key, finished = _finished(parse_json(line, "A line"))
        except (LabError, KeyError, TypeError, ValueError, AttributeError):  # half a line, or somebody else's
            continue
        found[key] = finished
    return found


def _finished(row: Any) -> tuple[str, Finished]:
    """One line as it was written; whatever else it is raises."""
    if row["version"] != _VERSION or not isinstance(row["key"], str):
        raise ValueError(row["version"])
    labels = {}
    for field, (value, source, sure) in row["labels"].items():
        if field in FIELDS:
            labels[field] = Label(read_value(field, value), source, sure=sure)
    return row["key"], (labels, tuple(Remark(str(kind), str(text), str(of)) for kind, text, of in row["remarks"]))
