"""A long piece cut into tiles that fit the memory, each with the context its core depends on. Knows frames only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Frames start to end are worked on; `core`, counted from start, is kept."""

    start: int
    end: int
    core: slice


def tiles(frames: int, tile: int, context: int) -> Iterator[Tile]:
    """Tiles whose cores cover every frame once, each with its context, all of one shape.

    The last tile ends where the piece ends (it reaches further back instead of being filled up), because the VAE hears
    an edge differently from silence; a piece no longer than a tile is its own tile.
    """
    tile = min(tile, frames)
    done = 0
    while done < frames:
        start = max(0, min(done - context, frames - tile))
        end = start + tile
        kept = frames if end == frames else end - context
        yield Tile(start, end, slice(done - start, kept - start))
        done = kept
