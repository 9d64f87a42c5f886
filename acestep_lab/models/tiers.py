"""A row per size of machine. It knows no weights: `memory_plan.py` decides what fits, `device_manager.py` who moves.

::

    Machine.detect()      what is there: kind, memory, free memory (MAX_CUDA_VRAM and its kin simulate a smaller one)
    Tier.for_memory(12)   the row for 12 GB: ceilings of length, batch and tile, which LM, which preview
    OFFLOAD_LEVELS        the ladder of ways to share it, from "everything stays" down to "a layer at a time"

The ceilings follow the reference's table of spring 2026 (`GPU tiers`), made even so that more memory never allows less. The
level in a row is what the full-size turbo checkpoint with the row's LM needs; a test computes it again from the sizes.
Memory is in GB as cards are sold (2**30 bytes).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.component_spec import ROLES, ComponentSpec
from acestep_lab.prompt.checks import plain_number, plain_text
from acestep_lab.settings import VARIABLES

GB = 2**30
CONTEXT_BYTES = GB // 2
"""Taken before any weights come: by the driver on a card, by Python and torch in RAM."""

SIMULATED = {"cuda": "MAX_CUDA_VRAM", "mps": "MAX_MPS_VRAM", "xpu": "MAX_XPU_VRAM"}
"""Environment variables that simulate a card of so many GB; on a real card they also cap this process."""

PREVIEWS = ("picture", "window", "whole")
"""What can be shown of a step, least work first: the latent drawn; the seconds under the playhead heard; all of it heard."""

LM_SIZES = ("none", "0.6B", "1.7B", "4B")


@dataclass(frozen=True)
class OffloadLevel:
    """One way of sharing the memory between components by their roles; roles it does not name stay on the device."""

    name: str
    text: str  # {loop}, {decoder} and {planner} stand for the titles of what has that role
    in_turn: tuple[str, ...] = ()  # roles that come on the device one at a time, each sending the one before away
    storage: str = "full"  # of what has linear layers for it: "full", "int8" (weight-only) or "fp8" (layer-wise cast)
    group: str = ""  # what is too big to come on the device whole goes by "block" or by "leaf" while it works
    kinds: tuple[str, ...] = ("cuda", "xpu", "mps", "cpu")  # where this way exists

    def mechanism(self, component: ComponentSpec) -> str:
        """How a component gets to work: "resident", "offload" (in turn), "block" or "leaf" (streamed while it works)."""
        if self.group and component.streams:
            return self.group
        return "offload" if component.role in self.in_turn else "resident"

    def stored(self, component: ComponentSpec) -> str:
        """In which precision a component's weights are kept: "full", "int8" or "fp8"; int8 where it knows no fp8."""
        leanest = {"fp8": ("fp8", "int8")}.get(self.storage, (self.storage,))
        return next((way for way in leanest if component.share(way) is not None), "full")

    def description(self, components: Sequence[ComponentSpec]) -> str:
        """What it does with these components, in words: "LM leaves while the DiT works"."""
        titles = {"loop": "model", "decoder": "decoder", "planner": "planner"}
        titles |= {one.role: one.title for one in reversed(components)}
        kept = [one for one in components if self.stored(one) != "full"]
        main = next((one for one in kept if one.role == "loop"), kept[0] if kept else None)
        return self.text.format(**titles) + (self._kept(main) if main else "")

    def _kept(self, component: ComponentSpec) -> str:
        """Half a sentence: how the weights of a component are kept."""
        streamed = {"block": " and streamed block by block", "leaf": " and streamed layer by layer"}
        way = streamed.get(self.group, "") if component.streams else ""
        return f", {component.title} kept in {self.stored(component)}{way}"

    def at_once(self, components: Sequence[ComponentSpec]) -> int:
        """How many of these it lets on the device together: those that stay, and one of those that take turns."""
        staying = sum(self.mechanism(component) == "resident" for component in components)
        return staying + (staying < len(components))


_ALL_BUT_DECODER = ("encoder", "loop", "planner")
_DISCRETE = ("cuda", "xpu")  # memory of their own, with a slower one to wait in

