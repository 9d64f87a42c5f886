"""The app's whole path in a real browser, asserted on state; screenshots are kept for people."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.takes.library import read_file
from tests.browser.conftest import Studio, Window, take_hold, wait_for
from tests.pretend import tone

pytestmark = pytest.mark.browser
COMPONENTS = 12
"""So many at least; the page gains parts, and none of these tests is about how many."""


def whole_page(page: Any) -> Any:
    """Wait until everything on the page is drawn: enough components, and no more for a moment."""
    seen, since = 0, time.monotonic()

    def settled() -> bool:
        nonlocal seen, since
        now = page.locator(".acl[data-ready]").count()
        if now != seen:
            seen, since = now, time.monotonic()
        return now >= COMPONENTS and time.monotonic() - since > 0.3

    wait_for(settled, what="the whole page")
    return page


def open_page(window: Window, studio: Studio) -> Any:
    """Open the studio and wait until everything on it is drawn."""
    window.page.goto(studio.url)
    return whole_page(window.page)


def show_tab(page: Any, name: str) -> None:
    """Turn to a part of a narrow page."""
    page.locator(f".acl-tabs [data-tab={name}]").click()


def field(page: Any, name: str) -> Any:
    """The input of a labelled field of the prompt editor."""
    return page.locator(f".acl-compose .box:has(label:has-text('{name}')) input").first


def compose(page: Any, caption: str, seconds: str = "6", seed: str = "7") -> None:
    page.locator(".acl-compose textarea").fill(caption)
    field(page, "Length").fill(seconds)
    field(page, "Seed").fill(seed)
    page.get_by_role("button", name="Make it", exact=True).click()


def state_of(page: Any, selector: str, key: str) -> str | None:
    found = page.locator(selector)
    return found.first.get_attribute(f"data-{key}") if found.count() else None


def until(page: Any, selector: str, key: str, wanted: Any, seconds: float = 90) -> str:
    def so() -> str | None:
        seen = state_of(page, selector, key)
        fits = seen is not None and (wanted(seen) if callable(wanted) else seen == wanted)
        return (seen or "·") if fits else None

    try:
        return wait_for(so, seconds)
    except AssertionError:
        shown = page.locator(selector).all_inner_texts()
        raise AssertionError(
            f"{selector} {key} stayed {state_of(page, selector, key)!r}, not {wanted!r}: {shown}"
        ) from None


def errors_shown(page: Any) -> list[str]:
    return [text for text in page.locator(".error").all_inner_texts() if text.strip()]


def test_the_whole_path_compose_watch_pick_repaint_compare_keep(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "slow dub techno")
    until(page, ".acl-watch", "pictures", lambda n: int(n) >= 2)
    until(page, ".acl-gallery", "cards", "1")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    first = state_of(page, ".acl-waveform", "drawn")

    page.locator(".acl-waveform .stage").focus()
    page.keyboard.press("a")
    until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 1)
    page.get_by_label("Start in seconds").fill("2")
    page.get_by_label("Start in seconds").press("Tab")
    page.get_by_label("End in seconds").fill("3.5")
    page.get_by_label("End in seconds").press("Tab")
    until(page, ".acl-waveform", "regions", "[[2,3.5]]")
    page.get_by_role("button", name="Repaint", exact=True).last.click()
    until(page, ".acl-gallery", "cards", "2")
    until(page, ".acl-waveform", "drawn", lambda s: s != first)
    page.get_by_text("the same, bit for bit").wait_for()
    until(page, ".acl-lineage", "nodes", "2")

    for button in page.locator(".acl-gallery .letter").all():
        button.click()
    page.get_by_role("button", name="Play the comparison").click()
    until(page, ".acl-gallery", "playing", "true")
    page.locator(".acl-gallery .compare").focus()
    page.keyboard.press("2")
    until(page, ".acl-gallery", "on", "1")
    gains = json.loads(until(page, ".acl-gallery", "gains", lambda s: True))
    assert max(gains) == 0
    assert min(gains) <= 0
    window.picture("studio-compare")

    page.locator(".acl-gallery .card .star").first.click()
    page.get_by_role("button", name="Keep starred, bin the rest").click()
    page.get_by_role("button", name="Bin 1").click()
    until(page, ".acl-gallery", "cards", "1")
    page.locator(".acl-gallery summary", has_text="Bin (1)").click()
    page.get_by_role("button", name="Bring back 1 binned").click()
    until(page, ".acl-gallery", "cards", "2")
    assert len(studio.session.library.cards(star=True)) == 1


def test_words_that_make_no_sense_are_answered_beside_the_field_and_the_page_lives_on(
    window: Window, studio: Studio
) -> None:
    page = open_page(window, studio)
    page.get_by_role("button", name="Make it", exact=True).click()
    page.get_by_text("There are no words to work from").wait_for()
    for name, typed, answer in (
        ("Seed", "seven", "not 'seven'"),
        ("Length", "0", "0 s cannot be made"),
        ("Length", "10000", "10000 s cannot be made"),
    ):
        field(page, name).fill(typed)
        page.locator(f".acl-compose .box:has(label:has-text('{name}')) .error", has_text=answer).wait_for()
    assert studio.session.started == []
    compose(page, "still alive")
    until(page, ".acl-gallery", "cards", "1")
    assert errors_shown(page) == []


def test_a_double_click_starts_one_run(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    page.locator(".acl-compose textarea").fill("once")
    page.get_by_role("button", name="Make it", exact=True).dblclick()
    page.locator(".acl-runs li").first.wait_for()
    page.wait_for_timeout(400)
    assert len(gated.session.started) == 1


def test_stopping_works_and_works_again(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    for round_ in (1, 2):
        compose(page, f"round {round_}", seed=str(round_))
        gated.gate.release()
        until(page, ".acl-watch", "latest", "0")
        page.locator(".acl-runs button.stop:visible").click()
        wait_for(lambda: not gated.session.runs, what="the stop")
        page.get_by_text("Stopped. The steps so far").wait_for()
    page.get_by_role("button", name="Keep this step").click()
    until(page, ".acl-gallery", "cards", "1")


def test_a_reload_in_the_middle_of_a_render_takes_up_where_it_was(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    compose(page, "outlives the page")
    for _ in range(3):
        gated.gate.release()
    until(page, ".acl-watch", "latest", "2")
    page.reload()
    whole_page(page)
    until(page, ".acl-watch", "latest", "2")
    page.locator(".acl-runs li", has_text="outlives the page").wait_for()
    for _ in range(10):
        gated.gate.release()
    until(page, ".acl-gallery", "cards", "1")


def test_two_tabs_share_one_queue_and_say_the_place_in_it(browser: Any, gated: Studio) -> None:
    one, two = Window(browser), Window(browser)
    open_page(one, gated), open_page(two, gated)
    compose(one.page, "first in line")
    one.page.locator(".acl-runs li").first.wait_for()
    compose(two.page, "second in line", seed="8")
    two.page.get_by_text("Waiting, 1 before it").wait_for()
    one.page.get_by_text("second in line").wait_for()
    for _ in range(20):
        gated.gate.release()
    for tab in (one, two):
        until(tab.page, ".acl-gallery", "cards", "2")
        assert tab.failed == []
        assert tab.errors == []
        tab.close()


def test_a_region_is_dragged_resized_and_a_whole_number_survives(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "drag me", seconds="10")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    stage = page.locator(".acl-waveform .stage")
    stage.focus()
    page.keyboard.press("a")
    for name, value in (("Start in seconds", "2"), ("End in seconds", "4")):
        page.get_by_label(name).fill(value)
        page.get_by_label(name).press("Tab")
    until(page, ".acl-waveform", "regions", "[[2,4]]")

    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    left, width, middle = box["x"] + 4, box["width"] - 8, box["y"] + 50

    def at(second: float) -> float:
        return left + width * second / 10

    take_hold(page, at(3), middle)
    page.wait_for_timeout(400)  # held still for a while, as careful people do
    page.mouse.move(at(4), middle, steps=4)
    page.mouse.move(at(5), middle, steps=4)
    page.mouse.up()
    moved = json.loads(until(page, ".acl-waveform", "regions", lambda s: json.loads(s)[0][0] > 3))[0]
    assert moved == pytest.approx([4, 6], abs=0.15)
    take_hold(page, at(moved[1]), middle)
    page.mouse.move(at(8), middle, steps=6)
    page.mouse.up()
    grown = json.loads(until(page, ".acl-waveform", "regions", lambda s: json.loads(s)[0][1] > 7))[0]
    assert grown == pytest.approx([moved[0], 8], abs=0.2)
    stage.focus()
    page.keyboard.press("Shift+ArrowRight")
    until(page, ".acl-waveform", "regions", lambda s: json.loads(s)[0][0] == pytest.approx(grown[0] + 1, abs=0.02))
    window.picture("studio-region")


def test_a_region_beyond_the_end_is_cut_with_a_sentence(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "short", seconds="5")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    page.get_by_role("button", name="Add a region").click()
    page.get_by_label("End in seconds").fill("500")
    page.get_by_label("End in seconds").press("Tab")
    page.get_by_text("The sound ends at 5.0 s; the region was cut there.").wait_for()
    until(page, ".acl-waveform", "regions", lambda s: json.loads(s)[0][1] == 5)


def test_the_player_seeks_by_range_request_and_drives_the_playhead(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    statuses: list[int] = []
    page.on("response", lambda r: statuses.append(r.status) if "/takes/" in r.url else None)
    compose(page, "play me", seconds="8")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, ".acl-waveform", "head", lambda s: float(s) > 0.15)
    page.locator(".acl-player canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    until(page, ".acl-waveform", "head", lambda s: float(s) > 2)
    assert 206 in statuses


def test_names_and_words_are_shown_as_text_never_as_markup(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "<img src=x onerror=document.title='broken'><b>bold</b>")
    until(page, ".acl-gallery", "cards", "1")
    assert page.locator(".acl-gallery .card h3").first.inner_text().startswith("<img src=x")
    assert page.title() == "acestep_lab"


def test_files_that_are_no_sound_are_refused_in_a_sentence_and_a_sound_is_selected(
    window: Window, studio: Studio, tmp_path: Path
) -> None:
    page = open_page(window, studio)
    liar, text, real = tmp_path / "words.wav", tmp_path / "notes.txt", tmp_path / "tone.flac"
    liar.write_text("these are words")
    text.write_text("these too")
    tone(3.0).write(real)
    chooser = page.get_by_label("Sound files")
    chooser.set_input_files(str(liar))
    page.get_by_text("is no sound file that can be read").wait_for()
    chooser.set_input_files(str(text))
    page.get_by_text("'notes.txt' is no sound file").wait_for()
    chooser.set_input_files(str(real))
    page.get_by_text("Brought in: tone.flac").wait_for()
    page.locator(".acl-player h3", has_text="tone.flac").wait_for()


def test_a_file_of_two_gigabytes_is_refused_before_it_is_read(window: Window, studio: Studio, tmp_path: Path) -> None:
    page = open_page(window, studio)
    huge = tmp_path / "huge.wav"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), 2 * 2**30)
    page.get_by_label("Sound files").set_input_files(str(huge))
    page.get_by_text("2,048 MB; at most 200 MB").wait_for()


def test_regions_added_in_a_hurry_find_room_of_their_own(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    compose(page, "mark me often", seconds="10")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    page.locator(".acl-waveform .stage").focus()
    for _ in range(4):
        page.keyboard.press("a")
    spans = json.loads(until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 4))
    page.wait_for_timeout(500)
    ordered = sorted(spans)
    assert all(before[1] <= after[0] for before, after in zip(ordered, ordered[1:], strict=False))
    page.keyboard.press("Delete")
    until(page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 3)


@pytest.mark.parametrize(("form", "begins"), [("flac", b"fLaC"), ("wav", b"RIFF"), ("zip", b"PK")])
def test_a_take_is_saved_as_a_file_that_brings_everything_back(
    window: Window, studio: Studio, tmp_path: Path, form: str, begins: bytes
) -> None:
    page = open_page(window, studio)
    compose(page, "take me home", seconds="3")
    until(page, ".acl-gallery", "cards", "1")
    with page.expect_download() as arriving:
        page.get_by_label("Save this sound as a file").select_option(form)
    saved = tmp_path / arriving.value.suggested_filename
    arriving.value.save_as(saved)
    assert saved.name == f"take me home, seed 7.{form}"
    assert saved.read_bytes().startswith(begins)
    if form == "flac":
        assert read_file(saved).recipe.caption == "take me home"


def test_a_blind_comparison_hides_who_is_who_until_the_vote(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    for seed in ("1", "2"):
        compose(page, "twins", seconds="3", seed=seed)
        until(page, ".acl-gallery", "cards", seed)
    for button in page.locator(".acl-gallery .letter").all():
        button.click()
    page.get_by_label("Blind").check()
    lanes = page.locator(".acl-gallery .lane")
    assert [lane.inner_text().strip() for lane in lanes.all()] == ["1", "2"]
    page.get_by_role("button", name="Play the comparison").click()
    until(page, ".acl-gallery", "playing", "true")
    page.locator(".acl-gallery .compare").focus()
    page.keyboard.press("2")
    until(page, ".acl-gallery", "on", "1")
    page.locator(".acl-gallery [data-vote='1']").click()
    page.get_by_text("Preferred without knowing which it was: twins").wait_for()
    assert sorted(lane.inner_text().split(maxsplit=1)[-1] for lane in lanes.all()) == ["twins", "twins #2"]


def test_a_sweep_over_two_parameters_is_a_grid_of_takes(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    page.locator(".acl-compose textarea").fill("swept")
    field(page, "Length").fill("3")
    page.locator(".acl-compose summary", has_text="Sweep").click()
    page.get_by_label("Sweep across").select_option("shift")
    page.get_by_label("Values across").fill("1, 3")
    page.get_by_label("Sweep down").select_option("seed")
    page.get_by_label("Values down").fill("4; 5")
    page.get_by_role("button", name="Make the grid").click()
    until(page, ".acl-gallery", "cards", "4")
    page.get_by_role("button", name="Sweep", exact=True).click()
    assert page.locator(".acl-gallery table.sweep td canvas").count() == 4
    assert page.locator(".acl-gallery table.sweep th").all_inner_texts() == ["seed ↓ shift →", "1", "3", "4", "5"]


def test_a_click_while_the_session_closes_is_answered_on_the_page(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    studio.session.close()
    compose(page, "too late")
    page.locator(".acl-compose .error", has_text="This session is closed").wait_for()


def test_on_a_narrow_page_the_form_says_how_far_the_run_is(browser: Any, gated: Studio) -> None:
    phone = Window(browser, width=390, height=844)
    page = open_page(phone, gated)
    compose(page, "where is it")
    page.locator(".acl-compose .actions", has_text="Rendering").wait_for()
    show_tab(page, "listen")
    page.locator(".acl-runs li", has_text="where is it").wait_for()
    phone.close()


def test_the_narrow_page_has_one_column_and_nothing_hangs_over(browser: Any, studio: Studio) -> None:
    phone = Window(browser, width=390, height=844, dark=True)
    page = open_page(phone, studio)
    compose(page, "in the hand")
    until(page, ".acl-gallery", "cards", "1")
    until(page, ".acl-waveform", "bins", lambda n: n != "0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert state_of(page, ".acl-compose", "theme") == "dark"
    phone.picture("studio-390-dark")
    assert phone.failed == []
    assert phone.errors == []
    phone.close()


def test_the_keyboard_map_is_on_the_question_mark(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    page.keyboard.press("?")
    page.locator("dialog.keymap", has_text="add a region at the playhead").wait_for()
    window.picture("studio-keys")
    page.keyboard.press("Escape")
    page.locator("dialog.keymap").wait_for(state="detached")
