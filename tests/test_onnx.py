"""Checkpoints leave as ONNX, and what has left renders what torch renders; a graph that is too far from torch never arrives."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acestep_lab import Extend, Recipe, Session
from acestep_lab.cli import main
from acestep_lab.engines import registry
from acestep_lab.engines.ace15 import onnx as ace15
from acestep_lab.engines.ace15.onnx_engine import OnnxAce15Engine, OnnxCodes, OnnxPlanner
from acestep_lab.engines.contract import check_engine
from acestep_lab.engines.exporting import export_onnx
from acestep_lab.engines.musicgen import onnx as musicgen
from acestep_lab.engines.musicgen.checkpoint import Checkpoint as MusicGenCheckpoint
from acestep_lab.engines.musicgen.onnx_engine import OnnxDecoder as OnnxColumns
from acestep_lab.engines.musicgen.onnx_engine import OnnxMusicGenEngine
from acestep_lab.errors import CheckpointError, MachineError, RecipeError
from acestep_lab.models import onnx_manifest
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, export
from acestep_lab.models.onnx_manifest import Manifest
from acestep_lab.models.onnx_runner import OnnxRunner
from acestep_lab.plan.decoder import Decoder
from tests.tiny import tiny_diffusers, tiny_original
from tests.tiny_musicgen import tiny_musicgen

CLOSE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"song": tiny_diffusers(folder / "song", shallow=True), "tokens": tiny_musicgen(folder / "tokens")}


@pytest.fixture(scope="module")
def song(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a song needs of an ACE-Step 1.5 checkpoint."""
    folder = tmp_path_factory.mktemp("exported") / "song"
    export_onnx(checkpoints["song"], folder, ["text", "condition", "dit", "vae_decoder"])
    return folder


