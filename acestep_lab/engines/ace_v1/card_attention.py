"""The attentions of an ACE-Step v1 transformer on an accelerator: the CPU's numbers in fewer kernels.

A CPU wants slabs that stay in its caches and sums in place; a card wants few large operators. So here a song goes through whole,
queries and keys are turned together, the sum of a query's weights comes out of the same product as what it finds (values carry a
column of ones, as in the original). What ACE-Step 1.5 has too is in `engines.card_blocks`; of attention the two have nothing in common:
there softmax and turns of halves, here sums and turns of pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.engines.card_blocks import tokens_at_once

if TYPE_CHECKING:
    from acestep_lab.engines.ace_v1.linear_attention import LinearAttention, Turns


def signed(sin: Tensor) -> Tensor:
    """Sines of pairs with the first of each negative: what a head whose pairs are changed over is multiplied by."""
    return torch.stack((-sin[..., 0::2], sin[..., 1::2]), -1).flatten(-2)


def turned(heads: Tensor, by: Turns) -> Tensor:
    """As `linear_attention.turned`, in four kernels; float32."""
    assert by.signed is not None
    heads = heads.float()
    return torch.addcmul(heads * by.cos, heads.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), by.signed)


def attended(attn: LinearAttention, frames: Tensor, by: Turns, frame_mask: Tensor | None) -> Tensor:
    """Linear attention among frames `[batch, frames, dim]`, all of them at once."""
    query, key = attn.split(attn.to_q(frames)), attn.split(attn.to_k(frames))
    heads = query.shape[2]
    both = turned(torch.cat((query, key), 2), by).relu()
    if frame_mask is not None:
        both = both * frame_mask[..., None]
    value = F.pad(attn.split(attn.to_v(frames)).float(), (0, 1), value=1.0)
    sums = both[:, :, heads:].permute(0, 2, 3, 1) @ value.transpose(1, 2)  # [batch, heads, head, head + 1]
    found = both[:, :, :heads].transpose(1, 2) @ sums
    found = found[..., :-1] / (found[..., -1:] + attn.epsilon)
    said: Tensor = attn.to_out(found.transpose(1, 2).flatten(2).to(frames.dtype))
    return said


def parts(frames: Tensor) -> list[slice]:
    """A song's frames `[batch, frames, dim]` as one, or in as many slabs as the network's inner states need."""
    most = max(64, tokens_at_once(frames) // len(frames))
    length = frames.shape[1]
    return [slice(None)] if length <= most else [slice(start, start + most) for start in range(0, length, most)]