OFFLOAD_LEVELS = (
    OffloadLevel("all", "everything stays loaded"),
    OffloadLevel("lm leaves", "{planner} leaves while the {loop} works", in_turn=("planner", "loop")),
    OffloadLevel("in turn", "components take turns beside the {decoder}", in_turn=_ALL_BUT_DECODER),
    OffloadLevel("in turn int8", "components take turns beside the {decoder}", _ALL_BUT_DECODER, "int8"),
    OffloadLevel("one int8", "one component at a time", ROLES, "int8"),
    OffloadLevel(
        "blocks fp8",
        "one component at a time",
        ROLES,
        "fp8",
        "block",
        _DISCRETE,
    ),
    OffloadLevel(
        "leaves fp8",
        "one component at a time",
        ROLES,
        "fp8",
        "leaf",
        _DISCRETE,
    ),
)
LAST_RESORT = OffloadLevel("cpu", "the card is left and the work goes on on the CPU", ROLES, kinds=_DISCRETE)
"""Never planned for; where a card runs out with the leanest level, a take is still not lost."""
LEVEL_BY_NAME = {level.name: level for level in OFFLOAD_LEVELS}


@dataclass(frozen=True)
class Machine:
    """What there is to work with, as a value, so that a plan for any machine can be made on this one."""

    kind: str = "cpu"  # "cuda", "xpu", "mps" or "cpu"
    memory_bytes: int = 16 * GB  # of the accelerator; RAM where there is none
    free_bytes: int | None = None  # of the same memory, now; None: all of it
    name: str = ""
    ram_bytes: int | None = None  # where components wait that left the accelerator; None: enough
    bf16: bool = True  # computes in bfloat16 natively
    is_hip: bool = False  # an AMD card, which torch calls "cuda" too
    index: int | None = None  # of several cards; None: the first
    simulated: bool = False  # there is no such card here: the work runs on the CPU
    real_bytes: int | None = None  # what the card has where this is less: the process is then capped

    @property
    def gigabytes(self) -> float:
        return self.memory_bytes / GB

    @property
    def device(self) -> str:
        """The torch device the work runs on: "cpu", "cuda", "cuda:1", "mps" or "xpu"."""
        if self.simulated:
            return "cpu"
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    @property
    def label(self) -> str:
        """ "12 GB", or "CPU, 16 GB" where the memory is RAM."""
        amount = f"{round(self.gigabytes, 1 if self.gigabytes < 8 else None):g} GB"
        return amount if self.kind == "cuda" else f"{self.kind.upper()}, {amount}"

    @classmethod
    def detect(
        cls,
        environ: Mapping[str, str] = VARIABLES,
        probe: Callable[[], Machine] | None = None,
    ) -> Machine:
        """The machine this runs on, made smaller where `MAX_CUDA_VRAM`, `MAX_MPS_VRAM` or `MAX_XPU_VRAM` say so.

        `probe` says what is really there; tests hand in their own.
        """
        found = (probe or detect_first_device)()
        asked = {kind: _gigabytes(name, environ[name]) for kind, name in SIMULATED.items() if environ.get(name)}
        if found.kind in asked:
            return found.limited(asked[found.kind])
        if found.kind == "cpu" and asked:
            kind, gigabytes = next(iter(asked.items()))
            return cls(
                kind, int(gigabytes * GB), name=f"simulated {kind} card", ram_bytes=found.memory_bytes, simulated=True
            )
        return found

    @classmethod
    def on(
        cls,
        device: str,
        environ: Mapping[str, str] = VARIABLES,
        probe: Callable[[], Machine] | None = None,
        describe: Callable[[str, int | None], Machine] | None = None,
        present: Callable[[], Mapping[str, int]] | None = None,
    ) -> Machine:
        """The machine as one of its devices: "auto", "cpu", "cuda", "cuda:1", "mps", "xpu"; MachineError, naming what there
        is, for one that is not here. A card that is simulated (`MAX_CUDA_VRAM`) is here too.

        `probe` says what is found first, `describe` what one device is, `present` how many there are of each kind.
        """
        if device == "auto":
            return cls.detect(environ, probe)
        kind, _, number = device.partition(":")
        index = int(number) if number else None
        here = dict((present or devices_here)())
        found = cls.detect(environ, probe) if environ.get(SIMULATED.get(kind, "")) else None
        if found is not None and found.simulated and found.kind == kind and not index:
            return found
        if here.get(kind, 0) <= (index or 0):
            raise MachineError(
                f"There is no device {device} here; there is {_listed(here)}. Or leave it to device='auto'."
            )
        there = (describe or describe_device)(kind, None if kind == "cpu" else index)
        simulated = environ.get(SIMULATED.get(kind, ""))
        return there.limited(_gigabytes(SIMULATED[kind], simulated)) if simulated else there

    @classmethod
    def for_session(
        cls, tier: Tier | None, device: str = "auto", on: Callable[[str], Machine] | None = None
    ) -> Machine:
        """The device that was asked for, made as small as a tier; MachineError where the two contradict each other."""
        if not isinstance(tier, Tier | None):
            raise MachineError(f"A tier is a row such as Tier.for_memory(12), not {shown(tier)}.")
        found = (on or cls.on)(device)
        if tier is None:
            return found
        if device != "auto" and tier.kind == "cpu" and found.kind != "cpu":
            raise MachineError(
                f"The tier {tier.name} is a CPU's and the device asked for is {device}; name one of them, not both."
            )
        return cls.for_tier(tier, {}, lambda: found)

    def limited(self, gigabytes: float) -> Machine:
        """The same machine with no more than so many GB."""
        if gigabytes * GB >= self.memory_bytes:
            return self
        most = int(gigabytes * GB)
        free = None if self.free_bytes is None else min(self.free_bytes, most)
        return replace(self, memory_bytes=most, free_bytes=free, real_bytes=self.real_bytes or self.memory_bytes)

    @classmethod
    def for_tier(
        cls, tier: Tier, environ: Mapping[str, str] = VARIABLES, probe: Callable[[], Machine] | None = None
    ) -> Machine:
        """This machine made as small as a tier; one simulated on the CPU where the tier is of another kind."""
        found = cls.detect(environ, probe)
        if found.kind == tier.kind and not found.simulated:
            return found.limited(tier.gigabytes or tier.up_to)
        if tier.kind == "cpu":
            return cls("cpu", tier.machine.memory_bytes, name="CPU", bf16=found.bf16)
        ram = found.memory_bytes if found.kind == "cpu" else found.ram_bytes
        return replace(tier.machine, ram_bytes=ram)

    @property
    def fraction(self) -> float | None:
        """Which share of the real card this process may allocate; None: all of it. The driver's context comes off first."""
        if self.real_bytes is None or self.simulated:
            return None
        return max(0.0, self.memory_bytes - CONTEXT_BYTES) / self.real_bytes


