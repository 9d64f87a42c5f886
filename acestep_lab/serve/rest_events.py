"""How the tasks of the REST door stand, told as it changes: numbered states for server-sent events, and pictures of steps.

Knows tasks and numbers; no server and no event loop. A state is found out once for however many listen, and has a number
that only rises, so that whoever comes back names the last one heard and is told what changed since.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.serve.rest_tasks import RestTask, RestTasks
from acestep_lab.ui import latent_image

OFTEN = 0.02
"""Seconds a listener waits after it was woken: what comes together is told together."""
SELDOM = 0.5
"""Seconds after which it is found out anew though nothing was heard: the time to go passes."""
WIDEST, SMALL = 1200, 256
"""Columns of the largest picture, and of those that come with events; a longer song's frames are averaged into them."""
Wake = Callable[[], None]


class NoPicture(LabError):
    """A picture was asked for of a step that is not there, or that cannot be seen (HTTP 404)."""

    code = "MISSING"
    status = 404


def state_of(task: RestTask) -> dict[str, Any]:
    """How a task stands, in a few plain values; `eta` in seconds, null while nothing is known; `step` counts from 1."""
    run = task.run
    eta = None if run is None or task.over else run.eta
    at = task.reached
    shown = run is not None and at["step"] > 0 and run.steps[-1].estimate is not None
    where = f"/v1/latent?task_id={task.id}&song={at['song']}&step={at['step']}"
    return {
        "task_id": task.id, "state": task.state, "stage": task.stage, "progress": task.fraction, "create_time": task.created,
        "eta": None if eta is None else round(eta, 2), **at, "latent": where if shown else None, "error": task.error,
    }  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A task's state as it was told: its number, and its JSON text."""

    number: int
    task_id: str
    owner: str
    text: str
    over: bool


class TaskFeed:
    """The states of all tasks, for whoever listens."""

    def __init__(self, tasks: RestTasks) -> None:
        self._tasks = tasks
        self._series = secrets.token_hex(4)
        """Tells this door's numbers from those of one before it."""
        self._told: dict[str, Told] = {}
        self._number = 0
        self._fresh: dict[str, tuple[float, int]] = {}
        """When somebody's states were last found out, and how much had happened by then."""
        self._happened = 0
        self._wakes: list[tuple[str, Wake]] = []
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def listen(self, owner: str, wake: Wake) -> Callable[[], None]:
        """Call `wake()`, on whatever thread, when something of somebody's may have changed; returns the way to stop that."""
        entry = (owner, wake)
        with self._lock:
            self._wakes.append(entry)
            if not self._stops:
                self._happened += 1  # nobody has heard what happened before
                self._stops = [self._tasks.session.jobs.subscribe(self._heard), self._tasks.listen(self._wake)]
        return lambda: self._leave(entry)

    def _leave(self, entry: tuple[str, Wake]) -> None:
        with self._lock:
            self._wakes = [one for one in self._wakes if one is not entry]
            stops = self._stops if not self._wakes else []
            if stops:
                self._stops = []
        for stop in stops:
            stop()

    def _heard(self, run: Any, event: Any) -> None:
        if event is None or event.kind != "token":  # hundreds a second; what they change is told by and by
            self._wake(None if run is None else run.owner)

    def _wake(self, owner: str | None = None) -> None:
        self._happened += 1
        for whose, wake in tuple(self._wakes):
            if owner is None or whose == owner:
                wake()

    def since(self, number: int, owner: str, only: str = "", anew: bool = False) -> list[Told]:
        """The states of somebody's tasks that changed after a number, in that order; of one task alone where it is named.

        `anew`: as they are this moment, though nothing was heard since they were last found out.
        """
        with self._lock:
            if anew:
                self._fresh.pop(owner, None)
            self._refresh(owner)
            mine = [one for one in self._told.values() if one.owner == owner and one.number > number]
        return sorted((one for one in mine if not only or one.task_id == only), key=lambda one: one.number)

    def id_of(self, number: int, last: bool = False) -> str:
        """A number as the id of an event; `last` where nothing comes after it."""
        return f"{self._series}-{number}" + ("-end" if last else "")

    def number_of(self, id: str) -> tuple[int, bool]:
        """The number of an event's id, and whether it was the last; 0 for the id of another door or of none."""
        series, _, rest = id.strip().partition("-")
        number, _, end = rest.partition("-")
        known = series == self._series and number.isascii() and number.isdigit() and len(number) < 16
        return (int(number), end == "end") if known else (0, False)

    def _refresh(self, owner: str) -> None:
        """Find somebody's states out anew, where the last ones may not be true any more; the lock is held."""
        now, happened = time.monotonic(), self._happened
        then, before = self._fresh.get(owner, (now - SELDOM, happened))
        if now - then < SELDOM and happened == before:
            return
        self._fresh[owner] = now, happened
        tasks = self._tasks.tasks(owner)
        known = {task.id for task in tasks}
        self._told = {id: one for id, one in self._told.items() if one.owner != owner or id in known}
        for task in reversed(tasks):
            told = self._told.get(task.id)
            if told is None or not told.over:
                self._tell(task, told)

    def _tell(self, task: RestTask, before: Told | None) -> None:
        over = task.over  # before the rest is read: it may end meanwhile
        text = json.dumps(state_of(task), ensure_ascii=False)
        if before is None or before.text != text or before.over != over:
            self._number += 1
            self._told[task.id] = Told(self._number, task.id, task.owner, text, over)


