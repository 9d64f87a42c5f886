"""One plan for the memory of all checkpoints that are open together. It knows no tensors and moves nothing.

One checkpoint works at a time. Each is therefore planned for as if it were alone — what else is open never changes how a
recipe sounds — and what the others have loaded stays beside it as far as there is room; the rest leaves, the longest unused
first. Components with the same content on disk are one module in memory and counted once.

::

    cost = plan.with_checkpoint("base", specs, passes=2)
    print(cost)          # "base: 5.6 GB more, 1.9 GB shared with turbo (text, vae, codes); while it works, …"
    plan = cost.plan     # the plan with it, once it is wanted
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.memory_plan import MemoryPlan, aligned, budget, gb

Place = tuple[str, str]
"""A component of a checkpoint: (checkpoint, component)."""


@dataclass(frozen=True)
class SharedMemoryPlan:
    """The memory plans of all open checkpoints by name, and which of their components are one in memory."""

    plans: Mapping[str, MemoryPlan]
    same: Mapping[Place, Place] = field(default_factory=lambda: MappingProxyType({}))  # a component → the first like it

    def __post_init__(self) -> None:
        if not self.plans:
            raise MachineError("A plan for memory is for one checkpoint or more; hand over at least one.")

    @classmethod
    def of(cls, checkpoint: str, plan: MemoryPlan) -> SharedMemoryPlan:
        """The plan of one checkpoint alone."""
        return cls(MappingProxyType({checkpoint: plan}))

    def __getitem__(self, checkpoint: str) -> MemoryPlan:
        """The plan of one checkpoint; MachineError where none of that name is open."""
        if checkpoint not in self.plans:
            raise MachineError(f"No checkpoint {shown(checkpoint)} is open; open are {', '.join(self.plans)}.")
        return self.plans[checkpoint]

    @property
    def first(self) -> MemoryPlan:
        """The plan of the checkpoint that was opened first."""
        return next(iter(self.plans.values()))

    def places(self) -> Iterator[Place]:
        """Every component of every checkpoint, in order."""
        yield from ((checkpoint, name) for checkpoint, plan in self.plans.items() for name in plan.names)

    def like(self, place: Place) -> Place:
        """The first component with this one's content: the one it is counted as."""
        return self.same.get(place, place)

    def shares(self, one: Place, other: Place) -> bool:
        """Whether two components are one module: the same content, kept and computed with alike."""
        return self.like(one) == self.like(other) and self._kept(one) == self._kept(other)

    def _kept(self, place: Place) -> tuple[str, str, str, str]:
        plan, name = self[place[0]], place[1]
        mechanism = plan.mechanism(name)
        return plan.device, plan.kept_in(name), plan.stored(name), mechanism if mechanism in ("block", "leaf") else ""

    def modules(self) -> tuple[Place, ...]:
        """One place for each module there is once everything is loaded: what is shared is named once."""
        found: list[Place] = []
        for place in self.places():
            if not any(self.shares(place, other) for other in found):
                found.append(place)
        return tuple(found)

    @property
    def loaded_bytes(self) -> int:
        """Bytes of all components once loaded, what is shared counted once."""
        return sum(self[checkpoint].device_bytes(name) for checkpoint, name in self.modules())

    @property
    def need_bytes(self) -> int:
        """The most that is in use while the hungriest checkpoint works and the others have made room."""
        return max(plan.need_bytes for plan in self.plans.values())

    @property
    def fits(self) -> bool:
        """Whether each checkpoint has room to work."""
        return all(plan.fits for plan in self.plans.values())

    def room_beside(self, checkpoint: str) -> int:
        """Bytes that others' components may keep on the device while a checkpoint works."""
        plan = self[checkpoint]
        return max(0, plan.have_bytes - plan.need_bytes)

    def leaving_for(self, checkpoint: str) -> tuple[Place, ...]:
        """Whose components leave the device, at the latest, while a checkpoint works, if all others were loaded there: those
        a render uses first, which are the longest unused, until the rest fits.
        """
        own = [(checkpoint, name) for name in self[checkpoint].names]
        others = [place for place in self.modules() if not any(self.shares(place, mine) for mine in own)]
        sizes = {(key, name): self[key].device_bytes(name) for key, name in others}
        over, leaving = sum(sizes.values()) - self.room_beside(checkpoint), []
        for place, size in sizes.items():
            if over > 0:
                leaving.append(place)
                over -= size
        return tuple(leaving)

    def with_checkpoint(
        self,
        checkpoint: str,
        components: Iterable[ComponentSpec],
        *,
        passes: int = 1,
        longest: float = math.inf,
    ) -> CheckpointCost:
        """What another checkpoint costs, before anything of it is loaded, and the plan with it (`.plan`).

        Where two components are so alike that only their contents can tell them apart, their files are read for it once.
        """
        if checkpoint in self.plans:
            raise MachineError(f"The checkpoint {shown(checkpoint)} is open already; give the other one another name.")
        first = self.first
        plan = budget(first.machine, components, passes=passes, tier=first.tier, longest=longest)
        same = {
            place: like for name in plan.names if (like := self._like(plan, name)) for place in [(checkpoint, name)]
        }
        after = SharedMemoryPlan({**self.plans, checkpoint: plan}, MappingProxyType({**self.same, **same})).settled()
        return CheckpointCost(checkpoint, self, after)

    def with_other_components(
        self, checkpoint: str, components: Iterable[ComponentSpec], *, passes: int = 1, longest: float = math.inf
    ) -> CheckpointCost:
        """What an open checkpoint costs with other components in place of its own: with another planner."""
        if len(self.plans) > 1:
            rest = self.without_checkpoint(checkpoint)
            return replace(rest.with_checkpoint(checkpoint, components, passes=passes, longest=longest), before=self)
        first = self[checkpoint]
        plan = budget(first.machine, components, passes=passes, tier=first.tier, longest=longest)
        return CheckpointCost(checkpoint, self, SharedMemoryPlan.of(checkpoint, plan).settled())

    def without_checkpoint(self, checkpoint: str) -> SharedMemoryPlan:
        """The plan once a checkpoint is closed; what it shared belongs to the others."""
        self[checkpoint]
        plans = {name: plan for name, plan in self.plans.items() if name != checkpoint}
        heirs: dict[Place, Place] = {}
        for place in self.places():
            if place[0] != checkpoint:
                heirs.setdefault(self.like(place), place)
        same = {p: heirs[self.like(p)] for p in self.places() if p[0] != checkpoint and heirs[self.like(p)] != p}
        return SharedMemoryPlan(plans, MappingProxyType(same)).settled()

    def with_plan(self, checkpoint: str, plan: MemoryPlan) -> SharedMemoryPlan:
        """The same with another plan for one checkpoint."""
        self[checkpoint]
        return replace(self, plans=MappingProxyType({**self.plans, checkpoint: plan}))

    def _like(self, plan: MemoryPlan, name: str) -> Place | None:
        """The first open component with the content of one that is to come."""
        content = plan.component(name).content
        if content is None:
            return None
        for place in self.places():
            other = self[place[0]].component(place[1]).content
            if other is not None and place not in self.same and content.is_same_as(other):
                return place
        return None

    def settled(self) -> SharedMemoryPlan:
        """Every checkpoint's plan told how much of the others waits in the same RAM."""
        sizes = {
            self.like((key, name)): plan.component(name).bytes
            for key, plan in self.plans.items()
            for name in plan.names
        }
        whole = sum(sizes.values())
        plans = {key: replace(plan, waiting_bytes=whole - sum(plan.sizes.values())) for key, plan in self.plans.items()}
        return replace(self, plans=MappingProxyType(plans))

    def summary(self) -> str:
        """One sentence; of several checkpoints, what each can do and how much all take: "12 GB: turbo: …; base: …"."""
        if len(self.plans) == 1:
            return self.first.summary()
        each = "; ".join(f"{name}: {plan.offer()}" for name, plan in self.plans.items())
        return f"{self.first.machine.label}: {each}; {gb(self.loaded_bytes)} in all once loaded"

    def table(self) -> tuple[tuple[str, ...], ...]:
        """A header and a row per component of each checkpoint; one that is shared says with which."""
        modules, rows = self.modules(), []
        for place in self.places():
            kept = next(module for module in modules if self.shares(module, place))
            row = self[place[0]].row(place[1])
            rows.append((place[0], *row, "" if kept == place else f"shared with {kept[0]}"))
        return (("checkpoint", *self.first.table()[0], ""), *rows)

    def __str__(self) -> str:
        """The sentence and the table, aligned, for a terminal or a cell."""
        if len(self.plans) == 1:
            return str(self.first)
        computing = "; ".join(f"{name} computes in {p.dtype_name} on {p.device}" for name, p in self.plans.items())
        return "\n".join((self.summary(), "", *aligned(self.table()), "", f"{computing[0].upper()}{computing[1:]}."))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


