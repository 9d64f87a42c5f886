"""What every training stage needs besides its model: a clock, a learning rate, a place to continue from, a log.

Stages are boxed by time, not by steps: the learning rate follows the share of the box that is used up, so the same command
gives a sensible model in two minutes and a better one in two hours.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@dataclass
class Stage:
    """One stage of training: its name, its box of seconds, and the folder where it keeps state and log."""

    name: str
    seconds: float
    folder: Path
    device: str = "cpu"
    spent: float = 0.0
    step: int = 0
    pace: float = 1.0
    """Multiplies every learning rate; below one for what is trained already."""

    @property
    def fraction(self) -> float:
        """Share of the box used up, 0..1."""
        return min(1.0, self.spent / max(self.seconds, 1e-9))

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.pt"

    def steps(self) -> Iterator[int]:
        """Count steps until the box is used up, keeping the clock."""
        started = time.monotonic() - self.spent
        while self.fraction < 1:
            yield self.step
            self.step += 1
            self.spent = time.monotonic() - started

    def rate(self, peak: float, warm: int = 100) -> float:
        """Learning rate now: a short linear warm-up, then a cosine down to a fiftieth of the peak."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.fraction))
        return self.pace * peak * min(1.0, (self.step + 1) / warm) * cosine

    def save(self, **state: Any) -> None:
        """Write the state beside the old one, then replace it, so that a break never leaves half a file."""
        fresh = self.file.with_suffix(".new")
        torch.save({"step": self.step, "spent": self.spent, "state": state}, fresh)
        os.replace(fresh, self.file)

    def load(self) -> dict[str, Any] | None:
        """The saved state, with the clock set to where it stood; None when this stage has not begun."""
        if not self.file.exists():
            return None
        kept = torch.load(self.file, map_location=self.device, weights_only=False)
        self.step, self.spent = kept["step"], kept["spent"]
        return kept["state"]

    def log(self, **figures: Any) -> None:
        """One line of figures to the screen and to the stage's log."""
        line = {"stage": self.name, "step": self.step, "seconds": round(self.spent, 1)} | {
            k: _short(v) for k, v in figures.items()
        }
        print(json.dumps(line), flush=True)
        with (self.folder / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.item()
    return float(f"{value:.4g}") if isinstance(value, float) else value


@contextmanager
def quick(device: str, *, short_rows: bool = False) -> Iterator[None]:
    """The arithmetic that this device is quickest at: halves on a GPU and on a CPU with matrix tiles (AMX), floats on any other CPU.

    A step of the transformer, one core of a CPU without tiles: 2.2 to 2.7 s in halves, 1.4 s in floats. With tiles plain attention is
    quicker than the flash kernel for `short_rows`, a few hundred tokens; without them it is not.
    """
    tiles = device == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if tiles and short_rows:
        kernels = [SDPBackend.MATH]
    with sdpa_kernel(kernels), torch.autocast(device, torch.bfloat16, enabled=tiles or device != "cpu"):
        yield


class Average:
    """A slow copy of a model's weights (exponential moving average); what is exported, because it is less noisy."""

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.count = 0

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Move towards the model; faster at first, so that the start is forgotten."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, weight)


class Every:
    """True once per so many seconds of the stage's clock, and on its first call."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.next = 0.0

    def due(self, spent: float) -> bool:
        if spent < self.next:
            return False
        self.next = spent + self.seconds
        return True


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; a group's own `scale` multiplies it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
