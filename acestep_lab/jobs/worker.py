"""The worker: one thread that computes, and the queue before it. Knows runs; no model, no page.

Runs of several people are done in a fair order (`queueing.py`); small jobs are done between two frames of a run.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache
from typing import Any, TypeVar

from acestep_lab.errors import LabError, MachineError
from acestep_lab.jobs.fair_queue import FairQueue
from acestep_lab.jobs.run import Run

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds that closing waits for the step at work."""
CLOSED = "This session is closed; open another one with Session.open()."
FORKED = "This session belongs to the process it was opened in; after a fork, open another one with Session.open()."
WAITS_FOR_ITSELF = (
    "This would wait for the very thread it is called on: a run's listeners are called by what renders. "
    "Begin it with lab.start(…) and listen to that run, or wait for it in a thread of your own."
)


class WorkerLine:
    """What a worker and its thread share: who waits, who is served, the small jobs. It outlives a worker that is let go,
    so that the thread holds no session.
    """

    def __init__(self, name: str) -> None:
        self.name, self.process = name, os.getpid()
        self.lock = threading.Lock()
        self.wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # `put` may be called even by the collector
        self.asides: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self.queue: FairQueue[Run] = FairQueue()
        self.work: dict[Run, Callable[[Run], None]] = {}
        self.withdrawn: list[Run] = []
        self.moved = False  # somebody joined or left since the others were told their places
        self.thread: threading.Thread | None = None
        self.closed = False

    # -- for everybody

    @property
    def is_foreign(self) -> bool:
        """Whether this is another process than the one it was made in: there is no thread here."""
        return os.getpid() != self.process

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the worker thread."""
        return threading.current_thread() is self.thread

    def refuse_to_wait(self) -> None:
        """LabError where waiting for this line would never end."""
        if self.is_current:
            raise LabError(WAITS_FOR_ITSELF)

    def must_be_ours(self) -> None:
        """LabError in another process, where there is no thread to do anything."""
        if self.is_foreign:
            raise LabError(FORKED)

    def must_be_open(self) -> None:
        """LabError where nothing can be asked for any more."""
        self.must_be_ours()
        if self.closed:
            raise LabError(CLOSED)

    def join(self, run: Run, work: Callable[[Run], None]) -> None:
        """Let a run wait its turn."""
        with self.lock:
            self.must_be_open()
            self._begin()
            run.wait_in(self)
            self.work[run] = work
            self.queue.join(run, run.client.lane, run.seconds_asked)
            self.moved = True
        self.wake.put(None)

    def put_aside(self, future: Future[Any], job: Callable[[], Any]) -> None:
        """Let a small job be done between two frames."""
        with self.lock:
            self.must_be_open()
            self._begin()
            self.asides.put((future, job))
        self.wake.put(None)

    def _begin(self) -> None:
        """Have a thread; the lock is held."""
        if self.thread is None:
            thread = threading.Thread(target=serve_line, args=(self,), name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as problem:
                raise MachineError(f"No thread can be begun to render on ({problem}).") from None
            self.thread = thread
            _lines().add(self)

    def order(self) -> list[Run]:
        """Runs under way or waiting, as they will be done."""
        if self.is_foreign:
            return []
        with self.lock:
            self._sweep()
            return [run for run in self.queue.order() if not run.over]

    def ahead(self, run: Run) -> list[Run]:
        """The runs that will be done before this one."""
        order = self.order()
        return order[: order.index(run)] if run in order else []

    def withdraw(self, run: Run) -> bool:
        """Take a run out of the queue, and say whether it was still waiting there."""
        with self.lock:
            if run in self.withdrawn:
                self.withdrawn.remove(run)
            elif run in self.queue.waiting:
                self.queue.leave(run)
            else:
                return False
            self.work.pop(run, None)
            self.moved = True
        return True

    def _sweep(self) -> None:
        """Take those out of the queue that were asked to stop while they waited; the worker tells them. The lock is held."""
        for run in [one for one in self.queue.waiting if one.stopping]:
            self.queue.leave(run)
            self.withdrawn.append(run)
            self.moved = True

    def close(self, patience: float) -> None:
        """Stop what runs and waits, and end the thread; wait so many seconds for the step at work."""
        if self.is_foreign:
            return
        with self.lock:
            self.closed = True
            runs = self.queue.order()
        for run in runs:
            run.stop()
        self.wake.put(None)
        if self.thread is not None and not self.is_current:
            self.thread.join(patience)

    def let_go(self) -> None:
        """Nobody can ask any more: do what was asked for, then end. Takes no lock, since the collector may call it."""
        if not self.is_foreign:
            self.closed = True
            self.wake.put(None)

    # -- for the worker thread

    def breathe(self) -> None:
        """Do the small jobs that wait now, and tell the runs that wait how they stand."""
        for _ in range(self.asides.qsize()):
            future, job = self.asides.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                    future.set_exception(error)
        self.tell_waiting()

    def tell_waiting(self) -> None:
        """End the runs that were asked to stop while they waited, and tell the others their places where these changed."""
        with self.lock:
            self._sweep()
            gone, self.withdrawn = self.withdrawn, []
            order = self.queue.order() if self.moved else []
            self.moved = False
            for run in gone:
                self.work.pop(run, None)
        for run in gone:
            run.fail(run.stopped())
        for place, run in enumerate(order):
            run.stand(place)

    def serve_next(self) -> bool:
        """Do the next run, whole; False where none waits."""
        with self.lock:
            self._sweep()
            run = self.queue.pop()
            self.moved = True
        if run is None:
            return False
        work = self.work.pop(run)
        try:
            run.check()
            work(run)
        except BaseException as error:  # noqa: BLE001 - whatever happens belongs to the run, the thread lives on
            run.fail(error)
        finally:
            with self.lock:
                self.queue.leave(run, run.fraction)
        return True


def serve_line(line: WorkerLine) -> None:
    """What the worker thread does: sleep until something is asked for, do all of it, sleep again."""
    while True:
        line.wake.get()
        while True:
            line.breathe()
            if not line.serve_next():
                break
        if line.closed and line.asides.empty():
            return


@cache
def _lines() -> weakref.WeakSet[WorkerLine]:
    """All lines with a thread. Python must not go while torch is at work: it would end with a crash."""
    lines: weakref.WeakSet[WorkerLine] = weakref.WeakSet()

    def close_all() -> None:
        for line in tuple(lines):
            line.close(PATIENCE)

    atexit.register(close_all)
    return lines


class Worker:
    """One daemon thread that does one run after another in a fair order, and small jobs between two frames of a run.

    The thread ends when the worker is closed, or nobody holds it any more and all is done.
    """

    def __init__(self, name: str = "acestep_lab") -> None:
        self._line = WorkerLine(name)
        weakref.finalize(self, self._line.let_go).atexit = False  # at its end Python closes all lines itself

    def submit(self, run: Run, work: Callable[[Run], None]) -> Run:
        """Queue a run; `work(run)` is called on the worker thread and must not raise for the run's own errors."""
        self._line.must_be_open()
        self._line.join(run, work)
        return run

    def call(self, job: Callable[[], T], stop: threading.Event | None = None) -> T:
        """Do a small job on the worker thread and return what it gives; a run under way does it between two frames.

        Ctrl-C drops a job that has not begun, and sets `stop` for one that has.
        """
        self._line.must_be_open()
        if self.is_current:
            return job()
        future: Future[T] = Future()
        self._line.put_aside(future, job)
        try:
            while not future.done():
                wait([future], timeout=0.2)  # in naps, so that a notebook's interrupt gets through
        except KeyboardInterrupt:
            future.cancel()
            if stop is not None:
                stop.set()
            raise
        return future.result()

    def breathe(self) -> None:
        """Do the small jobs that wait; a run calls this between two frames."""
        self._line.breathe()

    def must_be_open(self) -> None:
        """LabError after `close`, and in a forked process."""
        self._line.must_be_open()

    def refuse_to_wait(self) -> None:
        """LabError for whoever is about to wait on the worker thread for the worker thread, or for what is closed."""
        self._line.must_be_open()
        self._line.refuse_to_wait()

    @property
    def waiting(self) -> tuple[Run, ...]:
        """Runs under way or in the queue, as they will be done."""
        return tuple(self._line.order())

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the worker thread."""
        return self._line.is_current

    def close(self, patience: float = PATIENCE) -> None:
        """Stop what runs, drop what waits, end the thread; wait so many seconds for the step at work."""
        self._line.close(patience)
