"""Which encoding a text has that is no UTF-8, and whether a text was read in a wrong one.

Knows bytes and letters. A guess is always said aloud: who wrote the file knows better.
"""

from __future__ import annotations

import re

from acestep_lab.errors import LabError, RecipeError
from acestep_lab.files import clean_text, decode_text

NAMES = {
    "cp1252": "Windows-1252 (Western)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "shift_jis": "Shift JIS (Japanese)",
    "euc_kr": "EUC-KR (Korean)",
    "gb18030": "GB 18030 (Chinese)",
}

_SCRIPTS = {
    "shift_jis": re.compile("[\u3041-\u30ff]"),
    "euc_kr": re.compile("[\uac00-\ud7a3]"),
    "gb18030": re.compile("[\u4e00-\u9fff]"),
}
LEAST_MIXED = 0.2
"""Share of the high bytes that stands in lines of UTF-8, from which on a text is of two encodings; below, lines are so by accident."""
_HIGH = bytes(range(0x80, 0x100))
_RUN = re.compile(rb"[\x80-\xff]{2,}")
_TWICE = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
)


def decoded(data: bytes, what: str, error: type[LabError] = RecipeError) -> tuple[str, str]:
    """A text, and the name of the encoding that had to be guessed, "" where it is UTF-8 or says what it is."""
    try:
        return decode_text(data, what, error), ""
    except LabError:
        if data.count(0):
            raise
    text, coding = _by_line(data)
    return clean_text(text, what, error), coding


def _by_line(data: bytes) -> tuple[str, str]:
    """A text that is no UTF-8, and how it was read: lines that are UTF-8 stay it where that is no accident, as of tables put together."""
    lines = data.split(b"\n")
    fine = [bool(_strictly(line, "utf-8")) or not line for line in lines]
    high = [len(line) - len(line.translate(None, _HIGH)) for line in lines]
    inside = sum(count for count, one in zip(high, fine, strict=True) if one)
    if inside < LEAST_MIXED * sum(high):
        fine = [False] * len(lines)
    coding = guessed(b"\n".join(line for line, one in zip(lines, fine, strict=True) if not one))
    codings = ("utf-8" if one else coding for one in fine)
    return "\n".join(line.decode(one, "replace") for line, one in zip(lines, codings, strict=True)), coding


def guessed(data: bytes) -> str:
    """The likeliest encoding of bytes that are no UTF-8: by how their high bytes follow each other and what letters they make."""
    high = [byte for byte in data if byte >= 0x80]
    runs = sum(len(run) for run in _RUN.findall(data))
    if runs < 0.6 * len(high):  # letters with accents stand alone between plain ones
        return "cp1252"
    small = sum(byte >= 0xE0 for byte in high)
    for coding, script in _SCRIPTS.items():
        text = _strictly(data, coding)
        letters = [ch for ch in text if ch >= "\x80"]
        if letters and coding == "shift_jis" and len(script.findall(text)) > 0.2 * len(letters):
            return coding
        if letters and coding != "shift_jis" and len(script.findall(text)) > 0.8 * len(letters):
            return "cp1251" if small > 0.75 * len(high) else coding
    return "cp1251" if small > 0.5 * len(high) else "cp1252"


def _strictly(data: bytes, coding: str) -> str:
    try:
        return data.decode(coding)
    except UnicodeDecodeError:
        return ""


def garbled(text: str) -> bool:
    """Whether a text was read in another encoding than it was written in ("Ã©" for "é", or a mark for what is unreadable)."""
    if "\ufffd" in text:
        return True
    if not _TWICE.search(text):
        return False
    try:
        return b"".join(_byte(ch) for ch in text).decode("utf-8") != text
    except (UnicodeDecodeError, UnicodeEncodeError):
        return False


def _byte(ch: str) -> bytes:
    """A letter's byte in Windows-1252, and Latin-1's where that has none."""
    try:
        return ch.encode("cp1252")
    except UnicodeEncodeError:
        return ch.encode("latin-1")
