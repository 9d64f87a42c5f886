"""The two attentions of an ACE-Step v1 block: linear among frames, softmax from frames to the conditions.

Linear attention replaces softmax(q·k) by relu(q)·relu(k): the sum over all keys is one [head, head] matrix, so the cost grows
with the length of a song and not with its square. It is worked out in float32 whatever the weights are, as in the original.

Positions are rotated the way the weights were trained, which mixes two conventions: the table repeats its frequencies half after
half (f0 f1 … f0 f1 …), the rotation turns neighbours (0 with 1, 2 with 3, …). So the two numbers of a pair turn by different
angles. It looks wrong and must stay.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.engines.ace_v1 import card_attention

EPSILON = 1e-15
"""Added to the sum of a query's weights, which may be zero."""
SLAB = 512
"""Frames worked on together where nothing is recorded for a backward pass."""


class Turns(NamedTuple):
    """Cosines and sines of every position for the numbers of a head, each [batch or 1, positions, 1, head]."""

    cos: Tensor
    sin: Tensor
    signed: Tensor | None = None
    """On a card: the sines as `card_attention.turned` takes them."""


def turns(positions: Tensor, head_dim: int, theta: float) -> Turns:
    """The trained table at these positions [batch or 1, positions]; float32, which holds every position of a song."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions[..., None].float() * (1.0 / theta**exponents)
    angles = torch.cat((angles, angles), -1)[:, :, None]
    cos, sin = angles.cos(), angles.sin()
    return Turns(cos, sin, None if angles.device.type == "cpu" else card_attention.signed(sin))


def turned(heads: Tensor, by: Turns) -> Tensor:
    """Queries or keys [batch, positions, heads, head] rotated: (a, b) of a pair to (a cos - b sin, b cos' + a sin'); float32.

    Where a CPU only infers, in place: several times quicker than to take the pairs apart and weave them together again.
    """
    if on_card(heads):
        return card_attention.turned(heads, by)
    heads, cos, sin = heads.float(), by.cos, by.sin
    even, odd = heads[..., 0::2], heads[..., 1::2]
    if is_recorded() or heads.device.type != "cpu":
        ahead, behind = even * cos[..., 0::2] - odd * sin[..., 0::2], odd * cos[..., 1::2] + even * sin[..., 1::2]
        return torch.stack((ahead, behind), -1).flatten(-2)
    found = heads * cos
    found[..., 0::2].addcmul_(odd, sin[..., 0::2], value=-1)
    found[..., 1::2].addcmul_(even, sin[..., 1::2])
    return found


def on_card(x: Tensor) -> bool:
    """Whether a tensor is on an accelerator and nobody records what is done with it."""
    return x.device.type != "cpu" and not is_recorded()


def is_recorded() -> bool:
    """Whether somebody looks on who wants plain operations, none in place: autograd, a compiler, an exporter."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()


class Sums(NamedTuple):
    """All that queries need to know of keys and values: sum of key·valueᵀ [batch, heads, head, head], and of keys
    [batch, heads, head, 1].
    """

    values: Tensor
    keys: Tensor


def sums_of(key: Tensor, value: Tensor) -> Sums:
    """Over all positions of keys and values [batch, positions, heads, head], float32."""
    return Sums(key.permute(0, 2, 3, 1) @ value.transpose(1, 2), key.sum(1)[..., None])


def found_in(sums: Sums, query: Tensor) -> Tensor:
    """What queries [batch, positions, heads, head] find: the values' mean with weights query·key, none of them negative."""
    query = query.transpose(1, 2)
    return (query @ sums.values / (query @ sums.keys + EPSILON)).transpose(1, 2)


def slabs(frames: Tensor) -> list[slice]:
    """A song's frames [batch, frames, dim] in slabs that stay in a CPU's cache, or all as one where somebody records; on a card few."""
    length = frames.shape[1]
    if on_card(frames):
        return card_attention.parts(frames)
    if is_recorded() or length <= SLAB:
        return [slice(None)]
    return [slice(start, start + SLAB) for start in range(0, length, SLAB)]


class _Attention(nn.Module):
    """The four projections of an attention, under their published names; hooks and adapters go around each."""

    def __init__(self, heads: int, head_dim: int):
        super().__init__()
        dim = heads * head_dim
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def split(self, states: Tensor) -> Tensor:
        """[batch, positions, dim] as [batch, positions, heads, head]."""
        return states.unflatten(-1, (self.heads, -1))


class LinearAttention(_Attention):
    """Frames look at frames."""

    epsilon = EPSILON

    def forward(self, frames: Tensor, by: Turns, frame_mask: Tensor | None = None) -> Tensor:
        """[batch, frames, dim] → the same; `frame_mask` [batch, frames, 1] has 0 for frames that are not music."""
        if on_card(frames):
            return card_attention.attended(self, frames, by, frame_mask)
        parts = slabs(frames)
        each = [self._sums(*of(part, frames, by, frame_mask)) for part in parts]
        sums = Sums(
            sum((one.values for one in each[1:]), each[0].values), sum((one.keys for one in each[1:]), each[0].keys)
        )
        found = [self._found(sums, *of(part, frames, by, frame_mask)) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def _sums(self, frames: Tensor, by: Turns, frame_mask: Tensor | None) -> Sums:
        key = turned(self.split(self.to_k(frames)), by).relu()
        if frame_mask is not None:  # a key of zero has no weight, whatever its value is
            key = key * frame_mask[..., None]
        return sums_of(key, self.split(self.to_v(frames)).float())

    def _found(self, sums: Sums, frames: Tensor, by: Turns, frame_mask: Tensor | None) -> Tensor:
        query = turned(self.split(self.to_q(frames)), by).relu()
        if frame_mask is not None:
            query = query * frame_mask[..., None]
        return self.to_out(found_in(sums, query).flatten(2).to(frames.dtype))


def of(part: slice, frames: Tensor, by: Turns, frame_mask: Tensor | None) -> tuple[Tensor, Turns, Tensor | None]:
    """A part of the frames [batch, frames, dim] with its share of the table and the mask."""
    turns_of = Turns(by.cos[:, part], by.sin[:, part])
    return frames[:, part], turns_of, None if frame_mask is None else frame_mask[:, part]


class CrossAttention(_Attention):
    """Frames listen to the conditions. Keys and values do not change during a run: `prepare` makes them once."""

    def prepare(self, states: Tensor, by: Turns) -> tuple[Tensor, Tensor]:
        """Rotated keys, and values, of the states [batch, states, dim]: each [batch, heads, states, head]."""
        key = turned(self.split(self.to_k(states)), by).to(states.dtype)
        return key.transpose(1, 2).contiguous(), self.split(self.to_v(states)).transpose(1, 2).contiguous()

    def forward(self, frames: Tensor, by: Turns, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """[batch, frames, dim] → the same; `bias` [batch, 1, 1, states] is 0 for states that count and -inf for others."""
        query = turned(self.split(self.to_q(frames)), by).to(frames.dtype).transpose(1, 2)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.to_out(found.transpose(1, 2).flatten(2))
