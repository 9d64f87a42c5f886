"""The bank of example prompts: sixty of our own, each one a recipe that can be made."""

from __future__ import annotations

import pytest

from acestep_lab.errors import RecipeError
from acestep_lab.prompt.examples import example, examples
from acestep_lab.prompt.lyrics import sections
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.vocabulary import INSTRUMENTAL


def test_there_are_sixty_and_no_two_are_alike() -> None:
    bank = examples()
    assert len(bank) == 60
    assert all(isinstance(one, Recipe) for one in bank)
    assert len({one.caption for one in bank}) == 60
    sung = [one.lyrics for one in bank if one.lyrics != INSTRUMENTAL]
    assert len(set(sung)) == len(sung) >= 30


def test_they_are_sung_in_many_languages_with_words_that_the_model_reads_as_sections() -> None:
    sung = [one for one in examples() if one.lyrics != INSTRUMENTAL]
    assert len({one.language for one in sung}) >= 20
    for one in sung:
        assert one.language, one.caption
        found = sections(one.lyrics)
        assert all(part.known and part.lines for part in found), one.caption


def test_one_says_what_else_it_wants_in_sensible_numbers() -> None:
    for one in examples():
        assert 20 <= (one.seconds or 0) <= 60, one.caption
        assert one.seed is None, "the dice of the seed are others"
        assert one.bpm is None or 60 <= one.bpm <= 180


def test_the_same_seed_throws_the_same_example_and_all_are_thrown() -> None:
    assert example(7) == example(7)
    assert {example(seed).caption for seed in range(600)} == {one.caption for one in examples()}
    with pytest.raises(RecipeError, match="seed"):
        example(-1)
