"""JobQueue: all work of one session, whoever asked for it: runs, whose they are, who is next, what became of them.

Knows no model, no page and no take. The page, a REST server, a notebook and a script share the one of their session::

    run = queue.submit(RenderRun(recipes, work), render)      # `render(run)` is called on the worker thread in its turn
    queue.hold(run); queue.move(run, 0); queue.pause()        # by themselves people may do this with their own runs
    queue.subscribe(lambda run, event: …, viewer="ada")       # all that happens in ada's runs
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from acestep_lab.errors import LabError, shown
from acestep_lab.jobs.client import Client, usual_priority
from acestep_lab.jobs.eta import Clock, StageHistory
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.ids import SHORT
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.worker import PATIENCE, AnyRun, RunBody, Worker
from acestep_lab.prompt import checks

MOST_FINISHED = 12
"""Finished runs that are remembered with their steps, so that one may still hear and keep them."""
MOST_WAITING = 12
"""Runs one person, or one address, may have under way and waiting; those that ask the planner count."""
MOST_ASIDE = 8
"""Small things, such as hearing a step, that are done at once for one person, or one address; they go before all runs."""
MOST_PRIORITY = 100
NAP = 0.05
"""Seconds between two looks at whether somebody renders."""
SOMEBODY = "Somebody else's run"
R = TypeVar("R", bound=AnyRun)
T = TypeVar("T")
Listener = Callable[[AnyRun | None, Event | None], None]
_log = logging.getLogger(__name__)
_modest: ContextVar[bool] = ContextVar("acestep_lab behind renders", default=False)


class JobQueue:
    """Runs in a fair order on one worker thread, and small jobs between their steps.

    Wherever `by` or `viewer` is asked for, it is a person's name: "" is the host, None the process itself, which may do and
    see everything. `run` may be a run, its id, or the short form of its id. The thread ends when the queue is closed, or
    nobody holds it any more and all is done. `history` and `clock` are what the time to go is told from.
    """

    def __init__(
        self, name: str = "acestep_lab", history: StageHistory | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._worker = Worker(name, history, clock)
        self._lock = threading.RLock()
        self._known: weakref.WeakValueDictionary[str, AnyRun] = weakref.WeakValueDictionary()
        self._remembered: dict[str, AnyRun] = {}
        self._listeners: list[tuple[Listener, str | None]] = []
        self._attended: list[Client] = []
        self._at_close: list[Callable[[], None]] = []
        weakref.finalize(self, self._worker.let_go).atexit = False  # at its end Python closes all workers itself

    def __repr__(self) -> str:
        return f"<JobQueue: {len(self.waiting)} runs{', paused' if self.paused else ''}>"

    # -- work ----------------------------------------------------------------------------------------------------------

    def submit(self, run: R, work: RunBody, priority: int = 0) -> R:
        """Queue a run; `work(run)` is called on the worker thread, and what it raises becomes the run's failure.

        A priority above 0 goes before its owner's other runs, one below 0 lets everybody's others go first. LabError where
        the owner has enough to wait for already. 0 inside `client.at_priority` is the priority said there.
        """
        priority = checks.whole("A priority", priority or usual_priority(), -MOST_PRIORITY, MOST_PRIORITY)
        self._worker.must_be_open()
        with self._lock:
            if run.is_submitted or run.id in self._known:
                raise LabError("This run is in a queue already; a run is submitted once.")
            self._admit(run.client)
            self._remember(run)
        run.subscribe(partial(_relay, weakref.ref(self), weakref.ref(run)))
        try:
            self._worker.join(run, work, priority)
        except LabError:
            self._forget(run)
            raise
        self._notify(*((run, Event("state", "queued", run.id)) if run.state == "queued" else (None, None)))
        return run

    def call(self, job: Callable[[], T], stop: threading.Event | None = None, between: bool = False) -> T:
        """Do a small job on the worker thread and return what it gives; a run under way does it between two steps.

        What would change a run under way is done `between` two runs. Ctrl-C drops a job that has not begun, and sets `stop`
        for one that has.
        """
        self._worker.must_be_open()
        if self.is_current:
            return job()
        if _modest.get():
            self.wait_for_renders()
        future: Future[T] = Future()
        self._worker.put_aside(future, job, between)
        try:
            while not future.done():
                wait([future], timeout=0.2)  # in naps, so that a notebook's interrupt gets through
        except KeyboardInterrupt:
            future.cancel()
            if stop is not None:
                stop.set()
            raise
        return future.result()

    def aside(self, job: Callable[[threading.Event], T]) -> T:
        """As `call`, for a job that heeds an event: Ctrl-C sets it."""
        stop = threading.Event()
        return self.call(partial(job, stop), stop)

    @contextmanager
    def behind_renders(self) -> Iterator[None]:
        """Small jobs asked for inside, in this thread, each wait until nobody renders: a render that comes waits for one at most."""
        token = _modest.set(True)
        try:
            yield
        finally:
            _modest.reset(token)

    def wait_for_renders(self) -> None:
        """Wait until no run is under way or about to begin; long ones that give way, and what is held up, are not waited for."""

        def comes(run: AnyRun) -> bool:
            return not run.gives_way and (run.state != "queued" or not (run.held or self.paused))

        while any(map(comes, self.waiting)):
            self.must_be_open()
            time.sleep(NAP)

    def run_small_jobs(self) -> None:
        """Do the small jobs that wait; a run calls this between two steps."""
        self._worker.run_small_jobs()

    def must_be_open(self) -> None:
        """LabError after `close`, and in a forked process."""
        self._worker.must_be_open()

    def refuse_to_wait(self) -> None:
        """LabError for whoever is about to wait on the worker thread for the worker thread, or for what is closed."""
        self._worker.must_be_open()
        self._worker.refuse_to_wait()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the worker thread."""
        return self._worker.is_current

    @property
    def history(self) -> StageHistory:
        """What the stages of runs took so far, which the time to go is told from."""
        return self._worker.history

    def close(self, patience: float = PATIENCE) -> None:
        """Stop what runs, drop what waits, end the thread; wait so many seconds for the step at work."""
        with self._lock:
            first, self._at_close = self._at_close, []
        try:
            for end in first:
                end()
        finally:
            self._worker.close(patience)

    def at_close(self, end: Callable[[], None]) -> Callable[[], None]:
        """Have `end()` called before the queue is closed, as a server of its session is; returns the way to call that off."""
        self._worker.must_be_open()
        with self._lock:
            self._at_close.append(end)
        return partial(self._off, end)

    def _off(self, end: Callable[[], None]) -> None:
        with self._lock:
            if end in self._at_close:
                self._at_close.remove(end)

    @property
    def progress(self) -> bool | None:
        """Whether whoever waits for a run here sees how far it is; None: unless ACESTEP_LAB_PROGRESS=0 says no."""
        return self._worker.progress

    @progress.setter
    def progress(self, shown: bool | None) -> None:
        self._worker.progress = None if shown is None else checks.truth("progress", shown)

    @property
    def interrupted(self) -> AnyRun | None:
        """The run that Ctrl-C stopped last; its steps can still be kept: `lab.jobs.interrupted.keep(4)`."""
        return self._worker.last_interrupted

    # -- who waits -----------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> tuple[AnyRun, ...]:
        """Runs under way or in the queue, as they will be done; those held back last."""
        return tuple(self._worker.order())

    @property
    def paused(self) -> bool:
        """Whether no run is begun for now."""
        return self._worker.paused

    def pause(self, by: str | None = None) -> None:
        """Begin no run until `resume`; the one under way goes on, small jobs are done. For the host."""
        self._set_paused(True, by)

    def resume(self, by: str | None = None) -> None:
        """Go on after `pause`. For the host."""
        self._set_paused(False, by)

    def _set_paused(self, paused: bool, by: str | None) -> None:
        if by:
            raise LabError("Only the host can pause the queue or let it go on; hold your own runs instead.")
        self._worker.pause(paused)
        self._notify(None, None)

    def hold(self, run: AnyRun | str, by: str | None = None) -> None:
        """Hold back a run that waits, or one that gives way, until it is released; others pass it. LabError for any other."""
        self._hold(self.run(run, by), True)

    def release(self, run: AnyRun | str, by: str | None = None) -> None:
        """Let a run that was held back wait its turn again."""
        self._hold(self.run(run, by), False)

    def _hold(self, run: AnyRun, held: bool) -> None:
        self._must_wait(run, self._worker.rearrange(lambda queue: queue.hold(run, held)))
        run.hold(held)

    def move(self, run: AnyRun | str, place: int, by: str | None = None) -> None:
        """Put a run at this place among its owner's own that wait, 0 being the first; nobody else's turn changes."""
        found, place = self.run(run, by), checks.whole("A place in the queue", place, 0, 2**31)
        self._must_wait(found, self._worker.rearrange(lambda queue: queue.move(found, place)))
        self._notify(None, None)

    def prioritise(self, run: AnyRun | str, priority: int, by: str | None = None) -> None:
        """Give a run that waits another priority: above 0 before its owner's others, below 0 after everybody's."""
        found = self.run(run, by)
        priority = checks.whole("A priority", priority, -MOST_PRIORITY, MOST_PRIORITY)
        self._must_wait(found, self._worker.rearrange(lambda queue: queue.prioritise(found, priority)))
        self._notify(None, None)

    def _must_wait(self, run: AnyRun, waits: bool) -> None:
        if not waits:
            raise LabError(
                f"This run does not wait any more ({run.state}); only what waits can be held, moved or released."
            )

    # -- runs and their owners -----------------------------------------------------------------------------------------

    def runs(self, viewer: str | None = None) -> list[AnyRun]:
        """Runs somebody may see, newest first: under way, waiting, and the last finished ones."""
        with self._lock:
            found = sorted(self._known.values(), key=lambda run: run.id, reverse=True)
        return [run for run in found if viewer is None or run.owner == viewer]

    def find(self, run: AnyRun | str, viewer: str | None = None) -> AnyRun | None:
        """A run by itself, its id or the short form of it; None where there is none that this person may see."""
        if isinstance(run, Run):
            return run if viewer is None or run.owner == viewer else None
        name = str(run)
        found = [one for one in self.runs(viewer) if one.id == name or (len(name) >= SHORT and one.id.endswith(name))]
        return found[0] if len(found) == 1 else None

    def run(self, run: AnyRun | str, viewer: str | None = None) -> AnyRun:
        """As `find`; LabError where there is none."""
        found = self.find(run, viewer)
        if found is None:
            raise LabError(
                f"There is no run {shown(str(getattr(run, 'id', run)))} of yours; it may be forgotten by now."
            )
        return found

    def stop(self, run: AnyRun | str, by: str | None = None) -> None:
        """Ask a run to stop; one that is over is left alone."""
        found = self.run(run, by)
        if not found.over:
            found.stop()
            self._notify(found, None)

    def dismiss(self, run: AnyRun | str, by: str | None = None) -> None:
        """Take a finished run off the list; one that is under way or waits stays."""
        found = self.run(run, by)
        if found.over:
            self._forget(found)

    def rows(self, viewer: str | None = None, most_over: int = MOST_FINISHED) -> list[dict[str, Any]]:
        """What a page or a server is told: runs under way and waiting as they will be done, then this person's last ones.

        Of what is somebody else's only the place and the progress are told.
        """
        live, rows, wait = list(self.waiting), [], 0.0
        known = True
        for position, run in enumerate(live):
            remaining = run.remaining
            known = known and remaining is not None and not run.held and not (self.paused and run.state == "queued")
            wait += remaining or 0.0
            rows.append(_row(run, viewer, position, wait if known else None))
        over = [run for run in self.runs(viewer) if run.over][:most_over]
        own = [row for row in rows if row["mine"] and row["state"] == "queued"]
        for place, row in enumerate(own):
            row["place"] = place
        return rows + [_row(run, viewer, 0, 0.0) for run in over]

    def subscribe(self, listener: Listener, viewer: str | None = None) -> Callable[[], None]:
        """Call `listener(run, event)` whenever something happens in a run this person may see, from whatever thread; returns
        the way to unsubscribe. Without a run, the order or the list has changed; without an event, the run has.
        """
        entry = (listener, viewer)
        with self._lock:
            self._listeners.append(entry)
        return partial(self._unsubscribe, entry)

    def attend(self, client: Client) -> Callable[[], None]:
        """Let something small be done for somebody besides their runs; returns what to call after it. LabError if it is much."""
        with self._lock:
            if _count(self._attended, client) >= MOST_ASIDE:
                raise LabError(f"{MOST_ASIDE} things are being done for you already; wait for one of them.")
            self._attended.append(client)
        return partial(self._attended_to, client)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _admit(self, client: Client) -> None:
        """LabError where a person, or everybody at their address together, has enough to wait for; the lock is held."""
        live = [run.client for run in self._remembered.values() if not run.over]
        if client.counted and _count(live, client) >= MOST_WAITING:
            raise LabError(f"{MOST_WAITING} runs are waiting already; stop one, or let one finish first.")

    def _remember(self, run: AnyRun) -> None:
        """Know a run; hold those that came through a server, and of the finished ones the last."""
        self._known[run.id] = run
        if run.client.counted:
            done = [one for one in self._remembered.values() if one.over]
            for old in done[: max(0, len(done) - MOST_FINISHED + 1)]:
                del self._remembered[old.id]
            self._remembered[run.id] = run

    def _forget(self, run: AnyRun) -> None:
        with self._lock:
            self._known.pop(run.id, None)
            self._remembered.pop(run.id, None)
        self._notify(None, None)

    def _attended_to(self, client: Client) -> None:
        with self._lock:
            self._attended.remove(client)

    def _unsubscribe(self, entry: tuple[Listener, str | None]) -> None:
        with self._lock:
            self._listeners = [one for one in self._listeners if one is not entry]

    def _notify(self, run: AnyRun | None, event: Event | None) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener, viewer in listeners:
            if run is not None and viewer is not None and run.owner != viewer:
                continue
            try:
                listener(run, event)
            except BaseException:  # noqa: BLE001 - a broken page, even one that exits, must not silence the others
                _log.exception("A listener of the queue failed to take what happened.")


