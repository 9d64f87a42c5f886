"""What of a recipe's words and fields can be left out or swapped, one at a time, and the recipe that each change makes.

Knows text and recipes; nothing is rendered here.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.listen.lyric_text import LyricText, Span
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe

WHAT = ("phrases", "tags", "sections", "fields")
"""What can be changed: phrases of the caption, section tags alone, sections with their words, tempo, key, meter and language."""
FIELDS = ("bpm", "keyscale", "timesignature", "language")
UNSAID = {"language": "unknown"}
"""What a field is where nothing is said, if that is not None."""
MOST_PHRASES, MOST_SECTIONS = 12, 12
"""More pieces than that are taken together, neighbours first: each one costs a render."""
STAND_IN = "music"
"""What a caption says once its only phrase is left out: no recipe is without words."""
LEFT_OUT = "left out"

_BREAK = re.compile(r"[;:!?…](?=\s|$)|\.(?=\s|$)|(?<!\d),|,(?!\d)|[、，。；：！？،؛؟।|\n]")
_EDGE = " \t\n,;:.!?…、，。；：！？،؛؟।|"
_LEANING = frozenset("a an the with and or of in on at by for to from like into over under without".split())
"""Words that belong to the one behind them."""
_MOST_LETTERS = {"CJK": 2, "KATAKANA": 12}
"""Letters that go together as a word, where a script has no spaces to tell."""


@dataclass(frozen=True)
class Variant:
    """One change of a recipe: what is changed, how, and where it stood."""

    kind: str
    """"phrase", "tag", "section", "field"; "seed" for the other noise that the rest is held against."""
    name: str
    """The phrase, the tag, the field, the seed."""
    change: str
    """ "left out", or what stands in its place, as "→ 140"."""
    recipe: Recipe
    span: Span | None = None
    """From which letter to which, of the caption (phrases) or of the lyrics (tags and sections)."""

    @property
    def key(self) -> str:
        """What tells it from every other change of the same recipe."""
        told = json.dumps([self.kind, self.name, self.change, self.span], ensure_ascii=True)
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def variants(recipe: Recipe, what: Sequence[str] = WHAT, swap: Mapping[str, Any] | None = None) -> tuple[Variant, ...]:
    """Every change of a recipe, one at a time; RecipeError where nothing can be changed, or a swap names nothing that is there."""
    chosen = tuple(dict.fromkeys(checks.choice("What is changed", one, WHAT) for one in _listed(what)))
    swaps = {str(name): value for name, value in checks.mapping("swap", {} if swap is None else swap).items()}
    used: set[str] = set()
    found = [*_phrases(recipe, chosen, swaps, used), *_lyrics(recipe, chosen, swaps, used)]
    found += _fields(recipe, chosen, swaps, used)
    if lost := [name for name in swaps if name not in used]:
        raise RecipeError(
            f"There is no {shown(lost[0])} to swap; swap takes words of the caption, a tag such as '[Chorus]', or one of "
            f"{', '.join(FIELDS)}, each as it stands in the take."
        )
    if not found:
        raise RecipeError(
            "This take has no words and no fields of that kind to leave out; give it a caption and make it again."
        )
    return tuple(found)


def phrases(caption: str, most: int = MOST_PHRASES) -> tuple[Span, ...]:
    """The phrases of a caption as spans of letters: between punctuation; of one with less than three of those, its words.

    At most so many: neighbours go together. A script without spaces is cut where its words may end.
    """
    cut = [one for one in _between_breaks(caption) if one[1] > one[0]]
    return _grouped(cut if len(cut) > 2 else _leant(caption, _words(caption)), most)


def without(text: str, span: Span, instead: str = "") -> str:
    """A text with a span left out, together with the punctuation that nothing follows any more; or with other words there."""
    before, after = text[: span[0]], text[span[1] :]
    if instead:
        return before + instead + after
    if not before.strip(_EDGE):
        return after.lstrip(_EDGE)
    return before + after.lstrip(_EDGE) if after.strip(_EDGE) else before.rstrip(_EDGE)


def words(text: str) -> tuple[Span, ...]:
    """The words of a text as spans of letters; of scripts without spaces its letters with their marks."""
    return tuple(_words(text))


# -- the caption


def _listed(what: Any) -> tuple[Any, ...]:
    return (what,) if checks.is_a(what, str) else checks.sequence("What is changed", what, 20)


def _between_breaks(text: str) -> Iterator[Span]:
    edges = [(0, 0), *((one.start(), one.end()) for one in _BREAK.finditer(text)), (len(text), len(text))]
    for (_, start), (end, _) in zip(edges, edges[1:], strict=False):
        piece = text[start:end]
        bare = piece.strip(_EDGE)
        if any(letter.isalnum() for letter in bare):
            first = start + piece.index(bare)
            yield first, first + len(bare)


def _words(text: str) -> list[Span]:
    found = (span for line in LyricText.of(text.replace("[", " ").replace("]", " ")).lines for span in line.words)
    return _runs(text, [_bare(text, span) for span in found])


def _runs(text: str, found: Sequence[Span]) -> list[Span]:
    """Words, where letters of one script without spaces go together, a few at most; in Japanese, with the kana behind them."""
    runs: list[Span] = []
    for span in found:
        last = runs[-1] if runs and runs[-1][1] == span[0] else None
        script, before = _script(text[span[0]]), "" if last is None else _script(text[last[1] - 1])
        joins = last is not None and (script == "HIRAGANA" or script == before)
        if joins and last is not None and span[1] - last[0] <= _MOST_LETTERS.get(script, 6):
            runs[-1] = (last[0], span[1])
        else:
            runs.append(span)
    return runs


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _bare(text: str, span: Span) -> Span:
    """A word without the punctuation around it."""
    piece = text[span[0] : span[1]]
    first = span[0] + len(piece) - len(piece.lstrip(_EDGE))
    return first, first + len(piece.strip(_EDGE))


def _leant(text: str, found: Sequence[Span]) -> list[Span]:
    """Words, where one that leans on the next goes with it."""
    joined: list[Span] = []
    start: int | None = None
    for first, last in found:
        start = first if start is None else start
        if text[first:last].lower() not in _LEANING:
            joined.append((start, last))
            start = None
    return joined if start is None else [*joined, (start, found[-1][1])]


def _grouped(spans: Sequence[Span], most: int) -> tuple[Span, ...]:
    """At most so many spans, neighbours taken together evenly."""
    count = min(most, len(spans))
    edges = [round(place * len(spans) / count) for place in range(count + 1)] if count else []
    return tuple((spans[one][0], spans[two - 1][1]) for one, two in zip(edges, edges[1:], strict=False))


def _phrases(recipe: Recipe, what: Sequence[str], swaps: Mapping[str, Any], used: set[str]) -> Iterator[Variant]:
    caption = recipe.caption
    own = [(name, at) for name in swaps if name not in FIELDS and (at := caption.find(name)) >= 0 and name.strip()]
    for name, at in own:
        used.add(name)
        span, instead = (at, at + len(name)), checks.text("What is swapped in", swaps[name])
        yield _phrase(recipe, span, without(caption, span, instead), _swapped(instead))
    for span in phrases(caption) if "phrases" in what else ():
        if not any(at < span[1] and at + len(name) > span[0] for name, at in own):
            yield _phrase(recipe, span, without(caption, span), LEFT_OUT)


def _swapped(instead: str) -> str:
    return f"→ {instead}" if instead else LEFT_OUT


def _phrase(recipe: Recipe, span: Span, caption: str, change: str) -> Variant:
    """A variant whose caption is another; one without any letter says the stand-in, and says that it does."""
    empty = not any(letter.isalnum() for letter in caption) and not recipe.lyrics.strip()
    said, how = (STAND_IN, f"→ {STAND_IN}") if empty else (caption, change)
    return Variant("phrase", recipe.caption[span[0] : span[1]], how, recipe.replace(caption=said), span)


# -- the lyrics


def _lyrics(recipe: Recipe, what: Sequence[str], swaps: Mapping[str, Any], used: set[str]) -> Iterator[Variant]:
    text = recipe.lyrics
    if not text.strip():
        return
    for start, end, tag in _sections(text):
        yield from _section(recipe, (start, end), tag, what, swaps, used)


def _sections(text: str) -> list[tuple[int, int, str]]:
    """Sections from which letter to which, with what their tags say; neighbours together where there are too many."""
    tags = LyricText.of(text).tags or ()
    starts = sorted({0, *(tag.start for tag in tags)})
    spans = [
        (start, end) for start, end in zip(starts, [*starts[1:], len(text)], strict=True) if text[start:end].strip()
    ]
    return [(start, end, _tag(text[start:end])) for start, end in _grouped(spans, MOST_SECTIONS)]


def _tag(section: str) -> str:
    found = re.match(r"\s*(\[[^\[\]\n]{1,200}\])", section)
    return found[1] if found else ""


def _section(
    recipe: Recipe, span: Span, tag: str, what: Sequence[str], swaps: Mapping[str, Any], used: set[str]
) -> Iterator[Variant]:
    text = recipe.lyrics
    head = text.index(tag, span[0]) if tag else span[0]
    sung = bool(LyricText.of(text[span[0] : span[1]]).lines)
    if tag and tag in swaps:
        used.add(tag)
        instead = checks.text("What is swapped in", swaps[tag])
        changed = without(text, (head, head + len(tag)), instead)
        yield Variant("tag", tag, _swapped(instead), recipe.replace(lyrics=changed), (head, head + len(tag)))
    elif tag and "tags" in what and _still_words(recipe, lyrics := text[:head] + text[head + len(tag) :].lstrip()):
        yield Variant("tag", tag, LEFT_OUT, recipe.replace(lyrics=lyrics), (head, head + len(tag)))
    gone = text[: span[0]] + text[span[1] :]
    if "sections" in what and (sung or "tags" not in what) and _still_words(recipe, gone):
        yield Variant("section", _named(tag, text, span), LEFT_OUT, recipe.replace(lyrics=gone), span)


def _named(tag: str, text: str, span: Span) -> str:
    """What a section is called: its tag and the first line it sings."""
    lines = LyricText.of(text[span[0] : span[1]]).lines
    first = lines[0].text[:40] if lines else ""
    return " ".join(part for part in (tag, first) if part)


def _still_words(recipe: Recipe, lyrics: str) -> bool:
    return bool(recipe.caption.strip() or lyrics.strip())


# -- the fields


def _fields(recipe: Recipe, what: Sequence[str], swaps: Mapping[str, Any], used: set[str]) -> Iterator[Variant]:
    for name in FIELDS:
        unsaid, now = UNSAID.get(name), getattr(recipe, name)
        if name in swaps:
            used.add(name)
            other = recipe.replace(**{name: swaps[name]})
            yield Variant("field", name, f"→ {getattr(other, name)}", other)
        elif "fields" in what and now not in (None, unsaid):
            yield Variant("field", name, LEFT_OUT, recipe.replace(**{name: unsaid}))
