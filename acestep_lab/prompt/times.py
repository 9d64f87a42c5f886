"""Lyrics out of files for players: LRC (also with words timed one by one), SRT and WebVTT, with their times taken off.

Knows text only. Nothing here happens unasked: `without_times` is called by whoever wants it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from acestep_lab.prompt import checks

_STAMP = r"-?(?:\d{1,3}:)?\d{1,3}:\d{1,2}(?:[.:,]\d{1,3})?"
_OPEN, _CLOSE = r"[\[(【［（]", r"[\])】］）]"
_LRC = re.compile(rf"^\s*((?:{_OPEN}{_STAMP}{_CLOSE}\s*)+)(.*)$")
_ONE_STAMP = re.compile(rf"{_OPEN}({_STAMP}){_CLOSE}")
_WORD_STAMP = re.compile(rf"<{_STAMP}>|\[{_STAMP}\]")
"""A time before one word, as LRC files for karaoke have it."""
_BARE = re.compile(rf"^\s*({_STAMP})\s*(?:[-–—|:]\s*)?(\D.*)?$")
_TAG = re.compile(r"^\s*(?:\[[^\[\]]*\]\s*)?$")
_HEADER = re.compile(
    r"^\s*\[(?:ar|ti|al|au|by|lr|la|re|ve|offset|length|tool|id|by|encoding|total|kana|language|sign|hash|qq|root|#)\s*:[^\]]*\]\s*$",
    re.IGNORECASE,
)
_OFFSET = re.compile(r"^\s*\[offset\s*:\s*([+-]?\d{1,7})\s*\]\s*$", re.IGNORECASE)
"""Of a whole LRC file: so many milliseconds earlier."""
_CLOCK = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,3})?"
_ARROW = re.compile(rf"^\s*{_CLOCK}(?:\s*(?:-{{1,3}}>|→)\s*|,){_CLOCK}(?:\s.*)?$")
"""From when to when a subtitle stands: SRT, WebVTT, and YouTube's SBV with its comma."""
_FROM_TO = re.compile(rf"({_CLOCK})(?:\s*(?:-{{1,3}}>|→)\s*|,)({_CLOCK})")
_VTT_BLOCK = re.compile(r"^\s*(?:NOTE|STYLE|REGION)\b")
_MARKUP = re.compile(r"</?(?:i|b|u|c|v|ruby|rt|font|lang)(?:[\s.][^<>\n]{0,200})?>|\{\\[^{}\n]{0,200}\}", re.IGNORECASE)


def timed_line(text: str) -> int | None:
    """The number of the first line that carries times for a player, counted from 0; None where none does."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _LRC.match(line) or _WORD_STAMP.search(line) or _ARROW.match(line):
            return number
    return next((number for number, line in enumerate(lines) if _BARE.match(line)), None) if _all_bare(lines) else None


def first_times(text: str) -> list[float | None]:
    """For each line the first time that it carries, in seconds; None for one without."""
    found = [_LRC.match(line) for line in text.split("\n")]
    return [_seconds(_ONE_STAMP.findall(match.group(1))[0]) if match else None for match in found]


@dataclass(frozen=True)
class TimedLine:
    """A line of a player's file."""

    start: float
    """Seconds; never below 0."""
    text: str
    """Without times and markup; "" where the line before only ends."""
    end: float | None = None
    words: tuple[tuple[float, str], ...] = ()
    """The time and letters of each word, where the file has them."""


def timed_lines(text: str) -> list[TimedLine]:
    """The lines of LRC, SRT or WebVTT that carry times, by their times; section tags among them are left out."""
    lines = checks.text("The lyrics", text).split("\n")
    found = _cues(lines) if any(_ARROW.match(line) for line in lines) else _stamped(lines)
    return sorted(found, key=lambda line: line.start)


def _stamped(lines: list[str]) -> Iterator[TimedLine]:
    offset = next((float(found.group(1)) / 1000 for line in lines if (found := _OFFSET.match(line))), 0.0)
    for line in lines:
        match = None if _HEADER.match(line) else _LRC.match(line)
        if match is None or (_TAG.fullmatch(match.group(2)) and match.group(2).strip()):
            continue
        stamps = [_seconds(stamp) - offset for stamp in _ONE_STAMP.findall(match.group(1))]
        words, end = _timed_words(match.group(2), offset)
        for stamp in stamps:
            once = len(stamps) == 1
            yield TimedLine(max(0.0, stamp), _words(match.group(2)), end if once else None, words if once else ())


