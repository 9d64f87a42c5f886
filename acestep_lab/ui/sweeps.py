"""A sweep as it is remembered: its axes, its recipes, and which takes are made; so that what is missing can be made later.

Knows recipes and ids; no run and no page. One small file for each person beside the library: it outlives page and kernel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab.errors import LibraryError
from acestep_lab.files import read_json, to_json, write_whole
from acestep_lab.prompt.recipe import Recipe

Axis = tuple[str, Sequence[object]]
"""A field that a sweep goes over, and its values."""
MOST_CELLS = 400


@dataclass
class Sweep:
    """A grid of recipes over one or two fields, row after row, and the ids of the takes made by them."""

    x: Axis
    y: Axis | None
    recipes: Sequence[Recipe]
    ids: list[str] = field(default_factory=list)
    """The take of each recipe, "" where there is none yet."""

    def __post_init__(self) -> None:
        self.ids = [*self.ids, *[""] * (len(self.recipes) - len(self.ids))]

    @property
    def missing(self) -> list[int]:
        """Places of the recipes that have no take."""
        return [place for place, id in enumerate(self.ids) if not id]

    def cells(self) -> list[list[str]]:
        """The ids, row by row."""
        wide = max(1, len(self.x[1]))
        return [self.ids[at : at + wide] for at in range(0, len(self.ids), wide)]

    def write(self, path: Path) -> None:
        """Keep it in a file; LibraryError where the disk refuses."""
        axes = {"x": [self.x[0], list(self.x[1])], "y": [self.y[0], list(self.y[1])] if self.y else None}
        text = to_json({**axes, "recipes": [one.to_json() for one in self.recipes], "ids": self.ids})
        write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"), "The sweep")

    @classmethod
    def read(cls, path: Path) -> Sweep | None:
        """The sweep of a file, None where there is no file; LibraryError where it holds none."""
        if not path.exists():
            return None
        data = read_json(path, "The last sweep", LibraryError)
        recipes, ids = data.get("recipes"), data.get("ids")
        if not isinstance(recipes, list) or not isinstance(ids, list) or len(ids) != len(recipes):
            raise LibraryError(f"The last sweep ({path.name}) cannot be read; delete the file to be rid of this.")
        read = [Recipe.from_json(one) for one in recipes[:MOST_CELLS]]
        x = _axis(data.get("x"), path)
        return cls(x, _axis(data["y"], path) if data.get("y") else None, read, [str(id) for id in ids[:MOST_CELLS]])


def _axis(found: Any, path: Path) -> Axis:
    if not (isinstance(found, list) and len(found) == 2 and isinstance(found[0], str) and isinstance(found[1], list)):
        raise LibraryError(f"The last sweep ({path.name}) cannot be read; delete the file to be rid of this.")
    return found[0], [tuple(value) if isinstance(value, list) else value for value in found[1]]


def file_of(folder: Path | None, owner: str = "") -> Path | None:
    """Where somebody's last sweep is kept; the words in it are theirs as those of their takes are."""
    whose = f"-{hashlib.sha256(owner.encode()).hexdigest()[:16]}" if owner else ""
    return None if folder is None else folder / f"sweep{whose}.json"
