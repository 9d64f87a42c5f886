"""Questions with checks, found by their number. Knows no lesson and no music."""

from __future__ import annotations

import functools
import html
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from acestep_lab.errors import RecipeError, shown

Check = Callable[..., "str | None"]
"""check(answer, …) → None where it is right, else a hint: a sentence that helps and does not tell."""


@dataclass(frozen=True)
class Question:
    """One exercise: its number ("03.1"), what is asked, what is said when it is right, and its check."""

    number: str
    asked: str
    right: str
    check: Check


@dataclass(frozen=True)
class Verdict:
    """What came of a check; true where the answer was right."""

    number: str
    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return f"{'✓ Right' if self.right else '✗ Not yet'} ({self.number}). {self.text}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = "#009e73" if self.right else "#d55e00"
        return f'<p style="border-inline-start: 4px solid {colour}; padding-inline-start: 8px">{html.escape(str(self))}</p>'


_QUESTIONS: dict[str, Question] = {}


def question(number: str, asked: str, right: str) -> Callable[[Check], Check]:
    """Register the decorated check as that of a question. `right` is said when it is right: one sentence on why it is so."""

    def keep(check: Check) -> Check:
        _QUESTIONS[number] = Question(number, asked, right, check)
        return check

    return keep


@functools.cache
def _loaded() -> None:
    """Import every lesson's questions, once."""
    import acestep_lab.lessons as room

    for module in pkgutil.iter_modules(room.__path__):
        if module.name.startswith("lesson_"):
            importlib.import_module(f"{room.__name__}.{module.name}")


def questions() -> Mapping[str, Question]:
    """Every question by its number."""
    _loaded()
    return dict(sorted(_QUESTIONS.items()))


def check(number: str, *answer: object) -> Verdict:
    """Whether an answer to a question is right; where not, a hint. RecipeError where no such question is."""
    known = questions()
    if number not in known:
        raise RecipeError(f"There is no exercise {shown(number)}; there are {', '.join(known)}.")
    asked = known[number]
    if not answer or any(one is None or one is ... for one in answer):
        return Verdict(number, False, f"Here the answer is still missing. {asked.asked}")
    try:
        hint = asked.check(*answer)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError) as problem:
        return Verdict(number, False, f"An answer of this kind cannot be checked ({problem}). {asked.asked}")
    return Verdict(number, hint is None, asked.right if hint is None else hint)
