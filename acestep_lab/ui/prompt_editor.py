"""PromptEditor: write what should sound. The browser half is `widgets/prompt.js`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.prompt.literal import comment, literal
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED, Region, Retake
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.draft import Draft, FieldError, is_lockable, new_seed, usual_of
from acestep_lab.ui.fields import GROUPS, Field
from acestep_lab.ui.forms import FORMS, METADATA, PLAIN_FIELDS, TASK_FIELDS, WHOLE, Form
from acestep_lab.ui.kept_draft import Kept, draft_of
from acestep_lab.ui.messages import Line, Name, Typed
from acestep_lab.ui.presets import Presets
from acestep_lab.ui.trying import values_to_try

PRESETS: dict[str, dict[str, object]] = {
    "Lo-fi evening": {
        "caption": "warm lo-fi hip hop, dusty drums, soft electric piano, vinyl crackle",
        "bpm": 78,
        "seconds": 20,
    },
    "Slow dub techno": {"caption": "slow dub techno, tape hiss, deep chords, long echoes", "bpm": 112, "seconds": 20},
    "Brushed jazz trio": {
        "caption": "jazz trio, brushed drums, upright bass, late-night piano",
        "timesignature": "4",
        "seconds": 20,
    },
    "Bright synth pop": {
        "caption": "bright synth pop, driving bass, sparkling arpeggio, big chorus",
        "bpm": 122,
        "seconds": 30,
    },
    "Waltz for strings": {
        "caption": "waltz for string quartet, tender and slow",
        "timesignature": "3",
        "bpm": 92,
        "seconds": 24,
    },
}
"""Starting points that ship; a musician's own stand beside them in a YAML file."""

EVERYTHING: Mapping[str, str | None] = dict.fromkeys(FORMS)
COUNTS = (1, 2, 4, 8)
"""How many takes one click may make."""
_DEEPEST_UNDO = 200
_MOST_TOLD = 6
"""Presets left out that are named on the page."""
_MOST_SOUNDS = 4
"""Sounds taken from the hand into a field that are held in memory; others are found by their ids."""
_MOST_NAMED = 100
"""Sounds whose names the page is told."""
_FIXED_WORDS = ("caption", "bpm", "keyscale", "timesignature", "seconds")
"""Locked fields that the planner is told to leave alone."""


