"""What goes between a session far away and its machine, as plain data: pure functions, no network.

What JSON has is itself; every other value is `{"$": kind, "value": …}`. Sounds go by their ids, as in a recipe's own JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from acestep_lab.engines.base import Capabilities, LatentSpec, Vocabulary
from acestep_lab.errors import LabError, RecipeError, code_of, sentence, shown
from acestep_lab.jobs.attributing import AttributionCost
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.attribution import Attribution
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.listen.scores import Scores
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.token import Token
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import KINDS as SAMPLINGS
from acestep_lab.prompt.sampling import NAMES, read_sampling
from acestep_lab.prompt.tasks import TASKS, Task, task_from_json
from acestep_lab.takes.verdict import Verdict

VERSION = 1
TAG = "$"
MOST_DEPTH = 40
"""How deep values may be nested; what is deeper is no request of ours."""


@dataclass(frozen=True)
class Price:
    """What using a checkpoint of another machine would cost there. Prints as a sentence."""

    checkpoint: str
    sentence: str
    more_bytes: int | None = None
    """Bytes that come beside what is loaded; None where the machine does not say."""
    shared_bytes: int | None = None
    fits: bool | None = None

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Problem:
    """An error as it goes over the line."""

    code: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """An error of this machine."""
        return cls(code_of(error), sentence(error))


@dataclass(frozen=True)
class _Kind:
    types: tuple[type[Any], ...]
    to: Callable[[Any], Any]
    back: Callable[[Any], Any]


def to_wire(value: Any) -> Any:
    """A value as what `json.dumps` takes; LabError for one that has no place on the wire."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "number", "value": str(value)}
    if isinstance(value, np.generic):
        return to_wire(value.item())
    if isinstance(value, Mapping):
        return {str(name): to_wire(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_wire(one) for one in value]
    for name, kind in _WIRE.items():
        if isinstance(value, kind.types):
            return {TAG: name, "value": kind.to(value)}
    raise LabError(f"{shown(value)} cannot be sent to another machine; words, numbers, recipes, plans and takes can.")


def from_wire(data: Any, depth: int = 0) -> Any:
    """The value that came over the wire, a tuple as a list; RecipeError for what is none."""
    if depth > MOST_DEPTH:
        raise RecipeError("What came is nested too deeply to be a request.")
    if isinstance(data, list):
        return [from_wire(one, depth + 1) for one in data]
    if not isinstance(data, Mapping):
        return data
    if TAG not in data:
        return {str(name): from_wire(one, depth + 1) for name, one in data.items()}
    kind = _WIRE.get(str(data[TAG]))
    if kind is None or "value" not in data:
        raise RecipeError(f"{shown(data[TAG])} is no kind of value here; both machines need the same acestep_lab.")
    try:
        return kind.back(data["value"])
    except LabError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
        raise RecipeError(f"What came as {shown(data[TAG])} cannot be read as one.") from None


def array_of(latent: Any) -> np.ndarray:
    """A latent, a tensor on any device or an array, as contiguous float32."""
    plain = latent.detach().float().cpu().numpy() if hasattr(latent, "detach") else latent
    return np.ascontiguousarray(plain, np.float32)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, written as in our dataclasses: what comes over the wire may be anything."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or origin is type:
        return hint is Any or isinstance(value, type)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is not None:
        return isinstance(value, origin) and _inner_fit(value, origin, inner)
    if hint in (int, float):
        return _is_whole(value) or (hint is float and isinstance(value, float))
    return isinstance(value, NoneType if hint is None else hint)


def _inner_fit(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    """Whether what a collection holds is of the types that it says."""
    if issubclass(origin, Mapping):
        return all(fits(name, inner[0]) and fits(one, inner[1]) for name, one in value.items())
    if origin is tuple and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return all(fits(one, inner[0]) for one in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


# -- the kinds


def _flat(value: Any) -> dict[str, Any]:
    """The fields of a dataclass of plain values."""
    return {one.name: to_wire(getattr(value, one.name)) for one in fields(value)}


def _known(kind: type[Any], data: Any) -> dict[str, Any]:
    """The fields of a dataclass that the other side sent; one that this version has not is left out."""
    names = {one.name for one in fields(kind)}
    return {name: from_wire(one) for name, one in dict(data).items() if name in names}


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _made(kind: Any, found: Mapping[str, Any]) -> Any:
    """A dataclass whose fields are what they say; TypeError otherwise."""
    made = kind(**found)
    if odd := [one.name for one in fields(kind) if not fits(getattr(made, one.name), _hints(kind)[one.name])]:
        raise TypeError(odd[0])
    return made


def _read(kind: type[Any], data: Any) -> Any:
    return _made(kind, _known(kind, data))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in data.items()}


def _capabilities(can: Capabilities) -> dict[str, Any]:
    nested = {"vocabulary": _flat(can.vocabulary), "latent": _flat(can.latent), "sampling": NAMES[can.sampling]}
    plain = [one.name for one in fields(can) if one.name not in nested]
    sets = {name: sorted(getattr(can, name)) for name in ("tasks", "fixed")}
    return {name: to_wire(getattr(can, name)) for name in plain} | nested | sets


def _read_capabilities(data: Any) -> Capabilities:
    found = _known(Capabilities, data)
    found["vocabulary"] = _made(Vocabulary, _tuples(_known(Vocabulary, data["vocabulary"])))
    found["latent"] = _read(LatentSpec, data["latent"])
    found["sampling"] = SAMPLINGS[data["sampling"]]
    sets = {name: frozenset(found[name]) for name in ("tasks", "fixed")}
    return _made(Capabilities, {**_tuples(found), **sets})


def _read_analysis(data: Any) -> Analysis:
    found = _known(Analysis, data)
    return _made(Analysis, found | {"instruments": tuple((stem, share) for stem, share in found["instruments"])})


def _task(task: Task) -> dict[str, Any]:
    return task.with_ids().to_json()


def _recipe(recipe: Recipe) -> dict[str, Any]:
    return recipe.replace(task=recipe.task.with_ids()).to_json()


def _sampling(sampling: Any) -> dict[str, Any]:
    return {"kind": NAMES[type(sampling)], **sampling.to_json()}


_WIRE: dict[str, _Kind] = {
    "number": _Kind((), str, float),
    "recipe": _Kind((Recipe,), _recipe, Recipe.from_json),
    "plan": _Kind((Plan,), Plan.to_json, Plan.from_json),
    "task": _Kind(tuple(TASKS.values()), _task, task_from_json),
    "sampling": _Kind(tuple(SAMPLINGS.values()), _sampling, read_sampling),
    "capabilities": _Kind((Capabilities,), _capabilities, _read_capabilities),
    "analysis": _Kind((Analysis,), _flat, _read_analysis),
    "scores": _Kind((Scores,), Scores.to_json, Scores.from_json),
    "alignment": _Kind((Alignment,), Alignment.to_json, Alignment.from_json),
    "attribution": _Kind((Attribution,), Attribution.to_json, Attribution.from_json),
    "attribution_cost": _Kind((AttributionCost,), AttributionCost.to_json, partial(_read, AttributionCost)),
    "notes": _Kind((Notes,), Notes.to_json, Notes.from_json),
    "plan_score": _Kind((PlanScore,), _flat, partial(_read, PlanScore)),
    "price": _Kind((Price,), _flat, partial(_read, Price)),
    "problem": _Kind((Problem,), _flat, partial(_read, Problem)),
    "token": _Kind((Token,), _flat, partial(_read, Token)),
    "verdict": _Kind((Verdict,), _flat, partial(_read, Verdict)),
}
"""Every kind of value by its name on the wire; these names stay."""
