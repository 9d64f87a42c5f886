"""Scores: what was asked against what is heard, beside chance, kept beside the take, and never in a render's way."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.listen import scores
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.segmentation import HeardSection
from acestep_lab.listen.timed_lyrics import Timed
from acestep_lab.prompt.recipe import Recipe
from tests.pretend import PretendSession, tone

KEYS = [f"{tonic} {mode}" for tonic in "C C# D D# E F F# G G# A A# B".split() for mode in ("major", "minor")]
HEARD = Analysis(100.0, 1.0, "G major", 0.2, "4", 1.0, -14.0, (("drums", 0.9), ("bass", 0.9), ("vocals", 0.1)))
SONG = Recipe("warm keys with drums", lyrics="[Verse]\nla la\n[Chorus]\nlo lo", seconds=4.0, seed=1, bpm=100)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "takes", pause=0.0)
    yield session
    session.close()
    session.library.close()


# -- what is said


@pytest.mark.parametrize(
    ("asked", "heard", "said"),
    [
        ("C major", "C major", "as asked"), ("Db minor", "C# minor", "as asked"), ("C major", "G major", "a fifth off"),
        ("C major", "F major", "a fifth off"), ("C major", "A minor", "the relative key"), ("A minor", "C major", "the relative key"),
        ("A major", "A minor", "the parallel key"), ("C major", "F# major", "another key"), ("C major", "C# minor", "another key"),
    ],
)  # fmt: skip
def test_a_key_is_told_by_how_it_lies_to_the_one_that_was_asked_for(asked: str, heard: str, said: str) -> None:
    assert scores.key_said(asked, heard) == said


def test_the_chance_of_a_key_is_what_any_of_the_24_gets() -> None:
    for asked in KEYS:
        values = [scores.KEY_WEIGHTS[scores.key_said(asked, heard)] for heard in KEYS]
        assert np.mean(values) == pytest.approx(scores.KEY_CHANCE)


@pytest.mark.parametrize("asked", [62.0, 90.0, 120.0, 175.0])
def test_the_chance_of_a_tempo_is_what_one_drawn_blindly_gets(asked: float) -> None:
    drawn = np.exp(np.random.default_rng(0).uniform(*np.log(scores.TEMPI), 3000))
    rows = [scores.tempo_row(asked, dataclasses.replace(HEARD, bpm=float(bpm))) for bpm in drawn]
    assert np.mean([row.value for row in rows]) == pytest.approx(rows[0].chance, abs=0.02)


def test_a_tempo_is_told_in_words_its_half_and_double_as_such_and_a_weak_beat_as_unsure() -> None:
    told = [scores.tempo_said(100, heard) for heard in (101, 50, 200, 88, 130)]
    assert told == ["as asked", "half of what was asked", "double what was asked", "12 bpm slower", "30 bpm faster"]
    assert not scores.tempo_row(100, dataclasses.replace(HEARD, pulse=0.01)).sure


def test_instruments_are_those_a_caption_names_unless_it_says_there_are_none() -> None:
    assert set(scores.stems_named("no drums, backing vocals and soft piano, without guitar")) == {
        "keyboard",
        "backing_vocals",
    }
    row = scores.instruments_row("drums and violin", HEARD)
    assert (row.value, row.said, row.chance) == (0.5, "1 of 2 heard", pytest.approx(2 / 12))
    assert scores.instruments_row("a sad song", HEARD).value is None


def test_sections_that_turn_where_the_lyrics_do_score_above_chance_and_others_near_it() -> None:
    asked = [Timed(name, 10.0 * n, 10.0 * n + 10) for n, name in enumerate(("Verse 1", "Chorus", "Verse 2", "Chorus"))]
    same = [HeardSection(10.0 * n, 10.0 * n + 10, letter) for n, letter in enumerate("ABAB")]
    row = scores.sections_row(asked, same, 40.0)
    assert row.value == 1.0
    assert row.chance is not None
    assert row.chance < 0.7
    assert row.said == "as many as asked"
    one = scores.sections_row(asked, [HeardSection(0.0, 40.0, "A")], 40.0)
    assert one.value == pytest.approx(one.chance)


def test_the_agreement_of_sections_is_rands_over_every_two_moments() -> None:
    one, other = np.random.default_rng(0).integers(-1, 3, (2, 60))
    first, second = np.triu_indices(60, 1)
    agree = (one[first] == one[second]) == (other[first] == other[second])
    assert scores._rand(one, other) == pytest.approx(agree.mean())


# -- a take scored


def test_every_row_has_a_value_or_says_why_not_and_an_instrumental_has_none_for_its_words(lab: PretendSession) -> None:
    sung, played = lab.scores(lab.keep(lab.make(SONG))), lab.scores(lab.make(SONG.replace(lyrics="[Instrumental]")))
    for row in (*sung, *played):
        assert (row.value is None) == bool(row.why), row
        assert row.value is None or 0 <= row.value <= 1
    assert sung["coverage"].value == 1.0
    assert sung["coverage"].chance == 0.2
    assert [played[name].value for name in (*scores.LYRIC, "language")] == [None] * 4
    assert "order: —" in str(played)


def test_scores_lie_beside_the_take_which_stays_as_it_is_and_are_not_found_twice(lab: PretendSession) -> None:
    take = lab.keep(lab.make(SONG))
    before = {file.name: file.read_bytes() for file in lab.library.folder.glob(f"{take.id}*")}
    found = lab.scores(take)
    after = {file.name: file.read_bytes() for file in lab.library.folder.glob(f"{take.id}*")}
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} == {f"{take.id}.scores.json", f"{take.id}.alignment.json"}
    lab.align = None  # type: ignore[assignment, method-assign]
    assert lab.scores(take.id) == found
    assert scores.Scores.from_json(found.to_json()) == found
    lab.library.folder.joinpath(f"{take.id}.scores.json").write_text("{}")
    del lab.align
    assert lab.scores(take) == found, "a damaged file is found anew"


def test_the_references_scores_come_only_where_they_are_asked_for(lab: PretendSession) -> None:
    take = lab.keep(lab.make(SONG))
    assert "dit_score" not in [row.name for row in lab.scores(take)]
    assert lab.scores(take, reference=True)["dit_score"].value == 0.5


def test_a_sound_that_is_no_take_and_half_a_second_are_told_in_sentences(lab: PretendSession) -> None:
    with pytest.raises(RecipeError):
        lab.scores(Audio(np.zeros((1, 8000), np.float32), 8000))
    short = lab.scores(lab.make(SONG.replace(seconds=0.5)))
    assert "shorter than a second" in short["tempo"].why
    assert short["coverage"].value == 1.0
    with pytest.raises(RecipeError, match="score"):
        scores.Scores.from_json({"rows": [{"value": 1.0}]})


# -- never in a render's way


class CountingSession(PretendSession):
    """A session whose alignment and plan score are small jobs of the queue, which are written down as a render's steps are."""

    def __init__(self, folder: Any, **options: Any) -> None:
        super().__init__(folder, **options)
        self.told: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def _part(self) -> None:
        self.begun.set()
        self.go.wait(5)
        self.told.append("part")

    def align(self, *about: Any, **options: Any) -> Any:
        for _ in range(5):
            self.jobs.call(self._part)
        return super().align(*about, **options)

    def plan_score(self, *about: Any, **options: Any) -> Any:
        self.jobs.call(self._part)
        return super().plan_score(*about, **options)

    def _wait(self, run: Any) -> None:
        super()._wait(run)
        self.told.append("step")


