"""A line of lyrics as ACE-Step v1 was taught to spell it: small letters, numbers and signs in words, everything in an alphabet.

    clean("Mr. Fox has 3 cats & 20% luck", "en").text      "mister fox has three cats and twenty percent luck"

Knows no tokens. Chinese becomes pinyin with tone numbers, Korean and Japanese Latin letters, by libraries of the extra `ace-v1`;
without one, a line that needs it is an error that names the extra. Numbers without num2words stay digits, and that is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from acestep_lab.engines.ace_v1.languages import NAMES
from acestep_lab.errors import RecipeError

LONGEST_NUMBER = 24
"""Digits of a number that is still read in words."""

_SIGNS = {
    "en": "and at percent hash dollar pound degree", "es": "y arroba por_ciento numeral dolar libra grados",
    "fr": "et arobase pour_cent dièse dollar livre degrés", "de": "und at prozent raute dollar pfund grad",
    "pt": "e arroba por_cento cardinal dólar libra graus", "it": "e chiocciola per_cento cancelletto dollaro sterlina gradi",
    "pl": "i małpa procent krzyżyk dolar funt stopnie", "ar": "و على في_المئة رقم دولار جنيه درجة",
    "cs": "a na procento křížek dolar libra stupně", "ru": "и собака процентов номер доллар фунт градус",
    "nl": "en bij procent hekje dollar pond graden", "tr": "ve at yüzde diyez dolar sterlin derece",
    "hu": "és kukac százalék kettőskereszt dollár font fok", "ko": "그리고 에 퍼센트 번호 달러 파운드 도",
}  # fmt: skip
"""What each language says for & @ % # $ £ °."""

_SHORT = {
    "en": "mrs misess, mr mister, dr doctor, st saint, co company, jr junior, maj major, gen general, drs doctors, rev reverend, "
    "lt lieutenant, hon honorable, sgt sergeant, capt captain, esq esquire, ltd limited, col colonel, ft fort",
    "es": "sra señora, sr señor, dr doctor, dra doctora, st santo, co compañía, jr junior, ltd limitada",
    "fr": "mme madame, mr monsieur, dr docteur, st saint, co compagnie, jr junior, ltd limitée",
    "de": "fr frau, dr doktor, st sankt, co firma, jr junior",
    "pt": "sra senhora, sr senhor, dr doutor, dra doutora, st santo, co companhia, jr júnior, ltd limitada",
    "it": "sig signore, dr dottore, st santo, co compagnia, jr junior, ltd limitata",
    "pl": "p pani, m pan, dr doktor, sw święty, jr junior", "cs": "dr doktor, ing inženýr, p pan",
    "nl": "dhr de heer, mevr mevrouw, dr dokter, jhr jonkheer", "tr": "b bay, byk büyük, dr doktor",
    "hu": "dr doktor, b bácsi, nőv nővér", "ru": "г-жа госпожа, г-н господин, д-р доктор",
}  # fmt: skip
"""Abbreviations that end in a full stop (Russian ones need none), and what is sung."""

_ORDINALS = {
    "en": "st|nd|rd|th", "es": "º|ª|er|os|as|o|a", "fr": "º|ª|er|re|ème|e", "de": r"st|nd|rd|th|º|ª|\.(?=\s|$)",
    "pt": "º|ª|os|as|o|a", "it": "º|°|ª|o|a|i|e", "pl": "º|ª|st|nd|rd|th", "ar": "ون|ين|ث|ر|ى", "cs": r"\.(?=\s|$)",
    "ru": "-й|-я|-е|-ое|-ье|-го", "nl": "de|ste|e", "tr": r"\.|inci|nci|uncu|üncü", "hu": r"\.|adik|edik|odik|ödike|ödik|ik",
    "ko": "번째|번|차|째",
}  # fmt: skip
"""What stands behind a number that says a place in a row."""

