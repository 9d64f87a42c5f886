"""Drawing one token from logits, with a seed of its own.

Knows no grammar and no model: logits of the allowed tokens in, an index out. The order is the reference's: (mask,) repetition
penalty → top-k → top-p → temperature. One uniform number is used up for each token that is drawn, so a seed means the same song whatever
the neighbours do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acestep_lab.prompt.recipe import Planning

_FIRST_LOOK = 1024
"""So many of the likeliest tokens usually hold the nucleus; sorting all of them is the exception."""


class TokenSampler:
    """One row's chance: a generator on the CPU and the rules of `Planning`."""

    def __init__(self, planning: Planning, seed: int) -> None:
        self.rules = planning
        self.generator = torch.Generator("cpu").manual_seed(seed)

    def pick(self, logits: Tensor, repeated: Tensor | None = None, certain: bool = False) -> int:
        """An index into `logits`, float32 [allowed]; `repeated` marks the tokens that were heard before, and `certain`
        takes the likeliest whatever the rules.
        """
        rules = self.rules
        if repeated is not None and rules.repetition_penalty != 1.0:
            logits = penalised(logits, repeated.to(logits.device), rules.repetition_penalty)
        if certain or rules.temperature == 0.0:
            return int(logits.argmax())
        kept, places = nucleus(logits, rules.top_k, rules.top_p)
        heights = (kept.cpu().double() / rules.temperature).softmax(dim=0).cumsum(dim=0)
        chance = torch.rand((), generator=self.generator, dtype=torch.float64) * heights[-1]
        index = min(int(torch.searchsorted(heights, chance, right=True)), len(heights) - 1)
        return index if places is None else int(places[index])


def penalised(logits: Tensor, repeated: Tensor, penalty: float) -> Tensor:
    """Logits with what was heard before made less likely (Keskar et al. 2019)."""
    return torch.where(repeated, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def nucleus(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The logits top-k and top-p keep and their places (None = all, in order); likeliest first (Holtzman et al. 2020).

    A token is kept when the ones before it do not yet hold more than `top_p` together.
    """
    size = len(logits)
    if 0 < top_k < size:
        logits, places = logits.topk(top_k)
        return (logits, places) if top_p >= 1.0 else _within(logits, places, logits.softmax(dim=0), top_p)
    if top_p >= 1.0:
        return logits, None
    total = logits.logsumexp(dim=0)
    best, places = logits.topk(min(_FIRST_LOOK, size))
    shares = (best - total).exp()
    if shares.sum() <= top_p and size > _FIRST_LOOK:
        best, places = logits.sort(descending=True)
        shares = (best - total).exp()
    return _within(best, places, shares, top_p)


def _within(logits: Tensor, places: Tensor, shares: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    count = min(int((shares.cumsum(dim=0) <= top_p).sum()) + 1, len(logits))
    return logits[:count], places[:count]
