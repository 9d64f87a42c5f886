"""Several songs at once: each is what it would have been alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from acestep_lab import Library, Recipe, RecipeError, Region, Session, Tier
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.engines.base import groups
from acestep_lab.models.loading import Checkpoint
from acestep_lab.prompt.tasks import Cover, FlowEdit, Repaint
from tests.closeness import assert_near
from tests.opening import prepared
from tests.tiny import tiny_diffusers

DUB = Recipe("dub", seconds=2, seed=1, bpm=90, steps=4, language="en")
WALTZ = Recipe("a slow waltz for strings, warm and far away", "[Verse]\nla la la", 2, 2, 140, "C minor", "3", steps=4)
MARCH = Recipe("a march with brass", "[Chorus]\nleft, right, left, right, home", 2, 3, steps=4, language="de")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_diffusers(tmp_path_factory.mktemp("batch") / "base", turbo=False, lm=False)


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[Session]:
    """A session with room for eight songs at once."""
    with Session(Ace15Engine(Checkpoint.open(folder)), Tier.for_memory(24), Library(folder / "takes")) as session:
        yield session


@pytest.mark.parametrize("solver", ["euler", "heun", "sde", "dpmpp2m"])
def test_an_item_in_a_batch_equals_the_item_alone(lab: Session, solver: str) -> None:
    recipes = [recipe.replace(solver=solver) for recipe in (DUB, WALTZ, MARCH)]
    run = lab.start(recipes)
    together = run.takes()
    assert [step.item for step in run.steps[:4]] == [0, 1, 2, 0]
    assert run.steps[0].state.shape == together[0].latent.shape
    for take, recipe in zip(together, recipes, strict=True):
        assert_near(take.latent, lab.make(recipe).latent)
        assert (take.recipe.seed, take.recipe.caption) == (recipe.seed, recipe.caption)


@pytest.mark.parametrize("guidance", ["none", "cfg", "apg", "adg", "cfg_zero"])
@pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning")
def test_guidance_treats_every_item_as_it_treats_it_alone(lab: Session, guidance: str) -> None:
    recipes = [r.replace(guidance=guidance, guidance_scale=3.0, guidance_interval=(0.2, 1.0)) for r in (DUB, WALTZ)]
    for take, recipe in zip(lab.start(recipes).takes(), recipes, strict=True):
        assert_near(take.latent, lab.make(recipe).latent)


def test_songs_of_different_lengths_and_schedules_are_rendered_in_one_run(lab: Session) -> None:
    recipes = [DUB, WALTZ.replace(seconds=1.3), MARCH, DUB.replace(steps=6), WALTZ.replace(seconds=1.3, seed=9)]
    run = lab.start(recipes)
    takes = run.takes()
    assert [take.seconds for take in takes] == pytest.approx([2, 1.3, 2, 2, 1.3])
    assert [step.item for step in run.steps if step.index == 0] == [0, 2, 1, 4, 3]
    assert run.fraction == 1.0
    for take, recipe in zip(takes, recipes, strict=True):
        assert_near(take.latent, lab.make(recipe).latent)


def test_tasks_of_one_kind_share_a_loop_each_with_its_own_regions(lab: Session) -> None:
    source = lab.make(DUB)
    recipes = [
        MARCH.replace(seconds=None, task=Repaint(source, (Region(0.5, 1.0),), "conservative")),
        WALTZ.replace(seconds=None, task=Repaint(source, (Region(0.2, 0.4), Region(1.0, 1.9)), "balanced")),
        DUB,
        MARCH.replace(seconds=None, task=Cover(source, strength=0.5)),
        WALTZ.replace(seconds=None, task=Cover(source, strength=0.5)),
        WALTZ.replace(seconds=None, task=FlowEdit(source, n_avg=2)),
    ]
    run = lab.start(recipes)
    takes = run.takes()
    assert [f.item for f in run.steps if f.index == 0] == [0, 1, 2, 3, 4, 5]
    for take, recipe in zip(takes, recipes, strict=True):
        assert_near(take.latent, lab.make(recipe).latent)


def test_asking_for_both_halves_of_guidance_at_once_changes_nothing(lab: Session) -> None:
    from acestep_lab.engines.ace15 import render

    songs = prepared(lab, *(recipe.replace(guidance_scale=3.0) for recipe in (DUB, WALTZ)))
    predict = lab.engine._predict(lambda: None)
    with torch.inference_mode():
        (*_, apart), (*_, at_once) = (render.render(songs, predict, together) for together in (False, True))
    assert_near(apart.state, at_once.state)


def test_no_more_songs_go_together_than_the_machine_has_room_for(lab: Session) -> None:
    songs = prepared(lab, *(DUB.replace(seed=seed) for seed in range(5)))
    assert list(groups(songs, 2)) == [[0, 1], [2, 3], [4]]
    assert list(groups(songs, 1)) == [[0], [1], [2], [3], [4]]


def test_a_gallery_of_seeds_is_reproduced_whole(lab: Session) -> None:
    one, again = (lab.vary(DUB, seeds=range(4)) for _ in range(2))
    assert [take.id for take in one] == [take.id for take in again]
    assert len({take.id for take in one}) == 4


def test_a_step_of_one_song_of_a_batch_can_be_kept(lab: Session) -> None:
    run = lab.start([DUB, WALTZ, DUB.replace(seconds=1.0)])
    run.wait()
    kept = run.keep(1, item=1)
    assert kept.recipe.caption == WALTZ.caption
    assert np.array_equal(kept.latent, run.steps[3].estimate.numpy())
    assert run.keep(0, item=2).seconds == 1.0
    with pytest.raises(RecipeError, match="no step 7"):
        run.keep(7, item=2)


def test_a_longer_song_begins_with_the_same_noise(lab: Session) -> None:
    songs = prepared(lab, *(DUB.replace(seconds=seconds) for seconds in (2, 9)))
    assert torch.equal(songs[0].start, songs[1].start[:100])


def test_no_recipe_at_all_is_refused(lab: Session) -> None:
    with pytest.raises(RecipeError, match="at least one"):
        lab.start([])
