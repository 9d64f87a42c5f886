"""A long convolution in float32 with two products per output instead of seven. Knows steps and taps, no VAE.

    quick = MinimalFilter.of(weight, bias, dilation=3)   # [out, in, taps], worked out once
    made = quick(steps, padding=9)                       # [steps, in] -> [steps, out], zeros beyond both ends

Six outputs of a filter of seven taps are coefficients of a product of polynomials, and twelve values of that product say all of
it (Toom and Cook; Winograd, "Arithmetic Complexity of Computations", 1980): twelve products of matrices instead of 42. What is
known of the filter is worked out in double precision. The sums before and after round as well: float32 comes out 5e-6 from the
truth, where plain convolutions are 2e-7 to 1e-6 from it. Half precision would lose too much, so it is for float32 alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUTS = {7: 6, 2: 3}
"""Outputs found together, by the number of taps. Eight of seven taps would need an eighth fewer products, and round 2.5 times worse."""
POINTS = (0.0, 1.0, -1.0, 0.7, -0.7, 1.5, -1.5, 0.35, -0.35, 3.0, -3.0)
"""Where polynomials are looked at (and at infinity, last): the second is 1 itself, the others were searched for the least rounding."""
LEAST_CHANNELS = 128
"""In narrower layers the sums around the products cost what they save."""
MOST_NUMBERS = 2**24
"""A larger weight is not kept once more: the full-size VAE's first upsampling, 42 million numbers for a sixtieth of the multiply-adds."""
IN_DOUBLE = 2**17
"""Numbers worked out in double precision at once: no filter is there twice, and they stay in a core's cache."""
ROWS = 192
"""Rows of a product worked on together, so that what lies between input and output stays in a core's cache; as many as there are
channels where those are more, so that a product is more than the reading of its weights."""


@cache
def transforms(taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """`before` [points, points], `filters` [points, taps] and `after` [outputs, points] in float64:
    `after @ ((filters @ taps) * (before @ steps))` are the outputs of a filter over `outputs + taps - 1` steps.
    """
    outputs = OUTPUTS[taps]
    count = outputs + taps - 1
    before = torch.linalg.inv(_powers(count, count)).t()
    size = before.abs().sum(1, keepdim=True)  # moved to the filters, so that sums stay as large as what goes in
    return before / size, _powers(count, taps) * size, _powers(count, outputs).t().contiguous()


def _powers(points: int, count: int) -> Tensor:
    """Powers 0 to count - 1 of each point, and what infinity sees of them: the highest alone."""
    finite = torch.tensor(POINTS[: points - 1], dtype=torch.float64)
    infinity = F.one_hot(torch.tensor([count - 1]), count).double()
    return torch.cat([torch.linalg.vander(finite, N=count), infinity])


@dataclass(frozen=True)
class MinimalFilter:
    """A filter of as many values as there are points, and how steps and outputs are turned over."""

    values: Tensor  # [points, in, out]
    bias: Tensor | None  # [out]
    before: Tensor  # [points, points]
    after: Tensor  # [outputs, points]
    dilation: int
    taps: int

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> MinimalFilter:
        """The same filter as `weight` [out, in, taps]."""
        before, filters, after = transforms(weight.shape[2])
        out, wide, taps = weight.shape
        values = weight.new_empty(len(filters), wide, out)
        few = max(1, IN_DOUBLE // (wide * len(filters)))
        for some, place in zip(weight.detach().split(few), values.split(few, dim=2), strict=True):
            place.copy_((some.double() @ filters.t()).permute(2, 1, 0))
        return cls(values, bias, before.float(), after.float(), dilation, taps)

    @staticmethod
    def fits(weight: Tensor, taps: int, outputs: int, inputs: int) -> bool:
        """Whether it is worth it for a filter of so many taps and channels: wide, in float32 on a CPU, and no burden to memory."""
        wide = min(outputs, inputs) >= LEAST_CHANNELS and weight.numel() <= MOST_NUMBERS
        return weight.dtype == torch.float32 and taps in OUTPUTS and wide

    def __call__(self, steps: Tensor, padding: int) -> Tensor:
        """[steps, in] -> [steps + 2 * padding - dilation * (taps - 1), out]."""
        padded = self.room(len(steps), padding, steps)
        padded[padding : padding + len(steps)] = steps
        length = len(steps) + 2 * padding - self.dilation * (self.taps - 1)
        made = steps.new_empty(length, self.values.shape[2])
        for place, some in self.pieces(padded, length):
            made[place] = some
        return made

    def room(self, steps: int, padding: int, like: Tensor) -> Tensor:
        """An empty input for so many steps, zero before and after them, [padding + steps + what fills the last tile, in]."""
        context = self.dilation * (self.taps - 1)
        stride = len(self.after) * self.dilation
        tiles = -(-(steps + 2 * padding - context) // stride)
        room = like.new_empty(context + tiles * stride, self.values.shape[1])
        room[:padding] = 0
        room[padding + steps :] = 0
        return room

    def pieces(self, padded: Tensor, length: int) -> Iterator[tuple[slice, Tensor]]:
        """The output's first `length` steps, piece by piece: where it lies, and [steps, out]; the next overwrites it."""
        outputs, points = self.after.shape
        stride = outputs * self.dilation  # a dilated filter is as many filters side by side, their channels together
        together = self.dilation * padded.shape[1]
        count = (len(padded) - self.dilation * (self.taps - 1)) // stride
        heard = padded.as_strided((count, points, together), (stride * padded.shape[1], together, 1))
        most = min(count, max(1, max(ROWS, padded.shape[1]) // self.dilation))
        rows, wide = most * self.dilation, self.values.shape[2]
        scratch = [
            padded.new_empty(size) for size in (2 * points * most * together, (points + 2 * outputs) * rows * wide)
        ]
        for tile in range(0, count, most):
            made = self._filtered(heard[tile : tile + most], *scratch)
            place = slice(tile * stride, min(tile * stride + len(made), length))
            yield place, made[: place.stop - place.start]

    def _filtered(self, heard: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Tiles [tiles, points, dilation * in] filtered into [tiles * outputs * dilation, out], in memory that is at hand."""
        (tiles, points, together), outputs, wide = heard.shape, len(self.after), self.values.shape[2]
        side_by_side, values = before[: 2 * points * tiles * together].view(2, points, -1)
        side_by_side.view(points, tiles, together).copy_(
            heard.transpose(0, 1)
        )  # one wide product is much quicker than many
        torch.mm(self.before, side_by_side, out=values)
        rows = tiles * self.dilation
        cut = [size * rows * wide for size in (points, outputs, outputs)]
        products, turned, made = after[: sum(cut)].split(cut)
        products = products.view(points, rows, wide)
        torch.bmm(values.view(points, rows, -1), self.values, out=products)
        if self.bias is not None:
            products[1] += self.bias  # the value at 1 goes into every output once
        torch.mm(self.after, products.view(points, -1), out=turned.view(outputs, -1))
        made.view(tiles, outputs, -1).copy_(turned.view(outputs, tiles, -1).transpose(0, 1))
        return made.view(-1, wide)
