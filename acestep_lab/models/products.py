"""Linear layers in float32 on a CPU by oneDNN's product, where torch leaves them to its BLAS. Knows layers, no models.

    products.install(module)               # in place; the layers are still an nn.Linear, and their weights as they lie
    products.linear(x, weight, bias)       # one product

torch multiplies float32 by MKL, which does less than the processor could on makes other than its own. oneDNN, which torch carries
for half precision, reads the very same weight: 98 to 128 billion operations a second where MKL did 87 to 111 on AVX2, 183 to 243 where it did 92 to 113 on an
AMD with AVX-512 (one thread; weights of a 2B DiT, and the lowest of a 0.6B planner; `python -m tests.benchmarks.bench_products`).
Its sums have another order, so bytes differ by rounding: small checkpoints, such as the pocket, are left as they were.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 32
"""Fewer rows of a product are the reading of its weight, and MKL reads as quickly."""


class OneDnnLinear(nn.Linear):
    """A linear layer that multiplies so. It asks at every call: on a card, in half precision, while gradients flow or while something
    traces it, it is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


PLAIN = (nn.Linear, OneDnnLinear)
"""Linear layers with a weight of their own and nothing around it."""


def install(module: nn.Module) -> nn.Module:
    """Let a module's linear layers multiply so from now on; the same module comes back."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = OneDnnLinear
    return module


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, [..., in] and [out, in] to [..., out]: as `torch.nn.functional.linear`, up to the order of sums."""
    product = _product() if _is_for_it(x, weight) and _fits(bias, weight) else None
    if product is None:
        return F.linear(x, weight, bias)
    rows: Tensor = product(x.reshape(-1, x.shape[-1]), weight.detach(), bias, "none", [], "")
    return rows.view(*x.shape[:-1], len(weight))


def _fits(bias: Tensor | None, weight: Tensor) -> bool:
    """Whether oneDNN reads a bias as it is meant: it heeds no strides, and no types but the weight's."""
    return bias is None or (
        bias.shape == weight.shape[:1]
        and bias.dtype is weight.dtype
        and bias.device == weight.device
        and bias.is_contiguous()
    )


def _is_for_it(x: Tensor, weight: Tensor) -> bool:
    """Whether these are plain float32 numbers on a CPU that nobody wants gradients of, and enough of them."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return (
        x.dtype is weight.dtype is torch.float32
        and x.device.type == weight.device.type == "cpu"
        and weight.ndim == 2
        and x.shape[-1:] == weight.shape[1:]
        and x.numel() >= ROWS * x.shape[-1] > 0
        and weight.is_contiguous()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
    )


@cache
def _product() -> Any:
    """torch's operator, where this torch has it, this processor is of its kind, and it multiplies: it is made for torch's compiler,
    and promises nobody to stay.
    """
    product = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if (
        product is None
        or platform.machine().lower() not in ("x86_64", "amd64")
        or not torch.backends.mkldnn.is_available()
    ):
        return None
    with torch.no_grad():
        x, weight, bias = (torch.arange(n, dtype=torch.float32, device="cpu") for n in (12, 8, 2))
        try:
            found = product(x.view(3, 4), weight.view(2, 4), bias, "none", [], "")
            same = torch.equal(found, F.linear(x.view(3, 4), weight.view(2, 4), bias))
        except (RuntimeError, TypeError, NotImplementedError):
            return None
    return product if same else None
