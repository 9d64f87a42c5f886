"""What takes are called: by hand, or by what they were made from. Knows recipes as plain data; no library and no page.

"Drums of slow dub", "Cover of my_guitar_idea.wav", "slow dub, repainted 8–12 s", "slow dub, step 6/16", "slow dub #2": one
way to name them, for cards, player, tree, queue and files alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

LONGEST = 90
"""Characters of a title, where nothing else is asked for."""
LONGEST_FILE = 60
"""Characters of a file's name, the seed among them."""
MOST_TITLE = 200
"""Characters of a title given by hand."""
_MOST_WORDS = 240
_DEEPEST = 12
Find = Callable[[str], str]
"""Gives what an id is called, "" where nobody knows."""


@dataclass(frozen=True)
class TitleParts:
    """What a title is made of."""

    words: str = ""
    """The caption, or the lyrics where there is none."""
    task: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The task as plain data."""
    title: str = ""
    """The title given by hand."""
    step: tuple[int, int] | None = None
    """For an estimate kept on the way: which step, counted from 1, of how many (0 where that is not known)."""

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any], made_with: Mapping[str, Any] | None = None, title: str = "") -> Self:
        """Of a recipe as plain data, how it was made, and the title given by hand."""
        words = " ".join(str(recipe.get("caption") or recipe.get("lyrics") or "").split())
        task, step = recipe.get("task"), (made_with or {}).get("step")
        steps = recipe.get("steps")
        at = (step + 1, steps if isinstance(steps, int) else 0) if isinstance(step, int) else None
        return cls(words[:_MOST_WORDS], dict(task) if isinstance(task, Mapping) else {}, title, at)

    @classmethod
    def of(cls, sound: Any, title: str = "") -> Self:
        """Of a take at hand; of a recording, which has no words, nothing but the title."""
        recipe = getattr(sound, "recipe", None)
        return cls(title=title) if recipe is None else cls.of_recipe(recipe.to_json(), sound.made_with, title)

    @property
    def source(self) -> str:
        """The id of what it was made from, "" for music from words."""
        found = self.task.get("source") if self.task.get("task", "Text2Music") != "Text2Music" else None
        return found if isinstance(found, str) else ""

    def plain(self) -> dict[str, object]:
        """As plain data, for an index."""
        kept = {k: v for k, v in self.task.items() if k in _TASK_FIELDS}
        return {"words": self.words, "task": kept, "title": self.title, "step": self.step}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Self:
        """What `plain` gave."""
        step = data["step"]
        return cls(str(data["words"]), dict(data["task"]), str(data["title"]), None if step is None else tuple(step))


_TASK_FIELDS = ("task", "source", "stem", "stems", "regions", "region", "variance")


def title(parts: TitleParts, find: Find = lambda id: "", longest: int = LONGEST) -> str:
    """What a take is called; "" where it has neither words nor a source. `find` knows what its source is called.

    What tells it from its source is never cut away: the source's own title is, at a word.
    """
    if parts.title:
        return cut(parts.title, longest)
    source = (find(parts.source) or parts.words) if parts.source else parts.words
    form = _form(parts)
    if not source:
        return cut(_alone(form), longest)
    return form.format(title=cut(source, max(12, longest - len(form) + len("{title}"))))


def _alone(form: str) -> str:
    """A title whose source has none."""
    return "" if form == "{title}" else form.format(title="something unnamed")


def _form(parts: TitleParts) -> str:
    """How a title is made from its source's, "{title}" standing for that."""
    task = parts.task
    make = _FORMS.get(str(task.get("task", ""))) if parts.source or task.get("task") == "Stitch" else None
    form = make(task) if make else "{title}"
    if parts.step is None:
        return form
    at, of = parts.step
    return f"{form}, step {at}/{of}" if of else f"{form}, step {at}"


def _repainted(task: Mapping[str, Any]) -> str:
    spans = [_span(one) for one in task.get("regions") or () if _is_span(one)]
    if not 1 <= len(spans) <= 2:
        return f"{{title}}, repainted in {len(spans)} places" if spans else "{title}, repainted"
    return f"{{title}}, repainted {' and '.join(spans)} s"


def _span(region: Sequence[float]) -> str:
    return f"{round(region[0], 1):g}–{round(region[1], 1):g}"


def _is_span(region: object) -> bool:
    return isinstance(region, Sequence) and len(region) == 2 and all(isinstance(edge, int | float) for edge in region)


def _added(task: Mapping[str, Any]) -> str:
    region = task.get("region")
    where = f" {_span(region)} s" if region is not None and _is_span(region) else ""
    return f"{_stem(task).capitalize()} added to {{title}}{where}"


def _stem(task: Mapping[str, Any]) -> str:
    return _safe(task.get("stem")).replace("_", " ") or "a stem"