def _gigabytes(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < MOST_GB:
        raise MachineError(f"{name} is a size in GB such as 8 or 11.5, not {shown(text)}.")
    return value


DEVICE_VARIABLE, DTYPE_VARIABLE = "ACESTEP_DEVICE", "ACESTEP_DTYPE"
"""Environment variables for what is asked for where a session is opened without `device` and `dtype`."""

DEVICE_FORMS = "auto, cpu, cuda, cuda:1, mps or xpu"
DTYPES = {
    "auto": "auto", "float32": "float32", "fp32": "float32", "bfloat16": "bf16", "bf16": "bf16",
    "float16": "float16", "fp16": "float16", "half": "float16",
}  # fmt: skip
"""What people call a dtype → what a tier calls it."""


def asked_device(device: object = None, environ: Mapping[str, str] = VARIABLES) -> str:
    """A device as a word, out of a word, torch's own device, or (None) ACESTEP_DEVICE; MachineError for anything else."""
    given = environ.get(DEVICE_VARIABLE) or "auto" if device is None else device
    text = str(given).strip().lower() if isinstance(given, str) or hasattr(given, "index") else ""
    if not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d{1,3})?", text):
        where = f" (from {DEVICE_VARIABLE})" if device is None else ""
        raise MachineError(
            f"A device is {DEVICE_FORMS}, not {shown(given)}{where}; here there is {_listed(devices_here())}."
        )
    return text


