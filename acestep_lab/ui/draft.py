"""A Draft: a recipe while somebody is still typing it, mistakes and all.

Knows no browser and no model. What was typed stays as it was typed; `problems` says, field by field, what would be right;
`recipe` makes the Recipe or raises the first of those sentences.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.prompt.sampling import fitted
from acestep_lab.prompt.tasks import MODEL_TASKS, Region, Task
from acestep_lab.ui.fields import Field
from acestep_lab.ui.forms import FORMS, PLAIN_FIELDS, TASK_FIELDS, WHOLE, Form, TaskForm
from acestep_lab.ui.messages import kind_of, text
from acestep_lab.ui.messages import typed as plain

NOTHING: Mapping[str, Any] = {}


class FieldError(RecipeError):
    """What is wrong with a draft, and the name of the field where: "seed", "Cover.strength", "caption", "task"."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


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
        if not isinstance(self.task, str) or self.task not in FORMS:
            raise RecipeError(f"{kind_of(self.task)} is no task; known are {', '.join(FORMS)}.")
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
        if not is_lockable(name):
            _known(name)
        return replace(self, locked=self.locked | {name} if on else self.locked - {name})

    def take_over(self, values: Mapping[str, object]) -> Draft:
        """The draft with many fields set at once, locked ones excepted; how presets and old takes come in."""
        draft = self
        for name, value in values.items():
            if name not in self.locked and (name in ("caption", "task") or is_field(name)):
                draft = draft.put(name, value)
        return draft

    @classmethod
    def of(cls, recipe: Recipe) -> Draft:
        """The draft that makes this recipe again."""
        task = type(recipe.task).__name__
        if task not in FORMS:
            raise RecipeError(f"A {task} has no form of words; it is made in its own part of the page.")
        given = {name: value_in(recipe, name) for name in PLAIN_FIELDS}
        values = {n: PLAIN_FIELDS[n].typed(v) for n, v in given.items() if v is not None and v != _USUAL.get(n)}
        own = {f"{task}.{f.name}": f.typed(getattr(recipe.task, f.name)) for f in FORMS[task].fields}
        return cls(recipe.caption, values | {name: v for name, v in own.items() if v is not None}, task)

    def problems(self, form: Form = WHOLE, elsewhere: frozenset[str] = frozenset()) -> dict[str, str]:
        """What is wrong with what the form offers, by field name; empty where a recipe can be made of the plain fields.

        Fields named in `elsewhere` are set in another part of the page, and not looked at.
        """
        found: dict[str, str] = {}
        for one in form.plain:
            try:
                value = one.read(self.values.get(one.name))
                one.check(_checked(one, value, form))
            except RecipeError as problem:
                found[one.name] = str(problem)
        row, given = form.task(self.task), {}
        for one in row.fields:
            name = f"{self.task}.{one.name}"
            try:
                given[one.name] = None if name in elsewhere else one.read(self.values.get(name))
            except RecipeError as problem:
                found[name] = str(problem)
        if not any(name.startswith(f"{self.task}.") for name in found):
            found |= self._task_problem(form, row, given)
        return found

    def _task_problem(self, form: Form, row: TaskForm, given: dict[str, Any]) -> dict[str, str]:
        """What is wrong with the task's fields together, said of the field that the sentence speaks of."""
        try:
            self._made(form, row, given, "a take", (Region(0, 1),))
        except RecipeError as problem:
            names = [f.name for f in row.fields]
            said = str(problem).lower()
            spoken_of = [n for n in names if n in said or n.replace("_", " ") in said]
            about = max(spoken_of, key=len) if spoken_of else names[0] if names else ""
            return {f"{self.task}.{about}" if about else "task": str(problem)}
        return {}

    def recipe(
        self,
        lyrics: str = "",
        language: str | None = None,
        source: Any = None,
        regions: Sequence[Region] = (),
        form: Form = WHOLE,
        *,
        sounds: Mapping[str, Any] = NOTHING,
        elsewhere: Mapping[str, Any] = NOTHING,
    ) -> Recipe:
        """The Recipe of what the form offers, the rest left out; FieldError with the first thing that is wrong.

        `sounds` are the sounds at hand by their ids; `elsewhere` holds the task's fields that another part of the page
        sets, as {"Repaint.mode": "balanced"}.
        """
        for name, problem in self.problems(form, frozenset(elsewhere)).items():
            raise FieldError(problem, name)
        values = {f.name: f.read(self.values.get(f.name)) for f in form.plain}
        planner = {name.removeprefix("planning."): values.pop(name) for name in [f.name for f in form.planning]}
        knobs = {f.name: values.pop(f.name) for f in form.knobs}
        task = self._task(form, source, regions, sounds, elsewhere)
        if "source" in task.sources():
            values["seconds"] = None  # the source says how long
        try:
            return Recipe(
                self.caption, lyrics, language=language, task=task, sampling=fitted(knobs, form.sampling),
                planning=Planning(**planner), **values,
            )  # fmt: skip
        except RecipeError as problem:
            raise FieldError(str(problem), "caption" if "words" in str(problem) else "") from None

    def _task(
        self,
        form: Form,
        source: Any,
        regions: Sequence[Region],
        sounds: Mapping[str, Any],
        elsewhere: Mapping[str, Any],
    ) -> Task:
        row = form.task(self.task)
        given = {f.name: f.read(self.values.get(f"{self.task}.{f.name}")) for f in row.fields}
        given |= {n.partition(".")[2]: v for n, v in elsewhere.items() if n.startswith(f"{self.task}.")}
        for one in row.fields:
            if one.kind == "sound":
                given[one.name] = sounds.get(given[one.name], given[one.name])
        if row.needs_source and source is None and given.get("codes") is None:
            raise FieldError(f"{row.title} starts from a take: pick one below first.", "task")
        try:
            return self._made(form, row, given, source, regions)
        except RecipeError as problem:
            raise FieldError(str(problem), "task") from None

    def _made(
        self, form: Form, row: TaskForm, given: Mapping[str, Any], source: Any, regions: Sequence[Region]
    ) -> Task:
        """The task of these fields, with what follows where nothing was said."""
        values = dict(given)
        if row.needs_source and values.get("codes") is None:
            values["source"] = source
        if self.task == "Repaint":
            values["regions"] = tuple(regions)
        if self.task == "Extend" and values.get("after") is None and not values.get("before"):
            values["after"] = usual_of("Extend.after")
        if self.task == "Cover" and "Cover.through_codes" not in form.fixed and values.get("through_codes") is None:
            values["through_codes"] = form.codes
        task: Task = MODEL_TASKS[self.task](**values)
        return task


