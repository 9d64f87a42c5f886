"""How fast the planner is: run it by hand, `OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_planner`.

One thread, process CPU time, ratios within one run; random weights of the 0.6B shape with a few layers and the full vocabulary.
Three figures: the code-phase step with guidance against `transformers.generate` with its two forward passes, the set-up of the
grammar, and the mean cost of a token mask. Nothing is downloaded.
"""

# ruff: noqa: E402  (torchaudio must be cured before transformers is imported)
from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from acestep_lab._torchaudio import cure

cure()

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from acestep_lab.plan import Planner
from acestep_lab.plan.choir import Choir
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fields import FIELDS
from acestep_lab.plan.grammar import Guide, Lexicon, pattern
from acestep_lab.plan.sampling import Draw
from acestep_lab.prompt.recipe import Planning, Recipe
from tests.tiny import tiny_lm, tiny_tokenizer

TEXT, CODES = 151_669, 65_535
FIRST = TEXT
"""The published shape: 151,669 words of Qwen3, then 65,535 codes of which 64,000 are used."""


def language_model(layers: int, dtype: torch.dtype) -> Qwen3ForCausalLM:
    """A random model of the 0.6B shape."""
    config = Qwen3Config(
        vocab_size=TEXT + CODES,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        eos_token_id=151_645,
        pad_token_id=151_643,
    )
    return Qwen3ForCausalLM(config).to(dtype).eval()


class OnlyCodes(LogitsProcessor):
    """What a careful user of `generate` would add: everything but codes is masked."""

    def __init__(self) -> None:
        self.mask = torch.full((TEXT + CODES,), float("-inf"))
        self.mask[FIRST : FIRST + 64_000] = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + self.mask


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def generate_step(lm: Qwen3ForCausalLM, prompt: list[int], steps: int, sample: bool) -> float:
    """CPU seconds a token of `generate`: a long run less a short one."""
    ids = torch.tensor([prompt])
    options: dict[str, Any] = {"do_sample": False}
    if sample:
        options = {"do_sample": True, "temperature": 0.85, "top_p": 0.9, "top_k": 0}

    def run(tokens: int) -> None:
        lm.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            guidance_scale=2.0,
            negative_prompt_ids=ids,
            logits_processor=LogitsProcessorList([OnlyCodes()]),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            **options,
        )

    short = cpu_seconds(lambda: run(2))
    return (cpu_seconds(lambda: run(2 + steps)) - short) / steps


def own_step(lm: Qwen3ForCausalLM, prompt: list[int], steps: int, sample: bool) -> float:
    """CPU seconds a token of the planner's own code phase, guided, drawing included."""
    draw = Draw(Planning() if sample else Planning(temperature=0.0), 1)
    choir: Choir[int] = Choir.read(Decoder(lm), [0], [prompt, prompt], 2.0, steps + 8)

    def run(tokens: int) -> None:
        for _ in range(tokens):
            code = draw.pick(choir.logits(slice(FIRST, FIRST + 64_000))[0])
            choir.say([[FIRST + code]])

    run(2)
    return cpu_seconds(lambda: run(steps)) / steps


def vocabulary() -> PreTrainedTokenizerFast:
    """A made-up byte-level BPE of Qwen3's size; its codes are named below, for adding 65,535 tokens takes minutes."""
    rng, letters = random.Random(0), "etaoinshrdlcumwfgypbvk"
    words = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    starts, tails, merges = ["Ġ" + letter for letter in letters], list(letters), [("Ġ", letter) for letter in letters]
    words |= {word: len(words) + index for index, word in enumerate(starts)}
    while len(words) < TEXT - 26:
        pair = rng.choice(starts if rng.random() < 0.5 else tails), rng.choice(letters)
        word = "".join(pair)
        if word in words or len(word) > 14:
            continue
        words[word] = len(words)
        merges.append(pair)
        (starts if word.startswith("Ġ") else tails).append(word)
    bare = Tokenizer(models.BPE(words, merges))
    bare.pre_tokenizer, bare.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bare.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"])
    bare.add_special_tokens([f"<|spare_{index}|>" for index in range(21)])
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|endoftext|>")


