"""Stems: one run for those that are missing, the kept ones found again, and a sum that is the mix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Recipe, Session, Take
from acestep_lab.errors import LabError, RecipeError, SourceError
from acestep_lab.jobs.stems import Stems
from tests.pretend import PretendSession, tone


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = PretendSession(tmp_path, pause=0.0)
    yield session
    session.close()


@pytest.fixture
def take(lab: Any) -> Take:
    return lab.keep(lab.make(Recipe("a song", seconds=4, seed=3)))


def test_all_stems_are_made_in_one_run_and_found_again(lab: Any, take: Take) -> None:
    runs = []
    lab.jobs.subscribe(lambda run, event: runs.append(run) if event is not None and event.kind == "take" else None)
    stems = lab.stems(take, ["drums", "bass"])
    assert list(stems) == ["drums", "bass"]
    assert len({run.id for run in runs}) == 1
    assert [stems[name].recipe.task.stem for name in stems] == ["drums", "bass"]
    for made in stems.values():
        lab.keep(made)
    lab.started.clear()
    again = lab.stems(take, ["bass", "drums", "vocals"])
    assert [one.task.stem for one in lab.started] == ["vocals"], "what is kept is not made again"
    assert again["drums"].id == stems["drums"].id


def test_another_seed_other_knobs_or_another_take_are_other_stems(lab: Any, take: Take) -> None:
    lab.keep(lab.stems(take, ["drums"], seed=5)["drums"])
    lab.started.clear()
    lab.stems(take, ["drums"])
    assert lab.started == [], "no seed was asked for, so any will do"
    lab.stems(take, ["drums"], seed=6)
    lab.stems(take, ["drums"], steps=3)
    lab.stems(lab.keep(lab.make(Recipe("a song", seconds=4, seed=4))), ["drums"])
    assert [type(one.task).__name__ for one in lab.started] == ["Extract", "Extract", "Text2Music", "Extract"]


def test_the_sum_of_stems_and_what_is_left_is_the_mix(lab: Any, take: Take) -> None:
    stems = lab.stems(take, ["drums", "bass", "vocals"])
    assert np.abs(stems.mix().samples - take.audio.samples).max() < 1e-6
    total = sum((stems.sound(name).samples.astype(np.float64) for name in stems), np.float64(0))
    assert np.abs(total + stems.residual.samples - take.audio.samples).max() < 1e-6
    assert np.array_equal(stems.mix(dict.fromkeys(stems, 0.0)).samples, stems.residual.samples)
    quiet = stems.mix({"drums": 0.5}, residual=0.0)
    assert quiet.samples.shape == take.audio.samples.shape
    with pytest.raises(RecipeError, match="Did you mean 'drums'"):
        stems.mix({"drum": 1.0})


def test_a_stem_stands_in_the_mix_at_the_level_at_which_it_was_heard() -> None:
    mix = Take(Recipe("a song"), tone(2), np.zeros((4, 8)), made_with={"gain": 4.0, "vae": "one"})
    stem = Take(Recipe("a song"), tone(1.5, 2), np.zeros((4, 8)), made_with={"gain": 8.0, "vae": "one"})
    other = Take(Recipe("a song"), tone(2, 3), np.zeros((4, 8)), made_with={"gain": 8.0, "vae": "two"})
    stems = Stems(mix, {"drums": stem, "bass": other})
    assert (stems.level("drums"), stems.level("bass")) == (0.5, 0.125)
    assert np.allclose(stems.sound("drums").samples[:, :12_000], 0.5 * stem.audio.samples)
    assert not stems.sound("drums").samples[:, 12_000:].any(), "a stem that ends sooner is silent after"
    assert np.abs(stems.mix().samples - mix.audio.samples).max() < 1e-6


def test_what_cannot_be_taken_apart_is_said(lab: Any, take: Take) -> None:
    with pytest.raises(RecipeError, match="no stem these models know"):
        lab.stems(take, ["drum kit"])
    with pytest.raises(RecipeError, match="at least one stem"):
        lab.stems(take, [])
    with pytest.raises(SourceError):
        lab.stems("take-000000000000")
    lab.use("pretend-tokens")
    with pytest.raises(RecipeError, match="cannot take stems out of a sound"):
        lab.stems(take)


def test_without_a_list_all_that_the_checkpoint_knows_are_asked_for(lab: Any, take: Take) -> None:
    assert set(lab.stems(take)) == set(lab.capabilities.vocabulary.stems)


def test_a_real_engine_takes_stems_out_and_a_stopped_run_leaves_what_it_had(tmp_path: Path) -> None:
    with Session.open(library=tmp_path) as lab:
        take = lab.make(Recipe("warm lo-fi keys", seconds=1.0, seed=3, thinking=False, steps=2))
        stems = lab.stems(take, ["drums", "bass"], steps=2)
        assert np.abs(stems.mix().samples - take.audio.samples).max() < 1e-6
        kept = len(lab.library)
        assert lab.stems(take, ["drums", "bass"], steps=2)["bass"].id == stems["bass"].id
        assert len(lab.library) == kept
        with pytest.raises(LabError):
            lab.jobs.call(lambda: lab.stems(take, ["vocals"]))