def _timed_words(text: str, offset: float) -> tuple[tuple[tuple[float, str], ...], float | None]:
    """Words behind their times, and the time at the end of a line, if there is one."""
    stamps = list(_WORD_STAMP.finditer(text))
    if not stamps:
        return (), None
    ends = [*(stamp.start() for stamp in stamps[1:]), len(text)]
    rows = [
        (max(0.0, _seconds(stamp.group()[1:-1]) - offset), text[stamp.end() : end].strip())
        for stamp, end in zip(stamps, ends, strict=True)
    ]
    return tuple(row for row in rows if row[1]), None if rows[-1][1] else rows[-1][0]


def _cues(lines: list[str]) -> Iterator[TimedLine]:
    for place, line in enumerate(lines):
        if _ARROW.match(line) and (found := _FROM_TO.search(line)):
            said = []
            for below in lines[place + 1 :]:
                if not below.strip() or _ARROW.match(below):
                    break
                said.append(_words(below))
            start, end = (_seconds(stamp.replace(",", ".")) for stamp in found.groups())
            words = html.unescape(" ".join(said)).strip()
            if words and not _TAG.fullmatch(words):
                yield TimedLine(start, words, max(start, end))


def _all_bare(lines: list[str]) -> bool:
    """Whether every sung line begins with a time without brackets, each later than the one before; a time may be sung, too."""
    timed = [_BARE.match(line) for line in lines if not _TAG.match(line)]
    times = [_seconds(match.group(1)) for match in timed if match]
    return len(timed) == len(times) >= 2 and all(a < b for a, b in zip(times, times[1:], strict=False))


def without_times(text: str) -> str:
    """Lyrics without the times, headers and markup of LRC, SRT and WebVTT, in the order in which they are sung.

    A line that an LRC file writes once for several times is written out at each of them. Other lyrics come back as they are.

    ::

        Recipe("ballad", lyrics=without_times(files.read_text("song.lrc")))
    """
    text = checks.text("The lyrics", text)
    if timed_line(text) is None:
        return text
    lines = text.split("\n")
    found = _subtitles(lines) if any(_ARROW.match(line) for line in lines) else _lrc(lines)
    words = "\n".join(_words(line) for line in found)
    return re.sub(r"\n{3,}", "\n\n", words).strip()


def _words(line: str) -> str:
    """A line without the times of its words and without markup."""
    bare = _MARKUP.sub("", line)
    timed = _WORD_STAMP.sub("", bare)
    return (timed if timed == bare else re.sub(r" {2,}", " ", timed)).strip()


def _lrc(lines: list[str]) -> list[str]:
    """Lines of an LRC file by their times; what has none (a section tag, an empty line) stays before what it stood before."""
    if _all_bare(lines):
        return [match.group(2) or "" if (match := _BARE.match(line)) else line for line in lines]
    timed: list[tuple[float, int, str]] = []
    now = float("inf")  # read from the end, so that a line without time takes that of the next one
    for place, line in reversed(list(enumerate(lines))):
        if _HEADER.match(line):
            continue
        match = _LRC.match(line)
        stamps = [_seconds(stamp) for stamp in _ONE_STAMP.findall(match.group(1))] if match else [now]
        now = stamps[0]
        timed += [(stamp, place, match.group(2) if match else line) for stamp in stamps]
    repeated = any(len(_ONE_STAMP.findall(match.group(1))) > 1 for line in lines if (match := _LRC.match(line)))
    return [line for _, _, line in (sorted(timed) if repeated else reversed(timed))]


def _seconds(stamp: str) -> float:
    """ "01:15.30", "01:15:30" and "1:01:15.30" in seconds; of three numbers the first are hours where a fraction follows."""
    sign = -1.0 if stamp.startswith("-") else 1.0
    *hours, minutes, seconds = stamp.lstrip("-").replace(",", ".").split(":")
    if hours and "." not in seconds:
        minutes, seconds = hours[0], f"{minutes}.{seconds}"
        hours = []
    return sign * (3600.0 * int(hours[0] if hours else 0) + 60.0 * int(minutes) + float(seconds))


def _subtitles(lines: list[str]) -> list[str]:
    """The sung lines of SRT or WebVTT: numbers, names of cues, times, comments and styles left out."""
    kept: list[str] = []
    skipping = lines[0].strip().startswith("WEBVTT")
    for place, line in enumerate(lines):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        alone = place == 0 or not lines[place - 1].strip()
        if not line.strip():
            skipping = False
        elif alone and _VTT_BLOCK.match(line):
            skipping = True
        elif not (skipping or _ARROW.match(line) or (_ARROW.match(following) and (alone or line.strip().isdecimal()))):
            kept.append(line)
    return kept
