"""Which songs a folder of encoded sounds stands for, so that a training finds them and their lessons again.

The lessons themselves lie in the library, once for all trainings, named by content: whatever of a song is as it was then costs no
encoder any more. Knows songs and a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acestep_lab import files
from acestep_lab.errors import LabError, LibraryError, SourceError
from acestep_lab.prompt import checks
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.labels import FIELDS, Label, read_value
from acestep_lab.train.rows import OVERRIDES, override_of
from acestep_lab.train.song import Song

FORMAT = 1


def write(path: Path, dataset: Dataset, lessons: int) -> None:
    """Write the songs of a data set, `lessons` of which could be encoded; LibraryError for one that lies in no file."""
    homeless = next((song for song in dataset if song.path is None), None)
    if homeless is not None:
        raise LibraryError(f"{homeless.name} lies in no file; write the data set into a folder first.")
    value = {
        "acestep_lab": FORMAT, "num_samples": lessons, "metadata": dict(dataset.about),
        "songs": [_told(song) for song in dataset],
    }  # fmt: skip
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    files.write_whole(path, lambda draft: draft.write_text(files.mended_text(text), encoding="utf-8"), "The manifest")


def _told(song: Song) -> dict[str, Any]:
    labels = {
        name: [label.value, label.source, label.locked, label.sure]
        for name, label in song.labels.items()
        if not label.is_open or label.locked
    }
    told: dict[str, Any] = {
        "name": song.name, "path": str(song.path), "seconds": song.seconds, "repeat": song.repeat, "take": song.take,
        "labels": labels,
    }  # fmt: skip
    said = override_of(song)
    return told | {"prompt_override": said} if said else told


def head(path: Path) -> dict[str, Any]:
    """What a manifest says of the whole, under the names of ACE-Step's server; SourceError for another program's."""
    found = _read(path)
    about = found["metadata"]
    return {
        "dataset_name": checks.plain_text(about.get("name")) or "dataset",
        "custom_tag": checks.plain_text(about.get("custom_tag")) or "", "num_samples": found["num_samples"],
    }  # fmt: skip


def is_ours(path: Path) -> bool:
    """Whether a file is a manifest that was written here, and may be written over."""
    try:
        _read(path)
    except SourceError:
        return False
    return True


def read(path: Path) -> Dataset:
    """The data set of a manifest; SourceError for one that is damaged, or another program's."""
    found = _read(path)
    try:
        songs = tuple(_song(row) for row in found["songs"])
    except (LabError, KeyError, TypeError, ValueError, AttributeError):
        raise _unreadable() from None
    return Dataset(songs, found["metadata"])


def _song(row: Any) -> Song:
    labels = {
        name: Label(read_value(name, value), source, locked, sure)
        for name, (value, source, locked, sure) in row["labels"].items()
        if name in FIELDS
    }
    name, path, take = (checks.plain_text(row[key]) for key in ("name", "path", "take"))
    seconds = checks.plain_number(row["seconds"])
    if not name or not path or seconds is None or seconds <= 0:
        raise ValueError(name)
    said = row.get("prompt_override")
    given = {"prompt_override": said} if said in OVERRIDES else {}
    return Song(name, float(seconds), labels, Path(path), take or "", repeat=row["repeat"], given=given)


def _read(path: Path) -> dict[str, Any]:
    found = files.read_json(path, "The manifest", SourceError)
    whole = isinstance(found, dict) and found.get("acestep_lab") == FORMAT
    if not whole or not isinstance(found.get("metadata"), Mapping) or not isinstance(found.get("num_samples"), int):
        raise _unreadable()
    return dict(found)


def _unreadable() -> SourceError:
    return SourceError("The manifest there is damaged, or another program's; encode the sounds once more.")
