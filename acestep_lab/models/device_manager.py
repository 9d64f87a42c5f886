"""Who is on the accelerator: the only file that moves components. It knows no music and no sampler.

::

    devices = DeviceManager(checkpoint.build, arrangement)
    with devices.on("dit") as dit:          # entered per step, so a listener may decode or plan in between
        velocity = dit(...)
    velocity = devices.run_with_retry("dit", lambda dit: dit(...))    # the same, and steps down when memory runs out

A component is built when it is first entered, once, and waits in RAM when another one needs its place; where RAM is the memory
(a CPU, an Apple GPU) it is let go and loaded again. One thread works at a time; entering again from the same thread is free.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from acestep_lab.errors import MachineError
from acestep_lab.models import storage
from acestep_lab.models.memory_plan import MemoryPlan, budget, plan_of_tier
from acestep_lab.models.tiers import Machine, Tier, ram_bytes

T = TypeVar("T")


class Mover(Protocol):
    """What carries modules to and from a device; the tests' one counts, and runs out of memory on demand."""

    def bring(self, module: nn.Module) -> None: ...
    def park(self, module: nn.Module) -> None: ...
    def stream(self, module: nn.Module, level: str) -> None: ...
    def tidy(self) -> None: ...


class DeviceMover:
    """Carries modules between RAM and a torch device."""

    def __init__(self, device: str | torch.device, fraction: float | None = None):
        self.device = torch.device(device)
        if fraction is not None and self.device.type != "cpu":
            where = () if self.device.index is None else (self.device.index,)
            getattr(torch, self.device.type).set_per_process_memory_fraction(fraction, *where)

    def bring(self, module: nn.Module) -> None:
        module.to(self.device)

    def park(self, module: nn.Module) -> None:
        module.to("cpu")

    def stream(self, module: nn.Module, level: str) -> None:
        """From now on only the block ("block") or layer ("leaf") at work is on the device: diffusers' group offload."""
        from diffusers.hooks import apply_group_offloading

        apply_group_offloading(
            module,
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type=f"{level}_level",
            num_blocks_per_group=1 if level == "block" else None,
            use_stream=self.device.type == "cuda",
            low_cpu_mem_usage=True,
        )

    def tidy(self) -> None:
        """Give freed memory back to the device."""
        gc.collect()
        if self.device.type in ("cuda", "xpu", "mps"):
            getattr(torch, self.device.type).empty_cache()


@dataclass
class _Loaded:
    """A built component: what was done to it, and whether it is at work now."""

    module: nn.Module
    stored: str = "full"
    streamed: str = ""
    aboard: bool = False
    entered: int = 0
    last_used: int = 0


@dataclass(frozen=True)
class Piece:
    """What a plan for memory asks of a recipe."""

    seconds: float | None


