"""How ACE-Step v1's velocities become one: which rule, how strongly at which step, and what each branch hears.

Knows no model: it asks `velocity(x [items, 8, 16, frames], t [items], condition)`. Unlike on ACE-Step 1.5, guidance acts on a share of
the steps and its scale may fall over them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from acestep_lab.diffusion.guidance import apg_direction
from acestep_lab.diffusion.sampler import NoiseFn, Solver, SolverStep, VelocityFn
from acestep_lab.engines.ace_v1.schedules import Walk, guided_steps
from acestep_lab.prompt.sampling import FlowSamplingV1

Velocity = Callable[[Tensor, Tensor, Any], Tensor]
"""velocity(x `[items, 8, 16, frames]`, t `[items]`, condition) -> v, in the shape of x."""
Check = Callable[[], None]
CHANNEL = (-1, -2)
"""The axes of one channel's numbers: rows and frames."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One way of hearing a group of songs."""

    condition: Any
    """What the velocity is handed."""
    quietly: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Around every look of this branch: `partial(erg.dampened, transformer, names)` for ERG, else nothing."""


@dataclass(frozen=True, eq=False)
class Branches:
    """What the velocities of guidance hear."""

    whole: Branch
    null: Branch | None = None
    """What guidance leads away from; None: there is no guidance, or `together` has it."""
    text: Branch | None = None
    """All but the lyrics; needed where caption and lyrics are guided apart."""
    together: Branch | None = None
    """All that a guided step hears as one batch, one behind the other: quicker on an accelerator."""


@dataclass(frozen=True)
class Strength:
    """How strongly guidance acts, and when: songs that share it may share a loop."""

    rule: str
    scale: float
    share: float
    decay: float
    smallest: float
    text: float
    lyric: float

    @classmethod
    def of(cls, how: FlowSamplingV1) -> Strength:
        """That of knobs that are decided."""
        numbers = (
            how.guidance_scale, how.guidance_share, how.guidance_decay, how.min_guidance_scale, how.guidance_scale_text,
            how.guidance_scale_lyric,
        )  # fmt: skip
        assert how.guidance is not None
        return cls(how.guidance, *(_number(one) for one in numbers))

    @property
    def acts(self) -> bool:
        """Whether there is any; scales 0 and 1 are off."""
        return self.rule != "none" and self.scale not in (0.0, 1.0) and self.share > 0.0

    @property
    def apart(self) -> bool:
        """Whether caption and lyrics are guided apart, by three velocities."""
        return self.acts and self.text > 1.0 and self.lyric > 1.0

    @property
    def passes(self) -> int:
        """How many velocities a guided step looks at."""
        return 3 if self.apart else 2 if self.acts else 1

    def at(self, index: int, steps: range) -> float:
        """The scale at a step of the guided ones: it falls evenly to the smallest, which is never above the scale itself."""
        if len(steps) < 2:
            return self.scale
        gone = (index - steps.start) / (len(steps) - 1)
        return self.scale - (self.scale - min(self.smallest, self.scale)) * gone * self.decay


def _number(value: float | None) -> float:
    assert value is not None
    return value


class Guide:
    """The guided velocity of one description in one run. Its memory (momentum) is its own: make one for each description. It goes
    on at each look, as in the original: at both of a heun step's, and at each of an edit's noises.

    `index` is the step of the whole schedule that is being taken, and stays the same for all looks of a step. With cfg_star the first
    guided step of a run from noise stands still (zero-init, see `still`), unless it is the last: noise would be heard.
    """

    def __init__(
        self, velocity: Velocity, branches: Branches, strength: Strength, walk: Walk, check: Check = lambda: None
    ) -> None:
        self.velocity, self.branches, self.strength, self.check = velocity, branches, strength, check
        acting = guided_steps(walk.schedule_steps, strength.share)
        self.steps = acting if strength.acts else range(0)
        self.index = walk.skipped
        first = max(self.steps.start, walk.skipped)
        self._first = None if walk.edit is not None or first == walk.schedule_steps - 1 else first
        self._direction, self._looks = apg_direction(dims=CHANNEL), 0

    def still(self, index: int) -> bool:
        """Whether nothing moves in a step: where guidance begins, cfg_star's first velocity is nought (CFG-Zero*)."""
        return (
            self.strength.rule == "cfg_star"
            and not self.strength.apart
            and index in self.steps
            and index == self._first
        )

    def __call__(self, x: Tensor, t: float) -> Tensor:
        if self.index not in self.steps:
            return self._ask(self.branches.whole, x, t)
        whole, null, *more = self._sides(x, t)
        if self.strength.apart:
            (text,) = more
            return apart(whole, text, null, self.strength.text, self.strength.lyric)
        scale = self.strength.at(self.index, self.steps)
        if self.strength.rule == "apg":
            self._looks += 1
            return whole + (scale - 1.0) * self._direction(whole, null, float(self._looks))
        return cfg(whole, null, scale) if self.strength.rule == "cfg" else cfg_star(whole, null, scale)

    def _sides(self, x: Tensor, t: float) -> list[Tensor]:
        """What each branch says of a guided step: whole, null, and text where that is apart."""
        branches = self.branches
        if branches.together is not None:
            count = self.strength.passes
            return list(self._ask(branches.together, torch.cat([x] * count), t).chunk(count))
        sides = (branches.whole, branches.null, *([branches.text] if self.strength.apart else []))
        return [self._ask(one, x, t) for one in sides if one is not None]

    def _ask(self, branch: Branch, x: Tensor, t: float) -> Tensor:
        """One look of one branch, in the numbers of x."""
        self.check()
        with branch.quietly():
            return self.velocity(x, x.new_full((len(x),), t), branch.condition).to(x.dtype)


def cfg(whole: Tensor, null: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022)."""
    return null + scale * (whole - null)


def cfg_star(whole: Tensor, null: Tensor, scale: float) -> Tensor:
    """The same from a null velocity that is first scaled to fit the whole one, each item alone (CFG-Zero*, Fan et al. 2025)."""
    one, other = whole.flatten(1), null.flatten(1)
    share = (one * other).sum(1) / (other.square().sum(1) + 1e-8)
    return cfg(whole, null * share.view(-1, *[1] * (null.ndim - 1)), scale)


def apart(whole: Tensor, text: Tensor, null: Tensor, text_scale: float, lyric_scale: float) -> Tensor:
    """Caption and lyrics guided apart: the caption away from nothing, the lyrics away from the caption alone."""
    return (1.0 - text_scale) * null + (text_scale - lyric_scale) * text + lyric_scale * whole


def guided_by(solver: Solver, guides: tuple[Guide, ...], skipped: int = 0) -> Solver:
    """A solver that tells guides which step of the whole schedule they are asked in, and stands still where the last says so."""

    def made(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
        take = solver(velocity, noise_fn)

        def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
            for guide in guides:
                guide.index = index + skipped
            if guides[-1].still(index + skipped):
                return x, x
            return take(index, x, t, t_next)

        return step

    return made
