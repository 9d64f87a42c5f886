"""Components of one checkpoint on several cards: a device manager for each card, and one front that knows whose is whose.

::

    devices = CardsManager(engine.build, specs, placed("dit:0,lm:1", cards, specs), checkpoint="turbo")
    with devices.on("lm") as lm:                  # on cuda:1, and stays there
        ...
    print(devices.plan_of())                      # "…; lm on cuda:1 (24 GB): everything stays loaded"

It has the verbs of `DeviceManager`. Each card is planned for by itself, with what works there; memory that runs out on one
steps down the plan of that one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.cards import Placement, tier_of
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.device_manager import Build, DeviceManager, EngineDevices, Mover
from acestep_lab.models.lanes import Lanes, Watch
from acestep_lab.models.memory_plan import MemoryPlan, budget, gb
from acestep_lab.models.shared_memory_plan import CheckpointCost, Place, SharedMemoryPlan
from acestep_lab.models.tiers import Machine, Tier

T = TypeVar("T")
Parts = Mapping[Machine, list[ComponentSpec]]
"""The components of a checkpoint by the card they work on, the main card's first."""


@dataclass(frozen=True)
class CostOnCards(CheckpointCost):
    """What one more checkpoint costs where its components work on several cards: those of the main one, and the others'."""

    others: tuple[CheckpointCost, ...] = field(default=(), repr=False)
    fresh: tuple[SharedMemoryPlan, ...] = field(default=(), repr=False)  # of cards on which nothing was yet

    @property
    def shared(self) -> Mapping[str, str]:
        """The components that are in memory with another checkpoint anyway."""
        found = dict(super().shared)
        for one in self.others:
            found |= one.shared
        return MappingProxyType(found)

    @property
    def shared_bytes(self) -> int:
        """Bytes that are not loaded again."""
        own = sum(map(self.plan[self.checkpoint].device_bytes, super().shared))
        return own + sum(one.shared_bytes for one in self.others)

    @property
    def more_bytes(self) -> int:
        """Bytes that come, on all cards together."""
        more = [one.more_bytes for one in self.others] + [one.loaded_bytes for one in self.fresh]
        return super().more_bytes + sum(more)

    @property
    def evicted(self) -> tuple[Place, ...]:
        """Which components of the others leave their card, at the latest."""
        return tuple(dict.fromkeys((*super().evicted, *(place for one in self.others for place in one.evicted))))

    @property
    def fits(self) -> bool:
        """Whether each card has room."""
        return super().fits and all(one.fits for one in self.others) and all(one.fits for one in self.fresh)

    def __str__(self) -> str:
        """The sentence of the main card, and what comes on the others."""
        plans = [*(one.plan for one in self.others), *self.fresh]
        more = [f"{gb(plan[self.checkpoint].need_bytes)} on {plan[self.checkpoint].device_title}" for plan in plans]
        return "; ".join((super().__str__().removesuffix("."), *more)) + "."


