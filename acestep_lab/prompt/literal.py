"""Values as Python source that means exactly them: what every "copy as code" is written with.

Knows plain data and this package's own frozen values. Text is always quoted by `repr`, which escapes quotes, backslashes,
line ends of every alphabet, half characters and marks that turn the reading direction; so no text can become code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real

from acestep_lab.errors import RecipeError, shown

_DEEPEST = 20
"""Lists within lists that are written; nothing of ours goes as deep."""


def literal(value: object, deep: int = 0) -> str:
    """The Python expression of a value: None, truth, numbers, text, lists, tables, and our own frozen values by name.

    RecipeError for anything else, and for numbers Python has no literal for (infinity).
    """
    if deep > _DEEPEST:
        raise RecipeError("Lists nested this deeply are not written as code.")
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str | os.PathLike):
        return str.__repr__(value if isinstance(value, str) else str(os.fspath(value)))
    if isinstance(value, Real):
        return _number(value)
    return _compound(value, deep + 1)


def comment(text: object) -> str:
    """A text as one line of Python that does nothing, whatever it holds."""
    line = "".join(ch if ch.isprintable() else " " for ch in str(text))
    return f"# {' '.join(line.split())}".rstrip()


def _number(value: Real) -> str:
    """A number by Python's own classes, so that numpy's say nothing of numpy."""
    if isinstance(value, Integral):
        if int(value).bit_length() > 4096:
            raise RecipeError("A number of thousands of digits is not written as code.")
        return int.__repr__(int(value))
    if not math.isfinite(value):
        raise RecipeError(f"{shown(value)} is no number that can be written as code.")
    return float.__repr__(float(value))


def _compound(value: object, deep: int) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(k, deep)}: {literal(v, deep)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(literal(v, deep) for v in value)}]"
    if isinstance(value, tuple):
        return f"({', '.join(literal(v, deep) for v in value)}{',' * (len(value) == 1)})"
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__.startswith("acestep_lab."):
        named = (f"{f.name}={literal(getattr(value, f.name), deep)}" for f in fields(value) if f.init and f.repr)
        return f"{type(value).__name__}({', '.join(named)})"
    raise RecipeError(f"{shown(value)} cannot be written as code.")
