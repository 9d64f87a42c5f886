"""Meter: whether beats group in twos, threes or fours, and whether they divide in three, given the tempo."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from acestep_lab.listen.classifier import Classifier
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two
from acestep_lab.listen.tempo import tempo

SHIPPED = Path(__file__).with_name("meter.npz")
SIGNS = ("2", "3", "4", "6")
BANDS = 8
SLOTS = 12  # to a beat: divisible by the eighths of both kinds of beat
LAGS = 8


def band_flux(audio: Sound) -> tuple[np.ndarray, float]:
    """Onset strength in bands from low to high, `[frames, BANDS]`, and its frames per second; flux as in `onset_envelope`."""
    size = power_of_two(0.043 * audio.rate)
    hop = size // 8
    level = np.log1p(1000 * magnitudes(mono_of(audio), size, hop) @ mel_bands(audio.rate, size, BANDS, 40, 10000))
    rise = np.maximum(level[2:] - level[:-2], 0)
    return np.pad(rise, ((1, 1), (0, 0))), audio.rate / hop


def _slotted(line: np.ndarray, per_second: float, slot: float, offset: float) -> np.ndarray:
    """Sums of `[frames, n]` over slots of `slot` seconds from `offset` on, `[slots, n]`."""
    edges = ((offset + slot * np.arange(int((len(line) / per_second - offset) / slot) + 1)) * per_second).round()
    sums = np.concatenate([np.zeros((1, line.shape[1])), np.cumsum(line, axis=0)])
    return np.diff(sums[np.clip(edges.astype(int), 0, len(line))], axis=0)


def beat_phase(flux: np.ndarray, per_second: float, beat: float) -> float:
    """Where the beats lie: the offset, in seconds, at which most onset strength falls on them."""
    line = flux[:, :3].sum(axis=1) + 0.5 * flux.sum(axis=1)
    offsets = np.arange(0, beat, 1 / per_second)
    beats = np.arange(0, len(line) / per_second - beat, beat)
    if len(beats) == 0:
        return 0.0
    index = np.round((offsets[:, None] + beats) * per_second).astype(int)
    return float(offsets[line[np.clip(index, 0, len(line) - 1)].mean(axis=1).argmax()])


def _alikeness(rows: np.ndarray) -> np.ndarray:
    """Mean correlation of beats that lie 1 to LAGS apart, `[LAGS]`."""
    rows = rows - rows.mean(axis=0)
    rows = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)
    return np.array([(rows[k:] * rows[:-k]).sum(axis=1).mean() if len(rows) > k else 0.0 for k in range(1, LAGS + 1)])


def meter_features(audio: Sound, bpm: float) -> np.ndarray:
    """How alike beats some beats apart are, in attacks and in harmony, and where within the beat attacks fall."""
    flux, per_second = band_flux(audio)
    beat = 60 / bpm
    start = beat_phase(flux, per_second, beat)
    early = max(0.0, start - beat / (2 * SLOTS))
    slots = _slotted(flux, per_second, beat / SLOTS, early)
    count = len(slots) // SLOTS
    if count < 3:
        return np.zeros(3 * LAGS + 2 * SLOTS, np.float32)
    beats = slots[: count * SLOTS].reshape(count, SLOTS, BANDS)
    profile, bass = beats.sum(axis=2).mean(axis=0), beats[:, :, :2].sum(axis=2).mean(axis=0)
    chroma = chroma_frames(audio)
    harmony = _slotted(chroma, len(chroma) / (len(flux) / per_second), beat, start)
    parts = (
        _alikeness(beats.reshape(count, -1)), _alikeness(np.log1p(beats[:, :2].sum(axis=1))), _alikeness(harmony),
        profile / (profile.max() + 1e-9), bass / (bass.max() + 1e-9),
    )  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


@cache
def _weights() -> Classifier:
    return Classifier.load(SHIPPED)


def meter(audio: Sound, bpm: float | None = None) -> tuple[str, float]:
    """The meter ("2", "3", "4" or "6") and its probability; without a tempo the measured one is used."""
    probabilities = _weights().probabilities(meter_features(audio, bpm or tempo(audio)[0])[None])[0]
    best = int(probabilities.argmax())
    return SIGNS[best], float(probabilities[best])
