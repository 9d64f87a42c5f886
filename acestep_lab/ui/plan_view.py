"""PlanView: what the planner decided, to read, change and accept. The browser half is `widgets/plan.js`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.plan.plan import LOCKABLE, Plan
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.literal import comment
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.ui.code_features import CodeFeatures, repeats
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.fields import Field
from acestep_lab.ui.forms import METADATA, SONG, WHOLE, Form
from acestep_lab.ui.messages import Name, Typed
from acestep_lab.ui.throttle import Throttle

_OWN = (
    Field("genres", "Genres", "text", "In a few words.", default=""),
    Field("caption", "Caption", "text", "What should sound.", default=""),
    Field("lyrics", "Lyrics", "text", "What is sung.", default=""),
)


def fields_of(form: Form, languages: Sequence[str] = tuple(vocabulary.LANGUAGES)) -> tuple[Field, ...]:
    """A plan's fields as a checkpoint's form reads them: the same kinds, choices and limits."""
    plain = {field.name: field for field in (*METADATA, *SONG)} | form.by_name
    language = Field("language", "Language", "choice", "Of the lyrics.", tuple(languages))
    return (plain["bpm"], plain["keyscale"], plain["timesignature"], plain["seconds"], language, *_OWN)


_ALSO_OF_RECIPES = ("bpm", "keyscale", "timesignature", "seconds", "language")
_NONE = "There is no plan yet: press Plan first."
_LONG = ("caption", "lyrics")
_NAMES = tuple(field.name for field in fields_of(WHOLE))
_LONGEST_STREAM = 20_000
_CODE = re.compile(r"<\|audio_code_(\d+)\|>")


class PlanView(Component):
    """The planner's tokens as they arrive, then the plan as fields one may change and lock.

    Where the planner wrote something else than was asked, both stand side by side and each is accepted by itself; the
    musician's words stand unless accepted. Listeners: "make" (recipe, plan), "changed".

    ::

        view = PlanViewWidget()
        view.begin()
        view.show_plan(lab.plan(recipe, on_token=view.add_token), recipe)
    """

    module = "plan"
    includes = ("fold",)
    fields: ClassVar[Mapping[str, object]] = {
        "stream": "",
        "live": False,
        "rows": [],
        "codes": 0,
        "code": "",
        "busy": "",
        "revision": 0,
        "unfolded": True,
        "offered": True,
    }

    revision: int
    rows: list[dict[str, Any]]

    def setup(self, plan: Plan | None = None, recipe: Recipe | None = None) -> None:
        """Show a plan, if there is one, against the recipe it was asked for."""
        self._plan: Plan | None = None
        self._recipe: Recipe | None = None
        self._accepted: dict[str, bool] = {}
        self._typed: dict[str, object] = {}
        """What was typed into a field and makes no sense yet; it stays in its box to be mended."""
        self._wrong: dict[str, str] = {}
        self._fields = {field.name: field for field in fields_of(WHOLE)}
        self._codes: tuple[int, ...] = ()
        self._features: CodeFeatures | None = None
        self._text: list[str] = []
        self._new_codes: list[int] = []
        self._throttle = Throttle(10.0)
        if plan is not None:
            self.show_plan(plan, recipe)

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def adopt(self, form: Form, languages: Sequence[str] = ()) -> None:
        """Read the fields as another checkpoint's form does."""
        self._fields = {field.name: field for field in fields_of(form, languages or tuple(vocabulary.LANGUAGES))}
        self._show(force=True)

    def clear(self) -> None:
        """Another song: no plan, no codes, no errors."""
        self._plan = self._recipe = None
        self._text, self._new_codes, self._accepted, self._typed, self._wrong = [], [], {}, {}, {}
        self.stream, self.live, self.rows, self.unfolded = "", False, [], False
        self.code = self._code()
        self.show_codes(())
        self.show_error("")
        self.revision = self.revision + 1

    def begin(self) -> None:
        """The planner starts to write."""
        self._text, self._new_codes = [], []
        self.stream, self.live, self.unfolded, self.rows = "", True, True, []
        self.show_error("")
        self.show_codes(())

    def add_token(self, token: Any) -> None:
        """One more token of the planner (`.text`, and `.plan_index` where several plans are written); called from any
        thread.
        """
        text = token if isinstance(token, str) else str(token.text)
        if getattr(token, "plan_index", 0) == 0:
            codes = _CODE.findall(text)
            self._new_codes += [int(code) for code in codes]
            self._text += [] if codes else [text]
            self._throttle.offer(self._push)

    def end(self) -> None:
        """The planner has ended, with a plan or without."""
        if not self.live:
            return
        self._throttle.now(self._push)
        self.live = False
        if self._plan is not None:
            self._show(force=True)
            self.show_codes(self._plan.codes)

    def show_plan(self, plan: Plan, recipe: Recipe | None = None, unfolded: bool = True) -> None:
        """Show a plan as fields, against the recipe it was asked for; or folded into one line, to be opened by hand."""
        if not isinstance(plan, Plan) or not isinstance(recipe, Recipe | None):
            raise RecipeError(f"A plan is shown, perhaps against a recipe; not {shown(plan)} against {shown(recipe)}.")
        self._plan, self._recipe, self.unfolded = plan, recipe, unfolded
        self._typed, self._wrong = {}, {}
        self._accepted = {name: not self._asked(name) for name in _NAMES}
        self._show(force=True)
        self.show_codes(plan.codes)

    def show_codes(self, codes: Sequence[int]) -> None:
        """Show codes, of this plan or of a take that has no plan; what they sound like may follow (`show_features`)."""
        self._codes, self._features, self.codes = tuple(codes), None, len(codes)
        self._send_lane()

    def show_features(self, features: CodeFeatures) -> None:
        """Show what the codes at hand sound like in the take they became."""
        if len(features.onset) == len(self._codes):
            self._features = features
            self._send_lane()

    @property
    def value(self) -> Plan | None:
        """The plan as it stands."""
        return self._plan

    @property
    def asked(self) -> Recipe | None:
        """The recipe it was asked for."""
        return self._recipe

    def recipe(self) -> Recipe:
        """The recipe with what was accepted of the plan."""
        if self._plan is None or self._recipe is None:
            raise RecipeError(_NONE)
        for problem in self._wrong.values():
            raise RecipeError(problem)
        taken = {
            n: getattr(self._plan, n)
            for n in _NAMES
            if n != "genres" and self._accepted.get(n) and getattr(self._plan, n) not in (None, "")
        }
        return self._recipe.replace(**taken)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: send it the codes."""
        self._send_lane()
        super().do_ready()

    def do_edit(self, field: Name, value: Typed) -> None:
        """Change one field of the plan; RecipeError where it makes no sense, and it stays as typed, to be mended."""
        if self._plan is None:
            raise RecipeError(_NONE)
        try:
            changed = self._plan.replace(**{field: self._read(_known(field, _NAMES), value)})
        except RecipeError as problem:
            if field in _NAMES:
                self._typed[field], self._wrong[field] = value, str(problem)
                self._show()
            raise
        for kept in (self._typed, self._wrong):
            kept.pop(field, None)
        moved, self._plan = changed.codes != self._plan.codes, changed
        self._accepted[field], self.unfolded = True, True
        self._show(force=True)
        if moved:
            self.show_codes(changed.codes)
        self.notify("changed")

    def do_lock(self, field: Name, on: bool = True) -> None:
        """Hold a field for the next planning, or let it go."""
        if self._plan is None:
            raise RecipeError(_NONE)
        _known(field, LOCKABLE)
        self._plan = self._plan.lock(field) if on else self._plan.unlock(field)
        self._show()

    def do_accept(self, field: Name = "", on: bool = True) -> None:
        """Take the planner's word for a field, or keep one's own; "" is all of them."""
        for name in [_known(field, _NAMES)] if field else _NAMES:
            self._accepted[name] = on
        self._show()
        self.notify("changed")

    def do_stop(self) -> None:
        """Let the planner stop writing."""
        self.notify("stop")

    def do_make(self) -> None:
        """Render with this plan."""
        for name, problem in self._wrong.items():
            self.show_error(problem, name)
            return
        self.notify("make", recipe=self.recipe(), plan=self._plan)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _read(self, name: str, typed: object) -> Any:
        """The value of what was typed, as the form reads and checks it."""
        field = self._fields[name]
        value = field.check(field.read(typed))
        if name in _ALSO_OF_RECIPES:
            Recipe("words", **{name: value})
        return value

    def _asked(self, name: str) -> object:
        """What the musician had said of a field; None or "" where nothing."""
        return getattr(self._recipe, name, None) if self._recipe is not None and name != "genres" else None

    def _show(self, force: bool = False) -> None:
        plan = self._plan
        if plan is None:
            return
        rows = []
        for field in self._fields.values():
            value, asked = getattr(plan, field.name), self._asked(field.name)
            differs = asked not in (None, "") and value not in (None, "") and asked != value
            problem = self._wrong.get(field.name) or plan.problems.get(field.name, "")
            rows.append(
                {
                    **field.to_json(),
                    "value": self._typed.get(field.name, value),
                    "typed": field.name in self._wrong,
                    "long": field.name in _LONG,
                    "locked": field.name in plan.locked,
                    "lockable": field.name in LOCKABLE,
                    "problem": problem,
                    "differs": differs,
                    "asked": asked,
                    "accepted": bool(self._accepted.get(field.name)),
                    "parts": word_changes(str(asked), str(value)) if differs else [],
                }
            )
        if force:
            self.revision = self.revision + 1
        self.rows = rows
        self.code = self._code()

    def _code(self) -> str:
        if self._plan is None or self._recipe is None:
            return "plan = lab.plan(recipe)"
        try:
            return f"recipe = {self.recipe().code()}\nplan = lab.plan(recipe)\ntake = lab.make(recipe, plan)"
        except LabError as problem:
            return comment(problem)

    def _push(self) -> None:
        self.stream = "".join(self._text)[-_LONGEST_STREAM:]
        self.show_codes(self._new_codes)

    def _send_lane(self) -> None:
        """Send the codes with what is known of them: their sound in a take, else how often each comes."""
        if self._features is not None:
            self.emit("lane", self._features.table().tobytes(), of="sound", codes=len(self._codes))
        else:
            self.emit("lane", repeats(self._codes).tobytes(), of="repeats", codes=len(self._codes))


def _known(field: str, names: Iterable[str]) -> str:
    """A field's name; RecipeError where it is none of these."""
    if field not in names:
        raise RecipeError(f"A plan has no field {shown(field)} of that kind; it has {', '.join(names)}.")
    return field


def word_changes(before: str, after: str) -> list[list[str]]:
    """Two texts as runs of words that stay (""), go ("-") or come ("+"), in reading order."""
    old, new = (re.findall(r"\s+|[^\s]+", text) for text in (before, after))
    runs: list[list[str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            runs.append(["", "".join(old[a:b])])
            continue
        runs += [["-", "".join(old[a:b])]] if b > a else []
        runs += [["+", "".join(new[c:d])]] if d > c else []
    return runs


PlanViewWidget, PlanViewPane = widget_and_pane(PlanView)
