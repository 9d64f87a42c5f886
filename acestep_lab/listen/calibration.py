"""How likely what was measured is right: probabilities out of strengths, and less of them for what sounds like nothing we know.

The numbers beside this file were fitted by `python -m tests.benchmarks.calibration fit` on songs of the synthetic world, clean, damaged,
and played by other orchestras than ours: logistic curves (Platt 2000) whose odds fall with the distance of a sound's mel profile
from the world's (Mahalanobis). For music further away they say "unsure" rather than a guess of ours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np

SHIPPED = Path(__file__).with_name("calibration.npz")
POOLED = 8
"""Mel bands that are averaged into one feature."""
MEASURES = ("tempo", "key", "meter")
FURTHEST = 2.5
"""Strangeness up to which anything was measured; beyond it every probability goes to one half."""
LOWEST, HIGHEST = 0.01, 0.99
"""No probability says more than that."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a strength says of being right."""

    centre: np.ndarray
    """Mean of the world's profiles, `[features]`."""
    whiten: np.ndarray
    """`[features, features]`: profiles of the world times this have unit spread."""
    usual: float
    """Distance within which 95 % of the world's songs lie."""
    curves: np.ndarray
    """For tempo, key and meter: bias, strength, strangeness, `[3, 3]`."""
    instruments: np.ndarray
    """Slope of the log odds, and how much strangeness takes from them, `[2]`."""

    @classmethod
    def load(cls, path: str | os.PathLike[str] = SHIPPED) -> Self:
        """Read one; without a path, the one that comes with the package."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["centre"], file["whiten"], float(file["usual"]), file["curves"], file["instruments"])

    def strangeness(self, spectrogram: np.ndarray) -> float:
        """How far a mel spectrogram is from the world's songs: 0 within them, 1 at twice their usual distance."""
        distance = float(np.linalg.norm((profile(spectrogram) - self.centre) @ self.whiten))
        return float(np.clip(distance / self.usual - 1, 0, 5))

    def probability(self, measure: str, strength: float, strange: float, there: bool = True) -> float:
        """How likely a measure ("tempo", "key", "meter") of this strength is right; `there`: whether there is any to measure."""
        if not there:
            return LOWEST
        bias, slope, loss = self.curves[MEASURES.index(measure)]
        odds = (bias + slope * strength + loss * strange) / (1 + max(0.0, strange - FURTHEST))
        return float(np.clip(sigmoid(odds), LOWEST, HIGHEST))

    def instrument(self, probability: float, strange: float) -> float:
        """How likely a stem is there, of which the tagger says this: nearer to one half the stranger the sound is."""
        slope, loss = self.instruments
        return float(np.clip(sigmoid(slope * log_odds(probability) / (1 + loss * strange)), LOWEST, HIGHEST))


@cache
def shipped() -> Calibration:
    """The calibration that comes with the package, read once."""
    return Calibration.load()


def profile(spectrogram: np.ndarray) -> np.ndarray:
    """Mean and spread over time of pooled mel bands, `[features]`."""
    rows = spectrogram.astype(np.float32)
    pooled = rows.reshape(len(rows), -1, POOLED).mean(axis=2)
    return np.concatenate([pooled.mean(axis=0), pooled.std(axis=0)])


def sigmoid(value: np.ndarray | float) -> np.ndarray | float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))


def log_odds(probability: np.ndarray | float) -> np.ndarray | float:
    """The inverse of `sigmoid`, for probabilities from 0 to 1."""
    share = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))
