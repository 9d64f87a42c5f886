"""Tabs: the parts of a narrow page, one at a time. The browser half is `widgets/tabs.js`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from acestep_lab.ui.component import Component, widget_and_pane


class Tabs(Component):
    """Compose, Listen, Repaint, Takes, and (`sweep`, `train`) Sweep and Train: which of them a narrow page shows. A wide page shows all, and no tabs.

    `emit("arrived", title=…)` tells it of a new take: it shows a dot, and turns to Listen unless somebody is typing.
    """

    sweep: bool
    train: bool
    module = "tabs"
    fields: ClassVar[Mapping[str, object]] = {"sweep": False, "train": False}


TabsWidget, TabsPane = widget_and_pane(Tabs)
