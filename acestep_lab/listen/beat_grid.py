"""Beats and downbeats of a whole sound, by whoever listens: our own ears, or a `beat-this` checkpoint of the user's.

Knows no take. Our own ears are told a tempo and a meter, or measure them; a network that somebody brings is told nothing.
"""

from __future__ import annotations

import importlib
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.listen.beats import bar_times, followed_beats, on_the_beat
from acestep_lab.listen.meter import SIGNS, meter
from acestep_lab.listen.tempo import tempo
from acestep_lab.settings import VARIABLES

LISTENED_SECONDS = 60.0
"""So much of a sound is listened to for its tempo and meter."""
EARLY = 0.03
"""Seconds before a sound's start that a beat may be found and still be its first."""
LEAST_SECONDS = 1.0
"""A shorter sound has no beat."""
SETTING = "ACESTEP_LAB_BEAT_THIS"
PACKAGE = "beat_this"


@dataclass(frozen=True)
class BeatGrid:
    """Beats and downbeats in seconds; none where no beat is heard."""

    beats: tuple[float, ...] = ()
    downbeats: tuple[float, ...] = ()
    bpm: float | None = None
    beats_per_bar: int = 4
    clear: float = 0.0
    """How clearly beats are heard, 0 to 1."""

    @classmethod
    def of(cls, beats: Any, downbeats: Any, clear: float) -> BeatGrid:
        """The grid of measured times: tempo and meter are what most of them say."""
        times, bars = (np.sort(np.asarray(one, np.float64).reshape(-1)) for one in (beats, downbeats))
        if len(times) < 2:
            return cls()
        counts = Counter(np.diff(np.searchsorted(times, bars - 0.02)).tolist())
        per_bar = int(counts.most_common(1)[0][0]) if counts else 4
        plain = [tuple(round(float(at), 4) for at in one) for one in (times, bars)]
        return cls(plain[0], plain[1], round(60 / float(np.median(np.diff(times))), 2), max(1, per_bar), clear)

    @property
    def timesignature(self) -> str:
        """The meter as our recipes write it: "2", "3", "4" or "6", the nearest there is."""
        return str(self.beats_per_bar) if str(self.beats_per_bar) in SIGNS else "4"

    @property
    def steadiness(self) -> float:
        """Share of the beats, 0 to 1, whose length is within a tenth of the usual."""
        gaps = np.diff(self.beats)
        return float((np.abs(gaps / np.median(gaps) - 1) < 0.1).mean()) if len(gaps) else 0.0

    @property
    def evenness(self) -> float:
        """Share of the bars, 0 to 1, that have as many beats as most."""
        counts = np.diff(np.searchsorted(self.beats, np.array(self.downbeats) - 0.02))
        return float((counts == self.beats_per_bar).mean()) if len(counts) else 0.0


class BeatTracker(Protocol):
    """Whoever hears beats."""

    name: str

    def grid(self, sound: Audio) -> BeatGrid:
        """Beats and downbeats of a sound; an empty grid where there are none."""


@dataclass(frozen=True)
class OwnBeats:
    """Our own ears: a tempo, where the beats of it fall, and which of them have the bass."""

    bpm: float | None = None
    """A tempo that is known; None: it is measured."""
    beats_per_bar: int = 0
    """Beats of a bar; 0: they are counted."""

    name = "own"

    def grid(self, sound: Audio) -> BeatGrid:
        """Beats and downbeats of a sound; an empty grid where there are none."""
        if sound.samples.shape[-1] < LEAST_SECONDS * sound.rate:
            return BeatGrid()
        part = _middle(sound, LISTENED_SECONDS)
        bpm = self.bpm or tempo(part)[0]
        beats, clear = followed_beats(sound, bpm)
        if clear == 0 and self.bpm:  # it is not played as it was asked for
            return OwnBeats(None, self.beats_per_bar).grid(sound)
        if clear == 0 or len(beats) < 2:
            return BeatGrid()
        beats = on_the_beat(sound, beats)
        if beats[0] - 60 / bpm > -EARLY:  # a beat at the very start is found a little before it
            beats = np.concatenate([[0.0], beats])
        per_bar = self.beats_per_bar or beats_per_bar(meter(part, bpm)[0])
        found = BeatGrid.of(beats, bar_times(sound, beats, per_bar), clear)
        return BeatGrid(found.beats, found.downbeats, found.bpm, per_bar, clear)


class BeatThis:
    """A `beat-this` network (Foscarin, Schlüter & Widmer 2024) from a checkpoint file that the user has."""

    name = "beat-this"

    def __init__(self, predict: Callable[[np.ndarray, int], tuple[Any, Any]]) -> None:
        """`predict(signal, rate)` gives beats and downbeats in seconds, as `beat_this.inference.Audio2Beats` does."""
        self._predict = predict

    @classmethod
    def open(cls, file: str | Path) -> BeatThis:
        """Out of a checkpoint file; CheckpointError where it, or the package `beat-this`, is missing."""
        path = Path(file).expanduser()
        if not path.is_file():
            raise CheckpointError(f"There is no beat-this checkpoint at {shown(str(path))}; {SETTING} names its file.")
        return cls(_opened(str(path)))

    def grid(self, sound: Audio) -> BeatGrid:
        """Beats and downbeats of a sound; an empty grid where there are none."""
        if sound.samples.shape[-1] < LEAST_SECONDS * sound.rate:
            return BeatGrid()
        return BeatGrid.of(*self._predict(np.asarray(sound.samples, np.float32).mean(axis=0), sound.rate), clear=1.0)


@lru_cache(maxsize=1)
def _opened(path: str) -> Callable[[np.ndarray, int], tuple[Any, Any]]:
    try:
        inference = importlib.import_module(f"{PACKAGE}.inference")
    except ImportError as problem:
        raise CheckpointError(
            f"A beat-this checkpoint is read by the package beat-this, which is not here ({problem}): pip install beat-this."
        ) from None
    try:
        found: Callable[[np.ndarray, int], tuple[Any, Any]] = inference.Audio2Beats(path, device="cpu")
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError):
        raise CheckpointError(f"{shown(path)} is no beat-this checkpoint, or a damaged one.") from None
    return found


def named_tracker() -> BeatTracker | None:
    """The checkpoint that the setting names; None where it names none."""
    file = VARIABLES.get(SETTING)
    return BeatThis.open(file) if file else None


def tracker_of(bpm: float | None = None, per_bar: int = 0) -> BeatTracker:
    """Who hears beats here: the checkpoint that the setting names, else our own ears, told what is known."""
    return named_tracker() or OwnBeats(bpm, per_bar)


def beats_per_bar(signature: str) -> int:
    """How many beats a bar of a meter has; six eighths are felt as two."""
    first = str(signature).split("/")[0].strip()
    return {"2": 2, "3": 3, "6": 2}.get(first, 4)


def _middle(sound: Audio, seconds: float) -> Audio:
    """So much from the middle of a sound, or all of it."""
    count, whole = round(seconds * sound.rate), sound.samples.shape[-1]
    start = max(0, (whole - count) // 2)
    return Audio(sound.samples[:, start : start + count], sound.rate)
