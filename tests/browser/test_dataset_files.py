"""The Train tab's files in a real browser: a table saved, saved again, refused under a wrong name and downloaded; songs labelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Dataset
from tests.browser import conftest
from tests.browser.conftest import Studio, Window
from tests.browser.test_training import draft_of, opened
from tests.pretend_training import TeachingSession, songs


@pytest.fixture
def teaching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio whose session trains."""
    monkeypatch.setattr(conftest, "PretendSession", TeachingSession)
    served = Studio(tmp_path / "library")
    yield served
    served.stop()


def test_a_table_is_labelled_saved_twice_and_downloaded(window: Window, teaching: Studio, tmp_path: Path) -> None:
    page: Any = opened(window, teaching)
    draft = draft_of(teaching)
    draft.dataset, draft.opened = Dataset.scan(songs(tmp_path / "songs", 3, 2.0)), True
    draft.listeners.tell()
    page.get_by_role("button", name="Train: Open").click()
    form, table = page.get_by_role("region", name="Train"), page.get_by_role("region", name="Data set")
    form.get_by_role("button", name="Label the songs").click()
    form.get_by_text("3 of 3 songs were listened to.").wait_for()
    assert draft.dataset["song 002.wav"].caption.startswith("a sine")

    assert page.locator(".acl-player h2, .acl-player strong").filter(has_text="Vocals of").count() == 0
    home = Path(teaching.session.library.folder) / "datasets"
    name = table.get_by_label("Name", exact=True)
    name.fill("../mine")
    table.get_by_role("button", name="Save in the library").click()
    table.get_by_role("alert").filter(has_text="name of a word").wait_for()
    assert not home.exists()
    name.fill("mine")
    name.press("Enter")
    table.get_by_text("3 songs are saved: datasets/mine").wait_for()
    assert Dataset.scan(home / "mine")["song 002.wav"].caption.startswith("a sine")
    window.picture("train-table-saved")

    page.reload()
    page.wait_for_selector(".acl-train[data-ready=true]", state="attached")
    table.get_by_label("Name", exact=True).fill("mine")
    table.get_by_role("button", name="Save in the library").click()
    table.get_by_role("button", name="Replace what is there").click()
    table.get_by_text("3 songs are saved: datasets/mine").wait_for()
    with page.expect_download() as got:
        table.get_by_role("button", name="Download the table").click()
    rows = [json.loads(line) for line in Path(got.value.path()).read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [song.name for song in draft.dataset]
