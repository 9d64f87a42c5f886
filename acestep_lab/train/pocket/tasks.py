"""Clips made into lessons: for each task the source, the mask, the goal and the words, as the pipeline would hand them over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.attribute_pretraining import meaning
from acestep_lab.train.pocket.note_targets import note_sheet
from acestep_lab.train.pocket.auxiliary_head import players
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics

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
META = ("bpm", "keyscale", "timesignature")
DROPPED = 0.12  # chance of each of bpm, key and meter to be left out of the words


@dataclass
class TrainingExample:
    """One item of a batch. `codes` marks items whose source is filled in from their codes."""

    goal: Tensor  # [frames, channels]
    source: Tensor  # [frames, channels]
    mask: Tensor  # [frames]
    text: str
    lyrics: str
    task: str
    codes: bool = False
    reference: Tensor | None = None
    meaning: dict[str, Tensor] = field(default_factory=dict)
    playing: Tensor | None = None  # who plays in the goal, [frames, stems]
    sheet: Tensor | None = None  # and what, [frames, channels of the note sheet]


@dataclass
class Batch:
    """Lessons of equal length, stacked."""

    goal: Tensor  # [items, frames, channels]
    source: Tensor
    mask: Tensor  # [items, frames]
    texts: dict[str, Tensor]
    lyrics: dict[str, Tensor]
    coded: list[int]
    references: dict[int, Tensor] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    meanings: list[dict[str, Tensor]] = field(default_factory=list)
    playing: Tensor | None = None  # [items, frames, stems]
    sheets: Tensor | None = None  # [items, frames, channels of the note sheet]

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        moved = {f.name: _moved(getattr(self, f.name), device) for f in dataclasses.fields(self)}
        return Batch(**moved)


def _moved(value, device: str):
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def choose_task(clip: Clip, random: np.random.Generator) -> str:
    """A task by its share; songs without separate stems take the others."""
    names = [name for name in SHARES if clip.stem or name not in NEEDS_STEM]
    weights = np.array([SHARES[name] * (2.5 if name in NEEDS_STEM else 1) for name in names])
    return str(random.choice(names, p=weights / weights.sum()))


def window(frames: int, random: np.random.Generator, pool: int) -> slice:
    """Where to repaint: any place, any length from a second to nearly all; often up to the end, as in an extension."""
    shortest = min(frames, 5 * pool)
    length = int(random.integers(shortest, max(shortest + 1, int(0.9 * frames))))
    kind = random.random()
    start = frames - length if kind < 0.25 else 0 if kind < 0.4 else int(random.integers(0, frames - length + 1))
    return slice(start, start + length)


def _words(clip: Clip, task: str, stems: tuple[str, ...], random: np.random.Generator) -> tuple[str, str]:
    keep = frozenset(name for name in META if random.random() > DROPPED)
    return prompt_and_lyrics(clip.song, clip.seconds, instruction(task, stems), keep)


def lesson(clip: Clip, task: str, silence: Tensor, random: np.random.Generator, pool: int) -> TrainingExample:
    """Make one lesson of a clip."""
    made = _lesson(clip, task, silence, random, pool)
    made.meaning = meaning(clip.song)
    made.playing, made.sheet = _score(clip, made)
    return made


def _score(clip: Clip, made: TrainingExample) -> tuple[Tensor, Tensor]:
    """Who plays in the goal of a lesson, and what."""
    frames, rate = len(clip.mix), len(clip.mix) / clip.seconds
    playing, sheet = players(clip.song, frames, rate), clip.sheet()
    if made.task not in ("extract", "lego"):
        return playing, sheet
    inside = (made.mask > 0.5)[:, None]
    ours, theirs = (
        dataclasses.replace(clip.song, notes=tuple(n for n in clip.song.notes if (n.stem == clip.stem) == own))
        for own in (True, False)
    )
    return tuple(
        torch.where(inside, score(ours, frames, rate), score(theirs, frames, rate)) for score in (players, note_sheet)
    )


def _lesson(clip: Clip, task: str, silence: Tensor, random: np.random.Generator, pool: int) -> TrainingExample:
    frames = len(clip.mix)
    quiet, mix = silence[:frames], clip.mix.float()
    everywhere, stems = torch.ones(frames), (clip.stem,) if clip.stem else ()
    if task == "repaint":
        mask = torch.zeros(frames)
        mask[window(frames, random, pool)] = 1
        return TrainingExample(
            mix, torch.where(mask[:, None] > 0.5, quiet, mix), mask, *_words(clip, task, (), random), task
        )
    if task == "extract":
        return TrainingExample(clip.part.float(), mix, everywhere, *_words(clip, task, stems, random), task)
    if task == "lego":
        mask = everywhere.clone()
        if random.random() < 0.4:
            mask.zero_()[window(frames, random, pool)] = 1
        goal = torch.where(mask[:, None] > 0.5, clip.part.float(), clip.rest.float())
        return TrainingExample(
            clip.part.float() if mask.min() > 0 else goal,
            clip.rest.float(),
            mask,
            *_words(clip, task, stems, random),
            task,
        )
    if task == "complete":
        missing = tuple(s for s in clip.song.instruments if s != clip.stem)
        return TrainingExample(mix, clip.part.float(), everywhere, *_words(clip, task, missing, random), task)
    if task == "codes":
        name = "cover" if random.random() < 0.6 else "text2music"
        return TrainingExample(mix, clip.sheet().float(), everywhere, *_words(clip, name, (), random), task, codes=True)
    reference = _reference(mix, random) if task == "timbre" else None
    return TrainingExample(mix, quiet, everywhere, *_words(clip, "text2music", (), random), task, reference=reference)


def _reference(mix: Tensor, random: np.random.Generator) -> Tensor:
    """A few seconds of the song, repeated to the length that the pipeline hands to the timbre encoder (shorter to save time)."""
    length = max(1, len(mix) // 3)
    start = int(random.integers(0, len(mix) - length + 1))
    return mix[start : start + length].repeat(3, 1)


def collate(lessons: list[TrainingExample], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Stack lessons; texts are padded on the right, as the pipeline pads them."""

    def tokens(texts: list[str], most: int) -> dict[str, Tensor]:
        found = tokenizer(texts, padding="longest", truncation=True, max_length=most, return_tensors="pt")
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    return Batch(
        goal=torch.stack([x.goal for x in lessons]),
        source=torch.stack([x.source for x in lessons]),
        mask=torch.stack([x.mask for x in lessons]),
        texts=tokens([x.text for x in lessons], 256),
        lyrics=tokens([x.lyrics for x in lessons], 2048),
        coded=[i for i, x in enumerate(lessons) if x.codes],
        references={i: x.reference for i, x in enumerate(lessons) if x.reference is not None},
        tasks=[x.task for x in lessons],
        meanings=[x.meaning for x in lessons],
        playing=_stacked([x.playing for x in lessons]),
        sheets=_stacked([x.sheet for x in lessons]),
    )


def _stacked(rows: list[Tensor | None]) -> Tensor | None:
    known = [row for row in rows if row is not None]
    return torch.stack(known) if len(known) == len(rows) else None
