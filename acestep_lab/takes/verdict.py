"""Whether two sounds are the same, the same to the ear, or different, and by how much.

Knows samples only. "To the ear" is measured on the levels in third-octave bands, 20 times a second: a mean difference
below `EAR_DECIBELS` is what re-rendering on another machine or in another precision leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from acestep_lab.audio.audio import Audio

EAR_DECIBELS = 1.0
Word = Literal["same", "same to the ear", "different"]
WORDS: tuple[Word, ...] = ("same", "same to the ear", "different")
"""The three verdicts, from none to all."""
_FLOOR_DECIBELS = -70.0


@dataclass(frozen=True)
class Verdict:
    """What comparing two sounds gave."""

    word: Word
    decibels: float
    """Mean difference of third-octave band levels, in dB; 0 for the same samples, inf for different lengths."""
    largest: float
    """Largest difference of two samples, full scale being 1."""
    remark: str = ""
    """What was different in the making: another precision, dtype or device."""

    def __bool__(self) -> bool:
        return self.word != "different"

    def __str__(self) -> str:
        sentence = "same: every sample is equal"
        if self.word != "same":
            sentence = f"{self.word}: band levels differ by {self.decibels:.2f} dB on average, samples by at most {self.largest:.2g}"
        return f"{sentence} ({self.remark})" if self.remark else sentence


@dataclass(frozen=True)
class Comparison:
    """What differs between two takes."""

    fields: Mapping[str, tuple[Any, Any]]
    """Recipe fields that differ, each with both values; missing ones are None."""
    sound: Verdict
    loudness: tuple[float, float]
    """Integrated loudness of both, in LUFS."""

    @classmethod
    def of(cls, one: Any, other: Any) -> Comparison:
        """Compare two takes."""
        left, right = one.recipe.to_json(), other.recipe.to_json()
        names = [*left, *(name for name in right if name not in left)]
        differing = {n: (left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)}
        return cls(differing, compare(one.audio, other.audio), (one.audio.loudness(), other.audio.loudness()))

    def __str__(self) -> str:
        rows = [f"{name}: {left!r} → {right!r}" for name, (left, right) in self.fields.items()]
        rows += [f"loudness: {self.loudness[0]:.1f} → {self.loudness[1]:.1f} LUFS", f"sound: {self.sound}"]
        return "\n".join(rows)


def compare(one: Audio, other: Audio) -> Verdict:
    """Compare two sounds; lengths or rates that differ make them different."""
    if one == other or (
        one.rate == other.rate and np.array_equal(one.samples, other.samples)
    ):  # 0 and -0 sound the same
        return Verdict("same", 0.0, 0.0)
    if one.rate != other.rate or one.samples.shape != other.samples.shape:
        return Verdict("different", float("inf"), float("inf"))
    largest = float(np.abs(one.samples - other.samples).max(initial=0.0))
    distance = float(np.abs(band_levels(one) - band_levels(other)).mean())
    return Verdict("same to the ear" if distance <= EAR_DECIBELS else "different", distance, largest)


def making_differences(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    """What changes numbers and is different between how two takes were made (`made_with`): "made in int8 and again in auto";
    nothing where it is the same, or where one of them does not say.
    """
    names = ("checkpoint", "precision", "dtype", "device")
    pairs = [(one.get(name), other.get(name)) for name in names]
    differences = [f"made in {first} and again in {then}" for first, then in pairs if first and then and first != then]
    return ", ".join(differences)


def band_levels(audio: Audio) -> np.ndarray:
    """Levels in dB of third-octave bands from 50 Hz up, `[bands, frames]`, floored at -70 dB."""
    mono = audio.samples.mean(axis=0)
    size, hop = 1 << round(np.log2(audio.rate * 0.09)), audio.rate // 20
    padded = np.pad(mono, (0, max(0, size - len(mono) % hop)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2 / size**2
    edges = 50 * 2 ** (np.arange(0, np.log2(audio.rate / 2 / 50) * 3) / 3)
    bins = np.unique(np.clip((edges * size / audio.rate).astype(int), 1, size // 2))
    bands = np.add.reduceat(power, bins, axis=1)
    return np.maximum(10 * np.log10(bands + 1e-12), _FLOOR_DECIBELS).T
