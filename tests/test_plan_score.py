"""The plan score against their definition, worked out the long way on a tiny model."""

from __future__ import annotations

import math

import pytest
import torch
import yaml
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from acestep_lab import Plan, RecipeError
from acestep_lab.listen.plan_score import plan_score, total
from acestep_lab.plan import prompt_template
from tests.tiny import tiny_lm, tiny_tokenizer

PLAN = Plan(
    bpm=118,
    caption="slow dub techno",
    lyrics="[verse]\nla la",
    seconds=4,
    keyscale="C minor",
    timesignature="4",
    language="en",
)
CODES = tuple(range(20))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(40)


@pytest.fixture(scope="module")
def lm(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    return tiny_lm(tokenizer).eval()


def logits_and_targets(
    lm: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The reference's way: prompt and answer in one text, the logits one place before each answer token."""
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = torch.tensor([tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        return lm(ids).logits[0, start - 1 : -1], ids[0, start:]


def test_scores_are_the_references(lm: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    got = plan_score(lm, tokenizer, CODES, PLAN, scale=0.5).scores
    conditional, unconditional = str(prompt_template.understand_prompt(CODES)), str(prompt_template.null_prompt())
    lyrics = f"<think>\n</think>\n# Lyric\n{PLAN.lyrics}\n"
    caption = f"<think>\n{yaml.dump({'caption': PLAN.caption}).strip()}\n</think>\n"
    for name, answer in (("lyrics", lyrics), ("caption", caption)):
        means = []
        for prompt in (conditional, unconditional):
            logits, ids = logits_and_targets(lm, tokenizer, prompt, answer)
            means.append(float(logits.log_softmax(-1).gather(1, ids[:, None]).mean()))
        assert got[name] == pytest.approx(1 / (1 + math.exp(-(means[0] - means[1]) / 0.5)), abs=1e-5)
    logits, ids = logits_and_targets(lm, tokenizer, conditional, "<think>\nbpm: 118\n</think>\n")
    best = logits.topk(10).indices.tolist()
    ranks = [row.index(i) + 1 if i in row else None for row, i in zip(best, ids.tolist(), strict=True)]
    assert got["bpm"] == pytest.approx(
        sum(1 - (rank - 1) / 10 if rank else 0.0 for rank in ranks) / len(ranks), abs=1e-6
    )


def test_only_what_has_a_value_is_scored(lm: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    assert set(plan_score(lm, tokenizer, CODES, PLAN).scores) == {
        "bpm",
        "caption",
        "duration",
        "keyscale",
        "language",
        "lyrics",
        "timesignature",
    }
    alone = plan_score(lm, tokenizer, CODES, {"caption": "dub"})
    assert set(alone.scores) == {"caption"}
    assert alone.total == alone.scores["caption"]


def test_the_total_weighs_words_over_metadata() -> None:
    assert total({"caption": 1.0, "lyrics": 0.0, "bpm": 0.5, "keyscale": 0.5}) == pytest.approx(0.6)
    assert total({"bpm": 0.2, "keyscale": 0.4}) == pytest.approx(0.3)


def test_nothing_to_compare_is_said(lm: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    for codes, plan in (((), PLAN), (CODES, Plan())):
        with pytest.raises(RecipeError, match="codes and at least one field"):
            plan_score(lm, tokenizer, codes, plan)
