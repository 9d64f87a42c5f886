"""The planner's stage: a very small Qwen3 that reads a caption, thinks tempo, key and meter, and writes the audio codes.

Its texts come from the same functions that will ask it later (`acestep_lab.plan.prompt_template`), so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from acestep_lab.plan import prompt_template
from acestep_lab.train.pocket.stage import Average, Every, Stage, quick, set_rate
from acestep_lab.train.pocket.clips import LENGTHS, lesson_song, snapped
from acestep_lab.train.pocket.codes import Codec5
from acestep_lab.train.pocket.note_targets import note_sheet
from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.synthetic_music import Song

PEAK = 3e-3
MODES = {"plan": 0.72, "untold": 0.08, "understand": 0.10, "sketch": 0.05, "polish": 0.05}
TOKENS_A_BATCH = {"cpu": 6000, "cuda": 60_000}
CHOSEN = 0.2  # share of songs for any players, which are sparse: fewer than the transformer has
FRESH = 12  # songs composed for every step
MOST = 30_000  # songs remembered


@dataclass
class Written:
    """A song with its codes."""

    song: Song
    seconds: int
    codes: tuple[int, ...]


class Library:
    """Songs with their codes, composed as they are needed: a planner reads sheets and words, and no sound is made for it.

    Taught from the few thousand songs that had been rendered, it knew them by heart after 1,800 steps (1.57 nats a code, 1.99 for
    songs it had not seen).
    """

    def __init__(self, codec: Codec5, shapes: Shapes, first_seed: int, most: int = MOST) -> None:
        self.codec, self.shapes, self.seed, self.most = codec, shapes, first_seed, most
        self.songs: list[Written] = []

    @torch.no_grad()
    def compose(self, count: int) -> None:
        """Add so many songs, and forget the oldest beyond `most`."""
        device, rate = next(self.codec.parameters()).device, self.shapes.latents_per_second
        for seed in range(self.seed, self.seed + count):
            seconds = int(np.random.default_rng(seed).choice(list(LENGTHS), p=list(LENGTHS.values())))
            song = snapped(lesson_song(seed, seconds, CHOSEN), 1 / rate)
            sheet = note_sheet(song, seconds * rate, rate).float().to(device)
            codes = self.codec.true_codes(sheet[None])[0].tolist()
            self.songs.append(Written(dataclasses.replace(song, notes=()), seconds, tuple(codes)))
        self.seed += count
        del self.songs[: -self.most]


def facts(song: Written) -> dict[str, Any]:
    """What the thought of a song holds."""
    score = song.song
    return {
        "caption": score.caption, "lyrics": score.lyrics or prompt_template.INSTRUMENTAL, "bpm": score.bpm, "seconds": float(song.seconds),
        "keyscale": score.keyscale, "timesignature": score.timesignature, "language": "en", "genres": score.style, "codes": song.codes,
    }  # fmt: skip


def rough(song: Written, random: np.random.Generator) -> str:
    """A sentence such as a person might start from: the style and some of the instruments."""
    names = [name.replace("_", " ") for name in song.song.instruments if random.random() < 0.7]
    return " ".join([song.song.style, *(["with", ", ".join(names)] if names else [])])


def text_of(
    song: Written, mode: str, random: np.random.Generator
) -> tuple[prompt_template.PromptTemplate, prompt_template.PromptTemplate]:
    """Prompt and answer of one example."""
    told = facts(song)
    if mode == "untold":
        return prompt_template.negative_prompt("", ""), prompt_template.code_script(
            song.codes
        ) + prompt_template.closing()
    if mode == "sketch":
        return prompt_template.example(mode, told, sentence=rough(song, random))
    if mode == "polish":
        return prompt_template.example(mode, told, caption=rough(song, random))
    if mode == "plan" and random.random() < 0.25:
        return prompt_template.example(mode, told, caption=rough(song, random))
    return prompt_template.example(mode, told)


def encoded(song: Written, tokenizer: PreTrainedTokenizerFast, random: np.random.Generator) -> tuple[list[int], int]:
    """Token ids of one example, and how many of them are the question."""
    mode = str(random.choice(list(MODES), p=list(MODES.values())))
    prompt, answer = text_of(song, mode, random)
    question = prompt.encode(tokenizer)
    return question + answer.encode(tokenizer), len(question)


def batch(rows: list[tuple[list[int], int]], pad: int, first_code: int) -> tuple[Tensor, Tensor]:
    """Token ids and weights, [items, tokens]: nothing is learnt from questions and padding; codes count most."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    weights = torch.zeros(len(rows), longest)
    for row, (tokens, question) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, question : len(tokens)] = 1.0
    return ids, weights * torch.where(ids >= first_code, 1.0, 0.5)


