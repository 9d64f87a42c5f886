"""The DiT's linear layers in whole numbers, for CPUs: quicker than bfloat16, behind a gate that measures the error.

It knows no checkpoint and no sampler. Weights are int8 with one scale per output row, activations int8 with one scale per
token, found anew at every call ("W8A8 dynamic", as torchao's int8 dynamic); products are summed in int32, exactly. This is
about speed: `models.storage` keeps weights in eight bits to save memory and computes as before.

    gate = precision.gated(dit, look)        # look(dit) -> velocities at a few noisy latents
    print(gate)                              # int8 moved the velocity by 1.1 % (at most 5.0 % is let through).

`gated` leaves the DiT as it was and raises MachineError where int8 would change the music more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.errors import MachineError

ROWS = 512
"""Tokens worked on at once, so that the int32 sums stay in the cache and memory does not grow with the song."""
STEPS = 127
REACHED = 126
"""The largest activation of a token becomes this: one below the end, so that rounding never runs over it."""
LARGEST_ERROR = 0.05
"""Relative error of the velocity above which int8 is refused (bfloat16 itself is at about 0.01 from float32)."""
TENDER = ("time_embed", "condition_embedder", "lora_")
"""Layers left as they are: little work, and every token depends on them; a LoRA's own small ones."""


class QuickLinear(nn.Linear):
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
        sums = torch._int_mm(whole, self.weight.t())  # int32, exact
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
class Gate:
    """How far whole numbers moved what the DiT says, and how far they may."""

    error: float
    largest: float = LARGEST_ERROR

    @property
    def open(self) -> bool:
        return self.error <= self.largest

    def __str__(self) -> str:
        verdict = "at most" if self.open else "only"
        return f"int8 moved the velocity by {self.error:.1%} ({verdict} {self.largest:.1%} is let through)."


def gated(dit: nn.Module, look: Callable[[nn.Module], Tensor], largest: float = LARGEST_ERROR) -> Gate:
    """Make a DiT's layers int8 in place if its answers stay close; otherwise leave it and say by how much they moved.

    `look(dit)` asks it for velocities where they matter: a few times of the schedule, with real conditions.
    """
    with torch.inference_mode():
        before = look(dit).double()
        replaced = quicken(dit)
        after = look(dit).double()
    gate = Gate(float((after - before).norm() / before.norm().clamp_min(1e-12)), largest)
    if not gate.open or not torch.isfinite(after).all():
        restore(replaced)
        raise MachineError(
            f'precision="int8" is not for these weights: {gate} The DiT stays as it was; use precision="auto".'
        )
    return gate


Replaced = list[tuple[nn.Module, str, nn.Linear]]


def quicken(dit: nn.Module) -> Replaced:
    """Make every large linear layer int8 in place, without a gate; returns what was there, for `restore`.

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
        setattr(parent, name, QuickLinear(dense))
    return replaced


def restore(replaced: Replaced) -> None:
    """Put the layers back that `quicken` replaced."""
    for parent, name, dense in replaced:
        setattr(parent, name, dense)


def _candidates(dit: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent_name, parent in list(dit.named_modules()):
        for name, child in list(parent.named_children()):
            path = f"{parent_name}.{name}"
            if type(child) is nn.Linear and not any(word in path for word in TENDER):
                yield parent, name, child


def cpu_dtype(capabilities: Any = torch.cpu) -> torch.dtype:
    """The dtype a CPU is quickest in: bfloat16 where it has instructions for it, else float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    quick = any(getattr(capabilities, name, lambda: False)() for name in names)
    return torch.bfloat16 if quick else torch.float32
