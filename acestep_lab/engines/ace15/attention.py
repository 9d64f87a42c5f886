"""The DiT of diffusers, asked for the same numbers with less work. Does not know schedules, tasks or words.

    attention.install(dit)                       # once, after building; in place, undone by attention.uninstall(dit)
    cache = attention.CrossAttentionCache()      # keys and values of the conditions, kept over steps and re-rolls
    v = attention.velocity(dit, x, t, states, context, mask=conditions.mask, cache=cache)

What changes against the forward of diffusers:

- No [tokens, tokens] mask is ever made: sliding layers look at slabs of queries and the keys within their window, so
  time and memory grow with the length of the song instead of its square.
- Keys and values of the conditions are worked out once and remembered by content (`CrossAttentionCache`), not at every step.
- On a CPU that multiplies bfloat16, scores are a matrix product kept in float32 rather than torch's slower kernel.
- A layer's network takes a long song in slabs, so that its wide inner states are never there for all of it at once.
- `mask` (which states are words, per item) and `frame_mask` (which frames are sound, per item) make an item in a padded
  batch equal to the item alone; diffusers and the reference hear the padding.

Layers are called, never looked into, so a LoRA around a projection works as ever. The stock processors stay usable:
`install(dit, quick=False)` only adds the masks, as dense ones. On an accelerator `card_attention` takes the step over.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from acestep_lab._libraries import ace_step_transformer, diffusers_outputs
from acestep_lab.engines.ace15.cache import fingerprint, same
from acestep_lab.errors import RecipeError
from acestep_lab.models.products import PLAIN
from acestep_lab.models.written import version

if TYPE_CHECKING:
    from diffusers.models.transformers.ace_step_transformer import (
        AceStepAttention,
        AceStepMLP,
        AceStepTransformer1DModel,
        AceStepTransformerBlock,
    )

SLAB = 256
"""Queries looked at together in a sliding layer: wide enough to keep a core busy, narrow next to a song."""
ROWS = 512
"""Tokens that go through a layer's two-branched network together: its inner width is three times the song's, and stays small."""
SCORES = 1024
"""Rows of scores held at once in a full layer, so that they stay in a CPU's cache and memory grows with the length only."""


RELIED_ON: Mapping[str, tuple[str, ...]] = {
    "AceStepTransformer1DModel": (
        "layers", "layer_types", "head_dim", "rope_theta", "patch_size", "config", "time_embed", "time_embed_r", "proj_in_conv",
        "condition_embedder", "scale_shift_table", "norm_out", "proj_out_conv", "gradient_checkpointing",
    ),
    "AceStepTransformerBlock": ("self_attn", "cross_attn", "mlp"),
    "AceStepMLP": ("gate_proj", "up_proj", "down_proj"),
    "AceStepAttention": (
        "to_q", "to_k", "to_v", "to_out", "norm_q", "norm_k", "head_dim", "scaling", "processor", "set_processor",
    ),
}  # fmt: skip
"""What this file takes from diffusers' modules, by class. Nothing of it is private; `tests/test_attention.py` looks for each, so
that a newer diffusers which lacks one is found out by name."""


# --- the front ---------------------------------------------------------------------------------------------------------


def install(dit: AceStepTransformer1DModel, quick: bool = True) -> AceStepTransformer1DModel:
    """Give a diffusers AceStepTransformer1DModel our forward and, if `quick`, our processors; the same module comes back.

    Do it before hooks are put on the module (offloading, layer-wise casting): they wrap the forward they find.
    """
    uninstall(dit)
    for layer in layers_of(dit):
        for attention, ours in ((layer.self_attn, SelfAttention), (layer.cross_attn, CrossAttention)):
            processor: Any = ours() if quick else _stock_processor()  # diffusers names each kind of its own
            attention.set_processor(processor)
        if quick:
            vars(layer.mlp)["forward"] = MethodType(in_slabs, layer.mlp)
    dit.forward = MethodType(_forward, dit)
    return dit


def uninstall(dit: AceStepTransformer1DModel) -> AceStepTransformer1DModel:
    """Leave the DiT as diffusers made it."""
    vars(dit).pop("card_road", None)
    for module in dit.modules():
        if _is_our_forward(vars(module).get("forward")):
            del vars(module)["forward"]
    for layer in layers_of(dit):
        layer.self_attn.set_processor(_stock_processor())
        layer.cross_attn.set_processor(_stock_processor())
    return dit


