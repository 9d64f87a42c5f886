"""The Take: a finished piece with everything it came from.

Knows no torch and no model. A take never changes; `replace` makes another one. Its id is earned by what it holds: a take read
from a file keeps the id its manifest proves only as long as it holds what that manifest tells of.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError, RecipeError, TakeWarning, shown, warn_caller
from acestep_lab.prompt.checks import is_a, tried
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes import identity
from acestep_lab.takes.verdict import Verdict, compare, making_differences

if TYPE_CHECKING:
    from acestep_lab.audio.exporting import ExportOptions
    from acestep_lab.plan.plan import Plan
    from acestep_lab.takes.embedding import Embedded


class Aligned(Protocol):
    """Lyrics in time: an `Alignment`."""

    def to_json(self) -> dict[str, Any]: ...


class Maker(Protocol):
    """Anything that can make a take: a Session."""

    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take: ...


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, eq=False)
class Take:
    """Sound, latent, and the recipe as resolved: enough to hear it, go on from it, or make it again."""

    recipe: Recipe
    """As resolved: seed, seconds, steps and all that was "auto" are numbers here; sources are ids."""
    audio: Audio
    latent: np.ndarray
    """float32 `[frames, channels]`."""
    plan: Plan | None = None
    parents: tuple[str, ...] = ()
    """Ids of the takes and sounds this one was made from."""
    made_with: Mapping[str, Any] = field(default_factory=dict)
    """Checkpoint, package versions, machine, seconds per stage, gain: plain data."""
    asked: Recipe | None = None
    """The recipe before anything was resolved, where it differs."""
    created: str = field(default_factory=_now)
    """Time of making, ISO 8601, UTC."""
    remarks: tuple[str, ...] = ()
    """What opening its file had to say, in sentences."""
    manifest: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    """The manifest it was read from, whose id it bears; another recipe, sound or latent makes it a take of its own."""

    def __post_init__(self) -> None:
        for name, kind in (("recipe", Recipe), ("audio", Audio), ("made_with", Mapping), ("created", str)):
            if not is_a(getattr(self, name), kind):
                raise LibraryError(f"A take's {name} is a {kind.__name__}, not {shown(getattr(self, name))}.")
        object.__setattr__(self, "latent", _latent(self.latent))
        object.__setattr__(self, "audio", identity.without_negative_zeros(self.audio))
        object.__setattr__(self, "parents", _names("parents", self.parents))
        object.__setattr__(self, "remarks", _names("remarks", self.remarks))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Take) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        words = self.recipe.caption if len(self.recipe.caption) <= 40 else self.recipe.caption[:39] + "…"
        return f"<Take {self.id}: {words!r}, {self.seconds:.1f} s, seed {self.recipe.seed}>"

    @cached_property
    def id(self) -> str:
        """A name made of what was made and how: the same recipe giving the same sound has the same id."""
        return str(self.manifest["id"]) if self.manifest is not None else identity.identity(self.facts)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What its id is made of, as plain data: recipe, parents, and digests of its sound and latent."""
        return {
            "recipe": self.recipe.to_json(),
            "parents": list(self.parents),
            "made_with": dict(self.made_with),
            "audio": identity.sound_facts(self.audio),
            "latent": identity.latent_facts(self.latent),
        }

    @property
    def is_copy(self) -> bool:
        """Whether its sound is a copy of the one that earned its id, as a lossy format left it."""
        original = None if self.manifest is None else identity.original_of(self.manifest)
        return (
            original is not None and "fingerprint" in original and original["sha256"] != self.facts["audio"]["sha256"]
        )

    def has_sound_of(self, other: Take) -> bool:
        """Whether its sound is another take's, or a copy of it."""
        one, two = self.facts["audio"], other.facts["audio"]
        return bool(one["sha256"] == two["sha256"] or identity.is_copy_of(two, self.audio))

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.audio.seconds

    def replace(self, **changes: Any) -> Self:
        """The same take with some fields changed; a new value, with a new id where recipe, sound, latent or parents differ.

        RecipeError for what is no field of a take.
        """
        unknown = sorted(set(changes) - {f.name for f in fields(self) if f.init})
        if unknown:
            raise RecipeError(f"A take has no field {shown(unknown[0])} that can be changed.")
        changed = replace(self, **changes)
        return changed.with_manifest(self.manifest) if self.manifest is not None and _alike(self, changed) else changed

    def with_manifest(self, manifest: Mapping[str, object]) -> Self:
        """The same take, bearing the id of the manifest it was read from."""
        take = replace(self)
        object.__setattr__(take, "manifest", dict(manifest))
        return take

    def as_child(self, *remarks: str) -> Self:
        """A take of its own with the same content and this one as its parent, so that it has another id."""
        return replace(self, parents=(self.id,), remarks=(*self.remarks, *remarks))

    def code(self, session: str = "lab") -> str:
        """The line of Python that makes this take again; RecipeError where `session` is no name."""
        if not isinstance(session, str) or not session.isidentifier():
            raise RecipeError(f"A session's name is a word of Python, such as 'lab', not {shown(session)}.")
        return f"{session}.make({self.recipe.code()})"

    def verify(self, again: Take | Maker) -> Verdict:
        """Compare with another take, or with what a session makes of the same recipe: same, same to the ear, different.

        LibraryError for anything else.
        """
        if not isinstance(again, Take) and not callable(getattr(again, "make", None)):
            raise LibraryError(
                f"A take is held against another one, or against what a session makes, not {shown(again)}."
            )
        other = again if isinstance(again, Take) else again.make(self.recipe, self.plan)
        return replace(compare(self.audio, other.audio), remark=making_differences(self.made_with, other.made_with))

    def export(
        self, path: str | os.PathLike[str], options: ExportOptions | None = None, *, lyrics: Aligned | None = None, **changes: object
    ) -> Path:  # fmt: skip
        """Write it as .flac, .wav, .opus, .ogg, .mp3, .m4a, a .zip with latent and manifest, or an .html page that plays.

        ::

            take.export("song.wav", bits=16, lufs=-14, fade_out=3)
            take.export("song.mp3", bitrate=320, rate=44100)

        `lyrics=lab.align(take)` lights a page's words as they are sung. What can be asked for says `ExportOptions`. Warns (`TakeWarning`) of what could not be done as asked; where samples
        were changed the file says so, and opened again it is a new take with this one as its parent.
        """
        from acestep_lab.audio.exporting import ExportOptions
        from acestep_lab.takes.exchange import export

        timed = None if lyrics is None else {self.id: lyrics.to_json()}
        target, remarks = export(self, path, ExportOptions.of(options, changes), timed)
        for remark in remarks:
            warn_caller(remark, TakeWarning)
        return target

    def embed(self, seconds: float = 10.0, start: float | None = None) -> Embedded:
        """A few seconds of it as a player inside the notebook's own file, so that it still plays where no kernel is.

        About 80 kB for ten seconds (Opus); `start` None takes the liveliest part. RecipeError for what is no length.
        """
        from acestep_lab.takes.embedding import embed

        return embed(self, seconds, start)


def _latent(value: object) -> np.ndarray:
    """A latent as float32 `[frames, channels]` that nobody can write to."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            latent = np.asarray(value, dtype=np.float32).copy()
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
    ):  # whatever __array__ and __float__ raise
        raise LibraryError(f"A take's latent is numbers [frames, channels], not {shown(value)}.") from None
    if latent.ndim != 2:
        raise LibraryError(f"A take's latent comes as [frames, channels]; this one has the shape {list(latent.shape)}.")
    latent.flags.writeable = False
    return latent


def _names(what: str, value: Any) -> tuple[str, ...]:
    found = tried(lambda: tuple(value)) if is_a(value, Sequence, Set) and not is_a(value, str, bytes) else None
    if not isinstance(found, tuple) or not all(is_a(one, str) for one in found):
        raise LibraryError(f"A take's {what} are text, not {shown(value)}.")
    return found


def _alike(one: Take, other: Take) -> bool:
    """Whether two takes hold the same of everything that an id is made of."""
    made = [take.made_with.get("checkpoint") for take in (one, other)]
    same = (one.recipe, one.parents, made[0]) == (other.recipe, other.parents, made[1])
    return same and one.audio == other.audio and np.array_equal(one.latent, other.latent)
