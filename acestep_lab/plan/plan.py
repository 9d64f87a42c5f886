"""The Plan: what the language model decided before a note was made, as a value to read, change and keep.

Knows no torch, no model and no tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Self

from acestep_lab.errors import RecipeError, shown
from acestep_lab.plan import prompt_template
from acestep_lab.plan.fields import ATTRIBUTES, ROWS
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.checks import sentences
from acestep_lab.prompt.recipe import SECONDS_RANGE, Recipe
from acestep_lab.prompt.tasks import MOST_CAPTION, MOST_LYRICS


@sentences
@dataclass(frozen=True, repr=False)
class Plan:
    """Tempo, key, meter, language, words, length and audio codes; `None` and `()` mean "not decided".

    `asked` keeps what the recipe had fixed, `locked` names what a new plan must keep, `problems` says field by field what
    the model wrote that could not be read. `thought` is the model's text behind the fields, without tags.
    """

    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    language: str | None = None
    caption: str = ""
    lyrics: str = ""
    seconds: float | None = None
    codes: tuple[int, ...] = ()
    genres: str = ""
    thought: str = ""
    locked: frozenset[str] = frozenset()
    asked: dict[str, Any] = field(default_factory=dict, hash=False)
    problems: dict[str, str] = field(default_factory=dict, hash=False, compare=False)

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_OPEN:
                object.__setattr__(self, name, check(value))
        _lockable(self.locked)

    def replace(self, /, **changes: Any) -> Self:
        """The same plan with some fields changed.

        Codes follow from everything else, so a change of words, numbers or length drops them, and the thought is written
        anew; hand over `codes=` or `thought=` as well to keep them, or lock the codes.
        """
        names = [f.name for f in fields(self)]
        checks.known_fields("A plan", changes, names)
        changed = replace(self, **changes)
        moved = [name for name in (*ATTRIBUTES, "lyrics") if getattr(changed, name) != getattr(self, name)]
        if moved and "codes" not in changes and "codes" not in self.locked:
            changed = replace(changed, codes=())
        if set(moved) - {"lyrics"} and "thought" not in changes:
            changed = replace(changed, thought=prompt_template.thought(changed, _names_in(self.thought)))
        return changed

    def lock(self, *names: str) -> Self:
        """The same plan with some fields held for the next planning: `plan.lock("bpm", "caption")`.

        RecipeError for a field that a plan has not, or that is not decided yet.
        """
        for name in _lockable(names):
            if getattr(self, name) in (None, "", ()):
                raise RecipeError(
                    f"The plan has no {name} yet, so there is nothing to lock; set it with replace({name}=…)."
                )
        return replace(self, locked=self.locked | set(_lockable(names)))

    def unlock(self, *names: str) -> Self:
        """The same plan with some fields let go; all of them when none is named."""
        return replace(self, locked=self.locked - set(_lockable(names)) if names else frozenset())

    def diff(self, other: Plan) -> dict[str, tuple[object, object]]:
        """What differs, as field → (here, there); codes count as one field."""
        checks.instance("What a plan is compared with", other, Plan)
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in LOCKABLE}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def codes_text(self) -> str:
        """The codes as the one string the reference accepts: `<|audio_code_5|>…`."""
        return prompt_template.codes_text(self.codes)

    def against(self, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
        """Where recipe and plan say different things, as field → (the recipe's, the plan's); open fields never do.

        Nor do captions: the plan's is what its codes follow, the recipe's what the DiT is conditioned on.
        """
        _asked(recipe)
        pairs = {name: (getattr(recipe, name), getattr(self, name)) for name in _SHARED if not _is_open(recipe, name)}
        return {name: pair for name, pair in pairs.items() if pair[1] not in (None, "") and pair[0] != pair[1]}

    def held(self, recipe: Recipe) -> Self:
        """The same plan with everything locked that the recipe leaves open: what stands while only codes are written."""
        _asked(recipe)
        names = {name for name in _SHARED if getattr(self, name) not in (None, "") and _is_open(recipe, name)}
        return replace(self, locked=self.locked | names)

    def resolve(self, recipe: Recipe, *, words: bool | None = None) -> Recipe:
        """The recipe with its open fields filled from this plan; what the musician set stays as it was.

        `words` also takes the plan's caption and lyrics in place of the recipe's; left out, the recipe's
        `planning.rewrite_caption` decides about the caption, and empty words are always filled.
        """
        _asked(recipe)
        words = None if words is None else checks.truth("words", words)
        open_fields = [
            name
            for name in ("bpm", "keyscale", "timesignature", "language", "seconds")
            if getattr(recipe, name) is None
        ]
        filled = {name: getattr(self, name) for name in open_fields}
        if words or (words is None and recipe.planning.rewrite_caption) or not recipe.caption.strip():
            filled["caption"] = self.caption or recipe.caption
        if words or not recipe.lyrics.strip():
            filled["lyrics"] = self.lyrics or recipe.lyrics
        return recipe.replace(**filled)

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"codes": list(self.codes), "locked": sorted(self.locked), "asked": dict(self.asked)}
        return {name: value for name, value in values.items() if value not in (None, "", [], {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a plan back from `to_json`; RecipeError on unknown fields."""
        return cls(**checks.mapping("A plan", data))

    def __repr__(self) -> str:
        values = {"bpm": "{} bpm", "keyscale": "{}", "timesignature": "{} beats", "language": "{}", "seconds": "{:g} s"}
        parts = [form.format(value) for name, form in values.items() if (value := getattr(self, name)) is not None]
        parts += [f"{len(self.codes)} codes"] if self.codes else []
        words = f": {self.caption if len(self.caption) <= 60 else self.caption[:59] + '…'!r}" if self.caption else ""
        return f"<Plan {', '.join(parts) or 'open'}{words}>"

    def _repr_html_(self) -> str:
        rows = [(name, getattr(self, name)) for name in (*_SHARED, "genres") if getattr(self, name) not in (None, "")]
        rows += [("codes", f"{len(self.codes)}: {', '.join(map(str, self.codes[:12]))} …")] if self.codes else []
        cells = "".join(
            f"<tr><th>{name}</th><td style='text-align:left;white-space:pre-wrap'>{escape(str(value))}</td>"
            f"<td style='text-align:left'>{self._whose(name)}</td></tr>"
            for name, value in rows
        )
        return f"<table>{cells}</table>"

    def _whose(self, name: str) -> str:
        """Who decided a field: "yours", "yours, changed" or the planner; and whether it is locked."""
        asked = self.asked.get(name)
        if name == "caption" and asked != self.caption:
            asked = None  # the planner's own, beside the one it was asked with
        whose = "planner's" if asked in (None, "") else "yours" if asked == getattr(self, name) else "yours, changed"
        return f"{whose}, locked" if name in self.locked else whose


