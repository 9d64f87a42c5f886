"""The form: everything a recipe has is within reach, and what comes in from takes, presets and browsers is whole or named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Recipe
from acestep_lab.errors import RecipeError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import tasks as all_tasks
from acestep_lab.prompt.recipe import Planning
from acestep_lab.prompt.sampling import KINDS, FlowSampling, FlowSamplingV1, TokenSampling
from acestep_lab.prompt.tasks import (
    TASKS,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Text2Music,
)
from acestep_lab.schemas import making
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.draft import Draft, FieldError
from acestep_lab.ui.fields import GROUPS
from acestep_lab.ui.forms import FORMS, PLAIN_FIELDS, PLANNING, SAMPLING, TASK_FIELDS, Form
from acestep_lab.ui.prompt_editor import COUNTS, PromptEditorWidget
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.trying import values_to_try
from tests.pretend import FLOW, TOKENS, PretendSession, png, tone
from tests.test_ui_editors import sent

ELSEWHERE = {
    "Recipe.caption": "the caption's own box",
    "Recipe.lyrics": "the lyrics editor",
    "Recipe.language": "the lyrics editor",
    "Recipe.task": "the list of tasks",
    "Recipe.checkpoint": "the list of checkpoints",
    "Recipe.sampling": "its own fields, below",
    "Recipe.planning": "its own fields, below",
    "Repaint.regions": "drawn on the waveform",
    **{f"{name}.source": "the take in hand" for name in FORMS if name != "Text2Music"},
}
"""What is not a field of the form, and where it is instead."""


def test_every_field_of_a_recipe_is_in_the_form_or_named_elsewhere() -> None:
    kinds: dict[str, Any] = {"Recipe": Recipe, **{name: TASKS[name] for name in FORMS}}
    there = {f"{kind}.{f.name}" for kind, cls in kinds.items() for f in fields(cls)}
    offered = {f"Recipe.{name}" for name in PLAIN_FIELDS if "." not in name} | set(TASK_FIELDS)
    assert there - offered == set(ELSEWHERE)
    assert not offered & set(ELSEWHERE), "nothing has two homes"
    assert {f.key for f in PLANNING} == {f.name for f in fields(Planning)}
    for kind in KINDS.values():
        assert {f.name for f in SAMPLING[kind]} == set(kind.names())


def test_every_field_has_a_sentence_and_what_stands_behind_more_has_a_group() -> None:
    found = [*PLAIN_FIELDS.values(), *TASK_FIELDS.values()]
    assert all(f.hint.endswith((".", "…")) and len(f.hint) > 8 for f in found)
    assert {f.group for f in found} == {"", *GROUPS}
    basic = [f.name for f in PLAIN_FIELDS.values() if not f.group]
    assert basic == ["bpm", "keyscale", "timesignature", "seconds", "seed"]


EVERYTHING = Recipe(
    "dub",
    "la",
    seconds=9.5,
    seed=7,
    bpm=99,
    keyscale="A minor",
    timesignature="3",
    fade_in=0.5,
    fade_out=1.0,
    normalize=False,
    peak_db=-3.0,
    sampling=FlowSampling(
        steps=9,
        shift=1.5,
        timesteps=(1.0, 0.7, 1 / 3),
        solver="heun",
        guidance="apg",
        guidance_scale=3.5,
        guidance_interval=(0.1, 0.9),
        velocity_clamp=1.2,
        velocity_ema=0.2,
        dcw="double",
        dcw_low=0.1,
        dcw_high=0.03,
        instruction="Fill it:",
        global_caption="a long song",
        latent_shift=0.1,
        latent_rescale=0.9,
    ),
    planning=Planning(0.7, 0.8, 20, 1.2, 1.5, "", False, True, True, thinking=False),
)
TASK_VALUES = (
    Text2Music(reference="take-1", codes=(1, 2, 63999)),
    Repaint("take-1", (Region(1, 2),), "aggressive", 0.9, 0.4, 0.2, 0.1, "auto"),
    Extend("take-1", 2.0, 0.0, 0.3),
    Cover("take-1", 0.4, 0.2, False, reference="take-2"),
    Cover(None, 0.4, codes=(5, 6), reference="take-2"),
    Retake("take-1", 0.2, 9),
    Extract("take-1", "vocals"),
    Lego("take-1", "bass", Region(1, 2.5), "auto"),
    Complete("take-1", ("drums",)),
    FlowEdit("take-1", "old words", "old lyrics", 0.1, 0.8, 3),
)


@pytest.mark.parametrize("task", TASK_VALUES, ids=lambda task: type(task).__name__)
def test_a_draft_of_a_recipe_with_everything_set_makes_it_again_and_so_does_its_code(task: Any) -> None:
    seconds = 9.5 if "source" not in task.sources() else None
    recipe = EVERYTHING.replace(task=task, seconds=seconds)
    regions = getattr(task, "regions", ())
    prompt = PromptEditorWidget(recipe, source=lambda: "take-1", words=lambda: ("la", None, regions))
    assert prompt.errors == {}
    assert prompt.recipe() == recipe
    assert made_by(prompt.code) == [recipe]
    json.dumps([prompt.draft, prompt.forms, prompt.kept])


def made_by(code: str) -> list[Recipe]:
    """The recipes that copied code would make."""
    made: list[Recipe] = []

    class Lab:
        make = staticmethod(made.append)

        @staticmethod
        def start(recipes: list[Recipe]) -> Any:
            made.extend(recipes)
            return Lab

        takes = staticmethod(list)

    names = {name: value for name, value in vars(all_tasks).items() if name in TASKS or name == "Region"}
    exec(code, {"Recipe": Recipe, "Planning": Planning, "lab": Lab, **names})
    return made


@pytest.mark.parametrize("count", COUNTS)
def test_a_click_makes_takes_with_seeds_that_follow_each_other_and_the_code_makes_the_same(count: int) -> None:
    prompt = PromptEditorWidget(Draft("dub", {"seed": 41}))
    made: list[Any] = []
    prompt.on("make", lambda recipe: made.append(recipe))
    prompt.do_count(count)
    code = prompt.code
    prompt.do_make()
    recipes = made[0] if count > 1 else made
    assert [one.seed for one in recipes] == list(range(41, 41 + count))
    assert made_by(code) == recipes
    prompt.do_make()
    again = made[1] if count > 1 else made[1:]
    assert again[0].seed == prompt.draft["values"]["seed"] != 41, "new ones, and shown"
    with pytest.raises(RecipeError, match="1, 2, 4 or 8"):
        prompt.do_count(3)


def test_variations_are_turned_towards_seeds_that_follow_each_other() -> None:
    prompt = PromptEditorWidget(Draft("dub", {"seed": 5, "Retake.seed": 20}, "Retake"), source=lambda: "take-1")
    prompt.do_count(2)
    assert [(one.seed, one.task.seed) for one in prompt.recipes()] == [(5, 20), (5, 21)]
    assert prompt.seeds == "20–21"
    assert made_by(prompt.code) == prompt.recipes()


@pytest.mark.parametrize("engine", [FLOW, TOKENS], ids=lambda engine: engine.name)
def test_every_field_of_the_form_has_values_to_try_that_the_checkpoint_takes(engine: Any) -> None:
    form = Form.of(engine.capabilities)
    plain = [(name, field) for name, field in form.by_name.items() if field.group]
    own = [
        (name, field)
        for row in form.tasks
        if row.name in engine.capabilities.tasks
        for name, field in form.of_task(row.name).items()
    ]
    for name, field in plain + own:
        task = name.partition(".")[0] if name in TASK_FIELDS else "Text2Music"
        draft = Draft("dub", {"seed": 1}, task)
        if field.is_free and not field.tries:
            with pytest.raises(RecipeError, match="first"):
                values_to_try(field, name, draft, form, None)
            typed = {"span": ["1", "2"], "sound": "take-1", "codes": "1 2"}.get(field.kind, "some words")
            draft = draft.put(name, typed)
            wanted: range = range(2, 3)
        else:
            wanted = range(2, 3) if field.kind == "flag" else range(2, 4)
        values = values_to_try(field, name, draft, form, getattr(engine.usual, field.key, None))
        assert len(values) in wanted, name
        for value in values:
            assert name not in draft.put(name, value).problems(form), (name, value)


def test_three_takes_of_a_field_share_all_else_and_a_field_left_out_says_so_beside_it() -> None:
    prompt = PromptEditorWidget(Draft("dub", {"seed": 4}), defaults=lambda task: {"steps": 8})
    rows: list[Any] = []
    prompt.on("sweep", lambda x, y, recipes: rows.append((x, recipes[0])))
    prompt.do_try("steps")
    prompt.do_try("planning.thinking")
    assert rows[0][0] == ("steps", [4, 8, 16])
    assert [one.sampling.steps for one in rows[0][1]] == [4, 8, 16]
    assert rows[1][0] == ("planner thinking", ["on", "off"])
    assert len({one.replace(steps=None).seed for one in rows[0][1]}) == 1
    messages = sent(prompt)
    prompt.do_try("instruction")
    assert (messages[-1]["field"], "first" in messages[-1]["text"]) == ("instruction", True)


@pytest.mark.parametrize(
    ("name", "typed", "read"),
    [
        ("timesteps", "1, 0.7 0.3", (1.0, 0.7, 0.3)),
        ("timesteps", "1; 0,7; 0,3", (1.0, 0.7, 0.3)),
        ("timesteps", "[1, 0.5, 0]", (1.0, 0.5)),
        ("guidance_interval", ["0,1", "0.9"], (0.1, 0.9)),
        ("guidance_interval", "0.1–0.9", (0.1, 0.9)),
        ("guidance_interval", ["", " "], None),
        ("velocity_clamp", "", None),
    ],
)
def test_rows_and_spans_are_read_as_people_write_them(name: str, typed: Any, read: Any) -> None:
    assert getattr(Draft("dub", {name: typed}).recipe().sampling, name) == read


@pytest.mark.parametrize(
    ("name", "typed", "answer"),
    [
        ("timesteps", "fast", "list of numbers"),
        ("timesteps", "0.1, 0.9", "run down"),
        ("guidance_interval", ["0.9", "0.1"], "from low"),
        ("guidance_interval", ["0.1", ""], "both numbers"),
        ("guidance_interval", ["a", "b"], "not 'a'"),
        ("guidance_interval", "5", "two ends"),
        ("velocity_ema", "2", "0.99"),
        ("planning.top_p", "7", "top_p"),
        ("Text2Music.codes", "one two", "Audio codes"),
        ("planning.thinking", "yes", "on or off"),
    ],
)
def test_a_mistake_is_said_of_its_field(name: str, typed: Any, answer: str) -> None:
    draft = Draft("dub", {name: typed})
    assert answer in draft.problems()[name]
    with pytest.raises(FieldError) as problem:
        draft.recipe()
    assert problem.value.name == name


def test_what_is_wrong_with_a_task_as_a_whole_is_said_of_the_field_it_speaks_of() -> None:
    draft = Draft("dub", {"FlowEdit.n_min": 0.8, "FlowEdit.n_max": 0.4}, "FlowEdit")
    assert list(draft.problems()) == ["FlowEdit.n_min"]
    assert Draft("dub", {}, "Extend").recipe(source="take-1").task == Extend("take-1", after=8.0)
    assert Draft("dub", {"Extend.before": 2}, "Extend").recipe(source="take-1").task == Extend("take-1", before=2.0)
    both = Draft("dub", {"Cover.codes": "5 6", "Cover.noise_strength": 0.5}, "Cover")
    assert list(both.problems()) == ["Cover.noise_strength"]


# -- on a page


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


def page_of(lab: PretendSession, owner: str = "") -> Studio:
    return Studio(backend_of(lab), owner, panes=False, picture=png)


def test_a_take_gives_its_words_task_settings_locks_and_regions_back_whole(lab: PretendSession) -> None:
    page = page_of(lab)
    source = lab.make(Recipe("under it", seconds=4, seed=2))
    page.add(source)
    asked = EVERYTHING.replace(seconds=None, task=Repaint(source, (Region(1, 2),), "aggressive", 0.9))
    for name in ("bpm", "planning.temperature"):
        page.prompt.do_lock(name)
    made = page.start(asked).take()
    wait(lambda: "locks" in lab.library.marks(made.id))
    assert lab.library.marks(made.id)["locks"] == ["bpm", "planning.temperature"]
    page.close()
    fresh = page_of(lab)
    fresh.reuse(made)
    wait(lambda: fresh.picker.value == [Region(1, 2)])
    assert fresh.prompt.value.locked == {"bpm", "planning.temperature"}
    assert fresh.lyrics.value == "la"
    assert (fresh.picker.mode, fresh.picker.strength) == ("aggressive", 0.9)
    again = fresh.prompt.recipe()
    assert again.replace(task=Text2Music()) == asked.replace(task=Text2Music())
    assert again.task.with_ids() == asked.task.with_ids()
    fresh.close()


def wait(ready: Any) -> None:
    from tests.browser.conftest import wait_for

    wait_for(ready, 10)


def test_a_new_run_takes_the_last_errors_away(lab: PretendSession) -> None:
    page = page_of(lab)
    messages = sent(page.prompt)
    page.prompt.do_make()
    assert messages[-1]["field"] == "caption"
    page.start(Recipe("dub", seconds=1, seed=1)).take()
    assert "clear" in [one["kind"] for one in messages[1:]]
    page.close()


def test_a_repaint_from_the_form_is_the_waveform_panels(lab: PretendSession) -> None:
    page = page_of(lab)
    page.add(lab.make(Recipe("under it", seconds=4, seed=2)))
    page.prompt.do_edit("caption", "words of the form")
    page.prompt.do_edit("task", "Repaint")
    assert not [f for row in page.prompt.forms["tasks"] if row["name"] == "Repaint" for f in row["fields"]
                if f["name"] in ("Repaint.mode", "Repaint.strength")]  # fmt: skip
    with pytest.raises(FieldError, match="at least one region"):
        page.prompt.recipe()
    page.picker.mark([Region(1, 2)])
    page.picker.do_setting("mode", "conservative")
    page.picker.do_setting("strength", "0.25")
    recipe = page.prompt.recipe()
    assert (recipe.task.regions, recipe.task.mode, recipe.task.strength) == ((Region(1, 2),), "conservative", 0.25)
    assert recipe.caption == "words of the form"
    page.picker.do_setting("caption", "words of the region")
    assert page.prompt.recipe().caption == "words of the region"
    page.close()


def test_the_sound_codes_and_region_at_hand_go_into_their_fields(lab: PretendSession) -> None:
    page = page_of(lab)
    messages = sent(page.prompt)
    page.prompt.receive({"kind": "fetch", "field": "Text2Music.reference"}, [])
    assert "no take in hand" in messages[-1]["text"]
    page.add(take := lab.make(Recipe("under it", seconds=4, seed=2)))
    page.prompt.do_edit("caption", "dub")
    page.prompt.do_fetch("Text2Music.reference")
    assert page.prompt.recipe().task.reference is take
    page.plan.show_plan(Plan(bpm=90, codes=(4, 5)), Recipe("dub"))
    page.prompt.do_fetch("Text2Music.codes", "plan")
    assert page.prompt.recipe().task.codes == (4, 5)
    page.prompt.do_edit("task", "Lego")
    page.picker.mark([Region(1, 3)])
    page.prompt.do_fetch("Lego.region")
    assert page.prompt.recipe().task.region == Region(1, 3)
    page.close()


def test_what_is_locked_is_told_to_whoever_polishes() -> None:
    prompt = PromptEditorWidget(
        Draft("dub", {"bpm": "98", "keyscale": None, "seconds": "x"}), words=lambda: ("la", "en", ())
    )
    for name in ("bpm", "keyscale", "seconds", "caption", "lyrics"):
        prompt.do_lock(name)
    assert prompt.locked_values() == {"bpm": 98, "caption": "dub", "lyrics": "la", "language": "en"}


def test_locked_lyrics_stay_when_a_take_is_loaded(lab: PretendSession) -> None:
    page = page_of(lab)
    take = lab.make(Recipe("under it", "theirs", seconds=4, seed=2))
    page.lyrics.do_text("mine")
    page.lyrics.do_lock(True)
    page.reuse(take)
    assert (page.prompt.value.caption, page.lyrics.value) == ("under it", "mine")
    page.prompt.do_undo()
    assert page.lyrics.locked
    page.close()


def test_fields_of_another_family_wait_and_are_named(lab: PretendSession) -> None:
    page = page_of(lab)
    page.prompt.load(EVERYTHING)
    lab.use("pretend-tokens")
    page.adopt(None)
    [said] = page.prompt.notes
    assert said.startswith("Left out")
    assert "Steps" in said
    assert len(said) < 300
    assert page.prompt.recipe().sampling == TokenSampling(guidance_scale=3.5)
    lab.use("pretend")
    page.adopt(None)
    assert page.prompt.notes == []
    assert page.prompt.recipe().sampling == EVERYTHING.sampling
    page.close()


# -- the draft a browser keeps


def kept(page: Studio) -> dict[str, Any]:
    return dict(json.loads(json.dumps(page.prompt.kept)))


def test_a_draft_comes_back_to_an_untouched_page_and_can_be_sent_away_again(lab: PretendSession) -> None:
    page = page_of(lab)
    assert page.prompt.kept == {}, "nothing is kept before anything was written"
    page.prompt.load(EVERYTHING)
    page.prompt.do_count(4)
    page.lyrics.do_text("[Verse]\nla")
    stored = kept(page)
    page.close()
    fresh = page_of(lab)
    seed = fresh.prompt.value.values["seed"]
    fresh.prompt.receive({"kind": "restore", "kept": stored}, [])
    assert fresh.prompt.restored
    assert fresh.prompt.recipe() == EVERYTHING.replace(lyrics="[Verse]\nla")
    assert fresh.prompt.count == 4
    fresh.prompt.receive({"kind": "forget"}, [])
    assert (fresh.prompt.value, fresh.lyrics.value) == (Draft("", {"seed": seed}), "")
    assert not fresh.prompt.restored
    fresh.close()


def test_words_that_came_in_with_a_take_are_kept_as_well(lab: PretendSession) -> None:
    page = page_of(lab)
    page.reuse(lab.make(Recipe("under it", "theirs", language="en", seconds=4, seed=2)))
    assert kept(page)["lyrics"] == {"text": "theirs", "language": "en", "instrumental": False}
    assert kept(page)["caption"] == "under it"
    page.close()


def test_a_page_that_lives_is_not_overwritten_by_what_a_browser_kept(lab: PretendSession) -> None:
    page = page_of(lab)
    page.lyrics.do_text("only lyrics yet")
    page.prompt.receive({"kind": "restore", "kept": {"caption": "old"}}, [])
    assert page.prompt.value.caption == ""
    assert not page.prompt.restored
    page.close()


@pytest.mark.parametrize(
    "odd",
    [
        5, None, [], "x", {"caption": 5}, {"values": {"seed": 10**400}}, {"values": [1]}, {"locked": ["nobody"] * 9},
        {"caption": "\ud800"}, {"task": "Stitch"}, {"task": 5}, {"count": 10**9, "caption": "w"},
        {"values": {"__class__": 1, "steps": {"a": 1}, "bpm": "fast"}, "caption": "w"},
        {"lyrics": {"text": "la", "language": "klingon", "instrumental": "yes"}}, {"lyrics": [1]},
        {"lyrics": {"text": "la", "language": "klingon"}},
    ],
)  # fmt: skip
def test_what_a_browser_kept_is_input_as_any_other(lab: PretendSession, odd: Any) -> None:
    page = page_of(lab)
    messages = sent(page.prompt)
    page.prompt.receive({"kind": "restore", "kept": odd}, [])
    assert all(len(one["text"]) <= 300 for one in messages if one["kind"] == "error")
    assert page.prompt.count == 1
    page.prompt.do_edit("bpm", None)
    page.prompt.do_edit("caption", "dub")
    assert page.prompt.recipe().caption == "dub"
    page.close()


def test_a_draft_is_kept_under_its_owners_name_only(lab: PretendSession) -> None:
    names = {page_of(lab, who).prompt.kept_for for who in ("", "ann", "bob")}
    assert len(names) == 3
    assert not any("ann" in name or "bob" in name for name in names)
    assert PromptEditorWidget().kept_for == "", "an editor used alone keeps nothing"


def test_a_sound_in_hand_serves_as_a_reference_by_itself() -> None:
    sound = tone(1.0)
    prompt = PromptEditorWidget(Draft("dub", {"seed": 1}), source=lambda: sound)
    prompt.do_fetch("Text2Music.reference")
    assert prompt.recipe().task.reference is sound
    prompt.do_edit("Text2Music.reference", None)
    assert prompt.recipe().task == Text2Music()


def test_a_draft_of_v1s_knobs_makes_them_again_and_a_word_of_another_family_is_told_at_its_field() -> None:
    form, recipe = Form(sampling=FlowSamplingV1), Recipe("dub", seconds=9.5, sampling=making.FLOW_V1)
    draft = Draft.of(recipe)
    assert draft.problems(form) == {}
    assert draft.recipe(form=form) == recipe
    wrong = Draft(
        "dub", {"own_steps": "5, 3", "guidance_share": "2", "erg_tag": "maybe", "steps": 500, "solver": "dpmpp2m"}
    )
    assert set(wrong.problems(form)) == {"own_steps", "guidance_share", "erg_tag", "steps", "solver"}
    assert "no solver of ACE-Step v1" in wrong.problems(form)["solver"]
    assert Draft("dub", {"solver": "sde"}).recipe(form=form).sampling == FlowSamplingV1(solver="pingpong")
