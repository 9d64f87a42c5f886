"""Gallery: all takes side by side, starred, compared by ear. The browser half is `widgets/gallery.js`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.prompt.literal import literal
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Ids, Line, list_of, optional, text

MEANING = {
    "tempo": "Beats in a minute, as measured.",
    "pulse": "How strong the beat is, 0 to 1.",
    "key": "How far the key found leads the next one, 0 to 0.5.",
    "loudness": "LUFS (BS.1770-4); −14 is loud for a stream.",
    "agreement": "How well codes and words fit by the planner's own measure; compare takes of one recipe only.",
    "blind": "Preferred in blind comparisons, out of how many.",
}
"""What each score means; a column without a line here shows its name only."""

_BINS = 200
MOST_COMPARED = 4
Compared = Annotated[Sequence[str], list_of(text(200), MOST_COMPARED)]
Note = Annotated[str | None, optional(text(2_000))]


@lru_cache(maxsize=256)
def loudness_of(audio: Audio) -> float:
    """Integrated loudness in LUFS, remembered."""
    return audio.loudness()


class Gallery(Component):
    """Cards of takes with real waveforms; star, reject, note; keep the starred and bin the rest; compare up to four.

    `open` gives the take of an id. Comparisons are loudness-matched (the louder are turned down, never up), switched
    instantly, and may be blind. Listeners: "mark" (id, marks), "bin" (ids), "restore", "analyze" (ids), "select",
    "reuse", "search", "vote" (winner, among, blind).
    """

    module = "gallery"
    news = Component.news | {"vote", "select"}
    fields: ClassVar[Mapping[str, object]] = {
        "cards": [],
        "columns": [],
        "grid": {},
        "selected": "",
        "trashed": 0,
        "query": "",
        "verdict": "",
        "code": "lab.library.takes()",
    }

    def setup(
        self, takes: Iterable[Take] = (), *, open: Callable[[str], Take] | None = None, url: tracks.UrlOf | None = None
    ) -> None:
        """Show some takes, or cards given later by `show_cards`."""
        self._url, self._takes = url, {take.id: take for take in _takes_of(takes)}
        self._cards: list[dict[str, Any]] = []
        self._open = open or self._takes.__getitem__
        self._wins: dict[str, tuple[int, int]] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        if self._takes:
            self.show_takes(list(self._takes.values()))

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def show_takes(self, takes: Sequence[Take]) -> None:
        """Show these takes."""
        self._takes.update({take.id: take for take in _takes_of(takes)})
        self.show_cards([card_of(take, self._marks.get(take.id, {})) for take in takes])

    def show_cards(self, cards: Sequence[Mapping[str, Any]], unsaved: Iterable[str] = ()) -> None:
        """Show these cards: id, title, recipe (plain data), and perhaps star, reject, note, parents, scores."""
        unsaved_ids = set(unsaved)
        shown_cards = [
            {
                **card,
                "unsaved": card["id"] in unsaved_ids,
                "scores": self._scores(card),
                "code": f"take = lab.library.open({literal(card['id'])})",
            }
            for card in cards
        ]
        shared = differing([card.get("recipe", {}) for card in shown_cards])
        for card in shown_cards:
            card["differs"] = {
                name: card.get("recipe", {}).get(name) for name in shared if name in card.get("recipe", {})
            }
            card.pop("recipe", None)
        names = sorted({name for card in shown_cards for name in card["scores"]})
        self.columns = [{"name": name, "meaning": MEANING.get(name, "")} for name in names]
        self._set_cards(shown_cards)

    def sweep(
        self, x: tuple[str, Sequence[object]], y: tuple[str, Sequence[object]] | None, cells: Sequence[Sequence[str]]
    ) -> None:
        """Show takes as a grid over one or two parameters: `cells[row][column]` are ids, "" where none is yet."""
        self.grid = {
            "x": {"name": x[0], "values": [f"{v:g}" if isinstance(v, float) else str(v) for v in x[1]]},
            "cells": [list(row) for row in cells],
            "y": {"name": y[0], "values": [f"{v:g}" if isinstance(v, float) else str(v) for v in y[1]]} if y else None,
        }

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_peaks(self, id: Id) -> None:
        """Send the waveform of a card."""
        take = self._take(id)
        seen = tracks.view(take, 0.0, take.seconds, _BINS)
        self.emit("peaks", seen.pairs.tobytes(), id=id)

    def do_bytes(self, id: Id) -> None:
        """Send a sound: as an address in an app, else as a WAV file."""
        audio = self._take(id).audio
        if self._url:
            self.emit("bytes", id=id, url=self._url(audio))
        else:
            self.emit("bytes", tracks.wav_of(audio), id=id, url=None)

    def do_compare(self, ids: Compared) -> None:
        """Say how much each of two to four takes is turned down so that all are equally loud."""
        levels = {id: loudness_of(self._take(id).audio) for id in ids}
        real = [level for level in levels.values() if math.isfinite(level)]
        goal = min(real) if real else 0.0
        gains = {id: round(goal - level, 2) if math.isfinite(level) else 0.0 for id, level in levels.items()}
        self.emit("compare", gains=gains, seconds={id: self._take(id).seconds for id in ids})

    def do_vote(self, winner: Id, among: Compared, blind: bool = False) -> None:
        """One was preferred; the verdict reveals which."""
        cards = {id: self._card(id) for id in among}
        if winner not in cards:
            raise RecipeError("The one that is preferred is one of those compared.")
        for id in cards:
            won, of = self._wins.get(id, (0, 0))
            self._wins[id] = (won + (id == winner), of + 1)
        title = ", ".join([cards[winner].get("title", winner), *cards[winner].get("facts", [])])
        self.verdict = f"Preferred{' without knowing which it was' if blind else ''}: {title}"
        self._set_cards([{**card, "scores": self._scores(card)} for card in self._cards])
        if "blind" not in {column["name"] for column in self.columns}:
            self.columns = [*self.columns, {"name": "blind", "meaning": MEANING["blind"]}]
        self.notify("vote", winner=winner, among=list(among), blind=blind)

    def do_mark(self, id: Id, star: bool | None = None, reject: bool | None = None, note: Note = None) -> None:
        """Star or reject a take, or write a note on it."""
        self._card(id)
        marks: dict[str, object] = {"star": star, "reject": reject, "note": note}
        marks = {name: value for name, value in marks.items() if value is not None}
        if marks.get("star"):
            marks["reject"] = False
        if marks.get("reject"):
            marks["star"] = False
        self._marks[id] = {**self._marks.get(id, {}), **marks}
        self._set_cards([{**card, **marks} if card["id"] == id else card for card in self._cards])
        self.notify("mark", id=id, marks=marks)

    def do_bin(self) -> None:
        """Keep what is starred, put the rest in the bin, from where it can be brought back for a day."""
        kept = [card for card in self._cards if card.get("star")]
        if not kept:
            raise RecipeError(
                "Nothing is starred, so everything would be binned. Star what you would like to keep first."
            )
        self.notify("bin", ids=[card["id"] for card in self._cards if not card.get("star")])

    def do_analyze(self, ids: Ids) -> None:
        """Measure tempo, key and loudness of these takes and add them as columns."""
        self.notify("analyze", ids=[self._card(id)["id"] for id in ids])

    def do_restore(self) -> None:
        """Bring back what was binned last."""
        self.notify("restore")

    def do_search(self, text: Line = "") -> None:
        """Show only takes whose words, tempo, key or note match."""
        self.query = text[:200]
        self.notify("search", text=self.query)

    def do_select(self, id: Id) -> None:
        """Select a take: play it, mark it, start tasks from it."""
        self.notify("select", take=self._take(id))

    def do_reuse(self, id: Id) -> None:
        """Load a take's recipe into the editor."""
        self.notify("reuse", take=self._take(id))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _take(self, id: str) -> Take:
        try:
            return self._open(id)
        except KeyError:
            raise LabError(f"There is no take {shown(id)} here any more.") from None

    def _card(self, id: str) -> dict[str, Any]:
        """The card of an id; LabError where none is shown."""
        for card in self._cards:
            if card["id"] == id:
                return card
        raise LabError(f"There is no take {shown(id)} here any more.")

    def _set_cards(self, cards: list[dict[str, Any]]) -> None:
        """Show these cards; the page has a copy of what is kept here."""
        self._cards, self.cards = cards, cards

    def _scores(self, card: Mapping[str, Any]) -> dict[str, Any]:
        scores = {
            str(k): round(float(v), 2)
            for k, v in (card.get("scores") or {}).items()
            if isinstance(v, int | float) and math.isfinite(v)
        }
        won, of = self._wins.get(card["id"], (0, 0))
        return {**scores, **({"blind": f"{won} of {of}"} if of else {})}