class PromptEditor(Component):
    """Caption, metadata (Auto or fixed, each with a lock), length, seed, task, all else behind "More", presets, undo.

    `form` is what the checkpoint lets be asked, and `refusals` maps each task to None, or to the reason why this checkpoint
    cannot do it. `source` and `words` give, when asked, the take a task starts from and (lyrics, language, regions) from the
    other components of the page; `elsewhere` the fields of tasks that another part of the page sets. Listeners: "make"
    (recipe, or a list of them), "sweep", "plan", "polish", "changed", "elsewhere" (values for those other parts), "codes"
    (field, of: "plan" or "take"; answered by `fill`), "restored" (words).

    ::

        prompt = PromptEditorWidget(take.recipe, session=lab)
        prompt.recipe(), prompt.code
    """

    module = "prompt"
    fields: ClassVar[Mapping[str, object]] = {
        "draft": {}, "forms": {}, "presets": [], "supplied": [], "errors": {}, "code": "", "busy": "", "source": "", "limits": {},
        "undo": [False, False], "revision": 0, "clicks": 0, "left_out": [], "notes": [], "count": 1, "seeds": "",
        "names": {}, "kept": {}, "kept_for": "", "restored": False,
    }  # fmt: skip

    revision: int
    count: int
    names: dict[str, str]
    restored: bool
    kept_for: str

    def setup(
        self,
        draft: Draft | Recipe | None = None,
        *,
        form: Form = WHOLE,
        refusals: Mapping[str, str | None] = EVERYTHING,
        defaults: Callable[[str], Mapping[str, Any]] = lambda task: {},
        presets: Path | None = None,
        source: Callable[[], Any] = lambda: None,
        words: Callable[[], tuple[str, str | None, Sequence[Region]]] = lambda: ("", None, ()),
        elsewhere: Callable[[], Mapping[str, Any]] = dict,
        lyrics: Callable[[], Mapping[str, object]] = dict,
        name_of: Callable[[str], str] = str,
        kept_for: str = "",
    ) -> None:
        """Begin with a draft (a Recipe will do); `defaults` says what Auto means for a task, `presets` is a YAML file,
        `kept_for` whose draft a browser keeps ("" keeps none), with the `lyrics` as plain data; `name_of` what a sound of
        an id is called.
        """
        self._name_of = name_of
        self._source, self._words, self._elsewhere, self._lyrics = source, words, elsewhere, lyrics
        self._kept = Presets(None if presets is None else Path(presets).expanduser())
        self._past: list[Draft] = []
        self._future: list[Draft] = []
        self._sounds: dict[str, Any] = {}
        self._before: tuple[Draft, Mapping[str, object]] | None = None
        if not isinstance(draft, Draft | Recipe | None):
            raise RecipeError(f"An editor begins with a Recipe or a Draft, not {shown(draft)}.")
        self._touched = draft is not None
        first = Draft.of(draft) if isinstance(draft, Recipe) else draft or Draft()
        self._draft = first if first.values.get("seed") is not None else first.put("seed", new_seed())
        self._defaults = defaults
        self.adopt(form, refusals)
        self.kept_for = kept_for

    # -- what the page asks --------------------------------------------------------------------------------------------

    def adopt(self, form: Form, refusals: Mapping[str, str | None] = EVERYTHING) -> None:
        """Offer what another checkpoint lets be asked; what was typed stays, also where it is not offered for now."""
        self._form, self._refusals = form, refusals
        self._show_form()
        self._own_presets()
        self._show(force=True)

    def _show_form(self) -> None:
        form, elsewhere = self._form, self._elsewhere()
        self._hidden = frozenset(elsewhere)
        self.forms = {
            "metadata": [f.to_json() for f in form.metadata],
            "song": [f.to_json() for f in form.song],
            "sampling": [f.to_json() for f in form.knobs],
            "more": [f.to_json() for f in form.plain if f.group],
            "groups": list(GROUPS),
            "counts": list(COUNTS),
            "plans": form.plans,
            "tasks": [
                {
                    "name": row.name,
                    "title": row.title,
                    "hint": row.hint,
                    "reason": self._refusals.get(row.name),
                    "source": row.needs_source,
                    "fields": [
                        {**f.to_json(), "name": name}
                        for name, f in form.of_task(row.name).items()
                        if name not in elsewhere
                    ],
                }
                for row in form.tasks
            ],
        }

    @property
    def value(self) -> Draft:
        """The draft as it stands."""
        return self._draft

    def recipe(self) -> Recipe:
        """The Recipe as it stands; RecipeError says what is wrong, and the editor shows it beside the field."""
        return self._recipe_of(self._draft)

    def _recipe_of(self, draft: Draft) -> Recipe:
        if refusal := self._refusals.get(draft.task):
            raise FieldError(refusal, "task")
        try:
            lyrics, language, regions = self._words()
        except RecipeError as problem:
            raise FieldError(str(problem), "task") from None
        elsewhere = dict(self._elsewhere())
        caption = elsewhere.pop(f"{draft.task}.caption", "") or ""
        elsewhere = {name: value for name, value in elsewhere.items() if not name.endswith(".caption")}
        draft = draft.put("caption", caption) if caption.strip() else draft
        return draft.recipe(
            lyrics, language, self._source(), regions, self._form, sounds=self._sounds, elsewhere=elsewhere
        )

    def recipes(self) -> list[Recipe]:
        """What Make would make: the recipe as it stands, as often as chosen, with seeds that follow each other.

        Of a variation, the seeds are those it is turned towards.
        """
        base = self.recipe()
        return [_with_seed(base, _seed_of(base) + place) for place in range(self.count)] if self.count > 1 else [base]

    def problems(self) -> dict[str, str]:
        """What is wrong with what stands in the form, by field."""
        found = self._draft.problems(self._form, self._hidden)
        if refusal := self._refusals.get(self._draft.task):
            found["task"] = refusal
        return found

    def locked_values(self) -> dict[str, Any]:
        """The values of the locked fields that a planner knows: what it must leave as it is; of "lyrics" and "caption" the
        words, of the others values as a recipe has them. Auto is no value.
        """
        found: dict[str, Any] = {}
        if "lyrics" in self._draft.locked:
            lyrics, language, _ = self._words()
            found = {name: one for name, one in (("lyrics", lyrics), ("language", language)) if one}
        for name in _FIXED_WORDS:
            if name in self._draft.locked:
                value = self._draft.caption if name == "caption" else self._read(name)
                found |= {name: value} if value not in (None, "") else {}
        return found

    def _read(self, name: str) -> Any:
        """The value in a plain field that the checkpoint offers; None where it makes no sense."""
        one = self._form.by_name.get(name)
        return None if one is None or name in self.problems() else one.read(self._draft.values.get(name))

    def load(self, recipe: Recipe, locks: Sequence[str] = ()) -> None:
        """Take an old recipe into the editor, and the `locks` it was made with; fields locked here stay. One undo brings the
        former draft back.
        """
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"A recipe is loaded, not {shown(recipe)}.")
        draft = Draft.of(recipe)
        cleared = dict.fromkeys((*PLAIN_FIELDS, *TASK_FIELDS))
        taken = self._draft.take_over({**cleared, **draft.values, "caption": draft.caption, "task": draft.task})
        for name in locks:
            taken = taken.lock(name, True) if is_lockable(name) else taken
        self._take(taken, {**dict.fromkeys(self._hidden), **draft.values})

    def fill(self, values: Mapping[str, object]) -> None:
        """Take many fields at once, as presets do; locked ones stay. One undo brings the former draft back."""
        self._take(self._draft.take_over(values), values)

    def _take(self, draft: Draft, values: Mapping[str, object]) -> None:
        """Show a draft that came in whole; what other parts of the page set is handed to them."""
        self._change(draft, force=True)
        self.clear_errors()
        theirs = {name: values[name] for name in values if name in self._hidden and name.startswith(f"{draft.task}.")}
        if theirs:
            self.notify("elsewhere", values=theirs)

    def resolve_seed(self) -> int:
        """The seed of the run about to start: the one shown if locked or fresh, else newly drawn, and shown.

        RecipeError where what is shown is no seed.
        """
        shown_one = PLAIN_FIELDS["seed"].read(self._draft.values.get("seed"))
        if shown_one is None or ("seed" not in self._draft.locked and self._used):
            shown_one = new_seed()
            self._change(self._draft.put("seed", shown_one), force=True)
        self._used = True
        return int(shown_one)

    _used = False
    _clicks = 0

    def refresh(self, source: str | None = None) -> None:
        """Show again after another component of the page changed (lyrics, regions, the selected take)."""
        if source is not None:
            self.source = source
        self._show()

    def touch(self) -> None:
        """Something was written on this page, here or in the lyrics: from now on its draft is worth keeping."""
        self._touched = True

    def clear_errors(self) -> None:
        """Take away what was said of the last click; what is wrong with what stands in the form is said on."""
        self.emit("clear")

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_edit(self, field: Name, value: Typed) -> None:
        """Change one field."""
        if field == "seed":
            self._used = False
        self._change(self._draft.put(field, value))

    def do_lock(self, field: Name, on: bool = True) -> None:
        """Lock a field or let it go."""
        self._change(self._draft.lock(field, on))

    def do_count(self, n: int) -> None:
        """How many takes a click makes."""
        if n not in COUNTS:
            raise RecipeError(f"A click makes {', '.join(map(str, COUNTS[:-1]))} or {COUNTS[-1]} takes, not {n}.")
        self._touched, self.count = True, n
        self._show()

    def do_new_seed(self) -> None:
        """Another seed."""
        self._used = False
        self._change(self._draft.put("seed", new_seed()), force=True)

    def do_next_seed(self) -> None:
        """The seed after this one."""
        seed = PLAIN_FIELDS["seed"].read(self._draft.values.get("seed"))
        self._used = False
        self._change(self._draft.put("seed", new_seed() if seed is None else seed + 1), force=True)

    def do_undo(self) -> None:
        """Back by one change."""
        self._step_history(self._past, self._future)

    def do_redo(self) -> None:
        """Forth by one change."""
        self._step_history(self._future, self._past)

    def do_preset(self, name: Line) -> None:
        """Take a preset into the editor; locked fields stay."""
        own = self._own_presets()
        values = {**self._form.presets, **PRESETS, **own}.get(name)
        if values is None:
            raise LabError(next(iter(self._kept.problems), f"There is no preset {shown(name)}."))
        if name not in own and name in self._form.presets:
            self.fill(values)  # settings beside the words, not a song of its own
            return
        cleared = dict.fromkeys(f.name for f in METADATA)
        self.fill({**cleared, **values})

    def do_save_preset(self, name: Line) -> None:
        """Keep the draft as a preset in the YAML file."""
        name = " ".join(name.split())[:60]
        if not name:
            raise RecipeError("A preset needs a name.")
        for at, problem in self.problems().items():
            raise FieldError(problem, at)
        values = {k: v for k, v in self._draft.values.items() if v not in (None, "") and k != "seed"}
        self._kept.save(name, {"caption": self._draft.caption, "task": self._draft.task, **values})
        self._own_presets()

    def do_fetch(self, field: Name, of: Name = "") -> None:
        """Fill a field with what is at hand: the take in hand, the codes of the "plan" or of the "take", the marked region."""
        one = self._field(field)
        kind = one.kind
        if kind == "codes" and self._listeners.get("codes"):
            self.notify("codes", field=field, of=of)
            return
        if kind not in _FETCHED:
            raise RecipeError(f"{one.label}: nothing at hand goes into this field; type or paste it.")
        self._change(self._draft.put(field, _FETCHED[kind](self, of)), force=True)

    def _sound_in_hand(self, of: str) -> str:
        sound = self._source()
        if sound is None:
            raise RecipeError("There is no take in hand yet: make or pick one first.")
        others = [(id, one) for id, one in self._sounds.items() if id != sound.id]
        self._sounds = dict([*others[1 - _MOST_SOUNDS :], (sound.id, sound)])
        self.names = {**dict(list(self.names.items())[-_MOST_NAMED:]), sound.id: self.source}
        return str(sound.id)

    def _marked_region(self, of: str) -> list[str]:
        regions = self._words()[2]
        if not regions:
            raise RecipeError("No region is marked yet: mark one on the waveform first.")
        return [repr(float(regions[0].start)), repr(float(regions[0].end))]

    def do_make(self, revision: int | None = None) -> None:
        """Make it; only if all that was typed makes sense, else say where it does not.

        A click carries the revision it was made on; one made on an older page is a double click, and makes nothing.
        """
        if revision is not None and revision != self._clicks:
            return
        try:
            if "seed" not in self.problems():
                self.resolve_seed()
            recipes = self.recipes()
        except RecipeError as problem:
            self._refuse(problem)
            return
        self._clicks += 1
        self.clicks = self._clicks
        self.notify("make", recipe=recipes if len(recipes) > 1 else recipes[0])

    def do_try(self, field: Name) -> None:
        """Make a row of takes over values of one field worth hearing side by side: low, usual, high, all from one seed."""
        one, usual = self._field(field), self.limits.get(field)
        usual = usual_of(field) if usual is None else usual
        try:
            values = values_to_try(one, field, self._draft, self._form, usual)
            self.resolve_seed()
            recipes = [self._recipe_of(self._draft.put(field, value)) for value in values]
        except RecipeError as problem:
            self._refuse(problem if isinstance(problem, FieldError) else FieldError(str(problem), field))
            return
        self.notify("sweep", x=(_axis_name(field), [_in_few(value) for value in values]), y=None, recipes=[recipes])

    def do_sweep(self, x: Name, xs: Line, y: Name = "", ys: Line = "") -> None:
        """Make a grid of takes over one or two parameters: names, and values with commas between."""
        across, down = self._axes(x, xs, y, ys)
        self.resolve_seed()
        recipes = self._grid(x, across, y, down)
        axes = (_axis_name(x), across), (_axis_name(y), down) if down != [None] else None
        self.notify("sweep", x=axes[0], y=axes[1], recipes=recipes)

    def _grid(self, x: str, across: Sequence[Any], y: str, down: Sequence[Any]) -> list[list[Recipe]]:
        if "." in x + y:  # the planner's and the task's fields are inside values of their own
            rows = [self._draft if b is None else self._draft.put(y, self._field(y).typed(b)) for b in down]
            return [[self._recipe_of(row.put(x, self._field(x).typed(a))) for a in across] for row in rows]
        base = self.recipe()
        return [[base.replace(**{x: a}, **({y: b} if b is not None else {})) for a in across] for b in down]

    def do_sweep_code(self, x: Name, xs: Line, y: Name = "", ys: Line = "") -> None:
        """Hand over the Python line that makes the grid."""
        across, down = self._axes(x, xs, y, ys)
        if "." in x + y:
            listed = [one for row in self._grid(x, across, y, down) for one in row]
            text = f"takes = lab.start([{', '.join(one.code() for one in listed)}]).takes()"
        else:
            changes, loops = f"{x}={x}", f"for {x} in {literal(across)}"
            if down != [None]:
                changes, loops = f"{changes}, {y}={y}", f"for {y} in {literal(down)} {loops}"
            recipe = self.recipe()
            text = f"recipe = {recipe.code()}\ntakes = lab.start([recipe.replace({changes}) {loops}]).takes()"
        self.emit("sweep_code", text=text)

    def do_plan(self) -> None:
        """Let the planner write its plan first, to read and change before a note is made."""
        self._ask_planner("plan")

    def do_polish(self) -> None:
        """Let the planner find better words, to be taken field by field."""
        self._ask_planner("polish")

    def do_restore(self, kept: Kept) -> None:
        """Take up the draft that a browser kept from last time; only where nothing was written on this page yet."""
        if self._touched or self._past:
            return
        former, words = self._draft, dict(self._lyrics())
        draft = draft_of(kept, former)
        lyrics = kept["lyrics"] or {}
        if draft == former and not lyrics.get("text"):
            return
        self._before = (former, words)
        self.count = kept["count"] if kept["count"] in COUNTS else 1
        self._used = bool(kept["used"])
        self.restored = True
        self.notify("restored", words=lyrics)
        self._change(draft, force=True)

    def do_forget(self) -> None:
        """Put the page back as it was before the draft of last time came back."""
        if self._before is None:
            return
        (draft, words), self._before, self.restored = self._before, None, False
        self.notify("restored", words=words)
        self._change(draft, force=True)

    def do_keep(self) -> None:
        """The draft that came back is right; no more of it."""
        self._before, self.restored = None, False

    def _ask_planner(self, kind: str) -> None:
        try:
            recipe = self.recipe()
        except RecipeError as problem:
            self._refuse(problem)
            return
        self.notify(kind, recipe=recipe)

    def _refuse(self, problem: RecipeError) -> None:
        """Say why nothing was made, at the field it is about."""
        self._show()
        self.show_error(str(problem), getattr(problem, "name", ""))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _field(self, name: str) -> Field:
        """A field that the form offers, by its name in the draft."""
        found = self._form.by_name.get(name) or self._form.of_task(self._draft.task).get(name)
        if found is None:
            raise RecipeError(f"There is no field {shown(name, 42)} in this form.")
        return found

    def _axes(self, x: str, xs: str, y: str, ys: str) -> tuple[list[Any], list[Any]]:
        """The values across and down; [None] down where only one parameter is swept over."""
        across = self._values(x, xs)
        down = self._values(y, ys) if y and y != x else [None]
        if len(across) * len(down) > MOST_CELLS:
            raise RecipeError(
                f"That would be {len(across) * len(down)} takes; a sweep makes at most {MOST_CELLS} at once."
            )
        return across, down

    def _values(self, name: str, typed: str) -> list[object]:
        """The values of a sweep: "1, 3, 5" for the shift, "C major, A minor" for the key."""
        known = {**self._form.by_name, **self._form.of_task(self._draft.task)}
        if name not in known or known[name].kind not in SWEPT:
            raise RecipeError("Choose the parameter to sweep over.")
        field = known[name]
        parts = [part.strip() for part in typed.replace(";", ",").split(",") if part.strip()]
        values = [field.check(field.read(part)) for part in parts]
        if not values:
            raise RecipeError(f"Write the values of {field.label.lower()} with commas between, such as 1, 3, 5.")
        return values

    def _change(self, draft: Draft, force: bool = False) -> None:
        if draft != self._draft:
            self._past = [*self._past[-_DEEPEST_UNDO:], self._draft]
            self._future, self._draft, self._touched = [], draft, True
        self._show(force)
        self.notify("changed")

    def _step_history(self, here: list[Draft], there: list[Draft]) -> None:
        if here:
            there.append(self._draft)
            self._draft = here.pop()
            self._show(force=True)
            self.clear_errors()
            self.notify("changed")

    def _show(self, force: bool = False) -> None:
        """Publish the draft; `force` makes the browser overwrite what is being typed."""
        draft = self._draft
        if frozenset(self._elsewhere()) != self._hidden:
            self._show_form()
        self.errors = self.problems()
        self.undo = [bool(self._past), bool(self._future)]
        self.code = self._code()
        self.limits = self._limits()
        self.notes = self._left_out()
        self._name_sounds()
        self.seeds = self._seeds()
        if force:
            self.revision = self.revision + 1
        self.draft = {
            "caption": draft.caption, "task": draft.task, "locked": sorted(draft.locked), "revision": self.revision,
            "values": {k: list(v) if isinstance(v, tuple) else v for k, v in draft.values.items()},
        }  # fmt: skip
        self.kept = self._to_keep() if self._touched else {}

    def _limits(self) -> dict[str, Any]:
        """What Auto means now, by field, where the checkpoint or another field decides it."""
        found = {k: v for k, v in self._defaults(self._draft.task).items() if v is not None and k in self._form.by_name}
        if self._draft.task == "Extend" and self._draft.values.get("Extend.before") not in (None, "", 0, "0"):
            found["Extend.after"] = 0
        return found

    def _name_sounds(self) -> None:
        """Know what the sounds in the task's fields are called, also those that came in by their ids."""
        for name, field in self._form.of_task(self._draft.task).items():
            id = self._draft.values.get(name)
            if field.kind == "sound" and isinstance(id, str) and id not in self.names:
                self.names = {**dict(list(self.names.items())[-_MOST_NAMED:]), id: self._name_of(id)}

    def _to_keep(self) -> dict[str, Any]:
        """What a browser keeps for the next visit."""
        values = {n: v for n, v in self.draft["values"].items() if v is not None}  # type: ignore[attr-defined]
        return {
            "caption": self._draft.caption, "task": self._draft.task, "values": values, "count": self.count,
            "locked": sorted(self._draft.locked), "used": self._used, "lyrics": dict(self._lyrics()),
        }  # fmt: skip

    def _seeds(self) -> str:
        """The seeds of the next click, "7–10"; "" for a single one."""
        name = "Retake.seed" if self._draft.task == "Retake" else "seed"
        if self.count < 2 or name in self.problems():
            return ""
        first = self._field(name).read(self._draft.values.get(name))
        return "" if first is None else f"{first}–{min(first + self.count - 1, MAX_SEED)}"

    def _left_out(self) -> list[str]:
        """What stands in the draft and is not offered now, in one sentence; it waits for a checkpoint that has it."""
        offered = {*self._form.by_name, *self._form.of_task(self._draft.task), *self._hidden}
        known = {**PLAIN_FIELDS, **{n: f for n, f in TASK_FIELDS.items() if n.startswith(f"{self._draft.task}.")}}
        labels = [
            known[n].label for n, v in self._draft.values.items() if v is not None and n in known and n not in offered
        ]
        if not labels:
            return []
        named = ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
        return [f"Left out, since this checkpoint has no such field: {named}."]

    def _code(self) -> str:
        try:
            recipes = self.recipes()
        except LabError as problem:
            return comment(problem)
        if len(recipes) == 1:
            return f"take = lab.make({recipes[0].code()})"
        if isinstance(recipes[0].task, Retake):
            listed = ", ".join(one.code() for one in recipes)
            return f"takes = lab.start([{listed}]).takes()"
        first = _seed_of(recipes[0])
        return (
            f"recipe = {recipes[0].code()}\n"
            f"takes = lab.start([recipe.replace(seed=seed) for seed in range({first}, {first + self.count})]).takes()"
        )

    def _own_presets(self) -> dict[str, dict[str, object]]:
        """The presets in the musician's file; the page is told their names, and what had to be left out."""
        found = self._kept.read()
        theirs = [name for name in self._form.presets if name not in found]
        self.presets = [*theirs, *sorted({**PRESETS, **found})]
        self.supplied = sorted({*theirs, *(set(PRESETS) - set(found))})
        self.left_out = self._kept.problems[:_MOST_TOLD]
        return found


