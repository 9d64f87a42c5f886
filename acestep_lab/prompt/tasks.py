"""What may be asked of the DiT, each task a small frozen value with only its own fields.

Knows no torch and no model. A `source` is anything with an `id` (a Take, an Audio) or such an id as a string;
written to JSON it becomes the id. The names are the field's own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.checks import given as _given
from acestep_lab.prompt.checks import sentences
from acestep_lab.prompt.sampling import MOST_CAPTION

MAX_SEED = 2**63 - 1
MOST_LYRICS = 100_000
"""Characters of the longest caption and lyrics that are read."""


@runtime_checkable
class HasId(Protocol):
    """Anything that says who it is: a Take, an Audio."""

    @property
    def id(self) -> str: ...


Source: TypeAlias = "HasId | str | os.PathLike[str]"
"""A sound to start from: a Take, an Audio, the id of one, or a file."""


MOST_SECONDS = 100_000.0
"""The latest time a region may name; a source is much shorter."""

MOST_CROSSFADE_SECONDS = 5.0
"""The longest crossfade."""


@sentences
@dataclass(frozen=True, order=True)
class Region:
    """A span of time in seconds, `start` before `end`."""

    start: float
    end: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = checks.plain_number(getattr(self, name))
            if value is None:
                raise RecipeError(f"A region's {name} is a time in seconds, not {shown(getattr(self, name))}.")
            if value > MOST_SECONDS:
                raise RecipeError(
                    f"A region's {name} is a time of at most {MOST_SECONDS:,.0f} s, not {checks.figure(value)}."
                )
            object.__setattr__(self, name, float(max(value, -MOST_SECONDS)))
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
        rate = checks.real("A rate", rate, 1e-3, 1e6)
        first = math.floor(self.start * rate + 1e-6)
        return slice(first, max(first + 1, math.ceil(self.end * rate - 1e-6)))

    def samples(self, rate: int) -> slice:
        """Samples this region covers at `rate` samples per second."""
        rate = checks.whole("A sample rate", rate, 1, 10**9)
        return slice(round(self.start * rate), round(self.end * rate))


def regions(value: Region | Iterable[object]) -> tuple[Region, ...]:
    """Return one or several regions as a sorted tuple; RecipeError where they overlap or none is given."""
    items: Sequence[Any] = (
        [value] if checks.is_a(value, Region, str) else checks.sequence("A list of regions", value, 1000)
    )
    if not checks.is_a(value, set, frozenset) and len(items) == 2 and all(checks.is_number(i) for i in items):
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
    if checks.is_a(value, Region):
        return value
    if checks.is_a(value, str) or not checks.is_a(value, Iterable):
        raise RecipeError(f"A region is Region(start, end) in seconds, such as Region(8, 12), not {shown(value)}.")
    return Region(*checks.pair("A region, from start to end in seconds,", value))


def _set(task: _Task | Piece, name: str, value: object) -> None:
    """Put a checked value into a frozen task."""
    object.__setattr__(task, name, value)


def _validate(task: _Task | Piece, **readers: Callable[[Any], object]) -> None:
    """Put a task's fields through their readers; what is None stays so."""
    for name, reader in readers.items():
        if (value := getattr(task, name)) is not None:
            _set(task, name, reader(value))


def _fill_defaults(task: _Task, *names: str) -> None:
    """None in a field means its default; RecipeError where it has none."""
    for name in names:
        if getattr(task, name) is None:
            _set(task, name, next(f.default for f in fields(task) if f.name == name))  # type: ignore[arg-type]


def _codes(value: object) -> tuple[int, ...]:
    """At least one code."""
    found = checks.codes(value)
    if not found:
        raise RecipeError("Audio codes are a list of whole numbers from 0 up, five for each second of music.")
    return found


def _mode(value: object) -> str:
    return checks.choice("repaint mode", value, REPAINT_MODES)


def _mask(value: object) -> str:
    return checks.choice("mask", value, MASKS)


def _crossfade(name: str) -> Callable[[object], float]:
    """Seconds of crossfade at an edge of an edit."""
    return _given(f"A {name.replace('_', ' ')}", checks.real, 0.0, MOST_CROSSFADE_SECONDS, "seconds")


