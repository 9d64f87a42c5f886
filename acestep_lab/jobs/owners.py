"""Whose each take is: a table in memory and a small file beside the takes. Knows ids and names; no page and no take.

The file maps ids to a name, or to several: the first is the owner, the others made the very same take. Where somebody has
binned what others still have, it is a table: `{"made": [names], "left": [names]}`. What is not in it is the host's. A known id
is never given to anybody else, neither in memory nor in the file.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from acestep_lab.errors import LibraryError
from acestep_lab.files import read_json, write_whole

FILE = "owners.json"
NAMES_FILE = "sound-names.json"
MOST_NAME = 200
"""Characters of the longest name in the file."""
_log = logging.getLogger(__name__)


class Made(NamedTuple):
    """Who made a take, its owner first; and who of them binned it while others still had it."""

    by: tuple[str, ...]
    left: tuple[str, ...] = ()


_HOSTS = Made(("",))


class Owners:
    """Names by id, kept in a folder's file; without a folder, in memory only."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self.revision = 0
        """Moves whenever somebody has more or less than before."""
        self.problem = ""
        """What is wrong with the file, as a sentence; "" where nothing is."""
        self._named = self._read()

    def of(self, id: str) -> str | None:
        """Whose a take is; None where nothing is known of it, "" for the host's."""
        made = self._named.get(id)
        return made.by[0] if made else None

    def holders(self, id: str) -> tuple[str, ...]:
        """Who has a take: its owner and those who made the very same, but those who binned it; the host, if nothing is known."""
        by, left = self._named.get(id, _HOSTS)
        return tuple(name for name in by if name not in left)

    def had(self, id: str, name: str) -> bool:
        """Whether somebody has it, or had it and binned it."""
        return name in self._named.get(id, _HOSTS).by

    def left(self, name: str) -> list[str]:
        """Ids of the takes that somebody binned and others still have."""
        with self._lock:
            return [id for id, made in self._named.items() if name in made.left]

    def claim(self, id: str, before: str | None, name: str) -> None:
        """Write down that somebody made a take, or has it again: it is theirs, unless it was somebody's before."""
        with self._lock:
            self.revision += 1
            by, left = self._named.get(id, Made((name if before is None else before,)))
            self._named[id] = Made(_each((*by, name)), tuple(one for one in left if one != name))

    def leave(self, id: str, name: str) -> None:
        """Somebody has binned a take that others still have."""
        with self._lock:
            self.revision += 1
            by, left = self._named.get(id, _HOSTS)
            self._named[id] = Made(by, _each((*left, name)))

    def forget(self, id: str) -> None:
        """What is deleted is nobody's any more, and may be anybody's who brings it again."""
        with self._lock:
            self.revision += 1
            self._named.pop(id, None)
            self._gone.add(id)

    def write(self) -> None:
        """Bring the file up to date with what other processes wrote there; LibraryError where the disk refuses."""
        if self._path is None:
            return
        with self._lock:
            mine = {id: made for id, made in self._named.items() if made != _HOSTS}
            gone, self._gone = self._gone - set(self._named), set()
            if not mine and not gone:
                return
            found = {id: made for id, made in self._read().items() if id not in gone}
            if self.problem:
                self._move_away(self._path)
            self._named = self._named | {id: made for id, made in found.items() if id not in self._named}
            text = json.dumps({id: _plain(made) for id, made in (found | mine).items()}, ensure_ascii=False)
            write_whole(self._path, lambda path: path.write_text(text, encoding="utf-8"), "The list of owners")

    def _read(self) -> dict[str, Made]:
        """The file's table; what cannot be read is told, and is nobody's but the host's."""
        self.problem = ""
        if self._path is None or not os.path.lexists(self._path):
            return {}
        try:
            found = read_json(self._path, "The list of owners", LibraryError)
        except LibraryError as problem:
            return self._report(f"{problem} Takes it named are the host's until it is mended.")
        named = {id: made for id, value in found.items() if (made := _made(value)) is not None}
        if len(named) < len(found):
            self._report(f"{len(found) - len(named)} entries of {FILE} name nobody; those takes are the host's.")
        return named

    def _report(self, sentence: str) -> dict[str, Made]:
        self.problem = sentence
        _log.warning(sentence)
        return {}

    def _move_away(self, path: Path) -> None:
        """Keep a file that cannot be read whole under another name, before a new one takes its place."""
        try:
            os.replace(path, path.with_name(f"owners-unread-{time.time_ns()}.json"))
        except OSError as problem:
            raise LibraryError(f"{self.problem} It cannot be moved out of the way ({problem.strerror}).") from None


class OwnNames:
    """What people call recordings that somebody else brought first: a small file beside the takes, or memory alone."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAMES_FILE
        self._lock = threading.Lock()
        self.revision = 0
        """Moves whenever somebody calls a recording otherwise."""
        self._named = self._read()

    def of(self, owner: str, id: str) -> str:
        """What somebody calls a recording; "" where they said nothing."""
        return self._named.get(owner, {}).get(id, "")

    def put(self, owner: str, id: str, name: str) -> None:
        """Write it down; "" forgets it. LibraryError where the disk refuses."""
        with self._lock:
            theirs = {**self._named.get(owner, {}), id: name}
            if theirs == self._named.get(owner, {}) | {id: ""} and not self.of(owner, id):
                return
            self.revision += 1
            self._named[owner] = {key: one for key, one in theirs.items() if one}
            if self._path is not None:
                text = json.dumps(self._named, ensure_ascii=False)
                write_whole(self._path, lambda path: path.write_text(text, encoding="utf-8"), "The list of names")

    def _read(self) -> dict[str, dict[str, str]]:
        """The file's table; what cannot be read names nothing."""
        if self._path is None or not os.path.lexists(self._path):
            return {}
        try:
            found = read_json(self._path, "The list of names", LibraryError)
        except LibraryError as problem:
            _log.warning(str(problem))
            return {}
        return {
            owner: {id: name[:MOST_NAME] for id, name in names.items() if isinstance(name, str)}
            for owner, names in found.items()
            if isinstance(names, Mapping)
        }


def _made(value: object) -> Made | None:
    """What the file says of one take; None where it makes no sense."""
    by, left = (value.get("made"), value.get("left")) if isinstance(value, Mapping) else (value, [])
    made = Made(_names(by), _names(left) if left else ())
    return made if made.by and (not left or made.left) else None


def _names(value: object) -> tuple[str, ...]:
    """Names out of the file: one, or several; none of anything else."""
    names = tuple(value) if isinstance(value, list) else (value,)
    right = bool(names) and all(isinstance(name, str) and len(name) <= MOST_NAME for name in names)
    return _each(names) if right else ()


def _each(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _plain(made: Made) -> Any:
    by = made.by[0] if len(made.by) == 1 else list(made.by)
    return {"made": list(made.by), "left": list(made.left)} if made.left else by
