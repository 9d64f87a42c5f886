"""The kinds of runs: a render, whose pieces are steps and whose result is takes; a planning, of tokens and plans.

Knows no model; what is common to all kinds is in `run.py`. Another kind is another subclass with its own `kind`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import LabError, RecipeError, Stopped
from acestep_lab.jobs.eta import Work
from acestep_lab.jobs.run import USUAL_SECONDS, Run
from acestep_lab.prompt import checks

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.engines.step import Step
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.takes.take import Take


class RenderRun(Run["Step", "list[Take]"]):
    """Recipes on their way to takes: iterate it for its steps, ask it for its `take()`."""

    kind = "render"

    def __init__(self, recipes: Sequence[Recipe], work: Work | None = None, title: str = "") -> None:
        self.recipes = tuple(recipes)
        """The recipes, as resolved; what a planner decides is in them once it has."""
        self.plans: tuple[Plan | None, ...] = ()
        self.shown_at: list[float] = []
        """When each step came, by a clock in seconds that starts anywhere."""
        self._made: dict[int, Take] = {}
        self._keeper: Callable[[Step, int], Take] | None = None
        self._hearer: Callable[[Step, int, float, float], Audio] | None = None
        seconds = sum(recipe.seconds or USUAL_SECONDS for recipe in self.recipes)
        super().__init__(title or _title(self.recipes), seconds, work)

    @property
    def recipe(self) -> Recipe:
        """The (first) recipe, as resolved."""
        return self.recipes[0]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps so far; of several recipes rendered together, each step once for every one."""
        return tuple(self._pieces)

    @property
    def made(self) -> Mapping[int, Take]:
        """The takes that exist so far, by the place of their recipe; those of a stopped or failed run stay here."""
        return dict(sorted(self._made.items()))

    def takes(self) -> list[Take]:
        """Wait for the takes, one for each recipe; raises what made the run fail, or Stopped. Ctrl-C stops the run.

        What a stopped or failed run had made by then is in `made`, and kept.
        """
        return self.result()

    def take(self) -> Take:
        """Wait for the (first) take; raises what made the run fail, Stopped, or LabError where it ended without one."""
        takes = self.takes()
        if not takes:
            raise LabError("This run ended without a take; look at run.messages.")
        return takes[0]

    def _result(self) -> list[Take]:
        return list(self.made.values())

    def _awaited(self) -> Take:
        return self.take()

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data: with the ids of the takes so far, by the places of their recipes."""
        made = {str(place): take.id for place, take in self.made.items()}
        return super().to_json() | {"recipes": len(self.recipes), "takes": made, "steps": len(self._pieces)}

    def keep(self, step: int, item: int = 0) -> Take:
        """Make a take of the estimate (x0) of a step, counted from 0; works during the run and after a stop.

        `item` says which, counted from 0, where several recipes are rendered. RecipeError for a step that was not shown (yet),
        LabError before the run has begun.
        """
        shown, item = self._shown(step, item)
        if self._keeper is None:
            raise LabError("This run cannot keep a step: it has not begun.")
        return self._keeper(shown, item)

    def hear(self, step: int, start: float, end: float, item: int = 0) -> Audio:
        """The seconds from `start` to `end` of a step's estimate, decoded alone; also during the run and after a stop.

        RecipeError for a step that was not shown (yet), and for a model whose steps cannot be heard; LabError before it began.
        """
        shown, item = self._shown(step, item)
        if self._hearer is None:
            raise LabError("A step of this run cannot be heard by the run; write lab.preview(step, at=3).")
        return self._hearer(shown, item, start, end)

    def _shown(self, step: int, item: int) -> tuple[Step, int]:
        """A step of an item that was shown, and the item; RecipeError where it was not."""
        step, item = checks.whole("A step", step, -(2**31), 2**31), checks.whole("An item", item, -(2**31), 2**31)
        shown = [one for one in self._pieces if item in one.items]
        if not shown:
            raise RecipeError(f"Recipe {item} of this run has shown no step yet; wait for its first one.")
        if not 0 <= step < len(shown):
            raise RecipeError(f"There is no step {step}; this run has shown steps 0 to {len(shown) - 1}.")
        return shown[step], item

    def stopped(self) -> Stopped:
        """What to raise for a run that was asked to stop."""
        done, whole = len(self._made), len(self.recipes)
        if not done:
            return Stopped("The run was stopped before it had a take.")
        return Stopped(f"The run was stopped with {done} of its {whole} takes made; they are kept, and in run.made.")

    def what_is_kept(self) -> str:
        """Which takes are kept, and which step still can be and how, in sentences."""
        made, whole = [take.id for take in self._made.values()], len(self.recipes)
        listed = ", ".join(made[:3]) + (f" and {len(made) - 3} more" if len(made) > 3 else "")
        kept = f"Kept in the library: {listed} ({len(made)} of {whole})." if made else "No take was made yet."
        if not self._pieces or self._keeper is None or len(made) == whole:
            return kept
        last = self._pieces[-1]
        item, more = last.items[0], f", item={last.items[0]}" if last.items[0] else ""
        own = sum(item in one.items for one in tuple(self._pieces)) - 1
        return (
            f"{kept} Step {last.index + 1} of {last.steps} can still be kept as a take: run.keep({own}{more}), "
            f"where run is yours or lab.jobs.interrupted."
        )

    def _at_work(self) -> str:
        if self._state != "rendering":
            return self._state
        if not self._pieces:
            return "reading the words and sources"
        last = self._pieces[-1]
        at = f"{min(last.index + 2, last.steps)} of"
        return f"token {at} at most {last.steps}" if last.estimate is None else f"step {at} {last.steps}"

    # -- what the worker tells

    def until(self, step: int) -> Take:
        """Wait for the take of a step, counted from 0, and stop; RecipeError where the run ends before it."""
        step = checks.whole("A step", step, 0, 2**31)
        for one in self:
            if one.index == step and 0 in one.items:
                take = self.keep(step)
                self.stop()
                return take
        raise RecipeError(f"The run of this recipe ended before step {step + 1}; it has {len(self.steps)}.")

    def can_keep(self, keeper: Callable[[Step, int], Take]) -> None:
        """From now on a step can be kept."""
        self._keeper = keeper

    def can_hear(self, hearer: Callable[[Step, int, float, float], Audio]) -> None:
        """From now on a window of a step can be heard."""
        self._hearer = hearer

    def show(self, *steps: Step) -> None:
        """One turn of the loop: a step for each recipe in it."""
        for step in steps:
            self.shown_at.append(time.monotonic())
            self._add(step)
        self._estimator.advance(1.0)
        self._measure(0.85 * (steps[0].index + 1) / steps[0].steps if steps else 0.0)
        for step in steps:
            self._emit("step", step)

    def token(self, value: Any) -> None:
        """Pass on a token of the planner."""
        _count_token(self, value)
        self._emit("token", value)

    def add(self, place: int, take: Take) -> None:
        """A take exists, of the recipe at this place."""
        self._made[place] = take
        self._emit("take", (place, take))


class PlanRun(Run[Any, "list[Plan]"]):
    """The planner at work on its own: iterate it for its tokens, ask it for its `result()`, the plans."""

    kind = "plan"

    def __init__(self, title: str = "", seconds: float = USUAL_SECONDS, work: Work | None = None) -> None:
        self.plans: tuple[Plan, ...] = ()
        super().__init__(title, seconds, work)

    def _result(self) -> list[Plan]:
        return list(self.plans)

    def stopped(self) -> Stopped:
        """What to raise for a planning that was asked to stop."""
        return Stopped("The run was stopped before it had a plan.")

    def _at_work(self) -> str:
        return f"{self._state}, {len(self._pieces)} tokens" if self._pieces else self._state

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data, with the plans."""
        return super().to_json() | {"plans": [plan.to_json() for plan in self.plans]}

    # -- what the worker tells

    def token(self, value: Any) -> None:
        """A token of the planner."""
        self._add(value)
        _count_token(self, value)
        self._emit("token", value)

    def written(self, plans: Sequence[Plan]) -> None:
        """The plans exist."""
        self.plans = tuple(plans)
        for place, plan in enumerate(self.plans):
            self._emit("plan", (place, plan))


def _count_token(run: Run[Any, Any], token: Any) -> None:
    """Several plans are written side by side, a token of each at a time: those of the first are counted."""
    if getattr(token, "row", 0) == 0:
        run.advance()


def _title(recipes: Sequence[Recipe]) -> str:
    first = recipes[0]
    return first.caption or first.lyrics or type(first.task).__name__
