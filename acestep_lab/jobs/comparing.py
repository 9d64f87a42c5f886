"""Takes held against one another: what is measured in each, and what lies beside it. What differs says `listen.comparison`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from acestep_lab.jobs.aligning import kept_alignment
from acestep_lab.listen import comparison
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.comparison import Comparisons, TakeComparison
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take


def compared(analyze: Callable[[Take], Analysis], library: Library, takes: Sequence[Take]) -> Comparisons:
    """The first take held against each of the others; `analyze` measures one."""
    known = [comparison.measured(analyze, take) for take in takes]
    sung = [kept_alignment(library, take.id) for take in takes]
    return Comparisons(
        TakeComparison.between(takes[0], take, (known[0], heard), (sung[0], lines))
        for take, heard, lines in zip(takes[1:], known[1:], sung[1:], strict=True)
    )
