"""What a block of a network gives, looked at while the network is at work: nothing of it is left on the module afterwards.

Works under non-reentrant gradient checkpointing too: a block that is computed again on the way back is not looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from acestep_lab.engines.base import Hidden


@contextmanager
def after_block(blocks: Sequence[nn.Module] | nn.ModuleList, block: int, frames_per_token: float) -> Iterator[Hidden]:
    """Keep what block number `block`, counted from 1, gives in the first pass made inside: a tensor, or a tuple's first."""
    found = Hidden(frames_per_token)

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if found.states is None:
            states = output[0] if isinstance(output, tuple) else output
            assert isinstance(states, Tensor)
            found.states = states

    handle = blocks[block - 1].register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
