"""Exercises of lesson 06, the planner thinks aloud."""

from __future__ import annotations

import math

from acestep_lab.lessons.questions import question
from acestep_lab.plan.plan import Plan

FASTER = 140
CODES, PER_SECOND = 1000, 5
"""Places on the pocket's grid of codes, and codes a second."""


@question(
    "06.1",
    "Hand in a plan with the tempo and the key of the first one, and other codes.",
    "Tempo and key are held, and everything else was thought anew.",
)
def held(plan: Plan, other: Plan) -> str | None:
    """Two plans that share tempo and key, and differ in their codes."""
    if (other.bpm, other.keyscale) != (plan.bpm, plan.keyscale):
        return f"Tempo and key are {other.bpm} bpm, {other.keyscale}: lock both before you ask the planner again."
    if not other.codes:
        return "It has no codes yet: let the planner write them."
    if other.codes == plan.codes:
        return "Its codes are the very same; another seed throws other dice."
    return None


@question(
    "06.2",
    "Hand in the plan at 140 bpm with its old codes.",
    "A change of tempo drops codes only where nobody hands them over.",
)
def faster_with_its_codes(plan: Plan, other: Plan) -> str | None:
    """The same plan at another tempo that keeps its codes."""
    if other.bpm != FASTER:
        return f"Its tempo is {other.bpm}; ask for {FASTER}."
    if other.codes != plan.codes or not plan.codes:
        return "The codes are not those of the first plan: `replace` takes several fields at once, or a lock holds one."
    if others := set(plan.diff(other)) - {"bpm"}:
        return f"More than the tempo differs: {', '.join(sorted(others))}."
    return None


@question(
    "06.3",
    "Five codes a second, each one of 1,000: how many bits a second?",
    "A choice of n is log2(n) bits: the blueprint is about thirty thousand times smaller than the sound.",
)
def bits_a_second(bits: float) -> str | None:
    """The information of so many choices a second."""
    found = float(bits)
    if math.isclose(found, PER_SECOND * math.log2(CODES), rel_tol=0.02):
        return None
    if math.isclose(found, math.log2(CODES), rel_tol=0.02):
        return "That is one code; there are five a second."
    if math.isclose(found, PER_SECOND * CODES):
        return "Choices are not bits: one bit chooses between 2, two bits between 4. How many choose between 1,000?"
    return "How many bits does one choice out of 1,000 take? A bit doubles the number of choices."
