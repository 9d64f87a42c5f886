"""Takes in a real browser: rows with waveforms, names, the bin, the table, lanes, a sweep that is finished later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extract
from acestep_lab.takes.take import Take
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_accessibility import findings
from tests.browser.test_studio import compose, open_page, show_tab, state_of, until
from tests.pretend import tone

GALLERY = ".acl-gallery"


def fill(studio: Studio, count: int, seconds: float = 3.0) -> list[str]:
    """Put takes into the library, the last of them the drums of the one before."""
    made: list[Take] = []
    for seed in range(1, count + 1):
        last = seed == count and seed > 1
        task = {"task": Extract(made[-1].id, "drums")} if last else {}
        words = ("slow dub techno with tape hiss", "lo-fi piano at night", "samba with brass")[seed % 3]
        recipe = Recipe(words, seconds=seconds, seed=seed, bpm=90 + seed, keyscale="F# minor", **task)
        take = Take(
            recipe, tone(seconds, seed), np.zeros((2, 8), np.float32), parents=(made[-1].id,) if last else (),
            created=f"2026-01-01T10:{seed // 60:02d}:{seed % 60:02d}.000+00:00",
        )  # fmt: skip
        studio.session.library.keep(take)
        made.append(take)
    return [take.id for take in made]


def ink(page: Any, selector: str) -> list[int]:
    """How many points of each canvas are drawn."""
    return page.evaluate(
        """selector => {
          const found = [];
          const walk = (root) => {
            for (const canvas of root.querySelectorAll(selector)) {
              const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
              let n = 0; for (let i = 3; i < data.length; i += 4) n += data[i] > 0; found.push(n);
            }
            for (const node of root.querySelectorAll('*')) if (node.shadowRoot) walk(node.shadowRoot);
          };
          walk(document); return found;
        }""",
        selector,
    )


def test_a_new_take_has_its_waveform_without_a_reload_and_is_told_from_the_last(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    for count in ("1", "2"):
        compose(page, "slow dub techno with a very long description that goes on and on", seconds="3", seed=count)
        until(page, GALLERY, "cards", count)
    wait_for(
        lambda: len(ink(page, ".card canvas.wave")) == 2 and min(ink(page, ".card canvas.wave")) > 100, 20, "waves"
    )
    titles = page.locator(f"{GALLERY} .card h3").all_inner_texts()
    assert titles[0] == f"{titles[1]} #2"
    window.picture("takes-2")
    page.locator(f"{GALLERY} .card").first.focus()
    page.keyboard.press("F2")
    page.locator(f"{GALLERY} input.edit").fill("The keeper")
    page.keyboard.press("Enter")
    page.locator(f"{GALLERY} .card h3", has_text="The keeper").wait_for()
    assert studio.session.library.cards("keeper")[0].title == "The keeper"
    page.keyboard.press("t")
    page.locator(f"{GALLERY} input.edit").fill("live")
    page.keyboard.press("Enter")
    page.locator(f"{GALLERY} .chip.tag", has_text="#live").wait_for()
    page.locator(f"{GALLERY} .card", has_text="The keeper").focus()
    page.keyboard.press("x")
    until(page, GALLERY, "cards", "1")
    window.picture("takes-1")
    page.keyboard.press("u")
    until(page, GALLERY, "cards", "2")


def test_two_hundred_takes_come_page_by_page_and_are_ordered_and_found(window: Window, studio: Studio) -> None:
    fill(studio, 200, 1.0)
    page = open_page(window, studio)
    until(page, GALLERY, "cards", "200")
    assert int(state_of(page, GALLERY, "rows") or 0) < 100
    wait_for(lambda: int(state_of(page, GALLERY, "peaks") or 0) >= 24, 40, "the waveforms")
    window.picture("takes-200")
    page.locator(f"{GALLERY} [data-shape=table]").click()
    page.locator(f"{GALLERY} [data-sort=tempo]").click()
    head = page.locator(f"{GALLERY} th", has=page.locator("[data-sort=tempo]"))
    wait_for(lambda: head.get_attribute("aria-sort") == "ascending", what="the order")
    first = page.locator(f"{GALLERY} tbody tr").first
    wait_for(lambda: "91 asked" in first.inner_text(), what="the slowest take first")
    page.locator(f"{GALLERY} [data-sort=tempo]").click()
    wait_for(lambda: "290 asked" in first.inner_text(), what="the fastest take first")
    window.picture("takes-table")
    page.get_by_label("Search takes").fill("drums")
    until(page, GALLERY, "cards", "1")
    assert "Drums of" in first.inner_text()


def test_compared_takes_are_lanes_that_switch_in_step_and_loop_a_span(window: Window, studio: Studio) -> None:
    fill(studio, 3, 4.0)
    page = open_page(window, studio)
    until(page, GALLERY, "cards", "3")
    for button in page.locator(f"{GALLERY} .letter").all():
        button.click()
    wait_for(lambda: len(ink(page, ".compare canvas.wave")) == 3 and min(ink(page, ".compare canvas.wave")) > 100)
    lane = page.locator(f"{GALLERY} .compare canvas.wave").first
    lane.scroll_into_view_if_needed()
    box = lane.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 10, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Loop 0:01.0–0:02.0").wait_for()
    page.get_by_role("button", name="Play the comparison").click()
    until(page, GALLERY, "playing", "true")
    page.keyboard.press("3")
    until(page, GALLERY, "on", "2")
    page.wait_for_timeout(1500)
    assert state_of(page, GALLERY, "playing") == "true", "it goes round and round"
    assert 0.9 < float(state_of(page, GALLERY, "at") or 0) < 2.1
    assert float(state_of(page, GALLERY, "apart") or 9) < 0.05
    window.picture("takes-compare")
    assert [one for one in findings(page) if "gallery" in one.lower() or "compare" in one.lower()] == []


def test_long_takes_are_streamed_together_and_a_switch_seeks_nothing(window: Window, studio: Studio) -> None:
    fill(studio, 2, 520.0)
    page = open_page(window, studio)
    until(page, GALLERY, "cards", "2")
    for button in page.locator(f"{GALLERY} .letter").all():
        button.click()
    page.evaluate("""() => {
      globalThis.seeks = 0;
      const own = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
      Object.defineProperty(HTMLMediaElement.prototype, "currentTime", {
        get: own.get, set(value) { globalThis.seeks += 1; own.set.call(this, value); },
      });
    }""")
    page.get_by_role("button", name="Play the comparison").click()
    until(page, GALLERY, "playing", "true")
    assert state_of(page, GALLERY, "streamed") == "true"
    wait_for(lambda: float(state_of(page, GALLERY, "at") or 0) > 1.5, what="some music")
    before = page.evaluate("seeks")
    for key in "2121":
        page.keyboard.press(key)
        page.wait_for_timeout(250)
    apart = float(state_of(page, GALLERY, "apart") or 9)
    assert page.evaluate("seeks") == before, "no lane jumps when another is heard"
    assert apart < 0.1, f"the lanes are {apart} s apart"


def test_a_sweep_that_was_stopped_is_made_whole_after_a_reload(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    page.locator(".acl-compose textarea").fill("swept")
    page.locator(".acl-compose summary", has_text="Sweep").click()
    page.get_by_label("Sweep across").select_option("shift")
    page.get_by_label("Values across").fill("1, 2, 3")
    page.get_by_role("button", name="Make the grid").click()
    run = wait_for(lambda: gated.session.jobs.waiting, what="the run")[0]
    run.stop()
    wait_for(lambda: run.over, what="the end of the run")
    page.reload()
    page.locator(f"{GALLERY} [data-shape=sweep]").click()
    page.get_by_role("button", name="Make the missing 3").click()
    for _ in range(60):
        gated.gate.release()
    until(page, GALLERY, "cards", "3")
    wait_for(lambda: len(ink(page, "table.sweep canvas.wave")) == 3 and min(ink(page, "table.sweep canvas.wave")) > 50)
    assert page.get_by_text("not made yet").count() == 0
    window.picture("takes-sweep")


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_twenty_takes_fit_every_page(browser: Any, tmp_path: Path, width: int, dark: bool) -> None:
    served = Studio(tmp_path / "library")
    opened = Window(browser, width, 900, dark)
    try:
        ids = fill(served, 20)
        served.session.library.mark(ids[-1], star=True, tags=["live", "slow"], note="the bridge is good")
        page = open_page(opened, served)
        if width < 900:
            show_tab(page, "takes")
        until(page, GALLERY, "cards", "20")
        wait_for(lambda: int(state_of(page, GALLERY, "peaks") or 0) >= 20, 40, "the waveforms")
        opened.picture(f"takes-20-{width}{'-dark' if dark else ''}")
        gallery = page.locator(GALLERY)
        assert gallery.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), "nothing runs out of the page"
        tall = page.locator(f"{GALLERY} .card").nth(3).bounding_box()["height"]
        assert tall <= (140 if width < 560 else 112)
        page.locator(f"{GALLERY} .card .more").first.click()
        page.get_by_role("menuitem", name="More like this").click()
        until(page, GALLERY, "cards", "24")
        opened.picture(f"takes-24-{width}{'-dark' if dark else ''}")
    finally:
        opened.close()
        served.stop()
    assert opened.errors == []
