"""The table of a data set, the view of a training and the Train tab: what they do, and what they answer to nonsense."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Dataset
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.jobs.training import Loss, TrainingRun
from acestep_lab.train.labels import Label
from acestep_lab.train.song import Song
from acestep_lab.ui import formatters
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.dataset_table import MOST_LETTERS, MOST_ROWS, DatasetTableWidget
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.training_view import MOST_POINTS, TrainingViewWidget, memory_in_use, thinned
from tests.browser.conftest import wait_for
from tests.pretend import PretendSession
from tests.pretend_training import TeachingSession, songs


def heard(component: Any) -> list[dict[str, Any]]:
    """Everything a component sends from now on."""
    said: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: said.append({"kind": kind, "buffers": buffers, **body})
    return said


def of(said: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The last message of a kind."""
    return next(one for one in reversed(said) if one["kind"] == kind)


def ask(component: Any, kind: str, **body: Any) -> None:
    component.receive({"kind": kind, **body})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return songs(tmp_path_factory.mktemp("songs") / "mine")


@pytest.fixture
def table(folder: Path) -> Any:
    return DatasetTableWidget(Dataset.scan(folder))


def many(count: int) -> Dataset:
    return Dataset(tuple(Song(f"{n:05d}.wav", 60.0, {"caption": Label(f"tune {n}")}) for n in range(count)))


# -- the table ---------------------------------------------------------------------------------------------------------


def test_an_edit_gives_a_new_data_set_and_leaves_the_old_one_as_it_was(table: Any) -> None:
    before, told = table.dataset, []
    table.on("changed", lambda: told.append(table.dataset))
    ask(table, "edit", name="song 000.wav", field="bpm", value="120")
    assert table.dataset["song 000.wav"].bpm == 120
    assert before["song 000.wav"].bpm is None
    assert told == [table.dataset]
    ask(table, "undo")
    assert table.dataset.songs == before.songs
    ask(table, "redo")
    assert table.dataset["song 000.wav"].bpm == 120


def test_what_is_no_value_is_a_sentence_at_its_field_and_changes_nothing(table: Any) -> None:
    said, before = heard(table), table.dataset
    ask(table, "edit", name="song 000.wav", field="bpm", value="fast")
    assert of(said, "error")["field"] == "bpm"
    for body in (
        {"name": "song 000.wav", "field": "colour", "value": "red"},
        {"name": "nobody.wav", "field": "bpm", "value": 100},
        {"name": ["song 000.wav"], "field": "bpm", "value": 100},
        {"name": "song 000.wav", "field": "repeat", "value": 0},
        {"name": "song 000.wav", "field": "caption", "value": {"a": 1}},
        {"field": "bpm"},
    ):
        said.clear()
        ask(table, "edit", **body)
        assert of(said, "error")["text"], body
    assert table.dataset is before


def test_a_locked_field_stays_through_edits_of_one_and_of_many(table: Any) -> None:
    ask(table, "lock", name="song 000.wav", field="caption", on=True)
    caption, said = table.dataset["song 000.wav"].caption, heard(table)
    ask(table, "edit", name="song 000.wav", field="caption", value="other")
    assert "locked" in of(said, "error")["text"]
    ask(table, "choose_all", on=True)
    ask(table, "edit_chosen", field="caption", value="all alike")
    assert table.dataset["song 000.wav"].caption == caption
    assert {song.caption for song in table.dataset[1:]} == {"all alike"}
    ask(table, "undo")
    assert table.dataset["song 001.wav"].caption.endswith("slow and warm"), "many at once are one change"


def test_chosen_rows_are_written_locked_and_dropped_together(table: Any) -> None:
    ask(table, "choose", name="song 001.wav", on=True)
    ask(table, "choose", name="song 003.wav", on=True, since="song 001.wav")
    assert table.chosen == ("song 001.wav", "song 002.wav", "song 003.wav")
    ask(table, "edit_chosen", field="genre", value="dub")
    ask(table, "lock_chosen", on=True, field="genre")
    assert [song.genre for song in table.dataset] == ["", "dub", "dub", "dub", "", ""]
    assert table.dataset["song 002.wav"].labels["genre"].locked
    ask(table, "drop")
    assert len(table.dataset) == 3
    assert table.chosen == ()
    said = heard(table)
    ask(table, "drop")
    assert "No song is chosen" in of(said, "error")["text"]


