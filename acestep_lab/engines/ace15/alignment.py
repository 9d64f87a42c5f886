"""Which heads of an ACE-Step 1.5 transformer listen to the lyrics, and what they hear. Knows no path and no times of words.

The transformer runs to the last listed layer and no further; of the listed heads alone the scores are made, a slab of frames at a
time, so that what is held besides a step's own is one number for each lyric token and frame.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from acestep_lab.diffusion import sampler
from acestep_lab.engines.ace15 import attention, conditioning
from acestep_lab.engines.ace15.conditioning import LyricTokens
from acestep_lab.engines.ace15.render import FlowPrepared
from acestep_lab.engines.base import LyricAttention
from acestep_lab.errors import CheckpointError, RecipeError, Stopped, shown

Heads = Mapping[int, tuple[int, ...]]
"""Heads by the layer they are in, both counted from 0."""

KNOWN: Mapping[tuple[int, int], Heads] = {
    (24, 16): {2: (6,), 3: (10, 11), 4: (3,), 5: (8, 9), 6: (8,)},
    (32, 32): {3: (18, 27), 4: (22,), 5: (5, 6, 7), 6: (2, 12, 13), 7: (20, 21)},
}
"""The published maps by numbers of layers and heads: of 2B (turbo, sft and base alike), as in the reference, and of XL, as its config
has it. A config that names its own wins."""
CONFIG = "lyric_alignment_layers_config"
SLAB = 256
"""Frames whose scores are held at once."""


def head_map(config: Mapping[str, Any]) -> Heads | None:
    """The heads that listen to lyrics, by a transformer's config or its shape; None where nobody knows. CheckpointError for a map
    that does not fit the transformer.
    """
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    own = config.get(CONFIG)
    if own is None:
        return KNOWN.get((layers, heads)) if isinstance(layers, int) and isinstance(heads, int) else None
    return _checked(own, layers, heads)


def knows_heads(config: Mapping[str, Any]) -> bool:
    """Whether a config's heads are known; one with a map that does not fit renders as ever and says so once it is to align."""
    try:
        return head_map(config) is not None
    except CheckpointError:
        return config.get(CONFIG) is not None


def all_heads(config: Mapping[str, Any]) -> Heads:
    """Every head of every layer, by a transformer's config; CheckpointError where it does not say how many there are."""
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    if not isinstance(layers, int) or not isinstance(heads, int):
        raise CheckpointError("The config of this transformer does not say how many layers and heads it has.")
    return {layer: tuple(range(heads)) for layer in range(layers)}


def _checked(own: object, layers: object, heads: object) -> Heads:
    """A config's map, layer → heads, as numbers that are there."""
    wrong = CheckpointError(f"The config's {CONFIG} is a map from layers to lists of heads, not {shown(own)}.")
    if not isinstance(own, Mapping) or not own or not isinstance(layers, int) or not isinstance(heads, int):
        raise wrong
    found: dict[int, tuple[int, ...]] = {}
    for layer, several in own.items():
        if not str(layer).isdecimal() or not isinstance(several, list | tuple) or not several:
            raise wrong
        if not all(isinstance(head, int) and 0 <= head < heads for head in several) or int(str(layer)) >= layers:
            raise CheckpointError(
                f"The config's {CONFIG} names heads {shown(several)} of layer {shown(layer)}; this transformer has "
                f"{layers} layers of {heads} heads."
            )
        found[int(str(layer))] = tuple(several)
    return found


@dataclass
class HeadCollector:
    """What listed heads look at, summed up: shares of each frame's attention on the lyrics' tokens, `[tokens, frames]`."""

    heads: Heads
    rows: Tensor
    """Which states are tokens of the lyrics."""
    total: Tensor
    scale: float
    heard: list[tuple[int, int]] = field(default_factory=list)
    """(layer, head) for every score that was made."""

    def __call__(self, layer: int, query: Tensor, key: Tensor) -> None:
        """Hear a layer: query `[1, frames, heads, size]` and key `[1, states, key heads, size]`."""
        group = query.shape[2] // key.shape[2]
        for head in self.heads.get(layer, ()):
            self.heard.append((layer, head))
            keys = key[0, :, head // group].float().t()
            for start in range(0, query.shape[1], SLAB):
                asked = query[0, start : start + SLAB, head].float()
                share = ((asked @ keys) * self.scale).softmax(-1)
                self.total[:, start : start + len(asked)] += share[:, self.rows].t()


def lyric_attention(
    dit: Any, prepared: FlowPrepared, latent: Tensor, tokens: LyricTokens, heads: Heads,
    draws: Sequence[tuple[float, int]], patch: int, seconds_per_frame: float, stop: threading.Event | None = None,
    limit: int = conditioning.LYRIC_TOKENS,
) -> LyricAttention:  # fmt: skip
    """What a latent `[frames, channels]` attends to of the tokens of its lyrics, or of its caption, averaged over heads and over
    draws (time, seed of the noise); `limit` of them are read.
    """
    if not tokens.spans:
        raise RecipeError("There are no words here, so that nothing can be attended to.")
    x0, context = _fitted(prepared, latent)
    collector = _collector(dit, prepared, tokens, heads, -(-len(x0) // patch))
    for t, seed in draws:
        if stop is not None and stop.is_set():
            raise Stopped("Stopped before the words were found.")
        noise = sampler.noise(seed, *x0.shape)
        _hear(dit, t * noise + (1 - t) * x0, t, prepared, context, collector)
    share = collector.total.cpu() / (len(draws) * sum(map(len, heads.values())))
    rest = (1.0 - share.sum(dim=0)).clamp_min(1e-9)
    return LyricAttention(
        share.clamp_min_(1e-9).log_().numpy(), rest.log().numpy(), tokens.spans, seconds_per_frame, tokens.count,
        limit,
    )  # fmt: skip


def _fitted(prepared: FlowPrepared, latent: Tensor) -> tuple[Tensor, Tensor]:
    """The latent as the loop left it and the context, both as long as the shorter one; RecipeError where nothing is left."""
    request, context = prepared.request, prepared.spec.context.latents
    frames = min(len(latent), len(context))
    if not frames:
        raise RecipeError("This sound is too short to hear words in it.")
    x0 = (latent[:frames].float().cpu() - request.latent_shift) / (request.latent_rescale or 1.0)
    return x0, context[:frames]


def _collector(dit: Any, prepared: FlowPrepared, tokens: LyricTokens, heads: Heads, frames: int) -> HeadCollector:
    device = dit.scale_shift_table.device
    return HeadCollector(
        heads,
        torch.tensor(tokens.rows, device=device),
        torch.zeros(len(tokens.rows), frames, device=device),
        float(dit.layers[0].cross_attn.scaling),
    )


@torch.inference_mode()
def _hear(dit: Any, x: Tensor, t: float, prepared: FlowPrepared, context: Tensor, collector: HeadCollector) -> None:
    conditions = prepared.conditions[0]
    states = conditions.states[:, conditions.mask[0]]
    attention.overhear(dit, x[None], t, states, context[None], last=max(collector.heads), listen=collector)
