"""Which frames are written in which window, and which codebook is how late. Arithmetic; knows no model.

The order of codes is MusicGen's delay pattern (arXiv 2306.05284, §2.2): codebook k of a frame is written k steps after the
first, so that it can listen to it. In stereo, left and right of a codebook are written together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Frames that a decoder sees at once: it hears those from `begin` to `start` and writes those from there to `end`."""

    begin: int
    start: int
    end: int


def windows(frames: int, known: int, longest: int, stride: int) -> tuple[Window, ...]:
    """The windows that write frames `known` to `frames`, each at most `longest` frames and `longest - stride` of them heard.

    Where there is room in the first one, it hears more of what is known.
    """
    context = longest - stride
    begin = known - min(known, max(context, longest - (frames - known)))
    found = [Window(begin, known, min(frames, begin + longest))]
    while found[-1].end < frames:
        start = found[-1].end
        begin = start - context
        found.append(Window(begin, start, min(frames, begin + longest)))
    return tuple(found)


def delays(codebooks: int, channels: int) -> tuple[int, ...]:
    """By how many steps each codebook is late."""
    return tuple(k // channels for k in range(codebooks))


def delayed(known: Tensor, frames: int, late: Sequence[int], pad: int) -> tuple[Tensor, Tensor]:
    """The grid that is written from left to right, and which of it is open.

    `known` `[frames, codebooks]` are the codes of the first frames; the grid is `[codebooks, frames + latest + 1]`, its first
    column and the corners hold `pad`.
    """
    grid = torch.full((len(late), frames + max(late) + 1), pad, dtype=torch.long)
    is_open = torch.zeros_like(grid, dtype=torch.bool)
    for k, delay in enumerate(late):
        first = 1 + delay
        grid[k, first : first + len(known)] = known[:, k]
        is_open[k, first + len(known) : first + frames] = True
    return grid, is_open


def undelayed(grid: Tensor, frames: int, late: Sequence[int]) -> Tensor:
    """The codes of a grid: `[frames, codebooks]`."""
    return torch.stack([grid[k, 1 + delay : 1 + delay + frames] for k, delay in enumerate(late)], dim=1)
