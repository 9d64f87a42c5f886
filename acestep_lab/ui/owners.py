"""Whose each take is: a table in memory and a small file beside the takes. Knows ids and names; no page and no take.

The file maps ids to a name, or to several: the first is the owner, the others made the very same take. What is not in it is
the host's. A known id is never given to anybody else, neither in memory nor in the file.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from acestep_lab.errors import LibraryError
from acestep_lab.files import read_json, write_whole

FILE = "owners.json"
MOST_NAME = 200
"""Characters of the longest name in the file."""
_log = logging.getLogger(__name__)


class Owners:
    """Names by id, kept in a folder's file; without a folder, in memory only."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._lock = threading.Lock()
        self.problem = ""
        """What is wrong with the file, as a sentence; "" where nothing is."""
        self._named = self._read()

    def of(self, id: str) -> str | None:
        """Whose a take is; None where nothing is known of it, "" for the host's."""
        names = self._named.get(id)
        return names[0] if names else None

    def holders(self, id: str) -> tuple[str, ...]:
        """The owner of a take and those who made the very same; the host, where nothing is known."""
        return self._named.get(id, ("",))

    def claim(self, id: str, before: str | None, name: str) -> None:
        """Write down that somebody made a take: it is theirs, unless it was somebody's before."""
        with self._lock:
            first = name if before is None else before
            self._named[id] = tuple(dict.fromkeys((*self._named.get(id, (first,)), name)))

    def release(self, id: str, name: str) -> None:
        """Somebody who made the same take as its owner does not want to see it any more."""
        with self._lock:
            first, *others = self._named.get(id, ("",))
            self._named[id] = (first, *(one for one in others if one != name))

    def write(self) -> None:
        """Bring the file up to date with what other processes wrote there; LibraryError where the disk refuses."""
        if self._path is None:
            return
        with self._lock:
            mine = {id: names for id, names in self._named.items() if names != ("",)}
            if not mine:
                return
            found = self._read()
            if self.problem:
                self._move_away(self._path)
            self._named = self._named | {id: names for id, names in found.items() if id not in self._named}
            text = json.dumps({id: _plain(names) for id, names in (found | mine).items()}, ensure_ascii=False)
            write_whole(self._path, lambda path: path.write_text(text, encoding="utf-8"), "The list of owners")

    def _read(self) -> dict[str, tuple[str, ...]]:
        """The file's table; what cannot be read is told, and is nobody's but the host's."""
        self.problem = ""
        if self._path is None or not os.path.lexists(self._path):
            return {}
        try:
            found = read_json(self._path, "The list of owners", LibraryError)
        except LibraryError as problem:
            return self._told(f"{problem} Takes it named are the host's until it is mended.")
        named = {id: names for id, value in found.items() if (names := _names(value))}
        if len(named) < len(found):
            self._told(f"{len(found) - len(named)} entries of {FILE} name nobody; those takes are the host's.")
        return named

    def _told(self, sentence: str) -> dict[str, tuple[str, ...]]:
        self.problem = sentence
        _log.warning(sentence)
        return {}

    def _move_away(self, path: Path) -> None:
        """Keep a file that cannot be read whole under another name, before a new one takes its place."""
        try:
            os.replace(path, path.with_name(f"owners-unread-{time.time_ns()}.json"))
        except OSError as problem:
            raise LibraryError(f"{self.problem} It cannot be moved out of the way ({problem.strerror}).") from None


def _names(value: Any) -> tuple[str, ...]:
    """Names out of the file: one, or several; none of anything else."""
    names = tuple(value) if isinstance(value, list) else (value,)
    right = bool(names) and all(isinstance(name, str) and len(name) <= MOST_NAME for name in names)
    return tuple(dict.fromkeys(names)) if right else ()


def _plain(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)
