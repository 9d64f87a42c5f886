"""One step of a Qwen3 language model, written for sampling tokens one by one.

Knows no words, no grammar and no sampling: token ids in, hidden states and logits out, on the weights of a `transformers`
`Qwen3ForCausalLM` of any size. Rows are of different lengths and each keeps its own positions, so what a row computes does
not depend on the rest of the batch. Against the stock step: keys and values are written in place (the stock cache copies all
of them for every token), attention of one query is two matrix products (scaled_dot_product_attention is 10 to 20 times slower
there on a CPU), query, key and value come from one product, gate and up from another, and only the wanted part of the head is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError
from acestep_lab.models.products import PLAIN


class LinearMaps:
    """Linear maps of one input, side by side.

    Plain weights of several are laid next to each other once and multiplied as one, and the modules keep views of them, so nothing
    is held twice; adapted or quantised ones are called one by one.
    """

    def __init__(self, *maps: nn.Module) -> None:
        self.maps = maps
        plain = all(type(one) in PLAIN and type(one.weight) is nn.Parameter and one.bias is None for one in maps)
        self.weight: Tensor | None = _contiguous([one.weight for one in maps]) if plain else None  # type: ignore[misc]

    def __call__(self, state: Tensor) -> Tensor:
        if len(self.maps) == 1:
            return self.maps[0](state)
        if self.weight is None:
            return torch.cat([one(state) for one in self.maps], dim=-1)
        return F.linear(state, self.weight)

    def add_to(self, base: Tensor, state: Tensor) -> None:
        """Add the maps of `state` [rows, …] to `base` [rows, …], in one product where the weights are plain."""
        if self.weight is None or self.weight.dtype != base.dtype:
            base += self(state)
        else:
            base.addmm_(state, self.weight.T)


@dataclass(frozen=True)
class Layer:
    """One block's weights in the order they are used."""

    input_norm: Tensor
    qkv: LinearMaps
    query_norm: Tensor
    key_norm: Tensor
    out: LinearMaps
    post_attention_norm: Tensor
    gate_up: LinearMaps
    down: LinearMaps


@dataclass
class KVCache:
    """Keys and values of all layers for some rows, each filled from the left to its own length."""

    keys: list[Tensor]  # per layer [rows, heads, capacity, width]
    values: list[Tensor]
    lengths: list[int]

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def select(self, rows: Sequence[int], capacity: int | None = None) -> KVCache:
        """Copies of some rows, in that order and perhaps several times, with capacity for so many tokens."""
        capacity, lengths = capacity or self.capacity, [self.lengths[row] for row in rows]
        return KVCache(
            [_copied(keys, rows, max(lengths, default=0), capacity) for keys in self.keys],
            [_copied(values, rows, max(lengths, default=0), capacity) for values in self.values],
            lengths,
        )

    @staticmethod
    def stack(caches: Sequence[KVCache], capacity: int) -> KVCache:
        """Several caches as one, row under row; none is held a second time while another is copied."""
        used = [max(cache.lengths, default=0) for cache in caches]
        keys = [_under(layers, used, capacity) for layers in zip(*(cache.keys for cache in caches), strict=True)]
        values = [_under(layers, used, capacity) for layers in zip(*(cache.values for cache in caches), strict=True)]
        return KVCache(keys, values, [length for cache in caches for length in cache.lengths])


def _copied(cached: Tensor, rows: Sequence[int], used: int, capacity: int) -> Tensor:
    copy = cached.new_zeros(len(rows), cached.shape[1], capacity, cached.shape[3])  # no NaN may lie in the unused part
    for target, row in enumerate(rows):
        copy[target, :, :used] = cached[row, :, :used]
    return copy


def _under(parts: Sequence[Tensor], used: Sequence[int], capacity: int) -> Tensor:
    """Keys or values of several caches row under row, of each what is used."""
    one = parts[0]
    copy = one.new_zeros(sum(map(len, parts)), one.shape[1], capacity, one.shape[3])
    for place, part, count in zip(copy.split([len(part) for part in parts]), parts, used, strict=True):
        place[:, :, :count] = part[:, :, :count]
    return copy


