"""The one pitch that is followed through a sound, and the notes it makes. Knows no take, no chords.

Two trackers keep one protocol: swift-f0 (extra `melody`), a small network for one voice, and our own, the sum of a pitch's
harmonics less what lies between them (Hermes 1988) with a path through it, which also hears a line in a mix and a bass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.spectra import magnitudes

RATE = 24_000
"""What is listened to; other rates are brought to it."""
HOP = 240
"""Samples between two looks: 100 a second."""
PER_SECOND = RATE / HOP
PIECE = 30 * RATE
SIZES = {"melody": 2048, "bass": 4096}
"""Samples under a window: a bass needs a longer one to tell neighbours apart."""
TOPS = {"melody": RATE / 2, "bass": 800.0}
"""Hz from which on a voice is not listened to: a mix has other things there."""
RANGES = {"melody": (45.0, 90.0), "bass": (24.0, 55.0)}
"""Lowest and highest pitch, in MIDI."""
STEPS = 4
"""Candidates to a semitone."""
HARMONICS = 8
DECAY = 0.82
"""How much less each harmonic says than the one before it."""
VOICED = {"melody": 0.12, "bass": 0.28}
"""Share of a moment's spectrum that a pitch must explain to be sung or played."""
GLIDE = 0.05
"""What a step of a quarter semitone costs from one look to the next."""
JUMP = 0.6
"""What any other change costs."""
SHORTEST = 0.06
"""Seconds of the shortest note."""
RISES_DB = {"melody": 8.0, "bass": 4.0}
"""How much louder a pitch gets, within 40 ms, where the same note is struck again: a singer swells, a bass is plucked."""
QUIET = 1e-4


@dataclass(frozen=True)
class Note:
    """One note that was heard."""

    start: float
    end: float
    """Both in seconds."""
    pitch: int
    """MIDI: 60 is middle C."""
    sure: float
    """How sure the pitch is, 0 to 1."""
    velocity: int = 80
    """How loud beside the others, 1 to 127."""


class PitchLine(NamedTuple):
    """A pitch a hundred times a second."""

    midi: np.ndarray
    """`[looks]`, fractional MIDI; nan where nothing is sung or played."""
    sure: np.ndarray
    """`[looks]`, 0 to 1."""
    level: np.ndarray
    """`[looks]`, how loud it is, in dB."""


class PitchTracker(Protocol):
    """What follows one pitch through a sound."""

    name: str

    def line(self, sound: Audio) -> PitchLine:
        """The pitch of a mono sound at `RATE`."""


class HarmonicSum:
    """Our own tracker: plain arithmetic on spectra."""

    name = "harmonic sum"

    def __init__(self, voice: str = "melody") -> None:
        """`voice` is "melody" or "bass": which range is listened to."""
        self.voice = voice

    def line(self, sound: Audio) -> PitchLine:
        """The pitch of a mono sound at `RATE`."""
        pieces = [(rows @ _harmonics(self.voice), loud) for rows, loud in _spectra(sound, self.voice)]
        salience, loud = (np.concatenate([piece[n] for piece in pieces]) for n in range(2))
        path = _path(salience, VOICED[self.voice])
        voiced = path < salience.shape[1]
        at = np.where(voiced, path, 0)
        midi = np.where(voiced, RANGES[self.voice][0] + at / STEPS, np.nan)
        explained = np.clip(salience[np.arange(len(at)), at] * voiced, 0, 1)
        return PitchLine(midi, explained, 40 * np.log10(explained * loud + 1e-3))


class SwiftPitch:
    """swift-f0, a network of 135 kB for one voice alone (MIT, the extra `melody`)."""

    name = "swift-f0"

    def __init__(self, detector: Any) -> None:
        """`detector` is a `swift_f0.SwiftF0`."""
        self._detector = detector

    @classmethod
    def found(cls) -> SwiftPitch | None:
        """The tracker, where the extra is installed."""
        detector = _swift()
        return None if detector is None else cls(detector)

    def line(self, sound: Audio) -> PitchLine:
        """The pitch of a mono sound at `RATE`."""
        found = self._detector.detect(sound.samples[0], sound.rate)
        times = np.arange(_looks(sound)) / PER_SECOND
        near = np.clip(np.searchsorted(found.timestamps, times), 0, len(found.timestamps) - 1)
        sure, hertz = found.confidence[near], np.maximum(found.pitch_hz[near], 1.0)
        midi = 69 + 12 * np.log2(hertz / 440)
        return PitchLine(np.where(sure >= 0.5, midi, np.nan), sure, _level(sound))


@cache
def _swift() -> Any:
    try:
        from swift_f0 import SwiftF0
    except ImportError:
        return None
    return SwiftF0(threads=1, spin=False)


def listened(sound: Any) -> Audio:
    """A sound of any kind as what is listened to: mono at `RATE`."""
    mono = Audio(np.asarray(sound.samples, np.float32).mean(axis=0, keepdims=True), sound.rate)
    return mono if mono.rate == RATE else mono.resample(RATE)


