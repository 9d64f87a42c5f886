"""The backend of the studio: what all open pages of one session share, as a page wants it.

The runs are in the session's `JobQueue`, the takes in an `OwnedLibrary`; here is only what puts the two before a page: who
asks, and cards as plain data. Knows no browser. Pages come and go; a run, and the take it ends in, outlive them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.ids import is_sound_id, take_id
from acestep_lab.takes.take import Take
from acestep_lab.ui.adapter_list import AdapterList
from acestep_lab.ui.cards import cards_of
from acestep_lab.ui.listeners import Listeners

T = TypeVar("T")


class Backend:
    """A session for the pages of several people: `jobs` are its runs, `takes` its takes by their owners."""

    def __init__(self, session: SessionLike) -> None:
        self.session = session
        self.jobs: JobQueue = session.jobs
        self.takes = OwnedLibrary(session.library, session.jobs)
        self.adapters = AdapterList(session)
        self.drafts: dict[tuple[str, str], Any] = {}
        """What pages leave for the next page of the same person: by what it is and whose."""
        self._on_switch, self._on_marked = Listeners(), Listeners()
        self._switching = threading.RLock()

    def use(self, checkpoint: str, by: str = "", lm: str | None = None) -> None:
        """Make another checkpoint the one in use, for all pages that have chosen none of their own; runs under way keep theirs.

        For the host, since it moves what is in memory for everybody.
        """
        if by:
            raise LabError("Only the host can change the checkpoint everybody uses; choose among the open ones.")
        with self._switching:
            self.session.use(checkpoint) if lm is None else self.session.use(checkpoint, lm)
        self._on_switch.tell()

    def on_switch(self, page: Callable[[], None]) -> Callable[[], None]:
        """Call `page()` whenever another checkpoint is in use; returns the way to stop that."""
        return self._on_switch.add(page)

    def on_marked(self, page: Callable[[str, object], None]) -> Callable[[], None]:
        """Call `page(owner, by)` whenever somebody's takes were marked or binned on a page, `by` being whose work it was;
        returns the way to stop that.
        """
        return self._on_marked.add(page)

    def marked(self, owner: str, by: object) -> None:
        """Tell every page that somebody's takes were marked or binned: the same person may have two open."""
        self._on_marked.tell(owner, by)

    def start(
        self,
        recipe: Recipe | Sequence[Recipe],
        plan: Plan | None = None,
        owner: str = "",
        title: str = "",
        address: str = "",
        adapters: Sequence[tuple[str | os.PathLike[str], float]] | None = None,
        client: Client | None = None,
    ) -> RenderRun:
        """Begin a render for somebody, who comes from an address; returns at once. `adapters` are those of this run alone;
        `client` stands for the two where somebody is known already.
        """
        self.takes.check_sources(recipe, owner)
        title = title or self._title(recipe, owner)
        more: dict[str, Any] = {} if adapters is None else {"adapters": adapters}
        with (client or Client(owner, address)).acting(title):
            return self.session.start(recipe, **more) if plan is None else self.session.start(recipe, plan, **more)

    def _title(self, recipe: Recipe | Sequence[Recipe], owner: str) -> str:
        """What the queue calls a run: as its (first) take will be called, and how many there will be."""
        recipes = [recipe] if isinstance(recipe, Recipe) else list(recipe)
        called = self.takes.title_of_recipe(recipes[0], owner) if recipes else ""
        return f"{called} ×{len(recipes)}" if called and len(recipes) > 1 else called

    def source(self, id: str, owner: str = "") -> Take | Audio:
        """A take or a recording by its id, of somebody's own; LabError for anybody else's: an id may come out of any file."""
        if not is_sound_id(id):
            return self.takes.take(take_id(id), owner)
        self.takes.check_recording(id, owner)
        return self.session.sound(id)

    def ask(self, client: Client, work: Callable[[], T], title: str = "") -> T:
        """Ask the planner for somebody, and wait for what it says; `client.stop()` ends it, and nothing of anybody else."""
        with client.acting(title):
            return work()

    def cards(self, owner: str = "", query: str = "", most: int | None = None) -> list[dict[str, Any]]:
        """Cards of somebody's takes, newest first: those in memory only, then the library's."""
        return cards_of(self.takes, owner, query, most)


_ONE = threading.Lock()


def backend_of(session: SessionLike) -> Backend:
    """The one Backend of a session; it lives as long as the session does."""
    with _ONE:
        backend: Backend | None = vars(session).get("_backend")
        if backend is None:
            backend = vars(session)["_backend"] = Backend(session)
        return backend