def test_scores_wait_until_nobody_renders_and_are_found_one_take_at_a_time(tmp_path: Path) -> None:
    gate = threading.Semaphore(100)
    lab = CountingSession(tmp_path / "takes", gate=gate)
    takes = [lab.keep(lab.make(SONG.replace(seed=seed))) for seed in (1, 2)]
    while gate.acquire(blocking=False):
        pass
    lab.told.clear()
    runs = [lab.start(SONG.replace(seed=3)), lab.start(SONG.replace(seed=4))]
    threads = [threading.Thread(target=lab.scores, args=(take,)) for take in takes]
    [thread.start() for thread in threads]
    time.sleep(0.15)
    assert lab.told == [], "a render waits for its first step, and nothing is scored"
    gate.release(12)
    [thread.join() for thread in threads]
    assert all(run.over for run in runs)
    assert lab.told == ["step"] * 12 + ["part"] * 12
    lab.close()
    lab.library.close()


def test_a_render_that_comes_while_a_take_is_scored_waits_for_one_small_job_at_most(tmp_path: Path) -> None:
    lab = CountingSession(tmp_path / "takes", pause=0.0)
    take = lab.keep(lab.make(SONG))
    lab.told.clear()
    lab.go.clear()
    scoring = threading.Thread(target=lab.scores, args=(take,))
    scoring.start()
    assert lab.begun.wait(5)
    run = lab.start(SONG.replace(seed=9))
    lab.go.set()
    run.take()
    scoring.join()
    assert lab.told == ["part"] + ["step"] * 6 + ["part"] * 5
    lab.close()
    lab.library.close()


def test_a_queue_that_is_paused_or_a_run_held_back_holds_up_no_scores(lab: PretendSession) -> None:
    take = lab.make(SONG)
    lab.jobs.pause()
    waiting = lab.start(SONG.replace(seed=5))
    assert lab.scores(take)["tempo"].asked == "100 bpm"
    lab.jobs.resume()
    assert waiting.take().audio.seconds == pytest.approx(tone(4.0).seconds, abs=0.3)
