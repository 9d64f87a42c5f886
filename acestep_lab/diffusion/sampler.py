"""From noise to music, one step at a time. Does not know models, prompts, tasks or devices: only `velocity(x, t)`.

Flow matching: x_t = (1 - t) * music + t * noise, and the velocity points from music to noise, so
music is estimated at every step as x0 = x_t - t * v. Tensors are [items, frames, channels].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acestep_lab.diffusion.dcw import Correct
from acestep_lab.engines.step import Step
from acestep_lab.errors import MachineError, RecipeError

VelocityFn = Callable[[Tensor, float], Tensor]
NoiseFn = Callable[[int], Tensor]
AfterStep = Callable[[int, float, Tensor], Tensor]
SolverStep = Callable[[int, Tensor, float, float], tuple[Tensor, Tensor]]
Solver = Callable[[VelocityFn, NoiseFn | None], SolverStep]
"""What makes the steps of a velocity; the noise is for those that throw new one in."""

BLOCK = 256  # frames drawn at once; part of what a seed means, so it never changes


# --- noise -----------------------------------------------------------------------------------------------------------


def noise(seed: int, frames: int, channels: int, draw: int = 0) -> Tensor:
    """Start noise of one item, [frames, channels], drawn on the CPU in blocks.

    In blocks, so that a longer song begins with the same noise; on the CPU, so that every machine draws the same.
    `draw` numbers further independent noises of the same seed (SDE steps, flow-edit).
    """
    generator = torch.Generator("cpu").manual_seed(_mixed(seed, draw))
    blocks = [torch.randn(BLOCK, channels, generator=generator) for _ in range(math.ceil(frames / BLOCK))]
    return torch.cat(blocks)[:frames]


def noises(seeds: Sequence[int], frames: int, channels: int, draw: int = 0) -> Tensor:
    """Start noise of a batch, [items, frames, channels]: every item from its own seed alone."""
    return torch.stack([noise(seed, frames, channels, draw) for seed in seeds])


def rotate_noise(first: Tensor, second: Tensor, variance: float) -> Tensor:
    """First noise rotated towards a second one: 0 is the first, 1 the second; the spread stays 1 (ACE-Step retake)."""
    if variance == 0.0:
        return first
    angle = variance * math.pi / 2
    return math.cos(angle) * first + math.sin(angle) * second


def turned_noise(seed: int, turns: Sequence[tuple[int, float]], frames: int, channels: int, draw: int = 0) -> Tensor:
    """Noise `[frames, channels]` of a seed, turned towards each (seed, variance) of `turns`, one after the other."""
    found = noise(seed, frames, channels, draw)
    for other, variance in turns:
        found = rotate_noise(found, noise(other, frames, channels, draw), variance)
    return found


def add_noise(clean: Tensor, start: Tensor, t: float) -> Tensor:
    """A clean latent at time t of the flow: t of noise, the rest itself."""
    return t * start + (1.0 - t) * clean


def _mixed(seed: int, draw: int) -> int:
    """Seed of the n-th independent draw (the golden-ratio step of SplitMix64); draw 0 is the seed itself."""
    return (seed + draw * 0x9E3779B97F4A7C15) % 2**63


# --- the loop --------------------------------------------------------------------------------------------------------


def sample(
    velocity: VelocityFn,
    noise: Tensor,
    times: Sequence[float],
    *,
    solver: str | Solver = "euler",
    noise_fn: NoiseFn | None = None,
    after: AfterStep | None = None,
    clamp: float | None = None,
    ema: float | None = None,
    correct: Correct | None = None,
) -> Iterator[Step]:
    """Integrate from noise to music and yield every step.

    noise_fn(index) is new noise for the "sde" solver; correct(x, estimate, t) moves every step from t, the last included
    (see `dcw`); after(index, t, x) may then change x (repaint holds the kept part there, so that what is kept is not
    corrected); clamp and ema hold the velocity. The estimate stays what the step took the music for.
    """
    made = solver_named(solver) if isinstance(solver, str) else solver
    step = made(clamp_ema(velocity, clamp, ema), noise_fn)
    x = noise
    for index, (t, t_next) in enumerate(zip(times, (*times[1:], 0.0))):
        x, estimate = step(index, x, t, t_next)
        if correct is not None:
            x = correct(x, estimate, t)
        if after is not None:
            x = after(index, t_next, x)
        yield Step(index, len(times), t_next, x, estimate)


def clamp_ema(velocity: VelocityFn, clamp: float | None = None, ema: float | None = None) -> VelocityFn:
    """VelocityFn held to `clamp` times the norm of x, then blended with `ema` of the one before (ACE-Step 1.5)."""
    return ClampedVelocity(velocity, clamp, VelocityEma(ema)) if clamp or ema else velocity


class VelocityEma:
    """Blends every velocity with the one before: (1 - ema) * v + ema * before."""

    def __init__(self, ema: float | None):
        self.ema = ema
        self.before: Tensor | None = None

    def __call__(self, v: Tensor) -> Tensor:
        if self.ema and self.before is not None:
            v = (1.0 - self.ema) * v + self.ema * self.before
        self.before = v
        return v


@dataclass(frozen=True)
class ClampedVelocity:
    """A velocity whose norm is held and which remembers the one before."""

    velocity: VelocityFn
    clamp: float | None
    smooth: VelocityEma

    def __call__(self, x: Tensor, t: float) -> Tensor:
        v = self.velocity(x, t)
        if self.clamp:
            v = v * (self.clamp * _norm(x) / _norm(v)).clamp(max=1.0)
        return self.smooth(v)


def record_velocity(velocity: VelocityFn, v: Tensor) -> None:
    """Tell a clamped velocity which one a step really went by: that is the one before the next, as in the reference."""
    if isinstance(velocity, ClampedVelocity):
        velocity.smooth.before = v


def _norm(x: Tensor) -> Tensor:
    """Norm of every item, [items, 1, 1], never 0."""
    return x.norm(dim=(1, 2), keepdim=True) + 1e-10


def checked(steps: Iterable[Step]) -> Iterator[Step]:
    """Pass frames on as long as they hold numbers, and none is all zero."""
    for step in steps:
        assert step.estimate is not None
        if not torch.isfinite(step.estimate).all():
            raise MachineError(
                f"Step {step.index + 1} of {step.steps} produced NaN. Usually this is float16 on a machine without "
                "bfloat16: open the session with a tier whose dtype is float32."
            )
        if not step.estimate.flatten(1).any(dim=1).all():
            raise MachineError(
                f"Step {step.index + 1} of {step.steps} produced nothing but zeros: the weights of the DiT did not "
                "arrive whole on the device. Open the session again."
            )
        yield step


# --- solvers: each gives (x at t_next, estimate of the music) --------------------------------------------------------


def euler(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
    """First order, one look per step: what the checkpoints were distilled for."""

    def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
        v = velocity(x, t)
        return x + (t_next - t) * v, x - t * v

    return step


def heun(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
    """Second order, two looks per step except the last (Karras et al. 2022, algorithm 1)."""

    def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
        v = velocity(x, t)
        ahead = x + (t_next - t) * v
        if t_next > 0.0:
            mean = 0.5 * (v + velocity(ahead, t_next))
            ahead = x + (t_next - t) * mean
            record_velocity(velocity, mean)
        return ahead, x - t * v

    return step


def sde(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
    """Estimate the music, then noise it afresh to the next time ("pingpong"; consistency sampling, Song et al. 2023)."""
    if noise_fn is None:
        raise RecipeError("The sde solver throws new noise in at every step: hand it noise_fn(index) -> noise.")

    def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
        estimate = x - t * velocity(x, t)
        if t_next == 0.0:
            return estimate, estimate
        return add_noise(estimate, noise_fn(index).to(estimate), t_next), estimate

    return step


def dpmpp2m(velocity: VelocityFn, noise_fn: NoiseFn | None) -> SolverStep:
    """Second order from memory, one look per step (DPM-Solver++(2M), Lu et al. 2022, with alpha = 1 - t, sigma = t)."""
    memory: list[tuple[Tensor, float]] = []  # the estimate one step ago and that step's h

    def step(index: int, x: Tensor, t: float, t_next: float) -> tuple[Tensor, Tensor]:
        estimate = x - t * velocity(x, t)
        h = _log_snr(t_next) - _log_snr(t)
        direction = estimate
        if memory and math.isfinite(h) and math.isfinite(memory[0][1]):
            direction = estimate + h / (2.0 * memory[0][1]) * (estimate - memory[0][0])
        memory[:] = [(estimate, h)]
        return (t_next / t) * x + (1.0 - t_next - (1.0 - t) * t_next / t) * direction, estimate

    return step


def _log_snr(t: float) -> float:
    """Half the log signal-to-noise ratio, lambda = log((1 - t) / t)."""
    if t >= 1.0:
        return -math.inf
    return math.inf if t <= 0.0 else math.log((1.0 - t) / t)


SOLVERS: dict[str, Solver] = {
    "euler": euler,
    "heun": heun,
    "sde": sde,
    "dpmpp2m": dpmpp2m,
}


def solver_named(name: str) -> Solver:
    """The solver of that name."""
    if name not in SOLVERS:
        raise RecipeError(f"There is no solver {name!r}. There are: {', '.join(SOLVERS)}.")
    return SOLVERS[name]
