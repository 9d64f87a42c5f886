"""How far every graph of every engine is from torch, in every kind of numbers; and onnxruntime's time beside torch's.

    python -m tests.benchmarks.onnx_parity               # everything; some minutes on one core
    python -m tests.benchmarks.onnx_parity --only pocket  # parity of the shipped pocket checkpoint alone; also: tiny, tokens, times

The times are of one thread, both ways in turns in one run: a step of the 1.5 DiT and the decoding of its autoencoder at the
published widths with few layers.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from acestep_lab import Recipe, Session
from acestep_lab._libraries import diffusers
from acestep_lab.engines import registry
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15 import onnx as ace15
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.engines.exporting import export_onnx
from acestep_lab.models import onnx_export, onnx_parity
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, Slot, export
from tests.tiny import tiny_diffusers
from tests.tiny_musicgen import tiny_musicgen
from tests.tiny_v1 import tiny_v1

DTYPES = ("fp32", "fp16", "int8")
FRAMES, TOKENS = 750, 200  # 30 s of music, words and lyrics
LAYERS = 4


class Traced:
    """Traces each graph once, for all kinds of numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, list[onnx_parity.Case]] = {}
        self.trace = onnx_export._traced

    def __call__(self, one: OnnxGraph, file: Path) -> list[onnx_parity.Case]:
        kept = self.folder / one.name
        if one.name not in self.known:
            kept.mkdir(parents=True)
            self.known[one.name] = self.trace(one, kept / file.name)
        shutil.copytree(kept, file.parent, dirs_exist_ok=True)
        return self.known[one.name]


def parity(name: str, checkpoint: object, recipe: Recipe, work: Path) -> None:
    """The table of one checkpoint, and how far its song is from torch's."""
    rows: dict[str, dict[str, str]] = {}
    songs = {}
    traced = Traced(work / f"{name}-traced")
    for dtype in DTYPES:
        folder = work / f"{name}-{dtype}"
        with mock.patch.object(onnx_export, "_traced", traced):
            made = export_onnx(checkpoint, folder, (), dtype, 9.0)  # type: ignore[arg-type]
        for graph in made.graphs:
            rows.setdefault(graph.name, {})[dtype] = f"{graph.error:.1e}{'' if graph.dtype == dtype else ' (fp32)'}"
            rows[graph.name]["by"] = graph.exporter
        songs[dtype] = folder
    print(
        f"\n{name}: largest difference to torch, as a share of the largest number\n{'':<22} by      {'':<2}fp32{'':<12}fp16{'':<12}int8"
    )
    for graph, row in rows.items():
        print(f"{graph:<22} {row['by']:<8}" + "".join(f"  {row[dtype]:<14}" for dtype in DTYPES), flush=True)
    _songs(checkpoint, songs, recipe)


def _songs(checkpoint: Any, songs: dict[str, Path], recipe: Recipe) -> None:
    with Session.open(checkpoint) as lab:
        wanted, steps = _watched(lab, recipe)
    for dtype, folder in songs.items():
        with Session.open(folder) as lab:
            found, runner = lab.make(recipe), lab.engine.runner  # type: ignore[attr-defined]
            _divergence(lab, dtype, recipe, wanted.plan, steps)
        total = sum(runner.manifest.components.values())
        if found.latent.dtype.kind == "f" and registry.open_engine(checkpoint).capabilities.latent.kind == "tokens":
            says = f"tokens that differ {float((found.latent != wanted.latent).mean()):.1%}"
        else:
            says = f"latent {np.abs(found.latent - wanted.latent).max() / np.abs(wanted.latent).max():.1e}"
        far = float(np.abs(found.audio.samples - wanted.audio.samples).max())
        print(
            f"song {dtype}: {says}, samples {far:.1e} (full scale 1); in memory at most {runner.peak_bytes / 1e6:.1f} of "
            f"{total / 1e6:.1f} MB, loads {' '.join(runner.loads)}",
            flush=True,
        )


def _watched(lab: Session, recipe: Recipe, plan: Any = None) -> tuple[Any, list[np.ndarray]]:
    """A take, and the latent after each step of the way to it."""
    states: list[np.ndarray] = []
    sample: Any = lab.engine.sample

    def watched(*args: Any, **named: Any) -> Any:
        for step in sample(*args, **named):
            states.append(np.array(step.state if step.state is not None else 0.0, dtype=np.float32))
            yield step

    with mock.patch.object(lab.engine, "sample", watched):
        return lab.make(recipe, plan), states


def _divergence(lab: Session, dtype: str, recipe: Recipe, plan: Any, wanted: list[np.ndarray]) -> None:
    """How far the latent is from torch's after each step, with torch's plan."""
    _, found = _watched(lab, recipe, plan)
    if any(state.ndim for state in wanted):
        shares = [np.abs(one - other).max() / np.abs(other).max() for one, other in zip(found, wanted, strict=True)]
        print(
            f"song {dtype} with torch's plan, step by step: {' '.join(f'{share:.1e}' for share in shares)}", flush=True
        )


# --- times --------------------------------------------------------------------------------------------------------------


def wide_dit() -> nn.Module:
    """The published DiT's widths with few layers."""
    torch.manual_seed(0)
    return diffusers.AceStepTransformer1DModel(num_hidden_layers=LAYERS).eval().requires_grad_(False)


