"""The Recipe: everything asked for, enough to make the same take again.

Knows no torch and no model. `None` means "auto": the planner decides a song's fields, the checkpoint's row the
sampler's; what was decided is written into the recipe a take carries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Self

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.checks import sentences
from acestep_lab.prompt.literal import literal
from acestep_lab.prompt.tasks import (
    MAX_SEED,
    MOST_CAPTION,
    MOST_LYRICS,
    TASKS,
    Source,
    Task,
    Text2Music,
    task_from_json,
)

SECONDS_RANGE = (0.5, 600.0)
"""Lengths any recipe may ask for; a checkpoint and a machine may allow less and say so."""

SOLVERS = ("euler", "heun", "sde", "dpmpp2m")
GUIDANCE = ("none", "cfg", "apg", "adg", "cfg_zero")
DCW_MODES = ("off", "low", "high", "double", "pix")


@sentences
@dataclass(frozen=True)
class Planning:
    """How the planner (LM) draws its tokens; the numbers are the reference's defaults."""

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

    def __post_init__(self) -> None:
        _read(self, _PLANNING)

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it back from `to_json`; RecipeError on unknown fields."""
        return cls(**checks.mapping("Planning", data))


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
    steps: int | None = field(default=None, kw_only=True)
    """Sampling steps."""
    shift: float | None = field(default=None, kw_only=True)
    """Shift of the schedule towards noise: t' = s·t / (1 + (s − 1)·t)."""
    timesteps: tuple[float, ...] | None = field(default=None, kw_only=True)
    """Own schedule from 1 (noise) down; overrides steps and shift."""
    solver: str | None = field(default=None, kw_only=True)
    """euler, heun, sde or dpmpp2m."""
    guidance: str | None = field(default=None, kw_only=True)
    """none, cfg, apg, adg or cfg_zero."""
    guidance_scale: float | None = field(default=None, kw_only=True)
    guidance_interval: tuple[float, float] | None = field(default=None, kw_only=True)
    """(low, high) of t between which guidance acts; t = 1 is pure noise, t = 0 the finished song."""
    velocity_clamp: float | None = field(default=None, kw_only=True)
    """Largest norm of the velocity relative to that of x_t; None = off."""
    velocity_ema: float | None = field(default=None, kw_only=True)
    """Share of the previous step's velocity blended in; None = off."""
    dcw: str | None = field(default=None, kw_only=True)
    """Correction of each step in the wavelet domain (DCW, arXiv 2604.16044): off, low, high, double or pix; None = the
    checkpoint's own."""
    dcw_low: float | None = field(default=None, kw_only=True)
    """How much DCW moves the means of frame pairs; None: 0.05."""
    dcw_high: float | None = field(default=None, kw_only=True)
    """How much DCW moves their half-differences; None: 0.02."""
    instruction: str = field(default="", kw_only=True)
    """The line the DiT reads before the words, instead of the task's own; "" = the task's."""
    global_caption: str = field(default="", kw_only=True)
    """What the whole song is, where the caption speaks of one part or stem of it; for checkpoints that were taught both."""
    latent_shift: float = field(default=0.0, kw_only=True)
    """Added to the finished latent before it is decoded."""
    latent_rescale: float = field(default=1.0, kw_only=True)
    """The finished latent is multiplied by this before the shift."""
    fade_in: float = field(default=0.0, kw_only=True)
    """Seconds from silence at the song's start."""
    fade_out: float = field(default=0.0, kw_only=True)
    """Seconds to silence at the song's end."""
    normalize: bool | None = field(default=None, kw_only=True)
    """Whether the song is brought to `peak_db`; None: yes, wherever it is made anew."""
    peak_db: float | None = field(default=None, kw_only=True)
    """The peak a normalized song is brought to, in dBFS; None: -1."""
    thinking: bool | None = field(default=None, kw_only=True)
    """Whether the planner writes audio codes first; None = wherever a planner is aboard and the task uses one."""
    planning: Planning = field(default_factory=Planning, kw_only=True)

    def __post_init__(self) -> None:
        _read(self, _CHECKS)
        if not self.caption.strip() and not self.lyrics.strip() and _needs_words(self.task):
            raise RecipeError("There are no words to work from. Write a caption such as 'slow dub techno, tape hiss'.")

    def replace(self, /, **changes: Any) -> Self:
        """The same recipe with some fields changed."""
        checks.known_fields("A recipe", changes, [f.name for f in fields(self)])
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        plain: dict[str, Any] = {"caption": self.caption}
        for f in fields(self)[1:]:
            value = getattr(self, f.name)
            if f.name == "task":
                plain["task"] = value.to_json()
            elif f.name == "planning":
                plain |= {"planning": changed} if (changed := value.to_json()) else {}
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
        parts = [literal(self.caption)]
        for f in fields(self)[1:]:
            value = getattr(self, f.name)
            if f.name == "task":
                value = value.with_ids()
                if value == Text2Music():
                    continue
            elif value is None or value == f.default or (f.name == "planning" and value == Planning()):
                continue
            parts.append(f"{f.name}={literal(value)}")
        return f"Recipe({', '.join(parts)})"


