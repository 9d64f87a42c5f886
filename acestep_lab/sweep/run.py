"""A sweep under way: which cells have their take, how far the others are, a table, the best by any measure.

Knows a record and a session's verbs; who makes the takes tells it. Its cells are its pieces::

    run = lab.sweep(recipe, shift=[1, 3, 5], seed=range(4))
    for cell in run: ...                  # or run.stop(), which keeps what is made; the same call goes on
    run.best(by="loudness"), run.to_records(), run.to_csv("shift.csv")
"""

from __future__ import annotations

import csv
import html
import io
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from acestep_lab.errors import LabError, LibraryError, RecipeError, Stopped, sentence, shown
from acestep_lab.files import write_whole
from acestep_lab.jobs.run import USUAL_SECONDS, Run
from acestep_lab.jobs.training import Pace
from acestep_lab.prompt import checks
from acestep_lab.sweep import axes
from acestep_lab.sweep.budget import Budget
from acestep_lab.sweep.cells import Cell, Sweep
from acestep_lab.sweep.judged import Judged
from acestep_lab.sweep.record import Record
from acestep_lab.sweep.work import News, estimate_of
from acestep_lab.takes.take import Take

SWEEP = "sweeping"
"""Its stage."""
NAP = 0.05
"""Seconds between two looks at who makes the takes."""
ENDED = ("done", "there", "failed", "refused")
Measure = str | Callable[[Take], float]


def _heard(name: str) -> Callable[[Any, Take], float]:
    """A field of an analysis, as a measure."""
    return lambda lab, take: float(getattr(lab.analyze(take), name))


MEASURES: Mapping[str, Callable[[Any, Take], float]] = {
    **{name: _heard(name) for name in ("bpm", "pulse", "key_confidence", "meter_confidence", "loudness")},
    "plan_score": lambda lab, take: lab.plan_score(take).total,
    "coverage": lambda lab, take: lab.align(take).scores["coverage"],
    "sureness": lambda lab, take: lab.align(take).scores["sureness"],
    "spent": lambda lab, take: sum(take.made_with.get("seconds", {}).values()),
}
"""What a take may be measured by: fields of its analysis, the planner's judgement, how its lyrics are sung, seconds it took."""


