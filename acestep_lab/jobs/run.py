"""A Run: one piece of work under way on the queue's worker thread: a render, a planning, later a training.

Knows no model. It is told what happens (a step, a token, a stage) and tells whoever listens; it may be asked to stop.
Listeners are called on the worker thread, the only thread that computes::

    for step in run: ...              # or `async for step in run` where an event loop runs
    take = run.take()                 # or `take = await run`

Ctrl-C in either, and a cancelled task, stop the run. What a kind of run is made of (steps and takes, tokens and plans) is in
its subclass (`kinds.py`); all that is common to runs is here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from acestep_lab.errors import LabError, Stopped, sentence
from acestep_lab.jobs import progress
from acestep_lab.jobs.client import Client, acting
from acestep_lab.jobs.eta import DECODE, ENCODE, PLAN, RENDER, Clock, EtaEstimator, StageHistory, StageTimer, Work
from acestep_lab.jobs.events import Event, Kind
from acestep_lab.jobs.ids import new_id, short_id
from acestep_lab.jobs.interrupts import interrupts

if TYPE_CHECKING:
    pass

OVER = ("done", "stopped", "failed")
STATE_OF = {PLAN: "planning", ENCODE: "rendering", RENDER: "rendering", DECODE: "decoding"}
"""What a run in a stage says it is doing; any other stage is a state of its own."""
USUAL_SECONDS = 30.0
"""Seconds of music that are counted where a recipe leaves its length open."""
MOST_TITLE = 90
ETA_EVERY = 1.0
"""Seconds between two events that tell the time to go, unless the run changes its state."""
Piece = TypeVar("Piece")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it begins, and never changes."""

    kind: str
    title: str
    client: Client
    """On whose behalf it began."""
    seconds: float
    """Seconds of music it is to make: what the queue weighs it by."""
    id: str = field(default_factory=new_id)
    """Unique on all machines; ids sort by when they were made."""
    created: float = field(default_factory=time.time)
    """When it was asked for, in seconds since 1970."""

    @property
    def short_id(self) -> str:
        """The id as people read and type it."""
        return short_id(self.id)


class Line(Protocol):
    """What a run knows of the queue it is in (`worker.py`)."""

    @property
    def is_foreign(self) -> bool:
        """Whether this is another process than the queue's."""

    @property
    def history(self) -> StageHistory:
        """What the stages of runs took before."""

    @property
    def clock(self) -> Clock:
        """What seconds are told by."""

    @property
    def progress(self) -> bool | None:
        """Whether whoever waits for a run sees how far it is; None: as the environment says."""

    def interrupted(self, run: AnyRun) -> None:
        """Be told that Ctrl-C stopped a run, which nobody may hold: remember it."""

    def must_be_ours(self) -> None:
        """LabError in another process."""

    def refuse_to_wait(self) -> None:
        """LabError where waiting would never end."""

    def ahead(self, run: AnyRun) -> Sequence[AnyRun]:
        """The runs that will be done before this one."""

    def will_come(self, run: AnyRun) -> bool:
        """Whether its turn comes by itself: neither the queue nor the run is held up."""

    def withdraw(self, run: AnyRun) -> bool:
        """Take a run out of the queue, and say whether it was still waiting there."""


