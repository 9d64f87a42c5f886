"""A Run: one render under way on the session's worker thread.

Knows no model. It is told what happens (a frame, a token, a state) and tells whoever listens; it may be asked to stop.
Listeners are called on the worker thread, the only thread that computes::

    for step in run: ...              # or `async for step in run` where an event loop runs
    take = run.take()                 # or `take = await run`

Ctrl-C in either, and a cancelled task, stop the run.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from acestep_lab.errors import LabError, RecipeError, Stopped
from acestep_lab.jobs.fair_queue import Lane, network
from acestep_lab.prompt import checks

if TYPE_CHECKING:
    from acestep_lab.engines.step import Step
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.takes.take import Take

State = Literal["queued", "planning", "rendering", "decoding", "done", "stopped", "failed"]
OVER = ("done", "stopped", "failed")
USUAL_SECONDS = 30.0
"""Seconds of music that are counted where a recipe leaves its length open."""
_log = logging.getLogger(__name__)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: a new state, a frame, a planner's token, a remark, a take, another place in the queue.

    The value of "take" is a pair: the place of its recipe, and the take. That of "place" counts the runs before this one.
    """

    kind: Literal["state", "frame", "token", "note", "progress", "take", "place"]
    value: Any


class Line(Protocol):
    """What a run knows of the queue it is in (`worker.py`)."""

    @property
    def is_foreign(self) -> bool:
        """Whether this is another process than the queue's."""

    def must_be_ours(self) -> None:
        """LabError in another process."""

    def refuse_to_wait(self) -> None:
        """LabError where waiting would never end."""

    def ahead(self, run: Run) -> Sequence[Run]:
        """The runs that will be done before this one."""

    def withdraw(self, run: Run) -> bool:
        """Take a run out of the queue, and say whether it was still waiting there."""


class Client:
    """On whose behalf runs begin: a person's name and the address they come from; without a name it is the host.

    ::

        client = Client("ada", "192.0.2.7")
        with client.acting():
            lab.plan(recipe)      # in another thread: client.stop() ends this, and nothing of anybody else
    """

    def __init__(self, owner: str = "", address: str = "") -> None:
        self.owner = owner
        self.address = network(address) if owner else ""
        """What a quota counts besides the name; nothing for the host."""
        self._runs: list[weakref.ref[Run]] = []
        self._stopped = False

    @property
    def lane(self) -> Lane:
        """Where its runs wait: people of one address share what the address gets."""
        return (f"at {self.address}" if self.address else f"as {self.owner}", self.owner)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Runs that begin inside, in this thread, are this client's."""
        token = _client.set(self)
        try:
            yield
        finally:
            _client.reset(token)

    def stop(self) -> None:
        """Ask everything begun on its behalf to stop, also what is about to begin."""
        self._stopped = True
        for known in tuple(self._runs):
            if (run := known()) is not None:
                run.stop()

    def _begun(self, run: Run) -> None:
        self._runs.append(weakref.ref(run))
        if self._stopped:
            run.stop()


_client: ContextVar[Client | None] = ContextVar("acestep_lab client", default=None)


