"""What may be wrong with the words of a song to learn from, as remarks.

Knows words; no model, no sound. A tokenizer may be handed in; without one, tokens are counted by the letters they take.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from acestep_lab.prompt import lyrics as sheet
from acestep_lab.train.encodings import garbled
from acestep_lab.train.labels import TEXTS, Label, Remark

Tokens = Callable[[str], int]
"""Counts the tokens of a text."""

LYRIC_TOKENS, CAPTION_TOKENS = 2048, 256
"""What inference reads of lyrics, and of caption and metadata."""

_HAN, _KANA = frozenset({"CJK"}), frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
_LATIN = frozenset({"LATIN"})
SCRIPTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("zh", "yue"), _HAN),
    "ja": _HAN | _KANA,
    "ko": frozenset({"HANGUL", "CJK"}),
    **dict.fromkeys(("ru", "uk", "bg"), frozenset({"CYRILLIC"})),
    "sr": _LATIN | {"CYRILLIC"},
    "az": _LATIN | {"CYRILLIC", "ARABIC"},
    "el": frozenset({"GREEK"}),
    "he": frozenset({"HEBREW"}),
    **dict.fromkeys(("ar", "fa", "ur"), frozenset({"ARABIC"})),
    **dict.fromkeys(("hi", "ne", "sa"), frozenset({"DEVANAGARI"})),
    "bn": frozenset({"BENGALI"}),
    "pa": frozenset({"GURMUKHI", "ARABIC"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "th": frozenset({"THAI"}),
}
"""Scripts a language is written in, as Unicode begins its letters' names; every other language in Latin letters."""

_NAMES = {"CJK": "Chinese characters", "LATIN": "Latin letters", "ARABIC": "Arabic letters", "HANGUL": "Hangul"}


def word_remarks(labels: Mapping[str, Label], seconds: float, tokens: Tokens | None = None) -> tuple[Remark, ...]:
    """What is odd about the words of a song of some seconds."""
    if all(label.is_open for label in labels.values()):
        return (Remark("unlabelled", "Nothing is said of this song yet."),)
    texts = {name: str(labels[name].value or "") for name in TEXTS}
    language, bpm = labels["language"].value, labels["bpm"].value
    found = [
        *_garbled(texts),
        *_script(str(language or "unknown"), texts["lyrics"]),
        *_tags(texts["lyrics"], seconds, None if bpm is None else float(bpm)),
        *_too_long(texts, tokens),
    ]
    if labels["instrumental"].value and _sung(texts["lyrics"]):
        found.append(Remark("instrumental", "It is said to be instrumental and has lyrics.", "instrumental"))
    return tuple(found)


def _garbled(texts: Mapping[str, str]) -> Iterator[Remark]:
    for name, text in texts.items():
        if garbled(text):
            yield Remark("garbled", f"The {name} looks as if it was read in a wrong encoding.", name)


def _sung(lyrics: str) -> str:
    """Lyrics without their section tags."""
    return "\n".join(line for line in lyrics.split("\n") if not line.strip().startswith("[")).strip()


@functools.lru_cache(maxsize=20_000)
def _script_of(ch: str) -> str:
    """The script of a letter, "" for what is none."""
    if not ch.isalpha():
        return ""
    name = unicodedata.name(ch, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return name.split(" ")[0]


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    found: Counter[str] = Counter()
    for ch, count in Counter(text).items():
        if script := _script_of(ch):
            found[script] += count
    return found


def _script(language: str, lyrics: str) -> Iterator[Remark]:
    if language == "unknown":
        return
    found = scripts_of(_sung(lyrics))
    letters, wanted = sum(found.values()), SCRIPTS.get(language, _LATIN)
    if letters < 4:
        return
    most = found.most_common(1)[0][0]
    kana = sum(found[one] for one in _KANA)
    if sum(found[one] for one in wanted) < 0.5 * letters or (language in ("zh", "yue") and kana > 0.1 * letters):
        seen = "kana" if most in wanted or most in _KANA else _NAMES.get(most, f"{most.capitalize()} letters")
        yield Remark("script", f"The language is {language!r}, and the lyrics are in {seen}.", "language")
    elif language == "ja" and letters >= 20 and not kana:
        yield Remark("script", "The language is 'ja', and the lyrics have no kana: they look Chinese.", "language")


def _tags(lyrics: str, seconds: float, bpm: float | None) -> Iterator[Remark]:
    """Tags nobody was taught, look-alikes, open brackets, more words than the song has room for."""
    if not lyrics:
        return
    found = sheet.remarks(lyrics, seconds, bpm)
    for text in list(dict.fromkeys(remark.text for remark in found))[:5]:
        yield Remark("tags", text, "lyrics")


def _too_long(texts: Mapping[str, str], tokens: Tokens | None) -> Iterator[Remark]:
    about = "" if tokens else "about "
    for name, most in (("lyrics", LYRIC_TOKENS), ("caption", CAPTION_TOKENS)):
        text = texts[name]
        if len(text) < most // 8:  # a letter takes four tokens at most, most take a quarter of one
            continue
        count = tokens(text) if tokens else tokens_by_letters(text)
        if count > most:
            sentence = f"The {name} have {about}{count:,} tokens, and {most:,} are read: the end is lost."
            yield Remark("long", sentence.replace("caption have", "caption has"), name)


def tokens_by_letters(text: str) -> int:
    """About how many tokens a text has: four plain letters, or one of another script, make one."""
    plain = sum(ch < "\u0250" for ch in text)
    return round(plain / 4 + (len(text) - plain))
