"""Collecting: the takes side by side, their marks, the bin, and who came from whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, sentence
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui import gallery, take_tree
from acestep_lab.ui.controllers.base import Controller, connect

Axis = tuple[str, Sequence[object]]
"""A field that a sweep goes over, and its values."""


class Collecting(Controller):
    """The gallery and the tree of takes."""

    def build(self, made: Callable[..., Any]) -> None:
        self._listing = threading.RLock()
        self._sweep: tuple[RenderRun, Axis, Axis | None, tuple[int, int]] | None = None
        self.gallery = made(gallery, "Gallery", open=self.studio.open, url=self.studio.url)
        self.tree = made(take_tree, "TakeTree")

    def connect(self) -> None:
        connect(
            self.gallery,
            mark=self._mark,
            bin=self._bin,
            restore=self._restore,
            analyze=self._analyze,
            select=self.studio.select,
            reuse=self.studio.reuse,
            search=lambda text: self.list(),
        )
        connect(self.tree, select=lambda id: self.studio.select(self.studio.open(id)))

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.gallery.selected = sound.id
        self._draw_tree()

    def refreshed(self) -> None:
        self.list()

    def list(self) -> None:
        """Show the takes; a library that cannot be read says so on top. Read and shown in one, since several threads
        may list at once and an older reading must not be shown after a newer one.
        """
        takes, owner, top = self.backend.takes, self.studio.owner, self.studio.listening.top
        with self._listing:
            try:
                self.gallery.show_cards(self.backend.cards(owner, self.gallery.query), takes.unsaved_of(owner))
                self.gallery.trashed = len(takes.binned(owner))
                top.banner = top.banner or damage(self.backend.session.library)
            except LabError as problem:
                top.banner = top.banner or sentence(problem)
            top.unsaved = len(takes.unsaved_of(owner))
            self._show_sweep()
            self._draw_tree()

    def show_sweep(self, run: RenderRun, x: Axis, y: Axis | None, shape: tuple[int, int]) -> None:
        """Show the takes of a run as a grid of so many rows and columns over one or two fields."""
        self._sweep = (run, x, y, shape)
        self._show_sweep()

    def _show_sweep(self) -> None:
        if self._sweep is not None:
            run, x, y, (rows, columns) = self._sweep
            made = run.made
            ids = [made[place].id if place in made else "" for place in range(rows * columns)]
            self.gallery.sweep(x, y, [ids[row * columns : (row + 1) * columns] for row in range(rows)])

    def _draw_tree(self) -> None:
        self.tree.draw(self.gallery.cards, getattr(self.studio.selected, "id", ""))

    def _mark(self, id: str, marks: dict[str, object]) -> None:
        self.backend.takes.mark(id, self.studio.owner, **marks)
        self._draw_tree()

    def _bin(self, ids: Sequence[str]) -> None:
        self.backend.takes.bin(list(ids), self.studio.owner)
        self.studio.list_takes()

    def _restore(self) -> None:
        self.backend.takes.restore(self.studio.owner)
        self.studio.list_takes()

    def _analyze(self, ids: Sequence[str]) -> None:
        """Measure tempo, key and loudness of takes, one after another, and write them down as scores."""

        def work() -> None:
            for id in ids:
                found = scores_of(self.backend.session, self.studio.open(id))
                self.backend.takes.mark(id, self.studio.owner, scores=found)
                self.studio.list_takes()

        self.in_background(self.gallery, work)


def damage(library: Library) -> str:
    """A sentence on takes that could not be read and are left out of the list; "" where there is none."""
    damaged = library.damaged
    if not damaged:
        return ""
    others = f" So are {len(damaged) - 1} others." if len(damaged) > 1 else ""
    return f"A take is left out of the list, since its file is damaged. {damaged[0]}{others}"


def scores_of(session: SessionLike, take: Take) -> dict[str, float]:
    """What can be measured in a take, and how well it agrees with its words where there is a planner."""
    analysis = session.analyze(take)
    scores = {
        "tempo": analysis.bpm,
        "pulse": analysis.pulse,
        "key": analysis.key_confidence,
        "loudness": analysis.loudness,
    }
    return scores | ({"agreement": session.plan_score(take).total} if session.has_planner else {})
