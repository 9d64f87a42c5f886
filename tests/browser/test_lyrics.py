"""Lyrics in time in a real browser: the lane under the waveform, the line that is lit, what a take without them says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt.recipe import Recipe
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_accessibility import findings
from tests.browser.test_studio import errors_shown, open_page, state_of, until

pytestmark = pytest.mark.browser
WAVE, PLAYER = ".acl-waveform", ".acl-player"
SONG = "[Verse]\nRain on the window\nI count every drop\n[Chorus]\nStay a little longer\nuntil it stops"
HEBREW = "[בית]\nגשם על החלון\nאני סופר כל טיפה\n[פזמון]\nהישארי עוד קצת\nעד שייגמר"


def aligned(lyrics: str, seconds: float) -> Alignment:
    """Lines one after another with a rest before each, words evenly in them; the third line is unsure."""
    rows = [row for row in lyrics.split("\n") if not row.startswith("[")]
    each = seconds / len(rows)
    lines = tuple(Timed(row, n * each + 0.4, (n + 1) * each, 0.3 if n == 2 else 0.9, n) for n, row in enumerate(rows))
    words = []
    for line in lines:
        parts = line.text.split()
        long = (line.end - line.start) / len(parts)
        words += [
            Timed(word, line.start + k * long, line.start + (k + 1) * long, 0.9, line.line)
            for k, word in enumerate(parts)
        ]
    tags = [row.strip("[]") for row in lyrics.split("\n") if row.startswith("[")]
    half = seconds / 2
    sections = tuple(Timed(tag, n * half, (n + 1) * half, 1.0, n) for n, tag in enumerate(tags))
    return Alignment(lines, tuple(words), sections, lyrics=lyrics)


def with_take(studio: Studio, lyrics: str, found: bool, seconds: float = 12.0) -> str:
    """A kept take of these words, with or without their times beside it."""
    take = studio.session.make(Recipe("a song about rain", lyrics=lyrics, seconds=seconds, seed=4))
    studio.session.library.keep(take)
    if found:
        data = {"key": {}, "alignment": aligned(lyrics, seconds).to_json()}
        studio.session.library.annotate(take.id, "alignment", data)
    return take.id


def lane_box(page: Any) -> Any:
    """The lane on the page, once its lines stand where they belong."""
    until(page, WAVE, "lyrics", "4")
    until(page, WAVE, "drawn", lambda s: s.startswith("take-"))
    lane = page.locator(f"{WAVE} .lyric-lane")
    lane.scroll_into_view_if_needed()
    return lane


def test_a_line_is_heard_by_a_click_marked_by_a_drag_and_lit_as_it_is_sung(window: Window, studio: Studio) -> None:
    with_take(studio, SONG, found=True)
    page = open_page(window, studio)
    lane = lane_box(page)
    unsure = lane.get_by_role("button", name="Stay a little longer, 6.4 to 9.0 seconds, unsure")
    assert "underline" in unsure.locator("span").evaluate("node => getComputedStyle(node).textDecorationLine")
    assert lane.locator("button.part").all_inner_texts() == ["Verse", "Chorus"]

    unsure.click()
    until(page, PLAYER, "playing", "true")
    until(page, PLAYER, "line", "Stay a little longer")
    page.locator(f"{PLAYER} .karaoke .word.on").first.wait_for()
    page.keyboard.press("Tab")
    window.picture("lyrics-studio")
    page.locator(f"{PLAYER} button.play").click()

    box = lane.bounding_box()
    x = lambda second: box["x"] + box["width"] * second / 12  # noqa: E731
    page.mouse.move(x(1.5), box["y"] + 40)
    page.mouse.down()
    page.mouse.move(x(4.2), box["y"] + 40, steps=4)
    window.picture("lyrics-drag")
    page.mouse.up()
    until(page, WAVE, "regions", "[[0.4,6]]")

    lane.locator("button.words").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    assert json.loads(until(page, WAVE, "regions", lambda s: len(json.loads(s)) == 2))[1] == [9.4, 12]
    page.keyboard.press("Enter")
    until(page, PLAYER, "line", "until it stops")
    assert errors_shown(page) == []
    assert findings(page) == []


def test_a_take_without_times_says_why_has_its_sections_planned_and_its_words_found(
    browser: Any, studio: Studio
) -> None:
    with_take(studio, HEBREW, found=False)
    window = Window(browser, 390, 844, dark=True)
    page = open_page(window, studio)
    page.locator(".acl-tabs [data-tab=listen], .acl-tabs [data-tab=repaint]").last.click()
    wave = page.locator(WAVE)
    wave.get_by_text("Nobody has looked for its words yet.").wait_for()
    wave.get_by_role("button", name="Show planned sections").click()
    until(page, WAVE, "sections", "2")
    assert wave.locator("button.part.planned").count() == 2
    window.picture("lyrics-planned-390-dark")
    wave.get_by_role("button", name="Find the words").click()
    until(page, WAVE, "lyrics", "4")
    wave.locator("summary", has_text="All lines").click()
    wave.locator(".lyric-list .go-there").nth(1).click()
    until(page, PLAYER, "line", "אני סופר כל טיפה")
    assert page.locator(f"{PLAYER} .karaoke").evaluate("node => getComputedStyle(node).direction") == "rtl"
    window.picture("lyrics-390-dark")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "nothing is wider than the page"
    wait_for(lambda: state_of(page, WAVE, "line") == "אני סופר כל טיפה", what="the line on the waveform")
    assert window.errors == []
    assert errors_shown(page) == []
    window.close()


def test_scores_are_columns_in_words_beside_chance_and_an_exported_page_lights_its_words(
    window: Window, studio: Studio, tmp_path: Any
) -> None:
    for seed, lyrics in ((1, SONG), (2, "[Instrumental]")):
        recipe = Recipe(
            "drums and piano about rain", lyrics=lyrics, seconds=2.0, seed=seed, bpm=100, keyscale="G major"
        )
        studio.session.library.keep(studio.session.make(recipe))
    page = open_page(window, studio)
    page.get_by_role("button", name="Measure").click()
    table = page.locator(".acl-gallery").get_by_role("table")
    wait_for(lambda: table.get_by_text("4 of 4 lines").count() == 1, what="scores of what is sung")
    wait_for(lambda: table.get_by_text("—", exact=True).count() >= 3, what="an instrumental without lyric scores")
    assert table.locator("td.score .bar .chance").count() >= 3
    table.get_by_role("button", name="Lines found").click()
    wait_for(lambda: table.locator("th[aria-sort=ascending]").count() == 1, what="the order")
    table.scroll_into_view_if_needed()
    window.picture("lyrics-columns")
    assert errors_shown(page) == []

    take = studio.session.library.open(with_take(studio, SONG, found=True))
    page.goto(take.export(tmp_path / "song.html", lyrics=aligned(SONG, 12.0)).as_uri())
    page.get_by_role("button", name="Stay a little longer").click()
    page.locator(".now .word.on").first.wait_for()
    assert page.locator(".now").inner_text() == "Stay a little longer"
    assert page.locator(".lyrics li[aria-current]").count() == 1
    window.picture("lyrics-page")
