"""The optimisers an adapter may be taught with, behind one face. AdamW is torch's; the others are optional packages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from acestep_lab.errors import MachineError, RecipeError, shown

NAMES = ("adamw", "prodigy", "schedule_free")
LEAST_SHARE = 0.01
"""What is left of the learning rate at the end."""


class Optimiser:
    """An optimiser whose rate is set before each step: rising at first, then falling along a cosine."""

    scheduled = True
    """Whether its rate follows the schedule; the others find their own."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    def schedule(self, step: int, steps: int, warm_up: int) -> float:
        """The share of the learning rate at a step, counted from 0."""
        if not self.scheduled:
            return 1.0
        rising = min(warm_up, max(1, steps // 10)) if warm_up else 0
        if step < rising:
            return (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        return LEAST_SHARE + (1 - LEAST_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def begin(self, rate: float) -> None:
        """Forget gradients, and set the rate of the step to come."""
        self.inner.zero_grad(set_to_none=True)
        for group in self.inner.param_groups:
            group["lr"] = rate

    def step(self) -> None:
        """Move the weights."""
        self.inner.step()

    def forget_gradients(self) -> None:
        """Leave no gradient behind."""
        self.inner.zero_grad(set_to_none=True)

    def judged(self) -> None:
        """The weights are looked at: those that would be kept."""

    def learning(self) -> None:
        """The weights learn on."""

    def state(self) -> dict[str, Any]:
        """All that going on needs, on the CPU."""
        return _on_cpu(self.inner.state_dict())

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.inner.load_state_dict(dict(state))


class Prodigy(Optimiser):
    """Finds its own rate (Mishchenko and Defazio 2023): the one given is a factor, and stays."""

    scheduled = False

    def begin(self, rate: float) -> None:
        """Forget gradients; the factor is 1, as its authors have it."""
        self.inner.zero_grad(set_to_none=True)


class ScheduleFree(Optimiser):
    """Averages on its own (Defazio 2024): what is judged and kept are other weights than those that learn."""

    scheduled = False

    def judged(self) -> None:
        """Show the averaged weights."""
        self._face("eval")

    def learning(self) -> None:
        """Go on with those that learn."""
        self._face("train")

    def _face(self, name: str) -> None:
        getattr(self.inner, name)()


def optimiser_for(
    name: str,
    parameters: list[nn.Parameter],
    rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Optimiser:
    """An optimiser by its name, `betas` being AdamW's; RecipeError for an unknown one, MachineError where its package is missing."""
    if name == "adamw":
        return Optimiser(torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=weight_decay))
    if name == "prodigy":
        return Prodigy(_package("prodigyopt").Prodigy(parameters, lr=1.0, weight_decay=weight_decay))
    if name == "schedule_free":
        return ScheduleFree(_package("schedulefree").AdamWScheduleFree(parameters, lr=rate, weight_decay=weight_decay))
    raise RecipeError(f"optimiser is one of {', '.join(NAMES)}, not {shown(name)}.")


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise MachineError(
            f"This optimiser is the package {name}'s, which is not here: `pip install {name}`."
        ) from None


def _on_cpu(value: Any) -> Any:
    """Plain data with its tensors on the CPU, copied."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_cpu(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(one) for one in value)
    return value