def _check_source(task: _Task | Piece) -> None:
    """Refuse a task without a sound to start from; a file becomes its name."""
    source = getattr(task, "source", None)
    if source is None or checks.plain_text(source) == "":
        raise RecipeError(f"{type(task).__name__} starts from a sound: hand it a take or an audio.")
    _check_sound(task, "source", f"{type(task).__name__} starts from")


def _check_sound(task: _Task | Piece, field: str, words: str) -> None:
    """Refuse what is no sound in a field; a file becomes its name. `words` begin the sentence."""
    sound = getattr(task, field)
    if checks.is_a(sound, os.PathLike):
        sound = checks.tried(lambda: os.fspath(sound))
    if checks.is_a(sound, str):
        _set(task, field, checks.name(f"{words} an id or a file's name, which", sound))
        return
    named = None if checks.is_a(sound, type) else checks.tried(lambda: sound.id)
    if not checks.is_a(named, str):
        raise RecipeError(
            f"{words} a take, an audio or a file, not {checks.kind_of(sound)}; bare samples become a sound as "
            "Audio(samples, rate)."
        )
    checks.name(f"The id of the {field}", named)


def source_id(source: Source) -> str:
    """The id or name a source goes by."""
    return str.__str__(source) if isinstance(source, str) else str(getattr(source, "id", source))


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

    def with_sources(self, sources: Mapping[str, Source]) -> Self:
        """The same task with other sounds, by the names that `sources` gives them."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{**kept, **sources})

    def with_ids(self) -> Self:
        """The same task with every source given by its id, so that it holds plain data only."""
        return self.with_sources({name: source_id(source) for name, source in self.sources().items()})

    def to_json(self) -> dict[str, object]:
        """Plain data, with the task's class name under "task"."""
        plain = self.with_ids()
        return {"task": type(self).__name__} | {
            f.name: _plain(getattr(plain, f.name))
            for f in fields(plain)  # type: ignore[arg-type]
            if getattr(plain, f.name) != f.default
        }


def _plain(value: object) -> object:
    if isinstance(value, Region):
        return [value.start, value.end]
    if isinstance(value, Piece):
        return {f.name: _plain(one) for f in fields(value) if (one := getattr(value, f.name)) is not None}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


@sentences
@dataclass(frozen=True)
class Text2Music(_Task):
    """Music from words alone, perhaps with a timbre to lean on and semantic codes to follow."""

    name = "text2music"
    plans = True
    reference: Source | None = None
    codes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _validate(self, codes=_codes)
        if self.reference is not None:
            _check_sound(self, "reference", "A timbre is taken from")


REPAINT_MODES = ("conservative", "balanced", "aggressive")
MASKS = ("explicit", "auto")
"""How the DiT is told what to make anew: by the region itself, or by ones everywhere, as the reference's default does."""


@dataclass(frozen=True)
class KeepStrength:
    """How firmly a repaint holds the outside of its regions (ACE-Step 1.5, repaint_mode)."""

    injection: float
    """Share of the steps during which the outside is set to the noised source."""
    latent_seconds: float
    """Crossfade of latents outside each border."""
    wave_seconds: float
    """Crossfade of samples outside each border."""


def keep_strength(mode: str, strength: float) -> KeepStrength:
    """The numbers behind conservative, balanced and aggressive; `strength` counts where the mode is balanced."""
    loose = {"conservative": 1.0, "aggressive": 0.0}.get(mode, 1.0 - strength)
    return KeepStrength(loose, loose * 1.0, loose * 0.05)


@sentences
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
        _check_source(self)
        _fill_defaults(self, "mode", "strength", "mask")
        if self.regions is None:
            raise RecipeError("Name at least one region to repaint, such as Region(8, 12).")
        _validate(
            self,
            regions=regions,
            mode=_mode,
            strength=_given("A repaint's strength", checks.share),
            injection=_given("The injection ratio", checks.share),
            latent_crossfade=_crossfade("latent_crossfade"),
            wave_crossfade=_crossfade("wave_crossfade"),
            mask=_mask,
        )


