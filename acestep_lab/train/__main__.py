"""`python -m acestep_lab.train`: what `acestep-lab train` does, by one process or by several that teach one adapter together.

    accelerate launch --multi_gpu --num_processes 2 -m acestep_lab.train songs --out zafu --steps 500

Two graphics cards, or where there is none two processes of the CPU (`accelerate launch --cpu` begins one, whatever it is told).

All options are those of `acestep-lab train`; `--batch` is each process's own. The launcher's
`--mixed_precision bf16` and `ACCELERATE_GRADIENT_ACCUMULATION_STEPS` are heeded. One process alone teaches the very same adapter as `acestep-lab train`.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from acestep_lab import cli
from acestep_lab._libraries import accelerate, accelerate_utils
from acestep_lab.errors import MachineError, shown
from acestep_lab.train.ranks import AcceleratedRanks

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(days=2)
"""How long processes wait for one another: the first reads the songs and makes previews, and the others wait for it."""
STOPPED = 130
"""The exit status of a training that was stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Join the other processes, if there are any, and train; the exit status is that of `acestep-lab train`."""
    asked = ["train", *(sys.argv[1:] if arguments is None else arguments)]
    if (count := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        take_own_card(os.environ)
    try:
        accelerator = _joined(count)
        ranks = AcceleratedRanks(accelerator)
    except MachineError as problem:
        print(f"acestep_lab.train: {problem}", file=sys.stderr)
        return 2
    if count == 1:
        return cli.main(asked, ranks)
    for kind in (signal.SIGINT, signal.SIGTERM):  # a launcher sends both, one after the other
        signal.signal(kind, lambda *_: ranks.wish.set())
    with _heard(ranks) as told:
        status = cli.main(asked, ranks)
    if status not in (0, STOPPED) and not ranks.is_main:
        print(f"process {ranks.number}: {last_line(told)}", file=sys.stderr)
    if status == 0:  # after any other the launcher ends those that still wait
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return status


def take_own_card(environment: MutableMapping[str, str]) -> None:
    """See no graphics card but the process's own: whatever thread works, "cuda" then is that one."""
    local, seen = int(environment.get("LOCAL_RANK", "0")), environment.get("CUDA_VISIBLE_DEVICES")
    cards = [str(local)] * (local + 1) if seen is None else [one for one in seen.split(",") if one]
    if local < len(cards):
        environment.update({"CUDA_VISIBLE_DEVICES": cards[local], "LOCAL_RANK": "0"})


def _joined(count: int) -> Accelerator:
    """The launcher's processes, as it says in the environment; MachineError where they do not find one another."""
    waits = accelerate_utils.InitProcessGroupKwargs(timeout=PATIENCE)
    try:
        found = accelerate.Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[waits])
    except (RuntimeError, ValueError) as problem:
        raise MachineError(
            f"The processes cannot be joined as the launcher says: {shown(str(problem), 120)}"
        ) from problem
    if found.num_processes != count:
        raise MachineError(f"The launcher began {count} processes, but {found.num_processes} found one another.")
    return found


@contextmanager
def _heard(ranks: AcceleratedRanks) -> Iterator[io.StringIO]:
    """Only the first process speaks; what the others would say is kept."""
    told = io.StringIO()
    if ranks.is_main:
        yield told
        return
    with redirect_stdout(told), redirect_stderr(told):
        yield told


def last_line(told: io.StringIO) -> str:
    """The last thing that was said, which is what went wrong."""
    return next((line for line in reversed(told.getvalue().splitlines()) if line.strip()), "it failed without a word")


if __name__ == "__main__":
    sys.exit(main())