class DeviceManager:
    """Builds components when they are first wanted and keeps no more aboard than the arrangement allows.

    `build` makes a component on the CPU in the arrangement's dtype, with any LoRA it is to carry; `mover` makes the carrier for an
    arrangement's device; `say` hears every sentence about a change of arrangement.
    """

    def __init__(
        self,
        build: Callable[[str], nn.Module],
        arrangement: MemoryPlan | Tier | None = None,
        mover: Callable[[MemoryPlan], Mover] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.build = build
        self.memory_plan = plan_of_tier(arrangement)
        self._mover_for = mover or device_mover
        self.mover: Mover = self._mover_for(self.memory_plan)
        self.say = say or (lambda sentence: None)
        self.said: list[str] = []
        self.peak_on_device = 0
        self._usual = self.memory_plan
        self._stepped_down = False
        self._listeners: list[Callable[[str], None]] = []
        self._parts: dict[str, _Loaded] = {}
        self._lock = threading.RLock()
        self._clock = 0

    @property
    def device(self) -> torch.device:
        """Where the components work, and where their inputs belong."""
        return torch.device(getattr(self.mover, "device", self.memory_plan.device))

    @property
    def on_device(self) -> tuple[str, ...]:
        """The components on the device now, in the order they came into the house."""
        return tuple(name for name, component in list(self._parts.items()) if component.on_device)

    @contextmanager
    def on(self, name: str) -> Iterator[Any]:
        """Bring a component aboard, hand it out, and keep it there until its place is needed.

        Memory that runs out on its way aboard steps the arrangement down; what happens inside is `run_with_retry`'s business.
        """
        with self._lock, self._watching():
            component = self._stepping_down(name, lambda: self._enter(name))
            try:
                yield component.module
            finally:
                component.entered -= 1

    def run_with_retry(self, name: str, operation: Callable[[Any], T]) -> T:
        """Run `operation(module)` with a component aboard; out of memory steps the arrangement down, says so, and tries again.

        The operation is run anew from its start, so it changes nothing outside itself before it is done (one step of the
        sampler, one tile of the decoder), and it takes its inputs to `devices.device`, which a last resort changes.
        """

        def attempt() -> T:
            with self.on(name) as module:
                return operation(module)

        return self._stepping_down(name, attempt)

    def _stepping_down(self, name: str, attempt: Callable[[], T]) -> T:
        """Try until memory suffices, each time with a leaner arrangement."""
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                trouble = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.step_down(name, trouble)  # outside the handler, so that the failed step's tensors are gone

    def step_down(self, name: str | None = None, trouble: str = "") -> None:
        """Go to the next leaner arrangement and say so; MachineError when there is none."""
        with self._lock:
            lower = self.memory_plan.step_down(name)
            if lower is None:
                self.free()
                raise MachineError(
                    f"Out of memory with the leanest arrangement ({self.memory_plan.level.words}, tiles of "
                    f"{self.memory_plan.tile_frames} frames). A shorter piece, fewer takes at once, or a smaller "
                    f"checkpoint would fit. {trouble}".strip()
                )
            self._stepped_down = True
            self._say(f"Memory ran out{f' in the {name}' if name else ''}; now: {_change(self.memory_plan, lower)}.")
            self.change_plan(lower)

    @contextmanager
    def notifying(self, listener: Callable[[str], None]) -> Iterator[None]:
        """For a time, tell somebody more of every change: whoever waits for the music."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def fit_to(self, seconds: float, takes: int = 1) -> None:
        """Take up the arrangement for a piece: the usual one where it has room, else a leaner one, and say so.

        After memory has run out, the arrangement it was survived with stays.
        """
        with self._lock:
            if self._stepped_down or not self.memory_plan.sizes:
                return
            wanted = replace(self._usual, seconds=seconds, takes=takes)
            if not wanted.fits:
                wanted = self._usual.fit(Piece(seconds), takes)
            if wanted.level is not self.memory_plan.level and wanted.level is not self._usual.level:
                self._say(f"For this piece: {wanted.level.words}.")
            if (wanted.level, wanted.tile_frames) == (self.memory_plan.level, self.memory_plan.tile_frames):
                self.memory_plan = wanted
            else:
                self.change_plan(wanted)

    def change_plan(self, arrangement: MemoryPlan) -> None:
        """Take up another arrangement: components at work stay, the others leave and come back as it says."""
        with self._lock:
            before, self.memory_plan = self.memory_plan, arrangement
            if arrangement.level is before.level and arrangement.device == before.device:
                self.mover.tidy()
                return
            for name, component in list(self._parts.items()):
                if component.entered:
                    continue
                self._leave(name, component)
                if name in self._parts and not self._can_become(name, component):
                    del self._parts[name]
            self.mover.tidy()
            if arrangement.device != before.device:
                self.mover = self._mover_for(arrangement)

    def free(self) -> None:
        """Give back all memory of components that are not at work; the next `on` loads them again."""
        with self._lock:
            for name, component in list(self._parts.items()):
                if not component.entered:
                    del self._parts[name]
            self.mover.tidy()

    def _enter(self, name: str) -> _Loaded:
        if name in self.memory_plan.left_out:
            raise MachineError(f"The {name} does not fit into this machine. {self.memory_plan.words()}.")
        component = self._parts.get(name)
        if component is None or not component.on_device:
            self._make_room(name)
            component = self._come(name)
        self._clock += 1
        component.last_used = self._clock
        component.entered += 1
        return component

    def _come(self, name: str) -> _Loaded:
        """Build a component if it is new, and bring it aboard in the precision and by the way the arrangement names."""
        component = self._parts.get(name) or _Loaded(self.build(name))
        self._parts[name] = component
        if component.stored == "full":
            component.stored = self.memory_plan.stored(name)
            storage.store(component.module, component.stored)
        level = self.memory_plan.mechanism(name)
        if level in ("block", "leaf") and not component.streamed:
            component.streamed = level
            self.mover.stream(component.module, level)
        component.on_device = True
        self.peak_on_device = max(self.peak_on_device, len(self.on_device))
        try:
            if not component.streamed:
                self.mover.bring(component.module)
        except (RuntimeError, MemoryError):
            self._leave(name, component)  # what had come halfway
            raise
        return component

    def _make_room(self, name: str) -> None:
        """Send components away that are not at work: the one whose turn it was, then the longest unused, until there is room."""
        takes_turns = self.memory_plan.mechanism(name) != "resident"
        room = self.memory_plan.components_at_once
        idle = [
            (other, component)
            for other, component in self._parts.items()
            if component.on_device and not component.entered
        ]
        idle.sort(key=lambda item: (self.memory_plan.mechanism(item[0]) == "resident", item[1].last_used))
        for other, component in idle:
            its_turn_is_over = takes_turns and self.memory_plan.mechanism(other) != "resident"
            if its_turn_is_over or len(self.on_device) >= room:
                self._leave(other, component)
        if len(self.on_device) >= room:
            raise MachineError(
                f"The {name} cannot come aboard while the {' and the '.join(self.on_device)} is at work: this arrangement "
                f"({self.memory_plan.level.words}) holds {room} at once. Ask between two steps."
            )

    def _leave(self, name: str, component: _Loaded) -> None:
        """Send one component away: to RAM, or (where RAM is the memory) out of the house."""
        if not component.on_device:
            return
        component.on_device = False
        if self.memory_plan.parked == "disk":
            self._parts.pop(name, None)
        elif not component.streamed:
            self.mover.park(component.module)
        self.mover.tidy()

    def _can_become(self, name: str, component: _Loaded) -> bool:
        """Whether what was done to a component may stay under the arrangement at hand, or be gone on from."""
        wanted = self.memory_plan.stored(name)
        mechanism = self.memory_plan.mechanism(name)
        kept = component.stored in ("full", wanted) or (component.stored == "int8" and wanted == "fp8")
        return kept and component.streamed in ("", mechanism)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """A device that disappears becomes a sentence, and the next render works on the CPU."""
        try:
            yield
        except RuntimeError as error:
            if not is_lost_device(error):
                raise
            raise MachineError(self._go_on_without_device(str(error).splitlines()[0])) from error

    def _go_on_without_device(self, reason: str) -> str:
        """Forget all that was on the device (it cannot be moved from there any more) and settle on the CPU."""
        lost, before = self.device.type, self.memory_plan
        self._parts.clear()
        self._stepped_down = True
        if before.sizes and lost != "cpu":
            ram, free = ram_bytes()
            self.memory_plan = replace(budget(Machine("cpu", ram, free, "CPU"), before.sizes), dtype=before.dtype)
            self.mover = self._mover_for(self.memory_plan)
        self._say(f"The {lost} device stopped answering; from now on the work is done on the {self.device.type}.")
        return (
            f"The {lost} device stopped answering ({reason}). Takes made so far are safe; the next render works on the "
            f"{self.device.type}. Restart the kernel to look for the device again."
        )

    def _say(self, sentence: str) -> None:
        self.said.append(sentence)
        for listener in (self.say, *self._listeners):
            listener(sentence)


def device_mover(arrangement: MemoryPlan) -> DeviceMover:
    """The carrier for an arrangement's device, capped where a smaller card is simulated."""
    return DeviceMover(arrangement.device, arrangement.machine.fraction)


def _change(before: MemoryPlan, after: MemoryPlan) -> str:
    """What is different, in words."""
    if after.level is not before.level:
        return after.level.words
    return f"tiles of {after.tile_frames} frames instead of {before.tile_frames}"


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "failed to allocate", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch's own, Python's, or a driver's by its words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


_LOST = ("device unavailable", "no cuda-capable device", "device lost", "unspecified launch failure", "device-side assert",
         "illegal memory access", "has fallen off the bus", "driver shutting down", "device is lost")  # fmt: skip


def is_lost_device(error: BaseException) -> bool:
    """Whether an error says that the accelerator is gone or must be restarted."""
    said = str(error).lower()
    return not is_out_of_memory(error) and any(words in said for words in _LOST)
