"""Takes as cards: plain data that a gallery shows, orders and narrows. Knows no browser, and reads no sound.

What was measured goes out as numbers and as how sure they are; the words ("F# minor, unsure") are the page's, in its
reader's language.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.listen.scores import SURE_KEY, SURE_METER, SURE_PULSE, key_said, tempo_said
from acestep_lab.takes.ids import is_sound_id
from acestep_lab.takes.index import MOST_REMEMBERED, Card
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import cut, taken_apart
from acestep_lab.ui import tracks

MEASURED = ("tempo", "pulse", "key", "loudness", "meter")
"""Scores that the page puts into words; any other has a column of its own."""
CHANCE = " chance"
"""What the name of a score ends with that says what chance gets of another."""
METERS = {"2": "2/4", "3": "3/4", "4": "4/4", "6": "6/8"}


def card_of(take: Take, marks: Mapping[str, Any] | None = None, title: str = "") -> dict[str, Any]:
    """A card of a take at hand."""
    marks, recipe, plan = marks or {}, take.recipe.to_json(), take.plan
    card = Card(
        take.id, take.created, take.recipe.caption, take.seconds, take.recipe.seed, type(take.recipe.task).__name__,
        take.recipe.bpm or getattr(plan, "bpm", None), take.recipe.keyscale or getattr(plan, "keyscale", None), take.parents,
        bool(marks.get("star")), bool(marks.get("reject")), str(marks.get("note", "")), tuple(marks.get("tags", ())), recipe,
        dict(marks.get("scores", {})), str(marks.get("title", "")), str(marks.get("batch", "")), dict(marks.get("heard", {})),
    )  # fmt: skip
    return plain_card(card, card.title or title or tracks.title_of(take))


def plain_card(card: Card, title: str = "", mine: bool = True) -> dict[str, Any]:
    """A library's card as plain data; what its owner said of it is for the owner."""
    scores = dict(card.scores) if mine else {}
    title = title or cut(card.caption) or card.id
    return {
        "id": card.id, "title": title, "made_of": [] if card.title else taken_apart(title, card.recipe.get("task") or {}), "words": cut(card.caption, 240), "facts": facts(card),
        "seconds": float(card.seconds), "created": card.created, "task": card.task, "seed": card.seed,
        "parents": list(card.parents), "star": mine and card.star, "reject": mine and card.reject,
        "note": card.note if mine else "", "tags": list(card.tags) if mine else [], "batch": card.batch,
        "scores": scores, "said": said_of(card) if mine else {}, "measured": measured(card, scores), "recipe": card.recipe,
    }  # fmt: skip


def facts(card: Card) -> list[str]:
    """The few facts under a title: task, seed, tempo, key; only those that are known."""
    found = (
        "" if card.task == "Text2Music" else card.task.lower(),
        f"seed {card.seed}" if card.seed is not None else "",
        f"{card.bpm} bpm" if card.bpm else "",
        card.keyscale or "",
    )
    return [text for text in found if text]


def measured(card: Card, scores: Mapping[str, float]) -> dict[str, Any]:
    """Tempo, key, meter and loudness: what was heard, what was asked for, and whether to trust the ear."""
    heard = card.heard if scores else {}
    sign, sure = card.recipe.get("timesignature"), partial(_is_sure, scores, heard)
    return {
        "tempo": _tempo(scores.get("tempo"), card.bpm, sure("tempo")),
        "key": _key(heard.get("keyscale"), card.keyscale, sure("key")),
        "meter": _pair(METERS.get(heard.get("timesignature", "")), METERS.get(str(sign)), sure("meter")),
        "loudness": _finite(scores.get("loudness")),
    }


def _is_sure(scores: Mapping[str, float], heard: Mapping[str, str], name: str) -> bool:
    """Whether to trust what was heard; marks of an earlier version only say how strong it was."""
    if "unsure" in heard:
        return name not in heard["unsure"].split()
    strength, least = {"tempo": ("pulse", SURE_PULSE), "key": ("key", SURE_KEY), "meter": ("meter", SURE_METER)}[name]
    return scores.get(strength, 1.0) >= least


def _tempo(heard: float | None, asked: int | None, sure: bool) -> dict[str, Any]:
    """Half and double of a tempo are as asked too: one hears them as well."""
    said = tempo_said(asked, heard) if heard and asked else ""
    return {**_pair(_finite(heard), asked, sure), "same": said.endswith("asked"), "said": said}


def _key(heard: str | None, asked: str | None, sure: bool) -> dict[str, Any]:
    said = key_said(asked, heard) if heard and asked else ""
    return {**_pair(heard, asked, sure), "same": said == "as asked", "said": said}


