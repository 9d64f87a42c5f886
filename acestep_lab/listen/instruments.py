"""Who is playing: which of the 12 stems are present in a mix, from statistics of its mel spectrogram.

The classifier beside this file was taught on the project's own synthetic world of music and knows that world; for other
music, or for sounds that went through a codec, teach another with `train_presence`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np

from acestep_lab.listen.classifier import Classifier, train
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two
from acestep_lab.prompt.vocabulary import STEMS

BANDS = 48
HIGHEST_HZ = 11000.0
SHIPPED = Path(__file__).with_name("presence.npz")


def _log_mel(audio: Sound, seconds: float) -> np.ndarray:
    """Mel levels `[frames, bands]` in units of 10 dB, relative to the sound's own loudness, floored at -60 dB."""
    size = power_of_two(seconds * audio.rate)
    power = magnitudes(mono_of(audio), size, size // 2) ** 2 @ mel_bands(audio.rate, size, BANDS, 40.0, HIGHEST_HZ)
    return np.log10(power / (power.mean() + 1e-12) + 1e-5)


def _peakiness(audio: Sound) -> np.ndarray:
    """How tonal each of twelve octave-thirds is: the mean of log minus log of mean over bins, `[24]`."""
    size = power_of_two(0.085 * audio.rate)
    power = magnitudes(mono_of(audio), size, size // 2) ** 2 + 1e-12
    edges = (np.geomspace(80, HIGHEST_HZ, 25) * size / audio.rate).astype(int)
    rows = [np.log(power[:, a : max(b, a + 2)]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    flat = [r.mean(axis=1) - np.log(np.exp(r).mean(axis=1)) for r in rows]
    return np.concatenate([[f.mean() for f in flat], [f.std() for f in flat]])


def presence_features(audio: Sound) -> np.ndarray:
    """Level, spread, extremes and movement of every band, tonality, and harmony's density: `[features]`."""
    level = _log_mel(audio, 0.043)
    step = np.diff(level, axis=0)
    rise, fall = np.maximum(step, 0), np.maximum(-step, 0)
    rows = [level.mean(axis=0), level.std(axis=0), *np.percentile(level, (10, 50, 90, 98), axis=0)]
    rows += [rise.mean(axis=0), np.percentile(rise, 97, axis=0), fall.mean(axis=0), rise[:, ::4].std(axis=0)]
    harmony = np.sort(chroma_frames(audio).sum(axis=0))[::-1]
    rows += [_peakiness(audio), harmony / (harmony.sum() + 1e-9)]
    return np.concatenate(rows).astype(np.float32)


@dataclass(frozen=True)
class Presence:
    """A trained ear for which stems are present."""

    classifier: Classifier

    @property
    def roles(self) -> tuple[str, ...]:
        """The stems it can tell."""
        return self.classifier.labels

    def probabilities(self, audio: Sound) -> dict[str, float]:
        """How likely each stem is to be heard."""
        row = self.classifier.probabilities(presence_features(audio)[None])[0]
        return dict(zip(self.roles, map(float, row), strict=True))

    def heard(self, audio: Sound) -> frozenset[str]:
        """The stems that are more likely present than not."""
        return frozenset(role for role, chance in self.probabilities(audio).items() if chance > 0.5)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the classifier as an .npz."""
        return self.classifier.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str] = SHIPPED) -> Self:
        """Read a classifier; without a path, the one shipped."""
        return cls(Classifier.load(path))


@cache
def shipped() -> Presence:
    """The shipped ear, read once."""
    return Presence.load()


def train_presence(
    sounds: Iterable[Sound], labels: Iterable[Collection[str]], roles: tuple[str, ...] = STEMS, seed: int = 0
) -> Presence:
    """Teach an ear from sounds and the stems present in each; use codec round trips where those will be judged."""
    features = np.stack([presence_features(sound) for sound in sounds])
    targets = np.array([[role in present for role in roles] for present in labels], np.float32)
    return Presence(train(features, targets, roles, seed=seed))
