"""AdapterList: the adapters (LoRA and kin) of a session's checkpoints, as all open pages see and switch them.

Knows a session's `lora`; no page. A change is shown at once and put on between two runs; where it does not fit, what was
there before stands. Where an adapter lies on this machine is told to nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.session_like import SessionLike
from acestep_lab.ui.listeners import Listeners

STRENGTHS = (-3.0, 3.0)
"""The lowest and highest strength offered: 1 as trained, 0 off, below 0 against it."""
MOST = 8
"""Adapters beside each other."""


@dataclass(frozen=True)
class Slot:
    """One adapter of the list; `place` is its file or folder."""

    place: str
    name: str
    strength: float = 1.0
    on: bool = True


Slots = tuple[Slot, ...]


Start = Callable[[Callable[[], None]], None]
"""Does a piece of work, now or on a thread of its own."""


def _at_once(work: Callable[[], None]) -> None:
    work()


class AdapterList:
    """The slots of each checkpoint by its name, and who wants to hear of changes."""

    def __init__(self, session: SessionLike) -> None:
        self._session = session
        self._slots: dict[str, Slots] = {}
        self._lock, self._applying = threading.RLock(), threading.Lock()
        self._waiting = 0
        self._putting_on: set[str] = set()
        self._listeners = Listeners()

    @property
    def slots(self) -> Slots:
        """Those of the checkpoint in use; what a notebook put on by `lab.lora` is among them."""
        known = self._slots.get(self._session.name, ())
        places = {slot.place for slot in known}
        names = {slot.name for slot in known}
        found = [
            Slot(place, name, strength)
            for name, place, strength in self._session.adapters
            if place not in places and name not in names
        ]
        return (*known, *found)

    @property
    def waits(self) -> bool:
        """Whether a change is not put on yet, since a run is under way."""
        return self._waiting > 0

    def wanted(self) -> list[tuple[str | os.PathLike[str], float]]:
        """What is switched on, as `lora` and `start` take it; all of them where none is on."""
        acting = [slot for slot in self.slots if slot.on and slot.strength] or list(self.slots)
        return [(slot.place, slot.strength) for slot in acting]

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` at every change, from any thread; returns the way to stop that."""
        return self._listeners.add(listener)

    # -- changes: each waits until it is put on ------------------------------------------------------------------------

    def add(self, place: str, by: str = "", start: Start = _at_once) -> None:
        """Put an adapter on, by its file or folder on this machine; for the host. CheckpointError where it is none or does not fit."""
        _host_alone(by, "add adapters")
        place = place.strip()
        if not place:
            raise LabError("Write where the adapter lies on this machine: a safetensors file, or a folder with one.")
        if len(self.slots) >= MOST:
            raise LabError(f"{MOST} adapters are here already; remove one first.")
        if any(slot.place == place for slot in self.slots):
            raise LabError("This adapter is here already; move its slider.")
        self._change(lambda slots: (*slots, Slot(place, self._free_name(place))), start)

    def switch(self, name: str, on: bool, start: Start = _at_once) -> None:
        """Switch one on or off; for everybody who uses the session."""
        self._replace(name, start, lambda slot: replace(slot, on=on))

    def weigh(self, name: str, strength: float, by: str = "", start: Start = _at_once) -> None:
        """Give one another strength; for the host."""
        _host_alone(by, "change an adapter's strength")
        low, high = STRENGTHS
        if not low <= strength <= high:
            raise RecipeError(
                f"A strength lies between {low:g} and {high:g}, 1 as trained and 0 off, not at {strength:g}."
            )
        self._replace(name, start, lambda slot: replace(slot, strength=strength))

    def remove(self, name: str, by: str = "", start: Start = _at_once) -> None:
        """Take one off the list; for the host."""
        _host_alone(by, "remove adapters")
        self._slot(name)
        self._change(lambda slots: tuple(slot for slot in slots if slot.name != name), start)

    def _replace(self, name: str, start: Start, change: Callable[[Slot], Slot]) -> None:
        self._slot(name)
        self._change(lambda slots: tuple(change(s) if s.name == name else s for s in slots), start, joins=True)

    def _slot(self, name: str) -> Slot:
        found = next((slot for slot in self.slots if slot.name == name), None)
        if found is None:
            raise LabError(f"There is no adapter {shown(name, 60)} here; the host may have removed it.")
        return found

    def _change(self, make: Callable[[Slots], Slots], start: Start, joins: bool = False) -> None:
        """Show a change at once, and `start` putting it on between two runs; it is taken back where it does not fit.

        One that `joins` does not wait where another is being put on: that one puts on the newest of them.
        """
        checkpoint = self._session.name
        with self._lock:
            before = self.slots
            self._slots[checkpoint] = make(before)
            joined = joins and checkpoint in self._putting_on
            if not joined:
                self._waiting += 1
                self._putting_on.add(checkpoint)
        self._listeners.tell()
        if not joined:
            start(partial(self._apply, checkpoint, before))

    def _apply(self, checkpoint: str, before: Slots) -> None:
        try:
            with self._applying:
                self._put_on(checkpoint)
        except BaseException:
            self._take_back(checkpoint, before)
            with self._applying, contextlib.suppress(LabError):  # what joined it meanwhile is wanted still
                self._put_on(checkpoint)
            raise
        finally:
            with self._lock:
                self._waiting -= 1
            self._listeners.tell()

    def _put_on(self, checkpoint: str) -> None:
        """Put on what is wanted, until nothing else is."""
        with self._lock:
            self._putting_on.add(checkpoint)
        asked: Slots | None = None
        try:
            while (asked := self._newer(checkpoint, asked)) is not None:
                self._call_by(checkpoint, asked, self._session.lora(*_acting(asked)))
        finally:
            with self._lock:
                self._putting_on.discard(checkpoint)

    def _newer(self, checkpoint: str, asked: Slots | None) -> Slots | None:
        """What is wanted now; None where it is what was put on, and whoever comes from now on puts it on themselves."""
        with self._lock:
            wanted = self._slots[checkpoint]
            if asked is not None and _acting(wanted) == _acting(asked):
                self._putting_on.discard(checkpoint)
                return None
            return wanted

    def _call_by(self, checkpoint: str, asked: Slots, names: tuple[str, ...]) -> None:
        """Call those that are on as their files do, where no two are called alike."""
        called = dict(zip((slot.place for slot in asked if slot.on), names, strict=True))
        with self._lock:
            slots = tuple(replace(s, name=called.get(s.place, s.name)) for s in self._slots[checkpoint])
            if len({slot.name for slot in slots}) == len(slots):
                self._slots[checkpoint] = slots

    def _take_back(self, checkpoint: str, before: Slots) -> None:
        """What stood before a change that failed; what others changed meanwhile stays."""
        known = {slot.place for slot in before}
        with self._lock:
            now = self._slots[checkpoint]
            gone = tuple(slot for slot in before if slot.place not in {one.place for one in now})
            self._slots[checkpoint] = (*(slot for slot in now if slot.place in known), *gone)

    def _free_name(self, place: str) -> str:
        """What an adapter is called until its file has told, none twice."""
        plain = os.path.basename(os.path.normpath(place)) or place
        base, taken = plain.removesuffix(".safetensors")[-60:], {slot.name for slot in self.slots}
        return next(name for n in range(1, MOST + 2) if (name := base if n == 1 else f"{base} {n}") not in taken)


def _acting(slots: Slots) -> list[tuple[str, float]]:
    """What is switched on, as `lora` takes it."""
    return [(slot.place, slot.strength) for slot in slots if slot.on]


def _host_alone(by: str, what: str) -> None:
    """LabError for anybody but the host: an adapter is a file of this machine, and acts for everybody."""
    if by:
        raise LabError(f"Only the host can {what}; you may switch on and off what is here.")
