"""Move a source from one description to another without inverting it (FlowEdit, Kulikov et al. 2024, arXiv 2412.08629).

Does not know models or prompts: only two velocities, one that hears the old description and one that hears the new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from acestep_lab.diffusion.sampler import NoiseFn, Solver, VelocityEma, VelocityFn, add_noise, euler
from acestep_lab.diffusion.schedule import step_count
from acestep_lab.engines.step import Step


def edit(
    old: VelocityFn,
    new: VelocityFn,
    source: Tensor,
    times: Sequence[float],
    noise_fn: Callable[[int], Tensor],
    *,
    n_min: float = 0.0,
    n_max: float = 1.0,
    n_avg: int = 1,
    ema: float | None = None,
    solver: Solver = euler,
    fresh_noise: NoiseFn | None = None,
) -> Iterator[Step]:
    """Follow the difference of the two velocities from the source, [items, frames, channels], and yield every step.

    The first n_min of the steps stand still, up to n_max the difference averaged over n_avg noises is followed, after
    that only the new velocity. noise_fn(k) is the k-th noise; ema blends each velocity's mean over them with the step
    before. Give each velocity its own guidance state, and let it average over the noises of a time.

    `solver` takes the steps. One that throws new noise in (sde, "pingpong") gets `fresh_noise` in the last part; while the
    difference is followed, what it goes back to is the source: there the noise is already another one in every step, and
    both descriptions hear the same.
    """
    coupled = _Coupled(old, new, source, noise_fn, n_avg, VelocityEma(ema), VelocityEma(ema))
    steps, first, last = len(times), step_count(n_min, len(times)), step_count(n_max, len(times))
    along, onwards = solver(coupled, lambda index: source), solver(coupled.onwards, fresh_noise)
    edited, x = source, source
    for index, (t, t_next) in enumerate(zip(times, (*times[1:], 0.0))):
        if index < first:
            estimate = x = edited
        elif index < last:
            coupled.index = index
            edited, estimate = along(index, edited, t, t_next)
            x = edited
        else:
            if index == last:  # join the flow at the edited latent's own noised place
                x = edited + add_noise(source, noise_fn(index * n_avg), t) - source
            x, estimate = onwards(index, x, t, t_next)
        yield Step(index, steps, t_next, x, estimate)


@dataclass
class _Coupled:
    """The velocity of the edited latent: how much further the new description pulls than the old, over the same noises."""

    old: VelocityFn
    new: VelocityFn
    source: Tensor
    noise_fn: Callable[[int], Tensor]
    n_avg: int
    smooth_old: VelocityEma
    smooth_new: VelocityEma
    index: int = 0
    """Of the step that is being taken: a step's noises stay the same however often it looks."""

    def __call__(self, edited: Tensor, t: float) -> Tensor:
        draws = [self.noise_fn(self.index * self.n_avg + k).to(self.source) for k in range(self.n_avg)]
        noises = [add_noise(self.source, noise, t) for noise in draws]
        v = self.smooth_new(_mean(self.new(edited + there - self.source, t) for there in noises))
        return v - self.smooth_old(_mean(self.old(there, t) for there in noises))

    def onwards(self, x: Tensor, t: float) -> Tensor:
        """The new description alone."""
        return self.smooth_new(self.new(x, t))


def _mean(velocities: Iterator[Tensor]) -> Tensor:
    """Mean of what one velocity says at each of a step's noises."""
    total, count = next(velocities), 1
    for v in velocities:
        total, count = total + v, count + 1
    return total / count
