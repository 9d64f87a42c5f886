"""What takes are called: one function for every place that shows or saves one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.errors import LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Complete, Cover, Extend, Extract, FlowEdit, Lego, Region, Repaint, Retake
from acestep_lab.takes.library import Library
from acestep_lab.takes.lineage import relatives
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import LONGEST_FILE, TitleParts, cut, file_name, taken_apart, title, titles
from tests.pretend import tone

SOURCE = "take-0a1b2c3d"


def parts(task: Any = None, words: str = "slow dub", **about: Any) -> TitleParts:
    recipe = Recipe(words, seed=7, **({"task": task} if task else {})).to_json()
    return TitleParts.of_recipe(recipe, about.pop("made_with", None), about.pop("title", ""))


@pytest.mark.parametrize(
    ("task", "called"),
    [
        (Extract(SOURCE, "drums"), "Drums of night train"),
        (Lego(SOURCE, "bass"), "Bass added to night train"),
        (Lego(SOURCE, "bass", Region(1, 2)), "Bass added to night train 1–2 s"),
        (Cover(SOURCE), "Cover of night train"),
        (Repaint(SOURCE, (Region(8, 12),)), "night train, repainted 8–12 s"),
        (Repaint(SOURCE, (Region(1, 2), Region(3, 4.25))), "night train, repainted 1–2 and 3–4.2 s"),
        (Repaint(SOURCE, tuple(Region(n, n + 0.5) for n in range(3))), "night train, repainted in 3 places"),
        (Extend(SOURCE, after=8), "night train, extended"),
        (Complete(SOURCE, ("drums", "bass")), "night train with drums and bass"),
        (Retake(SOURCE, 0.3, 5), "night train, varied 0.3"),
        (FlowEdit(SOURCE), "night train, edited"),
        (None, "slow dub"),
    ],
)
def test_a_take_is_called_by_what_was_done_to_its_source(task: Any, called: str) -> None:
    assert title(parts(task), lambda id: "night train") == called
    assert title(parts(task, title="mine"), lambda id: "night train") == "mine"


def test_a_kept_step_says_which_and_a_lost_source_lends_no_name() -> None:
    assert title(parts(made_with={"step": 5})) == "slow dub, step 6"
    stepped = TitleParts.of_recipe(Recipe("slow dub", steps=16).to_json(), {"step": 5})
    assert title(stepped) == "slow dub, step 6/16"
    assert title(parts(Extract(SOURCE, "drums"))) == "Drums of slow dub"
    assert title(parts(Extract(SOURCE, "drums"), words="")) == "Drums of something unnamed"
    assert title(parts(words="a {brace} of {title}s")) == "a {brace} of {title}s"


def test_the_source_is_cut_at_a_word_and_what_was_done_never_is() -> None:
    long = "word " * 60
    assert cut(long, 20) == "word word word word…"
    called = title(parts(Repaint(SOURCE, (Region(8, 12),))), lambda id: long, 60)
    assert called.endswith("…, repainted 8–12 s")
    assert len(called) <= 60
    assert cut("x" * 300, 10) == "x" * 9 + "…"


def test_the_oldest_keeps_the_bare_title_and_a_chain_of_sources_is_followed() -> None:
    namings = [
        ("take-a", parts()),
        ("take-b", parts()),
        ("take-c", parts(Extract("take-b", "drums"))),
        ("take-d", parts(Extract("take-a", "drums"))),
        ("take-e", parts(title="slow dub")),
        ("take-f", parts(Cover("audio-1"))),
        ("take-g", parts(Cover("take-g"))),
    ]
    found = titles(namings, {"audio-1": "my_guitar_idea.wav"}.get)  # type: ignore[arg-type]
    assert found == {
        "take-a": "slow dub", "take-b": "slow dub #2", "take-c": "Drums of slow dub", "take-d": "Drums of slow dub #2",
        "take-e": "slow dub", "take-f": "Cover of my_guitar_idea.wav", "take-g": "Cover of slow dub",
    }  # fmt: skip


def test_a_file_is_named_by_title_and_seed_and_cut_at_a_word() -> None:
    assert file_name("slow dub techno", 7) == "slow dub techno, seed 7"
    assert file_name("Drums of “night train”: live, 8–12 s", 3) == "Drums of night train live, 8-12 s, seed 3"
    assert file_name("CON") == "CON_"
    assert len(file_name("many words " * 30, 123456789)) <= LONGEST_FILE
    assert file_name("", 4) == "sound, seed 4"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


def kept(library: Library, seed: int, task: Any = None, parents: tuple[str, ...] = ()) -> str:
    recipe = Recipe("night train", seconds=1, seed=seed, **({"task": task} if task else {}))
    take = Take(
        recipe,
        tone(1.0, seed),
        np.zeros((2, 8), np.float32),
        parents=parents,
        created=f"2026-01-01T00:00:0{seed}+00:00",
    )
    library.keep(take)
    return take.id


def test_a_new_name_is_kept_found_and_lent_to_what_was_made_from_it(library: Library) -> None:
    parent = kept(library, 1)
    child = kept(library, 2, Extract(parent, "drums"), (parent,))
    assert library.titles() == {parent: "night train", child: "Drums of night train"}
    card = library.mark(parent, title="  The   keeper ", tags=["live"], batch="run-1", heard={"keyscale": "A minor"})
    assert (card.title, card.batch, card.heard) == ("The keeper", "run-1", {"keyscale": "A minor"})
    assert library.titles()[child] == "Drums of The keeper"
    assert [one.id for one in library.cards("keep")] == [parent]
    assert [one.id for one in library.cards("live")] == [parent]
    library.mark(parent, title="")
    assert Library(library.folder).titles()[parent] == "night train"
    with pytest.raises(LibraryError, match="title cannot be"):
        library.mark(parent, title="x" * 300)


def test_a_binned_parent_still_lends_its_name_and_a_recording_its_file_s(library: Library) -> None:
    parent = kept(library, 1)
    library.mark(parent, title="The keeper")
    child = kept(library, 2, Extract(parent, "drums"), (parent,))
    library.bin(parent)
    assert library.titles() == {child: "Drums of The keeper"}
    sound = tone(1.0, 9)
    library.keep_sound(sound)
    cover = kept(library, 3, Cover(sound.id), (sound.id,))
    assert library.titles()[cover] == "Cover of a recording"
    library.name_sound(sound.id, "my_guitar_idea.wav")
    assert library.titles()[cover] == "Cover of my_guitar_idea.wav"


def test_a_family_is_all_that_came_before_and_after_and_ends_in_a_circle() -> None:
    parents = {"b": ("a",), "c": ("b",), "d": ("b",), "x": ("y",), "y": ("x",), "e": ("lost",)}
    assert set(relatives("b", parents)) == {"a", "b", "c", "d"}
    assert set(relatives("c", parents)) == {"a", "b", "c"}
    assert set(relatives("x", parents)) == {"x", "y"}
    assert set(relatives("e", parents, lambda id: ("older",) if id == "lost" else ())) == {"e", "lost", "older"}
    many = {f"n{i}": ("root",) for i in range(500)}
    assert len(relatives("root", many, most=50)) == 50


@pytest.mark.parametrize(
    ("title_", "task", "parts"),
    [
        (
            "Drums of night train #2",
            {"task": "Extract", "stem": "drums"},
            ["night train", "Drums of {title}", "{title} #2"],
        ),
        ("night train, extended", {"task": "Extend"}, ["night train", "{title}, extended"]),
        ("slow dub, step 6/16", {"task": "Text2Music"}, ["slow dub", "{title}, step 6/16"]),
        ("slow dub", {"task": "Text2Music"}, []),
        ("my own name", {"task": "Extend"}, []),
        ("a {title} of mine, extended", {"task": "Extend"}, ["a {title} of mine", "{title}, extended"]),
    ],
)
def test_a_derived_title_is_taken_apart_into_words_and_forms(
    title_: str, task: dict[str, str], parts: list[str]
) -> None:
    assert taken_apart(title_, task) == parts
    words, *forms = parts or [title_]
    for form in forms:
        words = form.replace("{title}", words)
    assert words == title_
