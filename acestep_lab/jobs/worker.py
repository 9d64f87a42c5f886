"""The worker: one thread that computes, and who waits before it. Knows runs; no owner's limits, no model, no page.

Runs of several people are done in a fair order (`fair_queue.py`); small jobs are done between two steps of a run. A long run
(`Run.gives_way`: a training) is worked on in pieces: between two of them whatever else waits has its turn. A worker is what
a `JobQueue` and its thread share: it outlives a queue that is let go, so that the thread holds no session.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import cache
from typing import Any

from acestep_lab.errors import LabError, MachineError
from acestep_lab.jobs.eta import Clock, StageHistory
from acestep_lab.jobs.fair_queue import FairQueue
from acestep_lab.jobs.run import AnyRun

Pieces = Iterator[None]
"""The work of a long run: asked for its next piece, it does one."""
RunBody = Callable[[Any], Pieces | None]
"""What a run's turn is spent on: `work(run)`; of a run that gives way, in pieces."""
MODEST = -1
"""The priority of a run that gives way, unless another is asked for."""
Job = tuple[Future[Any], Callable[[], Any]]
"""A small job, and what its asker waits for."""
PATIENCE = 10.0
"""Seconds that closing waits for the step at work."""
CLOSED = "This session is closed; open another one with Session.open()."
FORKED = "This session belongs to the process it was opened in; after a fork, open another one with Session.open()."
WAITS_FOR_ITSELF = (
    "This would wait for the very thread it is called on: a run's listeners are called by what renders. "
    "Begin it with lab.start(…) and listen to that run, or wait for it in a thread of your own."
)


def work_through(worker: Worker) -> None:
    """What the worker thread does: sleep until something is asked for, do all of it, sleep again."""
    while not worker.done:
        worker.sleep()
        worker.run_small_jobs(between=True)
        while (run := worker.next_run()) is not None:
            worker.do(run)
            worker.run_small_jobs(between=True)


