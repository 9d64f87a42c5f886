"""Sampling one token from logits, with a seed of its own.

Knows no grammar and no model: logits of the allowed tokens in, an index out. The order is the reference's: (mask,) repetition
penalty → top-k → top-p → temperature. One uniform number is used up for each token that is sampled, so a seed means the same plan
whatever else is in the batch. On a card all rows are sampled at once (`drawn`) from the numbers the same generators have drawn
beforehand (`TokenSampler.uniforms`): a seed means the same tokens there as on a CPU, as far as the logits agree.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from acestep_lab.prompt.recipe import Planning

_FIRST_TOP_K = 1024
"""So many of the likeliest tokens usually hold the nucleus; sorting all of them is the exception."""


class Drawing(Protocol):
    """How tokens are drawn: a `Planning` says so, and so do other families' rules."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...


class TokenSampler:
    """One row's randomness: a generator on the CPU, and how a `Planning` wants tokens sampled."""

    def __init__(self, planning: Planning, seed: int) -> None:
        self.planning = planning
        self.generator = torch.Generator("cpu").manual_seed(seed)

    def sample(self, logits: Tensor, repeated: Tensor | None = None, greedy: bool = False) -> int:
        """An index into `logits`, float32 [allowed]; `repeated` marks the tokens that were written before, and `greedy`
        takes the likeliest whatever the planning says.
        """
        planning = self.planning
        if repeated is not None and planning.repetition_penalty != 1.0:
            logits = penalised(logits, repeated.to(logits.device), planning.repetition_penalty)
        if greedy or planning.temperature == 0.0:
            return int(logits.argmax())
        kept, indices = nucleus(logits, planning.top_k, planning.top_p)
        cumulative = (kept.cpu().double() / planning.temperature).softmax(dim=0).cumsum(dim=0)
        threshold = torch.rand((), generator=self.generator, dtype=torch.float64) * cumulative[-1]
        index = min(int(torch.searchsorted(cumulative, threshold, right=True)), len(cumulative) - 1)
        return index if indices is None else int(indices[index])

    def uniforms(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """The numbers of the next `count` tokens that are sampled, [count] on the CPU: those `sample` would use up."""
        drawn = torch.rand(count, generator=self.generator, dtype=torch.float64).to(dtype)
        return drawn.clamp(max=1 - torch.finfo(dtype).eps)  # times a sum of chances it stays below the sum


def drawn(logits: Tensor, uniforms: Tensor, planning: Drawing) -> Tensor:
    """What `TokenSampler.sample` samples, for all rows of `logits` [rows, allowed] with a number each [rows]: indices [rows].

    Every shape is known beforehand and no number goes to the host; what is not allowed has a logit of minus infinity.
    """
    if planning.temperature == 0.0:
        return logits.argmax(dim=-1)
    kept, indices = nuclei(logits, planning.top_k, planning.top_p)
    cumulative = (kept.to(uniforms.dtype) / planning.temperature).softmax(dim=-1).cumsum(dim=-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, thresholds, right=True).clamp_(
        max=kept.shape[1] - 1
    )  # of no numbers, the last
    return (index if indices is None else indices.gather(1, index))[:, 0]


def nuclei(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor | None]:
    """`nucleus` of all rows [rows, allowed] at once: what it leaves out is minus infinity here, and stays at its place."""
    cut = 0 < top_k < logits.shape[1]
    if top_p >= 1.0 and not cut:
        return logits, None
    best, indices = logits.topk(top_k) if cut else logits.sort(dim=-1, descending=True)
    if top_p < 1.0:
        over = best.softmax(dim=-1).cumsum(dim=-1) > top_p
        best[:, 1:].masked_fill_(over[:, :-1], float("-inf"))
    return best, indices


def penalised(logits: Tensor, repeated: Tensor, penalty: float) -> Tensor:
    """Logits with what was written before made less likely (Keskar et al. 2019)."""
    return torch.where(repeated, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def nucleus(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The logits top-k and top-p keep and their indices (None = all, in order); likeliest first (Holtzman et al. 2020).

    A token is kept when the ones before it do not yet hold more than `top_p` together.
    """
    size = len(logits)
    if 0 < top_k < size:
        logits, indices = logits.topk(top_k)
        return (logits, indices) if top_p >= 1.0 else _within(logits, indices, logits.softmax(dim=0), top_p)
    if top_p >= 1.0:
        return logits, None
    total = logits.logsumexp(dim=0)
    best, indices = logits.topk(min(_FIRST_TOP_K, size))
    probabilities = (best - total).exp()
    if probabilities.sum() <= top_p and size > _FIRST_TOP_K:
        best, indices = logits.sort(descending=True)
        probabilities = (best - total).exp()
    return _within(best, indices, probabilities, top_p)


def _within(logits: Tensor, indices: Tensor, probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    count = min(int((probabilities.cumsum(dim=0) <= top_p).sum()) + 1, len(logits))
    return logits[:count], indices[:count]
