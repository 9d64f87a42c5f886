"""RunView: how far one run is, and a button that stops it. The browser half is `widgets/run.js`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from acestep_lab.errors import LabError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.run import OVER, AnyRun
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.throttle import Throttle

LOOKS_PER_SECOND = 4.0


class RunView(Component):
    """A bar with what a run is doing, the time it takes and the time to go; follows it to its end. Stop ends it.

    ::

        RunViewWidget(lab.start(recipe))
    """

    module = "run"
    fields: ClassVar[Mapping[str, object]] = {
        "title": "",
        "doing": "",
        "state": "",
        "fraction": 0.0,
        "eta": -1.0,
        "took": 0.0,
        "over": True,
        "note": "",
    }

    title: str
    doing: str
    state: str
    fraction: float
    eta: float
    took: float
    over: bool
    note: str

    def setup(self, run: AnyRun | None = None) -> None:
        """Follow a run, if one is given."""
        self._run: AnyRun | None = None
        self._throttle = Throttle(LOOKS_PER_SECOND)
        if run is not None:
            self.follow(run)

    def follow(self, run: AnyRun) -> None:
        """Show a run from here to its end."""
        self._run = run
        if not run.over:
            run.subscribe(partial(self._on_event, run))
        self._throttle.now(partial(self._show, run))

    def do_stop(self) -> None:
        """Ask the run to stop."""
        if self._run is None:
            raise LabError("There is no run here to stop; show one: RunView(lab.start(recipe)).")
        self._run.stop()
        self._throttle.now(partial(self._show, self._run))

    def do_ready(self) -> None:
        """A view was drawn: show the run as it stands."""
        if self._run is not None:
            self._throttle.now(partial(self._show, self._run))
        super().do_ready()

    def _on_event(self, run: AnyRun, event: Event) -> None:
        if run is not self._run:
            return
        if event.kind == "state" and event.value in OVER:
            self._throttle.now(partial(self._show, run))
        else:
            self._throttle.offer(partial(self._show, run))

    def _show(self, run: AnyRun) -> None:
        eta: Any = None if run.over else run.eta
        self.title, self.doing, self.state = run.title, run.doing, run.state
        self.fraction, self.took = float(run.fraction), round(run.seconds_running, 2)
        self.eta = -1.0 if eta is None else round(float(eta), 1)
        self.note, self.over = run.problem or " ".join(run.messages), run.over


RunViewWidget, RunViewPane = widget_and_pane(RunView)
