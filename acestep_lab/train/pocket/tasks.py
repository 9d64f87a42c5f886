"""Clips made into training examples: for each task source, mask, target and prompt, as the pipeline would hand them over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train.pocket.attribute_pretraining import attributes_of
from acestep_lab.train.pocket.auxiliary_head import instrument_activity
from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.note_targets import note_targets_of
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHARES = {
    "text2music": 0.30,
    "codes": 0.38,
    "repaint": 0.11,
    "extract": 0.09,
    "lego": 0.05,
    "complete": 0.04,
    "timbre": 0.03,
}
NEEDS_STEM = ("extract", "lego", "complete")
METADATA = ("bpm", "keyscale", "timesignature")
METADATA_DROPOUT = 0.12  # chance of each of bpm, key and meter to be left out of the prompt


@dataclass
class TrainingExample:
    """One item of a batch. `codes` marks items whose source is filled in from their codes."""

    target: Tensor  # [frames, channels]
    source: Tensor  # [frames, channels]
    mask: Tensor  # [frames]
    text: str
    lyrics: str
    task: str
    codes: bool = False
    reference: Tensor | None = None
    attributes: dict[str, Tensor] = field(default_factory=dict)
    activity: Tensor | None = None  # which stems play in the target, [frames, stems]
    note_targets: Tensor | None = None  # and what they play, [frames, channels of note targets]


@dataclass
class Batch:
    """Examples of equal length, stacked."""

    target: Tensor  # [items, frames, channels]
    source: Tensor
    mask: Tensor  # [items, frames]
    texts: dict[str, Tensor]
    lyrics: dict[str, Tensor]
    coded: list[int]
    references: dict[int, Tensor] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    attributes: list[dict[str, Tensor]] = field(default_factory=list)
    activity: Tensor = field(default_factory=lambda: torch.empty(0))  # [items, frames, stems]
    note_targets: Tensor = field(default_factory=lambda: torch.empty(0))  # [items, frames, channels of note targets]

    def to(self, device: str) -> Batch:
        """The same batch with its tensors on a device."""
        moved = {f.name: _moved(getattr(self, f.name), device) for f in dataclasses.fields(self)}
        return Batch(**moved)


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def choose_task(clip: Clip, random: np.random.Generator) -> str:
    """Draw a task by its share; clips without separate stems take those that need none."""
    names = [name for name in SHARES if clip.stem or name not in NEEDS_STEM]
    weights = np.array([SHARES[name] * (2.5 if name in NEEDS_STEM else 1) for name in names])
    return str(random.choice(names, p=weights / weights.sum()))


def repaint_window(frames: int, random: np.random.Generator, pool: int) -> slice:
    """Draw the frames to repaint: any place, from a second to nearly all; often up to the end, as in an extension."""
    shortest = min(frames, 5 * pool)
    length = int(random.integers(shortest, max(shortest + 1, int(0.9 * frames))))
    kind = random.random()
    start = frames - length if kind < 0.25 else 0 if kind < 0.4 else int(random.integers(0, frames - length + 1))
    return slice(start, start + length)


def _texts(clip: Clip, task: str, stems: tuple[str, ...], random: np.random.Generator) -> tuple[str, str]:
    keep = frozenset(name for name in METADATA if random.random() > METADATA_DROPOUT)
    return prompt_and_lyrics(clip.song, clip.seconds, instruction(task, stems), keep)


def make_example(clip: Clip, task: str, silence: Tensor, random: np.random.Generator, pool: int) -> TrainingExample:
    """Make an example of a clip for a task; `silence` is [frames, channels], `pool` the frames per code."""
    example = _example(clip, task, silence, random, pool)
    example.attributes = attributes_of(clip.song)
    example.activity, example.note_targets = _note_targets(clip, example)
    return example


def _note_targets(clip: Clip, example: TrainingExample) -> tuple[Tensor, Tensor]:
    """Which stems play in the target of an example, [frames, stems], and its note targets."""
    frames, rate = len(clip.mix_latents), len(clip.mix_latents) / clip.seconds
    activity, notes = instrument_activity(clip.song, frames, rate), clip.note_targets()
    if example.task not in ("extract", "lego"):
        return activity, notes
    inside = (example.mask > 0.5)[:, None]
    ours, theirs = (
        dataclasses.replace(clip.song, notes=tuple(n for n in clip.song.notes if (n.stem == clip.stem) == own))
        for own in (True, False)
    )
    return (
        torch.where(inside, instrument_activity(ours, frames, rate), instrument_activity(theirs, frames, rate)),
        torch.where(inside, note_targets_of(ours, frames, rate), note_targets_of(theirs, frames, rate)),
    )


def _example(clip: Clip, task: str, silence: Tensor, random: np.random.Generator, pool: int) -> TrainingExample:
    if task in NEEDS_STEM:
        return _stem_example(clip, task, random, pool)
    frames = len(clip.mix_latents)
    silent, mix, everywhere = silence[:frames], clip.mix_latents.float(), torch.ones(frames)
    if task == "repaint":
        mask = torch.zeros(frames)
        mask[repaint_window(frames, random, pool)] = 1
        source = torch.where(mask[:, None] > 0.5, silent, mix)
        return TrainingExample(mix, source, mask, *_texts(clip, task, (), random), task)
    if task == "codes":
        name = "cover" if random.random() < 0.6 else "text2music"
        targets = clip.note_targets().float()
        return TrainingExample(mix, targets, everywhere, *_texts(clip, name, (), random), task, codes=True)
    reference = _reference(mix, random) if task == "timbre" else None
    return TrainingExample(mix, silent, everywhere, *_texts(clip, "text2music", (), random), task, reference=reference)


def _stem_example(clip: Clip, task: str, random: np.random.Generator, pool: int) -> TrainingExample:
    """Extract, lego or complete; raises ValueError for a clip without a separate stem."""
    if clip.stem_latents is None or clip.rest_latents is None:
        raise ValueError(f"A clip without a separate stem is no example of {task}.")
    mix, stem, rest = clip.mix_latents.float(), clip.stem_latents.float(), clip.rest_latents.float()
    mask = torch.ones(len(mix))
    if task == "extract":
        return TrainingExample(stem, mix, mask, *_texts(clip, task, (clip.stem,), random), task)
    if task == "complete":
        added = tuple(s for s in clip.song.instruments if s != clip.stem)
        return TrainingExample(mix, stem, mask, *_texts(clip, task, added, random), task)
    if random.random() < 0.4:
        mask.zero_()[repaint_window(len(mix), random, pool)] = 1
    target = torch.where(mask[:, None] > 0.5, stem, rest)
    return TrainingExample(target, rest, mask, *_texts(clip, task, (clip.stem,), random), task)


def _reference(mix: Tensor, random: np.random.Generator) -> Tensor:
    """A few seconds of the song, repeated to the length that the pipeline hands to the timbre encoder (shorter to save time)."""
    length = max(1, len(mix) // 3)
    start = int(random.integers(0, len(mix) - length + 1))
    return mix[start : start + length].repeat(3, 1)


def collate(examples: list[TrainingExample], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Stack examples of equal length; texts are padded on the right, as the pipeline pads them."""

    def tokens(texts: list[str], most: int) -> dict[str, Tensor]:
        found = tokenizer(texts, padding="longest", truncation=True, max_length=most, return_tensors="pt")
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    return Batch(
        target=torch.stack([x.target for x in examples]),
        source=torch.stack([x.source for x in examples]),
        mask=torch.stack([x.mask for x in examples]),
        texts=tokens([x.text for x in examples], 256),
        lyrics=tokens([x.lyrics for x in examples], 2048),
        coded=[i for i, x in enumerate(examples) if x.codes],
        references={i: x.reference for i, x in enumerate(examples) if x.reference is not None},
        tasks=[x.task for x in examples],
        attributes=[x.attributes for x in examples],
        activity=_stacked([x.activity for x in examples]),
        note_targets=_stacked([x.note_targets for x in examples]),
    )


def _stacked(rows: list[Tensor | None]) -> Tensor:
    """The rows of all items stacked; empty where any is unknown."""
    known = [row for row in rows if row is not None]
    return torch.stack(known) if len(known) == len(rows) else torch.empty(0)
