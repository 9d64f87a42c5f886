"""Differential correction of every step in the wavelet domain (DCW; Yu et al. 2026, arXiv 2604.16044, eq. 20 and 21).

Does not know models, prompts or solvers: only where a step arrived, what it took the music for, and when it began. A
sampler arrives a little too noisy or too clean for the next time; moving it along its distance to the estimate repairs
that, the slow part (means of frame pairs) while there is noise, the quick part (half-differences) near the music.
Tensors are [items, frames, channels].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.errors import RecipeError, shown

Correct = Callable[[Tensor, Tensor, float], Tensor]
"""correct(x, estimate, t) -> x: where the step from t arrived, and the music it was steering for."""

Shares = Callable[[float, float, float], tuple[float, float]]

MODES: dict[str, Shares] = {
    "low": lambda low, high, t: (low * t, 0.0),
    "high": lambda low, high, t: (0.0, high * (1.0 - t)),
    "double": lambda low, high, t: (low * t, high * (1.0 - t)),
    "pix": lambda low, high, t: (low, low),  # frame by frame, the same at every time, as the reference has it
}
"""Mode -> how far (means, half-differences) move at time t, given the two strengths."""


def correction(mode: str, low: float, high: float) -> Correct | None:
    """What corrects a step in this mode; None for "off". RecipeError for a mode that does not exist."""
    if mode == "off":
        return None
    if mode not in MODES:
        raise RecipeError(f"There is no DCW mode {shown(mode)}. There are: off, {', '.join(MODES)}.")
    shares = MODES[mode]
    return lambda x, estimate, t: corrected(x, estimate, *shares(low, high, t))


def corrected(x: Tensor, estimate: Tensor, low: float, high: float) -> Tensor:
    """x moved away from the estimate: the mean of every frame pair by `low` of its distance, the half-difference by
    `high` of its own (one level of the Haar wavelet along the frames; a last frame without a partner is paired with 0).
    """
    frames = x.shape[1]
    distance = F.pad(x - estimate, (0, 0, 0, frames % 2)).unflatten(1, (-1, 2))  # [items, pairs, 2, channels]
    mean = low * 0.5 * (distance[:, :, :1] + distance[:, :, 1:])
    half = high * 0.5 * (distance[:, :, :1] - distance[:, :, 1:])
    return x + torch.cat([mean + half, mean - half], dim=2).flatten(1, 2)[:, :frames]