def _is_our_forward(forward: object) -> bool:
    """Whether a module's forward was put there by this file or its card's road, and not by a hook or an adapter."""
    function = getattr(forward, "__func__", None)
    return getattr(getattr(function, "func", function), "__module__", "").startswith(__package__)


def layers_of(dit: AceStepTransformer1DModel) -> Sequence[AceStepTransformerBlock]:
    """A DiT's layers as what they are; torch says of a list of modules only that they are modules."""
    return cast("Sequence[AceStepTransformerBlock]", dit.layers)


def installed(dit: AceStepTransformer1DModel) -> bool:
    """Whether `install` has been here."""
    return getattr(dit.__dict__.get("forward"), "__func__", None) is _forward or isinstance(
        layers_of(dit)[0].self_attn.processor, SelfAttention
    )


def velocity(
    dit: Any,
    x: Tensor,
    t: float | Tensor,
    states: Tensor,
    context: Tensor,
    *,
    mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    cache: CrossAttentionCache | None = None,
) -> Tensor:
    """The DiT's velocity [items, frames, channels] at x [items, frames, channels] and time t, in x's dtype and where x is.

    `states` [items, tokens, width] are listened to where `mask` [items, tokens] is True; `frame_mask` [items, frames],
    True from the start of each item to its end, is for items of different lengths. Inputs are cast and brought to the DiT.
    """
    like = dit.scale_shift_table  # stays in the computing dtype however the layers are stored
    times = _times(t, like, len(x))
    extra: dict[str, object] = {}
    if mask is not None or frame_mask is not None or cache is not None:
        if not installed(dit):
            raise RecipeError("This DiT knows no masks and no cache yet: call attention.install(dit) first.")
        extra = {"encoder_mask": mask, "frame_mask": frame_mask, "cache": cache}
    heard = _as(states, like) if cache is None else states  # a cache knows them again as they are
    found = dit(x.to(like), times, times, heard, context.to(like), return_dict=False, **extra)[0]
    return found.to(x)


def _times(t: float | Tensor, like: Tensor, items: int) -> Tensor:
    """A time for each of so many items; a number is written where the DiT is and not carried there."""
    if isinstance(t, Tensor):
        return t.to(like).expand(items)
    return torch.full((items,), t, dtype=like.dtype, device=like.device)


Listen = Callable[[int, Tensor, Tensor], None]
"""listen(layer, query, key): hears what cross-attention asks `[items, frames, heads, size]` and of what `[items, states, …]`."""


def overhear(dit: Any, x: Tensor, t: float, states: Tensor, context: Tensor, *, last: int, listen: Listen) -> None:
    """Run the DiT at x [items, frames, channels] and time t to the layer `last`, and no further; `listen` hears each layer's
    cross-attention. Everything in `states` [items, tokens, width] is heard.
    """
    if not installed(dit):
        raise RecipeError("This DiT cannot be listened to yet: call attention.install(dit) first.")
    like = dit.scale_shift_table
    times = _times(t, like, len(x))
    shift_scale, _ = time_states(dit, times, times)
    hidden, _ = patched(dit, torch.cat([context.to(like), x.to(like)], dim=-1), None)
    positions = rotary_tables(hidden.shape[1], dit.head_dim, dit.rope_theta, hidden)
    cross = CrossInputs(dit.condition_embedder(_as(states, like)), None)
    for place, (kind, layer) in enumerate(zip(dit.layer_types[: last + 1], layers_of(dit), strict=False)):
        span = _span(dit, layer.self_attn, kind, hidden, None)
        heard = replace(cross, listen=partial(listen, place))
        hidden = layer(
            hidden_states=hidden, position_embeddings=positions, temb=shift_scale, attention_mask=span,
            encoder_hidden_states=cross.states, encoder_attention_mask=heard,
        )  # fmt: skip


def _stock_processor() -> Any:
    return ace_step_transformer.AceStepAttnProcessor2_0()


def _as(states: Tensor, like: Tensor) -> Tensor:
    """States on the DiT's device and dtype; one row said many times (expanded) stays one row in memory."""
    if states.dtype == like.dtype and states.device == like.device:
        return states
    return states[:, :1].to(like).expand(states.shape) if states.stride(1) == 0 else states.to(like)