@dataclass(frozen=True)
class CellState:
    """How one cell stands."""

    cell: Cell
    state: str = "waiting"
    """waiting, queued, planning, rendering, decoding; at last done, there (from before), failed, refused or stopped."""
    take: str = ""
    """The id of its take; "" while there is none."""
    step: int = 0
    steps: int = 0
    by: str = ""
    """Who works at it, or did."""
    problem: str = ""
    seconds: float | None = None
    """What it took."""
    estimate: np.ndarray | None = field(default=None, compare=False, repr=False)
    """The last estimate (x0) that came, thinned out: float32 `[frames, channels]`."""

    @property
    def place(self) -> int:
        """Where its cell stands."""
        return self.cell.place

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the estimate."""
        values = {name: axes.plain(value) for name, value in self.cell.values.items()}
        return {
            "place": self.place, "state": self.state, "values": values, "take": self.take, "step": self.step, "steps": self.steps,
            "by": self.by, "problem": self.problem, "seconds": self.seconds,
        }  # fmt: skip


class SweepRun(Judged, Run[CellState, "list[str]"]):
    """A sweep on its way: iterate it for each cell as it is done; `result()` waits and gives the ids of its takes."""

    kind = "sweep"
    gives_way = True

    def __init__(self, session: Any, record: Record, budget: Budget) -> None:
        self._session, self._record, self.budget = session, record, budget
        cells = self.sweep.cells
        self._cells = [self._first(cell) for cell in cells]
        self._guard = threading.RLock()
        self.pace, self._since = Pace(budget.to_make), time.monotonic()
        seconds = sum(
            cell.recipe.seconds or USUAL_SECONDS for cell in cells if self._cells[cell.place].state == "waiting"
        )
        super().__init__(f"sweep {self.sweep.full_name}", seconds)
        self.messages.append(str(budget))

    def _first(self, cell: Cell) -> CellState:
        take, refused = self._record.takes.get(cell.place, ""), self.budget.refused.get(cell.place, "")
        return CellState(cell, "there" if take else "refused" if refused else "waiting", take, problem=refused)

    # -- how it stands -------------------------------------------------------------------------------------------------

    @property
    def sweep(self) -> Sweep:
        """What is swept, as a value."""
        return self._record.sweep

    @property
    def cells(self) -> tuple[CellState, ...]:
        """How every cell stands, as they are ordered in the sweep."""
        return tuple(self._cells)

    @property
    def made(self) -> Mapping[int, str]:
        """The ids of the takes so far, by the place of their cell."""
        return {one.place: one.take for one in self._cells if one.take}

    @property
    def failed(self) -> tuple[CellState, ...]:
        """Cells that could not be made; the same call tries them again."""
        return tuple(one for one in self._cells if one.state == "failed")

    def take(self, place: int) -> Take:
        """The take of a cell; RecipeError where there is none (yet), LibraryError where it is gone."""
        cell = self._cells[checks.whole("The place of a cell", place, 0, len(self._cells) - 1)]
        if not cell.take:
            raise RecipeError(f"Cell {place} ({cell.cell.title}) has no take: it is {cell.state}.")
        found: Take = self._session.load(cell.take)
        return found

    def takes(self) -> Iterator[Take]:
        """The takes there are, one after another: so many sounds at once may not fit into memory."""
        for place in self.made:
            yield self.take(place)

    @property
    def remaining(self) -> float | None:
        """Seconds still to go, by its own pace; before its first cell, as the budget says."""
        if self.over:
            return 0.0
        return self.budget.seconds if self.pace.seconds is None else self.pace.left

    def _result(self) -> list[str]:
        return list(self.made.values())

    @property
    def doing(self) -> str:
        """What it is doing: it stands back in the queue while its own cells are rendered, and works all the same."""
        waits = self._state == "queued" and not self.held and not self.stopping
        return self._at_work() if waits and self._began is not None else super().doing

    def _at_work(self) -> str:
        if self._state not in (SWEEP, "queued"):
            return self._state
        return f"cell {min(self.pace.done + 1, self.pace.whole)} of {self.pace.whole}"

    def what_is_kept(self) -> str:
        """What there is of it so far, in a sentence."""
        return f"{len(self.made)} of {len(self._cells)} takes are kept; the same lab.sweep(…) goes on from there."

    def stopped(self) -> Stopped:
        """What to raise for a sweep that was asked to stop."""
        return Stopped(f"The sweep was stopped. {self.what_is_kept()}")

    # -- which is best -------------------------------------------------------------------------------------------------

    def measure(self, by: Measure) -> dict[int, float]:
        """A number for each take there is, by the place of its cell; what was measured before is not measured again.

        `by` is one of `MEASURES` or a function of a take. RecipeError for anything else.
        """
        name, ask = _measure(by)
        found = dict(self._record.measured.get(name, {})) if isinstance(by, str) else {}
        for place in self.made:
            if place not in found:
                value = ask(self._session, self.take(place))
                if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                    raise RecipeError(f"A measure of a take is a number, not {shown(value)}.")
                found[place] = float(value)
                if math.isfinite(found[place]):
                    self._record.measure(name, place, found[place])
        if isinstance(by, str):
            self._record.write()
        return {place: value for place, value in found.items() if place in self.made and math.isfinite(value)}

    def ranked(self, by: Measure, least: bool = False) -> list[tuple[CellState, float]]:
        """Cells with their measure, the best first: the highest, or with `least` the lowest."""
        measured = self.measure(by)
        order = sorted(measured, key=lambda place: (measured[place] if least else -measured[place], place))
        return [(self._cells[place], measured[place]) for place in order]

    def best(self, by: Measure, least: bool = False) -> Take:
        """The take with the highest measure, or the lowest; LabError where no take can be measured."""
        found = self.ranked(by, least)
        if not found:
            raise LabError("No take of this sweep has such a measure; wait until one is made.")
        return self.take(found[0][0].place)

    # -- as a table ----------------------------------------------------------------------------------------------------

    def to_records(self) -> list[dict[str, Any]]:
        """A row for each cell: its axes, how it stands, its take, and what was measured of it; for pandas.DataFrame."""
        measured = self._record.measured
        return [
            {"cell": one.place}
            | {name: axes.plain(value) for name, value in one.cell.values.items()}
            | {"state": one.state, "take": one.take, "seconds": one.seconds, "by": one.by, "problem": one.problem}
            | {name: rows.get(one.place) for name, rows in measured.items()}
            for one in self._cells
        ]

    def to_csv(self, path: Any) -> Path:
        """Write the table as CSV, and give its path; LibraryError where the disk refuses."""
        rows, text = self.to_records(), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{name: _in_csv(value) for name, value in row.items()} for row in rows])
        target = Path(checks.place("A table", path, LibraryError)).expanduser()
        return write_whole(target, lambda draft: draft.write_text(text.getvalue(), encoding="utf-8"), "The table")

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data."""
        return super().to_json() | {
            "sweep": self.sweep.to_json(), "name": self.sweep.full_name, "budget": self.budget.to_json(),
            "cells": [one.to_json() for one in self._cells],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """The table, where there are no widgets."""
        rows = self.to_records()
        shown_rows = [{name: "" if value is None else axes.label(value) for name, value in row.items()} for row in rows]
        head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in rows[0])
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in row.values())}</tr>" for row in shown_rows
        )
        lines = [f"{self.title}: {self.doing}", *self.messages, self.problem]
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
        return f"{text}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    # -- what who makes the takes tells --------------------------------------------------------------------------------

    def begin(self) -> None:
        """The work begins; Stopped where a stop was asked for."""
        self._since = time.monotonic()
        self.enter(SWEEP)

    def hear(self, news: News) -> None:
        """Something happened to a cell; of one that is done, the value is the id of its take."""
        if news.kind == "told" and "message" in news.value:
            self.message(str(news.value["message"]))
            return
        with self._guard:
            now = self._cells[news.place]
            if now.state in ENDED:
                return
            self._cells[news.place] = one = _changed(now, news)
            if one.state in ENDED:
                now_at = time.monotonic()
                self.pace.add(now_at - self._since)
                self._since = now_at
                self._add(one)
                self._measure(self.pace.done / max(1, self.pace.whole))
        self._emit("cell", one)
        if one.state in ENDED:
            self._emit("progress", self._fraction)


