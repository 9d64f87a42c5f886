"""Lyrics with times as values, to plain data and back, to the files of players (LRC, WebVTT, SRT), and out of them.

Knows text and seconds; nobody listens here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, times
from acestep_lab.prompt.times import TimedLine

MOST_TIMED = 20_000
"""Lines or words that an alignment out of a file may have."""
GAP_SECONDS = 1.0
"""A rest this long is written into an LRC file as an empty line, so that the words before it go away."""
LAST_SECONDS = 4.0
"""How long the last line of a file without ends is taken to last."""


@dataclass(frozen=True)
class Timed:
    """A line, word or section with its time; one that was not found has no length and no sureness."""

    text: str
    start: float
    """Seconds from the beginning of the song."""
    end: float
    sure: float = 1.0
    """0 to 1: the share of its frames in which nothing else stands out more."""
    line: int = 0
    """Of a word, the line it stands in; of a line or section, its own place, counted from 0."""

    @property
    def found(self) -> bool:
        """Whether it is sung at all."""
        return self.end > self.start

    def moved(self, seconds: float) -> Timed:
        """The same, so many seconds later."""
        return replace(self, start=round(self.start + seconds, 3), end=round(self.end + seconds, 3))


@dataclass(frozen=True, repr=False)
class Alignment:
    """Lyrics in time. Prints as a table; `lrc`, `vtt` and `srt` are for players."""

    lines: tuple[Timed, ...]
    words: tuple[Timed, ...] = ()
    sections: tuple[Timed, ...] = ()
    """Section tags, from where to where; the stretch before the first tag has none."""
    remarks: tuple[str, ...] = ()
    scores: Mapping[str, Any] | None = None
    """How well the words are sung, beside chance (`listen.lyric_scores`); None where nothing was heard."""
    heard: bool = True
    """False where times are a plan's or a file's, and nobody listened."""
    lyrics: str = ""

    def __repr__(self) -> str:
        last = max((line.end for line in self.lines), default=0.0)
        return (
            f"<Alignment: {len(self.found)} of {len(self.lines)} lines, {len(self.sections)} sections, to {last:.1f} s>"
        )

    def __str__(self) -> str:
        rows = [f"{_stamp(line.start)}–{_stamp(line.end)}  {line.sure:4.0%}  {line.text}" for line in self.found]
        tags = [f"{_stamp(one.start)}–{_stamp(one.end)}  [{one.text}]" for one in self.sections]
        return "\n".join([repr(self), *(rows or tags), *self.remarks])

    def at(self, seconds: float) -> Timed | None:
        """The line that is sung at a time in seconds; None in a rest."""
        return next((line for line in reversed(self.lines) if line.start <= seconds < line.end), None)

    @property
    def found(self) -> tuple[Timed, ...]:
        """The lines that are sung, by their times."""
        return tuple(sorted((line for line in self.lines if line.found), key=lambda line: (line.start, line.line)))

    def words_of(self, line: Timed) -> tuple[Timed, ...]:
        """The words of a line that are sung, by their times."""
        return tuple(word for word in self.words if word.line == line.line and word.found)

    def lrc(self, words: bool = False) -> str:
        """As an LRC file, `[mm:ss.xx]line`; with `words` each word has its time as well (`<mm:ss.xx>`)."""
        return "".join(f"{line}\n" for line in _lrc_lines(self, words))

    def vtt(self) -> str:
        """As WebVTT, the subtitles of web pages."""
        cues = [
            f"{_clock(line.start, '.')} --> {_clock(line.end, '.')}\n{_escaped(line.text)}\n" for line in self.found
        ]
        return "\n".join(["WEBVTT\n", *cues])

    def srt(self) -> str:
        """As SRT, the subtitles of video players."""
        cues = [
            f"{n}\n{_clock(line.start, ',')} --> {_clock(line.end, ',')}\n{line.text.replace('-->', '->')}\n"
            for n, line in enumerate(self.found, 1)
        ]
        return "\n".join(cues)

    def written(self, form: str) -> str:
        """As the text of a file of one of `FORMS`; RecipeError for another."""
        return FORMS[checks.choice("A form of timed lyrics", form, tuple(FORMS))](self)

    @classmethod
    def from_file_text(cls, text: str, seconds: float | None = None) -> Self:
        """Out of LRC (also with words), SRT or WebVTT; a line without an end lasts until the next, the last one until `seconds`,
        or 4 s. RecipeError where no line carries a time.
        """
        rows = times.timed_lines(text)
        if not rows:
            raise RecipeError("No line of this text carries a time; LRC lines begin like [00:12.50].")
        return cls(*_of_rows(rows, seconds), heard=False, lyrics="\n".join(row.text for row in rows if row.text))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = {name: [_row(one) for one in getattr(self, name)] for name in ("lines", "words", "sections")}
        scores = None if self.scores is None else dict(self.scores)
        return {**rows, "remarks": list(self.remarks), "scores": scores, "heard": self.heard, "lyrics": self.lyrics}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Out of plain data; RecipeError for what is none."""
        given = checks.mapping("An alignment", data)
        checks.known_fields("An alignment", given, {one.name for one in fields(cls)})
        timed = {name: _timed(name, given.get(name, [])) for name in ("lines", "words", "sections")}
        return cls(
            **timed,
            remarks=tuple(checks.text("A remark", one) for one in checks.sequence("Remarks", given.get("remarks", []))),
            scores=None if given.get("scores") is None else _scores(given["scores"]),
            heard=checks.truth("heard", given.get("heard", True)),
            lyrics=checks.text("The lyrics", given.get("lyrics", "")),
        )


