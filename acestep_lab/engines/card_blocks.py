"""What the blocks of transformers have in common on a card, whatever their attention is. Knows no family.

A block's six rows (shift, scale, gate of attention and of its network) depend on the time alone, so those of all blocks are made at
once; its network takes all tokens at once unless its inner states would be too large.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

INNER_BYTES = 256 * 2**20
"""Most that the inner states of a block's network take at once."""
INNER_WIDTHS = 12
"""Inner numbers of a token for each of its own: three tensors up to four times as wide."""


def tokens_at_once(x: Tensor) -> int:
    """How many tokens `[…, width]` a block's network takes at once."""
    return INNER_BYTES // (INNER_WIDTHS * x.shape[-1] * x.element_size())


def modulated(tables: Tensor, time: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Rows `[…, 6, width]` for `time` `[items, 6, width]`, their scales with 1 added, in the dtype of what they act on."""
    rows = tables + time
    rows = rows if dtype is None else rows.to(dtype)
    rows[..., 1::3, :] += 1.0  # a scale of nothing leaves things as they are
    return rows


def modulations(blocks: Iterable[Any], time: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor | None, ...]:
    """Each block's rows `[items, 6, width]`, made at once; None of each where a block's are not here yet (streamed)."""
    tables = [block.scale_shift_table.view(1, 6, -1) for block in blocks]
    if any(table.device != time.device for table in tables):
        return (None,) * len(tables)
    return modulated(torch.stack(tables), time, dtype).unbind(0)
