"""What a training would take, before it begins: steps, time from a step that is made, memory by component, where it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from acestep_lab.engines.base import Lesson
from acestep_lab.engines.opened import OpenEngines
from acestep_lab.errors import RecipeError
from acestep_lab.models.device_manager import module_bytes
from acestep_lab.models.memory_plan import gb
from acestep_lab.train.alignment import PREFIX, Alignment
from acestep_lab.train.cache import Failed, LessonCache, TrainableEngine
from acestep_lab.train.lora import Learnt, LoraConfig, Trainer
from acestep_lab.train.repa import FeatureCache, SoundEncoder
from acestep_lab.train.song import Song

CHECKPOINTED, SLOWER = 0.45, 1.35
"""What gradient checkpointing leaves of a step's memory, and makes of its time, as measured."""
MEASURED_STEPS = 2
"""The first warms up; the last is the measure."""


@dataclass(frozen=True)
class Share:
    """Bytes that something takes, and when."""

    name: str
    bytes: int
    when: str
    """ "reading" (the songs) or "learning"."""


@dataclass(frozen=True)
class TrainingPlan:
    """What `lab.train(…)` would do; print it for words and a table."""

    songs: int
    held_out: int
    to_read: int
    """Songs whose lesson is not in the cache yet."""
    config: LoraConfig
    parameters: int
    """Numbers that are learnt."""
    seconds_per_song: float
    seconds_per_step: float
    shares: tuple[Share, ...]
    free_bytes: int
    """What the machine has now."""
    machine: str
    folder: Path
    times: str
    """The rule that times are drawn by."""
    to_hear: int = 0
    """Songs that an encoder of `repa` has not heard yet, of all encoders."""
    seconds_per_hearing: float = 0.0
    aligned: str = ""
    """With `repa`: with what, and after which block; as words."""
    original: str = ""
    """What the model's own trainer teaches with, where that is other than usual here; a sentence."""
    projectors: int = 0
    """Numbers that are learnt beside the adapter, and not exported."""

    @property
    def seconds(self) -> float:
        """Seconds of it all, previews not counted."""
        heard = self.to_hear * self.seconds_per_hearing
        return self.to_read * self.seconds_per_song + heard + self.config.steps * self.seconds_per_step

    def bytes_of(self, when: str) -> int:
        """Bytes while the songs are read ("reading") or while it learns ("learning")."""
        return sum(share.bytes for share in self.shares if share.when == when)

    @property
    def peak(self) -> int:
        """Bytes at most: the encoders have left when learning begins."""
        return max(self.bytes_of("reading"), self.bytes_of("learning"))

    @property
    def fits(self) -> bool:
        """Whether the machine has room for it now."""
        return self.peak <= self.free_bytes

    @property
    def advice(self) -> tuple[str, ...]:
        """What would make it fit, each as a sentence; nothing where it does."""
        return () if self.fits else tuple(_advice(self))

    def __str__(self) -> str:
        return "\n".join([*_words(self), "", *_table(self), *(["", *self.advice] if self.advice else [])])

    def to_json(self) -> dict[str, object]:
        """The same as plain data."""
        return {
            "songs": self.songs, "held_out": self.held_out, "to_read": self.to_read, "steps": self.config.steps,
            "parameters": self.parameters, "seconds": round(self.seconds, 2), "seconds_per_step": self.seconds_per_step,
            "seconds_per_song": self.seconds_per_song, "peak_bytes": self.peak, "free_bytes": self.free_bytes,
            "fits": self.fits, "advice": list(self.advice), "folder": str(self.folder), "text": str(self),
            "memory": [{"name": one.name, "bytes": one.bytes, "when": one.when} for one in self.shares],
        } | ({"aligned": self.aligned, "to_hear": self.to_hear, "projectors": self.projectors} if self.aligned else {})  # fmt: skip


