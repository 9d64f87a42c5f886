"""What may be asked of the DiT, each task a small frozen value with only its own fields.

Knows no torch and no model. A `source` is anything with an `id` (a Take, an Audio) or such an id as a string;
written to JSON it becomes the id. The names are the field's own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from acestep_lab.errors import RecipeError
from acestep_lab.prompt import vocabulary


@runtime_checkable
class HasId(Protocol):
    """Anything that says who it is: a Take, an Audio."""

    @property
    def id(self) -> str: ...


Source: TypeAlias = "HasId | str | os.PathLike[str]"
"""A sound to start from: a Take, an Audio, the id of one, or a file."""


@dataclass(frozen=True, order=True)
class Region:
    """A span of time in seconds, `start` before `end`."""

    start: float
    end: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if not is_number(value):
                raise RecipeError(f"A region's {name} is a time in seconds, not {value!r}.")
            object.__setattr__(self, name, float(value))
        if self.start < 0:
            raise RecipeError(
                f"A region starts at 0 s or later, not at {self.start:g} s; to add time before, use Extend."
            )
        if self.end <= self.start:
            raise RecipeError(
                f"A region runs forward: its end ({self.end:g} s) must come after its start ({self.start:g} s)."
            )

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    def frames(self, rate: float) -> slice:
        """Latent frames this region covers at `rate` frames per second; at least one."""
        first = math.floor(self.start * rate + 1e-6)
        return slice(first, max(first + 1, math.ceil(self.end * rate - 1e-6)))

    def samples(self, rate: int) -> slice:
        """Samples this region covers at `rate` samples per second."""
        return slice(round(self.start * rate), round(self.end * rate))


def is_number(value: object) -> bool:
    """Whether a value is a finite number, Python's or numpy's."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, Python's or numpy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def regions(value: Region | Iterable[Any]) -> tuple[Region, ...]:
    """Return one or several regions as a sorted tuple; RecipeError where they overlap or none is given."""
    if isinstance(value, Region):
        return (value,)
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if len(items) == 2 and all(is_number(i) for i in items):
        items = [items]
    found = sorted(_region(item) for item in items)
    if not found:
        raise RecipeError("Name at least one region to repaint, such as Region(8, 12).")
    for before, after in zip(found, found[1:], strict=False):
        if after.start < before.end:
            raise RecipeError(
                f"The regions {before.start:g}–{before.end:g} s and {after.start:g}–{after.end:g} s overlap; join them."
            )
    return tuple(found)


def _region(value: Any) -> Region:
    """Return a region, or a pair of seconds as one; RecipeError otherwise."""
    if isinstance(value, Region):
        return value
    pair = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(pair) != 2:
        raise RecipeError(f"A region is Region(start, end) in seconds, such as Region(8, 12), not {value!r}.")
    return Region(*pair)


def _known_mask(value: str) -> None:
    if value not in MASKS:
        raise RecipeError(f"{value!r} is no mask; the two are {' and '.join(MASKS)}.")


def _share(name: str, value: float) -> float:
    """Return a number between 0 and 1; RecipeError otherwise."""
    if not is_number(value) or not 0.0 <= value <= 1.0:
        raise RecipeError(f"{name} is a share between 0 and 1, not {value!r}.")
    return float(value)


