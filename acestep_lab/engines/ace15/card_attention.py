"""The DiT on an accelerator: the same numbers in few kernels, with nothing asked of the device while a step is at work.

    card_attention.install(dit)                       # attention.install, and this road wherever the DiT is not on a CPU
    v = attention.velocity(dit, x, t, states, context, mask=conditions.mask, cache=cache)

What changes against the CPU's road (`attention`), where a kernel costs nothing to start and memory has to stay near:

- Shift, scale and gate of all layers are made at once; each norm, each turn of queries and keys together is one operator or few.
- Attention is flash attention with a window (one kernel, no mask) where the row of `models.backends` has it; else compiled
  flex_attention, else torch's own over slabs of queries in one batched call with a mask made once for a length.
- Items of different lengths, and words of different counts, lie one behind the other, told apart by where each ends.
- Keys and values of the conditions of all layers are one tensor, made once a run (`Packed`).
- A layer's network takes all tokens at once unless its inner states would be too large (`engines.card_blocks`).
- Where steps are recorded (`models.recording`), lengths are filled up to a few sizes, so that few recordings are needed.

In float16 (`models.islands`) what runs along the layers is float32, and so is what was seen to overflow. Norms and projections are
called, never looked into, so that adapters and offloading work as ever.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from importlib.util import find_spec
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_transformer
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.attention import CrossInputs
from acestep_lab.engines.ace15.cache import whole_fingerprint
from acestep_lab.engines.card_blocks import modulated, modulations, tokens_at_once
from acestep_lab.lru_cache import LRUCache
from acestep_lab.models.backends import Backend, backend_of
from acestep_lab.models.islands import level_of
from acestep_lab.models.recording import StepGraphs
from acestep_lab.models.written import counted

if TYPE_CHECKING:
    from diffusers.models.transformers.ace_step_transformer import (
        AceStepAttention,
        AceStepTransformer1DModel,
        AceStepTransformerBlock,
    )

SLAB = 256
"""Queries looked at together where a window is cut out by slabs."""


# --- what a step is handed -----------------------------------------------------------------------------------------------


class Reach(NamedTuple):
    """How self-attention looks: which kernel, how far, and what tells items and slabs apart."""

    kernel: str  # "flash", "flex", "banded" or "plain"
    window: int | None
    ends: Tensor | None = None
    """Flash: where each stretch of tokens ends, int32 `[stretches + 1]`, the first of them 0."""
    mask: Any = None
    """Added to scores, or flex_attention's own; None: everything is seen."""
    flash: Any = None
    """What runs the kernel "flash"."""
    shares: bool = True
    """Whether torch's own attention takes fewer key heads than query heads and stays one kernel."""


class Heard(NamedTuple):
    """What a layer's cross-attention listens to."""

    key: Tensor
    value: Tensor
    asked: Tensor | None = None
    """Flash: where the queries of each item end, int32 `[items + 1]`."""
    ends: Tensor | None = None
    """Flash: where the words of each item end."""
    mask: Tensor | None = None
    """`[items, 1, 1, words]`, added to scores."""
    grouped: bool = False
    """Whether several query heads share a key head."""
    flash: Any = None
    """What runs flash attention; None: torch's own."""


class Layout(NamedTuple):
    """All that a length and a batch bring with them: positions, and how the two kinds of layers look."""

    turns: tuple[Tensor, Tensor]
    near: Reach
    far: Reach
    asked: Tensor | None


@dataclass(frozen=True)
class Packed:
    """Keys and values of all layers: flash `[layers, words of all items, key heads, size]`, else `[layers, items, heads, words, size]`."""

    keys: Tensor
    values: Tensor
    ends: Tensor | None = None
    mask: Tensor | None = None
    grouped: bool = False

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


