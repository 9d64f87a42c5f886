"""Powers as slopes: measured values on logarithmic axes, each with the straight line that fits and its slope written beside.

    SlopeChart("Order of solvers", Axis("steps"), Axis("error"), (Line("euler", steps, errors),))

Knows numbers and words only. What is proportional to a power of x is a straight line here, and the power is its slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acestep_lab.errors import SourceError
from acestep_lab.ui.line_chart import Axis, Line, LineChart


@dataclass(frozen=True, repr=False)
class SlopeChart:
    """A log–log picture of measured places and what fits them; a notebook shows it by itself, `svg()` is the file."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]

    def svg(self) -> str:
        """The picture, with each line's slope in its name."""
        lines = tuple(replace(line, name=f"{line.name}: {_signed(slope(line.x, line.y))}") for line in self.lines)
        x, y = (replace(axis, log=True) for axis in (self.x, self.y))
        return LineChart(f"{self.title} (name: slope)", x, y, lines).svg()

    def __repr__(self) -> str:
        return f"<SlopeChart {self.title!r}>"

    def _repr_html_(self) -> str:
        return self.svg()


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The power p of the y ∝ x^p that fits best by least squares of logarithms; SourceError for fewer than two places above 0."""
    places = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
    if len({a for a, _ in places}) < 2:
        raise SourceError("A slope needs two places or more with different x, and both values above 0.")
    x_logs, y_logs = np.asarray(places).T
    return float(np.polyfit(x_logs, y_logs, 1)[0])


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
