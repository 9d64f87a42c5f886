"""Which component is on the accelerator: the only file that moves components. It knows no music and no sampler.

::

    devices = DeviceManager(engine.build, budget(machine, engine.component_specs()))
    with devices.on("dit") as dit:          # entered per step, so a listener may decode or plan in between
        velocity = dit(...)
    velocity = devices.run_with_retry("dit", lambda dit: dit(...))    # the same, and steps down when memory runs out

    print(devices.cost("base", specs, passes=2))    # a second checkpoint: what it would cost, nothing loaded
    devices.add("base", specs, other.build, passes=2)
    with devices.on("dit", "base") as dit:          # what only turbo needs leaves first, as far as room is needed
        ...
    base = devices.of("base")                       # the same manager seen by one engine: base.on("dit"), base.memory_plan

A component is built when it is first entered, once, and waits in RAM when another one needs its place; where RAM is the memory
(a CPU, an Apple GPU) it is let go and loaded again. Components of several checkpoints with the same content are built once.
One thread works at a time; entering again from the same thread is free.
"""

from __future__ import annotations

import ctypes
import gc
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from acestep_lab._libraries import diffusers_hooks
from acestep_lab.errors import MachineError, shown
from acestep_lab.models import products, storage, threads
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.lanes import WORK, Lanes, Watch, at_work, lanes_of, watching
from acestep_lab.models.memory_plan import MemoryPlan, budget, gb, is_small
from acestep_lab.models.pinned import Homes, Streamed
from acestep_lab.models.shared_memory_plan import CheckpointCost, Place, SharedMemoryPlan
from acestep_lab.models.tiers import Machine, ram_bytes
from acestep_lab.prompt.checks import is_a

T = TypeVar("T")
Build = Callable[[str, torch.dtype], nn.Module]
"""Makes a component on the CPU in a dtype, with any LoRA it is to carry: an engine's `build`."""


TOLERATED, TOLERATED_BYTES = 0.25, 64 * 2**20
"""How much larger than promised a component may be (adapters, buffers stored apart) without a word."""


class Mover(Protocol):
    """What carries modules to and from a device; the tests' one counts, and runs out of memory on demand."""

    def bring(self, module: nn.Module) -> None: ...
    def park(self, module: nn.Module) -> None: ...
    def stream(self, module: nn.Module, level: str) -> None: ...
    def tidy(self) -> None: ...


class DeviceMover:
    """Carries modules between RAM and a torch device. With `lanes`, copies run beside the work, from pinned memory (`pinned.py`),
    of which no more than `most_pinned` bytes are taken.
    """

    def __init__(
        self, device: str | torch.device, fraction: float | None = None, lanes: Lanes | None = None,
        most_pinned: float = math.inf,
    ):  # fmt: skip
        self.device, self.lanes = torch.device(device), lanes
        self.titles: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        """What a profile calls the modules that are carried."""
        self._homes = None if lanes is None else Homes(lanes, most_pinned)
        self._streamed: WeakSet[Streamed] = WeakSet()  # each lives as long as its module, whose hooks are its own
        if fraction is not None and self.device.type != "cpu":
            where = () if self.device.index is None else (self.device.index,)
            getattr(torch, self.device.type).set_per_process_memory_fraction(fraction, *where)

    def bring(self, module: nn.Module) -> None:
        if self._homes is None or not self._homes.fetch(module, self._title(module)):
            module.to(self.device)

    def park(self, module: nn.Module) -> None:
        if self._homes is None or not self._homes.keep(module, self._title(module)):
            module.to("cpu")

    def _title(self, module: nn.Module) -> str:
        return self.titles.get(module, type(module).__name__)

    def stream(self, module: nn.Module, level: str) -> None:
        """From now on only the block ("block") or layer ("leaf") at work is on the device, and with lanes the one that comes next;
        where there are none, or too little may be pinned, diffusers' group offload brings each when it is wanted.
        """
        if self.lanes is not None and self._homes is not None and self._homes.can_stream(module):
            self._streamed.add(Streamed(module, level, self.lanes, self._title(module)))
            return
        diffusers_hooks.apply_group_offloading(
            module,
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type=f"{level}_level",
            num_blocks_per_group=1 if level == "block" else None,
        )

    def tidy(self) -> None:
        """Give freed memory back to the device; what is streamed and not at work is asked for its rooms."""
        self._empty_rooms()
        gc.collect()
        if self.device.type in ("cuda", "xpu", "mps"):
            getattr(torch, self.device.type).empty_cache()
        elif (trim := _trim()) is not None:
            trim(0)

    def _empty_rooms(self) -> None:
        for streamed in list(self._streamed):
            streamed.leave()


@cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim, where this is Linux with glibc: what was freed in the middle of its heap goes back to the machine, gigabytes
    once a full-size component has left.
    """
    trim: Callable[[int], int] | None = (
        getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    )
    return trim


class CardFull(MachineError):
    """Memory ran out on a card whose work another one can do."""

    may_be_tried_again = True
    """The plan was not stepped down for it."""


@dataclass(eq=False)
class _Loaded:
    """A built component: whose it is, what was done to it, and whether it is at work now."""

    module: nn.Module
    mover: Mover
    device: str
    dtype: str
    users: set[Place]
    stored: str = "full"
    streamed: str = ""
    bytes: int = 0  # on the device
    on_device: bool = False
    entered: int = 0
    last_used: int = 0


@dataclass
class _Open:
    """An open checkpoint: what builds its components, its usual plan, and whether memory has run out under it."""

    build: Build
    usual: MemoryPlan
    stepped_down: bool = False


@dataclass(frozen=True)
class _Piece:
    """What a plan for memory asks of a recipe."""

    seconds: float | None


@dataclass(frozen=True)
class EngineDevices:
    """The manager as one engine sees it: the same verbs for its own components, whatever else is open."""

    manager: DeviceManager
    checkpoint: str

    def on(self, name: str) -> AbstractContextManager[Any]:
        """A component of this engine on the device, for the time of a call."""
        return self.manager.on(name, self.checkpoint)

    def run_with_retry(self, name: str, operation: Callable[[Any], T]) -> T:
        """Run `operation(module)` with a component on the device; memory that runs out costs no take."""
        return self.manager.run_with_retry(name, operation, self.checkpoint)

    def fit_to(self, seconds: float, takes: int = 1) -> None:
        """Take up the plan for a piece of so many seconds and takes."""
        self.manager.fit_to(seconds, takes, self.checkpoint)

    def free(self) -> None:
        """Give back the memory of what only this engine uses and is not at work."""
        self.manager.free(self.checkpoint)

    def notifying(self, listener: Callable[[str], None]) -> AbstractContextManager[None]:
        """For a time, tell somebody more of every change."""
        return self.manager.notifying(listener)

    def say(self, sentence: str) -> None:
        """Tell whoever waits for the music something of the machine."""
        self.manager.say(sentence)

    @property
    def memory_plan(self) -> MemoryPlan:
        """How this engine's components share the memory."""
        return self.manager.plan_of(self.checkpoint)

    @property
    def device(self) -> torch.device:
        """Where this engine's components work, and where their inputs belong."""
        return self.manager.device_of(self.checkpoint)

    def device_for(self, name: str) -> torch.device:
        """Where one component works, and where its inputs belong: of several cards, its own."""
        return self.manager.device_for(name, self.checkpoint)

    @property
    def lanes(self) -> Lanes | None:
        """What lets a card copy while it works; None where there is one lane."""
        return self.manager.lanes_of(self.checkpoint)

    def watched(self) -> AbstractContextManager[Watch]:
        """For a time, write down what is copied and what works meanwhile."""
        return self.manager.watched()

    @property
    def on_device(self) -> tuple[str, ...]:
        """This engine's components that are on the device now."""
        return tuple(name for checkpoint, name in self.manager.places_on_device if checkpoint == self.checkpoint)


