"""Which latent frames are new: repaint's mask, and the window of a song that is made longer. Knows no model and no schedule.

A latent here is `[frames, channels]`; what is kept of a source stays as it is in every number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acestep_lab.engines.ace_v1.geometry import FRAMES_PER_SECOND, frames_of, seconds_of
from acestep_lab.errors import RecipeError
from acestep_lab.prompt.tasks import Region

LONGEST = 240.0
"""Seconds the model looks at; a longer song grows at its end or its beginning, with so much of it in sight."""


def repaint_mask(frames: int, regions: Sequence[Region]) -> Tensor:
    """True where frames `[frames]` are made anew: every frame that a region touches."""
    mask = torch.zeros(frames, dtype=torch.bool)
    for region in regions:
        mask[math.floor(region.start * FRAMES_PER_SECOND) : math.ceil(region.end * FRAMES_PER_SECOND)] = True
    return mask


@dataclass(frozen=True)
class Window:
    """The part of a song that is in sight while it is made longer, in latent frames."""

    first: int
    """First frame of the source that is seen."""
    last: int
    """The one after the last."""
    before: int
    """New frames before it."""
    after: int
    """New frames behind it."""

    @property
    def frames(self) -> int:
        """How many the loop works on."""
        return self.before + self.last - self.first + self.after

    def source(self, latent: Tensor) -> Tensor:
        """What is seen of the source, with nothing where it is made anew `[frames, channels]`."""
        seen = latent[self.first : self.last]
        return torch.cat([seen.new_zeros(self.before, seen.shape[1]), seen, seen.new_zeros(self.after, seen.shape[1])])

    def mask(self) -> Tensor:
        """True where frames `[frames]` are new."""
        mask = torch.ones(self.frames, dtype=torch.bool)
        mask[self.before : self.frames - self.after] = False
        return mask

    def whole(self, latent: Tensor, made: Tensor) -> Tensor:
        """The whole song: the source as it is, but for a last frame that is made anew, and what was made before and behind it."""
        kept = latent[: self.last] if self.after else latent
        return torch.cat([made[: self.before], kept.to(made), made[self.frames - self.after :]])


def extend_window(frames: int, before: int, after: int, most: int = frames_of(LONGEST)) -> Window:
    """The window for `before` and `after` new frames around a source of `frames`; RecipeError where no window holds them.

    Where all does not fit, the source is in sight only next to what is new.
    """
    spare = before + frames + after - most
    if spare <= 0:
        return Window(0, frames, before, after)
    if before and after:
        raise RecipeError(
            f"ACE-Step v1 sees {LONGEST:g} s at once: a song that gets longer than that grows at one side at a time. "
            "Extend it before, then extend the result after."
        )
    if spare >= frames or most <= before + after:
        raise RecipeError(
            f"ACE-Step v1 sees {LONGEST:g} s at once, so at most {seconds_of(most - 1):.0f} s can be added at a time."
        )
    return Window(0, frames - spare, before, 0) if before else Window(spare, frames, 0, after)
