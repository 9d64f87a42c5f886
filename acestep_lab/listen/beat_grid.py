"""Where the beats fall near a time: the period and the phase of the onsets around it. Knows no take and no file.

Only the seconds around the time are looked at, so that ten minutes cost no more than ten seconds, and a tempo that drifts is
followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.tempo import onset_envelope, tempo
from acestep_lab.prompt.tasks import Region

AROUND = 8.0
"""Seconds on each side that are listened to."""
CLEAR = 0.12
"""Share of the onsets' strength that falls together, from which on there is a beat: noise has about 0.05, clicks 0.9."""
LOUD = 0.004
"""Mean onset strength below which nothing begins: a held tone has 0.001, clicks over silence 0.015."""
HARMONICS = 4
_SLACK = (np.linspace(0.97, 1.03, 61), np.linspace(0.9994, 1.0006, 13))
"""How far a tempo that is told may be from the one that is played; then more finely around what was found."""


@dataclass(frozen=True)
class Beats:
    """Beats at `phase + k * period` seconds, whichever whole number k is."""

    period: float
    phase: float
    clear: float
    """How clearly they are heard, 0 to 1."""

    def nearest(self, at: float) -> float:
        """The time of the beat nearest to a time, in seconds; one may lie before the sound."""
        return self.phase + round((at - self.phase) / self.period) * self.period

    def after(self, at: float) -> float:
        """Seconds from the last beat to a time, below `period`."""
        return (at - self.phase) % self.period


def beats_near(sound: Audio, at: float, bpm: float | None = None) -> Beats | None:
    """The beats around a time, of a known tempo or a measured one; None where none are heard."""
    start = max(0.0, min(at - AROUND, sound.seconds - 2 * AROUND))
    end = min(sound.seconds, start + 2 * AROUND)
    if end - start < 1.0:
        return None
    near = sound.cut(Region(start, end))
    speed = bpm or tempo(near)[0]
    envelope, per_second = onset_envelope(near)
    if speed <= 0 or envelope.mean() < LOUD:
        return None
    times, found = np.arange(len(envelope)) / per_second + start - at, Beats(60.0 / speed, 0.0, 0.0)
    for slack in _SLACK:
        found = _fitted(envelope, times, found.period * slack)
    return Beats(found.period, (found.phase + at) % found.period, found.clear) if found.clear >= CLEAR else None


def _fitted(envelope: np.ndarray, times: np.ndarray, periods: np.ndarray) -> Beats:
    """Period and phase by which the onsets fall together best; times from where they are to be right to the millisecond."""
    weight, best = envelope / max(float(envelope.sum()), 1e-12), Beats(float(periods[0]), 0.0, -math.inf)
    shares = np.arange(0, 1, 1 / 512)
    turns = np.exp(2j * np.pi * np.outer(np.arange(1, HARMONICS + 1), shares))  # [harmonics, shares]
    for candidate in periods:
        waves = np.exp(-2j * np.pi * np.outer(np.arange(1, HARMONICS + 1), times) / candidate)
        fits = ((waves @ weight)[:, None] * turns).real.mean(axis=0)
        top = int(np.argmax(fits))
        if fits[top] > best.clear:
            best = Beats(float(candidate), float(shares[top] * candidate), float(fits[top]))
    return best