def wide_vae() -> nn.Module:
    """The published autoencoder's widths; all of its few layers."""
    torch.manual_seed(0)
    return diffusers.AutoencoderOobleck(
        encoder_hidden_size=128, downsampling_ratios=[2, 4, 4, 6, 10], channel_multiples=[1, 2, 4, 8, 16],
        decoder_channels=128, decoder_input_channels=64, audio_channels=2, sampling_rate=48_000,
    ).eval().requires_grad_(False)  # fmt: skip


def times(work: Path) -> None:
    """Seconds of torch's own way, the house's, and onnxruntime's."""
    _time_dit(work)
    _time_vae(work)


def _time_dit(work: Path) -> None:
    dit: Any = wide_dit()
    config = dit.config
    channels, width = config.audio_acoustic_hidden_dim, dit.condition_embedder.in_features

    def inputs(frames: int, tokens: int) -> tuple[torch.Tensor, ...]:
        mask = torch.ones(1, tokens, dtype=torch.bool)
        return (
            torch.randn(1, frames, channels), torch.tensor([0.5]), torch.randn(1, tokens, width), mask,
            torch.randn(1, frames, 2 * channels),
        )  # fmt: skip

    axes = {1: "frames"}
    graph = OnnxGraph(
        "dit", "dit", lambda: ace15.VelocityGraph(wide_dit()),
        (Slot("x", axes), Slot("t"), Slot("states", {1: "tokens"}), Slot("mask", {1: "tokens"}), Slot("context", axes)),
        (Slot("velocity", axes),), lambda: (inputs(40, 12), inputs(FRAMES, TOKENS)), multiples={"frames": 2},
    )  # fmt: skip
    x, t, states, mask, context = inputs(FRAMES, TOKENS)
    ways: dict[str, Callable[[], object]] = {}
    stock, quick, cache = dit, attention.install(wide_dit()), attention.CrossAttentionCache()
    ways["torch, diffusers' forward"] = lambda: stock(x, t, t, states, context, return_dict=False)
    ways["torch, the house's"] = lambda: attention.velocity(quick, x, t, states, context, mask=mask, cache=cache)
    for dtype in ("fp32", "int8"):
        made = export(OnnxParts("x", "x", (graph,)), work / f"dit-{dtype}", (), dtype, 9.0)
        opened = onnx_parity.session(work / f"dit-{dtype}" / made.graphs[0].file)
        ways[f"onnxruntime {dtype}"] = lambda opened=opened: onnx_parity.answers(opened, (x, t, states, mask, context))
    _compare(f"DiT step, {LAYERS} layers of width {config.hidden_size}, {FRAMES} frames, {TOKENS} states", ways)


def _time_vae(work: Path) -> None:
    vae: Any = wide_vae()
    axes = {2: "frames"}
    graph = OnnxGraph(
        "vae_decoder", "vae", lambda: ace15.HalfGraph(wide_vae(), "decoder"), (Slot("latent", axes),),
        (Slot("sound", {2: "samples"}),), lambda: ((torch.randn(1, 64, 12),), (torch.randn(1, 64, 23),)), int8=False,
    )  # fmt: skip
    made = export(OnnxParts("x", "x", (graph,)), work / "vae", (), "fp32", 9.0)
    opened = onnx_parity.session(work / "vae" / made.graphs[0].file)
    latent = torch.randn(1, 64, 25)
    quick: Any = prepare_vae(wide_vae())
    _compare("Oobleck decode of one second", {
        "torch, diffusers' forward": lambda: vae.decoder(latent),
        "torch, the house's": lambda: quick.decoder(latent),
        "onnxruntime fp32": lambda: onnx_parity.answers(opened, (latent,)),
    })  # fmt: skip


@torch.inference_mode()
def _compare(what: str, ways: dict[str, Callable[[], object]], rounds: int = 5) -> None:
    """Processor time: the median of some rounds in which each way has its turn, and of the ratio within a round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            before = time.process_time()
            way()
            if turn:  # the first warms up
                seconds[name].append(time.process_time() - before)
    first = next(iter(seconds.values()))
    print(f"\n{what}, one thread")
    for name, found in seconds.items():
        ratio = statistics.median(stock / own for stock, own in zip(first, found, strict=True))
        print(f"{name:<28} {statistics.median(found):8.3f} s   {ratio:5.2f} x", flush=True)


def main() -> None:
    """Print the tables."""
    asked = argparse.ArgumentParser(description="ONNX graphs against torch.")
    asked.add_argument("--only", choices=["tiny", "v1", "tokens", "melody", "pocket", "times"])
    only = asked.parse_args().only
    torch.set_num_threads(1)
    song = Recipe("slow dub", lyrics="[verse]\nla", seconds=2, seed=4)
    greedy = Recipe("slow dub", seconds=2, seed=4, top_k=1)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        if only in (None, "tiny"):
            parity("tiny-ace-step-1.5", tiny_diffusers(work / "tiny"), song, work)
        if only in (None, "v1"):
            parity("tiny-ace-step-v1", tiny_v1(work / "v1"), song, work)
        if only in (None, "tokens"):
            parity("tiny-musicgen", tiny_musicgen(work / "tokens"), greedy, work)
        if only in (None, "melody"):
            parity("tiny-musicgen-melody", tiny_musicgen(work / "melody", melody=True, stereo=True), greedy, work)
        if only in (None, "pocket"):
            parity("pocket", "pocket", Recipe("slow dub", seconds=8, seed=4), work)
        if only in (None, "times"):
            times(work)


if __name__ == "__main__":
    main()