def test_rows_stay_where_they_are_while_they_are_edited_under_a_filter(table: Any) -> None:
    ask(table, "narrow", text="2TH TUNE", only="")
    assert table.about["shown"] == 1
    ask(table, "edit", name="song 002.wav", field="caption", value="something else")
    assert table.about["shown"] == 1, "the row is not taken away under the hand"
    ask(table, "narrow", text="2th tune", only="")
    assert table.about["shown"] == 0
    ask(table, "narrow", text="", only="remarks")
    assert table.about["shown"] == 1
    said = heard(table)
    ask(table, "rows", start=0, count=10)
    assert of(said, "rows")["rows"][0]["name"] == "song 005.wav"
    ask(table, "narrow", text="", only="loudest")
    assert of(said, "error")["text"]


def test_only_rows_in_sight_are_sent_and_ten_thousand_are_quick() -> None:
    table: Any = DatasetTableWidget(many(10_000))
    said, began = heard(table), time.perf_counter()
    ask(table, "rows", start=5_000, count=100_000)
    ask(table, "edit", name="05000.wav", field="bpm", value=90)
    ask(table, "rows", start=5_000, count=30)
    took = time.perf_counter() - began
    rows = of(said, "rows")["rows"]
    assert len(of(said[:1], "rows")["rows"]) == MOST_ROWS
    assert rows[0]["cells"]["bpm"]["value"] == 90
    assert took < 2.0
    ask(table, "rows", start=-5, count=-5)
    assert of(said, "rows")["rows"] == []


def test_a_cell_is_told_its_first_letters_and_whoever_edits_it_all_of_them() -> None:
    lyrics = "la la la\n" * 200
    table: Any = DatasetTableWidget(Dataset((Song("a.wav", 60.0, {"lyrics": Label(lyrics, "guessed", sure=0.5)}),)))
    said = heard(table)
    ask(table, "rows", start=0, count=1)
    cell = of(said, "rows")["rows"][0]["cells"]["lyrics"]
    assert (len(cell["value"]), cell["long"], cell["source"], cell["sure"]) == (MOST_LETTERS, True, "guessed", 0.5)
    ask(table, "text", name="a.wav", field="lyrics")
    assert of(said, "text")["value"] == lyrics


def test_a_sound_is_read_when_it_is_played_and_a_missing_one_is_a_sentence(table: Any) -> None:
    said = heard(table)
    ask(table, "play", name="song 001.wav")
    track = wait_for(lambda: next((one for one in said if one["kind"] == "sound"), None), 10)["track"]
    ask(table, "bytes", id=track["id"])
    assert bytes(of(said, "bytes")["buffers"][0])[:4] == b"RIFF"
    ask(table, "bytes", id="sound-of-nobody")
    assert of(said, "error")["text"]
    table.dataset = Dataset((Song("gone.wav", 3.0, path=Path("gone.wav")),))
    said.clear()
    ask(table, "play", name="gone.wav")
    assert wait_for(lambda: [one for one in said if one["kind"] == "error"], 10)


def test_a_check_remarks_on_its_rows_beside_what_is_edited_meanwhile(table: Any) -> None:
    said = heard(table)
    ask(table, "check")
    ask(table, "edit", name="song 000.wav", field="bpm", value=99)
    wait_for(lambda: any(one["kind"] == "said" for one in said), 20)
    wait_for(lambda: not table.busy, 5)
    assert table.dataset["song 000.wav"].bpm == 99
    assert any("1.5 s" in str(one) for one in table.dataset["song 005.wav"].remarks)


def test_a_data_set_takes_more_songs_and_calls_a_namesake_by_its_folder(folder: Path, tmp_path: Path) -> None:
    first, other = Dataset.scan(folder), Dataset.scan(songs(tmp_path / "yours", 2))
    both = first.add(first).add(other)
    assert len(both) == 8
    assert "yours/song 000.wav" in both
    assert both.undo().songs == first.songs


# -- the view ----------------------------------------------------------------------------------------------------------


def a_run(tmp_path: Path, steps: int = 8) -> TrainingRun:
    return TrainingRun("zafu", steps, 3, 0, tmp_path, 10.0)


def test_a_view_follows_a_training_to_its_end_and_then_weighs_what_it_learnt(tmp_path: Path, folder: Path) -> None:
    lab: Any = TeachingSession(tmp_path / "library", pause=0.0)
    from acestep_lab.train.lora import LoraConfig

    run = lab.train(Dataset.scan(folder), LoraConfig(steps=8, preview_every=4))
    view: Any = TrainingViewWidget(run)
    run.result()
    wait_for(lambda: view.run["over"], 5)
    assert [point[0] for point in view.curves["running"]] == list(range(1, 9))
    assert [point[0] for point in view.curves["held_out"]] == [4, 8]
    bare, *with_it = view.previews
    assert bare["bare"]
    assert [one["step"] for one in with_it] == [4, 8]
    assert {one["seed"] for one in view.previews} == {7}
    ask(view, "weigh", strength=0.7)
    wait_for(lambda: lab.adapters, 5)
    assert lab.adapters[0][2] == 0.7
    said = heard(view)
    for strength in (9.0, "much", None):
        ask(view, "weigh", strength=strength)
        assert of(said, "error")["text"]
        said.clear()
    ask(view, "weigh", strength=0.0)
    wait_for(lambda: not lab.adapters, 5)
    lab.close()


