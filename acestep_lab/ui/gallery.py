"""Gallery: all takes side by side, named, starred, tagged, ordered, compared by ear. The browser half is `widgets/gallery.js`."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.listen.comparison import TakeComparison
from acestep_lab.prompt.literal import literal
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import MOST_TITLE
from acestep_lab.ui import tracks
from acestep_lab.ui.cards import CHANCE, MEASURED, ORDERS, batch_of, batches, card_of, kin_of, ordered
from acestep_lab.ui.comparison_view import told_of
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Ids, Line, list_of, optional, text
from acestep_lab.ui.thumbnails import Thumbnails

MEANING = {
    "coverage": "The lyrics' lines that stand out where they should be sung.",
    "order": "How often the earlier of two lines comes first; one half is chance.",
    "sureness": "How much the lines stand out, against the same words shuffled.",
    "instruments": "Those the words name, heard.",
    "sections": "How far the sound turns where the lyrics do.",
    "language": "How near the planner's reading is to the language asked for.",
    "agreement": "How well codes and words fit by the planner's own measure; compare takes of one recipe only.",
    "dit_score": "The lyric score of the model's own authors, near the sound; compare takes of one lyric only.",
    "lm_score": "The same on noise: what is planned before any sound.",
    "blind": "Preferred in blind comparisons, out of how many.",
}
"""What each score means; a column without a line here shows its name only."""

PAGE = 24
"""Cards shown at first, and how many more at a time."""
MOST_COMPARED = 4
MOST_TAGS = 24
Compared = Annotated[Sequence[str], list_of(text(200), MOST_COMPARED)]
Note = Annotated[str | None, optional(text(2_000))]
Title = Annotated[str | None, optional(text(MOST_TITLE))]
Tags = Annotated[Sequence[str] | None, optional(list_of(text(40), MOST_TAGS))]
SomeIds = Annotated[Sequence[str] | None, optional(list_of(text(200), 200))]
Narrow = Annotated[str | None, optional(text(200))]


@lru_cache(maxsize=256)
def loudness_of(audio: Audio) -> float:
    """Integrated loudness in LUFS, remembered."""
    return audio.loudness()


class Gallery(Component):
    """Cards of takes with real waveforms: star, name, tag, note, bin; ordered by any column; compared by ear, up to four.

    ::

        GalleryWidget(session=lab)      # reads and writes stars, names, tags and scores of the session's library
        GalleryWidget(lab.library)      # the same without a session: nothing new can be made from here
        GalleryWidget([one, two])       # takes at hand; marks last as long as the widget

    `open` gives the take of an id. Comparisons are loudness-matched (the louder are turned down, never up), switched
    instantly, and may be blind. Listeners: "mark" (id, marks), "bin" (ids), "restore" (ids), "analyze" (ids), "select",
    "reuse", "search", "more_like" (take), "complete_sweep", "vote" (winner, among, blind), "differ" (ids), which shows what differs between two.
    """

    module = "gallery"
    includes = ("comparison", "difference_table")
    news = Component.news | {"vote", "select"}
    fields: ClassVar[Mapping[str, object]] = {
        "cards": [],
        "columns": [],
        "grid": {},
        "selected": "",
        "trashed": 0,
        "binned": [],
        "query": "",
        "verdict": "",
        "code": "lab.library.takes()",
        "total": 0,
        "starred": 0,
        "unmeasured": 0,
        "order": {"by": "when", "down": True},
        "only": {"star": False, "tag": "", "batch": ""},
        "batch": {},
        "known_tags": [],
        "compared": [],
        "can_make": False,
        "can_differ": False,
    }
    only: dict[str, Any]
    order: dict[str, Any]

    def setup(
        self,
        takes: Iterable[Take] | Library = (),
        *,
        open: Callable[[str], Take] | None = None,
        url: tracks.UrlOf | None = None,
        waveforms: Path | None = None,
    ) -> None:
        """Show some takes, those of a library, or cards given later by `show_cards`.

        `waveforms` is the folder that keeps the small pictures of their sounds, the library's own where there is one.
        """
        library = takes if isinstance(takes, Library) else None
        at_hand = () if isinstance(takes, Library) else takes
        self._url, self._takes = url, {take.id: take for take in _takes_of(at_hand)}
        self._cards: list[dict[str, Any]] = []
        self._shown = PAGE
        self._known: set[str] = set()
        self._open = open or self._takes.__getitem__
        self._wins: dict[str, tuple[int, int]] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        self._thumbnails = Thumbnails(waveforms)
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._drawing = threading.Lock()
        if library is not None:
            self._join(library)
        elif self._takes:
            self.show_takes(list(self._takes.values()))

    def _join(self, library: Library) -> None:
        """Show the takes of a library, and write there what is said of them."""
        from acestep_lab.ui.listed_takes import ListedTakes

        self._thumbnails = Thumbnails(library.folder)
        self._listing = ListedTakes(self, OwnedLibrary(library))
        self._open = self._listing.open
        self._listing.connect()
        self._listing.list()

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def show_takes(self, takes: Sequence[Take]) -> None:
        """Show these takes."""
        self._takes.update({take.id: take for take in _takes_of(takes)})
        self.show_cards([card_of(take, self._marks.get(take.id, {})) for take in takes])

    def show_cards(self, cards: Sequence[Mapping[str, Any]], unsaved: Iterable[str] = ()) -> None:
        """Show these cards: id, title, recipe (plain data), and perhaps star, tags, note, parents, scores."""
        unsaved_ids = set(unsaved)
        self._known |= {card["id"] for card in cards}
        self._set_cards([{**card, "unsaved": card["id"] in unsaved_ids} for card in cards])

    def sweep(
        self,
        x: tuple[str, Sequence[object]],
        y: tuple[str, Sequence[object]] | None,
        cells: Sequence[Sequence[str]],
        making: bool = False,
    ) -> None:
        """Show takes as a grid over one or two parameters: `cells[row][column]` are ids, "" where none is yet."""
        self._known |= {id for row in cells for id in row if id}
        self._cells = [list(row) for row in cells]
        self.grid = {
            "x": {"name": x[0], "values": [_value(v) for v in x[1]]},
            "cells": self._cells,
            "y": {"name": y[0], "values": [_value(v) for v in y[1]]} if y else None,
            "made": self._in_cells(),
            "missing": sum(not id for row in cells for id in row),
            "making": making,
        }

    _cells: Sequence[Sequence[str]] = ()

    def compare(self, takes: Sequence[Take | str], blind: bool = False) -> None:
        """Put two to four takes under one another, to be heard one against the other; LabError where one is not here."""
        ids = [one.id if isinstance(one, Take) else one for one in takes]
        if not 2 <= len(ids) <= MOST_COMPARED:
            raise RecipeError(f"From two to {MOST_COMPARED} takes are compared at once, not {len(ids)}.")
        self._takes.update({one.id: one for one in takes if isinstance(one, Take)})
        self._known |= set(ids)
        self.compared = [{**self._lane(id), "blind": blind} for id in ids]

    def renamed(self, id: str) -> str:
        """What the card of a take says on top; LabError where none is shown."""
        return str(self._card(id).get("title", ""))

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_peaks(self, id: Id) -> None:
        """Send the waveform of a card: at once where it is at hand, else as soon as its sound has been read."""
        if id in self._takes or (id in self._known and self._thumbnails.has(id)):
            self._send_peaks(id)
        elif id in self._known:
            self._wanted.put(id)
            threading.Thread(target=self._paint, name="acestep_lab waveforms", daemon=True).start()
        else:
            self._take(id)

    def _paint(self) -> None:
        """Read sounds and send their waveforms, one after another, until none is asked for; one thread at a time."""
        with self._drawing:
            while not self._wanted.empty():
                id = self._wanted.get()
                try:
                    self._send_peaks(id)
                except (LabError, OSError):  # whoever plays it is told why it cannot be read
                    self.emit("peaks", id=id)

    def _send_peaks(self, id: str) -> None:
        self.emit("peaks", self._thumbnails.get(id, lambda: self._take(id)), id=id)

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

    def do_differ(self, ids: Compared) -> None:
        """Somebody wants to know what differs between two of the takes that are compared."""
        if len(set(ids)) != 2:
            raise RecipeError("Two takes are held against one another; choose two.")
        self.notify("differ", takes=[self._take(id) for id in ids])

    def show_difference(self, found: TakeComparison) -> None:
        """Show what differs between two takes under those that are compared."""
        self.emit("differ", ids=[found.one.id, found.other.id], **told_of(found))

    def do_vote(self, winner: Id, among: Compared, blind: bool = False) -> None:
        """One was preferred; the verdict reveals which."""
        lanes = {id: self._lane(id) for id in among}
        if winner not in lanes:
            raise RecipeError("The one that is preferred is one of those compared.")
        for id in lanes:
            won, of = self._wins.get(id, (0, 0))
            self._wins[id] = (won + (id == winner), of + 1)
        title = ", ".join([lanes[winner]["title"], *lanes[winner]["facts"]])
        self.verdict = f"Preferred{' without knowing which it was' if blind else ''}: {title}"
        self._publish()
        self.notify("vote", winner=winner, among=list(among), blind=blind)

    def do_mark(
        self,
        id: Id,
        star: bool | None = None,
        reject: bool | None = None,
        note: Note = None,
        title: Title = None,
        tags: Tags = None,
    ) -> None:
        """Star a take, name it, tag it, write a note on it, or take back that it was rejected; "" for a title names it by
        what it was made from again.
        """
        self._card(id)
        asked: dict[str, object] = {"star": star, "reject": reject, "note": note, "title": title}
        marks = {name: value for name, value in asked.items() if value is not None}
        if title is not None:
            marks["title"] = " ".join(title.split())
        if tags is not None:
            marks["tags"] = sorted({" ".join(tag.split()) for tag in tags} - {""})
        marks |= {"reject": False} if star else {"star": False} if reject else {}
        self._marks[id] = {**self._marks.get(id, {}), **marks}
        shown_marks = {name: value for name, value in marks.items() if name != "title" or value}
        self._set_cards([{**card, **shown_marks} if card["id"] == id else card for card in self._cards])
        self.notify("mark", id=id, marks=marks)

    def do_bin(self, ids: SomeIds = None) -> None:
        """Put takes into the bin, from where they come back for a day: these, or all that are listed and have no star."""
        if ids is not None:
            self.notify("bin", ids=[self._card(id)["id"] for id in ids])
            return
        listed = self._listed()
        if not any(card.get("star") for card in listed):
            raise RecipeError(
                "Nothing is starred, so everything would be binned. Star what you would like to keep first."
            )
        self.notify("bin", ids=[card["id"] for card in listed if not card.get("star")])

    def do_analyze(self, ids: Ids = ()) -> None:
        """Measure tempo, key and loudness of these takes, or of all listed that nobody measured yet."""
        found = [self._card(id)["id"] for id in ids] or [c["id"] for c in self._listed() if not _is_measured(c)]
        self.notify("analyze", ids=found)

    def do_restore(self, ids: SomeIds = None) -> None:
        """Bring back what was binned: these, or all of it."""
        self.notify("restore", ids=None if ids is None else list(ids))

    def do_search(self, text: Line = "") -> None:
        """Show only takes whose words, title, tags, tempo, key or note match."""
        self.query, self._shown = text[:200], PAGE
        self.notify("search", text=self.query)

    def do_sort(self, by: Line, down: bool = False) -> None:
        """Put the takes in order of a column, upwards or down."""
        if by not in ORDERS and by not in {column["name"] for column in self.columns}:
            raise RecipeError(f"Takes are in order of {', '.join(ORDERS)} or a score, not of {shown(by)}.")
        self.order = {"by": by, "down": down}
        self._publish()

    def do_narrow(self, star: bool | None = None, tag: Narrow = None, batch: Narrow = None) -> None:
        """Show only what is starred, bears a tag, or was made in one run; "" shows all again."""
        asked = {"star": star, "tag": tag, "batch": batch}
        self.only = {**self.only, **{name: value for name, value in asked.items() if value is not None}}
        self._shown = PAGE
        self._publish()

    def do_batch(self, step: int = 0) -> None:
        """Show what the run before (1) or after (-1) made; 0 shows all takes again."""
        runs = batches(self._cards)
        now = str(self.only["batch"])
        at = runs.index(now) + step if now in runs else 0
        self.do_narrow(batch=runs[max(0, min(at, len(runs) - 1))] if step and runs else "")

    def do_more(self) -> None:
        """Show some more cards."""
        self._shown += PAGE
        self._publish()

    def do_select(self, id: Id) -> None:
        """Select a take: play it, mark it, start tasks from it."""
        self.notify("select", take=self._take(id))

    def do_reuse(self, id: Id) -> None:
        """Load a take's recipe into the editor."""
        self.notify("reuse", take=self._take(id))

    def do_more_like(self, id: Id) -> None:
        """Make four more by the same recipe, each with a seed of its own."""
        self._ask_a_session("more_like", take=self._take(id))

    def do_complete_sweep(self) -> None:
        """Make what is missing in the grid."""
        self._ask_a_session("complete_sweep")

    def _ask_a_session(self, kind: str, **about: object) -> None:
        if not self._listeners.get(kind):
            raise LabError("This gallery has nobody to make music: give it a session, GalleryWidget(session=lab).")
        self.notify(kind, **about)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _take(self, id: str) -> Take:
        try:
            return self._takes[id] if id in self._takes else self._open(id)
        except KeyError:
            raise LabError(f"There is no take {shown(id)} here any more.") from None

    def _card(self, id: str) -> dict[str, Any]:
        """The card of an id; LabError where none is shown."""
        for card in self._cards:
            if card["id"] == id:
                return card
        raise LabError(f"There is no take {shown(id)} here any more.")

    def _lane(self, id: str) -> dict[str, Any]:
        """What a comparison says of a take, whether its card is among those listed now or not."""
        found = next((card for card in self._cards if card["id"] == id), None)
        card = found or card_of(self._take(id), self._marks.get(id, {}))
        return {name: card.get(name) or empty for name, empty in _LANE.items()}

    def _set_cards(self, cards: list[dict[str, Any]]) -> None:
        """These are all the cards there are; some of them are shown."""
        self._cards = cards
        self._publish()

    def _listed(self) -> list[dict[str, Any]]:
        """The cards that are asked for, in the order that is asked for."""
        only = self.only
        found = [
            card
            for card in self._cards
            if (not only["star"] or card.get("star"))
            and (not only["tag"] or only["tag"] in card.get("tags", ()))
            and (not only["batch"] or batch_of(card) == only["batch"])
        ]
        return ordered(found, self.order["by"], self.order["down"])

    def _publish(self) -> None:
        """Show the first of the cards that are asked for, and how many there are."""
        listed = self._listed()
        page = [self._as_shown(card) for card in listed[: self._shown]]
        shared = differing([card.pop("recipe") or {} for card in page])
        recipes = {card["id"]: card.get("recipe") or {} for card in listed[: self._shown]}
        for card in page:
            own = recipes[card["id"]]
            card["differs"] = {name: own.get(name) for name in shared if name in own}
        scored = {name for card in listed for name in card.get("scores") or {} if not name.endswith(CHANCE)} - set(
            MEASURED
        )
        scored |= {"blind"} if any(card["id"] in self._wins for card in listed) else set()
        names = [*(name for name in MEANING if name in scored), *sorted(scored - set(MEANING))]
        self.columns = [{"name": name, "meaning": MEANING.get(name, "")} for name in names]
        self.known_tags = sorted({tag for card in self._cards for tag in card.get("tags", ())}, key=str.casefold)
        self.batch = self._batch()
        self.total, self.starred = len(listed), sum(bool(card.get("star")) for card in listed)
        self.unmeasured = sum(not _is_measured(card) for card in listed)
        self.cards = page
        if self._cells:
            self.grid = {**self.grid, "made": self._in_cells()}

    def _batch(self) -> dict[str, Any]:
        """Which run is shown, of how many; "at" is 0 where all are."""
        runs = batches(self._cards)
        now = str(self.only["batch"])
        return {"at": runs.index(now) + 1 if now in runs else 0, "of": len(runs)}

    def _in_cells(self) -> list[dict[str, Any]]:
        """What the cells of the grid say of their takes, whether those are listed now or not."""
        wanted = {id for row in self._cells for id in row if id}
        return [{**_LANE, **{name: card.get(name) for name in _CELL}} for card in self._cards if card["id"] in wanted]

    def _as_shown(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """A card as the page wants it, but for what tells it from the others."""
        code = f"take = lab.library.open({literal(card['id'])})"
        return {"recipe": None, **card, "kin": kin_of(card), "scores": self._scores(card), "code": code}

    def _scores(self, card: Mapping[str, Any]) -> dict[str, Any]:
        scores = {
            str(k): round(float(v), 2)
            for k, v in (card.get("scores") or {}).items()
            if isinstance(v, int | float) and math.isfinite(v)
        }
        won, of = self._wins.get(card["id"], (0, 0))
        return {**scores, **({"blind": f"{won} of {of}"} if of else {})}


_LANE: Mapping[str, Any] = {"id": "", "title": "", "facts": [], "seconds": 0.0, "star": False}
_CELL = tuple(_LANE)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_measured(card: Mapping[str, Any]) -> bool:
    return "tempo" in (card.get("scores") or {})


def _takes_of(takes: Iterable[object]) -> list[Take]:
    """Takes as a list; LabError where something else is among them."""
    found: list[Any] = list(takes) if isinstance(takes, Iterable) and not isinstance(takes, str) else [takes]
    for one in found:
        if not isinstance(one, Take):
            raise RecipeError(f"A gallery shows takes, a library or a session, not {shown(one)}.")
    return found


_NOT_COMPARED = ("caption", "lyrics", "task", "planning", "language")


def differing(recipes: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of the plain parameters that are not the same in all recipes."""
    names = sorted({name for recipe in recipes for name in recipe if name not in _NOT_COMPARED})
    return [name for name in names if len({repr(recipe.get(name)) for recipe in recipes}) > 1]


GalleryWidget, GalleryPane = widget_and_pane(Gallery)
