"""How quickly this machine makes music, and how much memory that takes: measured for what is installed, published figures beside.

    print(speeds(seconds=10))           # every checkpoint on this machine;  measure("pocket") is one row

The real-time factor is seconds of music made in a second of computing: higher is quicker, 1 keeps up with playing. It counts all
that stands between a recipe and a sound but the planner, whom the published figures do not have, and the loading of weights.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape

from acestep_lab.engines.offered import offered
from acestep_lab.errors import RecipeError
from acestep_lab.models.tiers import GB
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.session import Session

CAPTION = "bright house with piano chords, bass and a steady kick"
PUBLISHED_STEPS = 27
"""Of the published figures; a checkpoint of that family is measured with as many."""
EVERY = 0.005
"""Seconds between two looks at the memory of a process."""


@dataclass(frozen=True)
class Speed:
    """What making one song took."""

    checkpoint: str
    machine: str
    seconds: float
    """Of music."""
    took: float
    """Seconds of computing, median of the rounds."""
    steps: int | None
    """Of the sampler; None for a model that writes token by token."""
    memory_bytes: int
    """The most that was held meanwhile, weights included."""
    memory_of: str
    """Whose memory that is: "card", or "process" where all of this process is counted."""

    @property
    def real_time_factor(self) -> float:
        """Seconds of music made in one second."""
        return self.seconds / self.took


@dataclass(frozen=True)
class Published:
    """What somebody else says that ACE-Step v1-3.5B does on a card, 27 steps, half precision."""

    machine: str
    real_time_factor: float
    card_gb: float | None
    """Memory the card has; None where it shares the computer's."""
    source: str

    @property
    def fits(self) -> bool | None:
        """Whether the card holds what the same sources say the default needs; None where its size is not fixed."""
        return None if self.card_gb is None else self.card_gb >= PUBLISHED_NEED_GB


PUBLISHED_NEED_GB = 16.0
"""What both sources say that v1 needs where nothing is offloaded."""
_MEASURED, _GUIDE = "its authors' benchmark", "AceSteps' guide"
PUBLISHED = (
    Published("H100", 50.0, 80, _GUIDE),
    Published("RTX 4090", 34.48, 24, _MEASURED),
    Published("A100", 27.27, 80, _MEASURED),
    Published("A10G", 20.0, 24, _GUIDE),
    Published("RTX 3090", 12.76, 24, _MEASURED),
    Published("RTX 3080", 8.0, 10, _GUIDE),
    Published("M2 Max", 2.27, None, _MEASURED),
)
"""Quickest first. The guide's are round numbers that it calls approximate."""
_HEAD = ("what", "where", "steps", "real-time factor", "a minute takes", "peak memory")


