"""The Plan as a value: changed, locked, compared, kept."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from acestep_lab import Plan, Planning, Recipe, RecipeError

PLAN = Plan(
    bpm=120,
    keyscale="C# minor",
    timesignature="4/4",
    language="en",
    caption="dub",
    lyrics="la",
    seconds=2,
    codes=tuple(range(10)),
    thought="bpm: 120\ncaption: dub",
    asked={"caption": "dub"},
)


def test_a_plan_goes_to_json_and_comes_back() -> None:
    plan = PLAN.lock("bpm", "caption")
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert Plan().to_json() == {}
    with pytest.raises(RecipeError, match="no field 'tempo'"):
        Plan.from_json({"tempo": 3})


def test_codes_go_out_as_the_references_string_and_come_in_as_one() -> None:
    text = PLAN.codes_text()
    assert text.startswith("<|audio_code_0|><|audio_code_1|>")
    assert PLAN.replace(codes=text).codes == PLAN.codes
    assert PLAN.replace(codes="12, 13").codes == (12, 13)
    with pytest.raises(RecipeError, match="audio_code"):
        PLAN.replace(codes="twelve")


def test_changing_the_music_drops_codes_that_no_longer_fit_and_rewrites_the_thought() -> None:
    changed = PLAN.replace(bpm=118)
    assert (changed.bpm, changed.codes) == (118, ())
    assert "bpm: 118" in changed.thought
    assert PLAN.replace(bpm=118, codes=PLAN.codes).codes == PLAN.codes
    assert PLAN.lock("codes").replace(bpm=118).codes == PLAN.codes
    assert PLAN.replace(bpm=120).codes == PLAN.codes


def test_two_plans_tell_their_difference() -> None:
    assert PLAN.diff(PLAN) == {}
    assert PLAN.diff(PLAN.replace(bpm=90, codes=PLAN.codes)) == {"bpm": (120, 90)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bpm": 29}, "30"),
        ({"bpm": 301}, "300"),
        ({"keyscale": "H major"}, "no key"),
        ({"timesignature": 5}, "meter"),
        ({"language": "xx"}, "language"),
        ({"seconds": -1}, "seconds"),
        ({"codes": (1, -2)}, "audio code lies between 0"),
        ({"caption": 3}, "text"),
        ({"tempo": 3}, "no field"),
        ({"locked": frozenset({"tempo"})}, "to lock"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        PLAN.replace(**change)


def test_what_is_not_there_cannot_be_locked() -> None:
    with pytest.raises(RecipeError, match="nothing to lock"):
        Plan().lock("bpm")
    assert PLAN.lock("bpm", "codes").unlock("bpm").locked == {"codes"}
    assert PLAN.lock("bpm").unlock().locked == frozenset()


def test_where_recipe_and_plan_quarrel_and_what_is_open() -> None:
    recipe = Recipe("dub", bpm=90, keyscale="C# minor", seconds=2)
    assert PLAN.against(recipe) == {"bpm": (90, 120)}
    assert PLAN.held(recipe).locked == {"caption", "timesignature", "language", "lyrics"}


def test_a_plans_own_caption_is_no_quarrel_with_the_recipes() -> None:
    own = PLAN.replace(caption="techno", thought="caption: techno")
    assert "caption" not in own.against(Recipe("dub"))
    assert ">techno</td><td style='text-align:left'>planner's<" in own._repr_html_()
    assert own.resolve(Recipe("dub")).caption == "dub"
    assert own.resolve(Recipe("dub", planning=Planning(rewrite_caption=True))).caption == "techno"


def test_words_are_filled_only_where_the_recipe_has_none() -> None:
    assert PLAN.resolve(Recipe("techno")).caption == "techno"
    assert PLAN.resolve(Recipe("techno")).lyrics == "la"
    assert PLAN.resolve(Recipe("techno", "mine")).lyrics == "mine"
    assert PLAN.resolve(Recipe("", "mine")).caption == "dub"


def test_a_plan_shows_itself_in_a_line_and_as_a_table() -> None:
    long = PLAN.replace(caption="<b>" * 40, codes=range(500), asked={"caption": "dub", "keyscale": "A minor"}).lock(
        "bpm"
    )
    assert repr(PLAN) == "<Plan 120 bpm, C# minor, 4 beats, en, 2 s, 10 codes: 'dub'>"
    assert repr(Plan()) == "<Plan open>"
    assert len(repr(long)) < 140
    table = long._repr_html_()
    assert "&lt;b&gt;" in table
    assert "<b>" not in table
    assert "planner's, locked" in table
    assert "yours, changed" in table
    assert len(table) < 2500


@pytest.mark.parametrize(
    "data", [5, None, {"codes": 5}, {"codes": None}, {"locked": "bpm"}, {"locked": 3}, {"asked": 3}, {"problems": None}]
)
def test_odd_json_is_refused_in_a_sentence(data: Any) -> None:
    with pytest.raises(RecipeError):
        Plan.from_json(data)


def test_plan_and_script_need_no_torch() -> None:
    check = "import acestep_lab.plan, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
