"""What training costs beside the least it could: a step, a second epoch, gradient checkpointing, the words of 100 songs.

python -m tests.benchmarks.bench_training [step] [epoch] [memory] [words]      # four minutes of processor time for all

On the embedded checkpoint, one thread, ratios within one run. **step**: `Trainer` beside a bare torch loop over the same kind of
module. **epoch**: how often an encoder is entered while songs are read, in the first epoch and in the second. **memory**: the
most that a step's own tensors take at once, and its time. **words**: 100 songs' words by the engine,
and with the timbre of silence read anew for each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from acestep_lab import Library, Recipe, Session
from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Lesson, Trains
from acestep_lab.jobs.events import Event
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.labels import Label
from acestep_lab.train.lora import LoraConfig, Trainer, batched, inject
from acestep_lab.train.song import Song
from tests.benchmarks.meter import cpu_seconds, known, race, show, write

STEPS, ROUNDS, SONGS = 4, 7, 100
CONFIG = LoraConfig(steps=10**6, batch=4, warm_up=0, dropout=0.0, held_out_every=10**6)
ENCODERS = ("text", "condition", "vae")


def lessons(engine: Any, count: int = 8, seconds: float = 5.0, tokens: int = 120) -> list[Lesson]:
    """Lessons of noise in the checkpoint's own shapes."""
    frames, draw = round(seconds * engine.training_rule.frames_per_second), torch.Generator().manual_seed(0)
    config = engine.checkpoint.config("dit")
    channels, width = config["audio_acoustic_hidden_dim"], config.get("encoder_hidden_size") or config["hidden_size"]
    context = torch.cat([torch.zeros(frames, channels), torch.ones(frames, channels)], dim=-1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    return [Lesson(normal(frames, channels), normal(tokens, width), normal(1, width), context) for _ in range(count)]


# -- a step ------------------------------------------------------------------------------------------------------------


def ours(engine: Trains, songs: list[Lesson]) -> Callable[[], None]:
    """STEPS steps of the trainer."""
    events = Trainer(engine, songs, CONFIG).run()

    def work() -> None:
        for _ in range(STEPS):
            next(events)

    return work


def bare(engine: Trains, songs: list[Lesson]) -> Callable[[], None]:
    """STEPS steps of the least there is: everything in place, draw, forward, back, clip, AdamW."""
    module = engine.training_module(torch.float32)
    inject(module, CONFIG, engine.training_rule.targets["attention"])
    weights = [one for one in module.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-3, weight_decay=CONFIG.weight_decay)
    batch, draw = batched(songs[: CONFIG.batch]), torch.Generator().manual_seed(0)

    def work() -> None:
        for _ in range(STEPS):
            t, noise = torch.rand(CONFIG.batch, generator=draw), torch.randn(batch.target.shape, generator=draw)
            x = torch.lerp(batch.target, noise, t[:, None, None])
            found = engine.velocity(module, x, t, batch.states, batch.mask, batch.context)
            nn.functional.mse_loss(found, noise - batch.target).backward()
            nn.utils.clip_grad_norm_(weights, CONFIG.clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    return work


def step(lab: Session) -> dict[str, Any]:
    """A step of ours beside a bare one."""
    engine: Any = lab.engine
    songs = lessons(engine)
    table = race({"a bare torch loop": bare(engine, songs), "Trainer": ours(engine, songs)}, ROUNDS, STEPS)
    show(f"a step of {CONFIG.batch} × 5 s (ms)", table)
    ratio = round(1 / table["Trainer"]["quicker"], 3)
    print(f"  ours / bare {ratio} (goal: at most 1.15)", flush=True)
    return {**table, "ratio": ratio}


# -- epochs ------------------------------------------------------------------------------------------------------------


@contextmanager
def entered() -> Iterator[Counter[str]]:
    """Counts which component is entered, by anybody."""
    found, own = Counter[str](), DeviceManager.on

    @contextmanager
    def counting(self: DeviceManager, name: str, checkpoint: str | None = None) -> Iterator[Any]:
        found[name] += 1
        with own(self, name, checkpoint) as module:
            yield module

    DeviceManager.on = counting  # type: ignore[method-assign, assignment]
    try:
        yield found
    finally:
        DeviceManager.on = own  # type: ignore[method-assign]


def _song(lab: Session, folder: Path, seed: int) -> Song:
    """A song that nobody has read yet, as a file with words of its own."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal((1, 4 * 24_000)).astype(np.float32)
    file = Audio(noise, 24_000).write(folder / f"{seed}.wav")
    return Song(file.name, 4.0, {"caption": Label(f"unheard song {seed}")}, file)


def epoch(lab: Session) -> dict[str, Any]:
    """How often encoders are entered: while songs are read, in each epoch, and when the same is trained again."""
    songs = 4
    marks: dict[str, Counter[str]] = {}
    how: dict[str, Any] = {"steps": 2 * songs, "held_out": 0.0, "warm_up": 0, "rank": 2}
    with tempfile.TemporaryDirectory() as place, entered() as count:
        rows = [_song(lab, Path(place), seed) for seed in range(songs)]
        run = lab.train(Dataset(tuple(rows)), folder=Path(place) / "one", **how)

        def listen(event: Event) -> None:
            if event.kind == "learnt" and event.value.step in (1, songs, 2 * songs):
                marks[str(event.value.step)] = Counter(count)

        run.subscribe(listen)
        run.result()
        whole = Counter(count)
        lab.train(Dataset(tuple(rows)), folder=Path(place) / "two", **(how | {"rank": 4})).result()
        again = Counter(count) - whole
    first, last = marks[str(songs)], marks[str(2 * songs)]
    table = {
        "reading the songs": marks["1"], "the first epoch": first - marks["1"], "the second epoch": last - first,
        "another training of the same songs": again,
    }  # fmt: skip
    told = {name: {one: found[one] for one in ENCODERS} for name, found in table.items()}
    show("encoders entered (goal: none in the second epoch)", told)
    return told


# -- gradient checkpointing --------------------------------------------------------------------------------------------


class Live(TorchDispatchMode):
    """Bytes of all tensors that were made inside and are still held, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                self._held.setdefault(StorageWeakRef(storage), storage.nbytes())
        self._held = {ref: size for ref, size in self._held.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self._held.values()))
        return out


def memory(lab: Session) -> dict[str, Any]:
    """Peak of a step's own tensors, and processor time, with everything kept and with gradient checkpointing."""
    engine: Any = lab.engine
    peaks, works = {}, {}
    for name, again in (("everything kept", False), ("gradient checkpointing", True)):
        trainer = Trainer(engine, lessons(engine, 4, 10.0), CONFIG.replace(gradient_checkpointing=again))
        events = trainer.run()
        next(events)  # gradients' and optimiser's own room
        with Live() as live:
            trainer.one_pass()
        trainer.optimiser.forget_gradients()
        peaks[name], works[name] = live.peak, partial(next, events)
    times = race(works, ROUNDS)
    table = {name: {"MB": round(peaks[name] / 1e6)} | row for name, row in times.items()}
    kept, made = peaks.values()
    ratios = {"peak": round(made / kept, 3), "time": round(1 / times["gradient checkpointing"]["quicker"], 3)}
    show("a step of 4 × 10 s", {**table, "ratio (goals: at most 0.5, 1.4)": ratios})
    return {**table, "ratios": ratios}


# -- words -------------------------------------------------------------------------------------------------------------


def words(lab: Session) -> dict[str, Any]:
    """The words of 100 songs, beside a condition encoder that reads 30 s of silence for each."""
    engine: Any = lab.engine

    def read(turn: str) -> None:
        recipes = [
            Recipe(f"{turn} {n}, slow dub", f"[verse]\nwarm words {n}", seconds=10, seed=n, bpm=90, thinking=False)
            for n in range(SONGS)
        ]
        engine.prepare([engine.resolve(one, None, lab.sound, 60.0) for one in recipes])

    read("warm")
    quick = cpu_seconds(lambda: read("remembered"))
    with engine.devices.on("condition") as condition:
        timbre = condition.get_submodule("timbre_encoder")
        own = timbre.forward
        timbre.forward = timbre.remembered.forward
        try:
            slow = cpu_seconds(lambda: read("anew"))
        finally:
            timbre.forward = own
    row = {"remembered": round(quick, 2), "read anew": round(slow, 2), "times quicker": round(slow / quick, 2)}
    show(f"the words of {SONGS} songs, processor seconds (goal: 5 times)", {"words": row})
    return row


def main(asked: list[str]) -> None:
    """Measure what is asked for, or all."""
    figures = known("training")
    figures.pop("command", None)
    figures.pop("machine", None)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place, Session.open(library=Library(place)) as lab:
        lab.jobs.progress = False
        for name, work in (("step", step), ("epoch", epoch), ("memory", memory), ("words", words)):
            if name in asked or not asked:
                figures[name] = work(lab)
    print(f"\n{time.process_time() - began:.0f} s of processor time")
    write("training", figures)


if __name__ == "__main__":
    main(sys.argv[1:])
