"""A sweep on two worker processes, one of them killed: every take once, and how much sooner than on one. Prints, asserts nothing.

::

    OMP_NUM_THREADS=1 python -m tests.benchmarks.sweep_on_two [--takes 24] [--timed 12] [--seconds 3]

Real pocket checkpoint, real processes of one thread each; on a machine that does something else besides, the ratio says little;
what was computed says more: on two idle cores the wall time of two workers is at least half of what they and the client compute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections import Counter
from statistics import median
from typing import Any

from acestep_lab import Recipe, Session
from acestep_lab.sweep.local import local_cluster

HELD = "acestep-lab-bench-held"
ROUNDS = 3


def hold(name: str) -> None:
    """Keep a worker's one place until an event is set, without computing."""
    from distributed import Event

    Event(name).wait()


def timed(lab: Session, client: Any, recipe: Recipe, seeds: range) -> tuple[float, float, float]:
    """Seconds that a sweep of so many takes took, and those that its workers and this process computed meanwhile."""
    began, own, theirs = time.monotonic(), time.process_time(), computed(client)
    made = lab.sweep(recipe, seed=seeds, on=client.scheduler.address).result()
    assert len(made) == len(seeds)
    return time.monotonic() - began, computed(client) - theirs, time.process_time() - own


def computed(client: Any) -> float:
    """Seconds that all workers have computed so far."""
    return float(sum(client.run(time.process_time).values()))


def one_and_two(lab: Session, client: Any, recipe: Recipe, count: int) -> dict[str, Any]:
    """Wall time of the same number of takes on two workers, then on one of them while the other is held."""
    from distributed import Event

    busy = sorted(client.scheduler_info(n_workers=-1)["workers"])[0]
    ones, twos = list[tuple[float, float, float]](), list[tuple[float, float, float]]()
    for turn in range(ROUNDS):  # in turns, since the machine does other things besides
        first, name = 1000 * (turn + 1), f"{HELD}-{turn}"
        twos.append(timed(lab, client, recipe, range(first, first + count)))
        held = client.submit(hold, name, workers=[busy], resources={"SONG": 1}, pure=False)
        time.sleep(1.0)
        ones.append(timed(lab, client, recipe, range(first + 500, first + 500 + count)))
        Event(name, client=client).set()
        held.result()
    ratios = [one / two for (one, _, _), (two, _, _) in zip(ones, twos, strict=True)]
    rounded = [[round(one, 1) for one, _, _ in each] for each in (ones, twos)]
    work, own = median(workers for _, workers, _ in ones), median(mine for _, _, mine in twos)
    twice = median(workers for _, workers, _ in twos)
    return {
        "takes": count,
        "one_process_s": rounded[0],
        "two_processes_s": rounded[1],
        "ratio": round(median(ratios), 2),
        "computed_by_one_s": round(work, 2),
        "computed_by_two_s": round(twice, 2),
        "computed_by_the_client_s": round(own, 2),
        "ratio_on_two_idle_cores": round(2 * work / (twice + own), 2),
    }


def with_a_kill(lab: Session, client: Any, recipe: Recipe, count: int) -> dict[str, Any]:
    """A sweep whose first worker is killed once a quarter is made: what is in the library, and who made what."""
    pids = client.run(os.getpid)
    began, before = time.monotonic(), set(lab.library.ids())
    run = lab.sweep(recipe, seed=range(count), on=client.scheduler.address)
    while len(run.made) < count // 4 and not run.over:
        time.sleep(0.1)
    victim = next(cell.by for cell in run.cells if cell.state == "rendering" and cell.by)
    os.kill(pids[victim], signal.SIGKILL)
    at = len(run.made)
    ids = run.result()
    new = [id for id in lab.library.ids() if id not in before]
    seeds = Counter(lab.library.card(id).seed for id in new)
    again = lab.sweep(recipe, seed=range(count), on=client.scheduler.address)
    assert again.result() == ids
    return {
        "asked": count, "in_the_library": len(new), "each_seed_once": sorted(seeds.values()) == [1] * count,
        "killed_after": at, "failed": len(run.failed), "wall_s": round(time.monotonic() - began, 1),
        "made_by": dict(Counter(cell.by for cell in run.cells)), "made_again_when_repeated": again.budget.to_make,
    }  # fmt: skip


def main() -> None:
    """Both, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--takes", type=int, default=24)
    parser.add_argument("--timed", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    from distributed import Client

    began = time.monotonic()
    with local_cluster(2, threads=1) as cluster, Client(cluster, set_as_default=False) as client:
        found: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
        found["workers_open_after_s"] = round(time.monotonic() - began, 1)
        with tempfile.TemporaryDirectory() as folder, Session.open("pocket", library=folder) as lab:
            recipe = Recipe("slow dub techno, tape hiss", seconds=asked.seconds, thinking=False)
            found["speed"] = one_and_two(lab, client, recipe, asked.timed)
            found["kill"] = with_a_kill(lab, client, recipe, asked.takes)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