def train_lm(stage: Stage, shapes: Shapes, tokenizer: PreTrainedTokenizerFast, library: Library) -> Average:
    """Train until the box is used up; returns averaged weights."""
    torch.manual_seed(4)
    config = Qwen3Config(
        **shapes.lm_config(len(tokenizer)), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(stage.device)
    optimiser = torch.optim.AdamW(model.parameters(), PEAK, betas=(0.9, 0.98), weight_decay=0.05)
    average = Average(model, 0.998)
    kept = stage.load()
    if kept:
        model.load_state_dict(kept["model"])
        if "optimiser" in kept:
            optimiser.load_state_dict(kept["optimiser"])
        average.weights, average.count = kept["average"], kept["count"]
    random = np.random.default_rng(23 + stage.step)
    library.seed += FRESH * stage.step
    library.compose(600)
    look, keep = Every(60), Every(180)
    first_code = tokenizer.convert_tokens_to_ids("<|audio_code_0|>")
    smooth: dict[str, float] = {}
    for _ in stage.steps():
        library.compose(FRESH)
        set_rate(optimiser, stage.rate(PEAK))
        rows = _rows(library, tokenizer, random, TOKENS_A_BATCH["cpu" if stage.device == "cpu" else "cuda"])
        ids, weights = (x.to(stage.device) for x in batch(rows, tokenizer.pad_token_id, first_code))
        losses = _losses(model, ids)
        weights = weights[:, 1:]
        (losses * weights).sum().div(weights.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.follow(model)
        _remember(smooth, losses.detach(), weights, ids[:, 1:] >= first_code)
        if look.due(stage.spent):
            stage.log(songs=len(library.songs), **smooth)
        if keep.due(stage.spent):
            stage.save(
                model=model.state_dict(), optimiser=optimiser.state_dict(), average=average.weights, count=average.count
            )
    stage.save(model=model.state_dict(), optimiser=optimiser.state_dict(), average=average.weights, count=average.count)
    return average


def _rows(
    library: Library, tokenizer: PreTrainedTokenizerFast, random: np.random.Generator, budget: int
) -> list[tuple[list[int], int]]:
    """Examples of similar length, about `budget` tokens together."""
    seconds = library.songs[random.integers(len(library.songs))].seconds
    alike = [song for song in library.songs if 0.7 * seconds <= song.seconds <= 1.4 * seconds]
    rows, count = [], 0
    while count < budget:
        rows.append(encoded(alike[random.integers(len(alike))], tokenizer, random))
        count += len(rows[-1][0])
    return rows


def _losses(model: nn.Module, ids: Tensor) -> Tensor:
    """Negative log likelihood of every token but the first, [items, tokens - 1]."""
    with quick(ids.device.type):
        logits = model(input_ids=ids).logits[:, :-1]
    return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
        len(ids), -1
    )


def _remember(smooth: dict[str, float], losses: Tensor, weights: Tensor, codes: Tensor) -> None:
    """Slow averages in nats: of codes and of text."""
    for name, chosen in (("codes", codes & (weights > 0)), ("text", ~codes & (weights > 0))):
        if chosen.any():
            value = float(losses[chosen].mean())
            smooth[name] = value if name not in smooth else 0.97 * smooth[name] + 0.03 * value
