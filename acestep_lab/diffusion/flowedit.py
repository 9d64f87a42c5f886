"""Move a source from one description to another without inverting it (FlowEdit, Kulikov et al. 2024, arXiv 2412.08629).

Does not know models or prompts: only two velocities, one that hears the old description and one that hears the new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from acestep_lab.diffusion.sampler import VelocityEma, VelocityFn, add_noise
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
) -> Iterator[Step]:
    """Follow the difference of the two velocities from the source, [items, frames, channels], and yield every step.

    The first n_min of the steps stand still, up to n_max the difference averaged over n_avg noises is followed, after
    that only the new velocity. noise_fn(k) is the k-th noise; ema blends each velocity's mean over them with the step
    before. Give each velocity its own guidance state, and let it average over the noises of a time.
    """
    smooth_old, smooth_new = VelocityEma(ema), VelocityEma(ema)
    steps, first, last = len(times), step_count(n_min, len(times)), step_count(n_max, len(times))
    edited, x = source, source
    for index, (t, t_next) in enumerate(zip(times, (*times[1:], 0.0))):
        if index < first:
            estimate = x = edited
        elif index < last:
            noises = [add_noise(source, noise_fn(index * n_avg + k).to(source), t) for k in range(n_avg)]
            v = smooth_new(_mean(new(edited + there - source, t) for there in noises))
            v = v - smooth_old(_mean(old(there, t) for there in noises))
            edited, estimate = edited + (t_next - t) * v, edited - t * v
            x = edited
        else:
            if index == last:  # join the flow at the edited latent's own noised place
                x = edited + add_noise(source, noise_fn(index * n_avg), t) - source
            v = smooth_new(new(x, t))
            x, estimate = x + (t_next - t) * v, x - t * v
        yield Step(index, steps, t_next, x, estimate)


def _mean(velocities: Iterator[Tensor]) -> Tensor:
    """Mean of what one velocity says at each of a step's noises."""
    total, count = next(velocities), 1
    for v in velocities:
        total, count = total + v, count + 1
    return total / count
