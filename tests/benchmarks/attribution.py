"""What each of eight phrases did in ten seconds of the pocket: seconds from asking to knowing, at one, two and four changes a loop.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.attribution [rounds=3]

The goal is 20 s on two cores. The weights are in memory before the clock starts, as they are for whoever has just made a take.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from statistics import median

import torch

from acestep_lab import Recipe, Session
from acestep_lab.jobs import attributing
from acestep_lab.takes.take import Take

CAPTION = "slow dub techno, warm pad, deep bass, vinyl crackle, sparse drums, dark mood, long echoes, a lonely flute"
GOAL = 20.0
SECONDS = 10.0


def seconds_of(lab: Session, take: Take, at_once: int, steps: int | None = None) -> tuple[float, float]:
    """Seconds of the clock, and of this process, for a whole attribution with so many changes in a loop."""
    attributing.AT_ONCE = at_once
    began, worked = time.perf_counter(), time.process_time()
    found = lab.attribute(take, what="phrases", anew=True, steps=steps).result()
    assert len(found.effects) == 8
    return time.perf_counter() - began, time.process_time() - worked


def main(rounds: int = 3) -> None:
    """Print a row for each number of changes a loop."""
    with tempfile.TemporaryDirectory() as folder, Session.open("pocket", library=folder) as lab:
        lab.jobs.progress = False
        take = lab.make(Recipe(CAPTION, seconds=SECONDS, seed=3, thinking=False))
        lab.attribute(take, what="phrases", steps=1).result()
        print(f"{lab.attribute(take, what='phrases', anew=True, dry_run=True)}")
        print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; goal {GOAL:.0f} s of the clock")
        for at_once in (attributing.AT_ONCE, 2, 1):
            took = [seconds_of(lab, take, at_once) for _ in range(rounds)]
            clock, process = (median(one[place] for one in took) for place in (0, 1))
            verdict = "within the goal" if clock <= GOAL else "over the goal"
            print(f"{at_once} changes a loop: {clock:5.1f} s of the clock, {process:5.1f} s of cores; {verdict}")


if __name__ == "__main__":
    main(*(int(one.partition("=")[2] or one) for one in sys.argv[1:]))
