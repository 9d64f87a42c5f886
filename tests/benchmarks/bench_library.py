"""A library of 500 takes: how long it takes to open, to search, and to make its index anew.

`python -m tests.benchmarks.bench_library`
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acestep_lab import Audio, Library, Recipe, Take

WORDS = "slow dub techno tape hiss bright bossa nova nylon guitar warm lo-fi keys brushed drums deep bass choir".split()


def takes(count: int) -> list[Take]:
    """Short takes with varied words."""
    dice = np.random.default_rng(0)
    sound = Audio(dice.standard_normal((1, 2400)) * 0.1, 24_000).on_grid()
    latent = dice.standard_normal((10, 32))
    recipes = [Recipe(" ".join(dice.choice(WORDS, 7)), seed=seed, bpm=60 + seed % 120) for seed in range(count)]
    return [Take(recipe, sound, latent, parents=(f"take-{place // 3}",)) for place, recipe in enumerate(recipes)]


def seconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Median wall seconds of some rounds."""
    spans = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        library = Library(folder)
        keep = seconds(lambda: [library.keep(take) for take in takes(500)], 1)
        figures = {
            "takes": len(library),
            "keep, ms each": 1000 * keep / 500,
            "open and list, ms": 1000 * seconds(lambda: Library(folder).cards()),
            "search, ms": 1000 * seconds(lambda: library.cards("bossa gui")),
            "open one take, ms": 1000 * seconds(lambda: library.open(library.ids()[250])),
            "index anew, ms": 1000 * seconds(library.rebuild, 3),
        }
    print(json.dumps(figures, indent=1))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "library.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
