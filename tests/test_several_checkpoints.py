"""Several checkpoints in one session: used by turns, named by recipes, each take made again by the one that made it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acestep_lab import CheckpointError, Recipe, RecipeError, Session
from acestep_lab.engines import registry
from acestep_lab.jobs.client import Client
from acestep_lab.prompt.sampling import FlowSampling, TokenSampling
from tests.tiny_musicgen import tiny_musicgen

WORDS = Recipe("warm lo-fi keys", seconds=1.0, seed=3)


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_musicgen(tmp_path_factory.mktemp("several") / "tiny-tokens")


@pytest.fixture
def lab(tiny_base: Path, token_folder: Path, tmp_path: Path) -> Iterator[Session]:
    with Session.open(tiny_base, library=tmp_path) as session:
        yield session


def test_what_a_checkpoint_costs_is_said_before_anything_is_loaded(lab: Session, token_folder: Path) -> None:
    cost = lab.cost(token_folder)
    assert cost.more_bytes > 0
    assert lab.engines.devices.on_device == ()
    assert lab.checkpoints == (lab.name,)


def test_terms_that_do_not_let_everything_are_said_where_a_checkpoint_is_chosen(
    lab: Session, token_folder: Path
) -> None:
    assert "not for commercial use" not in repr(lab)
    assert "NC" in lab.use(token_folder).licence
    assert "not for commercial use" in repr(lab)


def test_recipes_of_one_run_may_name_different_checkpoints(lab: Session, token_folder: Path) -> None:
    flow = lab.name
    lab.use(token_folder)
    tokens = lab.name
    recipes = [WORDS.replace(checkpoint=flow, thinking=False), WORDS.replace(checkpoint=tokens)]
    takes = lab.start(recipes).takes()
    assert [take.made_with["checkpoint"] for take in takes] == [flow, tokens]
    assert [type(take.recipe.sampling) for take in takes] == [FlowSampling, TokenSampling]


def test_a_take_is_made_again_by_the_checkpoint_that_made_it(lab: Session, token_folder: Path) -> None:
    take = lab.make(WORDS.replace(thinking=False))
    lab.use(token_folder)
    assert lab.verify(take).word == "same"


def test_a_step_of_any_of_them_can_be_kept(lab: Session, token_folder: Path) -> None:
    flow = lab.name
    lab.use(token_folder)
    run = lab.start([WORDS.replace(checkpoint=flow, thinking=False, steps=2), WORDS])
    run.wait()
    assert run.keep(0, item=0).made_with["checkpoint"] == flow
    with pytest.raises(RecipeError, match="nothing to hear"):
        run.keep(0, item=1)


def test_a_run_that_waits_for_its_plan_is_planned_and_made_by_the_checkpoint_it_was_asked_of(
    token_folder: Path, tmp_path: Path
) -> None:
    with Session.open(library=tmp_path) as lab:
        lab.jobs.pause()
        run = lab.start(WORDS.replace(steps=2))
        lab.use(token_folder)
        lab.jobs.resume()
        assert run.take().made_with["checkpoint"] == "pocket"
        assert run.take().plan is not None


def test_a_run_that_waits_is_made_by_the_checkpoint_it_was_asked_of(lab: Session, token_folder: Path) -> None:
    asked = lab.name
    lab.jobs.pause()
    run = lab.start(WORDS.replace(thinking=False))
    lab.use(token_folder)
    lab.jobs.resume()
    assert run.take().made_with["checkpoint"] == asked


def test_a_recipe_from_elsewhere_opens_no_folder_of_this_machine(lab: Session, token_folder: Path) -> None:
    for name in (str(token_folder), "../tiny-tokens", "no-such-checkpoint"):
        with pytest.raises(CheckpointError, match=r"lab\.use"):
            lab.start(WORDS.replace(checkpoint=name))


def test_a_visitors_recipe_opens_no_checkpoint_that_the_host_has_not(lab: Session) -> None:
    before = lab.checkpoints
    name = next(one for one in registry.names() if one not in before)
    with Client("ann").acting(), pytest.raises(CheckpointError, match="only the host can open"):
        lab.resolve(Recipe("dub", seconds=1, checkpoint=name))
    assert lab.checkpoints == before
