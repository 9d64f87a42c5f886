"""A stand-in Session that trains: real songs on disk, the real TrainingRun in the real queue, losses by a formula."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.errors import Stopped
from acestep_lab.jobs.training import ENCODE, TRAIN, Loss, Preview, TrainingRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from tests.pretend import PretendSession, tone


def songs(folder: Path, count: int = 6, seconds: float = 6.0) -> Path:
    """A folder of songs with captions beside them; the last one is too short, and says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        last = n == count - 1
        tone(1.5 if last else seconds, n + 1).write(folder / f"song {n:03d}.wav")
        if not last:
            about = {"caption": f"a zither plays the {n}th tune, slow and warm"}
            (folder / f"song {n:03d}.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


class TeachingSession(PretendSession):
    """Trains adapters that do nothing; `steps` wait for `gate`, if one is handed in."""

    def __init__(self, folder: Any, **more: Any) -> None:
        self.hold: threading.Event | None = more.pop("hold", None)
        self._worn = ()
        self.taught: list[tuple[Any, Any]] = []
        super().__init__(folder, **more)

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, trains=True)

    def train(self, songs: Any, config: Any = None, *, dry_run: bool = False, **options: Any) -> Any:
        self.taught.append((songs, config))
        if dry_run:
            return SimpleNamespace(to_json=lambda: _plan(len(songs), config))
        every = config.preview_every
        previews = -(-config.steps // every) if every else 0
        folder = Path(self.library.folder) / "adapters" / "pretend-zafu"
        run = TrainingRun("zafu, taught by some songs", config.steps, len(songs), previews, folder, 10.0)
        run.put_on = lambda strength: self.lora(*([(folder, strength)] if strength else []))
        run.bare = lambda recipes: [self._take(self.resolve(one), Step(0, 1, 0.0, None, None)) for one in recipes]
        run.sounds = lambda: (song.audio() for song in songs)
        return self.jobs.submit(run, lambda run: self._teach(run, config))

    def _teach(self, run: TrainingRun, config: Any) -> Iterator[None]:
        run.begin(ENCODE)
        run.did(ENCODE, 0.01, run.pace[ENCODE].whole)
        yield
        bare: Take | None = None
        try:
            for step in range(1, config.steps + 1):
                run.begin(TRAIN)
                time.sleep(0.002)
                run.learnt(Loss(step, 1.0 / step + 0.4 + 0.1 * (step % 3), learning_rate=1e-4))
                run.did(TRAIN, 0.01)
                if step % 4 == 0:
                    run.held_out(Loss(step, 2.0 - step / 100, True, {0.3: 0.5, 0.6: 0.7, 0.9: 0.8}, True))
                if config.preview_every and step % config.preview_every == 0:
                    bare = bare or self._preview(0)
                    run.preview(Preview(step, self._preview(step), bare))
                yield
                if self.hold is not None and step == config.steps // 2:
                    while not self.hold.wait(0.02):
                        run.check()
        except Stopped:
            run.folder.mkdir(parents=True, exist_ok=True)
            run.saved(run.step)
            raise run.stopped() from None
        run.folder.mkdir(parents=True, exist_ok=True)
        run.saved(config.steps)
        run.finish()

    def _preview(self, place: int) -> Take:
        """A take of the one recipe and seed; another `place` sounds otherwise."""
        recipe = self.resolve(Recipe("zafu, a zither", seconds=3.0, seed=7))
        return self._take(recipe, Step(place, place + 1, 0.0, None, None))


def _plan(count: int, config: Any) -> dict[str, Any]:
    words = [f"{count} songs to learn from, none held out. {config.steps} steps of 1 song: each is heard 5.0 times."]
    return {
        "fits": True, "advice": [], "text": "\n".join([*words, "It fits: 1 GB at most, 8 GB free on CPU."]) + "\n\ntable",
        "memory": [{"name": "a step", "bytes": 10**8, "when": "learning"}, {"name": "VAE", "bytes": 10**8, "when": "reading"}],
    }  # fmt: skip
