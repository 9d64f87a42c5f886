"""A session says how it fits the machine, wears adapters and takes them off, and shows where the seconds went."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab import CheckpointError, Library, MachineError, Recipe, Session, Tier
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.precision import Int8Mode

WORDS = Recipe("slow dub techno", seconds=2, seed=7, steps=2, thinking=False)


@pytest.fixture
def lab(tiny_base: Path, tmp_path: Path) -> Iterator[Session]:
    with Session(Ace15Engine(Checkpoint.open(tiny_base)), library=Library(tmp_path / "takes")) as session:
        yield session


def adapter(lab: Session, folder: Path, seed: int) -> Path:
    """A LoRA with weights of its own, as PEFT leaves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    worn = get_peft_model(
        lab.engine.checkpoint.build("dit"), LoraConfig(r=2, lora_alpha=8, target_modules=["to_q", "to_v"])
    )
    for name, weight in worn.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    worn.save_pretrained(str(folder))
    return folder


def test_it_explains_itself_before_anything_is_loaded(lab: Session) -> None:
    words = str(lab.explain())
    assert "batch" in words
    assert "dit" in words
    assert lab.engines.devices.on_device == ()


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
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError):
        lab.lora(tmp_path / "empty")
    assert np.array_equal(lab.make(WORDS).latent, before.latent)


def test_a_profile_shares_the_seconds_out_and_sets_a_roofline_below_each(lab: Session) -> None:
    found = lab.profile(WORDS)
    assert [stage.name for stage in found.stages] == ["encode", "step 1", "step 2", "decode"]
    assert sum(stage.share for stage in found.stages) == pytest.approx(1, abs=0.01)
    assert all(0 < stage.roofline < stage.seconds for stage in found.stages), str(found)
    assert list(found.frame().columns) == ["seconds", "share %", "roofline s", "of roofline %"]
    assert found._repr_html_().count("<rect") == 2 * len(found.stages)


def test_whole_numbers_are_measured_on_the_first_song_and_told(tiny_base: Path, tmp_path: Path) -> None:
    exact = Session.open(tiny_base, library=tmp_path / "exact")
    quicker = Int8Mode(compare_speed=lambda dense, whole, x: (2.5, 1.0))
    with exact, Session.open(tiny_base, library=tmp_path / "int8", precision=quicker) as lab:
        run = lab.start(WORDS)
        take, plain = run.take(), exact.make(WORDS)
        [said] = [note for note in run.messages if "int8" in note]
        assert re.search(r"moved the velocity by .*% .* 2\.5 times as quick .*: int8 is used\.", said)
        assert take.made_with["precision"] == "int8"
        assert plain.made_with["precision"] == "auto"
        moved = np.linalg.norm(take.latent - plain.latent) / np.linalg.norm(plain.latent)
        assert 0 < moved < 0.2
        lab.free()  # built again, the DiT is made of whole numbers again
        assert np.array_equal(lab.make(WORDS).latent, take.latent)
        worn = adapter(lab, tmp_path / "one", 1)
        lab.lora(worn)
        assert not np.array_equal(lab.make(WORDS).latent, take.latent)


def test_where_whole_numbers_are_slower_the_music_is_that_of_the_plain_session(tiny_base: Path, tmp_path: Path) -> None:
    slower = Int8Mode(compare_speed=lambda dense, whole, x: (1.0, 14.0))
    quicker = Int8Mode(compare_speed=lambda dense, whole, x: (2.5, 1.0))
    with (
        Session.open(tiny_base, library=tmp_path / "exact") as exact,
        Session.open(tiny_base, library=tmp_path / "slower", precision=slower) as lab,
        Session.open(tiny_base, library=tmp_path / "quicker", precision=quicker) as other,
    ):
        run, plain = lab.start(WORDS), exact.make(WORDS)
        assert np.array_equal(run.take().latent, plain.latent)
        [said] = [note for note in run.messages if "int8" in note]
        assert "0.071 times as quick" in said
        assert "the DiT stays as it was" in said
        assert run.take().made_with["precision"] == "auto"
        lab.free()
        assert np.array_equal(lab.make(WORDS).latent, plain.latent)
        again = lab.start(WORDS.replace(seed=5))
        again.take()
        assert not any("int8" in note for note in again.messages)
        whole = other.make(WORDS)
        assert "made in int8 and again in auto" in str(lab.verify(whole))
        assert "int8" not in str(other.verify(whole))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", torch.float16])
def test_a_session_computes_in_the_dtype_it_is_asked_for_and_says_so(
    dtype: Any, tiny_base: Path, tmp_path: Path
) -> None:
    with Session.open(tiny_base, library=tmp_path, dtype=dtype, device="cpu") as lab:
        take = lab.make(WORDS.replace(seconds=1.0, steps=1))
        name = str(dtype).removeprefix("torch.")
        assert (take.made_with["dtype"], take.made_with["device"]) == (name, "cpu")
        assert str(lab.explain()).endswith(f"Computes in {name} on cpu.")
        assert np.isfinite(take.audio.samples).all()
        with lab.engines.devices.on("dit") as dit:
            assert next(dit.parameters()).dtype == getattr(torch, name)


def test_a_tiers_dtype_and_the_environments_device_are_heeded(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACESTEP_DEVICE", "cpu")
    monkeypatch.setenv("ACESTEP_DTYPE", "bfloat16")
    tier = replace(Tier.for_memory(16, "cpu"), dtype="float32")
    assert Session.open(tiny_base, library=tmp_path).explain().dtype_name == "bfloat16"
    assert Session.open(tiny_base, library=tmp_path, dtype="float32").explain().dtype_name == "float32"
    assert Session.open(tiny_base, library=tmp_path).explain().device == "cpu"
    monkeypatch.delenv("ACESTEP_DTYPE")
    assert Session.open(tiny_base, tier, library=tmp_path).explain().dtype_name == "float32"
    monkeypatch.setenv("ACESTEP_DEVICE", "toaster")
    with pytest.raises(MachineError, match="A device is auto, cpu"):
        Session.open(tiny_base, library=tmp_path)


def test_a_precision_nobody_knows_is_refused_with_those_known(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="A precision is 'auto' or 'int8', not 'int4'"):
        Session.open(tiny_base, library=tmp_path, precision="int4")