FORMS: Mapping[str, Callable[[Alignment], str]] = {
    "lrc": Alignment.lrc,
    "word-lrc": lambda found: found.lrc(words=True),
    "vtt": Alignment.vtt,
    "srt": Alignment.srt,
    "json": lambda found: json.dumps(found.to_json(), ensure_ascii=False) + "\n",
}
"""What timed lyrics are written as."""


def _row(one: Timed) -> list[Any]:
    return [one.text, one.start, one.end, one.sure, one.line]


def _timed(what: str, rows: object) -> tuple[Timed, ...]:
    return tuple(_read(what, row) for row in checks.sequence(f"An alignment's {what}", rows, MOST_TIMED))


def _read(what: str, row: object) -> Timed:
    values = checks.sequence(f"Each of an alignment's {what}", row, 5, ordered=True)
    if len(values) != 5:
        raise RecipeError(f"Each of an alignment's {what} is text, start, end, sureness and line, not {shown(row)}.")
    start, end, sure = (checks.real("A time", value, 0.0, 1e6) for value in values[1:4])
    return Timed(
        checks.text("A line", values[0]), start, end, sure, checks.whole("A line's place", values[4], 0, 10**6)
    )


def _scores(told: object) -> dict[str, Any]:
    """Scores as `lyric_scores` gives them: shares, those of chance and of the reference one level down, and whether the words fit."""
    found: dict[str, Any] = {}
    for name, value in checks.mapping("Scores", told).items():
        if checks.is_a(value, dict):
            found[name] = {
                key: None if one is None else checks.share(f"The score {key}", one) for key, one in value.items()
            }
        else:
            found[name] = checks.truth("fits", value) if name == "fits" else checks.share(f"The score {name}", value)
    return found


# -- files of players


def _stamp(seconds: float) -> str:
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lrc_lines(alignment: Alignment, words: bool) -> Iterator[str]:
    found = alignment.found
    for line, after in itertools.zip_longest(found, found[1:]):
        yield f"[{_stamp(line.start)}]{_with_words(alignment, line) if words else line.text}"
        if after is None or after.start - line.end >= GAP_SECONDS:
            yield f"[{_stamp(line.end)}]"


def _with_words(alignment: Alignment, line: Timed) -> str:
    """A line with the time of each of its words in front of it, and of its end behind it, spaced as it is."""
    text, at = "", 0
    for word in alignment.words_of(line):
        place = line.text.find(word.text, at)
        if place < 0:
            continue
        text += f"{line.text[at:place]}<{_stamp(word.start)}>{word.text}"
        at = place + len(word.text)
    return f"{text}{line.text[at:]}<{_stamp(line.end)}>" if text else line.text


def _of_rows(rows: Sequence[TimedLine], seconds: float | None) -> tuple[tuple[Timed, ...], tuple[Timed, ...]]:
    """Lines and words of what a file tells; an empty line only says where the one before it ends."""
    last = max(row.start for row in rows)
    final = last + LAST_SECONDS if seconds is None else max(seconds, last + 0.01)
    lines: list[Timed] = []
    words: list[Timed] = []
    for row, after in zip(rows, [*(row.start for row in rows[1:]), final], strict=True):
        if not row.text:
            continue
        end = max(row.start, after if row.end is None else row.end)
        lines.append(Timed(row.text, row.start, end, 1.0, len(lines)))
        ends = [*(start for start, _ in row.words[1:]), end][: len(row.words)]
        words += [
            Timed(word, start, max(start, stop), 1.0, len(lines) - 1)
            for (start, word), stop in zip(row.words, ends, strict=True)
            if word
        ]
    return tuple(lines), tuple(words)
