"""ACE-Step 1.5 as graphs: each component as a module of plain tensors that an exporter can follow. Knows onnx by contract only.

What the loop does outside stays outside: padding an odd number of frames, encoding items one by one, tiles of the autoencoder, the grammar
of the planner. A token step of the planner is the same graph as the reading of its prompt: it takes any number of new
tokens and any number of remembered ones, none included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.fast_vae import fuse_weight_norms
from acestep_lab.models.loading import DIFFUSERS_FOLDERS, Checkpoint
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, Slot

FAMILY = "ace-step-1.5"
SMALL = (".json", ".txt", ".jinja", ".model")
"""Endings of the files that are copied: configs and tokenizers, never weights."""


def parts(checkpoint: Checkpoint, vae_mark: str) -> OnnxParts:
    """All that an export of a checkpoint consists of."""
    graphs = tuple(graph for component in checkpoint.components for graph in _GRAPHS[component](checkpoint))
    row = checkpoint.row
    facts = {
        "vae_mark": vae_mark,
        "row": row.name if row.repo is not None else "",
        "source": {name: checkpoint.content(name).mark for name in checkpoint.components},
    }
    return OnnxParts(FAMILY, row.name, graphs, dict(_files(checkpoint)), partial(_tensors, checkpoint), facts)


def _files(checkpoint: Checkpoint) -> Iterator[tuple[str, Path]]:
    """Configs and tokenizers where a diffusers folder has them, whichever layout they come from."""
    places = dict(checkpoint.places)
    if "codes" in places:
        places.setdefault("codes_back", places["codes"])  # as published, one config is of both halves
    for name, place in places.items():
        for file in sorted(place.iterdir()):
            if file.suffix in SMALL and file.is_file() and not file.name.endswith(".index.json"):
                yield f"{DIFFUSERS_FOLDERS[name]}/{file.name}", file
    if (checkpoint.folder / "pocket.json").is_file():
        yield "pocket.json", checkpoint.folder / "pocket.json"


def _tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What the condition encoder keeps beside its layers: the recorded silence, and the states of no words."""
    encoder: Any = checkpoint.build("condition")
    return {name: getattr(encoder, name).detach() for name in ("silence_latent", "null_condition_emb")}


def _draws(seed: int) -> Callable[..., Tensor]:
    """Normal numbers of a shape, from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _ids(words: int, *shape: int) -> Tensor:
    return torch.randint(words, shape, generator=torch.Generator().manual_seed(sum(shape)))


# --- words --------------------------------------------------------------------------------------------------------------


class TextGraph(nn.Module):
    """Token ids `[items, tokens]` → states of the prompt, and the plain embeddings that lyrics are heard by."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        text.config._attn_implementation = "eager"  # plain products: the tracer knows no shared key heads
        self.text = text

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.text(input_ids=ids).last_hidden_state, self.text.get_input_embeddings()(ids)


