"""The Recipe: everything asked for, enough to make the same take again.

Knows no torch and no model. `None` means "auto": the planner decides a song's fields, the checkpoint's row the
sampler's; what was decided is written into the recipe a take carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from acestep_lab.errors import RecipeError
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.literal import literal
from acestep_lab.prompt.tasks import Task, Text2Music, is_number, is_whole, task_from_json

SECONDS_RANGE = (0.5, 600.0)
"""Lengths any recipe may ask for; a checkpoint and a machine may allow less and say so."""

MAX_SEED = 2**63 - 1
SOLVERS = ("euler", "heun", "sde", "dpmpp2m")
GUIDANCE = ("none", "cfg", "apg", "adg", "cfg_zero")
DCW_MODES = ("off", "low", "high", "double", "pix")


def _number(name: str, value: Any, low: float, high: float) -> float:
    """Return a finite number between two ends; RecipeError otherwise."""
    if not is_number(value):
        raise RecipeError(f"{name} is a number, not {value!r}.")
    if not low <= value <= high:
        raise RecipeError(f"{name} lies between {low:g} and {high:g}, not at {value:g}.")
    return value if isinstance(value, int) else float(value)


def _whole(name: str, value: object, low: int, high: int) -> int:
    """Return a whole number between two ends; RecipeError otherwise."""
    if not is_whole(value):
        raise RecipeError(f"{name} is a whole number, not {value!r}.")
    return int(_number(name, value, low, high))


def _truth(name: str, value: object) -> bool:
    """Return True or False; RecipeError for anything that merely counts as such."""
    if not isinstance(value, bool):
        raise RecipeError(f"{name} is True or False, not {value!r}.")
    return value


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise RecipeError(f"{value!r} is no {name}.{vocabulary.nearest(str(value), known)} Known: {', '.join(known)}.")
    return value


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
        _number("The planner's temperature", self.temperature, 0.0, 2.0)
        _number("top_p", self.top_p, 0.01, 1.0)
        _whole("top_k", self.top_k, 0, 1_000_000)
        _number("The repetition penalty", self.repetition_penalty, 0.5, 2.0)
        _number("The planner's guidance scale", self.cfg_scale, 1.0, 10.0)
        if not isinstance(self.negative_prompt, str):
            raise RecipeError(f"The planner's negative prompt is text, not {type(self.negative_prompt).__name__}.")


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
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value))
        if not self.caption.strip() and not self.lyrics.strip() and _needs_words(self.task):
            raise RecipeError("There are no words to work from. Write a caption such as 'slow dub techno, tape hiss'.")

    def but(self, **changes: Any) -> Self:
        """The same recipe with some fields changed."""
        unknown = set(changes) - {f.name for f in fields(self)}
        if unknown:
            name = sorted(unknown)[0]
            raise RecipeError(
                f"A recipe has no field {name!r}.{vocabulary.nearest(name, [f.name for f in fields(self)])}"
            )
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        plain: dict[str, Any] = {"caption": self.caption}
        for f in fields(self)[1:]:
            value = getattr(self, f.name)
            if f.name == "task":
                plain["task"] = value.to_json()
            elif f.name == "planning":
                changed = {p.name: getattr(value, p.name) for p in fields(value) if getattr(value, p.name) != p.default}
                plain |= {"planning": changed} if changed else {}
            elif value is not None and value != f.default:
                plain[f.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a recipe back from `to_json`; RecipeError on unknown fields."""
        values = dict(data)
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise RecipeError(f"A recipe has no field {sorted(unknown)[0]!r}.")
        if "task" in values:
            values["task"] = task_from_json(values["task"])
        if "planning" in values:
            values["planning"] = _planning(values["planning"])
        return cls(**values)

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


def _planning(data: Mapping[str, Any]) -> Planning:
    unknown = sorted(set(data) - {f.name for f in fields(Planning)})
    if unknown:
        raise RecipeError(f"Planning has no field {unknown[0]!r}.")
    return Planning(**data)