class WithCodes:
    """A tokenizer and 65,535 codes after it, as far as a Lexicon looks."""

    unk_token_id = None

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer, self.first = tokenizer, len(tokenizer)
        self.codes = [f"<|audio_code_{index}|>" for index in range(CODES)]
        added = {name: self.first + index for index, name in enumerate(self.codes)}
        self.added_tokens_encoder = dict(tokenizer.added_tokens_encoder) | added

    def __len__(self) -> int:
        return self.first + CODES

    def __call__(self, text: str, **options: Any) -> Any:
        return self.tokenizer(text, **options)

    def convert_tokens_to_ids(self, name: str) -> int | None:
        return self.added_tokens_encoder.get(name)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [*self.tokenizer.convert_ids_to_tokens([i for i in ids if i < self.first]), *self.codes]


def grammar() -> None:
    """Set-up at full vocabulary and the mean cost of a mask over random walks of all fields."""
    tokenizer = WithCodes(vocabulary())
    start = time.process_time()
    lexicon = Lexicon(tokenizer)
    rule = pattern({}, FIELDS)
    guide = Guide(lexicon, rule)
    lexicon.codes(64_000)
    print(f"grammar set-up at {len(lexicon.bytes):,} tokens: {time.process_time() - start:.2f} s (goal: under 1.5 s)")
    print(f"another grammar on the same tables: {1e3 * cpu_seconds(lambda: Guide(lexicon, rule)):.1f} ms")
    costs = []
    for seed in range(20):
        chance, guide = np.random.default_rng(seed), Guide(lexicon, rule)
        while guide.forced() is not None and not guide.done:
            start = time.process_time()
            allowed = guide.allowed()
            costs.append(time.process_time() - start)
            guide.take(int(chance.choice(np.flatnonzero(allowed))))
    print(f"mask: mean {1e3 * np.mean(costs):.3f} ms, median {1e3 * np.median(costs):.3f} ms, "
          f"worst {1e3 * max(costs):.1f} ms over {len(costs)} tokens (goal: mean under 0.5 ms)")  # fmt: skip


def steps(layers: int, dtype: torch.dtype, count: int) -> None:
    """The guided code step, own against stock, greedy and as a song is drawn."""
    lm, rng = language_model(layers, dtype), random.Random(0)
    print(f"guided code step, {layers} layers of the 0.6B shape, {str(dtype).removeprefix('torch.')}")
    for prefix, goal in ((300, 1.6), (1500, 2.0)):
        prompt = [rng.randrange(TEXT - 100) for _ in range(prefix)]
        for sample in (False, True):
            stock, own = generate_step(lm, prompt, count, sample), own_step(lm, prompt, count, sample)
            how = "drawn" if sample else "greedy"
            print(f"  prefix {prefix:4d} {how:6s} generate {1e3 * stock:6.1f} ms  own {1e3 * own:6.1f} ms  "
                  f"x{stock / own:.2f} (goal: x{goal})")  # fmt: skip


def walks(count: int) -> None:
    """Random walks of a tiny model that chooses its own lengths from 10 to 600 s: form and number of codes."""
    tokenizer = tiny_tokenizer(40)
    lm = tiny_lm(tokenizer).eval()
    lm.config.max_position_embeddings = 8192
    rates = SimpleNamespace(code_count=40, codes_per_second=5.0, longest_seconds=600.0, codes=lambda s: int(s * 5))
    planner, recipe = (
        Planner(tokenizer, rates),
        Recipe("dub", planning=Planning(cfg_scale=1.0, temperature=2.0, top_p=1.0)),
    )
    seconds: list[float] = []
    for start in range(0, count, 25):
        for plan in planner.plan(lm, recipe, start, n=min(25, count - start)):
            assert plan.problems == {}
            assert plan.seconds is not None
            assert len(plan.codes) == 5 * plan.seconds
            seconds.append(plan.seconds)
    print(f"walks: {count} plans, all read back, exactly 5 codes a second at {len(set(seconds))} lengths "
          f"from {min(seconds):g} to {max(seconds):g} s")  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    options.add_argument("--walks", type=int, default=0, help="also so many random walks with codes")
    options.add_argument("--parts", nargs="*", default=["steps", "grammar"], choices=["steps", "grammar"])
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "grammar" in chosen.parts:
        grammar()
    if chosen.walks:
        walks(chosen.walks)
    if "steps" in chosen.parts:
        steps(chosen.layers, getattr(torch, chosen.dtype), chosen.steps)


if __name__ == "__main__":
    main()
