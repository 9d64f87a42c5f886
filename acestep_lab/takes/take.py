"""The Take: a finished piece with everything it came from.

Knows no torch and no model. A take never changes; `but` makes another one.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from acestep_lab.decode.audio import Audio
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.verdict import Verdict, compare, made_otherwise

if TYPE_CHECKING:
    from acestep_lab.listen import Heard
    from acestep_lab.plan.plan import Plan


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
    known_as: str | None = None
    """The id a file gives, where it cannot be worked out again (its latent is not at hand)."""

    def __post_init__(self) -> None:
        latent = np.array(self.latent, dtype=np.float32)
        latent.flags.writeable = False
        object.__setattr__(self, "latent", latent)
        object.__setattr__(self, "parents", tuple(self.parents))

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
        if self.known_as:
            return self.known_as
        digest = hashlib.blake2b(digest_size=6)
        digest.update(json.dumps(self.recipe.to_json(), sort_keys=True, ensure_ascii=False).encode())
        digest.update(str(self.made_with.get("checkpoint", "")).encode())
        digest.update(np.ascontiguousarray(self.latent).tobytes())
        digest.update(self.audio.samples.tobytes())
        return f"take-{digest.hexdigest()}"

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.audio.seconds

    def but(self, **changes: Any) -> Self:
        """The same take with some fields changed; a new value with a new id."""
        return replace(self, **changes)

    def code(self, session: str = "lab") -> str:
        """The line of Python that makes this take again."""
        return f"{session}.make({self.recipe.code()})"

    def verify(self, again: Take | Maker) -> Verdict:
        """Compare with another take, or with what a session makes of the same recipe: same, same to the ear, different."""
        other = again if isinstance(again, Take) else again.make(self.recipe, self.plan)
        return replace(compare(self.audio, other.audio), remark=made_otherwise(self.made_with, other.made_with))

    def listen(self) -> Heard:
        """What can be heard in it: tempo, key, meter, loudness, instruments, each with how far to trust it.

        The tempo that was asked for only tells the meter which beat to count. Raises SourceError for less than a second.
        """
        from acestep_lab.listen import listen

        return listen(self.audio, self.recipe.bpm)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write it as .flac, .wav, .opus, .ogg, .mp3, or .zip with latent and manifest."""
        from acestep_lab.takes.library import export

        return export(self, path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from acestep_lab.ui.notebook import take_bundle

        return take_bundle(self, include=include, exclude=exclude)
