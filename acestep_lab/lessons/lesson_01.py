"""Exercises of lesson 01, the first song."""

from __future__ import annotations

from acestep_lab.lessons.questions import question
from acestep_lab.takes.take import Take


@question(
    "01.1",
    "Hand in two takes that differ in nothing but the seed.",
    "Everything else is said in the recipe, so what you hear differ is chance alone.",
)
def other_chance(one: Take, other: Take) -> str | None:
    """Two takes of one recipe, of two seeds."""
    if one.recipe.seed == other.recipe.seed:
        return "Both have the same seed: on the same machine they are the same samples."
    if one.recipe.replace(seed=0) != other.recipe.replace(seed=0):
        return "More than the seed differs; compare one.recipe and other.recipe field by field."
    return None