def _measure(by: Any) -> tuple[str, Callable[[Any, Take], float]]:
    """A measure's name, and what measures; RecipeError for what is none."""
    if isinstance(by, str) and by in MEASURES:
        return by, MEASURES[by]
    if not isinstance(by, str) and callable(by):
        return str(getattr(by, "__name__", "measure")).strip("<>"), lambda lab, take: by(take)
    raise RecipeError(f"A take is measured by one of {', '.join(MEASURES)}, or by a function of it, not {shown(by)}.")


def _changed(now: CellState, news: News) -> CellState:
    """A cell after something happened to it."""
    if news.kind == "begun":
        return replace(now, state="queued", by=news.by, step=0, steps=0, problem="")
    if news.kind == "told":
        said: dict[str, Any] = {name: news.value[name] for name in ("state", "step", "steps") if name in news.value}
        estimate = estimate_of(news.value)
        return replace(now, by=news.by, estimate=now.estimate if estimate is None else estimate, **said)
    if news.kind == "done":
        return replace(
            now, state="done", take=str(news.value), by=news.by or now.by, seconds=news.seconds, estimate=None
        )
    if news.kind == "failed":
        return replace(now, state="failed", problem=sentence(news.value), by=news.by or now.by)
    return replace(now, state="stopped", by=news.by or now.by)


def _in_csv(value: Any) -> Any:
    """A value in a cell of a table; text that a spreadsheet would take for a formula is told it is text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return f"'{value}"
    return "" if value is None else value if isinstance(value, str | int | float) else str(value)
