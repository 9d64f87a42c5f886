"""A CUDA graph that is none: records what a step does to which memory, and does it again, on a CPU.

What makes a graph a graph holds here too: operators, numbers and places are those of the recording, whatever Python would say now; what
a step reads anew it must read from a place that stays. Recording changes nothing, and a wait for a number of the card is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acestep_lab.models.recording import Step


class StandInGraph:
    """A recorder; `recorded` and `played` count."""

    def __init__(self) -> None:
        self.recorded, self.played = 0, 0

    def __call__(self, step: Step, state: Sequence[Tensor], cache: Sequence[Tensor]) -> Step:
        before, recording = [one.clone() for one in state], _Recording()
        with recording:
            step()
        for one, kept in zip(state, before, strict=True):
            one.copy_(kept)
        self.recorded += 1

        def play() -> None:
            self.played += 1
            for func, args, kwargs, made in recording.done:
                for place, found in zip(made, _tensors(func(*args, **kwargs)), strict=True):
                    if place is not None:
                        place.copy_(found)

        return play


class _Recording(TorchDispatchMode):
    """Writes down each operator with its tensors, and which tensors it made (None: a view, or written in place)."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Tensor | None]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::item", "aten::nonzero"):
            raise AssertionError(f"A step that is recorded waits for a number: {func}.")
        found = func(*args, **kwargs)
        given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        made = [None if one.untyped_storage()._cdata in given else one for one in _tensors(found)]
        self.done.append((func, args, kwargs, made))
        return found


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, Tensor)]
