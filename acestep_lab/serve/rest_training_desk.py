"""What a REST door has open of its host's: a data set, what listens to it or encodes it in the background, a training.

One of each at a time, as on ACE-Step's server. Knows sessions by their verbs, and no web. Background tasks have a thread each that
waits for the session; the work itself is done where every run's is, so that whoever wants music meanwhile has a turn.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from acestep_lab.errors import LabError, RecipeError, sentence, shown
from acestep_lab.jobs.training import ENCODE, TrainingRun
from acestep_lab.serve.rest_paths import SoundPlaces
from acestep_lab.serve.rest_training_fields import Wish
from acestep_lab.session_like import SessionLike
from acestep_lab.train.dataset import Dataset

LABEL, PREPROCESS = "describing", "encoding"
MOST_TASKS = 100
"""Background tasks that are remembered."""
FAREWELL = 10.0
"""Seconds that a door which closes waits for a song that is being listened to."""


class NoDataset(LabError):
    """Something was asked of a data set, and none is open (HTTP 400)."""

    code = "SOURCE"
    status = 400

    def __init__(self) -> None:
        super().__init__("No data set is open; scan a folder or load one first.")


class Missing(LabError):
    """Something was asked for that is not there, or not any more (HTTP 404)."""

    code = "MISSING"
    status = 404


@runtime_checkable
class Teaches(Protocol):
    """A session that teaches adapters."""

    def train(self, songs: Any, config: Any = None, *, dry_run: bool = False, **options: Any) -> Any: ...


@dataclass(eq=False)
class BackgroundTask:
    """Something that listens to a data set, or encodes it, while its client polls."""

    kind: str
    total: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "running"
    """running, completed or failed, as clients of ACE-Step's server read it."""
    current: int = 0
    said: str = "Starting."
    more: dict[str, Any] = field(default_factory=dict)
    """What a poll tells besides."""
    result: dict[str, Any] | None = None
    error: str = ""
    run: TrainingRun | None = None
    """The session's run that does the work, where there is one."""
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def told(self) -> dict[str, Any]:
        """How it stands, under the names of ACE-Step's server."""
        run = self.run
        done = self.current if run is None or self.state != "running" else run.pace[ENCODE].done
        said = self.said if run is None or self.state != "running" else f"{run.doing[:1].upper()}{run.doing[1:]}"
        told: dict[str, Any] = {
            "task_id": self.id, "status": self.state, "progress": said, "current": done, "total": self.total,
        } | self.more  # fmt: skip
        if self.result is not None:
            told["result"] = self.result
        if self.error:
            told["error"] = self.error
        return told

    def stop(self) -> None:
        """Ask it to end."""
        self.stopping.set()
        if self.run is not None:
            self.run.stop()

    def work(self, job: Callable[[BackgroundTask], dict[str, Any]]) -> None:
        """Do it, and say how it ended, whatever happens."""
        self.state, self.error = "running", "It ended unexpectedly; the server's log says why."
        try:
            result = job(self)
            self.current, self.said, self.result, self.error = self.total, str(result["message"]), result, ""
        except LabError as problem:
            self.error = sentence(problem)
        finally:
            self.state = "failed" if self.error else "completed"
            self.said = self.error or self.said
            self.ended.set()


@dataclass(frozen=True)
class Taught:
    """A training that the door began, as its client asked for it."""

    run: TrainingRun
    wish: Wish
    songs: int
    """Learnt from, those held out not counted."""
    tensor_dir: str
    output_dir: Path | None


class TrainingDesk:
    """The host's data set and trainings of one door."""

    def __init__(self, session: SessionLike, places: SoundPlaces) -> None:
        self.session, self.places = session, places
        self.lock = threading.RLock()
        self.taught: Taught | None = None
        self._dataset: Dataset | None = None
        self._opened = 0
        self.saved_at: Path | None = None
        """The file that the data set was saved to or loaded from."""
        self._tasks: dict[str, BackgroundTask] = {}
        self._closed = False

    # -- the data set

    @property
    def dataset(self) -> Dataset:
        """The one that is open; NoDataset where none is."""
        if self._dataset is None:
            raise NoDataset
        return self._dataset

    def open(self, dataset: Dataset, saved_at: Path | None = None) -> None:
        """Have another data set open; RecipeError while the one that is open is being described."""
        with self.lock:
            self.refuse_if_running(LABEL)
            self._dataset, self.saved_at = dataset, saved_at
            self._opened += 1

    def change(self, change: Callable[[Dataset], Dataset]) -> Dataset:
        """Change the data set that is open, and give it."""
        with self.lock:
            self._dataset = change(self.dataset)
            return self._dataset

    # -- in the background

    def begin(
        self, kind: str, total: int, job: Callable[[BackgroundTask], dict[str, Any]], **more: Any
    ) -> BackgroundTask:
        """Begin a background task; RecipeError while there is one of its kind."""
        with self.lock:
            if self._closed:
                raise RecipeError("This door is closing; nothing new is begun.")
            self.refuse_if_running(kind)
            task = BackgroundTask(kind, total, more=more)
            self._tasks[task.id] = task
            for id in list(self._tasks)[:-MOST_TASKS]:
                del self._tasks[id]
        threading.Thread(target=task.work, args=(job,), name=f"acestep_lab {kind}", daemon=True).start()
        return task

    def refuse_if_running(self, kind: str) -> None:
        """RecipeError while a background task of a kind is under way."""
        if any(task.kind == kind and not task.ended.is_set() for task in self._tasks.values()):
            raise RecipeError(f"The data set is {kind_in_words(kind)} already; wait until that is done.")

    def task(self, kind: str, id: str | None = None) -> BackgroundTask | None:
        """A background task of a kind by its id, or the latest, None where there was none; Missing for an unknown id."""
        with self.lock:
            tasks = [task for task in self._tasks.values() if task.kind == kind]
        if id is None:
            return tasks[-1] if tasks else None
        found = next((task for task in tasks if task.id == id), None)
        if found is None:
            raise Missing(f"There is no such task {shown(id)} here, or not any more; begin it once more.")
        return found

    # -- the end

    def close(self) -> None:
        """Stop what is under way: a training keeps what it has learnt."""
        with self.lock:
            self._closed = True
            tasks, taught = list(self._tasks.values()), self.taught
        for task in tasks:
            task.stop()
        if taught is not None and not taught.run.over:
            taught.run.stop()
        for task in tasks:
            task.ended.wait(FAREWELL)


def kind_in_words(kind: str) -> str:
    """What is being done to a data set."""
    return {LABEL: "being described", PREPROCESS: "being encoded"}[kind]
