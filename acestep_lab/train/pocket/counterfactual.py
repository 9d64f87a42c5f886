"""Which parts of a prompt does the transformer use? A quick answer from the loss; `generation_eval.py` has the slow one.

The gap is counterfactual: with the same noise, how much worse is the prediction when ONE thing in the prompt is swapped for another
song's? It shows a trace of control long before takes do, and it says plainly when there is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.dit import CodeSource, velocity_loss
from acestep_lab.train.pocket.tasks import Batch, TrainingExample, collate
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.synthetic_music import Song

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TIMES = (0.97, 0.85, 0.6)
Swap = Callable[[Song, Song], Song]

SWAPS: dict[str, Swap] = {
    "caption": lambda song, other: dataclasses.replace(song, caption=other.caption),
    "bpm": lambda song, other: dataclasses.replace(song, bpm=other.bpm),
    "key": lambda song, other: dataclasses.replace(song, keyscale=other.keyscale),
    "meter": lambda song, other: dataclasses.replace(song, timesignature=other.timesignature),
    "sections": lambda song, other: dataclasses.replace(song, lyrics=other.lyrics),
}
"""What is swapped → the song that the prompt then describes."""


def _example(clip: Clip, prompt_song: Song, source: Tensor, coded: bool) -> TrainingExample:
    texts = prompt_and_lyrics(prompt_song, clip.seconds, instruction("cover" if coded else "text2music"))
    return TrainingExample(
        clip.mix_latents.float(), source, torch.ones(len(clip.mix_latents)), *texts, "codes" if coded else "text2music"
    )


def _batch(
    clips: list[Clip], prompt_songs: list[Song], sources: list[Tensor], coded: bool, tokenizer: PreTrainedTokenizerFast
) -> Batch:
    return collate([_example(c, t, s, coded) for c, t, s in zip(clips, prompt_songs, sources, strict=True)], tokenizer)


@torch.no_grad()
def _losses(components: Components, batch: Batch, unconditional: bool = False) -> Tensor:
    """Loss of every item, mean over `TIMES`, always with the same noise."""
    noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(9)).to(batch.target.device)
    count = len(batch.target)
    dropped = torch.full((count,), unconditional, device=noise.device)
    rows = [
        velocity_loss(components, batch, torch.full((count,), t, device=noise.device), noise, dropped) for t in TIMES
    ]
    return torch.stack(rows).mean(0)


def counterfactual_gaps(
    components: Components, clips: list[Clip], tokenizer: PreTrainedTokenizerFast, codes: CodeSource | None
) -> dict[str, tuple[float, float]]:
    """Loss with a swapped prompt minus loss with the true one, in thousandths: name → (mean, standard error); clips of one length."""
    others = clips[1:] + clips[:1]
    silences = [components.silence(len(c.mix_latents)).cpu() for c in clips]
    songs = [c.song for c in clips]
    true = _losses(components, _batch(clips, songs, silences, False, tokenizer))
    gaps = {
        "true": _mean_and_error(true),
        "null": _mean_and_error(
            _losses(components, _batch(clips, songs, silences, False, tokenizer), unconditional=True) - true
        ),
    }
    for name, swap in SWAPS.items():
        swapped = [swap(song, other.song) for song, other in zip(songs, others, strict=True)]
        gaps[name] = _mean_and_error(_losses(components, _batch(clips, swapped, silences, False, tokenizer)) - true)
    if codes is not None:
        gaps |= _code_gaps(components, clips, tokenizer, codes)
    return gaps


def _code_gaps(
    components: Components, clips: list[Clip], tokenizer: PreTrainedTokenizerFast, codes: CodeSource
) -> dict[str, tuple[float, float]]:
    decoded = codes(torch.stack([c.note_targets() for c in clips]).float(), corruption=0.0)
    songs, own, others = [c.song for c in clips], list(decoded), [*decoded[1:], decoded[0]]
    true = _losses(components, _batch(clips, songs, own, True, tokenizer))
    swapped = _losses(components, _batch(clips, songs, others, True, tokenizer))
    return {"true with codes": _mean_and_error(true), "codes": _mean_and_error(swapped - true)}


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean and standard error, in thousandths."""
    array = 1000 * values.float().cpu().numpy()
    return round(float(array.mean()), 2), round(float(array.std() / np.sqrt(len(array))), 2)
