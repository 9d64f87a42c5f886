"""Takes that earlier versions kept still open, mean what they meant, and can be made again.

`data/takes_of_2026_11` was written by the code of that time (its README says how). `takes.json` there holds the lines of Python
for each take's recipes, as `recipe.code()` gave them then: a recipe read from a manifest is the one that those lines make today.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acestep_lab
from acestep_lab import Library, Plan, Recipe, Session, Take
from acestep_lab.takes import identity, read_file
from tests.closeness import assert_near, relative_error

FOLDER = Path(__file__).parent / "data" / "takes_of_2026_11"
TOLD: dict[str, dict[str, Any]] = json.loads((FOLDER / "takes.json").read_text(encoding="utf-8"))
NAMES = list(TOLD)
PLANNED = {"planned"}
"""What the planner wrote first: another CPU may draw another token."""

MOST = 1e-3
"""How far a whole render may be from another machine's, as a share of the largest value (measured: see README.md)."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session whose library is a copy of the old one, computing as the takes were computed."""
    folder = tmp_path_factory.mktemp("earlier") / "takes"
    shutil.copytree(FOLDER, folder)
    with Session.open("pocket", library=folder, device="cpu", dtype="float32") as opened:
        yield opened


def story(name: str) -> dict[str, Any]:
    """The manifest on disk, as it was written."""
    found: dict[str, Any] = json.loads((FOLDER / f"{TOLD[name]['id']}.json").read_text(encoding="utf-8"))
    return found


def typed(line: str) -> Recipe:
    """The recipe that a line in somebody's notebook makes today."""
    recipe = eval(line, {name: getattr(acestep_lab, name) for name in acestep_lab.__all__})  # lines of our own data
    assert isinstance(recipe, Recipe)
    return recipe


def as_then(name: str, recipe: Recipe) -> Recipe:
    """A recipe with what its version did unasked: the first format was rendered before there was DCW, so without it."""
    return recipe.replace(dcw="off") if story(name)["format"] == identity.OLD_FORMAT else recipe


def rendered(lab: Session, name: str, recipe: Recipe, plan: Plan | None) -> Take:
    """A take made again, with the adapters it wore; its odd choices were made on purpose."""
    adapters = story(name)["made_with"]["adapters"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if adapters:
            lab.lora(*((FOLDER / f"{adapter}.safetensors", strength) for adapter, strength in adapters.items()))
        try:
            return lab.make(recipe, plan)
        finally:
            if adapters:
                lab.lora()


def test_nothing_in_an_old_library_is_damaged(lab: Session) -> None:
    assert {TOLD[name]["id"] for name in NAMES} <= set(lab.library.ids())
    ours = {one["id"] for one in TOLD.values()}
    said = [problem for problem in lab.library.problems(sounds=True) if problem.name.split(".")[0] in ours]
    assert said == []


@pytest.mark.parametrize("name", NAMES)
def test_a_take_opens_with_its_id_sound_latent_and_parents(lab: Session, name: str) -> None:
    take, written = lab.load(TOLD[name]["id"]), story(name)
    assert (take.id, list(take.parents), take.created) == (written["id"], TOLD[name]["parents"], written["created"])
    assert take.remarks == ()
    assert (take.seconds, take.audio.rate) == (written["audio"]["seconds"], written["audio"]["rate"])
    assert identity.latent_facts(take.latent) == written["latent"]
    if written["format"] == identity.FORMAT:
        assert identity.is_proven(written)
        assert identity.sound_facts(take.audio) == written["audio"]


@pytest.mark.parametrize("asked", ["recipe", "asked"])
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_as_its_line_of_python_and_survives_json(lab: Session, name: str, asked: str) -> None:
    recipe = getattr(lab.load(TOLD[name]["id"]), asked)
    assert recipe == as_then(name, typed(TOLD[name][asked]))
    opened = Recipe.from_json(story(name)[asked])
    assert recipe == as_then(name, opened), "the JSON of then opens with the same meaning"
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert typed(recipe.code()) == recipe


def test_a_plan_opens_as_it_was_written(lab: Session) -> None:
    take, written = lab.load(TOLD["planned"]["id"]), story("planned")["plan"]
    assert take.plan == Plan.from_json(written)
    assert Plan.from_json(json.loads(json.dumps(take.plan.to_json()))) == take.plan
    assert take.plan.codes == take.recipe.task.codes
    assert len(take.plan.codes) == 5 * 1.6
    for field in ("bpm", "keyscale", "timesignature", "language"):
        assert getattr(take.plan, field) == getattr(take.recipe, field)
    assert all(lab.load(TOLD[name]["id"]).plan is None for name in NAMES if not story(name)["plan"])


def test_the_lineage_is_found_from_both_ends(lab: Session) -> None:
    for name in NAMES:
        for parent in TOLD[name]["parents"]:
            assert lab.sound(parent).id == parent, "what a take came from can be heard"
            if parent.startswith("take-"):
                assert TOLD[name]["id"] in {card.id for card in lab.library.children(parent)}


@pytest.mark.parametrize("name", NAMES)
def test_a_take_keeps_its_id_in_another_library_and_in_a_file_that_travels(
    lab: Session, name: str, tmp_path: Path
) -> None:
    take = lab.load(TOLD[name]["id"])
    other = Library(tmp_path / "other")
    other.keep(take)
    again = other.open(take.id)
    other.close()
    assert (again, again.recipe, again.asked, again.parents) == (take, take.recipe, take.asked, take.parents)
    assert np.array_equal(again.latent, take.latent)
    travelled = read_file(take.export(tmp_path / f"song.{take.audio.lossless_kind}"))
    assert (travelled.id, travelled.recipe) == (take.id, take.recipe)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "step"])
def test_a_recipe_makes_the_same_music_again(lab: Session, name: str) -> None:
    take = lab.load(TOLD[name]["id"])
    again = rendered(lab, name, take.recipe, take.plan)
    assert again.recipe == take.recipe, "all of it was decided"
    assert again.parents == take.parents
    assert_near(again.latent, take.latent, MOST)
    assert_near(again.audio.samples, take.audio.samples, MOST)
    assert take.verify(again)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "step" and name not in PLANNED])
def test_what_was_asked_is_decided_as_it_was(lab: Session, name: str) -> None:
    take = lab.load(TOLD[name]["id"])
    again = rendered(lab, name, take.asked, None)
    assert again.recipe == take.recipe
    assert_near(again.latent, take.latent, MOST)


@pytest.mark.parametrize("name", ["planned", "step"])
def test_a_session_verifies_a_take_with_its_plan_and_one_of_a_single_step(lab: Session, name: str) -> None:
    assert lab.verify(lab.load(TOLD[name]["id"]))


@pytest.mark.parametrize(
    "change",
    [
        {"solver": "euler"},
        {"guidance": "cfg"},
        {"guidance_scale": 3.0},
        {"guidance_interval": None},
        {"velocity_clamp": None},
        {"velocity_ema": None},
        {"timesteps": None},
        {"dcw": "off"},
        {"dcw_low": 0.05},
        {"dcw_high": 0.02},
        {"latent_shift": 0.0},
        {"latent_rescale": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_knob_of_the_loop_could_be_lost_unnoticed(lab: Session, change: dict[str, Any]) -> None:
    """The tolerance above is far below what any one of the settings does."""
    take = lab.load(TOLD["odd_sampling"]["id"])
    other = rendered(lab, "odd_sampling", take.recipe.replace(**change), None)
    assert relative_error(other.latent, take.latent) > 5 * MOST