@dataclass(frozen=True)
class CheckpointCost:
    """What opening one more checkpoint costs, known before anything of it is loaded. Prints as a sentence."""

    checkpoint: str
    before: SharedMemoryPlan = field(repr=False)
    plan: SharedMemoryPlan = field(repr=False)  # with the checkpoint

    @property
    def shared(self) -> Mapping[str, str]:
        """The components that are in memory with another checkpoint anyway: component → that checkpoint."""
        found: dict[str, str] = {}
        if self.before is self.plan:
            return MappingProxyType(found)
        for name in self.plan[self.checkpoint].names:
            place = (self.checkpoint, name)
            other = next((one for one in self.before.places() if self._is_there(one, place)), None)
            if other is not None:
                found[name] = other[0]
        return MappingProxyType(found)

    def _is_there(self, one: Place, place: Place) -> bool:
        """Whether what stands at a place now is what a component will be; a checkpoint's other planner is not."""
        if one[0] == self.checkpoint:
            return one == place and self.before[one[0]].component(one[1]) == self.plan[place[0]].component(place[1])
        return self.plan.shares(one, place)

    @property
    def shared_bytes(self) -> int:
        """Bytes that are not loaded again."""
        return sum(map(self.plan[self.checkpoint].device_bytes, self.shared))

    @property
    def more_bytes(self) -> int:
        """Bytes that come beside what the open checkpoints take once loaded."""
        return self.plan.loaded_bytes - self.before.loaded_bytes

    @property
    def evicted(self) -> tuple[Place, ...]:
        """Which components of the others leave the device, at the latest, while it works: (checkpoint, component)."""
        return self.plan.leaving_for(self.checkpoint)

    @property
    def fits(self) -> bool:
        """Whether it has room to work once the others have made it."""
        return self.plan[self.checkpoint].fits

    def __str__(self) -> str:
        """One sentence: what more, what is shared, who leaves, and how it fits."""
        pieces = ["open already"] if self.before is self.plan else [f"{gb(self.more_bytes)} more"]
        if self.shared:
            owners = " and ".join(dict.fromkeys(self.shared.values()))
            pieces.append(f"{gb(self.shared_bytes)} shared with {owners} ({', '.join(self.shared)})")
        leaving = ", ".join(f"{name} of {checkpoint}" for checkpoint, name in self.evicted)
        room = f"while it works, {leaving} may have to leave" if leaving else "the others stay loaded beside it"
        return f"{self.checkpoint}: {', '.join(pieces)}; {room}; {self.plan[self.checkpoint].offer()}."
