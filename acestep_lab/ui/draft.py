"""A Draft: a recipe while somebody is still typing it, mistakes and all; a Form: what one checkpoint lets be asked.

Knows no browser and no model, but for what its capabilities say. What was typed stays as it was typed; `problems` says, field by field, what would be
right; `recipe` makes the Recipe or raises the first of those sentences.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Literal

from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import GUIDANCE, SOLVERS, FlowSampling, TokenSampling
from acestep_lab.prompt.tasks import REPAINT_MODES, TASKS, Region, Task
from acestep_lab.ui.messages import kind_of, text
from acestep_lab.ui.messages import typed as plain

Kind = Literal["number", "whole", "choice", "share", "text", "flag", "stems"]


@dataclass(frozen=True)
class Field:
    """One thing a musician may set: how it is called, shown and read."""

    name: str
    label: str
    kind: Kind
    hint: str
    options: tuple[str, ...] = ()
    unit: str = ""
    default: object = None
    within: tuple[float, float] | None = None
    """Lowest and highest number."""

    def read(self, typed: object) -> Any:
        """The value of what was typed; None for nothing; RecipeError where it is no value of this kind."""
        if typed is None or (isinstance(typed, str) and not typed.strip()):
            return self.default
        return _READ[self.kind](self, typed)

    def check(self, value: Any) -> Any:
        """A value that was read, if the checkpoint at hand allows it; RecipeError otherwise."""
        if value is not None and self.within is not None and not self.within[0] <= value <= self.within[1]:
            low, high = self.within
            raise RecipeError(
                f"{self.label} lies between {low:g} and {high:g}{self.unit and f' {self.unit}'} with this checkpoint, "
                f"not at {value:g}."
            )
        return value

    def to_json(self) -> dict[str, object]:
        """Plain data for the browser half."""
        return {
            "name": self.name, "label": self.label, "kind": self.kind, "hint": self.hint,
            "options": list(self.options), "unit": self.unit, "default": self.default,
        }  # fmt: skip


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A number as people type it, once its digits are ASCII and its comma is a point."""
_LONGEST_NUMBER = 60


def parse_number(typed: object) -> float | int | None:
    """The finite number somebody typed, in any alphabet's digits, with comma or point; None where it is none.

    "²" and "Ⅷ" are no digits, though Python's `isdigit` and `isnumeric` say so.
    """
    if isinstance(typed, bool) or not isinstance(typed, str | Real):
        return None
    if isinstance(typed, Integral):
        return int(typed) if int(typed).bit_length() <= 64 else None
    if isinstance(typed, Real):
        return float(typed) if math.isfinite(typed) else None
    digits = "".join(str(unicodedata.decimal(ch, ch)) for ch in typed.strip()[: _LONGEST_NUMBER + 1])
    digits = digits.replace("−", "-").replace(",", ".")
    if len(digits) > _LONGEST_NUMBER or not _NUMBER.fullmatch(digits):
        return None
    return parse_number(int(digits) if digits.lstrip("+-").isdigit() else float(digits))


def _number(field: Field, typed: object) -> float:
    value = parse_number(typed)
    if value is None:
        raise RecipeError(f"{field.label} is a number{field.unit and f' of {field.unit}'}, not {_quoted(typed)}.")
    return value


def _share(field: Field, typed: object) -> float:
    value = _number(field, typed)
    if not 0 <= value <= 1:
        raise RecipeError(f"{field.label} lies between 0 and 1, not at {_quoted(typed)}.")
    return value


def _whole(field: Field, typed: object) -> int:
    value = _number(field, typed)
    if value != int(value):
        raise RecipeError(f"{field.label} is a whole number, not {_quoted(typed)}.")
    return int(value)


def _word(field: Field, typed: object) -> str:
    if isinstance(typed, bool) or not isinstance(typed, str | int | float):
        raise RecipeError(f"{field.label} is a word, not {_quoted(typed)}.")
    return str(typed)


def _stems(field: Field, typed: object) -> tuple[str, ...]:
    if not isinstance(typed, list | tuple) or not all(isinstance(stem, str) for stem in typed):
        raise RecipeError(f"{field.label} are a list of words, such as drums and bass, not {_quoted(typed)}.")
    return tuple(typed)


def _flag(field: Field, typed: object) -> bool:
    if not isinstance(typed, bool):
        raise RecipeError(f"{field.label} is on or off, not {_quoted(typed)}.")
    return typed


