"""Stem mixing: the take in hand taken apart into lanes, each filled when its stem exists; layers added beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError
from acestep_lab.jobs import stems
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.owned_library import MOST_SEARCHED
from acestep_lab.jobs.stems import KeptTakes, Stems
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extract, Lego, source_id
from acestep_lab.takes.take import Take
from acestep_lab.ui import stems_view, tracks
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.controllers.composing import refusals
from acestep_lab.ui.stems_view import RESIDUAL, Lane


class StemMixing(Controller):
    """The view of stems."""

    def build(self, made: Callable[..., Any]) -> None:
        self.stems = made(stems_view, "StemsView", url=self.studio.url)
        self._lock = threading.RLock()
        self._runs: dict[str, tuple[str, list[Lane]]] = {}
        """Run → the sound it is for, and the lanes it fills, in the order of its recipes."""
        self._found: dict[str, Take] = {}
        """Stems of the take in hand, by their names."""

    def connect(self) -> None:
        connect(self.stems, opened=self._look, extract=self._extract, layer=self._layer, halt=self._halt)

    def adopted(self, name: str, can: Capabilities) -> None:
        able = refusals(name, can)
        self.stems.known = list(can.vocabulary.stems)
        self.stems.cannot, self.stems.no_layers = able["Extract"] or "", able["Lego"] or ""

    def selected(self, sound: Take | Audio, title: str) -> None:
        """Another sound is taken apart; a stem or layer of the one in hand leaves its lanes as they are."""
        now = self.stems.source
        if now is not None and (sound.id == now.id or _mix_of(sound) == now.id):
            return
        with self._lock:
            self._found = {}
            self.stems.hold(sound)
            for run, (of, lanes) in self._runs.items():
                if of == sound.id:
                    self._lay(lanes, self.backend.jobs.find(run, self.studio.owner))
        if self.stems.opened:
            self._look()

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        if run is None or event is None or run.id not in self._runs:
            return
        if event.kind == "take":
            place, take = event.value
            with self._lock:
                of, lanes = self._runs.get(run.id, ("", []))
                if self._is_for(of):
                    self._fill(lanes[place].name, take)
        elif event.kind in ("progress", "step"):
            self.stems.progress = round(float(run.fraction), 2)

    def finished(self, run: AnyRun) -> None:
        with self._lock:
            of, _ = self._runs.pop(run.id, ("", []))
            if not of or not self._is_for(of):
                return
            self.stems.progress = 0.0
            if not any(self._is_for(other) for other, _ in self._runs.values()):
                self.stems.drop_unmade()
            if run.state != "done":
                self.stems.said = "Stopped. What was made stays." if run.state == "stopped" else run.problem

    # -- what is asked -------------------------------------------------------------------------------------------------

    def _kept_takes(self) -> KeptTakes:
        """This person's kept takes."""
        takes, owner = self.backend.takes, self.studio.owner
        return KeptTakes(lambda: takes.cards(owner, most=MOST_SEARCHED), self.studio.open)

    def _wanted(self, source: Take | Audio, names: Sequence[str]) -> stems.Wanted:
        """What is kept of the stems of a sound, by the checkpoint of this page, and what has to be made."""
        chosen = {} if self.studio.checkpoint is None else {"checkpoint": self.studio.checkpoint}
        lab: Any = self.backend.session
        with self.studio.client().acting():
            return stems.find(lab, source, names, self._kept_takes(), **chosen)

    def _look(self) -> None:
        """Lay out what is kept of the stems of the sound in hand."""
        source = self.stems.source
        if source is None or self.stems.cannot:
            return

        def work() -> None:
            kept = self._wanted(source, list(self.stems.known)).kept
            with self._lock:
                if self.stems.source is source:
                    for name, take in kept.items():
                        self._fill(name, take)

        self.in_background(self.stems, work)

    def _extract(self, stems: Sequence[str]) -> None:
        """Make the stems that are not kept yet, in one run."""
        source = self.stems.source
        assert source is not None
        if any(lane.audio is None for lane in self.stems.laid):
            raise LabError("Stems are being made already; wait for them, or stop them.")
        wanted = self._wanted(source, stems)
        with self._lock:
            self.stems.said = ""
            for name, take in wanted.kept.items():
                self._fill(name, take)
        if wanted.recipes:
            lanes = [Lane(name, "stem", name) for name in wanted.recipes]
            self._begin(source, list(wanted.recipes.values()), lanes, f"Stems of {tracks.title_of(source, 60)}")

    def _layer(self, stem: str, caption: str) -> None:
        """A new stem that fits the sound in hand, as a lane of its own."""
        source = self.stems.source
        assert source is not None
        words = {"caption": caption} if caption.strip() else {}
        recipe = self.backend.session.recipe_from(source, Lego(source, stem), **words)
        taken = {one.name for one in self.stems.laid}
        name = next(name for n in range(1, 100) if (name := f"{stem} layer {n}") not in taken)
        self._begin(source, [recipe], [Lane(name, "layer", stem)], f"{stem} for {tracks.title_of(source, 60)}")

    def _begin(self, source: Take | Audio, recipes: list[Recipe], lanes: list[Lane], title: str) -> None:
        """Start a run that fills lanes; what it made before they were there is put into them now."""
        run = self.studio.start(recipes, title=title)
        with self._lock:
            self._runs[run.id] = (source.id, lanes)
            self._lay(lanes, run)
        if run.over:
            self.finished(run)

    def _lay(self, lanes: Sequence[Lane], run: AnyRun | None) -> None:
        """The lanes of a run, with what it has made so far."""
        self.stems.lay(*lanes)
        for place, take in getattr(run, "made", {}).items():
            self._fill(lanes[place].name, take)

    def _is_for(self, id: str) -> bool:
        return self.stems.source is not None and self.stems.source.id == id

    def _halt(self) -> None:
        for id in [run for run, (of, _) in self._runs.items() if self._is_for(of)]:
            self.backend.jobs.stop(id, self.studio.owner)

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def _fill(self, name: str, take: Take) -> None:
        """A lane's sound exists: put it there at its level in the mix, and work out anew what is left."""
        source = self.stems.source
        if source is None:
            return
        stem = getattr(take.recipe.task, "stem", name)
        if isinstance(take.recipe.task, Extract):
            self._found[name] = take
            apart = Stems(source, self._found)
            lane = Lane(name, "stem", stem, take.id, apart.sound(name))
            self.stems.lay(lane, Lane(RESIDUAL, RESIDUAL, audio=apart.residual))  # together they are the mix
        else:
            self.stems.lay(Lane(name, "layer", stem, take.id, Stems(source, {name: take}).sound(name)))


def _mix_of(sound: Take | Audio) -> str:
    """The id of the mix that a stem or layer belongs to; "" for any other sound."""
    task = getattr(getattr(sound, "recipe", None), "task", None)
    return source_id(task.source) if isinstance(task, Extract | Lego) else ""
