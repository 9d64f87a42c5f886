"""What differs between two takes: what was asked, how they sound, what is heard in them, what they sing. Words first, then figures.

Knows takes and measures; whoever compares hands over what was measured. Pictures of it are made in `ui`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from acestep_lab import upstairs
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.key import key_relation
from acestep_lab.listen.mel_levels import Levels, difference, mel_levels, summary
from acestep_lab.listen.segmentation import HeardSection, heard_sections
from acestep_lab.listen.tempo import same_tempo
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt import checks
from acestep_lab.prompt.vocabulary import key_parts
from acestep_lab.takes import titles
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import TitleParts
from acestep_lab.takes.verdict import Comparison

FRAMES = 600
"""Frames of the difference of two spectrograms."""
EQUAL_LU = 0.3
"""Loudness that nobody tells apart, in LU."""
SAME_START = 1.0
"""Seconds by which a section may begin earlier or later and still be the same."""
INTERVALS = ("", "a semitone", "a whole tone", "a minor third", "a major third", "a fourth", "a tritone")
_WHERE = {"low": "in the lows", "middle": "in the middle", "high": "in the highs", "all": "everywhere"}
_KEYS = {"same": "the same", "relative": "its relative", "parallel": "its parallel"}
_HOW = {"louder": "louder", "quieter": "quieter", "both": "changed"}
TOO_SHORT = "too short to measure"
ASKED = "asked: "


class Row(NamedTuple):
    """One difference."""

    what: str
    words: str
    one: str = ""
    other: str = ""
    """The figures of both."""

    @property
    def quotes(self) -> bool:
        """Whether its figures are what somebody wrote, which nobody translates."""
        return self.what == "lyrics" or self.what.startswith(ASKED)


class SungLines(NamedTuple):
    """How lyrics differ, line by line."""

    gone: tuple[str, ...]
    new: tuple[str, ...]
    kept: int

    @classmethod
    def of(cls, one: str, other: str) -> SungLines:
        """Between two lyrics; blank lines and spaces at the ends say nothing."""
        left, right = ([line.strip() for line in text.splitlines() if line.strip()] for text in (one, other))
        gone: list[str] = []
        new: list[str] = []
        kept = 0
        for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            kept += (b - a) if kind == "equal" else 0
            gone += left[a:b] if kind != "equal" else []
            new += right[c:d] if kind != "equal" else []
        return cls(tuple(gone), tuple(new), kept)


@dataclass(frozen=True, repr=False)
class TakeComparison(Comparison):
    """What differs between two takes. Prints as a table; a notebook shows it with the difference of their spectrograms."""

    one: Take
    other: Take
    heard: tuple[Analysis | None, Analysis | None]
    """What is measured in both; None for one that is too short."""
    sung: tuple[Alignment | None, Alignment | None] = (None, None)
    """Lyrics in time, where they were looked for."""

    @classmethod
    def between(
        cls, one: Take, other: Take, heard: tuple[Analysis | None, Analysis | None],
        sung: tuple[Alignment | None, Alignment | None] = (None, None),
    ) -> TakeComparison:  # fmt: skip
        """Compare two takes, of which this much is known."""
        found = Comparison.of(one, other)
        return cls(found.fields, found.sound, found.loudness, one, other, heard, sung)

    @property
    def titles(self) -> tuple[str, str]:
        """What both are called."""
        first, then = (
            titles.title(TitleParts.of(take), lambda id: "", 60) or take.id for take in (self.one, self.other)
        )
        return (first, then) if first != then else (f"{first} ({self.one.id})", f"{then} ({self.other.id})")

    @cached_property
    def sections(self) -> tuple[tuple[HeardSection, ...], tuple[HeardSection, ...]]:
        """The sections that are heard in both."""
        return heard_sections(self.one.audio), heard_sections(self.other.audio)

    @cached_property
    def lyrics(self) -> SungLines:
        """Which lines the second has instead of which of the first."""
        return SungLines.of(self.one.recipe.lyrics, self.other.recipe.lyrics)

    @cached_property
    def levels(self) -> tuple[Levels, Levels]:
        """Mel levels of both over the length they share, in dB, `[frames, bands]`; SourceError where one has no samples."""
        rate = min(self.one.audio.rate, self.other.audio.rate)
        sounds = [take.audio.resample(rate) for take in (self.one, self.other)]
        count = min(sound.samples.shape[-1] for sound in sounds)
        first, then = (
            mel_levels(Audio(sound.samples[:, :count], rate), min(FRAMES, max(1, count // 256))) for sound in sounds
        )
        return first, then

    @cached_property
    def spectrogram(self) -> Levels:
        """How many dB louder the second is, `[frames, bands]`."""
        return difference(self.levels[1], self.levels[0])

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every difference in words and figures, those of the sound first."""
        rows = [self._sound(), self._spectrum(), self._loudness(), *self._measured(), self._sections(), *self._lyrics()]
        asked = [
            Row(f"{ASKED}{name}", "differs", shown(left), shown(right)) for name, (left, right) in self.fields.items()
        ]
        return (*(row for row in rows if row is not None), *(row for row in asked if row.what != f"{ASKED}lyrics"))

    def __str__(self) -> str:
        wide = max(len(row.what) for row in self.rows)
        return "\n".join(f"{row.what:<{wide}}  {_told(row)}" for row in self.rows)

    def __repr__(self) -> str:
        return f"<TakeComparison of {self.one.id} and {self.other.id}: {self.sound.word}>"

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write it as an .html page that stands alone, and return where it is; RecipeError for another ending."""
        target = Path(checks.place("A page", path))
        if target.suffix.lower() not in (".html", ".htm"):
            raise RecipeError(f"A comparison is written as an .html page, not as {shown(target.name)}.")
        written: Path = upstairs.call("comparison_page", self, target)
        return written

    # -- rows

    def _sound(self) -> Row:
        lengths = [f"{take.seconds:.1f} s" for take in (self.one, self.other)]
        return Row("sound", str(self.sound).split(":")[0], *lengths)

    def _spectrum(self) -> Row | None:
        try:
            change = summary(self.levels[1], self.levels[0], min(self.one.audio.rate, self.other.audio.rate))
        except SourceError:
            return None
        words = "hardly changed" if change.where == "little" else f"{_HOW[change.how]} {_WHERE[change.where]}"
        return Row("spectrum", words, "", f"{float(abs(self.spectrogram).mean()):.1f} dB apart on average")

    def _loudness(self) -> Row:
        by = self.loudness[1] - self.loudness[0]
        words = "as loud" if not abs(by) > EQUAL_LU else f"{'louder' if by > 0 else 'quieter'} by {abs(by):.1f} LU"
        return Row("loudness", words, *(f"{one:.1f} LUFS" for one in self.loudness))

    def _measured(self) -> list[Row]:
        one, other = self.heard
        if one is None or other is None:
            return [Row("tempo, key, meter", TOO_SHORT)]
        rows = [Row("tempo", _tempo_words(one, other), _figure(one, "tempo"), _figure(other, "tempo"))]
        rows += [Row("key", _key_words(one, other), _figure(one, "key"), _figure(other, "key"))]
        words = "the same" if one.timesignature == other.timesignature else "another meter"
        rows += [Row("meter", words, _figure(one, "meter"), _figure(other, "meter"))]
        names = [", ".join(found.present) or "none for certain" for found in (one, other)]
        return [*rows, Row("instruments", _set_words(one.present, other.present), *names)]

    def _sections(self) -> Row:
        one, other = self.sections
        forms = ["".join(section.letter for section in found) for found in (one, other)]
        starts = [
            ", ".join(f"{section.letter} {section.start:.0f}" for section in found) + " s" for found in (one, other)
        ]
        moved = len(one) != len(other) or any(
            abs(a.start - b.start) > SAME_START for a, b in zip(one, other, strict=False)
        )
        words = "another form" if forms[0] != forms[1] else "the same form at other times" if moved else "the same"
        return Row("sections", words, *starts)

    def _lyrics(self) -> list[Row]:
        found = self.lyrics
        if not (found.gone or found.new or found.kept):
            return []
        words = (
            "the same"
            if not (found.gone or found.new)
            else f"{len(found.new)} new lines, {len(found.gone)} gone, {found.kept} kept"
        )
        rows = [Row("lyrics", words, _some(found.gone), _some(found.new))]
        if self.sung[0] is not None and self.sung[1] is not None:
            shares = [f"{len(one.found)} of {len(one.lines)} lines found" for one in self.sung if one is not None]
            rows.append(Row("sung", "as many" if shares[0] == shares[1] else "differs", *shares))
        return rows


class Comparisons(tuple[TakeComparison, ...]):
    """A take compared with each of several others, in their order. Prints all of them."""

    def __str__(self) -> str:
        return "\n\n".join(f"{one.titles[0]} → {one.titles[1]}\n{one}" for one in self)


def _told(row: Row) -> str:
    figures = " → ".join(one for one in (row.one, row.other) if one)
    return f"{row.words} ({figures})" if figures else row.words


def _figure(heard: Analysis, what: str) -> str:
    value = {"tempo": f"{heard.bpm:g} bpm", "key": heard.keyscale, "meter": heard.timesignature}[what]
    return f"{value}, unsure" if what in heard.unsure else value


def _tempo_words(one: Analysis, other: Analysis) -> str:
    if "tempo" in one.unsure or "tempo" in other.unsure:
        return "unsure"
    if abs(other.bpm / one.bpm - 1) < 0.02:
        return "the same"
    octave = " (or the same, counted twice as fast)" if same_tempo(one.bpm, other.bpm) else ""
    return f"{'faster' if other.bpm > one.bpm else 'slower'} by {abs(other.bpm - one.bpm):.0f} bpm{octave}"


def _key_words(one: Analysis, other: Analysis) -> str:
    if "key" in one.unsure or "key" in other.unsure:
        return "unsure"
    relation = key_relation(one.keyscale, other.keyscale)
    if relation in _KEYS:
        return _KEYS[relation]
    (left, was_minor), (right, is_minor) = (key_parts(found.keyscale) for found in (one, other))
    if was_minor != is_minor:
        return "another key and mode"
    step = (right - left) % 12
    return f"{INTERVALS[min(step, 12 - step)]} {'up' if step <= 6 else 'down'}"


def _set_words(one: Sequence[str], other: Sequence[str]) -> str:
    new, gone = sorted(set(other) - set(one)), sorted(set(one) - set(other))
    told = [*([f"adds {', '.join(new)}"] if new else []), *([f"lacks {', '.join(gone)}"] if gone else [])]
    return "; ".join(told) or "the same"


def _some(lines: Sequence[str], most: int = 4) -> str:
    return " / ".join(lines[:most]) + (f" … {len(lines) - most} more" if len(lines) > most else "")


def measured(analyze: Any, take: Take) -> Analysis | None:
    """What is measured in a take by whoever measures; None for one that is too short."""
    try:
        found: Analysis = analyze(take)
    except SourceError:
        return None
    return found
