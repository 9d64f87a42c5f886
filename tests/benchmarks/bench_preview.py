"""What pictures of steps cost: one decoding, and a whole render with a watching page beside one without.

    python -m tests.benchmarks.bench_preview [seconds] [rounds]

The ratio is of processor seconds of the whole process from start to take (steps, decodings, pictures and all), in turns
(ABBA): what a page adds to them is the most by which it can slow a render, and a busy machine changes neither.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from typing import Any

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.session import Session
from acestep_lab.ui.latent_preview import LatentPreviewWidget
from acestep_lab.ui.step_sounds import StepSounds


class Page(LatentPreviewWidget):  # type: ignore[misc]
    """A page that counts the pictures it is sent."""

    got: dict[str, int]

    def emit(self, kind: str, *buffers: Any, **body: Any) -> None:
        if kind == "picture":
            self.got[body["view"]] = self.got.get(body["view"], 0) + 1

    @property
    def has_views(self) -> bool:
        return True


def render(lab: Session, recipe: Recipe, sounds: StepSounds | None) -> tuple[float, dict[str, int]]:
    """Processor seconds of a render, watched or not, and the pictures a page got of it."""
    page = None if sounds is None else Page(sounds=sounds)
    began = time.process_time()
    run = lab.start(recipe)
    if page is not None:
        page.got = {}
        page.follow(run)
    take = run.take()
    took = time.process_time() - began
    if page is not None:
        page.finish(take)
        time.sleep(0.5)  # what is drawn after the run is none of its time
    return took, {} if page is None else page.got


def main(seconds: float = 10.0, rounds: int = 6) -> None:
    with tempfile.TemporaryDirectory() as folder, Session.open("pocket", library=folder) as lab:
        recipe = Recipe("slow dub techno, drums, bass", seconds=seconds, seed=3, thinking=False)
        render(lab, recipe, None)
        sounds = StepSounds(lab)
        plain: list[float] = []
        watched: list[float] = []
        got: dict[str, int] = {}
        for turn in range(2 * rounds):
            one = sounds if turn % 4 in (1, 2) else None
            took, pictures = render(lab, recipe.replace(seed=turn), one)
            (plain if one is None else watched).append(took)
            got = pictures or got
        a, b = statistics.median(plain), statistics.median(watched)
        cost = (sounds.budget.per_second or 0.0) * seconds
        steps = lab.engine.defaults(recipe.task).steps or 1
        print(f"{seconds:g} s: alone {a:.3f} s of processor, watched {b:.3f} s, ratio {b / a:.3f}")
        print(f"one picture of all of it {1000 * cost:.0f} ms, {100 * cost / (a / steps):.0f} % of a step; shown {got}")


if __name__ == "__main__":
    main(*(float(x) if i == 0 else int(x) for i, x in enumerate(sys.argv[1:])))  # type: ignore[arg-type]
