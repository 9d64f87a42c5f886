"""Runs of another machine, followed into runs of this one: steps, tokens, messages and takes as they happen there.

Knows the line and the queue's runs; no verb. A line that drops is gone on with where it was (`Connection.events`).
"""

from __future__ import annotations

import contextlib
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, MachineError, RecipeError, Stopped, shown
from acestep_lab.jobs.ids import new_id
from acestep_lab.jobs.kinds import PlanRun, RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.run import Run
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.remote.connection import Connection, ConnectionLost, error_of
from acestep_lab.remote.steps import FarStep
from acestep_lab.remote.stream import EventStream, Told
from acestep_lab.remote.telling import plans_from, read_event, understood, value_of
from acestep_lab.remote.wire import Problem
from acestep_lab.takes.ids import take_id
from acestep_lab.takes.take import Take

NAP = 0.05
"""Seconds after which a run that hears nothing looks whether it is to stop."""
BEHIND = 2
"""Events that may wait before steps are shown without their latents, which are fetched when somebody looks at them."""
BEGIN_SECONDS = 40.0
"""How long the other machine may take to begin a run before it is asked once more whether it has."""
ASK_AGAIN = 1.0
ASK_PATIENCE = 20.0
"""Seconds for which a short question is put again when the line drops."""
BLINK = 1.0
"""Seconds for which what a page needs to be drawn is asked again when the line drops."""
AWAY = 5.0
"""Seconds for which a machine that was asked in vain is asked once only: a page has one thread for all who look at it."""
STOP_PATIENCE = 15.0
"""Seconds for which a stop is tried to be told to a machine that does not answer."""
MOST_LATENT, MOST_HEARD = 256 * 2**20, 512 * 2**20
"""Bytes of a step's latent, and of a sound that is listened to."""
MOST_EVENTS = 200_000
"""Events of one run."""
PEEK_SECONDS = 3.0, 10.0
"""How long a run waits for the picture of a step: until the line stands, and for the latent."""
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,9}), (\d{1,9})\), \} *\n",
    re.DOTALL,
)
LAB = "/v1/lab"
RUNS = f"{LAB}/runs"
_LINE = "\n"
"""The kind of what the line itself tells: no event of a machine can have it."""


class Shelf(Protocol):
    """Where takes of the other machine come from."""

    def take(self, id: str, sources: Iterable[object], on_message: Callable[[str], None]) -> Take:
        """A take that was made there from these sounds, brought over whole; what there is to say of it is told."""


