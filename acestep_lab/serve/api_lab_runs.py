"""The runs of sessions far away: each with a log of what happened, which goes on being told after the line has dropped.

Knows a session's backend and queue; no web. A run lives on without whoever began it; its log is bounded, and is kept for a
while after its end.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, Stopped
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.run import OVER
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.plan.token import Token
from acestep_lab.remote.wire import Problem, to_wire
from acestep_lab.session_like import SessionLike
from acestep_lab.ui.backend import Backend, backend_of

MOST_LOGGED = 20_000
"""Events of one run that are remembered: those of longer ones lose their oldest, which the outcome makes good."""
MOST_OVER = 50
"""Runs of one person that are remembered after their end, by their logs."""
MOST_HELD = 12
"""Runs of all people whose steps can be heard and kept after their end."""
MOST_LOGGED_BYTES = 64 * 2**20
"""Of the logs of one person's runs that are over."""
NO_STEPS = "This run holds no steps any more; keep what you like soon after its end."
RENDERS = ("render", "vary", "verify")
"""Kinds whose tokens come with the run; of a question to the planner its asker hears them."""


class UnknownRun(LabError):
    """Nobody here knows a run of that id."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            "That run is not known there any more: the machine was started anew, or it is too old. "
            "What it had made is in the library."
        )


class Follower(Client):
    """Somebody far away, for one run of theirs."""

    def __init__(self, owner: str, address: str, run: LabRun) -> None:
        super().__init__(owner, address)
        self.lab_run = run


@dataclass(frozen=True)
class Entry:
    """Something that happened, as it is told: its running number, its kind and its JSON."""

    number: int
    kind: str
    text: str


@dataclass(eq=False)
class LabRun:
    """A run of somebody far away, from the request to the outcome."""

    id: str
    kind: str
    owner: str
    run: AnyRun | None = None
    """The run in the session's queue, once there is one and while its steps are held."""
    over: bool = False
    ended: float = 0.0
    _log: deque[Entry] = field(default_factory=lambda: deque(maxlen=MOST_LOGGED))
    _count: int = 0
    size: int = 0
    """Bytes of its log."""
    _shown: Counter[int] = field(default_factory=Counter)
    """How many steps each item has shown."""
    _listeners: list[Callable[[], None]] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)
    begun: threading.Event = field(default_factory=threading.Event)
    """Set once it has begun, or ended without."""
    _recipes: Any = None

    def log(self, kind: str, value: Any) -> None:
        """Something happened: remember it, and tell whoever listens."""
        text = json.dumps(value, allow_nan=False)  # in ASCII: half a character is no text of a stream
        with self._lock:
            if self.over:
                return
            self._count += 1
            self.size += len(text) - (len(self._log[0].text) if len(self._log) == MOST_LOGGED else 0)
            self._log.append(Entry(self._count, kind, text))
            self.over = kind == "outcome"
            self.ended = time.monotonic()
        self.tell()

    def since(self, number: int) -> list[Entry]:
        """What happened after a number, in order."""
        with self._lock:
            if not self._log or self._log[-1].number <= number:
                return []
            return [entry for entry in self._log if entry.number > number]

    def status(self) -> dict[str, Any]:
        """How far it is: what is told without being remembered."""
        run = self.run
        if run is None or run.over:
            return {}
        eta = run.eta
        return {"fraction": round(run.fraction, 4), "eta": None if eta is None else round(eta, 1), "doing": run.doing}

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` whenever something happens, on whatever thread; returns the way to stop that."""
        with self._lock:
            self._listeners.append(listener)
        return partial(self._leave, listener)

    def _leave(self, listener: Callable[[], None]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def tell(self) -> None:
        """Wake whoever listens."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def render(self) -> RenderRun:
        """The render in the queue; LabError where its steps are let go, or it has none."""
        run = self.run
        if not isinstance(run, RenderRun):
            raise LabError(NO_STEPS if run is None else "The planner's run has no steps.")
        return run

    def step(self, number: int, item: int) -> Step:
        """A step of an item, counted from 0; LabError where it was not shown, or is let go."""
        shown = [one for one in self.render().steps if item in one.items]
        if not 0 <= number < len(shown):
            raise LabError(f"There is no step {number}; this run has shown {len(shown)}.")
        found: Step = shown[number]
        return found

    # -- what the queue tells

    def receive(self, run: AnyRun, event: Event | None) -> None:
        """Something happened in its run."""
        if self.run is None:
            self.run = run
            for sentence in tuple(run.messages):  # said before it stood in the queue
                self.log("message", {"message": sentence})
        self._tell_recipes(run)
        if event is not None and event.kind == "state":
            self._state(str(event.value))
        elif event is not None and event.kind == "step":
            self._tell_step(event.value, run.fraction)
        elif event is not None and event.kind in _PLAIN and (event.kind != "token" or self.kind in RENDERS):
            self.log(event.kind, _PLAIN[event.kind](event.value) | {"fraction": round(run.fraction, 4)})
        else:
            self.tell()

    def _tell_step(self, step: Step, fraction: float) -> None:
        """Tell of a step, and which one of its item it is."""
        item = int(step.items[0])
        self.log("step", _step(step) | {"number": self._shown[item], "fraction": round(fraction, 4)})
        self._shown[item] += 1

    def _state(self, state: str) -> None:
        if state not in OVER:
            self.log("state", {"state": state})
            self.begun.set()
        elif self.kind == "render":
            self.end(None if self.run is None else self.run.error)

    def _tell_recipes(self, run: AnyRun) -> None:
        """Tell what is made, where it became known better: a planner has decided it."""
        recipes = getattr(run, "recipes", None)
        if recipes is not None and recipes is not self._recipes:
            self._recipes = recipes
            self.log("recipes", {"recipes": to_wire(recipes), "plans": to_wire(getattr(run, "plans", ()))})

    def end(self, error: BaseException | None, value: Any = None) -> None:
        """It is over: what came of it."""
        state = "done" if error is None else "stopped" if isinstance(error, Stopped) else "failed"
        made = getattr(self.run, "made", {})
        self.log("outcome", {
            "state": state, "error": None if error is None else to_wire(Problem.of(error)), "value": to_wire(value),
            "takes": {str(place): take.id for place, take in made.items()},
            "problem": "" if self.run is None else self.run.problem,
        })  # fmt: skip
        self.begun.set()


class LabRuns:
    """The runs of everybody far away, by whose they are and their ids."""

    def __init__(self, session: SessionLike) -> None:
        self.backend: Backend = backend_of(session)  # keeps the takes of runs before this one tells of them
        self._runs: dict[tuple[str, str], LabRun] = {}
        self._clients: dict[LabRun, Follower] = {}
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._stop_listening = session.jobs.subscribe(self._receive)

    def find(self, id: str, owner: str) -> LabRun:
        """Somebody's run; UnknownRun where there is none."""
        found = self._runs.get((owner, id))
        if found is None:
            raise UnknownRun
        return found

    def begin(self, id: str, kind: str, owner: str, address: str, read: Callable[[], Work]) -> LabRun:
        """Begin a run, or give the one that has begun under this id; raises what it cannot begin for. `read` reads what is
        asked for, and gives what begins it.
        """
        with self._lock:
            if self._closed:
                raise LabError("This door is closed.")
            known = self._runs.get((owner, id))
            run = known or LabRun(id, kind, owner)
            if known is None:
                self._runs[owner, id] = run
                self._clients[run] = Follower(owner, address, run)
        if known is not None:
            known.begun.wait()
            return self.find(id, owner)
        try:
            self._begin(run, read())
        except BaseException:
            self._drop(run)
            raise
        finally:
            run.begun.set()
        self._forget_old()
        return run

    def _begin(self, run: LabRun, work: Work) -> None:
        client = self._clients[run]
        if run.kind == "render":
            run.receive(work(client, run), None)
            return
        problem: list[BaseException] = []
        thread = threading.Thread(target=self._ask, args=(run, client, work, problem), name="acestep_lab far verb")
        self._threads.add(thread)
        thread.daemon = True  # it waits for the session's queue, which ends at Python's end by itself
        thread.start()
        run.begun.wait()
        if problem and run.run is None:
            raise problem[0]

    def _ask(self, run: LabRun, client: Follower, work: Work, problem: list[BaseException]) -> None:
        """Do a verb that waits for its run, and note what came of it."""
        try:
            with client.acting():
                value = work(client, run)
        except BaseException as error:  # noqa: BLE001 - whatever an engine raises is this run's failure
            problem.append(error)
            run.end(error)
        else:
            run.end(None, value)
        finally:
            self._threads.discard(threading.current_thread())

    def stop(self, run: LabRun) -> None:
        """Ask a run to end."""
        client = self._clients.get(run)
        if client is not None:
            client.stop()

    def close(self) -> None:
        """Stop what is under way, and listen no more."""
        with self._lock:
            self._closed, runs = True, list(self._runs.values())
        for run in runs:
            if not run.over:
                self.stop(run)
        self._stop_listening()
        for run in runs:
            if not run.over:
                run.end(Stopped("The door that this run came through was closed."))
        for thread in tuple(self._threads):
            thread.join(5.0)

    # -- inside

    def _receive(self, run: AnyRun | None, event: Event | None) -> None:
        if run is not None and isinstance(run.client, Follower) and run.client.lab_run in self._clients:
            run.client.lab_run.receive(run, event)

    def _drop(self, run: LabRun) -> None:
        with self._lock:
            self._runs.pop((run.owner, run.id), None)
            self._clients.pop(run, None)

    def _forget_old(self) -> None:
        """Let go of the steps of runs that ended long ago, and of the logs of those before."""
        with self._lock:
            over = sorted((run for run in self._runs.values() if run.over), key=lambda run: run.ended, reverse=True)
        for run in over[MOST_HELD:]:
            run.run = None
        seen, size = Counter[str](), Counter[str]()
        for run in over:
            seen[run.owner] += 1
            size[run.owner] += run.size
            if seen[run.owner] > MOST_OVER or (size[run.owner] > MOST_LOGGED_BYTES and seen[run.owner] > 1):
                self._drop(run)


Work = Callable[[Follower, LabRun], Any]
"""Begins a render and gives its run; of every other kind, does the verb and gives what came of it."""


def _step(step: Any) -> dict[str, Any]:
    return {
        "index": int(step.index), "steps": int(step.steps), "t": to_wire(step.t), "item": int(step.items[0]),
        "checkpoint": str(step.checkpoint), "seen": step.estimate is not None, "walked": getattr(step, "state", None) is not None,
    }  # fmt: skip


def token_row(token: Any) -> dict[str, Any]:
    """A token as it is told; a planner's own, or words of a stand-in's."""
    return {"token": to_wire(token) if isinstance(token, Token | str) else str(token.text)}


_PLAIN: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "token": token_row,
    "take": lambda value: {"place": int(value[0]), "id": str(value[1].id)},
    "effect": lambda value: {"effect": value.to_json()},
    "message": lambda value: {"message": str(value)},
}
