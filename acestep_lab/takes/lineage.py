"""Who came from whom: the family of one take. Knows ids and parents; no library and no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_RELATIVES = 200
"""Of one family that are shown; the nearest."""


@dataclass(frozen=True)
class Relative:
    """One of a family, as somebody may see it."""

    id: str
    state: str
    """"here", "bin", "recording", "other" (somebody else's), or "gone"."""
    title: str
    """"" where it is not known, or not theirs to know."""
    parents: tuple[str, ...]


def relatives(
    id: str,
    parents: Mapping[str, tuple[str, ...]],
    lost_parents: Callable[[str], tuple[str, ...]] = lambda id: (),
    most: int = MOST_RELATIVES,
) -> dict[str, tuple[str, ...]]:
    """One take or recording, all it came from and all that came from it, each with its parents; itself first, the nearest
    next, at most so many.

    `parents` are those of every take there is; `lost_parents` tells those of one that is not there any more.
    """
    children: dict[str, list[str]] = {}
    for child, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(child)
    above_of = lambda one: parents[one] if one in parents else lost_parents(one)  # noqa: E731 - two walks share it
    found = _walk(id, above_of, most)
    found |= dict.fromkeys(_walk(id, lambda one: tuple(children.get(one, ())), most))
    nearest = list(found)[:most]
    return {one: tuple(p for p in above_of(one)) for one in nearest}


def _walk(id: str, step: Callable[[str], tuple[str, ...]], most: int) -> dict[str, None]:
    """Everything reached from an id, the nearest first."""
    found, line = {id: None}, [id]
    while line and len(found) < most:
        line = list(dict.fromkeys(other for one in line for other in step(one) if other not in found))
        found |= dict.fromkeys(line)
    return found