def test_what_changed_is_measured_without_and_with_it_and_in_the_songs(tmp_path: Path, folder: Path) -> None:
    lab: Any = TeachingSession(tmp_path / "library", pause=0.0)
    from acestep_lab.train.lora import LoraConfig

    data = Dataset.scan(folder)
    run = lab.train(data, LoraConfig(steps=2, preview_every=2))
    view: Any = TrainingViewWidget(run, songs=lambda: data[:2])
    run.result()
    ask(view, "measure")
    wait_for(lambda: view.changes.get("rows"), 20)
    rows = {row["kind"]: row for row in view.changes["rows"]}
    assert rows["loudness"]["before"] is not None
    assert rows["tempo"]["songs"] is not None
    assert view.changes["songs"] == 2
    assert view.changes["seeds"] == 4
    low, high = rows["loudness"]["chance"]
    assert low <= rows["loudness"]["before"] <= high, "chance is of its own seed too"
    lab.close()


def test_a_stopped_training_keeps_and_can_be_put_on(tmp_path: Path, folder: Path) -> None:
    lab: Any = TeachingSession(tmp_path / "library", pause=0.0, hold=threading.Event())
    from acestep_lab.train.lora import LoraConfig

    run = lab.train(Dataset.scan(folder), LoraConfig(steps=8))
    view: Any = TrainingViewWidget(run)
    wait_for(lambda: run.step == 4, 10)
    ask(view, "stop")
    wait_for(lambda: view.run["over"], 10)
    assert view.run["state"] == "stopped"
    assert view.run["saved"] == 4
    lab.close()


def test_a_view_without_a_training_and_a_run_that_is_none_are_sentences(tmp_path: Path) -> None:
    view: Any = TrainingViewWidget()
    said = heard(view)
    for kind, body in (
        ("stop", {}),
        ("weigh", {"strength": 1.0}),
        ("measure", {}),
        ("peaks", {"id": "x"}),
        ("bytes", {"id": "x"}),
    ):
        said.clear()
        ask(view, kind, **body)
        assert of(said, "error")["text"], kind
    with pytest.raises(LabError):
        view.follow("a run")  # type: ignore[arg-type]
    view.follow(a_run(tmp_path))
    ask(view, "weigh", strength=1.0)
    assert "Nothing was learnt" in of(said, "error")["text"]


def test_a_long_curve_is_thinned_to_means_and_a_loss_that_is_no_number_is_left_out() -> None:
    losses = [Loss(step, 1.0 if step % 2 else float("nan")) for step in range(10_000)]
    points = thinned(losses)
    assert len(points) <= MOST_POINTS
    assert {loss for _, loss, _ in points} == {1.0}
    assert points[-1][0] == 9_999


def test_memory_in_use_is_what_the_process_has() -> None:
    assert memory_in_use() > 10**7


# -- the tab -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = TeachingSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()


def a_page(session: Any) -> Studio:
    """The host's page."""
    return Studio(backend_of(session), panes=False)


def idle(page: Studio) -> None:
    wait_for(lambda: not page.train_form.busy, 20)


def test_the_tab_is_for_the_host_and_a_checkpoint_that_learns(tmp_path: Path, lab: Any) -> None:
    host, guest = a_page(lab), Studio(backend_of(lab), "ada", panes=False)
    other = PretendSession(tmp_path / "other")
    cannot = a_page(other)
    assert [one.train_form.offered for one in (host, guest, cannot)] == [True, False, False]
    assert [one.tabs.train for one in (host, guest, cannot)] == [True, False, False]
    assert guest.dataset_table.hidden
    said = heard(guest.train_form)
    ask(guest.train_form, "folder", path="/")
    assert "host" in of(said, "error")["text"]
    other.close()


