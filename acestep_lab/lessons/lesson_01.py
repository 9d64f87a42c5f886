"""Exercises of lesson 01, the first song."""

from __future__ import annotations

import math
from collections.abc import Collection

from acestep_lab.lessons.questions import question
from acestep_lab.takes.take import Take


@question(
    "01.1",
    "Hand in two takes that differ in nothing but the seed.",
    "Everything else is said in the recipe, so what differs to your ear is chance alone.",
)
def other_chance(one: Take, other: Take) -> str | None:
    """Two takes of one recipe, of two seeds."""
    if one.recipe.seed == other.recipe.seed:
        return "Both have the same seed: on the same machine they are the same samples."
    if one.recipe.replace(seed=0) != other.recipe.replace(seed=0):
        return "More than the seed differs; compare one.recipe and other.recipe field by field."
    return None


@question(
    "01.2",
    "Hand in a take and the set of the names of the fields that its recipe holds and the recipe you asked with did not.",
    "Nothing is left open in a take: whoever gets its recipe gets the decisions too.",
)
def decided_for_you(take: Take, names: Collection[str]) -> str | None:
    """Fields of the resolved recipe that were not in the one asked for."""
    given = {str(name) for name in names}
    asked = set() if take.asked is None else set(take.asked.to_json())
    decided = set(take.recipe.to_json()) - asked if take.asked is not None else set()
    if given == decided:
        return None
    if wrong := sorted(given - decided):
        return f"{wrong[0]!r} is not one of them: either you gave it yourself, or the take's recipe does not hold it."
    return f"{len(decided - given)} more were decided for you. take.asked.to_json() is what you said; compare the keys."


@question(
    "01.3",
    "Hand in a take, and how many times as many numbers its sound holds as its latent.",
    "The music model works on that much less, which is why it can look at a whole song at once.",
)
def how_much_smaller(take: Take, times: float) -> str | None:
    """Samples of all channels over numbers of the latent."""
    true = take.audio.samples.size / take.latent.size
    if math.isclose(times, true, rel_tol=0.02):
        return None
    if math.isclose(times, 1 / true, rel_tol=0.02):
        return "The other way round: how many samples are there for one number of the latent?"
    return "An array knows how many numbers it holds: its .size. Count every channel of the sound."