def _needs_words(task: Task) -> bool:
    """Whether a task makes something out of words alone."""
    return isinstance(task, Text2Music) and task.codes is None


def _text(name: str, longest: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str):
            raise RecipeError(f"The {name} is text, not {type(value).__name__}.")
        if len(value) > longest:
            raise RecipeError(f"The {name} has {len(value):,} characters; the models read at most {longest:,}.")
        return value

    return check


def _seed(value: Any) -> int:
    if not is_whole(value):
        raise RecipeError(f"A seed is a whole number, such as 7, not {value!r}.")
    if not 0 <= value <= MAX_SEED:
        raise RecipeError(f"A seed lies between 0 and {MAX_SEED}, not at {value}.")
    return int(value)


def _seconds(value: Any) -> float:
    low, high = SECONDS_RANGE
    if not is_number(value):
        raise RecipeError(f"A song's length is a number of seconds, not {value!r}.")
    if not low <= value <= high:
        raise RecipeError(f"A song of {value:g} s cannot be made; ask for {low:g} to {high:g} seconds.")
    return float(value)


def _times(value: Any) -> tuple[float, ...]:
    times = tuple(float(_number("A timestep", v, 0.0, 1.0)) for v in value)
    while times and times[-1] == 0.0:
        times = times[:-1]
    if not 1 <= len(times) <= 1000 or any(b >= a for a, b in zip(times, times[1:], strict=False)):
        raise RecipeError(
            "Timesteps run down from noise (1) towards the song (0), each below the one before: (1, 0.7, 0.3)."
        )
    return times


def _interval(value: Any) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2:
        raise RecipeError(f"A guidance interval is a pair (low, high) of t, such as (0.1, 0.9), not {value!r}.")
    low, high = (float(_number("A guidance interval's end", v, 0.0, 1.0)) for v in pair)
    if low >= high:
        raise RecipeError(
            f"A guidance interval runs from low t (song) to high t (noise), not from {low:g} to {high:g}."
        )
    return low, high


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "caption": _text("caption", 20_000),
    "lyrics": _text("lyrics", 100_000),
    "seconds": _seconds,
    "seed": _seed,
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "language": vocabulary.language,
    "steps": lambda v: _whole("The number of steps", v, 1, 1000),
    "shift": lambda v: float(_number("The shift", v, 0.1, 20.0)),
    "timesteps": _times,
    "solver": lambda v: _one_of("solver", v, SOLVERS),
    "guidance": lambda v: _one_of("guidance", v, GUIDANCE),
    "guidance_scale": lambda v: float(_number("The guidance scale", v, 0.0, 30.0)),
    "guidance_interval": _interval,
    "velocity_clamp": lambda v: float(_number("The velocity clamp", v, 0.01, 100.0)),
    "velocity_ema": lambda v: float(_number("The velocity's moving average", v, 0.0, 0.99)),
    "dcw": lambda v: _one_of("DCW mode", v, DCW_MODES),
    "dcw_low": lambda v: float(_number("DCW's low part", v, 0.0, 1.0)),
    "dcw_high": lambda v: float(_number("DCW's high part", v, 0.0, 1.0)),
    "instruction": _text("instruction", 2_000),
    "global_caption": _text("global caption", 20_000),
    "latent_shift": lambda v: float(_number("The latent shift", v, -10.0, 10.0)),
    "latent_rescale": lambda v: float(_number("The latent rescale", v, 0.01, 10.0)),
    "fade_in": lambda v: float(_number("The fade-in", v, 0.0, SECONDS_RANGE[1])),
    "fade_out": lambda v: float(_number("The fade-out", v, 0.0, SECONDS_RANGE[1])),
    "normalize": lambda v: _truth("normalize", v),
    "peak_db": lambda v: float(_number("The peak in dBFS", v, -60.0, 0.0)),
}
