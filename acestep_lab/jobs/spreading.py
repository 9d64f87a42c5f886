"""The takes of one run over several cards: who makes which, and what becomes of those of a card that runs out of memory.

Knows engines by their contract only. Every card has a thread that computes; everything a run tells and keeps is done on the
thread that runs it, one after another, so that listeners hear one thread as ever. A take is its seed's, whichever card makes it.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from acestep_lab.engines.base import Check, Engine, Prepared, Rendered, Request, groups
from acestep_lab.engines.step import Step
from acestep_lab.errors import MachineError
from acestep_lab.jobs.eta import PLAN, RENDER, ItemWork, Round, Work

if TYPE_CHECKING:
    import torch

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


Chunk = list[int]
"""Places of the recipes that a card makes in one go; those that are made leave it."""


class Spread:
    """Chunks of work over cards: each card takes the next one, and gives it back where its memory runs out."""

    def __init__(self, lanes: Sequence[Lane], chunks: Iterable[Chunk], check: Check) -> None:
        self.lanes, self._check = tuple(lanes), check
        self._todo, self._at_work, self._alive = deque(chunks), 0, len(lanes)
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

    def work_through(self, work: Callable[[Lane, Chunk], None], say: Callable[[str], None], aside: Check) -> None:
        """Do all chunks; `aside` is done between two posts. Raises what failed, once no card is at work any more."""
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

    def _lane(self, lane: Lane, work: Callable[[Lane, Chunk], None], say: Callable[[str], None]) -> None:
        try:
            with lane.giving_up(self.others_work, lambda sentence: self.tell(partial(say, sentence))):
                while (chunk := self._next()) is not None:
                    try:
                        work(lane, chunk)
                    except MachineError as trouble:
                        if self._handed_over(chunk, trouble):
                            self.tell(partial(say, f"{trouble} The other cards make the takes of {lane.card}."))
                            return
                        continue
                    self._finished()
        except BaseException as error:  # noqa: BLE001 - it belongs to the run, which raises it
            self._fail(error)
        finally:
            self._posts.put(None)

    def _next(self) -> Chunk | None:
        """The next chunk; None where all are done. While others are at work one may still come back."""
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

    def _handed_over(self, chunk: Chunk, trouble: MachineError) -> bool:
        """Put back what a card could not do, and say whether others do it; the last card tries again with a leaner plan, where
        it had given up only because it was not the last. Raises where there is nothing left to try.
        """
        with self._changed:
            if self._alive == 1 and not getattr(trouble, "may_be_tried_again", False):
                raise trouble
            self._todo.appendleft(chunk)
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
    """With the steps of one turn of a loop."""
    prepared: Callable[[int, Prepared], None]
    """With a place and what was prepared for it."""
    keep: Callable[[int, Rendered, Engine], None]
    """With a place, its sound and the engine that made it."""
    say: Callable[[str], None]


def chunks_of(places: Sequence[int], cards: int, batch: int) -> list[Chunk]:
    """Places in chunks that busy every card, in order, none larger than a batch."""
    size = max(1, min(batch, math.ceil(len(places) / cards)))
    return [list(places[first : first + size]) for first in range(0, len(places), size)]


def spread_work(key: str, items: Sequence[ItemWork], cards: int, batch: int) -> Work:
    """What there is to do over several cards, as one round of steps: a time of its own is learnt for it."""
    chunks = chunks_of(range(len(items)), cards, batch)
    steps = sum(max(items[place].steps for place in chunk) for chunk in chunks)
    weight = sum(one.weight for one in items) / len(chunks)
    plans = [Round(one.plan_tokens, one.plan_rows) for one in items if one.plan_tokens]
    return Work(f"{key} and {cards - 1} more", {PLAN: plans, RENDER: [Round(steps, weight)]})


def make(
    spread: Spread, lane: Lane, chunk: Chunk, requests: Mapping[int, Request], told: Told, stop: threading.Event
) -> None:
    """Make a chunk on one card, from words to sound; each take leaves the chunk when it is handed over."""
    engine, places = lane.engine, tuple(chunk)
    lane.fit_to(max(requests[place].seconds for place in places), len(places))
    spread.check()
    found = dict(zip(places, engine.prepare([requests[place] for place in places], stop), strict=True))
    for place, one in found.items():
        spread.tell(partial(told.prepared, place, one))
        for remark in one.remarks:
            spread.tell(partial(told.say, remark))
    for group in groups(list(found.values()), len(places)):
        here = [places[index] for index in group]
        latents = _latents(spread, engine, found, here, told)
        for place in here:
            rendered = engine.decode(found[place].after_sampling(), latents.pop(place), stop, _checked(spread))
            spread.check()
            chunk.remove(place)
            spread.tell(partial(told.keep, place, rendered, engine))


def _latents(
    spread: Spread, engine: Engine, found: Mapping[int, Prepared], places: Sequence[int], told: Told
) -> dict[int, torch.Tensor]:
    """Run the loop of a group, show every step, and return each item's last latent."""
    latents: dict[int, torch.Tensor] = {}
    for step in engine.sample([found[place] for place in places], spread.check):
        shown: list[Step] = [replace(one, items=(places[one.item],), checkpoint=engine.name) for one in step.each()]
        latents = {one.item: one.state for one in shown if one.state is not None}
        spread.tell(partial(told.show, *shown))
        spread.check()
    return latents


def _checked(spread: Spread) -> Callable[[float], None]:
    """What hears how far a decoding is, and stops it where another card failed."""
    return lambda share: spread.check()
