"""A chart draws what it is given where it belongs, and says so to somebody who does not see it."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

from acestep_lab.ui.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Line, LineChart

PLACE = re.compile(r"[ML](-?[\d.]+) (-?[\d.]+)")


def places(chart: LineChart) -> list[tuple[float, float]]:
    """Where the first joined line goes."""
    way = next(path for path in re.findall(r'd="([^"]+)" fill="none"', chart.svg()))
    return [(float(x), float(y)) for x, y in PLACE.findall(way)]


def test_equal_factors_are_equal_distances_on_a_log_axis_and_a_power_law_is_straight() -> None:
    x = (1.0, 10.0, 100.0)
    (a, b, c) = places(LineChart("law", Axis("n", log=True), Axis("s", log=True), (Line("2", x, [v**2 for v in x]),)))
    assert math.isclose(b[0] - a[0], c[0] - b[0], abs_tol=0.11)
    assert math.isclose(b[1] - a[1], c[1] - b[1], abs_tol=0.11)
    assert a[0] < b[0]
    assert a[1] > b[1], "More is higher."


def test_all_lies_inside_and_what_cannot_be_drawn_lifts_the_pen() -> None:
    chart = LineChart("gap", Axis("x"), Axis("y", log=True), (Line("a", [0, 1, 2, 3], [1.0, 0.0, math.nan, 5.0]),))
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places(chart))
    assert len(places(chart)) == 2
    assert chart.svg().count("M") > 2
    assert "nan" not in chart.svg()


def test_it_is_well_formed_named_to_a_screen_reader_and_every_line_is_in_the_legend() -> None:
    lines = (Line("<a>", [1, 2], [3, 4]), Line("b & c", [1, 2], [4, 3], marked=False))
    read = ElementTree.fromstring(LineChart("A < B", Axis("x in s"), Axis("y in m"), lines).svg())
    assert read.get("role") == "img"
    assert read.get("aria-label") == "A < B. y in m over x in s: <a>; b & c"
    assert {"A < B", "x in s", "y in m", "<a>", "b & c"} <= {
        text.text for text in read.iter() if text.tag.endswith("}text")
    }


def test_one_value_and_none_are_charts_too() -> None:
    for lines in ((), (Line("one", [3], [3]),)):
        ElementTree.fromstring(LineChart("t", Axis("x"), Axis("y", log=True), lines).svg())
