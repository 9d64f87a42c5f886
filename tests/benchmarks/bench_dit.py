"""One step of the DiT at its real size (random weights, two layers: one sliding, one full): diffusers, ours, ours in int8
where a measurement finds it close and quicker; in what this machine computes in.

python -m tests.benchmarks.bench_dit            # a minute or two of processor time
python -m tests.benchmarks.bench_dit 10 60      # these seconds only
python -m tests.benchmarks.bench_dit compile    # ours, and ours with every layer under torch.compile; minutes of compilation
"""

from __future__ import annotations

import copy
import sys
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15 import attention
from acestep_lab.models import precision, products
from tests.benchmarks.meter import DTYPE, SHORT, by_dtype, error, race, show, write

LAYERS, FRAMES_PER_SECOND, TOKENS, WIDTH, CHANNELS = 2, 25, 351, 2048, 64
ROUNDS = {10: 5, 60: 3, 240: 1}


def real_size(layers: int = LAYERS) -> Any:
    """The 2B DiT with fewer layers; biases, norms and gates moved, so that nothing is a plain one or zero."""
    torch.manual_seed(0)
    dit = diffusers.AceStepTransformer1DModel(num_hidden_layers=layers).eval().requires_grad_(False)
    for name, weight in dit.named_parameters():
        if "norm" in name:
            weight.add_(0.3 * torch.randn_like(weight))
    return dit


def inputs(seconds: int, dtype: torch.dtype = DTYPE) -> tuple[Tensor, ...]:
    """x, states and context of one item, in the dtype."""
    draw = torch.Generator().manual_seed(1)
    frames = seconds * FRAMES_PER_SECOND
    shapes = ((1, frames, CHANNELS), (1, TOKENS, WIDTH), (1, frames, 2 * CHANNELS))
    return tuple(torch.randn(shape, generator=draw).to(dtype) for shape in shapes)


def stock(dit: Any, x: Tensor, states: Tensor, context: Tensor, t: float = 0.7) -> Tensor:
    """diffusers' own forward."""
    times = torch.full((len(x),), t, dtype=x.dtype)
    return dit(x, times, times, states, context, return_dict=False)[0]


def probe(dit: Any) -> Tensor:
    """The velocity at 10 s, as the measurement that lets int8 in asks for it."""
    return attention.velocity(dit, *halfway(*inputs(10)))


def halfway(x: Tensor, states: Tensor, context: Tensor) -> tuple[Any, ...]:
    return x, 0.7, states, context


def three() -> tuple[Tensor, Any, Any, Any, precision.Int8Decision]:
    """The float32 answer at 10 s; the DiT as diffusers has it, ours, ours in int8 if that is let in, and what was decided."""
    plain = real_size()
    with torch.inference_mode():
        exact = stock(plain, *inputs(10, torch.float32))
    plain = plain.to(DTYPE)
    ours, eight = (products.install(attention.install(copy.deepcopy(plain))) for _ in range(2))
    plain.requires_grad_(
        True
    )  # as from_pretrained leaves it: frozen, torch copies every weight for strided tokens (x 4)
    return exact, plain, ours, eight, precision.quantize_where_close(eight, probe)


def main(lengths: list[int]) -> None:
    exact, plain, ours, eight, decision = three()
    print(decision)
    quick = {f"ours {SHORT}": ours} | ({"ours int8": eight} if decision.open else {})
    with torch.inference_mode():
        errors = {f"diffusers {SHORT}": error(stock(plain, *inputs(10)), exact)}
        errors |= {name: error(probe(dit), exact) for name, dit in quick.items()}
        show("relative error against float32, 10 s", {name: {"error": f"{e:.2e}"} for name, e in errors.items()})
        tables = {f"{seconds} s": one_length(seconds, plain, quick) for seconds in lengths}
    asked = {"error": decision.error, "layers quicker": round(decision.speed, 3), "used": decision.open}
    figures = {"layers": LAYERS, "tokens listened to": TOKENS, "error against float32": errors, "int8": asked}
    write(by_dtype("dit"), figures | tables)


def one_length(seconds: int, plain: Any, quick: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one step at one length."""
    given = inputs(seconds)
    works: dict[str, Any] = {f"diffusers {SHORT}": lambda: stock(plain, *given)}
    for name, dit in quick.items():
        works[name] = partial(attention.velocity, dit, *halfway(*given), cache=attention.CrossAttentionCache())
    table = race(works, ROUNDS.get(seconds, 3), warm=seconds < 100)
    show(f"one step of {LAYERS} layers, {seconds} s of music", table)
    return table


@torch.inference_mode()
def compiled(seconds: int = 10) -> None:
    """What torch.compile adds to ours, and how long it takes to compile."""
    torch.compiler.config.force_disable_caches = True  # compilation as on the first day
    ours, quicker = (products.install(attention.install(real_size().to(DTYPE))) for _ in range(2))
    for layer in quicker.layers:
        layer.compile(dynamic=True)
    x, states, context = inputs(seconds)
    memories = attention.CrossAttentionCache(), attention.CrossAttentionCache()
    plain = attention.velocity(ours, x, 0.7, states, context, cache=memories[0])
    began = time.perf_counter()
    found = attention.velocity(quicker, x, 0.7, states, context, cache=memories[1])
    took = round(time.perf_counter() - began, 1)
    table: dict[str, Any] = race(
        {
            f"ours {SHORT}": lambda: attention.velocity(ours, x, 0.7, states, context, cache=memories[0]),
            "compiled": lambda: attention.velocity(quicker, x, 0.7, states, context, cache=memories[1]),
        },
        7,
    )
    table["compiled"] |= {"compilation s": took, "away from ours": error(found, plain)}
    show(f"one step of {LAYERS} layers under torch.compile, {seconds} s of music", table)
    write(by_dtype("dit_compile"), {f"{seconds} s": table})


if __name__ == "__main__":
    if sys.argv[1:] == ["compile"]:
        compiled()
        sys.exit()
    main([int(word) for word in sys.argv[1:]] or list(ROUNDS))
