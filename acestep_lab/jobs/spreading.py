"""The takes of one run over several cards: who makes which, and what becomes of those of a card that runs out of memory.

Knows engines by their contract only. Every card has a thread that computes; everything a run tells and keeps is done on the
thread that runs it, one after another, so that listeners hear one thread as ever. Each take is made alone, never in a group:
its bytes are those of `lab.make` on one card, however many cards there are, whichever makes it, and whoever hands it over.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from acestep_lab.engines.base import Check, Engine, Prepared, Rendered, Request
from acestep_lab.errors import MachineError
from acestep_lab.jobs.eta import PLAN, RENDER, ItemWork, Round, Work

PATIENCE = 0.1
"""Seconds after which the thread of a run looks around while no card has anything to tell."""


class Lane(Protocol):
    """One card and the engine that is at work on it."""

    @property
    def engine(self) -> Engine: ...
    @property
    def card(self) -> str:
        """ "cuda:1"."""

    def fit_to(self, seconds: float, takes: int) -> None:
        """Take up its memory plan for songs of so many seconds."""

    def giving_up(self, gives_up: Callable[[], bool], say: Callable[[str], None]) -> Any:
        """For a time (`with`), end with CardFull where memory runs out and `gives_up()`; `say` hears of changes of its plan."""


class Spread:
    """Places of a run over cards: each card takes the next one, and gives it back where its memory runs out."""

    def __init__(self, lanes: Sequence[Lane], places: Iterable[int], check: Check) -> None:
        self.lanes, self._check = tuple(lanes), check
        self._todo, self._at_work, self._alive = deque(places), 0, len(lanes)
        self._problem: BaseException | None = None
        self._changed = threading.Condition()
        self._posts: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    # -- for the cards' threads

    def tell(self, post: Callable[[], None]) -> None:
        """Have something done on the thread of the run."""
        self._posts.put(post)

    def check(self) -> None:
        """Raise where the run was asked to stop, or another card failed for good."""
        self._check()
        if self._problem is not None:
            raise self._problem

    def others_work(self) -> bool:
        """Whether another card could do this one's work."""
        return self._alive > 1

    # -- on the thread of the run

    def work_through(self, work: Callable[[Lane, int], None], say: Callable[[str], None], aside: Check) -> None:
        """Do all places; `aside` is done between two posts. Raises what failed, once no card is at work any more."""
        threads = [
            threading.Thread(target=self._lane, args=(lane, work, say), name=f"acestep_lab {lane.card}", daemon=True)
            for lane in self.lanes
        ]
        for thread in threads:
            thread.start()
        try:
            self._listen(len(threads), aside)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._problem is not None:
            raise self._problem

    def _listen(self, lanes: int, aside: Check) -> None:
        """Do what the cards post until each of them is through."""
        while lanes:
            try:
                post = self._posts.get(timeout=PATIENCE)
            except queue.Empty:
                aside()
                continue
            if post is None:
                lanes -= 1
            elif self._problem is None:
                post()
                aside()

    # -- a card's thread

    def _lane(self, lane: Lane, work: Callable[[Lane, int], None], say: Callable[[str], None]) -> None:
        try:
            with lane.giving_up(self.others_work, lambda sentence: self.tell(partial(say, sentence))):
                while (place := self._next()) is not None:
                    try:
                        work(lane, place)
                    except MachineError as trouble:
                        if self._handed_over(place, trouble):
                            self.tell(partial(say, f"{trouble} The other cards make the takes of {lane.card}."))
                            return
                        continue
                    self._finished()
        except BaseException as error:  # noqa: BLE001 - it belongs to the run, which raises it
            self._fail(error)
        finally:
            self._posts.put(None)

    def _next(self) -> int | None:
        """The next place; None where all are done. While others are at work one may still come back."""
        with self._changed:
            self._changed.wait_for(lambda: self._todo or not self._at_work or self._problem is not None)
            if self._problem is not None or not self._todo:
                return None
            self._at_work += 1
            return self._todo.popleft()

    def _finished(self) -> None:
        with self._changed:
            self._at_work -= 1
            self._changed.notify_all()

    def _handed_over(self, place: int, trouble: MachineError) -> bool:
        """Put back what a card could not do, and say whether others do it; the last card tries again with a leaner plan, where
        it had given up only because it was not the last. Raises where there is nothing left to try.
        """
        with self._changed:
            if self._alive == 1 and not getattr(trouble, "may_be_tried_again", False):
                raise trouble
            self._todo.appendleft(place)
            self._at_work -= 1
            handed = self._alive > 1
            self._alive -= handed
            self._changed.notify_all()
            return handed

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._problem = self._problem or error
            self._changed.notify_all()


@dataclass(frozen=True)
class Told:
    """What the thread of the run does with what cards find."""

    show: Callable[..., None]
    """With a step."""
    prepared: Callable[[int, Prepared], None]
    """With a place and what was prepared for it."""
    keep: Callable[[int, Rendered, Engine], None]
    """With a place, its sound and the engine that made it."""


def spread_work(key: str, items: Sequence[ItemWork], cards: int) -> Work:
    """What there is to do over several cards, as one round of steps: a time of its own is learnt for it."""
    steps, weight = sum(one.steps for one in items), sum(one.weight for one in items) / len(items)
    plans = [Round(one.plan_tokens, one.plan_rows) for one in items if one.plan_tokens]
    return Work(f"{key} and {cards - 1} more", {PLAN: plans, RENDER: [Round(steps, weight)]})


def make(
    spread: Spread, lane: Lane, place: int, request: Request, told: Told, stop: threading.Event
) -> None:  # fmt: skip
    """Make one take on one card, from words to sound."""
    engine = lane.engine
    lane.fit_to(request.seconds, 1)
    spread.check()
    [prepared] = engine.prepare([request], stop)
    spread.tell(partial(told.prepared, place, prepared))
    latent = None
    for step in engine.sample([prepared], spread.check):
        [alone] = step.each()
        latent = alone.state if alone.state is not None else latent
        spread.tell(partial(told.show, replace(alone, items=(place,), checkpoint=engine.name)))
        spread.check()
    assert latent is not None  # the last step's is what `decode` is handed
    rendered = engine.decode(prepared.after_sampling(), latent, stop, _checked(spread))
    spread.tell(partial(told.keep, place, rendered, engine))


def _checked(spread: Spread) -> Callable[[float], None]:
    """What hears how far a decoding is, and stops it where another card failed."""
    return lambda share: spread.check()
