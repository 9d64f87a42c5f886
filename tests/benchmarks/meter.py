"""How speed is measured here: processor time of one thread, variants taking turns, ratios within each round.

Processor time does not depend on what else runs on the machine, taking turns spreads what does (memory bus, caches, clock)
over all variants, and the median of the rounds' ratios forgives a bad round.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from acestep_lab.models.precision import cpu_dtype

RESULTS = Path(__file__).parent / "results"
DTYPE = cpu_dtype()
"""What this machine would compute in."""
SHORT = {torch.bfloat16: "bf16", torch.float32: "fp32"}[DTYPE]
torch.set_num_threads(1)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Processor seconds of this process for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def race(
    variants: Mapping[str, Callable[[], Any]], rounds: int, units: float = 1.0, warm: bool = True
) -> dict[str, dict[str, float]]:
    """Median processor milliseconds per unit of each variant, and how many times quicker than the first it is.

    Every variant runs once unmeasured if `warm`, then `rounds` times in turn.
    """
    for work in variants.values() if warm else ():
        work()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            taken[name].append(cpu_seconds(work) * 1000 / units)
    first = taken[next(iter(variants))]
    return {
        name: {
            "ms": round(median(times), 2),
            "quicker": round(median(a / b for a, b in zip(first, times, strict=True)), 3),
        }
        for name, times in taken.items()
    }


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    """Relative error |found - true| / |true|."""
    return float((found.double() - true.double()).norm() / true.double().norm())


def show(title: str, table: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table, a row per variant."""
    print(f"\n{title}")
    for name, row in table.items():
        print(f"  {name:<34}" + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def by_dtype(name: str) -> str:
    """The name under which figures are kept that depend on what a machine computes in: float32 has a file of its own."""
    return name if DTYPE is torch.bfloat16 else f"{name}_{SHORT}"


def write(name: str, figures: Mapping[str, Any]) -> None:
    """Keep figures as results/<name>.json, with the machine they are of."""
    RESULTS.mkdir(exist_ok=True)
    made = {"command": f"python -m tests.benchmarks.{Path(sys.argv[0]).stem}", "machine": machine()}
    whole = made | {title: table for title, table in figures.items() if title not in made}
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")


def known(name: str) -> dict[str, Any]:
    """What results/<name>.json holds from before."""
    file = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"processor": model, "instructions": torch.backends.cpu.get_cpu_capability(), "threads": "1",
            "torch": torch.__version__, "python": platform.python_version(), "commit": commit}  # fmt: skip