def _quoted(typed: object) -> str:
    return shown(typed, 42) if isinstance(typed, str) else kind_of(typed)


_READ: dict[str, Callable[[Field, object], object]] = {
    "number": _number,
    "share": _share,
    "whole": _whole,
    "choice": _word,
    "text": _word,
    "flag": _flag,
    "stems": _stems,
}

METADATA = (
    Field("bpm", "Tempo", "whole", "Beats in a minute, 30 to 300.", unit="beats per minute"),
    Field("keyscale", "Key", "choice", "The scale the song stands in.",
          tuple(f"{n} {m}" for m in ("major", "minor") for n in vocabulary.NOTES)),
    Field("timesignature", "Meter", "choice", "Beats in a bar; 6 means 6/8.", vocabulary.TIMESIGNATURES),
)  # fmt: skip
SONG = (
    Field("seconds", "Length", "number", "How long the music lasts.", unit="seconds"),
    Field("seed", "Seed", "whole", "The same seed and words give the same take.", unit=""),
)
_GUIDANCE_SCALE = Field(
    "guidance_scale", "Guidance scale", "number", "How much more the words count; distilled models need none."
)
FLOW = (
    Field("steps", "Steps", "whole", "How often the model looks at the noise; more is slower and cleaner."),
    Field("shift", "Shift", "number", "Above 1, more of the steps are spent on the large shapes."),
    Field("solver", "Solver", "choice", "How one step follows from the last.", SOLVERS),
    Field("guidance", "Guidance", "choice", "How the words are made to count more.", GUIDANCE),
    _GUIDANCE_SCALE,
)
TOKENS = (
    Field("temperature", "Temperature", "number", "Above 1 bolder, below 1 safer; 0 takes the likeliest token."),
    Field("top_k", "Top k", "whole", "Only so many of the likeliest tokens may be drawn; 0 is all of them."),
    Field("top_p", "Top p", "number", "Only the likeliest tokens that together have this probability; 1 is all."),
    _GUIDANCE_SCALE,
)
SAMPLING: Mapping[type[FlowSampling] | type[TokenSampling], tuple[Field, ...]] = {
    FlowSampling: FLOW,
    TokenSampling: TOKENS,
}
"""The sampling's fields by the kind of value a checkpoint's recipes have."""
_STEMS = tuple(vocabulary.STEMS)


@dataclass(frozen=True)
class TaskForm:
    """One task as a form: only its own fields."""

    name: str
    title: str
    hint: str
    fields: tuple[Field, ...] = ()
    needs_source: bool = True


TASK_FORMS = (
    TaskForm("Text2Music", "From words", "A new piece from what you write.", needs_source=False),
    TaskForm("Repaint", "Repaint",
             "New music inside the regions marked on the waveform; the rest stays, sample for sample.", (
        Field("mode", "Mode", "choice", "How freely the inside may leave the old music.", REPAINT_MODES,
              default="balanced"),
        Field("strength", "Strength", "share", "0 keeps much of the old music, 1 lets go of it.", default=0.5),
    )),
    TaskForm("Extend", "Extend", "More music before or after the take; the take itself stays.", (
        Field("before", "Before", "number", "Seconds of new music in front.", unit="seconds", default=0.0),
        Field("after", "After", "number", "Seconds of new music behind.", unit="seconds", default=0.0),
    )),
    TaskForm("Cover", "Cover", "The take's rhythm and harmony in another sound.", (
        Field("strength", "Follow the take", "share", "For this share of the steps the take leads, then the words.",
              default=1.0),
        Field("noise_strength", "Keep its sound", "share", "Above 0, more of the take's own sound stays.", default=0.0),
    )),
    TaskForm("Retake", "Vary", "The same piece, turned a little towards another seed.", (
        Field("variance", "Distance", "share", "0 is the same take, 1 another one.", default=0.3),
        Field("seed", "Towards seed", "whole", "The seed the take is turned towards.", default=1),
    )),
    TaskForm("Extract", "Extract a stem", "One instrument of the take, alone.", (
        Field("stem", "Stem", "choice", "Which instrument.", _STEMS, default="drums"),)),
    TaskForm("Lego", "Add a stem", "A new instrument that fits the take.", (
        Field("stem", "Stem", "choice", "Which instrument.", _STEMS, default="bass"),)),
    TaskForm("Complete", "Complete", "The take with accompaniment around it.", (
        Field("stems", "Stems", "stems", "Which instruments to add.", _STEMS, default=("drums", "bass")),)),
    TaskForm("FlowEdit", "Change the words", "The take moved from its old words to those above.", (
        Field("caption", "The take's words", "text", "What describes the take as it is.", default=""),
        Field("n_min", "From", "share", "Share of the schedule at which the change begins.", default=0.0),
        Field("n_max", "To", "share", "Share of the schedule at which it ends.", default=1.0),
    )),
)  # fmt: skip
FORMS = {form.name: form for form in TASK_FORMS}
PLAIN_FIELDS = {f.name: f for f in (*METADATA, *SONG, *FLOW, *TOKENS)}


