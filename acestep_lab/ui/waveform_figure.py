"""The Bokeh figure of the waveform picker: waveform and time axis, difference lane, codes lane, overview.

Knows no sound and no message. The figure goes to the browser half (`widgets/waveform_figure.js`) as a JSON item and is
embedded there, so that it is the same one in an anywidget and in a Panel component; models are found by name. It has
no tools: gestures, regions and playhead lie above it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    AdaptiveTicker,
    BasicTickFormatter,
    Column,
    ColumnDataSource,
    CompositeTicker,
    LinearColorMapper,
    Range1d,
)
from bokeh.models.annotations import BoxAnnotation
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

HEIGHTS = {"main": 104, "difference": 30, "codes": 36, "overview": 24}
"""Pixels; `widgets/waveform.css` gives what lies above each figure the same height."""
AXIS_HEIGHT = 15
"""Pixels of labels; ticks point into the waveform."""
GAP = 3
"""Pixels between two figures."""


def build() -> Column:
    """The figures, one above the other. Times are seconds, the waveform lies between -1 and 1; the ranges "view" (all
    but the overview) and "whole" are set in the browser.
    """
    view = Range1d(start=0, end=1, name="view")
    plots = [_main(view), _difference(view), _codes(view), _overview()]
    return column(*plots, sizing_mode="stretch_width", spacing=GAP, name="rows")


def item(layout: Column) -> tuple[str, str]:
    """`(key, JSON)` of a layout; the same figure has the same key."""
    text = json.dumps(json_item(layout))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), text


@cache
def plain_item() -> tuple[str, str]:
    """The item of the figure that nobody has added anything to; made once."""
    return item(build())


def _plain(name: str, x_range: Range1d, low: float, **options: Any) -> Any:
    """An empty figure without furniture; its frame is as wide as the page lets it."""
    plot = figure(
        name=name,
        x_range=x_range,
        y_range=Range1d(start=low, end=1),
        height=HEIGHTS[name],
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        output_backend="canvas",
        min_border=0,
        outline_line_color=None,
        **options,
    )
    plot.toolbar.logo = None
    plot.yaxis.visible = plot.xaxis.visible = False
    plot.grid.visible = False
    return plot


def _main(view: Range1d) -> Any:
    plot = _plain("main", view, -1, min_border_bottom=AXIS_HEIGHT)
    lines = ColumnDataSource({"x": []}, name="grid")
    plot.vspan("x", source=lines, line_color="#8a939c", line_alpha=0.4, name="grid lines")
    _band(plot, "wave", "#0072b2")
    axis = plot.xaxis[0]
    axis.update(
        visible=True,
        name="time",
        ticker=CompositeTicker(
            tickers=[
                AdaptiveTicker(base=10, mantissas=[1, 2, 5], min_interval=0.001, max_interval=0.5, num_minor_ticks=0),
                AdaptiveTicker(base=60, mantissas=[1, 2, 5, 10, 15, 30], min_interval=1, num_minor_ticks=0),
            ],
            name="ticks",
        ),
        # The browser half writes the clock; code in the figure would need eval, which the Content-Security-Policy
        # forbids.
        formatter=BasicTickFormatter(name="clock"),
        axis_line_color=None,
        minor_tick_line_color=None,
        major_tick_in=3,
        major_tick_out=0,
        major_label_standoff=0,
        major_label_text_font="ui-sans-serif, system-ui, sans-serif",
        major_label_text_font_size="10.5px",
        major_label_text_line_height=1.0,
    )
    return plot


def _band(plot: Any, name: str, colour: str) -> None:
    """A band between lows and highs, with an outline so that silence is seen too."""
    source = ColumnDataSource({"x": [], "low": [], "high": []}, name=name)
    plot.varea("x", "low", "high", source=source, fill_color=colour, name=f"{name} band")
    for edge in ("high", "low"):
        plot.line("x", edge, source=source, line_color=colour, line_width=1, name=f"{name} {edge}")


def _difference(view: Range1d) -> Any:
    plot = _plain("difference", view, 0, visible=False)
    source = ColumnDataSource({"x": [], "low": [], "high": []}, name="difference data")
    plot.varea("x", "low", "high", source=source, fill_color="#d55e00", name="difference data band")
    plot.line("x", "high", source=source, line_color="#d55e00", line_width=1, name="difference data high")
    return plot


def _codes(view: Range1d) -> Any:
    """Its picture, `[rows, columns]` of 0–255 with the lowest row first, is put in by the browser half."""
    plot = _plain("codes", view, 0, visible=False)
    nothing = {"image": [np.full((1, 1), np.nan, np.float32)], "seconds": [1.0]}
    colours = LinearColorMapper(palette=Viridis256, low=0, high=255, nan_color="rgba(0, 0, 0, 0)")
    source = ColumnDataSource(nothing, name="codes data")
    plot.image("image", x=0, y=0, dw="seconds", dh=1, source=source, color_mapper=colours, name="codes image")
    return plot


def _overview() -> Any:
    plot = _plain("overview", Range1d(start=0, end=1, name="whole"), -1)
    _band(plot, "overview wave", "#56b4e9")
    marks = ColumnDataSource({"start": [], "end": []}, name="marks")
    plot.quad(left="start", right="end", bottom=-1, top=-0.75, source=marks, line_width=1, name="marks boxes")
    shade = BoxAnnotation(name="shade", inverted=True, fill_alpha=0.7, line_color=None, visible=False)
    plot.add_layout(shade)
    plot.add_layout(BoxAnnotation(name="window", fill_color=None, line_width=1, line_alpha=1, visible=False))
    return plot
