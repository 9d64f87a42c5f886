"""A Run: one render under way on the session's worker thread.

Knows no model. It is told what happens (a frame, a token, a state) and tells whoever listens; it may be asked to stop.
Listeners are called on the worker thread, the only thread that computes.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from acestep_lab.errors import LabError, RecipeError, Stopped

if TYPE_CHECKING:
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.synth.sampler import Frame
    from acestep_lab.takes.take import Take

State = Literal["queued", "planning", "rendering", "decoding", "done", "stopped", "failed"]
T = TypeVar("T")
OVER = ("done", "stopped", "failed")
_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: a new state, a frame, a planner's token, a remark, takes."""

    kind: Literal["state", "frame", "token", "note", "progress"]
    value: Any


class Run:
    """Iterate it for frames, `stop()` it, ask it for its `take()`."""

    def __init__(self, recipes: tuple[Recipe, ...], expected_seconds: float | None = None) -> None:
        self.id = f"run-{next(_numbers)}"
        self.recipes = recipes
        self.notes: list[str] = []
        self.plans: tuple[Plan | None, ...] = ()
        self.error: BaseException | None = None
        self.fraction = 0.0
        self.shown_at: list[float] = []
        """When each frame came, by a clock in seconds that starts anywhere."""
        self.position = 0
        """Runs before this one in the queue."""
        self._expected = expected_seconds
        self._began: float | None = None
        self._ended: float | None = None
        self._state: State = "queued"
        self._frames: list[Frame] = []
        self._takes: list[Take] = []
        self._keeper: Callable[[Frame, int], Take] | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Event], None]] = []

    # -- what a listener asks ------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """queued, planning, rendering, decoding; at last done, stopped or failed."""
        return self._state

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self._state in OVER

    @property
    def recipe(self) -> Recipe:
        """The (first) recipe, as resolved before the run."""
        return self.recipes[0]

    @property
    def seconds_running(self) -> float:
        """Seconds since the work began; 0 while it waits."""
        if self._began is None:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

    @property
    def eta(self) -> float | None:
        """Seconds still to go, from this session's own history and this run's pace; None while nothing is known."""
        if self.over:
            return 0.0
        if self.fraction > 0.15:
            return self.seconds_running * (1 - self.fraction) / self.fraction
        return None if self._expected is None else max(0.0, self._expected - self.seconds_running)

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All frames so far; of several songs rendered together, each step once for every song."""
        return tuple(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame, waiting for those to come; ends when the run does, raising what made it fail."""
        seen = 0
        while True:
            self._wait(lambda seen=seen: len(self._frames) > seen or self.over)  # type: ignore[misc]
            if len(self._frames) > seen:
                yield self._frames[seen]
                seen += 1
            else:
                break
        if self.error is not None and not isinstance(self.error, Stopped):
            raise self.error

    def stop(self) -> None:
        """Ask the run to end; it does so within one step. Stopping twice, or too late, does no harm."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the run is over and say whether it is."""
        return self._wait(lambda: self.over, seconds)

    def takes(self) -> list[Take]:
        """Wait for the takes, one for each recipe; raises what made the run fail, or Stopped."""
        try:
            self._wait(lambda: self.over)
        except KeyboardInterrupt:
            self.stop()
            raise
        if self.error is not None:
            raise self.error
        return list(self._takes)

    def take(self) -> Take:
        """Wait for the take; raises what made the run fail, or Stopped."""
        return self.takes()[0]

    def keep(self, step: int, song: int = 0) -> Take:
        """Make a take of the estimate (x0) of a step, counted from 0; works during the run and after a stop.

        `song` says which, where several recipes are rendered.
        """
        shown = [frame for frame in self._frames if song in frame.items]
        if not shown:
            raise RecipeError(f"Song {song} of this run has shown no step yet; wait for its first frame.")
        if not 0 <= step < len(shown):
            raise RecipeError(f"There is no step {step}; this run has shown steps 0 to {len(shown) - 1}.")
        if self._keeper is None:
            raise LabError("This run cannot keep a step: it has not begun.")
        return self._keeper(shown[step], song)

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every Event, on the worker thread; returns the way to unsubscribe."""
        with self._changed:
            self._listeners.append(listener)

        return partial(self._let_go, listener)

    def _wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait in short naps, so that a notebook's interrupt gets through."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while not ready():
                if end is not None and time.monotonic() >= end:
                    return False
                self._changed.wait(0.2)
        return True

    # -- what the worker tells -----------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop.is_set()

    @property
    def stop_event(self) -> threading.Event:
        """The event that is set when somebody asked to stop."""
        return self._stop

    def check(self) -> None:
        """Raise Stopped where somebody asked to stop."""
        if self._stop.is_set():
            raise Stopped("The run was stopped before it had a take.")

    def enter(self, state: State, fraction: float | None = None) -> None:
        """Go over to another state."""
        self.check()
        self._began = self._began or time.monotonic()
        self._state = state
        self.fraction = self.fraction if fraction is None else fraction
        self._tell(Event("state", state))

    def can_keep(self, keeper: Callable[[Frame, int], Take]) -> None:
        """From now on a step can be kept."""
        self._keeper = keeper

    def show(self, frame: Frame, fraction: float) -> None:
        """Add a frame."""
        self.shown_at.append(time.monotonic())
        self._frames.append(frame)
        self.fraction = fraction
        self._tell(Event("frame", frame))

    def progress(self, fraction: float) -> None:
        """Say how far the work is, from 0 to 1."""
        self.fraction = fraction
        self._tell(Event("progress", fraction))

    def token(self, value: object) -> None:
        """Pass on a token of the planner."""
        self._tell(Event("token", value))

    def note(self, sentence: str) -> None:
        """Add a remark for the musician; the same one only once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            self._tell(Event("note", sentence))

    def finish(self, takes: list[Take]) -> None:
        """End with takes."""
        self._takes = takes
        self.fraction = 1.0
        self._end("done")

    def fail(self, error: BaseException) -> None:
        """End with an error, or as stopped."""
        self.error = error
        self._end("stopped" if isinstance(error, Stopped) else "failed")

    def _end(self, state: State) -> None:
        self._ended = time.monotonic()
        self._state = state
        self._tell(Event("state", state))

    def _tell(self, event: Event) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a broken view must not cost a musician the take
                _log.exception("A listener of %s failed and was let go.", self.id)
                self._let_go(listener)

    def _let_go(self, listener: Callable[[Event], None]) -> None:
        with self._changed:
            if listener in self._listeners:
                self._listeners.remove(listener)