def _codes(value: Iterable[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    codes = tuple(value) if isinstance(value, Iterable) else ()
    if not codes or any(not is_whole(code) or code < 0 for code in codes):
        raise RecipeError("Audio codes are a list of whole numbers from 0 up, five for each second of music.")
    return tuple(int(code) for code in codes)


def _needs_source(task: Task) -> None:
    """Refuse a task without a sound to start from; a file becomes its name."""
    source = getattr(task, "source", None)
    if source is None or (isinstance(source, str) and not source):
        raise RecipeError(f"{type(task).__name__} starts from a sound: hand it a take or an audio.")
    _hears(task, "source", f"{type(task).__name__} starts from")


def _hears(task: Task, field: str, words: str) -> None:
    """Refuse what is no sound in a field; a file becomes its name. `words` begin the sentence."""
    sound = getattr(task, field)
    if isinstance(sound, os.PathLike):
        object.__setattr__(task, field, os.fspath(sound))
    elif not isinstance(sound, str | HasId):
        raise RecipeError(
            f"{words} a take, an audio or a file, not {type(sound).__name__}; bare samples become a sound as "
            "Audio(samples, rate)."
        )


class _Task:
    """What all tasks share: a name, an instruction, and the way to and from JSON."""

    name: ClassVar[str]
    plans: ClassVar[bool] = False
    """Whether the planner (LM) has a say in this task: only where music starts from words. Elsewhere tempo, key and rhythm
    are the source's, and a guess from words would contradict it."""

    def instruction(self) -> str:
        """The instruction line the DiT reads."""
        return vocabulary.INSTRUCTIONS[self.name]

    def sources(self) -> dict[str, Source]:
        """The sounds this task starts from, by field."""
        found = {name: getattr(self, name, None) for name in ("source", "reference")}
        return {name: source for name, source in found.items() if source is not None}

    def with_ids(self) -> Self:
        """The same task with every source given by its id, so that it holds plain data only."""
        changed = {name: getattr(source, "id", source) for name, source in self.sources().items()}
        kept = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{**kept, **changed})

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the task's class name under "task"."""
        plain = self.with_ids()
        return {"task": type(self).__name__} | {
            f.name: _plain(getattr(plain, f.name))
            for f in fields(plain)  # type: ignore[arg-type]
            if getattr(plain, f.name) != f.default
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Region):
        return [value.start, value.end]
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Text2Music(_Task):
    """Music from words alone, perhaps with a timbre to lean on and semantic codes to follow."""

    name = "text2music"
    plans = True
    reference: Source | None = None
    codes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", _codes(self.codes))
        if self.reference is not None:
            _hears(self, "reference", "A timbre is lent by")


REPAINT_MODES = ("conservative", "balanced", "aggressive")
MASKS = ("explicit", "auto")
"""How the DiT is told what to make anew: by the region itself, or by ones everywhere, as the reference's default does."""


@dataclass(frozen=True)
class Repaint(_Task):
    """New music inside one or several regions; every sample outside them and their crossfades stays.

    `mode` and `strength` set the three numbers below as the reference does; a number given here wins.
    """

    name = "repaint"
    source: Source
    regions: tuple[Region, ...]
    mode: str = "balanced"
    strength: float = 0.5
    injection: float | None = None
    """Share of the steps during which the outside is held at the noised source, 0–1."""
    latent_crossfade: float | None = None
    """Seconds of crossfade between old and new latents on each side, outside the region."""
    wave_crossfade: float | None = None
    """Seconds of crossfade between old and new samples on each side, outside the region."""
    mask: str = "explicit"
    """explicit or auto (see MASKS)."""

    def __post_init__(self) -> None:
        _needs_source(self)
        _known_mask(self.mask)
        object.__setattr__(self, "regions", regions(self.regions))
        object.__setattr__(self, "strength", _share("A repaint's strength", self.strength))
        if self.mode not in REPAINT_MODES:
            raise RecipeError(f"{self.mode!r} is no repaint mode; the three are {', '.join(REPAINT_MODES)}.")
        if self.injection is not None:
            _share("The injection ratio", self.injection)
        for field in ("latent_crossfade", "wave_crossfade"):
            value = getattr(self, field)
            if value is not None and not (is_number(value) and 0 <= value <= 5):
                raise RecipeError(f"A {field.replace('_', ' ')} lasts 0 to 5 seconds, not {value!r}.")


@dataclass(frozen=True)
class Extend(_Task):
    """The source with new music before it, after it, or both; the source itself stays.

    `before` and `after` are seconds; `before` is rounded to whole latent frames, so that the source's own stay whole.
    """

    name = "repaint"
    source: Source
    before: float = 0.0
    after: float = 0.0
    wave_crossfade: float | None = None
    """Seconds of crossfade between old and new samples, on the source's side of each seam; None: 0.025."""

    def __post_init__(self) -> None:
        _needs_source(self)
        for field in ("before", "after"):
            value = getattr(self, field)
            if not is_number(value) or value < 0:
                raise RecipeError(f"Extend adds a number of seconds {field} the source, not {value!r}.")
        if not self.before and not self.after:
            raise RecipeError("Extend needs seconds to add: before=4, after=8, or both.")
        if self.wave_crossfade is not None and not (is_number(self.wave_crossfade) and 0 <= self.wave_crossfade <= 5):
            raise RecipeError(f"A wave crossfade lasts 0 to 5 seconds, not {self.wave_crossfade!r}.")


@dataclass(frozen=True)
class Cover(_Task):
    """The source's rhythm and harmony in another sound.

    `strength`: for this share of the steps the DiT follows the source, then only the words.
    `noise_strength`: above 0, start from the noised source, so that more of its sound stays.
    """

    name = "cover"
    source: Source | None = None
    strength: float = 1.0
    noise_strength: float = 0.0
    through_codes: bool = True
    """Hear the source through the 5 Hz codes (rhythm and harmony only) or as it is (latents)."""
    codes: tuple[int, ...] | None = None
    reference: Source | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", _codes(self.codes))
        if self.reference is not None:
            _hears(self, "reference", "A timbre is lent by")
        if self.codes is None:
            _needs_source(self)
        elif self.source is not None:
            raise RecipeError("A cover follows either a source or codes; hand it one of the two.")
        elif self.noise_strength:
            raise RecipeError("A cover from codes alone has no source to add noise to; leave noise_strength at 0.")
        object.__setattr__(self, "strength", _share("A cover's strength", self.strength))
        object.__setattr__(self, "noise_strength", _share("A cover's noise strength", self.noise_strength))


@dataclass(frozen=True)
class Retake(_Task):
    """The same recipe with its noise turned towards a second seed: 0 is the same take, 1 another one."""

    name = "text2music"
    source: Source
    variance: float
    seed: int

    def __post_init__(self) -> None:
        _needs_source(self)
        object.__setattr__(self, "variance", _share("A retake's variance", self.variance))
        if not is_whole(self.seed) or self.seed < 0:
            raise RecipeError(f"A retake's second seed is a whole number from 0 up, such as 7, not {self.seed!r}.")
        object.__setattr__(self, "seed", int(self.seed))


@dataclass(frozen=True)
class Extract(_Task):
    """One stem of the source, alone."""

    name = "extract"
    source: Source
    stem: str

    def __post_init__(self) -> None:
        _needs_source(self)
        object.__setattr__(self, "stem", vocabulary.stem(self.stem))

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(self.stem.upper())


@dataclass(frozen=True)
class Lego(_Task):
    """A new stem that fits the source, in a region or all along."""

    name = "lego"
    source: Source
    stem: str
    region: Region | None = None
    mask: str = "explicit"
    """explicit or auto (see MASKS)."""

    def __post_init__(self) -> None:
        _needs_source(self)
        _known_mask(self.mask)
        object.__setattr__(self, "stem", vocabulary.stem(self.stem))
        if self.region is not None:
            object.__setattr__(self, "region", _region(self.region))

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(self.stem.upper())


@dataclass(frozen=True)
class Complete(_Task):
    """The source with accompaniment by the named stems."""

    name = "complete"
    source: Source
    stems: tuple[str, ...]

    def __post_init__(self) -> None:
        _needs_source(self)
        stems = (self.stems,) if isinstance(self.stems, str) else tuple(self.stems)
        if not stems:
            raise RecipeError("Complete needs the stems to add, such as ('drums', 'bass').")
        object.__setattr__(self, "stems", tuple(vocabulary.stem(s) for s in stems))

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(" | ".join(s.upper() for s in self.stems))


@dataclass(frozen=True)
class FlowEdit(_Task):
    """The source moved from one description to another (FlowEdit, arXiv 2412.08629).

    `caption` and `lyrics` here describe the source; the recipe's own describe the goal. `n_min`/`n_max` are the
    shares of the schedule between which the difference of the two is followed, `n_avg` the noises averaged.
    """

    name = "text2music"
    source: Source
    caption: str = ""
    lyrics: str = ""
    n_min: float = 0.0
    n_max: float = 1.0
    n_avg: int = 1

    def __post_init__(self) -> None:
        _needs_source(self)
        object.__setattr__(self, "n_min", _share("n_min", self.n_min))
        object.__setattr__(self, "n_max", _share("n_max", self.n_max))
        if self.n_max <= self.n_min:
            raise RecipeError(f"n_max ({self.n_max:g}) must be above n_min ({self.n_min:g}).")
        if not is_whole(self.n_avg) or not 1 <= self.n_avg <= 64:
            raise RecipeError(f"n_avg is a whole number of noises from 1 to 64, not {self.n_avg!r}.")


Task: TypeAlias = Text2Music | Repaint | Extend | Cover | Retake | Extract | Lego | Complete | FlowEdit
TASKS: dict[str, type[Any]] = {
    t.__name__: t for t in (Text2Music, Repaint, Extend, Cover, Retake, Extract, Lego, Complete, FlowEdit)
}
"""Every task by its class name."""


def task_from_json(data: Mapping[str, Any]) -> Task:
    """Read a task back from `to_json`; RecipeError on an unknown task or field."""
    values = dict(data)
    name = values.pop("task", "Text2Music")
    if name not in TASKS:
        raise RecipeError(f"{name!r} is no task.{vocabulary.nearest(str(name), TASKS)}")
    kind = TASKS[name]
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise RecipeError(f"{name} has no field {sorted(unknown)[0]!r}.")
    if values.get("region") is not None:
        values["region"] = Region(*values["region"])
    for name in ("codes", "stems"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    task: Task = kind(**values)
    return task