@sentences
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
        _check_source(self)
        _fill_defaults(self, "before", "after")
        added = {
            name: _given(f"What Extend adds {name} the source", checks.real, 0.0, 600.0, "seconds")
            for name in ("before", "after")
        }
        _validate(self, **added, wave_crossfade=_crossfade("wave_crossfade"))
        if not self.before and not self.after:
            raise RecipeError("Extend needs seconds to add: before=4, after=8, or both.")


@sentences
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
        _fill_defaults(self, "strength", "noise_strength", "through_codes")
        _validate(
            self,
            codes=_codes,
            strength=_given("A cover's strength", checks.share),
            noise_strength=_given("A cover's noise strength", checks.share),
            through_codes=_given("A cover's through_codes", checks.truth),
        )
        if self.reference is not None:
            _check_sound(self, "reference", "A timbre is taken from")
        if self.codes is None:
            _check_source(self)
        elif self.source is not None:
            raise RecipeError("A cover follows either a source or codes; hand it one of the two.")
        elif self.noise_strength:
            raise RecipeError("A cover from codes alone has no source to add noise to; leave noise_strength at 0.")


@sentences
@dataclass(frozen=True)
class Retake(_Task):
    """The same recipe with its noise turned towards a second seed: 0 is the same take, 1 another one."""

    name = "text2music"
    source: Source
    variance: float
    seed: int

    def __post_init__(self) -> None:
        _check_source(self)
        _set(self, "variance", checks.share("A retake's variance", self.variance))
        _set(self, "seed", checks.whole("A retake's second seed", self.seed, 0, MAX_SEED))


@sentences
@dataclass(frozen=True)
class Extract(_Task):
    """One stem of the source, alone."""

    name = "extract"
    source: Source
    stem: str

    def __post_init__(self) -> None:
        _check_source(self)
        _set(self, "stem", vocabulary.stem(self.stem))

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(self.stem.upper())


@sentences
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
        _check_source(self)
        _fill_defaults(self, "mask")
        _set(self, "stem", vocabulary.stem(self.stem))
        _validate(self, region=_region, mask=_mask)

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(self.stem.upper())


@sentences
@dataclass(frozen=True)
class Complete(_Task):
    """The source with accompaniment by the named stems."""

    name = "complete"
    source: Source
    stems: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_source(self)
        given = self.stems
        stems = (
            (given,) if checks.is_a(given, str) else checks.sequence("What Complete adds", given, len(vocabulary.STEMS))
        )
        if not stems:
            raise RecipeError("Complete needs the stems to add, such as ('drums', 'bass').")
        _set(self, "stems", tuple(vocabulary.stem(one) for one in stems))

    def instruction(self) -> str:
        return vocabulary.INSTRUCTIONS[self.name].format(" | ".join(s.upper() for s in self.stems))


@sentences
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
        _check_source(self)
        _fill_defaults(self, "caption", "lyrics", "n_min", "n_max", "n_avg")
        _validate(
            self,
            caption=_given("The source's caption", checks.text, MOST_CAPTION),
            lyrics=_given("The text of the source's lyrics", checks.text, MOST_LYRICS),
            n_min=_given("n_min", checks.share),
            n_max=_given("n_max", checks.share),
            n_avg=_given("n_avg", checks.whole, 1, 64),
        )
        if self.n_max <= self.n_min:
            raise RecipeError(f"n_max ({self.n_max:g}) must be above n_min ({self.n_min:g}).")


MOST_PIECES = 64
"""Pieces of one stitched song."""
STITCHED_SECONDS = (0.5, 600.0)
"""Shortest and longest stitched song."""
JOINTS = ("beat", "none")
"""How pieces may meet, besides seconds of crossfade: over one beat, the beats falling together; or cut where the wave
crosses zero."""


@sentences
@dataclass(frozen=True)
class Piece:
    """A part of a take or sound that stands in a stitched song: a region of it, or the whole."""

    source: Source
    region: Region | None = None
    crossfade: float | None = None
    """Seconds over which it comes in while the piece before it goes out; None: as the Stitch says. 0 is a cut."""

    def __post_init__(self) -> None:
        _check_source(self)
        _validate(self, region=_region, crossfade=_crossfade("piece's crossfade"))


