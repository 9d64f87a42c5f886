"""What is done for one cell or one song, wherever it is done: a function of a session, what it is told, and what comes back.

Knows sessions by their verbs and no cluster. A piece of work is `work(lab, watch, **arguments)`, importable by its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from acestep_lab.jobs.client import at_priority
from acestep_lab.jobs.events import Event
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep.axes import Worn
from acestep_lab.takes.take import Take

MODEST = -2
"""The priority of a cell's render: below what a person asks for, and below a training's next piece."""
OWN = -3
"""That of the run that watches them, which gives way to its own cells."""
NAP = 0.1
"""Seconds between two looks whether somebody asked to stop."""
MOST_FRAMES = 96
"""Frames of an estimate that a preview of a cell has; others are left out evenly."""
PREVIEW_EVERY = 0.5
"""Seconds between two previews of a cell."""


@dataclass(frozen=True)
class Watch:
    """What a piece of work says on its way, and asks."""

    tell: Callable[[dict[str, Any]], None]
    stopped: Callable[[], bool]


Work = Callable[..., Any]
Result = tuple[str, Any]
"""What became of a piece of work: "done" with what it gives, "failed" with why, "stopped" with None."""


@dataclass(frozen=True)
class Job:
    """A piece of work for somebody: its place, what to do, and what gives its arguments once its turn comes."""

    place: int
    work: Work
    arguments: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class News:
    """Something that happened to a job: "begun", "told", "done", "failed", "stopped"."""

    place: int
    kind: str
    value: Any = None
    by: str = ""
    """Who works at it."""
    seconds: float | None = None
    """What it took, where it is done."""


class Pool(Protocol):
    """Who does pieces of work: sessions here or elsewhere, or the workers of a cluster."""

    @property
    def width(self) -> int:
        """How many pieces are worked at side by side, as things stand."""

    @property
    def where(self) -> str:
        """Who that is, in words: "2 workers at tcp://…"."""

    @property
    def is_local(self) -> bool:
        """Whether it works in sessions of this process."""

    @property
    def checkpoint(self) -> str:
        """What a recipe that names no checkpoint is made by."""

    def open(self, checkpoints: Iterable[str], really: bool = True) -> None:
        """Have checkpoints open, if `really`; CheckpointError where one cannot be."""

    def is_open(self, checkpoint: str) -> bool:
        """Whether a checkpoint is open everywhere in it."""

    def attaches(self, checkpoint: str) -> bool:
        """Whether an open checkpoint takes adapters, as far as that is known here."""

    def wear(self, adapters: Iterable[str]) -> None:
        """Look at adapters that cells will have on; CheckpointError for one that is none."""

    def resolve(self, recipes: Iterable[Recipe]) -> list[Recipe | str]:
        """Each recipe as its engine decides it, or the sentence it is refused with."""

    def run(self, jobs: Iterable[Job], news: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        """Do all jobs and tell what happens, until they are done or somebody stops; whatever else ends it is raised."""

    def close(self) -> None:
        """Let go of what was opened for it."""


def make(
    lab: Any, watch: Watch, recipe: Recipe, adapters: Worn | None = None, plan: Plan | None = None
) -> Take:  # fmt: skip
    """A cell's take, made when nobody else wants the machine. Stopped where somebody asked for that."""
    with at_priority(MODEST):
        run = lab.start(recipe, plan, adapters=adapters)
    for message in run.messages:
        watch.tell({"message": message})
    previews = _Previews(watch)
    done = run.subscribe(previews.hear)
    try:
        while not run.wait(NAP):
            if watch.stopped():
                run.stop()
    finally:
        done()
    take: Take = run.take()
    return take


class _Previews:
    """Hears a render and passes on how far it is, with a picture now and then."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._shown = watch, 0.0

    def hear(self, event: Event) -> None:
        """A run's event."""
        if event.kind == "state" and event.value not in ("done", "failed", "stopped"):
            self._watch.tell({"state": str(event.value)})
        elif event.kind == "step":
            self._step(event.value)

    def _step(self, step: Any) -> None:
        said = {"state": "rendering", "step": int(step.index) + 1, "steps": int(step.steps)}
        if time.monotonic() - self._shown >= PREVIEW_EVERY or said["step"] == said["steps"]:
            self._shown = time.monotonic()
            said |= _small(step.estimate)
        self._watch.tell(said)


def _small(estimate: Any) -> dict[str, Any]:
    """An estimate `[frames, channels]` as bytes of float16, few enough to be sent; nothing where there is none."""
    if estimate is None:
        return {}
    values = estimate.detach().float().cpu().numpy() if hasattr(estimate, "detach") else np.asarray(estimate)
    values = values[0] if values.ndim == 3 else values
    kept = values[:: max(1, -(-len(values) // MOST_FRAMES))].astype(np.float16)
    return {"shape": list(kept.shape), "estimate": kept.tobytes()}


def estimate_of(said: Mapping[str, Any]) -> np.ndarray | None:
    """The estimate that was told, as float32 `[frames, channels]`; None where there is none."""
    if "estimate" not in said:
        return None
    return np.frombuffer(said["estimate"], np.float16).reshape(said["shape"]).astype(np.float32)
