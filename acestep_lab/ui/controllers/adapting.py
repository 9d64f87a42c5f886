"""Adapting: the adapters on the music model, which act for everybody; and the same song with them and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.ui import adapters
from acestep_lab.ui.controllers.base import Controller, connect, start_thread

AXIS = ("adapters", ("with", "without"))
"""What the two takes of a pair differ in."""


class Adapting(Controller):
    """The panel of adapters."""

    _pair: tuple[RenderRun, RenderRun] | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.adapters = made(adapters, "Adapters", host=not self.studio.owner)

    def connect(self) -> None:
        shared, owner = self.backend.adapters, self.studio.owner
        connect(
            self.adapters,
            add=lambda place: shared.add(place, owner, self._start),
            switch=lambda name, on: shared.switch(name, on, self._start),
            weigh=lambda name, strength: shared.weigh(name, strength, owner, self._start),
            remove=lambda name: shared.remove(name, owner, self._start),
            pair=self._make_pair,
        )
        self._stop_listening = shared.listen(self._show)
        self._show()

    def adopted(self, name: str, can: Capabilities) -> None:
        in_use = self.studio.checkpoint in (None, self.backend.session.name)
        self.adapters.offered = can.attaches and in_use
        self._show()

    def refreshed(self) -> None:
        self._show()

    def close(self) -> None:
        self._stop_listening()

    def _start(self, work: Callable[[], None]) -> None:
        """Put a change on; between two runs, so that it may take a while."""
        start_thread(self.adapters, work)

    def _show(self) -> None:
        self.adapters.show_slots(self.backend.adapters.slots, self.backend.adapters.waits)

    # -- with and without ----------------------------------------------------------------------------------------------

    def _make_pair(self) -> None:
        """Two runs of one recipe and seed: with the adapters that are on (all, where none is), and with the bare model."""
        prompt = self.studio.prompt
        try:
            prompt.resolve_seed()
            recipe = prompt.recipe()
        except RecipeError as problem:
            self.adapters.show_error(str(problem))
            return
        names = " + ".join(slot.name for slot in self.backend.adapters.slots if slot.on) or "adapters"
        words = recipe.caption or recipe.lyrics
        chosen = self.backend.adapters.wanted()
        first = self.studio.start(recipe, title=f"{words} (with {names})", adapters=chosen)
        self._pair = first, self.studio.start(recipe, title=f"{words} (without {names})", adapters=[])

    def finished(self, run: AnyRun) -> None:
        if self._pair is None or run not in self._pair or not all(one.over for one in self._pair):
            return
        ids = [next((take.id for take in one.made.values()), "") for one in self._pair]
        self._pair = None
        if all(ids):
            self.studio.gallery.sweep(AXIS, None, [ids])
