"""A song to learn from: where its sound lies, what is said of it, who said so, and what is odd about it.

Knows no model, no tokens and no form of file. A song is a row of a data set: a frozen value. Its sound is read only when it is
asked for, and its words looked at only when its remarks are, so that ten thousand rows are quick.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.files import open_ordinary
from acestep_lab.prompt import checks
from acestep_lab.takes.take import Take
from acestep_lab.train.labels import FIELDS, OPEN, Label, Remark, Value, read_value
from acestep_lab.train.word_checks import Tokens, word_remarks

MOST_REPEAT = 1000


@dataclass(frozen=True)
class Song:
    """One row of a data set.

    ::

        song = dataset[0].edited(bpm=120)
        song.bpm, song.labels["bpm"].source     # (120, "written")
    """

    name: str
    """Its file's place within the data set's folder, or its take's id: no two songs of a data set share one."""
    seconds: float
    """Length in seconds, as its file's head tells."""
    labels: Mapping[str, Label] = field(default_factory=dict, hash=False)
    path: Path | None = field(default=None, repr=False)
    take: str = ""
    """The id that our own file claims, "" for anybody else's."""
    noted: tuple[Remark, ...] = field(default=(), repr=False)
    """Remarks on its files and its sound."""
    repeat: int = 1
    """How many times an epoch visits it."""
    given: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)
    """What another program's file says of it, word for word, so that it can be given back."""
    held: Take | None = field(default=None, repr=False, compare=False)
    """The take itself, where it lies in no file."""
    tokens: Tokens | None = field(default=None, repr=False, compare=False)
    """Counts the tokens of a text, where a tokenizer was handed in."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.labels) - set(FIELDS))
        if unknown:
            raise RecipeError(f"A song has no field {shown(unknown[0])}; there are {', '.join(FIELDS)}.")
        for name, label in self.labels.items():
            checks.instance(f"The {name} of a song", label, Label)
            kind = {"bpm": int, "instrumental": bool}.get(name, str)
            if not label.is_open and not checks.is_a(label.value, kind):
                raise RecipeError(f"The {name} of a song is no {shown(label.value)}; Song.edited reads it.")
        object.__setattr__(self, "labels", {name: self.labels.get(name, OPEN) for name in FIELDS})
        object.__setattr__(self, "repeat", checks.whole("How often a song is repeated", self.repeat, 1, MOST_REPEAT))

    @cached_property
    def remarks(self) -> tuple[Remark, ...]:
        """Everything that is odd about it: its files, its sound as far as it was checked, its words as they are now."""
        return (*self.noted, *word_remarks(self.labels, self.seconds, self.tokens))

    def _words(self, name: str) -> str:
        return str(self.labels[name].value or "")

    @property
    def caption(self) -> str:
        """What the music is like, "" where nobody said."""
        return self._words("caption")

    @property
    def genre(self) -> str:
        """Its genre or style."""
        return self._words("genre")

    @property
    def lyrics(self) -> str:
        """What is sung."""
        return self._words("lyrics")

    @property
    def tag(self) -> str:
        """The word that is to call this sound up later."""
        return self._words("tag")

    @property
    def language(self) -> str | None:
        """The code of the language that is sung."""
        return self._words("language") or None

    @property
    def bpm(self) -> int | None:
        """Tempo in beats per minute."""
        value = self.labels["bpm"].value
        return None if value is None else int(value)

    @property
    def keyscale(self) -> str | None:
        """Key, such as "F# minor"."""
        return self._words("keyscale") or None

    @property
    def timesignature(self) -> str | None:
        """Beats in a bar: "2", "3", "4" or "6"."""
        return self._words("timesignature") or None

    @property
    def instrumental(self) -> bool | None:
        """Whether nobody sings; None where nobody said."""
        value = self.labels["instrumental"].value
        return None if value is None else bool(value)

    @property
    def instruments(self) -> tuple[str, ...]:
        """What plays in it, by name."""
        return tuple(filter(None, (one.strip() for one in self._words("instruments").split(","))))

    def may_fill(self, name: str) -> bool:
        """Whether a measurement or a model may say something of a field: it is not locked, and no person wrote it."""
        label = self.labels[name]
        return not label.locked and (label.is_open or label.source != "written")

    def edited(self, **values: object) -> Self:
        """The song with fields as a person wrote them; what is locked stays. RecipeError for what is no value of a field."""
        labels = dict(self.labels)
        repeat = checks.whole("How often a song is repeated", values.pop("repeat", self.repeat), 1, MOST_REPEAT)
        for name, value in values.items():
            read = read_value(name, value)
            if not labels[name].locked:
                labels[name] = Label(read)
        changed = {name for name in labels if labels[name] != self.labels[name]}
        kept = tuple(one for one in self.noted if one.field not in changed)
        return replace(self, labels=labels, repeat=repeat, noted=kept)

    def filled(self, labels: Mapping[str, Label]) -> Self:
        """The song with what was heard or guessed, where that may be filled (`may_fill`); values are read as a person's are."""
        new = {
            name: replace(label, value=read_value(name, label.value))
            for name, label in labels.items()
            if name not in FIELDS or self.may_fill(name)
        }
        kept = tuple(one for one in self.noted if one.field not in new)
        return replace(self, labels={**self.labels, **new}, noted=kept) if new else self

    def locking(self, names: Iterable[str], locked: bool = True) -> Self:
        """The song with some of its fields locked, or unlocked; RecipeError for what is no field."""
        wanted = {checks.choice("field of a song", name, FIELDS) for name in names}
        labels = {n: replace(label, locked=locked) if n in wanted else label for n, label in self.labels.items()}
        return replace(self, labels=labels)

    def audio(self) -> Audio:
        """Its sound, read now; SourceError where it cannot be."""
        if self.held is not None:
            return self.held.audio
        if self.path is None:
            raise SourceError(f"{shown(self.name)} has no sound: neither a file nor a take.")
        return Audio.read(self.path)

    @property
    def sound_hash(self) -> str:
        """A digest of its sound: of its file's bytes, or of its take's samples; SourceError where there is none."""
        if self.held is not None:
            return str(self.held.facts["audio"]["sha256"])
        if self.path is None:
            raise SourceError(f"{shown(self.name)} has no sound: neither a file nor a take.")
        try:
            about = os.stat(self.path)
        except OSError as problem:
            raise SourceError(f"{shown(self.name)} cannot be read ({problem.strerror}).") from None
        return _file_hash(str(self.path), about.st_size, about.st_mtime_ns)

    def words(self) -> dict[str, Value]:
        """Everything said of it, by field."""
        return {name: self.labels[name].value for name in FIELDS}


@functools.lru_cache(maxsize=100_000)
def _file_hash(path: str, size: int, changed: int) -> str:
    """sha256 of a file's bytes; size and time of change are part of what is remembered."""
    digest = hashlib.sha256()
    with open_ordinary(path, "The sound", SourceError) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
