"""What a gallery of many takes costs: opening, searching, ordering, a star; at 200 and at 2,000 takes.

`python -m tests.benchmarks.bench_gallery [200 2000]` prints medians in milliseconds. The takes' sounds are a second long:
no sound is read for any of these.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extract
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.gallery import GalleryWidget
from acestep_lab.ui.listed_takes import ListedTakes
from tests.pretend import tone

WORDS = ("slow dub techno", "lo-fi piano at night", "samba with brass", "a choir in the rain", "modular ambient")


def fill(folder: Path, count: int) -> None:
    """A library of so many takes, a fifth of them stems of another."""
    library, sound = Library(folder), tone(1.0)
    parent = ""
    for seed in range(count):
        words = f"{WORDS[seed % len(WORDS)]} number {seed // 7}"
        task = Extract(parent, "drums") if parent and seed % 5 == 4 else None
        recipe = Recipe(
            words, "la la la\n" * 40, seconds=1, seed=seed, bpm=80 + seed % 90, **({"task": task} if task else {})
        )
        take = Take(recipe, sound, np.zeros((2, 8), np.float32), parents=(parent,) if task else ())
        library.keep(take)
        parent = take.id
    library.close()


def milliseconds(work: Callable[[], object], rounds: int = 9) -> float:
    """The median time of some work."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begin))
    return statistics.median(found)


def measure(folder: Path) -> dict[str, float]:
    """Every figure for one library; the first listing fills the index's cards."""
    library = Library(folder)
    gallery = GalleryWidget()
    listed = ListedTakes(gallery, OwnedLibrary(library))
    begin = time.perf_counter()
    listed.list()
    first = 1000 * (time.perf_counter() - begin)
    listed.connect()
    time.sleep(0.2)  # a folder that has just changed is looked at once more
    id = gallery.cards[0]["id"]
    return {
        "open and list": first,
        "search “dub tech”": milliseconds(lambda: gallery.do_search("dub tech")),
        "search nothing": milliseconds(lambda: gallery.do_search("")),
        "order by tempo": milliseconds(lambda: gallery.do_sort("tempo", True)),
        "more cards": milliseconds(gallery.do_more, 3),
        "a star": milliseconds(lambda: gallery.do_mark(id, star=True), 3),
        "a family": milliseconds(lambda: listed.takes.family(id), 5),
    }


def main(counts: list[int]) -> None:
    """Print the figures of each size."""
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), count)
            for name, figure in measure(Path(folder)).items():
                print(f"{count:5d} takes  {name:20s} {figure:8.1f} ms")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [200, 2000])
