"""The fields of a thought, one row each: how a value is read from text and written into YAML.

Knows nothing of tokens or models. One more field is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acestep_lab.errors import shown
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import SECONDS_RANGE
from acestep_lab.prompt.tasks import MOST_CAPTION


@dataclass(frozen=True)
class Field:
    """One line of a thought: its YAML name, its attribute on Recipe and Plan, and the way there and back."""

    name: str
    attribute: str
    read: Callable[[str], object]
    """Text → value; ValueError (a sentence) where it is none."""
    write: Callable[[Any], Any]
    """Value → what YAML is to dump."""
    greedy: bool = False
    """Whether the likeliest value is taken instead of a sampled one, as the reference does for the language."""


def _read_duration(text: str) -> float:
    digits = text.strip().removesuffix("s").strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 4 and 0 < int(digits) <= SECONDS_RANGE[1]):
        raise ValueError(f"{shown(text, 40)} is no length; a whole number of seconds such as 30 is.")
    return float(digits)


def _read_text(text: str) -> str:
    if not text.strip():
        raise ValueError("The line is empty; a few words are wanted.")
    return checks.text("The line", text, MOST_CAPTION)


def _beats(value: Any) -> int:
    """Digits become a number, as in training: `timesignature: 4`, without quotes."""
    return int(vocabulary.timesignature(value))


ROWS: dict[str, Field] = {
    row.name: row
    for row in (
        Field("bpm", "bpm", vocabulary.bpm, int),
        Field("caption", "caption", _read_text, str),
        Field("duration", "seconds", _read_duration, int),
        Field("genres", "genres", _read_text, str),
        Field("keyscale", "keyscale", vocabulary.keyscale, str),
        Field("language", "language", vocabulary.language, str, greedy=True),
        Field("timesignature", "timesignature", vocabulary.timesignature, _beats),
    )
}
"""Name → row, in the published order, which is also the order of sorted keys."""

FIELDS: tuple[str, ...] = tuple(ROWS)
ATTRIBUTES: tuple[str, ...] = tuple(row.attribute for row in ROWS.values())
"""The same fields as Recipe and Plan call them."""
