"""Readers of single values, one for each kind: whatever is handed in becomes plain Python, or one sentence is raised.

Knows no recipe and no torch; numpy's and torch's scalars are understood by what they are, not by their class. Every reader takes
`what`, the beginning of the sentence ("The shift", "A seed"), and raises RecipeError.
"""

from __future__ import annotations

import math
import os
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from decimal import Decimal
from functools import wraps
from itertools import islice
from numbers import Real
from typing import Any, TypeAlias, TypeVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.files import INVISIBLE, clean_text

T = TypeVar("T")
Place: TypeAlias = str | os.PathLike[str]
"""A name, a folder or a file."""

MOST_ITEMS = 100_000
"""The longest sequence that is read; a generator without end is refused after so many."""

MOST_DEPTH = 20
"""How deep plain data may be nested."""

_BROKEN = object()


def tried(call: Callable[[], object]) -> Any:
    """What somebody else's method gives, or `_BROKEN`: a conversion of a foreign object may raise anything."""
    try:
        return call()
    except Exception:  # noqa: BLE001 - a foreign __float__, __iter__ or property may raise anything; one sentence follows
        return _BROKEN


def is_a(value: object, *kinds: type) -> bool:
    """Whether a value is of a kind by its true type; a stand-in that merely says so (a mock, a lying `__class__`) is not."""
    return issubclass(type(value), kinds)


def plain_text(value: object) -> str | None:
    """Text as Python's own `str`, whatever class of text it is; None for anything else."""
    return str.__str__(value) if issubclass(type(value), str) else None


# -- numbers and truths ------------------------------------------------------------------------------------------------


def plain_number(value: object) -> int | float | None:
    """A finite number as int or float: Python's, numpy's, a Fraction, a Decimal, a 0-d array or tensor; None otherwise."""
    if is_a(value, bool):
        return None
    if not is_a(value, Real, Decimal):
        value = tried(lambda: _item(value))
        if is_a(value, bool) or not is_a(value, Real, Decimal):
            return None
    found = tried(lambda: _converted(value))
    return found if isinstance(found, int) or (isinstance(found, float) and math.isfinite(found)) else None


def _converted(value: Any) -> int | float:
    """A whole number stays one, however large; everything else becomes a float."""
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    number = float(value)
    return int(value) if math.isfinite(number) and abs(number) >= 2**53 and int(value) == value else number


def _item(value: Any) -> object:
    """What a 0-d array or tensor holds."""
    return value.item() if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)) else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number of any kind `plain_number` knows."""
    return plain_number(value) is not None


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, also one written as 8.0."""
    return (number := plain_number(value)) is not None and number == int(number)


def figure(value: float) -> str:
    """A number as a sentence says it."""
    return f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else shown(value)


def number(what: str, value: object, low: float, high: float, unit: str = "") -> float:
    """A finite number between two ends, both included; a whole one stays an int."""
    found = plain_number(value)
    if found is None:
        raise RecipeError(f"{what} is a number{' of ' + unit if unit else ''}, not {shown(value)}.")
    if not low <= found <= high:
        raise RecipeError(f"{what} lies between {low:g} and {high:g}{' ' * bool(unit)}{unit}, not at {figure(found)}.")
    return found


def real(what: str, value: object, low: float, high: float, unit: str = "") -> float:
    """A finite number between two ends, as a float."""
    return float(number(what, value, low, high, unit))


def share(what: str, value: object) -> float:
    """A number between 0 and 1."""
    found = plain_number(value)
    if found is None or not 0.0 <= found <= 1.0:
        raise RecipeError(f"{what} is a share between 0 and 1, not {shown(value)}.")
    return float(found)


def whole(what: str, value: object, low: int, high: int) -> int:
    """A whole number between two ends, both included; 8.0 is one."""
    found = plain_number(value)
    if found is None or found != int(found):
        raise RecipeError(f"{what} is a whole number, such as 7, not {shown(value)}.")
    if not low <= found <= high:
        raise RecipeError(f"{what} lies between {low} and {high}, not at {figure(found)}.")
    return int(found)


def truth(what: str, value: object) -> bool:
    """True or False, Python's or numpy's; nothing that merely counts as such."""
    found = value if is_a(value, bool) else tried(lambda: _item(value))
    if not isinstance(found, bool):
        raise RecipeError(f"{what} is True or False, not {shown(value)}.")
    return found


# -- words -------------------------------------------------------------------------------------------------------------