class Worker:
    """One daemon thread that does one run after another, and small jobs between two frames of a run."""

    def __init__(self, name: str = "acestep_lab") -> None:
        self._name = name
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._asides: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue()
        self._waiting: list[Run] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, run: Run, work: Callable[[Run], None]) -> Run:
        """Queue a run; `work(run)` is called on the worker thread and must not raise for the run's own errors."""
        with self._lock:
            if self._closed:
                raise LabError("This session is closed; open another one with Session.open().")
            run.position = len(self._waiting)
            self._waiting.append(run)
            self._enqueue(partial(self._do, run, work))
        return run

    def call(self, job: Callable[[], T]) -> T:
        """Do a small job on the worker thread and return what it gives; a run under way does it between two frames."""
        if self.is_current:
            return job()
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise LabError("This session is closed; open another one with Session.open().")
            self._asides.put((future, job))
            self._enqueue(self.breathe)
        while not future.done():
            wait([future], timeout=0.2)  # in naps, so that a notebook's interrupt gets through
        return future.result()

    def breathe(self) -> None:
        """Do the small jobs that wait; a run calls this between two frames."""
        while not self._asides.empty():
            future, job = self._asides.get()
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)

    def _enqueue(self, job: Callable[[], None]) -> None:
        """Queue a job and see that somebody does it; the lock is held."""
        self._queue.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
            atexit.register(self.close)  # Python must not go while torch is at work: it would end with a crash

    @property
    def waiting(self) -> tuple[Run, ...]:
        """Runs under way or in the queue, in order."""
        with self._lock:
            return tuple(self._waiting)

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the worker thread."""
        return threading.current_thread() is self._thread

    def close(self, patience: float = 10.0) -> None:
        """Stop what runs, drop what waits, end the thread; wait so many seconds for the step at work."""
        with self._lock:
            self._closed = True
            for run in self._waiting:
                run.stop()
            self._queue.put(None)
        if self._thread is not None and not self.is_current:
            self._thread.join(patience)
        atexit.unregister(self.close)

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            job()
        self.breathe()

    def _do(self, run: Run, work: Callable[[Run], None]) -> None:
        try:
            run.check()
            work(run)
        except BaseException as error:  # noqa: BLE001 - whatever happens belongs to the run, the thread lives on
            run.fail(error)
        finally:
            self._leave(run)

    def _leave(self, run: Run) -> None:
        with self._lock:
            self._waiting.remove(run)
            for place, other in enumerate(self._waiting):
                other.position = place
