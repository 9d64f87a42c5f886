"""AdapterRack: the adapters (LoRA and kin) of a session's checkpoints, as all open pages see and switch them.

Knows a session's `lora`; no page. A change is shown at once and put on between two runs; where it does not fit, what was
there before stands. Where an adapter lies on this machine is told to nobody.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.session_like import SessionLike

STRENGTHS = (-3.0, 3.0)
"""The lowest and highest strength offered: 1 as trained, 0 off, below 0 against it."""
MOST = 8
"""Adapters beside each other."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """One adapter on the rack; `place` is its file or folder."""

    place: str
    name: str
    strength: float = 1.0
    on: bool = True


Slots = tuple[Slot, ...]


class AdapterRack:
    """The slots of each checkpoint by its name, and who wants to hear of changes."""

    def __init__(self, session: SessionLike) -> None:
        self._session = session
        self._slots: dict[str, Slots] = {}
        self._lock, self._applying = threading.RLock(), threading.Lock()
        self._waiting = 0
        self._listeners: list[Callable[[], None]] = []

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
        self._listeners.append(listener)
        return partial(self._let_go, listener)

    def _let_go(self, listener: Callable[[], None]) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    # -- changes: each waits until it is put on ------------------------------------------------------------------------

    def add(self, place: str, by: str = "") -> None:
        """Put an adapter on, by its file or folder on this machine; for the host. CheckpointError where it is none or does not fit."""
        _host_alone(by, "add adapters")
        place = place.strip()
        if not place:
            raise LabError("Write where the adapter lies on this machine: a safetensors file, or a folder with one.")
        if len(self.slots) >= MOST:
            raise LabError(f"{MOST} adapters are here already; remove one first.")
        if any(slot.place == place for slot in self.slots):
            raise LabError("This adapter is here already; move its slider.")
        self._change(lambda slots: (*slots, Slot(place, self._free_name(place))))

    def switch(self, name: str, on: bool) -> None:
        """Switch one on or off; for everybody who uses the session."""
        self._replace(name, on=on)

    def weigh(self, name: str, strength: float, by: str = "") -> None:
        """Give one another strength; for the host."""
        _host_alone(by, "change an adapter's strength")
        low, high = STRENGTHS
        if not low <= strength <= high:
            raise RecipeError(
                f"A strength lies between {low:g} and {high:g}, 1 as trained and 0 off, not at {strength:g}."
            )
        self._replace(name, strength=strength)

    def remove(self, name: str, by: str = "") -> None:
        """Take one off the rack; for the host."""
        _host_alone(by, "remove adapters")
        self._slot(name)
        self._change(lambda slots: tuple(slot for slot in slots if slot.name != name))

    def _replace(self, name: str, **changes: float | bool) -> None:
        self._slot(name)
        self._change(lambda slots: tuple(replace(s, **changes) if s.name == name else s for s in slots))  # type: ignore[arg-type]

    def _slot(self, name: str) -> Slot:
        found = next((slot for slot in self.slots if slot.name == name), None)
        if found is None:
            raise LabError(f"There is no adapter {shown(name, 60)} here; the host may have removed it.")
        return found

    def _change(self, make: Callable[[Slots], Slots]) -> None:
        """Show a change at once, put it on between two runs, and take it back where it does not fit."""
        checkpoint = self._session.name
        with self._lock:
            before = self.slots
            self._slots[checkpoint] = make(before)
            self._waiting += 1
        self._tell()
        try:
            with self._applying:  # the newest of several changes is put on at once
                asked = self._slots[checkpoint]
                names = self._session.lora(*[(s.place, s.strength) for s in asked if s.on])
                self._call_by(checkpoint, asked, names)
        except BaseException:
            self._take_back(checkpoint, before)
            raise
        finally:
            with self._lock:
                self._waiting -= 1
            self._tell()

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

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:  # noqa: BLE001 - a broken page must not keep the others from hearing it
                _log.exception("A page failed to show the adapters.")


def _host_alone(by: str, what: str) -> None:
    """LabError for anybody but the host: an adapter is a file of this machine, and acts for everybody."""
    if by:
        raise LabError(f"Only the host can {what}; you may switch on and off what is here.")
