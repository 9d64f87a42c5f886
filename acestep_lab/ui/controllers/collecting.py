"""Collecting: the takes side by side, their names and marks, the bin, sweeps, and who came from whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, code_of, sentence
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui import gallery, take_tree
from acestep_lab.ui.controllers.base import Controller, connect, tell
from acestep_lab.ui.listed_takes import ListedTakes, more_like
from acestep_lab.ui.sweeps import Axis, Sweep, file_of


class Collecting(Controller):
    """The gallery and the tree of takes."""

    def build(self, made: Callable[..., Any]) -> None:
        self._listing = threading.RLock()
        self._forget: Callable[[], None] = lambda: None
        self._runs: list[tuple[RenderRun, Sequence[int]]] = []
        folder = getattr(self.backend.session.library, "folder", None)
        self._file = file_of(folder, self.studio.owner)
        self._sweep: Sweep | None = None
        self.gallery = made(gallery, "Gallery", open=self.studio.open, url=self.studio.url, waveforms=folder)
        self.tree = made(take_tree, "TakeTree")
        self.listing = ListedTakes(
            self.gallery, self.backend.takes, self.studio.owner, self.backend.session, self._listed
        )

    def connect(self) -> None:
        connect(
            self.gallery,
            mark=self._mark,
            bin=self.listing.bin,
            restore=self.listing.restore,
            analyze=self._analyze,
            select=self.studio.select,
            reuse=self.studio.reuse,
            search=lambda text: self.list(),
            more_like=self._more_like,
            complete_sweep=self._complete_sweep,
            differ=lambda takes: self.in_background(self.gallery, partial(self.listing.differ, takes)),
        )
        self.gallery.can_make = self.gallery.can_differ = True
        connect(self.tree, select=self._select)
        self._forget = self.backend.on_marked(self._heard_of)
        self._read_sweep()

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.gallery.selected = sound.id
        self._draw_tree()

    def refreshed(self) -> None:
        self.list()

    def title_of(self, sound: Take | Audio) -> str:
        """What this person calls a take or a recording."""
        return self.backend.takes.title(sound, self.studio.owner)

    def list(self) -> None:
        """Show the takes; a library that cannot be read says so on top. Read and shown in one, since several threads
        may list at once and an older reading must not be shown after a newer one.
        """
        takes, owner, top = self.backend.takes, self.studio.owner, self.studio.listening.top
        with self._listing:
            try:
                self.listing.list()
                top.banner = top.banner or damage(self.backend.session.library)
            except LabError as problem:
                top.banner = top.banner or sentence(problem)
            top.unsaved = len(takes.unsaved_of(owner))
            self._show_sweep()
            self._draw_tree()

    def _listed(self) -> None:
        """Something was written: list anew, here and on this person's other pages."""
        self.studio.list_takes()
        self.backend.marked(self.studio.owner, self)

    def _heard_of(self, owner: str, by: object) -> None:
        if owner == self.studio.owner and by is not self:
            self.studio.list_takes()

    def close(self) -> None:
        self._forget()

    def _mark(self, id: str, marks: dict[str, Any]) -> None:
        self.listing.mark(id, marks)
        if "title" in marks:
            called = self.backend.takes.titles(self.studio.owner).get(id, "")
            tell(self.studio.controllers, "renamed", id, called)

    def _more_like(self, take: Take) -> None:
        self.studio.start(more_like(take), title=f"More like {self.title_of(take)}")

    def _analyze(self, ids: Sequence[str]) -> None:
        """Measure takes one after another, and write down what was heard."""

        def work() -> None:
            for id in ids:
                self.listing.measure(id)

        self.in_background(self.gallery, work)

    # -- sweeps ----------------------------------------------------------------------------------------------------------

    def show_sweep(self, run: RenderRun, x: Axis, y: Axis | None, shape: tuple[int, int]) -> None:
        """Show the takes of a run as a grid of so many rows and columns over one or two fields, and remember it."""
        with self._listing:
            self._sweep = Sweep(x, y, [_with_ids(recipe) for recipe in run.recipes])
            self._runs = [(run, range(len(run.recipes)))]
            self._keep_sweep()
            self._show_sweep()

    def _complete_sweep(self) -> None:
        """Make what is missing in the grid, in one run."""
        with self._listing:
            if self._sweep is None or not self._sweep.missing or self._making:
                raise LabError("Nothing of the grid is missing that is not being made.")
            places = self._sweep.missing
            run = self.backend.start(
                [self._sweep.recipes[place] for place in places],
                owner=self.studio.owner,
                title=f"{len(places)} of a sweep over {self._sweep.x[0]}",
                address=self.studio.address,
            )
            self._runs.append((run, places))
        tell(self.studio.controllers, "started", run)
        self.list()

    @property
    def _making(self) -> bool:
        return any(not run.over for run, _ in self._runs)

    def _show_sweep(self) -> None:
        if self._sweep is None:
            return
        before = list(self._sweep.ids)
        for run, places in self._runs:
            for place, take in run.made.items():
                self._sweep.ids[places[place]] = take.id
        mine = {*self.backend.takes.ids(self.studio.owner), *self.backend.takes.binned(self.studio.owner)}
        self._sweep.ids = [id if id in mine else "" for id in self._sweep.ids]
        if self._sweep.ids != before:
            self._keep_sweep()
        self.gallery.sweep(self._sweep.x, self._sweep.y, self._sweep.cells(), self._making)

    def _keep_sweep(self) -> None:
        if self._sweep is not None and self._file is not None:
            try:
                self._sweep.write(self._file)
            except LabError as problem:
                self.gallery.show_error(sentence(problem), code=code_of(problem))

    def _read_sweep(self) -> None:
        """Take up the last sweep where it was left, by another page or another kernel."""
        try:
            self._sweep = None if self._file is None else Sweep.read(self._file)
        except LabError as problem:
            self.gallery.show_error(sentence(problem), code=code_of(problem))
            return
        wanted = [recipe.to_json() for recipe in self._sweep.recipes] if self._sweep else []
        for run in self.backend.jobs.waiting if wanted else ():
            if isinstance(run, RenderRun) and run.owner == self.studio.owner:
                asked = [_with_ids(recipe).to_json() for recipe in run.recipes]
                if asked and all(one in wanted for one in asked):
                    self._runs.append((run, [wanted.index(one) for one in asked]))

    # -- lineage ---------------------------------------------------------------------------------------------------------

    def _draw_tree(self) -> None:
        """The family of the take in hand, out of the library: what is searched for does not change it."""
        id = getattr(self.studio.selected, "id", "")
        try:
            family = self.backend.takes.family(id, self.studio.owner) if id else []
        except LabError:
            family = []  # the list says why the library cannot be read
        cards = {card["id"]: card for card in self.gallery.cards}
        self.tree.draw_family(family, id, {one: bool(card.get("star")) for one, card in cards.items()})

    def _select(self, id: str) -> None:
        """A relative was clicked: a take, or a recording that it came from."""
        sound = self.backend.source(id, self.studio.owner)
        self.studio.select(sound, self.title_of(sound))


def _with_ids(recipe: Recipe) -> Recipe:
    return recipe.replace(task=recipe.task.with_ids())


def damage(library: Library) -> str:
    """A sentence on takes that could not be read and are left out of the list; "" where there is none."""
    damaged = library.damaged
    if not damaged:
        return ""
    others = f" So are {len(damaged) - 1} others." if len(damaged) > 1 else ""
    return f"A take is left out of the list, since its file is damaged. {damaged[0]}{others}"