@dataclass(frozen=True)
class SpeedTable:
    """Measured rows, and the published ones beside; print it, or let a notebook show it."""

    measured: tuple[Speed, ...]
    published: tuple[Published, ...] = field(default=PUBLISHED)

    def rows(self) -> list[tuple[str, ...]]:
        """What is written, cell by cell; measured rows first."""
        ours: list[tuple[str, ...]] = [
            (one.checkpoint, f"{one.machine}, measured", str(one.steps or "–"), f"{one.real_time_factor:.2f}",
             f"{60 / one.real_time_factor:.1f} s", f"{one.memory_bytes / GB:.2f} GB ({one.memory_of})")
            for one in self.measured
        ]  # fmt: skip
        return ours + [
            ("ace-step-v1", f"{one.machine}, {one.source}", str(PUBLISHED_STEPS), f"{one.real_time_factor:.2f}",
             f"{60 / one.real_time_factor:.1f} s", _need(one))
            for one in self.published
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = [_HEAD, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{escape(one)}</th>' for one in _HEAD)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows())
        return f'<table dir="ltr"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _need(one: Published) -> str:
    """What the sources say of memory, beside what the card has."""
    need = f"{PUBLISHED_NEED_GB:g} GB"
    if one.card_gb is None:
        return need
    return f"{need} of {one.card_gb:g}" + ("" if one.fits else " (only offloaded)")


def installed() -> tuple[str, ...]:
    """Names of the checkpoints that are on this machine, of all families."""
    return tuple(one.name for one in offered() if not one.missing)


def speeds(
    checkpoints: Iterable[str] | None = None, seconds: float = 10.0, rounds: int = 1, device: object = None,
    dtype: object = None,
) -> SpeedTable:  # fmt: skip
    """Measure these checkpoints, or all that are installed, one after the other, each alone in memory."""
    names = installed() if checkpoints is None else tuple(checkpoints)
    return SpeedTable(tuple(measure(name, seconds, rounds, device, dtype) for name in names))


def measure(
    checkpoint: str = "pocket", seconds: float = 10.0, rounds: int = 1, device: object = None, dtype: object = None
) -> Speed:
    """Render songs of so many seconds, one more than `rounds` to warm up, and say what the median took.

    No take is kept. RecipeError for a length that the checkpoint does not make.
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise RecipeError(f"Rounds are a whole number from 1 up, not {rounds!r}.")
    with tempfile.TemporaryDirectory() as folder:
        session = Session.open(checkpoint, library=folder, device=device, dtype=dtype)
        session.jobs.progress = False
        try:
            return _measured(session, seconds, rounds)
        finally:
            session.free()
            session.close()


def _measured(session: Session, seconds: float, rounds: int) -> Speed:
    recipe = _recipe(session, seconds)
    session.make(recipe.replace(seconds=max(session.capabilities.seconds[0], min(seconds, 1.0))))
    plan = session.explain()
    took: list[float] = []
    with peak_memory(plan.device) as peak:
        for seed in range(1, rounds + 1):
            start = time.perf_counter()
            take = session.make(recipe.replace(seed=seed))
            took.append(time.perf_counter() - start)
    steps = getattr(take.recipe.sampling, "steps", None)
    where = _machine(plan.machine.name or plan.machine.kind, plan.device)
    return Speed(session.engine.name, where, take.seconds, statistics.median(took), steps, peak.bytes, peak.of)


def _machine(name: str, device: str) -> str:
    """A machine's name; of a CPU also how many threads worked."""
    import torch

    if device != "cpu":
        return name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def _recipe(session: Session, seconds: float) -> Recipe:
    """An instrumental song, with the engine's own number of steps or as many as the published figures have."""
    asked = Recipe(CAPTION, seconds=seconds, seed=0, planning=Planning(thinking=False))
    usual = session.defaults(Text2Music())
    if session.capabilities.family == "ace-step-v1":
        return asked.replace(sampling=usual.replace(steps=PUBLISHED_STEPS))
    return asked


@dataclass
class Peak:
    """The most memory held while something was watched."""

    of: str
    bytes: int = 0


@contextmanager
def peak_memory(device: str) -> Iterator[Peak]:
    """Watch the memory of a card where torch counts it, else that of this process, looked at every 5 ms."""
    import torch

    kind = device.split(":")[0]
    if kind in ("cuda", "xpu"):
        peak, on = Peak("card"), torch.device(device)
        backend = getattr(torch, kind)
        backend.reset_peak_memory_stats(on)
        yield peak
        peak.bytes = int(backend.max_memory_allocated(on))
        return
    peak = Peak("card" if kind == "mps" else "process")
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peak, _now(kind), done), daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _watch(peak: Peak, now: Callable[[], int], done: threading.Event) -> None:
    while True:
        peak.bytes = max(peak.bytes, now())
        if done.wait(EVERY):
            return


def _now(kind: str) -> Callable[[], int]:
    """How to ask for the bytes held now."""
    import psutil
    import torch

    if kind == "mps":
        return lambda: int(torch.mps.driver_allocated_memory())
    process = psutil.Process()
    return lambda: int(process.memory_info().rss)