class Run:
    """Iterate it for frames, `stop()` it, ask it for its `take()`; in an event loop `async for` and `await` do the same."""

    def __init__(self, recipes: tuple[Recipe, ...], expected_seconds: float | None = None) -> None:
        self.id = f"run-{next(_numbers)}"
        self.recipes = recipes
        self.notes: list[str] = []
        self.plans: tuple[Plan | None, ...] = ()
        self.error: BaseException | None = None
        self.fraction = 0.0
        self.shown_at: list[float] = []
        """When each frame came, by a clock in seconds that starts anywhere."""
        self.client = _client.get() or Client()
        """On whose behalf it began."""
        self._line: Line | None = None
        self._place = 0
        self._expected = expected_seconds
        self._began: float | None = None
        self._ended: float | None = None
        self._state: State = "queued"
        self._frames: list[Step] = []
        self._made: dict[int, Take] = {}
        self._keeper: Callable[[Step, int], Take] | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Event], None]] = []
        self.client._begun(self)

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
    def seconds_asked(self) -> float:
        """Seconds of music it is to make: what the queue weighs it by."""
        return float(sum(recipe.seconds or USUAL_SECONDS for recipe in self.recipes))

    @property
    def seconds_running(self) -> float:
        """Seconds since the work began; 0 while it waits."""
        if self._began is None:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

    @property
    def position(self) -> int:
        """Runs that will be done before this one, as things stand; 0 once it is under way."""
        return len(self._ahead())

    @property
    def eta(self) -> float | None:
        """Seconds until it is done, those of the runs before it included; None while nothing is known."""
        spans = [run.remaining for run in (*self._ahead(), self)]
        known = [span for span in spans if span is not None]
        return sum(known) if len(known) == len(spans) else None

    @property
    def remaining(self) -> float | None:
        """Seconds of work still to do, from this session's own history and this run's pace; None while nothing is known."""
        if self.over:
            return 0.0
        if self.fraction > 0.15:
            return self.seconds_running * (1 - self.fraction) / self.fraction
        return None if self._expected is None else max(0.0, self._expected - self.seconds_running)

    def _ahead(self) -> Sequence[Run]:
        return () if self._line is None or self._state != "queued" else self._line.ahead(self)

    @property
    def frames(self) -> tuple[Step, ...]:
        """All frames so far; of several songs rendered together, each step once for every song."""
        return tuple(self._frames)

    @property
    def made(self) -> Mapping[int, Take]:
        """The takes that exist so far, by the place of their recipe; those of a stopped or failed run stay here."""
        return dict(sorted(self._made.items()))

    def __iter__(self) -> Iterator[Step]:
        """Yield every frame, waiting for those to come; ends when the run does, raising what made it fail.

        Ctrl-C stops the run, also while the loop's own body is at work.
        """
        seen = 0
        with _interrupts.watching(self):
            while self._wait(partial(self._has_more, seen)) and len(self._frames) > seen:
                yield self._frames[seen]
                seen += 1
        self._raise_failure()

    def __aiter__(self) -> AsyncIterator[Step]:
        """As `for`, without holding up the event loop; a cancelled task stops the run."""
        return _Steps(self)

    def __await__(self) -> Generator[Any, None, Take]:
        """`take = await run`: wait for the take without holding up the event loop; of several, the first."""
        yield from self._until(lambda: self.over).__await__()
        return self.take()

    def _has_more(self, seen: int) -> bool:
        return len(self._frames) > seen or self.over

    def _raise_failure(self) -> None:
        if self.error is not None and not isinstance(self.error, Stopped):
            raise self.error

    def stop(self) -> None:
        """Ask the run to end; it does so within one step, and one that still waits its turn at once (its listeners are told
        by this thread). Stopping twice, or too late, does no harm.
        """
        if self._line is None or not self._line.is_foreign:
            self._stop.set()
            if self._line is not None and self._state == "queued" and self._line.withdraw(self):
                self.fail(self.stopped())

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the run is over and say whether it is; Ctrl-C stops it."""
        return self._wait(lambda: self.over, seconds)

    def takes(self) -> list[Take]:
        """Wait for the takes, one for each recipe; raises what made the run fail, or Stopped. Ctrl-C stops the run.

        What a stopped or failed run had made by then is in `made`, and kept.
        """
        self._wait(lambda: self.over)
        if self.error is not None:
            raise self.error
        return list(self.made.values())

    def take(self) -> Take:
        """Wait for the take; raises what made the run fail, or Stopped."""
        takes = self.takes()
        if not takes:
            raise LabError("This run asked the planner: it has plans, and no take. Look at run.plans.")
        return takes[0]

    def keep(self, step: int, song: int = 0) -> Take:
        """Make a take of the estimate (x0) of a step, counted from 0; works during the run and after a stop.

        `song` says which, where several recipes are rendered.
        """
        step, song = checks.whole("A step", step, -(2**31), 2**31), checks.whole("A song", song, -(2**31), 2**31)
        shown = [frame for frame in self._frames if song in frame.items]
        if not shown:
            raise RecipeError(f"Song {song} of this run has shown no step yet; wait for its first frame.")
        if not 0 <= step < len(shown):
            raise RecipeError(f"There is no step {step}; this run has shown steps 0 to {len(shown) - 1}.")
        if self._keeper is None:
            raise LabError("This run cannot keep a step: it has not begun.")
        return self._keeper(shown[step], song)

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every Event, on the worker thread; returns the way to unsubscribe.

        What a listener raises is logged, costs it the rest, and the run nothing.
        """
        self._must_be_ours()
        with self._changed:
            self._listeners.append(listener)

        return partial(self._let_go, listener)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait in short naps, so that a notebook's interrupt gets through, and stops the run."""
        if ready():
            return True
        self._must_be_ours()
        if self._line is not None:
            self._line.refuse_to_wait()
        try:
            return self._nap(ready, None if seconds is None else time.monotonic() + seconds)
        except KeyboardInterrupt:
            self.stop()
            raise

    def _nap(self, ready: Callable[[], bool], end: float | None) -> bool:
        with self._changed:
            while not ready():
                if end is not None and time.monotonic() >= end:
                    return False
                self._changed.wait(0.2 if end is None else min(0.2, max(0.0, end - time.monotonic())))
        return True

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait in an event loop; whoever cancels this stops the run, and so does Ctrl-C, whatever runs the loop."""
        if ready():
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        if self._line is not None:
            self._line.refuse_to_wait()

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(news.set)

        let_go = self.subscribe(tell)
        try:
            with _interrupts.watching(self):
                while not ready():
                    await news.wait()
                    news.clear()
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            let_go()

    def _must_be_ours(self) -> None:
        if self._line is not None:
            self._line.must_be_ours()

    # -- what the worker tells -----------------------------------------------------------------------------------------

    def wait_in(self, line: Line) -> None:
        """Stand in a queue from now on."""
        self._line = line

    def stand(self, place: int) -> None:
        """Be told how many runs are before this one."""
        if self._state == "queued" and place != self._place:
            self._place = place
            self._tell(Event("place", place))

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
            raise self.stopped()

    def stopped(self) -> Stopped:
        """What to raise for a run that was asked to stop."""
        done, whole = len(self._made), len(self.recipes)
        if not done:
            return Stopped("The run was stopped before it had a take.")
        return Stopped(f"The run was stopped with {done} of its {whole} takes made; they are kept, and in run.made.")

    def enter(self, state: State, fraction: float | None = None) -> None:
        """Go over to another state."""
        self.check()
        self._began = self._began or time.monotonic()
        self._state = state
        self.fraction = self.fraction if fraction is None else fraction
        self._tell(Event("state", state))

    def can_keep(self, keeper: Callable[[Step, int], Take]) -> None:
        """From now on a step can be kept."""
        self._keeper = keeper

    def show(self, frame: Step, fraction: float) -> None:
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

    def add(self, place: int, take: Take) -> None:
        """A take exists, of the recipe at this place."""
        self._made[place] = take
        self._tell(Event("take", (place, take)))

    def finish(self, takes: Sequence[Take] = ()) -> None:
        """End well, with takes that were not added before."""
        for place, take in enumerate(takes):
            self._made.setdefault(place, take)
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
            except BaseException:  # noqa: BLE001 - a broken view, even one that exits, must not cost a musician the take
                _log.exception("A listener of %s failed and was let go.", self.id)
                self._let_go(listener)

    def _let_go(self, listener: Callable[[Event], None]) -> None:
        with self._changed:
            if listener in self._listeners:
                self._listeners.remove(listener)


class _Steps:
    """The frames of a run for `async for`; let go while its task is being cancelled, it stops the run.

    So does Ctrl-C, also while the loop's own body is at work.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._seen, self._task = run, 0, asyncio.current_task()
        self._watch = ExitStack()
        self._watch.enter_context(_interrupts.watching(run))

    def __aiter__(self) -> _Steps:
        return self

    async def __anext__(self) -> Step:
        run = self._run
        try:
            await run._until(partial(run._has_more, self._seen))
        except BaseException:
            self._watch.close()
            raise
        if len(run._frames) <= self._seen:
            self._watch.close()
            run._raise_failure()
            raise StopAsyncIteration
        self._seen += 1
        return run._frames[self._seen - 1]

    def __del__(self) -> None:
        """A loop that was left by `break` lets its run go on; the collector may call this, so it only sets an event."""
        self._watch.close()
        if self._task is not None and self._task.cancelling():
            self._run.stop_event.set()


