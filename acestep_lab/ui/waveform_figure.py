"""The Bokeh figure of the waveform picker: waveform, difference lane, codes, overview. Knows no sound and no message.

The figure is handed to the browser half as JSON and embedded there, so that it is the same one in an anywidget and in
a Panel component; the models are found by name.
"""

from __future__ import annotations

from typing import Any

from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    BasicTickFormatter,
    ColumnDataSource,
    PanTool,
    Range1d,
    RangeTool,
    TapTool,
    WheelZoomTool,
)
from bokeh.models.annotations import BoxAnnotation, Span
from bokeh.plotting import figure

SHORTEST_VIEW = 0.02
"""Seconds; closer than this there is nothing to see."""


def build(seconds: float) -> dict[str, Any]:
    """The figure of a sound of some length as a JSON item."""
    shared = Range1d(
        start=0,
        end=max(seconds, SHORTEST_VIEW),
        bounds=(0, max(seconds, SHORTEST_VIEW)),
        min_interval=SHORTEST_VIEW,
        name="view",
    )
    main = _main(shared)
    lanes = [main, _lane("difference", 44, shared), _lane("codes", 22, shared)]
    return dict(
        json_item(column(*lanes, _overview(seconds, shared), sizing_mode="stretch_width", spacing=4, name="rows"))
    )


def _plain(height: int, **options: Any) -> Any:
    """An empty figure without furniture."""
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        output_backend="canvas",
        min_border=0,
        min_border_left=4,
        min_border_right=4,
        outline_line_color=None,
        **options,
    )
    plot.yaxis.visible = False
    plot.grid.visible = False
    return plot


def _main(shared: Range1d) -> Any:
    plot = _plain(196, x_range=shared, y_range=Range1d(start=-1.05, end=1.05), name="main")
    wheel = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})
    pan = PanTool(dimensions="width")
    plot.add_tools(wheel, pan, TapTool())
    plot.toolbar.active_scroll, plot.toolbar.active_drag = wheel, pan
    # The browser half writes the clock; code in the figure would need eval, which the Content-Security-Policy forbids.
    plot.xaxis.formatter = BasicTickFormatter(name="clock")
    plot.xaxis.axis_line_color = None
    plot.xaxis.minor_tick_line_color = None
    _wave(plot, "wave", "#0072b2")
    plot.segment(
        "x",
        -1.05,
        "x",
        1.05,
        source=ColumnDataSource({"x": []}, name="grid"),
        line_color="#888888",
        line_alpha=0.35,
        name="grid lines",
    )
    plot.add_layout(
        Span(location=0, dimension="height", line_color="#d55e00", line_width=2, name="playhead", level="overlay")
    )
    return plot


def _wave(plot: Any, name: str, colour: str) -> None:
    """A band between lows and highs, drawn so that even one sample's width is seen."""
    source = ColumnDataSource({"x": [], "low": [], "high": []}, name=name)
    plot.varea("x", "low", "high", source=source, fill_color=colour, fill_alpha=0.9, name=f"{name} band")
    plot.line("x", "high", source=source, line_color=colour, line_width=1, name=f"{name} top")
    plot.line("x", "low", source=source, line_color=colour, line_width=1, name=f"{name} bottom")


def _lane(name: str, height: int, shared: Range1d) -> Any:
    plot = _plain(height, x_range=shared, y_range=Range1d(start=0, end=1), name=name, visible=False)
    plot.xaxis.visible = False
    if name == "difference":
        source = ColumnDataSource({"x": [], "low": [], "high": []}, name="difference data")
        plot.varea("x", "low", "high", source=source, fill_color="#d55e00", fill_alpha=0.75, name="difference band")
        plot.line("x", "high", source=source, line_color="#d55e00", name="difference top")
    else:
        source = ColumnDataSource({"left": [], "right": [], "colour": []}, name="codes data")
        plot.quad(left="left", right="right", bottom=0.1, top=0.9, source=source, fill_color="colour", line_color=None)
    plot.add_layout(Span(location=0, dimension="height", line_color="#d55e00", line_width=2, name=f"{name} playhead"))
    return plot


def _overview(seconds: float, shared: Range1d) -> Any:
    plot = _plain(
        52,
        x_range=Range1d(start=0, end=max(seconds, SHORTEST_VIEW)),
        y_range=Range1d(start=-1.05, end=1.05),
        name="overview",
    )
    plot.xaxis.visible = False
    _wave(plot, "overview wave", "#56b4e9")
    window = BoxAnnotation(
        fill_color="#0072b2", fill_alpha=0.1, line_color="#0072b2", line_alpha=0.6, use_handles=False, name="window"
    )
    tool = RangeTool(x_range=shared, overlay=window)
    plot.add_tools(tool)
    plot.toolbar.active_multi = "auto"
    return plot
