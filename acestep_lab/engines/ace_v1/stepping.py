"""How one step of ACE-Step v1 follows from a velocity: euler, heun and pingpong, and omega. Knows no model and no schedule.

Tensors are `[items, …]`; nothing an item gets depends on what is beside it.
"""

from __future__ import annotations

import math

from torch import Tensor

from acestep_lab.diffusion.sampler import NoiseFn, Solver, SolverStep, VelocityFn, sde


def weight_of(omega: float) -> float:
    """How much of a step's distance from its own mean is gone: 0.9 to 1.1, and 1 at omega 0."""
    return 0.9 + 0.2 / (1.0 + math.exp(-0.1 * omega))


def moved(x: Tensor, step: Tensor, weight: float) -> Tensor:
    """x after a step whose distance from its mean, over each item alone, is weighted."""
    if weight == 1.0:
        return x + step
    mean = step.flatten(1).mean(dim=1).view(-1, *[1] * (step.ndim - 1))
    return x + ((step - mean) * weight + mean)


def solver(name: str, omega: float = 0.0) -> Solver:
    """What makes the steps: euler or heun, whose every move omega weights, or pingpong, which omega leaves alone."""
    if name == "pingpong":
        return sde
    weight = weight_of(omega)
    return {"euler": _euler, "heun": _heun}[name](weight)


def _euler(weight: float) -> Solver:
    """First order, one look a step."""

    def made(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
        def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
            v = velocity(x, t)
            return moved(x, (t_next - t) * v, weight), x - t * v

        return step

    return made


def _heun(weight: float) -> Solver:
    """Second order: a second look from where the first leads, and the mean of both; one look in the last step."""

    def made(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
        def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
            v = velocity(x, t)
            ahead = moved(x, (t_next - t) * v, weight)
            if t_next > 0.0:
                ahead = moved(x, (t_next - t) * (0.5 * (v + velocity(ahead, t_next))), weight)
            return ahead, x - t * v

        return step

    return made