_AND_CENTS = {"es": " con ", "fr": " et ", "de": " und ", "pt": " e ", "it": " e "}  # elsewhere a comma
_CURRENCIES = {"$": "USD", "£": "GBP", "€": "EUR"}
_CHINESE_MARKS = str.maketrans(dict.fromkeys(
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏·〈〉"
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ",",
))  # fmt: skip
"""Chinese lines have one punctuation mark."""

NumberReader = Callable[..., str]
"""num2words: a number and lang=, ordinal=, to=, currency= → words."""
Transliterator = Callable[[str], str]


@dataclass(frozen=True)
class Cleaned:
    """A line as it is spelt for the model, and the numbers in it that nobody could read."""

    text: str
    unread: tuple[str, ...] = ()


def _missing(code: str, library: str) -> RecipeError:
    return RecipeError(
        f'{NAMES[code]} lyrics are read with {library}, which is not installed here: `pip install "acestep_lab[ace-v1]"`.'
    )


def _pinyin(text: str) -> str:
    """Chinese characters as pinyin with the tone behind each syllable, 5 for none; all else as it is."""
    try:
        from pypinyin import Style, pinyin
    except ImportError:
        raise _missing("zh", "pypinyin") from None
    return "".join(one[0] for one in pinyin(text, style=Style.TONE3, heteronym=False, neutral_tone_with_five=True))


def _romaja(text: str) -> str:
    """Hangul in Latin letters, by the academic rule."""
    try:
        from hangul_romanize import Transliter
        from hangul_romanize.rule import academic
    except ImportError:
        raise _missing("ko", "hangul-romanize") from None
    return Transliter(academic).translit(text)


def _romaji(text: str) -> str:
    """Japanese in Latin letters, word by word as it is pronounced."""
    return _cutlet().romaji(text)


@cache
def _cutlet() -> Any:
    try:
        from cutlet import Cutlet

        return Cutlet()
    except (ImportError, RuntimeError):  # RuntimeError: MeCab without a dictionary
        raise _missing("ja", "cutlet, fugashi and unidic-lite") from None


@cache
def number_reader() -> NumberReader | None:
    """num2words; None where it is not installed."""
    try:
        from num2words import num2words
    except ImportError:
        return None
    return num2words


@dataclass(frozen=True)
class Readers:
    """What reads numbers, and what letters of no alphabet stand for: libraries, each to be replaced by another."""

    number: NumberReader | None = field(default_factory=number_reader)
    pinyin: Transliterator = _pinyin
    romaja: Transliterator = _romaja
    romaji: Transliterator = _romaji


def clean(line: str, language: str, readers: Readers | None = None) -> Cleaned:
    """A line in a language of `languages.NAMES` as the model spells it; RecipeError where its script's library is missing."""
    readers = readers or Readers()
    if language == "ja":
        return Cleaned(_spaced(readers.romaji(line).lower()))
    if language == "hi":
        return Cleaned(_spaced(line.lower()))
    text = _lower(unicodedata.normalize("NFC", line).replace('"', ""), language)
    if language == "zh":
        return Cleaned(readers.pinyin(_spaced(_chinese_numbers(text).translate(_CHINESE_MARKS))))
    text, unread = _numbers(text, language, readers.number)
    text = _spaced(_signs(_abbreviations(text, language), language))
    return Cleaned(readers.romaja(text) if language == "ko" else text, unread)


def _lower(text: str, language: str) -> str:
    """Small letters and ASCII digits. A Turkish İ is an i; I, as the model was taught, is one too."""
    text = text.replace("İ", "i") if language == "tr" else text
    return "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in text.lower())


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _abbreviations(text: str, language: str) -> str:
    for pattern, words in _short(language):
        text = pattern.sub(words, text)
    return text


