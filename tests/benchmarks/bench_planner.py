"""How fast the planner is, on random weights of the 0.6B shape with a few layers and the full vocabulary.

    python -m tests.benchmarks.bench_planner                   # three minutes of processor time
    python -m tests.benchmarks.bench_planner --parts grammar   # or: steps, company, walks

Figures: the code-phase step with guidance against `transformers.generate` with its two forward passes, the set-up of the
grammar, the mean cost of a token mask, whether rows in a batch sample what they sample alone at real width, and the form of 500
random walks with their codes. Nothing is downloaded; each part run replaces its part of `results/planner.json`.
"""

from __future__ import annotations

import argparse
import random
import time
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from acestep_lab._libraries import transformers
from acestep_lab.plan import Plan, Planner, prompt_template
from acestep_lab.plan.decode_batch import DecodeBatch
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fields import FIELDS
from acestep_lab.plan.grammar import GrammarMatcher, TokenTable, pattern
from acestep_lab.plan.token_sampler import TokenSampler
from acestep_lab.prompt.recipe import Planning, Recipe
from tests.benchmarks.meter import DTYPE, by_dtype, cpu_seconds, known, show, write
from tests.tiny import tiny_lm, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TEXT, CODES = 151_669, 65_535
FIRST = TEXT
"""The published shape: 151,669 words of Qwen3, then 65,535 codes of which 64,000 are used."""


def planner_config(words: int, layers: int) -> Qwen3Config:
    """The 0.6B shape over so many words."""
    return transformers.Qwen3Config(  # type: ignore[no-any-return]
        vocab_size=words,
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


def language_model(layers: int, dtype: torch.dtype) -> Qwen3ForCausalLM:
    """A random model of the 0.6B shape."""
    return transformers.Qwen3ForCausalLM(planner_config(TEXT + CODES, layers)).to(dtype).eval()


class OnlyCodes(transformers.LogitsProcessor):
    """What a careful user of `generate` would add: everything but codes is masked."""

    def __init__(self) -> None:
        self.mask = torch.full((TEXT + CODES,), float("-inf"))
        self.mask[FIRST : FIRST + 64_000] = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + self.mask


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
            logits_processor=transformers.LogitsProcessorList([OnlyCodes()]),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            **options,
        )

    short = cpu_seconds(lambda: run(2))
    return (cpu_seconds(lambda: run(2 + steps)) - short) / steps


def own_step(lm: Qwen3ForCausalLM, prompt: list[int], steps: int, sample: bool) -> float:
    """CPU seconds a token of the planner's own code phase, guided, sampling included."""
    sampler = TokenSampler(Planning() if sample else Planning(temperature=0.0), 1)
    batch: DecodeBatch[int] = DecodeBatch.prefill(Decoder(lm), [0], prompt, 2.0, steps + 8)
    batch.add_cfg_rows(prompt, steps + 8)

    def run(tokens: int) -> None:
        for _ in range(tokens):
            code = sampler.sample(batch.logits(slice(FIRST, FIRST + 64_000))[0])
            batch.feed([[FIRST + code]])

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
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bare, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


class WithCodes:
    """A tokenizer and 65,535 codes after it, as far as a TokenTable looks."""

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


def grammar(options: argparse.Namespace) -> dict[str, Any]:
    """Set-up at full vocabulary and the mean cost of a mask over random walks of all fields."""
    tokenizer = WithCodes(vocabulary())
    rule, tables = pattern({}, FIELDS), []
    set_up = cpu_seconds(lambda: tables.append(_tables(tokenizer, rule)))
    table = tables[0]
    another = cpu_seconds(lambda: GrammarMatcher(table, rule))
    costs = []
    for seed in range(20):
        chance, matcher = np.random.default_rng(seed), GrammarMatcher(table, rule)
        while matcher.forced() is not None and not matcher.done:
            start = time.process_time()
            allowed = matcher.allowed()
            costs.append(1000 * (time.process_time() - start))
            matcher.accept(int(chance.choice(np.flatnonzero(allowed))))
    return {
        "set-up": {"words": len(table.bytes), "seconds": round(set_up, 3), "goal": 1.5, "again ms": round(1000 * another, 1)},
        "mask": {
            "tokens": len(costs), "mean ms": round(float(np.mean(costs)), 3), "goal": 0.5,
            "median ms": round(median(costs), 3), "worst ms": round(max(costs), 1),
        },
    }  # fmt: skip


