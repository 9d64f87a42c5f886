"""The adapters that PEFT has no layer for: LoHa, and any kind with `dora_scale`, as a layer beside the linear one.

It knows tensors and no files. A decomposed adapter (weight-decomposed, DoRA, arXiv 2402.09353, as LyCORIS trains it) scales
the changed weight W + ΔW to learnt lengths of its rows or columns:

    W' = g ⊙ (W + ΔW),   g = dora_scale / (‖W + ΔW‖ + eps)      along the outputs (g [out, 1]) or the inputs (g [1, in])

W is never touched. What is added to the layer's answer is (W' − W)·x, weighed by the strength, so that half the strength is
half of the change and none is exactly the bare layer; with m = g − 1 it needs no matrix of the weight's size:

    along the outputs   Δ·x + m ⊙ ((W + Δ)·x)          along the inputs   Δ·x + (W + Δ)·(m ⊙ x)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import peft_layers

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer
else:
    BaseTunerLayer = peft_layers.BaseTunerLayer


class LowRank(nn.Module):
    """ΔW = up · down."""

    def __init__(self, down: Tensor, up: Tensor):
        super().__init__()
        self.lora_down, self.lora_up = _kept(down), _kept(up)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(functional.linear(x, self.lora_down), self.lora_up)

    def dense(self) -> Tensor:
        return self.lora_up.float() @ self.lora_down.float()


class Kronecker(nn.Module):
    """ΔW = left ⊗ right."""

    def __init__(self, left: Tensor, right: Tensor):
        super().__init__()
        self.lora_left, self.lora_right = _kept(left), _kept(right)

    def forward(self, x: Tensor) -> Tensor:
        """(left ⊗ right)·x without the product: x as a table [columns of left, columns of right]."""
        table = x.unflatten(-1, (self.lora_left.shape[1], self.lora_right.shape[1]))
        half = functional.linear(table, self.lora_right)  # [..., columns of left, rows of right]
        return (self.lora_left @ half).flatten(-2)

    def dense(self) -> Tensor:
        return torch.kron(self.lora_left.float(), self.lora_right.float())


class Hadamard(nn.Module):
    """ΔW = (a · b) ⊙ (c · d)."""

    def __init__(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor):
        super().__init__()
        self.lora_a, self.lora_b, self.lora_c, self.lora_d = map(_kept, (a, b, c, d))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, (self.lora_a @ self.lora_b) * (self.lora_c @ self.lora_d))

    def dense(self) -> Tensor:
        return (self.lora_a.float() @ self.lora_b.float()) * (self.lora_c.float() @ self.lora_d.float())


def _kept(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


class AddedLayer(nn.Module, BaseTunerLayer):
    """A linear layer, or PEFT's layer around one, with adapters beside it. It speaks PEFT's verbs: enable, set, scale."""

    adapter_layer_names = ("lora_change", "lora_gain")
    other_param_names = ("scaling",)

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer
        self.lora_change, self.lora_gain = nn.ModuleDict(), nn.ParameterDict()
        self.scaling: dict[str, float] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        bare = self._base()
        self.in_features: int = bare.in_features
        self.out_features: int = bare.out_features

    def _base(self) -> Any:
        """The bare linear layer."""
        layer: Any = self
        return BaseTunerLayer.get_base_layer(layer)

    @property
    def device(self) -> torch.device:
        """Where the bare weight is."""
        found: torch.device = self._base().weight.device
        return found

    def attach(self, name: str, change: LowRank | Kronecker | Hadamard, magnitude: Tensor | None) -> None:
        """Take an adapter: what it adds to the weight, and the lengths it scales to ([out, 1] or [1, in]), if any."""
        dtype = next(change.parameters()).dtype
        self.lora_change[name] = change
        self.scaling[name] = 1.0
        if magnitude is not None:
            gain = gain_less_one(self._bare_weight(), change.dense(), magnitude)
            self.lora_gain[name] = _kept(gain.to(dtype))

    def _bare_weight(self) -> Tensor:
        found: Tensor = self._base().weight.detach().float()
        return found

    def set_scale(self, name: str, strength: float) -> None:
        if name in self.lora_change:
            self.scaling[name] = strength

    def forward(self, x: Tensor, *args: object, **named: Any) -> Tensor:
        out: Tensor = self.base_layer(x, *args, **named)
        if self.disable_adapters:
            return out
        for name in self.active_adapters:
            if name in self.lora_change:
                out = out + self.scaling[name] * self._added(name, x)
        return out

    def _added(self, name: str, x: Tensor) -> Tensor:
        """(W' − W)·x of one adapter at full strength."""
        change = self.lora_change[name]
        x = x.to(next(change.parameters()).dtype)
        added: Tensor = change(x)
        if name not in self.lora_gain:
            return added
        gain = self.lora_gain[name]
        if gain.shape[0] == self.out_features and gain.shape[1] == 1:
            return added + gain[:, 0] * (self._bare(x) + added)
        inner = gain[0] * x
        return added + self._bare(inner) + change(inner)

    def _bare(self, x: Tensor) -> Tensor:
        """W·x without the bias and without any other adapter."""
        layer = self._base()
        out: Tensor = layer(x)
        return out if layer.bias is None else out - layer.bias


def gain_less_one(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """g − 1 for a weight [out, in], its change, and lengths along its outputs ([out, 1]) or its inputs ([1, in])."""
    merged = weight + change.to(weight)
    along = 1 if magnitude.shape[1] == 1 and magnitude.shape[0] == len(weight) else 0
    length = merged.norm(dim=along, keepdim=True) + torch.finfo(torch.float32).eps
    return magnitude.to(length) / length - 1
