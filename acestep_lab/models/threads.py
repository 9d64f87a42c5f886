"""How many threads a CPU works with: measured where a full-size checkpoint is first built, then remembered for this machine.

    threads.settle_once()        # what ACESTEP_LAB_THREADS says comes first: "auto", "torch" (as torch has it), or a number

More threads than a machine has of its own speed (efficiency cores, the second thread of a core, other programs at work) make it
slower, and no table knows all machines. Bytes depend on the number of threads, because sums are split among them. So one
choice is kept per machine, and a take's `made_with` says how many worked. Nothing is measured in an import, for a small
checkpoint, or where somebody has chosen already: with OMP_NUM_THREADS, MKL_NUM_THREADS or torch.set_num_threads.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from acestep_lab import files
from acestep_lab.errors import LibraryError
from acestep_lab.models.precision import cpu_dtype
from acestep_lab.models.roofline import measured_bandwidth, measured_flops
from acestep_lab.settings import VARIABLES

_log = logging.getLogger(__name__)

FEWEST, MOST = 2, 64
FLOPS_A_SECOND, BYTES_A_SECOND = 430e9, 5.1e9
"""What a second of a song takes: eight steps and a decode of arithmetic; five codes of the 0.6B planner of memory traffic."""
NEARLY = 1.05
"""Fewer threads that are nearly as quick are chosen: they leave room for the page and the player."""
OTHERS_SAY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

Measure = Callable[[int], float]
"""Seconds that a second of a song takes with so many threads."""


@cache
def settle_once() -> int:
    """`settle` in the first call of a process; whoever changes the number afterwards is left in peace."""
    return settle()


def settle(measure: Measure | None = None, environ: Mapping[str, str] = VARIABLES, kept: Path | None = None) -> int:
    """Let torch work with as many threads as were asked for, or as are quickest here; how many they are."""
    import torch

    asked = environ.get("ACESTEP_LAB_THREADS") or "auto"
    if asked.isdigit():
        torch.set_num_threads(max(1, int(asked)))
    elif asked == "auto" and _nobody_chose(torch.get_num_threads()):
        torch.set_num_threads(remembered(measure or seconds_with, kept or cache_file()))
    return torch.get_num_threads()


def _nobody_chose(now: int) -> bool:
    """Whether torch works with as many threads as it chose itself, and there is a choice."""
    return now >= FEWEST and now in (cores(), cores() // 2) and not any(map(os.environ.get, OTHERS_SAY))


def cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def remembered(measure: Measure, kept: Path) -> int:
    """The choice of this machine: as it was kept, or measured now and kept. What cannot be read is measured anew."""
    known, here = _known(kept), _machine()
    if here not in known:
        known[here] = quickest(counts(cores()), measure)
        _keep(kept, json.dumps(known, indent=1))
    return known[here]


def _keep(kept: Path, text: str) -> None:
    """Write the choices down; where that cannot be, say so: the next process may choose otherwise."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(kept, lambda draft: draft.write_text(text, encoding="utf-8"))
    except (OSError, LibraryError) as reason:
        _log.warning("How many threads are quickest here cannot be kept (%s); set ACESTEP_LAB_THREADS.", reason)


def _known(kept: Path) -> dict[str, int]:
    """Choices by machine."""
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {name: count for name, count in rows if type(count) is int and FEWEST <= count <= MOST}


def _machine() -> str:
    """What a choice depends on."""
    import torch

    return " | ".join((platform.machine(), platform.processor(), f"{cores()} cores", f"torch {torch.__version__}",
                       torch.backends.cpu.get_cpu_capability()))  # fmt: skip


def counts(cores: int) -> tuple[int, ...]:
    """What is tried on so many cores, the fewest first: all, three quarters, a half, a third, a quarter; from 2 to 64."""
    most = min(cores, MOST)
    return tuple(sorted({max(FEWEST, most * part // 12) for part in (3, 4, 6, 9, 12)}))


def quickest(counts: Iterable[int], measure: Measure) -> int:
    """The fewest threads that are nearly as quick as the quickest."""
    taken = {count: measure(count) for count in counts}
    least = min(taken.values())
    return next(count for count, seconds in taken.items() if seconds <= NEARLY * least)


def seconds_with(count: int) -> float:
    """Seconds a second of a song takes at least with so many threads; an eighth of a second to find out."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        flops, bandwidth = measured_flops(cpu_dtype(), seconds=0.06), measured_bandwidth(seconds=0.06)
    finally:
        torch.set_num_threads(before)
    return FLOPS_A_SECOND / flops + BYTES_A_SECOND / bandwidth


def cache_file() -> Path:
    """Where choices are kept: this user's folder of what can be made again."""
    from platformdirs import user_cache_path

    return Path(user_cache_path("acestep_lab")) / "threads.json"
