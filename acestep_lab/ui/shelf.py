"""Somebody's takes in a gallery: listed from the library, and what is said of them written there.

Knows no browser. The studio's gallery and one that stands alone in a notebook are joined to the library by this.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.jobs.client import Client
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.cards import cards_of
from acestep_lab.ui.controllers.base import start_thread
from acestep_lab.ui.draft import new_seed

if TYPE_CHECKING:
    from acestep_lab.ui.gallery import Gallery

MORE = 4
"""Takes that "more like this" makes."""
MOST_UNDONE = 8
"""Takes in the bin that are named one by one."""


class Shelf:
    """A gallery over one person's takes. `changed` is called after anything was written."""

    def __init__(
        self,
        gallery: Gallery,
        takes: OwnedLibrary,
        owner: str = "",
        session: SessionLike | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.gallery, self.takes, self.owner, self.session = gallery, takes, owner, session
        self._changed = changed or self.list

    def connect(self) -> None:
        """Do what the gallery asks for and a library alone can do; with a session also what takes a model or an ear."""
        asked: dict[str, Callable[..., Any]] = {"mark": self.mark, "bin": self.bin, "restore": self.restore}
        asked["search"] = lambda text: self.list()
        if self.session is not None:
            asked |= {"analyze": self._analyze, "more_like": self._more_like}
            self._listen(self.session)
        for kind, work in asked.items():
            self.gallery.on(kind, work)
        self.gallery.can_make = self.session is not None

    def _listen(self, session: SessionLike) -> None:
        """List anew when a run makes a take, for as long as the gallery lives."""
        this = weakref.ref(self)

        def heard(run: object, event: Any) -> None:
            if event is not None and event.kind in ("take", "state") and (shelf := this()) is not None:
                shelf._changed()

        session.jobs.subscribe(heard)

    def open(self, id: str) -> Take:
        """One of this person's takes."""
        return self.takes.take(id, self.owner)

    def list(self) -> None:
        """Show the takes that are searched for, and what lies in the bin."""
        gallery, owner = self.gallery, self.owner
        gallery.show_cards(cards_of(self.takes, owner, gallery.query), self.takes.unsaved_of(owner))
        gone = self.takes.binned(owner)
        gallery.trashed = len(gone)
        gallery.binned = [{"id": id, "title": self.takes.binned_title(id, owner)} for id in gone[:MOST_UNDONE]]

    def mark(self, id: str, marks: dict[str, Any]) -> None:
        """Write down what was said of a take."""
        self.takes.mark(id, self.owner, **marks)
        self._changed()

    def bin(self, ids: Sequence[str]) -> None:
        """Put takes into the bin."""
        self.takes.bin(list(ids), self.owner)
        self._changed()

    def restore(self, ids: Sequence[str] | None = None) -> None:
        """Bring back all that this person binned, or these."""
        self.takes.restore(self.owner, ids)
        self._changed()

    def measure(self, id: str) -> None:
        """Measure a take, and write down what was heard."""
        assert self.session is not None  # asked for by those that have one
        scores, heard = heard_in(self.session, self.open(id))
        self.takes.mark(id, self.owner, scores=scores, heard=heard)
        self._changed()

    def _analyze(self, ids: Sequence[str]) -> None:
        def work() -> None:
            for id in ids:
                self.measure(id)

        start_thread(self.gallery, work)

    def _more_like(self, take: Take) -> None:
        assert self.session is not None
        title = f"More like {self.takes.title(take, self.owner)}"
        with Client(self.owner).acting(title):
            self.session.start(more_like(take))


def shelf_of(gallery: Gallery, source: SessionLike | Library) -> Shelf:
    """A gallery that stands alone, joined to a session or to a library."""
    if isinstance(source, Library):
        return Shelf(gallery, OwnedLibrary(source))
    from acestep_lab.ui.backend import backend_of

    return Shelf(gallery, backend_of(source).takes, session=source)


def more_like(take: Take) -> list[Recipe]:
    """The recipe of a take as it was asked for, with seeds of their own."""
    recipe = take.asked or take.recipe
    return [recipe.replace(seed=new_seed()) for _ in range(MORE)]


def heard_in(session: SessionLike, take: Take) -> tuple[dict[str, float], dict[str, str]]:
    """What can be measured in a take, as scores and as words; and how well it agrees with its words where there is a
    planner.
    """
    found = session.analyze(take)
    scores = {
        "tempo": found.bpm,
        "pulse": found.pulse,
        "key": found.key_confidence,
        "meter": found.meter_confidence,
        "loudness": max(found.loudness, -120.0),
    }
    scores |= {"agreement": session.plan_score(take).total} if session.has_planner else {}
    return scores, {"keyscale": found.keyscale, "timesignature": found.timesignature}
