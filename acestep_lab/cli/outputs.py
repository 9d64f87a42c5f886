"""Paths to write to: named where nobody named one, refused before any work where nothing can be written there."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from acestep_lab.errors import LabError


def unused_name(name: str) -> Path:
    """A name no file has here yet: song.flac, song-2.flac, …"""
    path = Path(name)
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(one for one in names if not one.exists())


def numbered(path: Path, count: int) -> list[Path]:
    """A path for each of so many files: itself for one, else song-1.flac, song-2.flac, …"""
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{number + 1}") for number in range(count)]


def check_outputs(sound: Path, page: Path | None, count: int = 1) -> None:
    """Refuse output paths that cannot be written, for each of so many takes; LabError."""
    from acestep_lab.audio.audio import can_write, has_room

    for one in numbered(sound, count):
        can_write(one)
    for one in [] if page is None else numbered(page, count):
        has_room(one)
    if page is not None and os.path.realpath(page) == os.path.realpath(sound):
        raise LabError(f"{str(page)!r} cannot be the sound and its page; name two files.")


def ensure_folder(path: Path) -> Path:
    """A folder to write into, made where there is none yet; LabError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"The folder {str(path)!r} cannot be made ({error.strerror}).") from None
    return path
