"""The editors by their requests and fields: what is typed, what becomes of it, what is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acestep_lab.errors import LabError, RecipeError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MODEL_TASKS, Cover, Region, Repaint, Text2Music
from acestep_lab.ui.draft import Draft
from acestep_lab.ui.forms import FORMS
from acestep_lab.ui.lyrics_editor import LyricsEditorWidget
from acestep_lab.ui.plan_view import PlanViewWidget, word_changes
from acestep_lab.ui.prompt_editor import PromptEditorWidget
from tests.pretend import tone


def sent(component: Any) -> list[dict[str, Any]]:
    """Messages a component sends from now on."""
    messages: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: messages.append({"kind": kind, "buffers": buffers, **body})
    return messages


def editor(**options: Any) -> tuple[Any, list[Recipe]]:
    made: list[Recipe] = []
    prompt = PromptEditorWidget(**options)
    prompt.on("make", lambda recipe: made.append(recipe))
    return prompt, made


# -- drafts


@pytest.mark.parametrize(
    ("field", "typed", "answer"),
    [("seed", "seven", "not 'seven'"), ("seed", "-1", "between 0"), ("seconds", "0", "0 s cannot be made"), ("seconds", "10000", "10000 s cannot be made"),
     ("seconds", "nan", "number of seconds"), ("bpm", "20", "30 to 300"), ("steps", "2.5", "whole number"), ("keyscale", "H minor", "is no key")],
)  # fmt: skip
def test_what_makes_no_sense_is_said_of_its_field_and_stays_as_it_was_typed(
    field: str, typed: str, answer: str
) -> None:
    draft = Draft("words").put(field, typed)
    assert answer in draft.problems()[field]
    assert draft.values[field] == typed
    with pytest.raises(RecipeError, match=answer[:8]):
        draft.recipe()


def test_a_draft_of_a_recipe_makes_that_recipe_again() -> None:
    recipe = Recipe("dub", seconds=12.0, seed=7, bpm=112, keyscale="F# minor", steps=20, guidance_scale=3.0, shift=2.0)
    assert Draft.of(recipe).recipe() == recipe


def test_every_task_has_a_form_and_every_form_makes_its_task() -> None:
    assert set(FORMS) == set(MODEL_TASKS)
    for name in MODEL_TASKS:
        draft = Draft("words").put("task", name)
        draft = draft.put("Extend.after", "4") if name == "Extend" else draft
        made = draft.recipe(source=tone(10.0), regions=[Region(1, 2)])
        assert type(made.task).__name__ == name


def test_a_task_that_starts_from_a_take_says_so_when_there_is_none() -> None:
    with pytest.raises(RecipeError, match="starts from a take"):
        Draft("words").put("task", "Cover").recipe()


def test_the_length_of_the_source_stands_where_a_task_has_a_source() -> None:
    draft = Draft("words", {"seconds": "30"}, "Cover")
    assert draft.recipe(source=tone(10.0)).seconds is None


def test_locked_fields_are_left_alone_when_much_comes_at_once() -> None:
    draft = Draft("mine", {"bpm": 90, "seed": 1}).lock("bpm", True).lock("caption", True)
    changed = draft.take_over({"caption": "theirs", "bpm": 120, "seed": 2, "nonsense": 3})
    assert (changed.caption, changed.values["bpm"], changed.values["seed"]) == ("mine", 90, 2)


# -- the prompt editor


def test_a_seed_is_there_before_the_run_and_is_the_one_used() -> None:
    prompt, made = editor()
    prompt.do_edit("caption", "dub")
    shown = prompt.draft["values"]["seed"]
    prompt.do_make()
    assert made[0].seed == shown
    prompt.do_make()
    assert made[1].seed == prompt.draft["values"]["seed"], "a fresh one for the next take, and shown"
    prompt.do_lock("seed", True)
    prompt.do_make()
    assert made[2].seed == made[1].seed
    prompt.do_next_seed()
    assert prompt.draft["values"]["seed"] == made[2].seed + 1


def test_a_second_click_on_the_same_page_makes_nothing() -> None:
    prompt, made = editor(draft=Draft("dub"))
    prompt.do_make(revision=0)
    prompt.do_make(revision=0)
    assert len(made) == 1
    prompt.do_make(revision=prompt.clicks)
    assert len(made) == 2


def test_undo_and_redo_walk_through_every_change() -> None:
    prompt, _ = editor(draft=Draft("one", {"seed": 5}))
    prompt.do_edit("caption", "two")
    prompt.do_edit("bpm", "120")
    prompt.do_undo()
    assert "bpm" not in prompt.value.values
    assert prompt.value.caption == "two"
    prompt.do_undo()
    assert prompt.value.caption == "one"
    assert prompt.undo == [False, True]
    prompt.do_redo()
    assert prompt.value.caption == "two"


def test_a_make_with_a_mistake_says_where_and_starts_nothing() -> None:
    prompt, made = editor()
    messages = sent(prompt)
    prompt.do_make()
    assert messages[-1]["field"] == "caption"
    assert "no words" in messages[-1]["text"]
    prompt.do_edit("caption", "dub")
    prompt.do_edit("seed", "seven")
    prompt.do_make()
    assert messages[-1]["field"] == "seed"
    assert made == []


def test_what_the_checkpoint_cannot_do_comes_with_its_reason() -> None:
    prompt, _ = editor(refusals={"Text2Music": None, "Extract": "not trained for this"})
    rows = {row["name"]: row["reason"] for row in prompt.forms["tasks"]}
    assert rows["Extract"] == "not trained for this"
    assert rows["Text2Music"] is None


def test_presets_are_kept_in_yaml_and_taken_from_it(tmp_path: Path) -> None:
    file = tmp_path / "presets.yaml"
    prompt, _ = editor(draft=Draft("täglich dub ☂", {"bpm": "110", "seed": 3}), presets=file)
    prompt.do_save_preset("  My  dub ")
    assert "täglich dub ☂" in file.read_text(encoding="utf-8")
    assert "seed" not in file.read_text(encoding="utf-8")
    other, _ = editor(presets=file)
    assert "My dub" in other.presets
    other.do_preset("My dub")
    assert other.value.caption == "täglich dub ☂"
    assert other.value.recipe().bpm == 110
    file.write_text("{: broken", encoding="utf-8")
    with pytest.raises(LabError, match=r"presets\.yaml"):
        other.do_preset("My dub")


def test_a_sweep_is_a_grid_of_recipes_that_differ_in_two_fields_and_share_the_seed() -> None:
    prompt, _ = editor(draft=Draft("dub", {"seed": 4}))
    grids: list[Any] = []
    prompt.on("sweep", lambda x, y, recipes: grids.append((x, y, recipes)))
    prompt.do_sweep(x="shift", xs="1, 3", y="steps", ys="8;16;30")
    x, y, recipes = grids[0]
    assert (x, y) == (("shift", [1.0, 3.0]), ("steps", [8, 16, 30]))
    assert [[(r.shift, r.steps, r.seed) for r in row] for row in recipes] == [
        [(s, n, 4) for s in (1.0, 3.0)] for n in (8, 16, 30)
    ]
    with pytest.raises(RecipeError, match="at most 16"):
        prompt.do_sweep(x="seed", xs=",".join(map(str, range(20))))
    with pytest.raises(RecipeError, match="commas between"):
        prompt.do_sweep(x="shift", xs=" ")


def test_the_code_of_a_sweep_makes_the_same_recipes() -> None:
    prompt, _ = editor(draft=Draft("dub", {"seed": 4}))
    grids: list[list[list[Recipe]]] = []
    prompt.on("sweep", lambda x, y, recipes: grids.append(recipes))
    messages = sent(prompt)
    for swept in ({"x": "shift", "xs": "1, 3"}, {"x": "shift", "xs": "1, 3", "y": "seed", "ys": "8, 9"}):
        prompt.do_sweep(**swept)
        prompt.do_sweep_code(**swept)
        made: list[list[Recipe]] = []
        run = SimpleNamespace(takes=lambda: None)
        lab = SimpleNamespace(start=lambda recipes, made=made, run=run: made.append(recipes) or run)
        exec(messages[-1]["text"], {"Recipe": Recipe, "lab": lab})
        assert made == [[recipe for row in grids[-1] for recipe in row]]


def test_the_code_of_the_editor_makes_the_same_recipe() -> None:
    prompt, _ = editor(draft=Draft("it's dub", {"seed": 4, "bpm": "99"}))
    scope: dict[str, Any] = {"Recipe": Recipe, "lab": type("Lab", (), {"make": staticmethod(lambda recipe: recipe)})}
    exec(prompt.code, scope)
    assert scope["take"] == prompt.recipe()


# -- the lyrics editor


def test_sections_are_recognised_measured_and_strange_tags_remarked() -> None:
    lyrics = LyricsEditorWidget(
        "[Verse]\none two three four\n\n[Chorus - loud]\nla la\n[Gnarl]\nx", seconds=60, bpm=120
    )
    assert [(s["tag"], s["modifier"], s["known"]) for s in lyrics.sections] == [
        ("Verse", "", True),
        ("Chorus", "loud", True),
        ("Gnarl", "", False),
    ]
    assert all(s["seconds"] > 0 for s in lyrics.sections)
    assert lyrics.needed == pytest.approx(sum(s["seconds"] for s in lyrics.sections))
    assert any("[Gnarl]" in r["text"] for r in lyrics.remarks)


def test_more_words_than_the_song_has_room_for_are_remarked_when_the_length_changes() -> None:
    lyrics = LyricsEditorWidget("[Verse]\n" + "many many words to sing here\n" * 30, seconds=300, bpm=100)
    assert lyrics.remarks == []
    lyrics.compare_with(10, 100)
    assert "need about" in lyrics.remarks[0]["text"]


@pytest.mark.parametrize(
    "text", ["[Verse]\n雪が降る\n", "[Verse]\nשלום עולם", "[Verse]\nПривет 🎵", "no tags at all", ""]
)
def test_any_script_comes_back_as_it_was_typed(text: str) -> None:
    lyrics = LyricsEditorWidget()
    lyrics.do_text(text)
    assert lyrics.value == text == lyrics.text


def test_the_instrumental_switch_puts_the_words_aside_and_brings_them_back() -> None:
    lyrics = LyricsEditorWidget("[Verse]\nwords", language="en")
    lyrics.do_instrumental(True)
    assert lyrics.value == "[Instrumental]"
    assert lyrics.text == "[Verse]\nwords"
    lyrics.do_instrumental(False)
    assert lyrics.value == "[Verse]\nwords"
    with pytest.raises(RecipeError, match="no language code"):
        lyrics.do_language("klingon")


# -- the plan


PLAN = Plan(
    bpm=120,
    keyscale="A minor",
    timesignature="4",
    language="en",
    caption="warm dub techno, deep tape hiss",
    seconds=20.0,
    codes=(5, 17, 3),
)


def test_what_the_planner_changed_is_a_difference_and_ones_own_words_stand_until_accepted() -> None:
    view = PlanViewWidget(PLAN, Recipe("slow dub techno, tape hiss", seed=1))
    row = next(r for r in view.rows if r["name"] == "caption")
    assert row["differs"]
    assert not row["accepted"]
    assert [kind for kind, _ in row["parts"]] == ["-", "+", "", "+", ""]
    assert view.recipe().caption == "slow dub techno, tape hiss"
    assert view.recipe().bpm == 120
    view.do_accept("caption", True)
    assert view.recipe().caption == PLAN.caption
    view.do_accept("bpm", False)
    assert view.recipe().bpm is None


def test_a_changed_field_is_a_new_plan_and_drops_the_codes_that_followed_from_it() -> None:
    view = PlanViewWidget(PLAN, Recipe("dub", seed=1))
    view.do_edit("bpm", "90")
    assert view.value.bpm == 90
    assert view.value.codes == ()
    assert view.codes == 0
    assert PLAN.bpm == 120
    with pytest.raises(RecipeError, match="not 'fast'"):
        view.do_edit("bpm", "fast")
    view.do_lock("bpm", True)
    assert view.value.locked == {"bpm"}


def test_tokens_arrive_as_text_and_codes_apart() -> None:
    view = PlanViewWidget()
    messages = sent(view)
    view.begin()
    for token in ("<think>\n", "bpm: 120\n", "<|audio_code_5|>", "<|audio_code_63999|>"):
        view.add_token(token)
    view.end()
    assert view.stream == "<think>\nbpm: 120\n"
    assert view.codes == 2
    assert not view.live
    assert messages[-1]["buffers"][0] == b"\x01\x01", "each comes once"


def test_words_that_stay_go_and_come() -> None:
    assert word_changes("a b c", "a x c") == [["", "a "], ["-", "b"], ["+", "x"], ["", " c"]]
    assert word_changes("", "new") == [["+", "new"]]
    assert word_changes("same", "same") == [["", "same"]]


def test_tasks_keep_their_own_numbers_in_the_draft() -> None:
    task = Draft("w", {"Cover.strength": 0.4}, "Cover").recipe(source=tone(2.0)).task
    assert isinstance(task, Cover)
    assert task.strength == 0.4
    assert (
        Draft.of(Recipe("w", task=Repaint("take-1", (Region(1, 2),), mode="aggressive"))).values["Repaint.mode"]
        == "aggressive"
    )
    assert isinstance(Draft("w").recipe().task, Text2Music)


def test_auto_means_what_the_chosen_task_does_by_itself():
    prompt = PromptEditorWidget(defaults=lambda task: {"steps": 1 if task == "Extract" else 16, "shift": None})
    assert prompt.limits == {"steps": 16}
    prompt.do_edit("task", "Extract")
    assert prompt.limits == {"steps": 1}
