"""What was worked out about takes and lies beside them: read back, written down, and worked out by one at a time.

Knows a library and plain data; what an annotation means is read by whoever wrote it. What cannot be read counts as nothing: it is
worked out anew.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from acestep_lab.errors import LibraryError, RecipeError
from acestep_lab.takes.library import Library

T = TypeVar("T")


def kept(library: Library, id: str, kind: str) -> Mapping[str, Any]:
    """What lies beside a take, as plain data; {} where nothing does."""
    return (library.annotation(id, kind) if id in library else None) or {}


def read(reader: Callable[[object], T], entry: object, name: str) -> T | None:
    """The value that plain data holds under a name; None where it holds none, or one that cannot be read."""
    value = entry.get(name) if isinstance(entry, Mapping) else None
    try:
        return None if value is None else reader(value)
    except RecipeError:
        return None


def keep(library: Library, id: str, kind: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Lay it beside a kept take; a remark where the disk refuses, or the take has gone meanwhile."""
    if id not in library:
        return ()
    try:
        library.annotate(id, kind, data)
    except LibraryError as problem:
        return (str(problem),)
    return ()


class _Turn:
    """A lock, and how many hold it or wait for it."""

    def __init__(self) -> None:
        self.lock, self.wanted = threading.Lock(), 0


_guard = threading.Lock()
_turns: weakref.WeakKeyDictionary[object, dict[tuple[str, ...], _Turn]] = weakref.WeakKeyDictionary()


@contextmanager
def alone(whose: object, *what: str) -> Iterator[None]:
    """Nobody else is inside for the same thing of the same library or queue: who comes second finds what the first one kept."""
    with _guard:
        turns = _turns.setdefault(whose, {})
        turn = turns.setdefault(what, _Turn())
        turn.wanted += 1
    try:
        with turn.lock:
            yield
    finally:
        with _guard:
            turn.wanted -= 1
            if not turn.wanted:
                del turns[what]
