"""Discontinuities: whether a sound jumps at a moment more than it jumps anywhere else. Knows nothing of edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acestep_lab.errors import SourceError
from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two

BANDS = 24
HALF = 4  # hops of an eighth of a window: windows this far on either side just touch


@dataclass(frozen=True)
class Discontinuity:
    """What happens at a moment, and how it ranks among the sound's own changes (0 the smallest, 1 the largest).

    `level` is the step in loudness in dB, `spectrum` the step in timbre in dB (mean over bands), `click` the sample step
    against the median of nearby ones.
    """

    time: float
    level: float
    spectrum: float
    click: float
    level_rank: float
    spectrum_rank: float

    @property
    def audible(self) -> bool:
        """Whether the moment stands out: a step larger than 99 of 100 of its own, or a click."""
        return max(self.level_rank, self.spectrum_rank) > 0.99 or self.click > 30


def _steps(mono: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Steps in level and in timbre between the 43 ms before and after every hop, in dB; hops per second."""
    size = power_of_two(0.043 * rate)
    hop = size // 8
    power = magnitudes(mono, size, hop) ** 2 @ mel_bands(rate, size, BANDS, 40, min(16000.0, rate / 2))
    level = 10 * np.log10(power.sum(axis=1) + 1e-10)
    bands = 10 * np.log10(power + 1e-5 * power.mean() + 1e-12)
    half = HALF
    before, after = slice(None, -2 * half), slice(2 * half, None)
    return (
        np.pad(np.abs(level[after] - level[before]), half),
        np.pad(np.abs(bands[after] - bands[before]).mean(axis=1), half),
        rate / hop,
    )


def discontinuities(audio: Sound, times: Sequence[float]) -> list[Discontinuity]:
    """Measure every moment in `times` (seconds) against the whole sound; SourceError outside it."""
    mono = mono_of(audio)
    if any(not 0 < time * audio.rate < len(mono) for time in times):
        raise SourceError(f"A discontinuity lies inside the sound, between 0 and {len(mono) / audio.rate:.2f} seconds.")
    level, spectrum, per_second = _steps(mono, audio.rate)
    rows = []
    for time in times:
        at = min(len(level) - 1, round(time * per_second))
        near, elsewhere = slice(max(0, at - 1), at + 2), _elsewhere(len(level), at)
        one, other = float(level[near].max()), float(spectrum[near].max())
        ranks = float((level[elsewhere] < one).mean()), float((spectrum[elsewhere] < other).mean())
        rows.append(Discontinuity(time, one, other, _click(mono, round(time * audio.rate)), *ranks))
    return rows


def _elsewhere(count: int, at: int) -> np.ndarray:
    """Which hops a moment is ranked among: all but its own neighbourhood and the sound's two ends."""
    hops = np.arange(count)
    far = (np.abs(hops - at) > 2 * HALF) & (hops >= 2 * HALF) & (hops < count - 2 * HALF)
    return far if far.any() else np.ones(count, bool)


def discontinuity(audio: Sound, time: float) -> Discontinuity:
    """Measure one moment."""
    return discontinuities(audio, [time])[0]


def _click(mono: np.ndarray, at: int) -> float:
    """The largest second difference within two samples of a place, against the median of the 400 around it."""
    around = np.abs(np.diff(mono[max(0, at - 200) : at + 200], 2))
    place = min(at, 200)
    here = around[max(0, place - 3) : place + 2]
    return float(here.max(initial=0.0) / (np.median(around) + 1e-6)) if len(around) else 0.0
