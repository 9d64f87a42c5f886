"""The Recipe: everything asked for, enough to make the same take again.

Knows no torch and no model. `None` means "auto": the planner decides a song's fields, the engine the sampling's; what was
decided is written into the recipe a take carries. What every model family understands are fields of the recipe; what only
some do is in its `sampling` and `planning`, whose knobs may be typed flat: `Recipe("dub", steps=8, thinking=False)`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.checks import Reader, given, read_fields, sentences
from acestep_lab.prompt.literal import literal
from acestep_lab.prompt.sampling import (
    KNOBS,
    MOST_CAPTION,
    NAMES,
    FlowSampling,
    Sampling,
    kind_for,
    read_sampling,
    sampled,
)
from acestep_lab.prompt.tasks import MAX_SEED, MOST_LYRICS, TASKS, Source, Task, Text2Music, task_from_json

SECONDS_RANGE = (0.5, 600.0)
"""Lengths any recipe may ask for; a checkpoint and a machine may allow less and say so."""

FLAT_PLANNING = ("thinking",)
"""Fields of `Planning` that a recipe takes flat, and has flat in JSON."""

T = TypeVar("T")


class MissingKnob(RecipeError, AttributeError):
    """A knob was read that a recipe's kind of sampling does not have; to `hasattr` it is not there."""


