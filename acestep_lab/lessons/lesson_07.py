"""Exercises of lesson 07, teach it your sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acestep_lab.lessons.questions import question
from acestep_lab.train.lora import LoraConfig

WIDE, RANK = 2048, 64
HALF = 0.5


@question(
    "07.1",
    "How many numbers has a LoRA of rank 64 beside a matrix of 2,048 × 2,048, as a share of the matrix's own?",
    "Two thin matrices have 2 · 64 · 2,048 numbers, where the matrix has 2,048 · 2,048.",
)
def share_of_the_matrix(share: float) -> str | None:
    """Numbers of both thin matrices over those of the whole one."""
    true, found = 2 * RANK * WIDE / WIDE**2, float(share)
    if math.isclose(found, true, rel_tol=0.02):
        return None
    if math.isclose(found, true / 2, rel_tol=0.02):
        return "That is one of the two matrices."
    if math.isclose(found, 1 / true, rel_tol=0.02):
        return "That is how many times larger the matrix is; the share is the other way round."
    return "A has 64 rows of 2,048 numbers; B has as many. Hold both against 2,048 rows of 2,048."


@question(
    "07.2",
    "What is added to the matrix at strength 0.5? An array as large as W.",
    "Half of what the adapter says, and W itself was never touched.",
)
def added(change: NDArray[Any], a: NDArray[Any], b: NDArray[Any], config: LoraConfig) -> str | None:
    """B·A, times alpha over the rank, times the strength."""
    found, whole = np.asarray(change, float), np.asarray(b, float) @ np.asarray(a, float)
    if found.shape != whole.shape:
        return f"Its shape is {found.shape}, and that of W is {whole.shape}: which of the two comes first?"
    wanted = HALF * config.alpha / config.rank * whole
    if np.allclose(found, wanted, rtol=1e-3, atol=1e-6 * float(np.abs(wanted).max())):
        return None
    if np.allclose(found, wanted / HALF, rtol=1e-3):
        return "That is what it adds at strength 1."
    return "The product is there or nearly so; look at what stands before it in the formula, and at the strength."


@question(
    "07.3",
    "At which time did the held-out loss fall by the largest share of what it was at first? The time, as a number.",
    "There the songs had most to teach.",
)
def learnt_most(t: float, curve: Sequence[Any]) -> str | None:
    """The time with the largest relative fall from the first to the last held-out loss."""
    first, last = ({float(at): float(loss) for at, loss in point.losses.items()} for point in (curve[0], curve[-1]))
    fell = {at: 1 - last[at] / first[at] for at in first}
    near = [at for at in fell if math.isclose(at, float(t), abs_tol=1e-6)]
    if not near:
        return f"It was asked at {', '.join(f't = {at:g}' for at in sorted(fell))}, and at no other time."
    if near[0] == max(fell, key=lambda at: fell[at]):
        return None
    return f"There it fell by {fell[near[0]]:.0%}. Divide each line's last value by its first."
