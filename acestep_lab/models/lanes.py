"""The two lanes of a card: one works, one copies, and marks let one wait for the other. Knows tensors, no modules and no music.

::

    lanes = lanes_of(torch.device("cuda"))          # None where there is one lane only: a CPU, an Apple GPU
    came = lanes.copy("block 3", [(room, pinned)], after=[done])    # begins once `done` is reached; nobody waits here
    lanes.work_after(came)                          # what is asked for from now on begins after the copy
    done = lanes.mark()                             # what has been asked for up to here

Memory that a card reads while the processor goes on is pinned: it stays where it is. With a `Watch` set, every copy and every piece of
work is written down with its time, for `Session.profile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from acestep_lab.settings import OFF, Settings

Pair = tuple[Tensor, Tensor]
"""Where to, and what: two tensors of one size."""
WORK, PIECE, COMES, GOES = "components", "pieces", "comes", "goes home"
"""What a stretch of time was spent on: a component at work, a tile or block of it, bytes on their way to the card, or from it."""


@dataclass(frozen=True)
class Stretch:
    """What one lane did for a while."""

    kind: str  # WORK, PIECE, COMES or GOES
    what: str
    start: float  # seconds since the watch began
    end: float
    bytes: int = 0


@dataclass
class Watch:
    """What is written down of the lanes while somebody watches; marks become seconds when it is read."""

    noted: list[tuple[Lanes, str, str, int, Any, Any]] = field(default_factory=list)
    begins: dict[int, Any] = field(default_factory=dict)

    def note(self, lanes: Lanes, kind: str, what: str, since: object, until: object, size: int = 0) -> None:
        """Write down what happened between two marks."""
        self.noted.append((lanes, kind, what, size, since, until))

    def read(self) -> tuple[Stretch, ...]:
        """Everything in the order in which it began; waits for what is not done yet."""
        found = []
        for lanes, kind, what, size, since, until in self.noted:
            lanes.wait(until)
            begin = self.begins[id(lanes)]
            found.append(Stretch(kind, what, lanes.seconds(begin, since), lanes.seconds(begin, until), size))
        return tuple(sorted(found, key=lambda one: one.start))


class Lanes(Protocol):
    """A card that works and copies at the same time. A mark is a point in one lane; the tests' stand-in checks who waits for which."""

    watch: Watch | None

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """An empty tensor of the host that the card reads and writes by itself."""

    def room(self, size: int) -> Tensor:
        """So many bytes on the card, empty."""

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies on the card."""

    def free_bytes(self) -> int:
        """Bytes that can be had on the card now."""

    def copy(self, what: str, pairs: Sequence[Pair], after: Iterable[Any] = ()) -> Any:
        """Copy in the copying lane, once the marks `after` are reached; the mark at its end. Nobody waits here."""

    def mark(self) -> Any:
        """The point in the working lane that is reached when all that was asked for so far is done."""

    def work_after(self, mark: Any) -> None:
        """What is asked of the card from now on begins after a mark."""

    def wait(self, mark: Any) -> None:
        """The processor waits here until a mark is reached."""

    def seconds(self, since: Any, until: Any) -> float:
        """Seconds from one mark to another; both reached, and made while somebody watched."""


class CardLanes:
    """The lanes of a torch device that has streams: CUDA, ROCm, XPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.watch: Watch | None = None
        self._torch: Any = getattr(torch, device.type)
        self._copying = self._torch.Stream(device=device)

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def room(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def holds(self, tensor: Tensor) -> bool:
        return tensor.device.type == self.device.type

    def free_bytes(self) -> int:
        """What the driver has, and what torch keeps of it and does not use."""
        free, _ = self._torch.mem_get_info(self.device)
        return int(free + self._torch.memory_reserved(self.device) - self._torch.memory_allocated(self.device))

    def copy(self, what: str, pairs: Sequence[Pair], after: Iterable[Any] = ()) -> Any:
        for mark in after:
            self._copying.wait_event(mark)
        with self._torch.stream(self._copying):
            since = self.mark()
            for into, source in pairs:
                into.copy_(source, non_blocking=True)
                for one in (into, source):
                    if self.holds(one):
                        one.record_stream(self._copying)  # its memory is nobody else's before the copy is through
            until = self.mark()
        note_copy(self, what, pairs, since, until)
        return until

    def mark(self) -> Any:
        event = self._torch.Event(enable_timing=self.watch is not None)
        event.record(self._torch.current_stream(self.device))
        return event

    def work_after(self, mark: Any) -> None:
        self._torch.current_stream(self.device).wait_event(mark)

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def seconds(self, since: Any, until: Any) -> float:
        return float(since.elapsed_time(until)) / 1000


def note_copy(lanes: Lanes, what: str, pairs: Sequence[Pair], since: object, until: object) -> None:
    """Write a copy down where somebody watches."""
    if lanes.watch is not None and pairs:
        size, kind = sum(source.nbytes for _, source in pairs), GOES if lanes.holds(pairs[0][1]) else COMES
        lanes.watch.note(lanes, kind, what, since, until, size)


@contextmanager
def at_work(lanes: Lanes | None, kind: str, what: str) -> Iterator[None]:
    """Write down, where somebody watches, what the card was asked for inside."""
    watch = None if lanes is None else lanes.watch
    if lanes is None or watch is None:
        yield
        return
    since = lanes.mark()
    yield
    watch.note(lanes, kind, what, since, lanes.mark())


@contextmanager
def watching(watch: Watch, several: Iterable[Lanes]) -> Iterator[Watch]:
    """For a time, write down what these lanes do."""
    listed = list(several)
    for lanes in listed:
        lanes.watch = watch
        watch.begins[id(lanes)] = lanes.mark()
    try:
        yield watch
    finally:
        for lanes in listed:
            lanes.watch = None


def lanes_of(device: torch.device) -> Lanes | None:
    """The two lanes of a device; None where it has one, or where the setting `overlap` is off."""
    has_streams = device.type in ("cuda", "xpu")
    return CardLanes(device) if has_streams and Settings.read().value("overlap") not in OFF else None
