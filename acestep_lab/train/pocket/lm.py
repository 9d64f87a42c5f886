"""The planner's stage: a very small Qwen3 that reads a caption, decides tempo, key and meter, and writes the audio codes.

Its texts come from the functions that prompt it later (`acestep_lab.plan.prompt_template`), so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import transformers
from acestep_lab.plan import prompt_template
from acestep_lab.train.pocket.clips import LENGTHS, snap_to_grid, training_song
from acestep_lab.train.pocket.codes import AudioCodeModel
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.note_targets import note_targets_of
from acestep_lab.train.pocket.stage import Interval, Stage, WeightAverage, fast_precision, set_learning_rate
from acestep_lab.train.synthetic_music import Song

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PEAK_LEARNING_RATE = 3e-3
MODES = {"plan": 0.72, "unconditional": 0.08, "understand": 0.10, "sketch": 0.05, "polish": 0.05}
TOKENS_PER_BATCH = {"cpu": 6000, "cuda": 60_000}
RANDOM_ENSEMBLES = 0.2  # share of songs with random instruments, which are sparse: fewer than the transformer has
SONGS_PER_STEP = 12  # songs composed for every step
MAX_SONGS = 30_000  # kept in memory


@dataclass
class CodedSong:
    """A song (without its notes) and its audio codes."""

    song: Song
    seconds: int
    codes: tuple[int, ...]


class PlanCorpus:
    """Songs with their codes, composed as they are needed: a planner reads codes and text, so no sound is rendered for it.

    Trained on the few thousand songs that had been rendered, it overfitted after 1,800 steps (1.57 nats a code, 1.99 for songs
    it had not seen).
    """

    def __init__(
        self, code_model: AudioCodeModel, config: PocketConfig, first_seed: int, max_songs: int = MAX_SONGS
    ) -> None:
        self.code_model, self.config, self.seed, self.max_songs = code_model, config, first_seed, max_songs
        self.songs: list[CodedSong] = []

    @torch.no_grad()
    def compose(self, count: int) -> None:
        """Add `count` songs and drop the oldest beyond `max_songs`."""
        device, rate = next(self.code_model.parameters()).device, self.config.latents_per_second
        for seed in range(self.seed, self.seed + count):
            seconds = int(np.random.default_rng(seed).choice(list(LENGTHS), p=list(LENGTHS.values())))
            song = snap_to_grid(training_song(seed, seconds, RANDOM_ENSEMBLES), 1 / rate)
            targets = note_targets_of(song, seconds * rate, rate).float().to(device)
            codes = self.code_model.nearest_codes(targets[None])[0].tolist()
            self.songs.append(CodedSong(dataclasses.replace(song, notes=()), seconds, tuple(codes)))
        self.seed += count
        del self.songs[: -self.max_songs]


def plan_facts(song: CodedSong) -> dict[str, Any]:
    """The plan of a song as the prompt template takes it."""
    score = song.song
    return {
        "caption": score.caption, "lyrics": score.lyrics or prompt_template.INSTRUMENTAL, "bpm": score.bpm, "seconds": float(song.seconds),
        "keyscale": score.keyscale, "timesignature": score.timesignature, "language": "en", "genres": score.style, "codes": song.codes,
    }  # fmt: skip


def short_description(song: CodedSong, random: np.random.Generator) -> str:
    """A short caption such as a user might write: the style and some of the instruments."""
    names = [name.replace("_", " ") for name in song.song.instruments if random.random() < 0.7]
    return " ".join([song.song.style, *(["with", ", ".join(names)] if names else [])])


def example_text(
    song: CodedSong, mode: str, random: np.random.Generator
) -> tuple[prompt_template.PromptTemplate, prompt_template.PromptTemplate]:
    """Prompt and answer of one example in one of MODES."""
    plan = plan_facts(song)
    if mode == "unconditional":
        return prompt_template.negative_prompt("", ""), prompt_template.code_tokens(
            song.codes
        ) + prompt_template.closing()
    if mode == "sketch":
        return prompt_template.example(mode, plan, sentence=short_description(song, random))
    if mode == "polish":
        return prompt_template.example(mode, plan, caption=short_description(song, random))
    if mode == "plan" and random.random() < 0.25:
        return prompt_template.example(mode, plan, caption=short_description(song, random))
    return prompt_template.example(mode, plan)


def encode_example(
    song: CodedSong, tokenizer: PreTrainedTokenizerFast, random: np.random.Generator
) -> tuple[list[int], int]:
    """Token ids of one example, and how many of them are the prompt."""
    mode = str(random.choice(list(MODES), p=list(MODES.values())))
    prompt, answer = example_text(song, mode, random)
    prompt_ids = prompt.encode(tokenizer)
    return prompt_ids + answer.encode(tokenizer), len(prompt_ids)


def collate(rows: list[tuple[list[int], int]], pad: int, first_code: int) -> tuple[Tensor, Tensor]:
    """Token ids and loss weights, [items, tokens]: 0 for prompts and padding, 0.5 for text, 1 for codes."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    weights = torch.zeros(len(rows), longest)
    for row, (tokens, prompt_length) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, prompt_length : len(tokens)] = 1.0
    return ids, weights * torch.where(ids >= first_code, 1.0, 0.5)


