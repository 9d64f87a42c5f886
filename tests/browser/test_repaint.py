"""Regions drawn, chains of repaints and what belongs to which take, in a real browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.ui.difference import Difference
from tests.browser.conftest import Studio, Window, take_hold, wait_for
from tests.browser.test_studio import open_page, show_tab, state_of, until

pytestmark = pytest.mark.browser
SECONDS = 10.0
WAVE = ".acl-waveform"


def with_takes(studio: Studio, *seeds: int) -> list[str]:
    """Takes that are in the library before the page opens, oldest first."""
    made = [studio.session.make(Recipe(f"take {seed}", seconds=SECONDS, seed=seed)) for seed in seeds]
    for take in made:
        studio.session.library.keep(take)
    return [take.id for take in made]


def regions(page: Any) -> list[list[float]]:
    return json.loads(state_of(page, WAVE, "regions") or "[]")


def marked(page: Any, fits: Any) -> list[list[float]]:
    return json.loads(until(page, WAVE, "regions", lambda s: fits(json.loads(s))))


class Wave:
    """The waveform on the page: where a time lies on it."""

    def __init__(self, page: Any) -> None:
        until(page, WAVE, "drawn", lambda s: s.startswith("take-"))
        self.page, self.glass = page, page.locator(f"{WAVE} .glass")
        self.glass.scroll_into_view_if_needed()
        self.box = self.glass.bounding_box()

    def x(self, second: float) -> float:
        return float(self.box["x"] + self.box["width"] * second / SECONDS)

    @property
    def y(self) -> float:
        return float(self.box["y"] + self.box["height"] / 2)

    def drag(self, start: float, end: float, up: bool = True) -> None:
        self.page.mouse.move(self.x(start), self.y)
        self.page.mouse.down()
        self.page.mouse.move(self.x((start + end) / 2), self.y, steps=3)
        self.page.mouse.move(self.x(end), self.y, steps=3)
        if up:
            self.page.mouse.up()


def test_a_drag_marks_a_region_shift_pans_a_click_seeks_and_escape_cancels(window: Window, studio: Studio) -> None:
    with_takes(studio, 1)
    page = open_page(window, studio)
    wave = Wave(page)
    wave.drag(2, 4)
    assert marked(page, lambda r: len(r) == 1)[0] == pytest.approx([2, 4], abs=0.05)
    assert page.locator(f"{WAVE} .region").count() == 1
    wave.drag(6, 8, up=False)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.wait_for_timeout(200)
    assert len(regions(page)) == 1
    wave.drag(9, 1)  # it ends where the next region begins
    assert marked(page, lambda r: len(r) == 2)[1] == pytest.approx([4, 9], abs=0.05)
    page.keyboard.press("z")
    marked(page, lambda r: len(r) == 1)
    page.mouse.click(wave.x(7), wave.y)
    until(page, WAVE, "head", lambda s: abs(float(s) - 7) < 0.05)
    assert len(regions(page)) == 1
    page.mouse.move(wave.x(5), wave.y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    seen = until(page, WAVE, "view", lambda s: s != "0.000 10.000").split()
    assert [float(at) for at in seen] == pytest.approx([2.5, 7.5], abs=0.1)
    page.keyboard.down("Shift")
    wave.drag(5, 2)
    page.keyboard.up("Shift")
    until(page, WAVE, "view", lambda s: float(s.split()[0]) == pytest.approx(4.0, abs=0.1))
    assert len(regions(page)) == 1, "a shift-drag marks nothing"
    page.keyboard.press("0")
    until(page, WAVE, "view", "0.000 10.000")
    take_hold(page, wave.x(3), wave.y)
    page.mouse.move(wave.x(6), wave.y, steps=5)
    page.mouse.up()
    assert marked(page, lambda r: r[0][0] > 4)[0] == pytest.approx([5, 7], abs=0.1)


def test_a_region_is_looped_and_the_player_is_told(window: Window, studio: Studio) -> None:
    with_takes(studio, 1)
    page = open_page(window, studio)
    wave = Wave(page)
    page.evaluate(
        """() => { globalThis.told = [];
        addEventListener("acestep-lab:region", (news) => "loop" in news.detail && told.push(news.detail)); }"""
    )
    wave.drag(2, 4)
    marked(page, lambda r: len(r) == 1)
    page.keyboard.press("o")
    loop = page.get_by_role("button", name="Loop the region")
    assert loop.get_attribute("aria-pressed") == "true"
    until(page, WAVE, "head", lambda s: float(s) > 2.05)
    loop.click()
    told = page.evaluate("told")
    assert [news["loop"] for news in told] == [True, False]
    assert [told[0]["start"], told[0]["end"]] == pytest.approx([2, 4], abs=0.05)
    assert told[0]["id"] == state_of(page, WAVE, "drawn")


def test_two_words_make_two_takes_and_each_take_has_its_own_regions(window: Window, studio: Studio) -> None:
    first = with_takes(studio, 1)[0]
    page = open_page(window, studio)
    wave = Wave(page)
    wave.drag(1, 3)
    marked(page, lambda r: len(r) == 1)
    wave.drag(5, 7)
    marked(page, lambda r: len(r) == 2)
    for place, words in enumerate(("brass", "choir")):
        box = page.get_by_label("Words for this region").nth(place)
        box.fill(words)
        box.press("Tab")
    page.locator(f"{WAVE} .go").dblclick()
    until(page, ".acl-gallery", "cards", "3", 30)
    proof = page.locator(f"{WAVE} .verdict")
    wait_for(
        lambda: proof.inner_text().count("–") == 2 and "bit for bit" in proof.inner_text(), what="the proof of both"
    )
    last = wait_for(lambda: studio.session.library.open(state_of(page, WAVE, "drawn") or ""))
    middle = studio.session.library.open(last.parents[0])
    source = studio.session.library.open(middle.parents[0])
    assert source.id == first
    assert [middle.recipe.caption, last.recipe.caption] == ["brass", "choir"]
    changed = Difference(source.audio, last.audio).changed
    assert [(round(r.start), round(r.end)) for r in changed] == [(1, 3), (5, 7)]
    outside = slice(round(3.1 * 8000), round(4.9 * 8000))
    assert np.array_equal(source.audio.samples[:, outside], last.audio.samples[:, outside])
    window.picture("repaint-chain")

    page.keyboard.press("Escape")
    page.locator(f"{WAVE} .glass").dblclick(position={"x": wave.box["width"] * 0.9, "y": 40})
    assert len(marked(page, lambda r: len(r) == 3)) == 3
    page.get_by_role("button", name="Before", exact=True).click()
    head = until(page, WAVE, "head", lambda s: float(s) > 0.1)
    assert float(head) < SECONDS
    page.locator(f".acl-gallery .card[data-card='{first}']").press("Enter")
    until(page, WAVE, "drawn", first)
    assert len(marked(page, lambda r: len(r) == 2)) == 2, "the first take's own regions"
    assert proof.inner_text() == ""


def test_a_finger_held_down_marks_and_one_that_moves_looks_around(browser: Any, studio: Studio) -> None:
    with_takes(studio, 1)
    phone = Window(browser, width=390, height=844)
    page = open_page(phone, studio)
    show_tab(page, "repaint")
    wave = Wave(page)
    send = """([kind, x, id]) => {
      const deep = (root) => [...root.querySelectorAll("*")].flatMap((n) => [n, ...(n.shadowRoot ? deep(n.shadowRoot) : [])]);
      const glass = deep(document).find((n) => n.classList?.contains("glass"));
      glass.dispatchEvent(new PointerEvent(kind, { pointerId: id, pointerType: "touch", isPrimary: id === 5, button: 0,
        clientX: x, clientY: 10, bubbles: true, composed: true })); }"""
    page.evaluate("() => (Element.prototype.setPointerCapture = () => {})")  # these fingers are made up

    def finger(kind: str, second: float, which: int = 5) -> None:
        page.evaluate(send, [f"pointer{kind}", wave.x(second), which])

    finger("down", 2)
    finger("move", 5)
    finger("up", 5)
    page.wait_for_timeout(200)
    assert regions(page) == []
    finger("down", 2)
    page.wait_for_timeout(600)
    for second in (3, 4, 5):
        finger("move", second)
    finger("up", 5)
    assert marked(page, lambda r: len(r) == 1)[0] == pytest.approx([2, 5], abs=0.1)
    finger("down", 6)
    finger("down", 8, 6)
    finger("move", 10, 6)
    seen = until(page, WAVE, "view", lambda s: s != "0.000 10.000").split()
    assert float(seen[1]) - float(seen[0]) == pytest.approx(5, abs=0.2), "two fingers zoom"
    finger("up", 10, 6)
    finger("up", 6)
    assert len(regions(page)) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.picture("repaint-390")
    assert phone.errors == []
    phone.close()


def test_the_panel_is_small_and_before_there_is_a_take_one_line(browser: Any, studio: Studio) -> None:
    wide = Window(browser, width=1280, height=900, dark=True)
    page = open_page(wide, studio)
    assert page.locator(WAVE).bounding_box()["height"] < 90
    with_takes(studio, 1)
    page.reload()
    wave = Wave(page)
    wave.drag(2, 4)
    marked(page, lambda r: len(r) == 1)
    box = page.locator(WAVE).bounding_box()
    page.get_by_label("Snap to").select_option("silence")  # a sentence says that there is none
    wide.picture("repaint-dark")
    assert box["height"] <= 310, box
    wide.close()
