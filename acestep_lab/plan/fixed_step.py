"""A language model's step with shapes that never change, so that a card can be told of it once and repeat it.

Knows no grammar and no sampling. `FixedRoom` is keys and values for so many rows and so many tokens, and how many of them each row
has; `advance` adds tokens to it. Lengths are a tensor and what lies behind them is masked, so nothing is ever asked of the card and
nothing but fixed places is read. In a layer few kernels are launched: queries, keys and values come from one product, are normalised
together, turned by one product and one sum with what was worked out for all layers at once (rotation times norm weights), written
by one copy; attention is one kernel; both residual sums are part of a product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.plan.decoder import Decoder, KVCache

STEP = 64
"""Rooms are a multiple of so many tokens: attention kernels like it, and a compiled step fits many songs."""

WINDOW = 8
"""So many tokens are written on a card before the host looks at them; who says stop is heard as soon."""


def room_for(tokens: int) -> int:
    """How many tokens a room for at least so many has."""
    return -(-tokens // STEP) * STEP


class Sight:
    """Which places of a room are seen, as what is added to scores: kernels would make it of a mask in each layer."""

    def __init__(self, like: Tensor, capacity: int) -> None:
        self.places = torch.arange(capacity, device=like.device)
        self._seen, self._unseen = like.new_zeros(()), like.new_full((), float("-inf"))

    def until(self, positions: Tensor) -> Tensor:
        """For each position `[…]` the places up to it, `[…, capacity]`."""
        return torch.where(self.places <= positions[..., None], self._seen, self._unseen)


class FixedRoom:
    """Keys and values of some rows at fixed places, each row filled from the left to its own length."""

    def __init__(self, decoder: Decoder, rows: int, capacity: int) -> None:
        """Empty rows with room for at least so many tokens."""
        self.decoder, self.rows, self.capacity = decoder, rows, room_for(capacity)
        like, pairs = decoder.norm, 2 * decoder.kv_heads
        shape = (rows, pairs, self.capacity, decoder.width)
        self.layers = [like.new_zeros(shape) for _ in decoder.layers]
        """Of each layer the keys of all heads, then their values: [rows, 2 · kv heads, capacity, width]."""
        self.lengths = torch.zeros(rows, dtype=torch.long, device=like.device)
        self.hidden = like.new_zeros(rows, decoder.head.shape[1])
        """The hidden state after each row's last token."""
        self._sight = Sight(like, self.capacity)
        self._row_numbers = torch.arange(rows, device=like.device)[:, None]
        self._rotations = _rotations(*decoder.rotary_table(self.capacity), self.capacity)
        self._norms = _head_norms(decoder)

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """What tells what was done before."""
        return self.lengths, self.hidden

    def fill(self, rows: slice, cache: KVCache, hidden: Tensor) -> None:
        """Let some rows all be the only row of a cache, and `hidden` [1, hidden] what comes after it."""
        used, heads = cache.lengths[0], self.decoder.kv_heads
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            layer[rows, :heads, :used] = keys[:, :, :used]
            layer[rows, heads:, :used] = values[:, :, :used]
        self.lengths[rows] = used
        self.hidden[rows] = hidden

    def take(self, rows: slice, other: FixedRoom, theirs: Sequence[int]) -> None:
        """Let some rows be those of another room."""
        shared = min(self.capacity, other.capacity)
        index = torch.tensor(list(theirs), device=self.lengths.device)
        for layer, source in zip(self.layers, other.layers, strict=True):
            layer[rows, :, :shared] = source[index, :, :shared]
        self.lengths[rows], self.hidden[rows] = other.lengths[index], other.hidden[index]

    def advance(self, ids: Tensor, counts: Tensor | None = None) -> None:
        """Add tokens `ids` [rows, most]: of each row the first `counts` [rows], which may be none; None: all of them.

        What is written behind a row's length is never seen, and the next tokens are written over it.
        """
        d, most = self.decoder, ids.shape[1]
        positions = self.lengths[:, None] + self._sight.places[:most] if most > 1 else self.lengths[:, None]
        visible = self._sight.until(positions)  # [rows, most, capacity], to be added
        turns = self._rotations[positions][None, :, :, None] * self._norms
        state = d.embed(ids.flatten())  # [rows · most, hidden]
        for layer, cache, turn in zip(d.layers, self.layers, turns.unbind(), strict=True):
            mixed = self._attention(layer.qkv(self._normed(state, layer.input_norm)), cache, turn, positions, visible)
            layer.out.add_to(state, mixed)
            gate, up = layer.gate_up(self._normed(state, layer.post_attention_norm)).chunk(2, dim=-1)
            layer.down.add_to(state, F.silu(gate) * up)
        self._after(self._normed(state, d.norm).unflatten(0, (self.rows, most)), counts)

    def _normed(self, state: Tensor, weight: Tensor | None) -> Tensor:
        return F.rms_norm(state, state.shape[-1:], weight, self.decoder.eps)

    def _after(self, states: Tensor, counts: Tensor | None) -> None:
        """Keep the state after each row's last token, of `states` [rows, most, hidden]; rows with none keep what they had."""
        if counts is None:
            self.hidden.copy_(states[:, -1])
            self.lengths += states.shape[1]
            return
        last = states[self._row_numbers[:, 0], (counts - 1).clamp(min=0)]
        self.hidden.copy_(torch.where(counts[:, None] > 0, last, self.hidden))
        self.lengths += counts

    def _attention(self, product: Tensor, cache: Tensor, turn: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """What each token hears, [rows · most, heads · width], of queries, keys and values in one product."""
        d, (rows, most) = self.decoder, positions.shape
        heads = product.view(rows, most, d.heads + 2 * d.kv_heads, d.width)
        turned = heads[:, :, : d.heads + d.kv_heads].unflatten(-1, (2, -1))
        unit = self._normed(heads, None)[:, :, : d.heads + d.kv_heads].unflatten(-1, (1, 2, -1)) * turn
        if torch.compiler.is_compiling():
            turned.copy_(unit.sum(dim=-2))  # the compiler joins the two
        else:
            torch.sum(unit, dim=-2, out=turned)
        cache[self._row_numbers, :, positions] = heads[:, :, d.heads :]
        keys, values = cache[:, : d.kv_heads], cache[:, d.kv_heads :]
        return self._mixed(heads[:, :, : d.heads].unflatten(2, (d.kv_heads, -1)), keys, values, visible)

    def _mixed(self, query: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        """Attention of queries [rows, most, kv heads, group, width]: those that share keys stand below one another, as if they
        were several tokens, so that the kernel need not know that they share.
        """
        rows, most, _, group, _ = query.shape
        if most == 1:
            mixed = F.scaled_dot_product_attention(query[:, 0], keys, values, attn_mask=visible[:, None])
            return mixed.reshape(rows, -1)
        stacked = query.permute(0, 2, 3, 1, 4).flatten(2, 3)  # [rows, kv heads, group · most, width]
        mask = visible[:, None].expand(-1, group, -1, -1).flatten(1, 2)[:, None]
        mixed = F.scaled_dot_product_attention(stacked, keys, values, attn_mask=mask)
        return mixed.unflatten(2, (group, most)).permute(0, 3, 1, 2, 4).reshape(rows * most, -1)


def _rotations(cosines: Tensor, sines: Tensor, capacity: int) -> Tensor:
    """For each position what turns the halves of a head, [capacity, 2 (of the result), 2 (of the head), width / 2]."""
    half = cosines.shape[1] // 2
    first = torch.stack([cosines[:capacity, :half], -sines[:capacity, :half]], dim=1)
    second = torch.stack([sines[:capacity, half:], cosines[:capacity, half:]], dim=1)
    return torch.stack([first, second], dim=1)


def _head_norms(decoder: Decoder) -> Tensor:
    """Weights of the queries' and keys' norms, head by head, [layers, 1, 1, heads + kv heads, 1, 2, width / 2]."""
    of_layers = [
        torch.cat([layer.query_norm.expand(decoder.heads, -1), layer.key_norm.expand(decoder.kv_heads, -1)])
        for layer in decoder.layers
    ]
    return torch.stack(of_layers).unflatten(-1, (2, -1))[:, None, None, :, None]
