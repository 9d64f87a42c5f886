"""Weights kept in eight bits, computed in sixteen. It knows no checkpoint and no device.

int8: each linear layer keeps whole numbers and one scale per output row (symmetric, round to nearest; the
scheme of torchao's weight-only int8). It stays an `nn.Linear`, so peft puts a LoRA around it as around any other, and it works on every
device without a compiler, which torchao's needs. fp8: diffusers' layer-wise casting, each layer widened while it works.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import diffusers_hooks
from acestep_lab.errors import MachineError
from acestep_lab.models.precision import DynamicInt8Linear
from acestep_lab.models.products import PLAIN

FP8 = torch.float8_e4m3fn
STEPS = 127
KEPT_FULL = ("norm", "lora_", "proj_in", "proj_out", "time_embed", "condition_embedder", "scale_shift_table")
"""Layers fp8 leaves as they are: small ones that all others depend on, and whose dtype callers go by."""


class Int8Linear(nn.Linear):
    """A linear layer whose weight is kept as int8 `[out, in]` with one scale per output; computes in the input's dtype.

    `weight` widens it anew at each look, so whoever asks for its dtype or its length (DoRA does) sees an ordinary layer.
    """

    whole: Tensor  # int8 [out, in]
    scale: Tensor  # [out]

    def __init__(self, dense: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = dense.in_features, dense.out_features
        whole, scale = quantize(dense.weight.detach())
        self.register_buffer("whole", whole)
        self.register_buffer("scale", scale)
        self.bias = dense.bias

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight as it computes, `[out, in]`."""
        return self.whole.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, input: Tensor) -> Tensor:
        product = functional.linear(input, self.whole.to(input.dtype))  # [..., out]
        product = product * self.scale.to(input.dtype)
        return product if self.bias is None else product + self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, int8"


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers in ±127 `[out, in]` and the scale of each row `[out]`, in the weight's dtype (rounded before it is used)."""
    scale = (weight.float().abs().amax(1) / STEPS).clamp_min(torch.finfo(weight.dtype).tiny).to(weight.dtype)
    whole = (weight.float() / scale.float()[:, None]).round().clamp(-STEPS, STEPS).to(torch.int8)
    return whole, scale


def store(module: nn.Module, storage: str, compute: torch.dtype | None = None) -> None:
    """Keep a module's weights as "int8" or "fp8" from now on, in place; "full" leaves them."""
    if storage == "int8":
        to_int8(module)
    elif storage == "fp8":
        to_fp8(module, compute or floating_dtype(module))


def to_int8(module: nn.Module) -> None:
    """Replace every plain linear layer; a LoRA's own small ones, and those kept already, are left as they are."""
    for parent_name, parent in list(module.named_modules()):
        for name, child in list(parent.named_children()):
            if type(child) in PLAIN and not _is_adapter(f"{parent_name}.{name}"):
                setattr(parent, name, Int8Linear(child))


def to_fp8(module: nn.Module, compute: torch.dtype) -> None:
    """Keep every layer that is still in full precision as float8 (e4m3), widened to `compute` while it works."""
    diffusers_hooks.apply_layerwise_casting(
        module,
        storage_dtype=FP8,
        compute_dtype=compute,
        skip_modules_pattern=KEPT_FULL,
        skip_modules_classes=(Int8Linear,),
        non_blocking=False,
    )


def refuse_adapter(module: nn.Module, kind: str) -> None:
    """MachineError if an adapter of this kind ("lora", "dora", "lokr") cannot act on a module as its weights are kept.

    LoRA and LoKr add beside the weights and work on all; DoRA reads the weights, which fp8 has widened only while at work,
    and which `precision="int8"` has as whole numbers.
    """
    if kind == "dora" and any(isinstance(layer, DynamicInt8Linear) for layer in module.modules()):
        raise MachineError(
            'A DoRA measures the weights themselves, and precision="int8" multiplies them as whole numbers. Open the '
            'session with precision="auto", or use a plain LoRA.'
        )
    if kind == "dora" and any(parameter.dtype == FP8 for parameter in module.parameters()):
        raise MachineError(
            "A DoRA measures the weights themselves, and on this machine the DiT's are kept in fp8. Use a tier with int8 "
            "or full precision (6 GB and more for the 2B models), or a plain LoRA."
        )


def floating_dtype(module: nn.Module) -> torch.dtype:
    """The dtype a module computes in: that of its first floating numbers (not of weights kept in eight bits)."""
    tensors = (*module.parameters(), *module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point() and t.dtype != FP8), torch.get_default_dtype())


def _is_adapter(name: str) -> bool:
    return "lora_" in name
