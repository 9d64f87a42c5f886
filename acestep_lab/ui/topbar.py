"""Topbar: the page's name, what is loaded, light or dark, the keyboard map. The browser half is `widgets/topbar.js`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from acestep_lab.ui.component import Component, widget_and_pane


class Topbar(Component):
    """The head of the page. It answers a heartbeat, so that a page whose kernel has gone says so.

    `page` lets it colour the whole page (an app), not only itself (a notebook's output).
    """

    module = "topbar"
    fields: ClassVar[Mapping[str, object]] = {
        "title": "acestep_lab",
        "about": [],
        "page": False,
        "banner": "",
        "unsaved": 0,
    }

    def do_heartbeat(self) -> None:
        """Answer the heartbeat."""
        self.emit("heartbeat")

    def do_retry(self) -> None:
        """Whatever failed, try it again."""
        self.notify("retry")


TopbarWidget, TopbarPane = widget_and_pane(Topbar)