def _with(task: Mapping[str, Any]) -> str:
    stems = [_safe(one).replace("_", " ") for one in task.get("stems") or ()]
    listed = " and ".join(filter(None, [", ".join(stems[:-1]), *stems[-1:]]))
    return f"{{title}} with {listed}"


def _varied(task: Mapping[str, Any]) -> str:
    variance = task.get("variance")
    return f"{{title}}, varied {variance:g}" if isinstance(variance, int | float) else "{title}, varied"


def _safe(word: object) -> str:
    return str(word or "").replace("{", "(").replace("}", ")")


_FORMS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Repaint": _repainted,
    "Extend": lambda task: "{title}, extended",
    "Cover": lambda task: "Cover of {title}",
    "Retake": _varied,
    "Extract": lambda task: f"{_stem(task).capitalize()} of {{title}}",
    "Lego": _added,
    "Complete": _with,
    "FlowEdit": lambda task: "{title}, edited",
    "Stitch": lambda task: "{title}, stitched",
}
"""A row for each task that starts from a sound; the words of a stitched song are its first take's."""


_NUMBER = re.compile(r"(.*)( #\d+)", re.DOTALL)
_STEP = re.compile(r"(.*)(, step \d+(?:/\d+)?)", re.DOTALL)


def taken_apart(title: str, task: Mapping[str, Any]) -> list[str]:
    """Words and the forms a derived title was made by, innermost first; empty where it is words alone.

    "Drums of slow dub #2" is ["slow dub", "Drums of {title}", "{title} #2"]: a page tells the forms in its reader's
    language, and leaves the words as they were written. Not for titles given by hand.
    """
    make = _FORMS.get(str(task.get("task", "")))
    forms: list[str] = []
    for pattern in (_NUMBER, _STEP):
        if found := pattern.fullmatch(title):
            title, form = found[1], f"{{title}}{found[2]}"
            forms.insert(0, form)
    head, _, tail = make(task).partition("{title}") if make else ("", "", "")
    if (head or tail) and len(title) > len(head + tail) and title.startswith(head) and title.endswith(tail):
        forms.insert(0, f"{head}{{title}}{tail}")
        title = title[len(head) : len(title) - len(tail)]
    return [title, *forms] if forms else []


def titles(title_parts: Iterable[tuple[str, TitleParts]], find: Find = lambda id: "") -> dict[str, str]:
    """What takes are called, by their ids; given oldest first, the oldest of one title keeps it bare, the next is "… #2".

    A source among them lends its own title; what is not among them `find` knows. A title given by hand is never numbered.
    """
    known = dict(title_parts)
    bare: dict[str, str] = {}
    for id in known:
        _bare(id, known, bare, find)
    counted: dict[str, int] = {}
    found = {}
    for id, parts in known.items():
        name = bare[id] or id
        counted[name] = number = 0 if parts.title else counted.get(name, 0) + 1
        found[id] = f"{cut(name, LONGEST - 5)} #{number}" if number > 1 else name
    return found


def _bare(id: str, known: Mapping[str, TitleParts], bare: dict[str, str], find: Find, deep: int = 0) -> str:
    """The title of one take, without a number; that of its source comes first."""
    if id not in bare:
        if id not in known:
            return find(id)
        bare[id] = ""  # a circle, which cannot be, ends here
        parts = known[id]
        look = (lambda _: "") if deep > _DEEPEST else (lambda other: _bare(other, known, bare, find, deep + 1))
        bare[id] = title(parts, look)
    return bare[id]


def cut(words: str, longest: int = LONGEST) -> str:
    """Words on one line, cut at a word with "…" where they are too long."""
    words = " ".join(words.split())
    if len(words) <= longest:
        return words
    head, space, _ = words[:longest].rpartition(" ")
    return (head if space and len(head) > longest // 2 else words[: longest - 1]).rstrip(" ,;:–-") + "…"


_RESERVED = re.compile(r"(con|prn|aux|nul|conin|conout|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)


def file_name(words: str, seed: int | None = None) -> str:
    """A title as the name of a file on any system, with its seed: "slow dub techno, seed 7"; cut at a word.

    Letters, digits, commas, hyphens and single spaces only; no name that Windows keeps for itself.
    """
    plain = unicodedata.normalize("NFC", " ".join(words.split()))
    kept = "".join(ch for ch in plain.replace("–", "-") if ch in " -_,#" or unicodedata.category(ch)[0] in "LMN")
    kept = " ".join(kept.replace(" ,", ",").split())
    tail = "" if seed is None else f", seed {seed}"
    kept = cut(kept, LONGEST_FILE - len(tail)).strip(" -,…#") or "sound"
    return f"{kept}{tail}" if tail or not _RESERVED.fullmatch(kept) else f"{kept}_"