def train_lm(
    stage: Stage, config: PocketConfig, tokenizer: PreTrainedTokenizerFast, corpus: PlanCorpus
) -> WeightAverage:
    """Train until the time budget is used up; returns the averaged weights."""
    torch.manual_seed(4)
    lm_config = transformers.Qwen3Config(
        **config.lm_config(len(tokenizer)), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )  # fmt: skip
    model: Any = transformers.Qwen3ForCausalLM(lm_config)
    model.to(stage.device)
    optimiser = torch.optim.AdamW(model.parameters(), PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    average = WeightAverage(model, 0.998)
    saved = stage.load()
    if saved:
        model.load_state_dict(saved["model"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        average.weights, average.count = saved["average"], saved["count"]
    random = np.random.default_rng(23 + stage.step)
    corpus.seed += SONGS_PER_STEP * stage.step
    corpus.compose(600)
    log_interval, save_interval = Interval(60), Interval(180)
    first_code: int = tokenizer.get_vocab()["<|audio_code_0|>"]
    averages: dict[str, float] = {}
    for _ in stage.steps():
        corpus.compose(SONGS_PER_STEP)
        set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE))
        rows = _rows(corpus, tokenizer, random, TOKENS_PER_BATCH["cpu" if stage.device == "cpu" else "cuda"])
        ids, weights = (x.to(stage.device) for x in collate(rows, tokenizer.pad_token_id, first_code))
        losses = _losses(model, ids)
        weights = weights[:, 1:]
        (losses * weights).sum().div(weights.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update(model)
        _smooth(averages, losses.detach(), weights, ids[:, 1:] >= first_code)
        if log_interval.due(stage.elapsed):
            stage.log(songs=len(corpus.songs), **averages)
        if save_interval.due(stage.elapsed):
            stage.save(
                model=model.state_dict(), optimiser=optimiser.state_dict(), average=average.weights, count=average.count
            )
    stage.save(model=model.state_dict(), optimiser=optimiser.state_dict(), average=average.weights, count=average.count)
    return average


def _rows(
    corpus: PlanCorpus, tokenizer: PreTrainedTokenizerFast, random: np.random.Generator, budget: int
) -> list[tuple[list[int], int]]:
    """Examples of similar length, about `budget` tokens together."""
    seconds = corpus.songs[random.integers(len(corpus.songs))].seconds
    similar = [song for song in corpus.songs if 0.7 * seconds <= song.seconds <= 1.4 * seconds]
    rows, count = [], 0
    while count < budget:
        rows.append(encode_example(similar[random.integers(len(similar))], tokenizer, random))
        count += len(rows[-1][0])
    return rows


def _losses(model: Any, ids: Tensor) -> Tensor:
    """Negative log likelihood of every token but the first, [items, tokens - 1]."""
    with fast_precision(ids.device.type):
        logits = model(input_ids=ids).logits[:, :-1]
    return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
        len(ids), -1
    )


def _smooth(averages: dict[str, float], losses: Tensor, weights: Tensor, codes: Tensor) -> None:
    """Update running averages of the loss in nats a token, of codes and of text."""
    for name, chosen in (("codes", codes & (weights > 0)), ("text", ~codes & (weights > 0))):
        if chosen.any():
            value = float(losses[chosen].mean())
            averages[name] = value if name not in averages else 0.97 * averages[name] + 0.03 * value
