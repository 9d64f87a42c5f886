"""How the velocity with conditions and the velocity without them become one. Does not know models, prompts or schedules.

The interval is given on t itself: t = 1 is pure noise, t = 0 is music. (0.0, 1.0) guides always; (0.5, 1.0) guides
only the noisy first half of the way, (0.0, 0.5) only the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.errors import RecipeError

VelocityFn = Callable[[Tensor, float], Tensor]
Pair = Callable[[Tensor, float], tuple[Tensor, Tensor]]
Rule = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # (conditional, unconditional, x, t) -> one velocity


def guided(
    alone: VelocityFn,
    pair: Pair,
    name: str = "none",
    scale: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
    draws: bool = False,
) -> VelocityFn:
    """One velocity out of two. `alone` is the conditional one, `pair` gives (conditional, unconditional); outside the interval, or
    with scale 1, only `alone` is asked. Whatever a rule remembers lives as long as the returned function: make a new
    one for every run. draws: a time is asked once for each of several noises, whose mean is what a rule remembers.
    """
    if name not in RULES:
        raise RecipeError(f"There is no guidance {name!r}. There are: {', '.join(RULES)}.")
    low, high = interval
    if not 0.0 <= low <= high <= 1.0:
        raise RecipeError(f"guidance_interval={interval} is not possible: 0 <= start <= end <= 1, where 1 is noise.")
    if name == "none" or scale <= 1.0:
        return alone
    rule = apg(scale, draws=True) if draws and name == "apg" else RULES[name](scale)

    def velocity(x: Tensor, t: float) -> Tensor:
        if (
            not np.float32(low) <= np.float32(t) <= np.float32(high)
        ):  # a schedule's 0.8 is a float32, and inside (0.3, 0.8)
            return alone(x, t)
        conditional, plain = pair(x, t)
        return rule(conditional, plain, x, t)

    return velocity


def cfg(scale: float) -> Rule:
    """Classifier-free guidance (Ho & Salimans 2022): away from the plain velocity."""
    return lambda conditional, plain, x, t: plain + scale * (conditional - plain)


def apg(
    scale: float, momentum: float = -0.75, eta: float = 0.0, norm_threshold: float = 2.5, draws: bool = False
) -> Rule:
    """Adaptive projected guidance (Sadat et al. 2024) over time, with the constants of ACE-Step.

    The difference is averaged with its past, its norm per channel is held, and the part parallel to the conditional
    velocity is dropped: stronger guidance without louder or duller sound. A time asked more than once counts once in
    the average: the last answer (heun's corrector, then the next predictor), or with `draws` the mean of the answers
    (flow-edit's noises), each of which sees the average as it was before that time.
    """
    direction = apg_direction(momentum, eta, norm_threshold, draws)
    return lambda conditional, plain, x, t: conditional + (scale - 1.0) * direction(conditional, plain, t)


def apg_direction(
    momentum: float = -0.75,
    eta: float = 0.0,
    norm_threshold: float = 2.5,
    draws: bool = False,
    dims: tuple[int, ...] = (1,),
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """direction(conditional, plain, t): where adaptive projected guidance pushes, before its scale; `dims` are the axes of one
    channel's numbers, over which its norm is held.
    """
    past = _Past()

    def direction(conditional: Tensor, plain: Tensor, t: float) -> Tensor:
        difference = (conditional - plain) + momentum * past.before(t)
        past.add(difference, draws)
        length = difference.norm(p=2, dim=dims, keepdim=True)
        difference = difference * torch.minimum(torch.ones_like(length), norm_threshold / length)
        parallel, orthogonal = _split(difference, conditional, dims)
        return orthogonal + eta * parallel

    return direction


@dataclass
class _Past:
    """The running average of a guidance rule, advanced once per time."""

    t: float | None = None
    old: Tensor | float = 0.0  # as it was when this time was first asked
    new: Tensor | float = 0.0
    count: int = 0

    def before(self, t: float) -> Tensor | float:
        """The average as it was before this time."""
        if t != self.t:
            self.t, self.old, self.count = t, self.new, 0
        return self.old

    def add(self, average: Tensor, mean: bool) -> None:
        """One more answer at this time: it replaces the ones before, or is averaged with them."""
        self.count += 1
        self.new = self.new + (average - self.new) / self.count if mean and self.count > 1 else average


def _split(difference: Tensor, along: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Parts of the difference parallel and orthogonal to a velocity, worked out in double precision."""
    if difference.device.type == "mps":  # no doubles there
        parallel, orthogonal = _split(difference.cpu(), along.cpu(), dims)
        return parallel.to(difference.device), orthogonal.to(difference.device)
    wide, unit = difference.double(), along.double()
    unit = unit / unit.norm(dim=dims, keepdim=True).clamp_min(1e-12)
    parallel = (wide * unit).sum(dim=dims, keepdim=True) * unit
    return parallel.to(difference.dtype), (wide - parallel).to(difference.dtype)


def adg(scale: float, angle_clip: float = 3.14 / 6) -> Rule:
    """Angle-based dynamic guidance, ACE-Step's second rule: per frame, the estimated music is turned away from the
    plain estimate by at most `angle_clip` radians instead of being pushed.
    """
    weight = max(scale - 1.0, 0.0) + 1e-3

    def rule(conditional: Tensor, plain: Tensor, x: Tensor, t: float) -> Tensor:
        music, other = (x - t * conditional).float(), (x - t * plain).float()
        angle = _angle(music, other)
        turned = (weight * angle).clamp(-angle_clip, angle_clip)
        ratio = torch.where(
            torch.sin(angle) > 1e-3, torch.sin(turned) / torch.sin(angle), torch.full_like(angle, weight)
        )
        moved = torch.cos(turned) * music + ratio * _perpendicular(music - other, other)
        return ((x - moved) / t).to(conditional.dtype)

    return rule


def _angle(one: Tensor, other: Tensor) -> Tensor:
    """Angle between two latents in every frame, [items, frames, 1]."""
    cosine = (F.normalize(one, dim=-1) * F.normalize(other, dim=-1)).sum(dim=-1, keepdim=True)
    return torch.acos(cosine.clamp(-1.0, 1.0))


def _perpendicular(difference: Tensor, along: Tensor) -> Tensor:
    """Part of the difference that is perpendicular to `along` in every frame."""
    share = (difference * along).sum(-1, keepdim=True) / ((along * along).sum(-1, keepdim=True) + 1e-8)
    return difference - share * along


def cfg_zero(scale: float) -> Rule:
    """CFG-Zero* (Fan et al. 2025): the plain velocity is scaled to fit the conditional one; pure noise (t = 1) stands still."""

    def rule(conditional: Tensor, plain: Tensor, x: Tensor, t: float) -> Tensor:
        if t >= 1.0:
            return torch.zeros_like(conditional)
        dot = (conditional.float() * plain.float()).sum(dim=(1, 2), keepdim=True)
        fitted = plain * (dot / (plain.float().square().sum(dim=(1, 2), keepdim=True) + 1e-8)).to(plain.dtype)
        return fitted + scale * (conditional - fitted)

    return rule


RULES: dict[str, Callable[[float], Rule]] = {
    "none": cfg,
    "cfg": cfg,
    "apg": apg,
    "adg": adg,
    "cfg_zero": cfg_zero,
}
