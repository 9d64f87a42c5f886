"""Weights that wait in pinned memory and come to a card while it works. Knows modules and lanes, no plan and no names.

A component that takes turns (`Homes`) is packed into pinned memory when it first leaves; from then on it comes in the copying lane,
and leaves without a copy, since nothing in it has changed. A component that is streamed (`Streamed`) has two rooms on the card, taken
in turn: while one block works in the one, the next arrives in the other. No block begins before it has arrived, none arrives in a
room whose last block is still at work, and the processor waits for neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from acestep_lab.models.lanes import PIECE, Lanes, Pair

CHUNK = 64 * 2**20
"""Bytes pinned in one go: torch rounds each up to a power of two, so that few large ones would waste half."""
ALIGNED = 256
"""Every tensor begins at a multiple of so many bytes, as a card likes it."""
LEAVES = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
"""The layers that come one by one; what else there is (norms, tables) is small and stays while the component works."""


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters and buffers of modules, each once."""
    several = (one for module in modules for one in (*module.parameters(), *module.buffers()))
    return list({id(one): one for one in several}.values())


def untracked() -> Any:
    """Where weights change their place: neither gradients nor inference mode may mark what is made."""
    return torch.inference_mode(False)


class Pack:
    """Some tensors in one piece of pinned memory: at home there, or looking at as many bytes on the card."""

    def __init__(self, lanes: Lanes, tensors: Sequence[Tensor], what: str) -> None:
        self.tensors = list(tensors)
        sizes = [-(-one.nbytes // ALIGNED) * ALIGNED for one in self.tensors]
        self._starts = [0, *itertools.accumulate(sizes)][:-1]
        self.size, self._like = sum(sizes), [(one.dtype, one.shape, _strides(one)) for one in self.tensors]
        self.home = lanes.pinned((self.size,), torch.uint8)
        self._at_home = self._views(self.home)
        self._move_in(lanes, what)

    def _move_in(self, lanes: Lanes, what: str) -> None:
        """Take up the tensors from wherever they are."""
        away: list[Pair] = []
        for place, one in zip(self._at_home, self.tensors, strict=True):
            if lanes.holds(one):
                away.append((place, one.detach()))
            else:
                place.copy_(one.detach())
        if away:
            lanes.wait(lanes.copy(what, away, after=[lanes.mark()]))
        self._look_at(self._at_home)

    def _views(self, room: Tensor) -> list[Tensor]:
        """The tensors' shapes over so many bytes."""
        return [
            room[start : start + shape.numel() * dtype.itemsize].view(dtype).as_strided(shape, strides)
            for start, (dtype, shape, strides) in zip(self._starts, self._like, strict=True)
        ]

    def _look_at(self, places: Sequence[Tensor]) -> None:
        for one, place in zip(self.tensors, places, strict=True):
            one.data = place
        self._seen = [(one.data_ptr(), _version(one)) for one in self.tensors]

    def move_to(self, room: Tensor) -> None:
        """Let the tensors be what has been, or is being, copied into a room."""
        self._look_at(self._views(room))

    def return_unchanged(self) -> None:
        """Let the tensors be what lies at home."""
        self._look_at(self._at_home)

    def go_home(self, lanes: Lanes, what: str) -> None:
        """The same; what was changed meanwhile is copied there first."""
        pairs = [
            (place, one.detach())
            for place, one, seen in zip(self._at_home, self.tensors, self._seen, strict=True)
            if (one.data_ptr(), _version(one)) != seen
        ]
        if pairs:
            lanes.wait(lanes.copy(what, pairs, after=[lanes.mark()]))
        self.return_unchanged()

    @property
    def is_whole(self) -> bool:
        """Whether every tensor is still of the dtype and shape it was packed with."""
        return all((one.dtype, one.shape) == like[:2] for one, like in zip(self.tensors, self._like, strict=True))


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """How a tensor lies in memory, where it fills what it spans; else how it would."""
    spans = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    dense = tensor.numel() > 0 and spans == tensor.numel()
    return tensor.stride() if dense else torch.empty(tensor.shape, device="meta").stride()


def _version(tensor: Tensor) -> int:
    """Counts up with every change in place; of a tensor that does not count, never the same."""
    return next(_never) if tensor.is_inference() else tensor._version


_never = itertools.count(-1, -1)


def packs(lanes: Lanes, tensors: Sequence[Tensor], what: str) -> list[Pack]:
    """The tensors in order, as many to a pack as a chunk holds."""
    groups: list[list[Tensor]] = []
    room = 0
    for one in tensors:
        if not groups or one.nbytes > room:
            groups.append([])
            room = CHUNK
        groups[-1].append(one)
        room -= one.nbytes
    return [Pack(lanes, group, what) for group in groups]


def _same(first: Sequence[Pack], tensors: Sequence[Tensor]) -> bool:
    """Whether packs hold exactly these tensors, as they are now."""
    held = [one for pack in first for one in pack.tensors]
    return [id(one) for one in held] == [id(one) for one in tensors] and all(pack.is_whole for pack in first)


class Homes:
    """Where components that take turns wait: pinned, as far as `most` bytes allow."""

    def __init__(self, lanes: Lanes, most: float) -> None:
        self.lanes, self.most = lanes, most
        self._packs: WeakKeyDictionary[nn.Module, list[Pack]] = WeakKeyDictionary()

    @property
    def bytes(self) -> int:
        """Pinned now."""
        return sum(pack.size for some in self._packs.values() for pack in some)

    def fetch(self, module: nn.Module, what: str) -> bool:
        """Bring a module that waits here; False for one that does not. Work asked for afterwards begins when it has come."""
        known = self._packs.get(module)
        if known is None or not _same(known, tensors_of([module])):
            self._packs.pop(module, None)
            return False
        with untracked(), torch.no_grad():
            rooms = [self.lanes.room(pack.size) for pack in known]
            pairs = [(room, pack.home) for room, pack in zip(rooms, known, strict=True)]
            self.lanes.work_after(self.lanes.copy(what, pairs, after=[self.lanes.mark()]))
            for pack, room in zip(known, rooms, strict=True):
                pack.move_to(room)
        return True

    def keep(self, module: nn.Module, what: str) -> bool:
        """Take a module off the card; False where it may not be pinned here. Its memory on the card is free afterwards."""
        tensors = tensors_of([module])
        if not tensors:  # its numbers are where no tensor is: an exported graph's
            return False
        with untracked(), torch.no_grad():
            known = self._packs.get(module)
            if known is not None and _same(known, tensors):
                for pack in known:
                    pack.go_home(self.lanes, what)
                return True
            self._packs.pop(module, None)
            if self.bytes + sum(one.nbytes for one in tensors) > self.most:
                return False
            self._packs[module] = packs(self.lanes, tensors, what)
        return True

    def can_stream(self, module: nn.Module) -> bool:
        """Whether a module may be pinned block by block; it no longer waits here as a whole."""
        self._packs.pop(module, None)
        return self.bytes + sum(one.nbytes for one in tensors_of([module])) <= self.most


class Streamed:
    """A component whose blocks ("block") or layers ("leaf") come to the card one ahead of the one at work.

    Which follows which is learnt in the first run through it; where another one follows later, that one is waited for. What is in no
    block comes with the first and stays until `leave`.
    """

    def __init__(self, module: nn.Module, level: str, lanes: Lanes, name: str) -> None:
        self.module, self.lanes, self.name = module, lanes, name
        self.parts = list(blocks_of(module) if level == "block" else leaves_of(module))
        self._kept: dict[int, list[Pack]] = {}
        self._rest: list[Pack] = []
        self._rest_is_here = False
        self._follows: dict[int, int] = {}
        self._last: int | None = None
        self._rooms: list[Tensor | None] = [None, None]
        self._free_after: list[list[Any]] = [[], []]  # marks after which a room may be written
        self._since: Any = None
        self._here: dict[
            int, tuple[int, Any]
        ] = {}  # parts in a room, or on their way there: which room, and when they have come
        for number, part in enumerate(self.parts):
            part.register_forward_pre_hook(partial(self._before, number), prepend=True)
            part.register_forward_hook(partial(self._after, number), always_call=True)
        module.register_forward_pre_hook(self._begin, prepend=True, with_kwargs=True)
        self._card = lanes.room(0).device
        with untracked(), torch.no_grad():
            for number in range(len(self.parts)):
                self._packed(number)
            self._pack_rest()
        self._large = sum(one.nbytes for one in tensors_of([module])) // 8

    @property
    def bytes(self) -> int:
        """What it takes of the card: two rooms, and what is in no block."""
        rooms = sum(room.nbytes for room in self._rooms if room is not None)
        return rooms + sum(pack.size for pack in self._rest) * self._rest_is_here

    def _packed(self, number: int) -> list[Pack]:
        """A part's tensors in pinned memory, packed anew where others are there now (an adapter's)."""
        tensors, known = tensors_of([self.parts[number]]), self._kept.get(number)
        if known is None or not _same(known, tensors):
            self._here.pop(number, None)
            self._kept[number] = known = packs(self.lanes, tensors, self.name)
        return known

    def _pack_rest(self) -> None:
        streamed = {id(one) for one in tensors_of(self.parts)}
        rest = [one for one in tensors_of([self.module]) if id(one) not in streamed]
        if not _same(self._rest, rest):
            self._rest, self._rest_is_here = packs(self.lanes, rest, self.name), False

    def _begin(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Before the component works: what is in no block comes; what it is given goes where it works."""
        with untracked(), torch.no_grad():
            self._pack_rest()
            if self._rest and not self._rest_is_here:
                self._bring_rest()
        return tree_map_only(Tensor, lambda one: one.to(self._card), (given, named))

    def _bring_rest(self) -> None:
        rooms = [self.lanes.room(pack.size) for pack in self._rest]
        pairs = [(room, pack.home) for room, pack in zip(rooms, self._rest, strict=True)]
        self.lanes.work_after(self.lanes.copy(self.name, pairs, after=[self.lanes.mark()]))
        for pack, room in zip(self._rest, rooms, strict=True):
            pack.move_to(room)
        self._rest_is_here = True

    def _before(self, number: int, part: nn.Module, given: object) -> None:
        """Before a part works: it has come, or is waited for in the working lane; the next one sets out."""
        with untracked(), torch.no_grad():
            self._packed(number)
            if number not in self._here:
                self._send(number, self._room_beside(None))
            room, came = self._here[number]
            self.lanes.work_after(came)
            self._move_in(number, room)
            if self._last is not None:
                self._follows[self._last] = number
            self._last = number
            following = self._follows.get(number, number)
            if following != number and following not in self._here:
                self._packed(following)
                self._send(following, self._room_beside(room))
            self._since = self.lanes.mark() if self.lanes.watch is not None else None

    def _after(self, number: int, part: nn.Module, given: object, made: object) -> None:
        """After a part was asked to work: it is at home again, and its room is free once the work is done."""
        with untracked(), torch.no_grad():
            if number not in self._here:  # there was no room for it
                return
            room, _ = self._here.pop(number)
            for pack in self._kept[number]:
                pack.return_unchanged()
            done = self.lanes.mark()
            self._free_after[room] = [done]
            if self.lanes.watch is not None and self._since is not None:
                self.lanes.watch.note(self.lanes, PIECE, self._title(number), self._since, done)

    def _room_beside(self, taken: int | None) -> int:
        """A room for the next part: not the one at work, and rather an empty one than another that was sent for in vain."""
        full = [room for room, _ in self._here.values()]
        choice = [room for room in (0, 1) if room != taken]
        return min(choice, key=lambda room: room in full)

    def _send(self, number: int, room: int) -> None:
        """Let a part set out for a room; whoever was sent there in vain is forgotten."""
        for other in [one for one, (where, _) in self._here.items() if where == room]:
            self._free_after[room].append(self._here.pop(other)[1])
        size = sum(pack.size for pack in self._kept[number])
        place = self._rooms[room]
        if place is None or place.nbytes < size or (place.nbytes > 4 * size and place.nbytes > self._large):
            self._rooms[room] = place = (
                None  # given back before another is asked for; one for a table of words is not kept
            )
            self._rooms[room] = place = self.lanes.room(size)
            self._free_after[room] = [self.lanes.mark()]  # whose memory it was before may still be at work
        pairs = [(part, pack.home) for part, pack in zip(self._slices(place, number), self._kept[number], strict=True)]
        self._here[number] = room, self.lanes.copy(self._title(number), pairs, after=self._free_after[room])

    def _slices(self, room: Tensor, number: int) -> Iterator[Tensor]:
        start = 0
        for pack in self._kept[number]:
            yield room[start : start + pack.size]
            start += pack.size

    def _move_in(self, number: int, room: int) -> None:
        place = self._rooms[room]
        assert place is not None
        for pack, some in zip(self._kept[number], self._slices(place, number), strict=True):
            pack.move_to(some)

    def _title(self, number: int) -> str:
        return f"{self.name} {number + 1}"

    def leave(self) -> None:
        """Give the card back all that it takes; the next run brings it again."""
        with untracked(), torch.no_grad():
            if self._rest_is_here:
                for pack in self._rest:
                    pack.return_unchanged()
            self._rest_is_here, self._last = False, None
            self._here.clear()
            self._rooms = [None, None]


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The members of every list of modules that is in no other list."""
    is_list = isinstance(module, nn.ModuleList | nn.Sequential)
    for child in module.children():
        if not is_list or isinstance(child, nn.ModuleList):
            yield from blocks_of(child)
        elif tensors_of([child]):
            yield child


def leaves_of(module: nn.Module) -> Iterator[nn.Module]:
    """The layers that hold nearly all weights."""
    for one in module.modules():
        if isinstance(one, LEAVES) and tensors_of([one]):
            yield one
