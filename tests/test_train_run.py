"""A training in a session: it gives way, it is kept, it goes on exactly, and what goes wrong is a sentence."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from acestep_lab import Recipe, Session
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, RecipeError, Stopped
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train import cache as cache_module
from acestep_lab.train.activation_tag import tagged
from acestep_lab.train.cache import Failed, Kept, LessonCache
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.labels import Label
from acestep_lab.train.rows import dataset_of, recipe_of, split
from acestep_lab.train.run_folder import RunFolder
from acestep_lab.train.song import Song
from tests.tiny_musicgen import tiny_musicgen

QUICK: dict[str, Any] = {"steps": 8, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "held_out_every": 4, "seed": 3}


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def takes(lab: Session) -> list[Take]:
    return [lab.make(Recipe(f"song {n}", seconds=2 + 0.2 * n, seed=n, steps=1)) for n in range(5)]


def until(ready: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for news of another thread."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def song(take: Take) -> Song:
    """A take as a row of a data set."""
    return Dataset.of_takes([take])[0]


def weights(folder: Path) -> bytes:
    """The adapter as it lies on disk, without what is said of how it came to be."""
    return (folder / "last" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(lab: Session, takes: list[Take], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRun]:
    """A training that nothing disturbed."""
    run = lab.train(takes, folder=tmp_path_factory.mktemp("whole") / "zafu", **QUICK)
    return run.result(), run


def at_step(run: TrainingRun, step: int, do: Callable[[], object]) -> None:
    """Let something happen on the worker thread once a step is made."""

    def listen(event: Event) -> None:
        if event.kind == "learnt" and event.value.step == step:
            do()

    run.subscribe(listen)


# -- a training --------------------------------------------------------------------------------------------------------


def test_it_learns_keeps_and_tells(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    run = lab.train(takes, folder=tmp_path / "zafu", preview_every=4, save_every=3, **QUICK)
    events: list[Event] = []
    run.subscribe(events.append)
    folder = run.result()
    kinds = [event.kind for event in events]
    assert json.loads(json.dumps([event.to_json() for event in events]))
    assert kinds.count("learnt") == len(run.curve) == 8
    assert [loss.step for loss in run.held_out_curve] == [0, 4, 8]
    assert [event.value for event in events if event.kind == "saved"] == [3, 6, 8]
    assert [preview.step for preview in run.previews] == [4, 8]
    assert {preview.bare.id for preview in run.previews} == {run.previews[0].bare.id}
    assert not np.array_equal(run.previews[1].take.latent, run.previews[1].bare.latent)
    assert lab.library.titles()[run.previews[1].take.id] == "preview, step 8"
    assert run.to_json()["step"] == run.saved_step == 8
    assert lab.lora(folder) == ("zafu",)
    lab.lora()


def test_the_adapter_remembers_how_it_came_to_be(whole: tuple[Path, TrainingRun]) -> None:
    with safe_open(whole[0] / "last" / "adapter_model.safetensors", "pt") as opened:
        facts = json.loads(opened.metadata()["acestep_lab"])
    assert facts["songs"] == 4
    assert facts["steps"] == 8
    assert facts["roads"] == ["words"]
    assert facts["config"]["rank"] == 2
    assert not any("/" in str(value) for value in facts.values())


def test_encoders_have_left_when_it_learns(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    run, there = lab.train(takes, folder=tmp_path / "run", **QUICK), []
    at_step(run, 1, lambda: there.append(lab.engines.on_device()))
    run.result()
    assert there == [()]


def test_the_song_s_own_codes_are_another_lesson(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    cache = LessonCache(tmp_path)
    words, codes = cache.make(lab.engine, [song(takes[0])], ("words", "codes"))  # type: ignore[arg-type]
    assert isinstance(words, Kept)
    assert isinstance(codes, Kept)
    one, other = cache.find(words.key), cache.find(codes.key)
    assert one is not None
    assert other is not None
    assert torch.equal(one.target, other.target)
    assert not torch.equal(one.context, other.context)
    assert lab.train(takes[:1], folder=tmp_path / "run", roads=("words", "codes"), **QUICK).result().is_dir()


# -- interrupted -------------------------------------------------------------------------------------------------------


def test_a_stop_keeps_and_the_same_call_goes_on_to_the_same_bytes(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun], tmp_path: Path
) -> None:
    run = lab.train(takes, folder=tmp_path / "zafu", **QUICK)
    at_step(run, 3, run.stop)
    with pytest.raises(Stopped, match="after step 3 of 8"):
        run.result()
    assert lab.lora(run.folder) == ("zafu",)
    lab.lora()
    again = lab.train(takes, folder=tmp_path / "zafu", **QUICK)
    again.result()
    assert [loss.step for loss in again.losses if not loss.held_out] == [4, 5, 6, 7, 8]
    assert [loss.step for loss in again.curve] == list(range(1, 9)), "the curve is that of the whole training"
    assert weights(again.folder) == weights(whole[0])


def test_a_killed_training_goes_on_from_its_last_save(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun], tmp_path: Path
) -> None:
    run = lab.train(takes, folder=tmp_path / "first", save_every=3, **QUICK)
    at_step(run, 5, lambda: shutil.copytree(tmp_path / "first", tmp_path / "killed"))
    run.result()
    (tmp_path / "killed" / ".draft-0123456789ab.pt").write_bytes(b"half a state")
    again = lab.train(takes, folder=tmp_path / "killed", **QUICK)
    again.result()
    assert again.losses[0].step == 4
    assert weights(again.folder) == weights(whole[0])


def test_a_finished_training_is_not_done_again(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun]
) -> None:
    before = weights(whole[0])
    again = lab.train(takes, folder=whole[0], **QUICK)
    again.result()
    assert again.losses == ()
    assert [loss.step for loss in again.curve] == [loss.step for loss in whole[1].curve]
    assert weights(whole[0]) == before


def test_another_training_does_not_go_on_in_its_folder(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun]
) -> None:
    with pytest.raises(RecipeError, match="other songs"):
        lab.train(takes[:-1], folder=whole[0], **QUICK).result()
    with pytest.raises(RecipeError, match="rank 2, not 3"):
        lab.train(takes, folder=whole[0], **QUICK | {"rank": 3}).result()
    about = json.loads((whole[0] / "run.json").read_text())
    (whole[0] / "run.json").write_text(json.dumps(about | {"mark": "another"}))
    with pytest.raises(RecipeError, match="of the checkpoint"):
        lab.train(takes, folder=whole[0], **QUICK).result()
    (whole[0] / "run.json").write_text(json.dumps(about))


def test_a_damaged_state_is_a_sentence(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "run" / "state.pt").write_bytes(b"no state")
    with pytest.raises(LibraryError, match=r"delete state\.pt"):
        lab.train(takes, folder=tmp_path / "run", **QUICK).result()


def test_a_full_disk_is_a_sentence_and_what_was_saved_stays(
    lab: Session, takes: list[Take], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, save = lab.train(takes, folder=tmp_path / "run", save_every=2, **QUICK), RunFolder.save

    def full(folder: RunFolder, trainer: Any, facts: Any) -> Path:
        if trainer.step > 2:
            raise LibraryError("The training's state cannot be written (No space left on device).")
        return save(folder, trainer, facts)

    monkeypatch.setattr(RunFolder, "save", full)
    with pytest.raises(LibraryError, match="No space left"):
        run.result()
    assert any("Training goes on" in message for message in run.messages)
    assert run.saved_step == 2
    monkeypatch.undo()
    assert lab.train(takes, folder=tmp_path / "run", **QUICK).result().is_dir()


# -- it gives way ------------------------------------------------------------------------------------------------------


def test_renders_are_made_between_two_of_its_steps_and_change_none(
    lab: Session, takes: list[Take], whole: tuple[Path, TrainingRun], tmp_path: Path
) -> None:
    run, asked, seen = lab.train(takes, folder=tmp_path / "run", **QUICK), [], []
    states: list[Any] = []
    run.subscribe(lambda event: states.append(event.value) if event.kind == "state" else None)

    def ask() -> None:
        asked.append(lab.start(Recipe("meanwhile", seconds=2, seed=1, steps=1)))
        asked[0].subscribe(lambda event: seen.append((run.state, run.step, lab.runs)) if event.kind == "take" else None)

    at_step(run, 4, ask)
    run.result()
    assert asked[0].take().recipe.caption == "meanwhile"
    assert seen[0][:2] == ("queued", 4)
    assert seen[0][2] == (asked[0], run)
    assert states == ["encoding", "training", "queued", "training", "done"]
    assert weights(run.folder) == weights(whole[0])


def test_what_a_session_is_asked_aside_is_answered_meanwhile(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    run, answers = lab.train(takes, folder=tmp_path / "run", **QUICK | {"steps": 200}), []
    until(lambda: run.step > 2)
    answers.append(lab.encode(takes[0]).shape)
    lab.lora()  # between two runs
    answers.append(run.state)
    run.stop()
    run.wait(20)
    assert answers[0][1] == 8
    assert answers[1] in ("training", "queued")


class Long(Run[int, int]):
    """Work in pieces, without a model."""

    kind = "training"
    gives_way = True

    def __init__(self, pieces: int = 400, name: str = "long") -> None:
        super().__init__(name)
        self.pieces, self.kept = pieces, -1

    def _result(self) -> int:
        return self.kept

    def work(self, run: Run[int, int]) -> Iterator[None]:
        self.enter("training")
        try:
            for piece in range(self.pieces):
                self.check()
                time.sleep(0.001)
                self._add(piece)
                self._measure((piece + 1) / self.pieces)
                self._emit("progress", self._fraction)
                yield
        finally:
            self.kept = len(self._pieces)


@dataclass
class Short:
    """A run that notes when it was done."""

    long: Long
    run: Run[int, int] = field(default_factory=lambda: Run("short"))
    at: int = -1

    def work(self, run: Run[int, int]) -> None:
        self.at = len(self.long._pieces)


@pytest.fixture
def jobs() -> Iterator[JobQueue]:
    jobs = JobQueue("test queue")
    yield jobs
    jobs.close()


def test_a_run_in_pieces_can_be_held_and_goes_on_where_it_was(jobs: JobQueue) -> None:
    long = Long()
    jobs.submit(long, long.work)
    until(lambda: len(long._pieces) > 3)
    jobs.hold(long)
    until(lambda: long.state == "queued")
    held = len(long._pieces)
    assert long.doing == "held back"
    time.sleep(0.03)
    assert len(long._pieces) == held
    jobs.release(long)
    until(lambda: len(long._pieces) > held)
    long.stop()
    assert long.wait(10)
    assert long.kept == len(long._pieces)


def test_a_stop_while_it_is_held_lets_it_keep_what_it_has(jobs: JobQueue) -> None:
    long = Long()
    jobs.submit(long, long.work)
    until(lambda: len(long._pieces) > 3)
    jobs.hold(long)
    until(lambda: long.state == "queued")
    long.stop()
    assert long.wait(10)
    assert (long.state, long.kept) == ("stopped", len(long._pieces))


def test_one_that_has_not_begun_is_stopped_at_once(jobs: JobQueue) -> None:
    jobs.pause()
    long = Long()
    jobs.submit(long, long.work)
    long.stop()
    assert long.state == "stopped"
    assert long.kept == -1


def test_two_in_pieces_come_one_after_the_other_and_both_let_others_go_first(jobs: JobQueue) -> None:
    first, second = Long(60, "first"), Long(60, "second")
    with Client("ada").acting():
        jobs.submit(first, first.work)
    until(lambda: len(first._pieces) > 3)
    with Client("bob").acting():
        second = Long(60, "second")
        jobs.submit(second, second.work)
        short = Short(first)
        jobs.submit(short.run, short.work)
    order: list[tuple[int, int]] = []
    second.subscribe(lambda event: order.append((len(first._pieces), len(second._pieces))))
    assert first.wait(20)
    assert second.wait(20)
    assert 3 < short.at < 60
    assert all(done == 60 for done, began in order if began)


def test_a_paused_queue_lets_the_one_under_way_go_on(jobs: JobQueue) -> None:
    long = Long(60)
    jobs.submit(long, long.work)
    until(lambda: len(long._pieces) > 3)
    jobs.pause()
    short = Short(long)
    jobs.submit(short.run, short.work)
    assert long.wait(20)
    assert short.at == -1
    jobs.resume()
    assert short.run.wait(10)


def test_the_queue_s_page_shows_both_as_they_stand(jobs: JobQueue) -> None:
    long, go, rows = Long(), threading.Event(), []
    jobs.submit(long, long.work)
    until(lambda: len(long._pieces) > 3)

    def work(run: Run[int, int]) -> None:
        run.enter("rendering")
        rows.extend(jobs.rows())
        go.set()

    jobs.submit(Run("short"), work)
    assert go.wait(10)
    assert [(row["title"], row["state"], row["position"]) for row in rows] == [
        ("short", "rendering", 0),
        ("long", "queued", 1),
    ]
    assert 0 < rows[1]["fraction"] < 1


def test_what_it_will_give_way_to_is_shown_before_it_while_a_piece_is_at_work(jobs: JobQueue) -> None:
    long, go, done = Long(3), threading.Event(), Short(Long())

    def slow(run: Run[int, int]) -> Iterator[None]:
        run.enter("training")
        assert go.wait(10)
        yield

    jobs.submit(long, slow)
    until(lambda: long.state == "training")
    jobs.submit(done.run, done.work)
    assert [row["title"] for row in jobs.rows()] == ["short", "long"]
    assert done.run.position == 0
    go.set()
    assert long.wait(10)
    assert done.at == 0


# -- lessons once ------------------------------------------------------------------------------------------------------


def test_the_second_time_no_encoder_is_asked(
    lab: Session, takes: list[Take], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    prepare = type(lab.engine).prepare
    monkeypatch.setattr(
        type(lab.engine), "prepare", lambda self, r, stop=None: made.append(len(r)) or prepare(self, r, stop)
    )
    sounds = [replace(one, audio=Audio(one.audio.samples * np.float32(0.5), one.audio.rate)) for one in takes]
    lab.train(sounds, folder=tmp_path / "one", **QUICK).result()
    assert made == [4, 1]
    lab.train(sounds, folder=tmp_path / "two", **QUICK | {"rank": 1}).result()
    assert made == [4, 1]


def test_the_silent_timbre_is_read_once_for_all_songs(
    tiny_original_turbo: Path, takes: list[Take], tmp_path: Path
) -> None:
    with Session.open(tiny_original_turbo, library=Library(tmp_path / "library")) as fresh:
        found = list(LessonCache(tmp_path / "lessons").make(fresh.engine, [song(one) for one in takes]))  # type: ignore[arg-type]
        with fresh.engines.devices.on("condition") as encoder:
            assert encoder.get_submodule("timbre_encoder").remembered.misses == 1
    assert [one.name for one in found] == [one.id for one in takes]


def test_a_damaged_lesson_is_made_again(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    cache, row = LessonCache(tmp_path), song(takes[0])
    (kept,) = cache.make(lab.engine, [row])  # type: ignore[arg-type]
    assert isinstance(kept, Kept)
    assert kept.new
    file = tmp_path / f"{kept.key}.safetensors"
    good = file.read_bytes()
    for bad in (b"", good[:200], good[:-1] + bytes([good[-1] ^ 1]), b"\xff" * len(good)):
        file.write_bytes(bad)
        (again,) = cache.make(lab.engine, [row])  # type: ignore[arg-type]
        assert isinstance(again, Kept)
        assert again.new
        assert cache.find(kept.key) is not None
    (last,) = cache.make(lab.engine, [row])  # type: ignore[arg-type]
    assert last == replace(kept, new=False)


def test_lessons_of_other_encoders_or_words_are_others(
    lab: Session, takes: list[Take], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = song(takes[0])
    other = row.edited(caption="another")
    keys = {cache_module._key(lab.engine, one, "words") for one in (row, other)}  # type: ignore[arg-type]
    monkeypatch.setitem(vars(lab.engine), "lesson_mark", "another")
    keys.add(cache_module._key(lab.engine, row, "words"))  # type: ignore[arg-type]
    assert len(keys) == 3


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def broken(folder: Path) -> Song:
    """A song whose file is damaged."""
    (folder / "broken.flac").write_bytes(b"fLaC and nothing more")
    return Song("broken.flac", 2.0, {"caption": Label("dub")}, folder / "broken.flac")


def test_a_song_that_cannot_be_read_is_left_out_and_named(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    run = lab.train([*map(song, takes), broken(tmp_path)], folder=tmp_path / "run", held_out=0.0, **QUICK)
    run.result()
    assert any(message.startswith("broken.flac is left out") for message in run.messages)
    (found,) = LessonCache(tmp_path / "x").make(lab.engine, [broken(tmp_path)])  # type: ignore[arg-type]
    assert isinstance(found, Failed)
    with pytest.raises(RecipeError, match="None of the songs"):
        lab.train([broken(tmp_path)], folder=tmp_path / "none", **QUICK).result()


def test_what_cannot_be_learnt_is_refused_before_any_work(lab: Session, takes: list[Take]) -> None:
    for wrong, said in (
        (([],), "at least one song"), (("no such folder",), "no such folder"), ((3,), "data set"), (([3],), "3"),
        ((takes, LoraConfigLike()), "A config"),
    ):  # fmt: skip
        with pytest.raises(LabError, match=said):
            lab.train(*wrong)
    for options, said in (
        ({"rank": 33}, "rank of 33"), ({"stepz": 3}, "stepz"), ({"roads": ("sky",)}, "road"), ({"preview": "zafu"}, "preview"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=said):
            lab.train(takes, **options)  # type: ignore[arg-type]
    assert lab.runs == ()


class LoraConfigLike:
    """Something else."""


def test_an_engine_that_cannot_be_taught_says_so(tmp_path: Path, takes: list[Take]) -> None:
    with (
        Session.open(tiny_musicgen(tmp_path / "musicgen-tiny"), library=Library(tmp_path / "library")) as lab,
        pytest.raises(RecipeError, match="cannot be taught"),
    ):
        lab.train(takes)


def test_of_few_songs_none_is_held_out(takes: list[Take]) -> None:
    songs = Dataset.of_takes(takes)
    learnt, held_out = split(songs, 0.3, 1)
    assert len(held_out) == 2
    assert {one.name for one in (*learnt, *held_out)} == {one.id for one in takes}
    assert split(songs[:3], 0.3, 1) == (songs.songs[:3], ())


@pytest.mark.parametrize(
    ("position", "caption"), [("prepend", "zafu, song 0"), ("append", "song 0, zafu"), ("replace", "zafu")]
)
def test_a_tag_is_learnt_where_the_data_set_says(takes: list[Take], position: str, caption: str) -> None:
    songs = dataset_of(tagged(Dataset.of_takes(takes), "zafu", position))
    assert recipe_of(songs[0], 2.0).caption == caption


def test_a_song_without_a_caption_is_learnt_by_its_genre(takes: list[Take]) -> None:
    songs = dataset_of(Dataset.of_takes(takes).edit(caption="", genre="dub"))
    assert recipe_of(songs[0], 2.0).caption == "dub"


# -- beforehand --------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_take_and_makes_nothing(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    plan = lab.train(takes, folder=tmp_path / "run", dry_run=True, **QUICK | {"steps": 1000, "batch": 2})
    assert "4 songs to learn from, 1 held out" in str(plan)
    assert "while it learns" in str(plan)
    assert plan.seconds >= 1000 * plan.seconds_per_step > 0
    assert plan.fits
    assert json.loads(json.dumps(plan.to_json()))["steps"] == 1000
    assert not (tmp_path / "run").exists()
    small = replace(plan, free_bytes=plan.peak - 1)
    assert any("gradient_checkpointing=True" in way for way in small.advice)
    assert any("batch=1" in way for way in small.advice)