def foretold(
    engines: OpenEngines, cache: LessonCache, engine: TrainableEngine, rows: tuple[Sequence[Song], Sequence[Song]],
    config: LoraConfig, roads: Sequence[str], folder: Path, dtype: torch.dtype,
    listeners: tuple[FeatureCache, Sequence[SoundEncoder]],
) -> TrainingPlan:  # fmt: skip
    """Read the longest song (its lesson stays in the cache), make two steps of it, and tell from these.

    `listeners` are the encoders of `repa`, with where they keep what they hear.
    """
    learnt, held_out = rows
    longest = max(learnt, key=lambda row: row.seconds)
    began = time.monotonic()
    found = next(iter(cache.make(engine, [longest], roads[:1], engines.longest(engine))))
    if isinstance(found, Failed):
        raise RecipeError(f"{found.name} cannot be learnt from: {found.why}")
    reading = time.monotonic() - began if found.new else 0.0
    lesson = cache.find(found.key)
    assert lesson is not None  # it was just made
    alignment, hearing = _heard(*listeners, longest)
    encoders = [spec for spec in engine.component_specs() if spec.role in ("encoder", "decoder")]
    wide = torch.finfo(engines.memory_plan(engine).torch_dtype).bits / 16
    shares = [Share(spec.title, int(spec.bytes * wide), "reading") for spec in encoders]
    engines.devices.free()
    measured = _measured(engine, lesson, config, dtype, alignment)
    machine = engines.memory_plan(engine).machine
    whole = [*learnt, *held_out]
    mean = sum(row.seconds for row in whole) / len(whole)
    to_read = sum(not cache.has(engine, row, road) for row in whole for road in roads)
    features, listening = listeners
    to_hear = sum(not features.has(one, row) for row in whole for one in listening)
    share = mean / max(longest.seconds, 1e-3)
    return TrainingPlan(
        len(learnt), len(held_out), to_read, config, measured.parameters, reading * share, measured.seconds,
        (*shares, *measured.shares), machine.memory_bytes if machine.free_bytes is None else machine.free_bytes,
        machine.name or machine.kind, folder, engine.training_rule.times,
        to_hear, hearing * share, measured.aligned, engine.training_rule.original, measured.projectors,
    )  # fmt: skip


def _heard(cache: FeatureCache, encoders: Sequence[SoundEncoder], song: Song) -> tuple[Alignment | None, float]:
    """What encoders hear in a song (it stays in the cache), and the seconds that one of them takes for it."""
    if not encoders:
        return None, 0.0
    began, made, heard = time.monotonic(), 0, []
    for one in encoders:
        found = next(cache.make(one, [song]))
        if isinstance(found, Failed):
            raise RecipeError(f"{found.name} cannot be learnt from: {found.why}")
        heard.append(cache.read(found))
        made += found.new
    seconds = (time.monotonic() - began) / made if made else 0.0
    names, keys, widths = zip(*((one.name, one.key, one.width) for one in encoders), strict=True)
    return Alignment(names, keys, widths, [tuple(heard)]), seconds


@dataclass(frozen=True)
class _Measured:
    """What two steps told."""

    seconds: float
    """Of a step."""
    shares: tuple[Share, ...]
    parameters: int
    """Numbers of the adapter."""
    projectors: int
    aligned: str


def _measured(
    engine: TrainableEngine, lesson: Lesson, config: LoraConfig, dtype: torch.dtype, alignment: Alignment | None
) -> _Measured:
    """Seconds of a step, bytes while it learns, and how many numbers are learnt."""
    short = config.replace(steps=MEASURED_STEPS, accumulation=1, patience=0)
    trainer = Trainer(engine, [lesson], short, dtype=dtype, alignment=alignment)
    weights = [*trainer.module.parameters(), *trainer.parameters.values()]
    kept = _Counted({one.untyped_storage().data_ptr() for one in weights})
    seconds = 0.0
    for event in trainer.run():
        seconds = event.seconds if isinstance(event, Learnt) else seconds
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, _same):
        trainer.one_pass()
    beside = sum(one.numel() for name, one in trainer.parameters.items() if name.startswith(PREFIX))
    count = sum(one.numel() for one in trainer.parameters.values()) - beside
    copies = 5 + (config.ema > 0) + (config.patience > 0)  # weights, gradients, two of AdamW, the last good ones
    shares = [
        Share("the transformer", module_bytes(trainer.module) - 4 * count, "learning"),
        Share("the adapter and its optimiser", 4 * count * copies, "learning"),
        *([Share("the projectors and their optimiser", 4 * beside * copies, "learning")] if beside else []),
        Share("a step", kept.bytes, "learning"),
    ]
    aligned = ""
    if trainer.aligner is not None and alignment is not None:
        aligned = f"{' and '.join(alignment.names)} after block {trainer.aligner.block}"
    return _Measured(seconds * config.accumulation, tuple(shares), count, beside, aligned)


