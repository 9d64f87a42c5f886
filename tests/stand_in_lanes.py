"""Two lanes that are not there, as late and as strict as a card may be.

A copy is done when somebody waits for it and not before; until then, what is in its room is NaN, so that work that begins too early
gives NaN. Whoever writes over memory that is still being read or written is found out: every use of a piece of memory is written down
with all that was known to be done before it, and two uses of which neither knew of the other, one of them writing, are a race.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from acestep_lab.models.lanes import Pair, Watch, note_copy

WORK, COPY, HOST = "work", "copy", "host"


def _copied(pairs: Sequence[Pair]) -> None:
    for into, source in pairs:
        into.copy_(source)


@dataclass(frozen=True)
class Mark:
    """A point in a lane: everything known to be done there."""

    done: frozenset[int]
    time: int


@dataclass
class Use:
    """One use of a piece of memory: its number, where, and what was known to be done before."""

    number: int
    memory: int
    writes: bool
    what: str
    known: frozenset[int]


@dataclass
class StandInLanes:
    """Lanes of a card whose memory lies in this machine."""

    free: int = 8 * 10**9
    watch: Watch | None = None
    log: list[str] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    races: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.known: dict[str, set[int]] = {WORK: set(), COPY: set(), HOST: set()}
        self._late: dict[int, Callable[[], None]] = {}
        self._pinned: list[Tensor] = []
        self._rooms: list[Tensor] = []

    # -- memory --------------------------------------------------------------------------------------------------------

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self._pinned.append(torch.zeros(tuple(shape), dtype=dtype))
        return self._pinned[-1]

    def room(self, size: int) -> Tensor:
        self._rooms.append(torch.full((size,), 0xFF, dtype=torch.uint8))  # NaN in every floating dtype
        self.sizes.append(size)
        return self._rooms[-1]

    def holds(self, tensor: Tensor) -> bool:
        """Everything that is not pinned lies on the card, but for what a checkpoint came with."""
        return any(tensor.untyped_storage().data_ptr() == one.untyped_storage().data_ptr() for one in self._rooms)

    def free_bytes(self) -> int:
        return self.free

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def copy(self, what: str, pairs: Sequence[Pair], after: Iterable[Mark] = ()) -> Mark:
        since = Mark(frozenset(self.known[COPY]), len(self.log))
        for mark in after:
            self.known[COPY] |= mark.done
        number = -1
        for into, source in pairs:
            self._use(COPY, source, False, what)
            number = self._use(COPY, into, True, what)
        self._late[number] = partial(_copied, list(pairs))
        self.log.append(f"copy {what}")
        until = Mark(frozenset(self.known[COPY]), len(self.log))
        note_copy(self, what, pairs, since, until)
        return until

    def mark(self) -> Mark:
        self.log.append("mark")
        return Mark(frozenset(self.known[WORK]), len(self.log))

    def work_after(self, mark: Mark) -> None:
        self.known[WORK] |= mark.done
        self._arrive(mark)

    def wait(self, mark: Mark) -> None:
        self.log.append("wait")
        self.known[HOST] |= mark.done
        self._arrive(mark)

    def seconds(self, since: Mark, until: Mark) -> float:
        return float(until.time - since.time)

    def _arrive(self, mark: Mark) -> None:
        """Copies up to a mark are done now, in order: nobody could have relied on them before."""
        for number in sorted(number for number in self._late if number in mark.done):
            self._late.pop(number)()

    # -- who uses what -------------------------------------------------------------------------------------------------

    def works_with(self, tensor: Tensor, what: str) -> None:
        """Work that reads a tensor was asked for."""
        self._use(WORK, tensor, False, what)
        self.log.append(f"work {what}")

    def _use(self, lane: str, tensor: Tensor, writes: bool, what: str) -> int:
        """Write a use down, and find out whether it comes too early."""
        memory, known = tensor.untyped_storage().data_ptr(), frozenset(self.known[lane])
        for other in self.uses:
            if other.memory == memory and (writes or other.writes) and other.number not in known:
                self.races.append(f"{what} does not wait for {other.what}")
        self.uses.append(Use(len(self.uses), memory, writes, f"{lane} {what}", known))
        self.known[lane].add(len(self.uses) - 1)
        return len(self.uses) - 1
