"""The backend of the studio: what all open pages of one session share, as a page wants it.

The runs are in the session's `JobQueue`, the takes in an `OwnedLibrary`; here is only what puts the two before a page: who
asks, and cards as plain data. Knows no browser. Pages come and go; a run, and the take it ends in, outlive them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from acestep_lab.errors import LabError
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.index import Card
from acestep_lab.ui.adapter_rack import AdapterRack
from acestep_lab.ui.gallery import card_of

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Backend:
    """A session for the pages of several people: `jobs` are its runs, `takes` its takes by their owners."""

    def __init__(self, session: SessionLike) -> None:
        self.session = session
        self.jobs: JobQueue = session.jobs
        self.takes = OwnedLibrary(session.library, session.jobs)
        self.rack = AdapterRack(session)
        self._pages: list[Callable[[], None]] = []
        self._switching = threading.RLock()

    def use(self, checkpoint: str, by: str = "", lm: str | None = None) -> None:
        """Make another checkpoint the one in use, for all pages that have chosen none of their own; runs under way keep theirs.

        For the host, since it moves what is in memory for everybody.
        """
        if by:
            raise LabError("Only the host can change the checkpoint everybody uses; choose among the open ones.")
        with self._switching:
            self.session.use(checkpoint) if lm is None else self.session.use(checkpoint, lm)
        for page in tuple(self._pages):
            try:
                page()
            except Exception:  # noqa: BLE001 - a broken page must not keep the others on the old checkpoint
                _log.exception("A page failed to take up another checkpoint.")

    def on_switch(self, page: Callable[[], None]) -> Callable[[], None]:
        """Call `page()` whenever another checkpoint is in use; returns the way to stop that."""
        self._pages.append(page)
        return partial(self._let_go, page)

    def _let_go(self, page: Callable[[], None]) -> None:
        if page in self._pages:
            self._pages.remove(page)

    def start(
        self,
        recipe: Recipe | Sequence[Recipe],
        plan: Plan | None = None,
        owner: str = "",
        title: str = "",
        address: str = "",
        adapters: Sequence[tuple[str | os.PathLike[str], float]] | None = None,
    ) -> RenderRun:
        """Begin a render for somebody, who comes from an address; returns at once. `adapters` are those of this run alone."""
        self.takes.check_sources(recipe, owner)
        more: dict[str, Any] = {} if adapters is None else {"adapters": adapters}
        with Client(owner, address).acting(title):
            return self.session.start(recipe, **more) if plan is None else self.session.start(recipe, plan, **more)

    def ask(self, client: Client, work: Callable[[], T], title: str = "") -> T:
        """Ask the planner for somebody, and wait for what it says; `client.stop()` ends it, and nothing of anybody else."""
        with client.acting(title):
            return work()

    def cards(self, owner: str = "", query: str = "", most: int = 60) -> list[dict[str, Any]]:
        """Cards of somebody's takes, newest first: those in memory only, then the library's."""
        unsaved = [] if query else [card_of(take) for take in self.takes.unsaved_takes(owner)]
        kept = self.takes.cards(owner, query, most)
        return unsaved + [_plain(card, self.takes.owner_of(card.id) == owner) for card in kept]


def _plain(card: Card, mine: bool = True) -> dict[str, Any]:
    """A library's card as plain data for the gallery; what its owner said of it is for the owner."""
    title = " ".join(card.caption.split()) or card.id
    facts = [] if card.task == "Text2Music" else [card.task.lower()]
    facts += [
        text
        for text in (
            f"seed {card.seed}" if card.seed is not None else "",
            f"{card.bpm} bpm" if card.bpm else "",
            card.keyscale or "",
        )
        if text
    ]
    return {
        "id": card.id, "title": title[:90], "facts": facts, "seconds": float(card.seconds), "created": card.created, "task": card.task,
        "parents": list(card.parents), "star": mine and card.star, "reject": mine and card.reject,
        "note": card.note if mine else "", "scores": dict(card.scores) if mine else {},
        "recipe": dict(card.recipe),
    }  # fmt: skip


_ONE = threading.Lock()


def backend_of(session: SessionLike) -> Backend:
    """The one Backend of a session; it lives as long as the session does."""
    with _ONE:
        backend: Backend | None = vars(session).get("_backend")
        if backend is None:
            backend = vars(session)["_backend"] = Backend(session)
        return backend