LOCKABLE: tuple[str, ...] = (*ATTRIBUTES, "lyrics", "codes")
"""The fields a plan can hold on to."""


_SHARED: tuple[str, ...] = tuple(name for name in (*ATTRIBUTES, "lyrics") if name != "genres")
"""The fields recipe and plan have in common."""


def _is_open(recipe: Recipe, name: str) -> bool:
    """Whether a recipe leaves a field to the plan; a caption always, since the planner writes its own."""
    value = getattr(recipe, name)
    if name == "caption":
        return True
    return value is None or (isinstance(value, str) and not value.strip())


def _names_in(thought: str) -> tuple[str, ...]:
    """The fields a thought spoke of; all of a plan's where there is none, so that the rewritten one speaks of the same."""
    genres = prompt_template.parse_thought(thought)[0].get("genres")
    return tuple(ROWS) if genres else prompt_template.PLAN_FIELDS


def _asked(recipe: object) -> None:
    checks.instance("What a plan is held against", recipe, Recipe)


def _lockable(names: Collection[object]) -> list[str]:
    """The names, where each is a field a plan can hold on to."""
    words = [checks.plain_text(name) for name in names]
    for name, word in zip(names, words, strict=True):
        if word not in LOCKABLE:
            near = checks.nearest(word, LOCKABLE) if word is not None else ""
            raise RecipeError(f"A plan has no field {shown(name)} to lock.{near}")
    return [word for word in words if word is not None]


def _seconds(value: Any) -> float:
    low, high = SECONDS_RANGE
    return checks.real("A song's length", value, low, high, "seconds")


def _names(value: object) -> frozenset[str]:
    items = checks.sequence("What is locked", value, 100)
    return frozenset(_lockable(items))


def _table(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = checks.plain("What a plan notes", checks.mapping("What a plan notes", value))
    return found


def _text(what: str, most: int, verbatim: bool = False) -> Callable[[Any], str]:
    return lambda value: checks.text(what, value, most, verbatim=verbatim)


_CHECKS: dict[str, Callable[[object], object]] = {
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "language": vocabulary.language,
    "caption": _text("A plan's caption", MOST_CAPTION),
    "lyrics": _text("The text of a plan's lyrics", MOST_LYRICS),
    "genres": _text("The text of a plan's genres", MOST_CAPTION),
    "thought": _text("A plan's thought", MOST_LYRICS, verbatim=True),
    "seconds": _seconds,
    "codes": checks.codes,
    "locked": _names,
    "asked": _table,
    "problems": _table,
}
_MAY_BE_OPEN = ("bpm", "keyscale", "timesignature", "language", "seconds")