# --- the road ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class CardRoad:
    """How a DiT's step goes on an accelerator.

    `row` says what a device can do; `everywhere` takes the CPU too (a compiled DiT, a test). `kernel` is what tests choose.
    """

    row: Callable[[torch.device], Backend] = backend_of
    everywhere: bool = False
    kernel: str = ""
    flash: Any = None
    """What runs flash attention over stretches; None: torch's own."""
    graphs: StepGraphs = field(default_factory=lambda: StepGraphs(None))
    _layouts: LRUCache[Layout] = field(default_factory=lambda: LRUCache[Layout](8))

    def takes(self, x: Tensor) -> bool:
        """Whether a step on this tensor goes this road: nothing is learnt, and it is not on a CPU."""
        return not torch.is_grad_enabled() and (self.everywhere or x.device.type != "cpu")

    def velocity(
        self, dit: AceStepTransformer1DModel, x: Tensor, t: Tensor, r: Tensor, context: Tensor, cross: CrossInputs,
        frame_mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """The DiT's velocity `[items, frames, channels]`, of tensors that are where it is."""
        frames = x.shape[1]
        lengths = None if frame_mask is None else attention.lengths_of(dit, frame_mask)
        if frame_mask is not None:
            kept = frame_mask[..., None].to(x)
            x, context = x * kept, context * kept
        whole = math.ceil(frames / dit.patch_size)
        tokens = self._room(x.device, x.dtype, whole)
        layout = self._layout(dit, x, whole, tokens, lengths)
        packed = self._packed(dit, x, cross)
        fill = (0, 0, 0, tokens * dit.patch_size - frames)
        given = (F.pad(torch.cat([context, x], dim=-1), fill), t, r, *_tensors(layout), *_tensors(packed))
        step = partial(_step, dit, layout, packed)
        out = self.graphs.run(("dit", tokens), self._weights(dit), step, given)[:, :frames]
        return out if frame_mask is None else out * frame_mask[..., None].to(out)

    def _weights(self, dit: Any) -> object:
        return whole_fingerprint(dit) if self.graphs.records else None

    def _room(self, device: torch.device, dtype: torch.dtype, tokens: int) -> int:
        """Tokens with what fills them up: to few sizes where steps are recorded and filling costs no mask."""
        records = self.graphs.records and self._best(device, dtype) == "flash"
        return roomy(tokens) if records else tokens

    def _best(self, device: torch.device, dtype: torch.dtype) -> str:
        """The first kernel of the row that this torch has; flash attention knows no float32."""
        if self.kernel:
            return self.kernel
        usual = self.row(device).attention
        return next(one for one in usual if is_here(one) and not (one == "flash" and dtype == torch.float32))

    def _shares(self, x: Tensor) -> bool:
        """Whether torch's own attention shares key heads here: its kernels for float32 on a card do not."""
        return self.row(x.device).shares_keys and (x.device.type == "cpu" or x.dtype != torch.float32)

    def _layout(self, dit: Any, x: Tensor, whole: int, tokens: int, lengths: tuple[int, ...] | None) -> Layout:
        """Made once for a length and a batch."""
        key = len(x), whole, tokens, lengths, x.device, x.dtype, dit.head_dim, dit.config.sliding_window
        return self._layouts.recall(key, lambda: self._laid_out(dit, x, tokens, lengths or (whole,) * len(x)))

    @counted()  # what is kept says that nobody writes into it: a recording need not copy it at every step
    def _laid_out(self, dit: Any, x: Tensor, tokens: int, lengths: tuple[int, ...]) -> Layout:
        kernel, window = self._best(x.device, x.dtype), dit.config.sliding_window
        near: int | None = None if window is None or window >= tokens - 1 else window
        turns = turning(tokens, dit.head_dim, dit.rope_theta, x)
        filled = any(length < tokens for length in lengths)
        if kernel == "flash":
            stretches = [place * tokens + end for place, length in enumerate(lengths) for end in (length, tokens)]
            ends = _ends(stretches, x.device)
            asked = _ends([(place + 1) * tokens for place in range(len(lengths))], x.device)
            flash = self.flash or _varlen()
            return Layout(turns, Reach(kernel, near, ends, None, flash), Reach(kernel, None, ends, None, flash), asked)
        keep, shares = _kept(lengths, tokens, x.device) if filled else None, self._shares(x)
        whole = None if keep is None else attention.dense_mask(tokens, x, None, keep)
        far = Reach("plain", None, mask=whole, shares=shares)
        if near is None:
            return Layout(turns, far, far, None)
        if kernel == "flex" and keep is None:
            return Layout(turns, Reach("flex", near, mask=_flex_mask(tokens, near, x.device)), far, None)
        if keep is not None or tokens <= 2 * SLAB:
            return Layout(turns, Reach("plain", near, mask=attention.dense_mask(tokens, x, near, keep)), far, None)
        return Layout(turns, Reach("banded", near, mask=_band(tokens, near, x)), far, None)

    @counted()
    def _packed(self, dit: Any, like: Tensor, cross: CrossInputs) -> Packed:
        """Keys and values of the conditions for all layers, made once a run."""
        if cross.packed is None:
            best, shares = self._best(like.device, like.dtype), self._shares(like)
            cross.packed = _packed_ends(dit, cross) if best == "flash" else _packed_rows(dit, cross, shares)
        packed: Packed = cross.packed
        return packed


def install(dit: AceStepTransformer1DModel, road: CardRoad | None = None) -> AceStepTransformer1DModel:
    """Give a DiT our forward (`attention.install`) and this road to take wherever it is not on a CPU; the same module comes back."""
    road = road or CardRoad()
    attention.install(dit)
    vars(dit)["card_road"] = road
    network, norm = (
        partial(_network, road),
        partial(_norm, road),
    )  # one for all: a compiler tells functions apart by what they are
    for layer in attention.layers_of(dit):
        vars(layer)["forward"] = MethodType(_layer, layer)
        vars(layer.mlp)["forward"] = MethodType(network, layer.mlp)
    for module in dit.modules():
        if isinstance(module, ace_step_transformer.RMSNorm):
            vars(module)["forward"] = MethodType(norm, module)
    return dit


def roomy(tokens: int) -> int:
    """The next of a few lengths, at most an eighth longer."""
    step = max(32, 2 ** (max(tokens, 1).bit_length() - 4))
    return math.ceil(tokens / step) * step


# --- a step --------------------------------------------------------------------------------------------------------------


def _tensors(values: object) -> tuple[Tensor | None, ...]:
    """The tensors of a layout or of what is packed, in a fixed order."""
    if isinstance(values, Layout):
        near, far = values.near, values.far
        masks = tuple(one.mask if isinstance(one.mask, Tensor) else None for one in (near, far))
        return (*values.turns, near.ends, far.ends, *masks, values.asked)
    assert isinstance(values, Packed)
    return values.keys, values.values, values.ends, values.mask


def _step(dit: Any, layout: Layout, packed: Packed, *given: Tensor) -> Tensor:
    """Frames `[items, frames, channels]` to their velocity; reads nothing but `given` and the weights."""
    seen, t, r, cos, sin, near_ends, far_ends, near_mask, far_mask, asked, keys, values, ends, words = given
    near = layout.near._replace(ends=near_ends, mask=layout.near.mask if near_mask is None else near_mask)
    far = layout.far._replace(ends=far_ends, mask=layout.far.mask if far_mask is None else far_mask)
    shift_scale, temb = attention.time_states(dit, t, r)
    hidden = dit.proj_in_conv(seen.transpose(1, 2)).transpose(1, 2).contiguous()
    if hidden.dtype == torch.float16:
        hidden = hidden.float()  # what runs along the layers grows beyond float16
    blocks = attention.layers_of(dit)
    scaled = modulations(blocks, shift_scale, hidden.dtype)
    for place, (kind, layer) in enumerate(zip(dit.layer_types, blocks, strict=True)):
        hidden = layer(
            hidden_states=hidden, position_embeddings=(cos, sin), temb=shift_scale if scaled[place] is None else scaled[place],
            attention_mask=near if kind == "sliding_attention" else far,
            encoder_hidden_states=shift_scale if scaled[place] is None else None,
            encoder_attention_mask=Heard(keys[place], values[place], asked, ends, words, packed.grouped, layout.far.flash),
        )  # fmt: skip
    shift, scale = (dit.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
    hidden = torch.addcmul(shift.to(hidden), dit.norm_out(hidden).to(hidden), 1 + scale.to(hidden))
    found: Tensor = dit.proj_out_conv(hidden.to(temb.dtype).transpose(1, 2)).transpose(1, 2)
    return found


def _layer(
    layer: AceStepTransformerBlock,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    temb: Tensor,
    attention_mask: Any = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Any = None,
) -> Tensor:
    """A block: as diffusers has it, or, handed what this road hands over, with one kernel for what is one thought."""
    if not isinstance(encoder_attention_mask, Heard):
        plain: Tensor = type(layer).forward(
            layer,
            hidden_states,
            position_embeddings,
            temb,
            attention_mask,
            encoder_hidden_states,
            encoder_attention_mask,
        )
        return plain
    hidden, block = hidden_states, cast_of(layer)
    rows = temb if encoder_hidden_states is None else modulated(layer.scale_shift_table, temb, hidden.dtype)
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = rows.split(1, dim=1)
    normed = torch.addcmul(shift, layer.self_attn_norm(hidden).to(hidden.dtype), scale)
    said = _looking(layer.self_attn, normed.to(block.attention), position_embeddings, attention_mask)
    hidden = torch.addcmul(hidden, said.to(hidden.dtype), gate)
    normed = layer.cross_attn_norm(hidden)
    hidden = hidden + _listening(layer.cross_attn, normed.to(block.attention), encoder_attention_mask)
    normed = torch.addcmul(shift_mlp, layer.mlp_norm(hidden).to(hidden.dtype), scale_mlp)
    return torch.addcmul(hidden, layer.mlp(normed.to(block.mlp)).to(hidden.dtype), gate_mlp)


class Dtypes(NamedTuple):
    """What the parts of a block compute in."""

    attention: torch.dtype
    mlp: torch.dtype


def cast_of(layer: Any) -> Dtypes:
    """What the parts of a block compute in: as its own table is kept, but for its islands."""
    own, level = layer.scale_shift_table.dtype, level_of(layer)
    return Dtypes(torch.float32 if level > 1 else own, torch.float32 if level > 0 else own)


def _looking(attn: AceStepAttention, x: Tensor, turns: tuple[Tensor, Tensor], reach: Reach) -> Tensor:
    """Frames attending to frames; queries and keys are turned together."""
    shape = (-1, attn.head_dim)
    query, key = attn.norm_q(attn.to_q(x).unflatten(-1, shape)), attn.norm_k(attn.to_k(x).unflatten(-1, shape))
    both = turned(torch.cat([query, key], dim=2), turns)
    query, key = both[:, :, : attn.heads], both[:, :, attn.heads :]
    found = attend(query, key, attn.to_v(x).unflatten(-1, shape), attn.scaling, reach, attn.heads // attn.kv_heads)
    said: Tensor = attn.to_out[1](attn.to_out[0](found.flatten(2)))
    return said


def _listening(attn: AceStepAttention, x: Tensor, heard: Heard) -> Tensor:
    """Frames attending to words, lyrics and timbre."""
    query = attn.norm_q(attn.to_q(x).unflatten(-1, (-1, attn.head_dim))).to(heard.key.dtype)
    if heard.flash is not None:
        found = _flash(heard.flash, query, heard.key, heard.value, attn.scaling, heard.asked, heard.ends)
    else:
        found = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            heard.key,
            heard.value,
            attn_mask=heard.mask,
            scale=attn.scaling,
            enable_gqa=heard.grouped,
        ).transpose(1, 2)
    said: Tensor = attn.to_out[1](attn.to_out[0](found.flatten(2).to(x.dtype)))
    return said


def _norm(road: CardRoad, norm: nn.Module, x: Tensor) -> Tensor:
    """A norm as one operator; on the CPU's road as diffusers has it."""
    if not road.takes(x):
        plain: Tensor = type(norm).forward(norm, x)
        return plain
    weight: Any = norm.weight
    return F.rms_norm(x, x.shape[-1:], weight.to(x.dtype), norm.eps)  # type: ignore[arg-type]


def _network(road: CardRoad, mlp: nn.Module, x: Tensor) -> Tensor:
    """What the network of a layer makes of tokens, all at once unless its inner states would take too much."""
    if not road.takes(x):
        return attention.in_slabs(mlp, x)
    plain, rows = type(mlp).forward, tokens_at_once(x)
    if x.shape[0] * x.shape[1] <= rows:
        whole: Tensor = plain(mlp, x)
        return whole
    return torch.cat([plain(mlp, some) for some in x.flatten(0, 1).split(rows)]).view_as(x)


# --- positions -----------------------------------------------------------------------------------------------------------


def turning(tokens: int, size: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines, and sines whose first half is negative, `[tokens, 1, size]`: with them a head and the same head with its halves
    changed over are all that a turn needs.
    """
    cos, sin = attention.rotary_tables(tokens, size, theta, like)
    return cos[:, None], torch.cat([-sin[:, : size // 2], sin[:, size // 2 :]], dim=-1)[:, None]


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Heads `[items, tokens, heads, size]` turned by their positions, as `attention.rotate` does, in three kernels."""
    cos, sin = (table.to(x.dtype) for table in turns)
    return torch.addcmul(x * cos, torch.roll(x, x.shape[-1] // 2, dims=-1), sin)


# --- attention -------------------------------------------------------------------------------------------------------------


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, reach: Reach, group: int) -> Tensor:
    """Self-attention `[items, tokens, heads, size]` by one of the kernels; `group` query heads share a key head."""
    if reach.kernel == "flash":
        keys, values = key.flatten(0, 1), value.flatten(0, 1)
        return _flash(reach.flash, query, keys, values, scale, reach.ends, reach.ends, reach.window)
    if reach.kernel == "flex":
        return _flex(query, key, value, scale, reach.mask)
    if reach.kernel == "banded":
        assert reach.window is not None
        return _banded(query, key, value, scale, reach.window, reach.mask, group)
    return _plain(query, key, value, scale, reach, group)


def _flash(
    flash: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, asked: Tensor | None, ends: Tensor | None,
    window: int | None = None,
) -> Tensor:  # fmt: skip
    """Flash attention over stretches of keys `[all, heads, size]` and queries that do not see each other's; a query sees keys at
    most `window` away. The longest stretch is at most an item, or all words.
    """
    found = flash(
        query.flatten(0, 1), key, value, asked, ends, query.shape[1], max(query.shape[1], key.shape[0]), scale=scale,
        window_size=(-1, -1) if window is None else (window, window), enable_gqa=True,
    )  # fmt: skip
    out: Tensor = found.unflatten(0, query.shape[:2])
    return out


def _plain(query: Tensor, key: Tensor, value: Tensor, scale: float, reach: Reach, group: int) -> Tensor:
    """torch's own attention. Where its fused kernels do not share key heads, with a mask nowhere, each is said as often as it is
    shared: they would be left for a square of scores.
    """
    mask = reach.mask
    if mask is not None or not reach.shares:
        key, value, group = spread(key, group), spread(value, group), 1
        mask = None if mask is None else mask.to(query.dtype)
    asked, keys, values = (one.transpose(1, 2) for one in (query, key, value))
    found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scale, enable_gqa=group > 1)
    return found.transpose(1, 2)


def spread(x: Tensor, group: int) -> Tensor:
    """Key heads `[items, tokens, key heads, size]` each said as often as queries share it."""
    return x if group == 1 else x[:, :, :, None].expand(-1, -1, -1, group, -1).flatten(2, 3)


def _banded(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int, mask: Tensor, group: int) -> Tensor:
    """Slabs of queries, each against its own stretch of keys, in one call; `mask` `[slabs, 1, slab, stretch]`."""
    items, tokens, heads, size = query.shape
    slabs = mask.shape[0]
    fill = slabs * SLAB - tokens
    asked = (F.pad(query, (0, 0, 0, 0, 0, fill)) if fill else query).unflatten(1, (slabs, SLAB)).flatten(0, 1)
    wide = F.pad(torch.stack([key, value], 2), (0, 0, 0, 0, 0, 0, window, fill + window))
    cut = wide.unfold(1, SLAB + 2 * window, SLAB)  # [items, slabs, 2, key heads, size, stretch]
    cut = cut.permute(2, 0, 1, 3, 5, 4)[:, :, :, :, None].expand(-1, -1, -1, -1, group, -1, -1)
    keys, values = cut.reshape(2, items * slabs, heads, SLAB + 2 * window, size).unbind(0)
    band = (mask[None].expand(items, -1, -1, -1, -1).flatten(0, 1) if items > 1 else mask).to(asked.dtype)
    found = F.scaled_dot_product_attention(asked.transpose(1, 2), keys, values, attn_mask=band, scale=scale)
    return found.transpose(1, 2).unflatten(0, (items, slabs)).flatten(1, 2)[:, :tokens]


def _band(tokens: int, window: int, like: Tensor) -> Tensor:
    """Added to the scores of each slab, `[slabs, 1, slab, stretch]`: 0 where a query may see a key."""
    near = attention.band(tokens, window, 1, like.device)
    return torch.zeros(near.shape, dtype=like.dtype, device=like.device).masked_fill_(~near, -torch.inf)


def _flex(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Any) -> Tensor:
    heads = (one.transpose(1, 2) for one in (query, key, value))
    found: Tensor = _flex_kernel(query.device.type)(*heads, block_mask=mask, scale=scale, enable_gqa=True)
    return found.transpose(1, 2)


@cache
def _flex_kernel(kind: str) -> Any:
    """flex_attention, compiled where there is something to compile for: uncompiled it holds all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if kind == "cpu" else torch.compile(flex_attention, dynamic=False)


def _flex_mask(tokens: int, window: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def near(item: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= window

    return create_block_mask(near, None, None, tokens, tokens, device=str(device))


@lru_cache(1)
def _varlen() -> Any:
    """torch's flash attention over stretches, or None where this torch has none with a window and shared key heads."""
    if find_spec("torch.nn.attention.varlen") is None:
        return None
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"window_size", "enable_gqa", "scale"} <= set(known) else None


def is_here(kernel: str) -> bool:
    """Whether this torch has a kernel: flash attention over stretches came with 2.10, flex_attention needs a compiler's library."""
    if kernel == "flash":
        return _varlen() is not None
    return kernel != "flex" or find_spec("triton") is not None


# --- keys and values of the conditions ---------------------------------------------------------------------------------------


def _packed_ends(dit: Any, cross: CrossInputs) -> Packed:
    """Words of all items one behind the other, the unheard left out."""
    items, words = cross.states.shape[:2]
    rows = cross.states.flatten(0, 1)
    if cross.mask is None:
        ends = [words * (place + 1) for place in range(items)]
        return Packed(*_made(dit, rows), _ends(ends, rows.device))
    counts = cross.mask.sum(1).cumsum(0).tolist()
    return Packed(*_made(dit, rows[cross.mask.flatten()]), _ends(counts, rows.device))


def _packed_rows(dit: Any, cross: CrossInputs, shares: bool) -> Packed:
    """Words of each item beside those of the others; what nobody hears is left out, what one does not hear is masked."""
    states, mask = cross.states, cross.mask
    if mask is not None:
        heard = mask.any(0)
        states, mask = states[:, heard], mask[:, heard]
        mask = None if bool(mask.all()) else mask
    keys, values = _made(dit, states)
    attn = attention.layers_of(dit)[0].cross_attn
    group = attn.heads // attn.kv_heads
    spreads = mask is not None or not shares
    if spreads:
        keys, values = (spread(one.flatten(0, 1), group).unflatten(0, one.shape[:2]) for one in (keys, values))
    bias = None
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=states.dtype).masked_fill_(~mask, -torch.inf)[:, None, None]
    return Packed(
        keys.transpose(2, 3).contiguous(), values.transpose(2, 3).contiguous(), None, bias, not spreads and group > 1
    )


def _made(dit: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values `[layers, …, key heads, size]` of embedded states `[…, width]`, written where they stay: nothing twice."""
    layers = attention.layers_of(dit)
    attn = layers[0].cross_attn
    both = states.new_empty((2, len(layers), *states.shape[:-1], attn.kv_heads, attn.head_dim))
    for place, layer in enumerate(layers):
        key, value = _pair(layer.cross_attn, states.to(cast_of(layer).attention), states.dtype)
        both[0, place].copy_(key)
        both[1, place].copy_(value)
    keys, values = both.unbind()
    return keys, values


def _pair(attn: Any, states: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    key, value = (one(states).unflatten(-1, (-1, attn.head_dim)) for one in (attn.to_k, attn.to_v))
    return attn.norm_k(key).to(dtype), value.to(dtype)


def _ends(ends: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *ends], dtype=torch.int32, device=device)


def _kept(lengths: tuple[int, ...], tokens: int, device: torch.device) -> Tensor:
    """Which tokens belong to their item, `[items, tokens]`."""
    ends = torch.tensor(lengths, device=device)
    return torch.arange(tokens, device=device)[None] < ends[:, None]
