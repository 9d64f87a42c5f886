"""Hidden states drawn towards what listeners hear (REPA): a projector for each encoder, and the loss between the two.

What block 8 gives (the middle one's where a model has fewer) goes through three linear layers with SiLU, is interpolated to
the features' length, and compared by 1 - cosine, mean over frames and encoders. The projectors are learnt with the adapter
and kept for going on; no adapter file holds them. Knows engines by their contract, and features as tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.engines.base import Hidden, ShowsHidden, Trains
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.train.repa import Features

BLOCK = 8
"""The block whose states are aligned, as ACE-Step's trainer has it."""
WIDER = 2
"""How much wider a projector's inner layers are than what it reads."""
PREFIX = "repa."
"""What the projectors' weights are called by among those that are learnt; an adapter's names never begin so."""


@dataclass(frozen=True)
class Alignment:
    """What a training is aligned with."""

    names: tuple[str, ...]
    """Of the encoders."""
    marks: tuple[str, ...]
    """What tells each encoder's features from others'."""
    widths: tuple[int, ...]
    lessons: Sequence[tuple[Features, ...]]
    """Of each lesson what each encoder heard in its song."""
    held_out: Sequence[tuple[Features, ...]] = ()


class Aligner(nn.Module):
    """The projectors, and where in the model they read."""

    def __init__(self, engine: Trains, block: int | None, widths: Sequence[int]) -> None:
        """RecipeError where the engine cannot be looked into, or has no such block."""
        super().__init__()
        if not isinstance(engine, ShowsHidden):
            raise RecipeError(
                "This checkpoint cannot be looked into between its blocks, as repa needs; train without it."
            )
        self._engine, self.frames_per_second = engine, engine.training_rule.frames_per_second
        blocks, width = engine.hidden_shape
        self.block = block_of(block, blocks)
        self.projectors = nn.ModuleList([projector(width, one) for one in widths])

    def watch(self, module: nn.Module) -> AbstractContextManager[Hidden]:
        """Keep what the block gives in the pass made inside."""
        return self._engine.hidden_after(module, self.block)

    def forward(self, hidden: Hidden, frames: int, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """1 - cosine `[items]` of items of `frames` latent frames; `features` holds for each item one `[frames, width]` of each encoder."""
        assert hidden.states is not None  # a pass was made
        states, tokens = hidden.states.float(), frames / hidden.frames_per_token
        apart = [self._apart(project(states), tokens, place, features) for place, project in enumerate(self.projectors)]
        return torch.stack(apart).mean(dim=0)

    @staticmethod
    def _apart(found: Tensor, tokens: float, place: int, features: Sequence[Sequence[Tensor]]) -> Tensor:
        """Of one encoder, for each item."""
        pairs = zip(found, (item[place] for item in features), strict=True)
        return torch.stack([distance(resampled(row, tokens, len(heard)), heard) for row, heard in pairs])


def block_of(asked: int | None, blocks: int) -> int:
    """The block to align, counted from 1; RecipeError beyond the model."""
    if asked is None:
        return BLOCK if blocks > BLOCK else max(1, blocks // 2)
    if asked > blocks:
        raise RecipeError(
            f"repa_block is {asked}, but this model has {blocks} blocks; the usual one is {block_of(None, blocks)}."
        )
    return asked


def projector(width: int, features: int) -> nn.Sequential:
    """Three linear layers with SiLU between them, from hidden states to features."""
    inner = WIDER * width
    return nn.Sequential(
        nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, inner), nn.SiLU(), nn.Linear(inner, features)
    )  # fmt: skip


def resampled(states: Tensor, tokens: float, count: int) -> Tensor:
    """`[all tokens, width]` at `count` even places of the first `tokens` of them, by linear interpolation.

    A last token that stands for padding is never beyond where it is asked. For whole tokens this is
    `interpolate(…, mode="linear", align_corners=False)`.
    """
    places = (torch.arange(count, device=states.device, dtype=torch.float64) + 0.5) * (tokens / count) - 0.5
    places = places.clamp(0.0, max(0.0, min(len(states) - 1.0, tokens - 0.5)))
    before = places.floor().long()
    after = (before + 1).clamp(max=len(states) - 1)
    share = (places - before).to(states.dtype)[:, None]
    return torch.lerp(states[before], states[after], share)


def distance(found: Tensor, heard: Tensor) -> Tensor:
    """1 - cosine, mean over frames, of two `[frames, width]`."""
    return 1.0 - functional.cosine_similarity(found, heard.to(found), dim=-1).mean()


def features_of(heard: Sequence[tuple[Features, ...]], widths: Sequence[int], seconds: float) -> list[list[Tensor]]:
    """For each lesson the features of its first seconds; SourceError for those of another encoder."""
    for one in heard:
        if tuple(each.values.shape[1] for each in one) != tuple(widths):
            raise SourceError(
                f"What was heard has widths {shown([each.values.shape[1] for each in one])}, not {list(widths)}."
            )
    return [[each.until(seconds) for each in one] for one in heard]