class Worker:
    """A thread, begun when it is first needed, the runs that wait for it, and the small jobs done between their steps."""

    def __init__(
        self, name: str = "acestep_lab", history: StageHistory | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.name, self.process = name, os.getpid()
        self.history, self.clock = history or StageHistory(), clock
        self._lock = threading.Lock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # `put` may be called even by the collector
        self._asides: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._between: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._queue: FairQueue[AnyRun] = FairQueue()
        self._work: dict[AnyRun, RunBody] = {}
        self._begun: dict[AnyRun, Pieces] = {}  # long runs that gave way
        self._withdrawn: list[AnyRun] = []
        self._moved = False  # somebody joined, left or moved since the others were told their places
        self._thread: threading.Thread | None = None
        self._closed = False
        self._abandoned = False
        self.paused = False
        self.progress: bool | None = None
        """Whether whoever waits for a run sees how far it is; None: as the environment says."""
        self.last_interrupted: AnyRun | None = None
        """The run that Ctrl-C stopped last: nobody else may hold it, and its steps can still be kept."""

    def interrupted(self, run: AnyRun) -> None:
        """Ctrl-C stopped a run; called by a signal, so it takes no lock."""
        self.last_interrupted = run

    # -- the thread's own loop -----------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether nothing more can be asked for, and all that was is done."""
        with self._lock:
            idle = self._asides.empty() and self._between.empty() and not self._queue.waiting
        return self._closed and idle

    def sleep(self) -> None:
        """Wait until something is asked for."""
        self._wake.get()

    def run_small_jobs(self, between: bool = False) -> None:
        """Do the small jobs that wait now, and tell the runs that wait how they stand; a run calls this between two steps, the
        thread itself `between` two runs, where those are done too that no run may notice.
        """
        for waiting in (self._asides, self._between) if between else (self._asides,):
            for _ in range(waiting.qsize()):
                future, job = waiting.get()
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(job())
                    except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                        future.set_exception(error)
        self._update_positions()

    def next_run(self) -> AnyRun | None:
        """The run whose turn it is; None where none waits, or all are held up."""
        with self._lock:
            if self._abandoned:  # nobody is left to let them go
                self.paused = False
                for run in self._queue.waiting:
                    self._queue.hold(run, False)
            self._sweep()
            self._moved = True
            stopping = next((run for run in self._begun if run.stopping), None)
            if stopping is not None:  # it wants to keep what it has, whatever else waits
                return self._queue.pop_this(stopping)
            return None if self.paused else self._queue.pop()

    def do(self, run: AnyRun) -> None:
        """A run's turn, whole, or until it gives way; whatever happens in it belongs to the run, the thread lives on."""
        before = run.fraction
        try:
            if self._gave_way(run, self._pieces(run), before):
                run.give_way()
                return
            if not run.over:  # it came back by itself: because it was asked to stop, or with nothing more to say
                run.check()
                run.finish()
        except BaseException as error:  # noqa: BLE001 - see above
            run.fail(error)
        with self._lock:
            self._queue.leave(run, _share(before, run.fraction))

    def _pieces(self, run: AnyRun) -> Pieces:
        """What is left of a run's work; of one that does not give way it is done by now."""
        with self._lock:
            work, begun = self._work.pop(run, None), self._begun.pop(run, None)
        if begun is not None:
            run.take_up()
            return begun
        run.check()
        assert work is not None  # it was popped, so it has joined
        return work(run) or iter(())

    def _gave_way(self, run: AnyRun, pieces: Pieces, before: float) -> bool:
        """Work on a run piece by piece, and say whether it waits again, since something else goes before it."""
        for _ in pieces:
            self.run_small_jobs(between=True)
            with self._lock:
                if self._queue.must_give_way(run) and not (self.paused and not self._queue.is_held(run)):
                    self._queue.put_back(run, _share(before, run.fraction))
                    self._begun[run] = pieces
                    return True
        return False

    def _update_positions(self) -> None:
        """End the runs that were asked to stop while they waited, and tell the others their places where these changed."""
        with self._lock:
            self._sweep()
            gone, self._withdrawn = self._withdrawn, []
            order = self._queue.order() if self._moved else []
            self._moved = False
            for run in gone:
                self._work.pop(run, None)
        for run in gone:
            run.fail(run.stopped())
        etas = self._etas(order)
        for position, (run, eta) in enumerate(zip(order, etas, strict=True)):
            run.set_position(position, eta)

    def _etas(self, order: list[AnyRun]) -> list[float | None]:
        """Seconds until each of these is done, those before it included, counted once through; None where nothing is known."""
        found: list[float | None] = []
        whole: float | None = 0.0
        for run in order:
            span = run.remaining
            whole = None if whole is None or span is None or run.held else whole + span
            found.append(None if self.paused and run.state == "queued" else whole)
        return found

    def _sweep(self) -> None:
        """Take those out of the queue that were asked to stop before they began. The lock is held."""
        for run in [one for one in self._queue.waiting if one.stopping and one not in self._begun]:
            self._queue.leave(run)
            self._withdrawn.append(run)
            self._moved = True

    # -- for everybody -------------------------------------------------------------------------------------------------

    @property
    def is_foreign(self) -> bool:
        """Whether this is another process than the one it was made in: there is no thread here."""
        return os.getpid() != self.process

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the worker thread."""
        return threading.current_thread() is self._thread

    def refuse_to_wait(self) -> None:
        """LabError where waiting for this worker would never end."""
        if self.is_current:
            raise LabError(WAITS_FOR_ITSELF)

    def must_be_ours(self) -> None:
        """LabError in another process, where there is no thread to do anything."""
        if self.is_foreign:
            raise LabError(FORKED)

    def must_be_open(self) -> None:
        """LabError where nothing can be asked for any more."""
        self.must_be_ours()
        if self._closed:
            raise LabError(CLOSED)

    def join(self, run: AnyRun, work: RunBody, priority: int = 0) -> None:
        """Let a run wait its turn; one that gives way lets everybody's others go first."""
        with self._lock:
            self.must_be_open()
            self._begin()
            run.wait_in(self)
            self._work[run] = work
            priority = MODEST if run.gives_way and not priority else priority
            self._queue.join(run, run.client.lane, run.facts.seconds, priority, run.gives_way)
            self._moved = True
        self._wake.put(None)

    def put_aside(self, future: Future[Any], job: Callable[[], Any], between: bool = False) -> None:
        """Let a small job be done between two steps; or `between` two runs, so that no run changes under way."""
        with self._lock:
            self.must_be_open()
            self._begin()
            (self._between if between else self._asides).put((future, job))
        self._wake.put(None)

    def _begin(self) -> None:
        """Have a thread; the lock is held."""
        if self._thread is None:
            thread = threading.Thread(target=work_through, args=(self,), name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as problem:
                raise MachineError(f"No thread can be begun to render on ({problem}).") from None
            self._thread = thread
            _workers().add(self)

    def order(self) -> list[AnyRun]:
        """Runs under way or waiting, as they will be done; those held back last."""
        if self.is_foreign:
            return []
        with self._lock:
            self._sweep()
            return [run for run in self._queue.order() if not run.over]

    def ahead(self, run: AnyRun) -> list[AnyRun]:
        """The runs that will be done before this one."""
        order = self.order()
        return order[: order.index(run)] if run in order else []

    def will_come(self, run: AnyRun) -> bool:
        """Whether its turn comes by itself: neither the queue nor the run is held up."""
        if self.is_foreign:
            return False
        with self._lock:
            return not self.paused and not self._queue.is_held(run)

    def withdraw(self, run: AnyRun) -> bool:
        """Take a run out of the queue, and say whether it had not begun; one that gave way is told to end on the thread."""
        self._wake.put(None)
        with self._lock:
            if run in self._begun:
                return False
            if run in self._withdrawn:
                self._withdrawn.remove(run)
            elif run in self._queue.waiting:
                self._queue.leave(run)
            else:
                return False
            self._work.pop(run, None)
            self._moved = True
        return True

    def rearrange(self, change: Callable[[FairQueue[AnyRun]], bool]) -> bool:
        """Change the order of what waits, and say whether there was anything to change; the others are told their places."""
        with self._lock:
            self.must_be_ours()
            changed = change(self._queue)
            self._moved = self._moved or changed
        self._wake.put(None)
        return changed

    def pause(self, paused: bool) -> None:
        """Begin no run until told otherwise; the one under way goes on."""
        self.must_be_ours()
        self.paused = paused
        self._wake.put(None)

    def close(self, patience: float) -> None:
        """Stop what runs and waits, and end the thread; wait so many seconds for the step at work."""
        if self.is_foreign:
            return
        with self._lock:
            self._closed, self.last_interrupted = True, None
            runs = self._queue.order()
        for run in runs:
            run.stop()
        self._wake.put(None)
        if self._thread is not None and not self.is_current:
            self._thread.join(patience)

    def let_go(self) -> None:
        """Nobody can ask any more: do what was asked for, then end. Takes no lock, since the collector may call it."""
        if not self.is_foreign:
            self._closed = self._abandoned = True
            self._wake.put(None)


def _share(before: float, after: float) -> float:
    """Which share of what was left has been done since."""
    return 1.0 if before >= 1.0 else (after - before) / (1.0 - before)


@cache
def _workers() -> weakref.WeakSet[Worker]:
    """All workers with a thread. Python must not go while torch is at work: it would end with a crash."""
    workers: weakref.WeakSet[Worker] = weakref.WeakSet()

    def close_all() -> None:
        for worker in tuple(workers):
            worker.close(PATIENCE)

    atexit.register(close_all)
    return workers
