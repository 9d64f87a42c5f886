"""Which layers of which transformer an adapter's names stand for, however they are written. Knows no file and no tensor.

A name comes with dots or underscores, wrapped by whoever trained it, in the words of the published code or of diffusers. Each
family of models has its own names, so that a name alone says which family an adapter is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

WRAPPERS = frozenset({
    "base_model", "model", "module", "_orig_mod", "orig_mod", "base_layer", "diffusion_model", "transformer", "decoder",
    "dit", "unet", "lora", "lycoris", "net", "processor", "pipe",
})  # fmt: skip
"""Words around a layer's name that say who wrapped the model: PEFT, torch.compile, a data-parallel trainer, ComfyUI, kohya."""


@dataclass(frozen=True)
class Family:
    """A family of models whose linear layers have names of their own."""

    name: str
    """As an engine's capabilities have it."""
    title: str
    """As a sentence says it."""
    trunk: str
    """The module of its transformer that holds the blocks."""
    layers: str
    """Its linear layers, for a sentence."""
    pattern: re.Pattern[str]
    """Their names with "_" for every "."."""
    ours: Callable[[re.Match[str]], str]
    """The module's name out of a match."""


_DIFFUSERS = {
    "q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out.0", "to_out_0": "to_out.0", "to_out": "to_out.0",
}  # fmt: skip


def _of_ace15(match: re.Match[str]) -> str:
    """diffusers' name of a layer of ACE-Step 1.5."""
    if match["block"]:
        return f"layers.{int(match['index'])}.{match['block']}.{_DIFFUSERS.get(match['of'], match['of'])}"
    if match["mlp"]:
        return f"layers.{int(match['place'])}.mlp.{match['mlp']}"
    return f"{match['embed']}.{match['inner']}" if match["embed"] else match["plain"]


def _of_v1(match: re.Match[str]) -> str:
    """The published name of a layer of ACE-Step v1."""
    if match["block"]:
        return f"transformer_blocks.{int(match['index'])}.{match['block']}.{_DIFFUSERS.get(match['of'], match['of'])}"
    if match["wide"]:
        return f"transformer_blocks.{int(match['place'])}.ff.{match['wide']}.conv"
    if match["lyric"]:
        part = "self_attn" if match["lyric"].startswith("linear") else "feed_forward"
        return f"lyric_encoder.encoders.{int(match['at'])}.{part}.{match['lyric']}"
    return _V1_PLAIN[match["plain"]]


_V1_PLAIN = {
    name.replace(".", "_"): name
    for name in (
        "speaker_embedder", "genre_embedder", "lyric_proj", "lyric_encoder.embed.out.0", "timestep_embedder.linear_1",
        "timestep_embedder.linear_2", "t_block.1", "final_layer.linear",
    )
}  # fmt: skip

ACE15 = Family(
    "ace-step-1.5",
    "ACE-Step 1.5",
    "layers",
    "layers.N.self_attn and .cross_attn (q_proj, k_proj, v_proj, o_proj), .mlp, time_embed, condition_embedder",
    re.compile(
        r"layers_(?P<index>\d{1,4})_(?P<block>self_attn|cross_attn)_(?P<of>to_[qkv]|to_out_0|to_out|[qkvo]_proj)"
        r"|layers_(?P<place>\d{1,4})_mlp_(?P<mlp>gate_proj|up_proj|down_proj)"
        r"|(?P<embed>time_embed_r|time_embed)_(?P<inner>linear_1|linear_2|time_proj)"
        r"|(?P<plain>condition_embedder)"
    ),
    _of_ace15,
)
V1 = Family(
    "ace-step-v1",
    "ACE-Step v1",
    "transformer_blocks",
    "transformer_blocks.N.attn, .cross_attn and .ff, lyric_encoder.encoders.N, speaker_embedder and its like",
    re.compile(
        r"(?:transformer_)?blocks_(?P<index>\d{1,4})_(?P<block>attn|cross_attn)_(?P<of>to_[qkv]|to_out_0|to_out)"
        r"|(?:transformer_)?blocks_(?P<place>\d{1,4})_ff_(?P<wide>inverted_conv|point_conv)_conv"
        r"|lyric_encoder_encoders_(?P<at>\d{1,4})_(?:self_attn|feed_forward)_(?P<lyric>linear_(?:q|k|v|out|pos)|w_[12])"
        rf"|(?P<plain>{'|'.join(_V1_PLAIN)})"
    ),
    _of_v1,
)
FAMILIES = (ACE15, V1)


@dataclass(frozen=True)
class Named:
    """A layer that a name stands for."""

    family: Family
    layer: str
    """The module's own name."""

    @property
    def is_pointwise(self) -> bool:
        """Whether it is published as a convolution over single frames: a linear layer whose tables may have a side of 1 more."""
        return self.layer.endswith("_conv.conv")


def named(module: str) -> Named | None:
    """The layer of a name, however it is written; None if no family has a linear layer of that name."""
    flat = module.replace(".", "_").replace("__orig_mod_", "_")
    while (head := next((word for word in WRAPPERS if flat.startswith(f"{word}_")), None)) is not None:
        flat = flat[len(head) + 1 :]
    for family in FAMILIES:
        if match := family.pattern.fullmatch(flat):
            return Named(family, family.ours(match))
    return None


def bare(module: str) -> str:
    """A layer's name without what wraps it, dots kept as they are."""
    parts = [part for part in module.split(".") if part not in WRAPPERS]
    return ".".join(parts) or module


def family_of(module: object) -> Family | None:
    """Which family a transformer is of; None for a part of one."""
    return next((family for family in FAMILIES if hasattr(module, family.trunk)), None)
