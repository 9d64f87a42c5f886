"""What a sweep may go over: fields of a recipe, knobs, fields of its task and its planning, adapters. Knows recipes only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.files import parse_json
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import FLAT_PLANNING, Planning, Recipe
from acestep_lab.prompt.sampling import KNOBS
from acestep_lab.prompt.tasks import Region, Task

Worn = tuple[tuple[str, float], ...]
"""Adapters that a cell is made with, each with its strength."""
ADAPTER, STRENGTH, RECIPE = "adapter", "adapter_strength", "recipe"
MOST_VALUES = 10_000
_FIELDS = tuple(f.name for f in fields(Recipe) if f.name not in ("sampling", "planning"))


@dataclass(frozen=True)
class Between:
    """A span to draw from: `Between(1.0, 5.0)`; with two whole numbers, the whole numbers from one to the other.

    A grid has no place for it; `sweep.random(n)` and `sweep.latin_hypercube(n)` draw from it. RecipeError for no span.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        for one in (self.low, self.high):
            if not checks.is_number(one) or abs(one) > 1e15:
                raise RecipeError(f"A span lies between two numbers, such as Between(1.0, 5.0), not {shown(one)}.")
        if not self.low < self.high:
            raise RecipeError(
                f"A span goes from the lower number to the higher one; {self.low:g} is not below {self.high:g}."
            )

    def at(self, share: float) -> float:
        """The number at a share of the span, from 0 to below 1."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return int(min(self.high, self.low + int(share * (self.high - self.low + 1))))
        return self.low + share * (self.high - self.low)


Values = tuple[Any, ...] | Between
Axis = tuple[str, Values]
"""A field by its name, and what it becomes."""


def names(recipe: Recipe) -> tuple[str, ...]:
    """Every axis of a recipe: fields and knobs by their names, others as `task.strength`, `planning.temperature`."""
    task = [f"task.{f.name}" for f in fields(recipe.task)]
    planning = [f"planning.{f.name}" for f in fields(Planning)]
    return (*_FIELDS, *sorted(KNOBS), *FLAT_PLANNING, *task, *planning, ADAPTER, STRENGTH, RECIPE)


def full_name(name: str, recipe: Recipe) -> str:
    """The name of an axis as it was typed: `task__strength` is task.strength, and so is `strength` where nothing else is.

    RecipeError for what is none.
    """
    known, asked = names(recipe), name.replace("__", ".")
    if asked in known:
        return asked
    inner = next((f"{part}.{asked}" for part in ("task", "planning") if f"{part}.{asked}" in known), None)
    if inner is None:
        checks.known_fields("A sweep", [asked], known)
    return str(inner)


def read(name: str, values: Any, recipe: Recipe) -> Axis:
    """An axis and its values; RecipeError where there are none, or one comes twice."""
    axis = full_name(name, recipe)
    if isinstance(values, Between):
        return axis, values
    if checks.is_a(values, str, bytes, Mapping) or not checks.is_a(values, Iterable):
        raise RecipeError(f"{axis} goes over several values, such as {axis}=[…, …], not {shown(values)}.")
    found = tuple(_settled(one) for one in checks.sequence(f"What {axis} goes over", values, MOST_VALUES, ordered=True))
    if not found:
        raise RecipeError(f"{axis} has no values to go over.")
    for at, one in enumerate(found):
        if one in found[:at]:
            raise RecipeError(f"{axis} names {shown(one)} twice.")
    return axis, found


def _settled(value: Any) -> Any:
    """A value as it is compared and kept: lists as tuples, numpy's numbers as Python's."""
    if checks.is_a(value, list, tuple):
        return tuple(_settled(one) for one in value)
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def with_values(recipe: Recipe, worn: Worn | None, values: Mapping[str, Any]) -> tuple[Recipe, Worn | None]:
    """A recipe and its adapters with the values of a cell; RecipeError for a value that makes no sense."""
    recipe = values.get(RECIPE, recipe)
    plain = {
        name: value for name, value in values.items() if "." not in name and name not in (ADAPTER, STRENGTH, RECIPE)
    }
    task = {name.removeprefix("task."): value for name, value in values.items() if name.startswith("task.")}
    planning = {name.removeprefix("planning."): value for name, value in values.items() if name.startswith("planning.")}
    changes: dict[str, Any] = dict(plain)
    if task:
        changes["task"] = _changed(plain.get("task", recipe.task), task)
    if planning:
        changes["planning"] = recipe.planning.replace(**planning)
    return recipe.replace(**changes) if changes else recipe, _worn(worn, values)


def _changed(task: Task, values: Mapping[str, Any]) -> Task:
    checks.known_fields(f"The task {type(task).__name__}", values, [f.name for f in fields(task)])
    return replace(task, **values)


def _worn(worn: Worn | None, values: Mapping[str, Any]) -> Worn | None:
    """The adapters of a cell: those of the sweep, or its own, at its own strength."""
    if ADAPTER in values:
        worn = () if values[ADAPTER] is None else adapters([values[ADAPTER]])
    if STRENGTH not in values:
        return worn
    if worn is None:
        raise RecipeError("adapter_strength needs adapters to be strong: lab.sweep(…, adapters=['growl.safetensors']).")
    strength = checks.real("An adapter's strength", values[STRENGTH], -10.0, 10.0)
    return tuple((place, strength) for place, _ in worn)


def adapters(asked: Any) -> Worn:
    """Adapters as people name them, each alone or with a strength."""
    found = []
    for one in checks.sequence("adapters", asked, 100):
        place, strength = one if checks.is_a(one, tuple, list) and len(one) == 2 else (one, 1.0)
        found.append((checks.place("An adapter", place), checks.real("An adapter's strength", strength, -10.0, 10.0)))
    return tuple(found)


def plain(value: Any) -> Any:
    """A value as plain data."""
    if isinstance(value, Recipe):
        return value.to_json()
    if isinstance(value, Between):
        return {"between": [value.low, value.high]}
    if isinstance(value, Region):
        return [value.start, value.end]
    if hasattr(value, "with_ids"):
        return value.to_json()
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return (
        value
        if value is None or isinstance(value, str | int | float | bool | Mapping)
        else str(getattr(value, "id", value))
    )


def from_plain(name: str, value: Any) -> Any:
    """A value of an axis back from plain data."""
    if name == RECIPE:
        return Recipe.from_json(value)
    return _settled(value)


def label(value: Any) -> str:
    """A value in a few characters, for a head of a row or column."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Recipe):
        return (value.caption or value.lyrics)[:40]
    if hasattr(value, "with_ids"):
        return type(value).__name__
    return "–" if value is None else " ".join(str(plain(value)).split())[:40]


def from_text(text: str) -> Any:
    """Values as they are typed: "1,3,5" a list, "0..3" whole numbers from one to the other, "1.0..5.0" a span to draw from."""
    low, dots, high = text.partition("..")
    first, last = (_typed(low), _typed(high)) if dots else (None, None)
    if type(first) is int and type(last) is int:
        if abs(last - first) > MOST_VALUES:
            raise RecipeError(f"An axis has at most {MOST_VALUES:,} values; {shown(text)} has more.")
        return range(first, last + 1)
    if isinstance(first, int | float) and isinstance(last, int | float):
        return Between(first, last)
    listed = _typed(text)
    return listed if isinstance(listed, list) else [_typed(one) for one in text.split(",") if one.strip()]


def _typed(text: str) -> Any:
    """A value as JSON says it, else the words themselves."""
    try:
        return parse_json(text)
    except RecipeError:
        return text.strip()
