"""A melody as MusicGen hears one: at each moment, the loudest pitch class. Knows samples; no model, no torch.

The same numbers as transformers' `MusicgenMelodyFeatureExtractor`, which needs torchaudio: a power spectrogram (Hann window of
16384 samples, a step of 4096, the sound mirrored at its ends), summed into twelve pitch classes from C up, and of them the
largest.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from acestep_lab._libraries import load

WINDOW, HOP, PITCH_CLASSES = 16384, 4096, 12


def melody(samples: np.ndarray, rate: int, window: int = WINDOW, hop: int = HOP) -> np.ndarray:
    """The loudest pitch class of mono `[samples]`, one-hot: float32 `[1 + samples // hop, 12]`; silence is a C."""
    classes = loudness_by_pitch_class(samples, rate, window, hop)
    found = np.zeros_like(classes, dtype=np.float32)
    found[np.arange(len(classes)), classes.argmax(axis=1)] = 1.0
    return found


def loudness_by_pitch_class(samples: np.ndarray, rate: int, window: int = WINDOW, hop: int = HOP) -> np.ndarray:
    """How loud each pitch class is, the loudest as 1: float32 `[frames, 12]`."""
    samples = np.asarray(samples, np.float32)
    short = window - len(samples)
    if short > 0:
        samples = np.pad(samples, (short // 2, short - short // 2))
    padded = np.pad(samples, window // 2, mode="reflect")
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)  # Hann, periodic
    weights /= np.sqrt(np.sum(weights**2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    classes = np.stack(
        [_power(frame * weights) @ _filters(rate, window) for frame in frames]
    )  # a frame at a time: bounded
    largest = np.maximum(np.abs(classes).max(axis=1, keepdims=True), 1e-6)
    return (classes / largest).astype(np.float32)


def _power(frame: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(frame)).astype(np.float64) ** 2


@lru_cache(maxsize=4)
def _filters(rate: int, window: int) -> np.ndarray:
    """How much each frequency counts for each pitch class: `[window // 2 + 1, 12]` (librosa's chroma filters)."""
    bank: np.ndarray = load("transformers.audio_utils").chroma_filter_bank(
        num_frequency_bins=window, num_chroma=PITCH_CLASSES, sampling_rate=rate, tuning=0
    )
    return np.ascontiguousarray(bank.T)
