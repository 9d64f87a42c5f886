"""Which takes of a library a sweep's cells have already: by recipe, checkpoint and adapters. Knows manifests; makes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acestep_lab.errors import LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep.axes import Worn
from acestep_lab.takes.library import Library

Found = dict[str, list[tuple[str, Mapping[str, Any]]]]
"""Takes by the recipe they were asked for with, or made by, as text: id, and what they were made with."""


class Existing:
    """The takes of a library, found by the recipe they were asked for with; each manifest is read once."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._by_seed: dict[int | None, list[str]] = {}
        self._read: dict[int | None, Found] = {}
        for card in library.cards():
            self._by_seed.setdefault(card.seed, []).append(card.id)

    def find(self, asked: Recipe, resolved: Recipe | None, checkpoint: str, worn: Worn) -> str | None:
        """The take of a cell; None where there is none.

        A planner adds to a recipe what nobody asked for, so what was asked counts, and the resolved recipe for takes that
        have nothing else. A step kept in the middle of a render is no take of it.
        """
        found = self._of_seed(asked.seed)
        for recipe in (asked, *(() if resolved is None else (resolved,))):
            for id, made in found.get(_key(recipe.to_json()), ()):
                if made.get("checkpoint", checkpoint) == checkpoint and _wears(made.get("adapters") or {}, worn):
                    return id
        return None

    def _of_seed(self, seed: int | None) -> Found:
        """The takes of a seed, by their recipes."""
        if seed not in self._read:
            found = self._read[seed] = Found()
            for id in self._by_seed.get(seed, ()):
                try:
                    told = self._library.told(id)[0]
                except LibraryError:  # gone since it was listed
                    continue
                made = told.get("made_with") or {}
                for recipe in (told["recipe"], told.get("asked")) if "step" not in made else ():
                    if recipe:
                        found.setdefault(_key(recipe), []).append((id, made))
        return self._read[seed]


def _key(recipe: Mapping[str, Any]) -> str:
    """A recipe as text, without the checkpoint, which is compared by itself."""
    return json.dumps({name: value for name, value in recipe.items() if name != "checkpoint"}, sort_keys=True)


def _wears(made: Mapping[str, Any], worn: Worn) -> bool:
    """Whether a take was made with these adapters, by name and strength."""
    left = dict(made)
    for place, strength in worn:
        path = Path(place)
        called = (path.stem, path.name, *(folder.name for folder in path.parents))  # as `adapter_files` names them
        name = next((one for one in called if one in left), None)
        if name is None or float(left.pop(name)) != float(strength):
            return False
    return not left
