"""Somebody's takes in a gallery: listed from the library, and what is said of them written there.

Knows no browser. The studio's gallery and one that stands alone in a notebook are joined to the library by this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import SourceError
from acestep_lab.jobs.comparing import compared
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.listen.analysis import analyze
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui.cards import CHANCE, cards_of
from acestep_lab.ui.draft import new_seed

if TYPE_CHECKING:
    from acestep_lab.ui.gallery import Gallery

MORE = 4
"""Takes that "more like this" makes."""
MOST_UNDONE = 8
"""Takes in the bin that are named one by one."""


class ListedTakes:
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
        """Do what a gallery asks for that a library alone can do."""
        asked: dict[str, Callable[..., Any]] = {
            "mark": self.mark,
            "bin": self.bin,
            "restore": self.restore,
            "differ": self.differ,
        }
        for kind, work in {**asked, "search": lambda text: self.list()}.items():
            self.gallery.on(kind, work)
        self.gallery.can_differ = True

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

    def differ(self, takes: Sequence[Take]) -> None:
        """Find out what differs between two takes, and show it."""
        hears = analyze if self.session is None else self.session.analyze
        [found] = compared(hears, self.takes.library, takes)
        self.gallery.show_difference(found)

    def measure(self, id: str) -> None:
        """Measure a take, and write down what was heard."""
        assert self.session is not None  # asked for by those that have one
        scores, heard = heard_in(self.session, self.takes.to_remake(self.open(id), self.owner))
        self.takes.mark(id, self.owner, scores=scores, heard=heard)
        self._changed()


def more_like(take: Take) -> list[Recipe]:
    """The recipe of a take as it was asked for, with seeds of their own."""
    recipe = take.asked or take.recipe
    return [recipe.replace(seed=new_seed()) for _ in range(MORE)]


def heard_in(session: SessionLike, take: Take) -> tuple[dict[str, float], dict[str, str]]:
    """What is heard in a take against what was asked for, as numbers (each beside its chance) and as words; SourceError where
    nothing can be measured.
    """
    found = session.scores(take)
    measures = found.measures
    if "bpm" not in measures:
        raise SourceError(found["tempo"].why)
    scores = {
        "tempo": measures["bpm"],
        "pulse": measures["pulse"],
        "key": measures["key_confidence"],
        "meter": measures["meter_confidence"],
        "loudness": max(measures.get("loudness", -120.0), -120.0),
    }
    heard = {"keyscale": found["key"].heard, "timesignature": found["meter"].heard, "unsure": " ".join(found.unsure)}
    for row in found:
        if row.name in scores or row.value is None:
            continue
        scores |= {row.name: row.value} | ({} if row.chance is None else {row.name + CHANCE: row.chance})
        heard |= {row.name: row.said} if row.said else {}
    return scores, heard