class ConditionGraph(nn.Module):
    """One item's text `[1, tokens, width]`, lyrics and timbre `[1, frames, channels]` → what the DiT listens to."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = _followed(encoder)
        encoder.timbre_encoder.unpack_timbre_embeddings = _alone

    def forward(self, text: Tensor, lyrics: Tensor, timbre: Tensor) -> Tensor:
        words = torch.ones(lyrics.shape[:2], dtype=torch.bool, device=lyrics.device)
        order = torch.zeros(1, dtype=torch.long, device=lyrics.device)
        heard = self.encoder.lyric_encoder(inputs_embeds=lyrics, attention_mask=words)
        voice, _ = self.encoder.timbre_encoder(timbre, order)
        return torch.cat([heard, voice, self.encoder.text_projector(text)], dim=1)


class PlainAttention:
    """diffusers' attention of ACE-Step 1.5 in operations that a tracer can follow at every length."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        heard = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            part(of).unflatten(-1, (-1, attn.head_dim))
            for part, of in ((attn.to_q, hidden_states), (attn.to_k, heard), (attn.to_v, heard))
        )
        query, key, value = attn.norm_q(query).transpose(1, 2), attn.norm_k(key).transpose(1, 2), value.transpose(1, 2)
        if image_rotary_emb is not None:
            query, key = _rotated(query, image_rotary_emb), _rotated(key, image_rotary_emb)
        key, value = (_repeated(one, attn.heads // attn.kv_heads) for one in (key, value))
        mixed = F.scaled_dot_product_attention(query, key, value, attention_mask, scale=attn.scaling)
        found: Tensor = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
        return found


def _repeated(heads: Tensor, times: int) -> Tensor:
    """Keys or values `[items, heads, tokens, width]` once for each query head that shares them."""
    return heads if times == 1 else heads[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)


def _followed(module: Any) -> Any:
    """A module with attention that exporters can follow."""
    for part in module.modules():
        if hasattr(part, "set_processor") and hasattr(part, "kv_heads"):
            part.processor = PlainAttention()
    return module


def _alone(packed: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """The timbre of one item; sorting many is none of a graph's business."""
    return packed[None], order[None]


def _text(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    words = int(checkpoint.config("text")["vocab_size"])
    axes = {0: "items", 1: "tokens"}
    yield OnnxGraph(
        "text_encoder", "text", lambda: TextGraph(checkpoint.build("text")),
        (Slot("ids", axes),), (Slot("states", axes), Slot("embedded", axes)),
        lambda: ((_ids(words, 2, 12),), (_ids(words, 3, 29),)), "legacy",
    )  # fmt: skip


def _condition(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    channels, width = checkpoint.geometry.latent_channels, int(checkpoint.config("text")["hidden_size"])

    def example(tokens: int, lyrics: int, frames: int) -> tuple[Tensor, ...]:
        draw = _draws(tokens)
        return draw(1, tokens, width), draw(1, lyrics, width), draw(1, frames, channels)

    yield OnnxGraph(
        "condition_encoder", "condition", lambda: ConditionGraph(checkpoint.build("condition")),
        (Slot("text", {1: "tokens"}), Slot("lyrics", {1: "lyric_tokens"}), Slot("timbre", {1: "frames"})),
        (Slot("states", {1: "states"}),),
        lambda: (example(12, 17, 60), example(31, 9, 200)),
    )  # fmt: skip


# --- the DiT ------------------------------------------------------------------------------------------------------------


class VelocityGraph(nn.Module):
    """The DiT's velocity: `attention`'s own forward with dense masks and without anything that depends on a value.

    x `[items, frames, channels]`, t `[items]`, states `[items, tokens, width]`, mask `[items, tokens]` True where there are words,
    context `[items, frames, 2 * channels]`; the number of frames is a multiple of the patch.
    """

    def __init__(self, dit: Any) -> None:
        super().__init__()
        self.dit = _followed(dit)

    def forward(self, x: Tensor, t: Tensor, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        dit: Any = self.dit
        shift_scale, temb = attention.time_states(dit, t, t)
        hidden = dit.proj_in_conv(torch.cat([context, x], dim=-1).transpose(1, 2)).transpose(1, 2)
        words, tokens = dit.condition_embedder(states), hidden.shape[1]
        positions = attention.rotary_tables(tokens, dit.head_dim, dit.rope_theta, hidden)
        window = dit.config.sliding_window
        near = None if window is None else attention.dense_mask(tokens, hidden, window, None)
        for kind, layer in zip(dit.layer_types, dit.layers, strict=True):
            hidden = layer(
                hidden_states=hidden, position_embeddings=positions, temb=shift_scale,
                attention_mask=near if kind == "sliding_attention" else None,
                encoder_hidden_states=words, encoder_attention_mask=mask[:, None, None, :],
            )  # fmt: skip
        shift, scale = (dit.scale_shift_table + temb.unsqueeze(1)).chunk(2, dim=1)
        hidden = dit.norm_out(hidden) * (1 + scale) + shift
        return dit.proj_out_conv(hidden.transpose(1, 2)).transpose(1, 2)


def _dit(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    g = checkpoint.geometry
    width = checkpoint.shape_of("dit", "condition_embedder.weight")[1]

    def example(items: int, frames: int, tokens: int) -> tuple[Tensor, ...]:
        draw, mask = _draws(frames), torch.ones(items, tokens, dtype=torch.bool)
        mask[0, tokens // 2 :] = False
        x, context = (
            draw(items, frames * g.patch, g.latent_channels),
            draw(items, frames * g.patch, 2 * g.latent_channels),
        )
        return x, torch.linspace(0.2, 0.9, items), draw(items, tokens, width), mask, context

    music, words = {0: "items", 1: "frames"}, {0: "items", 1: "tokens"}
    yield OnnxGraph(
        "dit", "dit", lambda: VelocityGraph(checkpoint.build("dit")),
        (Slot("x", music), Slot("t", {0: "items"}), Slot("states", words), Slot("mask", words), Slot("context", music)),
        (Slot("velocity", music),),
        lambda: (example(2, 20, 12), example(3, 37, 27)), multiples={"frames": g.patch},
    )  # fmt: skip


# --- sound --------------------------------------------------------------------------------------------------------------


class HalfGraph(nn.Module):
    """One half of the autoencoder, its weight norm worked out."""

    def __init__(self, vae: nn.Module, half: str) -> None:
        super().__init__()
        self.part = fuse_weight_norms(vae).get_submodule(half)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.part(x)
        return found


def _vae(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    g = checkpoint.geometry
    axes = {0: "items", 2: "frames"}
    yield OnnxGraph(
        "vae_decoder", "vae", lambda: HalfGraph(checkpoint.build("vae"), "decoder"),
        (Slot("latent", axes),), (Slot("sound", {0: "items", 2: "samples"}),),
        lambda: ((_draws(1)(2, g.latent_channels, 12),), (_draws(2)(3, g.latent_channels, 23),)), int8=False,
    )  # fmt: skip
    yield OnnxGraph(
        "vae_encoder", "vae", lambda: HalfGraph(checkpoint.build("vae"), "encoder"),
        (Slot("sound", {0: "items", 2: "samples"}),), (Slot("moments", axes),),
        lambda: ((0.3 * _draws(3)(2, g.channels, 12 * g.hop),), (0.3 * _draws(4)(3, g.channels, 23 * g.hop),)),
        multiples={"samples": g.hop}, int8=False,
    )  # fmt: skip


class ToCodes(nn.Module):
    """Latents in windows `[1, codes, window, channels]` → the code of each, `[1, codes, 1]`."""

    def __init__(self, codes: Any) -> None:
        super().__init__()
        self.tokenizer = _followed(codes.tokenizer)

    def forward(self, windows: Tensor) -> Tensor:
        indices: Tensor = self.tokenizer(windows)[1]
        return indices


class FromCodes(nn.Module):
    """Codes `[1, codes, 1]` → the latent they stand for, `[1, codes * window, channels]`."""

    def __init__(self, codes: Any) -> None:
        super().__init__()
        self.quantizer, self.detokenizer = codes.tokenizer.quantizer, _followed(codes.detokenizer)

    def forward(self, indices: Tensor) -> Tensor:
        latent: Tensor = self.detokenizer(self.quantizer.get_output_from_indices(indices))
        return latent


def _codes(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    g = checkpoint.geometry
    codes, frames = {1: "codes"}, {1: "frames"}

    def windows(count: int) -> Tensor:
        return _draws(count)(1, count, g.pool_window, g.latent_channels)

    yield OnnxGraph(
        "codes_encoder", "codes", lambda: ToCodes(checkpoint.build("codes")), (Slot("windows", codes),), (Slot("indices", codes),),
        lambda: ((windows(6),), (windows(15),)), int8=False,
    )  # fmt: skip
    yield OnnxGraph(
        "codes_decoder", "codes", lambda: FromCodes(checkpoint.build("codes")), (Slot("indices", codes),), (Slot("latent", frames),),
        lambda: ((_ids(g.code_count, 1, 6, 1),), (_ids(g.code_count, 1, 15, 1),)), int8=False,
    )  # fmt: skip


# --- the planner --------------------------------------------------------------------------------------------------------


class PlannerGraph(nn.Module):
    """Qwen3 with what it remembers as an argument: new tokens `[rows, tokens]`, how many each row remembers `[rows]`, and the keys
    and values of those `[layers, rows, heads, past, width]` → states `[rows, tokens, hidden]` and the new keys and values.

    Rows may be of different lengths: what lies beyond a row's own length is not looked at.
    """

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.body, self.config = lm.model, lm.config

    def forward(
        self, ids: Tensor, lengths: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        new, past = ids.shape[1], past_keys.shape[3]
        steps = torch.arange(new, device=ids.device)
        rotation = self._rotation(lengths[:, None] + steps)
        remembered = torch.arange(past, device=ids.device)[None, None] < lengths[:, None, None]  # [rows, 1, past]
        visible = torch.cat(
            [remembered.expand(-1, new, -1), (steps[None] <= steps[:, None])[None].expand(ids.shape[0], -1, -1)], dim=2
        )
        state, keys, values = self.body.embed_tokens(ids), [], []
        for index, block in enumerate(self.body.layers):
            heard, key, value = self._attended(
                block.self_attn, block.input_layernorm(state), rotation, past_keys[index], past_values[index], visible
            )
            state = state + heard
            state = state + block.mlp(block.post_attention_layernorm(state))
            keys.append(key)
            values.append(value)
        return self.body.norm(state), torch.stack(keys), torch.stack(values)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines `[rows, 1, tokens, width]`."""
        rotary = self.body.rotary_emb
        angles = positions[:, None, :, None].float() * rotary.inv_freq.float()
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling

    def _attended(
        self,
        layer: Any,
        state: Tensor,
        rotation: tuple[Tensor, Tensor],
        past_key: Tensor,
        past_value: Tensor,
        visible: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        width = self.config.head_dim
        query, key, value = (
            part(state).unflatten(-1, (-1, width)) for part in (layer.q_proj, layer.k_proj, layer.v_proj)
        )
        query = _rotated(layer.q_norm(query).transpose(1, 2), rotation)
        key, value = _rotated(layer.k_norm(key).transpose(1, 2), rotation), value.transpose(1, 2)
        keys, values = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        keys, values = (_repeated(one, query.shape[1] // one.shape[1]) for one in (keys, values))
        mixed = F.scaled_dot_product_attention(query, keys, values, visible[:, None])
        return layer.o_proj(mixed.transpose(1, 2).flatten(2)), key, value


def _rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * rotation[0] + torch.cat([-second, first], dim=-1) * rotation[1]


class HeadGraph(nn.Module):
    """States `[rows, hidden]` → logits of every token `[rows, tokens]`."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.head = lm.get_output_embeddings()

    def forward(self, states: Tensor) -> Tensor:
        logits: Tensor = self.head(states)
        return logits


def _lm(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    config: Any = checkpoint.config("lm")
    words, hidden, layers = int(config["vocab_size"]), int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_key_value_heads"])
    width = int(config.get("head_dim") or hidden // int(config["num_attention_heads"]))

    def example(rows: int, new: int, past: int) -> tuple[Tensor, ...]:
        draw, shape = _draws(past), (layers, rows, heads, past, width)
        return _ids(words, rows, new), torch.arange(past - rows + 1, past + 1), draw(*shape), draw(*shape)

    remembered = {1: "rows", 3: "past"}
    tokens, fresh = {0: "rows", 1: "tokens"}, {1: "rows", 3: "tokens"}
    yield OnnxGraph(
        "lm", "lm", lambda: PlannerGraph(checkpoint.build("lm")),
        (Slot("ids", tokens), Slot("lengths", {0: "rows"}), Slot("past_keys", remembered), Slot("past_values", remembered)),
        (Slot("states", tokens), Slot("keys", fresh), Slot("values", fresh)),
        lambda: (example(2, 5, 7), example(3, 1, 16)),
    )  # fmt: skip
    yield OnnxGraph(
        "lm_head", "lm", lambda: HeadGraph(checkpoint.build("lm")), (Slot("states", {0: "rows"}),), (Slot("logits", {0: "rows"}),),
        lambda: ((_draws(5)(2, hidden),), (_draws(6)(5, hidden),)),
    )  # fmt: skip


_GRAPHS: dict[str, Callable[[Checkpoint], Iterator[OnnxGraph]]] = {
    "text": _text, "condition": _condition, "dit": _dit, "vae": _vae, "codes": _codes, "lm": _lm,
}  # fmt: skip
