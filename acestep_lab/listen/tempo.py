"""Tempo and pulse: onsets by spectral flux, periods by a comb over their autocorrelation."""

from __future__ import annotations

import numpy as np

from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two

SLOWEST, FASTEST = 40.0, 240.0
BANDS = 36
TEETH = 4


def onset_envelope(audio: Sound) -> tuple[np.ndarray, float]:
    """Onset strength `[frames]` and its frames per second; log-magnitude flux over mel bands (Böck 2012)."""
    size = power_of_two(0.043 * audio.rate)
    hop = size // 8
    mel = magnitudes(mono_of(audio), size, hop) @ mel_bands(audio.rate, size, BANDS)
    level = np.log1p(1000 * mel)
    flux = np.maximum(level[2:] - level[:-2], 0).mean(axis=1)
    envelope = np.concatenate([[0.0], flux, [0.0]])
    per_second = audio.rate / hop
    return np.maximum(envelope - _moving_mean(envelope, round(0.4 * per_second)), 0), per_second


def _moving_mean(line: np.ndarray, width: int) -> np.ndarray:
    sums = np.cumsum(np.pad(line, (width // 2 + 1, width - width // 2 - 1), "edge"))
    return ((sums[width:] - sums[:-width]) / width)[: len(line)]


def autocorrelation(envelope: np.ndarray) -> np.ndarray:
    """Unbiased autocorrelation `[lags]` up to half the length, 1 at lag 0; zeros for silence."""
    centred = envelope - envelope.mean()
    count = len(centred)
    spectrum = np.fft.rfft(centred, 2 * count)
    raw = np.fft.irfft(np.abs(spectrum) ** 2)[: count // 2 + 1]
    raw = raw / (count - np.arange(len(raw)))
    return raw / raw[0] if raw[0] > 1e-12 else np.zeros_like(raw)


def comb(correlation: np.ndarray, per_second: float, bpm: np.ndarray | float) -> np.ndarray:
    """Mean autocorrelation at a beat's period and its multiples, for each tempo."""
    period = 60 * per_second / np.atleast_1d(np.asarray(bpm, float))
    lags = np.arange(len(correlation))
    teeth = [np.interp(period * k, lags, correlation, right=np.nan) for k in range(1, TEETH + 1)]
    table = np.stack(teeth)
    fits = np.isfinite(table)
    return np.where(fits, table, 0).sum(axis=0) / np.maximum(fits.sum(axis=0), 1)


def tempo(audio: Sound) -> tuple[float, float]:
    """Beats per minute (40 to 240) and the strength of that pulse (0 to 1); which octave is a convention.

    Tempi near 110 are preferred, as listeners do (log-normal weight, Parncutt 1994).
    """
    envelope, per_second = onset_envelope(audio)
    correlation = _smoothed(autocorrelation(envelope))
    candidates = np.geomspace(SLOWEST, FASTEST, 1200)
    strength = comb(correlation, per_second, candidates)
    preferred = np.exp(-0.5 * (np.log2(candidates / 110) / 1.0) ** 2)
    best = int(np.argmax(np.maximum(strength, 0) * preferred))
    return float(candidates[best]), float(max(0.0, strength[best]))


def _smoothed(correlation: np.ndarray) -> np.ndarray:
    return np.convolve(correlation, (0.25, 0.5, 0.25), "same")


def pulse(audio: Sound, bpm: float) -> float:
    """How strongly a sound pulses at an asked tempo: the comb there, less the median over all tempi."""
    envelope, per_second = onset_envelope(audio)
    correlation = _smoothed(autocorrelation(envelope))
    usual = np.median(comb(correlation, per_second, np.geomspace(SLOWEST, FASTEST, 300)))
    return float(comb(correlation, per_second, bpm)[0] - usual)


RATIOS = (1.0, 2.0, 0.5)
TRIPLE_RATIOS = (*RATIOS, 3.0, 1 / 3)


def same_tempo(one: float, other: float, tolerance: float = 0.04, triple: bool = False) -> bool:
    """Whether two tempi agree up to an octave; with `triple` also up to thirds, as in 3/4 and 6/8."""
    ratios = TRIPLE_RATIOS if triple else RATIOS
    return any(abs(one / (other * ratio) - 1) <= tolerance for ratio in ratios)
