"""The song builder and the stems view in a real browser: keys, dragging, lanes in step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Recipe
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_accessibility import findings
from tests.browser.test_studio import show_tab

pytestmark = pytest.mark.browser
LYRICS = (
    "[Intro]\n[Verse]\nslow rivers run to the sea\nand the sea comes back to me\n[Chorus]\nhey hey, hold on\n[Outro]"
)


def opened(window: Window, studio: Studio) -> Any:
    """The studio with a take of four sections in hand."""
    if not studio.session.library.ids():
        studio.session.keep(studio.session.make(Recipe("slow dub techno", LYRICS, 16, 3)))
    page = window.page
    page.goto(studio.url)
    if page.viewport_size["width"] < 600:
        show_tab(page, "listen")
    for part in ("stems", "song-builder"):
        page.wait_for_selector(f".acl-{part}[data-ready]")
    fold = page.locator(".acl-song-builder button[aria-expanded]")
    wait_for(fold.is_visible, what="a take in hand")
    return page


def song(page: Any) -> Any:
    return page.locator(".acl-song-builder")


def stems(page: Any) -> Any:
    return page.locator(".acl-stems")


def labels(page: Any) -> list[str]:
    return song(page).locator(".block strong").all_inner_texts()


def fill(page: Any) -> None:
    song(page).get_by_role("button", name="Open", exact=True).click()
    song(page).get_by_role("button", name="From the lyrics").click()
    wait_for(lambda: labels(page) == ["Intro", "Verse", "Chorus", "Outro"], what="the sections")


def becomes(page: Any, wanted: list[str]) -> None:
    wait_for(lambda: labels(page) == wanted, 60, f"{wanted}, not {labels(page)}")


def test_sections_are_reordered_by_keys_and_by_hand_and_become_a_take(window: Window, studio: Studio) -> None:
    page = opened(window, studio)
    assert song(page).bounding_box()["height"] <= 36
    assert stems(page).bounding_box()["height"] <= 36
    fill(page)
    window.picture("song-filled")
    song(page).locator(".block").nth(1).focus()
    page.keyboard.press("Alt+ArrowRight")
    becomes(page, ["Intro", "Chorus", "Verse", "Outro"])
    page.keyboard.press("d")
    becomes(page, ["Intro", "Chorus", "Verse", "Verse", "Outro"])
    page.keyboard.press("Control+z")
    becomes(page, ["Intro", "Chorus", "Verse", "Outro"])
    boxes = [song(page).locator(".block").nth(n).bounding_box() for n in (3, 0)]
    page.mouse.move(boxes[0]["x"] + boxes[0]["width"] / 2, boxes[0]["y"] + 30)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + 12, boxes[0]["y"] + 30, steps=6)
    page.mouse.move(boxes[1]["x"] + 4, boxes[0]["y"] + 30)
    page.mouse.up()
    becomes(page, ["Outro", "Intro", "Chorus", "Verse"])
    song(page).locator(".joint").first.click()
    song(page).get_by_label("Joint before it").select_option("none")
    wait_for(lambda: song(page).locator(".joint").first.inner_text() == "✂", what="the joint")
    window.picture("song-edited")
    song(page).get_by_role("button", name="Make the song").click()
    wait_for(lambda: "Stitch" in {card.task for card in studio.session.library.cards()}, what="the take")
    page.reload()
    page.wait_for_selector(".acl-song-builder[data-ready]")
    becomes(page, ["Outro", "Intro", "Chorus", "Verse"])


def test_a_joint_is_heard_and_a_section_rerolled_in_place(window: Window, studio: Studio) -> None:
    page = opened(window, studio)
    fill(page)
    song(page).locator(".block").nth(2).click()
    song(page).get_by_role("button", name="Play the joint").click()
    wait_for(lambda: song(page).get_attribute("data-playing") == "true", 60, "the joint to play")
    song(page).get_by_role("button", name="Pause").click()
    source = studio.session.library.ids()
    song(page).get_by_role("button", name="Re-roll").click()
    wait_for(lambda: len(studio.session.library.ids()) == len(source) + 1, what="the new take")
    wait_for(lambda: song(page).locator(".block[data-busy]").count() == 0, what="its place in the arrangement")
    assert song(page).locator(".error").inner_text() == ""


def test_stems_fill_their_lanes_and_play_in_step(window: Window, studio: Studio) -> None:
    page = opened(window, studio)
    stems(page).get_by_role("button", name="Open", exact=True).click()
    stems(page).get_by_role("button", name="None").click()
    for name in ("Drums", "Bass"):
        stems(page).get_by_label(name, exact=True).check()
    stems(page).get_by_role("button", name="Extract stems").click()
    wait_for(lambda: stems(page).locator(".lane[data-made=true][data-peaks]").count() == 3, 60, "three lanes")
    assert stems(page).locator(".lane strong").all_inner_texts() == ["Bass", "Drums", "What is left"]
    stems(page).get_by_role("button", name="Play all lanes").click()
    wait_for(lambda: stems(page).get_attribute("data-playing") == "true", 60, "the lanes to play")
    stems(page).get_by_role("button", name="Solo Drums").click()
    wait_for(lambda: stems(page).locator(".lane.silent").count() == 2, 60, "the others to be silent")
    window.picture("stems-playing")
    stems(page).get_by_role("button", name="Pause").click()
    with page.expect_download() as saved:
        stems(page).get_by_role("button", name="Save as zip").click()
    assert saved.value.suggested_filename.endswith("-stems.zip")


def test_opened_both_parts_have_no_serious_finding(window: Window, studio: Studio) -> None:
    page = opened(window, studio)
    fill(page)
    stems(page).get_by_role("button", name="Open", exact=True).click()
    stems(page).get_by_role("button", name="Extract stems").click()
    wait_for(lambda: stems(page).locator(".lane[data-made=true][data-peaks]").count() == 5, 60, "the lanes")
    found = set(findings(page))
    for part in (song(page), stems(page)):
        part.get_by_role("button", name="Fold", exact=True).click()
    wait_for(lambda: stems(page).locator(".lane").first.is_hidden(), 60, "both parts folded")
    assert found - set(findings(page)) == set(), "what is wrong elsewhere is wrong with both parts folded as well"


@pytest.mark.skipif(not os.environ.get("LAB_TESTS_SCREENSHOTS"), reason="only for looking at")
def test_both_parts_dark_and_narrow(browser: Any, studio: Studio, tmp_path: Path) -> None:
    for name, width, dark in (("dark", 1280, True), ("phone", 390, False)):
        window = Window(browser, width, 900, dark)
        page = opened(window, studio)
        if not labels(page):
            fill(page)
        stems(page).get_by_role("button", name="Open", exact=True).click()
        stems(page).get_by_role("button", name="Extract stems").click()
        wait_for(lambda page=page: stems(page).locator(".lane[data-made=true][data-peaks]").count() == 5, 60, "lanes")
        song(page).locator(".block").nth(1).click()
        song(page).scroll_into_view_if_needed()
        window.picture(f"song-{name}")
        window.close()
