"""Which words are obeyed? Two answers: a quick one from the loss, and a slow one by listening.

The quick one is counterfactual: with the same noise, how much worse is the prediction when ONE thing in the words is swapped
for another song's? It shows a trace of control long before ears do, and it says plainly when there is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.dit import CodeSource, velocity_loss
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.tasks import Batch, TrainingExample, collate
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.synthetic_music import Song

TIMES = (0.97, 0.85, 0.6)
Swap = Callable[[Song, Song], Song]

SWAPS: dict[str, Swap] = {
    "caption": lambda song, other: dataclasses.replace(song, caption=other.caption),
    "bpm": lambda song, other: dataclasses.replace(song, bpm=other.bpm),
    "key": lambda song, other: dataclasses.replace(song, keyscale=other.keyscale),
    "meter": lambda song, other: dataclasses.replace(song, timesignature=other.timesignature),
    "sections": lambda song, other: dataclasses.replace(song, lyrics=other.lyrics),
}
"""What is swapped → the song as it is then told."""


def _lesson(clip: Clip, told: Song, source: Tensor, coded: bool) -> TrainingExample:
    words = prompt_and_lyrics(told, clip.seconds, instruction("cover" if coded else "text2music"))
    return TrainingExample(
        clip.mix.float(), source, torch.ones(len(clip.mix)), *words, "codes" if coded else "text2music"
    )


def _batch(
    clips: list[Clip], told: list[Song], sources: list[Tensor], coded: bool, tokenizer: PreTrainedTokenizerFast
) -> Batch:
    return collate([_lesson(c, t, s, coded) for c, t, s in zip(clips, told, sources, strict=True)], tokenizer)


@torch.no_grad()
def _losses(parts: Parts, batch: Batch, untold: bool = False) -> Tensor:
    """Loss of every item, mean over `TIMES`, always with the same noise."""
    noise = torch.randn(batch.goal.shape, generator=torch.Generator().manual_seed(9)).to(batch.goal.device)
    count = len(batch.goal)
    quiet = torch.full((count,), untold, device=noise.device)
    rows = [velocity_loss(parts, batch, torch.full((count,), t, device=noise.device), noise, quiet) for t in TIMES]
    return torch.stack(rows).mean(0)


def gaps(
    parts: Parts, clips: list[Clip], tokenizer: PreTrainedTokenizerFast, codes: CodeSource | None
) -> dict[str, tuple[float, float]]:
    """Loss when swapped minus loss when told truly, in thousandths: name → (mean, standard error); clips of one length."""
    others = clips[1:] + clips[:1]
    quiet = [parts.silence(len(c.mix)).cpu() for c in clips]
    songs = [c.song for c in clips]
    true = _losses(parts, _batch(clips, songs, quiet, False, tokenizer))
    found = {
        "true": _figure(true),
        "null": _figure(_losses(parts, _batch(clips, songs, quiet, False, tokenizer), untold=True) - true),
    }
    for name, swap in SWAPS.items():
        told = [swap(song, other.song) for song, other in zip(songs, others, strict=True)]
        found[name] = _figure(_losses(parts, _batch(clips, told, quiet, False, tokenizer)) - true)
    if codes is not None:
        found |= _code_gaps(parts, clips, tokenizer, codes)
    return found


def _code_gaps(
    parts: Parts, clips: list[Clip], tokenizer: PreTrainedTokenizerFast, codes: CodeSource
) -> dict[str, tuple[float, float]]:
    hint = codes(torch.stack([c.sheet() for c in clips]).float(), misheard=0.0)
    songs, own, others = [c.song for c in clips], list(hint), [*hint[1:], hint[0]]
    guided = _losses(parts, _batch(clips, songs, own, True, tokenizer))
    misled = _losses(parts, _batch(clips, songs, others, True, tokenizer))
    return {"true with codes": _figure(guided), "codes": _figure(misled - guided)}


def _figure(values: Tensor) -> tuple[float, float]:
    """Mean and standard error, in thousandths."""
    array = 1000 * values.float().cpu().numpy()
    return round(float(array.mean()), 2), round(float(array.std() / np.sqrt(len(array))), 2)
