"""What fits where: a pure function from a machine, components and a recipe to a MemoryPlan.

It knows no tensors, no names of components (their traits say all: `ComponentSpec`), and moves nothing. The ladder of
`tiers.OFFLOAD_LEVELS` is walked from the top until the weights on the device and the work of the hungriest stage fit; more
memory therefore never gives a worse plan. Where memory still runs out (an estimate is an estimate),
`MemoryPlan.step_down()` says what to try next. For several checkpoints at once see `shared_memory_plan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.backends import DeviceFacts, row_of
from acestep_lab.models.component_spec import ComponentSpec, checked
from acestep_lab.models.tiers import (
    CONTEXT_BYTES,
    GB,
    LAST_RESORT,
    LEVEL_BY_NAME,
    OFFLOAD_LEVELS,
    Machine,
    OffloadLevel,
    Tier,
    asked_dtype,
)
from acestep_lab.settings import Settings

if TYPE_CHECKING:
    import torch

SAFETY_BYTES = GB // 2
SAFETY_SHARE = 0.1  # of a card's memory, or of what is used of the RAM: what an allocator loses to gaps

STREAM_SHARE = {"block": 0.2, "leaf": 0.12}
"""Of the stored weights: what is on the device while a component is streamed. Two rooms that take turns and what is in no block: of the
2B transformer 0.12 and 0.03."""
READING_STREAM_SHARE = {"block": 0.32, "leaf": 0.27}
"""The same of an encoder, whose table of words is a quarter of it and cannot be divided."""

LANES = ("cuda", "xpu")
"""Kinds of machine that copy while they work, from memory that is pinned and into two rooms that take turns: counted in the shares."""
PINNED_SHARE = 0.5
"""Of the RAM: pinned memory is taken from every other program."""
SOUND_FRAME_BYTES = 1920 * 2 * 4
"""Of a piece of sound, for each latent frame: samples, channels, float32."""

TILES = (1536, 1024, 512, 256, 128, 64)  # latent frames
WIDE_TILE = 256
"""Below this a tile's context is most of its work (9 frames to either side of 64: a quarter more), so that components rather take turns."""
LENGTHS = (600.0, 480.0, 360.0, 240.0, 180.0, 120.0, 60.0, 30.0)  # seconds
NOMINAL_SECONDS = 240.0  # planned for where no recipe says how long
SMALL_CHECKPOINT = GB  # bytes; below this a CPU computes in full precision, since there is no speed to win


class HasSeconds(Protocol):
    """What a plan for memory needs of a Recipe."""

    @property
    def seconds(self) -> float | None: ...


