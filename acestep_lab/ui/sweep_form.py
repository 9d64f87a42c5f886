"""SweepForm: what a sweep goes over, what it would cost, and earlier ones. The browser half is `widgets/sweep_form.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.ui import messages
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Name

HOW = ("grid", "random", "latin_hypercube")
"""Every combination, or so many: drawn by chance, or spread evenly."""
MOST_AXES = 8
Rows = Annotated[
    Sequence[Any], messages.list_of(messages.table(field=messages.text(60), values=messages.text(2_000)), MOST_AXES)
]


class SweepForm(Component):
    """The first card of the Sweep tab: axes over the recipe of the form, the budget's words, Start; an earlier sweep goes on.

    Listeners: "draft" (rows, how, count, name), "foretell" (), "sweep" (), "resume" (name), "opened" (on).

    ::

        SweepFormWidget(session=lab)
        form = SweepFormWidget(standalone=True)
        form.on("sweep", lambda: print(form.rows))
    """

    offered: bool
    opened: bool
    rows: list[Any]
    names: list[str]
    how: str
    count: int
    called: str
    kept: list[str]
    plan: dict[str, Any]
    busy: str
    module = "sweep_form"
    fields: ClassVar[Mapping[str, object]] = {
        "offered": False, "opened": False, "rows": [], "names": [], "how": HOW[0], "count": 12, "called": "", "kept": [], "plan": {},
        "busy": "",
    }  # fmt: skip
    news = Component.news | {"opened", "draft"}

    def setup(self, *, standalone: bool = False) -> None:
        self.opened = standalone

    def do_open(self, on: bool) -> None:
        """Open the tab's cards, or fold them to a line."""
        self.opened = on
        self.notify("opened", on=on)

    def do_draft(self, rows: Rows, how: Name, count: int, name: Name) -> None:
        """What somebody has typed so far; it outlives the page."""
        if how not in HOW:
            raise RecipeError(f"Cells are chosen by one of {', '.join(HOW)}, not {shown(how)}.")
        self.notify("draft", rows=rows, how=how, count=count, name=name)

    def do_foretell(self) -> None:
        """Say what the sweep would cost, before any of it is made."""
        self._may()
        self.notify("foretell")

    def do_sweep(self) -> None:
        """Begin the sweep."""
        self._may()
        self.notify("sweep")

    def do_resume(self, name: Name) -> None:
        """Go on with an earlier sweep."""
        self._may()
        self.notify("resume", name=name)

    def _may(self) -> None:
        if not self.offered:
            raise LabError("No sweep can be made on this page: sweeps are the host's.")
        if self.busy:
            raise LabError("One moment: what was asked for last is still being done.")


SweepFormWidget, SweepFormPane = widget_and_pane(SweepForm)