def text(
    what: str, value: object, most: int = 100_000, error: type[LabError] = RecipeError, *, verbatim: bool = False
) -> str:
    """Text of at most `most` characters, in `clean_text`'s form; `verbatim`: checked as that would, and left as it is."""
    found = plain_text(value)
    if found is None:
        raise error(f"{what} is text, not {kind_of(value)}.")
    if len(found) <= 4 * most:  # more is refused without looking at every letter
        clean = clean_text(found, what, error)
        found = found if verbatim else clean
    if len(found) > most:
        raise error(f"{what} has {len(found):,} characters; the models read at most {most:,}.")
    return found


def name(what: str, value: object, most: int = 4096) -> str:
    """A name or path as it is: text, not empty, without half characters and NULs, never rewritten."""
    found = plain_text(value)
    if found is None:
        raise RecipeError(f"{what} is text, not {kind_of(value)}.")
    if not found or len(found) > most:
        raise RecipeError(f"{what} is a name of 1 to {most:,} characters, not of {len(found):,}.")
    clean_text(found, what)
    return found


def place(what: str, value: object, error: type[LabError] = RecipeError) -> str:
    """A name, id, file or folder as text; `error` for anything else."""
    found = tried(lambda: os.fspath(value)) if is_a(value, os.PathLike) else value  # type: ignore[call-overload]
    try:
        return name(what, found)
    except RecipeError as problem:
        raise error(str(problem)) from None


def bare(value: object) -> str:
    """A short text without what is invisible or empty around it; "" for anything else."""
    return (plain_text(value) or "")[:200].strip(INVISIBLE + string.whitespace)


def word(value: object) -> str:
    """The same in lower case, as known words are compared."""
    return bare(value).lower()


def choice(what: str, value: object, known: Iterable[str]) -> str:
    """One of some known words, in any case."""
    known, found = tuple(known), word(value)
    if found in known:
        return found
    near = nearest(found, known) if found else ""
    raise RecipeError(f"{shown(value)} is no {what}.{near} Known: {', '.join(known)}.")


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return " Did you mean 'x'?", or nothing where no known word is near."""
    import difflib

    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word[:100].lower(), by_lower, n=1, cutoff=cutoff)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def kind_of(value: object) -> str:
    """What a value is, as a sentence says it: "int", "list", "nothing"."""
    return "nothing (None)" if value is None else shown(type(value).__name__).strip("'\"")


# -- several -----------------------------------------------------------------------------------------------------------


def sequence(what: str, value: object, most: int = MOST_ITEMS, *, ordered: bool = False) -> tuple[Any, ...]:
    """The items of a list, tuple, set, range, array or generator; no text, no mapping, nothing without end.

    A set has no order of its own, so that one is refused where the order means something.
    """
    if ordered and is_a(value, set, frozenset):
        raise RecipeError(f"{what} is a list in an order, not a set.")
    if is_a(value, str, bytes, bytearray, memoryview, Mapping) or not is_a(value, Iterable):
        raise RecipeError(f"{what} is a list, not {shown(value)}.")
    items = tried(lambda: tuple(islice(_listed(value), most + 1)))
    if items is _BROKEN:
        raise RecipeError(f"{what} is a list whose items can be read one by one.")
    if len(items) > most:
        raise RecipeError(f"{what} has more than {most:,} items.")
    return tuple(items)


def _listed(value: Any) -> Any:
    """Numbers of an array or tensor become Python's at once; anything else is handed on."""
    return value.tolist() if hasattr(value, "ndim") and hasattr(value, "tolist") and value.ndim else value


def pair(what: str, value: object) -> tuple[Any, Any]:
    """Exactly two items of a tuple, list or array."""
    found = () if is_a(value, set, frozenset) or not is_a(value, Iterable) else sequence(what, value, 1000)
    if len(found) != 2:
        raise RecipeError(f"{what} is a pair, not {shown(value)}.")
    return found[0], found[1]


def mapping(what: str, value: object) -> dict[str, Any]:
    """A mapping from names to values, as a dict."""
    found = tried(lambda: dict(value)) if is_a(value, Mapping) else _BROKEN  # type: ignore[call-overload]
    if not isinstance(found, dict):
        raise RecipeError(f"{what} maps names to values, as {{'caption': 'dub'}} does; {shown(value)} does not.")
    for key in found:
        if not is_a(key, str):
            raise RecipeError(f"{what} maps names to values; {shown(key)} is no name.")
    return {str.__str__(key): item for key, item in found.items()}


