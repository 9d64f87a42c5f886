"""Whether a tensor was written into since somebody looked: torch counts it, but not for tensors made in inference mode. Knows no model.

Whoever keeps what was made of a tensor asks `version`. None is no answer: such a tensor has to be compared, or copied, each time. What
is kept for a run is made under `counted`, so that it need not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def version(tensor: Tensor) -> int | None:
    """How often a tensor was written into; None for one made in inference mode, which does not say."""
    return None if tensor.is_inference() else tensor._version


@contextmanager
def counted() -> Iterator[None]:
    """Tensors made here say how often they were written into, wherever this is called; nothing is kept for learning."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def own(tensor: Tensor) -> Tensor:
    """The tensor if it counts what is written into it, else a copy that does."""
    if not tensor.is_inference():
        return tensor
    with counted():
        return tensor.clone()