class Standing(Run[Any, Any]):
    """A run of another machine, as it stands there."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self._told: Mapping[str, Any] = {}
        self._told_at = 0.0
        self._is_cut_off = False
        super().__init__(*values, **options)

    def stands(self, told: Mapping[str, Any]) -> None:
        """Be told how far it is there: "fraction", "eta", "doing", or some of them."""
        self._told, self._told_at = {**self._told, **told}, time.monotonic()
        if not self.over:
            self._measure()
            self._emit("progress", self._fraction)

    def lose_line(self, down: bool) -> None:
        """Be told that the line to the other machine dropped, or is there again."""
        self._is_cut_off = down
        if not self.over:
            self._emit("progress", self._fraction)

    @property
    def doing(self) -> str:
        """What it is doing there, in a few words."""
        told = "waiting for the other machine" if self._is_cut_off else self._told.get("doing", "")
        return super().doing if self.over or self.stopping or self.held or not told else told

    @property
    def remaining(self) -> float | None:
        """Seconds of work still to do, as the other machine knows it; None while it knows nothing."""
        if self.over:
            return 0.0
        eta = self._told.get("eta")
        return None if eta is None or self._is_cut_off else max(0.0, eta - (time.monotonic() - self._told_at))

    def _measure(self, share: float = 0.0) -> None:
        super()._measure(self._told.get("fraction", 0.0) or share)


class FarRun(Standing, RenderRun):
    """A render of another machine, as it stands there."""

    def __init__(self, recipes: Any, title: str = "") -> None:
        super().__init__(recipes, title=title)


class Followed(Protocol):
    """A run of this machine that follows one of the other."""

    @property
    def stopping(self) -> bool: ...
    def message(self, sentence: str) -> None: ...


class Line:
    """What is asked of the other machine's runs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._away_until = 0.0

    def begin(self, id: str, kind: str, fields: Mapping[str, Any], stopping: Callable[[], bool]) -> None:
        """Begin a run under an id of ours; asked again where the answer was lost, which begins nothing twice."""
        end = time.monotonic() + self.connection.patience
        line = self.connection.in_a_hurry(BEGIN_SECONDS / 4, BEGIN_SECONDS)
        while True:
            try:
                line.post(RUNS, {"id": id, "kind": kind, **fields})
            except ConnectionLost:
                if stopping() or time.monotonic() >= end:
                    raise
                time.sleep(min(ASK_AGAIN, max(0.05, end - time.monotonic())))
            else:
                return

    def ask(self, verb: str, fields: Mapping[str, Any], hint: Any) -> Any:
        """What a short verb gives, of a type; each may be asked twice, and is, where the line drops for a moment."""
        now = time.monotonic()
        end = now if now < self._away_until else now + min(self.connection.patience, ASK_PATIENCE)
        while True:
            try:
                answer = self.connection.post(f"{LAB}/do/{verb}", fields)
            except ConnectionLost:
                if time.monotonic() >= end:
                    self._away_until = time.monotonic() + AWAY
                    raise
                time.sleep(0.5)
            else:
                with understood(self.connection.url):
                    return value_of(answer, hint)

    def ask_at_once(self, verb: str, fields: Mapping[str, Any], hint: Any, drawing: bool = False) -> Any:
        """What a verb that only looks gives, for somebody who waits a blink at most; one that only wants to draw a page
        (`drawing`) does not ask where it was in vain just now.
        """
        if drawing and time.monotonic() < self._away_until:
            raise self.connection.lost()
        line, end = (
            self.connection.in_a_hurry(2.0, 10.0 if drawing else 60.0),
            time.monotonic() + min(self.connection.patience, BLINK),
        )
        while True:
            try:
                answer = line.post(f"{LAB}/do/{verb}", fields)
            except ConnectionLost:
                if time.monotonic() >= end:
                    self._away_until = time.monotonic() + AWAY
                    raise
                time.sleep(0.2)
            else:
                with understood(self.connection.url):
                    return value_of(answer, hint)

    def stop(self, id: str) -> None:
        """Ask a run there to end."""
        self.connection.in_a_hurry(2.0, 5.0).post(f"{RUNS}/{id}/stop")

    def keep(self, id: str, step: int, item: int) -> str:
        """Make a take of a step there; its id."""
        answer = self.connection.post(f"{RUNS}/{id}/keep", {"step": step, "item": item})
        with understood(self.connection.url):
            return take_id(answer["take"])

    def latent(self, id: str, step: int, item: int, which: str = "estimate") -> np.ndarray:
        """A step's "estimate" (x0) or "state" (x_t) `[frames, channels]`, float32."""
        with tempfile.TemporaryDirectory(prefix="acestep_lab-") as folder:
            file = Path(folder) / "step.npy"
            self.connection.fetch(f"{RUNS}/{id}/steps/{step}/{item}", file, MOST_LATENT, which=which)
            return _latent_in(file)

    def sound(self, path: str, **asked: Any) -> Audio:
        """A sound that the other machine answers with, as a WAV: nothing in it unpacks to more than came."""
        with tempfile.TemporaryDirectory(prefix="acestep_lab-") as folder:
            file = Path(folder) / "sound.wav"
            self.connection.fetch(path, file, MOST_HEARD, **asked)
            with file.open("rb") as opened:
                if opened.read(4) not in (b"RIFF", b"RF64"):
                    raise MachineError("What came as a sound is no WAV file.")
            return Audio.read(file)


