"""The sound of steps, as mel levels: decoded where that is cheap, else guessed from the latent, and which of the two it was.

One for all pages of a session, so that several who watch one run cost it no more than one. Decoding is a small job between two
steps (`jobs.call`), never under way while the loop computes; its cost is measured where it is done, and all of it together may
be a twentieth of the time that the steps take.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError
from acestep_lab.listen.mel_levels import Levels
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui import mel_image
from acestep_lab.ui.latent_image import Probe

SHARE = 0.04
"""Of a render's time, so much may go to pictures; what is measured a little late is on top."""
CHEAP = 0.150
"""Seconds a decoding may take, however short a step is."""
STEP_SHARE = 0.15
"""And of a step's time, where steps are long."""
FIRST_SECONDS = 1.0
"""What is decoded first, to find out what it costs."""
TRUSTED = 0.3
"""A guess that explains less of the spectra's variance is not shown."""
TAKES_LEARNT = 6

Source = Literal["decoded", "guess", "take"]


@dataclass(frozen=True)
class StepSound:
    """What a step sounds like, as levels; `explained` says how far to trust a guess (1: all)."""

    levels: Levels
    rate: int
    source: Source
    explained: float = 1.0


class DecodeBudget:
    """Whether a decoding may be done now, so that pictures cost a render no more than a small share of its time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._spent = 0.0
        self.per_second: float | None = None
        """Seconds of work for a second of sound, at its best: a busy moment is no reason to stop. None until measured."""

    def begin(self) -> None:
        """Another run: what earlier ones saved is no credit."""
        self._began, self._spent = self._clock(), 0.0

    def spend(self, cost: float, seconds: float) -> None:
        """A decoding of so many seconds of sound took so long."""
        self._spent += cost
        measured = cost / max(seconds, 1e-3)
        self.per_second = measured if self.per_second is None else min(measured, self.per_second)

    def is_cheap(self, seconds: float, step_time: float) -> bool:
        """Whether decoding so much is worth it at all beside a step of this length."""
        return self.per_second is None or self.per_second * seconds < max(CHEAP, STEP_SHARE * step_time)

    def allows(self, seconds: float) -> bool:
        """Whether so much may be decoded now; before anything was measured, a render must have run for a moment."""
        passed = self._clock() - self._began
        if self.per_second is None:
            return passed > 0.2
        return self._spent + self.per_second * seconds <= SHARE * passed


class StepSounds:
    """Levels of steps and takes for the pages of one session."""

    def __init__(self, session: SessionLike, clock: Callable[[], float] = time.monotonic) -> None:
        self._session, self._clock = weakref.ref(session), clock
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[Step, StepSound] = weakref.WeakKeyDictionary()
        self._guesses: weakref.WeakKeyDictionary[Step, StepSound] = weakref.WeakKeyDictionary()
        self._takes: weakref.WeakKeyDictionary[Take, StepSound] = weakref.WeakKeyDictionary()
        self._pairs: dict[str, list[tuple[Any, Levels]]] = {}
        self._probes: dict[str, tuple[Probe, int]] = {}
        self._last_step: tuple[float, float] = (0.0, 0.0)
        self._run = ""
        self.budget = DecodeBudget(clock)

    def begin(self, run: str) -> None:
        """A run is watched; the same one by several pages counts once."""
        with self._lock:
            if run != self._run:
                self._run = run
                self.budget.begin()
                self._last_step = (0.0, 0.0)

    def arrived(self) -> None:
        """A step came: how long it took says whether decoding is cheap beside it."""
        now, (last, _) = self._clock(), self._last_step
        self._last_step = (now, now - last if last else 0.0)

    def of_step(self, step: Step, seconds: float, asked: bool = False) -> StepSound | None:
        """A step's sound, decoded where somebody asked for this very step or the budget allows it, else guessed, else None."""
        if step.estimate is None or seconds <= 0:
            return None
        found = self._known.get(step)
        if found is None and (asked or self._may_decode(seconds)):
            found = self._decoded(step, seconds)
        return found or self._guessed(step)

    def of_take(self, take: Take) -> StepSound:
        """A finished take's own sound, in the frames of its latent."""
        found = self._takes.get(take)
        if found is None:
            rate = take.audio.rate
            found = self._takes[take] = StepSound(mel_image.mel_levels(take.audio, len(take.latent)), rate, "take")
            self._learn(take, found)
        return found

    # -- decoding

    def _may_decode(self, seconds: float) -> bool:
        return self.budget.is_cheap(seconds, self._last_step[1]) and self.budget.allows(seconds)

    def _decoded(self, step: Step, seconds: float) -> StepSound | None:
        """Decode a step whole, on the worker's thread between two steps; None where the session can do so no more."""
        session = self._session()
        if session is None:
            return None
        if self.budget.per_second is None and not self._measure(session, step, seconds):
            return None
        done = self._timed(session, step, seconds / 2, seconds)
        if done is None:
            return None
        audio, cost = done
        began = self._clock()
        levels = mel_image.mel_levels(audio, _frames(step))
        self.budget.spend(cost + self._clock() - began, seconds)
        found = self._known[step] = StepSound(levels, audio.rate, "decoded")
        return found

    def _measure(self, session: SessionLike, step: Step, seconds: float) -> bool:
        """Find out what a second costs, and say whether the whole is cheap; a model that must first be loaded is not."""
        length = min(FIRST_SECONDS, seconds)
        done = self._timed(session, step, length / 2, length)
        if done is None:
            return False
        self.budget.spend(done[1], length)
        return self.budget.is_cheap(seconds, self._last_step[1])

    def _timed(self, session: SessionLike, step: Step, at: float, seconds: float) -> tuple[Audio, float] | None:
        def work() -> tuple[Audio, float]:
            began = self._clock()
            return session.preview(step, at, seconds), self._clock() - began

        try:
            return session.jobs.call(work)
        except LabError:
            return None  # closed meanwhile, or nothing to hear: there is no picture, and the music goes on

    # -- guessing

    def _guessed(self, step: Step) -> StepSound | None:
        known, held = self._probes.get(step.checkpoint), self._guesses.get(step)
        if held is not None or known is None or known[0].explained < TRUSTED:
            return held
        probe, rate = known
        found = self._guesses[step] = StepSound(probe.spectrum(_plain(step)), rate, "guess", probe.explained)
        return found

    def _learn(self, take: Take, sound: StepSound) -> None:
        """A finished take shows what a latent sounds like; the next run's guesses are fitted on the last few."""
        name = str(take.made_with.get("checkpoint", ""))
        pairs = self._pairs.setdefault(name, [])
        if pairs and pairs[0][0].shape[1] != take.latent.shape[1]:
            pairs.clear()
        if len(take.latent) != len(sound.levels):
            return
        gain = float(take.made_with.get("gain", 1.0)) or 1.0
        pairs.append((take.latent, sound.levels - np.float32(20 * np.log10(abs(gain)))))
        del pairs[:-TAKES_LEARNT]
        latents, levels = (np.concatenate(part) for part in zip(*pairs, strict=True))
        if len(latents) >= 50:
            self._probes[name] = (Probe.fit(latents, levels), sound.rate)


def _frames(step: Step) -> int:
    return len(_plain(step))


def _plain(step: Step) -> Any:
    """The estimate `[frames, channels]`."""
    estimate: Any = step.estimate
    return estimate[0] if estimate.ndim == 3 else estimate


_ONE = threading.Lock()
_SOUNDS: weakref.WeakKeyDictionary[object, StepSounds] = weakref.WeakKeyDictionary()


def step_sounds_of(session: SessionLike) -> StepSounds:
    """The one StepSounds of a session."""
    with _ONE:
        found = _SOUNDS.get(session)
        if found is None:
            found = _SOUNDS[session] = StepSounds(session)
        return found
