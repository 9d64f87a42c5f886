"""Whether the planner is asked, and what of a plan a recipe follows. Knows recipes and plans; no engine, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from acestep_lab.errors import RecipeError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Text2Music


def thinks(recipe: Recipe, has_planner: bool) -> bool:
    """Whether the planner is asked first: where music starts from words and has no codes yet, unless the recipe decides
    otherwise. RecipeError where it is asked for and there is none.
    """
    asked = recipe.planning.thinking
    if not recipe.task.plans or getattr(recipe.task, "codes", None) or asked is False:
        return False
    if asked and not has_planner:
        raise RecipeError(
            "thinking=True needs a planner, and there is none: this checkpoint has none, or this machine no room for it. "
            "Leave it away."
        )
    return has_planner


def follows_codes(recipe: Recipe) -> bool:
    """Whether a recipe takes the codes of a plan it is handed."""
    task = recipe.task
    return isinstance(task, Text2Music) and task.codes is None and recipe.planning.thinking is not False


def with_plan(recipe: Recipe, plan: Plan | None) -> Recipe:
    """The recipe with the plan's decisions in its open fields, and its codes in the task; RecipeError where a locked field
    contradicts it.
    """
    if plan is None:
        return recipe
    for name, (asked, planned) in plan.against(recipe).items():
        if name in plan.locked:
            raise RecipeError(
                f"The recipe asks for {name} {asked!r}, the plan has {planned!r} locked. Change one or unlock it."
            )
    recipe = plan.resolve(recipe)
    if plan.codes and follows_codes(recipe):
        return recipe.replace(task=replace(recipe.task, codes=plan.codes))  # type: ignore[arg-type]
    return recipe


def plan_conflicts(
    asked: Recipe, plan: Plan, codes_of: Callable[[float], int], codes_per_second: float
) -> Iterator[str]:
    """A sentence for each field in which a plan is not followed, because the recipe says otherwise.

    `codes_of` says how many codes so many seconds have.
    """
    for name, (own, planned) in plan.against(asked).items():
        yield f"The recipe's {name} {_short(own)} stands; the plan says {_short(planned)}."
    if "caption" in plan.locked and not asked.planning.rewrite_caption and plan.caption != asked.caption != "":
        yield (
            f"The codes follow the plan's locked caption {_short(plan.caption)}; the sound is made from the recipe's "
            f"{_short(asked.caption)}. To use the plan's, set planning=Planning(rewrite_caption=True)."
        )
    seconds = asked.seconds
    if plan.codes and seconds and follows_codes(asked) and codes_of(seconds) != len(plan.codes):
        found = len(plan.codes) / codes_per_second
        end = "they are cut" if found > seconds else "the rest is made without"
        yield f"The plan's codes are {found:g} s of music, the recipe asks for {seconds:g} s: {end}."


def _short(value: object) -> str:
    return repr(value if not isinstance(value, str) or len(value) <= 40 else value[:39] + "…")