@cache
def _short(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = (one.split(" ", 1) for one in _SHORT.get(language, "").split(", ") if one)
    end = r"\b" if language == "ru" else r"\."
    return tuple((re.compile(rf"\b{re.escape(short)}{end}"), words) for short, words in pairs)


def _signs(text: str, language: str) -> str:
    words = (f" {one.replace('_', ' ')} " for one in _SIGNS[language].split())
    return text.translate({ord(sign): word for sign, word in zip("&@%#$£°", words, strict=True)})


# -- numbers -----------------------------------------------------------------------------------------------------------

_THOUSANDS = {mark: re.compile(rf"\b\d{{1,3}}(?:\{mark}\d{{3}})+(?!\d)") for mark in ",."}
_MONEY = {sign: re.compile(rf"\{sign}([0-9.,]*[0-9])|(?<![0-9.,])([0-9.,]*[0-9])\{sign}") for sign in _CURRENCIES}
_DECIMAL, _WHOLE = re.compile(r"(?<![0-9])[0-9]+[.,][0-9]+"), re.compile(r"[0-9]+")
_ODD = (NotImplementedError, TypeError, ValueError, ArithmeticError, LookupError)
"""What num2words raises for a number or a form that it has no words for in a language."""


def _numbers(text: str, language: str, reader: NumberReader | None) -> tuple[str, tuple[str, ...]]:
    """Every number in words, and those that have none."""
    if reader is not None:
        said = partial(_said, reader, language)
        text = _THOUSANDS["," if language in ("en", "ru") else "."].sub(lambda m: re.sub("[,.]", "", m[0]), text)
        for sign, currency in _CURRENCIES.items():
            text = _MONEY[sign].sub(partial(_money, said, language, currency), text)
        if language != "tr":
            text = _DECIMAL.sub(lambda m: said(m[0], float(m[0].replace(",", "."))), text)
        text = re.sub(rf"(?<![0-9])([0-9]+)(?:{_ORDINALS[language]})", lambda m: said(m[0], m[1], ordinal=True), text)
        text = _WHOLE.sub(lambda m: said(m[0], m[0]), text)
    return text, tuple(dict.fromkeys(_WHOLE.findall(text)))


def _said(reader: NumberReader, language: str, text: str, number: str | float, **form: Any) -> str:
    """A number in words, or its text as it was where the language has none."""
    if len(text) > LONGEST_NUMBER:
        return text
    try:
        return reader(int(number) if isinstance(number, str) else number, lang=language, **form)
    except _ODD:
        return text


def _money(said: Callable[..., str], language: str, currency: str, found: re.Match[str]) -> str:
    """An amount in words; whole ones without their zero cents."""
    digits = (found[1] or found[2]).replace(",", ".")
    if digits.count(".") > 1 or digits.startswith("."):
        return found[0]
    words = said(found[0], float(digits), to="currency", currency=currency)
    amount, _, cents = words.rpartition(_AND_CENTS.get(language, ", "))
    return amount if amount and float(digits).is_integer() and cents.startswith(said("0", "0")) else words


_DIGITS = "零一二三四五六七八九"


def _chinese_numbers(text: str) -> str:
    """Up to three digits as a number (两百零三), more of them one by one as years are read, % before its number."""
    text = re.sub(r"(?<![0-9])([0-9]+(?:\.[0-9]+)?)[%％]", r"百分之\1", text)
    return re.sub(
        r"([0-9]+)(?:\.([0-9]+))?", lambda m: _chinese(m[1]) + ("点" + _one_by_one(m[2]) if m[2] else ""), text
    )


def _one_by_one(digits: str) -> str:
    return "".join(_DIGITS[int(one)] for one in digits)


def _chinese(digits: str) -> str:
    """One whole number in characters."""
    if not 1 < len(digits) < 4 or digits.startswith("0"):
        return _one_by_one(digits)
    hundreds, tens, ones = (int(one) for one in digits.zfill(3))
    words = f"{'两' if hundreds == 2 else _DIGITS[hundreds]}百" if hundreds else ""
    words += f"{_DIGITS[tens]}十" if tens else "零" if hundreds and ones else ""
    words += _DIGITS[ones] if ones else ""
    return words[1:] if words.startswith("一十") else words
