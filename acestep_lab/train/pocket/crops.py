"""A pool of rendered songs for the autoencoder: crops of mixes, of single stems and of parts of a mix.

Songs are composed on the fly and never stored: rendering is a thousand times faster than playing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train import synthetic_music


@dataclass(frozen=True)
class Piece:
    """One rendered song: its stems [stems, samples]; the mix is their sum."""

    stems: np.ndarray


def rendered(seed: int, seconds: float, rate: int) -> Piece:
    """Compose and render song number `seed` in mono."""
    rendering = synthetic_music.render(synthetic_music.compose(seed, seconds), rate, 1)
    return Piece(np.stack([np.asarray(stem, np.float32).reshape(-1) for stem in rendering.stems.values()]))


class SoundPool:
    """So many songs in memory, slowly exchanged for new ones."""

    def __init__(self, songs: int, seconds: float, rate: int, first_seed: int) -> None:
        self.seconds, self.rate, self.seed = seconds, rate, first_seed
        self.random = np.random.default_rng(first_seed)
        self.pieces = [self._next() for _ in range(songs)]

    def _next(self) -> Piece:
        self.seed += 1
        return rendered(self.seed, self.seconds, self.rate)

    def exchange(self) -> None:
        """Replace one song by a new one."""
        self.pieces[self.random.integers(len(self.pieces))] = self._next()

    def _choose(self, stems: np.ndarray) -> np.ndarray:
        """55 % the mix, 25 % one stem, 20 % some of the stems."""
        kind, count = self.random.random(), len(stems)
        if kind < 0.55:
            return stems.sum(0)
        if kind < 0.80:
            return stems[self.random.integers(count)]
        return stems[self.random.random(count) < 0.6].sum(0)

    def crop(self, samples: int) -> np.ndarray:
        """One crop; every fifth starts where the song starts."""
        stems = self.pieces[self.random.integers(len(self.pieces))].stems
        last = stems.shape[1] - samples
        start = 0 if self.random.random() < 0.2 else self.random.integers(last + 1)
        return self._choose(stems[:, start : start + samples]) * self.random.uniform(0.6, 1.5)

    def batch(self, size: int, samples: int) -> Tensor:
        """Crops [batch, 1, samples]."""
        return torch.from_numpy(np.stack([self.crop(samples) for _ in range(size)]).astype(np.float32))[:, None]
