"""What was taught leaves as a whole: tiny checkpoints as published are taught, exported, put on, merged, and told of in a card."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file

from acestep_lab import Recipe, Session
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import CheckpointError
from acestep_lab.jobs.training import Loss
from acestep_lab.models import merging
from acestep_lab.models.adapters import Adapter, apply
from acestep_lab.models.adapters import opened as open_adapters
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.merging import merge
from acestep_lab.takes.library import Library
from acestep_lab.train.adapter_export import AdapterFacts
from acestep_lab.train.loss_history import LossHistory
from acestep_lab.train.model_card import Card, curve
from tests import tiny
from tests.closeness import assert_near, relative_error
from tests.test_adapter_export import CONFIGS, FACTS, taught
from tests.test_adapters import velocity

SHAPES: dict[str, dict[str, Any]] = {
    "turbo": {"kind": "turbo"},
    "base": {"kind": "base", "sharded": True},
    "xl": {"kind": "turbo", "xl": True},
}
TAUGHT: dict[str, Any] = {
    "steps": 3,
    "rank": 2,
    "alpha": 8.0,
    "learning_rate": 5e-2,
    "warm_up": 0,
    "targets": ("attention", "mlp"),
}
SONG = Recipe("a dub", "[verse]\nwarm", seconds=1.0, seed=5, steps=2, thinking=False)


@pytest.fixture(scope="module", params=list(SHAPES))
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    place = tiny.tiny_original(tmp_path_factory.mktemp("checkpoint"), **SHAPES[request.param])
    with Session.open(place, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def adapter(lab: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    takes = [lab.make(SONG.replace(seed=seed, steps=1)) for seed in range(2)]
    found: Path = lab.train(
        takes, folder=tmp_path_factory.mktemp("trained") / "zafu", preview_every=3, **TAUGHT
    ).result()
    return found


def latent(lab: Session, *adapters: Any) -> torch.Tensor:
    lab.lora(*adapters)
    return torch.tensor(lab.make(SONG).latent)


def test_a_published_checkpoint_is_taught_exported_put_on_and_merged(
    lab: Session, adapter: Path, tmp_path: Path
) -> None:
    bare, wanted = latent(lab), latent(lab, (adapter, 0.7))
    assert relative_error(bare, wanted) > 1e-3  # or there would be nothing to merge
    told = lab.merge(tmp_path / "whole")  # what is on
    lab.lora()
    assert told.layers == len(Adapter.open(adapter).layers)
    with Session.open(tmp_path / "whole", library=tmp_path / "library") as other:
        other.jobs.progress = False
        assert other.engine.checkpoint.layout == "original"  # type: ignore[attr-defined]
        assert other.name.endswith("whole")
        assert_near(latent(other), wanted, 1e-5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint.open(tiny.tiny_diffusers(tmp_path_factory.mktemp("diffusers")))


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_every_kind_of_adapter_can_be_merged(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    wanted, file = taught(checkpoint.build("dit"), CONFIGS[kind], tmp_path / "adapter")
    told = merge(checkpoint, open_adapters([file.parent]), tmp_path / "whole")
    opened = Checkpoint.open(told.folder)
    assert_near(velocity(opened.build("dit")), wanted, 1e-5)
    assert opened.components == checkpoint.components
    assert opened.row.replace(name="", note="") == checkpoint.row.replace(name="", note="")


def test_two_adapters_at_their_strengths_are_merged_together(checkpoint: Checkpoint, tmp_path: Path) -> None:
    files = [
        taught(checkpoint.build("dit"), CONFIGS[kind], tmp_path / kind)[1].parent for kind in ("dora", "mlp alone")
    ]
    pairs = open_adapters([(files[0], 1.0), (files[1], -0.5)])
    told = merge(checkpoint, pairs, tmp_path / "whole")
    assert_near(
        velocity(Checkpoint.open(told.folder).build("dit")), velocity(apply(checkpoint.build("dit"), pairs)), 1e-5
    )
    note = json.loads((told.folder / "merged.json").read_text())
    assert list(note["adapters"].values()) == [1.0, -0.5]


def test_half_precision_stays_and_what_it_rounds_away_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(checkpoint.folder, half)
    file = next((half / "transformer").glob("*.safetensors"))
    save_file({name: one.bfloat16() for name, one in load_file(file).items()}, file)
    wanted, adapter = taught(Checkpoint.open(half).build("dit"), CONFIGS["lora"], tmp_path / "adapter")
    pairs = open_adapters([adapter.parent])

    plain = merge(Checkpoint.open(half), pairs, tmp_path / "plain")
    exact = merge(Checkpoint.open(half), pairs, tmp_path / "exact", exact=True)

    assert 1e-4 < plain.rounding < 0.1
    assert "rounds" in str(plain)
    assert plain.written < exact.written
    assert {one.dtype for one in load_file(plain.folder / "transformer" / file.name).values()} == {torch.bfloat16}
    assert exact.rounding == 0
    assert_near(velocity(Checkpoint.open(exact.folder).build("dit")), wanted, 1e-5)


def test_what_stays_is_linked_or_copied_and_its_size_is_told(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "SMALL", 0)
    pairs = open_adapters([taught(checkpoint.build("dit"), CONFIGS["lora"], tmp_path / "adapter")[1].parent])
    linked = merge(checkpoint, pairs, tmp_path / "linked")
    copied = merge(checkpoint, pairs, tmp_path / "copied", link=False)
    sounds = [one.folder / "vae" / "diffusion_pytorch_model.safetensors" for one in (linked, copied)]
    known = checkpoint.folder / "vae" / sounds[0].name
    assert [one.samefile(known) for one in sounds] == [True, False]
    assert sounds[1].read_bytes() == known.read_bytes()
    assert copied.linked == linked.copied == 0
    assert linked.linked == copied.copied > 0
    for one in (linked, copied):
        whole = sum(file.stat().st_size for file in one.folder.rglob("*") if file.is_file())
        assert one.written + one.linked + one.copied == whole - (one.folder / "merged.json").stat().st_size
    assert "linked, shared with the base" in str(linked)


def test_the_base_is_never_touched(checkpoint: Checkpoint, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in checkpoint.folder.rglob("*") if file.is_file()}
    merge(
        checkpoint,
        open_adapters([taught(checkpoint.build("dit"), CONFIGS["lora"], tmp_path / "a")[1].parent]),
        tmp_path / "b",
    )
    assert {file: file.read_bytes() for file in checkpoint.folder.rglob("*") if file.is_file()} == before


def test_what_cannot_be_merged_is_a_sentence_and_leaves_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pairs = open_adapters([taught(checkpoint.build("dit"), CONFIGS["lora"], tmp_path / "adapter")[1].parent])
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something"):
        merge(checkpoint, pairs, full)
    with pytest.raises(CheckpointError, match="nothing to merge"):
        merge(checkpoint, [(pairs[0][0], 0.0)], tmp_path / "none")
    wider = Checkpoint.open(tiny.tiny_diffusers(tmp_path / "xl", xl=True))
    with pytest.raises(CheckpointError, match="does not fit"):
        merge(wider, pairs, tmp_path / "other")
    assert {one.name for one in tmp_path.iterdir()} == {"adapter", "full", "xl"}
    assert [one.name for one in full.iterdir()] == ["mine.txt"]


def test_a_disk_that_refuses_leaves_nothing(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    pairs = open_adapters([taught(checkpoint.build("dit"), CONFIGS["lora"], tmp_path / "adapter")[1].parent])
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CheckpointError, match="No space left"):
        merge(checkpoint, pairs, tmp_path / "whole")
    assert [one.name for one in tmp_path.iterdir()] == ["adapter"]


# -- the model card ----------------------------------------------------------------------------------------------------


def test_a_training_leaves_a_card_with_its_curve_and_two_examples(lab: Session, adapter: Path) -> None:
    text = (adapter / "last" / "README.md").read_text(encoding="utf-8")
    assert "taught by 2 songs in 3 steps" in text
    assert json.loads((adapter / "run.json").read_text())["data"][:20] in text
    assert text.count("<audio ") == 2
    sounds = [base64.b64decode(one) for one in re.findall(r"data:audio/ogg;codecs=opus;base64,([^\"]+)", text)]
    assert all(abs(Audio.read(io.BytesIO(one)).seconds - 1.0) < 0.1 for one in sounds)
    assert sounds[0] != sounds[1]
    (drawn,) = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert ElementTree.fromstring(base64.b64decode(drawn)).tag.endswith("svg")
    assert str(adapter.parent) not in text
    assert LossHistory.read(adapter).learnt[-1][0] == 3


@pytest.mark.parametrize("kind", ["lora", "dora", "lokr"])
def test_a_card_says_how_each_program_reads_it_and_no_more(kind: str) -> None:
    text = str(Card(replace(FACTS, config=asdict(CONFIGS[kind]))))
    assert "Strength 1 is as taught" in text
    assert ("pipe.load_lora_weights" in text) == (kind == "lora")
    assert ("PeftModel" in text) == (kind != "lokr")
    assert ("lokr_weights.safetensors" in text) == (kind == "lokr")
    assert ("ComfyUI**" in text or "**ComfyUI" in text) == (kind != "dora")


NASTY = 'zafu</td><script>alert(1)</script>\n\n# big [x](javascript:alert(1)) | `a` ``` $x$ \x00\ud800 "quote" \'\u202e'


def test_whatever_a_person_wrote_is_text_in_a_card() -> None:
    facts = AdapterFacts(NASTY, NASTY, 2, NASTY, 7, (NASTY,), {"kind": NASTY, "targets": (NASTY,), NASTY: NASTY})
    text = str(Card(facts))
    text.encode()
    assert "<script" not in text
    _, front, rest = text.split("---\n", 2)
    outside = re.sub(r"```python\n.*?\n```", "", rest, flags=re.DOTALL)
    assert text.count("```") == 2 * text.count("```python")
    assert not re.search(r"(?<!\\)\[x|(?m:^# big)|(?<!\\)`a`", outside)
    assert json.loads(re.search(r"instance_prompt: (.*)", front)[1]).startswith("zafu")  # type: ignore[index]
    tables = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {3}
    for block in re.findall(r"```python\n(.*?)\n```", text, flags=re.DOTALL):
        ast.parse(block)


def test_a_curve_goes_on_where_a_training_does() -> None:
    first = LossHistory().and_of([Loss(1, 1.0), Loss(2, 0.9), Loss(2, 1.8, True, {0.3: 0.8, 0.6: 1.0}), Loss(3, 0.7)])
    whole = first.until(2).and_of([Loss(3, 0.8)])
    assert whole.learnt == ((1, 1.0), (2, 0.9), (3, 0.8))
    assert whole.held_out == ((2, {"0.3": 0.8, "0.6": 1.0}),)
    assert "1.800" in str(Card(FACTS, whole))


def test_a_damaged_history_is_an_empty_one(tmp_path: Path) -> None:
    history = LossHistory().and_of([Loss(step, 1.0 / step) for step in range(1, 9001)])
    history.write(tmp_path)
    assert len(LossHistory.read(tmp_path).learnt) <= 4000
    for text in ("", "[]", '{"learnt": 3, "held_out": []}', '{"learnt": [[1, "x"]], "held_out": []}'):
        (tmp_path / "losses.json").write_text(text)
        assert LossHistory.read(tmp_path) == LossHistory()


def test_a_loss_that_is_no_number_leaves_a_curve() -> None:
    drawn = curve(LossHistory().and_of([Loss(1, 1.0), Loss(2, float("nan")), Loss(3, 0.5)]))
    assert "nan" not in drawn
    assert len(drawn) < 20_000
