"""The planner inside the session: it has the first word for music from words, and a run tells what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import Library, Plan, Recipe, RecipeError, Session, Stopped
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.residency import Residency
from acestep_lab.road import build
from tests.tiny import tiny_diffusers

WORDS = Recipe("slow dub techno", seconds=2, seed=7, steps=2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("thinking")
    checkpoint = Checkpoint.open(tiny_diffusers(root / "base", turbo=False))
    with Session(checkpoint, library=Library(root / "takes")) as session:
        yield session


def test_a_plan_can_be_read_changed_and_rendered(lab: Session) -> None:
    heard: list[Any] = []
    plan = lab.plan(WORDS, on_token=heard.append)
    assert len(plan.codes) == 20
    assert plan.bpm is not None
    assert heard
    take = lab.make(WORDS, plan.but(bpm=118, codes=plan.codes))
    assert (take.recipe.bpm, take.recipe.task.codes) == (118, plan.codes)
    assert take.plan is not None
    assert take.plan.bpm == 118


def test_music_from_words_is_planned_first_and_the_plan_travels_with_the_take(lab: Session) -> None:
    run = lab.start(WORDS)
    states: list[str] = []
    run.subscribe(lambda event: states.append(event.value) if event.kind == "state" else None)
    take = run.take()
    assert states[-3:] == ["rendering", "decoding", "done"]
    assert take.plan == run.plans[0] == lab.plan(WORDS)
    assert take.recipe.task.codes == take.plan.codes
    assert lab.make(take.recipe).id == take.id


def test_without_thinking_the_words_go_straight_to_the_music(lab: Session) -> None:
    take = lab.make(WORDS.but(thinking=False))
    assert take.plan is None
    assert take.recipe.task.codes is None


def test_where_the_planner_has_no_room_the_song_is_made_without_it_and_says_so(lab: Session, tmp_path: Path) -> None:
    narrow = replace(lab.explain(), left_out=("lm",))
    residency = Residency(partial(build, lab.checkpoint, dtype=torch.float32), narrow)
    with Session(lab.checkpoint, library=Library(tmp_path), residency=residency) as small:
        run = small.start(WORDS)
        assert run.take().plan is None
        assert "The planner has no room here" in run.notes[0]
        with pytest.raises(RecipeError, match="needs a planner"):
            small.start(WORDS.but(thinking=True))


def test_every_song_of_a_batch_is_planned_by_itself(lab: Session) -> None:
    run = lab.start([WORDS, WORDS.but(seed=8), WORDS.but(thinking=False)])
    takes = run.takes()
    assert takes[1].plan == lab.plan(WORDS.but(seed=8))
    assert takes[2].plan is None
    assert np.array_equal(takes[0].latent, lab.make(WORDS).latent)


def test_planning_is_stopped_like_everything_else(lab: Session) -> None:
    run = lab.start(WORDS.but(seconds=60))
    run.subscribe(lambda event: run.stop() if event.kind == "token" else None)
    with pytest.raises(Stopped):
        run.take()
    assert lab.make(WORDS.but(thinking=False)).seconds == 2


def test_what_is_locked_stands_and_codes_can_be_left_out(lab: Session) -> None:
    plan = lab.plan(WORDS, codes=False)
    assert plan.codes == ()
    again = lab.plan(WORDS.but(seed=99), keep=Plan(bpm=97).lock("bpm"), codes=False)
    assert again.bpm == 97


def test_the_planner_writes_words_and_hears_sounds(lab: Session) -> None:
    take = lab.make(WORDS.but(thinking=False))
    assert isinstance(lab.sketch("a song about rain", instrumental=True), Plan)
    assert lab.polish("dub", "[Instrumental]", bpm=90).bpm == 90
    assert lab.understand(take).seconds == pytest.approx(2.0)


def test_a_checkpoint_without_a_planner_says_so(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_diffusers(tmp_path / "base", turbo=False, lm=False))
    with Session(checkpoint, library=Library(tmp_path / "takes")) as bare:
        with pytest.raises(RecipeError, match="no planner aboard"):
            bare.plan(WORDS)
        with pytest.raises(RecipeError, match="needs a planner"):
            bare.start(WORDS.but(thinking=True))
        assert bare.make(WORDS).plan is None


def test_several_plans_come_from_one_reading_each_by_its_own_seed(lab: Session) -> None:
    recipe = Recipe("slow dub techno", seconds=2, seed=5)
    plans = lab.plan(recipe, n=3)
    assert plans[0] == lab.plan(recipe)
    assert plans[2] == lab.plan(recipe.but(seed=7))
    with pytest.raises(RecipeError, match="1 to 16"):
        lab.plan(recipe, n=0)


def test_agreement_gives_every_field_a_share(lab: Session) -> None:
    take = lab.make(Recipe("slow dub techno", seconds=2, seed=5, bpm=118, steps=2))
    found = lab.agreement(take)
    assert {"caption", "bpm"} <= set(found.scores)
    assert all(0 <= score <= 1 for score in (*found.scores.values(), found.total))