def value_in(recipe: Recipe, name: str) -> Any:
    """What a recipe holds in a field of this name, "steps" or "planning.top_p" or "Cover.strength"; None where it has no such
    field.
    """
    where, _, key = name.rpartition(".")
    home: object = recipe
    if where:
        home = recipe.planning if where == "planning" else recipe.task
        if where not in ("planning", type(recipe.task).__name__):
            return None
    return getattr(home, key, None)


def usual_of(name: str) -> Any:
    """What a field holds where nothing is said, as far as that is the same for every checkpoint."""
    found = PLAIN_FIELDS.get(name) or TASK_FIELDS[name]
    return found.default if found.default is not None else found.usual


def is_field(name: str) -> bool:
    """Whether there is a field of this name."""
    return name in PLAIN_FIELDS or name in TASK_FIELDS


def is_lockable(name: str) -> bool:
    """Whether there is something of this name that presets, dice and loaded takes can be told to leave alone."""
    return name in ("caption", "task", "lyrics") or is_field(name)


_USUAL: Mapping[str, object] = {
    **{f"planning.{f.name}": f.default for f in fields(Planning)},
    **{f.name: f.default for f in fields(Recipe)},
    "instruction": "", "global_caption": "", "latent_shift": 0.0, "latent_rescale": 1.0,
}  # fmt: skip
"""What a plain field of a recipe holds where nothing was said."""
_caption = text(20_000)


def _checked(one: Field, value: Any, form: Form) -> Any:
    """A plain field's value, if a recipe of the form may hold it; RecipeError otherwise."""
    if value is None:
        return value
    if one.name.startswith("planning."):
        Planning(**{one.key: value})
    elif one in form.knobs:
        fitted({one.name: value}, form.sampling)
    else:
        Recipe("words", **{one.name: value})
    return value


def _known(name: object) -> str:
    """A field's name; RecipeError where there is none of that name."""
    if not isinstance(name, str) or not is_field(name):
        raise RecipeError(f"There is no field {shown(name, 42)}.")
    return name
