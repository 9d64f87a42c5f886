"""Sessions of this process as a pool: this one, or several elsewhere that it is connected to. A thread for each.

Knows sessions by their verbs.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from acestep_lab.errors import CheckpointError, LabError, RecipeError, Stopped, sentence
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep.work import Job, News, Watch


class Here:
    """Sessions, each with one piece of work at a time; RecipeError where their checkpoints differ."""

    def __init__(self, sessions: Sequence[Any], called: str = "this session") -> None:
        """`called`: what a session alone is called that has no address."""
        self._sessions, self._called = tuple(sessions), called
        if len({id(one) for one in self._sessions}) < len(self._sessions):
            raise RecipeError("A session is named twice; each works at one song at a time.")
        names = dict.fromkeys(one.name for one in self._sessions)
        if len(names) > 1:
            raise CheckpointError(
                f"These sessions have different checkpoints in use ({', '.join(names)}): a sweep compares takes of one. Name it as "
                "an axis, or let all use the same."
            )

    @property
    def width(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    @property
    def where(self) -> str:
        """In words."""
        return self._name(0) if self.width == 1 else f"{self.width} sessions"

    def _name(self, at: int) -> str:
        alone = self._called if self.width == 1 else f"session {at + 1}"
        return str(getattr(self._sessions[at], "url", "")) or alone

    @property
    def checkpoint(self) -> str:
        """The checkpoint in use in all of them."""
        return str(self._sessions[0].name)

    is_local = True

    def open(self, checkpoints: Iterable[str], really: bool = True) -> None:
        """Have these checkpoints open in every session, and the one in use still in use; CheckpointError where one cannot be.

        Not `really`: nothing is opened, and nothing said.
        """
        for lab in self._sessions if really else ():
            missing = [name for name in checkpoints if name not in lab.checkpoints]
            before = lab.name
            try:
                for name in missing:
                    lab.use(name)
            finally:
                if lab.name != before:
                    lab.use(before)

    def is_open(self, checkpoint: str) -> bool:
        """Whether all sessions have a checkpoint open."""
        return all(checkpoint in lab.checkpoints for lab in self._sessions)

    def attaches(self, checkpoint: str) -> bool:
        """Whether an open checkpoint takes adapters."""
        return bool(self._sessions[0].capabilities_of(checkpoint).attaches)

    def wear(self, adapters: Iterable[str]) -> None:
        """Look at adapters that cells will have on; those of a session elsewhere are files there, which it looks at itself."""
        for lab in self._sessions:
            look_at(lab, adapters)

    def resolve(self, recipes: Iterable[Recipe]) -> list[Recipe | str]:
        """Each recipe as its engine decides it, or the sentence it is refused with."""
        return [resolved(self._sessions[0], recipe) for recipe in recipes]

    def run(self, jobs: Iterable[Job], news: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        """Do all jobs, each session one at a time."""
        waiting, heard = _Waiting(jobs), queue.SimpleQueue[News | None]()
        threads = [
            threading.Thread(
                target=_work, args=(lab, self._name(at), waiting, heard.put, stopped), name="acestep_lab sweep", daemon=True
            )
            for at, lab in enumerate(self._sessions)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        left = len(threads)
        while left:
            said = heard.get()
            left -= said is None
            if said is not None:
                news(said)

    def close(self) -> None:
        """The sessions stay open: they are not ours."""


class _Waiting:
    """Jobs that several threads take from, one after another."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs, self._lock = iter(jobs), threading.Lock()

    def next(self) -> Job | None:
        """The next job; None where there is none left."""
        with self._lock:
            return next(self._jobs, None)


def resolved(lab: Any, recipe: Recipe) -> Recipe | str:
    """A recipe as a session's engine decides it, with ids for sounds, or the sentence it is refused with."""
    try:
        found: Recipe = lab.resolve(recipe)
    except LabError as problem:
        return sentence(problem)
    return found.replace(task=found.task.with_ids())


def look_at(lab: Any, adapters: Iterable[str]) -> None:
    """Read adapters where a session of this process will wear them; CheckpointError for one that is none."""
    if hasattr(lab, "engines"):
        from acestep_lab.models.adapters import opened

        for place in adapters:
            opened([place])


def _work(
    lab: Any, name: str, waiting: _Waiting, tell: Callable[[News | None], None], stopped: Callable[[], bool]
) -> None:
    """One session's work, job after job."""
    try:
        while not stopped():
            job = waiting.next()
            if job is None:
                return
            tell(News(job.place, "begun", by=name))
            tell(_done(lab, name, job, tell, stopped))
    finally:
        tell(None)


def _done(lab: Any, name: str, job: Job, tell: Callable[[News | None], None], stopped: Callable[[], bool]) -> News:
    """What became of a job."""
    watch, began = Watch(lambda said: tell(News(job.place, "told", said, name)), stopped), time.monotonic()
    try:
        value = job.work(lab, watch, **job.arguments())
    except Stopped:
        return News(job.place, "stopped", by=name)
    except Exception as problem:  # noqa: BLE001 - whatever happens in a job belongs to the job, the others go on
        return News(job.place, "failed", problem, name)
    return News(job.place, "done", value, name, time.monotonic() - began)
