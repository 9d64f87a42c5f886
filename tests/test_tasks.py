"""Every task a verb of the session, on a tiny random checkpoint: lengths, levels, what stays and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import (
    Audio,
    Library,
    LibraryError,
    Plan,
    Recipe,
    RecipeError,
    Region,
    Session,
    SourceError,
    Stopped,
    Take,
)
from acestep_lab.engines.ace15.engine import Ace15Engine, build
from acestep_lab.engines.ace15.lint import lint
from acestep_lab.errors import LintWarning
from acestep_lab.jobs.events import Event
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.tiers import LEVEL_BY_NAME
from acestep_lab.prompt.tasks import Cover, Extend, Extract, FlowEdit, Lego, Repaint, Retake, Text2Music
from tests.closeness import assert_near
from tests.tiny import RATE, tiny_diffusers, tiny_original

WORDS = Recipe("slow dub techno", "[Verse]\nla", 2.0, 7, 118, steps=3)
HOP = 160
REGIONS = (Region(0.2, 0.4), Region(0.9, 1.1), Region(1.5, 1.7))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("tasks")
    checkpoint = Checkpoint.open(tiny_diffusers(root / "base", turbo=False, lm=False))
    with Session(Ace15Engine(checkpoint), library=Library(root / "takes")) as session:
        yield session


@pytest.fixture(scope="module")
def take(lab: Session) -> Take:
    return lab.make(WORDS)


@pytest.fixture(scope="module")
def recording() -> Audio:
    """A mono recording at another rate, of no whole number of frames."""
    time = np.arange(24_001) / 11_025
    return Audio(0.4 * np.sin(2 * np.pi * 200 * time * (1 + 0.2 * time))[None], 11_025)


def outside(regions: Any, crossfade: float, samples: int) -> np.ndarray:
    """Samples that lie neither in a region nor in its crossfade."""
    at = np.arange(samples) / RATE
    return np.all([(at < r.start - crossfade) | (at >= r.end + crossfade) for r in regions], axis=0)


# --- repaint ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["conservative", "balanced", "aggressive"])
def test_outside_three_regions_and_their_crossfades_every_sample_stays(lab: Session, take: Take, mode: str) -> None:
    new = lab.repaint(take, REGIONS, "brushed snare", mode=mode)
    keep = outside(REGIONS, {"conservative": 0.05, "balanced": 0.025, "aggressive": 0.0}[mode] + 1 / RATE, 16_000)
    assert np.array_equal(new.audio.samples[:, keep], take.audio.samples[:, keep])
    for region in REGIONS:
        inside = region.samples(RATE)
        assert np.abs(new.audio.samples[:, inside] - take.audio.samples[:, inside]).max() > 1e-3
    assert new.parents == (take.id,)


def test_a_repaint_of_a_recording_keeps_its_length_and_its_samples(lab: Session, recording: Audio) -> None:
    new = lab.repaint(recording, Region(0.5, 0.8), "brushed snare", wave_crossfade=0.01, steps=3)
    same = recording.with_channels(2).resample(RATE)
    length = new.audio.samples.shape[1]
    keep = outside([Region(0.5, 0.8)], 0.0102, length)
    assert length == round(recording.seconds * RATE) <= same.samples.shape[1]
    assert np.array_equal(new.audio.samples[:, keep], same.samples[:, :length][:, keep])


def test_a_repaint_of_our_own_take_starts_from_its_latent_without_the_encoder(lab: Session, take: Take) -> None:
    assert torch.equal(lab.engine.encode(take), torch.from_numpy(take.latent.copy()))
    new = lab.repaint(take, Region(0.9, 1.1), mode="aggressive")
    assert np.array_equal(new.latent[:45], take.latent[:45])
    assert np.array_equal(new.latent[55:], take.latent[55:])


def test_a_take_of_another_autoencoder_is_encoded_from_its_sound(lab: Session, take: Take) -> None:
    stranger = take.replace(made_with={**take.made_with, "vae": "another"})
    assert not torch.equal(lab.engine.encode(stranger), torch.from_numpy(take.latent.copy()))


def test_a_repaint_keeps_the_level_of_its_source(lab: Session, take: Take) -> None:
    new = lab.repaint(take, Region(0.9, 1.1))
    assert new.made_with["gain"] == take.made_with["gain"]


def test_a_repaint_has_words_of_its_own_and_else_those_of_its_source(lab: Session, take: Take) -> None:
    own = lab.repaint(take, Region(0.9, 1.1), "brushed snare", "[Chorus]\nhey", seed=3)
    inherited = lab.repaint(take, Region(0.9, 1.1), seed=3)
    assert (own.recipe.caption, own.recipe.lyrics) == ("brushed snare", "[Chorus]\nhey")
    assert (inherited.recipe.caption, inherited.recipe.lyrics) == (WORDS.caption, WORDS.lyrics)
    assert inherited.recipe.bpm == 118
    assert inherited.recipe.steps == 3
    assert inherited.recipe.seed == 3
    assert not np.array_equal(own.audio.samples, inherited.audio.samples)


def test_repainting_a_repaint_keeps_what_both_kept(lab: Session, take: Take) -> None:
    first = lab.repaint(take, Region(0.2, 0.4))
    second = lab.repaint(first, Region(1.5, 1.7))
    keep = outside([Region(1.5, 1.7)], 0.03, 16_000)
    assert np.array_equal(second.audio.samples[:, keep], first.audio.samples[:, keep])


# --- extend ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.0), (0.0, 0.73), (0.5, 1.0)])
def test_an_extension_has_the_length_asked_for_and_keeps_the_source(
    lab: Session, take: Take, before: float, after: float
) -> None:
    new = lab.extend(take, before, after, "a brass fanfare")
    start, samples = round(before * RATE), take.audio.samples.shape[1]
    assert new.audio.samples.shape[1] == start + samples + round(after * RATE)
    fade = round(0.026 * RATE)
    kept = slice(fade if before else 0, samples - (fade if after else 0))
    placed = new.audio.samples[:, start : start + samples]
    assert np.array_equal(placed[:, kept], take.audio.samples[:, kept])
    for part in (new.audio.samples[:, :start], new.audio.samples[:, start + samples :]):
        assert part.size == 0 or np.abs(part).max() > 1e-3


def test_an_extension_hears_its_lyrics(lab: Session, take: Take) -> None:
    one, other = (lab.extend(take, 0, 1, lyrics=f"[Outro]\n{word}", seed=1) for word in ("bye", "hello again"))
    assert not np.array_equal(one.audio.samples[:, 16_000:], other.audio.samples[:, 16_000:])


def test_a_recording_of_any_length_is_extended_without_a_gap(lab: Session, recording: Audio) -> None:
    new = lab.extend(recording, after=0.5, caption="a brass fanfare", steps=3)
    end = round(recording.seconds * RATE)
    assert new.audio.samples.shape[1] == round((recording.seconds + 0.5) * RATE)
    assert np.abs(new.audio.samples[:, end : end + 200]).max(axis=0).min() > 0


def test_a_song_grows_up_to_the_longest_the_checkpoint_makes(lab: Session, take: Take) -> None:
    longest = lab.resolve(WORDS.replace(seconds=None, task=Extend(take, after=598.0)))
    assert longest.seconds == lab.engine.checkpoint.geometry.longest_seconds == 600.0
    with pytest.raises(RecipeError, match=r"up to 600 s here; 600.5 s is too long"):
        lab.resolve(WORDS.replace(seconds=None, task=Extend(take, after=598.5)))


def test_an_extension_past_the_longest_song_is_refused(lab: Session, take: Take) -> None:
    with pytest.raises(RecipeError, match="too long"):
        lab.extend(take, after=599.5)


# --- cover -----------------------------------------------------------------------------------------------------------


def test_a_cover_of_strength_zero_hears_only_the_words(lab: Session, take: Take) -> None:
    none = lab.make(WORDS.replace(task=Cover(take, strength=0.0)))
    text = lab.make(WORDS)
    assert np.array_equal(none.latent, text.latent)


def test_a_cover_follows_its_source_for_its_share_of_the_steps_then_the_words(lab: Session, take: Take) -> None:
    def first_frames(strength: float) -> list[torch.Tensor]:
        return [step.state for step in lab.start(WORDS.replace(steps=4, task=Cover(take, strength=strength)))]

    full, half, none = first_frames(1.0), first_frames(0.5), first_frames(0.0)
    assert torch.equal(half[1], full[1])
    assert not torch.equal(half[2], full[2])
    assert not torch.equal(half[0], none[0])


def test_a_step_of_two_looks_follows_the_source_with_both_or_with_none(lab: Session, take: Take) -> None:
    def frames(strength: float) -> list[torch.Tensor]:
        recipe = WORDS.replace(steps=4, solver="heun", task=Cover(take, strength=strength))
        return [step.state for step in lab.start(recipe)]

    full, half = frames(1.0), frames(0.5)
    assert torch.equal(half[1], full[1])
    assert not torch.equal(half[2], full[2])


def test_a_cover_from_the_noised_source_takes_fewer_steps_and_stays_nearer(lab: Session, take: Take) -> None:
    free = lab.make(WORDS.replace(steps=8, seed=1, task=Cover(take, through_codes=False)))
    run = lab.start(WORDS.replace(steps=8, seed=1, task=Cover(take, noise_strength=0.75, through_codes=False)))
    near = run.take()

    def distance(other: Take) -> float:
        return float(np.abs(other.latent - take.latent).mean())

    assert len(run.steps) == 2
    assert distance(near) < distance(free)


def test_a_cover_of_a_recording_has_its_length(lab: Session, recording: Audio) -> None:
    for through_codes in (True, False):
        new = lab.cover(recording, "as a waltz", through_codes=through_codes, steps=2)
        assert new.audio.samples.shape[1] == round(recording.seconds * RATE)
        assert new.audio.peak == pytest.approx(10 ** (-1 / 20), abs=1e-4)


def test_codes_come_out_of_any_sound_and_make_the_cover_that_the_sound_makes(lab: Session, take: Take) -> None:
    codes = lab.codes(take)
    assert len(codes) == 20
    of_codes = lab.make(WORDS.replace(task=Cover(codes=codes)))
    of_sound = lab.make(WORDS.replace(task=Cover(take)))
    assert_near(of_codes.latent, of_sound.latent)


def test_codes_set_the_length_where_nobody_else_does_and_are_filled_up_or_cut(lab: Session) -> None:
    lengths = {
        seconds: lab.make(WORDS.replace(seconds=seconds, task=Text2Music(codes=(1, 2, 3) * 4))).seconds
        for seconds in (None, 0.7, 1.9)
    }
    assert lengths == pytest.approx({None: 1.2, 0.7: 0.7, 1.9: 1.9})


def test_codes_of_a_plan_are_followed_and_written_into_the_recipe(lab: Session) -> None:
    plan = Plan(bpm=90, seconds=1.0, codes=(5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
    made = lab.make(Recipe("dub", seed=3, steps=2), plan)
    assert (made.recipe.bpm, made.recipe.seconds, made.recipe.task.codes) == (90, 1.0, plan.codes)
    assert np.array_equal(lab.make(made.recipe).latent, made.latent)
    without = lab.make(Recipe("dub", seed=3, steps=2, thinking=False), plan)
    assert without.recipe.task.codes is None


# --- retake ----------------------------------------------------------------------------------------------------------


def test_a_retake_without_variance_is_the_same_take_bit_for_bit(lab: Session, take: Take) -> None:
    [again] = lab.vary(take, seeds=[99], variance=0.0)
    assert np.array_equal(again.latent, take.latent)
    assert np.array_equal(again.audio.samples, take.audio.samples)
    assert again.parents == (take.id,)


def test_the_more_variance_the_further_a_retake_goes(lab: Session, take: Take) -> None:
    distances = [
        np.abs(lab.vary(take, seeds=[99], variance=variance)[0].latent - take.latent).mean()
        for variance in (0.02, 0.2, 1.0)
    ]
    assert distances == sorted(distances)
    whole, other = lab.vary(take, seeds=[99], variance=1.0)[0], lab.make(WORDS.replace(seed=99))
    assert_near(whole.latent, other.latent, 1e-4)


def test_a_retake_of_a_repaint_repaints_and_a_retake_of_a_retake_turns_on(lab: Session, take: Take) -> None:
    bridge = lab.repaint(take, Region(0.9, 1.1))
    [again] = lab.vary(bridge, [5], variance=0.0)
    assert np.array_equal(again.audio.samples, bridge.audio.samples)
    [near] = lab.vary(bridge, [5], variance=0.3)
    [same] = lab.vary(near, [6], variance=0.0)
    assert np.array_equal(same.audio.samples, near.audio.samples)
    keep = outside([Region(0.9, 1.1)], 0.03, 16_000)
    assert np.array_equal(near.audio.samples[:, keep], take.audio.samples[:, keep])


def test_other_seeds_of_a_repaint_are_other_repaints(lab: Session, take: Take) -> None:
    bridge = lab.repaint(take, Region(0.9, 1.1))
    gallery = lab.vary(bridge, seeds=range(3))
    assert [made.recipe.seed for made in gallery] == [0, 1, 2]
    assert len({made.id for made in gallery}) == 3
    assert all(isinstance(made.recipe.task, Repaint) for made in gallery)


# --- stems and edits -------------------------------------------------------------------------------------------------


def test_stem_verbs_have_the_length_of_their_source(lab: Session, take: Take, recording: Audio) -> None:
    made = [
        lab.extract(take, "Drums"),
        lab.lego(take, "bass", "a walking bass"),
        lab.lego(take, "bass", region=Region(0.5, 1.0)),
        lab.complete(take, ["drums", "bass"], "a whole band"),
    ]
    assert all(each.audio.samples.shape == take.audio.samples.shape for each in made)
    assert lab.extract(recording, "vocals", steps=2).seconds == pytest.approx(recording.seconds, abs=1 / RATE)


def test_an_edit_to_the_same_words_changes_nothing(lab: Session, take: Take) -> None:
    same = lab.edit(take, WORDS.caption, WORDS.lyrics)
    assert_near(same.latent, take.latent)


def test_an_edit_of_the_tempo_alone_moves_the_take(lab: Session, take: Take) -> None:
    faster = lab.edit(take, WORDS.caption, WORDS.lyrics, bpm=160)
    assert np.abs(faster.latent - take.latent).max() > 1e-3


def test_an_edit_to_other_words_moves_and_its_window_limits_how_far(lab: Session, take: Take) -> None:
    def moved(**how: Any) -> float:
        new = lab.edit(take, "a string quartet", seed=1, guidance_scale=2.0, **how)
        return float(np.abs(new.latent - take.latent).mean())

    assert moved() > moved(n_min=0.67) > 0
    assert moved(n_avg=2) > 0


def test_a_described_recording_can_be_edited(lab: Session, recording: Audio) -> None:
    new = lab.edit(recording, "a string quartet", described="a siren", steps=2, n_max=0.5)
    assert new.seconds == pytest.approx(recording.seconds, abs=1 / RATE)


# --- what is refused, and where --------------------------------------------------------------------------------------


def test_stems_are_refused_on_a_turbo_with_the_reason_and_a_checkpoint_that_can(tmp_path: Path, take: Take) -> None:
    checkpoint = Checkpoint.open(tiny_original(tmp_path / "turbo", "turbo", lm=False))
    with Session(Ace15Engine(checkpoint), library=Library(tmp_path / "takes")) as turbo:
        with pytest.raises(RecipeError, match=r"whole mixes only.*Session.open\('base'\)"):
            turbo.extract(take, "drums")
        with pytest.warns(LintWarning, match="guidance built in"):
            turbo.make(WORDS.replace(guidance="cfg", guidance_scale=7.0))
        turbo.make(WORDS.replace(guidance="cfg", guidance_scale=7.0))  # said once
        with pytest.warns(LintWarning, match="guidance_scale=5 is not used"):
            turbo.make(WORDS.replace(guidance_scale=5.0))
        assert turbo.make(WORDS).recipe.guidance == "none"
        assert turbo.resolve(WORDS.replace(steps=None)).steps == 8


def test_a_shift_that_was_not_learned_is_remarked_and_written_into_the_run(lab: Session) -> None:
    with pytest.warns(LintWarning, match="shift 1"):
        run = lab.start(WORDS.replace(shift=3.0))
    assert any("shift" in note for note in run.messages)
    run.take()


def test_a_choice_that_another_leaves_without_effect_is_named(lab: Session, take: Take) -> None:
    def said(recipe: Recipe) -> list[str]:
        return list(lint(recipe, lab.engine.checkpoint.row))

    assert said(WORDS) == []
    [steps] = said(WORDS.replace(steps=5, timesteps=(1.0, 0.5)))
    assert steps == "steps=5 is not used: timesteps names 2."
    [solver] = said(WORDS.replace(solver="heun", task=FlowEdit(take)))
    assert "euler" in solver
    assert any(
        "guidance_interval is not used" in s for s in said(WORDS.replace(guidance="none", guidance_interval=(0, 0.5)))
    )


def test_what_a_source_or_codes_fulfil_only_in_part_is_written_into_the_run(lab: Session, take: Take) -> None:
    wishes = [
        WORDS.replace(seconds=None, task=Repaint(take, (Region(1.0, 9.0),))),
        WORDS.replace(task=Text2Music(codes=(1, 2, 3, 4))),
        WORDS.replace(seconds=1.0, task=Text2Music(codes=(1, 2, 3, 4) * 5)),
    ]
    run = lab.start(wishes)
    assert [note.split(" s")[0] for note in run.messages] == [
        "The region 1–9",
        "The 4 codes last 0.4",
        "The 20 codes last 2",
    ]
    assert [take.seconds for take in run.takes()] == [2.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda lab, take: lab.make("slow dub techno"), "Words become a recipe first"),
        (lambda lab, take: lab.make([WORDS, WORDS]), r"lab.start\(recipes\).takes\(\)"),
        (lambda lab, take: lab.start([WORDS, "dub"]), "not str"),
        (lambda lab, take: lab.vary(take, 4), r"seeds=range\(4\)"),
        (lambda lab, take: lab.vary(take, [-1], variance=0.5), "second seed"),
        (lambda lab, take: lab.cover(take.audio.samples), r"Audio\(samples, rate\)"),
        (lambda lab, take: lab.repaint(take, "8-12"), r"Region\(8, 12\)"),
        (lambda lab, take: lab.extend(take, after=0.001), "at least 0.02 s"),
        (lambda lab, take: lab.preview(take, 99.0), "from 0 to 2.00 s"),
        (lambda lab, take: lab.preview(take, 1.0, -1.0), "lasts some seconds"),
    ],
)
def test_a_slip_of_the_hand_is_answered_with_what_would_be_right(lab: Session, take: Take, ask: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        ask(lab, take)


def test_numbers_of_numpy_are_numbers(lab: Session) -> None:
    gallery = lab.vary(WORDS.replace(seconds=np.float32(1)), seeds=np.arange(2))
    assert [take.recipe.seed for take in gallery] == [0, 1]
    assert all(type(take.recipe.seed) is int for take in gallery)


def test_a_latent_that_is_no_sound_is_named(lab: Session, take: Take) -> None:
    with pytest.raises(SourceError, match="not numbers"):
        lab.decode(np.full_like(take.latent, np.nan))


SILENCE = Audio(np.zeros((2, RATE)), RATE)


@pytest.mark.parametrize(
    ("task", "error", "says"),
    [
        (lambda t: Extract(SILENCE, "drums"), SourceError, "silent"),
        (lambda t: Text2Music(reference=SILENCE), SourceError, "reference is silent"),
        (lambda t: Extract(Audio(np.full((1, RATE), np.nan), RATE), "drums"), SourceError, "not numbers"),
        (lambda t: Extract(Audio(np.ones((1, 100)), RATE), "drums"), SourceError, "at least"),
        (lambda t: Repaint(t, (Region(2.0, 2.5),)), RecipeError, "Extend"),
        (lambda t: Text2Music(codes=(1, 40)), RecipeError, "0 to 39"),
        (lambda t: Extract("nowhere", "drums"), SourceError, "no file and no take"),
        (lambda t: Retake(Audio(np.ones((1, RATE)), RATE), 0.2, 1), SourceError, "of a take"),
        (lambda t: Lego(t, "bass", Region(5, 6)), RecipeError, "begins after"),
    ],
)
def test_what_cannot_be_worked_from_is_a_sentence_before_any_work(
    lab: Session, take: Take, task: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        lab.start(WORDS.replace(task=task(take)))


def test_a_silent_canvas_may_be_repainted_and_extended(lab: Session) -> None:
    assert lab.repaint(SILENCE, Region(0.2, 0.5), "a gong", steps=2).audio.peak > 0
    assert lab.extend(SILENCE, after=0.5, caption="a gong", steps=2).audio.peak > 0


def test_a_source_by_id_and_by_file_is_the_take_and_the_sound(lab: Session, take: Take, tmp_path: Path) -> None:
    by_id = lab.make(WORDS.replace(task=Extract(take.id, "drums")))
    by_take = lab.make(WORDS.replace(task=Extract(take, "drums")))
    assert by_id.id == by_take.id
    file = take.audio.write(tmp_path / "sound.wav")
    for name in (str(file), file):
        assert lab.extract(name, "drums", steps=2).seconds == pytest.approx(2.0)
    lent = lab.make(WORDS.replace(task=Text2Music(reference=file)))
    assert lent.parents == (Audio.read(file).id,)


def test_a_take_of_a_recording_makes_itself_again_another_day(lab: Session, recording: Audio, tmp_path: Path) -> None:
    loud = Audio(1.5 * recording.samples, recording.rate)  # its samples lie on no file's grid, and beyond full scale
    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path)) as today:
        take = today.cover(loud, "a waltz", reference=recording.on_grid(), steps=2, seed=1)
    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path)) as tomorrow:
        again = tomorrow.load(take.id)
        assert tomorrow.verify(again).word == "same"
        assert np.array_equal(tomorrow.sound(loud.id).samples, loud.samples)
    kept = sorted(file.suffix for file in (tmp_path / "sounds").iterdir())
    assert kept == [".flac", ".wav"]


def test_a_recording_goes_with_the_last_take_that_started_from_it(
    lab: Session, recording: Audio, tmp_path: Path
) -> None:
    library = Library(tmp_path)
    with Session(Ace15Engine(lab.engine.checkpoint), library=library) as session:
        first, second = (session.cover(recording, "a waltz", steps=1, seed=seed) for seed in (1, 2))
    library.bin(first)
    library.empty_trash()
    assert library.open_sound(recording.id) == recording
    library.bin(second)
    library.empty_trash()
    with pytest.raises(LibraryError, match="keeps no recording"):
        library.open_sound(recording.id)


def test_a_take_of_every_task_makes_itself_again(lab: Session, take: Take) -> None:
    tasks = [Repaint(take, (Region(0.5, 1),)), Extend(take, 0.5), Cover(take), FlowEdit(take), Retake(take, 0.5, 3)]
    for made in lab.start([WORDS.replace(caption="a gong", seconds=None, task=task) for task in tasks]).takes():
        assert lab.make(made.recipe).id == made.id


# --- looking and stopping --------------------------------------------------------------------------------------------


def test_a_listener_hears_the_seconds_around_a_time_between_two_frames(lab: Session) -> None:
    heard: list[Audio] = []
    run = lab.start(WORDS.replace(steps=6))
    run.subscribe(lambda event: heard.append(lab.preview(event.value, 1.0, 0.5)) if event.kind == "step" else None)
    take = run.take()
    assert heard
    assert all(0.5 <= preview.seconds <= 0.54 for preview in heard)
    exact = lab.preview(take, 1.0, 0.5).samples
    whole = take.audio.samples[:, 37 * HOP : 63 * HOP] / np.float32(take.made_with["gain"])
    assert_near(exact / np.abs(exact).max(), whole / np.abs(whole).max(), 1e-4)


def test_where_one_component_fits_at_a_time_every_stage_takes_its_turn(
    lab: Session, take: Take, tmp_path: Path
) -> None:
    alone = replace(LEVEL_BY_NAME["one int8"], storage="full")
    plan = replace(lab.engines.devices.memory_plan, level=alone)
    devices = DeviceManager(partial(build, lab.engine.checkpoint), plan)
    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path), devices=devices) as small:
        heard: list[Audio] = []
        run = small.start(WORDS.replace(task=Cover(take.audio, strength=0.5, reference=take.audio)))
        run.subscribe(lambda e: heard.append(small.preview(e.value, 1.0, 0.5)) if e.kind == "step" else None)
        cover = run.take()
        assert small.codes(take.audio)
    assert heard
    assert devices.peak_on_device == 1
    again = lab.make(WORDS.replace(task=Cover(take.audio, strength=0.5, reference=take.audio)))
    assert_near(cover.latent, again.latent)


def test_a_step_is_kept_and_a_glimpse_taken_while_the_run_goes_on(lab: Session) -> None:
    run = lab.start(WORDS.replace(steps=60))
    for step in run:
        if step.index == 3:
            kept, preview = run.keep(3), lab.preview(step, 0.5, 0.2)
            break
    assert run.state in ("rendering", "decoding", "done")
    assert kept.audio.samples.shape == run.take().audio.samples.shape
    assert preview.seconds == pytest.approx(0.2, abs=0.05)


def test_a_kept_step_is_in_the_library_and_makes_itself_again(lab: Session) -> None:
    run = lab.start(WORDS.replace(steps=4))
    run.wait()
    kept = run.keep(1)
    assert kept.made_with["step"] == 1
    assert kept in lab.library
    assert lab.verify(kept).word == "same"
    assert lab.verify(run.take()).word == "same"


class Watched(DeviceManager):
    """A manager that tells every use of a component, before it is used."""

    def __init__(self, lab: Session, told: Callable[[str], None], tile: int | None = None) -> None:
        plan = lab.engines.devices.memory_plan
        super().__init__(
            partial(build, lab.engine.checkpoint),
            plan if tile is None else replace(plan, tile_frames=tile),
        )
        self.told = told

    def run_with_retry(self, name: str, operation: Callable[[Any], Any], checkpoint: str | None = None) -> Any:
        self.told(name)
        return super().run_with_retry(name, operation, checkpoint)


def test_stopping_is_heard_between_the_halves_of_guidance(lab: Session, tmp_path: Path) -> None:
    looks: list[str] = []

    def told(name: str) -> None:
        looks.append(name)
        if len(looks) == 3:  # the wished half of the second step
            watched.runs[0].stop()

    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path), devices=Watched(lab, told)) as watched:
        run = watched.start(WORDS.replace(guidance="cfg", guidance_scale=3.0))
        run.wait()
    assert run.state == "stopped"
    assert looks == ["dit"] * 3
    assert len(run.steps) == 1
    assert len(watched.library) == 0


def test_stopping_is_heard_between_two_tiles_of_the_decoder(lab: Session, tmp_path: Path) -> None:
    shares: list[float] = []

    def heard(event: Event) -> None:
        if event.kind == "progress":
            shares.append(event.value)
            watched.runs[0].stop()

    def told(name: str) -> None:
        if name == "vae":
            watched.runs[0].subscribe(heard)

    with Session(
        Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path), devices=Watched(lab, told, tile=60)
    ) as watched:
        run = watched.start(WORDS.replace(seconds=6.0, steps=1))
        run.wait()
    assert run.state == "stopped"
    assert len(shares) == 1
    assert shares[0] < 0.95
    with pytest.raises(Stopped):
        run.take()


# --- the pocket checkpoint -------------------------------------------------------------------------------------------


def test_every_task_works_on_the_pocket_and_has_the_right_length(tmp_path: Path) -> None:
    with Session.open("pocket", library=tmp_path) as pocket:
        rate = pocket.engine.checkpoint.geometry.rate
        first = pocket.make(Recipe("slow dub techno with deep bass", seconds=1.5, seed=1, steps=2))
        made = {
            "text with a reference": pocket.make(first.recipe.replace(task=Text2Music(reference=first))),
            "repaint": pocket.repaint(first, [Region(0.2, 0.5), Region(0.9, 1.2)], "brushed drums"),
            "extend": pocket.extend(first, 0.5, 1.0),
            "cover": pocket.cover(first, "a waltz", strength=0.5, noise_strength=0.3),
            "cover of latents": pocket.cover(first, "a waltz", through_codes=False),
            "cover of codes": pocket.make(first.recipe.replace(task=Cover(codes=pocket.codes(first)), steps=2)),
            "retake": pocket.vary(first, [5], variance=0.2)[0],
            "extract": pocket.extract(first, "drums"),
            "lego": pocket.lego(first, "bass"),
            "complete": pocket.complete(first, ["drums", "bass"]),
            "flow edit": pocket.edit(first, "a choir"),
        }
    lengths = {name: take.audio.samples.shape[1] / rate for name, take in made.items()}
    assert lengths == {name: 3.0 if name == "extend" else 1.5 for name in made}
    assert all(take.audio.channels == first.audio.channels for take in made.values())
    assert all(np.isfinite(take.audio.samples).all() and take.audio.peak > 0.01 for take in made.values())
