"""What fits where: a pure function from a machine, the components' sizes and a recipe to an MemoryPlan.

It knows no tensors and moves nothing. The ladder of `tiers.OFFLOAD_LEVELS` is walked from the top until the weights aboard and the
work of the hungriest stage fit; more memory therefore never gives a worse arrangement. Where memory still runs out (an
estimate is an estimate), `MemoryPlan.step_down()` says what to try next.

The estimates, all from the reference's planner constants or measured on its modules:
working memory of the DiT 0.3 GB per take and pass for each minute begun, at 3.15 GB of weights, growing with their root (0.5
at 8.3 GB); of the VAE 75 MB for each second of a tile, at 0.34 GB; of the LM its key-value cache (0.6, 1.0, 1.6 GB at 0.6B,
1.7B, 4B). They have been checked against tables, not against a card.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from acestep_lab.models.tiers import (
    COMPONENTS,
    CONTEXT_BYTES,
    GB,
    LAST_RESORT,
    LEVEL_BY_NAME,
    OFFLOAD_LEVELS,
    Machine,
    OffloadLevel,
    Tier,
    asked_dtype,
    components_at_once,
)

if TYPE_CHECKING:
    import torch

SAFETY_BYTES = GB // 2
SAFETY_SHARE = 0.1  # of a card's memory, or of what is used of the RAM: what an allocator loses to gaps

DIT_WORK_PER_MINUTE, DIT_WORK_AT = 0.3e9, 3.15e9  # bytes for each take and pass, at bf16 weights of so many bytes
VAE_WORK_PER_FRAME = 0.003 / 0.34  # of the VAE's bf16 weights, for each latent frame of a tile
LM_WORK, LM_WORK_SHARE = int(0.4e9), 0.15  # a cache of 4k tokens: so much, and so much of the LM's weights
SMALL_WORK = 0.1  # of the weights: the encoders, over a few hundred tokens

INT8_SHARE = {"dit": 0.52, "condition": 0.52, "text": 0.65}  # of the bf16 weights; embeddings and norms stay
FP8_SHARE = {"dit": 0.54, "condition": 0.54, "text": 0.51}  # time and in- and output layers stay
STREAM_SHARE = {"block": 0.2, "leaf": 0.12}  # of the stored weights: what is aboard while a component is streamed

TILES = (1536, 1024, 512, 256, 128, 64)  # latent frames
LENGTHS = (600.0, 480.0, 360.0, 240.0, 180.0, 120.0, 60.0, 30.0)  # seconds
NOMINAL_SECONDS = 240.0  # planned for where no recipe says how long
SMALL_CHECKPOINT = GB  # bytes; below this a CPU computes in full precision, since there is no speed to win


class Asks(Protocol):
    """What a plan for memory needs of a Recipe."""

    @property
    def seconds(self) -> float | None: ...


@dataclass(frozen=True)
class MemoryPlan:
    """Who is aboard, how, and what can be asked for: the decision, as a value that says itself in words."""

    machine: Machine
    tier: Tier
    level: OffloadLevel
    sizes: Mapping[str, int]  # bf16 bytes per component
    dtype: str  # "bf16", "float32" or "float16": what the components compute in
    tile_frames: int
    seconds: float  # what was planned for
    takes: int  # rendered together, as planned for
    passes: int = 1  # of the DiT per step: 2 where it is guided
    longest_seconds: float = 600.0
    batch: int = 1  # most takes together at `seconds`
    preview: str = "window"
    left_out: tuple[str, ...] = ()  # components that have no room here at all
    own_longest: float = math.inf  # seconds: the checkpoint's own limit, whatever the machine

    @property
    def device(self) -> str:
        """The torch device the components work on."""
        return "cpu" if self.level is LAST_RESORT else self.machine.device

    @property
    def torch_dtype(self) -> torch.dtype:
        """What to build the components in."""
        import torch

        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]

    @property
    def dtype_name(self) -> str:
        """What the components compute in, by torch's name: "bfloat16", "float32" or "float16"."""
        return "bfloat16" if self.dtype == "bf16" else self.dtype

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    @property
    def components_at_once(self) -> int:
        """How many components may be aboard together."""
        return components_at_once(self.level, self.components)

    def mechanism(self, component: str) -> str:
        """ "resident", "offload" (in turn), "block" or "leaf"."""
        return self.level.mechanism(component)

    def stored(self, component: str) -> str:
        """ "full", "int8" or "fp8"."""
        return self.level.stored(component)

    @property
    def parked(self) -> str:
        """Where a component waits: in "ram", or on "disk" (loaded again) where the RAM is the memory, or too small."""
        if self.machine.kind in ("cpu", "mps"):
            return "disk"
        ram = self.machine.ram_bytes
        return "ram" if ram is None or ram > 1.2 * sum(self.sizes.values()) + CONTEXT_BYTES else "disk"

    def device_bytes(self, component: str) -> int:
        """What a component takes of the memory while it is aboard."""
        share = {"full": self._scale, "int8": INT8_SHARE.get(component), "fp8": FP8_SHARE.get(component)}[
            self.stored(component)
        ]
        return int(self.sizes[component] * (share or self._scale) * STREAM_SHARE.get(self.mechanism(component), 1.0))

    def working_bytes(self, component: str) -> int:
        """What a component takes besides its weights while it works."""
        size = self.sizes[component] * self._scale
        if component == "dit":
            each = DIT_WORK_PER_MINUTE * self._scale * math.sqrt(self.sizes[component] / DIT_WORK_AT)
            return int(each * self.takes * self.passes * max(1.0, self.seconds / 60))
        if component == "vae":
            return int(size * VAE_WORK_PER_FRAME * self.tile_frames)
        if component == "lm":
            return int(min(LM_WORK * self._scale, size) + LM_WORK_SHARE * size)
        return int(size * SMALL_WORK)

    @property
    def need_bytes(self) -> int:
        """The most that is in use at any time, the driver and a margin included."""
        staying = sum(
            self.device_bytes(component) for component in self.components if self.mechanism(component) == "resident"
        )
        moving = [component for component in self.components if self.mechanism(component) != "resident"]
        waiting = max(
            (self.device_bytes(component) for component in moving), default=0
        )  # the last one stays until the next
        peaks = [
            staying + (0 if component in moving else waiting) + self._peak_bytes(component, component in moving)
            for component in self.components
        ]
        return max(peaks, default=0) + overhead(self.machine, max(peaks, default=0))

    def _peak_bytes(self, component: str, moving: bool) -> int:
        """The most one component adds: its weights at work, or (in RAM) while they are read, before they are shrunk."""
        reading = self.sizes[component] * self._scale if self.machine.kind in ("cpu", "mps") else 0
        if not moving:
            return max(self.working_bytes(component), reading - self.device_bytes(component))
        return max(self.device_bytes(component) + self.working_bytes(component), reading)

    def fits_alone(self, component: str) -> bool:
        """Whether a component has room to work, with those that stay."""
        staying = sum(
            self.device_bytes(p) for p in self.components if self.mechanism(p) == "resident" and p != component
        )
        used = staying + self._peak_bytes(component, True)
        return used + overhead(self.machine, used) <= self.have_bytes

    @property
    def have_bytes(self) -> int:
        machine = self.machine
        return machine.memory_bytes if machine.free_bytes is None else min(machine.free_bytes, machine.memory_bytes)

    @property
    def fits(self) -> bool:
        return self.need_bytes <= self.have_bytes

    @property
    def _scale(self) -> int:
        return 2 if self.dtype == "float32" else 1

    def fit(self, recipe: Asks | None = None, takes: int = 1, passes: int | None = None) -> MemoryPlan:
        """The arrangement for another recipe, on the same machine with the same components."""
        again = budget(
            self.machine, self.sizes, recipe,
            takes=takes, passes=passes or self.passes, tier=self.tier, longest=self.own_longest,
        )  # fmt: skip
        return replace(again, left_out=self.left_out)

    def step_down(self, component: str | None = None) -> MemoryPlan | None:
        """What to try after running out of memory: a smaller tile, then fewer aboard, then more offload; None: nothing left.

        `component` is the component that ran out; a smaller tile helps the VAE alone.
        """
        if component in (None, "vae") and self.tile_frames > TILES[-1]:
            return replace(self, tile_frames=next(tile for tile in TILES if tile < self.tile_frames))
        ladder = list(levels_for(self.machine, self.components))
        ladder += [LAST_RESORT] if self.machine.kind in LAST_RESORT.kinds else []
        lower = ladder[ladder.index(self.level) + 1 :]
        if not lower:
            return None
        fewer = min(self.batch, max(1, self.takes // 2))
        return replace(self, level=lower[0], batch=fewer, preview=preview(self.tier, lower[0]))

    def words(self) -> str:
        """One sentence: "12 GB: LM leaves while the DiT works; up to 8 min; batch 2"."""
        head = f"{self.machine.label}: {self.level.words}; up to {minutes(self.longest_seconds)}; batch {self.batch}"
        notes = [
            f"no room for the {component.upper()}: take a smaller one, or plan by hand" for component in self.left_out
        ]
        if not self.fits:
            notes.append(f"needs about {gb(self.need_bytes)} and has {gb(self.have_bytes)}: it may run out")
        return "; ".join((head, *notes))

    def __str__(self) -> str:
        """The sentence and the table, aligned, for a terminal or a cell."""
        rows = self.table()
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join((self.words(), "", *lines, "", f"Computes in {self.dtype_name} on {self.device}."))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def table(self) -> tuple[tuple[str, ...], ...]:
        """A header and a row per component: size, kept as, how it gets to work, memory while it works."""
        rows = [
            (
                component,
                gb(self.sizes[component] * self._scale),
                self.dtype if self.stored(component) == "full" else self.stored(component),
                HOW[self.mechanism(component)],
                gb(self.device_bytes(component) + self.working_bytes(component)),
            )
            for component in self.components
        ]
        return (("component", "size", "kept as", "aboard", "at work"), *rows)


HOW = {
    "resident": "stays",
    "offload": "in turn",
    "block": "block by block",
    "leaf": "layer by layer",
}


def budget(
    machine: Machine,
    sizes: Mapping[str, int],
    recipe: Asks | None = None,
    *,
    takes: int = 1,
    passes: int = 1,
    tier: Tier | None = None,
    longest: float = math.inf,
) -> MemoryPlan:
    """The best arrangement that fits: the first level and the largest tile of which the machine has room.

    `sizes` are bf16 bytes per component (`checkpoint.sizes(2)`; nothing is loaded). An LM that has no room by itself is left out.
    `longest` is the checkpoint's own limit in seconds. Where nothing fits, the leanest comes back with `fits` False and its words say so.
    """
    tier = tier or Tier.for_machine(machine)
    room = _Room(machine, MappingProxyType({p: int(sizes[p]) for p in COMPONENTS if p in sizes}), tier, passes)
    room = room.without_lm() if "lm" in room.sizes and not room.leanest(1.0).fits_alone("lm") else room
    allowed = min(room.longest_seconds(), longest)
    seconds = (recipe.seconds if recipe is not None else None) or min(NOMINAL_SECONDS, allowed)
    best = _first(room.candidates(seconds, takes))
    return replace(best, longest_seconds=allowed, batch=room.widest(seconds), own_longest=longest)


def plan_for_tier(
    tier: Tier,
    sizes: Mapping[str, int],
    recipe: Asks | None = None,
    *,
    takes: int = 1,
    passes: int = 1,
    longest: float = math.inf,
) -> MemoryPlan:
    """`budget` for this machine, made as small as a tier."""
    return budget(Machine.for_tier(tier), sizes, recipe, takes=takes, passes=passes, tier=tier, longest=longest)


@dataclass(frozen=True)
class _Room:
    """A machine and the components that are to work in it: everything that can be tried there."""

    machine: Machine
    sizes: Mapping[str, int]
    tier: Tier
    passes: int
    left_out: tuple[str, ...] = ()

    def without_lm(self) -> _Room:
        others = MappingProxyType({component: size for component, size in self.sizes.items() if component != "lm"})
        return replace(self, sizes=others, left_out=("lm",))

    def candidates(self, seconds: float, takes: int) -> Iterator[MemoryPlan]:
        """Every arrangement there is for this machine, best first. A small checkpoint is never kept in fewer bits: it would
        save next to nothing, and what else runs on the machine would decide how the same recipe sounds.
        """
        dtype = compute_dtype(self.machine, self.sizes, self.tier.dtype)
        levels = levels_for(self.machine, tuple(self.sizes))
        for level in (level for level in levels if level.storage == "full" or not is_small(self.sizes)):
            for tile in (tile for tile in TILES if tile <= self.tier.tile_frames):
                yield MemoryPlan(
                    self.machine, self.tier, level, self.sizes, dtype, tile, seconds, takes, self.passes,
                    preview=preview(self.tier, level), left_out=self.left_out,
                )  # fmt: skip

    def leanest(self, seconds: float, takes: int = 1) -> MemoryPlan:
        *_, last = self.candidates(seconds, takes)
        return last

    def longest_seconds(self) -> float:
        """The longest song that any arrangement here has room for."""
        planned = "lm" in self.sizes or "lm" in self.left_out
        ceiling = self.tier.longest_seconds if planned else self.tier.longest_without_lm
        lengths = [length for length in LENGTHS if length <= ceiling]
        return next((length for length in lengths if self.leanest(length).fits), lengths[-1])

    def widest(self, seconds: float) -> int:
        """The most takes of this length at once that any arrangement here has room for."""
        ceiling = self.tier.batch if "lm" in self.sizes or "lm" in self.left_out else self.tier.batch_without_lm
        return next((takes for takes in range(ceiling, 1, -1) if self.leanest(seconds, takes).fits), 1)


def plan_of_tier(given: MemoryPlan | Tier | None = None) -> MemoryPlan:
    """An arrangement as given; that of a tier's row, on this machine; or all aboard where nothing is said.

    A row alone knows no sizes, so its level is taken at its word.
    """
    if isinstance(given, MemoryPlan):
        return given
    tier = given or Tier.for_memory(16, "cpu")
    level, machine = LEVEL_BY_NAME[tier.level], Machine.for_tier(tier)
    return MemoryPlan(
        machine, tier, level, dict.fromkeys(COMPONENTS, 0), compute_dtype(machine, {}, tier.dtype), min(tier.tile_frames, TILES[0]),
        NOMINAL_SECONDS, 1,
        longest_seconds=tier.longest_seconds, batch=tier.batch, preview=preview(tier, level),
    )  # fmt: skip


def _first(candidates: Iterator[MemoryPlan]) -> MemoryPlan:
    """The first that fits, else the last."""
    last = next(candidates)
    for candidate in (last, *candidates):
        if candidate.fits:
            return candidate
        last = candidate
    return last


def levels_for(machine: Machine, components: tuple[str, ...]) -> Iterator[OffloadLevel]:
    """The levels that exist on this kind of machine and change something for these components."""
    for level in OFFLOAD_LEVELS:
        if machine.kind in level.kinds and ("lm" in components or level.name != "lm leaves"):
            yield level


def preview(tier: Tier, level: OffloadLevel) -> str:
    """The most that can be shown of a step without sending the DiT away."""
    if level.mechanism("vae") != "resident":
        return "picture"
    return tier.preview if level.name == "all" or tier.preview == "picture" else "window"


def compute_dtype(machine: Machine, sizes: Mapping[str, int], asked: str = "auto") -> str:
    """What was asked for; else bf16, except without bf16 in the machine (fp16 gives NaN on older cards) and for a small
    checkpoint on a CPU.
    """
    asked = asked_dtype(asked)
    if asked != "auto":
        return asked
    small = machine.device == "cpu" and is_small(sizes)
    return "bf16" if machine.bf16 and not small else "float32"


def is_small(sizes: Mapping[str, int]) -> bool:
    """Whether a checkpoint (bf16 bytes per component) is like the pocket: no burden to any machine."""
    return sum(sizes.values()) < SMALL_CHECKPOINT


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
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
