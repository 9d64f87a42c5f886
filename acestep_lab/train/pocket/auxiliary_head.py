"""What the transformer should know half-way up: who plays at every moment, and which notes. Taught directly, forgotten at export.

The velocity is mostly noise that nobody could foresee, so what the words change in it is a trace of the loss. A small head that reads the
score off the states of a middle layer makes the same words count in full (the idea of Yu et al. 2024, "Representation alignment for
generation", with the world's own score in place of another network's features). Instruments have to come out of the prompt and into the
moments where they play before the upper half of the layers can sound like them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.note_targets import KINDS
from acestep_lab.train.synthetic_music import Song

RINGS = 0.25  # seconds for which a short note is still heard
WEIGHTS = {"players": 0.40, "notes": 0.15}
CHANNELS = max(kind.stop for kind in KINDS.values())


def players(song: Song, frames: int, per_second: float) -> Tensor:
    """Whether each of STEMS sounds, [frames, 12], half precision."""
    playing = np.zeros((frames, len(STEMS)), np.float16)
    for note in song.notes:
        first = max(0, round(note.start * per_second))
        playing[
            first : max(first, round((note.start + max(note.length, RINGS)) * per_second)), STEMS.index(note.stem)
        ] = 1
    return torch.from_numpy(playing)


class Reader(nn.Module):
    """Reads players and notes off the states of tokens; only for teaching."""

    def __init__(self, width: int, inner: int = 192) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, len(STEMS) + CHANNELS)
        )
        self.states: Tensor | None = None

    @contextmanager
    def listening_to(self, dit: nn.Module) -> Iterator[None]:
        """Keep the states of the middle layer while the transformer runs."""

        def keep(layer: nn.Module, given: object, states: Tensor) -> None:
            self.states = states

        middle = dit.layers[(len(dit.layers) - 1) // 2]  # the third of six
        handle = middle.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def losses(self, playing: Tensor, sheet: Tensor, *, alone: bool = False) -> dict[str, Tensor]:
        """How badly the states say who plays [items, frames, 12] and the note sheet [items, frames, 32].

        Goals are at the rate of latents; a token has the mean of its frames. With `alone` only the head learns.
        """
        states = (self.states.detach() if alone else self.states).float()
        patch = playing.shape[1] // states.shape[1]
        playing, sheet = (
            goal[:, : patch * states.shape[1]].float().unflatten(1, (-1, patch)).mean(2) for goal in (playing, sheet)
        )
        who, notes = self.layers(states).split([len(STEMS), CHANNELS], dim=-1)
        return {
            "players": functional.binary_cross_entropy_with_logits(who, playing),
            "notes": functional.mse_loss(notes, sheet),
        }
