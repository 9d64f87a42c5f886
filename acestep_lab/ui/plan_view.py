"""PlanView: what the planner decided, to read, change and accept. The browser half is `widgets/plan.js`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.plan.plan import LOCKABLE, Plan
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.literal import comment
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.draft import Field
from acestep_lab.ui.messages import Name, Typed
from acestep_lab.ui.throttle import Throttle

FIELDS = (
    Field("bpm", "Tempo", "whole", "Beats in a minute."),
    Field(
        "keyscale",
        "Key",
        "choice",
        "The scale.",
        tuple(f"{n} {m}" for m in ("major", "minor") for n in vocabulary.NOTES),
    ),
    Field("timesignature", "Meter", "choice", "Beats in a bar.", vocabulary.TIMESIGNATURES),
    Field("seconds", "Length", "number", "Seconds.", unit="seconds"),
    Field("language", "Language", "choice", "Of the lyrics.", tuple(vocabulary.LANGUAGES)),
    Field("genres", "Genres", "text", "In a few words.", default=""),
    Field("caption", "Caption", "text", "What should sound.", default=""),
    Field("lyrics", "Lyrics", "text", "What is sung.", default=""),
)
_NONE = "There is no plan yet: press Plan first."
_LONG = ("caption", "lyrics")
_BY_NAME = {f.name: f for f in FIELDS}
_LONGEST_STREAM = 20_000
_CODE = re.compile(r"<\|audio_code_(\d+)\|>")


class PlanView(Component):
    """The planner's tokens as they arrive, then the plan as fields one may change and lock.

    Where the planner wrote something else than was asked, both stand side by side and each is accepted by itself; the
    musician's words stand unless accepted. Listeners: "make" (recipe, plan), "changed".
    """

    module = "plan"
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

    def setup(self, plan: Plan | None = None, recipe: Recipe | None = None) -> None:
        """Show a plan, if there is one, against the recipe it was asked for."""
        self._plan: Plan | None = None
        self._recipe: Recipe | None = None
        self._accepted: dict[str, bool] = {}
        self._text: list[str] = []
        self._new_codes: list[int] = []
        self._throttle = Throttle(10.0)
        if plan is not None:
            self.show_plan(plan, recipe)

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The planner starts to write."""
        self._text, self._new_codes = [], []
        self.stream, self.live, self.codes = "", True, 0

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
        self._throttle.flush()
        self._push()
        self.live = False

    def show_plan(self, plan: Plan, recipe: Recipe | None = None, unfolded: bool = True) -> None:
        """Show a plan as fields, against the recipe it was asked for; or folded into one line, to be opened by hand."""
        if not isinstance(plan, Plan) or not isinstance(recipe, Recipe | None):
            raise RecipeError(f"A plan is shown, perhaps against a recipe; not {shown(plan)} against {shown(recipe)}.")
        self._plan, self._recipe, self.unfolded = plan, recipe, unfolded
        self._accepted = {name: not self._asked(name) for name in _BY_NAME}
        self._show(force=True)
        self._send_codes(plan.codes)

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
        taken = {
            n: getattr(self._plan, n)
            for n in _BY_NAME
            if n != "genres" and self._accepted.get(n) and getattr(self._plan, n) not in (None, "")
        }
        return self._recipe.replace(**taken)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: send it the codes."""
        if self._plan is not None:
            self._send_codes(self._plan.codes)
        super().do_ready()

    def do_edit(self, field: Name, value: Typed) -> None:
        """Change one field of the plan."""
        if self._plan is None:
            raise RecipeError(_NONE)
        read = _BY_NAME[_known(field, _BY_NAME)].read(value)
        self._plan = self._plan.replace(**{field: read})
        self._accepted[field], self.unfolded = True, True
        self._show(force=True)
        self._send_codes(self._plan.codes)
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
        for name in [_known(field, _BY_NAME)] if field else list(_BY_NAME):
            self._accepted[name] = on
        self._show()
        self.notify("changed")

    def do_stop(self) -> None:
        """Let the planner stop writing."""
        self.notify("stop")

    def do_make(self) -> None:
        """Render with this plan."""
        self.notify("make", recipe=self.recipe(), plan=self._plan)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _asked(self, name: str) -> object:
        """What the musician had said of a field; None or "" where nothing."""
        return getattr(self._recipe, name, None) if self._recipe is not None and name != "genres" else None

    def _show(self, force: bool = False) -> None:
        plan = self._plan
        if plan is None:
            return
        rows = []
        for field in FIELDS:
            value, asked = getattr(plan, field.name), self._asked(field.name)
            differs = asked not in (None, "") and value not in (None, "") and asked != value
            rows.append(
                {
                    **field.to_json(),
                    "value": value,
                    "long": field.name in _LONG,
                    "locked": field.name in plan.locked,
                    "lockable": field.name in LOCKABLE,
                    "problem": plan.problems.get(field.name, ""),
                    "differs": differs,
                    "asked": asked,
                    "accepted": bool(self._accepted.get(field.name)),
                    "parts": word_changes(str(asked), str(value)) if differs else [],
                }
            )
        if force:
            self.revision = self.revision + 1
        self.rows, self.codes = rows, len(plan.codes)
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
        self.codes = len(self._new_codes)
        self._send_codes(self._new_codes)

    def _send_codes(self, codes: Any) -> None:
        self.emit("codes", np.array(list(codes), np.uint32).tobytes())


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
