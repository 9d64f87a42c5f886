"""Lyrics out of files for players: LRC (also with words timed one by one), SRT and WebVTT, with their times taken off.

Knows text only. Nothing here happens unasked: `without_times` is called by whoever wants it.
"""

from __future__ import annotations

import re

_STAMP = r"\d{1,3}:\d{1,2}(?:[.:,]\d{1,3})?"
_LRC = re.compile(rf"^\s*((?:\[{_STAMP}\]\s*)+)(.*)$")
_ONE_STAMP = re.compile(rf"\[({_STAMP})\]")
_WORD_STAMP = re.compile(rf"<(?:\d{{1,2}}:)?{_STAMP}>\s?")
_HEADER = re.compile(
    r"^\s*\[(?:ar|ti|al|au|by|lr|la|re|ve|offset|length|tool|id|by|encoding|total|kana|language|sign|hash|qq|root|#)\s*:[^\]]*\]\s*$",
    re.IGNORECASE,
)
_ARROW = re.compile(
    r"^\s*(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->\s*(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}(?:\s.*)?$"
)
_VTT_BLOCK = re.compile(r"^\s*(?:NOTE|STYLE|REGION)\b")
_MARKUP = re.compile(r"</?(?:i|b|u|c|v|ruby|rt|font|lang)(?:[\s.][^<>\n]{0,200})?>|\{\\[^{}\n]{0,200}\}", re.IGNORECASE)


def timed_line(text: str) -> int | None:
    """The number of the first line that carries times for a player, counted from 0; None where none does."""
    for number, line in enumerate(text.split("\n")):
        if _LRC.match(line) or _WORD_STAMP.search(line) or _ARROW.match(line):
            return number
    return None


def without_times(text: str) -> str:
    """Lyrics without the times, headers and markup of LRC, SRT and WebVTT, in the order in which they are sung.

    A line that an LRC file writes once for several times is written out at each of them. Other lyrics come back as they are.

    ::

        Recipe("ballad", lyrics=without_times(Path("song.lrc").read_text()))
    """
    from acestep_lab.prompt.checks import text as checked

    text = checked("The lyrics", text)
    if timed_line(text) is None:
        return text
    lines = text.split("\n")
    found = _subtitles(lines) if any(_ARROW.match(line) for line in lines) else _lrc(lines)
    words = "\n".join(_WORD_STAMP.sub("", _MARKUP.sub("", line)).strip() for line in found)
    return re.sub(r"\n{3,}", "\n\n", words).strip()


def _lrc(lines: list[str]) -> list[str]:
    """Lines of an LRC file by their times; what has none (a section tag, an empty line) stays before what it stood before."""
    said: list[tuple[float, int, str]] = []
    now = float("inf")  # read from the end, so that a line without time takes that of the next one
    for place, line in reversed(list(enumerate(lines))):
        if _HEADER.match(line):
            continue
        match = _LRC.match(line)
        stamps = [_seconds(stamp) for stamp in _ONE_STAMP.findall(match.group(1))] if match else [now]
        now = stamps[0]
        said += [(stamp, place, match.group(2) if match else line) for stamp in stamps]
    repeated = any(len(_ONE_STAMP.findall(match.group(1))) > 1 for line in lines if (match := _LRC.match(line)))
    return [line for _, _, line in (sorted(said) if repeated else reversed(said))]


def _seconds(stamp: str) -> float:
    """ "01:15.30" and "01:15:30" in seconds."""
    minutes, seconds, *rest = re.split(r"[.:,]", stamp)
    return 60.0 * int(minutes) + int(seconds) + (float(f"0.{rest[0]}") if rest else 0.0)


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
