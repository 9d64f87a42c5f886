"""The DiT's linear layers in whole numbers, for CPUs that are quicker so, behind a measurement of error and speed.

It knows no checkpoint and no sampler. Weights are int8 with one scale per output row, activations int8 with one scale per
token, found anew at every call ("W8A8 dynamic", as torchao's int8 dynamic); products are summed in int32, exactly. This is
about speed: `models.storage` keeps weights in eight bits to save memory and computes as before.

    decision = precision.quantize_where_close(dit, probe)        # probe(dit) -> velocities at a few noisy latents
    print(decision)                              # int8 moved the velocity by 1.1% …; its layers are 1.9 times as quick …

Quicker it is only where the CPU has instructions for it (VNNI, AMX): without them it was seen to take 14 times as long, and
torch's product overflows its 16-bit sums. So both are measured, on the layers' own inputs, and `quantize_where_close` leaves the DiT as it
was unless int8 is close and quicker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.errors import MachineError, shown
from acestep_lab.models.products import PLAIN
from acestep_lab.prompt.checks import is_a, plain_text

ROWS = 512
"""Tokens worked on at once, so that the int32 sums stay in the cache and memory does not grow with the song."""
STEPS = 127
REACHED = 126
"""The largest activation of a token becomes this: one below the end, so that rounding never runs over it."""
LARGEST_ERROR = 0.05
"""Relative error of the velocity above which int8 is refused (bfloat16 itself is at about 0.01 from float32)."""
LEAST_SPEED = 1.1
"""How many times as quick int8 has to be to be kept: below that it would change numbers for nothing."""
KEPT_FULL = ("time_embed", "condition_embedder", "lora_")
"""Layers left as they are: little work, and every token depends on them; a LoRA's own small ones."""


