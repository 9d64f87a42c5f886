"""Exercises of lesson 08, why does it sound like that."""

from __future__ import annotations

from acestep_lab.lessons.questions import question
from acestep_lab.listen.attribution import Attribution

SWAPPED = "warm pad"


@question(
    "08.1",
    "Which phrase or field moved the music least? Its name, as text.",
    "Leaving it out changed less than anything else you said.",
)
def least(name: str, found: Attribution) -> str | None:
    """The name of the change that moved least."""
    names = [one.name for one in found.ranked]
    if name.strip() not in names:
        return f"There is no change of that name; there are {', '.join(names)}."
    if name.strip() == names[-1]:
        return None
    if name.strip() == names[0]:
        return "That one moved it most."
    return "Look for the lowest number above the row of the seed, in the table of part 2."


@question(
    "08.2",
    "How many of the changes moved the music more than half as far as another seed does? A whole number.",
    "Those words did more than half of what chance does; the others did less.",
)
def more_than_half(count: int, found: Attribution) -> str | None:
    """How many effects have a share above one half."""
    if count != int(count) or not 0 <= count <= len(found.effects):
        return f"It is a whole number from 0 to {len(found.effects)}, for there are so many changes."
    if count == sum(found.share(one) > 0.5 for one in found.effects):
        return None
    return "Half is a share of 0.5 in the list of part 3. The seed itself is no change of words, so it does not count."


@question(
    "08.3",
    "Does swapping warm pad for something else move the music further than leaving it out? True or False, and the swap's result.",
    "Another word may do more than no word at all, or less: only having tried tells.",
)
def swap_or_leave_out(further: bool, swapped: Attribution, found: Attribution) -> str | None:
    """Whether a swap moved more than leaving out, as both were measured."""
    if not isinstance(further, bool):
        return "The answer is True or False."
    moved = [next((one for one in run.effects if one.name == SWAPPED), None) for run in (swapped, found)]
    if moved[0] is None or moved[1] is None or swapped is found:
        return 'Hand in lab.attribute(take, swap={"warm pad": "distorted guitar"}, what="fields").result() beside your answer.'
    if further == (moved[0].moved > moved[1].moved):
        return None
    return "Print `swapped`, and compare its row of warm pad with the one in part 2."
