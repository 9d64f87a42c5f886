"""How true the time to go is on the embedded checkpoint: what was foretold at a third, a half and two thirds of each run.

python -m tests.benchmarks.bench_eta         # two minutes of processor time: warm-up runs, then six kinds of recipe

The queue's clock is processor time here, so that what else the machine does meanwhile is nobody's error.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acestep_lab import Library, Recipe, Session
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.models.loading import Checkpoint
from acestep_lab.prompt.tasks import Cover
from tests.benchmarks.meter import show, write

AT = {"1/3": 1 / 3, "1/2": 1 / 2, "2/3": 2 / 3}
DUB = Recipe("slow dub techno, tape hiss", seed=7, thinking=False)
WARM = (
    [DUB.replace(seconds=10)], [DUB.replace(seconds=40)], [DUB.replace(seconds=20, thinking=True)],
    [DUB.replace(seconds=20), DUB.replace(seconds=20, seed=8)],
)  # fmt: skip


def kinds(lab: Session) -> dict[str, list[Recipe]]:
    """Recipes that spend their time in different stages."""
    take = lab.make(DUB.replace(seconds=20))
    return {
        "20 s": [DUB.replace(seconds=20)],
        "60 s": [DUB.replace(seconds=60)],
        "40 s, planned": [DUB.replace(seconds=40, thinking=True)],
        "20 s, 40 steps": [DUB.replace(seconds=20, steps=40)],
        "four of 20 s": [DUB.replace(seconds=20, seed=seed) for seed in range(4)],
        "a cover of 20 s": [lab.recipe_from(take, Cover(take), thinking=False)],
    }


def foretold(lab: Session, recipes: list[Recipe]) -> tuple[float, list[tuple[float, float | None]]]:
    """Seconds a run took, and what it foretold on its way: seconds since it began, seconds to go."""
    told: list[tuple[float, float | None]] = []

    def listen(event: Event) -> None:
        told.append((run.seconds_running, run.remaining))

    run: RenderRun = lab.start(recipes)
    run.subscribe(listen)
    while not run.wait(0.05):
        told.append((run.seconds_running, run.remaining))
    run.takes()
    return run.seconds_running, sorted(told, key=lambda one: one[0])


def row(whole: float, told: list[tuple[float, float | None]]) -> dict[str, Any]:
    """How far the whole time foretold at these moments was off, in percent of it, and the worst from a third on."""
    off = [(at / whole, None if left is None else 100 * (at + left - whole) / whole) for at, left in told if at < whole]
    found: dict[str, Any] = {"seconds": round(whole, 2)}
    for name, share in AT.items():
        error = next((error for at, error in off if at >= share), None)
        found[name] = None if error is None else round(error, 1)
    later = [abs(error) for at, error in off if at >= 1 / 3 and error is not None]
    return found | {"worst": round(max(later), 1) if later else None}


def main() -> None:
    jobs = JobQueue(clock=time.process_time)
    with (
        tempfile.TemporaryDirectory() as folder,
        Session(Ace15Engine(Checkpoint.open("pocket")), library=Library(Path(folder)), jobs=jobs) as lab,
    ):
        began = time.monotonic()
        for _ in range(2):
            for recipes in WARM:
                lab.start(recipes).takes()
        table: Mapping[str, Mapping[str, Any]] = {
            name: row(*foretold(lab, recipes)) for name, recipes in kinds(lab).items()
        }
        lab.library.close()
    show("the whole time foretold, percent off, at shares of the run; and the worst from a third on", table)
    print(f"  in {time.monotonic() - began:.0f} s")
    write("eta", {"percent off": table})


if __name__ == "__main__":
    main()
