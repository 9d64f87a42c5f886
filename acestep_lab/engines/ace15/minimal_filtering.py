"""A long convolution in float32 with two and a half products per output instead of seven. Knows steps and taps, no VAE.

    quick = MinimalFilter.of(weight, bias, dilation=3)   # [out, in, taps], worked out once
    made = quick(steps, padding=9)                       # [steps, in] -> [steps, out], zeros beyond both ends

Four outputs of a filter of seven taps are coefficients of a product of polynomials, and ten values of that product say all of
it (Toom and Cook; Winograd, "Arithmetic Complexity of Computations", 1980): ten products of matrices instead of 28. What is
known of the filter is worked out in double precision. The sums before and after round as well: float32 comes out 3e-6 from the
truth, where plain convolutions are 2e-7 to 1e-6 from it. Half precision would lose too much, so it is for float32 alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUTS = {7: 4, 2: 3}
"""Outputs found together, by the number of taps. More would need fewer products each, and round worse."""
POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 0.75, -0.75)
"""Where polynomials are looked at (and at infinity, last): near to 1, so that powers stay small. The second is 1 itself."""
LEAST_CHANNELS = 128
"""In narrower layers the sums around the products cost what they save."""
ROWS = 256
"""Rows of a product worked on together, so that what lies between input and output stays in a core's cache."""


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
        values = torch.einsum("pk,oik->pio", filters, weight.detach().double())
        return cls(values.float().contiguous(), bias, before.float(), after.float(), dilation, weight.shape[2])

    @staticmethod
    def fits(weight: Tensor, taps: int, outputs: int, inputs: int) -> bool:
        """Whether it is worth it for a filter of so many taps and channels: wide, and in float32 on a CPU."""
        return weight.dtype == torch.float32 and taps in OUTPUTS and min(outputs, inputs) >= LEAST_CHANNELS

    def __call__(self, steps: Tensor, padding: int) -> Tensor:
        """[steps, in] -> [steps + 2 * padding - dilation * (taps - 1), out]."""
        context = self.dilation * (self.taps - 1)
        length, channels = len(steps) + 2 * padding - context, steps.shape[1]
        outputs, points = self.after.shape
        stride = outputs * self.dilation  # a dilated filter is as many filters side by side, their channels together
        count = -(-length // stride)
        padded = F.pad(steps, (0, 0, padding, padding + count * stride - length))
        together = self.dilation * channels
        heard = padded.as_strided((count, points, together), (stride * channels, together, 1))
        made = steps.new_empty(count * stride, self.values.shape[2])
        told = made.view(count, outputs, -1)
        some = max(1, ROWS // self.dilation)
        for tile in range(0, count, some):
            self._tiles(heard[tile : tile + some], told[tile : tile + some])
        return made[:length]

    def _tiles(self, heard: Tensor, told: Tensor) -> None:
        """Tiles [tiles, points, dilation * in] filtered into [tiles, outputs, dilation * out]."""
        points = len(self.before)
        side_by_side = heard.transpose(0, 1).reshape(
            points, -1
        )  # one wide product is much quicker than one for each tile
        values = self.before @ side_by_side
        products = torch.bmm(values.view(points, -1, self.values.shape[1]), self.values)
        if self.bias is not None:
            products[1] += self.bias  # the value at 1 goes into every output once
        made = self.after @ products.view(points, -1)
        told.copy_(made.view(-1, *told.shape[::2]).transpose(0, 1))
