"""The 17 languages whose lyrics ACE-Step v1 reads, and in which of them a line is written. Knows no tokens.

    languages_of(["你好", "hello"], "zh")        ["zh", "en"]

The language a recipe names is that of every line whose letters it is written in. Another line's is said by its letters,
where only one language has them, or by py3langid for those in Latin letters; without that library they are English.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt.languages import AUTO, read

NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "pl": "Polish",
    "tr": "Turkish", "ru": "Russian", "cs": "Czech", "nl": "Dutch", "ar": "Arabic", "zh": "Chinese", "ja": "Japanese",
    "hu": "Hungarian", "ko": "Korean", "hi": "Hindi",
}  # fmt: skip
"""Code and name of each language, in the original's order."""

WRITTEN_IN = {
    "latin": ("en", "de", "fr", "es", "it", "pt", "pl", "tr", "cs", "nl", "hu"), "cyrillic": ("ru",), "arabic": ("ar",),
    "devanagari": ("hi",), "han": ("zh", "ja"), "kana": ("ja",), "hangul": ("ko",),
}  # fmt: skip
"""Each script's languages; the first is meant where nothing says which."""

_RANGES = (
    ("latin", 0x41, 0x24F), ("latin", 0x1E00, 0x1EFF), ("latin", 0xFF21, 0xFF5A), ("greek", 0x370, 0x3FF),
    ("greek", 0x1F00, 0x1FFF), ("cyrillic", 0x400, 0x52F), ("armenian", 0x530, 0x58F), ("hebrew", 0x590, 0x5FF),
    ("arabic", 0x600, 0x6FF), ("arabic", 0x750, 0x77F), ("arabic", 0x8A0, 0x8FF), ("arabic", 0xFB50, 0xFDFF),
    ("arabic", 0xFE70, 0xFEFE), ("devanagari", 0x900, 0x97F), ("bengali", 0x980, 0x9FF), ("gurmukhi", 0xA00, 0xA7F),
    ("gujarati", 0xA80, 0xAFF), ("tamil", 0xB80, 0xBFF), ("telugu", 0xC00, 0xC7F), ("kannada", 0xC80, 0xCFF),
    ("malayalam", 0xD00, 0xD7F), ("thai", 0xE00, 0xE7F), ("lao", 0xE80, 0xEFF), ("tibetan", 0xF00, 0xFFF),
    ("georgian", 0x10A0, 0x10FF), ("hangul", 0x1100, 0x11FF), ("khmer", 0x1780, 0x17FF), ("kana", 0x3040, 0x30FF),
    ("hangul", 0x3130, 0x318F), ("han", 0x3400, 0x9FFF), ("hangul", 0xAC00, 0xD7A3), ("han", 0xF900, 0xFAFF),
    ("kana", 0xFF66, 0xFF9F), ("han", 0x20000, 0x3FFFF),
)  # fmt: skip
"""Scripts by the first and last place of their letters in Unicode; a letter in none of these is of a script not known here."""
SURE = 0.8
"""The probability from which a guess about a line counts; below it, the guess about all lines in Latin letters together does."""

Guess = Callable[[str], tuple[str, float]]
"""What says of a text in Latin letters which language it is, and how probable that is."""


def spoken(language: str | None) -> str | None:
    """The code of the language a recipe names, None where it names none; RecipeError for one that v1 does not read."""
    if language is None or language.strip().casefold() in AUTO:
        return None
    code = read(language)
    if code == "unknown":
        return None
    if code not in NAMES:
        raise RecipeError(f"ACE-Step v1 reads no lyrics in {shown(language)}; it reads {', '.join(NAMES)}.")
    return code


def script_of(line: str) -> str | None:
    """The script that says most about a line: its most frequent besides Latin, kana before Han; None without letters."""
    counts = Counter(_script(letter) for letter in line if letter.isalpha())
    if counts["kana"]:
        counts["kana"] += counts.pop("han", 0)
    latin = counts.pop("latin", 0)
    return max(counts, key=counts.__getitem__) if counts.total() else "latin" if latin else None


@lru_cache(4096)
def _script(letter: str) -> str:
    place = ord(letter)
    return next((name for name, first, last in _RANGES if first <= place <= last), "other")


def languages_of(
    lines: Sequence[str], named: str | None = None, guess: Guess | None = None, numbers: Sequence[int] | None = None
) -> list[str]:
    """The language of each line of a song; `named` is the recipe's, `guess` what tells Latin ones apart (py3langid), `numbers`
    what each line is called (1, 2, …).

    RecipeError, naming the line, for one in letters that no language here has.
    """
    named, scripts = spoken(named), [script_of(line) for line in lines]
    for number, script in zip(numbers or range(1, len(lines) + 1), scripts, strict=True):
        if script is not None and script not in WRITTEN_IN:
            raise RecipeError(
                f"Line {number} of the lyrics is in {script.title()} letters, which ACE-Step v1 does not read; it reads "
                f"{', '.join(NAMES)}."
            )
    guess = (guess or guesser() or _english) if named not in WRITTEN_IN["latin"] else _english
    latin = " ".join(line for line, script in zip(lines, scripts, strict=True) if script == "latin")
    song = _guessed(latin, "en", guess) if latin else "en"
    if "kana" in scripts and named != "zh":  # a Japanese song's lines of kanji alone
        scripts = ["kana" if script == "han" else script for script in scripts]
    return [_language(line, script, named, song, guess) for line, script in zip(lines, scripts, strict=True)]


def _language(line: str, script: str | None, named: str | None, song: str, guess: Guess) -> str:
    """One line's language: the named one where it has these letters, else the only one, else the guess."""
    if script is None:
        return named or song
    possible = WRITTEN_IN[script]
    if named in possible:
        return named
    return possible[0] if script != "latin" else _guessed(line, song, guess)


def _guessed(text: str, otherwise: str, guess: Guess) -> str:
    """The guess about a text where it is sure, else what was thought before."""
    language, probability = guess(text)
    return language if probability >= SURE and language in NAMES else otherwise


def _english(text: str) -> tuple[str, float]:
    return "en", 1.0


@cache
def guesser() -> Guess | None:
    """py3langid among the languages in Latin letters; None where it is not installed."""
    try:
        from py3langid import langid
    except ImportError:
        return None
    model: Any = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model.set_languages(WRITTEN_IN["latin"])
    return model.classify
