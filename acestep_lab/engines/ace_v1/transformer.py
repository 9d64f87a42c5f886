"""The transformer of ACE-Step v1: conditions and a noisy latent to the latent's velocity. Knows no schedule, task or guidance.

    states, mask = model.encode(text_states, text_mask, speaker, lyric_ids, lyric_mask)    # once a run
    prepared = model.prepare_states(states, mask)                                          # once a run
    velocity = model.velocity(latent, t, prepared)                                         # at every step

Parameters have their published names and shapes. What differs from the original's way of computing:

- Keys and values of the conditions are made once a run and not at every step, and states that no item hears are left out.
- Tokens stay `[batch, frames, channels]` throughout: the gated convolution's two 1x1 halves are linear layers (which int8 and
  adapters take for such), and nothing is turned around for attention.
- `frame_mask` makes an item in a padded batch equal to the item alone: the original's norm and convolution hear the padding. The
  position of a condition counts the ones that are words, so padding in the middle does not move the lyrics.

ERG damps the outputs of named query layers: `damped_queries` (diffusion) and `damped_lyric_queries`; a forward hook on each
`get_submodule(name)` is enough, and none of them is called before `forward` or `encode`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from acestep_lab.engines.ace_v1 import layout
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.linear_attention import (
    CrossAttention,
    LinearAttention,
    Turns,
    is_recorded,
    on_card,
    slabs,
    turns,
)
from acestep_lab.engines.ace_v1.lyric_encoder import LyricEncoder
from acestep_lab.engines.card_blocks import modulations
from acestep_lab.models import assembly, products, weights

EPSILON = 1e-6
"""In every norm of the transformer."""
STEPS_OF_TIME = 1000
"""A time of 1 as the time embedding was trained to hear it."""


ROWS = 24
"""Frames that are gated together on a CPU: a few wide rows stay in the cache of its core from one operation to the next."""


class PreparedStates(NamedTuple):
    """Conditions as the blocks listen to them: for each block keys and values [batch, heads, states, head], and for all the bias
    [batch, 1, 1, states], None where every state counts.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor | None


def without_unheard(prepared: PreparedStates, mask: Tensor) -> PreparedStates:
    """The same without the states that no item hears, by their mask [batch, states]; no bias where all that stay count."""
    seen = (
        mask != 0
    ).cpu()  # asked on the host: a card would be waited for at each question, and at each of the layers
    heard = seen.any(0)
    whole, place = bool(seen[:, heard].all()), heard.nonzero()[:, 0].to(mask.device)
    bias = prepared.bias[..., place] if prepared.bias is not None and not whole else None
    if bool(heard.all()):
        return prepared._replace(bias=bias)
    keys, values = (tuple(one[:, :, place] for one in each) for each in (prepared.keys, prepared.values))
    return PreparedStates(keys, values, bias)