class _Counted:
    """Bytes that a pass keeps for its way back, each storage once, without the weights."""

    def __init__(self, weights: set[int]) -> None:
        self._seen, self.bytes = weights, 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Count what autograd keeps."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


# -- in words ----------------------------------------------------------------------------------------------------------


def _words(plan: TrainingPlan) -> list[str]:
    config = plan.config
    kept = f"{plan.held_out} held out to see what was learnt" if plan.held_out else "none held out"
    rounds = config.steps * config.batch * config.accumulation / max(1, plan.songs)
    step = f"{plan.seconds_per_step:.2f} s a step, as measured just now"
    lines = [
        f"{plan.songs} songs to learn from, {kept}. {config.steps} steps of {config.batch * config.accumulation} "
        f"song{'s' * (config.batch * config.accumulation != 1)}: each is heard {rounds:.1f} times.",
        f"A {config.kind} of rank {config.rank} on {' and '.join(config.targets)}: {plan.parameters:,} numbers. "
        f"Times: {plan.times}.",
        *([plan.original] if plan.original else []),
        f"About {_span(plan.seconds)}: {plan.to_read} songs to read, then {step}.",
        f"Kept in {plan.folder}.",
    ]
    if plan.aligned:
        lines[-1:-1] = [
            f"Aligned with {plan.aligned} ({plan.projectors:,} numbers more, in no adapter file): {plan.to_hear} "
            f"song{'s' * (plan.to_hear != 1)} to hear, about {_span(plan.to_hear * plan.seconds_per_hearing)}."
        ]
    room = f"{gb(plan.peak)} at most, {gb(plan.free_bytes)} free on {plan.machine}"
    return [*lines, f"It fits: {room}." if plan.fits else f"It does not fit: {room}."]


def _table(plan: TrainingPlan) -> list[str]:
    names = {"reading": "while songs are read", "learning": "while it learns"}
    width = max(len(share.name) for share in plan.shares) + 2
    lines = []
    for when, name in names.items():
        lines.append(f"{name + ':':<{width + 2}} {gb(plan.bytes_of(when)):>10}")
        lines += [f"  {one.name:<{width}} {gb(one.bytes):>10}" for one in plan.shares if one.when == when]
    return lines


def _advice(plan: TrainingPlan) -> list[str]:
    step = next((one.bytes for one in plan.shares if one.name == "a step"), 0)
    over, config, found = plan.peak - plan.free_bytes, plan.config, []
    if plan.bytes_of("reading") >= plan.peak:
        found.append("Other programs that are closed make room; the encoders come one at a time where memory is short.")
    if not config.gradient_checkpointing:
        left = step * (1 - CHECKPOINTED)
        found.append(f"gradient_checkpointing=True saves about {gb(left)} for a third more time.")
    if config.batch > 1:
        found.append(
            f"batch=1 with accumulation={config.batch * config.accumulation} saves {gb(step * (1 - 1 / config.batch))}."
        )
    if step > over > 0:
        found.append(f"crop_seconds so that {gb(over)} less is kept: {1 - over / step:.0%} of the length now.")
    return found or ["A smaller checkpoint, or a machine with more memory."]


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