def asked_dtype(dtype: object = None, environ: Mapping[str, str] = VARIABLES) -> str:
    """A dtype as a tier calls it, out of a word, torch's own dtype, or (None) ACESTEP_DTYPE; MachineError otherwise."""
    given = environ.get(DTYPE_VARIABLE) or "auto" if dtype is None else dtype
    found = (
        DTYPES.get(str(given).strip().lower().removeprefix("torch."))
        if given.__class__.__name__ in ("str", "dtype")
        else None
    )
    if found is None:
        where = f" (from {DTYPE_VARIABLE})" if dtype is None else ""
        raise MachineError(f"A dtype is auto, float32, bfloat16 or float16, not {shown(given)}{where}.")
    return found


def devices_here() -> Mapping[str, int]:
    """How many devices of each kind torch sees."""
    import torch

    counts = {"cpu": 1, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    counts["xpu"] = torch.xpu.device_count() if hasattr(torch, "xpu") and torch.xpu.is_available() else 0
    return counts | {"mps": int(torch.backends.mps.is_available())}


def _listed(counts: Mapping[str, int]) -> str:
    """ "cpu and cuda:0, cuda:1"."""
    names = [f"{kind}:{n}" if count > 1 else kind for kind, count in counts.items() for n in range(count)]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def detect_first_device() -> Machine:
    """What torch and the operating system say is here, the first accelerator before the CPU."""
    here = devices_here()
    return describe_device(next((kind for kind in ("cuda", "xpu", "mps") if here[kind]), "cpu"), None)


def describe_device(kind: str, index: int | None) -> Machine:
    """One device that is here."""
    import torch

    ram, free_ram = ram_bytes()
    if kind == "cuda":
        return _cuda(ram, index)
    if kind == "xpu":
        properties = torch.xpu.get_device_properties(index or 0)
        return Machine("xpu", properties.total_memory, None, properties.name, ram, index=index)
    if kind == "mps":
        return Machine("mps", int(torch.mps.recommended_max_memory()), None, "Apple GPU", ram)
    from acestep_lab.models.precision import cpu_dtype

    return Machine("cpu", ram, free_ram, "CPU", None, cpu_dtype() == torch.bfloat16)


def _cuda(ram: int, index: int | None = None) -> Machine:
    """A CUDA card, the first unless another is named; MachineError where it is listed and does not answer."""
    import torch

    from acestep_lab.models.backends import DeviceFacts

    try:
        free, total = torch.cuda.mem_get_info(index)
        facts = DeviceFacts.of(torch.device("cuda") if index is None else torch.device("cuda", index))
        return Machine("cuda", total, free, torch.cuda.get_device_name(index), ram, facts.bf16, facts.is_hip, index)
    except RuntimeError as reason:
        raise MachineError(
            f"A CUDA card is listed but does not answer ({str(reason).splitlines()[0]}). Restart the kernel; "
            "or set CUDA_VISIBLE_DEVICES to nothing to work on the CPU."
        ) from reason


def ram_bytes() -> tuple[int, int]:
    """RAM this process may use and RAM free now; a container's limit (Binder, Docker) counts before the host's size."""
    import psutil  # accelerate depends on it

    memory = psutil.virtual_memory()
    limits = [int(text) for text in map(_read, _CGROUP_LIMITS) if text.isdigit()]
    total = min([memory.total, *limits])
    return total, min(memory.available, total)


_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Tier:
    """A row: how much machine there is, and what it is asked to do. `Tier.for_memory(12)`, `Tier.detect()`."""

    name: str
    kind: str
    up_to: float  # GB: the row holds for machines with no more than this
    level: str  # of OFFLOAD_LEVELS: what the full-size turbo checkpoint and the row's LM need here
    tile_frames: int  # latent frames decoded in one go, at most
    longest_seconds: float  # a song that the LM plans
    longest_without_lm: float
    batch: int  # takes rendered together, with the LM
    batch_without_lm: int
    lm: str  # the largest LM worth its time here; "none"
    preview: str  # of PREVIEWS: the most that is shown of each step
    dtype: str = "auto"  # computing precision: "float32", "bf16", "float16"; "auto": bf16 where the machine has it
    gigabytes: float = 0.0  # what is really there; 0: `up_to`

    def computing_in(self, dtype: str) -> Tier:
        """The same row with another computing precision; "auto" leaves what it says."""
        return self if dtype == "auto" else replace(self, dtype=dtype)

    @property
    def machine(self) -> Machine:
        """A machine of this size, to plan for."""
        gigabytes = self.gigabytes or (self.up_to if math.isfinite(self.up_to) else _ROOMY)
        return Machine(self.kind, int(gigabytes * GB), name=f"{self.name} tier", simulated=self.kind != "cpu")

    @classmethod
    def for_memory(cls, gigabytes: float, kind: str = "cuda") -> Tier:
        """The row for a machine with so many GB (of the accelerator; of RAM for kind "cpu"); MachineError for none such."""
        size = plain_number(gigabytes)
        if size is None or not 0 < size < MOST_GB:
            raise MachineError(f"Memory is a size in GB such as 8 or 11.5, not {shown(gigabytes)}.")
        gigabytes = float(size)
        rows = [row for row in TIERS if row.kind == plain_text(kind)]
        if not rows:
            raise MachineError(
                f"{shown(kind)} is no kind of machine; known: {', '.join(dict.fromkeys(t.kind for t in TIERS))}."
            )
        row = next(row for row in rows if gigabytes <= row.up_to + TOLERANCE_GB)
        return replace(row, gigabytes=float(gigabytes))

    @classmethod
    def for_machine(cls, machine: Machine) -> Tier:
        """The row for a machine that was looked at."""
        return cls.for_memory(machine.gigabytes, machine.kind)

    @classmethod
    def detect(cls, environ: Mapping[str, str] = VARIABLES, probe: Callable[[], Machine] | None = None) -> Tier:
        """The row for the machine this runs on."""
        return cls.for_machine(Machine.detect(environ, probe))


MOST_GB = 1e6
"""No machine has as much."""
TOLERANCE_GB = 0.25
"""A "16 GB" card may report a little more than 16."""

_ROOMY = 80.0  # GB: what a row without an upper end stands for

ANY = math.inf
TIERS = (
    #    name     kind    up to  level            tile  song  no LM  batch    LM     preview
    Tier("4 GB", "cuda", 4, "in turn int8", 128, 240, 360, 1, 1, "0.6B", "picture"),
    Tier("6 GB", "cuda", 6, "in turn", 256, 480, 600, 1, 1, "0.6B", "window"),
    Tier("8 GB", "cuda", 8, "in turn", 256, 480, 600, 2, 2, "1.7B", "window"),
    Tier("12 GB", "cuda", 12, "lm leaves", 512, 480, 600, 2, 4, "1.7B", "window"),
    Tier("16 GB", "cuda", 16, "all", 512, 480, 600, 4, 4, "1.7B", "window"),
    Tier("20 GB", "cuda", 20, "all", 512, 480, 600, 4, 8, "1.7B", "window"),
    Tier("24 GB", "cuda", 24, "all", 1024, 600, 600, 8, 8, "4B", "whole"),
    Tier("more", "cuda", ANY, "all", 1536, 600, 600, 8, 8, "4B", "whole"),
    Tier("xpu", "xpu", ANY, "all", 512, 480, 600, 4, 4, "1.7B", "window"),
    Tier("mps", "mps", ANY, "all", 256, 480, 600, 1, 2, "1.7B", "window"),
    Tier("cpu", "cpu", ANY, "all", 256, 600, 600, 1, 1, "0.6B", "window"),
)
