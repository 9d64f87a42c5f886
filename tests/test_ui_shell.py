"""The frame of the page without a browser: the bar's parent, star and tabs, and what is laid out where."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.errors import LibraryError, SourceError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Repaint
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.page import LEFT, TAKES, layout
from acestep_lab.ui.player import PlayerWidget
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession, tone


@pytest.fixture
def session(tmp_path: Path) -> Any:
    made = PretendSession(tmp_path / "library", pause=0.0)
    yield made
    made.close()


def told(player: Any) -> list[dict[str, Any]]:
    """What a player sends from here on."""
    sent: list[dict[str, Any]] = []
    player.emit = lambda kind, *buffers, **body: sent.append({"kind": kind, "buffers": buffers, **body})
    return sent


def soon(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def family(session: Any) -> tuple[Take, Take]:
    """A take and what a repaint made of it."""
    parent = session.make(Recipe("the parent", seconds=3.0, seed=1))
    child = session.make(session.recipe_from(parent, Repaint(parent, (Region(1, 2),)), seed=2))
    return parent, child


def test_a_parent_is_offered_with_both_turned_to_one_loudness_and_never_louder(session: Any) -> None:
    parent, child = family(session)
    player = PlayerWidget(child, open=lambda id: {parent.id: parent}[id], bar=True)
    player.find_parent()
    assert player.parent == {"id": parent.id, "title": "the parent"}
    sent = told(player)
    player.do_pair(child.id)
    soon(lambda: sent)
    (pair,) = sent
    assert pair["parent"] == parent.id
    assert max(pair["gains"]) == 0
    levels = [one.audio.loudness() + gain for one, gain in zip((child, parent), pair["gains"], strict=True)]
    assert levels[0] == pytest.approx(levels[1], abs=0.02)
    assert len(pair["buffers"]) == 1


def test_without_a_parent_or_with_one_that_is_gone_the_bar_says_why(session: Any) -> None:
    parent, child = family(session)

    def gone(id: str) -> Take:
        raise LibraryError("There is no such take any more.")

    player = PlayerWidget(parent, open=gone, bar=True)
    player.find_parent()
    assert "made from words alone" in player.parent["why"]
    player.load(child)
    player.find_parent()
    assert player.parent == {"why": "There is no such take any more."}
    assert PlayerWidget(child).parent == {}, "alone in a notebook there is nobody to ask"


def test_a_parent_found_too_late_is_not_shown_beside_another_take(session: Any) -> None:
    parent, child = family(session)

    def slowly(id: str) -> Take:
        player.load(parent)
        return parent

    player = PlayerWidget(child, open=slowly, bar=True)
    player.find_parent()
    assert "why" in player.parent
    assert "id" not in player.parent


def test_only_takes_have_a_star_and_it_is_the_gallerys(session: Any) -> None:
    studio = Studio(Backend(session), panes=False)
    take = session.make(Recipe("starred", seconds=2.0, seed=3))
    studio.add(take)
    assert studio.player.starrable
    studio.player.do_star(True)
    assert studio.player.starred
    assert session.library.marks(take.id)["star"]
    assert next(card for card in studio.gallery.cards if card["id"] == take.id)["star"]
    studio.gallery.do_mark(take.id, star=False)
    assert not studio.player.starred
    studio.gallery.do_mark(take.id, star=True)
    studio.gallery.do_search("nothing is called this")
    studio.select(take)
    assert studio.player.starred, "a search hides the card, not the star"
    studio.player.do_star(False)
    assert not session.library.marks(take.id).get("star")
    studio.select(tone(1.0))
    assert not studio.player.starrable
    with pytest.raises(SourceError):
        studio.player.do_star(True)
    studio.close()


def test_a_take_of_this_page_arrives_at_its_tabs(session: Any) -> None:
    studio = Studio(Backend(session), panes=False)
    news: list[dict[str, object]] = []
    studio.tabs.emit = lambda kind, *buffers, **body: news.append({"kind": kind, **body})
    studio.start(Recipe("arrives", seconds=2.0, seed=4)).take()
    soon(lambda: news)
    assert news == [{"kind": "arrived", "title": "arrives"}]
    studio.close()


@pytest.mark.parametrize("whole", [True, False])
def test_every_component_of_a_studio_has_one_place_and_tabs_only_where_the_page_is_whole(
    session: Any, whole: bool
) -> None:
    studio = Studio(Backend(session), panes=True, page=whole)
    placed = layout(studio, whole).select(lambda one: one in studio.components.values())
    names = [name for one in placed for name, part in studio.components.items() if part is one]
    assert sorted(names) == sorted(name for name in studio.components if whole or name != "tabs")
    order = [names.index(name) for name in (*LEFT, *TAKES) if name in studio.components]
    assert order == sorted(order)
    studio.close()
