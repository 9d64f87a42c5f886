"""Where the beats and bars of a sound lie, given its tempo: the phase is measured, and measured anew along the way.

Knows no model. Half a minute at a time, so that ten minutes take little memory and a tempo that is off by a little does not
run away.
"""

from __future__ import annotations

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.meter import band_flux, beat_phase
from acestep_lab.listen.spectra import Sound

PIECE_SECONDS = 30.0
BASS = 3
"""Bands of the onset strength in which a bar's first beat is felt."""


def beat_times(audio: Sound, bpm: float) -> np.ndarray:
    """Seconds at which the beats of a tempo fall, `[beats]`, ascending."""
    return _followed(audio, bpm)[0]


def bar_times(audio: Sound, bpm: float, beats_per_bar: int) -> np.ndarray:
    """Seconds at which bars begin, `[bars]`: of all ways to count, the one whose first beats have most bass."""
    beats, bass = _followed(audio, bpm)
    count = max(1, beats_per_bar)
    means = [bass[first::count].mean() if len(bass[first::count]) else 0.0 for first in range(count)]
    return beats[int(np.argmax(means)) :: count]


def _followed(audio: Sound, bpm: float) -> tuple[np.ndarray, np.ndarray]:
    """The beats' times, and the onset strength of the bass at each."""
    period, seconds = 60.0 / bpm, audio.samples.shape[-1] / audio.rate
    times, bass = np.zeros(0), np.zeros(0)
    for start in np.arange(0.0, seconds, PIECE_SECONDS):
        flux, per_second = band_flux(_piece(audio, start))
        first = beat_phase(flux, per_second, period) if flux.any() else None
        here = _beats_of_piece(times, float(start), first, period, min(start + PIECE_SECONDS, seconds))
        places = np.clip(np.round((here - start) * per_second).astype(int), 0, len(flux) - 1)
        times, bass = np.concatenate([times, here]), np.concatenate([bass, flux[places, :BASS].sum(axis=1)])
    return times, bass


def _piece(audio: Sound, start: float) -> Audio:
    first = round(start * audio.rate)
    return Audio(audio.samples[:, first : first + round(PIECE_SECONDS * audio.rate)], audio.rate)


def _beats_of_piece(before: np.ndarray, start: float, first: float | None, period: float, end: float) -> np.ndarray:
    """Beats from a piece's start to its end; where nothing is heard (None) those before go on."""
    if first is None:
        first = 0.0 if not len(before) else before[-1] + period - start
    at = start + first % period
    if len(before):
        at += period * round((before[-1] + period - at) / period)
    return np.arange(at, end, period)
