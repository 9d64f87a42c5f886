"""A session turns a recipe into a take, shows every step, can be stopped, and always makes the same from the same."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import (
    Audio,
    CheckpointError,
    LabError,
    Library,
    LibraryError,
    Recipe,
    RecipeError,
    Session,
    Stopped,
)
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.jobs.events import Event
from acestep_lab.models.device_manager import EngineDevices
from acestep_lab.models.loading import Checkpoint
from tests.closeness import assert_near
from tests.tiny import tiny_diffusers

WORDS = Recipe("slow dub techno, tape hiss", seconds=2, seed=7, steps=4, bpm=118, language="en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_diffusers(tmp_path_factory.mktemp("tiny") / "base", turbo=False, lm=False)


@pytest.fixture
def lab(folder: Path, tmp_path: Path) -> Iterator[Session]:
    with Session(Ace15Engine(Checkpoint.open(folder)), library=Library(tmp_path)) as session:
        yield session


def test_a_sentence_becomes_a_take_of_the_asked_length_at_the_checkpoints_rate(lab: Session) -> None:
    take = lab.make(WORDS)
    geometry = lab.engine.checkpoint.geometry
    assert take.audio.rate == geometry.rate
    assert take.audio.seconds == pytest.approx(2, abs=1 / geometry.frames_per_second)
    assert take.latent.shape == (geometry.frames(2), geometry.latent_channels)
    assert take.audio.peak == pytest.approx(10 ** (-1 / 20), abs=1e-4)


def test_a_checkpoint_without_a_planner_plans_with_one_that_is_handed_over(
    folder: Path, tiny_turbo: Path, tmp_path: Path
) -> None:
    with Session.open(folder, library=tmp_path) as silent:
        assert not silent.engine.checkpoint.has_lm
        with pytest.raises(RecipeError, match=r"has no planner.*lm="):
            silent.plan(WORDS)
    with Session.open(folder, library=tmp_path, lm=tiny_turbo / "lm") as lab:
        assert lab.engine.checkpoint.has_lm
        plan = lab.plan(WORDS)
        assert plan.bpm == 118
        assert len(plan.codes) == lab.engine.checkpoint.geometry.codes(2)
    with pytest.raises(CheckpointError, match="No planner is called 'nowhere'"):
        Session.open(folder, library=tmp_path, lm="nowhere")


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_another_take(lab: Session) -> None:
    one, again = lab.make(WORDS), lab.make(WORDS)
    other = lab.make(WORDS.replace(seed=8))
    assert np.array_equal(one.audio.samples, again.audio.samples)
    assert one.id == again.id
    assert abs(np.corrcoef(one.latent.ravel(), other.latent.ravel())[0, 1]) < 0.9


def test_a_take_carries_the_recipe_with_everything_resolved(lab: Session) -> None:
    take = lab.make(Recipe("anything", seconds=1))
    assert take.recipe.seed is not None
    assert take.recipe.steps == lab.engine.checkpoint.row.steps
    assert lab.make(take.recipe).id == take.id


def test_every_step_is_a_frame_and_the_last_estimate_is_the_song(lab: Session) -> None:
    run = lab.start(WORDS)
    steps = list(run)
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert all(step.state.shape == step.estimate.shape == run.take().latent.shape for step in steps)
    assert_near(torch.from_numpy(run.take().latent.copy()), steps[-1].estimate)
    assert list(run) == steps


def test_stopping_takes_effect_within_a_step_and_the_session_lives_on(lab: Session) -> None:
    run = lab.start(WORDS.replace(steps=400))
    for step in run:
        if step.index == 2:
            run.stop()
    assert run.state == "stopped"
    assert len(run.steps) <= 5
    with pytest.raises(Stopped):
        run.take()
    run.stop()
    assert lab.make(WORDS).seconds > 0


def test_a_step_can_be_kept_even_of_a_stopped_run(lab: Session) -> None:
    run = lab.start(WORDS.replace(steps=400))
    for step in run:
        if step.index == 2:
            run.stop()
    kept = run.keep(2)
    assert np.array_equal(kept.latent, run.steps[2].estimate.numpy())
    with pytest.raises(RecipeError, match="no step 999"):
        run.keep(999)


def test_runs_wait_for_each_other_and_say_their_place(lab: Session) -> None:
    first, second, third = (lab.start(WORDS.replace(seed=seed, steps=30)) for seed in range(3))
    assert (second.position, third.position) == (1, 2)
    second.stop()
    assert third.take().recipe.seed == 2
    assert (first.state, second.state, third.state) == ("done", "stopped", "done")


def test_a_listener_hears_states_in_order_and_a_broken_one_costs_nothing(lab: Session) -> None:
    heard: list[str] = []

    def broken(event: Event) -> None:
        raise ValueError("a bug in a view")

    run = lab.start(WORDS)
    run.subscribe(broken)
    run.subscribe(lambda event: heard.append(event.value) if event.kind == "state" else None)
    assert run.take().seconds > 0
    assert heard[-2:] == ["decoding", "done"]


def test_a_re_roll_with_a_new_seed_runs_no_encoder(folder: Path, tmp_path: Path) -> None:
    entered: list[str] = []
    with Session(Ace15Engine(Checkpoint.open(folder)), library=Library(tmp_path)) as lab:
        real = lab.engines.devices

        class Counting:
            def on(self, name: str, checkpoint: str | None = None):  # type: ignore[no-untyped-def]
                entered.append(name)
                return real.on(name, checkpoint)

            def of(self, checkpoint: str) -> EngineDevices:
                return EngineDevices(self, checkpoint)  # type: ignore[arg-type]

            def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
                return getattr(real, name)

        with Session(Ace15Engine(lab.engine.checkpoint), library=lab.library, devices=Counting()) as counted:  # type: ignore[arg-type]
            counted.make(WORDS)
            assert "text" in entered
            entered.clear()
            counted.make(WORDS.replace(seed=8))
    assert "text" not in entered


@pytest.mark.parametrize(("wrong", "says"), [({"seconds": 0}, "cannot be made"), ({"steps": 0}, "between")])
def test_what_the_checkpoint_cannot_make_is_refused_before_any_work(
    lab: Session, wrong: dict[str, float], says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        lab.start(WORDS.replace(**wrong))
    assert lab.runs == ()


@pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning")
def test_the_take_equals_the_diffusers_pipeline_with_the_same_noise(lab: Session, folder: Path) -> None:
    from diffusers import AceStepPipeline

    from acestep_lab.diffusion import sampler

    pipe = AceStepPipeline.from_pretrained(folder)
    recipe = WORDS.replace(guidance="apg", guidance_scale=4.0, shift=3.0, lyrics="[Verse]\nhello there")
    take, geometry = lab.make(recipe), lab.engine.checkpoint.geometry
    start = sampler.noises([7], geometry.frames(2), geometry.latent_channels)
    theirs = pipe(
        prompt=recipe.caption, lyrics=recipe.lyrics, audio_duration=2.0, num_inference_steps=4, guidance_scale=4.0, shift=3.0,
        latents=start, bpm=118, vocal_language="en",
    ).audios[0]  # fmt: skip
    assert_near(take.audio.samples, theirs.numpy())


def test_a_take_is_on_disk_the_moment_it_exists_and_opens_by_id_and_by_file(lab: Session, tmp_path: Path) -> None:
    take = lab.make(WORDS)
    assert take.id in lab.library
    assert lab.load(take.id) == take
    again = lab.load(take.export(tmp_path / "song.flac"))
    assert again.recipe == take.recipe
    assert lab.verify(again).word == "same"
    assert lab.compare(take, lab.make(WORDS.replace(seed=8))).fields == {"seed": (7, 8)}


def test_a_library_that_cannot_keep_a_take_never_costs_it(lab: Session, tmp_path: Path) -> None:
    class Full(Library):
        def keep(self, take):  # type: ignore[no-untyped-def]
            raise LibraryError("The disk is full.")

    with Session(lab.engine, library=Full(tmp_path / "full")) as full:
        run = full.start(WORDS)
        assert run.take().seconds > 0
    assert any("safe in memory" in message for message in run.messages)


# --- nothing lost ----------------------------------------------------------------------------------------------------


def test_more_songs_than_any_cache_holds_are_made_in_one_run(lab: Session) -> None:
    run = lab.start([WORDS.replace(caption=f"song number {number}", seconds=0.5, steps=1) for number in range(130)])
    takes = run.takes()
    assert [take.recipe.caption for take in takes] == [f"song number {number}" for number in range(130)]
    assert len(lab.library) == 130
    assert lab.verify(takes[0]).word == lab.verify(takes[129]).word == "same"


def test_songs_finished_before_a_stop_are_kept_and_in_the_run(lab: Session) -> None:
    def stop_in_the_third(event: Event) -> None:
        if event.kind == "take" and len(run.made) == 2:
            run.stop()

    recipes = [WORDS.replace(seed=seed) for seed in range(3)]
    run = lab.start(recipes)
    run.subscribe(stop_in_the_third)
    with pytest.raises(Stopped, match="2 of its 3 takes made"):
        run.takes()
    assert list(run.made) == [0, 1]
    assert {take.id for take in run.made.values()} == set(lab.library.ids())
    for place, take in run.made.items():
        assert lab.make(recipes[place]) == take


def test_a_song_is_kept_before_the_next_is_decoded_and_a_failure_costs_only_the_rest(
    lab: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    real = lab.engine.decode

    def decode(*args: Any, **named: Any) -> Any:
        decoded.append(len(lab.library))
        if len(decoded) == 3:
            raise LabError("The memory ran out.")
        return real(*args, **named)

    monkeypatch.setattr(lab.engine, "decode", decode)
    run = lab.start([WORDS.replace(seed=seed) for seed in range(3)])
    with pytest.raises(LabError, match="ran out"):
        run.takes()
    assert decoded == [0, 1, 2]
    assert set(lab.library.ids()) == {take.id for take in run.made.values()}


def test_the_words_of_a_song_are_let_go_once_its_loop_is_through(lab: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    real = lab.engine.decode
    monkeypatch.setattr(lab.engine, "decode", lambda song, *rest: decoded.append(song) or real(song, *rest))
    run = lab.start([WORDS.replace(seed=seed) for seed in range(2)])
    run.takes()
    assert [song.conditions for song in decoded] == [(), ()]
    assert run.keep(1, item=1).recipe.seed == 1


def test_recordings_that_takes_start_from_are_kept_however_many_there_are(lab: Session) -> None:
    from acestep_lab import Audio, Repaint

    sounds = [
        Audio(0.3 * np.sin(np.arange(4000) * (0.05 + 0.001 * number), dtype=np.float32)[None], 8000).on_grid()
        for number in range(4)
    ]
    lab._sounds._known.most = 2
    recipes = [WORDS.replace(seconds=None, steps=1, task=Repaint(sound, ((0.05, 0.1),))) for sound in sounds]
    takes = lab.start(recipes).takes()
    assert [lab.library.open_sound(sound.id) for sound in sounds] == sounds
    lab._sounds._known.clear()
    assert [lab.verify(take).word for take in takes] == ["same"] * 4


def test_a_recording_has_the_same_id_when_it_comes_back_from_its_file(tmp_path: Path) -> None:
    from acestep_lab import Audio

    quiet = Audio(np.array([[-0.0, 0.5, -0.25, 0.0]], np.float32), 8000)
    assert Audio.read(quiet.write(tmp_path / "quiet.flac")).id == quiet.id


# --- threads ---------------------------------------------------------------------------------------------------------


WAITING: dict[str, Callable[[Session, Any], object]] = {
    "make": lambda lab, run: lab.make(WORDS),
    "vary": lambda lab, run: lab.vary(WORDS, [1]),
    "repaint": lambda lab, run: lab.repaint(run.made[0], (0.1, 0.2)),
    "take": lambda lab, run: run.take(),
    "for": lambda lab, run: list(run),
    "verify": lambda lab, run: lab.verify(run.made[0]),
    "profile": lambda lab, run: lab.profile(WORDS),
}


@pytest.mark.parametrize("verb", WAITING)
def test_a_verb_that_waits_inside_a_listener_is_a_sentence_and_starts_nothing(lab: Session, verb: str) -> None:
    said: list[str] = []

    def listener(event: Event) -> None:
        if event.kind == "take":
            try:
                WAITING[verb](lab, run)
            except LabError as error:
                said.append(str(error))

    run = lab.start(WORDS)
    run.subscribe(listener)
    take = run.take()
    assert "very thread it is called on" in said[0]
    assert lab.library.ids() == [take.id]
    assert lab.runs == ()


def test_small_jobs_are_done_inside_a_listener(lab: Session) -> None:
    heard: list[Any] = []

    def listener(event: Event) -> None:
        if event.kind == "step" and not heard:
            heard.extend((lab.preview(event.value, 1.0, 0.5).seconds, len(lab.encode(source)), run.keep(0).seconds))

    source = lab.make(WORDS.replace(seed=1))
    run = lab.start(WORDS)
    run.subscribe(listener)
    assert run.take() == lab.make(WORDS)
    assert heard == pytest.approx([0.5, 100, 2.0], abs=0.05)


def test_a_run_is_awaited_and_looked_at_in_an_event_loop(lab: Session) -> None:
    async def main() -> tuple[list[int], Any]:
        run = lab.start(WORDS)
        return [step.index async for step in run], await run

    steps, take = asyncio.run(main())
    assert steps == [0, 1, 2, 3]
    assert take == lab.make(WORDS)


def test_five_dropped_sessions_leave_no_threads_and_no_sessions(folder: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    gone: list[weakref.ref[Session]] = []
    for number in range(5):
        lab = Session(Ace15Engine(Checkpoint.open(folder)), library=Library(tmp_path / str(number)))
        lab.make(WORDS.replace(seconds=0.5, steps=1))
        gone.append(weakref.ref(lab))
    del lab
    gc.collect()
    end = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before
    assert [ref() for ref in gone] == [None] * 5


def test_what_is_open_already_costs_nothing_more(lab: Session) -> None:
    cost = lab.cost(Path(lab.engine.checkpoint.folder))  # type: ignore[attr-defined]
    assert (cost.more_bytes, dict(cost.shared)) == (0, {})
    assert str(cost).startswith(f"{lab.name}: open already;")


def test_a_sound_without_samples_is_a_sentence_wherever_it_is_heard(lab: Session) -> None:
    empty = Audio(np.zeros((2, 0), np.float32), 48000)
    for ask in (lab.encode, lab.codes, lab.analyze):
        with pytest.raises(LabError):
            ask(empty)