def _takes_of(takes: Iterable[object]) -> list[Take]:
    """Takes as a list; LabError where something else is among them."""
    found: list[Any] = list(takes) if isinstance(takes, Iterable) and not isinstance(takes, str) else [takes]
    for one in found:
        if not isinstance(one, Take):
            raise RecipeError(f"A gallery shows takes, not {shown(one)}.")
    return found


def card_of(take: Take, marks: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A card of a take at hand."""
    marks = marks or {}
    return {
        "id": take.id,
        "title": tracks.title_of(take),
        "facts": tracks.facts_of(take),
        "seconds": take.seconds,
        "created": take.created,
        "task": type(take.recipe.task).__name__,
        "parents": list(take.parents),
        "star": bool(marks.get("star")),
        "reject": bool(marks.get("reject")),
        "note": str(marks.get("note", "")),
        "scores": dict(marks.get("scores", {})),
        "recipe": take.recipe.to_json(),
    }


_NOT_COMPARED = ("caption", "lyrics", "task", "planning", "language")


def differing(recipes: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of the plain parameters that are not the same in all recipes."""
    names = sorted({name for recipe in recipes for name in recipe if name not in _NOT_COMPARED})
    return [name for name in names if len({repr(recipe.get(name)) for recipe in recipes}) > 1]


GalleryWidget, GalleryPane = widget_and_pane(Gallery)
