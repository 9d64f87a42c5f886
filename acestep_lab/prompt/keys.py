"""Keys as musicians write them, read into one spelling: "fis-moll", "B-flat Major", "C#:min", "La mineur", "降E大调", "8A".

Knows no model: a key is a letter, an accidental ("", "#", "b") and whether it is minor.

German, Scandinavian and Slavic spellings call B natural "H" and B flat "B"; the letter follows the word beside it: "B-Dur" and
"b-moll" are B flat, "B major", "Bm" and "B" alone are B natural, and "H" is read only beside Dur, Moll or an m.
Of "C-" the dash is a lead sheet's minor.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MINOR, MAJOR = "minor", "major"

_MODES: dict[str, str] = {
    **dict.fromkeys(("major", "maj", "majeur", "mayor", "maior", "maggiore", "ionian", "мажор", "大调", "大調", "长调"), MAJOR),
    **dict.fromkeys(("長調", "メジャー", "장조", "메이저", "groot"), MAJOR),
    **dict.fromkeys(("minor", "min", "mineur", "menor", "minore", "aeolian", "минор", "小调", "小調", "短调"), MINOR),
    **dict.fromkeys(("短調", "マイナー", "단조", "마이너", "klein"), MINOR),
    **dict.fromkeys(("natural minor", "harmonic minor", "melodic minor", "mi", "minor natural"), MINOR),
    "dur": MAJOR, "moll": MINOR, "duuri": MAJOR, "molli": MINOR, "mol": MINOR,
}  # fmt: skip

CHURCH_MODES = {"dorian": MINOR, "phrygian": MINOR, "locrian": MINOR, "lydian": MAJOR, "mixolydian": MAJOR}
"""Modes the models do not know, and the one they know that is nearest."""

_GERMANIC = ("dur", "moll", "duuri", "molli", "mol")
"""Words beside which B is B flat and H is B."""

_SHARPS = ("#", "♯", "sharp", "is", "diese", "diesis", "sostenido", "sustenido", "диез", "升", "嬰", "올림")
_FLATS = ("b", "♭", "flat", "es", "bemol", "bemolle", "бемоль", "降", "変", "變", "내림")
_ACCIDENTALS = dict.fromkeys(_SHARPS, "#") | dict.fromkeys(_FLATS, "b")

_SYLLABLES = {
    **{letter: letter.upper() for letter in "abcdefg"},
    "do": "C", "ut": "C", "re": "D", "mi": "E", "fa": "F", "sol": "G", "la": "A", "si": "B", "ti": "B",
    "до": "C", "ре": "D", "ми": "E", "фа": "F", "соль": "G", "ля": "A", "си": "B",
    **dict(zip("ハニホヘトイロ", "CDEFGAB", strict=True)), **dict(zip("다라마바사가나", "CDEFGAB", strict=True)),
}  # fmt: skip

_GERMAN = {
    **{letter: (letter.upper(), "") for letter in "acdefg"}, "h": ("B", ""), "b": ("B", "b"), "hes": ("B", "b"),
    **{f"{letter}is": (("B" if letter == "h" else letter.upper()), "#") for letter in "acdefgh"},
    **{f"{letter}es": (letter.upper(), "b") for letter in "cdfg"}, "es": ("E", "b"), "as": ("A", "b"),
}  # fmt: skip
"""German note names → letter and accidental."""

_CAMELOT = dict(
    zip(
        (f"{n}{side}" for side in "ab" for n in range(1, 13)),
        "Ab- Eb- Bb- F- C- G- D- A- E- B- F#- Db- B+ F#+ Db+ Ab+ Eb+ Bb+ F+ C+ G+ D+ A+ E+".split(),
        strict=True,
    )
)
"""The wheel disc jockeys mix by: "8A" is A minor, "8B" C major."""

_AROUND = re.compile(r"^(?:in\s+)?(?:the\s+)?(?:key\s*(?:of\s+|[:=]\s*)|tonart\s*:\s*)?(.*?)(?:\s+(?:key|scale))?$")
_MODE = re.compile("(" + "|".join(sorted((*_MODES, *CHURCH_MODES), key=len, reverse=True)) + ")$")
_NOTE = re.compile(
    rf"^({'|'.join(sorted(_SYLLABLES, key=len, reverse=True))})"
    rf"[\s\-_]*({'|'.join(re.escape(a) for a in sorted(_ACCIDENTALS, key=len, reverse=True))})?$"
)
_SHORT = re.compile(
    rf"^((?:{'|'.join(sorted(_SYLLABLES, key=len, reverse=True))})(?:\s*[#♯♭b]|[\s-]*(?:sharp|flat))?)\s*(?:[:-]?\s*m|-)$"
)
"""A note and a single sign for the mode: "Am", "F#-", "Lam"."""
_BEFORE = re.compile(r"^(升|降|嬰|変|變|올림|내림|#|♯|♭)\s*(.+)$")


@dataclass(frozen=True)
class Key:
    """A tonic and a mode."""

    letter: str
    accidental: str
    minor: bool

    def __str__(self) -> str:
        return f"{self.letter}{self.accidental} {MINOR if self.minor else MAJOR}"


def read(text: str) -> Key | None:
    """A key out of any usual spelling; None where there is none."""
    if len(text) > 60:
        return None
    given = _plain(text)
    if tonic := _CAMELOT.get(given.replace(" ", "").lstrip("0")):
        return Key(tonic[0], tonic[1:-1], tonic[-1] == "-")
    note, mode = _split(given, text)
    if mode is None or mode in CHURCH_MODES:
        return None
    found = _german(note) if mode in _GERMANIC else None
    found = found or _note(note, bare=mode == "")
    return None if found is None else Key(*found, _MODES.get(mode, MAJOR) == MINOR)


def church_mode(text: str) -> tuple[str, Key] | None:
    """("dorian", D minor) of "D dorian": a mode the models do not know, and the nearest key they know."""
    note, mode = _split(_plain(text[:60]), text[:60])
    found = _note(note, bare=False) if mode in CHURCH_MODES else None
    return None if found is None or mode is None else (mode, Key(*found, CHURCH_MODES[mode] == MINOR))


def _plain(text: str) -> str:
    """Lower case, one kind of letter for each, accents off the solfège, one space."""
    wide = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(ch for ch in unicodedata.normalize("NFD", wide) if ch not in "\u0300\u0301\u0302\u0308♮")
    words = re.sub(r"[\s_()]+", " ", unicodedata.normalize("NFC", bare)).strip(" .,;'\"")
    match = _AROUND.match(words)
    return match.group(1) if match else words


def _split(given: str, original: str) -> tuple[str, str | None]:
    """(note, mode): the mode "" where none is said, None where what is said is no mode."""
    if given in ("hm", "h-"):
        return "b", MINOR
    match = None if given in _SYLLABLES else _MODE.search(given)  # "mi" is E
    if match:
        return given[: match.start()].rstrip(" -:_"), match.group(1)
    if short := _SHORT.match(given):
        return short.group(1), MAJOR if original.rstrip(" .,;").endswith("M") else MINOR
    return given, ""


def _note(text: str, bare: bool) -> tuple[str, str] | None:
    """(letter, accidental); `bare`: a mode is not said, so that only letters count ("La" alone is a word)."""
    if before := _BEFORE.match(text):
        text = before.group(2).strip() + before.group(1)
    match = _NOTE.match(text)
    if not match or (bare and match.group(1) not in "abcdefg"):
        return None
    return _SYLLABLES[match.group(1)], _ACCIDENTALS.get(match.group(2) or "", "")


def _german(text: str) -> tuple[str, str] | None:
    return _GERMAN.get(text.replace(" ", ""))
