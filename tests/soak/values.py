"""As many values as time allows in every field and every reader; `python -m tests.soak.values 60000` for so many.

Each is accepted and survives JSON and its own code, or is refused in a sentence; anything else fails.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.soak import Row
from tests.values import CALLS, FIELDS, ODD, Survey, values

BATCH = 1000
"""Random values between two looks at the clock."""


def trial(seconds: float, number: int, folder: Path) -> list[Row]:
    """Every odd value everywhere, then random ones until the time is over."""
    began, survey, row = time.monotonic(), Survey(), Row("a value in a field, a reader or an edit")
    trouble = _tried(survey, odd_ones)
    while not trouble and time.monotonic() - began < seconds:
        number += 1
        trouble = _tried(survey, partial(random_ones, count=BATCH, number=number))
    row.tried = survey.found.total() + bool(trouble)
    row.survived, row.note = survey.found.total(), trouble[:120] or str(survey)
    return [row]


def _tried(survey: Survey, some: Callable[[Survey], None]) -> str:
    """What a part of the survey failed with; "" where it did not."""
    try:
        some(survey)
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is what is looked for
        return f"{type(problem).__name__}: {problem}"
    return ""


def odd_ones(survey: Survey) -> None:
    """Every odd value in every field, by constructor and by edit, and in every reader."""
    for make in ODD:
        for place in FIELDS:
            survey.field(place, make(), by_edit=False)
            survey.field(place, make(), by_edit=True)
        for name in CALLS:
            survey.call(name, make())


def random_ones(survey: Survey, count: int, number: int) -> None:
    """So many random values; the same number tries the same ones."""

    @seed(number)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(FIELDS), st.sampled_from(sorted(CALLS)), values(), st.integers(0, 2))
    def more(place: tuple[str, str], name: str, value: Callable[[], object], way: int) -> None:
        if way == 2:
            survey.call(name, value())
        else:
            survey.field(place, value(), by_edit=bool(way))

    more()


def main(count: int = 60_000) -> None:
    """So many values at the least; prints how many were accepted and refused."""
    began, survey = time.monotonic(), Survey()
    odd_ones(survey)
    for number in range(10_000):
        if survey.found.total() >= count:
            break
        random_ones(survey, BATCH, number)
    print(f"{survey}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
