"""Measured values as a picture with labelled axes: lines, dots, paths; plain SVG that needs neither a library nor a network.

    LineChart("Cost", Axis("seconds", log=True), Axis("ms"), (Line("softmax", lengths, times),))

Knows numbers and words only. Lines differ in colour, in their marks and by a name beside them, so none is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 52
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Okabe and Ito 2008: told apart by colour-blind eyes too."""
MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    "M-4 -4h8v8h-8z",
    "M0 -5l5 9h-10z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M-4 0h8M0 -4v8",
)
"""A circle, a square, a triangle, a diamond, a cross, around their middle."""
_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """What is laid along a side of a chart."""

    label: str
    log: bool = False
    """Whether equal distances are equal factors; what is not above 0 is left out then."""
    ticks: tuple[float, ...] = ()
    """Values written beside it; without any, round ones."""


@dataclass(frozen=True)
class Line:
    """Places in the order they are joined; NaN lifts the pen."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = True
    marked: bool = True


@dataclass(frozen=True, repr=False)
class LineChart:
    """A picture of lines over two axes; a notebook shows it by itself, `svg()` is the file."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]

    def svg(self) -> str:
        """The picture, white behind, so that it reads in a dark notebook too."""
        along = Scale(self.x, [v for line in self.lines for v in line.x], LEFT, WIDTH - RIGHT)
        up = Scale(self.y, [v for line in self.lines for v in line.y], HEIGHT - BOTTOM, TOP)
        drawn = "".join(_drawn(line, number, along, up) for number, line in enumerate(self.lines))
        names = "; ".join(line.name for line in self.lines)
        said = f"{self.title}. {self.y.label} over {self.x.label}: {names}"
        named = legend([(line.name, line.joined) for line in self.lines], [line.marked for line in self.lines])
        return sheet(said, f"{frame(self.title, along, up)}{drawn}{named}")

    def __repr__(self) -> str:
        return f"<LineChart {self.title!r}>"

    def _repr_html_(self) -> str:
        return self.svg()


def sheet(said: str, drawn: str, height: float = HEIGHT) -> str:
    """A picture around what is drawn, with what it says to a screen reader."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" direction="ltr" '
        f'style="max-width:100%" role="img" aria-label="{escape(said, quote=True)}" font-family="sans-serif" '
        f'font-size="12" fill="#222"><rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>'
    )


class Scale:
    """Where on the picture a value of an axis lies, from `start` to `end` in its units."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float):
        self.axis, self.start, self.end = axis, start, end
        there = [self._share(float(v)) for v in (*values, *axis.ticks)]
        known = [v for v in there if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(known), max(known)
        room = 0.04 * (high - low) or 0.5
        self.low, self.high = low - room, high + room

    def _share(self, value: float) -> float:
        if not self.axis.log:
            return value
        return math.log10(value) if value > 0 else math.nan

    def place(self, value: float) -> float:
        """In the picture's units; NaN for what is not drawn."""
        return self.start + (self._share(float(value)) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Values to write: those asked for, else round ones between the ends."""
        if self.axis.ticks:
            return list(self.axis.ticks)
        if self.axis.log:
            return _log_ticks(self.low, self.high)
        return _even_ticks(self.low, self.high)


def _even_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / _MOST_TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = unit * next(one for one in _STEPS if one * unit >= rough * 0.999)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and twice and five times those where there are few."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    shares = (1, 2, 5) if high - low < 2.5 else (1,)
    found = [share * 10.0**power for power in powers for share in shares]
    return [one for one in found if low <= math.log10(one) <= high]


def heading(title: str) -> str:
    """The title of a picture."""
    return f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>'


def frame(title: str, along: Scale, up: Scale) -> str:
    """Title, grid, values and names of the axes."""
    inside: list[str] = [heading(title)]
    for value in along.ticks():
        x = along.place(value)
        inside.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        inside.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = up.place(value)
        inside.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        inside.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    label = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(along.axis.label)}</text>'
    turned = f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(up.axis.label)}</text>'
    return "".join((*inside, label, turned))


def _drawn(line: Line, number: int, along: Scale, up: Scale) -> str:
    """One line, its colour and mark by its number."""
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    places = [(along.place(x), up.place(y)) for x, y in zip(line.x, line.y, strict=True)]
    way = (
        f'<path d="{" ".join(_way(places))}" fill="none" stroke="{colour}" stroke-width="1.6"/>' if line.joined else ""
    )
    if not line.marked:
        return way
    put = " ".join(f'<path d="{mark}" transform="translate({x:.1f} {y:.1f})"/>' for x, y in places if _is_there(x, y))
    return f'{way}<g fill="{colour}" stroke="{colour}" fill-opacity="0.75">{put}</g>'


def _way(places: Sequence[tuple[float, float]]) -> Iterator[str]:
    pen = "M"
    for x, y in places:
        if _is_there(x, y):
            yield f"{pen}{x:.1f} {y:.1f}"
        pen = "L" if _is_there(x, y) else "M"


def _is_there(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def legend(named: Sequence[tuple[str, bool]], marked: Sequence[bool] = ()) -> str:
    """Names, each beside its colour, a piece of its line where it is joined, and its mark; in a row above the picture."""
    room = (WIDTH - LEFT - RIGHT) / max(1, len(named))
    found = []
    for number, (text, joined) in enumerate(named):
        x, colour = LEFT + number * room, COLOURS[number % len(COLOURS)]
        stroke = f'<path d="M0 0h22" stroke="{colour}" stroke-width="1.6"/>' if joined else ""
        mark = f'<path d="{MARKS[number % len(MARKS)]}" transform="translate(11 0)" fill="{colour}" stroke="{colour}"/>'
        name = f'<text x="28" y="4">{escape(text)}</text>'
        put = mark if not marked or marked[number] else ""
        found.append(f'<g transform="translate({x:.1f} 44)">{stroke}{put}{name}</g>')
    return "".join(found)
