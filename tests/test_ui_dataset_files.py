"""Files of the Train tab: a data set saved under a name and downloaded, songs labelled, and every door shut for those who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Dataset
from acestep_lab.errors import RecipeError
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.dataset_saving import name_of
from acestep_lab.ui.dataset_table import DatasetTableWidget
from acestep_lab.ui.studio import Studio
from tests.browser.conftest import wait_for
from tests.pretend_training import TeachingSession, songs
from tests.test_ui_training import ask, heard, idle, of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return songs(tmp_path_factory.mktemp("songs") / "mine", 3, 2.0)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = TeachingSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()


@pytest.fixture
def page(lab: Any, folder: Path) -> Iterator[Studio]:
    page = Studio(backend_of(lab), panes=False)
    ask(page.train_form, "open", on=True)
    ask(page.train_form, "folder", path=str(folder))
    idle(page)
    yield page
    page.close()


def saved(table: Any, said: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
    """What a table answers to a save."""
    said.clear()
    ask(table, "save", **body)
    wait_for(lambda: not table.busy and any(one["kind"] in ("saved", "error") for one in said), 10)
    return next(one for one in said if one["kind"] in ("saved", "error"))


def test_edits_are_saved_into_the_library_s_folder_and_once_more_replaces_them(page: Studio, lab: Any) -> None:
    table, home = page.dataset_table, Path(lab.library.folder) / "datasets"
    said = heard(table)
    ask(table, "edit", name="song 000.wav", field="bpm", value=90)
    assert saved(table, said, name="  My   songs ")["place"] == "datasets/My songs"
    assert Dataset.scan(home / "My songs")["song 000.wav"].bpm == 90
    ask(table, "edit", name="song 000.wav", field="bpm", value=91)
    assert saved(table, said, name="My songs")["kind"] == "saved", "the second click saves what is there now"
    assert Dataset.scan(home / "My songs")["song 000.wav"].bpm == 91
    assert saved(table, said, name="My songs", form="json")["place"] == "datasets/My songs.json"
    assert Dataset.scan(home / "My songs.json")[0].bpm == 91
    again = Studio(backend_of(lab), panes=False)
    other = heard(again.dataset_table)
    assert "already" in saved(again.dataset_table, other, name="My songs")["text"], (
        "another page's is not replaced in silence"
    )
    assert saved(again.dataset_table, other, name="My songs", replace=True)["kind"] == "saved"
    again.close()


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "../up", "a/b", "a\\b", "C:x", ".hidden", "con", "NUL.txt", "a\0b", "x" * 81, "end."]
)
def test_a_name_that_could_be_a_place_is_a_sentence(name: str) -> None:
    with pytest.raises(RecipeError, match="name of a word"):
        name_of(name)


def test_what_lies_there_and_is_no_data_set_stays(page: Studio, lab: Any, tmp_path: Path) -> None:
    home = Path(lab.library.folder) / "datasets"
    (home / "notes").mkdir(parents=True)
    (home / "notes" / "diary.txt").write_text("mine")
    (home / "link").symlink_to(tmp_path)
    table = page.dataset_table
    said = heard(table)
    for name in ("notes", "link"):
        assert saved(table, said, name=name, replace=True)["kind"] == "error", name
    assert (home / "notes" / "diary.txt").read_text() == "mine"
    for body in ({"name": "x", "form": "zip"}, {"name": ["x"]}, {}):
        said.clear()
        ask(table, "save", **body)
        assert of(said, "error")["text"], body


def test_a_table_is_downloaded_in_both_forms_and_an_empty_one_is_a_sentence(page: Studio, folder: Path) -> None:
    said = heard(page.dataset_table)
    ask(page.dataset_table, "download", form="folder")
    told = of(said, "file")
    rows = [json.loads(line) for line in bytes(told["buffers"][0]).decode().splitlines()]
    assert told["name"] == "metadata.jsonl"
    assert [row["file_name"] for row in rows] == [song.name for song in Dataset.scan(folder)]
    ask(page.dataset_table, "download", form="json")
    found = json.loads(bytes(of(said, "file")["buffers"][0]))
    assert [sample["audio_path"] for sample in found["samples"]] == [row["file_name"] for row in rows]
    table: Any = DatasetTableWidget()
    said = heard(table)
    for kind in ("download", "save"):
        said.clear()
        ask(table, kind, name="x")
        assert of(said, "error")["text"]


def test_songs_are_labelled_in_the_tab_beside_what_is_edited_and_a_second_click_is_a_sentence(page: Studio) -> None:
    form, table = page.train_form, page.dataset_table
    before, said = table.dataset, heard(form)
    ask(form, "label")
    ask(form, "label")
    assert "already" in of(said, "error")["text"]
    ask(table, "edit", name="song 000.wav", field="genre", value="dub")
    wait_for(lambda: form.labelling.get("over"), 30)
    assert (form.labelling["done"], form.labelling["state"]) == (3, "done")
    assert table.dataset["song 000.wav"].genre == "dub"
    assert table.dataset["song 000.wav"].caption == before["song 000.wav"].caption
    assert table.dataset["song 002.wav"].caption.startswith("a sine")
    ask(table, "undo")
    assert table.dataset["song 002.wav"].caption == "", "all labels are one change"
    ask(form, "label")
    ask(form, "halt")
    wait_for(lambda: form.labelling.get("over"), 30)


def test_a_guest_s_page_neither_reads_nor_writes_files_of_the_host(page: Studio, lab: Any, folder: Path) -> None:
    guest = Studio(backend_of(lab), "ada", panes=False)
    form, table = guest.train_form, guest.dataset_table
    asked = [
        (form, "folder", {"path": str(folder)}), (form, "takes", {"which": "listed"}), (form, "label", {}), (form, "train", {}),
        (table, "save", {"name": "mine"}), (table, "download", {"form": "json"}), (table, "play", {"name": "song 000.wav"}),
    ]  # fmt: skip
    for component, kind, body in asked:
        said = heard(component)
        ask(component, kind, **body)
        assert of(said, "error")["text"], kind
    assert not len(table.dataset)
    assert not (Path(lab.library.folder) / "datasets").exists()
    assert lab.taught == []
    assert not table.saves
    guest.close()
