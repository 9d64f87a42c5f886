"""Columns of codes written on a card, one after another, in a step of fixed shapes that is recorded once and repeated.

Knows the decoder's layers and how tokens are drawn; no words and no sound. What was read before (a prompt, words, a melody) comes with
the memory the plain decoder has made of it. Places that stay: the grid of codes, which of it is open, keys and values with room for
a whole window, random numbers. The host looks at the grid after `AHEAD` columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.engines.musicgen.request import Rules
from acestep_lab.models.backends import exact_dtype
from acestep_lab.models.recording import Recorder
from acestep_lab.plan.decoder import LinearMaps
from acestep_lab.plan.fixed_step import WINDOW, Sight, room_for
from acestep_lab.plan.token_sampler import drawn

if TYPE_CHECKING:
    from acestep_lab.engines.musicgen.generation import Decoder

AHEAD = WINDOW
"""So many columns are written before the host looks at them, as of a planner's tokens."""


class _Layer:
    """One block's maps in the order they are used."""

    def __init__(self, block: Any) -> None:
        own, self.block = block.self_attn, block
        self.qkv, self.out = LinearMaps(own.q_proj, own.k_proj, own.v_proj), LinearMaps(own.out_proj)
        self.up, self.down = LinearMaps(block.fc1), LinearMaps(block.fc2)
        self.width: int = own.head_dim
        cross = getattr(block, "encoder_attn", None)
        self.asks = None if cross is None else (LinearMaps(cross.q_proj), LinearMaps(cross.out_proj))


class FixedColumns:
    """A window of a song under way on a card."""

    def __init__(
        self, decoder: Decoder, cache: Any, logits: Tensor, grid: Tensor, is_open: Tensor, at: int, rules: Rules,
        recorder: Recorder,
    ) -> None:  # fmt: skip
        """`cache` is what the decoder remembers of the columns before `at`, `logits` [rows · codebooks, words] what it says of
        that one; `grid` and `is_open` [codebooks, columns] are the window's.
        """
        self.rules, self.weights = rules, addresses(decoder)
        inner: Any = decoder.decoder.model.decoder
        own, device = cache.self_attention_cache, logits.device
        self._tables, self._norm = list(inner.embed_tokens), inner.layer_norm
        self._layers, self._heads = [_Layer(block) for block in inner.layers], LinearMaps(*decoder.decoder.lm_heads)
        past = own.get_seq_length()
        room = room_for(past + grid.shape[1] - at + AHEAD)
        self._keys = [_with_room(layer.keys, room) for layer in own.layers]
        self._values = [_with_room(layer.values, room) for layer in own.layers]
        self._words = [
            (layer.keys, layer.values) for layer in cache.cross_attention_cache.layers if layer.is_initialized
        ]
        self._sines = inner.embed_positions.get_embedding(room, inner.embed_positions.embedding_dim).to(logits)
        self._sight, self._length = Sight(logits, room), torch.full((1,), past, device=device)
        spare = torch.zeros(len(grid), AHEAD, dtype=torch.long)  # a step that is tried out may go past the end
        self.grid = torch.cat([grid, spare], dim=1).to(device)
        self._open = torch.cat([is_open, spare.bool()], dim=1).to(device)
        self._at, self._logits = torch.full((1,), at, device=device), logits.clone()
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        exact = exact_dtype(device)
        self._numbers, self._number = torch.zeros(AHEAD, len(grid), dtype=exact, device=device), self._at - self._at
        state = (self._length, self.grid, self._at, self._logits, self._finite, self._number)
        self._play = recorder(self._step, state, [*self._keys, *self._values])

    @torch.inference_mode()
    def write(self, numbers: Tensor, at: int) -> tuple[Tensor, bool]:
        """The columns from `at` on [codebooks, columns], one for each row of `numbers` [up to AHEAD, codebooks], and whether all
        logits were finite.
        """
        numbers = numbers.to(self._numbers.dtype).clamp(max=1 - torch.finfo(self._numbers.dtype).eps)
        self._numbers[: len(numbers)].copy_(numbers)
        self._number.copy_(torch.zeros(1, dtype=torch.long))
        for _ in range(len(numbers)):
            self._play()
        return self.grid[:, at : at + len(numbers)].cpu(), bool(self._finite)

    def _step(self) -> None:
        """Draw one column, and read it."""
        rules, codebooks = self.rules, len(self.grid)
        rows = self._logits.float().unflatten(0, (rules.rows, codebooks))
        logits = rows[0] if rules.rows == 1 else rows[1] + (rows[0] - rows[1]) * rules.guidance_scale
        self._finite.logical_and_(torch.isfinite(logits).all())
        tokens = drawn_by(rules, logits, self._numbers.index_select(0, self._number)[0])
        before = self.grid.index_select(1, self._at)[:, 0]
        column = torch.where(self._open.index_select(1, self._at)[:, 0], tokens, before)
        self.grid.index_copy_(1, self._at, column[:, None])
        self._at.add_(1)
        self._number.add_(1)
        self._read(column)

    def _read(self, column: Tensor) -> None:
        """Let the decoder take in a column [codebooks], in all rows alike; its logits are those of the next."""
        tables = [table(code) for table, code in zip(self._tables, column.unbind(), strict=True)]
        sines = self._sines.index_select(0, self._length)
        state = (sum(tables[1:], tables[0]) + sines).expand(self.rules.rows, -1).contiguous()  # [rows, width]
        visible = self._sight.until(self._length)[None, None]  # [1, 1, 1, room], to be added
        for index, layer in enumerate(self._layers):
            self._hear(layer, index, state, visible)
            if layer.asks is not None:
                ask, out = layer.asks
                query = ask(layer.block.encoder_attn_layer_norm(state)).unflatten(1, (-1, 1, layer.width))
                out.add_to(state, F.scaled_dot_product_attention(query, *self._words[index]).flatten(1))
            layer.down.add_to(state, layer.block.activation_fn(layer.up(layer.block.final_layer_norm(state))))
        self._logits.copy_(self._heads(self._norm(state)).view_as(self._logits))
        self._length.add_(1)

    def _hear(self, layer: _Layer, index: int, state: Tensor, visible: Tensor) -> None:
        """Self-attention of one column, added to the state."""
        heads = layer.qkv(layer.block.self_attn_layer_norm(state)).unflatten(1, (3, -1, 1, layer.width))
        query, key, value = heads.unbind(1)  # [rows, heads, 1, width]
        self._keys[index].index_copy_(2, self._length, key)
        self._values[index].index_copy_(2, self._length, value)
        mixed = F.scaled_dot_product_attention(query, self._keys[index], self._values[index], visible)
        layer.out.add_to(state, mixed.flatten(1))


def drawn_by(rules: Rules, logits: Tensor, numbers: Tensor) -> Tensor:
    """A token for each codebook of `[codebooks, words]`, as `generation.draw` draws it, and without asking for a number."""
    return drawn(logits if rules.temperature == 0.0 else logits / rules.temperature, numbers, rules.after_temperature)


def addresses(decoder: Any) -> tuple[int, ...]:
    """Where a decoder's weights lie: what was recorded is of no use once they have moved."""
    return tuple(one.data_ptr() for one in decoder.parameters())


def _with_room(cached: Tensor, room: int) -> Tensor:
    """Keys or values [rows, heads, tokens, width] with room for more tokens."""
    return F.pad(cached, (0, 0, 0, room - cached.shape[2]))
