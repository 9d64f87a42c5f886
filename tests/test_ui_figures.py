"""Arrows, slopes and pictures with axes say the truth about what they are given, to the eye and to a screen reader."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from acestep_lab.errors import SourceError
from acestep_lab.ui.arrow_chart import Arrow, ArrowChart
from acestep_lab.ui.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Line
from acestep_lab.ui.picture_chart import latents, spectrograms
from acestep_lab.ui.slope_chart import SlopeChart, slope
from tests.pretend import tone

SHAFT = re.compile(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"')


def shafts(chart: ArrowChart) -> list[tuple[float, ...]]:
    return [tuple(map(float, found)) for found in SHAFT.findall(chart.svg())]


def test_arrows_keep_their_angles_and_the_ratio_of_their_lengths_and_lie_inside() -> None:
    arrows = (Arrow("along", (2.0, 0.0)), Arrow("up", (0.0, 1.0)), Arrow("back", (1.0, 1.0), start=(2.0, 0.0)))
    along, up, back = shafts(ArrowChart("plane", Axis("x"), Axis("y"), arrows))
    lengths = [math.hypot(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (along, up, back)]
    assert lengths == pytest.approx([2 * lengths[1], lengths[1], math.sqrt(2) * lengths[1]], rel=0.01)
    assert along[1] == along[3], "level"
    assert up[3] < up[1], "More is higher."
    for x0, y0, x1, y1 in (along, up, back):
        assert all(LEFT <= x <= WIDTH - RIGHT for x in (x0, x1))
        assert all(TOP <= y <= HEIGHT - BOTTOM for y in (y0, y1))


def test_an_arrow_without_length_is_a_mark_and_no_arrow_no_error() -> None:
    assert not shafts(ArrowChart("still", Axis("x"), Axis("y"), (Arrow("none", (0.0, 0.0)),)))
    ElementTree.fromstring(ArrowChart("empty", Axis("x"), Axis("y"), ()).svg())


def test_a_power_is_read_off_as_the_slope_and_written_beside_its_name() -> None:
    x = [4.0, 8.0, 16.0]
    assert slope(x, [v**-2 for v in x]) == pytest.approx(-2)
    drawn = SlopeChart("law", Axis("n"), Axis("e"), (Line("heun", x, [v**-2 for v in x]), Line("euler", x, x))).svg()
    assert "heun: −2.0" in drawn
    assert "euler: +1.0" in drawn
    for places in (([1.0], [1.0]), ([2.0, 2.0], [1.0, 3.0]), ([1.0, 2.0], [0.0, 1.0])):
        with pytest.raises(SourceError, match="two places"):
            slope(*places)


def test_pictures_have_axes_and_a_name_each_and_say_what_they_are() -> None:
    sound = spectrograms("A < B", [("first & last", tone(1.0)), ("other", tone(1.0))], start=3.0)
    latent = latents("forms", [("noise", np.random.default_rng(1).normal(size=(50, 8)))], 2.0)
    for chart, axis in ((sound, "frequency"), (latent, "latent channel")):
        read = ElementTree.fromstring(chart.svg())
        assert read.get("role") == "img"
        words = [one.text for one in read.iter("{http://www.w3.org/2000/svg}text")]
        assert {"time in seconds", axis, *(name for name, _ in chart.panels)} <= set(words)
        assert len(list(read.iter("{http://www.w3.org/2000/svg}image"))) == len(chart.panels)
    assert sound.ticks[0][1] == "50 Hz"
    assert all(after[0] - before[0] > 0.15 for before, after in zip(sound.ticks, sound.ticks[1:], strict=False))
    assert ">3<" in sound.svg(), "The axis begins where the excerpt does."
