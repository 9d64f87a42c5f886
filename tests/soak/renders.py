"""Two hundred renders in one process: each gives its take, and memory stays where it was."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import psutil

from acestep_lab import Recipe, Session
from tests.soak import Row
from tests.tiny import tiny_diffusers

RENDERS = 200


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Render songs with ever other words on a tiny random checkpoint; memory is compared after a quarter and at the end."""
    made, memory = Row("renders, each with other words, each kept"), Row("memory at the end as after the first quarter")
    me, end = psutil.Process(), time.monotonic() + seconds
    with Session.open(tiny_diffusers(folder / "tiny"), library=folder / "takes") as lab:
        early = 0
        while made.tried < RENDERS and (time.monotonic() < end or made.tried < 20):
            number = made.tried
            take = lab.make(
                Recipe(f"song number {number}", seconds=1.0, seed=seed + number, steps=2, thinking=number % 10 == 0)
            )
            made.count(take.audio.seconds == 1.0 and take in lab.library, "a take is missing")
            if number == RENDERS // 4 or (not early and time.monotonic() > end - seconds * 0.75):
                gc.collect()
                early = me.memory_info().rss
        gc.collect()
        grown = me.memory_info().rss / early if early else 1.0
        memory.count(grown < 1.15, f"memory grew {grown:.2f} times")
        memory.note = memory.note or f"{grown:.2f} times, {me.memory_info().rss / 2**20:.0f} MB"
    return [made, memory]
