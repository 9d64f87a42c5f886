"""The training set of the autoencoder: crops of rendered songs, of their mixes, single stems and subsets of stems.

Songs are composed on the fly and never stored: rendering is a thousand times faster than real time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train import synthetic_music


@dataclass(frozen=True)
class RenderedSong:
    """One rendered song: its stems [stems, samples]; the mix is their sum."""

    stems: np.ndarray


def render_song(seed: int, seconds: float, rate: int) -> RenderedSong:
    """Compose and render the song of a seed in mono at `rate` Hz."""
    rendering = synthetic_music.render(synthetic_music.compose(seed, seconds), rate, 1)
    return RenderedSong(np.stack([np.asarray(stem, np.float32).reshape(-1) for stem in rendering.stems.values()]))


class CropPool:
    """`songs` rendered songs in memory, slowly replaced by new ones."""

    def __init__(self, songs: int, seconds: float, rate: int, first_seed: int) -> None:
        self.seconds, self.rate, self.seed = seconds, rate, first_seed
        self.random = np.random.default_rng(first_seed)
        self.songs = [self._next() for _ in range(songs)]

    def _next(self) -> RenderedSong:
        self.seed += 1
        return render_song(self.seed, self.seconds, self.rate)

    def replace_one(self) -> None:
        """Replace a random song by a new one."""
        self.songs[self.random.integers(len(self.songs))] = self._next()

    def _mixdown(self, stems: np.ndarray) -> np.ndarray:
        """55 % the mix, 25 % one stem, 20 % some of the stems."""
        kind, count = self.random.random(), len(stems)
        if kind < 0.55:
            return np.asarray(stems.sum(0))
        if kind < 0.80:
            return np.asarray(stems[self.random.integers(count)])
        return np.asarray(stems[self.random.random(count) < 0.6].sum(0))

    def crop(self, samples: int) -> np.ndarray:
        """One crop [samples] at a random level; every fifth starts where the song starts."""
        stems = self.songs[self.random.integers(len(self.songs))].stems
        last = stems.shape[1] - samples
        start = 0 if self.random.random() < 0.2 else self.random.integers(last + 1)
        return self._mixdown(stems[:, start : start + samples]) * self.random.uniform(0.6, 1.5)

    def batch(self, size: int, samples: int) -> Tensor:
        """`size` crops, [size, 1, samples]."""
        return torch.from_numpy(np.stack([self.crop(samples) for _ in range(size)]).astype(np.float32))[:, None]
