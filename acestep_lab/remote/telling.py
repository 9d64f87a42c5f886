"""What another machine says, read before anything here believes it: values of the kinds that they should be, or MachineError.

Pure functions over plain data; knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from acestep_lab.errors import LibraryError, MachineError, shown
from acestep_lab.jobs.run import OVER
from acestep_lab.listen.attribution import Effect
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.token import Token
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.remote.wire import Problem, fits, from_wire
from acestep_lab.takes.ids import is_id, take_id

MOST_PLACES = 10_000
"""Recipes of one run."""
MOST_WORDS = 4_096
"""Characters of a sentence or a name that a machine tells of a run."""
_MOST_COUNT = 10**9
Read = Callable[[Any], Any]


@contextmanager
def understood(who: str) -> Iterator[None]:
    """What a machine said is read inside; MachineError where it is nothing that a door of ours says."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, LibraryError) as odd:
        raise MachineError(
            f"{shown(who)} says what no acestep_lab of this version says; install the same one on both machines."
        ) from odd


def value_of(answer: Any, hint: Any) -> Any:
    """The value that a verb answers with, of a type as `wire.fits` has them; TypeError for another, RecipeError for none."""
    value = from_wire(answer["value"])
    if not fits(value, hint):
        raise TypeError(f"not a {hint}")
    return value


def recipes_from(value: Any) -> list[Recipe]:
    """Recipes of a machine, which start from sounds by their ids: a path would be one of this machine's files."""
    if not fits(value, list[Recipe]):
        raise TypeError("no recipes")
    if odd := [one for recipe in value for one in recipe.task.sources().values() if not is_id(one)]:
        raise ValueError(f"no id: {shown(odd[0])}")
    return list(value)


def plans_from(value: Any) -> list[Plan]:
    """Plans of a machine's planner, at least one."""
    if not fits(value, list[Plan]) or not value:
        raise TypeError("no plans")
    return list(value)


def read_event(kind: str, data: Any) -> dict[str, Any]:
    """What an event of a run tells, by the names of its fields; of a kind that this version does not know, nothing."""
    wanted = _EVENTS.get(kind, {})
    found = {name: read(data[name]) for name, read in wanted.items()}
    return found | {name: read(data[name]) for name, read in _PROGRESS.items() if name in data}


# -- fields


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value[:MOST_WORDS]


def _count(value: Any, least: int = 0) -> int:
    if not fits(value, int) or not least <= value <= _MOST_COUNT:
        raise ValueError("no count")
    return int(value)


def _number(value: Any) -> float:
    number = math.nan if value is None else from_wire(value)
    if not fits(number, float):
        raise TypeError("no number")
    return float(number)


def _fraction(value: Any) -> float:
    return min(1.0, max(0.0, float(_number(value)))) if not math.isnan(_number(value)) else 0.0


def _eta(value: Any) -> float | None:
    seconds = _number(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _place(value: Any) -> int:
    place = _count(value)
    if place >= MOST_PLACES:
        raise ValueError("no place")
    return place


def _takes(value: Mapping[str, Any]) -> dict[int, str]:
    return {_place(int(place)): take_id(id) for place, id in sorted(value.items(), key=lambda one: int(one[0]))}


def _checked(value: Any, hint: Any) -> Any:
    if not fits(value, hint):
        raise TypeError(f"not a {hint}")
    return value


def _state(value: Any) -> str:
    if value in OVER:  # only an outcome ends a run
        raise ValueError("no state")
    return _text(value)


def _outcome(value: Any) -> str:
    if value not in OVER:
        raise ValueError("no outcome")
    return str(value)


_PROGRESS: Mapping[str, Read] = {"fraction": _fraction, "eta": _eta, "doing": _text}
"""How far a run is: fields that any event may have."""
_EVENTS: Mapping[str, Mapping[str, Read]] = {
    "state": {"state": _state},
    "step": {
        "number": _count, "index": _count, "steps": lambda value: _count(value, 1), "t": _number, "item": _place,
        "checkpoint": _text, "seen": bool, "walked": bool,
    },
    "take": {"place": _place, "id": take_id},
    "recipes": {"recipes": lambda value: recipes_from(from_wire(value)), "plans": lambda value: _checked(from_wire(value), list[Plan | None])},
    "token": {"token": lambda value: _checked(from_wire(value), Token | str)},
    "message": {"message": _text},
    "effect": {"effect": Effect.from_json},
    "outcome": {
        "state": _outcome, "error": lambda value: _checked(from_wire(value), Problem | None), "value": from_wire,
        "takes": _takes, "problem": _text,
    },
}  # fmt: skip
"""The fields of each kind of event, and how they are read."""


def same_number(found: Sequence[Any], asked: Sequence[Any]) -> None:
    """ValueError where a machine answers about more or fewer things than it was asked about."""
    if len(found) != len(asked):
        raise ValueError("another number")