class Run(Generic[Piece, Result]):
    """Iterate it for its pieces (steps, tokens), `stop()` it, ask it for its `result()`; in an event loop `async for` and
    `await` do the same.
    """

    kind: ClassVar[str] = "run"
    gives_way: ClassVar[bool] = False
    """Whether its work comes in pieces, between which other runs have their turn."""

    def __init__(self, title: str = "", seconds: float = USUAL_SECONDS, work: Work | None = None) -> None:
        client, wanted = acting()
        self.facts = Facts(self.kind, " ".join((wanted or title).split())[:MOST_TITLE], client, float(seconds))
        self.messages: list[str] = []
        self.error: BaseException | None = None
        self.problem = ""
        """What went wrong, as a sentence: why it failed, or why a take could not be kept."""
        self.timer = StageTimer()
        """Seconds of its stages."""
        self._work, self._clock = work, time.monotonic
        self._estimator = EtaEstimator(work)
        self._line: Line | None = None
        self._position = 0
        self._held = False
        self._fraction = 0.0
        self._loading: Callable[[], str] = str
        self._began: float | None = None
        self._ended: float | None = None
        self._told_eta = -ETA_EVERY
        self._state = "queued"
        self._working, self._gave_way_at = "queued", 0.0
        self._pieces: list[Piece] = []
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Event], None]] = []
        client.begun(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.facts.short_id}: {self._state}, {100 * self.fraction:.0f} %>"

    # -- what a listener asks ------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Its id, unique on all machines."""
        return self.facts.id

    @property
    def title(self) -> str:
        """What people call it."""
        return self.facts.title

    @property
    def client(self) -> Client:
        """On whose behalf it began."""
        return self.facts.client

    @property
    def owner(self) -> str:
        """Whose it is; "" for the host's."""
        return self.facts.client.owner

    @property
    def state(self) -> str:
        """queued, planning, rendering, decoding, or another stage; at last done, stopped or failed."""
        return self._state

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self._state in OVER

    @property
    def doing(self) -> str:
        """What it is doing, in a few words: "waiting, 2 before it", "loading weights (text)", "planning", "decoding"."""
        if self.over:
            return self._state
        if self._stop.is_set():
            return "stopping"
        if self._held:
            return "held back"
        if self._state == "queued":
            return f"waiting, {ahead} before it" if (ahead := len(self._ahead())) else "waiting"
        loading = self._loading()
        return f"loading weights ({loading})" if loading else self._at_work()

    def _at_work(self) -> str:
        """What it is doing, of its own kind."""
        return self._state

    @property
    def is_submitted(self) -> bool:
        """Whether it is, or was, in a queue."""
        return self._line is not None

    @property
    def held(self) -> bool:
        """Whether it is held back while it waits."""
        return self._held

    @property
    def seconds_running(self) -> float:
        """Seconds since the work began; 0 while it waits."""
        if self._began is None:
            return 0.0
        return (self._clock() if self._ended is None else self._ended) - self._began

    @property
    def fraction(self) -> float:
        """How much of the work is done, 0 to 1, its stages weighted by what they usually take."""
        return self._fraction

    @property
    def position(self) -> int:
        """Runs that will be done before this one, as things stand; 0 once it is under way."""
        return len(self._ahead())

    @property
    def eta(self) -> float | None:
        """Seconds until it is done, those of the runs before it included; None while nothing is known, or it is held."""
        if self._state == "queued" and self._line is not None and not self._line.will_come(self):
            return None
        spans = [run.remaining for run in (*self._ahead(), self)]
        known = [span for span in spans if span is not None]
        return sum(known) if len(known) == len(spans) else None

    @property
    def remaining(self) -> float | None:
        """Seconds of work still to do, from its stages' history and this run's own pace; None while nothing is known."""
        if self.over:
            return 0.0
        if self._line is not None and self._line.is_foreign:
            return None  # whoever measured it may have held the estimator's lock at the fork
        return self._estimator.remaining if self._estimator.work else None

    def _ahead(self) -> Sequence[AnyRun]:
        return () if self._line is None or self._state != "queued" else self._line.ahead(self)

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data."""
        eta = self.eta
        return {
            "id": self.id, "short": self.facts.short_id, "kind": self.kind, "title": self.title, "owner": self.owner,
            "created": self.facts.created, "state": self.state, "held": self.held, "fraction": float(self.fraction),
            "position": self.position, "eta": None if eta is None else round(eta, 2), "messages": list(self.messages),
            "problem": self.problem, "stopping": self.stopping, "seconds_running": round(self.seconds_running, 3),
        }  # fmt: skip

    def __iter__(self) -> Iterator[Piece]:
        """Yield every piece, waiting for those to come; ends when the run does, raising what made it fail.

        Ctrl-C stops the run, also while the loop's own body is at work.
        """
        seen = 0
        with interrupts.watching(self):
            while self._wait(partial(self._has_more, seen)) and len(self._pieces) > seen:
                yield self._pieces[seen]
                seen += 1
        self._raise_failure()

    def __aiter__(self) -> AsyncIterator[Piece]:
        """As `for`, without holding up the event loop; a cancelled task stops the run."""
        return _Pieces(self)

    def __await__(self) -> Generator[object, None, object]:
        """`result = await run`: wait for it without holding up the event loop; of a render, the (first) take."""
        yield from self._until(lambda: self.over).__await__()
        return self._awaited()

    def result(self) -> Result:
        """Wait for what it makes; raises what made the run fail, or Stopped. Ctrl-C stops the run.

        Meanwhile a script shows a line on stderr, a notebook the music as it forms (`progress.py`).
        """
        self._wait_shown()
        if self.error is not None:
            self._say_what_is_kept(self.error)
            raise self.error
        return self._result()

    def _say_what_is_kept(self, error: BaseException) -> None:
        """Of a run that was stopped, add what there is of it to what is raised, and remember it: nobody else may hold it."""
        if isinstance(error, Stopped) and not self.client.counted and (kept := self.what_is_kept()):
            if kept not in getattr(error, "__notes__", ()):
                error.add_note(kept)
            if self._line is not None:
                self._line.interrupted(self)

    def _result(self) -> Result:
        """What it has made, once it has ended well."""
        raise NotImplementedError

    def _awaited(self) -> object:
        """What `await` gives."""
        return self.result()

    def _has_more(self, seen: int) -> bool:
        return len(self._pieces) > seen or self.over

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
        """Wait until the run is over, at most so many seconds, and say whether it is; Ctrl-C stops it."""
        return self._wait(lambda: self.over, seconds)

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every Event, on the worker thread; returns the way to unsubscribe.

        What a listener raises is logged, costs it the rest, and the run nothing.
        """
        self._must_be_ours()
        with self._changed:
            self._listeners.append(listener)

        return partial(self._unsubscribe_listener, listener)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _wait_shown(self) -> None:
        """Wait until it is over, and show how far it is where it is the host's own."""
        with interrupts.watching(self), progress.shown(self, self._shows()) as show:
            while not self._wait(lambda: self.over, None if show is None else progress.EVERY):
                if show is not None:
                    show()

    def _shows(self) -> bool | None:
        if self.client.counted or self.over:
            return False  # a page shows its runs itself
        return None if self._line is None else self._line.progress

    def interrupt(self) -> str:
        """Be stopped by Ctrl-C: what is kept, and what still can be, in a sentence. Takes no lock: it may be held."""
        self._stop.set()
        if self._line is not None:
            self._line.interrupted(self)
        return f"Interrupted: this run stops as soon as it can. {self.what_is_kept()}".strip()

    def what_is_kept(self) -> str:
        """What there is of it so far, in sentences."""
        return ""

    def _wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait in short naps, so that a notebook's interrupt gets through, and stops the run."""
        if ready():
            return True
        self._must_be_ours()
        if self._line is not None:
            self._line.refuse_to_wait()
        try:
            return self._wait_for_event(ready, None if seconds is None else time.monotonic() + seconds)
        except KeyboardInterrupt:
            self.stop()
            raise

    def _wait_for_event(self, ready: Callable[[], bool], end: float | None) -> bool:
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
        import asyncio

        loop, news = asyncio.get_running_loop(), asyncio.Event()
        if self._line is not None:
            self._line.refuse_to_wait()

        def wake(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(news.set)

        unsubscribe = self.subscribe(wake)
        try:
            with interrupts.watching(self):
                while not ready():
                    await news.wait()
                    news.clear()
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            unsubscribe()

    def _must_be_ours(self) -> None:
        if self._line is not None:
            self._line.must_be_ours()

    # -- what the queue tells ------------------------------------------------------------------------------------------

    def wait_in(self, line: Line) -> None:
        """Stand in a queue from now on."""
        self._line, self._clock = line, line.clock
        self.timer = StageTimer(line.clock)
        self._estimator = EtaEstimator(self._work, line.history, line.clock)

    def set_position(self, position: int, eta: float | None) -> None:
        """Be told how many runs are before this one, and the seconds until it is done."""
        if self._state == "queued" and position != self._position:
            self._position = position
            self._emit("position", position)
            self._emit("eta", eta)

    def hold(self, held: bool) -> None:
        """Be held back, or let go, while it waits."""
        if held != self._held:
            self._held = held
            self._emit("held", held)

    # -- what the worker tells -----------------------------------------------------------------------------------------

    def may_load(self, loading: Callable[[], str]) -> None:
        """From now on `loading()` names the component whose weights are being read, "" where none are."""
        self._loading = loading

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
        return Stopped("The run was stopped before it had a result.")

    def enter(self, state: str) -> None:
        """Go over to another state; a stage does so by itself. LabError once the run is over, Stopped where a stop was asked for."""
        self.check()
        if self.over:
            raise LabError(f"This run is over ({self._state}); it cannot begin anything more.")
        if self._began is None:
            self._began = self._clock()
        self._state = state
        self._emit("state", state)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One round of a stage ("plan", "encode", "render", "decode", …): it is timed, and the time to go follows from it.

        Its pieces are told by `show`, `token`, `progress` or `advance`; a stage that tells of none is one piece.
        """
        state = STATE_OF.get(name, name)
        if state != self._state:
            self.enter(state)
        self.check()
        self._estimator.begin(name)
        self._emit_eta()
        whole = False
        with self.timer(name):
            try:
                yield
                whole = True
            finally:
                self._estimator.end(whole)
        self._measure()

    def give_way(self) -> None:
        """Wait again, between two pieces of the work, while something else has its turn; it counts for no stage."""
        self._working, self._gave_way_at = self._state, self._clock()
        self._state, self._position = "queued", -1
        self._emit("state", "queued")

    def take_up(self) -> None:
        """Go on where it gave way; no question of a stop is asked here, since the work itself keeps what it has."""
        gap = self._clock() - self._gave_way_at
        self._estimator.skip(gap)
        self.timer.skip(gap)
        self._state = self._working
        self._emit("state", self._state)

    def replan(self, work: Work) -> None:
        """What there is to do became known better: stages that have not begun are counted anew."""
        self._estimator.replan(work)
        self._emit_eta(now=True)

    def advance(self, pieces: float = 1.0) -> None:
        """So many pieces more of the stage under way are done."""
        self._estimator.advance(pieces)
        self._measure()

    def progress(self, share: float) -> None:
        """The round of the stage under way is done to this share, from 0 to 1."""
        self._estimator.advance_to(share)
        self._measure(share)
        self._emit("progress", self._fraction)

    def message(self, sentence: str) -> None:
        """Add a sentence for the musician; the same one only once."""
        if sentence not in self.messages:
            self.messages.append(sentence)
            self._emit("message", sentence)

    def finish(self) -> None:
        """End well; a run ends once, and what comes after that changes nothing."""
        if not self.over:
            self._fraction = 1.0
            self._end("done")

    def fail(self, error: BaseException) -> None:
        """End with an error, or as stopped, unless it is over already."""
        if self.over:
            return
        self.error = error
        if isinstance(error, Stopped):
            self._end("stopped")
            return
        self.problem = sentence(error)
        self._emit("error", error)
        self._end("failed")

    def _measure(self, share: float = 0.0) -> None:
        """Bring the fraction up to date; it never goes back. Work that nobody described is as far as its stage says."""
        found = self._estimator.fraction if self._estimator.work else share
        self._fraction = max(self._fraction, min(found, 0.999))
        self._emit_eta()

    def _emit_eta(self, now: bool = False) -> None:
        if self._listeners and (now or self._clock() - self._told_eta >= ETA_EVERY):
            self._told_eta = self._clock()
            self._emit("eta", self.eta)

    def _add(self, piece: Piece) -> None:
        self._pieces.append(piece)

    def _end(self, state: str) -> None:
        self._estimator.commit()
        self._ended, self._held = self._clock(), False
        self._state = state
        self._emit("state", state)

    def _emit(self, kind: Kind, value: object) -> None:
        event = Event(kind, value, self.id)
        with self._changed:
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(event)
            except BaseException:  # noqa: BLE001 - a broken view, even one that exits, must not cost a musician the take
                _log.exception("A listener of %s failed and was let go.", self.id)
                self._unsubscribe_listener(listener)

    def _unsubscribe_listener(self, listener: Callable[[Event], None]) -> None:
        with self._changed:
            if listener in self._listeners:
                self._listeners.remove(listener)


AnyRun = Run[Any, Any]


class _Pieces(AsyncIterator[Piece]):
    """The pieces of a run for `async for`; let go while its task is being cancelled, it stops the run.

    So does Ctrl-C, also while the loop's own body is at work.
    """

    def __init__(self, run: Run[Piece, Any]) -> None:
        from asyncio import current_task

        self._run, self._seen, self._task = run, 0, current_task()
        self._watch = ExitStack()
        self._watch.enter_context(interrupts.watching(run))

    def __aiter__(self) -> _Pieces[Piece]:
        return self

    async def __anext__(self) -> Piece:
        run = self._run
        try:
            await run._until(partial(run._has_more, self._seen))
        except BaseException:
            self._watch.close()
            raise
        if len(run._pieces) <= self._seen:
            self._watch.close()
            run._raise_failure()
            raise StopAsyncIteration
        self._seen += 1
        return run._pieces[self._seen - 1]

    def __del__(self) -> None:
        """A loop that was left by `break` lets its run go on; the collector may call this, so it only sets an event."""
        self._watch.close()
        if self._task is not None and self._task.cancelling():
            self._run.stop_event.set()
