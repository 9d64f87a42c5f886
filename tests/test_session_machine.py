"""A session says how it fits the machine, wears adapters and takes them off, and shows where the seconds went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from acestep_lab import CheckpointError, Library, Recipe, Session, Tier
from acestep_lab.models.loading import Checkpoint

WORDS = Recipe("slow dub techno", seconds=2, seed=7, steps=2, thinking=False)


@pytest.fixture
def lab(tiny_base: Path, tmp_path: Path) -> Iterator[Session]:
    with Session(Checkpoint.open(tiny_base), library=Library(tmp_path / "takes")) as session:
        yield session


def adapter(lab: Session, folder: Path, seed: int) -> Path:
    """A LoRA with weights of its own, as PEFT leaves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    worn = get_peft_model(lab.checkpoint.build("dit"), LoraConfig(r=2, lora_alpha=8, target_modules=["to_q", "to_v"]))
    for name, weight in worn.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    worn.save_pretrained(str(folder))
    return folder


def test_it_explains_itself_before_anything_is_loaded(lab: Session) -> None:
    words = str(lab.explain())
    assert "batch" in words
    assert "dit" in words
    assert lab.residency.aboard == ()


def test_a_given_tier_is_explained_in_the_words_of_its_size(tiny_base: Path, tmp_path: Path) -> None:
    with Session.open(tiny_base, tier=Tier.for_memory(12), library=tmp_path) as lab:
        assert str(lab.explain()).startswith("12 GB")


def test_adapters_change_the_song_and_off_is_exactly_the_bare_model(lab: Session, tmp_path: Path) -> None:
    bare = lab.make(WORDS)
    one, other = adapter(lab, tmp_path / "one", 1), adapter(lab, tmp_path / "other", 2)
    lab.lora(one)
    worn = lab.make(WORDS)
    assert not np.array_equal(worn.latent, bare.latent)
    assert worn.made_with["adapters"] == {"one": 1.0}
    lab.lora((one, 0.5), (other, 0.3))
    both = lab.make(WORDS)
    lab.free()
    assert np.array_equal(lab.make(WORDS).latent, both.latent)
    lab.lora()
    assert np.array_equal(lab.make(WORDS).latent, bare.latent)


def test_a_folder_that_is_no_adapter_is_refused_and_changes_nothing(lab: Session, tmp_path: Path) -> None:
    worn = adapter(lab, tmp_path / "one", 1)
    lab.lora(worn)
    before = lab.make(WORDS)
    with pytest.raises(CheckpointError):
        lab.lora(tmp_path)
    assert np.array_equal(lab.make(WORDS).latent, before.latent)


def test_a_profile_shares_the_seconds_out_and_sets_a_floor_below_each(lab: Session) -> None:
    found = lab.profile(WORDS)
    assert [stage.name for stage in found.stages][-2:] == ["render", "decode"]
    assert sum(stage.share for stage in found.stages) == pytest.approx(1)
    assert all(0 < stage.floor < stage.seconds for stage in found.stages), str(found)
    assert list(found.frame().columns) == ["seconds", "share %", "floor s", "of floor %"]
