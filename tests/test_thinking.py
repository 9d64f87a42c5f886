"""The planner inside the session: it has the first word for music from words, and a run tells what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import (
    Cover,
    Extract,
    LabError,
    Library,
    MachineError,
    Plan,
    Planning,
    Recipe,
    RecipeError,
    Region,
    Repaint,
    Session,
    Stopped,
)
from acestep_lab.engines.ace15.engine import Ace15Engine, build
from acestep_lab.errors import LintWarning
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.loading import Checkpoint
from tests.tiny import tiny_diffusers

WORDS = Recipe("slow dub techno", seconds=2, seed=7, steps=2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("thinking")
    checkpoint = Checkpoint.open(tiny_diffusers(root / "base", turbo=False))
    with Session(Ace15Engine(checkpoint), library=Library(root / "takes")) as session:
        yield session


def test_a_plan_can_be_read_changed_and_rendered(lab: Session) -> None:
    heard: list[Any] = []
    plan = lab.plan(WORDS, on_token=heard.append)
    assert len(plan.codes) == 20
    assert plan.bpm is not None
    assert heard
    take = lab.make(WORDS, plan.replace(bpm=118, codes=plan.codes))
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
    take = lab.make(WORDS.replace(thinking=False))
    assert take.plan is None
    assert take.recipe.task.codes is None


def test_where_the_planner_has_no_room_the_song_is_made_without_it_and_says_so(lab: Session, tmp_path: Path) -> None:
    plan = lab.explain()
    lm = plan.component("lm")
    narrow = replace(plan, components=tuple(one for one in plan.components if one is not lm), without=(lm,))
    devices = DeviceManager(partial(build, lab.engine.checkpoint), narrow)
    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path), devices=devices) as small:
        run = small.start(WORDS)
        assert run.take().plan is None
        assert "The planner has no room here" in run.messages[0]
        with pytest.raises(RecipeError, match="needs a planner"):
            small.start(WORDS.replace(thinking=True))
        with pytest.raises(MachineError, match="no room"):
            small.plan(WORDS)
        assert not small.has_planner


def test_every_song_of_a_batch_is_planned_by_itself(lab: Session) -> None:
    run = lab.start([WORDS, WORDS.replace(seed=8), WORDS.replace(thinking=False)])
    takes = run.takes()
    assert takes[1].plan == lab.plan(WORDS.replace(seed=8))
    assert takes[2].plan is None
    assert np.array_equal(takes[0].latent, lab.make(WORDS).latent)


def test_planning_is_stopped_like_everything_else(lab: Session) -> None:
    run = lab.start(WORDS.replace(seconds=60))
    run.subscribe(lambda event: run.stop() if event.kind == "token" else None)
    with pytest.raises(Stopped):
        run.take()
    assert lab.make(WORDS.replace(thinking=False)).seconds == 2


def test_what_is_locked_stands_and_codes_can_be_left_out(lab: Session) -> None:
    plan = lab.plan(WORDS, codes=False)
    assert plan.codes == ()
    again = lab.plan(WORDS.replace(seed=99), keep=Plan(bpm=97).lock("bpm"), codes=False)
    assert again.bpm == 97


def test_the_planner_writes_words_and_hears_sounds(lab: Session) -> None:
    take = lab.make(WORDS.replace(thinking=False))
    assert isinstance(lab.sketch("a song about rain", instrumental=True), Plan)
    assert lab.polish("dub", "[Instrumental]", bpm=90).bpm == 90
    assert lab.understand(take).seconds == pytest.approx(2.0)


def test_a_checkpoint_without_a_planner_says_so(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_diffusers(tmp_path / "base", turbo=False, lm=False))
    with Session(Ace15Engine(checkpoint), library=Library(tmp_path / "takes")) as bare:
        with pytest.raises(RecipeError, match="has no planner"):
            bare.plan(WORDS)
        with pytest.raises(RecipeError, match="needs a planner"):
            bare.start(WORDS.replace(thinking=True))
        assert bare.make(WORDS).plan is None


def test_several_plans_come_from_one_reading_each_by_its_own_seed(lab: Session) -> None:
    recipe = Recipe("slow dub techno", seconds=2, seed=5)
    plans = lab.plan(recipe, n=3)
    assert plans[0] == lab.plan(recipe)
    assert plans[2] == lab.plan(recipe.replace(seed=7))
    with pytest.raises(RecipeError, match="1 to 16"):
        lab.plan(recipe, n=0)


def test_plan_score_gives_every_field_a_share(lab: Session) -> None:
    take = lab.make(Recipe("slow dub techno", seconds=2, seed=5, bpm=118, steps=2))
    found = lab.plan_score(take)
    assert {"caption", "bpm"} <= set(found.scores)
    assert all(0 <= score <= 1 for score in (*found.scores.values(), found.total))


def test_a_changed_plan_keeps_its_fields_and_gets_new_codes(lab: Session) -> None:
    first = lab.plan(WORDS)
    take = lab.make(WORDS, first.lock("keyscale").replace(bpm=61))
    kept = ("bpm", "keyscale", "timesignature", "language", "seconds")
    assert take.plan is not None
    assert [getattr(take.plan, name) for name in kept] == [61, *(getattr(first, name) for name in kept[1:])]
    assert len(take.plan.codes) == len(first.codes)
    assert take.recipe.task.codes == take.plan.codes
    assert take.recipe.bpm == 61
    assert take.plan.locked == {"keyscale"}
    assert "bpm: 61" in take.plan.thought
    assert lab.make(take.recipe, take.plan).id == take.id
    assert lab.make(WORDS.replace(thinking=False), first.replace(bpm=61)).recipe.task.codes is None


def test_words_written_into_a_plan_are_sung(lab: Session) -> None:
    take = lab.make(WORDS, Plan(lyrics="[Verse]\nla la"))
    assert take.recipe.lyrics == "[Verse]\nla la"
    assert take.plan is not None
    assert take.plan.lyrics == take.recipe.lyrics
    assert take.plan.bpm == take.recipe.bpm is not None


def test_a_recipe_is_never_overruled_and_a_quarrel_is_told(lab: Session) -> None:
    recipe = WORDS.replace(
        bpm=120, keyscale="C major", timesignature="3", language="de", planning=Planning(temperature=2.0)
    )
    free = lab.make(recipe)
    fixed = ("caption", "lyrics", "seconds", "bpm", "keyscale", "timesignature", "language")
    assert [getattr(free.recipe, name) for name in fixed] == [getattr(recipe, name) for name in fixed]
    with pytest.warns(LintWarning, match="bpm 120 stands; the plan says 61"):
        take = lab.make(recipe, Plan(bpm=61))
    assert take.recipe.bpm == 120
    with pytest.raises(RecipeError, match=r"asks for bpm 120, the plan has 61 locked"):
        lab.start(recipe, Plan(bpm=61).lock("bpm"))
    with pytest.warns(LintWarning, match="5 codes|codes are .* the rest is made without"):
        lab.make(WORDS.replace(seed=1), Plan(codes=(1,) * 5))


@pytest.mark.parametrize("task", [Repaint("take", ((0, 1),)), Cover("take"), Extract("take", "bass")])
def test_music_from_a_sound_is_not_planned(lab: Session, task: Any) -> None:
    source = lab.make(WORDS.replace(thinking=False))
    recipe = WORDS.replace(task=replace(task, source=source), seconds=None)
    assert lab.make(recipe).plan is None


def test_thinking_about_a_repaint_is_answered(lab: Session) -> None:
    source = lab.make(WORDS.replace(thinking=True))
    assert lab.repaint(source, Region(0, 1)).plan is None  # what the source was asked for is not asked for here
    with pytest.warns(LintWarning, match="Repaint follows its source"):
        lab.repaint(source, Region(0, 1), thinking=True)


@pytest.mark.parametrize("n", [17, "4", 2.5, True])
def test_the_number_of_plans_is_a_whole_number(lab: Session, n: Any) -> None:
    with pytest.raises(RecipeError, match="1 to 16"):
        lab.plan(WORDS, n=n)


def test_the_planner_wants_a_recipe_and_a_plan(lab: Session) -> None:
    for ask in (
        lambda: lab.plan("dub"),
        lambda: lab.plan(WORDS, keep="x"),
        lambda: lab.make("dub"),
        lambda: lab.make(WORDS, "x"),
    ):
        with pytest.raises(RecipeError, match=r"Recipe\("):
            ask()  # type: ignore[no-untyped-call]


def test_words_from_the_planner_stay_within_the_machine(lab: Session, tmp_path: Path) -> None:
    modest = replace(lab.explain(), longest_seconds=30.0)
    devices = DeviceManager(partial(build, lab.engine.checkpoint), modest)
    with Session(Ace15Engine(lab.engine.checkpoint), library=Library(tmp_path), devices=devices) as small:
        for ask in (
            lambda: small.polish("dub", "[Instrumental]", seconds=31),
            lambda: small.plan(WORDS.replace(seconds=31)),
            lambda: small.start(WORDS.replace(seconds=31)),
        ):
            with pytest.raises(RecipeError, match=r"longer than|too long"):
                ask()
        for seed in range(4):
            plan = small.sketch("  ", instrumental=True, seed=seed)
            assert plan.seconds is not None
            assert plan.seconds <= 30


def test_plan_score_without_a_plan_asks_about_what_was_asked_for(lab: Session) -> None:
    take = lab.make(WORDS.replace(thinking=False, keyscale="C minor"))
    assert {"caption", "keyscale"} <= set(lab.plan_score(take).scores)
    with pytest.raises(RecipeError, match="hold it against"):
        lab.plan_score(take.audio)
    with pytest.raises(RecipeError, match="above 0"):
        lab.plan_score(take, scale=0)


def asked_of(lab: Session, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The seeds the planner is asked with from now on."""
    seeds: list[Any] = []
    real = lab.engine.plans
    monkeypatch.setattr(
        lab.engine, "plans", lambda recipe, asked, **how: seeds.extend(asked) or real(recipe, asked, **how)
    )
    return seeds


