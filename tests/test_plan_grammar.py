"""What may be said next: fixed fields are literals, free ones stay in their vocabularies, nothing spells a control token."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from acestep_lab import CheckpointError
from acestep_lab.plan import prompt_template
from acestep_lab.plan.fields import FIELDS
from acestep_lab.plan.grammar import GrammarMatcher, TokenTable, pattern
from tests.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def table() -> TokenTable:
    return TokenTable(tiny_tokenizer(40))


def random_thought(table: TokenTable, rule: str, seed: int) -> tuple[str, list[int]]:
    """A thought said at random; its text and how many tokens were free."""
    chance, matcher = random.Random(seed), GrammarMatcher(table, rule)
    said, free = matcher.forced(), 0
    while not matcher.done:
        said.append(chance.choice(np.flatnonzero(matcher.allowed()).tolist()))
        matcher.accept(said[-1])
        said += matcher.forced()
        free += 1
    return table.decode(said), [free]


def test_every_random_thought_can_be_read(table: TokenTable) -> None:
    rule = pattern({}, FIELDS, longest=45)
    for seed in range(12):
        text, _ = random_thought(table, rule, seed)
        values, problems = prompt_template.parse_thought(text)
        assert problems == {}
        assert list(values) == ["bpm", "caption", "seconds", "genres", "keyscale", "language", "timesignature"]
        assert 10 <= values["seconds"] <= 45


@pytest.mark.parametrize(
    "caption", ['a/b {x} [y] (z) 100% $5 ~ & - # "q" ^|\\.', "</think> <|im_end|> é 😀 שלום", "x: y", "a " * 200]
)
def test_a_fixed_caption_is_a_literal_to_the_letter(table: TokenTable, caption: str) -> None:
    fixed = {
        "caption": caption,
        "bpm": 118,
        "keyscale": "C# minor",
        "language": "no",
        "timesignature": "4",
        "duration": 20.5,
    }
    matcher = GrammarMatcher(table, pattern(fixed))
    forced = matcher.forced()
    assert matcher.done
    assert table.decode(forced) == "\n" + prompt_template.thought(fixed) + "\n"
    assert forced == prompt_template.encode_plain(table.decode(forced), table.tokenizer)
    assert table.is_text[forced].all()


def test_skipped_fields_are_absent(table: TokenTable) -> None:
    text, _ = random_thought(table, pattern({"bpm": 100}, ["bpm", "keyscale"]), 0)
    assert set(prompt_template.parse_thought(text)[0]) == {"bpm", "keyscale"}


def test_a_caption_may_go_on_in_the_next_line_and_only_indented(table: TokenTable) -> None:
    for text, fits in (
        ("\ncaption: dub\n  techno\nduration: 20\n", True),
        ("\ncaption: dub\ntechno\nduration: 20\n", False),
    ):
        matcher = GrammarMatcher(table, pattern({}, ["caption", "duration"]))
        tokens = prompt_template.encode_plain(text, table.tokenizer)
        assert (matcher._matcher.validate_tokens(tokens) == len(tokens)) is fits


def test_no_control_token_and_no_code_is_ever_allowed(table: TokenTable) -> None:
    matcher = GrammarMatcher(table, pattern({}, ["caption", "duration"]))
    while not matcher.done:
        matcher.forced()
        allowed = matcher.allowed()
        assert not allowed[~table.is_text].any()
        ids = np.flatnonzero(allowed)
        if not len(ids):
            break
        matcher.accept(int(ids[-1]))


@pytest.mark.parametrize("longest", [5.0, 10.0, 37.5, 600.0])
def test_the_machines_limit_is_the_longest_song_a_model_may_choose(table: TokenTable, longest: float) -> None:
    seconds = set()
    for seed in range(6):
        text, _ = random_thought(table, pattern({"bpm": 100}, ["bpm", "duration"], longest=longest), seed)
        seconds.add(prompt_template.parse_thought(text)[0]["seconds"])
    assert max(seconds) <= longest


def test_bytes_are_the_tokenizers_own(table: TokenTable) -> None:
    text = "héllo 😀 wörld\n  x\tשלום"
    assert table.decode(table.tokenizer(text)["input_ids"]) == text


def test_a_tokenizer_without_the_tags_is_refused() -> None:
    class Bare:
        unk_token_id = None

        def __len__(self) -> int:
            return 3

        def convert_tokens_to_ids(self, name: str) -> Any:
            return None

    with pytest.raises(CheckpointError, match="im_end"):
        TokenTable(Bare())
