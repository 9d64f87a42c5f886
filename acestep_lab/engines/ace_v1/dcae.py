"""ACE-Step v1's autoencoder DCAE worked tile by tile: stereo log-mel pictures ↔ latents, with the numbers of the whole.

The module is diffusers' `AutoencoderDC`. Its outer levels are convolutions, which hear a few frames; its innermost level is linear
attention, which hears the whole piece, but only through one small matrix a head: the sum of value·keyᵀ over all places. That sum is
taken tile by tile first, and then every tile is worked out as in the whole. Nothing is approximated; memory does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab._libraries import diffusers
from acestep_lab.engines.tiles import tiles
from acestep_lab.errors import CheckpointError

PUBLISHED: Mapping[str, Any] = {
    "in_channels": 2, "latent_channels": 8, "attention_head_dim": 32,
    "encoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (128, 256, 512, 1024), "decoder_block_out_channels": (128, 256, 512, 1024),
    "encoder_layers_per_block": (2, 2, 3, 3), "decoder_layers_per_block": (3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (5,), (5,)), "decoder_qkv_multiscales": ((), (), (5,), (5,)),
    "upsample_block_type": "interpolate", "downsample_block_type": "Conv",
    "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu", "scaling_factor": 0.41407,
}  # fmt: skip
"""The config of `music_dcae_f8c8`: 156,812,426 parameters."""

TINY: Mapping[str, Any] = {
    **PUBLISHED, "attention_head_dim": 4, "encoder_block_out_channels": (8, 8, 8, 16),
    "decoder_block_out_channels": (8, 8, 8, 16), "encoder_layers_per_block": (1, 1, 1, 2),
    "decoder_layers_per_block": (1, 1, 1, 2),
}  # fmt: skip
"""The same shape with few channels, under 300 kB in float32, for tests."""

Source = Callable[[int, int], Tensor]
"""What comes into the attention level at frames start to end: `[1, C, rows, end - start]`."""
Check = Callable[[], None]
"""Called before each piece of work; raises to stop it."""


def build(config: Mapping[str, Any] = PUBLISHED) -> Any:
    """An `AutoencoderDC` of a `music_dcae_f8c8/config.json`, with random weights or none (meta device)."""
    model = diffusers.AutoencoderDC
    return model.from_config({name: value for name, value in config.items() if name != "_name_or_path"})


class Attention:
    """A run of EfficientViT blocks: what each sums over the whole piece, and what it makes of a tile once that is known."""

    def __init__(self, blocks: Any):
        self.blocks: list[Any] = list(blocks)
        self._qkv = [
            max((scale.proj_in.kernel_size[1] // 2 for scale in b.attn.to_qkv_multiscale), default=0) for b in blocks
        ]
        self.reach = sum(self._qkv) + len(self.blocks)
        """Frames to either side that a tile hears beside the sums: a depthwise convolution more in each block."""

    def sums(self, source: Source, frames: int, tile: int, check: Check) -> list[Tensor]:
        """Of each block, the sum of [value; 1]·keyᵀ over a piece's frames: `[1, heads, head_dim + 1, head_dim]`."""
        found: list[Tensor] = []
        for _ in self.blocks:
            total: Tensor | None = None
            for part in tiles(frames, tile, self.reach):
                check()
                summed = self.summed(source(part.start, part.end), found, part.core)
                total = summed if total is None else total + summed
            assert total is not None
            found.append(total)
        return found

    def summed(self, x: Tensor, sums: list[Tensor], core: slice) -> Tensor:
        """What the block after those whose sums are known sums over a tile's core."""
        inside = self.run(x, sums)
        _, key, value = _qkv(self.blocks[len(sums)].attn, inside)
        return _summed(*(part.unflatten(-1, inside.shape[-2:])[..., core].flatten(-2) for part in (key, value)))

    def weighed(self, x: Tensor, index: int, core: Tensor) -> Tensor:
        """What a block that hears a tile sums over it, each frame counted as often as `core` `[frames]` says."""
        _, key, value = _qkv(self.blocks[index].attn, x)
        return _summed((key.unflatten(-1, (-1, x.shape[-1])) * core).flatten(-2), value)

    def run(self, x: Tensor, sums: list[Tensor]) -> Tensor:
        """A tile through as many blocks as there are sums; true but for `reach` frames beside an edge that is not the piece's."""
        for index, total in enumerate(sums):
            x = self.step(x, index, total)
        return x

    def step(self, x: Tensor, index: int, total: Tensor) -> Tensor:
        """A tile through one block."""
        block = self.blocks[index]
        made: Tensor = block.conv_out(_attended(block.attn, x, total))
        return made