def test_varying_a_recipe_asks_the_planner_once_and_only_the_noise_varies(
    lab: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = asked_of(lab, monkeypatch)
    takes = lab.vary(WORDS, [7, 8, 9])
    assert seeds == [7]
    assert takes[0] == lab.make(WORDS)
    assert len({take.id for take in takes}) == 3
    assert {take.plan for take in takes} == {takes[0].plan}
    assert {take.recipe.replace(seed=7) for take in takes} == {takes[0].recipe}
    seeds.clear()
    assert [take.verify(lab).word for take in takes] == ["same"] * 3
    assert [lab.make(take.recipe, take.plan).id for take in takes] == [take.id for take in takes]
    assert seeds == []


def test_varying_a_take_keeps_its_plan_and_asks_nobody(lab: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    source = lab.make(WORDS)
    seeds = asked_of(lab, monkeypatch)
    takes = lab.vary(source, [7, 8])
    assert seeds == []
    assert takes[0] == source
    assert [take.plan for take in takes] == [source.plan] * 2
    assert takes[1].recipe.task.codes == source.recipe.task.codes
    bare = lab.make(WORDS.replace(thinking=False))
    assert [take.plan for take in lab.vary(bare, [1])] == [None]
    assert seeds == []


def test_the_planner_inside_a_listener_is_a_sentence(lab: Session) -> None:
    said: list[str] = []

    def listener(event: Any) -> None:
        if event.kind == "step":
            for ask in (lambda: lab.plan(WORDS), lambda: lab.sketch("rain"), lambda: lab.polish("dub")):
                try:
                    ask()
                except LabError as error:
                    said.append(str(error))

    run = lab.start(WORDS.replace(thinking=False, steps=1))
    run.subscribe(listener)
    assert run.take().seconds == 2
    assert ["very thread" in text for text in said] == [True] * 3


def test_the_time_a_plan_takes_is_learned(lab: Session) -> None:
    lab.plan(WORDS)
    [key] = {key for key, stage in lab.jobs.history._samples if stage == "plan"}
    assert (lab.jobs.history.piece(key, "plan", 2.0) or 0) > 0
