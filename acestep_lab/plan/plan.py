"""The Plan: what the language model decided before a note was made, as a value to read, change and keep.

Knows no torch, no model and no tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Self

from acestep_lab.errors import RecipeError
from acestep_lab.plan import script
from acestep_lab.plan.fields import ATTRIBUTES, ROWS
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.recipe import SECONDS_RANGE, Recipe


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
        unknown = sorted(self.locked - set(LOCKABLE))
        if unknown:
            raise RecipeError(f"A plan has no field {unknown[0]!r} to lock.{vocabulary.nearest(unknown[0], LOCKABLE)}")

    def but(self, **changes: Any) -> Self:
        """The same plan with some fields changed.

        Codes follow from everything else, so a change of words, numbers or length drops them, and the thought is written
        anew; hand over `codes=` or `thought=` as well to keep them, or lock the codes.
        """
        names = [f.name for f in fields(self)]
        for name in set(changes) - set(names):
            raise RecipeError(f"A plan has no field {name!r}.{vocabulary.nearest(name, names)}")
        changed = replace(self, **changes)
        moved = [name for name in (*ATTRIBUTES, "lyrics") if getattr(changed, name) != getattr(self, name)]
        if moved and "codes" not in changes and "codes" not in self.locked:
            changed = replace(changed, codes=())
        if set(moved) - {"lyrics"} and "thought" not in changes:
            changed = replace(changed, thought=script.thought(changed, _names_in(self.thought)))
        return changed

    def lock(self, *names: str) -> Self:
        """The same plan with some fields held for the next planning: `plan.lock("bpm", "caption")`."""
        for name in names:
            if name in LOCKABLE and getattr(self, name) in (None, "", ()):
                raise RecipeError(
                    f"The plan has no {name} yet, so there is nothing to lock; set it with but({name}=…)."
                )
        return replace(self, locked=self.locked | set(names))

    def unlock(self, *names: str) -> Self:
        """The same plan with some fields let go; all of them when none is named."""
        return replace(self, locked=self.locked - set(names) if names else frozenset())

    def diff(self, other: Plan) -> dict[str, tuple[Any, Any]]:
        """What differs, as field → (here, there); codes count as one field."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in LOCKABLE}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def codes_text(self) -> str:
        """The codes as the one string the reference accepts: `<|audio_code_5|>…`."""
        return script.codes_text(self.codes)

    def against(self, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
        """Where recipe and plan say different things, as field → (the recipe's, the plan's); open fields never do.

        Nor do captions: the plan's is what its codes follow, the recipe's what the DiT hears.
        """
        pairs = {name: (getattr(recipe, name), getattr(self, name)) for name in _SHARED if not _is_open(recipe, name)}
        return {name: pair for name, pair in pairs.items() if pair[1] not in (None, "") and pair[0] != pair[1]}

    def held(self, recipe: Recipe) -> Self:
        """The same plan with everything locked that the recipe leaves open: what stands while only codes are written."""
        names = {name for name in _SHARED if getattr(self, name) not in (None, "") and _is_open(recipe, name)}
        return replace(self, locked=self.locked | names)

    def resolve(self, recipe: Recipe, *, words: bool | None = None) -> Recipe:
        """The recipe with its open fields filled from this plan; what the musician set stays as it was.

        `words` also takes the plan's caption and lyrics in place of the recipe's; left out, the recipe's
        `planning.rewrite_caption` decides about the caption, and empty words are always filled.
        """
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
        return recipe.but(**filled)

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every field that is not at its default."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"codes": list(self.codes), "locked": sorted(self.locked), "asked": dict(self.asked)}
        return {name: value for name, value in values.items() if value not in (None, "", [], {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a plan back from `to_json`; RecipeError on unknown fields."""
        if not isinstance(data, Mapping):
            raise RecipeError(f"A plan is read from the fields `to_json` gives, not from {type(data).__name__}.")
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise RecipeError(f"A plan has no field {unknown[0]!r}.")
        return cls(**data)

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
    genres = script.read_thought(thought)[0].get("genres")
    return tuple(ROWS) if genres else script.PLAN_FIELDS


def _codes(value: Any) -> tuple[int, ...]:
    """Codes from numbers or from the reference's string."""
    if isinstance(value, str):
        found = script.read(value).codes
        if value.strip() != script.codes_text(found):
            raise RecipeError("Codes as text look like '<|audio_code_5|><|audio_code_17|>', with nothing between them.")
        return found
    codes = tuple(value) if isinstance(value, Iterable) else (-1,)
    if any(isinstance(code, bool) or not isinstance(code, int) or code < 0 for code in codes):
        raise RecipeError("Audio codes are a list of whole numbers from 0 up.")
    return codes


def _seconds(value: Any) -> float:
    low, high = SECONDS_RANGE
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RecipeError(f"A song's length is a number of seconds from {low:g} to {high:g}, not {value!r}.")
    return float(value)


def _names(value: Any) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise RecipeError(f"What is locked is a list of field names, such as ['bpm'], not {value!r}.")
    return frozenset(value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RecipeError(f"A plan's notes map field names to values; {value!r} does not.")
    return dict(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RecipeError(f"A plan's words are text, not {type(value).__name__}.")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "bpm": vocabulary.bpm,
    "keyscale": vocabulary.keyscale,
    "timesignature": vocabulary.timesignature,
    "language": vocabulary.language,
    "caption": _text,
    "lyrics": _text,
    "genres": _text,
    "thought": _text,
    "seconds": _seconds,
    "codes": _codes,
    "locked": _names,
    "asked": _table,
    "problems": _table,
}
_MAY_BE_OPEN = ("bpm", "keyscale", "timesignature", "language", "seconds")