class DeviceManager:
    """Builds components when they are first wanted and keeps no more on the device than the plans allow.

    It is opened with one checkpoint (called `checkpoint`); `add` opens more. Wherever a checkpoint may be named, none is the first.
    `build` makes a component on the CPU in a dtype, with any LoRA it is to carry; `mover` makes the carrier for a plan's
    device; `notify` is told every sentence about a change of plan.
    """

    def __init__(
        self,
        build: Build,
        memory_plan: MemoryPlan,
        mover: Callable[[MemoryPlan], Mover] | None = None,
        notify: Callable[[str], None] | None = None,
        checkpoint: str = "",
    ):
        self.plans = SharedMemoryPlan.of(checkpoint, memory_plan)
        self.messages: list[str] = []
        self.peak_on_device = 0
        self.loading = ""
        """The component whose weights are coming to the device now; "" where none are."""
        self.gives_up: Callable[[], bool] = lambda: False
        """Whether memory that runs out ends the work (CardFull), since another card does it, instead of stepping down."""
        self._open = {checkpoint: _Open(build, memory_plan)}
        self._mover_for = mover or device_mover
        self._movers: dict[str, Mover] = {}
        self._listener = notify
        self._listeners: list[Callable[[str], None]] = []
        self._loaded: dict[Place, _Loaded] = {}
        self._lock = threading.RLock()
        self._clock = 0
        self.mover  # noqa: B018 - a card is capped before anything comes to it

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The open checkpoints, the first one first."""
        return tuple(self._open)

    def cost(
        self, checkpoint: str, components: Iterable[ComponentSpec], *, passes: int = 1, longest: float = math.inf
    ) -> CheckpointCost:
        """What opening another checkpoint would cost: bytes more, bytes shared, who leaves, in numbers and a sentence."""
        return self.plans.with_checkpoint(checkpoint, components, passes=passes, longest=longest)

    def cost_of_open(self, checkpoint: str) -> CheckpointCost:
        """What a checkpoint that is open already costs: nothing more."""
        self._require_open(checkpoint)
        return CheckpointCost(checkpoint, self.plans, self.plans)

    def add(
        self,
        checkpoint: str,
        components: Iterable[ComponentSpec],
        build: Build,
        *,
        passes: int = 1,
        longest: float = math.inf,
    ) -> CheckpointCost:
        """Open another checkpoint beside those that are; nothing is loaded. Returns what it costs."""
        with self._lock:
            cost = self.cost(checkpoint, components, passes=passes, longest=longest)
            return self._took_up(checkpoint, build, cost)

    def _took_up(self, checkpoint: str, build: Build, cost: CheckpointCost) -> CheckpointCost:
        """Let a checkpoint have its share of the memory, and the others what is left."""
        self.plans = cost.plan
        self._open[checkpoint] = _Open(build, cost.plan[checkpoint])
        for one, opened in self._open.items():
            opened.usual = replace(opened.usual, waiting_bytes=self.plans[one].waiting_bytes)
        self._let_go_of_waiting()
        return cost

    def cost_of_exchange(
        self, checkpoint: str, components: Iterable[ComponentSpec], *, passes: int = 1, longest: float = math.inf
    ) -> CheckpointCost:
        """What an open checkpoint would cost with other components in place of its own: with another planner."""
        self._require_open(checkpoint)
        return self.plans.with_other_components(checkpoint, components, passes=passes, longest=longest)

    def exchange(
        self, checkpoint: str, components: Iterable[ComponentSpec], build: Build, *, passes: int = 1,
        longest: float = math.inf,
    ) -> CheckpointCost:  # fmt: skip
        """Give an open checkpoint other components in place of its own; MachineError while it is at work."""
        with self._lock:
            cost = self.cost_of_exchange(checkpoint, components, passes=passes, longest=longest)
            self._let_go_of(checkpoint)
            return self._took_up(checkpoint, build, cost)

    def _let_go_of(self, checkpoint: str) -> None:
        """Give back the memory of what only a checkpoint used; MachineError while it is at work. The lock is held."""
        if any(loaded.entered for (key, _), loaded in self._loaded.items() if key == checkpoint):
            raise MachineError(f"The checkpoint {shown(checkpoint)} is at work; close it when its run is through.")
        self.free(checkpoint)
        for place in [place for place in self._loaded if place[0] == checkpoint]:
            self._forget(place)

    def remove(self, checkpoint: str) -> None:
        """Close a checkpoint and give back the memory of what only it used; MachineError while it is at work, or alone."""
        with self._lock:
            self._require_open(checkpoint)
            if len(self._open) == 1:
                raise MachineError(f"{shown(checkpoint)} is the only checkpoint open; a session needs one.")
            self._let_go_of(checkpoint)
            self.plans = self.plans.without_checkpoint(checkpoint)
            del self._open[checkpoint]

    def of(self, checkpoint: str | None = None) -> EngineDevices:
        """This manager as the engine of one checkpoint sees it."""
        return EngineDevices(self, self._key(checkpoint))

    def plan_of(self, checkpoint: str | None = None) -> MemoryPlan:
        """How a checkpoint's components share the memory."""
        return self.plans[self._key(checkpoint)]

    @property
    def memory_plan(self) -> MemoryPlan:
        """The plan of the first checkpoint."""
        return self.plan_of()

    def device_of(self, checkpoint: str | None = None) -> torch.device:
        """Where a checkpoint's components work, and where their inputs belong."""
        plan = self.plan_of(checkpoint)
        return torch.device(getattr(self._mover(plan), "device", plan.device))

    def lanes_of(self, checkpoint: str | None = None) -> Lanes | None:
        """The lanes of the device a checkpoint's components work on."""
        return _lanes(self._mover(self.plan_of(checkpoint)))

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """For a time, write down what is copied on every device and what works meanwhile."""
        with watching(Watch(), filter(None, map(_lanes, self._movers.values()))) as watch:
            yield watch

    def device_for(self, name: str, checkpoint: str | None = None) -> torch.device:
        """Where one component works: here where all of its checkpoint do."""
        return self.device_of(checkpoint)

    @property
    def device(self) -> torch.device:
        """Where the first checkpoint's components work."""
        return self.device_of()

    @property
    def mover(self) -> Mover:
        """What carries the first checkpoint's components."""
        return self._mover(self.memory_plan)

    @property
    def on_device(self) -> tuple[str, ...]:
        """The components on the device now, by name, in the order they were loaded; a shared one is named once."""
        return tuple(name for _, name in self._first_places())

    @property
    def places_on_device(self) -> tuple[Place, ...]:
        """The components on the device now as (checkpoint, component), a shared one under each checkpoint that uses it."""
        return tuple(place for place, loaded in list(self._loaded.items()) if loaded.on_device)

    def _first_places(self) -> Iterator[Place]:
        seen: list[_Loaded] = []
        for place, loaded in list(self._loaded.items()):
            if loaded.on_device and loaded not in seen:
                seen.append(loaded)
                yield place

    def _key(self, checkpoint: str | None) -> str:
        if checkpoint is None:
            return next(iter(self._open))
        self._require_open(checkpoint)
        return checkpoint

    def _require_open(self, checkpoint: str) -> None:
        if checkpoint not in self._open:
            raise MachineError(f"No checkpoint {shown(checkpoint)} is open; open are {', '.join(self._open)}.")

    # -- components at work ----------------------------------------------------------------------------------------------

    @contextmanager
    def on(self, name: str, checkpoint: str | None = None) -> Iterator[Any]:
        """Bring a component on the device, hand it out, and keep it there until its place is needed.

        Memory that runs out on its way steps the plan down; what happens inside is `run_with_retry`'s business. MachineError for a
        component that the checkpoint does not have, or that this machine has no room for.
        """
        key = self._key(checkpoint)
        with self._lock, self._watching(key):
            loaded = self._stepping_down(key, name, lambda: self._enter((key, name)))
            try:
                with _current(self.device_of(key)), at_work(_lanes(loaded.mover), WORK, name):
                    yield loaded.module
            finally:
                loaded.entered -= 1

    def run_with_retry(self, name: str, operation: Callable[[Any], T], checkpoint: str | None = None) -> T:
        """Run `operation(module)` with a component on the device; out of memory steps the plan down, says so, and tries
        again.

        The operation is run anew from its start, so it changes nothing outside itself before it is done (one step of the
        sampler, one tile of the decoder), and it takes its inputs to `devices.device`, which a last resort changes.
        """
        key = self._key(checkpoint)

        def attempt() -> T:
            with self.on(name, key) as module:
                return operation(module)

        return self._stepping_down(key, name, attempt)

    def _stepping_down(self, key: str, name: str, attempt: Callable[[], T]) -> T:
        """Try until memory suffices, each time with a leaner plan."""
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                trouble = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._after_running_out(key, name, trouble)  # outside the handler: the failed step's tensors are gone

    def _after_running_out(self, key: str, name: str, trouble: str) -> None:
        """Send the other checkpoints' components away, or, where none is there, go to the next leaner plan."""
        with self._lock:
            others = [
                one for one in self._modules() if one.on_device and not one.entered and not self._is_for(one, key)
            ]
            if not others:
                self.step_down(name, trouble, key)
                return
            names = ", ".join(f"{component} of {checkpoint}" for checkpoint, component in _named(others))
            for one in others:
                self._leave(one)
            self._notify(f"Memory ran out in the {name}; {names} made room.")

    def step_down(self, name: str | None = None, trouble: str = "", checkpoint: str | None = None) -> None:
        """Go to the next leaner plan and say so; MachineError when there is none."""
        with self._lock:
            key = self._key(checkpoint)
            plan = self.plans[key]
            if self.gives_up():
                raise CardFull(
                    f"Memory ran out{f' in the {name}' if name else ''} on {plan.device_title}. {trouble}".strip()
                )
            lower = plan.step_down(name)
            if lower is None:
                self.free()
                raise MachineError(
                    f"Out of memory with the leanest plan ({plan.way}, tiles of {plan.tile_frames} frames). A shorter piece, "
                    f"fewer takes at once, or a smaller checkpoint would fit. {trouble}".strip()
                )
            self._open[key].stepped_down = True
            self._notify(f"Memory ran out{f' in the {name}' if name else ''}; now: {_change(plan, lower)}.")
            self.change_plan(lower, key)

    @contextmanager
    def notifying(self, listener: Callable[[str], None]) -> Iterator[None]:
        """For a time, tell somebody more of every change: whoever waits for the music."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def fit_to(self, seconds: float, takes: int = 1, checkpoint: str | None = None) -> None:
        """Take up the plan for a piece: the usual one where it has room, else a leaner one, and say so.

        After memory has run out, the plan it was survived with stays.
        """
        with self._lock:
            key = self._key(checkpoint)
            opened, plan = self._open[key], self.plans[key]
            if opened.stepped_down:
                return
            wanted = replace(opened.usual, seconds=seconds, takes=takes)
            if not wanted.fits:
                wanted = opened.usual.fit(_Piece(seconds), takes)
            if wanted.level is not plan.level and wanted.level is not opened.usual.level:
                self._notify(f"For this piece: {wanted.way}.")
            self.change_plan(wanted, key)

    def change_plan(self, memory_plan: MemoryPlan, checkpoint: str | None = None) -> None:
        """Take up another plan: components at work stay, the others leave and come back as it says."""
        with self._lock:
            key = self._key(checkpoint)
            before, self.plans = self.plans[key], self.plans.with_plan(key, memory_plan)
            if memory_plan.level is before.level and memory_plan.device == before.device:
                if memory_plan.tile_frames != before.tile_frames:
                    self._mover(memory_plan).tidy()
                return
            for place, loaded in [(p, one) for p, one in self._loaded.items() if p[0] == key and not one.entered]:
                self._give_way(place, loaded)
            self._mover(before).tidy()

    def _give_way(self, place: Place, loaded: _Loaded) -> None:
        """Let a component go that has to come back by another way; what others use as it is stays theirs."""
        if len(loaded.users) > 1:
            if not self._is_as_planned(place, loaded):
                self._forget(place)
            return
        self._leave(loaded)
        if place in self._loaded and not self._can_become(place, loaded):
            self._forget(place)

    def free(self, checkpoint: str | None = None) -> None:
        """Give back all memory of components that are not at work (of a checkpoint: of those only it uses); the next `on`
        loads them again.
        """
        with self._lock:
            for place, loaded in list(self._loaded.items()):
                theirs = checkpoint is None or all(user[0] == checkpoint for user in loaded.users)
                if theirs and not loaded.entered:
                    self._forget(place)
            for mover in self._movers.values():
                mover.tidy()

    # -- coming and going ------------------------------------------------------------------------------------------------

    def _enter(self, place: Place) -> _Loaded:
        self.plans[place[0]].component(place[1])
        loaded = self._loaded.get(place)
        if (
            loaded is not None
            and len(loaded.users) > 1
            and not loaded.entered
            and not self._is_as_planned(place, loaded)
        ):
            self._forget(place)  # another checkpoint uses it as it is
            loaded = None
        if loaded is None or not loaded.on_device:
            self._make_room(place)
            loaded = self._loaded.get(place) or self._alike(place)
        if loaded is None or not loaded.on_device:
            loaded = self._come(place)
        self._clock += 1
        loaded.last_used = self._clock
        loaded.entered += 1
        return loaded

    def _alike(self, place: Place) -> _Loaded | None:
        """The module of another checkpoint that has this component's content and is kept as it is to be, now used by both."""
        for other, loaded in self._loaded.items():
            if self.plans.like(other) == self.plans.like(place) and self._is_as_planned(place, loaded):
                loaded.users.add(place)
                self._loaded[place] = loaded
                return loaded
        return None

    def _is_as_planned(self, place: Place, loaded: _Loaded) -> bool:
        """Whether a module is already kept as a checkpoint's plan wants it."""
        plan, name = self.plans[place[0]], place[1]
        streamed = plan.mechanism(name) if plan.mechanism(name) in ("block", "leaf") else ""
        wanted = (plan.device, plan.kept_in(name), plan.stored(name), streamed)
        return wanted == (loaded.device, loaded.dtype, loaded.stored, loaded.streamed)

    def _come(self, place: Place) -> _Loaded:
        """As `_brought`; meanwhile `loading` says what comes."""
        self.loading = place[1]
        try:
            return self._brought(place)
        finally:
            self.loading = ""

    def _brought(self, place: Place) -> _Loaded:
        """Build a component if it is new, and bring it on the device in the precision and by the way its plan names."""
        name, plan = place[1], self.plans[place[0]]
        loaded = self._loaded.get(place) or self._built(place, plan)
        self._loaded[place] = loaded
        loaded.device, loaded.mover = plan.device, self._mover(plan)
        if isinstance(loaded.mover, DeviceMover):
            loaded.mover.titles[loaded.module] = name
        if loaded.stored == "full":
            loaded.stored = plan.stored(name)
            storage.store(loaded.module, loaded.stored)
        level = plan.mechanism(name)
        if level in ("block", "leaf") and not loaded.streamed:
            loaded.streamed = level
            loaded.mover.stream(loaded.module, level)
        loaded.bytes, loaded.on_device = plan.device_bytes(name), True
        self.peak_on_device = max(self.peak_on_device, len(self.on_device))
        try:
            if not loaded.streamed:
                loaded.mover.bring(loaded.module)
        except (RuntimeError, MemoryError):
            self._leave(loaded)  # what had come halfway
            raise
        return loaded

    def _built(self, place: Place, plan: MemoryPlan) -> _Loaded:
        """A component fresh from its engine; MachineError where what comes is no module, and a word where it is larger than
        was planned for.
        """
        key, name = place
        quick = plan.device == "cpu" and not is_small(plan.components)
        if quick:
            threads.settle_once()
        dtype = plan.dtype_of(name)
        module = self._open[key].build(name, dtype)
        if not is_a(module, nn.Module):
            raise MachineError(f"The engine built {shown(module)} for {shown(name)}, where a torch module belongs.")
        if quick:
            products.install(module)
        promised, size = plan.component(name).bytes * dtype.itemsize // 2, module_bytes(module)
        if size > promised * (1 + TOLERATED) + TOLERATED_BYTES:
            self._notify(f"The {name} is {gb(size)} and was planned for with {gb(promised)}; memory may run out.")
        return _Loaded(module, self._mover(plan), plan.device, plan.kept_in(name), {place})

    def _make_room(self, place: Place) -> None:
        """Send components away that are not at work: other checkpoints' as far as there is no room for them, then of its own
        the one whose turn it was, then the longest unused.
        """
        self._make_room_of_others(place)
        (key, name), plan = place, self.plans[place[0]]
        takes_turns = plan.mechanism(name) != "resident"
        own = {n: one for (k, n), one in self._loaded.items() if k == key and one.on_device}
        idle = [(other, one) for other, one in own.items() if not one.entered]
        idle.sort(key=lambda item: (plan.mechanism(item[0]) == "resident", item[1].last_used))
        for other, one in idle:
            its_turn_is_over = takes_turns and plan.mechanism(other) != "resident"
            if its_turn_is_over or len(own) >= plan.at_once:
                self._leave(one)
                del own[other]
        if len(own) >= plan.at_once:
            raise MachineError(
                f"The {name} cannot come on the device while the {' and the '.join(own)} is at work: this plan "
                f"({plan.way}) holds {plan.at_once} at once. Ask between two steps."
            )

    def _make_room_of_others(self, place: Place) -> None:
        """Send other checkpoints' components away, the longest unused first, until the rest fits beside this one's work."""
        others = [one for one in self._modules() if one.on_device and not self._is_for(one, place[0])]
        over = sum(one.bytes for one in others) - self.plans.room_beside(place[0])
        for one in sorted((one for one in others if not one.entered), key=lambda one: one.last_used):
            if over <= 0:
                return
            over -= one.bytes
            self._leave(one)
        working = [user for one in others if one.entered for user in one.users]
        if over > 0 and working:
            raise MachineError(
                f"The {place[1]} of {place[0]} has no room while the {working[0][1]} of {working[0][0]} is at work. "
                "Ask between two steps."
            )

    def _modules(self) -> list[_Loaded]:
        """What is built, each module once."""
        return list({id(loaded): loaded for loaded in self._loaded.values()}.values())

    def _is_for(self, loaded: _Loaded, key: str) -> bool:
        """Whether a checkpoint uses a module, or will once it is asked for its own component with that content."""
        own = [(key, name) for name in self.plans[key].names]
        return any(user[0] == key or any(self.plans.shares(user, place) for place in own) for user in loaded.users)

    def _leave(self, loaded: _Loaded) -> None:
        """Send one component away: to RAM, or (where RAM is the memory) out of it."""
        if not loaded.on_device:
            return
        loaded.on_device = False
        if self._waits_on_disk(loaded):
            self._forget(*loaded.users)
        elif not loaded.streamed:
            loaded.mover.park(loaded.module)
        loaded.mover.tidy()

    def _waits_on_disk(self, loaded: _Loaded) -> bool:
        return any(self.plans[checkpoint].parked == "disk" for checkpoint, _ in loaded.users)

    def _let_go_of_waiting(self) -> None:
        """Where another checkpoint leaves too little RAM to wait in, let go of what waits there."""
        for loaded in self._modules():
            if not loaded.on_device and not loaded.entered and self._waits_on_disk(loaded):
                self._forget(*loaded.users)

    def _forget(self, *places: Place) -> None:
        """A component's module is no longer kept for these checkpoints; with the last one it is gone."""
        for place in places:
            loaded = self._loaded.pop(place)
            loaded.users = loaded.users - {place}

    def _can_become(self, place: Place, loaded: _Loaded) -> bool:
        """Whether what was done to a component may stay under the plan at hand, or be gone on from."""
        plan, name = self.plans[place[0]], place[1]
        kept = loaded.stored in ("full", plan.stored(name)) or (loaded.stored, plan.stored(name)) == ("int8", "fp8")
        return kept and loaded.dtype == plan.kept_in(name) and loaded.streamed in ("", plan.mechanism(name))

    # -- devices that are lost -------------------------------------------------------------------------------------------

    @contextmanager
    def _watching(self, key: str) -> Iterator[None]:
        """A device that disappears becomes a sentence, and the next render works on the CPU."""
        try:
            yield
        except RuntimeError as error:
            if not is_lost_device(error):
                raise
            raise MachineError(self._go_on_without_device(key, str(error).splitlines()[0])) from error

    def _go_on_without_device(self, key: str, reason: str) -> str:
        """Forget all that was on the device (it cannot be moved from there any more) and settle on the CPU."""
        lost = self.device_of(key).type
        self._loaded.clear()
        self._movers.clear()
        for checkpoint, opened in self._open.items():
            opened.stepped_down = True
            if lost != "cpu":
                self.plans = self.plans.with_plan(checkpoint, _on_the_cpu(self.plans[checkpoint]))
        self._notify(
            f"The {lost} device stopped answering; from now on the work is done on the {self.device_of(key).type}."
        )
        return (
            f"The {lost} device stopped answering ({reason}). Takes made so far are safe; the next render works on the "
            f"{self.device_of(key).type}. Restart the kernel to look for the device again."
        )

    def _mover(self, plan: MemoryPlan) -> Mover:
        """The carrier for a plan's device."""
        if plan.device not in self._movers:
            self._movers[plan.device] = self._mover_for(plan)
        return self._movers[plan.device]

    def say(self, sentence: str) -> None:
        """Tell whoever waits for the music something of the machine."""
        self._notify(sentence)

    def _notify(self, sentence: str) -> None:
        self.messages.append(sentence)
        for listener in (*([self._listener] if self._listener else []), *self._listeners):
            listener(sentence)


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, tied ones counted once."""
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _on_the_cpu(plan: MemoryPlan) -> MemoryPlan:
    """A plan for the same components in RAM; what is computed keeps its dtype."""
    ram, free = ram_bytes()
    found = budget(Machine("cpu", ram, free, "CPU"), plan.components, passes=plan.passes, longest=plan.own_longest)
    return replace(found, dtype=plan.dtype, waiting_bytes=plan.waiting_bytes)


def _named(modules: Iterable[_Loaded]) -> Iterator[Place]:
    yield from (min(one.users) for one in modules)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Let one of several cards be the current one of this thread: streams, graphs and kernels that torch compiles are made there."""
    if device.type not in ("cuda", "xpu") or device.index is None:
        return nullcontext()
    found: AbstractContextManager[Any] = getattr(torch, device.type).device(device)
    return found


def device_mover(plan: MemoryPlan) -> DeviceMover:
    """The carrier for a plan's device, capped where a smaller card is simulated."""
    return DeviceMover(plan.device, plan.machine.fraction, lanes_of(torch.device(plan.device)), plan.most_pinned_bytes)


def _lanes(mover: Mover) -> Lanes | None:
    """The lanes of a carrier; one that carries nothing itself (a test's) has none."""
    return mover.lanes if isinstance(mover, DeviceMover) else None


def _change(before: MemoryPlan, after: MemoryPlan) -> str:
    """What is different, in words."""
    if after.level is not before.level:
        return after.way
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
