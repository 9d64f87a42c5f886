"""The trash: folders `<nanoseconds>-<take>` inside `.trash`, each with the files of one binned take.

Knows files and names; no take. Where a full disk has no room for a folder, the files lie in `.trash` itself, each name led by
`<nanoseconds>-`: moving a file costs nothing. What lies there under another name is left alone and told of.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acestep_lab.errors import LibraryError, shown
from acestep_lab.takes.ids import MOST_LETTERS

_NAME = rf"([0-9]{{1,20}})-(take-[0-9a-z]{{1,{MOST_LETTERS}}})"
_FOLDER, _FILE = re.compile(_NAME), re.compile(_NAME + r"\.[0-9a-z.]{1,32}")
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk answers."""


@dataclass(frozen=True, order=True)
class TrashedTake:
    """A take in the trash: its files are those in `folder` that begin with `stem`."""

    since: int
    """Nanoseconds since 1970."""
    name: str
    folder: Path
    stem: str

    @property
    def hours(self) -> float:
        """How long it has been there; 0 where the clock went back."""
        return max(0.0, (time.time_ns() - self.since) / 3600e9)

    def files(self) -> list[tuple[Path, str]]:
        """Its files and the names they had, the manifest first."""
        cut = len(self.stem) - len(self.name)
        return [(file, file.name[cut:]) for file in files_of(self.folder, self.stem)]


class Trash:
    """The trash of one library folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[TrashedTake]:
        """What lies in it, newest first."""
        found = set()
        for place in self._places():
            if (match := _FOLDER.fullmatch(place.name)) and _is_folder(place):
                found.add(TrashedTake(int(match[1]), match[2], place, match[2]))
            elif (match := _FILE.fullmatch(place.name)) and not _is_folder(place):
                found.add(TrashedTake(int(match[1]), match[2], self.folder, f"{match[1]}-{match[2]}"))
        return iter(sorted(found, reverse=True))

    def foreign_files(self) -> list[Path]:
        """What lies in it and is no binned take."""
        return [p for p in self._places() if not (_FOLDER if _is_folder(p) else _FILE).fullmatch(p.name)]

    def _places(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except OSError:
            return []

    def add(self, name: str, files: Iterable[Path]) -> None:
        """Move a take's files in, the first of them first; OSError where the disk refuses, and all lie where they lay."""
        since = max(0, time.time_ns())  # a clock before 1970 is wrong, and its minus would hide the take
        place: Path | None = self.folder / f"{since}-{name}"
        try:
            (self.folder / f"{since}-{name}").mkdir(parents=True)
        except OSError as problem:
            if problem.errno not in FULL or not self.folder.is_dir():
                raise
            place = None
        prefix = f"{since}-" if place is None else ""
        try:
            _move([(file, (place or self.folder) / f"{prefix}{file.name}") for file in files])
        except OSError:
            with contextlib.suppress(OSError):
                if place is not None:
                    place.rmdir()
            raise

    def restore(self, trashed: TrashedTake, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Move a take's files back into a folder, its manifest last, and delete those that are not `wanted` by their names.

        LibraryError where they cannot be moved; all lie in the trash then.
        """
        try:
            _move([(file, folder / name) for file, name in reversed(trashed.files()) if wanted(name)])
        except OSError as problem:
            raise LibraryError(f"{trashed.name} cannot be brought back ({shown(problem.strerror or '')}).") from None
        self.delete(trashed)

    def delete(self, trashed: TrashedTake) -> None:
        """Delete a binned take for good, as far as the disk lets us."""
        if trashed.folder != self.folder:
            shutil.rmtree(trashed.folder, ignore_errors=True)
            return
        for file, _ in trashed.files():
            with contextlib.suppress(OSError):
                file.unlink()


def _move(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Move files one after the other; where one cannot be moved, those before it go back, and OSError says why."""
    for at, (file, target) in enumerate(pairs):
        try:
            os.replace(file, target)
        except OSError:
            for moved, place in reversed(pairs[:at]):
                with contextlib.suppress(OSError):
                    os.replace(place, moved)
            raise


def files_of(folder: Path, name: str) -> list[Path]:
    """Every file of a take in a folder, the manifest first."""
    with contextlib.suppress(OSError):
        found = [file for file in folder.iterdir() if file.name.startswith(f"{name}.")]
        return sorted(found, key=lambda file: (file.name != f"{name}.json", file.name))
    return []


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()