def _piece(value: Any) -> Piece:
    """A piece; or its JSON, a source alone, or a source with its region and perhaps its crossfade."""
    if checks.is_a(value, Piece):
        return value
    if checks.is_a(value, Mapping):
        return Piece(**checks.mapping("A piece", value))
    if checks.is_a(value, tuple, list):
        if not 1 <= len(value) <= 3:
            raise RecipeError(f"A piece is a take and its region, such as (take, Region(0, 8)), not {shown(value)}.")
        return Piece(*value)
    return Piece(value)


def _joint(value: object) -> str | float:
    """A kind of joint, or seconds of crossfade."""
    if checks.plain_text(value) is None and checks.plain_number(value) is not None:
        return checks.real("A crossfade", value, 0.0, MOST_CROSSFADE_SECONDS, "seconds")
    if checks.word(value) not in JOINTS:
        raise RecipeError(f"A crossfade is 'beat', 'none' or seconds, such as 0.5, not {shown(value)}.")
    return checks.word(value)


@sentences
@dataclass(frozen=True)
class Stitch(_Task):
    """Pieces of takes and sounds one after another, in one song. No model is asked: every session can do it.

    Outside its crossfades each piece's samples are its source's own. A crossfade has equal power and lies over the place
    where two pieces meet, out of what their sources hold beyond their regions, so that the pieces keep their lengths; where
    the sources hold nothing there, the pieces overlap. `crossfade` is "beat" (a beat long, and the incoming piece begins up
    to half a beat earlier or later, so that its beats fall on those of the piece before), seconds, or "none" (a cut where
    the wave crosses zero, within 5 ms).
    """

    name = "stitch"
    pieces: tuple[Piece, ...]
    crossfade: str | float = "beat"

    def __post_init__(self) -> None:
        _fill_defaults(self, "crossfade")
        given = self.pieces
        listed = (
            (given,)
            if checks.is_a(given, Piece)
            else checks.sequence("The pieces of a song", given, MOST_PIECES, ordered=True)
        )
        if not listed:
            raise RecipeError("A stitched song needs at least one piece, such as (take, Region(0, 8)).")
        _set(self, "pieces", tuple(_piece(one) for one in listed))
        _validate(self, crossfade=_joint)

    def instruction(self) -> str:
        return ""

    def sources(self) -> dict[str, Source]:
        """The sound of each piece, by its place."""
        return {f"piece {place}": piece.source for place, piece in enumerate(self.pieces, 1)}

    def with_sources(self, sources: Mapping[str, Source]) -> Self:
        """The same pieces of other sounds, by the places that `sources` names."""
        named = zip(self.sources(), self.pieces, strict=True)
        pieces = tuple(Piece(sources.get(name, one.source), one.region, one.crossfade) for name, one in named)
        return type(self)(pieces, self.crossfade)


Task: TypeAlias = Text2Music | Repaint | Extend | Cover | Retake | Extract | Lego | Complete | FlowEdit | Stitch
MODEL_TASKS: dict[str, type[Task]] = {
    t.__name__: t for t in (Text2Music, Repaint, Extend, Cover, Retake, Extract, Lego, Complete, FlowEdit)
}
"""The tasks that an engine does, by their class names: what a checkpoint is asked for."""
TASKS: dict[str, type[Task]] = {**MODEL_TASKS, Stitch.__name__: Stitch}
"""Every task by its class name."""


def task_from_json(data: Mapping[str, object]) -> Task:
    """Read a task back from `to_json`; RecipeError on an unknown task or field."""
    values = checks.mapping("A task", data)
    name = values.pop("task", "Text2Music")
    name = checks.plain_text(name) or name
    if not checks.is_a(name, str) or name not in TASKS:
        near = vocabulary.nearest(name, TASKS) if checks.is_a(name, str) else ""
        raise RecipeError(f"{shown(name)} is no task.{near} Known: {', '.join(TASKS)}.")
    task: Task = TASKS[name](**values)
    return task
