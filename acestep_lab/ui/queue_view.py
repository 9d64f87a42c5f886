"""RunQueue: what is being made, what waits, what went wrong. The browser half is `widgets/queue.js`."""

from __future__ import annotations

from typing import Any, ClassVar

from acestep_lab.ui.component import Component, widget_and_pane


class RunQueue(Component):
    """The runs, each with its state, progress, time to go, place in the queue, and a way to stop it.

    `rows` are plain data, in the order the runs will be done: id, title, state, fraction, eta (seconds until it is done, those
    before it included), position (runs before it), mine, problem, notes. Listener: "stop" (id), "look" (id).
    """

    module = "queue"
    fields: ClassVar[dict[str, Any]] = {"rows": [], "ahead": 0}

    def do_stop(self, id: str = "") -> None:
        """Ask for a run to be stopped."""
        self.notify("stop", id=str(id))

    def do_look(self, id: str = "") -> None:
        """Ask for a run to be shown."""
        self.notify("look", id=str(id))

    def do_dismiss(self, id: str = "") -> None:
        """Take a finished run off the list."""
        self.notify("dismiss", id=str(id))


RunQueueWidget, RunQueuePane = widget_and_pane(RunQueue)
