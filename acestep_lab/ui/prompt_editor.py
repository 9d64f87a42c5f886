"""PromptEditor: write what should sound. The browser half is `widgets/prompt.js`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.prompt.literal import comment, literal
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import TASKS, Region
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.draft import FLOW, METADATA, PLAIN_FIELDS, TOKENS, WHOLE, Draft, Form, new_seed
from acestep_lab.ui.messages import Line, Name, Typed
from acestep_lab.ui.presets import Presets

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

EVERYTHING: Mapping[str, str | None] = dict.fromkeys(TASKS)
_DEEPEST_UNDO = 200
_MOST_TOLD = 6
"""Presets left out that are named on the page."""


class PromptEditor(Component):
    """Caption, metadata (Auto or fixed, each with a lock), length, seed, task, presets, undo.

    `form` is what the checkpoint lets be asked, and `refusals` maps each task to None, or to the reason why this checkpoint cannot do it. `source` and `words` give,
    when asked, the take a task starts from and (lyrics, language, regions) from the other components of the page.
    """

    module = "prompt"
    fields: ClassVar[Mapping[str, object]] = {
        "draft": {}, "forms": {}, "presets": [], "errors": {}, "code": "", "busy": "", "source": "", "limits": {},
        "undo": [False, False], "revision": 0, "clicks": 0, "left_out": [],
    }  # fmt: skip

    revision: int

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
    ) -> None:
        """Begin with a draft (a Recipe will do); `defaults` says what Auto means for a task, `presets` is a YAML
        file.
        """
        self._source, self._words = source, words
        self._kept = Presets(None if presets is None else Path(presets).expanduser())
        self._past: list[Draft] = []
        self._future: list[Draft] = []
        if not isinstance(draft, Draft | Recipe | None):
            raise RecipeError(f"An editor begins with a Recipe or a Draft, not {shown(draft)}.")
        first = Draft.of(draft) if isinstance(draft, Recipe) else draft or Draft()
        self._draft = first if first.values.get("seed") is not None else first.put("seed", new_seed())
        self._defaults = defaults
        self.adopt(form, refusals)
        self._own_presets()

    # -- what the page asks --------------------------------------------------------------------------------------------

    def adopt(self, form: Form, refusals: Mapping[str, str | None] = EVERYTHING) -> None:
        """Offer what another checkpoint lets be asked; what was typed stays, also where it is not offered for now."""
        self._form = form
        self.forms = {
            "metadata": [f.to_json() for f in form.metadata],
            "song": [f.to_json() for f in form.song],
            "sampling": [f.to_json() for f in form.knobs],
            "plans": form.plans,
            "tasks": [
                {
                    "name": row.name,
                    "title": row.title,
                    "hint": row.hint,
                    "reason": refusals.get(row.name),
                    "source": row.needs_source,
                    "fields": [{**f.to_json(), "name": f"{row.name}.{f.name}"} for f in row.fields],
                }
                for row in form.tasks
            ],
        }
        self._show(force=True)

    @property
    def value(self) -> Draft:
        """The draft as it stands."""
        return self._draft

    def recipe(self) -> Recipe:
        """The Recipe as it stands; RecipeError says what is wrong, and the editor shows it beside the field."""
        lyrics, language, regions = self._words()
        return self._draft.recipe(lyrics, language, self._source(), regions, self._form)

    def problems(self) -> dict[str, str]:
        """What is wrong with what stands in the form, by field."""
        return self._draft.problems(self._form)

    def fill(self, values: Mapping[str, object]) -> None:
        """Set some fields at once, None to Auto; locked fields and all others stay. One undo brings the former draft back."""
        self._change(self._draft.take_over(values), force=True)

    def load(self, recipe: Recipe) -> None:
        """Take an old recipe into the editor; locked fields stay. One undo brings the former draft back."""
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"A recipe is loaded, not {shown(recipe)}.")
        draft = Draft.of(recipe)
        cleared = dict.fromkeys(f.name for f in (*METADATA, *FLOW, *TOKENS))
        self._change(
            self._draft.take_over({**cleared, **draft.values, "caption": draft.caption, "task": draft.task}), force=True
        )

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

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_edit(self, field: Name, value: Typed) -> None:
        """Change one field."""
        if field == "seed":
            self._used = False
        self._change(self._draft.put(field, value))

    def do_lock(self, field: Name, on: bool = True) -> None:
        """Lock a field or let it go."""
        self._change(self._draft.lock(field, on))

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
        values = {**PRESETS, **self._own_presets()}.get(name)
        if values is None:
            raise LabError(next(iter(self._kept.problems), f"There is no preset {shown(name)}."))
        cleared = dict.fromkeys(f.name for f in METADATA)
        self._change(self._draft.take_over({**cleared, **values}), force=True)

    def do_save_preset(self, name: Line) -> None:
        """Keep the draft as a preset in the YAML file."""
        name = " ".join(name.split())[:60]
        if not name:
            raise RecipeError("A preset needs a name.")
        for problem in self.problems().values():
            raise RecipeError(problem)
        values = {k: v for k, v in self._draft.values.items() if v not in (None, "") and k != "seed"}
        self._kept.save(name, {"caption": self._draft.caption, "task": self._draft.task, **values})
        self._own_presets()

    def do_make(self, revision: int | None = None) -> None:
        """Make it; only if all that was typed makes sense, else say where it does not.

        A click carries the revision it was made on; one made on an older page is a double click, and makes nothing.
        """
        if revision is not None and revision != self._clicks:
            return
        try:
            if "seed" not in self.problems():
                self.resolve_seed()
            recipe = self.recipe()
        except RecipeError as problem:
            self._show()
            at = next((name for name, text in self.errors.items() if text == str(problem)), "")
            self.show_error(str(problem), at or ("caption" if "words" in str(problem) else ""))
            return
        self._clicks += 1
        self.clicks = self._clicks
        self.notify("make", recipe=recipe)

    def do_sweep(self, x: Name, xs: Line, y: Name = "", ys: Line = "") -> None:
        """Make a grid of takes over one or two parameters: names, and values with commas between."""
        across, down = _axes(self._form, x, xs, y, ys)
        self.resolve_seed()
        base = self.recipe()
        recipes = [[base.replace(**{x: a}, **({y: d} if d is not None else {})) for a in across] for d in down]
        self.notify("sweep", x=(x, across), y=(y, down) if down != [None] else None, recipes=recipes)

    def do_sweep_code(self, x: Name, xs: Line, y: Name = "", ys: Line = "") -> None:
        """Hand over the Python line that makes the grid."""
        across, down = _axes(self._form, x, xs, y, ys)
        changes, loops = f"{x}={x}", f"for {x} in {literal(across)}"
        if down != [None]:
            changes, loops = f"{changes}, {y}={y}", f"for {y} in {literal(down)} {loops}"
        self.emit(
            "sweep_code",
            text=f"recipe = {self.recipe().code()}\ntakes = lab.start([recipe.replace({changes}) {loops}]).takes()",
        )

    def do_plan(self) -> None:
        """Let the planner write its plan first, to read and change before a note is made."""
        self._ask_planner("plan")

    def do_polish(self) -> None:
        """Let the planner find better words, to be taken field by field."""
        self._ask_planner("polish")

    def _ask_planner(self, kind: str) -> None:
        try:
            recipe = self.recipe()
        except RecipeError as problem:
            self.show_error(str(problem), "caption" if "words" in str(problem) else "")
            return
        self.notify(kind, recipe=recipe)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _change(self, draft: Draft, force: bool = False) -> None:
        if draft != self._draft:
            self._past = [*self._past[-_DEEPEST_UNDO:], self._draft]
            self._future, self._draft = [], draft
        self._show(force)
        self.notify("changed")

    def _step_history(self, here: list[Draft], there: list[Draft]) -> None:
        if here:
            there.append(self._draft)
            self._draft = here.pop()
            self._show(force=True)
            self.notify("changed")

    def _show(self, force: bool = False) -> None:
        """Publish the draft; `force` makes the browser overwrite what is being typed."""
        draft = self._draft
        self.errors = self.problems()
        self.undo = [bool(self._past), bool(self._future)]
        self.code = self._code()
        self.limits = {k: v for k, v in self._defaults(draft.task).items() if v is not None and k in self._form.by_name}
        if force:
            self.revision = self.revision + 1
        self.draft = {
            "caption": draft.caption, "task": draft.task, "locked": sorted(draft.locked), "revision": self.revision,
            "values": {k: list(v) if isinstance(v, tuple) else v for k, v in draft.values.items()},
        }  # fmt: skip

    def _code(self) -> str:
        try:
            return f"take = lab.make({self.recipe().code()})"
        except LabError as problem:
            return comment(problem)

    def _own_presets(self) -> dict[str, dict[str, object]]:
        """The presets in the musician's file; the page is told their names, and what had to be left out."""
        found = self._kept.read()
        self.presets = sorted({**PRESETS, **found})
        self.left_out = self._kept.problems[:_MOST_TOLD]
        return found


MOST_CELLS = 16


def _axes(form: Form, x: str, xs: str, y: str, ys: str) -> tuple[list[Any], list[Any]]:
    """The values across and down; [None] down where only one parameter is swept over."""
    across = _values(form, x, xs)
    down = _values(form, y, ys) if y and y != x else [None]
    if len(across) * len(down) > MOST_CELLS:
        raise RecipeError(f"That would be {len(across) * len(down)} takes; a sweep makes at most {MOST_CELLS} at once.")
    return across, down


def _values(form: Form, name: str, typed: str) -> list[object]:
    """The values of a sweep: "1, 3, 5" for the shift, "C major, A minor" for the key."""
    if name not in form.by_name:
        raise RecipeError("Choose the parameter to sweep over.")
    field = form.by_name[name]
    values = [field.check(field.read(part.strip())) for part in typed.replace(";", ",").split(",") if part.strip()]
    if not values:
        raise RecipeError(f"Write the values of {field.label.lower()} with commas between, such as 1, 3, 5.")
    return values


PromptEditorWidget, PromptEditorPane = widget_and_pane(PromptEditor)
