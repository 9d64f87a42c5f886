"""A track under way: one run, whoever waits for it, and what they are told. Knows no stream; a listener is a function."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from acestep_lab.errors import LabError, Stopped, sentence
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.serve.track_cache import TrackCache
from acestep_lab.serve.track_request import ERRORS, name_of

Tell = Callable[[str, Mapping[str, Any]], None]
EVERY = 5
"""Percent between two reports of how far a track is, at most."""


@dataclass
class TrackJob:
    """A track that is being made. Who asked for it owns it from the asking, and hears of it once its answer has gone out."""

    key: str
    run: RenderRun
    facts: Mapping[str, Any]
    """What is known of it before it is made: backend, prompt, seed, model_version and the knobs."""
    owners: set[Hashable] = field(default_factory=set)
    percent: int = -EVERY
    at_step: int = 0
    total_steps: int = 0
    outcome: tuple[str, dict[str, Any]] | None = None
    _told: dict[Hashable, Tell] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def hear(self, owner: Hashable, tell: Tell) -> None:
        """From now on an owner hears of it: at once where it is over, or under way already."""
        with self._lock:
            if owner not in self.owners:
                return
            if self.outcome is not None:
                tell(*self.outcome)
                return
            self._told[owner] = tell
            if self.percent >= 0:
                tell("generation_progress", self._progress())

    def leave(self, owner: Hashable) -> Tell | None:
        """An owner wants it no more; with its last one the run stops. Gives what told that owner."""
        with self._lock:
            self.owners.discard(owner)
            tell, alone = self._told.pop(owner, None), not self.owners
        if alone:
            self.run.stop()
        return tell

    def heard(self, event: Event) -> None:
        """Something happened in its run: tell whoever waits, every five percent. Called on the worker thread."""
        with self._lock:
            if event.kind == "step":
                self.at_step, self.total_steps = int(event.value.index) + 1, int(event.value.steps)
            percent = min(99, int(100 * self.run.fraction))
            began = self.percent < 0 and self.run.state not in ("queued", "stopped", "failed")
            if self.outcome is None and not self.run.over and (began or percent >= self.percent + EVERY):
                self.percent = percent
                self._tell("generation_progress", self._progress())

    def end(self, method: str, params: dict[str, Any]) -> None:
        """It is over: tell whoever waits, and whoever will."""
        with self._lock:
            self.outcome = (method, params)
            self._tell(method, params)
            self._told.clear()

    def cancelled(self) -> dict[str, Any]:
        """What is told of a track that was stopped."""
        return {"track_id": self.key, "at_step": self.at_step, "total_steps": self.total_steps}

    def _progress(self) -> dict[str, Any]:
        eta = self.run.eta
        return {
            "track_id": self.key, "percent": self.percent, "step": self.at_step, "total_steps": self.total_steps,
            "eta_sec": None if eta is None else round(eta, 1),
        }  # fmt: skip

    def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        for tell in tuple(self._told.values()):
            tell(method, params)


class Finisher:
    """Writes finished tracks and tells how runs ended, on a thread of its own, so that the next run need not wait."""

    def __init__(self, cache: TrackCache, over: Callable[[TrackJob], None]) -> None:
        self._cache, self._over = cache, over
        self._jobs: queue.SimpleQueue[TrackJob | None] = queue.SimpleQueue()
        self._watched: list[TrackJob] = []
        self._closing = False
        threading.Thread(target=self._work, daemon=True, name="acestep_lab tracks").start()

    def watch(self, job: TrackJob) -> None:
        """Listen to a job's run, and finish it when it is over."""

        def listen(event: Event) -> None:
            job.heard(event)
            if event.kind == "state" and job.run.over:
                self._jobs.put(job)

        self._watched.append(job)
        job.run.subscribe(listen)
        if job.run.over:  # before anybody could listen
            self._jobs.put(job)

    def close(self) -> None:
        """End the thread once all that is watched has been told of."""
        self._closing = True
        self._jobs.put(None)

    def _work(self) -> None:
        while not self._closing or self._watched:
            if (job := self._jobs.get()) is not None and job in self._watched:
                method, params = self._outcome(job)
                self._over(job)
                job.end(method, params)
                self._watched.remove(job)

    def _outcome(self, job: TrackJob) -> tuple[str, dict[str, Any]]:
        problem = job.run.error
        if problem is None:
            try:
                kept = self._cache.put(job.key, job.run.take().audio, {**job.facts, "generation_time_sec": _spent(job)})
                return "generation_complete", told(kept, cached=False)
            except (LabError, OSError) as unwritten:
                problem = unwritten
        if isinstance(problem, Stopped):
            return "generation_cancelled", job.cancelled()
        name, message = name_of(problem), sentence(problem)
        error = {"code": name, "message": message, "error": message, "recovery": ERRORS[name][1]}
        return "generation_error", {"track_id": job.key, **error}


def _spent(job: TrackJob) -> float:
    return round(job.run.seconds_running, 3)


def told(kept: Mapping[str, Any], cached: bool) -> dict[str, Any]:
    """What a client hears of a finished track."""
    names = (
        "track_id", "path", "duration_sec", "sample_rate", "prompt", "seed", "generation_time_sec", "model_version",
        "backend",
    )  # fmt: skip
    return {name: kept[name] for name in names if name in kept} | {"cached": cached, "time": round(time.time(), 3)}
