"""Topbar: the page's name, what is loaded, light or dark, the keyboard map. The browser half is `widgets/topbar.js`."""

from __future__ import annotations

from typing import Any, ClassVar

from acestep_lab.ui.spec import Component, both


class Topbar(Component):
    """The head of the page. It answers a heartbeat, so that a page whose kernel has gone says so.

    `page` lets it colour the whole page (an app), not only itself (a notebook's output).
    """

    module = "topbar"
    fields: ClassVar[dict[str, Any]] = {"title": "acestep_lab", "about": [], "page": False, "banner": "", "unsaved": 0}

    def do_beat(self) -> None:
        """Answer the heartbeat."""
        self.tell("beat")

    def do_again(self) -> None:
        """Whatever failed, try it again."""
        self.ask("again")


TopbarWidget, TopbarPane = both(Topbar)
