"""What the DiT sees of a source: latents and a mask per frame. Does not know models, prompts or seconds: only frames.

Mask 1 means "make this", 0 means "keep this" (arXiv 2602.00744). Latents are [frames, channels]; spans are slices of
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acestep_lab.engines.ace15.conditioning import tiled
from acestep_lab.errors import SourceError

Spans = Sequence[slice]


@dataclass(frozen=True)
class Context:
    """One item's source as the DiT sees it."""

    source: Tensor  # [frames, channels]
    mask: Tensor  # [frames], 1 = make, 0 = keep

    @property
    def frames(self) -> int:
        return self.source.shape[0]

    @property
    def latents(self) -> Tensor:
        """Source and mask side by side, [frames, 2 * channels]."""
        return torch.cat([self.source, self.mask[:, None].expand_as(self.source)], dim=-1)


def stacked(contexts: Sequence[Context]) -> Tensor:
    """The contexts of a batch of equally long items, [items, frames, 2 * channels]."""
    return torch.stack([context.latents for context in contexts])


def blank(silence: Tensor, frames: int) -> Context:
    """Nothing to go by: text2music."""
    return whole(tiled(silence, frames))


def whole(source: Tensor) -> Context:
    """The source all along, everything to be made: cover, extract, complete."""
    return Context(source, source.new_ones(source.shape[0]))


def windowed(source: Tensor, spans: Spans) -> Context:
    """The source all along, to be made inside the spans: lego."""
    return Context(source, inside(source, spans))


def masked(source: Tensor, silence: Tensor, spans: Spans) -> Context:
    """The source with silence inside the spans, where it is to be made: repaint."""
    mask = inside(source, spans)
    return Context(torch.where(mask[:, None] > 0.5, tiled(silence, source.shape[0]).to(source), source), mask)


def inside(source: Tensor, spans: Spans) -> Tensor:
    """1 for frames within the spans, 0 elsewhere, [frames]."""
    mask = source.new_zeros(source.shape[0])
    for span in spans:
        mask[span] = 1.0
    return mask


def checked_source(source: Tensor, patch: int) -> Tensor:
    """A source latent that can be worked on: long enough for one token of the DiT, and all numbers."""
    if source.shape[0] < patch:
        raise SourceError(
            f"The source is only {source.shape[0]} latent frames long; the model needs at least {patch}. "
            "Hand it a longer sound."
        )
    if not torch.isfinite(source).all():
        raise SourceError("The source became NaN in the encoder; it probably holds NaN samples itself.")
    return source


# --- keeping what is outside (ACE-Step 1.5, repaint_mode) ------------------------------------------------------------


def injection(clean: Tensor, start: Tensor, mask: Tensor, steps: int) -> Callable[[int, float, Tensor], Tensor]:
    """For the first so many steps, set the frames outside the mask to the source noised by the run's own noise.

    clean, start: [items, frames, channels]; mask: [items, frames], 1 = make.
    """
    outside = mask[..., None] < 0.5

    def after(index: int, t: float, x: Tensor) -> Tensor:
        if index >= steps:
            return x
        return torch.where(outside, t * start + (1.0 - t) * clean, x)

    return after


def crossfaded(made: Tensor, clean: Tensor, mask: Tensor, frames: int) -> Tensor:
    """The made latent inside the mask, the clean one outside, fading over so many frames outside each border."""
    share = fade(mask, frames)[..., None]
    return torch.where(share == 0.0, clean, torch.where(share == 1.0, made, share * made + (1.0 - share) * clean))


def fade(mask: Tensor, frames: int) -> Tensor:
    """A mask of 0 and 1 with linear ramps of so many frames outside its borders, [items, frames].

    At distance d of the nearest made frame the share is 1 - d / (frames + 1).
    """
    share = mask.clone()
    for distance in range(1, frames + 1):
        near = torch.zeros_like(mask)
        near[..., distance:] = torch.maximum(near[..., distance:], mask[..., :-distance])
        near[..., :-distance] = torch.maximum(near[..., :-distance], mask[..., distance:])
        share = torch.maximum(share, near * (1.0 - distance / (frames + 1)))
    return share