def plain(what: str, value: object, depth: int = MOST_DEPTH) -> Any:
    """Plain data: None, truth, number, text, and lists and mappings of such, as JSON holds them."""
    if value is None or is_a(value, bool):
        return value
    if is_a(value, str):
        return text(what, value)
    if (found := plain_number(value)) is not None:
        return number(what, found, -1e30, 1e30)
    if depth == 0:
        raise RecipeError(f"{what} is nested too deeply.")
    if is_a(value, Mapping):
        return {text(what, key): plain(what, item, depth - 1) for key, item in mapping(what, value).items()}
    if is_a(value, list, tuple):
        return [plain(what, item, depth - 1) for item in sequence(what, value)]
    raise RecipeError(f"{what} holds plain data, as JSON does, not {kind_of(value)}.")


def instance(what: str, value: object, kind: type[T] | tuple[type[T], ...], hint: str = "") -> T:
    """The value itself, where it is of a kind; `hint` ends the sentence."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not is_a(value, *kinds):
        raise RecipeError(f"{what} is {' or '.join(_a(one) for one in kinds)}, not {kind_of(value)}.{hint}")
    return value  # type: ignore[return-value]


def _a(kind: type) -> str:
    return "None" if kind is type(None) else f"a{'n' * (kind.__name__[0] in 'AEIOU')} {kind.__name__}"


_CODE = re.compile(r"\s*<\|audio_code_([0-9]{1,9})\|>\s*,?")
_NUMBERS = re.compile(r"[0-9]{1,9}(?:[\s,;]+[0-9]{1,9})*")
MOST_CODE = 10**9
"""Above every code; how many there are says the checkpoint."""


def codes(value: object) -> tuple[int, ...]:
    """Audio codes: numbers, the reference's "<|audio_code_5|><|audio_code_17|>", or numbers as text: "5, 17"; () for none."""
    if (written := plain_text(value)) is not None:
        return _written_codes(written)
    found = sequence("A row of audio codes", value, ordered=True)
    return tuple(whole("An audio code", code, 0, MOST_CODE) for code in found)


def _written_codes(text: str) -> tuple[int, ...]:
    """Codes out of text, which holds nothing else."""
    bare = text.strip().strip("[]()").strip()
    if not _CODE.sub("", bare):
        return tuple(int(number) for number in _CODE.findall(bare))
    if not _NUMBERS.fullmatch(bare.rstrip(",; \n")):
        raise RecipeError(
            f"Audio codes as text look like '<|audio_code_5|><|audio_code_17|>' or '5, 17', not like {shown(text)}."
        )
    return tuple(int(number) for number in re.findall(r"[0-9]+", bare))


# -- fields ------------------------------------------------------------------------------------------------------------


def known_fields(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that is no field; `what` is "A recipe", "A plan", …"""
    known = tuple(known)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise RecipeError(f"{what} has no field {shown(unknown[0])}.{nearest(unknown[0], known)}")


def sentences(cls: type[T]) -> type[T]:
    """A dataclass whose constructor answers a wrong or a missing argument with a sentence instead of a TypeError."""
    made = [f for f in fields(cls) if f.init]  # type: ignore[arg-type]
    positional = [f.name for f in made if not f.kw_only]
    needed = [f.name for f in made if f.default is MISSING and f.default_factory is MISSING]
    what = f"A {cls.__name__.lower()}" if cls.__name__ in ("Recipe", "Plan", "Region") else cls.__name__
    plain_init = cls.__init__

    @wraps(plain_init)
    def init(self: T, /, *args: object, **kwargs: object) -> None:
        known_fields(what, kwargs, [f.name for f in made])
        if len(args) > len(positional) or set(positional[: len(args)]) & set(kwargs):
            raise RecipeError(f"{what} is made of {', '.join(positional)}, in this order; the rest goes by name.")
        missing = [name for name in needed[len(args) :] if name not in kwargs]
        if missing:
            raise RecipeError(f"{what} needs its {' and its '.join(missing)}.")
        plain_init(self, *args, **kwargs)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


Reader: TypeAlias = Callable[[Any], Any]
"""What makes a field's value of whatever was handed in, or raises RecipeError."""


def given(what: str, reader: Callable[..., object], *limits: object) -> Reader:
    """A reader that knows the beginning of its sentence and its limits."""
    return lambda value: reader(what, value, *limits)


def read_fields(value: Any, readers: Mapping[str, Reader]) -> None:
    """Put every field of a frozen dataclass through its reader; None stands for a field's default."""
    for f in fields(value):
        found = getattr(value, f.name)
        if found is None and f.default is not None and f.name in readers:
            found = _default(f)
            object.__setattr__(value, f.name, found)
        if (found is not None or f.default is MISSING) and f.name in readers:
            object.__setattr__(value, f.name, readers[f.name](found))


def _default(f: Field[T]) -> T | None:
    """What a field holds where nothing is said; None where something must be."""
    if f.default_factory is not MISSING:
        return f.default_factory()
    return None if f.default is MISSING else f.default
