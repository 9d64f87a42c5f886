"""A Field: one thing a musician may set, how it is called, shown and read. Knows no form, no checkpoint and no browser."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Region, source_id
from acestep_lab.ui.messages import kind_of

Kind = Literal[
    "number", "whole", "choice", "share", "text", "long", "flag", "stems", "numbers", "span", "sound", "codes"
]
Group = Literal["", "Sampling", "Planning", "Guidance", "Sound", "Words"]
GROUPS: tuple[Group, ...] = ("Sampling", "Planning", "Guidance", "Sound", "Words")
"""Where the fields behind "More" stand; a field of none of them stands in the form itself."""


@dataclass(frozen=True)
class Field:
    """One thing a musician may set: how it is called, shown and read."""

    name: str
    label: str
    kind: Kind
    hint: str
    options: tuple[str, ...] = ()
    unit: str = ""
    default: object = None
    """What it holds where nothing was typed."""
    within: tuple[float, float] | None = None
    """Lowest and highest number."""
    group: Group = ""
    usual: object = None
    """What Auto means, where that is known whatever the checkpoint."""
    tries: tuple[object, ...] = ()
    """Values worth hearing side by side; () where they follow from what Auto means."""
    rest: Literal["", "similarity"] = ""
    """What the rest of a share is called, up to 1: of a distance the similarity."""

    @property
    def key(self) -> str:
        """Its name in a recipe's value: the last part, as "temperature" of "planning.temperature"."""
        return self.name.rpartition(".")[2]

    @property
    def is_free(self) -> bool:
        """Whether it holds words, sounds or rows of numbers, of which there is no low and no high."""
        return self.kind in ("text", "long", "sound", "codes", "numbers", "span", "stems")

    def read(self, typed: object) -> Any:
        """The value of what was typed; the default for nothing; RecipeError where it is no value of this kind."""
        if typed is None:
            return self.default
        if isinstance(typed, str) and not typed.strip():
            return "" if self.kind in ("text", "long") else self.default
        return _READ[self.kind](self, typed)

    def typed(self, value: Any) -> Any:
        """What somebody would have typed to mean this value."""
        if value is None:
            return None
        return _TYPED.get(self.kind, _as_it_is)(value)

    def check(self, value: Any) -> Any:
        """A value that was read, if the checkpoint at hand allows it; RecipeError otherwise."""
        if value is not None and self.within is not None and not self.within[0] <= value <= self.within[1]:
            low, high = self.within
            raise RecipeError(
                f"{self.label} lies between {low:g} and {high:g}{self.unit and f' {self.unit}'} with this checkpoint, "
                f"not at {value:g}."
            )
        return value

    def to_json(self) -> dict[str, object]:
        """Plain data for the browser half."""
        return {
            "name": self.name, "label": self.label, "kind": self.kind, "hint": self.hint, "options": list(self.options),
            "unit": self.unit, "default": self.default, "group": self.group, "usual": self.usual, "rest": self.rest,
            "attempt": "both" if self.kind == "flag" else "with" if self.is_free and not self.tries else "three",
        }  # fmt: skip


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as people type it, once its digits are ASCII and its comma is a point."""
_LONGEST_NUMBER = 60


def parse_number(typed: object) -> float | int | None:
    """The finite number somebody typed, in any alphabet's digits, with comma or point; None where it is none.

    "²" and "Ⅷ" are no digits, though Python's `isdigit` and `isnumeric` say so.
    """
    if isinstance(typed, bool) or not isinstance(typed, str | Real):
        return None
    if isinstance(typed, Integral):
        return int(typed) if int(typed).bit_length() <= 64 else None
    if isinstance(typed, Real):
        return float(typed) if math.isfinite(typed) else None
    digits = "".join(str(unicodedata.decimal(ch, ch)) for ch in typed.strip()[: _LONGEST_NUMBER + 1])
    digits = digits.replace("−", "-").replace(",", ".")
    if len(digits) > _LONGEST_NUMBER or not _NUMBER.fullmatch(digits):
        return None
    return parse_number(int(digits) if digits.lstrip("+-").isdigit() else float(digits))


def _number(field: Field, typed: object) -> float:
    value = parse_number(typed)
    if value is None:
        raise RecipeError(f"{field.label} is a number{field.unit and f' of {field.unit}'}, not {_quoted(typed)}.")
    return value


def _share(field: Field, typed: object) -> float:
    value = _number(field, typed)
    if not 0 <= value <= 1:
        raise RecipeError(f"{field.label} lies between 0 and 1, not at {_quoted(typed)}.")
    return value


def _whole(field: Field, typed: object) -> int:
    value = _number(field, typed)
    if value != int(value):
        raise RecipeError(f"{field.label} is a whole number, not {_quoted(typed)}.")
    return int(value)


def _word(field: Field, typed: object) -> str:
    if isinstance(typed, bool) or not isinstance(typed, str | int | float):
        raise RecipeError(f"{field.label} is a word, not {_quoted(typed)}.")
    return str(typed)


def _stems(field: Field, typed: object) -> tuple[str, ...]:
    if not isinstance(typed, list | tuple) or not all(isinstance(stem, str) for stem in typed):
        raise RecipeError(f"{field.label} are a list of words, such as drums and bass, not {_quoted(typed)}.")
    return tuple(typed)


def _flag(field: Field, typed: object) -> bool:
    if not isinstance(typed, bool):
        raise RecipeError(f"{field.label} is on or off, not {_quoted(typed)}.")
    return typed


def _numbers(field: Field, typed: object) -> tuple[float, ...]:
    """Numbers with commas or blanks between; with semicolons between, a comma is a decimal one."""
    if isinstance(typed, str):
        between = r"\s*;\s*" if ";" in typed else r"[\s,]+"
        parts: Iterable[object] = [part for part in re.split(between, typed.strip().strip("[]()")) if part]
    else:
        parts = typed if isinstance(typed, list | tuple) else [typed]
    found = [parse_number(part) for part in parts]
    if None in found:
        raise RecipeError(f"{field.label} is a list of numbers such as 1, 0.7, 0.3, not {_quoted(typed)}.")
    return tuple(float(number) for number in found if number is not None)


def _span(field: Field, typed: object) -> tuple[float, float] | None:
    """Two numbers, from and to; None where neither was typed."""
    ends: object = typed
    if isinstance(typed, str):
        ends = _numbers(field, re.sub(r"(?<=[\d.])\s*(–|-|to)\s*(?=[\d.])", " ", typed))
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise RecipeError(f"{field.label} has two ends, from and to, not {_quoted(typed)}.")
    if all(isinstance(end, str) and not end.strip() for end in ends):
        return None
    low, high = (parse_number(end) for end in ends)
    if low is None or high is None:
        odd = ends[0] if low is None else ends[1]
        raise RecipeError(f"{field.label} has two ends, both numbers, not {_quoted(odd)}.")
    return float(low), float(high)


def _codes(field: Field, typed: object) -> tuple[int, ...]:
    return checks.codes(typed)


def _sound(field: Field, typed: object) -> str:
    if not isinstance(typed, str):
        raise RecipeError(f"{field.label} is a take or a sound by its id, not {_quoted(typed)}.")
    return typed


def _quoted(typed: object) -> str:
    return shown(typed, 42) if isinstance(typed, str) else kind_of(typed)


_READ: dict[str, Callable[[Field, object], object]] = {
    "number": _number,
    "share": _share,
    "whole": _whole,
    "choice": _word,
    "text": _word,
    "long": _word,
    "flag": _flag,
    "stems": _stems,
    "numbers": _numbers,
    "span": _span,
    "sound": _sound,
    "codes": _codes,
}


def _as_it_is(value: Any) -> Any:
    return value


def _ends(value: Any) -> list[str]:
    low, high = (value.start, value.end) if isinstance(value, Region) else value
    return [repr(float(low)), repr(float(high))]


_TYPED: dict[str, Callable[[Any], Any]] = {
    "stems": list,
    "numbers": lambda value: ", ".join(repr(one) if isinstance(one, int) else repr(float(one)) for one in value),
    "span": _ends,
    "sound": source_id,
    "codes": lambda value: " ".join(str(int(code)) for code in value),
}
"""How a value that is more than a word or a number is typed."""
