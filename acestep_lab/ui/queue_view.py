"""RunQueue: what is being made, what waits, what went wrong. The browser half is `widgets/queue.js`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from acestep_lab.ui.component import Component, widget_and_pane


class RunQueue(Component):
    """The runs, each with its state, progress, time to go, place in the queue, and a way to stop it.

    `rows` are plain data, in the order the runs will be done, as `JobQueue.rows` gives them: id, kind, title, state, held,
    fraction, eta (seconds until it is done, those before it included), position (runs before it), place (among this
    person's own that wait), mine, problem, messages. Whoever is host (`hosts`) may pause the queue. Listeners: "stop" (id),
    "watch" (id), "dismiss" (id), "hold" (id, held), "move" (id, place), "pause" (paused).

    ::

        queue = RunQueueWidget()
        queue.rows = lab.jobs.rows()
    """

    module = "queue"
    fields: ClassVar[Mapping[str, object]] = {"rows": [], "ahead": 0, "paused": False, "hosts": False}

    def do_stop(self, id: str = "") -> None:
        """Ask for a run to be stopped."""
        self.notify("stop", id=str(id))

    def do_watch(self, id: str = "") -> None:
        """Ask for a run to be shown."""
        self.notify("watch", id=str(id))

    def do_dismiss(self, id: str = "") -> None:
        """Take a finished run off the list."""
        self.notify("dismiss", id=str(id))

    def do_hold(self, id: str = "", held: bool = True) -> None:
        """Ask for a run that waits to be held back, or to be let go."""
        self.notify("hold", id=str(id), held=held)

    def do_move(self, id: str = "", place: int = 0) -> None:
        """Ask for a run to be put at another place among one's own."""
        self.notify("move", id=str(id), place=place)

    def do_pause(self, paused: bool = True) -> None:
        """Ask for no run to be begun for now, or for the queue to go on."""
        self.notify("pause", paused=paused)


RunQueueWidget, RunQueuePane = widget_and_pane(RunQueue)