@dataclass(frozen=True)
class StepPicture:
    """A picture of a step: channels by time, the same order of channels for all steps of a song."""

    png: bytes
    step: int
    """Counted from 1."""
    song: int
    """Counted from 0."""


class LatentPictures:
    """Draws the steps of tasks as PNGs, each once for however many look; on whatever thread."""

    def __init__(self) -> None:
        self._orders: WeakKeyDictionary[RenderRun, dict[int, Any]] = WeakKeyDictionary()
        self._drawn: dict[tuple[str, int], tuple[int, int, StepPicture]] = {}
        """The newest picture of each task and width, with the step and song it is of."""
        self._lock = threading.Lock()

    def draw(
        self, task: RestTask, step: int | None = None, song: int | None = None, width: int = WIDEST
    ) -> StepPicture:
        """A picture of a step (counted from 1; None: the newest) at most so wide; NoPicture where there is none."""
        run = task.run
        if run is None:
            raise NoPicture("There are pictures of steps only while a task is rendered.")
        found = next(_matching(run, step, song), None)
        if found is None:
            raise NoPicture("This step was not reached yet, or there is none of this number.")
        if found.estimate is None:
            raise NoPicture("Steps of this checkpoint cannot be seen.")
        with self._lock:
            known = self._drawn.get((task.id, width))
            if known is None or known[:2] != (found.index, found.item):
                picture = StepPicture(self._png(run, found, width), found.index + 1, found.item)
                known = self._drawn[(task.id, width)] = (found.index, found.item, picture)
                self._forget()
        return known[2]

    def _png(self, run: RenderRun, step: Step, width: int) -> bytes:
        latent: Any = step.estimate
        latent = latent[0] if latent.ndim == 3 else latent
        orders = self._orders.setdefault(run, {})
        if step.item not in orders:
            orders[step.item] = latent_image.order_of(latent)
        columns, height = min(int(latent.shape[0]), width), 2 if width > SMALL else 1
        return latent_image.png_bytes(latent_image.picture(latent, orders[step.item], columns, height))

    def _forget(self) -> None:
        """Keep the pictures of the newest few tasks; the lock is held."""
        while len(self._drawn) > 32:
            del self._drawn[next(iter(self._drawn))]


def _matching(run: RenderRun, step: int | None, song: int | None) -> Iterator[Step]:
    """The steps of a run that are meant, the newest first."""
    for one in reversed(run.steps):
        if (song is None or one.item == song) and (step is None or one.index + 1 == step):
            yield one