@dataclass(frozen=True)
class MemoryPlan:
    """Which component is where, in what precision, and what can be asked for: the decision, as a value with words."""

    machine: Machine
    tier: Tier
    level: OffloadLevel
    components: tuple[ComponentSpec, ...]
    dtype: str  # "bf16", "float32" or "float16": what the components compute in
    tile_frames: int
    seconds: float  # what was planned for
    takes: int  # rendered together, as planned for
    passes: int = 1  # of the loop's component per step: 2 where it is guided
    longest_seconds: float = 600.0
    batch: int = 1  # most takes together at `seconds`
    preview: str = "window"
    without: tuple[ComponentSpec, ...] = ()  # what has no room here at all
    own_longest: float = math.inf  # seconds: the checkpoint's own limit, whatever the machine
    waiting_bytes: int = 0  # of other checkpoints open beside this one, whose components wait in the same RAM
    tile_is_final: bool = False  # memory has run out: a decoder takes no larger tile, however much is free
    beside: tuple[
        MemoryPlan, ...
    ] = ()  # of this checkpoint's components that work on other cards, a plan for each card
    spread: str = ""  # how the takes of a run are shared with other cards, as a sentence; "" where they are not

    @property
    def device(self) -> str:
        """The torch device the components work on."""
        return "cpu" if self.level is LAST_RESORT else self.machine.device

    @property
    def device_title(self) -> str:
        """The card in sentences: "cuda:1 (24 GB)", of one that is simulated too."""
        machine = self.machine
        return f"{machine.kind}:{machine.index or 0} ({machine.gigabytes:.0f} GB)"

    @property
    def torch_dtype(self) -> torch.dtype:
        """What to build the components in."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    @property
    def dtype_name(self) -> str:
        """What the components compute in, by torch's name: "bfloat16", "float32" or "float16"."""
        return "bfloat16" if self.dtype == "bf16" else self.dtype

    def kept_in(self, name: str) -> str:
        """What one component computes in: as the others, but float16 where it knows how to and a card has no bfloat16."""
        halves = self.component(name).halves and self.tier.dtype == "auto" and self.device != "cpu"
        return row_of(DeviceFacts.of_machine(self.machine)).loop_dtype if halves else self.dtype

    def dtype_of(self, name: str) -> torch.dtype:
        """What to build one component in."""
        import torch

        found: torch.dtype = getattr(torch, {"bf16": "bfloat16"}.get(self.kept_in(name), self.kept_in(name)))
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The components by name, in the order a render uses them; those left out are not among them."""
        return tuple(component.name for component in self.components)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each component in bf16, by name."""
        return MappingProxyType({component.name: component.bytes for component in self.components})

    def component(self, name: str) -> ComponentSpec:
        """The component of a name; MachineError where it has no room here, or there is none of that name."""
        for component in self.components:
            if component.name == name:
                return component
        if name in self.left_out:
            raise MachineError(f"The {name} does not fit into this machine. {self.summary()}.")
        raise MachineError(f"No component is called {shown(name)}; this checkpoint has {', '.join(self.names)}.")

    def part(self, name: str) -> MemoryPlan:
        """The plan of the card where a component works: this one, or one beside it."""
        return next((plan for plan in (self, *self.beside) if name in plan.names), self)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The components that have no room here, by name."""
        return tuple(component.name for plan in (self, *self.beside) for component in plan.without)

    @property
    def at_once(self) -> int:
        """How many components may be on the device together."""
        return self.level.at_once(self.components)

    def mechanism(self, name: str) -> str:
        """ "resident", "offload" (in turn), "block" or "leaf"."""
        return self.level.mechanism(self.component(name))

    def stored(self, name: str) -> str:
        """ "full", "int8" or "fp8"."""
        return self.level.stored(self.component(name))

    @property
    def parked(self) -> str:
        """Where a component waits: in "ram", or on "disk" (loaded again) where the RAM is the memory, or too small."""
        if self.machine.kind in ("cpu", "mps"):
            return "disk"
        ram, waiting = self.machine.ram_bytes, self.waiting_bytes + sum(self.sizes.values())
        return "ram" if ram is None or ram > 1.2 * waiting + CONTEXT_BYTES else "disk"

    def device_bytes(self, name: str) -> int:
        """What a component takes of the memory while it is on the device."""
        component = self.component(name)
        share = component.share(self.stored(name))
        return int(component.bytes * (share or self._scale(name)) * self._stream_share(name))

    def _stream_share(self, name: str) -> float:
        """How much of a component's weights is on the device at once while it works."""
        shares = READING_STREAM_SHARE if self.component(name).role == "encoder" else STREAM_SHARE
        return shares.get(self.mechanism(name), 1.0)

    def working_bytes(self, name: str) -> int:
        """What a component takes besides its weights while it works."""
        working = self.component(name).working_bytes(self.seconds, self.takes, self.passes, self.tile_frames)
        return int(working * self._scale(name))

    def bytes_per_frame(self, name: str) -> float:
        """What each latent frame of a tile takes of a component's work, as it was traced."""
        one, two = (replace(self, tile_frames=frames).working_bytes(name) for frames in (1, 2))
        return two - one

    def room_bytes(self, name: str) -> int:
        """What a component may take besides its weights while it works: what the driver, a margin and weights leave."""
        beside = [self.device_bytes(other) for other in self.names if self.mechanism(other) == "resident"]
        moving = [self.device_bytes(other) for other in self.names if self.mechanism(other) != "resident"]
        own = self.device_bytes(name) if self.mechanism(name) != "resident" else max(moving, default=0)
        weights = sum(beside) + own
        return self.have_bytes - overhead(self.machine, weights) - weights

    @property
    def pinned_bytes(self) -> int:
        """The RAM that copies to a card and from it would pin: components that come and go, and two pieces of sound."""
        if self.machine.kind not in LANES:
            return 0
        moving = [name for name in self.names if self.mechanism(name) != "resident"]
        weights = sum(self.device_bytes(name) / self._stream_share(name) for name in moving)
        return int(weights) + 2 * self.tile_frames * SOUND_FRAME_BYTES

    @property
    def most_pinned_bytes(self) -> float:
        """How much of the RAM may be pinned: what the setting `pinned` says, else half of it; nothing where components wait on disk."""
        if self.parked == "disk":
            return 0.0
        asked = Settings.read().value("pinned")
        return float(asked) * GB if asked else PINNED_SHARE * (self.machine.ram_bytes or math.inf)

    @property
    def need_bytes(self) -> int:
        """The most that is in use at any time, the driver and a margin included."""
        peak = self._most_bytes
        return peak + overhead(self.machine, peak)

    @property
    def use_bytes(self) -> int:
        """The most that is in use at any time, the driver included and no margin."""
        return self._most_bytes + CONTEXT_BYTES

    @property
    def _most_bytes(self) -> int:
        moving = [name for name in self.names if self.mechanism(name) != "resident"]
        staying = sum(self.device_bytes(name) for name in self.names if name not in moving)
        waiting = max((self.device_bytes(name) for name in moving), default=0)  # the last one stays until the next
        peaks = [
            staying + (0 if name in moving else waiting) + self._peak_bytes(name, name in moving) for name in self.names
        ]
        return max(peaks, default=0)

    def _peak_bytes(self, name: str, moving: bool) -> int:
        """The most one component adds: its weights at work, or (in RAM) while they are read, before they are shrunk."""
        reading = self.component(name).bytes * self._scale(name) if self.machine.kind in ("cpu", "mps") else 0
        if not moving:
            return max(self.working_bytes(name), reading - self.device_bytes(name))
        return max(self.device_bytes(name) + self.working_bytes(name), reading)

    def fits_alone(self, name: str) -> bool:
        """Whether a component has room to work, with those that stay."""
        others = (other for other in self.names if other != name and self.mechanism(other) == "resident")
        used = sum(map(self.device_bytes, others)) + self._peak_bytes(name, True)
        return used + overhead(self.machine, used) <= self.have_bytes

    @property
    def have_bytes(self) -> int:
        """The memory there is: what was free of it when the machine was looked at."""
        machine = self.machine
        return machine.memory_bytes if machine.free_bytes is None else min(machine.free_bytes, machine.memory_bytes)

    @property
    def fits(self) -> bool:
        """Whether what is needed is there."""
        return self.need_bytes <= self.have_bytes

    def _scale(self, name: str) -> int:
        return 2 if self.kept_in(name) == "float32" else 1

    def fit(self, recipe: HasSeconds | None = None, takes: int = 1, passes: int | None = None) -> MemoryPlan:
        """The plan for another recipe, on the same machine with the same components."""
        again = budget(
            self.machine, self.components, recipe,
            takes=takes, passes=passes or self.passes, tier=self.tier, longest=self.own_longest,
        )  # fmt: skip
        beside = tuple(one.fit(recipe, takes, passes) for one in self.beside)
        return replace(
            again, without=(*self.without, *again.without), waiting_bytes=self.waiting_bytes,
            beside=beside, spread=self.spread,
        )  # fmt: skip

    def step_down(self, name: str | None = None) -> MemoryPlan | None:
        """What to try after running out of memory: a smaller tile, then fewer on the device, then more offload; None:
        nothing left.

        `name` is the component that ran out; a smaller tile helps a decoder alone.
        """
        if (name is None or self.component(name).role == "decoder") and self.tile_frames > TILES[-1]:
            smaller = next(tile for tile in TILES if tile < self.tile_frames)
            return replace(self, tile_frames=smaller, tile_is_final=True)
        ladder = list(levels_for(self.machine, self.components))
        ladder += [LAST_RESORT] if self.machine.kind in LAST_RESORT.kinds else []
        lower = ladder[ladder.index(self.level) + 1 :] if self.level in ladder else []
        if not lower:
            return None
        fewer = min(self.batch, max(1, self.takes // 2))
        return replace(self, level=lower[0], batch=fewer, preview=preview(self.tier, lower[0], self.components))

    @property
    def way(self) -> str:
        """How the components share the memory, in words: "LM leaves while the DiT works"."""
        return self.level.description(self.components)

    def summary(self) -> str:
        """One sentence: "12 GB: LM leaves while the DiT works; up to 8 min; batch 2"."""
        return f"{self.machine.label}: {self.offer()}"

    def offer(self) -> str:
        """The sentence without the machine: what can be asked for, and what has no room."""
        head = f"{self.way}; up to {minutes(self.longest_seconds)}; batch {self.batch}"
        notes = [f"{', '.join(one.names)} on {one.device_title}: {one.way}" for one in self.beside if one.names]
        notes += [self.spread] if self.spread else []
        notes += [_no_room(component) for one in (self, *self.beside) for component in one.without]
        if not self.fits:
            notes.append(f"needs about {gb(self.need_bytes)} and has {gb(self.have_bytes)}: it may run out")
        notes += [f"{one.device_title} may run out" for one in self.beside if not one.fits]
        return "; ".join((head, *notes))

    def __str__(self) -> str:
        """The sentence and the table, aligned, for a terminal or a cell."""
        others = "".join(f"; {', '.join(one.names)} in {one.dtype_name} on {one.device_title}" for one in self.beside)
        last = f"Computes in {self.dtype_name} on {self.device}{others}."
        return "\n".join((self.summary(), "", *aligned(self.table()), "", last))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def table(self) -> tuple[tuple[str, ...], ...]:
        """A header and a row per component: size, kept as, how it gets on the device, memory while it works."""
        rows = (one.row(name) for one in (self, *self.beside) for name in one.names)
        return (("component", "size", "kept as", "on device", "at work"), *rows)

    def row(self, name: str) -> tuple[str, ...]:
        """The row of one component in the table."""
        return (
            name,
            gb(self.component(name).bytes * self._scale(name)),
            self.kept_in(name) if self.stored(name) == "full" else self.stored(name),
            MECHANISMS[self.mechanism(name)],
            gb(self.device_bytes(name) + self.working_bytes(name)),
        )


MECHANISMS = {
    "resident": "stays",
    "offload": "in turn",
    "block": "block by block",
    "leaf": "layer by layer",
}
"""How a component gets on the device, in words."""


def _no_room(component: ComponentSpec) -> str:
    advice = "take a smaller one, or plan by hand" if component.role == "planner" else "take a smaller one"
    return f"no room for the {component.title}: {advice}"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows of a table as lines of one width per column."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def budget(
    machine: Machine,
    components: Iterable[ComponentSpec],
    recipe: HasSeconds | None = None,
    *,
    takes: int = 1,
    passes: int = 1,
    tier: Tier | None = None,
    longest: float = math.inf,
) -> MemoryPlan:
    """The best plan that fits: the first level and the largest tile of which the machine has room.

    `components` are all an engine names (`engine.component_specs()`; nothing is loaded), and all of them are planned for; an
    optional one that has no room by itself is left out. `longest` is the checkpoint's own limit in seconds. Where nothing
    fits, the leanest comes back with `fits` False and its summary says so. MachineError for what is no ComponentSpec.
    """
    tier = tier or Tier.for_machine(machine)
    asked = recipe.seconds if recipe is not None else None
    room = _Room(machine, checked(components), tier, passes).without_what_has_none(asked or 1.0)
    allowed = min(room.longest_seconds(), longest)
    seconds = asked or min(NOMINAL_SECONDS, allowed)
    best = _first(room.candidates(seconds, takes))
    return replace(best, longest_seconds=allowed, batch=room.widest(seconds), own_longest=longest)


def plan_for_tier(
    tier: Tier,
    components: Iterable[ComponentSpec],
    recipe: HasSeconds | None = None,
    *,
    takes: int = 1,
    passes: int = 1,
    longest: float = math.inf,
) -> MemoryPlan:
    """`budget` for this machine, made as small as a tier."""
    return budget(Machine.for_tier(tier), components, recipe, takes=takes, passes=passes, tier=tier, longest=longest)


@dataclass(frozen=True)
class _Room:
    """A machine and the components that are to work in it: everything that can be tried there."""

    machine: Machine
    components: tuple[ComponentSpec, ...]
    tier: Tier
    passes: int
    without: tuple[ComponentSpec, ...] = ()

    def without_what_has_none(self, seconds: float) -> _Room:
        """The same without optional components that have no room to work by themselves on so many seconds."""
        for component in self.components:
            if component.optional and len(self.components) > 1 and not self.leanest(seconds).fits_alone(component.name):
                others = tuple(other for other in self.components if other is not component)
                return replace(self, components=others, without=(*self.without, component)).without_what_has_none(
                    seconds
                )
        return self

    @property
    def plans(self) -> bool:
        """Whether there is a planner, with room or without."""
        return any(component.role == "planner" for component in (*self.components, *self.without))

    def candidates(self, seconds: float, takes: int) -> Iterator[MemoryPlan]:
        """Every plan there is for this machine, best first. A small checkpoint is never kept in fewer bits: it would save
        next to nothing, and what else runs on the machine would decide how the same recipe sounds.
        """
        dtype = compute_dtype(self.machine, self.components, self.tier.dtype)
        levels = levels_for(self.machine, self.components)
        kept = [level for level in levels if level.storage == "full" or not is_small(self.components)]
        tiles = [tile for tile in TILES if tile <= self.tier.tile_frames]
        wide = [tile for tile in tiles if tile >= WIDE_TILE] or tiles[:1]
        for some in (wide, [tile for tile in tiles if tile not in wide]):
            for level, tile in product(kept, some):
                yield MemoryPlan(
                    self.machine, self.tier, level, self.components, dtype, tile, seconds, takes, self.passes,
                    preview=preview(self.tier, level, self.components), without=self.without,
                )  # fmt: skip

    def leanest(self, seconds: float, takes: int = 1) -> MemoryPlan:
        *_, last = self.candidates(seconds, takes)
        return last

    def longest_seconds(self) -> float:
        """The longest piece that any plan here has room for."""
        ceiling = self.tier.longest_seconds if self.plans else self.tier.longest_without_lm
        lengths = [length for length in LENGTHS if length <= ceiling]
        return next((length for length in lengths if self.leanest(length).fits), lengths[-1])

    def widest(self, seconds: float) -> int:
        """The most takes of this length at once that any plan here has room for."""
        ceiling = self.tier.batch if self.plans else self.tier.batch_without_lm
        return next((takes for takes in range(ceiling, 1, -1) if self.leanest(seconds, takes).fits), 1)


def tier_alone(tier: Tier, components: Iterable[ComponentSpec]) -> MemoryPlan:
    """A tier's row taken at its word on this machine: its level and its tile, whatever the components' sizes."""
    level, machine, found = LEVEL_BY_NAME[tier.level], Machine.for_tier(tier), checked(components)
    return MemoryPlan(
        machine, tier, level, found, compute_dtype(machine, found, tier.dtype), min(tier.tile_frames, TILES[0]),
        NOMINAL_SECONDS, 1,
        longest_seconds=tier.longest_seconds, batch=tier.batch, preview=preview(tier, level, found),
    )  # fmt: skip


def _first(candidates: Iterator[MemoryPlan]) -> MemoryPlan:
    """The first that fits, else the last."""
    last = next(candidates)
    for candidate in (last, *candidates):
        if candidate.fits:
            return candidate
        last = candidate
    return last


def levels_for(machine: Machine, components: Sequence[ComponentSpec]) -> Iterator[OffloadLevel]:
    """The levels that exist on this kind of machine and change something for these components."""
    before = None
    for level in OFFLOAD_LEVELS:
        does = tuple((level.mechanism(one), level.stored(one)) for one in components)
        needs_planner = level.name == "lm leaves" and all(one.role != "planner" for one in components)
        if machine.kind in level.kinds and does != before and not needs_planner:
            yield level
            before = does


def preview(tier: Tier, level: OffloadLevel, components: Sequence[ComponentSpec]) -> str:
    """The most that can be shown of a step without sending the loop's component away."""
    if any(level.mechanism(one) != "resident" for one in components if one.role == "decoder"):
        return "picture"
    return tier.preview if level.name == "all" or tier.preview == "picture" else "window"


def compute_dtype(machine: Machine, components: Iterable[ComponentSpec], asked: str = "auto") -> str:
    """What was asked for; else bf16, except without bf16 in the machine (fp16 gives NaN on older cards) and for a small
    checkpoint on a CPU.
    """
    asked = asked_dtype(asked)
    if asked != "auto":
        return asked
    small = machine.device == "cpu" and is_small(components)
    return row_of(DeviceFacts.of_machine(machine)).dtype if machine.bf16 and not small else "float32"


def is_small(components: Iterable[ComponentSpec]) -> bool:
    """Whether a checkpoint is like the pocket: no burden to any machine."""
    return sum(component.bytes for component in components) < SMALL_CHECKPOINT


def overhead(machine: Machine, used: int) -> int:
    """What is gone besides the components: the driver, and a margin for the allocator's gaps.

    RAM is shared with other programs and what is free of it is known, so that a small checkpoint asks a large machine
    for no more than a small one.
    """
    whole = used if machine.kind == "cpu" else machine.memory_bytes
    return CONTEXT_BYTES + max(SAFETY_BYTES, int(SAFETY_SHARE * whole))


def gb(size: float) -> str:
    """ "3.1 GB", "120 MB"."""
    return f"{size / GB:.1f} GB" if size >= GB / 10 else f"{max(1, round(size / 2**20)) if size else 0} MB"


def minutes(seconds: float) -> str:
    """ "8 min", "30 s"."""
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
