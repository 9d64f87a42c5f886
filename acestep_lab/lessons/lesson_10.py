"""Exercises of lesson 10, an experiment."""

from __future__ import annotations

from collections.abc import Sequence

from acestep_lab.lessons.questions import question
from acestep_lab.sweep.cells import Sweep
from acestep_lab.sweep.intervals import by_chance
from acestep_lab.sweep.votes import Ballot

RARE = 0.001
FEWEST_SEEDS = 5


@question(
    "10.1",
    "Hand in a letter for each ballot, as text such as ABBABA.",
    "Every ballot has one vote; what they say together is the next question.",
)
def a_letter_each(letters: str, ballots: Sequence[Ballot]) -> str | None:
    """One letter of each ballot."""
    if len(letters) != len(ballots):
        return f"There are {len(ballots)} ballots and {len(letters)} letters."
    for number, (letter, ballot) in enumerate(zip(letters.upper(), ballots, strict=True), 1):
        if letter not in ballot.letters:
            return f"Ballot {number} has {' and '.join(ballot.letters)}, no {letter}."
    return None if letters else "There is no ballot to vote in."


@question(
    "10.2",
    "How many votes, all for one side, until a coin would do so in fewer than 1 of 1,000 runs?",
    "Each further vote halves what a coin can do.",
)
def all_for_one_side(votes: int) -> str | None:
    """The fewest votes that chance gives to one side more rarely than one time in a thousand."""
    if votes != int(votes) or not 1 <= votes <= 1000:
        return "It is a whole number of votes."
    if by_chance(int(votes), int(votes)) >= RARE:
        return (
            f"A coin gives {votes} of {votes} to that side once in {1 / by_chance(int(votes), int(votes)):,.0f} runs."
        )
    if by_chance(int(votes) - 1, int(votes) - 1) < RARE:
        return "That is enough, but fewer would be enough as well."
    return None


@question(
    "10.3",
    "Hand in a sweep of one other axis with two or more values, and of at least five seeds.",
    "Each take has a twin that differs from it in that axis alone, and there are enough twins to begin with.",
)
def a_fair_sweep(sweep: Sweep, axis: str) -> str | None:
    """A full grid of one axis and of seeds."""
    if sweep.picks is not None:
        return "Some of its cells are left out, so that not every take has a twin; Sweep.grid makes them all."
    values = {name: found for name, found in sweep.axes if isinstance(found, tuple)}
    if len(values) < len(sweep.axes):
        return "One of its axes is a span and not a list of values: name the values."
    seeds, others = values.pop("seed", ()), values
    if len(seeds) < FEWEST_SEEDS:
        return f"It has {len(seeds) or 1} seed{'s' * (len(seeds) > 1)}: too few twins to tell an effect from luck."
    if len(others) != 1:
        return f"Beside the seeds it goes over {len(others)} axes; where one thing changes, one knows what did it."
    [(name, found)] = others.items()
    if name == axis:
        return f"That is the axis of this page, {axis}; choose another one."
    return None if len(set(found)) > 1 else "Its axis has one value, so nothing is compared."