class Pointwise(nn.Module):
    """A 1x1 convolution: a linear layer in memory, the published `conv.weight` [out, in, 1] in a state dict."""

    def __init__(self, channels: int, out: int, bias: bool):
        super().__init__()
        self.conv = nn.Linear(channels, out, bias=bias)
        self.register_state_dict_post_hook(_as_convolution)
        self.register_load_state_dict_pre_hook(_as_linear)

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, channels] → [batch, frames, out]."""
        return self.conv(frames)


def _as_convolution(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    name = f"{prefix}conv.weight"
    if name in state and state[name].ndim == 2:
        state[name] = state[name].unsqueeze(-1)


def _as_linear(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    name = f"{prefix}conv.weight"
    if name in state and state[name].ndim == 3:
        state[name] = state[name].squeeze(-1)


class DepthConvolution(nn.Conv1d):
    """Each channel with its neighbours in time, for frames that lie channel beside channel."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, channels] → the same.

        Where a CPU only infers, three scaled sums, several times quicker than torch's convolution; else as an image of one row,
        which is in the memory layout that convolutions like best.
        """
        if frames.device.type == "cpu" and frames.dtype == torch.float32 and not is_recorded():
            before, here, after = self.weight[:, 0].t().contiguous()
            found = torch.addcmul(self._bias(), frames, here)
            found[:, 1:].addcmul_(frames[:, :-1], before)
            found[:, :-1].addcmul_(frames[:, 1:], after)
            return found
        image = frames.transpose(1, 2).unsqueeze(2)
        found = F.conv2d(image, self.weight.unsqueeze(2), self.bias, padding=(0, 1), groups=self.groups)
        return found.squeeze(2).transpose(1, 2)

    def _bias(self) -> Tensor:
        assert self.bias is not None
        return self.bias


class Depthwise(nn.Module):
    """The depthwise convolution under its published name `conv`."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = DepthConvolution(channels)

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, channels] → the same."""
        return self.conv(frames)


class GatedConvolution(nn.Module):
    """A block's network (GLUMBConv): widen, look at the neighbours, let one half gate the other, narrow."""

    def __init__(self, dim: int, inner: int):
        super().__init__()
        self.inverted_conv = Pointwise(dim, 2 * inner, bias=True)
        self.depth_conv = Depthwise(2 * inner)
        self.point_conv = Pointwise(inner, dim, bias=False)

    def forward(self, frames: Tensor, frame_mask: Tensor | None) -> Tensor:
        """[batch, frames, dim] → the same; frames that are not music are silent to their neighbours.

        A long song goes through in slabs with one frame of their neighbours on each side: the wide inner states (five times the
        song's) are never there for all of it, and come from memory that is at hand.
        """
        parts = slabs(frames)
        if len(parts) == 1:
            return self._whole(frames, frame_mask)
        return torch.cat([self._slab(frames, frame_mask, part) for part in parts], 1)

    def _slab(self, frames: Tensor, frame_mask: Tensor | None, part: slice) -> Tensor:
        first, last = max(part.start - 1, 0), part.stop + 1
        mask = None if frame_mask is None else frame_mask[:, first:last]
        return self._whole(frames[:, first:last], mask)[:, part.start - first :][:, : part.stop - part.start]

    def _whole(self, frames: Tensor, frame_mask: Tensor | None) -> Tensor:
        wide = self.inverted_conv(frames)
        if is_recorded() or frames.device.type != "cpu":
            return self.point_conv(self._gated(wide, frame_mask))
        length = wide.shape[1]
        kept = wide.new_empty((*wide.shape[:2], wide.shape[2] // 2))
        for start in range(0, length, ROWS):
            first, last = max(start - 1, 0), start + ROWS + 1
            mask = None if frame_mask is None else frame_mask[:, first:last]
            kept[:, start : start + ROWS] = self._gated(wide[:, first:last], mask)[:, start - first :][:, :ROWS]
        return self.point_conv(kept)

    def _gated(self, wide: Tensor, frame_mask: Tensor | None) -> Tensor:
        wide = F.silu(wide)
        if frame_mask is not None:
            wide = wide * frame_mask
        kept, gate = self.depth_conv(wide).chunk(2, -1)
        return kept * F.silu(gate)


class Block(nn.Module):
    """Linear attention and network, both scaled and gated by the time; between them attention to the conditions, which is not."""

    def __init__(self, config: V1Config):
        super().__init__()
        self.attn = LinearAttention(config.num_attention_heads, config.attention_head_dim)
        self.cross_attn = CrossAttention(config.num_attention_heads, config.attention_head_dim)
        self.ff = GatedConvolution(config.dim, config.feed_forward)
        self.scale_shift_table = nn.Parameter(torch.randn(6, config.dim) / config.dim**0.5)

    def forward(
        self, frames: Tensor, time: Tensor, by: Turns, key: Tensor, value: Tensor, bias: Tensor | None,
        frame_mask: Tensor | None, rows: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """[batch, frames, dim] → the same; `time` [batch, 6, dim] is what every block's own table is added to, `rows` what became of
        it where that was done for all blocks at once.
        """
        if rows is None:
            shift, scale, gate, shift_ff, scale_ff, gate_ff = (self.scale_shift_table + time).chunk(6, 1)
            scale, scale_ff = 1 + scale, 1 + scale_ff
        else:
            shift, scale, gate, shift_ff, scale_ff, gate_ff = rows.chunk(6, 1)
        frames = torch.addcmul(frames, gate, self.attn(modulated(frames, shift, scale), by, frame_mask))
        frames = frames + self.cross_attn(frames, by, key, value, bias)
        return torch.addcmul(frames, gate_ff, self.ff(modulated(frames, shift_ff, scale_ff), frame_mask))


def modulated(frames: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """[batch, frames, dim] brought to length one, scaled and shifted; the last two [batch, 1, dim], the scale with its 1."""
    return torch.addcmul(shift, F.rms_norm(frames, frames.shape[-1:], eps=EPSILON), scale)


class PatchConvolution(nn.Conv2d):
    """A convolution whose patch is one frame with all its rows: one product for each frame."""

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, channels * rows] → [batch, frames, out]."""
        return products.linear(frames, self.weight.flatten(1), self.bias)


class FrameNorm(nn.GroupNorm):
    """Group norm over all frames of a song, those that are not music left out; float32 inside."""

    def forward(self, frames: Tensor, frame_mask: Tensor | None = None) -> Tensor:
        """[batch, frames, channels] → the same."""
        grouped = frames.float().unflatten(-1, (self.num_groups, -1))
        if frame_mask is None:
            variance, mean = torch.var_mean(grouped, (1, 3), correction=0, keepdim=True)
        else:
            here = frame_mask[..., None].float()
            count = here.sum(1, keepdim=True) * grouped.shape[-1]
            mean = (grouped * here).sum((1, 3), keepdim=True) / count
            variance = ((grouped - mean).square() * here).sum((1, 3), keepdim=True) / count
        scale = torch.rsqrt(variance + self.eps) * self.weight.float().unflatten(0, (self.num_groups, -1))
        shift = self.bias.float().unflatten(0, (self.num_groups, -1)) - mean * scale
        return torch.addcmul(shift, grouped, scale).flatten(2).to(frames.dtype)


class PatchEmbed(nn.Module):
    """A latent to tokens, one for each frame."""

    def __init__(self, config: V1Config):
        super().__init__()
        patch = (config.max_height, 1)
        self.early_conv_layers = nn.ModuleList(
            (
                PatchConvolution(config.in_channels, config.patch_channels, patch, patch),
                FrameNorm(config.patch_groups, config.patch_channels, eps=EPSILON),
                PatchConvolution(config.patch_channels, config.dim, 1),
            )
        )

    def forward(self, latent: Tensor, frame_mask: Tensor | None) -> Tensor:
        """[batch, channels, rows, frames] → [batch, frames, dim]."""
        widen, norm, narrow = self.early_conv_layers
        return narrow(norm(widen(latent.flatten(1, 2).transpose(1, 2)), frame_mask))


class FinalLayer(nn.Module):
    """Tokens back to a latent; here the numbers of a token are row before channel, unlike everywhere else."""

    def __init__(self, config: V1Config):
        super().__init__()
        self.channels = config.out_channels
        self.linear = nn.Linear(config.dim, config.max_height * config.out_channels)
        self.scale_shift_table = nn.Parameter(torch.randn(2, config.dim) / config.dim**0.5)

    def forward(self, frames: Tensor, time: Tensor) -> Tensor:
        """[batch, frames, dim] and the embedded time [batch, dim] → [batch, channels, rows, frames]."""
        shift, scale = (self.scale_shift_table + time[:, None]).chunk(2, 1)
        return self.linear(modulated(frames, shift, 1 + scale)).unflatten(-1, (-1, self.channels)).permute(0, 3, 2, 1)


class TimeEmbedding(nn.Module):
    """Waves of the time, through two layers."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.channels = channels
        self.linear_1, self.linear_2 = nn.Linear(channels, dim), nn.Linear(dim, dim)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Times [batch] between 0 and 1 → [batch, dim]; the waves are float32, whatever the weights are."""
        half = self.channels // 2
        places = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = (t.float() * STEPS_OF_TIME)[:, None] * torch.exp(places * -(math.log(10_000.0) / half))
        waves = torch.cat((angles.cos(), angles.sin()), -1).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class AceStepV1Transformer(nn.Module):
    """ACE-Step v1's DiT with its condition encoder, at the sizes of a config; `projectors` adds REPA's, for training."""

    def __init__(self, config: V1Config, projectors: bool = False):
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        dim = config.dim
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.timestep_embedder = TimeEmbedding(config.timestep_channels, dim)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.speaker_embedder = nn.Linear(config.speaker_embedding_dim, dim)
        self.genre_embedder = nn.Linear(config.text_embedding_dim, dim)
        self.lyric_embs = nn.Embedding(config.lyric_encoder_vocab_size, config.lyric_hidden_size)
        self.lyric_encoder = LyricEncoder(config)
        self.lyric_proj = nn.Linear(config.lyric_hidden_size, dim)
        self.proj_in = PatchEmbed(config)
        self.final_layer = FinalLayer(config)
        if projectors:
            self.projectors = nn.ModuleList(projector(dim, width) for width in config.ssl_latent_dims)
        self._listeners: dict[int, list[list[Tensor]]] = {}

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype | None = None, projectors: bool = False) -> AceStepV1Transformer:
        """From a folder with config.json and safetensors, strictly, ready for inference; `dtype` None is float32.

        CheckpointError in a sentence where something is missing, over, misshapen or a pickle.
        """
        config = V1Config.from_config(weights.read_config(folder / "config.json"))
        entries = layout.without_unused(weights.stored_tensors(folder), config, projectors)
        made = assembly.assemble(lambda: cls(config, projectors), entries, folder, dtype)
        assert isinstance(made, cls)
        return made

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take these tensors by their published names, strictly; what a transformer never calls is dropped.

        CheckpointError where one is missing, over or of another shape.
        """
        kept = layout.without_unused(state, self.config, hasattr(self, "projectors"))
        layout.check(kept, {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()})
        self.load_state_dict(kept)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are in; everything computes in it but for the float32 islands."""
        return self.final_layer.scale_shift_table.dtype

    @property
    def damped_queries(self) -> tuple[str, ...]:
        """Names of the layers whose output ERG damps while a velocity is worked out."""
        return damped_queries(self.config)

    @property
    def damped_lyric_queries(self) -> tuple[str, ...]:
        """Names of the layers whose output ERG damps while the lyrics are encoded."""
        return tuple(f"lyric_encoder.encoders.{i}.self_attn.linear_q" for i in range(*self.config.damped_lyric_layers))

    def enable_gradient_checkpointing(self) -> None:
        """From here on a block keeps only its input for the backward pass and is worked out again there."""
        self.gradient_checkpointing = self.lyric_encoder.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        """Blocks keep everything again."""
        self.gradient_checkpointing = self.lyric_encoder.gradient_checkpointing = False

    def encode(
        self, text_states: Tensor, text_mask: Tensor, speaker: Tensor, lyric_ids: Tensor, lyric_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Everything the song is conditioned on as one row of states: speaker, then text, then lyrics.

        text_states [batch, tokens, 768], speaker [batch, 512], lyric_ids [batch, lyric tokens], masks with 0 for padding →
        states [batch, 1 + tokens + lyric tokens, dim] and their mask, true for what counts. No lyrics are one masked token 0.
        """
        voice = self.speaker_embedder(speaker.to(self.dtype))[:, None]
        words = self.genre_embedder(text_states.to(self.dtype))
        lyrics = self.lyric_proj(self.lyric_encoder(self.lyric_embs(lyric_ids), lyric_mask))
        always = torch.ones_like(text_mask[:, :1], dtype=torch.bool)
        return torch.cat((voice, words, lyrics), 1), torch.cat((always, text_mask != 0, lyric_mask != 0), 1)

    def prepare_states(self, states: Tensor, mask: Tensor | None = None) -> PreparedStates:
        """Keys and values of the states [batch, states, dim] for every step of a run; states that no item hears are left out.

        They are of the weights and adapters as they are now: prepare again after a change.
        """
        prepared = self.states_prepared(states, mask)
        return prepared if mask is None else without_unheard(prepared, mask)

    def velocity(
        self, latent: Tensor, t: Tensor, states: Tensor | PreparedStates, mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Noise minus song at these times: latent [batch, channels, rows, frames], t [batch] from 1 (noise) to 0 (song).

        `states` [batch, states, dim] with their `mask`, or prepared; `frame_mask` [batch, frames] has 0 for padding, None: all
        is music. Comes out in the shape and dtype of the latent.
        """
        return self(latent, t, states, mask, frame_mask)

    def forward(
        self, latent: Tensor, t: Tensor, states: Tensor | PreparedStates, mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """See `velocity`, latent [batch, channels, rows, frames]."""
        prepared = states if isinstance(states, PreparedStates) else self.states_prepared(states, mask)
        here = None if frame_mask is None else frame_mask[..., None].to(self.dtype)
        embedded = self.timestep_embedder(t, self.dtype)
        time = self.t_block(embedded).unflatten(-1, (6, -1))
        frames = self.proj_in(latent.to(self.dtype), here)
        by = self._turns(torch.arange(latent.shape[-1], device=latent.device)[None])
        rows = modulations(self.transformer_blocks, time) if on_card(frames) else (None,) * self.config.num_layers
        for index, block in enumerate(self.transformer_blocks):
            heard = (prepared.keys[index], prepared.values[index], prepared.bias)
            frames = self._through(block, frames, time, by, *heard, here, rows[index])
            for listener in self._listeners.get(index, ()):
                listener.append(frames)
        return self.final_layer(frames, embedded).to(latent.dtype)

    @contextmanager
    def hidden_after(self, block: int) -> Iterator[list[Tensor]]:
        """The hidden states [batch, frames, dim] after a block, counted from 0, of every forward inside the `with`.

        They carry gradients, with checkpointing too, and nothing stays behind.
        """
        heard: list[Tensor] = []
        listeners = self._listeners.setdefault(range(self.config.num_layers)[block], [])
        listeners.append(heard)
        try:
            yield heard
        finally:
            listeners[:] = [one for one in listeners if one is not heard]

    def states_prepared(self, states: Tensor, mask: Tensor | None) -> PreparedStates:
        """Keys and values with nothing left out; its shapes follow from those of the states alone."""
        states = states.to(self.dtype)
        heard = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if mask is None else mask != 0
        by = self._turns((heard.long().cumsum(1) - 1).clamp(min=0))
        pairs = [cast(Block, block).cross_attn.prepare(states, by) for block in self.transformer_blocks]
        bias = None if mask is None else torch.zeros_like(heard, dtype=self.dtype).masked_fill(~heard, -torch.inf)
        keys, values = zip(*pairs, strict=True)
        return PreparedStates(keys, values, None if bias is None else bias[:, None, None])

    def _turns(self, positions: Tensor) -> Turns:
        return turns(positions, self.config.attention_head_dim, self.config.rope_theta)

    def _through(self, block: nn.Module, *given: Any) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *given, use_reentrant=False)
        return block(*given)


def projector(dim: int, width: int) -> nn.Sequential:
    """REPA's way from a hidden state [batch, frames, dim] to a listening model's width: three layers with SiLU between them."""
    return nn.Sequential(
        nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, width)
    )


def damped_queries(config: V1Config) -> tuple[str, ...]:
    """Names of the query layers ERG damps in a transformer of this size: own and cross attention of a few late blocks."""
    blocks = range(*config.damped_blocks)
    return tuple(f"transformer_blocks.{i}.{attention}.to_q" for i in blocks for attention in ("attn", "cross_attn"))
