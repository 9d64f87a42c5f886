"""The adapters (LoRA and kin) of the REST door's clients: each key has its own, and changes nobody else's sound.

Knows files and a session's `adapters`; no server. What a client has loaded goes to `start(adapters=…)` with each of its
tasks, and is put on for that run alone; whoever has loaded none hears those that `lab.lora` put on for everybody. A file is
taken from the folder of adapters (`ACESTEP_LAB_ADAPTERS`) or from what the client sent; the host may also name one in the
library or in the system's temp folder.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acestep_lab.errors import CheckpointError, RecipeError, shown
from acestep_lab.prompt.checks import plain_number
from acestep_lab.session_like import SessionLike

MOST = 8
"""Adapters of one client beside each other."""
MOST_NAME = 100
MOST_HEADER = 8 * 2**20
"""Bytes of the longest header of a file that is sent: an adapter's has some hundred kilobytes, and all of it is read at once."""
Examine = Callable[[str], tuple[str, str]]
"""Gives the name and kind ("lora", "lokr", …) of the adapter in a file or folder; CheckpointError where it is none."""
Find = Callable[[str, str], str]
"""`find(place, owner)`: the real path of an adapter that somebody names; RecipeError where it may not be read."""

Used = Callable[[], Collection[str]]
"""Gives the places of the adapters that tasks still need."""


def examined(place: str) -> tuple[str, str]:
    """The name and kind of an adapter, of which only the headers are read; CheckpointError where it is none."""
    from acestep_lab.models.adapters import Adapter

    _must_be_short(Path(place))
    found = Adapter.open(place)
    return found.name, found.kind