def _summed(key: Tensor, value: Tensor) -> Tensor:
    return F.pad(value, (0, 0, 0, 1), value=1.0) @ key.transpose(-1, -2)


def _qkv(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys through a ReLU, and values, of all scales: each `[B, heads, head_dim, places]`, float32 at the least."""
    rows = x.movedim(1, -1)
    joined = torch.cat([attn.to_q(rows), attn.to_k(rows), attn.to_v(rows)], dim=-1).movedim(-1, 1)
    scales = torch.cat([joined, *(scale(joined) for scale in attn.to_qkv_multiscale)], dim=1)
    wide = scales.to(torch.promote_types(scales.dtype, torch.float32))
    query, key, value = wide.reshape(len(x), -1, 3 * attn.attention_head_dim, x.shape[-2] * x.shape[-1]).chunk(3, dim=2)
    return query.relu(), key.relu(), value


def _attended(attn: Any, x: Tensor, total: Tensor) -> Tensor:
    """The attention's output for a tile, given the sum over the piece, added to what came in."""
    query, _, _ = _qkv(attn, x)
    heard = total @ query
    heard = (heard[:, :, :-1] / (heard[:, :, -1:] + attn.eps)).to(x.dtype)
    out = attn.to_out(heard.reshape(len(x), -1, *x.shape[-2:]).movedim(1, -1))
    return attn.norm_out(out).movedim(-1, 1) + x


@dataclass(frozen=True)
class Span:
    """Latent frames that hear one another: the whole piece, or a window of it, and what attention sums over them."""

    start: int
    end: int
    sums: list[Tensor]


class DcaeDecoder:
    """Latents `[1, C, rows, T]` (scale and shift undone) to pictures `[1, 2, bands, 8 T]`, any part of a span alone."""

    def __init__(self, decoder: Any):
        self.decoder: Any = decoder
        _check_levels(decoder.up_blocks)
        self.attention = Attention(decoder.up_blocks[-1])
        self.factor = 2 ** (len(decoder.up_blocks) - 1)
        self.local_reach = _up_reach(decoder.up_blocks)
        self.reach = self.attention.reach + self.local_reach + 1

    def span(self, latent: Tensor, start: int, end: int, tile: int, check: Check) -> Span:
        """Frames start to end of a latent as one span: attention's sums over them."""
        source = self._source(latent[..., start:end])
        return Span(start, end, self.attention.sums(source, end - start, tile, check))

    def part(self, latent: Tensor, span: Span, start: int, end: int) -> Tensor:
        """The picture of frames start to end as they are within a span."""
        inside = latent[..., span.start : span.end]
        first, last, frames = start - span.start, end - span.start, span.end - span.start
        low, high = max(0, first - self.reach + 1), min(frames, last + self.reach - 1)
        x = self.attention.run(self._source(inside)(low, high), span.sums)
        near, far = max(0, first - self.local_reach), min(frames, last + self.local_reach)
        picture = self.up(x[..., near - low : far - low])
        return picture[..., (first - near) * self.factor : (last - near) * self.factor]

    def _source(self, latent: Tensor) -> Source:
        """What `into` makes of frames start to end."""

        def source(start: int, end: int) -> Tensor:
            low, high = max(0, start - 1), min(latent.shape[-1], end + 1)
            return self.into(latent[..., low:high])[..., start - low : end - low]

        return source

    def into(self, x: Tensor) -> Tensor:
        """The first convolution and the shortcut around it."""
        made: Tensor = self.decoder.conv_in(x)
        return made + x.repeat_interleave(self.decoder.in_shortcut_repeats, dim=1) if self.decoder.in_shortcut else made

    def up(self, x: Tensor) -> Tensor:
        """The levels that only convolve."""
        for level in reversed(self.decoder.up_blocks[:-1]):
            x = level(x)
        x = self.decoder.norm_out(x.movedim(1, -1)).movedim(-1, 1)
        picture: Tensor = self.decoder.conv_out(self.decoder.conv_act(x))
        return picture


class DcaeEncoder:
    """Pictures to latents `[1, C, rows, T]` (before scale and shift), tile by tile.

    What comes into the attention level is kept (16 rows of 1024 channels a frame at full size): making it is the costly part.
    """

    def __init__(self, encoder: Any):
        self.encoder: Any = encoder
        _check_levels(encoder.down_blocks)
        self.attention = Attention(encoder.down_blocks[-1])
        self.factor = 2 ** (len(encoder.down_blocks) - 1)
        self.local_reach = _down_reach(encoder.down_blocks, self.factor)

    def encode(self, picture: Source, frames: int, tile: int, check: Check) -> Tensor:
        """The latent of `frames` frames; `picture(start, end)` is asked for the picture of frames start to end."""
        inner: Tensor | None = None
        for part in tiles(frames, tile, self.local_reach):
            check()
            made, first = self.down(picture(part.start, part.end))[..., part.core], part.start + part.core.start
            inner = made.new_empty(*made.shape[:-1], frames) if inner is None else inner
            inner[..., first : first + made.shape[-1]] = made
        assert inner is not None
        kept = inner

        def source(start: int, end: int) -> Tensor:
            return kept[..., start:end]

        sums = self.attention.sums(source, frames, tile, check)
        return torch.cat(list(self._latents(source, sums, frames, tile, check)), dim=-1)

    def _latents(self, source: Source, sums: list[Tensor], frames: int, tile: int, check: Check) -> Iterator[Tensor]:
        for part in tiles(frames, tile, self.attention.reach + 1):
            check()
            yield self.out(self.attention.run(source(part.start, part.end), sums))[..., part.core]

    def down(self, x: Tensor) -> Tensor:
        """A picture up to the attention level."""
        x = self.encoder.conv_in(x)
        for level in self.encoder.down_blocks[:-1]:
            x = level(x)
        return x

    def out(self, x: Tensor) -> Tensor:
        """What attention made as a latent."""
        latent: Tensor = self.encoder.conv_out(x)
        if self.encoder.out_shortcut:
            latent = latent + x.unflatten(1, (-1, self.encoder.out_shortcut_average_group_size)).mean(dim=2)
        return latent


def _check_levels(levels: Any) -> None:
    """Attention stands in the innermost level and nowhere else."""
    for i, level in enumerate(levels):
        for block in level:
            if hasattr(block, "attn") is not (i == len(levels) - 1):
                raise CheckpointError(
                    "This DCAE has attention outside of its innermost level, or none within it: it is not of ACE-Step v1's kind."
                )


def _convolutions(module: nn.Module) -> int:
    """Convolutions over 3 × 3 places in a row."""
    return sum(isinstance(layer, nn.Conv2d) and layer.kernel_size[1] == 3 for layer in module.modules())


def _up_reach(levels: Any) -> int:
    """Latent frames to either side that the levels above the attention hear."""
    convolutions = [_convolutions(level) for level in levels[:-1]]  # outermost first
    convolutions[0] += 1
    return ceil(sum(number / 2 ** (len(convolutions) - i) for i, number in enumerate(convolutions)))


def _down_reach(levels: Any, factor: int) -> int:
    """Latent frames to either side that come into a frame of the attention level."""
    convolutions = [_convolutions(level) for level in levels[:-1]]
    convolutions[0] += 1
    return ceil(sum(number * 2**i for i, number in enumerate(convolutions)) / factor)
