"""Windows of a sound and their spectra, shared by all measures. Knows neither keys nor tempi.

Lowest level: numpy arrays and a rate. `mono_of` is the one place where an Audio is unpacked.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Sound(Protocol):
    """Anything with samples `[channels, samples]` and a rate, such as `audio.audio.Audio`."""

    @property
    def samples(self) -> np.ndarray: ...

    @property
    def rate(self) -> int: ...


def mono_of(audio: Sound) -> np.ndarray:
    """All channels averaged, float32 `[samples]`."""
    return np.asarray(audio.samples, np.float32).mean(axis=0)


def frames_of(mono: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Centred frames `[frames, size]`; frame i has its middle at sample i x hop."""
    padded = np.pad(mono, (size // 2, size - size // 2))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[: len(mono) + 1 : hop]


def magnitudes(mono: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Hann-windowed magnitude spectra `[frames, size // 2 + 1]`; a full-scale sine reads 0.5."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    return np.abs(np.fft.rfft(frames_of(mono, size, hop) * window, axis=1)).astype(np.float32) * (2 / size)


def mel_bands(rate: int, size: int, bands: int, lowest: float = 30.0, highest: float | None = None) -> np.ndarray:
    """Triangular filters `[bins, bands]`, evenly spaced in mel (O'Shaughnessy 1987), each summing to one."""
    top = highest or rate / 2
    mel = np.linspace(_mel(lowest), _mel(top), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hz = np.arange(size // 2 + 1) * rate / size
    rise = (hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rise, fall), 0, None)
    nearest = np.abs(hz[:, None] - edges[1:-1]).argmin(axis=0)
    empty = weights.sum(axis=0) == 0
    weights[nearest[empty], np.flatnonzero(empty)] = 1
    return (weights / weights.sum(axis=0)).astype(np.float32)


def _mel(hz: float) -> float:
    return 2595 * float(np.log10(1 + hz / 700))


def power_of_two(samples: float) -> int:
    """The power of two nearest to a number of samples."""
    return 1 << max(4, round(float(np.log2(max(samples, 16)))))
