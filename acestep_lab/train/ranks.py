"""Processes that teach one adapter together, each with its share of every batch: what they tell each other.

Alone there is nobody to tell, and nothing changes. Together (`accelerate launch -m acestep_lab.train …`) the batch of a step is
the processes' batches side by side, in the order in which one process would hear them all; gradients are averaged, so that all
hold the same weights; the first alone writes, and a wish to stop of any of them is heard by all between two passes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from acestep_lab._libraries import accelerate_utils
from acestep_lab.errors import MachineError, shown

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class Ranks:
    """One process alone."""

    number = 0
    """Which of them this is, counted from 0."""
    count = 1
    accumulation: int | None = None
    """Passes before the weights move where the launcher says so; an option of the training itself wins."""
    dtype: torch.dtype | None = None
    """What the frozen weights compute in where the launcher says so; None: as the checkpoint would."""

    def __init__(self) -> None:
        self.wish = threading.Event()
        """Set where this process was asked to stop, such as by a signal: all stop between two passes."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.number == 0

    def gathered(self, value: T) -> list[T]:
        """The plain data of every process, in order; each must ask as often as the others."""
        return [value]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes."""

    def from_main(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process."""

    def share(self, count: int) -> slice:
        """Which of `count` things for each process are this one's, among all."""
        return slice(self.number * count, (self.number + 1) * count)


class AcceleratedRanks(Ranks):
    """The processes that `accelerate launch` or `torchrun` began, joined by an `accelerate.Accelerator`."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__()
        self._accelerator = accelerator
        self.number, self.count = int(accelerator.process_index), int(accelerator.num_processes)
        self.dtype = _dtype(str(accelerator.mixed_precision))
        passes = int(accelerator.gradient_accumulation_steps)
        self.accumulation = passes if passes > 1 else None

    def gathered(self, value: T) -> list[T]:
        """The plain data of every process, in order."""
        return [value] if self.count == 1 else list(accelerate_utils.gather_object([value]))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one message."""
        if self.count > 1 and tensors:
            whole = self._together(tensors)
            _put_back(self._accelerator.reduce(whole, "mean"), tensors)

    def from_main(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, in one message."""
        if self.count > 1 and tensors:
            whole = self._together(tensors)
            _put_back(accelerate_utils.broadcast(whole), tensors)

    def _together(self, tensors: Sequence[Tensor]) -> Tensor:
        """All of them in one row, where the launcher's messages begin."""
        return torch.cat([one.reshape(-1).float() for one in tensors]).to(self._accelerator.device)


def _dtype(precision: str) -> torch.dtype | None:
    """What the launcher's mixed precision means for the frozen weights; the adapter is in float32 whatever it says."""
    if precision not in ("no", "bf16"):
        raise MachineError(
            f"A training's mixed precision is no or bf16, not {shown(precision)}: the gradients of others need a scaler."
        )
    return torch.bfloat16 if precision == "bf16" else None


def _put_back(whole: Tensor, tensors: Sequence[Tensor]) -> None:
    for one, part in zip(tensors, whole.split([one.numel() for one in tensors]), strict=True):
        one.copy_(part.view_as(one))