@dataclass(frozen=True)
class Form:
    """What can be asked of one checkpoint: only the fields it has, with the choices and numbers it allows."""

    metadata: tuple[Field, ...] = METADATA
    song: tuple[Field, ...] = SONG
    sampling: type[FlowSampling] | type[TokenSampling] = FlowSampling
    tasks: tuple[TaskForm, ...] = TASK_FORMS
    fixed: frozenset[str] = frozenset()
    """Fields of tasks that it has no use for, as "Extend.before"."""
    codes: bool = True
    """Whether a cover follows the source's codes."""
    plans: bool = True
    """Whether there is a planner to ask."""

    @classmethod
    def of(cls, can: Capabilities, plans: bool | None = None) -> Form:
        """The form of a checkpoint; `plans` False where its planner has no room on this machine."""
        return cls(
            metadata=tuple(f for f in (_offered(f, can) for f in METADATA) if f is not None),
            song=tuple(_lasting(f, can) if f.name == "seconds" else f for f in SONG),
            sampling=can.sampling,
            tasks=tuple(replace(form, fields=_task_fields(form, can)) for form in TASK_FORMS),
            fixed=can.fixed,
            codes=can.codes,
            plans=can.plans if plans is None else plans,
        )

    @property
    def knobs(self) -> tuple[Field, ...]:
        """The fields of how it samples."""
        return SAMPLING[self.sampling]

    @property
    def plain(self) -> tuple[Field, ...]:
        """All fields but those of tasks."""
        return (*self.metadata, *self.song, *self.knobs)

    @property
    def by_name(self) -> dict[str, Field]:
        """The same by their names."""
        return {field.name: field for field in self.plain}

    def task(self, name: str) -> TaskForm:
        """The form of a task by its class name."""
        return next(form for form in self.tasks if form.name == name)


def _offered(field: Field, can: Capabilities) -> Field | None:
    """A field of the metadata as a checkpoint understands it; None where it does not."""
    words = can.vocabulary
    if field.name == "bpm":
        if words.bpm is None:
            return None
        return replace(field, hint=f"Beats in a minute, {words.bpm[0]} to {words.bpm[1]}.", within=words.bpm)
    known = words.keyscales if field.name == "keyscale" else words.timesignatures
    options = tuple(option for option in field.options if option in known)
    return replace(field, options=options) if options else None


def _lasting(field: Field, can: Capabilities) -> Field:
    low, high = can.seconds
    return replace(field, hint=f"How long the music lasts, {low:g} to {high:g} seconds.", within=can.seconds)


def _task_fields(form: TaskForm, can: Capabilities) -> tuple[Field, ...]:
    """A task's fields without those the checkpoint has no use for, and with the stems it knows."""
    found = [f for f in form.fields if f"{form.name}.{f.name}" not in can.fixed]
    return tuple(_known_stems(f, can.vocabulary.stems) if f.name in ("stem", "stems") else f for f in found)


def _known_stems(field: Field, stems: tuple[str, ...]) -> Field:
    """A field that chooses stems, with those a checkpoint knows."""
    usual = field.default if isinstance(field.default, tuple) else (field.default,)
    default = tuple(stem for stem in usual if stem in stems) or stems[:1]
    return replace(field, options=stems, default=default if field.kind == "stems" else next(iter(default), None))


WHOLE = Form()
"""The form of a flow model that can do everything; for an editor that stands alone."""


def new_seed() -> int:
    """A seed by the dice: nine digits at most, easy to read out."""
    return random.SystemRandom().randrange(1, 10**9)


