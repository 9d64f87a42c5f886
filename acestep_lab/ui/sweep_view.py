"""SweepView: a sweep as a grid of players, while it is made and after. The browser half is `widgets/sweep.js`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.run import OVER
from acestep_lab.sweep import report
from acestep_lab.sweep.layout import layout
from acestep_lab.sweep.run import MEASURES, CellState, SweepRun
from acestep_lab.sweep.votes import Ballot
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.controllers.base import start_thread
from acestep_lab.ui.latent_image import picture, png_bytes
from acestep_lab.ui.messages import Id, Name
from acestep_lab.ui.throttle import Throttle

LOOKS_PER_SECOND = 3.0
BLIND = "blind-"
"""What the id of a sound begins with whose take nobody is told."""
FILES = ("csv", "html")
ROW_PIXELS = 1
"""Pixels of a channel in the picture of a cell under way."""


class SweepView(Component):
    """Cells by their axes: how far each is, with a picture as it forms; its player once it is made; the best by any measure.

    ::

        SweepViewWidget(lab.sweep(recipe, shift=[1, 3, 5], seed=range(4)))
    """

    module = "sweep"
    includes = ("audio_player",)
    news = Component.news | {"vote"}
    fields: ClassVar[Mapping[str, object]] = {
        "title": "", "doing": "", "fraction": 0.0, "eta": -1.0, "over": True, "note": "", "across": "", "columns": [], "down": "",
        "rows": [], "cells": [], "measures": [], "measure": "", "measuring": False, "axes": [], "ballot": {}, "preferred": [],
        "votes": 0, "hidden": False, "writing": False,
    }  # fmt: skip

    title: str
    doing: str
    fraction: float
    eta: float
    over: bool
    note: str
    cells: list[dict[str, Any]]
    measure: str
    measuring: bool
    axes: list[str]
    ballot: dict[str, Any]
    preferred: list[str]
    votes: int
    hidden: bool
    writing: bool

    def setup(self, run: SweepRun | None = None, *, standalone: bool = True) -> None:
        """Show a sweep, if one is given."""
        self._run: SweepRun | None = None
        self._standalone, self.hidden = standalone, not standalone
        self._ballot: tuple[Ballot, dict[str, Audio]] | None = None
        self._ballots = 0
        self.leave: Callable[[], None] = lambda: None
        """Follow nothing any more."""
        self._throttle = Throttle(LOOKS_PER_SECOND)
        self._measured: dict[int, float] = {}
        self._pictured: dict[int, int] = {}
        self.measures = list(MEASURES)
        if run is not None:
            self.follow(run)

    def follow(self, run: SweepRun) -> None:
        """Show a sweep from here to its end."""
        self.leave()
        self._run, self._measured, self.measure = run, {}, ""
        self._ballot, self.ballot, self.axes = None, {}, [name for name, _ in run.sweep.axes]
        self.across, self.columns, self.down, self.rows = layout(run.sweep)
        if not run.over:
            self.leave = run.subscribe(partial(self._on_event, run))
        self._throttle.now(partial(self._show, run))

    @property
    def followed(self) -> SweepRun | None:
        """The sweep that is shown."""
        return self._run

    def fold(self, on: bool) -> None:
        """Hide the view on a page that has no use for it now, or no sweep to show; alone, it stays."""
        self.hidden = (on or self._run is None) and not self._standalone

    # -- what the browser asks

    def do_stop(self) -> None:
        """Ask the sweep to stop; what is made stays."""
        run = self._shown()
        run.stop()
        self._throttle.now(partial(self._show, run))

    def do_ready(self) -> None:
        """A view was drawn: show the sweep as it stands."""
        if self._run is not None:
            self._pictured.clear()
            self._throttle.now(partial(self._show, self._run))
        super().do_ready()

    def do_bytes(self, id: Id) -> None:
        """Send the take of a cell as a WAV file."""
        run = self._shown()
        if id.startswith(BLIND):
            self.emit("bytes", tracks.wav_of(self._heard(id)), id=id)
            return
        place = next((place for place, take in run.made.items() if take == id), None)
        if place is None:
            raise RecipeError("There is no such take in this sweep.")
        self.emit("bytes", tracks.wav_of(run.take(place).audio), id=id)

    def do_at(self, seconds: float) -> None:
        """Where the player in hand stands."""
        self.notify("at", seconds=seconds)

    def do_measure(self, by: Name) -> None:
        """Measure every take there is, so that the best can be seen."""
        run = self._shown()
        if by not in MEASURES:
            raise RecipeError(f"A take is measured by one of {', '.join(MEASURES)}.")
        if self.measuring:
            raise LabError("These takes are being measured already.")
        self.measuring = True
        start_thread(self, partial(self._measure, run, by), self._measured_all)

    def _measure(self, run: SweepRun, by: str) -> None:
        self._measured, self.measure = run.measure(by), by
        self._throttle.now(partial(self._show, run))

    def _measured_all(self) -> None:
        self.measuring = False

    # -- listening without knowing

    def do_blind(self, axis: Name) -> None:
        """Offer two takes that are alike in all but an axis, as A and B; the same again until they are voted on."""
        run = self._shown()
        ballots = run.ballots(axis, seed=len(run.votes))
        if not ballots:
            raise LabError("Nothing can be compared yet: two takes that differ in this alone are needed.")
        [drawn] = ballots[:1]
        self._ballots += 1
        self._ballot = drawn, run.hear_blind(drawn)
        sounds = [{"letter": one, "id": f"{BLIND}{self._ballots}-{one}"} for one in drawn.letters]
        self.ballot = {"axis": drawn.axis, "sounds": sounds, "said": ""}

    def do_vote(self, letter: Name, by: Name = "") -> None:
        """One of the two is better; only now it is said which they were."""
        run = self._shown()
        if self._ballot is None or self.ballot.get("said"):
            raise LabError("There is nothing to vote on; listen to two takes first.")
        drawn, _ = self._ballot
        vote = run.vote(drawn, letter, by=by.strip())
        names = [f"{one}: {run.sweep.cells[drawn.place_of(one)].title}" for one in drawn.letters]
        self.ballot = {**self.ballot, "said": ", ".join(names), "winner": letter.upper()}
        self.notify("vote", winner=vote.winner, among=list(vote.among))
        self._throttle.now(partial(self._show, run))

    def _heard(self, id: str) -> Audio:
        """The sound of a letter of the ballot that is open."""
        for one in self.ballot.get("sounds", ()) if self._ballot else ():
            if one["id"] == id and self._ballot is not None:
                return self._ballot[1][one["letter"]]
        raise RecipeError("This comparison is over; begin the next one.")

    # -- files

    def do_file(self, form: Name) -> None:
        """Hand the table (csv) or the report (html) to the browser."""
        run = self._shown()
        if form not in FILES:
            raise RecipeError(f"A sweep is written as one of {', '.join(FILES)}, not {shown(form)}.")
        if self.writing:
            raise LabError("One moment: a file is being written already.")
        self.writing = True
        start_thread(self, partial(self._write, run, form), self._written)

    def _write(self, run: SweepRun, kind: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{run.sweep.full_name}.{kind}"
            run.to_csv(path) if kind == "csv" else report.written(
                run, path, measures=[self.measure] if self.measure else ()
            )
            self.emit("file", path.read_bytes(), name=path.name)

    def _written(self) -> None:
        self.writing = False

    # -- inside

    def _shown(self) -> SweepRun:
        if self._run is None:
            raise LabError("There is no sweep here; show one: SweepView(lab.sweep(recipe, shift=[1, 3])).")
        return self._run

    def _on_event(self, run: SweepRun, event: Event) -> None:
        if run is not self._run:
            return
        if event.kind == "state" and event.value in OVER:
            self._throttle.now(partial(self._show, run))
        else:
            self._throttle.offer(partial(self._show, run))

    def _show(self, run: SweepRun) -> None:
        eta: Any = run.remaining
        self.title, self.doing, self.fraction = run.sweep.full_name, run.doing, float(run.fraction)
        self.eta = -1.0 if eta is None or run.over else round(float(eta), 1)
        self.note, over = run.problem or " ".join(run.messages), run.over
        states, best, votes = run.cells, self._best(), run.votes
        if len(votes) != self.votes or not votes:
            rated = [(axis, one) for axis in self.axes for one in run.preferences(axis) if one.share.count]
            self.votes, self.preferred = len(votes), [f"{axis}={one}" for axis, one in rated]
        self.cells = [self._cell(one, one.place == best) for one in states]
        self.over = over  # last, so that whoever is told of the end sees the rest as it ended
        if self.has_views:
            for one in states:
                self._picture(one)

    def _best(self) -> int | None:
        """The place of the cell with the highest measure."""
        return max(self._measured, key=lambda place: self._measured[place], default=None)

    def _cell(self, one: CellState, best: bool) -> dict[str, Any]:
        return {
            "place": one.place, "title": one.cell.title, "state": one.state, "step": one.step, "steps": one.steps, "take": one.take,
            "by": one.by, "problem": one.problem, "value": self._measured.get(one.place), "best": best,
            "seconds": one.cell.recipe.seconds or 0.0,
        }  # fmt: skip

    def _picture(self, one: CellState) -> None:
        """Send the estimate of a cell under way, once for each step."""
        if one.estimate is not None and self._pictured.get(one.place) != one.step and not one.take:
            self._pictured[one.place] = one.step
            self.emit("picture", png_bytes(picture(one.estimate, row_height=ROW_PIXELS)), place=one.place)


SweepViewWidget, SweepViewPane = widget_and_pane(SweepView)
