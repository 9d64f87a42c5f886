"""What a file tells of a song, in any program's words, and several files' words put together.

Knows names and values; no file, no form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt.lyrics import sections
from acestep_lab.prompt.vocabulary import INSTRUMENTAL
from acestep_lab.train.encodings import NAMES
from acestep_lab.train.labels import FIELDS, Label, Remark, read_value
from acestep_lab.train.song import MOST_REPEAT

ALIASES: Mapping[str, tuple[str, ...]] = {
    "caption": ("caption", "description", "prompt", "text", "tags"),
    "genre": ("genre", "genres", "style", "styles"),
    "lyrics": ("lyrics", "lyric", "transcription", "rawlyrics", "formattedlyrics"),
    "language": ("language", "lang", "vocallanguage"),
    "bpm": ("bpm", "tempo"),
    "keyscale": ("keyscale", "key", "scale", "musicalkey", "camelot"),
    "timesignature": ("timesignature", "timesig", "signature", "meter"),
    "instrumental": ("instrumental", "isinstrumental"),
    "instruments": ("instruments", "instrumentation", "stems"),
    "tag": ("customtag", "tag", "trigger", "triggerword", "activationtag"),
}
"""What each field is called in the wild, letters and digits only; the first that says something is taken."""

REPEAT = ("repeat", "repeats", "numrepeats")


@dataclass(frozen=True)
class Told:
    """What one file says of one song."""

    where: str
    """The file's name, for sentences."""
    words: Mapping[str, object] = field(default_factory=dict)
    """Raw values by field."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Who said it, where that was no person."""
    locked: frozenset[str] = frozenset()
    sure: Mapping[str, float] = field(default_factory=dict)
    repeat: object = None
    given: Mapping[str, object] = field(default_factory=dict)
    take: str = ""
    remarks: tuple[Remark, ...] = ()
    whole: bool = False
    """Whether it says everything there is to say: we wrote it, and what it leaves open is open."""


def bare_key(name: object) -> str:
    """A column's or key's name as it is compared: small letters and digits of any script."""
    return re.sub(r"[\W_]+", "", str(name)[:100].casefold())


def words_of(
    data: Mapping[str, object], aliases: Mapping[str, tuple[str, ...]] = ALIASES
) -> tuple[dict[str, object], object]:
    """Raw values by field, and how often the song is to be repeated, out of another program's names."""
    found: dict[str, object] = {}
    for name, value in data.items():
        if not _blank(value):
            found.setdefault(bare_key(name), value)
    words = {}
    for name, others in aliases.items():
        said = next((other for other in others if other in found), None)
        if said is not None:
            words[name] = _joined(found[said])
    return words, next((found[name] for name in REPEAT if name in found), None)


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _joined(value: object) -> object:
    """A list of words, such as tags, as one text."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value


def guess_remark(where: str, coding: str) -> Remark:
    """A remark on the songs of a file whose encoding had to be guessed."""
    return Remark(
        "encoding", f"{where} is no UTF-8 and was read as {NAMES[coding]}; look at its words, or save it as UTF-8."
    )


@dataclass(frozen=True)
class Together:
    """What all files say of one song."""

    labels: dict[str, Label]
    remarks: tuple[Remark, ...]
    repeat: int
    given: Mapping[str, object]
    take: str


def together(told: Iterable[Told]) -> Together:
    """Put together what several files say of one song: the first that can be read counts, others are remarked on."""
    told = [one for one in told if one.words or one.remarks or one.take or one.given or one.locked]
    labels: dict[str, Label] = {}
    said_in: dict[str, str] = {}
    remarks = [remark for one in told for remark in one.remarks]
    for one in told:
        for name in FIELDS:
            if name in one.words or name in one.locked:
                remarks += _say(one, name, labels, said_in)
    if "instrumental" not in labels and not any(one.whole for one in told) and _is_instrumental(labels.get("lyrics")):
        labels["instrumental"] = Label(True)
    repeat = next((one.repeat for one in told if one.repeat is not None), 1)
    given = next((one.given for one in told if one.given), {})
    return Together(labels, tuple(remarks), _repeat(repeat, remarks), given, next((t.take for t in told if t.take), ""))


def _say(one: Told, name: str, labels: dict[str, Label], said_in: dict[str, str]) -> list[Remark]:
    try:
        value = read_value(name, one.words.get(name))
    except RecipeError as problem:
        return [Remark("value", f"{one.where}: {problem}", name)]
    if name in labels and not labels[name].is_open:
        if value in (None, labels[name].value) or one.take:  # a take's recipe gives way to what was said of it since
            return []
        said, other = shown(labels[name].value, 30), shown(value, 30)
        sentence = f"The {name} is {said} in {said_in[name]} and {other} in {one.where}; the first is taken."
        return [Remark("conflict", sentence, name)]
    if value is not None or name in one.locked:
        source = one.sources.get(name, "written")
        labels[name] = Label(value, source, name in one.locked, one.sure.get(name))
        said_in[name] = one.where
    return []


def _is_instrumental(lyrics: Label | None) -> bool:
    text = str(lyrics.value or "") if lyrics else ""
    return text.casefold() == INSTRUMENTAL.casefold() or [s.tag.casefold() for s in sections(text)] == ["instrumental"]


def _repeat(value: object, remarks: list[Remark]) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        number = 0
    if 1 <= number <= MOST_REPEAT:
        return number
    remarks.append(Remark("value", f"A song is repeated 1 to {MOST_REPEAT} times, not {shown(value)}; once is taken."))
    return 1
