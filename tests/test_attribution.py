"""What each word did: cuts that keep the rest, values that travel, a run that is kept and stopped, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from acestep_lab import Audio, LabError, Recipe, Session
from acestep_lab.errors import CheckpointError, RecipeError, Stopped
from acestep_lab.jobs.attributing import FEW_STEPS, kept_attribution, quick
from acestep_lab.listen import attribution
from acestep_lab.listen.attribution import Attribution
from acestep_lab.listen.variants import MOST_PHRASES, phrases, variants, without
from acestep_lab.takes.take import Take

CAPTION = "slow dub techno, deep bass"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open("pocket", library=tmp_path_factory.mktemp("takes")) as session:
        session.jobs.progress = False
        yield session


@pytest.fixture(scope="module")
def take(lab: Session) -> Take:
    return lab.make(Recipe(CAPTION, seconds=2.0, seed=3, steps=2, bpm=112, thinking=False))


@pytest.fixture(scope="module")
def found(lab: Session, take: Take) -> Attribution:
    return lab.attribute(take).result()


# -- cutting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("slow dub techno, warm pad, deep bass", ["slow dub techno", "warm pad", "deep bass"]),
        ("slow dub with a warm pad", ["slow", "dub", "with a warm", "pad"]),
        ("techno", ["techno"]),
        ("夜の街、静かなピアノ、雨の音", ["夜の街", "静かなピアノ", "雨の音"]),
        ("静かなピアノと雨の音", ["静かな", "ピアノと", "雨の", "音"]),
        ("عود هادئ، إيقاع بطيء، مطر", ["عود هادئ", "إيقاع بطيء", "مطر"]),
        ("at 1,000 m, 3.5 hours, dusk", ["at 1,000 m", "3.5 hours", "dusk"]),
        (" ,, ... ", []),
    ],
)
def test_a_caption_is_cut_where_its_phrases_or_its_words_end(caption: str, expected: list[str]) -> None:
    assert [caption[start:end] for start, end in phrases(caption)] == expected


def test_of_a_caption_without_end_neighbours_go_together_and_every_letter_stays_in_its_place() -> None:
    caption = ", ".join(f"word{n}" for n in range(3000))
    spans = phrases(caption)
    assert len(spans) == MOST_PHRASES
    assert (spans[0][0], spans[-1][1]) == (0, len(caption))
    assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False))


def test_what_is_left_of_a_caption_reads_as_if_it_had_been_written_so() -> None:
    caption = "dub, warm pad, bass"
    assert [without(caption, span) for span in phrases(caption)] == ["warm pad, bass", "dub, bass", "dub, warm pad"]
    assert without(caption, (5, 13), "organ") == "dub, organ, bass"


def test_one_thing_changes_at_a_time_and_a_swap_takes_its_place() -> None:
    recipe = Recipe("dub, pad, bass", lyrics="[Verse]\nla la\n[Chorus]\noh", bpm=112, keyscale="A minor", seconds=10)
    made = variants(recipe, swap={"pad": "organ", "[Chorus]": "[Bridge]", "bpm": 140})
    changed = [
        [
            name
            for name in ("caption", "lyrics", "bpm", "keyscale")
            if getattr(one.recipe, name) != getattr(recipe, name)
        ]
        for one in made
    ]
    assert all(len(names) == 1 for names in changed)
    told = {one.name: one.change for one in made if one.change != "left out"}
    assert told == {"pad": "→ organ", "[Chorus]": "→ [Bridge]", "bpm": "→ 140"}
    assert {one.kind for one in made} == {"phrase", "tag", "section", "field"}
    assert len({one.key for one in made}) == len(made)


def test_a_caption_of_one_word_gives_way_to_music_and_says_so() -> None:
    [one] = variants(Recipe("techno", seconds=10))
    assert (one.recipe.caption, one.change) == ("music", "→ music")


def test_what_cannot_be_left_out_or_swapped_is_said() -> None:
    with pytest.raises(RecipeError, match=r"no words and no fields"):
        variants(Recipe("dub", seconds=10), what="fields")
    with pytest.raises(RecipeError, match=r"There is no 'flute' to swap"):
        variants(Recipe("dub", seconds=10), swap={"flute": "horn"})
    with pytest.raises(RecipeError, match=r"What is changed"):
        variants(Recipe("dub", seconds=10), what="notes")


# -- measuring -------------------------------------------------------------------------------------------------------


def test_a_movement_is_nothing_for_the_same_and_lies_where_the_music_changed() -> None:
    base = np.random.default_rng(1).standard_normal((100, 4)).astype(np.float32)
    other = base.copy()
    other[50:75] += 1.0
    assert attribution.moved(base, base) == 0.0
    over = attribution.moved_over_time(base, other, 4)
    assert over[0] == over[1] == over[3] == 0.0 < over[2]
    low, high = (
        Audio(np.sin(2 * np.pi * hz * np.arange(24000) / 24000, dtype=np.float32)[None], 24000) for hz in (90, 3000)
    )
    levels = [attribution.band_levels(one, 1.0, 4) for one in (low, high)]
    moved = attribution.moved_in_bands(*levels).mean(axis=1)
    assert {int(band) for band in np.argsort(moved)[-2:]} == {1, 6}  # 63-125 Hz and 2-4 kHz


def test_attention_on_a_word_is_that_on_its_letters() -> None:
    log = np.log(np.array([[0.2, 0.4], [0.1, 0.1]]))
    seen = attribution.attention_of(log, [(0, 3), (3, 8)], "dub bass", [(0, 3), (4, 8)], 2)
    assert seen.words == ("dub", "bass")
    assert np.allclose(seen.shares, [[0.2, 0.4], [0.08, 0.08]])


# -- finding out -----------------------------------------------------------------------------------------------------


def test_every_word_is_held_against_another_seed_and_the_value_travels(found: Attribution, take: Take) -> None:
    assert {one.name for one in found.effects} == {"slow", "dub", "techno", "deep", "bass", "bpm"}
    assert found.control is not None
    assert found.share(found.control) == 1.0
    assert all(one.moved > 0 and len(one.over_time) == attribution.slices(2.0) for one in found.effects)
    assert all(len(one.grid) == len(one.over_band) == len(found.edges) - 1 for one in found.effects)
    assert found.attention is not None
    assert found.attention.words == ("slow", "dub", "techno", "deep", "bass")
    assert "no cause" in found.attention.note
    assert Attribution.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "another seed (4)" in str(found)
    assert "no cause" in str(found)


def test_what_is_known_is_not_rendered_again_and_measuring_anew_gives_the_same(
    lab: Session, take: Take, found: Attribution
) -> None:
    assert lab.attribute(take, dry_run=True).renders == 0
    assert lab.attribute(take).result() == found == kept_attribution(lab.library, take.id)
    fresh = lab.attribute(take, what="fields", anew=True).result()
    assert [(one.name, one.moved) for one in fresh.effects] == [
        (one.name, one.moved) for one in found.effects if one.kind == "field"
    ]
    assert len(lab.library) == 1, "no render of an attribution is a take"


def test_a_run_that_was_stopped_goes_on_where_it_was(lab: Session, take: Take) -> None:
    run = lab.attribute(take, anew=True)
    next(iter(run))
    run.stop()
    with pytest.raises(Stopped, match=r"goes on from there"):
        run.result()
    left = lab.attribute(take, dry_run=True)
    assert 0 < left.known < left.changes
    assert len(lab.attribute(take).result().effects) == left.changes


def test_what_it_takes_is_said_in_seconds_once_a_take_was_made(lab: Session, take: Take) -> None:
    cost = lab.attribute(take, anew=True, dry_run=True)
    assert (cost.changes, cost.renders, cost.steps) == (6, 8, 2)
    assert cost.seconds is not None
    assert "8 renders of 2 steps, about" in str(cost)


def test_attention_alone_renders_nothing(lab: Session, take: Take) -> None:
    assert lab.attribute(take, by="attention", dry_run=True).renders == 0
    found = lab.attribute(take, by="attention").result()
    assert (found.effects, found.control) == ((), None)
    assert found.attention is not None


def test_a_repaint_moves_in_its_region_alone(lab: Session, take: Take) -> None:
    from acestep_lab import Region, Repaint

    recipe = Recipe("flute", seconds=2.0, seed=1, steps=2, thinking=False, task=Repaint(take, (Region(1.0, 2.0),)))
    [one] = lab.attribute(lab.make(recipe)).result().effects
    half = len(one.over_time) // 2
    assert max(one.over_time[: half - 1]) < 0.2 * max(one.over_time[half:])


def test_what_has_no_words_of_its_own_is_refused_in_a_sentence(lab: Session, take: Take) -> None:
    with pytest.raises(RecipeError, match=r"not made from words here"):
        lab.attribute(take.audio)
    gone = take.replace(made_with={**take.made_with, "checkpoint": "turbo"})
    with pytest.raises(CheckpointError, match=r"made by 'turbo', which is not open"):
        lab.attribute(gone)
    with pytest.raises(LabError, match=r"steps"):
        lab.attribute(take, steps=0)
    with pytest.raises(RecipeError, match=r"by"):
        lab.attribute(take, by="magic")  # type: ignore[call-overload]


def test_few_steps_are_enough_and_times_of_its_own_stay(take: Take) -> None:
    assert quick(take.recipe.replace(steps=50), None).sampling.steps == FEW_STEPS  # type: ignore[union-attr]
    assert quick(take.recipe.replace(steps=50), 20).sampling.steps == 20  # type: ignore[union-attr]
    own = take.recipe.replace(timesteps=(1.0, 0.5))
    assert quick(own, 4).sampling == own.sampling


def test_a_damaged_attribution_is_a_sentence_and_found_out_anew(lab: Session, take: Take, found: Attribution) -> None:
    for odd in (
        {},
        {"take": 3},
        {**found.to_json(), "effects": [{"kind": "phrase"}]},
        {**found.to_json(), "more": 1},
        None,
    ):
        with pytest.raises(RecipeError):
            Attribution.from_json(odd)
    (Path(lab.library.folder) / f"{take.id}.attribution.json").write_text("{", encoding="utf-8")
    assert kept_attribution(lab.library, take.id) is None
    assert lab.attribute(take, dry_run=True).known == 0
