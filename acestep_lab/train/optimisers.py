"""The optimisers an adapter may be taught with, behind one face. AdamW is torch's; the others are optional packages."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import nn

from acestep_lab.errors import MachineError, RecipeError, shown

NAMES = ("adamw", "prodigy", "schedule_free")
_PACKAGES = {"prodigy": "prodigyopt", "schedule_free": "schedulefree"}
LEAST_SHARE = 0.01
"""What is left of the learning rate at the end."""


class Optimiser:
    """An optimiser whose rate is set before each step: rising at first, then falling along a cosine."""

    scheduled = True
    """Whether its rate follows the schedule; the others find their own."""
    one_or_many: tuple[str, ...] = ()
    """What it remembers of a parameter as one number where that was zero."""

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
        """Go on from there; ValueError for what is no state of this optimiser."""
        is_new = isinstance(state, dict) and state.get("state") == {}
        _must_be_like(state, self.state() if is_new else self._like(), self.one_or_many)
        self.inner.load_state_dict(dict(state))

    def _like(self) -> dict[str, Any]:
        """A state as this optimiser writes it after a step."""
        groups = [
            {**group, "params": [torch.ones_like(one, device="cpu") for one in group["params"]]}
            for group in self.inner.param_groups
        ]
        kind: Any = type(self.inner)
        with redirect_stdout(io.StringIO()):  # Prodigy talks
            twin = type(self)(kind(groups))
        for one in (one for group in groups for one in group["params"]):
            one.requires_grad_().grad = torch.ones_like(one)
        twin.step()
        return twin.state()


class Prodigy(Optimiser):
    """Finds its own rate (Mishchenko and Defazio 2023): the one given is a factor, and stays."""

    scheduled = False
    one_or_many = ("p0",)

    def begin(self, rate: float) -> None:
        """Forget gradients; the factor is 1, as its authors have it."""
        self.inner.zero_grad(set_to_none=True)


class ScheduleFree(Optimiser):
    """Averages on its own (Defazio 2024): what is judged and kept are other weights than those that learn."""

    scheduled = False

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner)
        self.learning()  # it begins as one that is judged, and where no song is held out nobody turns it

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
        with redirect_stdout(io.StringIO()):  # it talks, also where only JSON may be
            return Prodigy(_package(_PACKAGES[name]).Prodigy(parameters, lr=1.0, weight_decay=weight_decay))
    if name == "schedule_free":
        return ScheduleFree(_package(_PACKAGES[name]).AdamWScheduleFree(parameters, lr=rate, weight_decay=weight_decay))
    raise RecipeError(f"optimiser is one of {', '.join(NAMES)}, not {shown(name)}.")


def must_be_here(name: str) -> None:
    """MachineError where an optimiser's package is missing, before any work is done for it."""
    if name in _PACKAGES:
        _package(_PACKAGES[name])


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


def _must_be_like(state: Any, wanted: Any, one_or_many: Sequence[str]) -> None:
    """ValueError unless a state has the shape of another: the same names, kinds and sizes, numbers that are some.

    What is kept of a parameter may be missing: it begins anew.
    """
    if not isinstance(state, dict) or set(state) != {"state", "param_groups"} or not isinstance(state["state"], dict):
        raise ValueError("it holds no state of an optimiser")
    known = {place: one for place, one in state["state"].items() if one != {}}
    if not set(known) <= set(wanted["state"]):
        raise ValueError("it is of other parameters")
    for place, one in known.items():
        whole = wanted["state"][place]
        short = {name for name in one_or_many if isinstance(one, dict) and getattr(one.get(name), "shape", None) == ()}
        whole = {name: value.sum() if name in short else value for name, value in whole.items()}
        if _is_like(one, whole):
            continue
        raise ValueError("what it remembers of its steps is damaged")
    if not _is_like(state["param_groups"], wanted["param_groups"]):
        raise ValueError("its settings are damaged")


def _is_like(value: Any, wanted: Any) -> bool:
    """Whether a value is of the kind and size of another."""
    if isinstance(wanted, torch.Tensor):
        return isinstance(value, torch.Tensor) and value.shape == wanted.shape and bool(torch.isfinite(value).all())
    if isinstance(wanted, dict):
        return (
            isinstance(value, dict)
            and set(value) == set(wanted)
            and all(_is_like(value[key], one) for key, one in wanted.items())
        )
    if isinstance(wanted, list | tuple):
        same = type(value) is type(wanted) and len(value) == len(wanted)
        return same and all(_is_like(one, other) for one, other in zip(value, wanted, strict=True))
    if type(value) is type(wanted) and value == wanted:
        return True
    return all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in (value, wanted)
    )
