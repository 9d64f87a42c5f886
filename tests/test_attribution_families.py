"""What each word did, in models of other families: by their latent where they show one, else by the spectrogram."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session import Session
from tests.tiny_musicgen import tiny_musicgen
from tests.tiny_v1 import tiny_v1


@pytest.mark.parametrize(("made", "moves"), [(tiny_v1, "x0"), (tiny_musicgen, "spectrogram")], ids=["v1", "musicgen"])
def test_a_change_of_words_moves_the_music_and_another_seed_is_the_ruler(
    made: Callable[[Path], Path], moves: str, tmp_path: Path
) -> None:
    knobs = {"steps": 2} if moves == "x0" else {}
    with Session.open(made(tmp_path / "model"), library=tmp_path / "takes") as lab:
        lab.jobs.progress = False
        take = lab.make(Recipe("warm pad, deep bass, soft drums", seconds=1.0, seed=1, **knobs))
        told = lab.attribute(take, what="phrases").result()
    assert told.of == moves
    assert [one.name for one in told.effects] == ["warm pad", "deep bass", "soft drums"]
    assert told.control is not None
    assert told.control.moved > 0
    assert all(math.isfinite(one.moved) and one.moved >= 0 for one in told.effects)
    assert any(one.moved > 0 for one in told.effects)
