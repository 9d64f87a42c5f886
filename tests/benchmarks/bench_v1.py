"""ACE-Step v1's transformer at its real size (random weights, few layers): how linear attention grows, and a step beside the
original's way of computing it.

python -m tests.benchmarks.bench_v1             # both; three minutes of processor time
python -m tests.benchmarks.bench_v1 attention   # linear attention per second of music, 30 to 240 s
python -m tests.benchmarks.bench_v1 step        # one step of the DiT: the original's way, ours
"""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.engines.ace_v1.geometry import V1Config, frames_of
from acestep_lab.engines.ace_v1.linear_attention import turns
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.models import products
from tests.benchmarks.meter import DTYPE, by_dtype, error, race, show, write

LAYERS = 1
LENGTHS = (30, 60, 120, 240)
CASES = ((30, 300, "float32", 7), (30, 300, "bfloat16", 5), (120, 600, "float32", 3))
"""Seconds, states listened to (a song's words grow with its length), dtype, rounds; bfloat16 where a machine computes in it."""


def real_size(layers: int = LAYERS) -> AceStepV1Transformer:
    """The published sizes with fewer layers, and few lyric layers, which no step enters."""
    torch.manual_seed(0)
    few = {"damped_blocks": (0, 1), "damped_lyric_layers": (0, 1), "ssl_encoder_depths": (0, 0)}
    config = replace(V1Config(), num_layers=layers, lyric_layers=1, **few)  # type: ignore[arg-type]
    return AceStepV1Transformer(config).eval().requires_grad_(False)