class _Interrupts:
    """Ctrl-C in a loop over a run, also in the loop's own body: the run is stopped, then all goes on as it would have.

    Python hands signals to the main thread only, so that runs looked at elsewhere need no watch.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._before: Any = None

    @contextmanager
    def watching(self, run: Run) -> Iterator[None]:
        """Stop this run at an interrupt, for as long as somebody looks at it from the main thread."""
        watched = threading.current_thread() is threading.main_thread() and self._install()
        if watched:
            self._runs.append(run)
        try:
            yield
        finally:
            if watched:
                self._runs.remove(run)
                self._uninstall()

    def _install(self) -> bool:
        """Be called at an interrupt; False where interrupts are ignored, or end the process at once."""
        now = signal.getsignal(signal.SIGINT)
        if now == self._interrupted:
            return True
        if not callable(now):
            return False
        self._before = now
        signal.signal(signal.SIGINT, self._interrupted)
        return True

    def _uninstall(self) -> None:
        last = not self._runs and threading.current_thread() is threading.main_thread()
        if last and signal.getsignal(signal.SIGINT) == self._interrupted:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: Any) -> None:
        for run in self._runs:
            run.stop_event.set()  # no more: whatever this interrupts may hold a lock
        self._before(number, frame)


_interrupts = _Interrupts()
