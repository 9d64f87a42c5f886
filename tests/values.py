"""Any value handed to any constructor, reader or edit: a plain value that survives JSON and its own code, or one sentence.

Used by `test_values_property.py` (some thousands, always the same) and by `python -m tests.soak.values` (as many as asked for).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from acestep_lab import LabError, Plan, Planning, Recipe, Region, Tier
from acestep_lab.errors import MOST_CHARACTERS
from acestep_lab.prompt import lyrics, settings, tasks, vocabulary
from acestep_lab.prompt.tasks import TASKS

# -- values ------------------------------------------------------------------------------------------------------------


class Rude:
    """An object that raises whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __float__(self) -> float:
        raise RuntimeError("no float")

    def __bool__(self) -> bool:
        raise RuntimeError("no bool")

    def __iter__(self) -> Any:
        raise RuntimeError("no items")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __fspath__(self) -> str:
        raise RuntimeError("no path")

    @property
    def id(self) -> str:
        raise RuntimeError("no id")

    @property
    def ndim(self) -> int:
        raise RuntimeError("no ndim")


class Word(str):
    """Text of a class of its own."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Half(float):
    """A float of a class of its own."""

    def __repr__(self) -> str:
        return "Half"


class Nine(int):
    """An int of a class of its own."""

    def __repr__(self) -> str:
        return "Nine"


class Liar:
    """An object that raises when it is asked for its class."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class Mock:
    """An object that says it is text, and is none."""

    @property
    def __class__(self) -> Any:
        return str


