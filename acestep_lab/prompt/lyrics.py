"""Lyrics as the models read them: plain text with section tags in square brackets.

Knows no model. It only reads: the text a musician wrote is never rewritten, save by `without_times`, which is asked for.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from acestep_lab.errors import shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.tags import corrected_tag
from acestep_lab.prompt.times import timed_line, without_times
from acestep_lab.prompt.vocabulary import SECTION_TAGS

__all__ = [
    "Remark",
    "Section",
    "estimate_seconds",
    "remarks",
    "sections",
    "syllables",
    "unintended_lines",
    "without_times",
]

_TAG = re.compile(r"^\s*\[([^\[\]\n]{1,80})\]\s*$")
_KNOWN = {tag.lower() for tag in SECTION_TAGS}


@dataclass(frozen=True)
class Section:
    """One section of a lyric sheet: its tag, what modifies it, and its sung lines."""

    tag: str
    """The tag without brackets and modifier ("Chorus"); "" before the first tag."""
    modifier: str
    """What stands behind a dash or colon in the tag ("anthemic" of "[Chorus - anthemic]")."""
    lines: tuple[str, ...]
    """The non-empty lines below the tag."""
    start_line: int
    """Line number of the tag in the text, counted from 0."""
    known: bool
    """Whether the tag is one of the published tutorial's."""

    @property
    def syllables(self) -> int:
        """About how many syllables are sung here (any script)."""
        return sum(syllables(line) for line in self.lines)


def sections(text: str) -> list[Section]:
    """Split lyrics at their section tags; lines before the first tag make a section without a tag."""
    text = checks.text("The text of the lyrics", text)
    found: list[tuple[str, str, int, list[str]]] = [("", "", 0, [])]
    for number, line in enumerate(text.split("\n")):
        match = _TAG.match(line)
        if match:
            tag, modifier = _tag_parts(match.group(1))
            found.append((tag, modifier, number, []))
        elif line.strip():
            found[-1][3].append(line.strip())
    return [
        Section(tag, modifier, tuple(lines), start, not tag or tag.lower() in _KNOWN)
        for tag, modifier, start, lines in found
        if tag or lines
    ]


def _tag_parts(inside: str) -> tuple[str, str]:
    """Split "Verse 2 - whispered" into ("Verse", "whispered"); a number is no part of the name."""
    name, _, modifier = re.sub(r"\s+[-–—:]\s+|:\s*", "\0", inside.strip(), count=1).partition("\0")
    name = re.sub(r"\s*\d+$", "", name.strip())
    return (name or inside.strip()), modifier.strip()


def syllables(line: str) -> int:
    """Estimate sung syllables: vowel groups in alphabets, one per letter in scripts of syllables."""
    count = 0
    for word in re.findall(r"\w+", re.sub(r"\([^)]*\)", "", line)):
        wide = sum(1 for ch in word if unicodedata.name(ch, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL")))
        plain = "".join(
            c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c) and c.isascii()
        )
        groups = len(re.findall(r"[aeiouy]+", plain))
        other = 0 if (wide or plain) else max(1, round(len(word) / 2.5))
        count += wide + (max(1, groups) if plain and not wide else 0) + other
    return count


SYLLABLES_PER_BEAT = 1.6
"""A relaxed sung pace; only for estimates."""

_BARS_WITHOUT_WORDS = 4


def estimate_seconds(section: Section, bpm: float = 100.0, beats_per_bar: int = 4) -> float:
    """Estimate how long a section lasts in seconds, rounded up to whole bars."""
    beats = section.syllables / SYLLABLES_PER_BEAT
    bars = max(1.0, -(-beats // beats_per_bar)) if section.lines else _BARS_WITHOUT_WORDS
    return bars * beats_per_bar * 60.0 / bpm


@dataclass(frozen=True)
class Remark:
    """Something a musician may want to know about a line of lyrics; never an error."""

    line: int
    text: str


def unintended_lines(text: str) -> list[Remark]:
    """Lines that would be sung though they are not meant to be: times of players' files, and tags in another form."""
    text = checks.text("The text of the lyrics", text)
    found = []
    if (line := timed_line(text)) is not None:
        found.append(
            Remark(
                line,
                "These lyrics carry times, as files for players do (LRC, SRT), and the times would be sung; "
                "prompt.without_times(lyrics) takes them off.",
            )
        )
    for number, one in enumerate(text.split("\n")):
        if (tag := corrected_tag(one)) is not None:
            found.append(Remark(number, f"{shown(one.strip(), 40)} may be sung; as a section tag it is {tag}."))
    return found


def remarks(text: str, seconds: float | None = None, bpm: float | None = None) -> list[Remark]:
    """List what may surprise: times and look-alike tags, unknown tags, open brackets, more words than the song has room for."""
    text = checks.text("The text of the lyrics", text)
    seconds = None if seconds is None else checks.real("A song's length", seconds, 0, 1e6, "seconds")
    bpm = None if bpm is None else checks.real("A tempo", bpm, 1, 1e4)
    found = unintended_lines(text)
    reported = {remark.line for remark in found}
    found += [
        Remark(s.start_line, f"[{s.tag}] is not a tag the models were taught; it may be sung or ignored.")
        for s in sections(text)
        if not s.known and s.start_line not in reported
    ]
    for number, line in enumerate(text.split("\n")):
        if line.count("[") != line.count("]"):
            found.append(Remark(number, "A bracket is left open here; section tags look like [Verse]."))
    if seconds is not None and text.strip():
        needed = sum(estimate_seconds(s, bpm or 100.0) for s in sections(text) if s.lines)
        if needed > 1.15 * seconds:
            found.append(
                Remark(
                    0,
                    f"These words need about {needed:.0f} s at this tempo, and the song lasts {seconds:.0f} s.",
                )
            )
    return found
