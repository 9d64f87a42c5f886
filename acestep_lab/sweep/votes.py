"""Listening without knowing: which takes of a sweep are heard against each other, what was preferred, and how sure that is.

Knows cells and numbers; no session and no sound.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.sweep import axes as axes_
from acestep_lab.sweep import intervals
from acestep_lab.sweep.cells import Cell, Sweep
from acestep_lab.sweep.intervals import Interval

LETTERS = "ABCD"
"""What takes are called while nobody knows which is which."""
MOST_NAME = 80


@dataclass(frozen=True)
class Ballot:
    """Takes that are alike in all but one axis, in an order that tells nothing: hear them as A, B …, then vote."""

    axis: str
    places: tuple[int, ...]
    """Their cells, as they are heard."""

    @property
    def letters(self) -> str:
        """What they are called: "AB"."""
        return LETTERS[: len(self.places)]

    def place_of(self, letter: str) -> int:
        """The cell behind a letter; RecipeError for a letter that stands for none."""
        if not checks.is_a(letter, str) or letter.upper() not in tuple(self.letters):
            raise RecipeError(f"One votes for one of {', '.join(self.letters)}, not {shown(letter)}.")
        return self.places[self.letters.index(letter.upper())]


@dataclass(frozen=True)
class Vote:
    """One of some cells was preferred."""

    winner: int
    among: tuple[int, ...]
    blind: bool = True
    by: str = ""
    """Who voted; "" where nobody said."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"winner": self.winner, "among": list(self.among), "blind": self.blind, "by": self.by}

    @classmethod
    def checked(cls, winner: Any, among: Any, cells: int, blind: Any = True, by: Any = "") -> Self:
        """A vote of a sweep of so many cells; RecipeError for what is none."""
        places = tuple(checks.whole("The place of a cell", one, 0, cells - 1) for one in among)
        chosen = checks.whole("The place of the winner", winner, 0, cells - 1)
        if not 2 <= len(set(places)) == len(places) <= len(LETTERS) or chosen not in places:
            raise RecipeError(f"A vote is for one of two to {len(LETTERS)} different cells that were heard.")
        return cls(chosen, places, checks.truth("blind", blind), checks.text("Who votes", by, MOST_NAME))


@dataclass(frozen=True)
class Preference:
    """How often a value of an axis was preferred, where it could be."""

    value: Any
    won: int
    share: Interval
    chance: float
    """The share that guessing gives."""
    by_chance: float
    """How likely guessing wins so often or more."""

    @property
    def is_more_than_chance(self) -> bool:
        """Whether so many votes would rarely come of guessing."""
        return self.share.count > 0 and self.by_chance < intervals.ENOUGH

    def __str__(self) -> str:
        if not self.share.count:
            return f"{axes_.label(self.value)}: nobody voted"
        said = "more than chance" if self.is_more_than_chance else "may be chance"
        return f"{axes_.label(self.value)}: {self.won} of {self.share.count}, {self.share} against {self.chance:.2f}, {said}"


@dataclass(frozen=True)
class Effect:
    """What a value of an axis does to a measure: its mean, and what that differs by from the first value, all else equal."""

    value: Any
    mean: Interval
    difference: Interval | None
    """Of cells that are alike in all other axes; None for the first value itself."""

    @property
    def is_sure(self) -> bool:
        """Whether no difference at all lies outside the interval."""
        return self.difference is not None and self.difference.count > 1 and not self.difference.has(0.0)

    def __str__(self) -> str:
        change = (
            "" if self.difference is None else f", {self.difference.value:+.3g} against the first {self.difference}"
        )
        return f"{axes_.label(self.value)}: {self.mean}{change}"


def axis_of(sweep: Sweep, axis: Any = None) -> str:
    """An axis of a sweep by its name, or the only one there is; RecipeError for anything else."""
    names = [name for name, _ in sweep.axes]
    if axis is None and len(names) == 1:
        return names[0]
    found = [name for name in names if axis in (name, name.rpartition(".")[2], name.replace(".", "__"))]
    if len(found) != 1:
        raise RecipeError(f"This sweep goes over {', '.join(names)}; name one of these, not {shown(axis)}.")
    return found[0]


def ballots(sweep: Sweep, axis: str, there: Iterable[int], seed: int = 0) -> list[Ballot]:
    """A ballot for each pair of values met under the same circumstances, in an order drawn by chance; the same seed draws the same."""
    found, order = set(there), random.Random(checks.whole("The seed of a draw", seed, 0, 2**63))
    drawn = []
    for group in alike(sweep.cells, axis):
        here = [cell.place for cell in group if cell.place in found]
        pairs = [(one, other) for at, one in enumerate(here) for other in here[at + 1 :]]
        drawn += [Ballot(axis, tuple(order.sample(pair, 2))) for pair in pairs]
    order.shuffle(drawn)
    return drawn


def alike(cells: Iterable[Cell], axis: str) -> list[list[Cell]]:
    """Cells that differ in one axis alone, together."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        rest = {name: axes_.plain(value) for name, value in cell.values.items() if name != axis}
        groups.setdefault(repr(sorted(rest.items())), []).append(cell)
    return list(groups.values())


def preferences(sweep: Sweep, axis: str, votes: Sequence[Vote]) -> list[Preference]:
    """How often each value of an axis was preferred in votes between different values of it."""
    values = [cell.values[axis] for cell in sweep.cells]
    return [_preference(value, values, votes) for value in distinct(values)]


def _preference(value: Any, values: Sequence[Any], votes: Sequence[Vote]) -> Preference:
    chances, won = [], 0
    for vote in votes:
        heard = [values[place] for place in vote.among]
        mine = sum(one == value for one in heard)
        if 0 < mine < len(heard):
            chances.append(mine / len(heard))
            won += values[vote.winner] == value
    chance = sum(chances) / len(chances) if chances else 0.5
    return Preference(
        value, won, intervals.share(won, len(chances)), chance, intervals.by_chance(won, len(chances), chance)
    )


def effects(sweep: Sweep, axis: str, measured: Mapping[int, float]) -> list[Effect]:
    """What each value of an axis does to a measure."""
    values = distinct(cell.values[axis] for cell in sweep.cells)
    groups = [
        {_key(cell.values[axis]): measured[cell.place] for cell in group if cell.place in measured}
        for group in alike(sweep.cells, axis)
    ]
    first, *others = map(_key, values)
    found = [Effect(values[0], _mean_of(groups, first), None)]
    for value, name in zip(values[1:], others, strict=True):
        apart = [group[name] - group[first] for group in groups if name in group and first in group]
        found.append(Effect(value, _mean_of(groups, name), intervals.mean(apart)))
    return found


def _mean_of(groups: Sequence[Mapping[str, float]], name: str) -> Interval:
    return intervals.mean([group[name] for group in groups if name in group])


def _key(value: Any) -> str:
    """A value as text that no other value has."""
    return repr(axes_.plain(value))


def distinct(values: Iterable[Any]) -> list[Any]:
    """Values in the order they come, each once."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