def inputs(seconds: int, states: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latent, time, states and their mask, one item."""
    draw = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 8, 16, frames_of(seconds), generator=draw)
    return latent, torch.tensor([0.7]), torch.randn(1, states, 2560, generator=draw), torch.ones(1, states)


def attention() -> dict[str, Any]:
    """Linear attention with its four projections and without them (rotation, rectifier, sums), per second of music."""
    layer: Any = real_size(1).transformer_blocks[0].attn  # type: ignore[union-attr]
    bare = copy.copy(layer)
    bare._modules = {name: torch.nn.Identity() for name in layer._modules}
    return {name: per_second(each_length(one)) for name, one in (("with projections", layer), ("alone", bare))}


def each_length(layer: Any) -> dict[str, Any]:
    """The layer at each length, to be called."""
    songs = {seconds: torch.randn(1, frames_of(seconds), 2560) for seconds in LENGTHS}
    tables = {seconds: turns(torch.arange(frames.shape[1])[None], 128, 1e6) for seconds, frames in songs.items()}
    return {f"{seconds} s": partial(layer, frames, tables[seconds]) for seconds, frames in songs.items()}


def per_second(variants: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Milliseconds per second of music, and how far from the shortest length's."""
    table = race(variants, 5)
    costs = {name: row["ms"] / int(name.split()[0]) for name, row in table.items()}
    first = next(iter(costs.values()))
    return {name: {"ms per second": round(cost, 3), "of 30 s": round(cost / first, 3)} for name, cost in costs.items()}


def step() -> dict[str, Any]:
    """One step: the original's way (keys and values anew, masks of ones, turned tensors, 1x1 convolutions), and ours."""
    tables = {}
    for seconds, states, dtype, rounds in (case for case in CASES if getattr(torch, case[2]) in (torch.float32, DTYPE)):
        name = f"{seconds} s, {states} states, {dtype}"
        tables[name] = one_step(real_size().to(getattr(torch, dtype)), seconds, states, rounds)
        show(f"one step of a DiT of one layer, {name}", tables[name])
    return tables


def one_step(model: AceStepV1Transformer, seconds: int, states: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of one step at one length, and how far apart the two are."""
    latent, t, conditions, mask = (one if one.ndim == 1 else one.to(model.dtype) for one in inputs(seconds, states))
    quick: Any = products.install(copy.deepcopy(model))  # as a session does with so large a model on a CPU
    prepared = quick.prepare_states(conditions, mask)
    table: dict[str, Any] = race(
        {
            "the original's way": lambda: original(model, latent, t, conditions, mask),
            "ours": lambda: quick.velocity(latent, t, prepared),
            "ours, unprepared": lambda: quick.velocity(latent, t, conditions, mask),
        },
        rounds,
    )
    theirs = original(model, latent, t, conditions, mask)
    table["ours"]["apart"] = f"{error(quick.velocity(latent, t, prepared), theirs):.1e}"
    return table


def original(model: Any, latent: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """The velocity as the original works it out, with our weights."""
    widen, norm, narrow = model.proj_in.early_conv_layers
    embedded = model.timestep_embedder(t, latent.dtype)
    time = model.t_block(embedded).reshape(len(t), 6, -1)
    image = F.group_norm(F.conv2d(latent, widen.weight, widen.bias), norm.num_groups, norm.weight, norm.bias, norm.eps)
    frames = F.conv2d(image, narrow.weight, narrow.bias).flatten(2).transpose(1, 2)
    heard = torch.ones(frames.shape[:2], dtype=frames.dtype)
    own, others = ([one.to(latent.dtype) for one in table_of(x.shape[1])] for x in (frames, states))
    for block in model.transformer_blocks:
        frames = original_block(block, frames, time, heard, states, mask, own, others)
    shift, scale = (model.final_layer.scale_shift_table[None] + embedded[:, None]).chunk(2, 1)
    tokens = model.final_layer.linear(rms(frames) * (1 + scale) + shift).reshape(len(t), 1, -1, 16, 1, 8).contiguous()
    return torch.einsum("nhwpqc->nchpwq", tokens).reshape(latent.shape).contiguous()


def table_of(length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, half after half."""
    angles = torch.outer(torch.arange(length).float(), 1.0 / 1e6 ** (torch.arange(0, 128, 2).float() / 128))
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rms(x: Tensor) -> Tensor:
    return (x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def rotated(x: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
    """Neighbours woven: every number beside its partner."""
    real, other = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    woven = torch.stack((-other, real), -1).flatten(3)
    return (x.float() * by[0][None, None] + woven.float() * by[1][None, None]).to(x.dtype)


def original_block(
    block: Any, frames: Tensor, time: Tensor, heard: Tensor, states: Tensor, mask: Tensor, own: Any, others: Any
) -> Tensor:
    shift, scale, gate, shift_ff, scale_ff, gate_ff = (block.scale_shift_table[None] + time).chunk(6, 1)
    frames = gate * original_linear(block.attn, rms(frames) * (1 + scale) + shift, heard, own) + frames
    frames = original_cross(block.cross_attn, frames, heard, states, mask, own, others) + frames
    return frames + gate_ff * original_network(block.ff, rms(frames) * (1 + scale_ff) + shift_ff)


def original_linear(layer: Any, frames: Tensor, heard: Tensor, by: Any) -> Tensor:
    """Heads before frames, a row of ones below the values, masks although all is heard."""
    batch, _, dim = frames.shape
    query, key, value = (
        one(frames).transpose(-1, -2).reshape(batch, 20, 128, -1) for one in (layer.to_q, layer.to_k, layer.to_v)
    )
    query, key = rotated(query.permute(0, 1, 3, 2), by).permute(0, 1, 3, 2), rotated(key.transpose(-1, -2), by)
    down = heard[:, None, :, None]
    query, key, value = query * down.permute(0, 1, 3, 2), key * down, value * down.permute(0, 1, 3, 2)
    query, key, value = query.relu().float(), key.relu().float(), F.pad(value.float(), (0, 0, 0, 1), value=1.0)
    found = (value @ key) @ query
    found = found[:, :, :-1] / (found[:, :, -1:] + 1e-15)
    return layer.to_out(found.reshape(batch, dim, -1).permute(0, 2, 1).to(frames.dtype))  # type: ignore[no-any-return]


def original_cross(
    layer: Any, frames: Tensor, heard: Tensor, states: Tensor, mask: Tensor, own: Any, others: Any
) -> Tensor:
    """Keys and values made at every step, and a [frames, states] mask for each head."""
    batch, length, _ = frames.shape
    query, key, value = (
        one(of).view(batch, -1, 20, 128).transpose(1, 2)
        for one, of in ((layer.to_q, frames), (layer.to_k, states), (layer.to_v, states))
    )
    both = torch.where(heard[:, :, None] * mask[:, None] == 1, 0.0, -torch.inf)
    both = both[:, None].expand(-1, 20, -1, -1).to(frames.dtype)
    found = F.scaled_dot_product_attention(rotated(query, own), rotated(key, others), value, attn_mask=both)
    return layer.to_out(found.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


def original_network(layer: Any, frames: Tensor) -> Tensor:
    """Channels before frames, three convolutions."""
    first, depth, last = layer.inverted_conv.conv, layer.depth_conv.conv, layer.point_conv.conv
    wide = F.silu(F.conv1d(frames.transpose(1, 2), first.weight[..., None], first.bias), inplace=True)
    kept, gate = F.conv1d(wide, depth.weight, depth.bias, padding=1, groups=depth.groups).chunk(2, 1)
    return F.conv1d(kept * F.silu(gate), last.weight[..., None]).transpose(1, 2)


@torch.inference_mode()
def main(parts: list[str]) -> None:
    """The named parts, or both; printed and kept."""
    figures: dict[str, Any] = {"layers": LAYERS}
    if "attention" in parts:
        figures["attention"] = attention()
        for name, table in figures["attention"].items():
            show(f"linear attention {name}, per second of music", table)
    if "step" in parts:
        figures["step"] = step()
    if len(parts) > 1:
        write(by_dtype("v1"), figures)


if __name__ == "__main__":
    main(sys.argv[1:] or ["attention", "step"])
