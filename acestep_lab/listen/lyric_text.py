"""Lyrics cut up: lines that are sung, their words, section tags; each by the letters it spans. Knows text only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

Span = tuple[int, int]
"""From which letter to which of the lyrics, the last one left out."""

_BRACKETS = re.compile(r"\[[^\[\]\n]{0,200}\]")
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Burmese, Khmer, kana and Han: scripts that put no spaces between words."""


@dataclass(frozen=True)
class Line:
    """A sung line."""

    text: str
    words: tuple[Span, ...]
    section: int
    """Which section it stands in, counted from 0."""


@dataclass(frozen=True)
class Tag:
    """A section: what its tag says, "" before the first."""

    text: str
    start: int
    """The letter it begins at."""


@dataclass(frozen=True)
class LyricText:
    """Lyrics as they are sung; what stands in square brackets is not."""

    text: str
    lines: tuple[Line, ...]
    tags: tuple[Tag, ...]

    @classmethod
    def of(cls, text: str) -> LyricText:
        """Cut lyrics up; a tag in front of words on its own line begins a section as well."""
        lines: list[Line] = []
        tags = [Tag("", 0)]
        start = 0
        for line in text.split("\n"):
            brackets = list(_BRACKETS.finditer(line))
            if brackets and not line[: brackets[0].start()].strip():
                tags.append(Tag(brackets[0].group()[1:-1].strip(), start + brackets[0].start()))
            bare = _BRACKETS.sub(lambda found: " " * len(found.group()), line)
            if words := tuple((start + first, start + last) for first, last in _words(bare)):
                lines.append(Line(" ".join(bare.split()), words, len(tags) - 1))
            start += len(line) + 1
        unnamed = any(line.section == 0 for line in lines)
        return cls(text, tuple(lines), tuple(tags)) if unnamed else cls(text, _moved(lines), tuple(tags[1:]))


def _moved(lines: list[Line]) -> tuple[Line, ...]:
    """Lines where the section before the first tag is left out."""
    return tuple(Line(line.text, line.words, line.section - 1) for line in lines)


def _words(line: str) -> Iterator[Span]:
    """Words between spaces; in scripts without spaces, letters with their marks. Bare punctuation is none."""
    for run in re.finditer(r"\S+", line):
        if not any(letter.isalnum() for letter in run.group()):
            continue
        edges = [0, *_cuts(run.group()), len(run.group())]
        yield from ((run.start() + first, run.start() + last) for first, last in zip(edges, edges[1:], strict=False))


def _cuts(run: str) -> Iterator[int]:
    """Where a run without spaces is cut: before a letter of an unspaced script, and behind it before any other letter.

    What stands in front of the first letter stays with it.
    """
    begun = False
    wide_before = False
    for place, letter in enumerate(run):
        if unicodedata.category(letter)[0] not in "LN":
            continue
        wide = is_unspaced(letter)
        if begun and (wide or wide_before):
            yield place
        begun, wide_before = True, wide


def is_unspaced(letter: str) -> bool:
    """Whether a letter is of a script that puts no spaces between words."""
    code = ord(letter)
    return any(first <= code <= last for first, last in _UNSPACED)
