"""The frame of the page: the bar that plays, tabs on a narrow page, nothing beyond the window, A/B with the parent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acestep_lab.prompt.recipe import Recipe
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import compose, open_page, show_tab, state_of, until

pytestmark = pytest.mark.browser

INSIDE = """node => {
  let box = node.getBoundingClientRect(), shown = { top: box.top, bottom: box.bottom };
  for (let up = node; up; up = up.parentNode ?? up.host) {
    if (!(up instanceof Element)) continue;
    const style = getComputedStyle(up), edge = up.getBoundingClientRect();
    if (style.display === "contents") continue;
    if (up !== node && style.overflowY !== "visible") {
      shown.top = Math.max(shown.top, edge.top); shown.bottom = Math.min(shown.bottom, edge.bottom);
    }
  }
  shown.bottom = Math.min(shown.bottom, innerHeight);
  return (shown.bottom - Math.max(0, shown.top)) / box.height;
}"""
"""How much of an element's height can be seen, 0 to 1, within all that scrolls around it."""
TALLEST = """() => {
  let tallest = document.documentElement.scrollHeight;
  const walk = root => { for (const node of root.querySelectorAll("*")) {
    if (node.shadowRoot) {
      if (node.className.includes("bk-Row") && node.clientHeight) tallest = Math.max(tallest, node.scrollHeight);
      walk(node.shadowRoot);
    }
  } };
  walk(document);
  return tallest;
}"""
"""Pixels of the tallest part of the page that one may have to scroll through; what scrolls in itself counts as its box."""


def seen(page: Any, selector: str) -> float:
    return float(page.locator(selector).first.evaluate(INSIDE))


def repaint(page: Any) -> None:
    """Mark a region of the take in hand, repaint it, and wait for the new take."""
    first = state_of(page, ".acl-waveform", "drawn")
    page.locator(".acl-waveform .stage").focus()
    page.keyboard.press("a")
    until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 1)
    page.locator(".acl-waveform button.go").click()
    until(page, ".acl-waveform", "drawn", lambda s: s != first)


def all_in_sight(page: Any) -> None:
    """Make it, play, the waveform, Repaint and the newest take are inside the window, with nothing scrolled."""
    page.locator(".acl-watch.folded").wait_for(state="attached")
    for part in (
        ".acl-compose button.go",
        ".acl-player button.play",
        ".acl-waveform .stage",
        ".acl-waveform button.go",
    ):
        assert seen(page, part) == 1, part
    assert seen(page, ".acl-gallery .card") == 1


def test_compose_hear_pick_repaint_hear_without_scrolling(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "no scrolling")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    all_in_sight(page)
    repaint(page)
    until(page, ".acl-gallery", "cards", "2")
    page.get_by_text("the same, bit for bit").wait_for()
    assert page.evaluate("document.documentElement.scrollHeight") <= 900
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    all_in_sight(page)
    assert seen(page, "text=the same, bit for bit") == 1


def test_the_form_keeps_its_buttons_in_sight_wherever_its_column_is(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    button = page.get_by_role("button", name="Make it", exact=True)
    page.get_by_label("Sound files").evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(100)
    assert float(button.evaluate(INSIDE)) == 1
    page.locator(".acl-compose textarea").first.scroll_into_view_if_needed()
    assert float(button.evaluate(INSIDE)) == 1


def test_space_plays_anywhere_but_where_one_types_or_presses(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "space", seconds="8")
    until(page, ".acl-player", "track", lambda s: s.startswith("take-"))
    page.locator(".acl-compose textarea").press(" ")
    assert state_of(page, ".acl-player", "playing") in (None, "false")
    page.evaluate("() => { let n = document.activeElement; while (n) { n.blur(); n = n.shadowRoot?.activeElement; } }")
    page.keyboard.press(" ")
    until(page, ".acl-player", "playing", "true")
    page.locator(".acl-gallery").click(position={"x": 4, "y": 4})
    page.keyboard.press(" ")
    until(page, ".acl-player", "playing", "false")
    page.get_by_label("Loop", exact=True).press(" ")
    until(page, ".acl-player", "loop", "whole")
    assert state_of(page, ".acl-player", "playing") == "false"


def test_a_take_and_its_parent_are_switched_in_step_and_the_bar_says_which(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "the parent", seconds="12")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    pair = page.locator(".acl-player button.ab")
    assert pair.get_attribute("aria-disabled") == "true"
    pair.press("Enter")
    page.locator(".acl-player", has_text="made from words alone").wait_for()
    parent = state_of(page, ".acl-player", "track")
    repaint(page)
    wait_for(lambda: pair.get_attribute("aria-disabled") == "false", what="the parent")
    page.locator(".acl-player button.play").click()
    until(page, ".acl-player", "pair", str(parent))
    page.wait_for_timeout(1500)
    pair.click()
    until(page, ".acl-player", "heard", "parent")
    page.locator(".acl-player .facts", has_text="the parent").wait_for()
    assert abs(float(state_of(page, ".acl-player", "apart") or 9)) < 0.06
    gains = json.loads(state_of(page, ".acl-player", "gains") or "[]")
    assert max(gains) == 0
    page.locator(".acl-player canvas").focus()
    page.keyboard.press("b")
    until(page, ".acl-player", "heard", "this")


def test_the_star_of_the_bar_is_the_galleries_and_a_region_is_looped(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "star me", seconds="9")
    until(page, ".acl-gallery", "cards", "1")
    until(page, ".acl-player", "track", lambda s: s.startswith("take-"))
    star = page.locator(".acl-player button.star")
    star.click()
    wait_for(lambda: len(studio.session.library.cards(star=True)) == 1, what="the mark")
    page.locator(".acl-gallery .card .star[aria-pressed=true]").wait_for()
    page.locator(".acl-gallery .card .star").first.click()
    page.locator(".acl-player button.star[aria-pressed=false]").wait_for()
    id = state_of(page, ".acl-player", "track")
    page.evaluate("id => dispatchEvent(new CustomEvent('acestep-lab:region', {detail: {id, start: 1, end: 1.5}}))", id)
    page.locator(".acl-player button.loop").click()
    until(page, ".acl-player", "loop", "1 1.5")
    page.locator(".acl-player button.play").click()
    page.wait_for_timeout(2200)
    assert float(state_of(page, ".acl-waveform", "head") or 9) < 1.7
    assert state_of(page, ".acl-player", "playing") == "true"
    page.locator(".acl-player button.loop").click()
    until(page, ".acl-player", "loop", "")
    page.locator(".acl-waveform .stage").focus()
    page.keyboard.press("a")
    until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 1)
    page.keyboard.press("o")
    start, end = json.loads(state_of(page, ".acl-waveform", "regions") or "[]")[0]
    until(page, ".acl-player", "loop", lambda s: s != "" and s != "whole")
    looped = [float(one) for one in (state_of(page, ".acl-player", "loop") or "").split()]
    assert looped == pytest.approx([start, end], abs=0.01)


