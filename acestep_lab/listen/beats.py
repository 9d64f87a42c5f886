"""Where the beats of a sound fall: near a time, and from its start to its end with the bars they make. Knows no take, no file.

Only some seconds are listened to at a time, so that ten minutes take little memory and a tempo that drifts, or is told a little
wrong, is followed. Period and phase are those by which the onsets (spectral flux, `listen.tempo`) fall together best: the
largest sum of their Fourier coefficients at the beat's frequency and its first multiples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.chords import harmony_share
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.meter import band_flux
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import onset_envelope, tempo

AROUND = 8.0
"""Seconds on each side of a time that are listened to."""
CLEAR = 0.12
"""Share of the onsets' strength that falls together, from which on there is a beat: noise has about 0.05, clicks 0.9."""
LOUD = 0.004
"""Mean onset strength below which nothing begins: a held tone has 0.001, clicks over silence 0.015."""
HARMONICS = 4
HARMONY = 4.0
"""How much a change of harmony says of where a bar begins, beside the bass."""
HARMONIC = 0.45
"""Share of the time that must have a harmony for its turns to move the beats."""
OFF_BEAT = 0.9
"""Share of the harmony's turns halfway between beats that those on them must reach to be the beats."""
BASS = 3
"""Bands of the onset strength in which a bar's first beat is felt."""
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


def beats_near(sound: Sound, at: float, bpm: float | None = None) -> Beats | None:
    """The beats around a time in seconds, of a known tempo or a measured one; None where none are heard."""
    seconds = sound.samples.shape[-1] / sound.rate
    start = max(0.0, min(at - AROUND, seconds - 2 * AROUND))
    end = min(seconds, start + 2 * AROUND)
    if end - start < 1.0:
        return None
    near = _cut(sound, start, end)
    speed = bpm or tempo(near)[0]
    envelope, per_second = onset_envelope(near)
    if speed <= 0 or envelope.mean() < LOUD:
        return None
    times, found = np.arange(len(envelope)) / per_second + start - at, Beats(60.0 / speed, 0.0, 0.0)
    for slack in _SLACK:
        found = _fitted(envelope, times, found.period * slack)
    return Beats(found.period, (found.phase + at) % found.period, found.clear) if found.clear >= CLEAR else None


def beat_times(sound: Sound, bpm: float) -> np.ndarray:
    """Seconds at which the beats of a tempo fall, `[beats]`, ascending; where none are heard those before go on."""
    return followed_beats(sound, bpm)[0]


def followed_beats(sound: Sound, bpm: float) -> tuple[np.ndarray, float]:
    """The times of `beat_times`, and how clearly they are heard: 0 to 1, the mean over pieces of 16 s; 0 where none is heard."""
    seconds, found = sound.samples.shape[-1] / sound.rate, Beats(60.0 / bpm, 0.0, 0.0)
    times: list[float] = []
    clear: list[float] = []
    for start in np.arange(0.0, seconds, 2 * AROUND):
        heard = beats_near(sound, start + AROUND, bpm)
        clear.append(0.0 if heard is None else heard.clear)
        found = heard or found
        first = start + (found.phase - start) % found.period
        if times:  # neither two beats in one place nor one left out where the pieces meet
            first = times[-1] + (first - times[-1] - found.period / 2) % found.period + found.period / 2
        times += np.arange(first, min(start + 2 * AROUND, seconds), found.period).tolist()
    return np.array(times), float(np.mean(clear)) if clear else 0.0


def bar_times(sound: Sound, beats: np.ndarray, beats_per_bar: int) -> np.ndarray:
    """Seconds at which bars begin, `[bars]`: of all ways to count the beats, the one whose first have most bass and new harmony."""
    count = max(1, beats_per_bar)
    if len(beats) <= count:
        return beats[:1]
    turns, heard = _turns_at(sound, beats)
    says = _evened(_bass_at(sound, beats)) + (HARMONY if heard > HARMONIC else 0.0) * _evened(turns)
    means = [says[first::count].mean() for first in range(count)]
    return beats[int(np.argmax(means)) :: count]


def on_the_beat(sound: Sound, beats: np.ndarray) -> np.ndarray:
    """The beats, or the times halfway between them where harmony rather turns there: loud off-beats are taken for beats."""
    if len(beats) < 4:
        return beats
    halves = (beats[1:] + beats[:-1]) / 2
    turns, heard = _turns_at(sound, np.sort(np.concatenate([beats, halves])))
    if heard < HARMONIC or turns[0::2].mean() >= OFF_BEAT * turns[1::2].mean():
        return beats
    period, seconds = float(beats[1] - beats[0]), sound.samples.shape[-1] / sound.rate
    around = np.concatenate([[halves[0] - period], halves, [halves[-1] + period]])
    return around[(around >= 0) & (around < seconds)]


def _evened(line: np.ndarray) -> np.ndarray:
    """A line about its mean in units of its spread; zeros for a flat one."""
    return (line - line.mean()) / max(float(line.std()), 1e-9)


def _turns_at(sound: Sound, times: np.ndarray) -> tuple[np.ndarray, float]:
    """How unlike the harmony of each beat is to that of the beat before it, `[times]`, and the share of the time that has a harmony."""
    harmony, seconds = np.zeros((len(times), 12)), sound.samples.shape[-1] / sound.rate
    heard: list[float] = []
    for start in np.arange(0.0, seconds, 2 * AROUND):
        here = np.flatnonzero((times >= start) & (times < start + 2 * AROUND))
        end = min(start + 3 * AROUND, seconds)
        frames = chroma_frames(_cut(sound, start, end))
        heard.append(harmony_share(frames))
        if not len(here):
            continue
        ends = np.append(times[here], min(end, 2 * times[here[-1]] - times[max(0, here[-1] - 1)]))
        edges = np.round((ends - start) / (end - start) * len(frames))
        for place, first, last in zip(here, edges, edges[1:]):
            harmony[place] = frames[int(first) : max(int(last), int(first) + 1)].sum(axis=0)
    harmony /= np.maximum(np.linalg.norm(harmony, axis=1, keepdims=True), 1e-9)
    turns = 1 - (harmony[1:] * harmony[:-1]).sum(axis=1)
    return np.concatenate([[turns.mean()], turns]), float(np.mean(heard))


def _bass_at(sound: Sound, times: np.ndarray) -> np.ndarray:
    """How strongly the bass begins at each of these times, `[times]`."""
    found, seconds = np.zeros(len(times)), sound.samples.shape[-1] / sound.rate
    for start in np.arange(0.0, seconds, 2 * AROUND):
        here = (times >= start) & (times < start + 2 * AROUND)
        flux, per_second = band_flux(_cut(sound, start, min(start + 2 * AROUND, seconds)))
        places = np.clip(np.round((times[here] - start) * per_second).astype(int), 0, len(flux) - 1)
        found[here] = flux[places, :BASS].sum(axis=1)
    return found


def _cut(sound: Sound, start: float, end: float) -> Audio:
    return Audio(sound.samples[:, round(start * sound.rate) : round(end * sound.rate)], sound.rate)


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
