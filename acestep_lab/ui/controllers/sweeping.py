"""Sweeping: many takes that differ in what is named, from the form's recipe: the budget first, then a grid that fills. For the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep import axes, record
from acestep_lab.sweep.cells import Sweep
from acestep_lab.sweep.run import SweepRun
from acestep_lab.ui import sweep_form, sweep_view
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.listeners import Listeners

PLAIN = Recipe("a song")
"""Whose fields are offered as axes before anybody has written anything."""
MOST_SHOWN = 1000
"""Cells of a grid that a page draws; larger sweeps are for Python and the command line."""
MOST_SAID = 5
"""Refused cells of which the budget says why."""


@dataclass(eq=False)
class SweepDraft:
    """What a page is about to sweep, kept for the next page of the host, and shared by those that are open."""

    rows: Sequence[Mapping[str, str]] = ({"field": "seed", "values": "1..4"},)
    how: str = sweep_form.HOW[0]
    count: int = 12
    name: str = ""
    opened: bool = False
    listeners: Listeners = field(default_factory=Listeners)


class Sweeping(Controller):
    """The Sweep tab: its form and its grid."""

    def build(self, made: Callable[..., Any]) -> None:
        self._draft: SweepDraft = self.backend.drafts.setdefault(("sweep", self.studio.owner), SweepDraft())
        self._stops: list[Callable[[], None]] = []
        self.sweep_form = made(sweep_form, "SweepForm", standalone=False)
        self.sweep_view = made(sweep_view, "SweepView", standalone=False)

    def connect(self) -> None:
        connect(
            self.sweep_form, draft=self._edit, foretell=self._foretell, sweep=self._sweep, resume=self._resume, opened=self._open
        )  # fmt: skip
        self._stops = [self._draft.listeners.add(self._show)]
        self.sweep_form.opened = self.sweep_form.opened or self._draft.opened
        self._attach()
        self._show()

    def adopted(self, name: str, can: Capabilities) -> None:
        self.sweep_form.offered = not self.studio.owner
        self._show()

    def refreshed(self) -> None:
        self._show()

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        """A sweep that a notebook or another page began is followed here too."""
        if _is_shown(run) and not run.over and not self.studio.owner and not self._is_live:
            self._follow(run)

    def finished(self, run: AnyRun) -> None:
        if isinstance(run, SweepRun):
            self._show()

    def close(self) -> None:
        for stop in self._stops:
            stop()
        self.sweep_view.leave()
        if self.studio.owner:  # a guest's form is never shown: nothing to leave behind
            self.backend.drafts.pop(("sweep", self.studio.owner), None)

    # -- what is shown -------------------------------------------------------------------------------------------------

    @property
    def _is_live(self) -> bool:
        """Whether the grid shows a sweep that goes on."""
        return self.sweep_view.followed is not None and not self.sweep_view.followed.over

    def _attach(self) -> None:
        """A page that (re)opens takes up the sweep under way, or the last one."""
        runs = [] if self.studio.owner else [one for one in self.backend.jobs.runs("") if _is_shown(one)]
        live = next((run for run in runs if not run.over), runs[0] if runs else None)
        if live is not None and self.sweep_view.followed is None:
            self.sweep_view.follow(live)

    def _follow(self, run: SweepRun) -> None:
        if self.sweep_view.followed is not run:
            self.sweep_view.follow(run)
        self._show()

    def _open(self, on: bool) -> None:
        self._draft.opened = on
        self._show()

    def _show(self) -> None:
        form, draft = self.sweep_form, self._draft
        self.sweep_view.fold(not (self._is_live or form.opened))
        self.studio.listening.tabs.sweep = form.offered
        if not form.offered:
            return
        form.rows, form.how, form.count, form.called = (
            [dict(row) for row in draft.rows],
            draft.how,
            draft.count,
            draft.name,
        )
        form.kept = record.names(self.backend.session.library)
        form.names = self._names()

    def _names(self) -> list[str]:
        """What the form's recipe can go over; while the form holds none, what the last one could, or any song of words."""
        try:
            return list(axes.names(self._recipe()))
        except RecipeError:
            return list(self.sweep_form.names) or list(axes.names(PLAIN))

    # -- what is asked -------------------------------------------------------------------------------------------------

    def _recipe(self) -> Any:
        return self.studio.by_choice(self.studio.prompt.recipe())

    def _edit(self, rows: Sequence[Mapping[str, str]], how: str, count: int, name: str) -> None:
        draft = self._draft
        draft.rows, draft.how, draft.count, draft.name = rows, how, count, name
        self.sweep_form.plan = {}  # it was of another sweep
        draft.listeners.tell()

    def _asked(self) -> Sweep:
        """The sweep that the form asks for; RecipeError where it asks for none."""
        draft, found = self._draft, dict[str, Any]()
        for row in draft.rows:
            if not row["values"].strip():
                raise RecipeError(f"Write what {row['field']} goes over, such as 1,3,5 or 0..3.")
            if row["field"] in found:
                raise RecipeError(f"{row['field']} stands there twice; write all its values in one line.")
            found[row["field"]] = axes.from_text(row["values"])
        grid = Sweep.grid(self._recipe(), name=draft.name.strip(), **found)
        return grid if draft.how == sweep_form.HOW[0] else getattr(grid, draft.how)(draft.count)

    def _foretell(self) -> None:
        asked, form = self._asked(), self.sweep_form

        def work() -> None:
            cost = self.backend.session.sweep(asked, dry_run=True)
            why = [f"{asked.cells[place].title}: {one}" for place, one in cost.refused.items()]
            form.plan = {"words": [str(cost), *why[:MOST_SAID]], "refused": len(why), "to_make": cost.to_make}

        self.aside(self.sweep_form, "foretell", work, self._show)

    def _sweep(self) -> None:
        asked = self._asked()
        if asked.size > MOST_SHOWN:
            raise RecipeError(f"A page shows at most {MOST_SHOWN:,} cells; draw some, or begin this sweep in Python.")
        self.aside(
            self.sweep_form,
            "sweep",
            lambda: self._begin(asked, skip_refused=bool(self.sweep_form.plan.get("refused"))),
            self._show,
        )

    def _resume(self, name: str) -> None:
        self.aside(self.sweep_form, "sweep", lambda: self._begin(name, skip_refused=True), self._show)

    def _begin(self, asked: Sweep | str, skip_refused: bool) -> None:
        """Begin or go on; cells that are refused are left out only where the budget has said so."""
        run = self.backend.session.sweep(asked, skip_refused=skip_refused)
        if _is_shown(run):
            self._follow(run)


def _is_shown(run: AnyRun | None) -> TypeGuard[SweepRun]:
    """Whether a run is a sweep of as many cells as a page can draw."""
    return isinstance(run, SweepRun) and len(run.cells) <= MOST_SHOWN
