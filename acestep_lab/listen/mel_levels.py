"""Mel levels of a sound over time, how two of them differ, and what a difference says in two words.

Knows no pictures: `ui/mel_image.py` draws what is measured here, on one axis, so that any two can be laid side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acestep_lab.errors import SourceError
from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two

BANDS = 80
LOWEST_HZ, HIGHEST_HZ = 40.0, 16_000.0
WINDOW = 0.085
"""Seconds under one window."""
FLOOR = 1e-10
RANGE_DB = 60.0
"""From black to the brightest colour."""
CHANGE_DB = 20.0
"""A change that is drawn in full colour."""
HEARD_DB = 3.0
"""Changes below this are small."""
LOW_HZ, HIGH_HZ = 250.0, 2000.0
"""Where the low frequencies end and the high ones begin."""
_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)

Where = Literal["low", "middle", "high", "all", "little"]
How = Literal["louder", "quieter", "both"]
Levels = NDArray[np.float32]
"""Mel levels in dB, `[frames, bands]`."""


def mel_levels(audio: Sound, frames: int) -> Levels:
    """Levels of a sound in so many frames of equal length; SourceError for one without samples."""
    mono = mono_of(audio)
    if not mono.size or frames < 1:
        raise SourceError("This sound has no samples; there is nothing to draw.")
    size = power_of_two(WINDOW * audio.rate)
    hop = max(1, len(mono) // frames)
    power = magnitudes(mono, size, hop)[:frames] ** 2 @ _bands(audio.rate, size)
    return (10 * np.log10(power + FLOOR)).astype(np.float32)


def top_of(rate: int) -> float:
    """The highest frequency of the picture of a sound of this rate."""
    return min(HIGHEST_HZ, rate / 2)


def _bands(rate: int, size: int) -> NDArray[np.float32]:
    return mel_bands(rate, size, BANDS, LOWEST_HZ, top_of(rate))


def _mel(hz: float) -> float:
    return float(np.log10(1 + hz / 700))


def axis(rate: int) -> list[list[object]]:
    """Where to write which frequency: pairs of a height, 0 at the bottom to 1 on top, and "100 Hz"."""
    low, high = _mel(LOWEST_HZ), _mel(top_of(rate))
    found: list[list[object]] = []
    for hz in _TICKS:
        place = (_mel(hz) - low) / (high - low)
        near = found and place - float(str(found[-1][0])) < 0.1
        if place < 0.96 and not near:
            found.append([round(place, 4), f"{hz} Hz" if hz < 1000 else f"{hz // 1000} kHz"])
    return found


def loudest(levels: Levels) -> float:
    """The level that is drawn brightest; single peaks above it do not dim the rest."""
    return float(np.percentile(levels, 99.5))


def difference(now: Levels, before: Levels) -> Levels:
    """How many dB louder each place is; what is too quiet to be seen in both has not changed. SourceError for other shapes."""
    if now.shape != before.shape:
        raise SourceError(f"Only pictures of one size can be compared, not {now.shape} with {before.shape}.")
    floor = max(loudest(now), loudest(before)) - RANGE_DB
    return np.maximum(now, floor) - np.maximum(before, floor)


@dataclass(frozen=True)
class Change:
    """What a picture of a change says, in two words."""

    where: Where
    how: How


def summary(now: Levels, before: Levels, rate: int) -> Change:
    """Where most of a change is, and which way it goes."""
    moved = difference(now, before)
    sizes = np.abs(moved).mean(axis=0)
    if sizes.mean() < HEARD_DB / 3:
        return Change("little", "both")
    up, down = float(np.maximum(moved, 0).sum()), float(np.maximum(-moved, 0).sum())
    how: How = "louder" if up > 2 * down else "quieter" if down > 2 * up else "both"
    hz = _centres(rate)
    parts: dict[Where, float] = {
        "low": float(sizes[hz < LOW_HZ].mean()),
        "middle": float(sizes[(hz >= LOW_HZ) & (hz < HIGH_HZ)].mean()),
        "high": float(sizes[hz >= HIGH_HZ].mean()),
    }
    first, second = sorted(parts, key=lambda name: -parts[name])[:2]
    return Change(first if parts[first] > 1.25 * parts[second] else "all", how)


def _centres(rate: int) -> NDArray[np.float64]:
    """The middle frequency of each band, in Hz."""
    mels = np.linspace(_mel(LOWEST_HZ), _mel(top_of(rate)), BANDS + 2)[1:-1]
    return np.asarray(700 * (10**mels - 1))
