"""float16 where a card has no bfloat16, with float32 where a measurement shows that it overflows. Knows no music and no sampler.

float16 ends at 65504. What runs along the blocks of a transformer grows beyond that, so a model keeps that in float32 anyway; what a
block's parts say inside may overflow too, in a few blocks of a checkpoint. Which ones is measured, at load and at every step::

    islands = Islands(blocks, (("mlp",), ("mlp", "self_attn", "cross_attn")))
    velocity = islands.settled(dit, lambda: ask(dit, x, t))    # finite: where it was not, blocks were widened and it was asked again
    islands.restore(dit)                                       # the same blocks of a model that was built anew

A block is widened part by part, the likeliest first; where all of a block was not enough, the whole model becomes float32. What is
not a number even then is the weights' fault, and whoever asked says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

BlocksOf = Callable[[Any], Sequence[nn.Module]]


def level_of(block: object) -> int:
    """How many of its steps a block has been widened by; 0: it computes in float16, or in whatever the model does."""
    return int(vars(block).get("island_level", 0))


@dataclass(eq=False)
class Islands:
    """Which blocks of a model compute how much in float32; `parts` names the parts of a block that each level widens."""

    blocks: BlocksOf
    parts: tuple[tuple[str, ...], ...]
    levels: dict[int, int] = field(default_factory=dict)
    """Level by the number of a block."""
    whole: bool = False
    """Whether all of the model is float32 now."""
    redone: int = 0
    """How often something was asked again."""

    def settled(self, model: nn.Module, ask: Callable[[], Tensor]) -> Tensor:
        """What `ask` gives, asked again with more in float32 as long as there is a number in it that is none."""
        found = ask()
        while not self.whole and not bool(torch.isfinite(found).all()):
            self._widen(model, self._first_overflow(model, ask))
            self.redone += 1
            found = ask()
        return found

    def restore(self, model: nn.Module) -> None:
        """Widen a model that was built anew as the one before it was."""
        if self.whole:
            model.float()
        for place, level in self.levels.items():
            self._set(self.blocks(model)[place], level)

    def _first_overflow(self, model: nn.Module, ask: Callable[[], Tensor]) -> int | None:
        """The first block that says something that is no number; None: it lies outside of them."""
        with _watched(self.blocks(model)) as finite:
            ask()
        return next((place for place, fine in sorted(finite.items()) if not bool(fine)), None)

    def _widen(self, model: nn.Module, place: int | None) -> None:
        level = 0 if place is None else self.levels.get(place, 0) + 1
        if place is None or level > len(self.parts):
            self.whole = True
            model.float()
            return
        self.levels[place] = level
        self._set(self.blocks(model)[place], level)

    def _set(self, block: nn.Module, level: int) -> None:
        for name in self.parts[level - 1]:
            block.get_submodule(name).float()
        vars(block)["island_level"] = level

    def __str__(self) -> str:
        if self.whole:
            return "float16 overflowed outside of the DiT's blocks: all of it computes in float32."
        if not self.levels:
            return "float16 does not overflow in this DiT; what runs along its blocks is float32."
        places = ", ".join(str(place + 1) for place in sorted(self.levels))
        return f"float16 overflowed in block {places} of the DiT: there it computes in float32."


@contextmanager
def _watched(blocks: Sequence[nn.Module]) -> Iterator[dict[int, Tensor]]:
    """While it lasts, whether all that each block says are numbers, by its place."""
    finite: dict[int, Tensor] = {}

    def watch(place: int) -> Any:
        def heard(_: nn.Module, __: object, said: Tensor) -> None:
            finite[place] = torch.isfinite(said).all()

        return heard

    hooks = [block.register_forward_hook(watch(place)) for place, block in enumerate(blocks)]
    try:
        yield finite
    finally:
        for hook in hooks:
            hook.remove()