class Decoder:
    """A causal Qwen3 as a function of (KV cache, new tokens)."""

    open_weights = True
    """Whether its layers can be read one by one, as a step of fixed shapes does."""

    def __init__(self, lm: nn.Module) -> None:
        config: Any = lm.config
        if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
            raise CheckpointError(
                "The planner knows language models with full attention only; this one has a sliding window."
            )
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width, self.eps = config.head_dim, config.rms_norm_eps
        self.max_positions = int(config.max_position_embeddings)
        body: Any = lm.model
        self.embed: nn.Module = body.embed_tokens
        self._rotary: nn.Module = body.rotary_emb
        self.norm: Tensor = body.norm.weight
        self.head: Tensor = lm.get_output_embeddings().weight  # type: ignore[operator]
        self.layers = [_layer(block) for block in body.layers]
        self._rotary_table: tuple[Tensor, Tensor] | None = None

    @property
    def vocabulary(self) -> int:
        return self.head.shape[0]

    @property
    def device(self) -> torch.device:
        return self.head.device

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """Empty rows with capacity for so many tokens."""
        shape = (rows, self.kv_heads, capacity, self.width)
        empty = [[self.head.new_zeros(shape, dtype=self.norm.dtype) for _ in self.layers] for _ in range(2)]
        return KVCache(empty[0], empty[1], [0] * rows)

    def feed(self, cache: KVCache, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Add each row's tokens (at least one a row) and return the hidden state after its last one, [rows, hidden]."""
        states, counts = self.states(cache, tokens), [len(row) for row in tokens]
        return states[torch.arange(len(counts)), torch.tensor(counts) - 1]

    @torch.inference_mode()
    def states(self, cache: KVCache, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Add each row's tokens and return the hidden state after every one of them, [rows, most tokens, hidden]."""
        counts = [len(row) for row in tokens]
        most = max(counts)
        ids = torch.tensor([[*row, *[0] * (most - len(row))] for row in tokens], device=self.device)  # [rows, most]
        starts = torch.tensor(cache.lengths, device=self.device)
        positions = starts[:, None] + torch.arange(most, device=self.device)  # [rows, most]
        attend = _Attention(self, cache, counts, positions)
        state = self.embed(ids)  # [rows, most, hidden]
        for index, layer in enumerate(self.layers):
            state = state + attend(index, layer, F.rms_norm(state, state.shape[-1:], layer.input_norm, self.eps))
            gate, up = layer.gate_up(F.rms_norm(state, state.shape[-1:], layer.post_attention_norm, self.eps)).chunk(
                2, dim=-1
            )
            state = state + layer.down(F.silu(gate) * up)
        cache.lengths = [length + count for length, count in zip(cache.lengths, counts, strict=True)]
        return F.rms_norm(state, state.shape[-1:], self.norm, self.eps)

    @torch.inference_mode()
    def logits(self, hidden: Tensor, wanted: slice | Tensor) -> Tensor:
        """Logits of the wanted token ids only, float32 [rows, wanted]."""
        return F.linear(hidden, self.head[wanted]).float()

    def rotary_table(self, capacity: int) -> tuple[Tensor, Tensor]:
        """Rotary cosines and sines of the first `capacity` positions, [capacity, width]."""
        if self._rotary_table is None or self._rotary_table[0].shape[0] < capacity:
            positions = torch.arange(capacity, device=self.device)[None]
            cosines, sines = self._rotary(self.norm, positions)
            self._rotary_table = cosines[0], sines[0]
        return self._rotary_table


def decoder_of(lm: nn.Module) -> Decoder:
    """What writes a language model's tokens: its own decoder where it brings one (an exported graph does), else ours."""
    own = getattr(lm, "as_decoder", None)
    return Decoder(lm) if own is None else own()


class _Attention:
    """Self-attention of one `feed`: everything the layers share is worked out once."""

    def __init__(self, decoder: Decoder, cache: KVCache, counts: list[int], positions: Tensor) -> None:
        self.decoder, self.cache, self.counts = decoder, cache, counts
        cosines, sines = decoder.rotary_table(cache.capacity)
        within = positions.clamp(max=cache.capacity - 1)
        self.rotation = cosines[within][:, :, None], sines[within][:, :, None]  # [rows, most, 1, width]
        self.used = max(length + count for length, count in zip(cache.lengths, counts, strict=True))
        self.single = positions.shape[1] == 1
        visible = torch.arange(self.used, device=positions.device) <= positions[..., None]  # [rows, most, used]
        self.ragged = not bool(visible.all())
        self.visible = visible[:, None]  # [rows, 1, most, used]
        self.rows, self.columns = torch.arange(len(counts), device=positions.device), positions[:, 0]

    def __call__(self, index: int, layer: Layer, state: Tensor) -> Tensor:
        d = self.decoder
        heads = layer.qkv(state).unflatten(-1, (d.heads + 2 * d.kv_heads, d.width))  # [rows, most, heads, width]
        query, key, value = heads.split((d.heads, d.kv_heads, d.kv_heads), dim=2)
        query = self._rotated(F.rms_norm(query, (d.width,), layer.query_norm, d.eps))
        key = self._rotated(F.rms_norm(key, (d.width,), layer.key_norm, d.eps))
        keys, values = self.cache.keys[index], self.cache.values[index]
        self._write(keys, key)
        self._write(values, value)
        mixed = (self._one_query if self.single else self._many_queries)(query, keys, values)
        return layer.out(mixed.flatten(-2))

    def _rotated(self, heads: Tensor) -> Tensor:
        """Rotary position embedding (Su et al. 2021), halves as in GPT-NeoX."""
        first, second = heads.chunk(2, dim=-1)
        return heads * self.rotation[0] + torch.cat((-second, first), dim=-1) * self.rotation[1]

    def _write(self, cache: Tensor, new: Tensor) -> None:
        if self.single:
            cache[self.rows, :, self.columns] = new[:, 0]
            return
        for row, (length, count) in enumerate(zip(self.cache.lengths, self.counts, strict=True)):
            cache[row, :, length : length + count] = new[row, :count].transpose(0, 1)

    def _one_query(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One query a row: two batched products over [rows · kv heads]."""
        d, rows = self.decoder, query.shape[0]
        grouped = query.reshape(rows * d.kv_heads, d.heads // d.kv_heads, d.width) * d.width**-0.5
        scores = torch.bmm(
            grouped, keys.flatten(0, 1)[:, : self.used].transpose(1, 2)
        ).float()  # [rows·kv, group, used]
        if self.ragged:
            hidden = ~self.visible.expand(rows, d.kv_heads, 1, self.used).flatten(0, 1)
            scores = scores.masked_fill(hidden, float("-inf"))
        weights = scores.softmax(dim=-1).to(values.dtype)
        return torch.bmm(weights, values.flatten(0, 1)[:, : self.used]).view(rows, 1, d.heads, d.width)

    def _many_queries(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Several queries a row, in the stock kernel."""
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            keys[:, :, : self.used],
            values[:, :, : self.used],
            attn_mask=self.visible,
            enable_gqa=True,
        )
        return mixed.transpose(1, 2)


def _layer(block: Any) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    return Layer(
        input_norm=block.input_layernorm.weight,
        qkv=LinearMaps(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=attention.q_norm.weight,
        key_norm=attention.k_norm.weight,
        out=LinearMaps(attention.o_proj),
        post_attention_norm=block.post_attention_layernorm.weight,
        gate_up=LinearMaps(mlp.gate_proj, mlp.up_proj),
        down=LinearMaps(mlp.down_proj),
    )


def _contiguous(weights: list[nn.Parameter]) -> Tensor:
    """The weights as one tensor without a copy where they lie in a row already, else laid so."""
    first = weights[0].data
    home, end = first.untyped_storage()._cdata, first.storage_offset()
    for weight in weights:
        if weight.untyped_storage()._cdata != home or weight.storage_offset() != end or not weight.is_contiguous():
            break
        end += weight.numel()
    else:
        return first.as_strided((sum(w.shape[0] for w in weights), first.shape[1]), (first.shape[1], 1))
    joined = torch.cat([weight.data for weight in weights])
    for weight, view in zip(weights, joined.split([w.shape[0] for w in weights]), strict=True):
        weight.data = view
    return joined
