"""What the DiT sees of a task's source, what is held outside a region, and where the loop begins.

Knows latents; does not know tasks, models, prompts' words, the loop or sound. Which task sees what is in `task_rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acestep_lab.engines.ace15 import context
from acestep_lab.engines.ace15.context import Context
from acestep_lab.prompt.tasks import KeepStrength

AfterStep = Callable[[int, float, Tensor], Tensor]
"""after(index, t, x) -> x: what is done to a latent `[items, frames, channels]` once a step is through."""


@dataclass(frozen=True, eq=False)
class SourceLatents:
    """What a task starts from, already as latents `[frames, channels]`."""

    silence: Tensor
    source: Tensor | None = None
    """The source as the autoencoder hears it."""
    semantic: Tensor | None = None
    """The source, or codes, as the five-a-second codes remember it."""
    samples: int = 0
    """Length of the source's sound."""


@dataclass(frozen=True, eq=False)
class KeepMask:
    """What a repaint holds outside its regions."""

    clean: Tensor  # [frames, channels]
    mask: Tensor  # [frames], 1 = make, 0 = keep
    strength: KeepStrength
    crossfade: int  # latent frames


@dataclass(frozen=True, eq=False)
class EditSpec:
    """One item's work order for the loop."""

    context: Context
    instruction: str
    fallback: Context | None = None
    """Seen instead of `context` once a cover has switched to its words."""
    cover_strength: float = 1.0
    """Share of the steps before that switch."""
    init_noise: float = 0.0
    """Above 0: begin from the source noised to about 1 - init_noise (the reference's cover_noise_strength)."""
    source: Tensor | None = None
    """What the loop begins from, or what is edited `[frames, channels]`."""
    kept: KeepMask | None = None

    @property
    def frames(self) -> int:
        return self.context.frames


def put_back(latent: Tensor, kept: KeepMask | None) -> Tensor:
    """The loop's last latent `[frames, channels]` with the kept part put back, fading over the crossfade."""
    if kept is None:
        return latent
    return context.crossfaded(latent[None], kept.clean[None].to(latent), kept.mask[None].to(latent), kept.crossfade)[0]


def holding(kept: Sequence[KeepMask | None], start: Tensor, steps: int) -> AfterStep | None:
    """What holds the outside during the loop for a batch: each item by its own share of the steps."""
    if all(item is None for item in kept):
        return None
    hooks = [_holding_one(item, start[index : index + 1], steps) for index, item in enumerate(kept)]
    return lambda index, t, x: torch.cat([hook(index, t, x[n : n + 1]) for n, hook in enumerate(hooks)])


def _holding_one(kept: KeepMask | None, start: Tensor, steps: int) -> AfterStep:
    if kept is None:
        return lambda index, t, x: x
    clean, mask = kept.clean[None].to(start), kept.mask[None].to(start)
    return context.injection(clean, start, mask, round(kept.strength.injection * steps))
