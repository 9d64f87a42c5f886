"""A stand-in Session for the tests of what people see: the real Run, JobQueue and Library, a sine instead of a model."""

from __future__ import annotations

import dataclasses
import struct
import threading
import zlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio, splice
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.eta import Round, Work
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.run import RenderRun, Run
from acestep_lab.models.catalog import ROWS
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Repaint
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take

RATE = 8000


@dataclasses.dataclass(frozen=True)
class PretendFrame:
    """A step: where it is and what the music would be."""

    index: int
    steps: int
    t: float
    latent: np.ndarray
    estimate: np.ndarray
    items: tuple[int, ...] = (0,)


def png(frame: PretendFrame) -> bytes:
    """The estimate as a grey PNG, by hand."""
    values = frame.estimate.T
    grey = np.clip((values - values.min()) / (np.ptp(values) + 1e-9) * 255, 0, 255).astype(np.uint8)
    height, width = grey.shape
    raw = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tone(seconds: float, seed: int = 1, rate: int = RATE) -> Audio:
    """A quiet stereo sound that differs by seed and swells, so that its waveform has a shape."""
    at = np.arange(round(seconds * rate)) / rate
    swell = 0.35 + 0.3 * np.sin(2 * np.pi * at / 3.1 + seed) + 0.1 * np.sin(2 * np.pi * 1.7 * at)
    wave = swell * np.sin(2 * np.pi * (110 + 20 * (seed % 12)) * at)
    return Audio(np.stack([wave, np.roll(wave, 40)]).astype(np.float32), rate)


class PretendSession:
    """The verbs of a Session over sines; each step waits for `pause` seconds, or for `gate` if one is handed in."""

    def __init__(
        self,
        folder: Any,
        pause: float = 0.02,
        gate: threading.Semaphore | None = None,
        row: str = "base",
        library: Any = None,
    ) -> None:
        self.library = Library(folder) if library is None else library
        self.checkpoint = SimpleNamespace(
            name="pretend",
            row=ROWS[row],
            has_lm=True,
            geometry=SimpleNamespace(longest_seconds=60.0, rate=RATE, frames_per_second=5.0),
        )
        self.tier = SimpleNamespace(name="test")
        self.started: list[Recipe] = []
        self.jobs, self._pause, self._gate = JobQueue(), pause, gate
        self.jobs.history.learn("pretend", "render", size=1.0, piece=1.0)

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Any = None) -> RenderRun:
        asked = (recipe,) if isinstance(recipe, Recipe) else tuple(recipe)
        resolved = tuple(self._resolved(one) for one in asked)
        self.started.extend(asked)
        work = Work("pretend", {"render": [Round(resolved[0].steps or 6, 1.0 / (resolved[0].steps or 6))]})
        return self.jobs.submit(RenderRun(resolved, work), self._render)

    def _resolved(self, recipe: Recipe) -> Recipe:
        source = recipe.task.sources().get("source")
        seconds = recipe.seconds or getattr(source, "seconds", 8.0)
        if seconds > 60:
            raise RecipeError(f"pretend makes songs of up to 60 s; {seconds:g} s is too long. Make it shorter.")
        return recipe.replace(seconds=seconds, seed=recipe.seed or 1, steps=recipe.steps or 6)

    def recipe_from(self, source: Any, task: Any, **changes: Any) -> Recipe:
        return source.recipe.replace(**({"task": task, "seed": None, "seconds": None} | changes))

    def preview(self, frame: PretendFrame, at: float, seconds: float = 3.0) -> Audio:
        return tone(seconds, frame.index + 1)

    def _render(self, run: RenderRun) -> None:
        recipe = run.recipe
        steps, frames = int(recipe.steps or 6), max(4, int(5 * (recipe.seconds or 8)))
        goal = np.random.default_rng(recipe.seed).standard_normal((frames, 8)).cumsum(axis=0).astype(np.float32)
        noise = np.random.default_rng(1).standard_normal((frames, 8)).astype(np.float32)
        run.can_keep(lambda frame, song: self._take(recipe, frame))
        with run.stage("render"):
            for index in range(steps):
                self._wait(run)
                share = (index + 1) / steps
                x = share * goal + (1 - share) * noise
                run.show(PretendFrame(index, steps, 1 - share, x, goal * share))
                run.check()
        with run.stage("decode"):
            for place, one in enumerate(run.recipes):
                run.add(place, self._take(one, run.steps[-1]))
        run.finish()

    def _wait(self, run: Run[Any, Any]) -> None:
        if self._gate is None:
            run.stop_event.wait(self._pause)
            return
        while not self._gate.acquire(timeout=0.05) and not run.stopping:
            pass

    def _take(self, recipe: Recipe, frame: PretendFrame) -> Take:
        source = recipe.task.sources().get("source")
        audio = tone(recipe.seconds or 8.0, (recipe.seed or 1) + frame.index)
        if isinstance(recipe.task, Repaint):
            audio = splice(source.audio, audio, recipe.task.regions, recipe.task.wave_crossfade or 0.05)
        audio = audio.on_grid() if hasattr(audio, "on_grid") else audio
        parents = (source.id,) if hasattr(source, "id") else ()
        return Take(
            recipe.replace(task=recipe.task.with_ids()),
            audio,
            frame.latent,
            parents=parents,
            made_with={"checkpoint": "pretend"},
        )

    @property
    def runs(self) -> tuple[Run[Any, Any], ...]:
        return self.jobs.waiting

    def close(self) -> None:
        self.jobs.close()
