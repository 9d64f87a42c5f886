"""What is said of a song: fields, who said them, and remarks.

Knows names and values; no file, no sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.languages import AUTO
from acestep_lab.prompt.sampling import MOST_CAPTION
from acestep_lab.prompt.tasks import MOST_LYRICS

SOURCES = ("written", "heard", "guessed")
"""Who said a thing: a person (or a file of theirs), a measurement, a model."""

TAG_POSITIONS = ("prepend", "append", "replace")
"""Where the tag stands in the words that are learnt: before the caption, behind it, or in its place."""

MOST_TAG = 200
Value = str | int | bool | None


@dataclass(frozen=True)
class Label:
    """What is said of one field of a song, who said it, and whether it may be changed."""

    value: Value = None
    source: str = "written"
    locked: bool = False
    sure: float | None = None
    """How far a measurement or a model trusts itself, 0 to 1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", checks.choice("source of a label", self.source, SOURCES))
        checks.truth("A lock", self.locked)
        if self.sure is not None:
            object.__setattr__(self, "sure", checks.share("How sure a label is", self.sure))
        if self.is_open:  # nobody said nothing
            for name, nothing in (("value", None), ("source", "written"), ("sure", None)):
                object.__setattr__(self, name, nothing)

    @property
    def is_open(self) -> bool:
        """Whether nothing is said."""
        return self.value is None or self.value == ""


OPEN = Label()


@dataclass(frozen=True)
class Remark:
    """Something about a song that its owner may want to know; never an error."""

    kind: str
    text: str
    field: str = ""
    """The field it is about, "" for the sound or the file."""
    other: str = ""
    """The name of another song that it speaks of."""

    def __str__(self) -> str:
        return self.text

    @property
    def is_serious(self) -> bool:
        """Whether training on the song as it is would teach something wrong, or nothing."""
        return self.kind in SERIOUS


SERIOUS = frozenset(
    {
        "unreadable",
        "silent",
        "clipped",
        "duplicate",
        "garbled",
        "script",
        "long",
        "instrumental",
        "value",
        "form",
        "label",
    }
)
"""Kinds of remarks that somebody has to do something about; the others are good to know."""


def _text(what: str, most: int) -> Callable[[Any], Value]:
    return lambda value: checks.text(what, value, most).strip()


def _truth(value: Any) -> Value:
    word = checks.word(value)
    if word in ("true", "yes", "1", "on", "ja", "instrumental") or value == 1:
        return True
    if word in ("false", "no", "0", "off", "nein", "vocal", "vocals") or value == 0:
        return False
    return checks.truth("Whether a song is instrumental", value)


READERS: Mapping[str, Callable[[Any], Value]] = {
    "caption": _text("A caption", MOST_CAPTION),
    "genre": _text("A genre", 1000),
    "lyrics": _text("The lyrics", MOST_LYRICS),
    "language": vocabulary.language,
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "instrumental": _truth,
    "instruments": _text("The instruments", 1000),
    "tag": _text("A tag", MOST_TAG),
}
"""How each field is read; what a person may write there."""

FIELDS = tuple(READERS)
"""What can be said of a song."""

TEXTS = ("caption", "genre", "lyrics", "instruments", "tag")


def read_value(name: str, value: object) -> Value:
    """A field's value out of what a file or a person wrote, None where that leaves it open; RecipeError for anything else."""
    if name not in READERS:
        raise RecipeError(f"A song has no field {shown(name)}.{checks.nearest(str(name), FIELDS)}")
    if value is None:
        return None
    if name not in TEXTS:
        word = checks.plain_text(value)
        if word is not None and word.strip().casefold() in AUTO:
            return None
        if name == "bpm" and (value in (0, -1) or (word or "").strip() in ("0", "-1")):
            return None  # what other programs write for "not known"
    return READERS[name](value) or (False if name == "instrumental" else None)
