"""A JSON schema of what a reader takes, found by asking it. Knows no format: only an example, and whether a change is taken.

`describe(example, accepts)` looks at a value that the reader takes and asks about others in its place: the kinds, the ends of
a number to the last digit, the known words, the longest text and list, the fields that must be there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
Accepts: TypeAlias = Callable[[Any], bool]
"""Whether the reader takes a whole with this value in its place."""

STRANGE = "zq no such word"
"""Text that no list of known words holds, and a field that nothing has."""
NO_CHARACTERS = "\0\ufffe\uffff"
"""Characters that a reader of text may refuse. (Half a surrogate is none in JSON's UTF-8.)"""
LARGEST_WHOLE = 10**30
LONGEST = 2**20
"""Above every limit of characters or items; what takes so many has none."""
ANYTHING: tuple[object, ...] = (True, 0.25, STRANGE, [0.25], {STRANGE: 1})
"""One value of every kind."""


@dataclass(frozen=True)
class Asking:
    """What may be tried where a reader refuses any text or a longer list."""

    words: Sequence[str] = ()
    """Known words of all kinds; those that are taken become the choices."""
    patterns: Mapping[str, str] = field(default_factory=dict)
    """Pattern → a text that fits it, other than the example's."""
    limits: Iterable[int] = ()
    """Likely limits, tried first: the reader has the last word."""
    lists: Mapping[str, Callable[[int], list[object]]] = field(default_factory=dict)
    """Field → how to make a list of so many items that the reader can take."""

    def describe(self, example: Any, accepts: Accepts, name: str = "") -> Schema:
        """The schema of what is taken in an example's place; ValueError where the example itself is refused."""
        if not accepts(example):
            raise ValueError(f"The example {example!r} of {name or 'the whole'} is refused by its own reader.")
        if all(map(accepts, ANYTHING)):
            return {}
        found = self._kind(example, accepts, name)
        if accepts(None):
            found |= {"type": [found["type"], "null"]}
            found |= {"enum": [*found["enum"], None]} if "enum" in found else {}
        return found

    def _kind(self, example: Any, accepts: Accepts, name: str) -> Schema:
        if isinstance(example, bool):
            return {"type": "boolean"}
        if isinstance(example, int | float):
            return _number(example, accepts)
        if isinstance(example, str):
            return self._text(example, accepts, name)
        if isinstance(example, list):
            return self._list(example, accepts, name)
        return self._table(example, accepts)

    def _text(self, example: str, accepts: Accepts, name: str) -> Schema:
        if accepts(STRANGE):
            shortest: Schema = {} if accepts("") else {"minLength": 1}
            refused = "".join(f"\\u{ord(one):04x}" for one in NO_CHARACTERS if not accepts(f"x{one}"))
            shortest |= {"pattern": f"^[^{refused}]*$"} if refused else {}
            return {"type": "string", **shortest, **self._most("maxLength", len(example), lambda n: accepts("x" * n))}
        words = [word for word in self.words if accepts(word)]
        if example in words:
            return {"type": "string", "enum": words}
        for pattern, other in self.patterns.items():
            if accepts(other):
                return {"type": "string", "pattern": pattern}
        raise ValueError(f"{name} takes {example!r} and neither any text, a known word nor a known pattern.")

    def _list(self, example: list[object], accepts: Accepts, name: str) -> Schema:
        def with_item(place: int) -> Accepts:
            return lambda item: accepts([*example[:place], item, *example[place + 1 :]])

        items = [self.describe(item, with_item(place)) for place, item in enumerate(example)]
        many = self.lists.get(name, lambda n: [example[i % len(example)] for i in range(n)])
        least = next(n for n in range(len(example) + 1) if accepts(many(n)))
        most = self._most("maxItems", len(example), lambda n: accepts(many(n)))
        return {"type": "array", "items": _joined(items), **({"minItems": least} if least else {}), **most}

    def _table(self, example: Mapping[str, object], accepts: Accepts) -> Schema:
        needed = [name for name in example if not accepts({n: v for n, v in example.items() if n != name})]
        least = {name: example[name] for name in needed}

        def with_field(name: str) -> Accepts:
            """In the full example, or beside what must be there: other fields may narrow what a field may be."""
            return lambda value: any(accepts({**beside, name: value}) for beside in (example, least))

        known = {name: self.describe(value, with_field(name), name) for name, value in example.items()}
        first = next(iter(example.values()), 1)
        others: Schema | bool = with_field(STRANGE)(first) and (self.describe(first, with_field(STRANGE)) or True)
        known = {name: found for name, found in known.items() if (found or True) != others or name in needed}
        required = {"required": needed} if needed else {}
        return {"type": "object", "properties": known, **required, "additionalProperties": others}

    def _most(self, keyword: str, taken: int, accepts: Callable[[int], bool]) -> Schema:
        """The largest number of characters or items that is taken; nothing where there is no limit."""
        for limit in sorted({taken, *self.limits}):
            if limit >= taken and accepts(limit) and not accepts(limit + 1):
                return {keyword: limit}
        return {} if accepts(LONGEST) else {keyword: _last(taken, LONGEST, accepts)}


def _last(taken: int, refused: int, accepts: Callable[[int], bool]) -> int:
    """The number farthest from `taken`, towards `refused`, that is still taken."""
    while abs(refused - taken) > 1:
        middle = (taken + refused) // 2
        taken, refused = (middle, refused) if accepts(middle) else (taken, middle)
    return taken


def _number(example: float, accepts: Accepts) -> Schema:
    """Kind and ends; a number is whole where one half above and below the example are refused."""
    if isinstance(example, int) and not accepts(example + 0.5) and not accepts(example - 0.5):
        ends = {"minimum": -LARGEST_WHOLE, "maximum": LARGEST_WHOLE}
        found = {name: _last(example, end, accepts) for name, end in ends.items() if not accepts(end)}
        return {"type": "integer", **found}
    found = {}
    for name, side in (("minimum", -math.inf), ("maximum", math.inf)):
        farthest = math.nextafter(side, 0)
        if not accepts(farthest):
            found |= _end(name, side, _last(_place(example), _place(farthest), lambda at: accepts(_at(at))))
    return {"type": "number", **found}


def _end(name: str, side: float, place: int) -> Schema:
    """An end of a range: "above 0" where the last number taken is the one next to 0."""
    last = _at(place)
    beyond = math.nextafter(last, side)
    if len(repr(beyond)) < len(repr(last)):
        return {f"exclusive{name.capitalize()}": _tidy(beyond)}
    return {name: _tidy(last)}


def _tidy(value: float) -> float:
    return int(value) if value == int(value) and abs(value) < 2**53 else value


def _place(value: float) -> int:
    """A float's place among all floats, in order, so that ranges of floats can be halved as whole numbers are."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return bits if bits >= 0 else -(bits & (2**63 - 1))


def _at(place: int) -> float:
    """The float of a place."""
    (value,) = struct.unpack("<d", struct.pack("<q", abs(place)))
    return float(math.copysign(value, place)) if place else 0.0


def _joined(schemas: Sequence[Schema]) -> Schema:
    """One schema for all items of a list: the widest ends, where they differ in these."""
    joined = dict(schemas[0])
    for other in schemas[1:]:
        for names, wider in ((("minimum", "exclusiveMinimum"), min), (("maximum", "exclusiveMaximum"), max)):
            ends = [(one[name], name) for one in (joined, other) for name in names if name in one]
            joined = {name: value for name, value in joined.items() if name not in names}
            if ends:
                value, name = wider(ends, key=lambda end: end[0])
                joined[name] = value
    return joined