def test_a_folder_becomes_a_table_a_plan_and_a_training_that_is_followed(lab: Any, folder: Path) -> None:
    page = a_page(lab)
    form, table, view = page.train_form, page.dataset_table, page.training_view
    ask(form, "open", on=True)
    ask(form, "folder", path=str(folder))
    idle(page)
    assert len(table.dataset) == 6
    assert not table.hidden
    ask(form, "setting", field="steps", value="8")
    ask(form, "setting", field="preview_every", value="4")
    ask(form, "setting", field="targets", value="attention+mlp")
    ask(form, "foretell")
    idle(page)
    assert form.plan["words"][0].startswith("6 songs")
    ask(table, "edit", name="song 000.wav", field="bpm", value=90)
    assert form.plan == {}, "it was of other songs"
    ask(form, "train")
    idle(page)
    data, config = lab.taught[-1]
    assert data["song 000.wav"].bpm == 90
    assert (config.steps, config.preview_every, config.targets) == (8, 4, ("attention", "mlp"))
    wait_for(lambda: view.run.get("over"), 20)
    assert view.run["state"] == "done"
    ask(view, "weigh", strength=0.5)
    wait_for(lambda: view.worn.get("strength") == 0.5 and not view.worn["waits"], 10)
    assert lab.adapters[0][2] == 0.5
    ask(view, "weigh", strength=0.0)
    wait_for(lambda: not lab.adapters, 10)
    page.close()


def test_a_page_that_reopens_finds_table_settings_and_training(lab: Any, folder: Path) -> None:
    page = a_page(lab)
    ask(page.train_form, "open", on=True)
    ask(page.train_form, "folder", path=str(folder))
    idle(page)
    beside = a_page(lab)
    ask(page.dataset_table, "edit", name="song 001.wav", field="genre", value="dub")
    assert beside.dataset_table.dataset["song 001.wav"].genre == "dub", "two tabs show one table"
    ask(page.train_form, "setting", field="steps", value="4")
    ask(page.train_form, "train")
    idle(page)
    page.close()
    again = a_page(lab)
    assert again.dataset_table.dataset["song 001.wav"].genre == "dub"
    assert {row["name"]: row["value"] for row in again.train_form.settings}["steps"] == "4"
    assert again.training_view.followed is page.training_view.followed
    assert again.train_form.opened


def test_settings_that_make_no_sense_are_sentences_at_their_fields(lab: Any) -> None:
    page = a_page(lab)
    said = heard(page.train_form)
    for field, value in (("rank", "0"), ("rank", "many"), ("steps", "1.5"), ("learning_rate", "-1"), ("kind", "magic")):
        said.clear()
        ask(page.train_form, "setting", field=field, value=value)
        assert of(said, "error")["field"] == field
    for field, value in (("folder", "/"), ("__class__", "x")):
        said.clear()
        ask(page.train_form, "setting", field=field, value=value)
        assert "no setting" in of(said, "error")["text"], field
    ask(page.train_form, "setting", field="learning_rate", value="1e-3")
    ask(page.train_form, "setting", field="learning_rate", value="")
    assert {row["name"]: row["value"] for row in page.train_form.settings}["learning_rate"] == ""
    ask(page.train_form, "train")
    assert "no song" in of(said, "error")["text"]


def test_takes_are_learnt_from_beside_a_folder(lab: Any, folder: Path) -> None:
    from acestep_lab import Recipe

    take = lab.keep(lab.make(Recipe("a lute", seconds=2.0, seed=3)))
    page = a_page(lab)
    assert page.train_form.songs["listed"] == 1
    for which in ("listed", "hand", "starred", "nobody"):
        ask(page.train_form, "takes", which=which)
        idle(page)
    assert [song.name for song in page.dataset_table.dataset] == [take.id]
    ask(page.train_form, "folder", path=str(folder))
    idle(page)
    assert len(page.dataset_table.dataset) == 7
    said = heard(page.train_form)
    ask(page.train_form, "folder", path=str(folder / "nowhere"))
    idle(page)
    wait_for(lambda: any(one["kind"] == "error" for one in said), 5)
    ask(page.train_form, "clear")
    assert not len(page.dataset_table.dataset)


# -- in a notebook -----------------------------------------------------------------------------------------------------


def test_a_notebook_shows_a_data_set_and_a_training_as_widgets(tmp_path: Path, folder: Path) -> None:
    known = formatters.FORMATTERS
    data = Dataset.scan(folder)
    bundle: Any = known["acestep_lab.train.dataset", "Dataset"](data)
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "<table" in shown["text/html"]
    assert shown["text/plain"] == repr(data)
    bundle = known["acestep_lab.jobs.training", "TrainingRun"](a_run(tmp_path))
    shown = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_a_table_alone_with_a_session_shows_what_it_is_handed(lab: Any, folder: Path) -> None:
    table: Any = DatasetTableWidget(Dataset.scan(folder), session=lab)
    assert len(table.dataset) == 6
    assert not table.hidden
    table.close()


def test_a_table_refuses_what_is_no_data_set() -> None:
    with pytest.raises(RecipeError):
        DatasetTableWidget(7)
    assert isinstance(Audio, type)
