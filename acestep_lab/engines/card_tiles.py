"""Tiles of a decoder on a card: as large as its memory allows, of few shapes, and brought home while the next is worked out.

Knows plans for memory, frames and lanes; no decoder. On a machine with one lane (a CPU) nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from acestep_lab.engines.tiles import tiles
from acestep_lab.models.lanes import PIECE, Lanes, at_work
from acestep_lab.models.memory_plan import MemoryPlan

SHAPES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Frames of a tile on a card: no others, so that what a library worked out for a shape (cuDNN's plans, a compiled kernel, a recorded
graph) is used again in a piece of any length."""
LAUNCH_FRAMES = 16
"""What a tile costs besides its frames, in frames: launching two hundred small kernels."""
KEPT_FREE = 0.1
"""Of what is free now: what an allocator loses to gaps."""


@dataclass(frozen=True)
class CardTiles:
    """Chooses tiles of no more than `most` frames."""

    most: int

    @classmethod
    def of(cls, plan: MemoryPlan, name: str, per_frame: float, usual: int, free: int) -> CardTiles:
        """For a decoder that takes so many bytes a frame: by the plan's own room, less where less is `free` now.

        The plan's room is the same each time a song is made on a machine, and so are the bytes of the song. `usual` is what the
        plan counts with; where memory has run out before, no more.
        """
        room = min(plan.room_bytes(name), (1 - KEPT_FREE) * free)
        most = max([shape for shape in SHAPES if shape * per_frame <= room], default=SHAPES[0])
        return cls(min(most, usual) if plan.tile_is_final else most)

    def frames(self, length: int, context: int) -> int:
        """The tile for a piece of so many frames: of all shapes the one with the least to do."""
        fitting = [shape for shape in SHAPES if 2 * context < shape <= min(self.most, length)]
        if not fitting:
            return min(length, max(self.most, 2 * context + 1))

        def work(shape: int) -> tuple[int, int]:
            count = sum(1 for _ in tiles(length, shape, context))
            return count * (shape + LAUNCH_FRAMES), -shape

        return min(fitting, key=work)


def brought_home(pieces: Iterable[Tensor], lanes: Lanes | None) -> Iterator[Tensor]:
    """Pieces of sound on the host, in order: while one is copied there, the card works on the next.

    Two pinned buffers take turns; what is handed out is nobody else's. One piece is waited for only when the next has been asked of the
    card, so that whoever listens is one piece behind and a stop is heard between two.
    """
    if lanes is None:
        yield from pieces
        return
    buffers = [_Buffer(lanes), _Buffer(lanes)]
    waiting: _Buffer | None = None
    for number, piece in enumerate(_noted(pieces, lanes)):
        buffer = buffers[number % 2]
        buffer.take(piece, f"sound {number + 1}")
        del piece
        if waiting is not None:
            yield waiting.give()
        waiting = buffer
    if waiting is not None:
        yield waiting.give()


def _noted(pieces: Iterable[Tensor], lanes: Lanes) -> Iterator[Tensor]:
    """The same pieces, each written down where somebody watches."""
    source = iter(pieces)
    number = 1
    while True:
        with at_work(lanes, PIECE, f"tile {number}"):
            piece = next(source, None)
        if piece is None:
            return
        yield piece
        number += 1


class _Buffer:
    """Pinned memory for one piece at a time."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self._room: Tensor | None = None
        self._piece: Tensor | None = None
        self._came: Any = None

    def take(self, piece: Tensor, what: str) -> None:
        """Let a piece set out; its memory on the card stays its own until it has come."""
        if self._room is None or self._room.numel() < piece.numel():
            self._room = self.lanes.pinned((piece.numel(),), piece.dtype)
        self._piece = self._room[: piece.numel()].view(piece.shape)
        self._came = self.lanes.copy(what, [(self._piece, piece)], after=[self.lanes.mark()])

    def give(self) -> Tensor:
        """The piece, once it has come."""
        assert self._piece is not None
        self.lanes.wait(self._came)
        return self._piece.clone()