def _pair(heard: object, asked: object, sure: bool) -> dict[str, Any]:
    return {"heard": heard, "asked": asked or None, "sure": sure, "same": bool(asked) and heard == asked}


def kin_of(card: Mapping[str, Any]) -> str:
    """What takes of the same words and task have in common: scores compare those."""
    recipe = card.get("recipe") or {}
    said = repr([recipe.get(name) for name in ("caption", "lyrics", "task")])
    return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


def said_of(card: Card) -> dict[str, str]:
    """What was heard of what was asked for, in words, by the name of its score."""
    return {name: words for name, words in card.heard.items() if name not in ("keyscale", "timesignature", "unsure")}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# -- all of somebody's ------------------------------------------------------------------------------------------------


def cards_of(takes: OwnedLibrary, owner: str = "", query: str = "", most: int | None = None) -> list[dict[str, Any]]:
    """Cards of somebody's takes, newest first: those in memory only, then the library's."""
    names, words = takes.titles(owner), query.casefold().split()
    unsaved = [card_of(take, title=names.get(take.id, "")) for take in takes.unsaved_takes(owner)]

    def called_by(card: Card) -> tuple[str, str]:
        """What a card is called, and what it was made from."""
        first = next(iter(card.parents), "")
        return names.get(card.id, ""), names.get(first, "") or (
            takes.recording_title(first, owner) if is_sound_id(first) else ""
        )

    kept = takes.cards(owner, most=2**31 - 1)
    if words:
        found = {card.id for card in takes.cards(owner, query, 2**31 - 1)}
        unsaved = [card for card in unsaved if called(card["title"], words)]
        kept = [card for card in kept if card.id in found or called(names.get(card.id, ""), words)]
    shown = kept if most is None else kept[:most]
    return unsaved + [_remembered(card, *called_by(card), takes.owner_of(card.id) == owner) for card in shown]


_plain: OrderedDict[tuple[str, str, str, bool], tuple[Card, dict[str, Any]]] = OrderedDict()


def _remembered(card: Card, title: str, parent_title: str, mine: bool) -> dict[str, Any]:
    """A card as plain data, made once for each state of the take: a search goes over all of them. Not to be changed."""
    key = (card.id, title, parent_title, mine)
    kept = _plain.get(key)
    if kept is None or kept[0] is not card:
        kept = _plain[key] = (card, {**plain_card(card, title, mine), "parent_title": parent_title})
        if len(_plain) > MOST_REMEMBERED:
            with contextlib.suppress(KeyError):  # another thread was quicker
                _plain.popitem(last=False)
    return kept[1]


def called(title: str, words: Sequence[str]) -> bool:
    """Whether every word searched for begins a word of a title, which the index of what was written does not know."""
    own = title.casefold().split()
    return all(any(one.startswith(word) for one in own) for word in words)


# -- order ------------------------------------------------------------------------------------------------------------


def _known(pair: Mapping[str, Any]) -> object:
    return pair["heard"] or pair["asked"]


ORDERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "when": lambda card: card.get("created") or None,
    "title": lambda card: str(card.get("title", "")).casefold(),
    "tempo": lambda card: _known(card["measured"]["tempo"]),
    "key": lambda card: _known(card["measured"]["key"]),
    "meter": lambda card: _known(card["measured"]["meter"]),
    "loudness": lambda card: card["measured"]["loudness"],
    "length": lambda card: card.get("seconds"),
    "seed": lambda card: card.get("seed"),
    "task": lambda card: card.get("task"),
    "star": lambda card: bool(card.get("star")),
}
"""What cards can be put in order by, besides their scores; a row for each column."""


def ordered(cards: Sequence[dict[str, Any]], by: str, down: bool) -> list[dict[str, Any]]:
    """Cards in order of a column; those that have nothing there come last, whichever way."""
    read = ORDERS.get(by, lambda card: _score(card, by))

    def value(card: Mapping[str, Any]) -> Any:
        try:
            return read(card)
        except KeyError:  # a card that Python handed in with little on it
            return None

    with_it = [card for card in cards if value(card) is not None]
    without = [card for card in cards if value(card) is None]
    return sorted(with_it, key=value, reverse=down) + without


def _score(card: Mapping[str, Any], name: str) -> float | None:
    found = (card.get("scores") or {}).get(name)
    return float(found) if isinstance(found, int | float) else None


def batch_of(card: Mapping[str, Any]) -> str:
    """The run a card's take was made by; a take of which nobody knows stands alone."""
    return str(card.get("batch") or card["id"])


def batches(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """The runs of these cards, the newest first."""
    newest: dict[str, str] = {}
    for card in cards:
        key = batch_of(card)
        newest[key] = max(newest.get(key, ""), str(card.get("created", "")))
    return sorted(newest, key=lambda key: newest[key], reverse=True)