class DynamicInt8Linear(nn.Linear):
    """A linear layer that multiplies int8 by int8. Stays an nn.Linear, so that peft puts a LoRA around it."""

    scale: Tensor  # [out], float32 whatever the module is cast to

    def __init__(self, dense: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = dense.in_features, dense.out_features
        wide = dense.weight.detach().float()
        scale = (wide.abs().amax(1) / STEPS).clamp_min(torch.finfo(torch.float32).tiny)
        whole = (wide / scale[:, None]).round().clamp(-STEPS, STEPS).to(torch.int8)
        stored = whole.t().contiguous().t()  # [out, in], laid out [in, out] as the product reads it
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = dense.bias

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.in_features)
        if len(rows) <= ROWS:
            out = self._product(rows)
        else:
            out = torch.cat([self._product(some) for some in rows.split(ROWS)])
        return out.view(*input.shape[:-1], self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        """[tokens, in] → [tokens, out]."""
        largest = rows.abs().amax(-1, keepdim=True).float().clamp_min(1e-20)
        finer = (REACHED / largest).to(rows.dtype)  # per token
        whole = (rows * finer).round_().to(torch.int8)
        sums = int8_matmul(whole, self.weight.t())
        out = sums.float().mul_(self.scale.float()).div_(finer.float())
        if self.bias is not None:
            out += self.bias
        return out.to(rows.dtype)

    def dense_weight(self) -> Tensor:
        """The weight it stands for, [out, in]."""
        return self.weight.float() * self.scale[:, None].float()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, int8 by int8"


@dataclass(frozen=True)
class Int8Decision:
    """How far whole numbers moved what the DiT says and how much quicker they are here, and what both had to be."""

    error: float  # relative, of the velocity; inf where it was no number
    speed: float  # how many times as quick the layers are
    largest: float = LARGEST_ERROR
    least: float = LEAST_SPEED

    @property
    def open(self) -> bool:
        return self.error <= self.largest and self.speed >= self.least

    @property
    def chosen(self) -> str:
        """The precision that was chosen: "int8" or "auto"."""
        return "int8" if self.open else "auto"

    def __str__(self) -> str:
        kept = "int8 is used" if self.open else 'the DiT stays as it was (precision "auto")'
        return (
            f"int8 moved the velocity by {self.error:.1%} (at most {self.largest:.1%} is let through) and its layers are "
            f"{self.speed:.2g} times as quick (at least {self.least:g} is asked): {kept}."
        )


Replaced = list[tuple[nn.Module, str, nn.Linear]]
SpeedComparison = Callable[[nn.Linear, nn.Linear, Tensor], tuple[float, float]]
"""Times two layers on one input: seconds of the first, seconds of the second. Tests hand in one that does not time."""


def compare_speed(dense: nn.Linear, quick: nn.Linear, x: Tensor, rounds: int = 5) -> tuple[float, float]:
    """The median seconds of each of two layers, run by turns so that what else the machine does hits both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for layer in (dense, quick):
        layer(x)  # torch prepares a product the first time it sees its shape
    for _ in range(rounds):
        for layer, kept in zip((dense, quick), seconds, strict=True):
            begun = perf_counter()
            layer(x)
            kept.append(perf_counter() - begun)
    return median(seconds[0]), median(seconds[1])


def quantize_where_close(
    dit: nn.Module,
    probe: Callable[[nn.Module], Tensor],
    largest: float = LARGEST_ERROR,
    least: float = LEAST_SPEED,
    compare_speed: SpeedComparison = compare_speed,
) -> Int8Decision:
    """Make a DiT's layers int8 in place if its answers stay close and its layers become quicker; otherwise leave it.

    `probe(dit)` asks it for velocities where they matter: a few times of the schedule, with real conditions. One layer of
    each shape is timed on what it was given there, and counts for as many as there are of its shape.
    """
    with torch.inference_mode():
        before, inputs = _seen(dit, probe)
        replaced = quantize_linear(dit)
        speed = _speed(replaced, inputs, compare_speed)
        after = probe(dit).double()
    moved = float((after - before).norm() / before.norm().clamp_min(1e-12))
    decision = Int8Decision(moved if torch.isfinite(after).all() else float("inf"), speed, largest, least)
    if not decision.open:
        restore(replaced)
    return decision


def _seen(dit: nn.Module, probe: Callable[[nn.Module], Tensor]) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
    """What the DiT says, and the first input of one linear layer of each shape while it says it."""
    inputs: dict[tuple[int, int], Tensor] = {}

    def watch(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs.setdefault(_shape(layer), given[0].detach())

    layers = {_shape(layer): layer for _, _, layer in _candidates(dit)}
    watching = [layer.register_forward_pre_hook(watch) for layer in layers.values()]
    try:
        return probe(dit).double(), inputs
    finally:
        for watched in watching:
            watched.remove()


def _speed(replaced: Replaced, inputs: dict[tuple[int, int], Tensor], compare_speed: SpeedComparison) -> float:
    """How many times as quick all replaced layers are together."""
    counts: dict[tuple[int, int], int] = {}
    for _, _, dense in replaced:
        counts[_shape(dense)] = counts.get(_shape(dense), 0) + 1
    slow = quick = 0.0
    for parent, name, dense in {_shape(one[2]): one for one in replaced}.values():
        shape = _shape(dense)
        if shape in inputs:
            one, other = compare_speed(dense, getattr(parent, name), inputs[shape])
            slow, quick = slow + counts[shape] * one, quick + counts[shape] * other
    return slow / quick if quick > 0 else 1.0


def _shape(layer: Any) -> tuple[int, int]:
    return layer.out_features, layer.in_features


def int8_matmul(left: Tensor, right: Tensor) -> Tensor:
    """int8 [rows, inner] by int8 [inner, columns], summed exactly, whatever the CPU."""
    if int8_sums_are_exact():
        return torch._int_mm(left, right)
    return left.double() @ right.double()  # whole numbers below 2**53: exact


@cache
def int8_sums_are_exact() -> bool:
    """Whether torch's int8 product is one: without VNNI it adds pairs in 16 bits, and pairs of large numbers overflow."""
    for rows in (1, 7, 64):
        left = torch.full((rows, 64), STEPS, dtype=torch.int8)
        right = torch.full((64, 32), -STEPS - 1, dtype=torch.int8)
        right[:, ::2] = STEPS
        for laid_out in (right, right.t().contiguous().t()):
            if not torch.equal(torch._int_mm(left, laid_out).double(), left.double() @ laid_out.double()):
                return False
    return True


def quantize_linear(dit: nn.Module) -> Replaced:
    """Make every large linear layer int8 in place, without measuring first; returns what was there, for `restore`.

    A layer inside a LoRA is replaced like any other and the LoRA stays in full precision; a LoRA merged into the weight
    beforehand is merged for good.
    """
    device = next(dit.parameters()).device
    if device.type != "cpu":
        raise MachineError(
            f'precision="int8" is for CPUs; on {device.type} use a tier that stores the DiT in int8 or fp8 instead.'
        )
    replaced = list(_candidates(dit))
    for parent, name, dense in replaced:
        setattr(parent, name, DynamicInt8Linear(dense))
    return replaced


def restore(replaced: Replaced) -> None:
    """Put the layers back that `quantize_linear` replaced."""
    for parent, name, dense in replaced:
        setattr(parent, name, dense)


def _candidates(dit: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent_name, parent in list(dit.named_modules()):
        for name, child in list(parent.named_children()):
            path = f"{parent_name}.{name}"
            if type(child) in PLAIN and not any(word in path for word in KEPT_FULL):
                yield parent, name, child


PRECISIONS = ("auto", "int8")


@dataclass(slots=True)
class Int8Mode:
    """`precision="int8"`: the DiT multiplies whole numbers once the first render has shown that it is close and quicker so.

    Tests hand a session one with a `compare_speed` of their own: `Session(…, precision=Int8Mode(compare_speed=…))`.
    """

    compare_speed: SpeedComparison = compare_speed
    probe: Callable[[nn.Module], Tensor] | None = None
    decision: Int8Decision | None = None

    @classmethod
    def asked(cls, precision: object, device: torch.device) -> Int8Mode | None:
        """None for "auto"; MachineError for a word nobody knows, and on a card."""
        word = plain_text(precision)
        if word == "auto":
            return None
        if not is_a(precision, Int8Mode) and word != "int8":
            raise MachineError(f"A precision is {' or '.join(map(repr, PRECISIONS))}, not {shown(precision)}.")
        if device.type != "cpu":
            raise MachineError(
                f'precision="int8" is for CPUs, and the work runs on {device.type}; a tier that stores the DiT in int8 or '
                "fp8 saves memory there (Tier.for_memory(4)), and bfloat16 is quicker."
            )
        return precision if isinstance(precision, Int8Mode) else cls()

    @property
    def chosen(self) -> str:
        """What takes are made with: "int8" once the measurement has let it through, else "auto"."""
        return "auto" if self.decision is None else self.decision.chosen

    def quantize(self, dit: nn.Module) -> None:
        """Make a fresh DiT's layers whole numbers: measured the first time, as it was decided when it is built again."""
        if self.decision is not None and self.decision.open:
            quantize_linear(dit)
        elif self.decision is None and self.probe is not None:
            self.decision = quantize_where_close(dit, self.probe, compare_speed=self.compare_speed)
            self.probe = None  # it holds a song


def cpu_dtype(
    capabilities: object = torch.cpu, instructions: str | None = None, environ: Mapping[str, str] = os.environ
) -> torch.dtype:
    """The dtype a CPU is quickest in: bfloat16 where it has instructions for it and torch may use them, else float32.

    `ATEN_CPU_CAPABILITY=avx2` and `ONEDNN_MAX_CPU_ISA=AVX2` forbid them, so that a server can stand in for a laptop.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    there = any(getattr(capabilities, name, lambda: False)() for name in names)
    used = (instructions or torch.backends.cpu.get_cpu_capability()).upper().startswith("AVX512")
    most = environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    allowed = most in ("", "ALL", "DEFAULT") or any(word in most for word in _KNOW_BFLOAT16)
    return torch.bfloat16 if there and used and allowed else torch.float32


_KNOW_BFLOAT16 = ("BF16", "FP16", "AMX", "AVX10")
"""What stands in oneDNN's names of instruction sets that multiply bfloat16."""
