"""Section tags that are not quite: "(Verse 1)", "【副歌】", "Chorus:", "[Verse] words", and the form the models were taught.

Knows text only. A line that merely might be sung is left in peace: the name must be all there is of it.
"""

from __future__ import annotations

import re
import unicodedata

from acestep_lab.prompt.vocabulary import SECTION_TAGS

_NAMES: dict[str, str] = {tag.lower(): tag for tag in SECTION_TAGS} | {
    "prechorus": "Pre-Chorus", "pre chorus": "Pre-Chorus", "postchorus": "Post-Chorus", "post chorus": "Post-Chorus",
    "refrain": "Chorus", "estribillo": "Chorus", "coro": "Chorus", "refrão": "Chorus", "ritornello": "Chorus",
    "couplet": "Verse", "strophe": "Verse", "estrofa": "Verse", "verso": "Verse", "strofa": "Verse", "vers": "Verse",
    "puente": "Bridge", "pont": "Bridge", "ponte": "Bridge", "final chorus": "Chorus", "middle 8": "Bridge",
    "主歌": "Verse", "副歌": "Chorus", "前奏": "Intro", "尾奏": "Outro", "结尾": "Outro", "間奏": "Interlude", "间奏": "Interlude",
    "桥段": "Bridge", "橋段": "Bridge", "导歌": "Pre-Chorus", "預副歌": "Pre-Chorus", "预副歌": "Pre-Chorus",
    "サビ": "Chorus", "aメロ": "Verse", "bメロ": "Pre-Chorus", "cメロ": "Bridge", "イントロ": "Intro", "アウトロ": "Outro",
    "후렴": "Chorus", "후렴구": "Chorus", "벌스": "Verse", "브릿지": "Bridge", "인트로": "Intro", "아웃트로": "Outro", "간주": "Interlude",
    "1절": "Verse 1", "2절": "Verse 2", "3절": "Verse 3", "интро": "Intro", "last chorus": "Chorus", "piano solo": "Piano Solo",
    "instrumental break": "Instrumental",
    "припев": "Chorus", "куплет": "Verse", "проигрыш": "Interlude", "бридж": "Bridge",
}  # fmt: skip
"""What section names are called, in lower case → the tag the models were taught."""

_SAFE_ALONE = {
    "verse", "chorus", "pre-chorus", "prechorus", "pre chorus", "post-chorus", "outro", "intro", "主歌", "副歌", "前奏", "尾奏",
    "间奏", "間奏", "导歌", "サビ", "aメロ", "bメロ", "イントロ", "アウトロ", "후렴", "припев", "куплет",
}  # fmt: skip
"""Names that nobody sings as a line of their own; "Silence", "Bridge" or "Drop" might be."""

_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|h[1-6]|p)>|\[/?[bi]\]", re.IGNORECASE)
_NUMBER = re.compile(
    r"^(?:\d{1,2}\.\s+)?(.*?)[\s#._-]*(\d{1,2}|[ivx]{1,4}|one|two|three|four|[一二三四五六七八九])?\s*(?:\(?[x×]\s*\d{1,2}\)?)?$",
    re.IGNORECASE,
)
_GOOD = re.compile(r"^\s*\[[^\[\]\n]{1,80}\]\s*$")
_INLINE = re.compile(r"^\s*\[([^\[\]\n]{1,80})\]\s*:?\s*([^\[\s].*)$")


def corrected_tag(line: str) -> str | None:
    """What a line that looks like a section tag ought to be ("[Verse 1]"); None where it is one, or no tag at all."""
    line = line.strip()
    if not line or len(line) > 80:
        return _inline(line) if line.startswith("[") and len(line) <= 2000 else None
    good = _GOOD.match(line)
    bare = _MARKUP.sub("", line).rstrip(":：").strip()
    inside = _inside(_inside(bare).rstrip(":："))
    tag = _tag(inside.partition(" - ")[0] if good else inside)
    if tag is None:
        return _inline(line)
    if good:
        as_taught = _name(line)[0] in _KNOWN and unicodedata.is_normalized("NFKC", line)
        return None if as_taught or tag.lower() == line.lower() else tag
    is_marked = bare != line or inside != bare
    return tag if is_marked or _name(inside)[0] in _SAFE_ALONE else None


def _inside(text: str) -> str:
    """A text without the brackets, quotes, bullets, dashes and stars around it; marks that end a sentence stay."""
    start, end = 0, len(text)
    while start < end and _is_ornament(text[start]):
        start += 1
    while start < end and _is_ornament(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_ornament(ch: str) -> bool:
    return ch in " *#_/|•·\"'~\\" or unicodedata.category(ch) in (
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Pd",
        "Sm",
        "So",
        "Sk",
        "Cf",
        "Zs",
    )


_KNOWN = {tag.lower() for tag in SECTION_TAGS}


def _name(text: str) -> tuple[str, str]:
    """(name in lower case, its number or "") of "Verse 2" or "[verse 2 - soft]"."""
    text = unicodedata.normalize("NFKC", text).strip("[] ").partition(" - ")[0].partition(":")[0].lower()
    match = _NUMBER.match(text.strip())
    name, number = (match.group(1), match.group(2) or "") if match else (text, "")
    return (name, number) if name in _NAMES else (text.strip(), "")


def _tag(inside: str) -> str | None:
    name, number = _name(inside)
    if name not in _NAMES:
        return None
    return f"[{_NAMES[name]}{' ' + _DIGITS.get(number, number.upper()) if number else ''}]"


_DIGITS = {
    **dict(zip(("one", "two", "three", "four"), "1234", strict=True)),
    **dict(zip("一二三四五六七八九", "123456789", strict=True)),
}


def _inline(line: str) -> str | None:
    """A known tag with words behind it."""
    match = _INLINE.match(line)
    tag = _tag(match.group(1).partition(" - ")[0]) if match else None
    return None if tag is None or match is None else f"[{match.group(1).strip()}] on a line of its own"