MOST_CELLS = 16
SWEPT = ("number", "whole", "share", "choice")
"""Kinds of fields that a sweep goes over."""
_FETCHED: Mapping[str, Callable[[PromptEditor, str], object]] = {
    "sound": PromptEditor._sound_in_hand,
    "span": PromptEditor._marked_region,
}
"""How a field of a kind is filled with what is at hand."""


def _seed_of(recipe: Recipe) -> int:
    """The seed that a row of takes counts from."""
    seed = recipe.task.seed if isinstance(recipe.task, Retake) else recipe.seed
    if seed is None:
        raise FieldError("Several takes count their seeds from one: write a seed, or roll the dice.", "seed")
    return seed


def _with_seed(recipe: Recipe, seed: int) -> Recipe:
    """A recipe with another seed; FieldError where there is none so high."""
    name = "Retake.seed" if isinstance(recipe.task, Retake) else "seed"
    if seed > MAX_SEED:
        raise FieldError(f"So many takes would need seeds above {MAX_SEED}; begin with a smaller one.", name)
    if isinstance(recipe.task, Retake):
        return recipe.replace(task=Retake(recipe.task.source, recipe.task.variance, seed))
    return recipe.replace(seed=seed)


def _axis_name(name: str) -> str:
    """How a field is called above a grid of takes."""
    return name.replace("planning.", "planner ").replace(".", " ").replace("_", " ") if "." in name else name


def _in_few(value: object) -> object:
    """A value as it stands above a column: a word, a number, the beginning of a text."""
    if value is None:
        return "Auto"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    return f"{text[:23]}…" if isinstance(text, str) and len(text) > 24 else text


PromptEditorWidget, PromptEditorPane = widget_and_pane(PromptEditor)
