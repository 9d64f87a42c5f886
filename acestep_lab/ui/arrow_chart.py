"""Vectors of a plane as arrows between labelled axes; plain SVG that needs neither a library nor a network.

    ArrowChart("Guidance", Axis("along v"), Axis("across v"), (Arrow("with words", (1.0, 0.0)), Arrow("without", (0.9, -0.3))))

Knows numbers and words only. Both axes have one scale, so that angles and lengths are true. Arrows are told apart by colour, by
the mark at their tip and by a name beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from acestep_lab.ui.line_chart import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    MARKS,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Scale,
    frame,
    legend,
    sheet,
)

_TIP = 9
"""Length of an arrow's head in the picture's units."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Arrow:
    """A vector by its name, from `start` to `end`."""

    name: str
    end: Point
    start: Point = (0.0, 0.0)


@dataclass(frozen=True, repr=False)
class ArrowChart:
    """A picture of arrows; a notebook shows it by itself, `svg()` is the file."""

    title: str
    x: Axis
    y: Axis
    arrows: tuple[Arrow, ...]

    def svg(self) -> str:
        """The picture, white behind, so that it reads in a dark notebook too."""
        along, up = _scales(self)
        drawn = "".join(_drawn(arrow, number, along, up) for number, arrow in enumerate(self.arrows))
        said = "; ".join(f"{arrow.name} from {_said(arrow.start)} to {_said(arrow.end)}" for arrow in self.arrows)
        names = legend([(arrow.name, True) for arrow in self.arrows])
        return sheet(f"{self.title}. {said}", f"{frame(self.title, along, up)}{drawn}{names}")

    def __repr__(self) -> str:
        return f"<ArrowChart {self.title!r}>"

    def _repr_html_(self) -> str:
        return self.svg()


def _said(point: Point) -> str:
    return f"({point[0]:.2g}, {point[1]:.2g})"


def _scales(chart: ArrowChart) -> tuple[Scale, Scale]:
    """Both axes in one scale, around the middle of what is drawn."""
    ends = [point for arrow in chart.arrows for point in (arrow.start, arrow.end)] or [(0.0, 0.0)]
    wide, high = WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP
    spans = [max(column) - min(column) for column in zip(*ends, strict=True)]
    unit = max(spans[0] / wide, spans[1] / high) or 1.0 / wide
    sides = []
    for column, room in zip(zip(*ends, strict=True), (wide, high), strict=True):
        middle = (max(column) + min(column)) / 2
        sides.append([middle - unit * room / 2, middle + unit * room / 2])
    return Scale(chart.x, sides[0], LEFT, WIDTH - RIGHT), Scale(chart.y, sides[1], HEIGHT - BOTTOM, TOP)


def _drawn(arrow: Arrow, number: int, along: Scale, up: Scale) -> str:
    """A line with a head at its end, and the mark of its number beside the head; a mark alone where it has no length."""
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    (x0, y0), (x1, y1) = ((along.place(x), up.place(y)) for x, y in (arrow.start, arrow.end))
    turn = math.degrees(math.atan2(y1 - y0, x1 - x0))
    head = f'<path d="M0 0l-{_TIP} -4v8z" transform="translate({x1:.1f} {y1:.1f}) rotate({turn:.1f})" fill="{colour}"/>'
    put = f'<path d="{mark}" transform="translate({(x0 + 2 * x1) / 3:.1f} {(y0 + 2 * y1) / 3:.1f})" fill="{colour}" stroke="{colour}"/>'
    line = f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{colour}" stroke-width="2"/>'
    return f"{line}{head}{put}" if math.hypot(x1 - x0, y1 - y0) > _TIP else put