@dataclass(frozen=True)
class Draft:
    """What stands in the editor: raw values by field name, task fields as "Task.field"."""

    caption: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    task: str = "Text2Music"
    locked: frozenset[str] = frozenset()
    """Fields that presets, dice and loaded takes leave alone."""

    def __post_init__(self) -> None:
        _caption("The caption", self.caption)
        if not isinstance(self.task, str) or self.task not in TASKS:
            raise RecipeError(f"{kind_of(self.task)} is no task; known are {', '.join(TASKS)}.")
        if not isinstance(self.values, Mapping) or not isinstance(self.locked, frozenset):
            raise RecipeError("A draft holds values by field name, and a set of the names that are locked.")
        for name, value in self.values.items():
            _known(name)
            plain(name, value)

    def put(self, name: str, value: Any) -> Draft:
        """The draft with one field changed; None makes it Auto. RecipeError where there is no such field, task or
        value.
        """
        if name == "caption":
            return replace(self, caption=_caption("The caption", value if value is not None else ""))
        if name == "task":
            return replace(self, task=value)
        return replace(self, values={**self.values, _known(name): value})

    def lock(self, name: str, on: bool) -> Draft:
        """The draft with a field locked or let go."""
        if name not in ("caption", "task"):
            _known(name)
        return replace(self, locked=self.locked | {name} if on else self.locked - {name})

    def take_over(self, values: Mapping[str, object]) -> Draft:
        """The draft with many fields set at once, locked ones excepted; how presets and old takes come in."""
        draft = self
        for name, value in values.items():
            if name not in self.locked and (name in ("caption", "task", *PLAIN_FIELDS) or name in _TASK_FIELDS):
                draft = draft.put(name, value)
        return draft

    @classmethod
    def of(cls, recipe: Recipe) -> Draft:
        """The draft that makes this recipe again."""
        task = type(recipe.task).__name__
        values = {name: getattr(recipe, name, None) for name in PLAIN_FIELDS}
        values |= {f"{task}.{f.name}": getattr(recipe.task, f.name) for f in FORMS[task].fields}
        return cls(recipe.caption, {k: v for k, v in values.items() if v is not None}, task)

    def problems(self, form: Form = WHOLE) -> dict[str, str]:
        """What is wrong with what the form offers, by field name; empty where a recipe can be made of the plain fields."""
        found: dict[str, str] = {}
        for one in form.plain:
            try:
                value = one.read(self.values.get(one.name))
                Recipe("words", **{one.name: value})
                one.check(value)
            except RecipeError as problem:
                found[one.name] = str(problem)
        for one in form.task(self.task).fields:
            try:
                one.read(self.values.get(f"{self.task}.{one.name}"))
            except RecipeError as problem:
                found[f"{self.task}.{one.name}"] = str(problem)
        return found

    def recipe(
        self,
        lyrics: str = "",
        language: str | None = None,
        source: Any = None,
        regions: Sequence[Region] = (),
        form: Form = WHOLE,
    ) -> Recipe:
        """The Recipe of what the form offers, the rest left out; RecipeError with the first thing that is wrong."""
        for problem in self.problems(form).values():
            raise RecipeError(problem)
        values = {f.name: f.read(self.values.get(f.name)) for f in (*form.metadata, *form.song)}
        knobs = {f.name: f.read(self.values.get(f.name)) for f in form.knobs}
        if form.task(self.task).needs_source:
            values["seconds"] = None  # the source says how long
        task = self._task(form, source, regions)
        return Recipe(self.caption, lyrics, language=language, task=task, sampling=form.sampling(**knobs), **values)

    def _task(self, form: Form, source: Any, regions: Sequence[Region]) -> Task:
        row = form.task(self.task)
        if row.needs_source and source is None:
            raise RecipeError(f"{row.title} starts from a take: pick one below first.")
        given = {f.name: f.read(self.values.get(f"{self.task}.{f.name}")) for f in row.fields}
        if self.task == "Repaint":
            given["regions"] = tuple(regions)
        if self.task == "Cover" and "Cover.through_codes" not in form.fixed:
            given["through_codes"] = form.codes
        if row.needs_source:
            given["source"] = source
        task: Task = TASKS[self.task](**given)
        return task


_TASK_FIELDS = frozenset(f"{form.name}.{f.name}" for form in TASK_FORMS for f in form.fields)
_caption = text(20_000)


def _known(name: object) -> str:
    """A field's name; RecipeError where there is none of that name."""
    if not isinstance(name, str) or (name not in PLAIN_FIELDS and name not in _TASK_FIELDS):
        raise RecipeError(f"There is no field {shown(name, 42)}.")
    return name
