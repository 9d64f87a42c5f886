"""A Sweep as a value: its axes and the recipe of every cell. Knows recipes; no session, no library, no run."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, Self

from acestep_lab.errors import LibraryError, RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep import axes as axes_
from acestep_lab.sweep.axes import RECIPE, Axis, Between, Worn

FORMAT = "acestep_lab.sweep/1"
MOST_CELLS = 10_000
_NAME = re.compile(r"[\w][\w .,+=-]{0,79}")
NO_GRID = "{} is a span and has no end of values: say how many cells to draw, Sweep.grid(…).random(12) or .latin_hypercube(12)."


@dataclass(frozen=True)
class Cell:
    """One take that a sweep asks for: where it stands, what is asked, what its axes are there."""

    place: int
    recipe: Recipe
    adapters: Worn | None
    """None: those that the session has on."""
    values: Mapping[str, Any] = field(hash=False)

    @property
    def title(self) -> str:
        """Its values in a line: "shift=3, seed=0"."""
        return ", ".join(f"{name.rpartition('.')[2]}={axes_.label(value)}" for name, value in self.values.items())


@dataclass(frozen=True)
class Sweep:
    """Many takes that differ in what is named: a frozen value, made by `lab.sweep`.

    ::

        Sweep.grid(recipe, shift=[1, 3, 5], seed=range(4))                     # every cell
        Sweep.grid(recipe, guidance_scale=Between(1.0, 9.0), shift=[1, 3]).random(12, seed=0)
        Sweep.of([recipe, other])                                               # a list
    """

    recipe: Recipe
    axes: tuple[Axis, ...]
    picks: tuple[tuple[Any, ...], ...] | None = None
    """The values of each cell, by axis; None: all there are."""
    adapters: Worn | None = None
    name: str = ""

    def __post_init__(self) -> None:
        name = checks.text("A sweep's name", self.name, 80)
        if name and not _NAME.fullmatch(name):
            raise RecipeError(f"A sweep's name is letters, figures, spaces and . , + = -, not {shown(name)}.")
        if self.size > MOST_CELLS:
            raise RecipeError(
                f"A sweep of {self.size:,} cells is too large; {MOST_CELLS:,} at most, or draw some: .random(100)."
            )

    @classmethod
    def grid(cls, recipe: Recipe, /, *, adapters: Any = None, name: str = "", **axes: Any) -> Self:
        """Every combination of what the axes go over; RecipeError for a name or a value that makes no sense.

        An axis is any field or knob of a recipe (`shift`, `seconds`, `checkpoint`), a field of its task (`task__strength`) or of its
        planning (`planning__temperature`), `adapter` (a file, or None for the bare model) or `adapter_strength`.
        """
        checks.instance("What a sweep is of", recipe, Recipe, " Write Recipe('…', seconds=30).")
        if not axes:
            raise RecipeError("A sweep goes over something: lab.sweep(recipe, shift=[1, 3, 5], seed=range(4)).")
        found = tuple(axes_.read(name, values, recipe) for name, values in axes.items())
        if len({axis for axis, _ in found}) < len(found):
            raise RecipeError("Two axes of a sweep are the same field.")
        return cls(recipe, found, None, None if adapters is None else axes_.adapters(adapters), name)

    @classmethod
    def of(cls, recipes: Iterable[Recipe], *, adapters: Any = None, name: str = "") -> Self:
        """A cell for each recipe of a list; RecipeError for what is none."""
        listed = checks.sequence("What a sweep is of", recipes, MOST_CELLS, ordered=True)
        for one in listed:
            checks.instance("What a sweep is of", one, Recipe)
        if not listed:
            raise RecipeError("There is no recipe to make; hand over at least one.")
        return cls.grid(listed[0], adapters=adapters, name=name, **{RECIPE: listed})

    # -- cells

    @property
    def size(self) -> int:
        """How many cells there are; RecipeError for a grid over a span."""
        if self.picks is not None:
            return len(self.picks)
        return 0 if self._span else self._whole

    @property
    def _whole(self) -> int:
        """How many combinations the values of a grid have."""
        counts: list[int] = [len(values) for _, values in self.axes if not isinstance(values, Between)]
        return prod(counts)

    @property
    def _span(self) -> str:
        """The name of an axis that is a span; "" where there is none."""
        return next((name for name, values in self.axes if isinstance(values, Between)), "")

    def random(self, n: int, seed: int = 0) -> Self:
        """So many cells drawn by chance, none twice; the same seed draws the same. RecipeError where there are fewer."""
        count, rng = self._count(n), random.Random(_seed(seed))
        if self._span:
            picks = [tuple(_drawn(values, rng.random()) for _, values in self.axes) for _ in range(count)]
        else:
            whole = self._whole
            if count > whole:
                raise RecipeError(f"This sweep has {whole} cells; {count} cannot be drawn of them.")
            picks = [self._at(place) for place in sorted(rng.sample(range(whole), count))]
        return replace(self, picks=tuple(dict.fromkeys(picks)))

    def latin_hypercube(self, n: int, seed: int = 0) -> Self:
        """So many cells that fill the space evenly: every n-th part of every axis is met once (McKay et al. 1979)."""
        count, rng = self._count(n), random.Random(_seed(seed))
        columns = []
        for _, values in self.axes:
            strata = rng.sample(range(count), count)
            columns.append([_drawn(values, (part + rng.random()) / count) for part in strata])
        return replace(self, picks=tuple(dict.fromkeys(zip(*columns, strict=True))))

    def _count(self, n: Any) -> int:
        return checks.whole("The number of cells", n, 1, MOST_CELLS)

    def _at(self, place: int) -> tuple[Any, ...]:
        """The values at a place of the grid, the last axis fastest."""
        found: list[Any] = []
        for _, values in reversed(self.axes):
            assert not isinstance(values, Between)
            place, at = divmod(place, len(values))
            found.append(values[at])
        return tuple(reversed(found))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell with its recipe; RecipeError for a value that makes no sense, and for a span nobody drew from."""
        if self.picks is None and self._span:
            raise RecipeError(NO_GRID.format(self._span))
        names = [name for name, _ in self.axes]
        picks = product(*(values for _, values in self.axes)) if self.picks is None else self.picks  # type: ignore[arg-type]
        return tuple(self._cell(place, dict(zip(names, values, strict=True))) for place, values in enumerate(picks))

    def _cell(self, place: int, values: dict[str, Any]) -> Cell:
        recipe, worn = axes_.with_values(self.recipe, self.adapters, values)
        recipe = recipe if recipe.seed is not None else recipe.replace(seed=self.seed)
        return Cell(place, recipe.replace(task=recipe.task.with_ids()), worn, values)

    @cached_property
    def seed(self) -> int:
        """The seed of cells that name none: the same for all, so that they differ by their axes alone, and each time."""
        return int(self.digest[:7], 16)

    @cached_property
    def digest(self) -> str:
        """What tells this sweep from another one, whatever it is called."""
        plain = {name: value for name, value in self.to_json().items() if name != "name"}
        return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()

    @property
    def full_name(self) -> str:
        """Its name, or one made of its digest: the same call finds its own takes again."""
        return self.name or f"sweep-{self.digest[:8]}"

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        over = " × ".join(
            f"{name} ({values.low:g} to {values.high:g})" if isinstance(values, Between) else f"{name} ({len(values)})"
            for name, values in self.axes
        )
        count = f"{self.size} cells" if self.size else "not drawn yet"
        return f"<Sweep {self.full_name!r}: {over}, {count}>"

    # -- as plain data

    def to_json(self) -> dict[str, Any]:
        """The sweep as plain data; sources are ids."""
        axes = [[name, axes_.plain(values)] for name, values in self.axes]
        picks = None if self.picks is None else [axes_.plain(one) for one in self.picks]
        worn = None if self.adapters is None else [list(one) for one in self.adapters]
        return {
            "format": FORMAT, "name": self.name, "recipe": self.recipe.to_json(), "axes": axes, "picks": picks, "adapters": worn
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it back from `to_json`; LibraryError for anything else."""
        if data.get("format") != FORMAT:
            raise LibraryError("This is no sweep that this version can read.")
        try:
            recipe = Recipe.from_json(data["recipe"])
            axes = tuple((axes_.full_name(name, recipe), _values(name, values)) for name, values in data["axes"])
            names = [name for name, _ in axes]
            picks = data.get("picks")
            picked = None if picks is None else tuple(_pick(names, one) for one in picks)
            worn = data.get("adapters")
            return cls(recipe, axes, picked, None if worn is None else axes_.adapters(worn), str(data.get("name", "")))
        except (KeyError, TypeError, ValueError, RecipeError) as problem:
            raise LibraryError(f"This sweep cannot be read: {str(problem)[:120]}") from None


def _values(name: str, values: Any) -> axes_.Values:
    if isinstance(values, Mapping):
        low, high = values["between"]
        return Between(low, high)
    return tuple(axes_.from_plain(name, one) for one in values)


def _pick(names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(axes_.from_plain(name, one) for name, one in zip(names, values, strict=True))


def _drawn(values: axes_.Values, share: float) -> Any:
    return values.at(share) if isinstance(values, Between) else values[int(share * len(values))]


def _seed(seed: Any) -> int:
    return checks.whole("The seed of a draw", seed, 0, 2**63)