def _must_be_short(file: Path) -> None:
    """CheckpointError for a file whose header would take long to read, and gigabytes."""
    if file.is_file():
        with file.open("rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if MOST_HEADER < length < file.stat().st_size:
            raise CheckpointError(f"{file} is no adapter: its header has {length:,} bytes.")


@dataclass(frozen=True)
class LoadedAdapter:
    """One adapter that a client has loaded."""

    name: str
    place: str
    scale: float = 1.0
    kind: str = "lora"
    sent: bool = False
    """Whether the client sent the file itself: it goes when nobody needs it any more."""


@dataclass(frozen=True)
class _Own:
    """What one client has loaded, the newest last."""

    slots: tuple[LoadedAdapter, ...] = ()
    on: bool = True


class ClientAdapters:
    """Who has loaded which adapters, as long as the door stands."""

    def __init__(self, session: SessionLike, find: Find, examine: Examine = examined, used: Used = tuple) -> None:
        self._session, self._find, self._examine, self._used = session, find, examine, used
        self._own: dict[str, _Own] = {}
        self._left: set[str] = set()
        """Sent files that are no client's any more."""
        self._lock = threading.Lock()

    # -- what a client changes

    def load(self, place: str, name: str = "", owner: str = "", sent: Path | None = None) -> str:
        """Put one more on, or another in the place of one of the same name; its name. Errors leave all as it was."""
        real = str(sent) if sent is not None else self._find(place, owner)
        called, kind = self._looked_at(real, place if sent is None else "The file that was sent")
        if sent is not None and not name.strip():
            called = "adapter"  # the file's own name here is drawn by lot
        with self._lock:
            own = self._own.get(owner, _Own())
            name = _name(name) or _free(called, real, own.slots)
            kept = tuple(slot for slot in own.slots if slot.name != name and slot.place != real)  # once each
            if len(kept) >= MOST:
                raise RecipeError(f"{MOST} adapters are loaded already; unload them first.")
            self._leave(own.slots, kept)
            self._own[owner] = _Own((*kept, LoadedAdapter(name, real, 1.0, kind, sent is not None)))
        self.sweep()
        return name

    def _looked_at(self, real: str, called: str) -> tuple[str, str]:
        """The name and kind of an adapter; what is wrong with it is told by the name its client knows it by."""
        try:
            return self._examine(real)
        except CheckpointError as problem:
            here, told = Path(real), str(problem)
            for name in (real, f"{here.parent.name}/{here.name}"):
                told = told.replace(name, called)
            raise CheckpointError(told) from None

    def unload(self, owner: str = "") -> tuple[str, ...]:
        """Take all of somebody's off: the bare model from now on; their names."""
        with self._lock:
            slots = self._slots(owner)
            self._leave(slots, ())
            if slots:
                self._own[owner] = _Own()
        self.sweep()
        return tuple(slot.name for slot in slots)

    def toggle(self, on: bool, owner: str = "") -> None:
        """Switch all of somebody's off, and on again as they were; RecipeError where there are none."""
        with self._lock:
            self._own[owner] = _Own(self._some(owner), on)

    def scale(self, scale: float, name: str = "", owner: str = "") -> str:
        """Give one of somebody's another strength, 0 to 1: the one of this name, else the newest; its name. RecipeError else."""
        if not 0.0 <= scale <= 1.0:
            raise RecipeError(f"A scale lies between 0 (off) and 1 (as trained), not at {shown(scale)}.")
        with self._lock:
            slots = self._some(owner)
            name = _name(name) or slots[-1].name
            if name not in {slot.name for slot in slots}:
                raise RecipeError(f"No adapter {shown(name)} is loaded; there are {', '.join(s.name for s in slots)}.")
            changed = tuple(replace(slot, scale=scale) if slot.name == name else slot for slot in slots)
            self._own[owner] = _Own(changed, self._is_on(owner))
        return name

    # -- what is asked

    def status(self, owner: str = "") -> dict[str, Any]:
        """What somebody's next task sounds with, under the names of ACE-Step's server; where files lie is told to nobody."""
        with self._lock:
            slots, on, shared = self._slots(owner), self._is_on(owner), owner not in self._own
        newest = slots[-1] if slots else None
        return {
            "lora_loaded": bool(slots), "use_lora": bool(slots) and on, "lora_scale": newest.scale if newest else 1.0,
            "adapter_type": newest.kind if newest else None, "scales": {slot.name: slot.scale for slot in slots},
            "active_adapter": newest.name if newest else None, "adapters": [slot.name for slot in slots],
            "synthetic_default_mode": False, "of_session": bool(slots) and shared,
        }  # fmt: skip

    def wanted(self, owner: str = "") -> tuple[tuple[str, float], ...] | None:
        """What `start(adapters=…)` takes for somebody's task; None for whoever has loaded none: those of the session."""
        with self._lock:
            own = self._own.get(owner)
        return None if own is None else tuple((slot.place, slot.scale) for slot in own.slots if own.on and slot.scale)

    def sweep(self) -> None:
        """Remove the sent files that nobody has loaded any more and no task needs."""
        used = self._used()
        with self._lock:
            gone = {place for place in self._left if place not in used}
            self._left -= gone
        for place in gone:
            with contextlib.suppress(OSError):  # the folder is a temporary one
                Path(place).unlink(missing_ok=True)

    # -- inside: the lock is held

    def _slots(self, owner: str) -> tuple[LoadedAdapter, ...]:
        """Somebody's own, or those of the session."""
        own = self._own.get(owner)
        if own is not None:
            return own.slots
        return tuple(LoadedAdapter(name, place, strength) for name, place, strength in self._session.adapters)

    def _is_on(self, owner: str) -> bool:
        return self._own.get(owner, _Own()).on

    def _some(self, owner: str) -> tuple[LoadedAdapter, ...]:
        slots = self._slots(owner)
        if not slots:
            raise RecipeError("No adapter is loaded; load one with /v1/lora/load.")
        return slots

    def _leave(self, before: tuple[LoadedAdapter, ...], kept: tuple[LoadedAdapter, ...]) -> None:
        self._left |= {slot.place for slot in before if slot.sent and slot not in kept}


def _name(name: str) -> str:
    name = name.strip()
    if len(name) > MOST_NAME or not name.isprintable():
        raise RecipeError(f"The name of an adapter has at most {MOST_NAME} characters that can be printed.")
    return name


def _free(called: str, place: str, slots: tuple[LoadedAdapter, ...]) -> str:
    """What an adapter is called that nobody named: as its file says, with a number where another is called so already."""
    base = "".join(one for one in called if one.isprintable()).strip()[:MOST_NAME] or "adapter"
    taken = {slot.name for slot in slots if slot.place != place}
    return next(name for n in range(1, MOST + 2) if (name := base if n == 1 else f"{base} {n}") not in taken)


# -- the routes' verbs


def load(adapters: ClientAdapters, fields: Mapping[str, Any], sent: Path | None, owner: str) -> dict[str, Any]:
    """`/v1/lora/load`: `lora_path`, or a file that came along, and perhaps an `adapter_name`."""
    place = _text(fields, "lora_path")
    if sent is None and not place.strip():
        raise RecipeError(
            "lora_path names the adapter: its file or folder in the folder of adapters, or send the file."
        )
    name = adapters.load(place, _text(fields, "adapter_name"), owner, sent)
    return {"message": f"The adapter {name} is loaded.", "lora_path": place, "adapter_name": name}


def unload(adapters: ClientAdapters, owner: str) -> dict[str, Any]:
    """`/v1/lora/unload`: all of the asker's."""
    names = adapters.unload(owner)
    return {"message": f"Unloaded: {', '.join(names)}." if names else "No adapter was loaded."}


def toggle(adapters: ClientAdapters, fields: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`/v1/lora/toggle`: `use_lora`."""
    on = _truth(fields.get("use_lora"))
    adapters.toggle(on, owner)
    return {"message": f"The adapters are {'on' if on else 'off'}.", "use_lora": on}


def scale(adapters: ClientAdapters, fields: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`/v1/lora/scale`: `scale`, and perhaps the `adapter_name` it is of."""
    asked = _number("scale", fields.get("scale"))
    name = adapters.scale(asked, _text(fields, "adapter_name"), owner)
    return {"message": f"The scale of {name} is {asked:g}.", "scale": asked, "adapter_name": name}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise RecipeError(f"{name} is text, not {shown(value)}.")
    return value or ""


def _number(name: str, value: object) -> float:
    """A finite number, as JSON or as a form says it."""
    try:
        found = plain_number(float(value) if isinstance(value, str) else value)
    except ValueError:
        found = None
    if found is None:
        raise RecipeError(f"{name} is a number, not {shown(value)}.")
    return found


def _truth(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in ("true", "1", "yes", "y", "on", "false", "0", "no", "n", "off"):
        raise RecipeError(f"use_lora is true or false, not {shown(value)}.")
    return word in ("true", "1", "yes", "y", "on")
