"""Texts and their tokens: the exact prompts the pipeline writes, and a small tokenizer trained on prompts of synthetic songs.

Every tempo from 40 to 240 is one token and every key two, so that a number is looked up, not spelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from acestep_lab._libraries import diffusers, transformers
from acestep_lab.prompt.vocabulary import INSTRUCTIONS, KEYSCALES, LANGUAGES, STEMS
from acestep_lab.train.synthetic_music import Song

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THOUGHT = ("<think>", "</think>")
TEMPI = range(40, 241)
PIECES = r" ?[A-G](?:#|b|♯|♭)?(?= m(?:ajor|inor))| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def instruction(task: str, stems: Iterable[str] = ()) -> str:
    """The instruction line of a task; stems in capitals."""
    return INSTRUCTIONS[task].format(" | ".join(stem.upper() for stem in stems))


def prompt_and_lyrics(
    song: Song,
    seconds: float,
    instruction_line: str,
    keep: frozenset[str] = frozenset({"bpm", "keyscale", "timesignature"}),
    language: str = "en",
) -> tuple[str, str]:
    """The prompt and the lyrics text the pipeline would write for a song; metadata not in `keep` become N/A."""
    texts: tuple[str, str] = diffusers.AceStepPipeline._format_prompt(
        diffusers.AceStepPipeline, song.caption, song.lyrics, language, seconds, instruction_line,
        song.bpm if "bpm" in keep else None,
        song.keyscale if "keyscale" in keep else None,
        song.timesignature if "timesignature" in keep else None,
    )  # fmt: skip
    return texts


def corpus(songs: Iterable[Song]) -> Iterator[str]:
    """What the tokenizer learns from: prompts, lyrics, plans, and every word of the closed vocabularies."""
    for song in songs:
        yield "\n".join(prompt_and_lyrics(song, song.seconds, instruction("text2music")))
        yield (
            f"bpm: {song.bpm}\ncaption: {song.caption}\nduration: {int(song.seconds)}\nkeyscale: {song.keyscale}\n"
            f"language: en\ntimesignature: {song.timesignature}\n# Lyric\n{song.lyrics}\n"
        )
    for _ in range(40):
        yield "\n".join(f"bpm: {bpm}\n- bpm: {bpm}\nduration: {bpm}\n- duration: {bpm - 39} seconds" for bpm in TEMPI)
        yield "\n".join(f"keyscale: {key}" for key in KEYSCALES)
        yield "\n".join(f"language: {code}\n# Languages\n{code}\n" for code in LANGUAGES)
        yield "\n".join(instruction(task, STEMS) for task in INSTRUCTIONS)


def train_tokenizer(songs: Iterable[Song], size: int = 1500) -> Tokenizer:
    """Train a byte-level BPE of `size` tokens on prompts of songs: any text can be encoded, theirs is short."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*SPECIAL, *THOUGHT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3, show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus(songs), trainer)
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in THOUGHT])
    return tokenizer


def for_text(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as the text encoder uses it."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", padding_side="right",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def for_lm(tokenizer: Tokenizer, codes: int) -> PreTrainedTokenizerFast:
    """The tokenizer as the planner uses it: the same tokens, then one for each audio code."""
    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.add_tokens(
        [AddedToken(f"<|audio_code_{code}|>", special=False, normalized=False) for code in range(codes)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=extended, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