def _read(value: Planning | Recipe, readers: Mapping[str, Callable[[Any], Any]]) -> None:
    """Put every field through its reader; None stands for a field's default."""
    for f in fields(value):
        found = getattr(value, f.name)
        if found is None and f.default is not None and f.name in readers:
            found = _default(f)
            object.__setattr__(value, f.name, found)
        if (found is not None or f.default is MISSING) and f.name in readers:
            object.__setattr__(value, f.name, readers[f.name](found))


def _default(f: Field[Any]) -> Any:
    """What a field holds where nothing is said; None where something must be."""
    if f.default_factory is not MISSING:
        return f.default_factory()
    return None if f.default is MISSING else f.default


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


def _given(what: str, reader: Callable[..., Any], *limits: Any) -> Callable[[Any], Any]:
    """A reader that knows the beginning of its sentence and its limits."""
    return lambda value: reader(what, value, *limits)


def _seed(value: Any) -> int:
    return checks.whole("A seed", value, 0, MAX_SEED)


def _seconds(value: Any) -> float:
    low, high = SECONDS_RANGE
    found = checks.plain_number(value)
    if found is None:
        raise RecipeError(f"A song's length is a number of seconds, not {shown(value)}.")
    if not low <= found <= high:
        raise RecipeError(f"A song of {checks.figure(found)} s cannot be made; ask for {low:g} to {high:g} seconds.")
    return float(found)


def _times(value: Any) -> tuple[float, ...]:
    times = tuple(
        checks.real("A timestep", v, 0.0, 1.0)
        for v in checks.sequence("A schedule of timesteps", value, 1001, ordered=True)
    )
    while times and times[-1] == 0.0:
        times = times[:-1]
    if not 1 <= len(times) <= 1000 or any(b >= a for a, b in zip(times, times[1:], strict=False)):
        raise RecipeError(
            "Timesteps run down from noise (1) towards the song (0), each below the one before: (1, 0.7, 0.3)."
        )
    return times


def _interval(value: Any) -> tuple[float, float]:
    ends = checks.pair("A guidance interval, (low, high) of t such as (0.1, 0.9),", value)
    low, high = (checks.real("A guidance interval's end", v, 0.0, 1.0) for v in ends)
    if low >= high:
        raise RecipeError(
            f"A guidance interval runs from low t (song) to high t (noise), not from {low:g} to {high:g}."
        )
    return low, high


_PLANNING: dict[str, Callable[[Any], Any]] = {
    "temperature": _given("The planner's temperature", checks.real, 0.0, 2.0),
    "top_p": _given("top_p", checks.real, 0.01, 1.0),
    "top_k": _given("top_k", checks.whole, 0, 1_000_000),
    "repetition_penalty": _given("The repetition penalty", checks.real, 0.5, 2.0),
    "cfg_scale": _given("The planner's guidance scale", checks.real, 1.0, 10.0),
    "negative_prompt": _given("The planner's negative prompt", checks.text, MOST_CAPTION),
    "writes_caption": _given("writes_caption", checks.truth),
    "rewrite_caption": _given("rewrite_caption", checks.truth),
    "legacy_negative_layout": _given("legacy_negative_layout", checks.truth),
}
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "caption": _given("The caption", checks.text, MOST_CAPTION),
    "lyrics": _given("The text of the lyrics", checks.text, MOST_LYRICS),
    "seconds": _seconds,
    "seed": _seed,
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "language": vocabulary.language,
    "task": _task,
    "steps": _given("The number of steps", checks.whole, 1, 1000),
    "shift": _given("The shift", checks.real, 0.1, 20.0),
    "timesteps": _times,
    "solver": _given("solver", checks.choice, SOLVERS),
    "guidance": _given("guidance", checks.choice, GUIDANCE),
    "guidance_scale": _given("The guidance scale", checks.real, 0.0, 30.0),
    "guidance_interval": _interval,
    "velocity_clamp": _given("The velocity clamp", checks.real, 0.01, 100.0),
    "velocity_ema": _given("The velocity's moving average", checks.real, 0.0, 0.99),
    "dcw": _given("DCW mode", checks.choice, DCW_MODES),
    "dcw_low": _given("DCW's low part", checks.real, 0.0, 1.0),
    "dcw_high": _given("DCW's high part", checks.real, 0.0, 1.0),
    "instruction": _given("The instruction", checks.text, 2_000),
    "global_caption": _given("The global caption", checks.text, MOST_CAPTION),
    "latent_shift": _given("The latent shift", checks.real, -10.0, 10.0),
    "latent_rescale": _given("The latent rescale", checks.real, 0.01, 10.0),
    "fade_in": _given("The fade-in", checks.real, 0.0, SECONDS_RANGE[1], "seconds"),
    "fade_out": _given("The fade-out", checks.real, 0.0, SECONDS_RANGE[1], "seconds"),
    "normalize": _given("normalize", checks.truth),
    "peak_db": _given("The peak in dBFS", checks.real, -60.0, 0.0),
    "thinking": _given("thinking", checks.truth),
    "planning": _planning,
}