def in_slabs(mlp: nn.Module, x: Tensor) -> Tensor:
    """What the network of a layer makes of tokens [items, tokens, width], some of them at a time: each is looked at by itself."""
    gate: Any = getattr(mlp, "gate_proj", None)
    alone = type(gate) in PLAIN and not gate._forward_hooks  # nobody else holds what it gives
    network = _in_place if alone and not torch.is_grad_enabled() else type(mlp).forward
    rows = x.flatten(0, 1)  # cut along [items, tokens], torch would copy the weights for every slab
    return torch.cat([network(mlp, some) for some in rows.split(ROWS)]).view_as(x)


def _in_place(network: nn.Module, rows: Tensor) -> Tensor:
    """diffusers' SwiGLU in the memory of one of its branches: fresh memory costs as much as what is done with it."""
    mlp = cast("AceStepMLP", network)
    gated = F.silu(mlp.gate_proj(rows), inplace=True)
    found: Tensor = mlp.down_proj(gated.mul_(mlp.up_proj(rows)))
    return found


def _forward(
    dit: AceStepTransformer1DModel,
    hidden_states: Tensor,
    timestep: Tensor,
    timestep_r: Tensor,
    encoder_hidden_states: Tensor,
    context_latents: Tensor,
    attention_kwargs: Mapping[str, float] | None = None,
    return_dict: bool = True,
    *,
    encoder_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    cache: CrossAttentionCache | None = None,
) -> Any:
    """AceStepTransformer1DModel.forward of diffusers 0.42 step by step, with masks, and without the dense one.

    The strength of a LoRA is the adapter's own (`models.adapters`); one asked for by call would not be heeded, so it is refused.
    """
    if attention_kwargs and attention_kwargs.get("scale", 1.0) != 1.0:
        raise RecipeError(
            "A LoRA's strength is set where it is attached, with lab.lora((adapter, 0.5)), not in a call."
        )
    road = vars(dit).get("card_road")
    if road is not None and road.takes(hidden_states):
        out = road.velocity(
            dit, hidden_states, timestep, timestep_r, context_latents,
            cross_inputs(dit, encoder_hidden_states, encoder_mask, cache), frame_mask,
        )  # fmt: skip
        return diffusers_outputs.Transformer2DModelOutput(sample=out) if return_dict else (out,)
    shift_scale, temb = time_states(dit, timestep, timestep_r)
    frames = hidden_states.shape[1]
    hidden, lengths = patched(dit, torch.cat([context_latents, hidden_states], dim=-1), frame_mask)
    cross = cross_inputs(dit, encoder_hidden_states, encoder_mask, cache)
    again = (
        torch.is_grad_enabled() and dit.gradient_checkpointing
    )  # what a layer knew is computed again on the way back
    positions = rotary_tables(hidden.shape[1], dit.head_dim, dit.rope_theta, hidden)
    blocks = layers_of(dit)
    for kind, layer in zip(dit.layer_types, blocks, strict=True):
        # the last layer is the first on the way back: what it knew is held at the peak either way
        call: Any = partial(checkpoint, layer, use_reentrant=False) if again and layer is not blocks[-1] else layer
        hidden = call(
            hidden_states=hidden,
            position_embeddings=positions,
            temb=shift_scale,
            attention_mask=_span(dit, layer.self_attn, kind, hidden, lengths),
            encoder_hidden_states=cross.states,
            encoder_attention_mask=cross if _ours(layer.cross_attn) else cross.dense,
        )
    shift, scale = (dit.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
    hidden = (dit.norm_out(hidden) * (1 + scale) + shift).type_as(hidden)
    out = dit.proj_out_conv(hidden.transpose(1, 2)).transpose(1, 2)[:, :frames]
    if frame_mask is not None:
        out = out * frame_mask[..., None].to(out)
    return diffusers_outputs.Transformer2DModelOutput(sample=out) if return_dict else (out,)


def time_states(dit: AceStepTransformer1DModel, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """What the layers [items, 6, width] and the output [items, width] make of the two times."""
    temb_t, proj_t = dit.time_embed(t)
    temb_r, proj_r = dit.time_embed_r(t - r)
    return proj_t + proj_r, temb_t + temb_r


def patched(
    dit: AceStepTransformer1DModel, seen: Tensor, frame_mask: Tensor | None
) -> tuple[Tensor, tuple[int, ...] | None]:
    """Tokens [items, tokens, width] of frames, and how many of them belong to each item (None: all)."""
    lengths = None
    if frame_mask is not None:
        lengths = lengths_of(dit, frame_mask)
        seen = seen * frame_mask[..., None].to(seen)
    seen = F.pad(seen, (0, 0, 0, -seen.shape[1] % dit.patch_size))
    tokens = dit.proj_in_conv(seen.transpose(1, 2)).transpose(1, 2)
    tokens = tokens.contiguous()  # or every linear layer copies its frozen weight: torch folds only what is contiguous
    whole = lengths is None or min(lengths) == tokens.shape[1]
    return tokens, None if whole else lengths


def lengths_of(dit: AceStepTransformer1DModel, frame_mask: Tensor) -> tuple[int, ...]:
    """How many tokens belong to each item; RecipeError for a mask with holes."""
    counts = frame_mask.sum(dim=1)
    steps = torch.arange(frame_mask.shape[1], device=frame_mask.device)
    if not torch.equal(steps[None] < counts[:, None], frame_mask.bool()):
        raise RecipeError("A frame mask is True from each item's first frame to its last, and nowhere else.")
    return tuple(math.ceil(int(count) / dit.patch_size) for count in counts)


# --- what processors are handed ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """Which keys a self-attention layer may see: those within `window` tokens, those of the item."""

    window: int | None
    lengths: tuple[int, ...] | None  # tokens of each item; None: all


def _span(
    dit: AceStepTransformer1DModel, attn: AceStepAttention, kind: str, hidden: Tensor, lengths: tuple[int, ...] | None
) -> Any:
    config: Any = dit.config
    window = config.sliding_window if kind == "sliding_attention" else None
    if _ours(attn):
        return Span(window, lengths)
    if window is None and lengths is None:
        return None
    steps, keep = hidden.shape[1], None
    if lengths is not None:
        keep = torch.arange(steps, device=hidden.device)[None] < torch.tensor(lengths, device=hidden.device)[:, None]
    return dense_mask(steps, hidden, window, keep)


def _ours(attn: AceStepAttention) -> bool:
    return isinstance(attn.processor, SelfAttention | CrossAttention)


@dataclass
class CrossInputs:
    """What cross-attention reads: embedded states, which of them are words, and keys and values once made."""

    states: Tensor  # [items, tokens, width of the DiT]
    mask: Tensor | None  # [items, tokens]
    kept: dict[nn.Module, tuple[Tensor, Tensor]] | None = None
    listen: Callable[[Tensor, Tensor], None] | None = None
    """Is told what is asked, and of what, while somebody listens."""
    packed: Any = None
    """Keys and values of all layers as an accelerator takes them (`card_attention.Packed`), once made."""

    @property
    def dense(self) -> Tensor | None:
        """The mask as torch wants it, [items, 1, 1, tokens]."""
        return None if self.mask is None else self.mask[:, None, None, :]


def cross_inputs(
    dit: AceStepTransformer1DModel, states: Tensor, mask: Tensor | None, cache: CrossAttentionCache | None
) -> CrossInputs:
    """The states cross-attention reads, from the cache if they are in it. One row repeated (expanded) is read once: equal keys
    share their weight equally, so the answer is the same. The same tensors again, as at every step of a run, are looked at no more:
    on an accelerator each look would wait for it.
    """
    known = None if cache is None else cache.same_tensors(dit, states, mask)
    if known is not None:
        return known
    asked, like = (states, mask), dit.scale_shift_table
    states = _as(states, like)
    if states.shape[1] > 1 and states.stride(1) == 0 and _ours(layers_of(dit)[0].cross_attn):
        states, mask = states[:, :1], None
    if mask is not None:
        mask = None if bool(mask.all()) else mask.to(states.device, torch.bool)
    if cache is None:
        return CrossInputs(dit.condition_embedder(states), mask)
    return cache.of(dit, states, mask, asked)


# --- cache ------------------------------------------------------------------------------------------------------------


@dataclass
class CrossAttentionCache:
    """Keys and values of conditions, found again by their content; bounded, the longest unused goes first.

    It notices other weights (another checkpoint, a LoRA put on, taken off or scaled, a move to another device) and then
    works them out anew. `hits` and `misses` count the looks.
    """

    entries: int = 6
    limit: int = 512 * 2**20  # bytes
    hits: int = 0
    misses: int = 0
    _kept: OrderedDict[int, tuple[Tensor, Tensor | None, object, CrossInputs]] = field(default_factory=OrderedDict)
    _asked: dict[int, tuple[tuple[Tensor, Tensor | None], tuple[int | None, ...]]] = field(default_factory=dict)
    _count: int = 0

    def same_tensors(
        self, dit: AceStepTransformer1DModel, states: Tensor, mask: Tensor | None
    ) -> CrossInputs | None:  # fmt: skip
        """What was made of these very tensors, if neither they nor the weights were written into since; None where they do not say
        whether they were.
        """
        now = _versions((states, mask))
        for key, (asked, versions) in self._asked.items():
            if asked[0] is states and asked[1] is mask and None not in now and versions == now:
                if self._kept[key][2] != _weights_of(dit):
                    return None
                self._kept.move_to_end(key)
                self.hits += 1
                return self._kept[key][3]
        return None

    def of(
        self, dit: AceStepTransformer1DModel, states: Tensor, mask: Tensor | None,
        asked: tuple[Tensor, Tensor | None] | None = None,
    ) -> CrossInputs:  # fmt: skip
        """These states embedded, with their keys and values, kept from before if nothing has changed; `asked` are the tensors
        they were when somebody asked.
        """
        now, asked = _weights_of(dit), asked or (states, mask)
        for key, (known, masked, weights, cross) in reversed(self._kept.items()):
            if weights == now and same(known, states) and same(masked, mask):
                self._kept.move_to_end(key)
                self._asked[key] = asked, _versions(asked)
                self.hits += 1
                return cross
        self.misses += 1
        cross = CrossInputs(dit.condition_embedder(states), mask, {})
        if cross.states.requires_grad:  # in training nothing may be kept
            return CrossInputs(cross.states, mask)
        self._count += 1
        self._kept[self._count] = (states.clone(), None if mask is None else mask.clone(), now, cross)
        self._asked[self._count] = asked, _versions(asked)
        self._trim()
        return cross

    def clear(self) -> None:
        """Forget everything and give the memory back."""
        self._kept.clear()
        self._asked.clear()

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(_size(cross) + known.nbytes for known, _, _, cross in self._kept.values())

    def _trim(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self.entries or self.size > self.limit):
            key, _ = self._kept.popitem(last=False)
            del self._asked[key]


def _versions(asked: tuple[Tensor, Tensor | None]) -> tuple[int | None, ...]:
    """How often tensors were written into, each None where torch does not count it."""
    return tuple(version(one) for one in asked if one is not None)


def _size(cross: CrossInputs) -> int:
    kept = cross.kept or {}
    packed = 0 if cross.packed is None else cross.packed.nbytes
    return cross.states.nbytes + packed + sum(key.nbytes + value.nbytes for key, value in kept.values())


def _weights_of(dit: AceStepTransformer1DModel) -> tuple[object, ...]:
    """What keys and values depend on besides the states: which numbers the layers hold, and which adapters speak."""
    layers: list[nn.Module] = [dit.condition_embedder]
    for layer in layers_of(dit):
        layers += [layer.cross_attn.to_k, layer.cross_attn.to_v, layer.cross_attn.norm_k]
    return tuple(fingerprint(layer) for layer in layers)


# --- processors --------------------------------------------------------------------------------------------------------


class SelfAttention:
    """Frames attending to frames: everywhere in a full layer, within the window in a sliding one."""

    def __call__(
        self,
        attn: AceStepAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: object = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        if not isinstance(attention_mask, Span):
            return _stock_processor()(attn, hidden_states, None, attention_mask, image_rotary_emb)
        query = attn.norm_q(_heads(attn.to_q(hidden_states), attn.head_dim))
        key = attn.norm_k(_heads(attn.to_k(hidden_states), attn.head_dim))
        value = _heads(attn.to_v(hidden_states), attn.head_dim)
        if image_rotary_emb is not None:
            query, key = rotate(query, image_rotary_emb), rotate(key, image_rotary_emb)
        return _out(attn, attend(query, key, value, attn.scaling, attention_mask.window, attention_mask.lengths))


class CrossAttention:
    """Frames attending to words, lyrics and timbre; the keys and values of those are made once."""

    def __call__(
        self,
        attn: AceStepAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: object = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        cross = attention_mask
        if not isinstance(cross, CrossInputs):
            return _stock_processor()(attn, hidden_states, encoder_hidden_states, attention_mask)
        query = attn.norm_q(_heads(attn.to_q(hidden_states), attn.head_dim))
        key, value = self._made(attn, cross)
        if cross.listen is not None:
            cross.listen(query, key)
        if cross.mask is None:
            return _out(attn, attend(query, key, value, attn.scaling))
        items = [
            attend(query[i : i + 1], key[i : i + 1, words], value[i : i + 1, words], attn.scaling)
            for i, words in enumerate(cross.mask)
        ]
        return _out(attn, torch.cat(items))

    def _made(self, attn: AceStepAttention, cross: CrossInputs) -> tuple[Tensor, Tensor]:
        """Keys and values [items, tokens, key heads, size]."""
        if cross.kept is not None and attn in cross.kept:
            return cross.kept[attn]
        key = attn.norm_k(_heads(attn.to_k(cross.states), attn.head_dim))
        value = _heads(attn.to_v(cross.states), attn.head_dim)
        if cross.kept is not None and not key.requires_grad:
            cross.kept[attn] = key, value
        return key, value


def _heads(x: Tensor, size: int) -> Tensor:
    return x.unflatten(-1, (-1, size))  # [items, tokens, heads, size]


def rotary_tables(tokens: int, size: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [tokens, size] of rotary positions (RoFormer, arXiv 2104.09864) as Qwen3 lays them out: both halves
    of a head turn by the same angles. In the dtype of `like` and where it is, worked out in float32.
    """
    positions = torch.arange(tokens, device=like.device, dtype=torch.float32)
    speeds = 1.0 / theta ** (torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    angles = torch.outer(positions, speeds)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Heads [items, tokens, heads, size] turned by their positions; worked out in float32."""
    cos, sin = (table[None, :, None].to(x.device) for table in tables)
    first, second = x.chunk(2, dim=-1)
    return (x.float() * cos + torch.cat([-second, first], dim=-1).float() * sin).to(x.dtype)


def dense_mask(tokens: int, like: Tensor, window: int | None, keep: Tensor | None) -> Tensor:
    """An additive mask [items or 1, 1, tokens, tokens] for stock processors: 0 where a query may see a key, the least number of
    `like`'s dtype elsewhere; keys at most `window` tokens away, and those of `keep` [items, tokens].
    """
    steps = torch.arange(tokens, device=like.device)
    seen = torch.ones(tokens, tokens, dtype=torch.bool, device=like.device)[None, None]
    if window is not None:
        seen = seen & ((steps[:, None] - steps).abs() <= window)
    if keep is not None:
        seen = seen & keep[:, None, None, :].bool()
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(
        ~seen, torch.finfo(like.dtype).min
    )


def _out(attn: AceStepAttention, heads: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](heads.flatten(2, 3)))


# --- attention itself: pure functions on [items, tokens, heads, size] ----------------------------------------------------


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int | None = None,
    lengths: tuple[int, ...] | None = None,
) -> Tensor:
    """Softmax attention with shared key heads, [items, tokens, heads, size]: over all keys, or those at most `window`
    tokens away, and per item over its first `lengths[i]` tokens only (the rest comes out as zeros).
    """
    if lengths is not None:
        return _each(query, key, value, scale, window, lengths)
    if window is not None and window >= key.shape[1] - 1:
        window = None
    if multiplies(query):
        return _by_product(query, key, value, scale, window)
    return _full(query, key, value, scale) if window is None else _banded(query, key, value, scale, window)


def _each(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, lengths: tuple[int, ...]
) -> Tensor:
    """Every item by itself, on its own tokens."""
    out = torch.zeros_like(query)
    for item, length in enumerate(lengths):
        own = (slice(item, item + 1), slice(0, length))
        out[own] = attend(query[own], key[own], value[own], scale, window)
    return out


def _full(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """torch's own attention; on a GPU its flash kernel."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))  # [items, heads, tokens, size]
    grouped = query.shape[1] != key.shape[1]
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped)
    return found.transpose(1, 2)


def _banded(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int) -> Tensor:
    """Blocks of queries, each against its own stretch of keys, all at once as one batch of blocks."""
    items, tokens = query.shape[:2]
    blocks = math.ceil(tokens / SLAB)
    fill = blocks * SLAB - tokens
    asked = F.pad(query, (0, 0, 0, 0, 0, fill)).reshape(items * blocks, SLAB, *query.shape[2:])
    keys, values = (_stretches(x, window, fill, items * blocks) for x in (key, value))
    found = _full(asked, keys, values, scale, band(tokens, window, items, query.device))
    return found.reshape(items, blocks * SLAB, *query.shape[2:])[:, :tokens]


def _stretches(x: Tensor, window: int, fill: int, count: int) -> Tensor:
    """Keys or values of each block and `window` tokens to either side, [items * blocks, stretch, heads, size]."""
    wide = F.pad(x, (0, 0, 0, 0, window, fill + window))
    cut = wide.unfold(1, SLAB + 2 * window, SLAB)  # [items, blocks, heads, size, stretch]
    return cut.permute(0, 1, 4, 2, 3).reshape(count, SLAB + 2 * window, *x.shape[2:])


def band(tokens: int, window: int, items: int, device: torch.device) -> Tensor:
    """Which key of its stretch each query of a block may see, [items * blocks, 1, block, stretch]; a query that only
    fills up its block sees what it likes, so that no row is empty.
    """
    query = torch.arange(math.ceil(tokens / SLAB) * SLAB, device=device).view(-1, SLAB, 1)
    key = query[:, :1] - window + torch.arange(SLAB + 2 * window, device=device)
    near = ((query - key).abs() <= window) & (((key >= 0) & (key < tokens)) | (query >= tokens))
    return near.repeat(items, 1, 1)[:, None]


def multiplies(x: Tensor) -> bool:
    """Whether attention as plain matrix products is quicker and as exact: bfloat16 on a CPU with instructions for it."""
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or (x.requires_grad and torch.is_grad_enabled()):
        return False
    products = getattr(torch.backends.mkldnn, "matmul", None)  # torch 2.9 names the precision of its products
    return hasattr(products, "fp32_precision") and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _by_product(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """Scores, softmax and sum as matrix products of bfloat16 numbers with float32 scores, slab by slab.

    torch's own kernel takes about twice as long for the same error; `tests/benchmarks/bench_dit.py` measures it.
    """
    out = torch.empty_like(query)
    products: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009 - torch's stubs do not know it
    before = products.fp32_precision
    products.fp32_precision = "bf16"  # float32 operands that hold bfloat16 numbers: exact factors, float32 sums
    try:
        for item in range(len(query)):
            _one_by_product(query[item], key[item], value[item], scale, window, out[item])
    finally:
        products.fp32_precision = before
    return out


def _one_by_product(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None, out: Tensor) -> None:
    """One item: [tokens, heads, size]. The query heads of one key head are stacked, so that products are larger."""
    tokens, heads, size = query.shape
    group = heads // key.shape[1]
    slab = max(1, SCORES // group) if window is None else SLAB
    for head in range(key.shape[1]):
        asked = query[:, head * group : (head + 1) * group].transpose(0, 1).float()  # [group, tokens, size]
        keys, values = key[:, head].float().t(), value[:, head].contiguous()
        for start in range(0, tokens, slab):
            end = min(tokens, start + slab)
            first, last = (0, len(values)) if window is None else (max(0, start - window), min(tokens, end + window))
            scores = asked[:, start:end].reshape(-1, size) @ keys[:, first:last]
            scores *= scale
            if window is not None:
                _forbid(scores.view(group, end - start, -1), start, first, window)
            found = scores.softmax(-1).to(values.dtype) @ values[first:last]
            out[start:end, head * group : (head + 1) * group] = found.view(group, -1, size).transpose(0, 1)


def _forbid(scores: Tensor, start: int, first: int, window: int) -> None:
    """Strike out keys more than `window` tokens away, in place; scores [group, queries, keys]."""
    queries = torch.arange(start, start + scores.shape[1])[:, None]
    keys = torch.arange(first, first + scores.shape[2])
    scores.masked_fill_((queries - keys).abs() > window, -torch.inf)
