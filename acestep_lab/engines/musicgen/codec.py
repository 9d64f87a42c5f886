"""Sound to codes and back by EnCodec, piece by piece. Knows no words and no decoder.

EnCodec's recurrent middle runs over the whole sound, at 50 frames a second; the convolutions on the sound's side, which need
nearly all of the memory, see ten seconds at a time and a little around them, so that what comes out is as if done at once and
whoever waits can stop in between. On a card the pieces are as long as its memory allows, and each comes home while the next is worked
out (`card_tiles.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.engines.card_tiles import CardTiles, brought_home
from acestep_lab.engines.tiles import tiles
from acestep_lab.errors import MachineError, Stopped
from acestep_lab.models.lanes import Lanes

TILE, HALO = 500, 8
"""Frames of a piece, always the same, so that a song comes out in the same bytes on every machine of a kind; and frames
around it, more than the convolutions reach (less than two at the published sizes)."""


class Codec:
    """An EnCodec model at work; `channels` 2: left and right are coded apart, and their codebooks take turns."""

    def __init__(
        self, model: Any, channels: int, device: torch.device | None = None, tile: int = TILE, halo: int = HALO,
        lanes: Lanes | None = None, sizes: CardTiles | None = None,
    ):  # fmt: skip
        self.lanes, self.sizes = lanes, sizes
        self.model, self.channels, self.tile, self.halo = model, channels, tile, halo
        self.hop: int = model.config.hop_length
        self.device = device or torch.device("cpu")

    @torch.inference_mode()
    def encode(self, samples: Tensor, stop: threading.Event | None = None) -> Tensor:
        """Codes `[frames, codebooks]` of samples `[channels, samples]` at the codec's rate."""
        frames = -(-samples.shape[1] // self.hop)
        outer, inner = halves(self.model.encoder.layers, outer_first=True)
        pieces = [
            self._piece(outer, samples[:, None], first, frames, self.hop, 1, stop)
            for first in range(0, frames, self.tile)
        ]
        states = _through(inner, torch.cat(pieces, dim=-1))  # [channels, width, frames]
        if not torch.isfinite(states).all():
            raise MachineError(
                "EnCodec heard values that are not numbers in this sound; its weights may be damaged. Fetch them again."
            )
        bandwidth = self.model.config.target_bandwidths[-1]
        codes = self.model.quantizer.encode(states, bandwidth)  # [codebooks of a channel, channels, frames]
        return codes.permute(2, 0, 1).reshape(frames, -1).cpu()

    @torch.inference_mode()
    def decode(
        self,
        codes: Tensor,
        stop: threading.Event | None = None,
        progress: Callable[[float], None] = lambda share: None,
        first: int = 0,
    ) -> Tensor:
        """Samples `[channels, samples]` of codes `[frames, codebooks]`; those of frames before `first` are left silent."""
        frames = len(codes)
        by_channel = codes.reshape(frames, -1, self.channels).permute(1, 2, 0).to(self.device)
        inner, outer = halves(self.model.decoder.layers, outer_first=False)
        states = _through(inner, self.model.quantizer.decode(by_channel))
        sound = torch.zeros(self.channels, frames * self.hop)
        if self.sizes is not None:
            done = self._begins(frames, first)
            pieces = brought_home(self._tiles(outer, states, done, stop), self.lanes)
        else:
            done = first // self.tile * self.tile
            pieces = (
                self._piece(outer, states, begin, frames, 1, self.hop, stop)[:, 0].cpu()
                for begin in range(done, frames, self.tile)
            )
        for piece in pieces:
            sound[:, done * self.hop : done * self.hop + piece.shape[-1]] = piece
            done += piece.shape[-1] // self.hop
            progress(done / frames)
        sound[:, : first * self.hop] = 0
        return sound

    def _begins(self, frames: int, first: int) -> int:
        """Where the first tile to be worked out on a card begins: with `first` in it, and as in the whole."""
        assert self.sizes is not None
        found = 0
        for tile in tiles(frames, self.sizes.frames(frames, self.halo), self.halo):
            if tile.start + tile.core.start > first:
                break
            found = tile.start + tile.core.start
        return found

    def _tiles(
        self, layers: list[nn.Module], states: Tensor, begin: int, stop: threading.Event | None
    ) -> Iterator[Tensor]:
        """On a card: sound `[channels, samples]` from a tile's beginning on, every tile of the same shape."""
        assert self.sizes is not None
        frames = states.shape[-1]
        for tile in tiles(frames, self.sizes.frames(frames, self.halo), self.halo):
            if tile.start + tile.core.start >= begin:
                _go_on(stop)
                made = _through(layers, states[..., tile.start : tile.end])
                yield made[:, 0, tile.core.start * self.hop : tile.core.stop * self.hop].float()

    def _piece(
        self,
        layers: list[nn.Module],
        whole: Tensor,
        begin: int,
        frames: int,
        per_in: int,
        per_out: int,
        stop: threading.Event | None,
    ) -> Tensor:
        """What layers make of the frames from `begin` on, `per_in` values of the input and `per_out` of the output a frame."""
        _go_on(stop)
        start, end = max(0, begin - self.halo), min(frames, begin + self.tile + self.halo)
        made = _through(layers, whole[..., start * per_in : end * per_in].to(self.device))
        last = min(frames, begin + self.tile)
        return made[..., (begin - start) * per_out : (last - start) * per_out]


def _go_on(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped("The run was stopped while EnCodec was at work.")


def halves(layers: nn.ModuleList, outer_first: bool) -> tuple[list[nn.Module], list[nn.Module]]:
    """The layers before and after the border between the recurrent middle and the convolutions on the sound's side."""
    found = list(layers)
    before = len(list(takewhile(lambda layer: not hasattr(layer, "lstm"), found)))
    border = before if outer_first else before + 1
    return found[:border], found[border:]


def _through(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
