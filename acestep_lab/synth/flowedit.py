"""Move a source from one description to another without inverting it (FlowEdit, Kulikov et al. 2024, arXiv 2412.08629).

Does not know models or prompts: only two velocities, one that hears the old description and one that hears the new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from acestep_lab.synth.sampler import Frame, Velocity, noised
from acestep_lab.synth.schedule import step_count


def edit(
    old: Velocity,
    new: Velocity,
    source: Tensor,
    times: Sequence[float],
    fresh: Callable[[int], Tensor],
    *,
    n_min: float = 0.0,
    n_max: float = 1.0,
    n_avg: int = 1,
) -> Iterator[Frame]:
    """Follow the difference of the two velocities from the source, [items, frames, channels], and yield every step.

    The first n_min of the steps stand still, up to n_max the difference averaged over n_avg noises is followed, after
    that only the new velocity. fresh(k) is the k-th noise. Give each velocity its own guidance state.
    """
    steps, first, last = len(times), step_count(n_min, len(times)), step_count(n_max, len(times))
    edited, x = source, source
    for index, (t, t_next) in enumerate(zip(times, (*times[1:], 0.0))):
        if index < first:
            estimate = x = edited
        elif index < last:
            v = _difference(old, new, source, edited, t, [fresh(index * n_avg + k) for k in range(n_avg)])
            edited, estimate = edited + (t_next - t) * v, edited - t * v
            x = edited
        else:
            if index == last:  # join the flow at the edited latent's own noised place
                x = edited + noised(source, fresh(index * n_avg), t) - source
            v = new(x, t)
            x, estimate = x + (t_next - t) * v, x - t * v
        yield Frame(index, steps, t_next, x, estimate)


def _difference(
    old: Velocity, new: Velocity, source: Tensor, edited: Tensor, t: float, noises: Sequence[Tensor]
) -> Tensor:
    """Mean over the noises of (new velocity at the edited place - old velocity at the source's place)."""
    total = torch.zeros_like(source)
    for start in noises:
        there = noised(source, start.to(source), t)
        total = total + (new(edited + there - source, t) - old(there, t)) / len(noises)
    return total