class CardsManager:
    """The device managers of several cards behind the verbs of one."""

    def __init__(
        self, build: Build, components: Iterable[ComponentSpec], placement: Placement, tier: Tier | None = None, *,
        mover: Callable[[MemoryPlan], Mover] | None = None, notify: Callable[[str], None] | None = None,
        checkpoint: str = "", passes: int = 1, longest: float = math.inf,
    ) -> None:  # fmt: skip
        self.placement, self.tier = placement, tier or Tier.for_machine(placement.main)
        self._mover, self._listener = mover, notify
        self._managers: dict[Machine, DeviceManager] = {}
        self._cards: dict[str, dict[str, Machine]] = {}  # of each checkpoint, a component's card
        self._open(checkpoint, self._parts(components), build, passes, longest)

    def _parts(self, components: Iterable[ComponentSpec]) -> dict[Machine, list[ComponentSpec]]:
        """Components by the card they work on; what is left alone of a checkpoint works on the main card."""
        found: dict[Machine, list[ComponentSpec]] = {self.placement.main: []}
        for one in components:
            found.setdefault(self.placement.card_of(one), []).append(one)
        return {card: specs for card, specs in found.items() if specs}

    def _budget(self, card: Machine, specs: Iterable[ComponentSpec], passes: int, longest: float) -> MemoryPlan:
        tier = self.tier if card == self.placement.main else tier_of(card, self.tier)
        return budget(card, specs, passes=passes, tier=tier, longest=longest)

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The open checkpoints, the first one first."""
        return tuple(self._cards)

    def cost(
        self, checkpoint: str, components: Iterable[ComponentSpec], *, passes: int = 1, longest: float = math.inf
    ) -> CheckpointCost:
        """What opening another checkpoint would cost, on all cards."""
        if checkpoint in self._cards:
            raise MachineError(f"The checkpoint {shown(checkpoint)} is open already; give the other one another name.")
        return self._cost(checkpoint, components, passes, longest)

    def _cost(
        self, checkpoint: str, components: Iterable[ComponentSpec], passes: int, longest: float
    ) -> CheckpointCost:
        """What a checkpoint would cost, opened, or with other components in place of its own."""
        known, fresh = [], []
        for card, specs in self._parts(components).items():
            manager = self._managers.get(card)
            if manager is None:
                fresh.append(SharedMemoryPlan.of(checkpoint, self._budget(card, specs, passes, longest)))
            elif checkpoint in manager.checkpoints:
                known.append(manager.cost_of_exchange(checkpoint, specs, passes=passes, longest=longest))
            else:
                known.append(manager.cost(checkpoint, specs, passes=passes, longest=longest))
        first, *others = known
        return CostOnCards(checkpoint, first.before, first.plan, tuple(others), tuple(fresh))

    def cost_of_open(self, checkpoint: str) -> CheckpointCost:
        """What a checkpoint that is open already costs: nothing more."""
        return self._of_main(checkpoint).cost_of_open(checkpoint)

    def add(
        self, checkpoint: str, components: Iterable[ComponentSpec], build: Build, *, passes: int = 1,
        longest: float = math.inf,
    ) -> CheckpointCost:  # fmt: skip
        """Open another checkpoint beside those that are, each component on its card; nothing is loaded."""
        specs = tuple(components)
        cost = self.cost(checkpoint, specs, passes=passes, longest=longest)
        self._open(checkpoint, self._parts(specs), build, passes, longest)
        return cost

    def _open(self, checkpoint: str, parts: Parts, build: Build, passes: int, longest: float) -> None:
        for card, specs in parts.items():
            if card in self._managers:
                self._managers[card].add(checkpoint, specs, build, passes=passes, longest=longest)
                continue
            plan = self._budget(card, specs, passes, longest)
            self._managers[card] = DeviceManager(build, plan, self._mover, self._listener, checkpoint)
        self._cards[checkpoint] = {one.name: card for card, specs in parts.items() for one in specs}

    def cost_of_exchange(
        self, checkpoint: str, components: Iterable[ComponentSpec], *, passes: int = 1, longest: float = math.inf
    ) -> CheckpointCost:
        """What an open checkpoint would cost with other components in place of its own."""
        self._of_main(checkpoint)
        return self._cost(checkpoint, components, passes, longest)

    def exchange(
        self, checkpoint: str, components: Iterable[ComponentSpec], build: Build, *, passes: int = 1,
        longest: float = math.inf,
    ) -> CheckpointCost:  # fmt: skip
        """Give an open checkpoint other components in place of its own; MachineError while it is at work."""
        specs = tuple(components)
        cost, parts = self.cost_of_exchange(checkpoint, specs, passes=passes, longest=longest), self._parts(specs)
        for card in [card for card, manager in self._managers.items() if checkpoint in manager.checkpoints]:
            if card in parts:
                self._managers[card].exchange(checkpoint, parts[card], build, passes=passes, longest=longest)
            else:
                self._close(card, checkpoint)
        new = {card: specs for card, specs in parts.items() if not self._has(card, checkpoint)}
        self._open(checkpoint, new, build, passes, longest)
        self._cards[checkpoint] = {one.name: card for card, specs in parts.items() for one in specs}
        return cost

    def _has(self, card: Machine, checkpoint: str) -> bool:
        return card in self._managers and checkpoint in self._managers[card].checkpoints

    def remove(self, checkpoint: str) -> None:
        """Close a checkpoint and give back the memory of what only it used; MachineError while it is at work, or alone."""
        self._of_main(checkpoint)
        if len(self._cards) == 1:
            raise MachineError(f"{shown(checkpoint)} is the only checkpoint open; a session needs one.")
        for card in [card for card in self._managers if self._has(card, checkpoint)]:
            self._close(card, checkpoint)
        del self._cards[checkpoint]

    def _close(self, card: Machine, checkpoint: str) -> None:
        """Let a checkpoint go from a card, and the card's manager with its last one."""
        manager = self._managers[card]
        if len(manager.checkpoints) > 1:
            manager.remove(checkpoint)
            return
        manager.free()
        del self._managers[card]

    def of(self, checkpoint: str | None = None) -> EngineDevices:
        """This manager as the engine of one checkpoint sees it."""
        return EngineDevices(self, self._key(checkpoint))  # type: ignore[arg-type]

    def plan_of(self, checkpoint: str | None = None) -> MemoryPlan:
        """How a checkpoint's components share the memory: the main card's plan, with the others' beside it."""
        key = self._key(checkpoint)
        first, *others = self._plans(key)
        return replace(first, beside=tuple(others))

    def _plans(self, key: str) -> list[MemoryPlan]:
        """How a checkpoint uses each card, the main one first."""
        return [manager.plan_of(key) for card, manager in self._managers.items() if self._has(card, key)]

    @property
    def memory_plan(self) -> MemoryPlan:
        """The plan of the first checkpoint."""
        return self.plan_of()

    def _key(self, checkpoint: str | None) -> str:
        if checkpoint is not None and checkpoint not in self._cards:
            raise MachineError(f"No checkpoint {shown(checkpoint)} is open; open are {', '.join(self._cards)}.")
        return next(iter(self._cards)) if checkpoint is None else checkpoint

    def _of_main(self, checkpoint: str | None = None) -> DeviceManager:
        """The manager of the card where a checkpoint's loop works."""
        key = self._key(checkpoint)
        return next(manager for card, manager in self._managers.items() if self._has(card, key))

    def _manager(self, name: str, checkpoint: str | None = None) -> DeviceManager:
        """The manager of the card where a component works; of one that nobody knows, the main one's, which says so."""
        key = self._key(checkpoint)
        card = self._cards[key].get(name)
        return self._of_main(key) if card is None else self._managers[card]

    # -- components at work ----------------------------------------------------------------------------------------------

    def on(self, name: str, checkpoint: str | None = None) -> AbstractContextManager[Any]:
        """A component on its card, for the time of a call."""
        return self._manager(name, checkpoint).on(name, checkpoint)

    def run_with_retry(self, name: str, operation: Callable[[Any], T], checkpoint: str | None = None) -> T:
        """Run `operation(module)` with a component on its card; memory that runs out there costs no take."""
        return self._manager(name, checkpoint).run_with_retry(name, operation, checkpoint)

    def device_of(self, checkpoint: str | None = None) -> torch.device:
        """Where a checkpoint's loop works."""
        return self._of_main(checkpoint).device_of(self._key(checkpoint))

    def device_for(self, name: str, checkpoint: str | None = None) -> torch.device:
        """Where one component works, and where its inputs belong."""
        return self._manager(name, checkpoint).device_of(self._key(checkpoint))

    def lanes_of(self, checkpoint: str | None = None) -> Lanes | None:
        """The lanes of the card where a checkpoint's decoder works: what it makes is brought home while it works."""
        key = self._key(checkpoint)
        decoders = (one.name for plan in self._plans(key) for one in plan.components if one.role == "decoder")
        name = next(decoders, None)
        return self._of_main(key).lanes_of(key) if name is None else self._manager(name, key).lanes_of(key)

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """For a time, write down what is copied and what works meanwhile on the card of the first checkpoint's loop."""
        with self._of_main().watched() as watch:
            yield watch

    @property
    def device(self) -> torch.device:
        """Where the first checkpoint's loop works."""
        return self.device_of()

    def fit_to(self, seconds: float, takes: int = 1, checkpoint: str | None = None) -> None:
        """Take up the plan for a piece, on each card."""
        key = self._key(checkpoint)
        for card in [card for card in self._managers if self._has(card, key)]:
            self._managers[card].fit_to(seconds, takes, key)

    def free(self, checkpoint: str | None = None) -> None:
        """Give back all memory of components that are not at work, on every card."""
        for card, manager in self._managers.items():
            if checkpoint is None or self._has(card, checkpoint):
                manager.free(checkpoint)

    @contextmanager
    def notifying(self, listener: Callable[[str], None]) -> Iterator[None]:
        """For a time, tell somebody more of every change on any card."""
        with ExitStack() as stack:
            for manager in self._managers.values():
                stack.enter_context(manager.notifying(listener))
            yield

    # -- what is where ---------------------------------------------------------------------------------------------------

    @property
    def places_on_device(self) -> tuple[Place, ...]:
        """The components that are on a card now as (checkpoint, component)."""
        return tuple(place for manager in self._managers.values() for place in manager.places_on_device)

    @property
    def on_device(self) -> tuple[str, ...]:
        """The components that are on a card now, by name."""
        return tuple(name for manager in self._managers.values() for name in manager.on_device)

    @property
    def messages(self) -> list[str]:
        """The sentences about changes of plan, card after card."""
        return [line for manager in self._managers.values() for line in manager.messages]

    @property
    def loading(self) -> str:
        """The component whose weights are coming to a card now; "" where none are."""
        return next((manager.loading for manager in self._managers.values() if manager.loading), "")
