"""What each kind of accelerator can do and which rules hold on it: one table. It knows no weights, no checkpoint and no memory.

    row = backend_of(torch.device("cuda"))       # the row of a device that is here
    row.attention                                # ("flash", "flex", "banded"): the kernels to try, the best first

A row that has never been seen on its hardware says what its makers document; `acestep-lab doctor` shows the row in use, so that
whoever has such a card can say where it is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from acestep_lab.models.tiers import Machine

KERNELS = {
    "flash": "flash attention with a window and with items of different lengths",
    "flex": "flex_attention, compiled",
    "banded": "torch's own attention, by slabs of queries and the keys in their window",
}
"""Ways of attention by name."""


@dataclass(frozen=True)
class Backend:
    """One kind of accelerator: what it computes in and what it can and cannot do."""

    name: str
    title: str
    dtype: str  # "bf16", "float32", or "float16": what components compute in
    loop_dtype: str  # what a loop's component that knows float32 islands computes in
    attention: tuple[str, ...]  # of KERNELS, the best first
    shares_keys: bool  # whether its fused attention takes fewer key heads than query heads
    graphs: bool  # whether a step can be recorded and replayed
    compiles: bool  # whether torch.compile makes kernels for it
    float64: bool
    fp8: bool  # whether weights may be kept in fp8 (they are computed with in what the row computes in)
    on_the_cpu: tuple[str, ...] = ()  # what falls back to the CPU there
    notes: tuple[str, ...] = ()

    @property
    def islands(self) -> bool:
        """Whether a loop's component computes in float16, with float32 where a measurement shows that it overflows."""
        return self.loop_dtype == "float16"

    def rules(self) -> Iterator[tuple[str, str]]:
        """The row in words: what, and how it is there."""
        loop = "float16 with float32 islands in the DiT, " if self.islands else ""
        yield "computes in", f"{loop}{'float32 elsewhere' if self.islands else self.dtype}"
        yield "attention", KERNELS[self.attention[0]]
        yield "recorded steps", "yes" if self.graphs else "no"
        yield "torch.compile", "yes" if self.compiles else "no"
        yield "float64", "yes" if self.float64 else "no: what needs it is worked out on the CPU"
        yield "fp8 weights", "kept, not computed in" if self.fp8 else "no"
        if self.on_the_cpu:
            yield "on the CPU", ", ".join(self.on_the_cpu)

    def __str__(self) -> str:
        return f"{self.title}: " + "; ".join(f"{what} {how}" for what, how in self.rules())


ROWS = (
    #       name      title                      dtype      loop       attention                   keys  graph  compile f64   fp8
    Backend("cuda", "NVIDIA, Ampere or newer", "bf16", "bf16", ("flash", "flex", "banded"), True, True, True, True, True),
    Backend("turing", "NVIDIA before Ampere", "float32", "float16", ("banded",), False, True, True, True, True, notes=(
        "It has no bfloat16 of its own; flash attention needs Ampere.",)),
    Backend("rocm", "AMD (ROCm)", "bf16", "bf16", ("banded",), False, False, True, True, True, notes=(
        'Its device is called "cuda"; MIOpen tunes each new shape at first.',)),
    Backend("xpu", "Intel GPU", "bf16", "bf16", ("banded",), False, False, True, True, True, notes=(
        "Some of its GPUs have no float64 in hardware and emulate it.",)),
    Backend("mps", "Apple GPU", "bf16", "bf16", ("banded",), False, False, False, False, False, (
        "guidance by projection (float64)", "the complex spectra of a sound"), (
        "PYTORCH_ENABLE_MPS_FALLBACK=1 lets any other operator it lacks run on the CPU.",)),
    Backend("cpu", "CPU", "bf16", "bf16", ("banded",), True, False, True, True, False),
)  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}


@dataclass(frozen=True)
class DeviceFacts:
    """What tells rows apart; a test plays any device with it."""

    kind: str  # "cuda", "xpu", "mps", "cpu", or another that torch knows
    is_hip: bool = False
    bf16: bool = True

    @classmethod
    def of(cls, device: torch.device) -> DeviceFacts:
        """Those of a device that is here."""
        import torch

        if device.type != "cuda":
            return cls(device.type)
        is_hip = torch.version.hip is not None
        return cls("cuda", is_hip, is_hip or torch.cuda.get_device_capability(device) >= (8, 0))

    @classmethod
    def of_machine(cls, machine: Machine) -> DeviceFacts:
        """Those of a machine as it was looked at; a simulated card counts as one."""
        return cls(machine.kind, machine.is_hip, machine.bf16)


def row_of(facts: DeviceFacts) -> Backend:
    """The row that holds for a device; one that torch knows by another name is taken for a modern card."""
    if facts.kind == "cuda":
        return BY_NAME["rocm" if facts.is_hip else "cuda" if facts.bf16 else "turing"]
    return BY_NAME.get(facts.kind, BY_NAME["cuda"])


def exact_dtype(device: torch.device) -> torch.dtype:
    """In what a device works out what wants to be exact: float64 where it has it."""
    import torch

    return torch.float64 if backend_of(device).float64 else torch.float32


def backend_of(device: torch.device) -> Backend:
    """The row of a device that is here."""
    return row_of(DeviceFacts.of(device))
