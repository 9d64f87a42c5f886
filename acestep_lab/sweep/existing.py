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


class Existing:
    """The takes of a library, found by the recipe they were asked for with."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._by_seed: dict[int | None, list[str]] = {}
        for card in library.cards():
            self._by_seed.setdefault(card.seed, []).append(card.id)

    def find(self, asked: Recipe, resolved: Recipe | None, checkpoint: str, worn: Worn) -> str | None:
        """The take of a cell; None where there is none.

        A planner adds to a recipe what nobody asked for, so what was asked counts, and the resolved recipe for takes that
        have nothing else. A step kept in the middle of a render is no take of it.
        """
        wanted = {_key(one) for one in (asked.to_json(), *(() if resolved is None else (resolved.to_json(),)))}
        for id in self._by_seed.get(asked.seed, ()):
            try:
                told = self._library.told(id)[0]
            except LibraryError:  # gone since it was listed
                continue
            if _is_of(told, wanted, checkpoint, worn):
                return id
        return None


def _is_of(told: Mapping[str, Any], wanted: set[str], checkpoint: str, worn: Worn) -> bool:
    made = told.get("made_with") or {}
    if "step" in made or made.get("checkpoint", checkpoint) != checkpoint:
        return False
    recipes = [told["recipe"], *([told["asked"]] if told.get("asked") else [])]
    return any(_key(one) in wanted for one in recipes) and _wears(made.get("adapters") or {}, worn)


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
