"""Attribution: what each word of a take did, as a heat strip under the caption and along the song. The browser half is
`widgets/attribution.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError
from acestep_lab.jobs.attributing import AttributionRun
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.run import OVER
from acestep_lab.listen import attribution as listened
from acestep_lab.listen.attribution import Effect
from acestep_lab.takes.take import Take
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.throttle import Throttle

LOOKS_PER_SECOND = 4.0


class Attribution(Component):
    """The words of a take with how far the music moves without each, when, in which band, and what is heard then; beside it
    where the model looks, which is no cause.

    Listeners: "find" (), "opened" (); "at" (seconds) where somebody wants to hear a moment. Alone it shows what it is
    handed::

        AttributionWidget(lab.attribute(take))                 # or an Attribution
    """

    module = "attribution"
    fields: ClassVar[Mapping[str, object]] = {
        "take": "", "caption": "", "seconds": 0.0, "edges": [], "of": "", "steps": 0, "effects": [], "control": {},
        "attention": {}, "remarks": [], "doing": "", "fraction": 0.0, "eta": -1.0, "over": True, "note": "", "cost": "",
        "cannot": "", "opened": False, "finds": False, "asked": False,
    }  # fmt: skip

    take: str
    over: bool
    doing: str
    fraction: float
    eta: float
    note: str
    cost: str
    cannot: str
    opened: bool
    finds: bool
    asked: bool
    effects: list[dict[str, Any]]
    attention: dict[str, Any]

    def setup(
        self, shown: AttributionRun | listened.Attribution | Take | Audio | None = None, finds: bool = False
    ) -> None:
        """Show a run or what came of one, or hold a take to be asked about (with a session); `finds`: somebody listens who can begin one."""
        self._run: AttributionRun | None = None
        self._throttle = Throttle(LOOKS_PER_SECOND)
        self.finds = finds
        if isinstance(shown, AttributionRun):
            self.opened = True
            self.follow(shown)
        elif isinstance(shown, listened.Attribution):
            self.opened = True
            self.tell(shown)
        elif shown is not None:
            caption = shown.recipe.caption if isinstance(shown, Take) else ""
            self.hold(shown.id, caption, shown.seconds)

    # -- what is shown

    def follow(self, run: AttributionRun) -> None:
        """Show a run from here to its end."""
        self._run = run
        self.hold(run.take.id, run.take.recipe.caption, run.take.audio.seconds)
        if not run.over:
            run.subscribe(partial(self._on_event, run))
        self._throttle.now(partial(self._stand, run))

    def tell(self, found: listened.Attribution) -> None:
        """Show what was found out."""
        self._run = None
        self._throttle.now(partial(self._fill, found))

    def hold(self, take: str = "", caption: str = "", seconds: float = 0.0) -> None:
        """Show nothing of a take yet."""
        self._throttle.now(partial(self._empty, take, caption, seconds))

    def tell_cost(self, take: str, cost: str, cannot: str = "") -> None:
        """What finding out would take, or why it cannot be; of another take than the one in hand, nothing."""
        if take == self.take:
            self.cost, self.cannot = cost, cannot

    # -- what the browser asks

    def do_open(self, on: bool) -> None:
        """Open or fold the view."""
        self.opened = on
        if on:
            self.notify("opened")

    def do_find(self) -> None:
        """Find out what each word did."""
        if self.cannot:
            raise LabError(self.cannot)
        if not self.over:
            raise LabError("This is being found out already; wait for it, or stop it.")
        self.notify("find")

    def do_halt(self) -> None:
        """Stop; what is measured stays."""
        if self._run is None:
            raise LabError("Nothing is being found out here.")
        self._run.stop()

    def do_at(self, seconds: float) -> None:
        """Somebody wants to hear a moment."""
        self.notify("at", seconds=seconds)

    # -- inside

    def _on_event(self, run: AttributionRun, event: Event) -> None:
        if run is not self._run:
            return
        if event.kind == "state" and event.value in OVER:
            self._throttle.now(partial(self._stand, run))
        else:
            self._throttle.offer(partial(self._stand, run))

    def _stand(self, run: AttributionRun) -> None:
        """How a run stands."""
        if run is not self._run:
            return
        eta: Any = run.remaining
        self.doing, self.fraction, self.over = run.doing, float(run.fraction), run.over
        self.eta = -1.0 if eta is None or run.over else round(float(eta), 1)
        self.note = run.problem or ("" if run.over and run.state == "done" else str(run.cost))
        if run.attribution is not None:
            self._fill(run.attribution)
        else:
            self.effects = [_row(one, None) for one in run.effects]

    def _fill(self, found: listened.Attribution) -> None:
        self.take, self.caption, self.seconds = found.take, found.caption, found.seconds
        self.edges, self.of, self.steps = list(found.edges), found.of, found.steps
        self.effects = [_row(one, found) for one in found.effects]
        self.control = {} if found.control is None else _row(found.control, found)
        self.attention = {} if found.attention is None else found.attention.to_json()
        self.remarks, self.cost = list(found.remarks), ""

    def _empty(self, take: str, caption: str, seconds: float) -> None:
        self.take, self.caption, self.seconds = take, caption, float(seconds)
        self.effects, self.control, self.attention, self.remarks = [], {}, {}, []
        self.doing, self.fraction, self.eta, self.over, self.note, self.cost, self.cannot = (
            "",
            0.0,
            -1.0,
            True,
            "",
            "",
            "",
        )


def _row(one: Effect, found: listened.Attribution | None) -> dict[str, Any]:
    """An effect as a browser half draws it; `share` is -1 while there is no scale."""
    told = one.to_json()
    share = -1.0 if found is None or found.control is None else round(found.share(one), 4)
    return {name: told[name] for name in ("kind", "name", "change", "span", "over_time", "over_band", "problem")} | {
        "share": share, "moved": one.moved, "heard": list(found.changes(one)) if found else [],
    }  # fmt: skip


AttributionWidget, AttributionPane = widget_and_pane(Attribution)