def notes_of(sound: Audio, tracker: PitchTracker, voice: str = "melody") -> tuple[Note, ...]:
    """The notes of one voice, "melody" or "bass", in a sound as `listened` gives it; none for silence."""
    if sound.samples.shape[-1] < HOP or float(np.abs(sound.samples).max(initial=0.0)) < QUIET:
        return ()
    line = tracker.line(sound)
    return tuple(_notes(line, _struck(line.level, RISES_DB[voice])))


def _looks(sound: Audio) -> int:
    return sound.samples.shape[-1] // HOP + 1


def _spectra(sound: Audio, voice: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compressed spectra `[looks, bins]` of length one, and the length they had `[looks]`, piece by piece."""
    mono, looks, size = sound.samples[0], _looks(sound), SIZES[voice]
    each = PIECE // HOP
    for first in range(0, looks, each):
        count, before = min(each, looks - first), min(first * HOP, -(-size // HOP) * HOP)
        piece = mono[first * HOP - before : (first + count) * HOP + size]
        rows = magnitudes(piece, size, HOP)[before // HOP : before // HOP + count]
        rows = np.pad(rows, ((0, count - len(rows)), (0, 0))) ** 0.5
        rows[:, round(TOPS[voice] * size / RATE) :] = 0
        rows[rows.max(axis=1) < QUIET**0.5] = 0
        loud = np.linalg.norm(rows, axis=1)
        yield rows / np.maximum(loud, 1e-9)[:, None], loud


@cache
def _harmonics(voice: str) -> np.ndarray:
    """What each bin says of each pitch, `[bins, pitches]`: for it at a harmonic, against it halfway between two."""
    size, (low, high) = SIZES[voice], RANGES[voice]
    hertz = 440 * 2 ** ((np.arange(low, high, 1 / STEPS) - 69) / 12)
    bins = np.arange(size // 2 + 1)[:, None]
    table = np.zeros((size // 2 + 1, len(hertz)), np.float32)
    for number in range(1, HARMONICS + 1):
        for place, sign in ((number, 1.0), (number - 0.5, -0.6)):
            away = np.abs(bins - place * hertz * size / RATE)
            table += sign * DECAY ** (number - 1) * np.clip(1 - away / 1.5, 0, None)
    return (table / np.linalg.norm(table, axis=0)).astype(np.float32)


def _path(salience: np.ndarray, voiced: float) -> np.ndarray:
    """The best way through pitches `[looks]`; the number of pitches stands for no pitch (Viterbi with three moves)."""
    looks, count = salience.shape
    gain = np.concatenate([salience, np.full((looks, 1), voiced, salience.dtype)], axis=1)
    score, came = gain[0].copy(), np.empty((looks, count + 1), np.int16)
    stay = np.arange(count + 1)
    for look in range(1, looks):
        best = int(score.argmax())
        now, origin = score.copy(), stay.copy()
        for step in (1, -1):
            moved = np.full(count + 1, -np.inf, score.dtype)
            moved[max(0, step) : count + min(0, step)] = score[max(0, -step) : count - max(0, step)] - GLIDE
            better = moved > now
            now[better], origin[better] = moved[better], stay[better] - step
        jumps = score[best] - JUMP > now
        now[jumps], origin[jumps] = score[best] - JUMP, best
        came[look], score = origin, now + gain[look]
    path = np.empty(looks, np.int64)
    path[-1] = int(score.argmax())
    for look in range(looks - 1, 0, -1):
        path[look - 1] = came[look, path[look]]
    return path


def _level(sound: Audio) -> np.ndarray:
    """Level in dB at each look, over 20 ms."""
    power = np.pad(sound.samples[0].astype(np.float64) ** 2, (HOP, 2 * HOP))
    sums = np.concatenate([[0.0], np.cumsum(power)])
    at = np.arange(_looks(sound)) * HOP
    return 10 * np.log10((sums[at + 2 * HOP] - sums[at]) / (2 * HOP) + 1e-9)


def _struck(level: np.ndarray, least: float) -> np.ndarray:
    """Looks at which something is struck: the level rises steeply and most there, `[looks]` bool."""
    rise = np.zeros(len(level))
    rise[2:-2] = level[4:] - level[:-4]
    highest = np.array([rise[max(0, at - 4) : at + 5].max() for at in range(len(rise))]) if len(rise) else rise
    return (rise >= least) & (rise >= highest)


def _notes(line: PitchLine, struck: np.ndarray) -> Iterator[Note]:
    """Stretches of one semitone; a stretch struck again is two notes."""
    midi, level = np.where(np.isfinite(line.midi), np.round(line.midi), -1).astype(int), line.level
    edges = [*np.flatnonzero((np.diff(midi, prepend=-2) != 0) | struck).tolist(), len(midi)]
    loudest = float(level.max(initial=-90.0))
    for start, end in zip(edges, edges[1:]):
        if midi[start] >= 0 and (end - start) / PER_SECOND >= SHORTEST:
            velocity = int(np.clip(110 + 2 * (float(level[start:end].max()) - loudest), 20, 120))
            sure = float(line.sure[start:end].mean())
            yield Note(start / PER_SECOND, end / PER_SECOND, int(midi[start]), sure, velocity)
