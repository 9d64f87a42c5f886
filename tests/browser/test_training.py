"""The Train tab in a real browser: a table by keyboard and by hand, a training to its end, and a narrow page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Dataset
from acestep_lab.train.labels import Label, Remark
from acestep_lab.ui.backend import backend_of
from tests.browser import conftest
from tests.browser.conftest import Studio, Window, wait_for
from tests.pretend_training import TeachingSession, songs


@pytest.fixture
def teaching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio whose session trains."""
    monkeypatch.setattr(conftest, "PretendSession", TeachingSession)
    served = Studio(tmp_path / "library")
    yield served
    served.stop()


def draft_of(studio: Studio) -> Any:
    """What the host's pages are about to train."""
    return backend_of(studio.session).drafts["training", ""]


def many(folder: Path, count: int) -> Dataset:
    """A few songs on disk, and hundreds of rows that claim to be them."""
    found = list(Dataset.scan(songs(folder, 3)))
    rows = []
    for n in range(count):
        labels = {**found[0].labels, "bpm": Label(90 + n % 60, "heard", sure=0.8), "genre": Label("dub", "guessed")}
        noted = (Remark("clipped", "It is clipped at 12 places: its tops are cut off, which would be learnt."),)
        rows.append(
            dataclasses.replace(found[0], name=f"tune {n:04d}.wav", labels=labels, noted=noted if n % 7 == 3 else ())
        )
    return Dataset(tuple(rows))


def opened(window: Window, studio: Studio) -> Any:
    page = window.page
    page.set_default_timeout(20_000)
    page.goto(studio.url)
    page.wait_for_selector(".acl-train[data-ready=true]", state="attached")
    return page


CELL = ".acl-data-set .line[data-song='{}'] .cell.{}"


def test_hundreds_of_rows_are_edited_by_keyboard_chosen_dropped_and_undone(
    window: Window, teaching: Studio, tmp_path: Path
) -> None:
    page = opened(window, teaching)
    draft = draft_of(teaching)
    draft.dataset, draft.opened = many(tmp_path / "songs", 400), True
    draft.listeners.tell()
    page.get_by_role("button", name="Train: Open").click()
    page.wait_for_selector(CELL.format("tune 0000.wav", "bpm"))
    assert page.locator(".acl-data-set .rows .line").count() < 60, "only what is in sight exists"

    cell = page.locator(CELL.format("tune 0001.wav", "bpm"))
    assert cell.get_attribute("aria-label") == "Tempo: 91, heard 80 %"
    cell.focus()
    page.keyboard.press("Enter")
    page.keyboard.type("fast")
    page.keyboard.press("Enter")
    page.wait_for_selector(".acl-data-set .editor .error:not(:empty)")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("133")
    page.keyboard.press("Enter")
    wait_for(lambda: draft.dataset["tune 0001.wav"].bpm == 133, 20, "the edit")
    wait_for(lambda: cell.get_attribute("aria-label") == "Tempo: 133, written", 20, "the cell")
    page.keyboard.press("l")
    wait_for(lambda: draft.dataset["tune 0001.wav"].labels["bpm"].locked, 20, "the lock")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    page.get_by_text("3 chosen").wait_for()
    page.get_by_label("Field to write in all chosen songs").select_option("genre")
    page.get_by_label("What to write there").fill("zydeco")
    page.get_by_role("button", name="Write in all").click()
    wait_for(lambda: sum(song.genre == "zydeco" for song in draft.dataset) == 3, 20, "the many")
    window.picture("train-table-wide")
    table = page.get_by_role("region", name="Data set")
    table.get_by_role("button", name="Drop").click()
    wait_for(lambda: len(draft.dataset) == 397, 20, "the drop")
    page.wait_for_selector(CELL.format("tune 0003.wav", "bpm"), state="detached")
    table.get_by_role("button", name="Undo").click()
    wait_for(lambda: len(draft.dataset) == 400, 20, "the undo")
    page.wait_for_selector(CELL.format("tune 0003.wav", "bpm"))  # the page knows of it too

    cell.focus()
    page.keyboard.press("Control+End")
    page.wait_for_selector(".acl-data-set .line[data-song='tune 0399.wav'] .cell.remarks:focus")
    page.get_by_label("Filter by words").fill("tune 0010")
    wait_for(lambda: page.locator(".acl-data-set .rows .line").count() == 1, 20, "the filter")
    said = page.locator(".acl-data-set .said")
    wait_for(lambda: said.inner_text().startswith("tune 0010.wav"), 20, "the remarks")
    page.get_by_role("button", name="Play tune 0010.wav").click()
    page.wait_for_selector(".acl-data-set[data-playing=true]")


def test_a_folder_is_trained_heard_and_put_on(window: Window, teaching: Studio, tmp_path: Path) -> None:
    page = opened(window, teaching)
    page.get_by_role("button", name="Train: Open").click()
    page.get_by_label("Folder of songs on this machine").fill(str(songs(tmp_path / "songs", 4)))
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_selector(CELL.format("song 000.wav", "caption"))
    window.picture("train-form-wide")
    steps = page.get_by_label("Steps", exact=True)
    steps.fill("none")
    steps.press("Tab")
    page.get_by_text("This setting is a whole number").wait_for()
    steps.fill("40")
    steps.press("Tab")
    page.get_by_label("Preview every").fill("20")
    page.get_by_label("Preview every").press("Tab")
    page.get_by_role("button", name="What would it take?").click()
    page.get_by_text("4 songs to learn from").wait_for()
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_selector(".acl-training[data-state=done]")
    assert page.locator(".acl-training .preview").count() == 3
    page.get_by_role("button", name="Play: With, step 40").click()
    page.wait_for_selector(".acl-training[data-playing=true]")
    page.get_by_role("button", name="Put it on").click()
    page.get_by_text("It is on at 1.00").wait_for()
    assert teaching.session.adapters
    view = page.get_by_role("region", name="Training")
    view.get_by_role("button", name="Measure").click()
    page.get_by_text("a hint, no proof").wait_for()
    page.locator(".acl-training").scroll_into_view_if_needed()
    window.picture("train-done-wide")
    page.locator(".acl-training").screenshot(path=str(conftest.PICTURES / "train-view-wide.png"))
    page.reload()
    page.wait_for_selector(".acl-training[data-state=done]")


def test_on_a_narrow_page_there_is_a_tab_and_every_field_is_in_sight(
    browser: Any, teaching: Studio, tmp_path: Path
) -> None:
    window = Window(browser, 390, 844, locale="zh-CN")
    page = opened(window, teaching)
    draft = draft_of(teaching)
    draft.dataset = many(tmp_path / "songs", 30)
    draft.listeners.tell()
    page.get_by_role("tab", name="训练").click()
    page.wait_for_selector(CELL.format("tune 0000.wav", "lyrics"))
    assert page.locator(".acl-train").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(CELL.format("tune 0000.wav", "caption")).click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("一首慢歌")
    page.keyboard.press("Enter")
    wait_for(lambda: draft.dataset["tune 0000.wav"].caption == "一首慢歌", 20, "the edit")
    page.locator(".acl-data-set").scroll_into_view_if_needed()
    window.picture("train-narrow")
    window.close()
    assert window.failed == []
    assert window.errors == []
