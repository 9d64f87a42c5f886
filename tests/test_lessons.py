"""The exercises of the lessons: every right answer is told from wrong ones, and nothing that is handed in raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acestep_lab.errors import RecipeError
from acestep_lab.lessons import check, questions
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from tests.pretend import tone


def take(**changed: Any) -> Take:
    recipe = Recipe("soft keys", "la", seconds=1.0, seed=1).replace(**changed)
    return Take(recipe, tone(1.0), np.zeros((5, 8), np.float32))


RIGHT: dict[str, tuple[Any, ...]] = {
    "01.1": (take(), take(seed=2)),
}
"""By question, an answer that is right."""
WRONG: dict[str, list[tuple[Any, ...]]] = {
    "01.1": [(take(), take()), (take(), take(seed=2, bpm=90))],
}
"""By question, answers somebody may well give."""
NONSENSE: list[Any] = [None, ..., "", "words", -1, float("nan"), 10**30, [], {}, np.zeros((2, 2)), object()]


def test_every_question_has_answers_here() -> None:
    assert list(questions()) == sorted(RIGHT) == sorted(WRONG)


@pytest.mark.parametrize("number", sorted(RIGHT))
def test_a_right_answer_is_right_and_wrong_ones_get_a_hint(number: str) -> None:
    assert (told := check(number, *RIGHT[number])), told
    for answer in WRONG[number]:
        told = check(number, *answer)
        assert not told
        assert len(told.text) > 20, "a hint is a sentence"


@pytest.mark.parametrize("number", sorted(RIGHT))
def test_nonsense_is_answered_and_never_right(number: str) -> None:
    for one in NONSENSE:
        assert not check(number, *[one] * len(RIGHT[number]))
    assert not check(number)
    assert not check(number, *[0] * 9)


def test_a_question_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"01\.1"):
        check("99.9", 1)
