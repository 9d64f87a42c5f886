"""Products of a 2B DiT's and a 0.6B planner's layers in float32: torch's linear and ours, billions of multiply-adds (doubled) a second.

python -m tests.benchmarks.bench_products      # half a minute of processor time, one thread
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from acestep_lab.models import products
from tests.benchmarks.meter import race, show, write

SHAPES = [
    (125, 2048, 2048),
    (125, 2048, 6144),
    (512, 2048, 6144),
    (750, 2048, 2048),
    (750, 6144, 2048),
    (70, 1024, 3072),
]
"""Rows, in, out."""
LAYERS = 4
"""Different weights in turn, so that none waits in a cache."""


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    figures = {}
    for rows, wide, out in SHAPES:
        x, weights = torch.randn(rows, wide), [torch.randn(out, wide) for _ in range(LAYERS)]
        work = {
            "torch": lambda x=x, weights=weights: [F.linear(x, one) for one in weights],
            "ours": lambda x=x, weights=weights: [products.linear(x, one) for one in weights],
        }
        table = race(work, 5)
        billions = 2 * rows * wide * out * LAYERS / 1e9
        for row in table.values():
            row["billions a second"] = round(billions / row["ms"] * 1e3)
        figures[f"{rows} x {wide} x {out}"] = table
        show(f"[{rows}, {wide}] by [{wide}, {out}]", table)
    write("products", figures)


if __name__ == "__main__":
    main()