@pytest.fixture(scope="module")
def tokens(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of a MusicGen checkpoint, every weight in a file beside its graph."""
    folder = tmp_path_factory.mktemp("exported") / "tokens"
    parts = musicgen.parts(MusicGenCheckpoint.open(checkpoints["tokens"]), "")
    mark = registry.open_engine(checkpoints["tokens"]).made_with()["vae"]
    export(replace(parts, facts={**parts.facts, "codec_mark": mark}), folder, external_above=0)
    return folder


def farthest(one: object, other: object) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


# --- what has left ------------------------------------------------------------------------------------------------------


def test_an_exported_song_is_torchs_and_never_more_than_one_component_is_in_memory(
    checkpoints: dict[str, Path], song: Path
) -> None:
    recipe = Recipe("slow dub", lyrics="[verse]\nla", seconds=1.02, seed=4, thinking=False)  # an odd number of frames
    with Session.open(checkpoints["song"]) as lab:
        wanted = lab.make(recipe)
    with Session.open(song) as lab:
        found = lab.make(recipe)
        runner = lab.engine.runner  # type: ignore[attr-defined]
        sizes = runner.manifest.components
    assert wanted.latent.shape[0] % 2 == 1
    assert farthest(found.latent, wanted.latent) < CLOSE
    assert farthest(found.audio.samples, wanted.audio.samples) < CLOSE
    assert runner.loads == ["text_encoder", "condition_encoder", "dit", "vae_decoder"]
    assert runner.peak_bytes == max(sizes.values())
    assert runner.loaded == ()
    assert found.made_with["onnx"]["dit"] == "fp32"
    assert found.made_with["vae"] == wanted.made_with["vae"]


def test_exported_tokens_are_torchs_also_after_a_prompt(checkpoints: dict[str, Path], tokens: Path) -> None:
    recipe, greedy = Recipe("slow dub", seconds=1, seed=4), Recipe("slow dub", seconds=1, seed=4, top_k=1)
    with Session.open(checkpoints["tokens"]) as lab:
        wanted, likeliest = lab.make(recipe), lab.make(greedy)
        longer = lab.make(Recipe("slow dub", task=Extend(wanted.audio, after=1), seed=5))
    with Session.open(tokens) as lab:
        found = lab.make(recipe)
        assert farthest(lab.make(greedy).latent, likeliest.latent) == 0
        again = lab.make(Recipe("slow dub", task=Extend(wanted.audio, after=1), seed=5))
    assert farthest(found.latent, wanted.latent) == 0
    assert farthest(again.latent, longer.latent) == 0
    assert farthest(found.audio.samples, wanted.audio.samples) < CLOSE


def test_an_exported_engine_keeps_the_contract(tokens: Path) -> None:
    assert check_engine(lambda: registry.open_engine(tokens), seconds=0.5) == []


def test_the_manifest_says_of_each_graph_what_it_takes_and_how_far_it_is(song: Path, tokens: Path) -> None:
    for folder in (song, tokens):
        found = onnx_manifest.read(folder)
        for graph in found.graphs:
            assert 0 <= graph.error <= graph.tolerance == CLOSE
            assert len(graph.lengths) == 2
            assert graph.lengths[0] != graph.lengths[1]
            assert (graph.exporter, graph.opset) in {("dynamo", 18), ("legacy", 17)}
            onnx_manifest.verify(folder, graph.files)
        onnx_manifest.verify(folder, found.files)
    dit = onnx_manifest.read(song).named("dit")
    assert {port.name: port.shape for port in dit.inputs}["x"] == ("items", "2*frames", 8)
    assert all(len(graph.files) == 2 for graph in onnx_manifest.read(tokens).graphs)
    assert (tokens / "decoder.fp32.onnx.data").stat().st_size > (tokens / "decoder.fp32.onnx").stat().st_size / 10


def test_a_published_folder_leaves_in_the_layout_that_is_opened(tmp_path: Path) -> None:
    published = tiny_original(tmp_path / "published", kind="base", xl=True)
    export_onnx(published, tmp_path / "out", ["text"])
    one, other = Checkpoint.open(published), Checkpoint.open(tmp_path / "out")
    assert other.geometry == one.geometry
    assert other.components == one.components
    assert (other.row.kind, other.row.tasks) == (one.row.kind, one.row.tasks)
    with pytest.raises(CheckpointError, match="has no 'condition_encoder'"):
        registry.open_engine(tmp_path / "out")


# --- graphs and stand-ins, without onnx -----------------------------------------------------------------------------------


class InTorch(OnnxRunner):
    """Asks the modules that graphs are made from."""

    def __init__(self, parts: OnnxParts) -> None:
        super().__init__(Path(), Manifest(parts.family, parts.checkpoint, ()))
        self.graphs: dict[str, OnnxGraph] = {graph.name: graph for graph in parts.graphs}
        self.made: dict[str, nn.Module] = {}

    @torch.inference_mode()
    def ask(self, name: str, *tensors: Tensor, only: Sequence[str] = ()) -> tuple[Tensor, ...]:
        if name not in self.made:
            self.made[name] = self.graphs[name].make()
        found = self.made[name](*tensors)
        return found if isinstance(found, tuple) else (found,)


@pytest.fixture(scope="module")
def in_torch(checkpoints: dict[str, Path]) -> InTorch:
    return InTorch(ace15.parts(Checkpoint.open(checkpoints["song"]), ""))


def test_the_planners_graph_writes_the_same_rows_of_different_lengths(
    checkpoints: dict[str, Path], in_torch: InTorch
) -> None:
    checkpoint = Checkpoint.open(checkpoints["song"])
    ours = Decoder(checkpoint.build("lm"))
    theirs = OnnxPlanner(in_torch, checkpoint.config("lm")).as_decoder()
    hidden = []
    for decoder in (ours, theirs):
        cache = decoder.new_cache(2, 12)
        decoder.feed(cache, [[5, 9, 2], [7]])
        decoder.feed(cache, [[4], [8, 3]])
        hidden.append(decoder.feed(cache, [[6], [1]]))
        assert cache.lengths == [5, 4]
    assert farthest(*hidden) < CLOSE
    assert farthest(*(decoder.logits(one, slice(0, 50)) for decoder, one in zip((ours, theirs), hidden))) < CLOSE


def test_the_graphs_of_the_audio_codes_read_and_write_the_same_codes(
    checkpoints: dict[str, Path], in_torch: InTorch
) -> None:
    from acestep_lab.engines.ace15 import semantic

    checkpoint = Checkpoint.open(checkpoints["song"])
    ours = checkpoint.build("codes")
    theirs = OnnxCodes(in_torch, checkpoint.geometry.pool_window, checkpoint.geometry.code_count)
    latent, silence = torch.randn(23, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(30, 8)
    codes = semantic.to_codes(ours, latent, silence)
    assert semantic.to_codes(theirs, latent, silence) == codes
    assert farthest(semantic.from_codes(theirs, codes), semantic.from_codes(ours, codes)) < CLOSE
    both = [semantic.through_codes(coder, latent, silence) for coder in (ours, theirs)]
    assert farthest(*both) < CLOSE


@pytest.mark.parametrize("melody", [False, True])
def test_the_decoders_graphs_write_what_transformers_writes(tmp_path: Path, melody: bool) -> None:
    engine = registry.open_engine(tiny_musicgen(tmp_path / "m", melody=melody, stereo=melody))
    checkpoint: MusicGenCheckpoint = engine.checkpoint  # type: ignore[attr-defined]
    ours = checkpoint.build("decoder", torch.float32)
    theirs = OnnxColumns(InTorch(musicgen.parts(checkpoint, "")), checkpoint)
    text = torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    chroma = torch.eye(12)[[3, 5, 5, 0, 11, 2, 2, 1, 0, 7, 8, 9]] if melody else None
    grid = torch.randint(32, (2 * checkpoint.shape.codebooks, 5), generator=torch.Generator().manual_seed(3))
    logits = []
    for decoder in (ours, theirs):
        heard, cache = decoder.heard(text, True, chroma, 2), decoder.new_cache()
        with torch.inference_mode():
            first = decoder.next(grid[:, :4], cache, heard)
            logits.append(torch.stack([first, decoder.next(grid[:, 4:], cache, {} if melody else heard)]))
    assert farthest(*logits) < CLOSE * float(logits[0].abs().max())


# --- other numbers, and what is refused ---------------------------------------------------------------------------------


def test_other_numbers_are_added_beside_what_is_there_with_their_own_errors(
    checkpoints: dict[str, Path], tokens: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tokens"
    shutil.copytree(tokens, folder)
    before = onnx_manifest.read(folder)
    export_onnx(checkpoints["tokens"], folder, ["text_encoder"], "int8")
    made = export_onnx(checkpoints["tokens"], folder, ["decoder_conditions", "codec_decoder_outer"], "fp16")
    assert [graph.name for graph in made.graphs] == [graph.name for graph in before.graphs]
    dtypes = {graph.name: graph.dtype for graph in made.graphs}
    assert (dtypes["text_encoder"], dtypes["decoder_conditions"], dtypes["decoder"]) == ("int8", "fp16", "fp32")
    for name in ("text_encoder", "codec_decoder_outer"):
        assert before.named(name).error < made.named(name).error <= made.named(name).tolerance
    assert not (folder / "text_encoder.fp32.onnx").exists()
    with Session.open(folder) as lab:
        assert lab.make(Recipe("slow dub", seconds=1, seed=4)).made_with["onnx"] == dtypes


def test_a_graph_too_far_from_torch_is_deleted_and_the_sentence_says_how_far(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"text_encoder in fp32 is \d.*e-0\d away .* 1e-12 is allowed"):
        export_onnx(checkpoints["tokens"], tmp_path / "out", ["text_encoder"], tolerance=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_something_else_is_not_written_into(
    checkpoints: dict[str, Path], song: Path, tmp_path: Path
) -> None:
    (tmp_path / "novel.txt").write_text("Call me Ishmael.")
    with pytest.raises(CheckpointError, match="holds something else"):
        export_onnx(checkpoints["tokens"], tmp_path)
    with pytest.raises(CheckpointError, match="is a file"):
        export_onnx(checkpoints["tokens"], tmp_path / "novel.txt")
    with pytest.raises(CheckpointError, match="was exported from"):
        export_onnx(checkpoints["tokens"], song)
    assert (tmp_path / "novel.txt").read_text() == "Call me Ishmael."


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"dtype": "fp8"}, "fp32, fp16, int8"),
        ({"tolerance": -1.0}, "above 0"),
        ({"tolerance": float("nan")}, "above 0"),
        ({"components": ["dit"]}, "exports no 'dit'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(
    checkpoints: dict[str, Path], tmp_path: Path, asked: dict[str, object], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        export_onnx(checkpoints["tokens"], tmp_path / "out", **asked)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def spoil(folder: Path, **changes: object) -> None:
    said = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(said | changes))


def _cut(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:200])


def _outside(folder: Path) -> None:
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    graphs[0] |= {"file": "../secret.onnx", "files": {"../secret.onnx": "0"}}
    spoil(folder, graphs=graphs)


def _unlisted(folder: Path) -> None:
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    spoil(folder, graphs=[graph for graph in graphs if graph["name"] != "decoder"])


DAMAGE = {
    "cut": (_cut, "manifest.json"),
    "of somebody else": (lambda folder: spoil(folder, format="theirs"), "not of an ONNX export"),
    "newer": (lambda folder: spoil(folder, schema=99), "schema 99"),
    "without its graphs": (lambda folder: spoil(folder, graphs=None), "damaged"),
    "of an unknown family": (lambda folder: spoil(folder, family="mp3"), "was exported from a 'mp3'"),
    "leading outside": (_outside, "damaged"),
    "without the decoder": (_unlisted, "has no 'decoder'"),
    "a config that was changed": (lambda folder: (folder / "config.json").write_text("{}"), "not the one"),
    "a file that is gone": (lambda folder: (folder / "decoder.fp32.onnx.data").unlink(), "is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_a_sentence(tokens: Path, tmp_path: Path, kind: str) -> None:
    damage, sentence = DAMAGE[kind]
    folder = tmp_path / "tokens"
    shutil.copytree(tokens, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=sentence):
        registry.open_engine(folder)


def test_a_graph_that_was_changed_is_noticed_before_it_is_used(tokens: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    shutil.copytree(tokens, folder)
    data = folder / "decoder.fp32.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    with Session.open(folder) as lab, pytest.raises(CheckpointError, match="SHA-256 differs"):
        lab.make(Recipe("slow dub", seconds=1, seed=4))


def test_an_exported_checkpoint_is_what_it_is(song: Path, tokens: Path, tmp_path: Path) -> None:
    engine = registry.open_engine(song)
    assert isinstance(engine, OnnxAce15Engine)
    assert isinstance(registry.open_engine(tokens), OnnxMusicGenEngine)
    can = engine.capabilities
    assert (can.attaches, can.trains, can.plans) == (False, False, False)
    for wrong in ({"lm": "1.7B"}, {"precision": "int8"}):
        with pytest.raises(CheckpointError, match="leave lm= and precision= away"):
            registry.open_engine(song, **wrong)
    for one in (song, tokens):
        with pytest.raises(CheckpointError, match="an ONNX export already"):
            export_onnx(one, tmp_path / "out")


def test_without_the_extra_the_sentence_names_it(
    checkpoints: dict[str, Path], tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else there(name))
    with pytest.raises(MachineError, match=r'pip install "acestep_lab\[onnx\]"'):
        export_onnx(checkpoints["tokens"], tmp_path / "out")
    with pytest.raises(MachineError, match=r'pip install "acestep_lab\[onnx\]"'):
        registry.open_engine(tokens)


def test_the_command_line_tells_of_each_graph(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert (
        main(["export-onnx", str(checkpoints["tokens"]), "--to", str(folder), "--component", "decoder_conditions"]) == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("decoder_conditions")
    assert said[0].endswith("of 1e-04")
    assert said[1].startswith(f"{folder}: 1 graph,")
    assert main(["export-onnx", str(checkpoints["tokens"]), "--to", str(folder), "--component", "dit"]) == 2
    assert "exports no 'dit'" in capsys.readouterr().err