def _relay(queue: weakref.ref[JobQueue], run: weakref.ref[AnyRun], event: Event) -> None:
    """A run's event for the listeners of its queue; a run holds its queue by nothing else, so that both can be let go."""
    there, happened_in = queue(), run()
    if there is not None and happened_in is not None:
        there._notify(happened_in, event)


def _row(run: AnyRun, viewer: str | None, position: int, eta: float | None) -> dict[str, object]:
    """One run as a page or a server shows it to somebody."""
    mine = viewer is None or run.owner == viewer
    row = {
        "id": run.id, "short": run.facts.short_id, "kind": run.kind, "title": run.title if mine else SOMEBODY, "mine": mine,
        "state": run.state, "held": run.held, "fraction": float(run.fraction), "position": position,
        "eta": None if eta is None else round(eta, 1), "stopping": run.stopping and not run.over, "place": None,
        "gives_way": run.gives_way,
        "took": round(run.seconds_running, 1) if run.over else None,
    }  # fmt: skip
    return row | {"problem": run.problem if mine else "", "messages": list(run.messages) if mine else []}


def _count(clients: Sequence[Client], client: Client) -> int:
    """How many of these are for the same person, or for anybody at their address, whichever are more."""
    mine = sum(one.owner == client.owner for one in clients)
    return max(mine, sum(one.address == client.address for one in clients) if client.address else 0)
