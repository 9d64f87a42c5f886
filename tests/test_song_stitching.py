"""Stitched songs: every sample outside the joints is its source's, beats fall together, and a recipe makes it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Audio, Cover, Extend, Piece, Recipe, Region, Repaint, Retake, Session, Stitch, Take
from acestep_lab.audio.stitching import Part, arranged, crossfaded, stitched, zero_crossing
from acestep_lab.errors import LabError, RecipeError, SourceError
from acestep_lab.listen.beats import beats_near
from acestep_lab.prompt import tasks
from acestep_lab.takes.library import Library
from tests.pretend import PretendSession, tone

RATE = 48_000


def clicks(bpm: float, seconds: float, first: float, hertz: float = 900.0) -> Audio:
    """A click on each beat, the first one at `first` seconds, over faint noise."""
    wave = 0.0005 * np.random.default_rng(1).standard_normal(round(seconds * RATE))
    shape = 0.5 * np.exp(-np.arange(2400) / 300) * np.sin(2 * np.pi * hertz * np.arange(2400) / RATE)
    for at in np.arange(first, seconds, 60 / bpm):
        start = round(at * RATE)
        part = wave[start : start + len(shape)]
        part += shape[: len(part)]
    return Audio(np.stack([wave, wave]).astype(np.float32), RATE).on_grid()


def onsets(sound: Audio, least: float = 0.1) -> np.ndarray:
    """When each click begins, in seconds."""
    loud = np.flatnonzero(np.abs(sound.samples[0]) > least)
    return loud[np.flatnonzero(np.diff(loud, prepend=-RATE) > RATE // 10)] / RATE


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = PretendSession(tmp_path, pause=0.0)
    yield session
    session.close()


# -- samples -----------------------------------------------------------------------------------------------------------


def test_outside_the_crossfades_every_sample_is_its_sources_own() -> None:
    one, two = tone(6, 1), tone(6, 2)
    parts = [Part(one, 4_000, 20_000), Part(two, 8_000, 30_000, 1_000), Part(one, 30_000, 40_000, 600)]
    places, song = arranged(parts), stitched(parts)
    assert song.samples.shape[1] == 16_000 + 22_000 + 10_000, "pieces keep their lengths where sources hold more"
    ends = [place.fade_from for place in places[1:]] + [song.samples.shape[1]]
    for part, place, end in zip(parts, places, ends, strict=True):
        own = part.audio.samples[:, part.first + place.fade_to - place.start : part.first + end - place.start]
        assert np.array_equal(song.samples[:, place.fade_to : end], own)
    assert [place.fade_to - place.fade_from for place in places] == [0, 1_000, 600]


def test_where_the_sources_hold_nothing_more_the_pieces_overlap() -> None:
    one, two = tone(2, 1), tone(2, 2)
    song = stitched([Part(one, 0, 16_000), Part(two, 0, 16_000, 800)])
    assert song.samples.shape[1] == 32_000 - 800
    assert np.array_equal(song.samples[:, :15_200], one.samples[:, :15_200])
    assert np.array_equal(song.samples[:, 16_000:], two.samples[:, 800:])


def test_a_sound_that_goes_on_is_itself_again_and_fading_it_into_itself_changes_nothing_one_hears() -> None:
    one = tone(3, 4)
    assert np.array_equal(stitched([Part(one, 0, 9_000), Part(one, 9_000, 24_000, 4_000)]).samples, one.samples)
    assert np.abs(crossfaded(one.samples, one.samples) - one.samples).max() < 2e-7


def test_a_crossfade_of_strangers_keeps_their_power() -> None:
    one, two = np.random.default_rng(3).standard_normal((2, 2, 40_000)).astype(np.float32) * 0.1
    power = [float((part**2).mean()) for part in np.array_split(crossfaded(one, two), 8, axis=1)]
    assert max(power) / min(power) < 1.15


def test_a_cut_is_made_where_the_wave_crosses_zero() -> None:
    one = tone(1, 1)
    at, rising = zero_crossing(one, 4_003, 40)
    middle = one.samples.mean(axis=0)
    assert abs(at - 4_003) <= 40
    assert middle[at - 1] * middle[at] <= 0
    assert rising is bool(middle[at] >= 0)
    assert zero_crossing(Audio(np.ones((1, 100)), RATE), 50, 20) == (50, None)


# -- beats -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.27), (0.05, 0.49), (0.3, 0.31)])
def test_the_beats_of_the_incoming_piece_fall_on_those_before(lab: Any, first: float, second: float) -> None:
    one, two = clicks(120, 10, first), clicks(120, 10, second, 700)
    song = lab.stitch([(one, Region(0, 4)), (two, Region(4, 9))])
    gaps = np.diff(onsets(song.audio))
    assert np.abs(gaps - 0.5).max() < 0.010, "no beat is early or late by 10 ms, at the joint either"
    assert "ms so that the beats fall together" in song.made_with["stitch"][0]
    assert abs(song.seconds - 9) <= 0.25 + 0.01, "moved by half a beat at most"


def test_a_known_tempo_is_believed_and_what_has_no_beat_is_said() -> None:
    found = beats_near(clicks(90, 20, 0.4), 10.0, 91)
    assert found is not None
    assert found.period == pytest.approx(60 / 90, abs=1e-3)
    assert abs(found.nearest(10.0) - (0.4 + 60 / 90 * 14)) < 0.03 or abs(found.nearest(10.0) - 10.4) < 0.7
    assert beats_near(tone(8), 4.0) is None
    assert beats_near(Audio(np.zeros((2, RATE)), RATE), 0.5) is None


def test_where_no_beat_is_heard_nothing_moves_and_the_take_says_so(lab: Any) -> None:
    take = lab.make(Recipe("a song", seconds=6, seed=3))
    song = lab.stitch([(take, Region(0, 2)), (take, Region(3, 5))])
    assert song.recipe.task.pieces[1].region == Region(3, 5)
    assert song.recipe.task.pieces[1].crossfade == 0.5
    assert "no beat is heard" in song.made_with["stitch"][0]


# -- takes -------------------------------------------------------------------------------------------------------------


def test_a_stitched_take_knows_its_parents_and_its_recipe_makes_the_same_bytes(lab: Any, tmp_path: Path) -> None:
    one, two = (lab.keep(lab.make(Recipe("a song", "[Verse]\nla", 6, seed, 120))) for seed in (3, 4))
    song = lab.keep(lab.stitch([(one, Region(0, 3)), (two, (1, 4)), one], crossfade=0.2))
    assert song.parents == (one.id, two.id)
    assert (song.recipe.caption, song.recipe.lyrics, song.recipe.bpm) == ("a song", "[Verse]\nla", 120)
    again = lab.make(Recipe.from_json(json.loads(json.dumps(song.recipe.to_json()))))
    assert again.audio == song.audio
    assert again.id == song.id
    read = Library(tmp_path).open(song.id)
    assert (read.id, read.audio, read.recipe, read.remarks) == (song.id, song.audio, song.recipe, ())
    names = {name: getattr(tasks, name) for name in ("Stitch", "Piece", "Region")}
    assert eval(song.recipe.code(), {"Recipe": Recipe, **names}) == song.recipe


def test_a_cut_song_is_made_again_too_and_one_piece_alone_is_that_piece(lab: Any) -> None:
    one = lab.make(Recipe("a song", seconds=6, seed=3))
    cut = lab.stitch([(one, Region(0, 2.5)), (one, Region(4, 6))], "none")
    assert lab.make(cut.recipe).id == cut.id
    alone = lab.stitch([(one, Region(1, 3))])
    assert np.array_equal(alone.audio.samples, one.audio.samples[:, 8_000:24_000])


def test_a_sound_at_another_rate_is_brought_to_the_first_ones_and_the_run_says_so(lab: Any) -> None:
    mono = Audio(tone(4, 2, 12_000).samples[:1], 12_000)
    recipe = Recipe("", task=Stitch([tone(4, 1), mono], 0.1))
    run = lab.start(recipe)
    song = run.take()
    assert (song.audio.rate, song.audio.channels) == (8_000, 2)
    assert song.made_with["stitch"] == [
        "Piece 2 was brought from 12000 to 8000 Hz, as the first piece is.",
        "Piece 2 was brought from 1 to 2 channels.",
    ]


def test_fades_and_levels_of_the_recipe_are_kept(lab: Any) -> None:
    song = lab.stitch([tone(2, 1), tone(2, 2)], 0.1, fade_out=0.5, peak_db=-6.0)
    assert song.audio.samples[:, -1].tolist() == [0.0, 0.0]
    assert song.audio.peak == pytest.approx(10 ** (-6 / 20), rel=0.05)


@pytest.mark.parametrize(
    ("pieces", "how", "says"),
    [
        ([], "beat", "at least one piece"),
        ([tone(1)] * 65, "beat", "more than 64"),
        ({tone(1)}, "beat", "not a set"),
        ([tone(1)], "soft", "'beat', 'none' or seconds"),
        ([tone(1)], 9, "crossfade"),
        ([(tone(1), Region(0.5, 3))], "none", "ends at 1.00 s"),
        ([(tone(4), Region(0, 0.2))], "none", "0.5 to 600 s"),
        ([tone(50)] * 13, "none", "0.5 to 600 s"),
        ([(tone(4), Region(0, 2)), (tone(4), Region(1, 1.2)), tone(4)], 1.0, "too short for the crossfades"),
        ([3], "none", "starts from"),
    ],
)
def test_what_cannot_be_stitched_is_refused_before_any_work(lab: Any, pieces: Any, how: Any, says: str) -> None:
    with pytest.raises(LabError, match=says):
        lab.stitch(pieces, how)
    assert lab.started == []


def test_a_stitch_is_no_matter_of_noise_or_of_another_length(lab: Any) -> None:
    with pytest.raises(RecipeError, match="not sampled"):
        lab.make(Recipe("", task=Stitch([tone(2)]), steps=8))
    with pytest.raises(RecipeError, match="leave out its length"):
        lab.make(Recipe("", seconds=30, task=Stitch([tone(2)])))
    with pytest.raises(RecipeError, match="apart from others"):
        lab.start([Recipe("", task=Stitch([tone(2)])), Recipe("a song", seconds=2)])
    with pytest.raises(SourceError):
        lab.stitch(["take-000000000000"])


@pytest.mark.parametrize("piece", [Piece("take-1"), {"source": "take-1"}, ("take-1", None), "take-1"])
def test_a_piece_is_read_however_it_is_written(piece: Any) -> None:
    assert Stitch([piece]).pieces == (Piece("take-1"),)


# -- with real engines -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(library=tmp_path_factory.mktemp("library")) as session:
        yield session


@pytest.fixture(scope="module")
def song(real: Session) -> Take:
    take = real.make(Recipe("warm lo-fi keys", seconds=2.0, seed=3, thinking=False, steps=2))
    return real.stitch([(take, Region(1, 2)), (take, Region(0, 1))], 0.1)


def test_a_session_stitches_whatever_its_engine_and_verifies(real: Session, song: Take) -> None:
    assert "Stitch" not in real.capabilities.tasks
    assert song.id in real.library
    assert real.verify(song).word == "same"
    assert real.resolve(song.asked or song.recipe).task.with_ids() == song.recipe.task


@pytest.mark.parametrize(
    "task", [lambda take: Repaint(take, Region(0.5, 1)), lambda take: Extend(take, after=0.5), lambda take: Cover(take)]
)
def test_a_stitched_take_has_no_latent_and_is_encoded_where_a_task_goes_on_from_it(
    real: Session, song: Take, task: Any
) -> None:
    assert song.latent.size == 0
    made = real.make(real.recipe_from(song, task(song), steps=2, thinking=False))
    assert made.parents == (song.id,)
    assert made.latent.size > 0


def test_what_needs_noise_is_refused_for_a_stitched_take_and_a_part_of_it_can_be_heard(
    real: Session, song: Take
) -> None:
    for asked in (lambda: real.vary(song, [1]), lambda: real.vary(song, [1], 0.3), lambda: real.profile(song.recipe)):
        with pytest.raises(RecipeError, match="no noise of its own"):
            asked()
    with pytest.raises(RecipeError, match="no noise of its own"):
        real.make(Recipe("", task=Retake(song.id, 0.5, 1)))
    assert real.preview(song, at=1.0, seconds=0.5).seconds > 0.2