def _tables(tokenizer: Any, rule: str) -> TokenTable:
    """Everything a first plan waits for."""
    table = TokenTable(tokenizer)
    GrammarMatcher(table, rule)
    table.codes(64_000)
    return table


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """The guided code step, own against stock, greedy and as a song is sampled; the two take turns."""
    dtype = getattr(torch, options.dtype)
    lm, rng, rows = language_model(options.layers, dtype), random.Random(0), {}
    for prefix, goal in ((300, 1.6), (1500, 2.0)):
        prompt = [rng.randrange(TEXT - 100) for _ in range(prefix)]
        for sample in (False, True):
            stock, own = [], []
            for _ in range(options.rounds):
                stock.append(1000 * generate_step(lm, prompt, options.steps, sample))
                own.append(1000 * own_step(lm, prompt, options.steps, sample))
            ratios = [theirs / ours for theirs, ours in zip(stock, own, strict=True)]
            rows[f"prefix {prefix}, {'sampled' if sample else 'greedy'}"] = {
                "generate ms": round(median(stock), 1), "own ms": round(median(own), 1),
                "quicker": round(median(ratios), 2), "goal": goal,
            }  # fmt: skip
    return {f"guided code step, {options.layers} layers, {options.dtype}": rows}


def company(options: argparse.Namespace) -> dict[str, Any]:
    """Guided rows at real width: the codes a seed samples alone and among four, and how far the logits lie apart."""
    rng, rows = random.Random(0), {}
    prompt, negative = ([rng.randrange(TEXT - 100) for _ in range(length)] for length in (200, 30))

    def codes_of(lm: Qwen3ForCausalLM, seeds: list[int]) -> tuple[list[list[int]], torch.Tensor]:
        samplers, said = [TokenSampler(Planning(), seed) for seed in seeds], [[] for _ in seeds]
        batch: DecodeBatch[int] = DecodeBatch.prefill(Decoder(lm), seeds, prompt, 2.0, 64)
        batch.add_cfg_rows(negative, 64)
        for _ in range(40):
            logits = batch.logits(slice(FIRST, FIRST + 64_000))
            for one, sampler, row in zip(said, samplers, logits, strict=True):
                one.append(sampler.sample(row))
            batch.feed([[FIRST + one[-1]] for one in said])
        return said, logits

    for dtype in {torch.float32, DTYPE}:
        lm = language_model(2, dtype)
        (alone, apart), (together, among) = codes_of(lm, [5]), codes_of(lm, [4, 5, 6, 7])
        same = sum(a == b for a, b in zip(alone[0], together[1], strict=True))
        rows[str(dtype).removeprefix("torch.")] = {
            "same codes": f"{same} of 40",
            "logits apart": float((apart[0] - among[1]).abs().max()),
        }
    return {"alone and among four, 2 layers": rows}


def walks(options: argparse.Namespace) -> dict[str, Any]:
    """Random walks of a tiny model that chooses its own lengths from 10 to 600 s: every one reads back to its plan."""
    tokenizer = tiny_tokenizer(40)
    lm = tiny_lm(tokenizer).eval()
    lm.config.max_position_embeddings = 8192
    rates = SimpleNamespace(code_count=40, codes_per_second=5.0, longest_seconds=600.0, codes=lambda s: int(s * 5))
    planner, drawing = Planner(tokenizer, rates), Planning(cfg_scale=1.0, temperature=2.0, top_p=1.0)
    fixed: list[dict[str, Any]] = [
        {"caption": "dub"},
        {"caption": "", "lyrics": "la </think>", "bpm": 99},
        {"caption": "dub: <|audio_code_3|>", "keyscale": "F# major", "language": "no"},
        {"caption": "", "lyrics": "la", "timesignature": "6", "bpm": 300},
    ]
    seconds: list[float] = []
    start = time.process_time()
    for words in fixed:
        for plan in planner.plan(lm, Recipe(**words, planning=drawing), len(seconds), n=options.walks // len(fixed)):
            whole = prompt_template.parse(f"<think>\n{plan.thought}\n</think>\n\n{plan.codes_text()}", codes=40)
            assert plan.problems == whole.problems == {}
            assert (
                Plan(**whole.fields, codes=whole.codes, lyrics=plan.lyrics, thought=plan.thought, asked=plan.asked)
                == plan
            )
            kept = {name: value for name, value in words.items() if value and name != "caption"}  # that is written anew
            assert all(getattr(plan, name) == value for name, value in kept.items())
            assert plan.seconds is not None
            assert len(plan.codes) == 5 * plan.seconds
            seconds.append(plan.seconds)
    return {
        "walks": {
            "plans": len(seconds), "read back": len(seconds), "lengths": len(set(seconds)),
            "shortest s": min(seconds), "longest s": max(seconds), "codes": int(5 * sum(seconds)),
            "processor s": round(time.process_time() - start),
        }
    }  # fmt: skip


PARTS = {"grammar": grammar, "steps": steps, "company": company, "walks": walks}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--dtype", default=str(DTYPE).removeprefix("torch."), choices=["bfloat16", "float32"])
    options.add_argument("--walks", type=int, default=500, help="how many random walks, a multiple of 4")
    options.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    chosen = options.parse_args()
    torch.manual_seed(0)
    for part in chosen.parts:
        found = PARTS[part](chosen)
        for title, table in found.items():
            show(title, table if isinstance(next(iter(table.values())), dict) else {"": table})
        write(by_dtype("planner"), known(by_dtype("planner")) | found)


if __name__ == "__main__":
    main()
