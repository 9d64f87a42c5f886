"""Latent ↔ sound through an Oobleck VAE, in tiles that fit the memory. Does not know music, models or devices.

A tile carries exactly the context its core depends on, so tiles joined are the whole, to rounding. The context is
worked out from the kernels of the VAE at hand (`reach`); every tile but a short piece's only one has the same shape, so
that a prepared or compiled kernel is used again; memory does not grow with the length of the piece.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.engines.card_tiles import CardTiles, brought_home
from acestep_lab.engines.tiles import tiles
from acestep_lab.errors import CheckpointError, MachineError, SourceError, Stopped
from acestep_lab.models.lanes import Lanes

TILE_SECONDS = 5.0
"""Sound made by one tile unless told otherwise: small enough for any machine, long enough that overlap costs little."""


class Codec:
    """Turns latents into sound and sound into latents with a VAE that the device manager holds.

    `tile` is the length of a tile in latent frames (None: about five seconds). Latents are [frames, channels] and
    samples [channels, samples], float32; a leading batch dimension is kept. Results lie where the input lay.

    With the `lanes` of a card, pieces of sound come to the host while the next is worked out, and `sizes` chooses their tile.
    """

    def __init__(
        self, vae: nn.Module, tile: int | None = None, lanes: Lanes | None = None, sizes: CardTiles | None = None
    ):
        config: Any = vae.config
        self.vae: Any = vae
        self.rate: int = config.sampling_rate
        self.channels: int = config.audio_channels
        self.latent_channels: int = config.decoder_input_channels
        self.hop: int = math.prod(config.downsampling_ratios)
        odd = [ratio for ratio in config.downsampling_ratios if ratio % 2]
        if odd:
            raise CheckpointError(
                f"This VAE has the odd ratio {odd[0]}, where a transposed convolution loses a sample at every stage; "
                "only even ratios keep sound and latent in step."
            )
        self.reach_frames = reach(vae.get_submodule("decoder"))
        self.reach_sound = math.ceil(reach(vae.get_submodule("encoder")) / self.hop)  # frames
        self.lanes, self._sizes = lanes, sizes
        self.tile = tile or max(round(TILE_SECONDS * self.frames_per_second), 8 * self._most_reach)
        if self.tile <= 2 * self._most_reach:
            raise MachineError(
                f"A tile of {self.tile} frames has no core: {self._most_reach} frames on either side are context. "
                f"Give tiles of at least {2 * self._most_reach + 1} frames."
            )

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop

    @property
    def _most_reach(self) -> int:
        return max(self.reach_frames, self.reach_sound)

    # --- sound to latent -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, samples: Tensor, stop: threading.Event | None = None) -> Tensor:
        """The latent [frames, channels] of samples [channels, samples]: the posterior's mode, so always the same one.

        A tail shorter than a hop is kept: it is filled with silence to a whole frame.
        """
        sound, single = self._sound(samples)
        frames = math.ceil(sound.shape[-1] / self.hop)
        sound = nn.functional.pad(sound, (0, frames * self.hop - sound.shape[-1]))
        pieces = []
        for tile in tiles(frames, self.tile, self.reach_sound):
            _go_on(stop)
            part = sound[..., tile.start * self.hop : tile.end * self.hop]
            mean = self._encoder(part)[:, : self.latent_channels, tile.core]
            pieces.append(mean.to(sound.device, torch.float32))
        latent = torch.cat(pieces, dim=-1).transpose(1, 2)
        return latent[0] if single else latent

    def _sound(self, samples: Tensor) -> tuple[Tensor, bool]:
        """Samples as [items, channels, samples], and whether there was no dimension for items."""
        if not torch.is_tensor(samples):
            samples = torch.as_tensor(samples)
        single = samples.ndim == 2
        sound = samples[None] if single else samples
        if sound.ndim != 3 or not sound.is_floating_point():
            raise SourceError(
                f"Sound is a float tensor [channels, samples], here {self.channels} channels at {self.rate} Hz; this "
                f"one is {tuple(samples.shape)} of {str(samples.dtype).removeprefix('torch.')}."
            )
        if sound.shape[1] != self.channels:
            raise SourceError(
                f"This VAE hears {_counted(self.channels, 'channel')}, and the sound has {sound.shape[1]}: "
                f"use `audio.with_channels({self.channels})` first."
            )
        if sound.shape[-1] == 0 or sound.shape[0] == 0:
            raise SourceError("There is no sound to encode: it has no samples.")
        return sound, single

    def _encoder(self, sound: Tensor) -> Tensor:
        weight = self._weight
        return self.vae.encoder(sound.to(weight.device, weight.dtype))

    # --- latent to sound -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, latent: Tensor, stop: threading.Event | None = None) -> Tensor:
        """The samples [channels, samples] of a latent [frames, channels], as long as its frames say."""
        latents, single = self._latents(latent)
        items, frames, _ = latents.shape
        where = latents.device if self.lanes is None else "cpu"
        sound = torch.empty(items, self.channels, frames * self.hop, device=where)
        done = 0
        for piece in self._pieces(latents, stop):
            sound[..., done : done + piece.shape[-1]] = piece
            done += piece.shape[-1]
        return sound[0] if single else sound

    def stream(self, latent: Tensor, stop: threading.Event | None = None) -> Iterator[Tensor]:
        """Samples [channels, samples] piece by piece, the first one playable while the rest is decoded.

        Joined, the pieces are `decode(latent)`. Setting `stop` ends it with Stopped before the next tile is begun.
        """
        latents, single = self._latents(latent)
        pieces = self._pieces(latents, stop)
        return (piece[0] for piece in pieces) if single else pieces

    @torch.inference_mode()
    def window(self, latent: Tensor, start: int, end: int) -> Tensor:
        """The samples of frames start to end alone, exactly as they sound in the whole: what is under the playhead."""
        latents, single = self._latents(latent)
        frames = latents.shape[1]
        if not 0 <= start < end <= frames:
            raise SourceError(f"The window {start} to {end} does not lie in the latent's {frames} frames.")
        first, last = max(0, start - self.reach_frames), min(frames, end + self.reach_frames)
        pieces = list(self._pieces(latents[:, first:last], None))
        sound = torch.cat(pieces, dim=-1)[..., (start - first) * self.hop : (end - first) * self.hop]
        return sound[0] if single else sound

    def _latents(self, latent: Tensor) -> tuple[Tensor, bool]:
        """Latents as [items, frames, channels], and whether there was no dimension for items."""
        if not torch.is_tensor(latent):
            latent = torch.as_tensor(latent)
        single = latent.ndim == 2
        latents = latent[None] if single else latent
        if latents.ndim != 3 or latents.shape[-1] != self.latent_channels or 0 in latents.shape:
            raise SourceError(
                f"A latent of this VAE is [frames, {self.latent_channels}]; this one is {tuple(latent.shape)}."
            )
        return latents, single

    def _pieces(self, latents: Tensor, stop: threading.Event | None) -> Iterator[Tensor]:
        """Sound of latents [items, frames, channels], tile by tile, each [items, channels, samples]."""
        return brought_home(self._tiles(latents, stop), self.lanes)

    def _tiles(self, latents: Tensor, stop: threading.Event | None) -> Iterator[Tensor]:
        frames = latents.shape[1]
        size = self.tile if self._sizes is None else self._sizes.frames(frames, self.reach_frames)
        if self.lanes is not None:
            latents = latents.to(self._weight.device, self._weight.dtype)  # the one copy there
        for tile in tiles(frames, size, self.reach_frames):
            _go_on(stop)
            sound = self._decoder(latents[:, tile.start : tile.end].transpose(1, 2))
            core = slice(tile.core.start * self.hop, tile.core.stop * self.hop)
            yield sound[..., core].to(latents.device, torch.float32)

    @torch.inference_mode()
    def _decoder(self, latents: Tensor) -> Tensor:
        weight = self._weight
        return self.vae.decoder(latents.to(weight.device, weight.dtype))

    @property
    def _weight(self) -> Tensor:
        return next(self.vae.parameters())


def _go_on(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped("The codec was stopped between two tiles.")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


# --- reach -----------------------------------------------------------------------------------------------------------


def reach(half: nn.Module) -> int:
    """How far to either side one half of a VAE looks, in its own input's steps: frames (decoder) or samples (encoder).

    Exact: the span of inputs behind one hop of output, followed back through every convolution. Residual connections
    and pointwise layers add nothing.
    """
    whole = getattr(half, "skeleton", half)  # an exported half has its layers' shapes only
    layers = [m for m in whole.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    down = math.prod(m.stride[0] for m in layers if not isinstance(m, nn.ConvTranspose1d))
    up = math.prod(m.stride[0] for m in layers if isinstance(m, nn.ConvTranspose1d))
    first, last = 0, up - 1  # outputs behind one input step of a decoder; one output of an encoder
    for layer in reversed(layers):
        first, last = _inputs(layer, first, last)
    return max(-first, last - (down - 1), 0)


def _inputs(layer: nn.Conv1d | nn.ConvTranspose1d, first: int, last: int) -> tuple[int, int]:
    """The first and last input step behind output steps first to last of a convolution."""
    span = layer.dilation[0] * (layer.kernel_size[0] - 1)
    stride, padding = layer.stride[0], int(layer.padding[0])
    if isinstance(layer, nn.ConvTranspose1d):
        return -((span - padding - first) // stride), (last + padding) // stride
    return first * stride - padding, last * stride - padding + span
