"""ACE-Step v1 leaves as ONNX and comes back: every task is torch's, the codec's tiles are, and half precision keeps its footing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from acestep_lab import Recipe, Session
from acestep_lab.engines import registry
from acestep_lab.engines.ace_v1 import onnx as v1
from acestep_lab.engines.ace_v1.checkpoint import Checkpoint
from acestep_lab.engines.ace_v1.codec import Codec
from acestep_lab.engines.ace_v1.onnx_engine import OnnxAceV1Engine
from acestep_lab.engines.contract import tone
from acestep_lab.engines.exporting import export_onnx
from acestep_lab.errors import CheckpointError
from acestep_lab.models import onnx_manifest, onnx_parity
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, Slot, export
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Region, Repaint, Retake, Task, Text2Music
from tests.tiny_v1 import tiny_v1

CLOSE = 1e-4
WORDS = "[verse]\nhello there\nmy friend"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_v1(tmp_path_factory.mktemp("v1") / "tiny")


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it as graphs."""
    made = tmp_path_factory.mktemp("v1-exported") / "tiny"
    export_onnx(checkpoint, made)
    return made


def farthest(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def how(**changes: Any) -> FlowSamplingV1:
    return FlowSamplingV1(steps=3, **changes)


def test_every_task_out_of_the_folder_is_torchs(checkpoint: Path, folder: Path) -> None:
    with Session.open(checkpoint) as ours, Session.open(folder) as theirs:
        source = ours.make(Recipe("slow dub", lyrics=WORDS, seconds=1.5, seed=4, sampling=how()))
        tasks: tuple[Task, ...] = (
            Retake(source, 0.3, 7), Repaint(source, (Region(0.5, 1.0),), mode="aggressive"), Extend(source, 0.4, 0.5),
            FlowEdit(source, caption="slow dub"), Cover(tone(1.5, 48_000, 2), noise_strength=0.5, through_codes=False),
        )  # fmt: skip
        recipes = [Recipe("a piano", task=task, seed=5, sampling=how()) for task in tasks]
        recipes.append(Recipe("slow dub", lyrics=WORDS, seconds=1.5, seed=4, sampling=how(), task=Text2Music()))
        for recipe in recipes:
            wanted, found = ours.make(recipe), theirs.make(recipe)
            assert farthest(found.latent, wanted.latent) < CLOSE, recipe.task
            assert farthest(found.audio.samples, wanted.audio.samples) < CLOSE, recipe.task
        assert found.made_with["vae"] == wanted.made_with["vae"]
        runner = theirs.engine.runner  # type: ignore[attr-defined]
        assert runner.loaded == ()
        assert runner.peak_bytes <= max(runner.manifest.components.values())


def test_guidance_by_dampened_queries_is_an_input_of_the_same_graphs(checkpoint: Path, folder: Path) -> None:
    loud, quiet = (
        how(erg_tag=on, erg_lyric=on, erg_diffusion=on, guidance_scale_text=5.0, guidance_scale_lyric=1.5)
        for on in (False, True)
    )
    latents = []
    with Session.open(checkpoint) as ours, Session.open(folder) as theirs:
        for sampling in (loud, quiet):
            recipe = Recipe("slow dub", lyrics=WORDS, seconds=1.5, seed=4, sampling=sampling)
            wanted, found = ours.make(recipe), theirs.make(recipe)
            assert farthest(found.latent, wanted.latent) < CLOSE
            latents.append(found.latent)
    assert farthest(*latents) > 10 * CLOSE


def test_tiles_through_the_graphs_are_torchs_whole(checkpoint: Path, folder: Path) -> None:
    built: Any = Checkpoint.open(checkpoint).build("codec", torch.float32)
    engine = registry.open_engine(folder)
    assert isinstance(engine, OnnxAceV1Engine)
    assert (engine.capabilities.attaches, engine.capabilities.trains, engine.attach(())) == (False, False, ())
    graphs: Any = engine.build("codec", torch.float32)
    whole, tiled = Codec(built.dcae, built.vocoder), Codec(graphs.dcae, graphs.vocoder, 23, halves=graphs.halves)
    latent = torch.randn(60, 128, generator=torch.Generator().manual_seed(1))
    sound = 0.3 * torch.randn(2, 40 * whole.hop, generator=torch.Generator().manual_seed(2))
    assert farthest(tiled.decode(latent), whole.decode(latent)) < CLOSE
    assert farthest(tiled.encode(sound), whole.encode(sound)) < CLOSE
    assert farthest(tiled.window(latent, 20, 24), whole.window(latent, 20, 24)) < CLOSE


def test_the_folder_has_what_reads_words_and_says_what_is_missing(checkpoint: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    with Session.open(checkpoint) as lab:
        made = lab.export_onnx(part, "vocoder_head")
    assert [graph.name for graph in made.graphs] == ["vocoder_head"]
    assert {"umt5-base/tokenizer.json", "lyric_tokenizer/vocab.json", "music_vocoder/config.json"} <= set(made.files)
    with pytest.raises(CheckpointError, match="has no 'text_encoder'"):
        registry.open_engine(part)
    with pytest.raises(CheckpointError, match="an ONNX export already"):
        OnnxAceV1Engine.onnx_parts(object())  # type: ignore[arg-type]


# --- half precision ---------------------------------------------------------------------------------------------------


def test_a_time_keeps_its_turn_and_long_sums_their_range_in_half_precision(checkpoint: Path, tmp_path: Path) -> None:
    """What the tiny DiT loses is what rounding its weights loses, also where sums of its attention leave float16."""
    parts = v1.parts(Checkpoint.open(checkpoint), "")
    (graph,) = (one for one in parts.graphs if one.name == "dit")

    def loud() -> nn.Module:
        made: Any = graph.make()
        for block in made.dit.transformer_blocks:
            block.attn.to_v.weight.data *= 3e4
            block.attn.to_out[0].weight.data /= 3e4
        return made

    made = export(OnnxParts("x", "x", (graph, replace(graph, name="loud", make=loud))), tmp_path / "half", (), "fp16")
    assert all(one.error < 2e-3 for one in made.graphs)


class Lengths(nn.Module):
    """What exporters are handed elsewhere in parts: a norm, angles of a time, and an axis moved."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(4, eps=1e-6)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.norm(x * 1e3).movedim(-1, 1) + torch.sin(1000 * t)[:, None, None]


@pytest.mark.parametrize(("exporter", "dtype"), [("legacy", "fp32"), ("legacy", "fp16"), ("dynamo", "fp16")])
def test_both_exporters_follow_norms_and_angles_in_every_kind_of_numbers(
    tmp_path: Path, exporter: Any, dtype: str
) -> None:
    def example(items: int, length: int) -> tuple[torch.Tensor, ...]:
        draw = torch.Generator().manual_seed(length)
        return torch.randn(items, length, 4, generator=draw), torch.linspace(0.2, 0.9, items)

    axes = {0: "items", 1: "length"}
    graph = OnnxGraph(
        "lengths", "x", Lengths, (Slot("x", axes), Slot("t", {0: "items"})), (Slot("y", {0: "items", 2: "length"}),),
        lambda: (example(2, 5), example(3, 8)), exporter,
    )  # fmt: skip
    made = export(OnnxParts("x", "x", (graph,)), tmp_path / "out", (), dtype, 9.0)
    assert made.graphs[0].error < (1e-5 if dtype == "fp32" else 2e-3)


def test_nothing_that_is_endless_on_both_sides_is_a_difference() -> None:
    wanted = torch.tensor([0.0, -torch.inf, 2.0])
    assert onnx_parity.difference(wanted.clone(), wanted) == 0
    assert onnx_parity.difference(torch.tensor([0.0, 1.0, 2.0]), wanted) == np.inf
    assert onnx_manifest.DTYPES == ("fp32", "fp16", "int8")
