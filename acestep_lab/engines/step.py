"""One step of a loop, as whoever watches sees it. Knows no model and no solver; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Step:
    """Where the loop arrived, and what the music would be if it ended here."""

    index: int
    """Counted from 0."""
    steps: int
    """How many there will be; of tokens, how many at most."""
    t: float
    """Time of `state`: 0 once the music is finished."""
    state: Tensor | None
    """x_t `[items, frames, channels]`; None where an engine has nothing to look at yet."""
    estimate: Tensor | None
    """x0 `[items, frames, channels]`; None where there is no guess at the end, as with token models."""
    items: tuple[int, ...] = (0,)
    """Which recipes of a run these are; a run shows one at a time, its latents as `[frames, channels]`."""
    checkpoint: str = ""
    """The name of the engine that made it, once a run shows it."""

    def __repr__(self) -> str:
        """A line of text: the tensors would fill a screen."""
        where = "" if self.items == (0,) else f", recipe {', '.join(map(str, self.items))}"
        return f"<Step {self.index + 1} of {self.steps}, t = {self.t:.3f}{where}>"

    @property
    def item(self) -> int:
        """Which recipe of a run this is, counted from 0."""
        return self.items[0]

    @property
    def fraction(self) -> float:
        """How much of the work is done, 0 to 1."""
        return (self.index + 1) / self.steps

    def each(self) -> Iterator[Step]:
        """One step for every item, latents `[frames, channels]`."""
        for row, item in enumerate(self.items):
            state, estimate = (None if one is None else one[row] for one in (self.state, self.estimate))
            yield replace(self, state=state, estimate=estimate, items=(item,))
