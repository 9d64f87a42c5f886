"""The 17 languages whose lyrics ACE-Step v1 reads, and in which of them a line is written. Knows no tokens.

    languages_of(["你好", "hello"], "zh")        ["zh", "en"]

The language a recipe names is that of every line whose letters it is written in. Another line's is said by its letters,
where only one language has them, or by py3langid for those in Latin letters; without that library they are English.
"""

from __future__ import annotations

import unicodedata
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

_NAMED = {
    "LATIN": "latin", "CYRILLIC": "cyrillic", "ARABIC": "arabic", "DEVANAGARI": "devanagari", "CJK": "han", "HIRAGANA": "kana",
    "KATAKANA": "kana", "HANGUL": "hangul",
}  # fmt: skip
"""Scripts by the word with which Unicode's names of their letters begin."""
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
    """The script that says most about a line: of those read here its most frequent besides Latin, kana before Han.

    Another's name ("Thai") where most letters are of it; None without letters.
    """
    counts = Counter(_script(letter) for letter in line if unicodedata.category(letter) in ("Lo", "Ll", "Lu", "Lt"))
    if counts["kana"]:
        counts["kana"] += counts.pop("han", 0)
    if read := {name: count for name, count in counts.items() if name in WRITTEN_IN and name != "latin" and count}:
        return max(read, key=read.__getitem__)
    return max(counts, key=counts.__getitem__) if counts.total() else None


@lru_cache(4096)
def _script(letter: str) -> str:
    """The script of a letter, of "ﬁ" and "Ａ" as of f and A."""
    first = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "UNKNOWN").split()[0]
    return _NAMED.get(first, first.title())


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
                f"Line {number} of the lyrics is in {script} letters, which ACE-Step v1 does not read; it reads "
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
