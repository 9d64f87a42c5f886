"""Every word the page shows, a file for each language: `en.json` is the source, any other translates it.

A language is one file: its name, its direction, its `words` (what the browser halves say, by section and key, looked up by
`t("player.play")` in JavaScript) and its `sentences` (what Python says, English first: labels, hints, errors; `{}` stands for
a value). A key or sentence that a file lacks is shown in English. To add a language, copy `en.json`, translate, and run
`pytest tests/test_locale.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent
SOURCE = "en"
ALWAYS = ("titles", "common", "keys", "errors")
"""Sections that every component has."""
_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")
_SENTENCE = re.compile(r"\w \w.*[.…]$", re.DOTALL)


@cache
def languages() -> tuple[str, ...]:
    """The languages there are, English first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.json") if _TAG.fullmatch(path.stem))
    return (SOURCE, *(tag for tag in found if tag != SOURCE))


@cache
def table(language: str) -> Mapping[str, Any]:
    """The whole file of a language; KeyError where there is none."""
    if language not in languages():
        raise KeyError(language)
    found: Mapping[str, Any] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


@cache
def words(*sections: str) -> Mapping[str, Mapping[str, Any]]:
    """For each language its name, direction and the words of some sections: what is linked into a component."""
    wanted = (*ALWAYS, *sections)
    return {
        language: {
            "language": found["language"],
            "direction": found["direction"],
            "words": {name: found["words"][name] for name in wanted if name in found["words"]},
        }
        for language in languages()
        for found in [table(language)]
    }


def sentences(language: str) -> Mapping[str, str]:
    """What Python says, in a language: English template to the other's; empty for English and for what there is none of."""
    found: Mapping[str, str] = table(language).get("sentences", {}) if language in languages() else {}
    return found


def translate(text: str, language: str, depth: int = 2) -> str:
    """A sentence of ours in another language; the sentence itself where the table lacks it.

    A value in it is a word of ours or a sentence of ours, which are told as well, or somebody's own, which stays. A sentence
    put together of clauses, all of them ours, is told clause by clause.
    """
    known = sentences(language)
    if text in known:
        return known[text]
    clauses = text.removesuffix(".").split("; ") if depth else []
    told = [translate(one, language, 0) for one in clauses]
    if len(told) > 1 and all(one != clause for one, clause in zip(told, clauses, strict=True)):
        return "; ".join(told)
    for pattern, template in _patterns(language):
        if found := pattern.fullmatch(text):
            return _filled(template, [_value(value, language, depth) for value in found.groups()])
    return text


def _value(value: str, language: str, depth: int) -> str:
    """A value of a sentence in another language."""
    word, known = value.strip(), sentences(language)
    if word in known:
        return known[word]
    return translate(word, language, depth - 1) if depth and _SENTENCE.search(word) else value


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Templates that hold values, those with most words first: the most exact one wins."""
    ordered = sorted((pair for pair in sentences(language).items() if "{}" in pair[0]), key=lambda pair: -len(pair[0]))
    return tuple(
        (re.compile("(.*?)".join(re.escape(part) for part in source.split("{}")), re.DOTALL), template)
        for source, template in ordered
    )


def _filled(template: str, values: Sequence[str]) -> str:
    """A template with its values: "{}" takes the next, "{1}" the second one."""
    places = iter(range(len(values)))

    def one(found: re.Match[str]) -> str:
        place = int(found[1]) - 1 if found[1] else next(places, len(values))
        return values[place] if 0 <= place < len(values) else found[0]

    return re.sub(r"\{(\d*)\}", one, template)
