"""What is marked on a take: its regions with their words, and the way back. Knows no browser and no sound."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from acestep_lab.prompt.literal import literal
from acestep_lab.prompt.tasks import Region
from acestep_lab.prompt.tasks import regions as checked

MOST_TAKES = 200
"""Takes whose marks are remembered."""
DEEPEST_UNDO = 100


@dataclass
class Marks:
    """The regions of one take (tables of name, start, end, words), and the words for those that have none of their own."""

    regions: list[dict[str, Any]] = field(default_factory=list)
    caption: str = ""
    past: list[tuple[list[dict[str, Any]], str]] = field(default_factory=list)

    def change(self, regions: list[dict[str, Any]] | None = None, caption: str | None = None) -> None:
        """Change the regions or the words; what stood before can be had back."""
        now = (self.regions if regions is None else regions, self.caption if caption is None else caption)
        if now != (self.regions, self.caption):
            self.past = [*self.past[-DEEPEST_UNDO + 1 :], (self.regions, self.caption)]
            self.regions, self.caption = now

    def undo(self) -> bool:
        """Back by one change; False where there is none."""
        if not self.past:
            return False
        self.regions, self.caption = self.past.pop()
        return True

    def copied(self) -> Marks:
        """The same marks for another take, without their past."""
        return Marks(copy.deepcopy(self.regions), self.caption)

    def links(self) -> list[Link]:
        """The repaints these marks stand for: regions of the same words are one; RecipeError where regions overlap."""
        found: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        for region in self.regions:
            words = next((words for words in (region["words"], self.caption) if words.strip()), "")
            found.setdefault(words, []).append(region)
        checked([Region(r["start"], r["end"]) for r in self.regions]) if self.regions else None
        return [
            Link(checked([Region(r["start"], r["end"]) for r in rows]), words, tuple(r["name"] for r in rows))
            for words, rows in found.items()
        ]


@dataclass(frozen=True)
class Link:
    """One repaint of a chain: the regions that get the same words."""

    regions: tuple[Region, ...]
    caption: str
    """What should sound there; "" is what the take itself was made from."""
    names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What its regions are called."""
        return ", ".join(self.names)


class MarksByTake:
    """The marks of the takes shown last, by their ids."""

    def __init__(self) -> None:
        self._marks: OrderedDict[str, Marks] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        return id in self._marks

    def of(self, id: str) -> Marks:
        """The marks of a take; empty ones where it has none yet."""
        marks = self._marks.setdefault(id, Marks())
        self._marks.move_to_end(id)
        while len(self._marks) > MOST_TAKES:
            self._marks.popitem(last=False)
        return marks

    def put(self, id: str, marks: Marks) -> None:
        """Give a take these marks."""
        self._marks[id] = marks
        self.of(id)


def captions_of(links: Sequence[Link], own: str) -> list[str | None]:
    """For each repaint of a chain the caption it is asked with; None leaves the source's, which after other words is no
    longer the take's `own`.
    """
    asked: list[str | None] = []
    for place, link in enumerate(links):
        asked.append(link.caption or (own if place else None))
    return asked


def code_of(links: Sequence[Link], own: str, how: Iterable[tuple[str, object]]) -> str:
    """The chain as lines of Python; `how` are the settings all repaints share."""
    if not links:
        return "# mark a region first"
    settings = "".join(f", {name}={_setting(value)}" for name, value in how if value is not None)
    lines = []
    for link, caption in zip(links, captions_of(links, own), strict=True):
        spans = ", ".join(f"Region({r.start:g}, {r.end:g})" for r in link.regions)
        words = "" if caption is None else f", caption={literal(caption)}"
        lines.append(f"take = lab.repaint(take, [{spans}]{words}{settings})")
    return "\n".join(lines)


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else literal(value)
