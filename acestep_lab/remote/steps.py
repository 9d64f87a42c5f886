"""Steps of another machine's renders: what was told of them, and their latents once somebody looks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError


class FarStep(Step):
    """A step of another machine: its latents are fetched when they are first looked at, unless they came along."""

    run: str = ""
    """The run it is a step of, there."""
    number: int = 0
    """Which of its recipe's steps it is, counted from 0."""
    _fetch: Callable[[str], np.ndarray] | None = None
    """Gives the "estimate" or the "state"."""
    _there: tuple[str, ...] = ()
    """Which of the two there are."""

    @classmethod
    def of(cls, told: Mapping[str, Any], run: str, fetch: Callable[[str], np.ndarray]) -> FarStep:
        """A step as it was told of, and read by `read_event`."""
        step = cls(told["index"], told["steps"], told["t"], None, None, (told["item"],), told["checkpoint"])
        there = tuple(name for name, key in (("estimate", "seen"), ("state", "walked")) if told[key])
        own = {"run": run, "number": told["number"], "_fetch": fetch, "_there": there}
        for name, value in own.items():
            object.__setattr__(step, name, value)
        return step

    @property
    def estimate(self) -> Any:
        """x0 `[frames, channels]`, float32; None where the model has no guess at the end."""
        return self._latent("estimate")

    @estimate.setter
    def estimate(self, value: Any) -> None:
        self.__dict__["_estimate"] = value

    @property
    def state(self) -> Any:
        """x_t `[frames, channels]`, float32; None where the model has nothing to look at."""
        return self._latent("state")

    @state.setter
    def state(self, value: Any) -> None:
        self.__dict__["_state"] = value

    def look(self, fetch: Callable[[str], np.ndarray]) -> None:
        """Have its estimate come along, where it comes at once; else it is fetched when somebody looks at it."""
        if "estimate" in self._there:
            with contextlib.suppress(LabError):
                self.__dict__["_estimate"] = fetch("estimate")

    def _latent(self, name: str) -> Any:
        if self.__dict__[f"_{name}"] is None and name in self._there and self._fetch is not None:
            self.__dict__[f"_{name}"] = self._fetch(name)
        return self.__dict__[f"_{name}"]