class Touchy(str):
    """Text whose methods raise."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def strip(self, *_: Any) -> str:
        raise RuntimeError("no strip")

    def lower(self) -> str:
        raise RuntimeError("no lower")


class Sore(int):
    """A number whose methods raise."""

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __le__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def bit_length(self) -> int:
        raise RuntimeError("no bits")


class Broken(list[Any]):
    """A list whose items cannot be had."""

    def __iter__(self) -> Any:
        raise MemoryError("no items")


class NumberPath:
    """A path that is a number."""

    def __fspath__(self) -> Any:
        return 5


class BytesPath:
    """A path in bytes."""

    def __fspath__(self) -> bytes:
        return b"song"


_SAME: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 10**400, -(10**400), 2**63, 2**53 + 1, 0.0, -0.0, 0.5, 1.0, 8.0, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), 3 + 4j, Fraction(1, 3), Fraction(7), Fraction(10**400), Decimal("0.25"),
    Decimal("NaN"), Decimal("sNaN"), Decimal("1e999999"), np.float32(0.1), np.float64(120), np.int8(4), np.uint64(2**64 - 1),
    np.bool_(True), np.array(4), np.array(0.5), np.array(True), np.array("x"), np.array([1.0, 0.5]), np.zeros((2, 2, 2)),
    np.array([]), np.str_("dub"), np.datetime64("2026-01-01"), np.array(None, dtype=object), torch.tensor(4),
    torch.tensor([1, 2]), torch.tensor(True), torch.empty((), device="meta"), torch.tensor(float("nan")),
    "", " ", "x", "dub techno", "\ud800x", "a\0b", "\ufeffx", "\u200b", "²", "Ⅷ", "१२०", "120", "120 bpm", "4/4", "6/8", "n/a",
    "C major", "fis-moll", "B-Dur", "H", "8A", "D dorian", "en", "pt-BR", "jp", "auto", "unknown", "drums", "euler", "apg",
    "cover", "Cover", "take-0123456789ab", "audio-01", "../../etc/passwd", "[Verse]\r\nla\u2028la", "<|audio_code_5|>",
    "1, 2, 3", "1e400", "nan", "9" * 5000, "x" * 30_000, "\u0301" * 100, "\U0001f600", "{}", "[]", "null", "\r\r\n",
    b"bytes", bytearray(b"x"), memoryview(b"x"), [], [1, 2], [0.1, 0.9], (1, 2), (8, 12), [[1, 2], [3, 4]], [None], ["drums"],
    ("drums", "bass"), {1, 2}, frozenset({"bpm"}), {"bpm"}, {"a": 1}, {}, {1: 2}, {"task": 3}, {"task": "Cover"}, {None: 1},
    {"caption": "x"}, {"temperature": "hot"}, range(5), range(10**12), [1.0, 0.7, 0.3], [Rude()], {"bpm": Rude()},
    slice(1, 2), ..., NotImplemented, int, Recipe, len, Rude, object(), Path("song.flac"), BytesPath(), Region(1, 2),
    Planning(), Plan(), Recipe("dub"), tasks.Text2Music(), tasks.Cover(codes=(1,)), ValueError("x"), [[[[[[[[]]]]]]]],
)  # fmt: skip
_FRESH: tuple[Callable[[], Any], ...] = (
    Rude, lambda: Word("dub"), lambda: Half(0.5), lambda: Nine(9), lambda: itertools.count(), lambda: iter([1, 2]),
    lambda: (1 / (3 - n) for n in range(5)), lambda: itertools.repeat("drums"), lambda: nested(3000), lambda: map(int, "12"),
    lambda: {"a": nested(500)}, lambda: self_holding(), Liar, Mock, lambda: Touchy("drums"), lambda: Touchy("C major"),
    lambda: Sore(120), lambda: Sore(10**500), lambda: MappingProxyType({"caption": "x"}), lambda: deque([1, 2]),
    lambda: Broken([1]), NumberPath, lambda: np.ma.masked, lambda: np.void(b"x"), lambda: {"caption": "x", "self": 1},
)  # fmt: skip
ODD: tuple[Callable[[], Any], ...] = (*(partial(next, itertools.repeat(value)) for value in _SAME), *_FRESH)
"""What makes each odd value; generators anew each time."""


def nested(depth: int) -> list[Any]:
    """A list in a list in a list …"""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def self_holding() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


def values() -> st.SearchStrategy[Callable[[], Any]]:
    """What makes any value: one of the odd ones, or one that hypothesis thinks of. (It would stumble over some if it held them.)"""
    plain = st.one_of(
        st.integers(), st.floats(), st.text(max_size=40), st.text(st.characters(categories=["Cs", "Cc", "Cf", "Nd", "No"]), max_size=8),
        st.fractions(), st.decimals(), st.booleans(), st.binary(max_size=8), st.integers(0, 300), st.floats(0, 1),
    )  # fmt: skip
    deep = st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    )
    return st.one_of(st.sampled_from(ODD), st.one_of(deep, st.tuples(plain, plain)).map(lambda value: lambda: value))


# -- what they are handed to -------------------------------------------------------------------------------------------

GOOD: dict[str, dict[str, Any]] = {
    "Text2Music": {}, "Repaint": {"source": "take-1", "regions": [(1, 2)]}, "Extend": {"source": "take-1", "after": 2},
    "Cover": {"source": "take-1"}, "Retake": {"source": "take-1", "variance": 0.5, "seed": 3},
    "Extract": {"source": "take-1", "stem": "drums"}, "Lego": {"source": "take-1", "stem": "drums"},
    "Complete": {"source": "take-1", "stems": ("drums",)}, "FlowEdit": {"source": "take-1"},
    "Stitch": {"pieces": [("take-1", (1, 2)), "take-2"]},
    "Recipe": {"caption": "dub"}, "Planning": {}, "Region": {"start": 1, "end": 2}, "Plan": {"bpm": 120, "caption": "x"},
}  # fmt: skip
"""What makes a good value of each kind, one field of which is then exchanged."""

KINDS: dict[str, type[Any]] = {**TASKS, "Recipe": Recipe, "Planning": Planning, "Region": Region, "Plan": Plan}
FIELDS = [(kind, name) for kind, cls in KINDS.items() for name in (*cls.__dataclass_fields__, "nonsense", "self")]
NAMES: dict[str, Any] = {**KINDS, "Region": Region}
PLAN = Plan(bpm=120, keyscale="C major", caption="dub", lyrics="la", codes=(1, 2, 3))

CALLS: dict[str, Callable[[Any], Any]] = {
    "Recipe.from_json": Recipe.from_json, "Plan.from_json": Plan.from_json, "Planning.from_json": Planning.from_json,
    "task_from_json": tasks.task_from_json, "understand": settings.understand,
    "Recipe.from_json task": lambda v: Recipe.from_json({"caption": "x", "task": v}),
    "Recipe.from_json planning": lambda v: Recipe.from_json({"caption": "x", "planning": v}),
    "Recipe.read": Recipe.read, "Recipe(positional)": Recipe, "Recipe two": lambda v: Recipe("x", v, v),
    "Plan.lock": PLAN.lock, "Plan.lock open": Plan().lock, "Plan.unlock": PLAN.unlock, "Plan.diff": PLAN.diff,
    "Plan.against": PLAN.against, "Plan.held": PLAN.held, "Plan.resolve": PLAN.resolve,
    "Plan.resolve words": lambda v: PLAN.resolve(Recipe("dub"), words=v), "regions": tasks.regions,
    "Region.frames": lambda v: Region(1, 2).frames(v), "Region.samples": lambda v: Region(1, 2).samples(v),
    "Tier.for_memory": Tier.for_memory, "Tier.for_memory kind": lambda v: Tier.for_memory(8, v),
    "keyscale": vocabulary.keyscale, "bpm": vocabulary.bpm, "timesignature": vocabulary.timesignature,
    "language": vocabulary.language, "stem": vocabulary.stem, "sections": lyrics.sections, "remarks": lyrics.remarks,
    "remarks seconds": lambda v: lyrics.remarks("la", v), "remarks bpm": lambda v: lyrics.remarks("la", 1, v), "without_times": lyrics.without_times,
    "settings": lambda v: settings.understand({"caption": "x", "seed": v, "bpm": v, "duration": v}),
}  # fmt: skip


def _in_settings(name: str) -> Callable[[Any], Any]:
    base = {"caption": "x", "task_type": "repaint", "src_audio": "a.wav", "repainting_end": 2}
    return lambda value: settings.understand({**base, name: value})


CALLS |= {f"settings {names[-1]}": _in_settings(names[-1]) for names in settings.ALIASES.values()}


def made(kind: str, **changes: Any) -> Any:
    """A value of a kind with some fields exchanged."""
    return KINDS[kind](**{**GOOD[kind], **changes})


def edited(kind: str, name: str, value: Any) -> Any:
    """The same through `replace`, where a kind has one, or through `from_json`."""
    good = made(kind)
    if hasattr(good, "but"):
        return good.replace(**{name: value})
    if kind in TASKS:
        return tasks.task_from_json({"task": kind, **GOOD[kind], name: value})
    return made(kind, **{name: value})


def judge(call: Callable[[], Any]) -> str:
    """ "accepted" or "refused"; AssertionError for anything else, with what came instead."""
    try:
        value = call()
    except LabError as error:
        said = str(error)
        assert 10 < len(said) <= MOST_CHARACTERS, f"a sentence of {len(said)} characters: {said!r}"
        said.encode()
        return "refused"
    survives(value)
    return "accepted"


def survives(value: Any) -> None:
    """A value of ours is plain Python: the same after JSON, and a recipe after its own code."""
    if isinstance(value, settings.Settings):
        value = value.recipe
    if not isinstance(value, (Recipe, Plan, Planning, *TASKS.values())):
        return
    again = json.loads(json.dumps(value.to_json(), allow_nan=False).encode())
    read = tasks.task_from_json if type(value).__name__ in TASKS else type(value).from_json
    assert read(again) == value, f"{value!r} came back from JSON as {read(again)!r}"
    assert type(value)(**{n: getattr(value, n) for n in value.__dataclass_fields__}) == value
    repr(value)
    hash(value)
    if isinstance(value, Recipe):
        assert eval(value.code(), dict(NAMES)) == value, value.code()


class Survey:
    """How many values were tried on what, and what came of them."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def field(self, place: tuple[str, str], value: Any, by_edit: bool) -> None:
        """One value in one field."""
        kind, name = place
        self._note(lambda: edited(kind, name, value) if by_edit else made(kind, **{name: value}))

    def call(self, name: str, value: Any) -> None:
        """One value handed to one function."""
        self._note(lambda: CALLS[name](value))

    def verb(self, call: Callable[[Any], Any], value: Any) -> None:
        """One value handed to a verb of a session."""
        self._note(lambda: call(value))

    def _note(self, call: Callable[[], Any]) -> None:
        self.found[judge(call)] += 1

    def __str__(self) -> str:
        return f"{self.found.total():,} values: {self.found['accepted']:,} accepted, {self.found['refused']:,} refused, 0 others"