def _latent_in(file: Path) -> np.ndarray:
    """The latent in a .npy file `[frames, channels]`, float32, as `np.save` writes it; MachineError for anything else: what
    a header claims is not believed.
    """
    data = file.read_bytes()
    head = _NPY.match(data)
    if head is not None:
        shape = int(head[1]), int(head[2])
        if len(data) - head.end() == 4 * shape[0] * shape[1]:
            return np.frombuffer(data, "<f4", offset=head.end()).reshape(shape).astype(np.float32)
    raise MachineError("What came as a step's latent cannot be read as one.")


class Following:
    """One run of the other machine, followed to its end, on the thread that calls `outcome`."""

    def __init__(self, line: Line, jobs: JobQueue, run: Followed, hear: Callable[[str, Any, bool], None]) -> None:
        """`hear(kind, data, behind)` is told all that happens; `behind`: much more is known already."""
        self.id = new_id()
        self._line, self._jobs, self._run, self._hear = line, jobs, run, hear
        self._told: queue.SimpleQueue[Told | BaseException | None] = queue.SimpleQueue()
        self._asked_at: float | None = None
        self._next_ask = 0.0
        self._heard = 0

    def outcome(self, kind: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Begin the run there, follow it, and give what came of it; raises what it failed with there, also Stopped."""
        self._line.begin(self.id, kind, fields, lambda: self._run.stopping)
        events = self._line.connection.events(
            f"{RUNS}/{self.id}/events", dropped=lambda down: self._told.put(Told("", _LINE, down))
        )
        reader = threading.Thread(target=self._read, args=(events,), name="acestep_lab far run", daemon=True)
        reader.start()
        try:
            return self._followed()
        finally:
            events.close()
            reader.join(1.0)

    def _followed(self) -> Mapping[str, Any]:
        """Hear everything up to the outcome."""
        url = self._line.connection.url
        while True:
            told = self._next()
            if told is None:
                raise MachineError(f"{shown(url)} ended a run without saying what came of it.")
            if isinstance(told, BaseException):
                raise told
            if told.kind == _LINE:
                self._say_of_line(bool(told.data))
                continue
            self._heard += 1
            if self._heard > MOST_EVENTS:
                raise MachineError(f"{shown(url)} tells of more than {MOST_EVENTS:,} things in one run.")
            with understood(url):
                data = read_event(told.kind, told.data)
            if told.kind == "outcome":
                return data
            self._hear(told.kind, data, self._told.qsize() > BEHIND)

    def _say_of_line(self, down: bool) -> None:
        """Let whoever waits know why nothing is heard."""
        if isinstance(self._run, Standing):
            self._run.lose_line(down)
        where = shown(self._line.connection.url)
        if down:
            self._run.message(f"{where} does not answer for now; this goes on where it was once it does.")
        elif not self._run.stopping:
            self._run.message(f"{where} answers again.")

    def _read(self, events: EventStream) -> None:
        """Read events on a thread of their own, so that whoever waits for them can also be stopped."""
        try:
            for told in events:
                self._told.put(told)
            self._told.put(None)
        except BaseException as problem:  # noqa: BLE001 - raised again where the run is done
            self._told.put(problem)

    def _next(self) -> Told | BaseException | None:
        while True:
            self._jobs.run_small_jobs()
            self._pass_on_stop()
            with contextlib.suppress(queue.Empty):
                return self._told.get(timeout=NAP)

    def _pass_on_stop(self) -> None:
        """Tell the other machine that the run is to end; Stopped where it cannot be told."""
        now = time.monotonic()
        if not self._run.stopping or now < self._next_ask:
            return
        self._asked_at = self._asked_at or now
        try:
            self._line.stop(self.id)
            self._next_ask = now + 5 * ASK_AGAIN
        except ConnectionLost as lost:
            self._next_ask = now + ASK_AGAIN
            if now - self._asked_at > STOP_PATIENCE:
                self._run.message("The other machine could not be told to stop; the run may go on there.")
                raise lost


def follow_render(
    line: Line, jobs: JobQueue, shelf: Shelf, run: FarRun, kind: str, fields: Mapping[str, Any],
    local: Callable[[Recipe, int], Recipe],
) -> Any:  # fmt: skip
    """The body of a render: do it on the other machine. `local` gives a recipe of there with the sounds that are here."""
    glance = Line(line.connection.in_a_hurry(*PEEK_SECONDS))

    def sources(place: int) -> list[object]:
        return list(run.recipes[place].task.sources().values()) if place < len(run.recipes) else []

    def bring(place: int, id: str) -> None:
        run.add(place, shelf.take(id, sources(place), run.message))

    def hear(kind: str, data: Any, behind: bool) -> None:
        hear_how_it_goes(run, kind, data)
        if kind == "step":
            step = FarStep.of(data, following.id, partial(line.latent, following.id, data["number"], data["item"]))
            if not behind:
                step.look(partial(glance.latent, following.id, data["number"], data["item"]))
            run.show(step)
        elif kind == "take":
            with contextlib.suppress(LabError):  # tried once more at the end
                bring(data["place"], data["id"])
        elif kind == "recipes":
            run.recipes = tuple(local(one, place) for place, one in enumerate(data["recipes"]))
            run.plans = tuple(data["plans"])
        elif kind == "token":
            run.token(data["token"])

    following = Following(line, jobs, run, hear)
    run.can_keep(
        lambda step, item: shelf.take(line.keep(following.id, _number(step), item), sources(item), run.message)
    )
    run.can_hear(
        lambda step, item, start, end: line.sound(
            f"{RUNS}/{following.id}/hear", step=_number(step), item=item, start=start, end=end
        )
    )
    try:
        outcome = following.outcome(kind, fields)
    except ConnectionLost:
        run.check()
        raise
    for place, id in outcome["takes"].items():
        if place not in run.made:
            bring(place, id)
    run.problem = run.problem or outcome["problem"]
    raise_failure(run, outcome)
    run.finish()
    return outcome["value"]


def follow_plan(line: Line, jobs: JobQueue, run: PlanRun, kind: str, fields: Mapping[str, Any]) -> None:
    """The body of a question to the planner of the other machine."""

    def hear(kind: str, data: Any, behind: bool) -> None:
        hear_how_it_goes(run, kind, data)
        if kind == "token":
            run.token(data["token"])

    try:
        outcome = Following(line, jobs, run, hear).outcome(kind, fields)
    except ConnectionLost:
        run.check()
        raise
    raise_failure(run, outcome)
    value = outcome["value"]
    with understood(line.connection.url):
        run.written(plans_from(value if isinstance(value, list) else [value]))
    run.finish()


def hear_how_it_goes(run: Run[Any, Any], kind: str, data: Mapping[str, Any]) -> None:
    """Of what a run tells there, what all of them tell: how far it is, what it is at, and what there is to say."""
    if isinstance(run, Standing) and (
        told := {name: data[name] for name in ("fraction", "eta", "doing") if name in data}
    ):
        run.stands(told)
    if kind == "state" and not run.stopping and data["state"] not in ("queued", run.state):
        with contextlib.suppress(Stopped):  # the other machine is told of it first
            run.enter(data["state"])
    elif kind == "message":
        run.message(data["message"])


def raise_failure(run: Run[Any, Any], outcome: Mapping[str, Any]) -> None:
    """Raise what a run ended with on the other machine, where it did not end well."""
    if outcome["state"] == "stopped":
        raise run.stopped()
    problem: Problem | None = outcome["error"]
    if problem is not None:
        raise error_of(problem.code, problem.message)
    if outcome["state"] == "failed":
        raise MachineError("The run failed there, and that machine does not say why.")


def _number(step: Step) -> int:
    """Which of its recipe's steps it is; RecipeError for one that was made here."""
    if not isinstance(step, FarStep):
        raise RecipeError("This step was made by another session; ask that one.")
    return step.number
