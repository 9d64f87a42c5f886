"""What every training stage needs besides its model: a clock, a learning rate, a checkpoint to resume from, a log.

Stages have a time budget, not a number of steps: the learning rate follows the share of it that is used up, so the same command
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
    """One stage of training: its name, its time budget in seconds, and the folder where it keeps state and log."""

    name: str
    seconds: float
    folder: Path
    device: str = "cpu"
    elapsed: float = 0.0
    step: int = 0
    rate_scale: float = 1.0
    """Multiplies every learning rate; below one where weights are trained further."""

    @property
    def fraction(self) -> float:
        """Share of the time budget used up, 0 to 1."""
        return min(1.0, self.elapsed / max(self.seconds, 1e-9))

    @property
    def file(self) -> Path:
        """Where the state is kept."""
        return self.folder / f"{self.name}.pt"

    def steps(self) -> Iterator[int]:
        """Count steps until the time budget is used up, keeping the clock."""
        started = time.monotonic() - self.elapsed
        while self.fraction < 1:
            yield self.step
            self.step += 1
            self.elapsed = time.monotonic() - started

    def learning_rate(self, peak: float, warmup: int = 100) -> float:
        """The learning rate now: a linear warm-up over `warmup` steps, then a cosine down to a fiftieth of the peak."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.fraction))
        return self.rate_scale * peak * min(1.0, (self.step + 1) / warmup) * cosine

    def save(self, **state: object) -> None:
        """Write the state to a temporary file and move it into place, so that an interruption never leaves half a file."""
        temporary = self.file.with_suffix(".new")
        torch.save({"step": self.step, "elapsed": self.elapsed, "state": state}, temporary)
        os.replace(temporary, self.file)

    def load(self) -> dict[str, Any] | None:
        """The saved state, with the clock set to where it stood; None when this stage has not begun."""
        if not self.file.exists():
            return None
        saved = torch.load(self.file, map_location=self.device, weights_only=False)
        self.step, self.elapsed = saved["step"], saved["elapsed"]
        state: dict[str, Any] = saved["state"]
        return state

    def log(self, **metrics: object) -> None:
        """Print one line of metrics (numbers or scalar tensors) as JSON and append it to the stage's log."""
        line = {"stage": self.name, "step": self.step, "seconds": round(self.elapsed, 1)} | {
            k: _short(v) for k, v in metrics.items()
        }
        print(json.dumps(line), flush=True)
        with (self.folder / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _short(value: object) -> object:
    if isinstance(value, Tensor):
        value = value.item()
    return float(f"{value:.4g}") if isinstance(value, float) else value


@contextmanager
def fast_precision(device: str, *, short_rows: bool = False) -> Iterator[None]:
    """Autocast and attention kernels that are quickest on a device: bfloat16 on a GPU and a CPU with AMX tiles, float32 on other CPUs.

    A step of the transformer, one core of a CPU without tiles: 2.2 to 2.7 s in bfloat16, 1.4 s in float32. With tiles plain attention is
    quicker than the flash kernel for `short_rows`, a few hundred tokens; without them it is not.
    """
    tiles = device == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if tiles and short_rows:
        kernels = [SDPBackend.MATH]
    with sdpa_kernel(kernels), torch.autocast(device, torch.bfloat16, enabled=tiles or device != "cpu"):
        yield


class WeightAverage:
    """An exponential moving average of a model's weights; it is what is exported, because it is less noisy."""

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.count = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights; faster at first, so that the initial ones are forgotten."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, weight)


class Interval:
    """Says when something is due: on the first call, then once per `seconds` of the stage's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.next = 0.0

    def due(self, elapsed: float) -> bool:
        """Whether it is time again, at `elapsed` seconds."""
        if elapsed < self.next:
            return False
        self.next = elapsed + self.seconds
        return True


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate; a group's own `scale` multiplies it."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
