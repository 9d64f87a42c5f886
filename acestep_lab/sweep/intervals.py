"""How sure a count or a mean is: intervals, and how easily chance alone does as well. Knows numbers only.

Counts by Wilson (1927), which is right for few votes too; means by Student (1908), which is for few takes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""How many standard deviations hold 95 of 100 of a normal distribution."""
_FEW = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
MOST_VOTES = 2000
ENOUGH = 0.05
"""A result that chance gives more rarely than this is not taken for chance."""


@dataclass(frozen=True)
class Interval:
    """A number and the span in which it lies, 95 times in 100."""

    value: float
    low: float
    high: float
    count: int
    """How many votes or takes it is of."""

    def __str__(self) -> str:
        """As a number with its span; of nothing, that there is nothing."""
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]" if self.count else "not known"

    def has(self, number: float) -> bool:
        """Whether a number lies in it."""
        return self.low <= number <= self.high


def share(won: int, of: int) -> Interval:
    """So many of so many, as a share with Wilson's interval; of none, everything from 0 to 1 is possible."""
    if not 0 <= won <= of:
        raise ValueError(f"{won} of {of} is no share")
    if of == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    p, z2 = won / of, Z * Z / of
    middle, half = (p + z2 / 2) / (1 + z2), Z * math.sqrt(p * (1 - p) / of + z2 / of / 4) / (1 + z2)
    return Interval(p, 0.0 if won == 0 else middle - half, 1.0 if won == of else middle + half, of)


def mean(values: Sequence[float]) -> Interval:
    """The mean of some numbers, with Student's interval; of one number, nothing is known of its span."""
    found = [float(value) for value in values if math.isfinite(value)]
    count = len(found)
    if count == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    middle = statistics.fmean(found)
    if count == 1:
        return Interval(middle, -math.inf, math.inf, 1)
    half = _t(count - 1) * statistics.stdev(found) / math.sqrt(count)
    return Interval(middle, middle - half, middle + half, count)


def _t(freedom: int) -> float:
    """How many standard errors hold 95 of 100 means of so few numbers (Student 1908): a table, then Cornish and Fisher's series."""
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    z, n = Z, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / n + second / n**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / n**3


def by_chance(won: int, of: int, chance: float = 0.5) -> float:
    """How likely somebody who guesses wins so often or more: the upper tail of a binomial distribution."""
    if not (0 <= won <= of and 0 < chance < 1):
        raise ValueError(f"{won} of {of} at {chance} is no count of guesses")
    logs = math.log(chance), math.log1p(-chance)
    whole = math.lgamma(of + 1)
    terms = [
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * logs[0] + (of - k) * logs[1])
        for k in range(won, of + 1)
    ]
    return min(1.0, math.fsum(terms))


def votes_needed(preferred: float, chance: float = 0.5) -> int | None:
    """How many votes it takes until a preference of this share would not be taken for chance; None where no number would do."""
    for of in range(1, MOST_VOTES + 1) if preferred > chance else ():
        won = round(preferred * of)
        if won > chance * of and by_chance(won, of, chance) < ENOUGH:
            return of
    return None