def test_a_narrow_page_has_one_tab_at_a_time_and_none_is_taller_than_three_screens(
    browser: Any, studio: Studio
) -> None:
    takes = [studio.session.make(Recipe(f"song number {n}", seconds=3.0, seed=n + 1)) for n in range(20)]
    for take in takes:
        studio.session.keep(take)
    phone = Window(browser, width=390, height=844)
    page = open_page(phone, studio)
    until(page, ".acl-gallery", "cards", lambda n: int(n) >= 1)
    for name, inside in (
        ("compose", ".acl-compose"),
        ("listen", ".acl-player"),
        ("repaint", ".acl-waveform"),
        ("takes", ".acl-gallery"),
        ("sweep", ".acl-sweepform"),
    ):
        show_tab(page, name)
        assert page.locator(f".acl-tabs [data-tab={name}]").get_attribute("aria-selected") == "true"
        assert page.locator(inside).is_visible()
        assert page.evaluate("document.documentElement.scrollHeight") <= 844
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(TALLEST) <= 3 * 844, name
    assert not page.locator(".acl-compose").is_visible()
    page.locator(".acl-tabs [data-tab=sweep]").press("ArrowRight")
    until(page, ".acl-tabs", "tab", "compose")
    page.reload()
    until(page, ".acl-tabs", "tab", "compose")
    assert phone.errors == []
    phone.close()


def test_a_new_take_turns_a_narrow_page_to_listen_unless_somebody_types(browser: Any, gated: Studio) -> None:
    phone = Window(browser, width=390, height=844)
    page = open_page(phone, gated)
    for place, (typing, shows) in enumerate(((True, "compose"), (False, "listen"))):
        show_tab(page, "compose")
        compose(page, f"a run {place}", seed=str(place + 1))
        page.locator(".acl-compose .actions", has_text="Rendering").wait_for()
        if typing:
            page.locator(".acl-compose textarea").focus()
        for _ in range(7):
            gated.gate.release()
        until(page, ".acl-gallery", "cards", str(place + 1))
        if typing:
            until(page, ".acl-tabs", "fresh", "true")
            assert page.get_by_role("tab", name="Listen: a new take").is_visible()
        until(page, ".acl-tabs", "tab", shows)
    phone.close()


def test_another_language_is_chosen_in_the_head_and_stays(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    page.get_by_label("Language", exact=True).select_option("zh")
    page.get_by_label("播放位置").wait_for(state="attached")
    page.reload()
    page.get_by_label("语言", exact=True).wait_for()
    assert page.locator(".acl-player").get_attribute("lang") == "zh"


def test_a_key_that_begins_a_run_leaves_the_focus_where_it_was_and_two_strokes_begin_one(
    window: Window, gated: Studio
) -> None:
    page = open_page(window, gated)
    page.locator(".acl-compose textarea").fill("by keys alone")
    make = page.locator(".acl-compose button.go")
    make.focus()
    for _ in range(2):
        page.keyboard.press("Enter")
    page.locator(".acl-runs li").first.wait_for()
    assert len(gated.session.started) == 1
    assert make.evaluate("node => node.getRootNode().activeElement === node")
    for _ in range(7):
        gated.gate.release()
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    stage = page.locator(".acl-waveform .stage")
    stage.focus()
    page.keyboard.press("a")
    until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 1)
    page.keyboard.press("r")
    wait_for(lambda: len(gated.session.started) == 2, what="the repaint")
    assert stage.evaluate("node => node.getRootNode().activeElement === node")
