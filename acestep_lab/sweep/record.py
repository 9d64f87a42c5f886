"""A sweep beside the library: what it is, which takes it has, what was measured of them, in a small file under its name.

One process at a time works at a sweep; who comes second is told so. Knows no session and no run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from acestep_lab.errors import LibraryError, RecipeError, shown
from acestep_lab.files import read_json, to_json, write_whole
from acestep_lab.prompt import checks
from acestep_lab.sweep.cells import Sweep
from acestep_lab.sweep.remarks import Remarks

FOLDER = "sweeps"
REMARKS = ".remarks.jsonl"
"""What votes and verdicts are kept in, after a sweep's name."""


class Record:
    """The file of one sweep; without a library's folder, in memory only."""

    def __init__(self, sweep: Sweep, path: Path | None, data: Mapping[str, Any] | None = None) -> None:
        data = data or {}
        self.sweep, self.path = sweep, path
        self.takes: dict[int, str] = {int(place): str(id) for place, id in dict(data.get("takes") or {}).items()}
        self.measured: dict[str, dict[int, float]] = {
            str(name): {int(place): float(value) for place, value in rows.items()}
            for name, rows in dict(data.get("measured") or {}).items()
        }
        self.seconds: list[float] = [float(one) for one in data.get("seconds") or []]
        """What the cells took, in seconds of one place at work."""
        self.remarks = Remarks(None if path is None else path.with_name(f"{sweep.full_name}{REMARKS}"), sweep.size)
        self._lock = threading.Lock()

    def as_seen(self) -> Record:
        """The same to look at: what is measured by it is not written, so that it stands in no running sweep's way."""
        seen = Record(self.sweep, None)
        seen.takes, seen.remarks, seen.seconds = dict(self.takes), self.remarks, list(self.seconds)
        seen.measured = {name: dict(rows) for name, rows in self.measured.items()}
        return seen

    def made(self, place: int, id: str, seconds: float | None = None) -> None:
        """A cell has its take; LibraryError where the disk refuses."""
        with self._lock:
            self.takes[place] = id
            if seconds is not None:
                self.seconds = [*self.seconds[-199:], round(seconds, 3)]
        self.write()

    def forget(self, place: int) -> None:
        """The take of a cell is gone."""
        with self._lock:
            self.takes.pop(place, None)
            for rows in self.measured.values():
                rows.pop(place, None)

    def measure(self, name: str, place: int, value: float) -> None:
        """A measure of a cell's take is known."""
        with self._lock:
            self.measured.setdefault(name, {})[place] = value

    def write(self) -> None:
        """Bring the file up to date; LibraryError where the disk refuses."""
        if self.path is None:
            return
        with self._lock:
            text = to_json(
                self.sweep.to_json()
                | {"takes": {str(place): id for place, id in sorted(self.takes.items())}}
                | {"measured": {n: {str(p): v for p, v in rows.items()} for n, rows in self.measured.items()}}
                | {"seconds": self.seconds}
            )
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise LibraryError(f"The folder of the sweeps cannot be made ({problem.strerror}).") from None
            write_whole(self.path, lambda draft: draft.write_text(text, encoding="utf-8"), "The sweep")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a time, be the only one at work at this sweep; LibraryError where somebody is."""
        if self.path is None:
            yield
            return
        self.write()
        lock = FileLock(self.path.with_name(f".{self.path.stem}.lock"), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise LibraryError(
                f"The sweep {shown(self.sweep.full_name)} is under way already, here or in another process; wait for it, or stop it."
            ) from None
        except OSError as problem:
            raise LibraryError(f"The folder of the sweeps cannot be written ({problem.strerror}).") from None
        try:
            yield
        finally:
            lock.release()


def folder_of(library: Any) -> Path | None:
    """Where a library's sweeps are kept; None for one that lies nowhere."""
    folder = getattr(library, "folder", None)
    return None if folder is None else Path(os.fspath(folder)) / FOLDER


def names(library: Any) -> list[str]:
    """The sweeps that are kept beside a library, by name."""
    folder = folder_of(library)
    return (
        [] if folder is None else sorted(path.stem for path in folder.glob("*.json") if not path.name.startswith("."))
    )


def opened(library: Any, name: str) -> Record:
    """A sweep by its name; RecipeError where there is none, LibraryError where its file is broken."""
    asked, known = checks.text("A sweep's name", name, 80).strip(), names(library)
    folder = folder_of(library)
    if folder is None or asked not in known:
        kept = f"kept are {', '.join(known[:8])}" if known else "none is kept beside this library"
        raise RecipeError(
            f"There is no sweep {shown(asked)}; {kept}. A new one begins with lab.sweep(recipe, shift=[1, 3])."
        )
    return _read(folder / f"{asked}.json")


def of(library: Any, sweep: Sweep) -> Record:
    """The record of a sweep: its own from before, or a new one. LibraryError where another one has its name."""
    folder = folder_of(library)
    if folder is None:
        return Record(sweep, None)
    path = folder / f"{sweep.full_name}.json"
    if not path.exists():
        return Record(sweep, path)
    found = _read(path)
    if found.sweep.digest != sweep.digest:
        raise LibraryError(
            f"Another sweep is called {shown(sweep.full_name)}: lab.sweep({shown(sweep.full_name)}) goes on with it; give this one "
            "another name."
        )
    return found


def _read(path: Path) -> Record:
    data = read_json(path, "The sweep", LibraryError)
    sweep = Sweep.from_json(data)
    with suppress(TypeError, ValueError, AttributeError):
        return Record(sweep, path, data)
    raise LibraryError(f"The sweep {shown(path.name)} cannot be read; move the file away to be rid of this.")
