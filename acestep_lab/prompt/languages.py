"""The languages of the lyric header by everything people call them: codes of ISO 639, locales, names, country codes.

Knows the 51 languages of ACE-Step 1.5 and nothing else; what is read is meant, never merely spelt alike. The table is small enough
to keep here: libraries with all the world's languages weigh tens of megabytes.
"""

from __future__ import annotations

import re
import unicodedata

_TABLE = """
ar: ara, arabic, العربية, عربي
az: aze, azerbaijani, azeri, azərbaycanca, azərbaycan dili
bg: bul, bulgarian, български
bn: ben, bengali, bangla, বাংলা, bd
ca: cat, catalan, valencian, català
cs: ces, cze, czech, čeština, česky, cz
da: dan, danish, dansk, dk
de: deu, ger, german, deutsch, allemand, alemán, tedesco, swiss german, schweizerdeutsch, 德语, ドイツ語, 독일어, at
el: ell, gre, greek, modern greek, ελληνικά, gr
en: eng, english, englisch, anglais, inglés, inglês, inglese, английский, 英语, 英文, 英語, 영어, gb, us
es: spa, spanish, castilian, español, castellano, spanisch, espagnol, spagnolo, 西班牙语, スペイン語, 스페인어, mx
fa: fas, per, persian, farsi, فارسی, ir
fi: fin, finnish, suomi
fr: fra, fre, french, français, französisch, francés, francese, francês, québécois, 法语, フランス語, 프랑스어
he: heb, hebrew, עברית, iw, il
hi: hin, hindi, हिन्दी, हिंदी
hr: hrv, scr, croatian, hrvatski
ht: hat, haitian, haitian creole, kreyòl, kreyòl ayisyen
hu: hun, hungarian, magyar
id: ind, indonesian, bahasa indonesia, bahasa, in
is: isl, ice, icelandic, íslenska
it: ita, italian, italiano, italienisch, italien, 意大利语, イタリア語, 이탈리아어
ja: jpn, japanese, 日本語, にほんご, japanisch, japonais, japonés, giapponese, 日语, 日文, 일본어, jp
ko: kor, korean, 한국어, 조선말, koreanisch, coréen, coreano, 韩语, 韓国語, kr
la: lat, latin, latina
lt: lit, lithuanian, lietuvių
ms: msa, may, malay, bahasa melayu, melayu, zsm
ne: nep, nepali, नेपाली, np
nl: nld, dut, dutch, flemish, nederlands, vlaams
no: nor, norwegian, norsk, nb, nn, nob, nno, bokmål, nynorsk, norsk bokmål, norwegian bokmål, norwegian nynorsk
pa: pan, punjabi, panjabi, ਪੰਜਾਬੀ, پنجابی
pl: pol, polish, polski
pt: por, portuguese, brazilian, brazilian portuguese, português, portugiesisch, portugais, portugués, 葡萄牙语, ポルトガル語
ro: ron, rum, romanian, moldovan, moldavian, română, mo
ru: rus, russian, русский, russisch, russe, ruso, russo, 俄语, ロシア語, 러시아어
sa: san, sanskrit, संस्कृतम्
sk: slk, slo, slovak, slovenčina
sr: srp, scc, serbian, srpski, српски, rs, sh
sv: swe, swedish, svenska, se
sw: swa, swh, swahili, kiswahili
ta: tam, tamil, தமிழ்
te: tel, telugu, తెలుగు
th: tha, thai, ไทย, ภาษาไทย
tl: tgl, fil, tagalog, filipino, pilipino, ph
tr: tur, turkish, türkçe
uk: ukr, ukrainian, українська, ua
ur: urd, urdu, اردو, pk
vi: vie, vietnamese, tiếng việt, vn
yue: cantonese, 粵語, 粤语, 廣東話, 广东话, hk
zh: zho, chi, cmn, chinese, mandarin, mandarin chinese, chinesisch, chinois, chino, cinese, 中文, 中国語, 중국어, 汉语, 漢語, 普通话, 國語, 国语,
 华语, cn, tw
unknown: und, mul, undetermined, zxx
"""
"""Code: everything else that means it. The last, shorter words are country codes people take for the language's."""

AUTO = frozenset(
    {"", "auto", "automatic", "autodetect", "auto-detect", "detect", "none", "null", "n/a", "na", "any", "default"}
)
"""Words of forms and settings files that leave the choice to the planner."""


def _key(text: str) -> str:
    """Case, accents and separators aside; letters that only look decorated stay (ø, ə, ll)."""
    bare = "".join(ch for ch in unicodedata.normalize("NFD", text.casefold()) if unicodedata.category(ch) != "Mn")
    return re.sub(r"[\s_\-]+", " ", bare).strip(" .")


def _read_table() -> dict[str, str]:
    found = {}
    for row in _TABLE.replace(",\n ", ", ").strip().splitlines():
        code, others = row.split(": ")
        found[code] = code
        found |= {_key(other): code for other in others.split(", ")}
    return found


_BY_WORD = _read_table()
_QUALIFIERS = re.compile(
    r"\b(?:american|australian|austrian|brazilian|british|canadian|egyptian|european|indian|irish|latin american|mexican|modern|"
    r"scottish|simplified|standard|swiss|traditional)\b"
)
"""Words that say which kind of a language, where these models know one kind."""
_LOCALE = re.compile(
    r"([a-z]{2,3})(?:[-_]([a-z]{3}))*(?:[-_]([a-z]{4}))?(?:[-_](?:([a-z]{2})|\d{3}))?(?:[-_](?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*"
)
"""A language tag of BCP 47, or a POSIX locale: language, extended language, script, region, variants."""


def read(text: str) -> str | None:
    """The code a language goes by here ("pt-BR" and "Portuguese" → "pt", "jp" → "ja"); None where it is none of them."""
    if len(text) > 100:
        return None
    if (code := _BY_WORD.get(_key(text))) is not None:
        return code
    first = re.split(r"[.@;,(/]", text.strip())[0].strip()  # "pt_BR.UTF-8", "en-US;q=0.9", "English (US)"
    if tag := _LOCALE.fullmatch(first.casefold()):
        return _of_tag(*tag.groups())
    name = _key(first)
    kind = _key(_QUALIFIERS.sub("", name))
    return _BY_WORD.get(name) or (_BY_WORD.get(kind) if len(kind) > 3 else None)


def _of_tag(language: str, extended: str | None, script: str | None, region: str | None) -> str | None:
    """The code of a language tag; Chinese of Hong Kong and Macao is Cantonese, its other kinds ("zh-min-nan") nobody's."""
    code = _BY_WORD.get(language)
    if code == "zh":
        spoken = extended or ("yue" if region in ("hk", "mo") else "zh")
        return _BY_WORD.get(spoken) if spoken in ("yue", "cmn", "zh") else None
    return code


COUNTRIES = {
    "br": "pt",
    "ch": "de",
    "be": "nl",
    "ie": "en",
    "au": "en",
    "nz": "en",
    "co": "es",
    "cl": "es",
    "lb": "ar",
    "eg": "ar",
}
"""Country codes that are other languages' codes, or nobody's: not read, but a hint says what may be meant."""


def names() -> tuple[str, ...]:
    """Every name longer than a code, for hints on typing errors."""
    return tuple(word for word in _BY_WORD if len(word) > 4)
