"""An auxiliary head on a middle layer of the transformer: which stems play at every moment, and which notes. Not exported.

The velocity is mostly noise that nobody could foresee, so what the words change in it is a trace of the loss. A small head that predicts
the score from the states of a middle layer makes the same words count in full (the idea of Yu et al. 2024, "Representation alignment for
generation", with the song's own score in place of another network's features). Instruments have to come out of the prompt and into the
moments where they play before the upper half of the layers can sound like them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.note_targets import TARGET_CHANNELS
from acestep_lab.train.synthetic_music import Song

RING_SECONDS = 0.25  # for which a short note still sounds
LOSS_WEIGHTS = {"activity": 0.40, "notes": 0.15}
CHANNELS = max(kind.stop for kind in TARGET_CHANNELS.values())


def instrument_activity(song: Song, frames: int, per_second: float) -> Tensor:
    """Whether each of STEMS sounds in a frame, [frames, 12] of 0 and 1, half precision."""
    activity = np.zeros((frames, len(STEMS)), np.float16)
    for note in song.notes:
        first = max(0, round(note.start * per_second))
        activity[
            first : max(first, round((note.start + max(note.length, RING_SECONDS)) * per_second)),
            STEMS.index(note.stem),
        ] = 1
    return torch.from_numpy(activity)


class ScoreHead(nn.Module):
    """Predicts playing stems and note targets from the states of latent tokens; only for training."""

    def __init__(self, width: int, inner: int = 192) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, len(STEMS) + CHANNELS)
        )
        self.states: Tensor | None = None

    @contextmanager
    def reading_from(self, dit: Any) -> Iterator[None]:
        """Keep the states of the middle layer of a transformer that runs inside this context."""

        def keep(layer: nn.Module, inputs: object, states: Tensor) -> None:
            self.states = states

        middle = dit.layers[(len(dit.layers) - 1) // 2]  # the third of six
        handle = middle.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def losses(self, activity: Tensor, note_targets: Tensor, *, head_only: bool = False) -> dict[str, Tensor]:
        """Losses of the kept states against stem activity [items, frames, 12] and note targets [items, frames, 32].

        Targets are at the rate of latents; a token has the mean of its frames. With `head_only` only the head learns.
        Raises RuntimeError before a transformer has run inside `reading_from`.
        """
        if self.states is None:
            raise RuntimeError("The score head has no states yet; run the transformer inside reading_from(dit) first.")
        states = (self.states.detach() if head_only else self.states).float()
        patch = activity.shape[1] // states.shape[1]
        activity, note_targets = (
            target[:, : patch * states.shape[1]].float().unflatten(1, (-1, patch)).mean(2)
            for target in (activity, note_targets)
        )
        activity_logits, note_values = self.layers(states).split([len(STEMS), CHANNELS], dim=-1)
        return {
            "activity": functional.binary_cross_entropy_with_logits(activity_logits, activity),
            "notes": functional.mse_loss(note_values, note_targets),
        }