@sentences
@dataclass(frozen=True)
class Planning:
    """Whether and how the planner (LM) draws its tokens; the numbers are the reference's defaults."""

    temperature: float = 0.85
    """0 takes the likeliest token each time."""
    top_p: float = 0.9
    top_k: int = 0
    """0 = off."""
    repetition_penalty: float = 1.0
    cfg_scale: float = 2.0
    """Guidance of the audio codes; 1 = off."""
    negative_prompt: str = "NO USER INPUT"
    writes_caption: bool = True
    """Whether the planner writes a caption of its own into its thought, for the codes to follow (the reference's
    `use_cot_caption`); off, the thought has none."""
    rewrite_caption: bool = False
    """Whether the plan's own caption replaces the asked one for the DiT; off, the musician's words stand."""
    legacy_negative_layout: bool = False

    thinking: bool | None = None
    """Whether the planner writes audio codes first; None = wherever a planner is at hand and the task uses one."""

    def __post_init__(self) -> None:
        read_fields(self, _PLANNING)

    def replace(self, /, **changes: Any) -> Self:
        """The same with some fields changed."""
        return type(self)(**{**{f.name: getattr(self, f.name) for f in fields(self)}, **changes})

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it back from `to_json`; RecipeError on unknown fields."""
        return cls(**checks.mapping("Planning", data))


def _takes_flat(cls: type[T]) -> type[T]:
    """A recipe whose constructor takes the knobs of its sampling and planning flat as well."""
    plain_init, plain = cls.__init__, inspect.signature(cls)
    flat = [*dict.fromkeys([*FlowSampling.names(), *sorted(KNOBS)]), *FLAT_PLANNING]

    @wraps(plain_init)
    def init(self: Any, /, *args: object, **kwargs: object) -> None:
        checks.known_fields("A recipe", kwargs, [*plain.parameters, *flat])
        knobs = {name: value for name in flat if (value := kwargs.pop(name, None)) is not None}
        named = kwargs.get("sampling") is not None
        plain_init(self, *args, **kwargs)
        _put_flat(self, knobs, named)

    extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in flat]
    init.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *plain.parameters.values(), *extra]
    )
    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


def _put_flat(recipe: Recipe, knobs: Mapping[str, object], named: bool) -> None:
    """Put what was typed flat where it belongs; RecipeError for a knob that is said twice, or that the kind of sampling that
    was `named` beside it does not have.
    """
    planning = {name: value for name, value in knobs.items() if name in FLAT_PLANNING}
    sampling = {name: value for name, value in knobs.items() if name not in FLAT_PLANNING}
    if named and sampling:
        kind_for(
            [*recipe.sampling.given(), *sampling], type(recipe.sampling)
        )  # knobs of two kinds: said in its sentence
        checks.known_fields(type(recipe.sampling).__name__, sampling, recipe.sampling.names())
    for inner, changes in ((recipe.planning, planning), (recipe.sampling, sampling)):
        changed = sampled(inner, changes) if changes and inner is recipe.sampling else inner.replace(**changes)
        _said_once(inner, changed, changes)
        object.__setattr__(recipe, "planning" if inner is recipe.planning else "sampling", changed)


def _said_once(inner: Planning | Sampling, changed: Planning | Sampling, flat: Iterable[str]) -> None:
    """Refuse a knob with one value inside `sampling` or `planning` and another beside it."""
    for name in flat:
        within, beside = getattr(inner, name, None), getattr(changed, name)
        usual = type(changed).__dataclass_fields__[name].default
        if within not in (None, usual, beside):
            raise RecipeError(
                f"{name} is said twice, as {shown(within)} inside {'planning' if name in FLAT_PLANNING else 'sampling'} and as "
                f"{shown(beside)} beside it; say it once."
            )


@_takes_flat
@sentences
@dataclass(frozen=True)
class Recipe:
    """A song as asked for: words, metadata, length, seed, task, and how to sample.

    Raises RecipeError, a sentence saying what would be right, on anything that makes no sense.
    """

    caption: str
    lyrics: str = ""
    seconds: float | None = None
    seed: int | None = None
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    language: str | None = None
    task: Task = field(default_factory=Text2Music)
    checkpoint: str | None = field(default=None, kw_only=True)
    """Which of a session's checkpoints makes it; None: the one in use."""
    sampling: Sampling = field(default_factory=FlowSampling, kw_only=True)
    """How the engine samples: a value of its family's own kind."""
    planning: Planning = field(default_factory=Planning, kw_only=True)
    fade_in: float = field(default=0.0, kw_only=True)
    """Seconds from silence at the song's start."""
    fade_out: float = field(default=0.0, kw_only=True)
    """Seconds to silence at the song's end."""
    normalize: bool | None = field(default=None, kw_only=True)
    """Whether the song is brought to `peak_db`; None: yes, wherever it is made anew."""
    peak_db: float | None = field(default=None, kw_only=True)
    """The peak a normalized song is brought to, in dBFS; None: -1."""

    def __post_init__(self) -> None:
        read_fields(self, _CHECKS)
        if not self.caption.strip() and not self.lyrics.strip() and _needs_words(self.task):
            raise RecipeError("There are no words to work from. Write a caption such as 'slow dub techno, tape hiss'.")

    if not TYPE_CHECKING:  # what is typed flat may be read flat; typed code names the value it is in

        def __getattr__(self, name: str) -> object:
            if name in FLAT_PLANNING:
                return getattr(self.planning, name)
            if name in KNOBS and hasattr(self.sampling, name):
                return getattr(self.sampling, name)
            if name in KNOBS:
                raise MissingKnob(
                    f"This recipe has no {name}: its sampling is a {type(self.sampling).__name__}, with "
                    f"{', '.join(self.sampling.names()[:6])}{' and more' if len(self.sampling.names()) > 6 else ''}."
                )
            raise AttributeError(f"A recipe has no {name!r}.")

    def replace(self, /, **changes: object) -> Self:
        """The same recipe with some fields changed."""
        checks.known_fields("A recipe", changes, [*(f.name for f in fields(self)), *KNOBS, *FLAT_PLANNING])
        now = {f.name: getattr(self, f.name) for f in fields(self)}
        if "sampling" not in changes:
            now["sampling"] = sampled(self.sampling, {name: changes.pop(name) for name in KNOBS & set(changes)})
        if "planning" not in changes:
            flat = {name: changes.pop(name) for name in FLAT_PLANNING if name in changes}
            now["planning"] = self.planning.replace(**flat)
        return type(self)(**{**now, **changes})

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default; sampling and `thinking` are flat in it."""
        plain: dict[str, Any] = {"caption": self.caption}
        for f in fields(self)[1:]:
            value = getattr(self, f.name)
            if f.name in _WRITERS:
                plain |= _WRITERS[f.name](value)
            elif value is not None and value != f.default:
                plain[f.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a recipe back from `to_json`; RecipeError on unknown fields."""
        return cls(**checks.mapping("A recipe", data))

    @classmethod
    def read(cls, file: str | os.PathLike[str], source: Source | None = None) -> Recipe:
        """The recipe in a settings file of another tool, or in one of our takes.

        Reads JSON and TOML: what the reference's Gradio page saves, requests to its REST API, its examples and command line's
        configurations, ace-step-ui's songs, `recipe.to_json()`, a take's manifest, and the manifest inside our sound files.
        `source` is the sound the task starts from, in place of the path in the file. What could not be understood is named in a
        SettingsWarning, and `prompt.settings.read` returns it. Raises RecipeError where there are no settings, or odd ones.

        ::

            recipe = Recipe.read("song.json")
            take = lab.make(recipe.replace(seconds=30))
        """
        from acestep_lab.prompt import settings

        found = settings.read(file, source)
        found.warn()
        return found.recipe

    def code(self) -> str:
        """The Python expression that makes this recipe."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        sampling, planning = plain.pop("sampling"), plain.pop("planning")
        plain["task"] = plain["task"].with_ids()
        changed = {name: value for name, value in plain.items() if value is not None and value != _DEFAULTS[name]}
        changed |= sampling.given() | {name: v for name in FLAT_PLANNING if (v := getattr(planning, name)) is not None}
        if kind_for(sampling.given()) is not type(sampling):
            changed["sampling"] = NAMES[type(sampling)]
        if (drawn := planning.replace(thinking=None)) != Planning():
            changed["planning"] = drawn
        return f"Recipe({', '.join([literal(self.caption), *(f'{n}={literal(v)}' for n, v in changed.items())])})"


def _sampling_json(sampling: Sampling) -> dict[str, object]:
    """The knobs, and the kind by its name where these do not tell."""
    kind = {} if kind_for(sampling.given()) is type(sampling) else {"sampling": NAMES[type(sampling)]}
    return kind | sampling.to_json()


def _planning_json(planning: Planning) -> dict[str, object]:
    plain = planning.to_json()
    flat = {name: plain.pop(name) for name in FLAT_PLANNING if name in plain}
    return flat | ({"planning": plain} if plain else {})


_WRITERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "task": lambda task: {"task": task.to_json()},
    "sampling": _sampling_json,
    "planning": _planning_json,
}
"""Fields of a recipe that are more than one number or word, as JSON."""


def _planning(value: Any) -> Planning:
    """A Planning, or its fields as `to_json` gives them."""
    if checks.is_a(value, Mapping):
        return Planning.from_json(value)
    return checks.instance("planning", value, Planning, " Write planning=Planning(temperature=0.7).")


def _task(value: Any) -> Task:
    """A task, or its fields as `to_json` gives them."""
    if checks.is_a(value, Mapping):
        return task_from_json(value)
    if not checks.is_a(value, *TASKS.values()):
        raise RecipeError(f"A task is a value such as Cover(take) or Repaint(take, Region(8, 12)), not {shown(value)}.")
    return value


def _needs_words(task: Task) -> bool:
    """Whether a task makes something out of words alone."""
    return isinstance(task, Text2Music) and task.codes is None


def _seed(value: object) -> int:
    return checks.whole("A seed", value, 0, MAX_SEED)


def _seconds(value: Any) -> float:
    low, high = SECONDS_RANGE
    found = checks.plain_number(value)
    if found is None:
        raise RecipeError(f"A song's length is a number of seconds, not {shown(value)}.")
    if not low <= found <= high:
        raise RecipeError(f"A song of {checks.figure(found)} s cannot be made; ask for {low:g} to {high:g} seconds.")
    return float(found)


_PLANNING: Mapping[str, Reader] = {
    "temperature": given("The planner's temperature", checks.real, 0.0, 2.0),
    "top_p": given("top_p", checks.real, 0.01, 1.0),
    "top_k": given("top_k", checks.whole, 0, 1_000_000),
    "repetition_penalty": given("The repetition penalty", checks.real, 0.5, 2.0),
    "cfg_scale": given("The planner's guidance scale", checks.real, 1.0, 10.0),
    "negative_prompt": given("The planner's negative prompt", checks.text, MOST_CAPTION),
    "writes_caption": given("writes_caption", checks.truth),
    "rewrite_caption": given("rewrite_caption", checks.truth),
    "legacy_negative_layout": given("legacy_negative_layout", checks.truth),
    "thinking": given("thinking", checks.truth),
}
_CHECKS: Mapping[str, Reader] = {
    "caption": given("The caption", checks.text, MOST_CAPTION),
    "lyrics": given("The text of the lyrics", checks.text, MOST_LYRICS),
    "seconds": _seconds,
    "seed": _seed,
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "language": vocabulary.language,
    "task": _task,
    "fade_in": given("The fade-in", checks.real, 0.0, SECONDS_RANGE[1], "seconds"),
    "fade_out": given("The fade-out", checks.real, 0.0, SECONDS_RANGE[1], "seconds"),
    "normalize": given("normalize", checks.truth),
    "peak_db": given("The peak in dBFS", checks.real, -60.0, 0.0),
    "sampling": read_sampling,
    "planning": _planning,
    "checkpoint": given("A checkpoint's name", checks.name, 200),
}
_DEFAULTS: Mapping[str, object] = {f.name: f.default for f in fields(Recipe)} | {"task": Text2Music()}
"""What a field holds where nothing is said."""
