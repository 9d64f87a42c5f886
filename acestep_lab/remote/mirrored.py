"""What a mirror knows of its box: the list of takes and recordings, kept beside the mirror, one process at a time.

Whatever a box says passes `Listing.of` first: names are names, and there are only so many. Knows no network.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from acestep_lab.errors import LibraryError, shown
from acestep_lab.files import NO_CHARACTER
from acestep_lab.takes.ids import is_sound_id, is_take_id

MOST_TAKES = 100_000
MOST_STAMP = 200
"""Characters of what changes when a take does."""
MOST_NAME = 200
"""Characters of what a recording is called."""
MOST_PROBLEMS = 1_000


class Known(NamedTuple):
    """A recording of the box: what it is called ("": nothing), and its length in seconds."""

    name: str
    seconds: float


@dataclass
class Listing:
    """What a box has, for the bearer of one key."""

    stamp: str = ""
    """Of all of it; "" where not all of it has arrived here."""
    takes: dict[str, str] = field(default_factory=dict)
    """What changes when a take does, by its id; "" for what has to be fetched again."""
    binned: list[str] = field(default_factory=list)
    sounds: dict[str, Known] = field(default_factory=dict)
    """The one brought last first."""
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """Files that cannot be used, each with a sentence."""

    @classmethod
    def of(cls, data: object) -> Listing:
        """What a box told; LibraryError where that is no list of takes."""
        if not isinstance(data, Mapping):
            raise _no_listing(data)
        takes = data.get("takes")
        binned, sounds, damaged = (_list(data.get(name)) for name in ("binned", "sounds", "damaged"))
        if not isinstance(takes, Mapping):
            raise _no_listing(takes)
        if len(takes) + len(binned) + len(sounds) > MOST_TAKES:
            raise LibraryError(f"That machine lists more than {MOST_TAKES:,} takes and recordings.")
        return cls(
            _text(data.get("stamp"), MOST_STAMP),
            {_take(id): _text(stamp, MOST_STAMP) for id, stamp in takes.items()},
            [_take(id) for id in binned],
            dict(_sound(one) for one in sounds),
            [_problem(one) for one in damaged[:MOST_PROBLEMS]],
        )

    def plain(self) -> dict[str, Any]:
        """What `of` reads."""
        sounds = [[id, one.name, one.seconds] for id, one in self.sounds.items()]
        return {
            "stamp": self.stamp, "takes": self.takes, "binned": self.binned, "sounds": sounds,
            "damaged": [list(one) for one in self.damaged],
        }  # fmt: skip


def _no_listing(data: object) -> LibraryError:
    return LibraryError(f"That machine answers {shown(data)} where its takes should be listed; is it an acestep_lab?")


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _no_listing(value)
    return value


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or NO_CHARACTER.search(value):
        raise _no_listing(value)
    return value


def _take(id: object) -> str:
    if not is_take_id(id):
        raise _no_listing(id)
    return str(id)


def _sound(entry: object) -> tuple[str, Known]:
    if not isinstance(entry, list) or len(entry) != 3 or not is_sound_id(entry[0]):
        raise _no_listing(entry)
    seconds = entry[2]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise _no_listing(entry)
    return str(entry[0]), Known(_text(entry[1], MOST_NAME), float(seconds))


def _problem(entry: object) -> tuple[str, str]:
    if not isinstance(entry, list) or len(entry) != 2:
        raise _no_listing(entry)
    return _text(entry[0], MOST_NAME), _text(entry[1], 1000)


class Busy(LibraryError):
    """Another process is bringing this mirror up to date."""


class MirrorState:
    """The listing in a small SQLite file, which is the lock of the mirror as well: it lets go when a process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Inside, no other process changes the mirror. Busy where one goes on doing so for so many seconds."""
        with self._lock:
            if self._depth:  # in hand already
                yield
                return
            db = self._begin(seconds)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                with contextlib.suppress(sqlite3.Error):
                    db.execute("COMMIT")

    def read(self) -> Listing:
        """What is known of the box; nothing where nothing was written, or it cannot be read. Inside `alone`."""
        assert self._connection is not None
        row = self._connection.execute("SELECT listing FROM box").fetchone()
        try:
            return Listing.of(json.loads(row[0])) if row else Listing()
        except (LibraryError, ValueError, TypeError, RecursionError):
            return Listing()

    def write(self, listing: Listing) -> None:
        """Write down what is known. Inside `alone`; LibraryError where the disk refuses."""
        assert self._connection is not None
        try:
            self._connection.execute("DELETE FROM box")
            self._connection.execute("INSERT INTO box VALUES (?)", (json.dumps(listing.plain()),))
        except sqlite3.Error as problem:
            raise LibraryError(f"What is known of that machine cannot be written down ({problem}).") from None

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _begin(self, seconds: float) -> sqlite3.Connection:
        """The file, locked for others; made anew where it is damaged."""
        for attempt in range(2):
            try:
                db = self._connection = self._connection or self._open()
                db.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")
                db.execute("BEGIN IMMEDIATE")
                db.execute("CREATE TABLE IF NOT EXISTS box (listing TEXT)")
                return db
            except sqlite3.Error as problem:
                self.close()
                if str(getattr(problem, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                    raise Busy("Another process is bringing this mirror up to date; ask again in a moment.") from None
                if attempt:
                    raise LibraryError(f"The mirror's own file cannot be used ({problem}).") from None
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)
        raise AssertionError  # the last attempt returned or raised

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
