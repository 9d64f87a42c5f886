"""A recipe says everything asked for, survives a trip through JSON, and refuses nonsense in a sentence."""

from __future__ import annotations

import json

import pytest

from acestep_lab import (
    Audio,
    Cover,
    Extend,
    FlowEdit,
    Lego,
    Planning,
    Recipe,
    RecipeError,
    Region,
    Repaint,
    Retake,
)
from acestep_lab.prompt import tasks, vocabulary

WORDS = "slow dub techno, tape hiss"


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(WORDS),
        Recipe(WORDS, seconds=20, seed=7, bpm=118, keyscale="c# min", timesignature="6/8", language="EN"),
        Recipe(WORDS, steps=8, shift=3, solver="heun", guidance="apg", guidance_interval=(0.1, 0.9)),
        Recipe(WORDS, timesteps=(1.0, 0.7, 0.3, 0.0), planning=Planning(temperature=0.0)),
        Recipe("", task=Repaint("take-1", [(8, 12), (2, 3)], strength=0.25)),
        Recipe("", task=Lego("take-1", "Backing vocals", Region(1, 2))),
        Recipe("", task=Cover(codes=(1, 2, 3))),
        Recipe("", task=FlowEdit("take-1", caption="old words", n_avg=2)),
        Recipe("", task=Retake("take-1", 0.5, seed=3)),
        Recipe("", task=tasks.Complete("take-1", ("drums", "bass"))),
    ],
    ids=lambda r: type(r.task).__name__,
)
def test_a_recipe_comes_back_from_json_and_from_its_own_code(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    names = {n: getattr(tasks, n) for n in (*tasks.TASKS, "Region")}
    assert eval(recipe.code(), {"Recipe": Recipe, "Planning": Planning, **names}) == recipe


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"caption": "   "}, "no words"),
        ({"caption": 5}, "caption is text"),
        ({"seconds": 0}, "0 s cannot be made"),
        ({"seconds": 10_000}, "10000 s cannot be made"),
        ({"seconds": "long"}, "number of seconds"),
        ({"seed": "seven"}, "whole number, such as 7"),
        ({"seed": -1}, "between 0 and"),
        ({"seed": True}, "whole number"),
        ({"bpm": 29}, "30 to 300"),
        ({"bpm": "fast"}, "beats per minute"),
        ({"keyscale": "H major"}, "no key"),
        ({"timesignature": "5/4"}, "no meter"),
        ({"language": "klingon"}, "no language"),
        ({"solver": "eulr"}, "Did you mean 'euler'"),
        ({"steps": 0}, "between 1 and 1000"),
        ({"timesteps": (0.3, 0.7)}, "run down"),
        ({"guidance_interval": (1, 0)}, "from low t"),
        ({"caption": "x" * 20_001}, "20,001 characters"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe(**{"caption": WORDS, **wrong})  # type: ignore[arg-type]


def test_a_changed_recipe_is_a_new_one_and_unknown_fields_are_named() -> None:
    recipe = Recipe(WORDS, seed=7)
    assert recipe.replace(seed=8).seed == 8
    assert recipe.seed == 7
    with pytest.raises(RecipeError, match=r"no field 'sed'. Did you mean 'seed'"):
        recipe.replace(sed=8)


def test_regions_run_forward_and_do_not_overlap() -> None:
    assert tasks.regions([(8, 12), (1, 2)]) == (Region(1, 2), Region(8, 12))
    assert Region(1, 2).samples(24_000) == slice(24_000, 48_000)
    assert Region(0.001, 0.002).frames(25) == slice(0, 1)
    for wrong, says in [((4, 4), "forward"), ((-1, 3), "use Extend"), ((float("nan"), 3), "time in seconds")]:
        with pytest.raises(RecipeError, match=says):
            Region(*wrong)
    with pytest.raises(RecipeError, match="overlap"):
        Repaint("take-1", [(1, 5), (4, 6)])


def test_a_task_names_its_sources_by_id_and_needs_one() -> None:
    sound = Audio([[0.0, 0.1]], 8000)
    assert Repaint(sound, [(0, 1)]).to_json()["source"] == sound.id
    for make in (lambda: Extend("", after=2), lambda: Extend(3, after=2), lambda: Cover()):  # type: ignore[arg-type]
        with pytest.raises(RecipeError, match="starts from"):
            make()
    with pytest.raises(RecipeError, match="before=4"):
        Extend("take-1")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("c♯ min", "C# minor"), ("Bb", "Bb major"), ("f# moll", "F# minor"), ("eb major", "Eb major")],
)
def test_keys_are_written_the_models_way(text: str, canonical: str) -> None:
    assert vocabulary.keyscale(text) == canonical


def test_instructions_are_the_published_ones() -> None:
    assert Lego("t", "drums").instruction() == "Generate the DRUMS track based on the audio context:"
    assert (
        tasks.Complete("t", ("bass", "backing vocals")).instruction()
        == "Complete the input track with BASS | BACKING_VOCALS:"
    )
