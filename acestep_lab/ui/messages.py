"""What a page may ask for, and how what it sends is read: the one boundary between a browser and Python.

Knows no host and no music. A component's `do_…` method answers a request; its signature is the request's schema: each
argument's annotation names the reader of one field. A reader returns a value of the right kind or raises a RecipeError,
so that no method ever meets a value of another kind, whoever sent it, a page or Python.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from acestep_lab.errors import RecipeError, shown
from acestep_lab.files import NO_CHARACTER

Reader = Callable[[str, object], object]
"""Takes the name of a field and what was sent; returns the value, or raises RecipeError."""

MOST_BYTES = 64 * 2**20
"""Bytes one message may carry."""
MOST_BUFFERS = 16
FURTHEST = 1e12
"""No number a page sends is larger: seconds, pixels, places."""
_KINDS: Mapping[type, str] = {
    dict: "a table",
    list: "a list",
    tuple: "a list",
    type(None): "nothing",
    bool: "yes or no",
    bytes: "bytes",
}


def kind_of(value: object) -> str:
    """What something is, in a few words; a short text or number is quoted."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return shown(value, 40)
    return next((word for kind, word in _KINDS.items() if isinstance(value, kind)), "something else")


def text(most: int = 2_000) -> Callable[[str, object], str]:
    """A reader of text of at most so many characters, all of them whole ones."""

    def read(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise RecipeError(f"{_named(name)} is text, not {kind_of(value)}.")
        if len(value) > most:
            raise RecipeError(f"{_named(name)} has {len(value):,} characters; at most {most:,} are taken.")
        if bad := NO_CHARACTER.search(value):
            raise RecipeError(f"{_named(name)} holds a character that is none (U+{ord(bad[0]):04X}).")
        return str(value)

    return read


def number(name: str, value: object) -> float:
    """A finite number of a size a page may speak of."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise RecipeError(f"{_named(name)} is a number, not {kind_of(value)}.")
    if not -FURTHEST <= value <= FURTHEST:
        raise RecipeError(f"{_named(name)} is too large a number: {kind_of(value)}.")
    return value


def whole(name: str, value: object) -> int:
    """A whole number; a browser's 3.0 is one."""
    found = number(name, value)
    if found != int(found):
        raise RecipeError(f"{_named(name)} is a whole number, not {kind_of(value)}.")
    return int(found)


def flag(name: str, value: object) -> bool:
    """Yes or no, and nothing that merely counts as such."""
    if not isinstance(value, bool):
        raise RecipeError(f"{_named(name)} is true or false, not {kind_of(value)}.")
    return value


def typed(name: str, value: object) -> object:
    """What somebody typed or chose, whatever a form will make of it: nothing, a number, text, yes or no, a list of
    words.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if isinstance(value, int) and value.bit_length() <= 64 else number(name, value)
    if isinstance(value, list | tuple):
        return list_of(text(200), 64)(name, value)
    return text(100_000)(name, value)


def list_of(each: Reader, most: int) -> Reader:
    """A reader of a list of at most so many things of one kind."""

    def read(name: str, value: object) -> list[object]:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{_named(name)} is a list, not {kind_of(value)}.")
        if len(value) > most:
            raise RecipeError(f"{_named(name)} has {len(value):,} entries; at most {most:,} are taken.")
        return [each(name, one) for one in value]

    return read


def table(**columns: Reader) -> Reader:
    """A reader of a table with these fields; a missing one is None, any other is left out."""

    def read(name: str, value: object) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{_named(name)} is a table, not {kind_of(value)}.")
        return {key: each(f"{name} {key}", value[key]) if key in value else None for key, each in columns.items()}

    return read


def optional(each: Reader) -> Reader:
    """A reader that lets nothing (None) through."""
    return lambda name, value: None if value is None else each(name, value)


def buffers(name: str, value: object) -> list[bytes]:
    """The bytes that came with a message."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, bytes | bytearray | memoryview) for one in value):
        raise RecipeError("What should have come as bytes did not; send it again.")
    if not 0 < len(value) <= MOST_BUFFERS or sum(memoryview(one).nbytes for one in value) > MOST_BYTES:
        raise RecipeError(f"One message carries up to {MOST_BUFFERS} pieces of together {MOST_BYTES >> 20} MB.")
    return [bytes(one) for one in value]


Id = Annotated[str, text(200)]
Name = Annotated[str, text(60)]
Line = Annotated[str, text(2_000)]
Typed = Annotated[Any, typed]
Ids = Annotated[Sequence[str], list_of(text(200), 200)]

_PLAIN: dict[object, Reader] = {str: text(), int: whole, float: number, bool: flag}


@dataclass(frozen=True)
class RequestSchema:
    """What a page may ask for: the reader of each field, and which fields must be there."""

    name: str
    fields: Mapping[str, Reader]
    needed: frozenset[str]

    @classmethod
    def of(cls, method: Callable[..., Any]) -> RequestSchema:
        """The table a method's signature is; TypeError where an annotation names no reader."""
        hints, arguments = (
            get_type_hints(method, include_extras=True),
            list(inspect.signature(method).parameters.items()),
        )
        return cls(
            method.__name__.removeprefix("do_"),
            {name: buffers if name == "buffers" else _reader(method, name, hints) for name, _ in arguments[1:]},
            frozenset(name for name, one in arguments[1:] if one.default is one.empty),
        )

    def read(self, given: Sequence[object], named: Mapping[str, object]) -> dict[str, object]:
        """The fields as values; RecipeError where one is too many, is missing, or is of another kind."""
        if len(given) > len(self.fields):
            raise RecipeError(f"“{self.name}” takes {len(self.fields)} fields, not {len(given)}.")
        sent = dict(zip(self.fields, given, strict=False))
        for name, value in named.items():
            if name not in self.fields or name in sent:
                raise RecipeError(
                    f"“{self.name}” takes no field {shown(name, 40)}; reload the page if it is an old one."
                )
            sent[name] = value
        for name in self.fields:
            if name in self.needed and name not in sent:
                raise RecipeError(f"“{self.name}” came without its {name}; reload the page if it is an old one.")
        return {name: self.fields[name](name, value) for name, value in sent.items()}


def validated(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method behind its table: whoever calls it, a value of another kind is a RecipeError before any work."""
    schema = RequestSchema.of(method)

    @functools.wraps(method)
    def work(self: Any, /, *given: object, **named: object) -> object:
        return method(self, **schema.read(given, named))

    return work


def parse_message(message: object, sent: object, known: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """A message as (kind, fields), its bytes under "buffers"; RecipeError where it is none, or of no kind among
    `known`.
    """
    if not isinstance(message, Mapping):
        raise RecipeError(f"The page sent {kind_of(message)} where a message was expected; reload it.")
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in known:
        raise RecipeError(f"The page asked for something unknown here ({kind_of(kind)}); reload it.")
    body = {name: value for name, value in message.items() if name not in ("kind", "_buffers")}
    if odd := [name for name in body if not isinstance(name, str)]:
        raise RecipeError(f"“{kind}” takes no field {shown(odd[0], 40)}; reload the page if it is an old one.")
    empty = sent is None or (isinstance(sent, list | tuple | dict) and not sent)
    return kind, body if empty else {**body, "buffers": sent}


def field_of(message: object, called: str = "field") -> str:
    """A short word of a message that was refused, "" where there is none: the field it spoke of, the turn it waits
    for.
    """
    name = message.get(called) if isinstance(message, Mapping) else None
    return name if isinstance(name, str) and len(name) <= 60 and not NO_CHARACTER.search(name) else ""


def fits(default: object, value: object) -> bool:
    """Whether a value may stand in a field of this default: nothing, or one of the default's kind (a number, if
    None).
    """
    if value is None:
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if default is None or isinstance(default, int | float):
        return isinstance(value, Real) and not isinstance(value, bool) and not value < -FURTHEST and value <= FURTHEST
    return isinstance(value, list | tuple if isinstance(default, list | tuple) else type(default))


def _named(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _reader(method: Callable[..., Any], name: str, hints: Mapping[str, object]) -> Reader:
    found = _of_hint(hints.get(name))
    if found is None:
        raise TypeError(f"{method.__qualname__} does not say how its field {name!r} is read.")
    return found


def _of_hint(hint: object) -> Reader | None:
    """The reader an annotation names, or the plain one of its type."""
    if get_origin(hint) is Annotated:
        return next((one for one in get_args(hint)[1:] if callable(one)), None)
    if get_origin(hint) in (Union, types.UnionType):
        inner = [_of_hint(one) for one in get_args(hint) if one is not type(None)]
        return optional(inner[0]) if len(inner) == 1 and inner[0] is not None else None
    return _PLAIN.get(hint)
