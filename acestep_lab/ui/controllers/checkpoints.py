"""Checkpoints: which one makes the music of this page, and what another would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.offered import OfferedCheckpoint, OfferedPlanner, licence_note, offered, offered_planners
from acestep_lab.session_like import SessionLike
from acestep_lab.ui import checkpoint_switch
from acestep_lab.ui.checkpoint_switch import Choice, PlannerChoice
from acestep_lab.ui.controllers.base import Controller, connect


class Checkpoints(Controller):
    """The checkpoint switch."""

    catalog: Callable[[], Iterable[OfferedCheckpoint]] = staticmethod(offered)
    planners: Callable[[str], Iterable[OfferedPlanner]] = staticmethod(offered_planners)

    def build(self, made: Callable[..., Any]) -> None:
        self.switch = made(checkpoint_switch, "CheckpointSwitch")

    def connect(self) -> None:
        connect(self.switch, list=self._list, cost=self._show_cost, use=self._use)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.switch.set_current(name, licence_note(can.licence), why_no_planner(can, self.studio.plans))

    def _list(self) -> None:
        """Fill the list: the host may use all that are here, everybody else those that are open."""
        known = (lambda: ()) if self.studio.owner else self.catalog
        self.in_background(self.switch, lambda: self.switch.offer(choices(self.backend.session, known())))

    def _show_cost(self, name: str, lm: str | None = None) -> None:
        """Say what a checkpoint costs, and what leaves memory for it; the host is told which planners it may have."""
        session = self.backend.session

        def work() -> None:
            self.switch.price(name, str(session.cost(name) if lm is None else session.cost(name, lm)), lm)
            if lm is None and not self.studio.owner:
                found = [PlannerChoice(one.name, one.note, one.missing) for one in self.planners(name)]
                self.switch.offer_planners(name, found)

        self.in_background(self.switch, work)

    def _use(self, name: str, lm: str | None = None) -> None:
        """Another checkpoint: for everybody where the host says so, for this page's recipes alone where a visitor does."""
        session, owner = self.backend.session, self.studio.owner
        if owner:
            session.capabilities_of(name)  # CheckpointError where it is not open
            self.studio.adopt(None if name == session.name else name)
        else:
            self.in_background(self.switch, lambda: self.backend.use(name, owner, lm))


def why_no_planner(can: Capabilities, plans: bool) -> str:
    """Why nobody plans for a checkpoint, as a sentence; "" where somebody does."""
    if plans:
        return ""
    if can.plans:
        return "This machine has no room for its planner; the music is made straight from the words."
    return "It has no planner; the music is made straight from the words."


def choices(session: SessionLike, catalog: Iterable[OfferedCheckpoint]) -> list[Choice]:
    """What the switch lists: what is open, then the catalog's others, those that are not on this machine last."""
    open_ones = {
        name: Choice(name, can.family, licence_note(can.licence), is_open=True)
        for name in session.checkpoints
        for can in [session.capabilities_of(name)]
    }
    others = [
        Choice(one.name, one.family, licence_note(one.licence), missing=one.missing)
        for one in catalog
        if one.name not in open_ones
    ]
    return [*open_ones.values(), *sorted(others, key=lambda choice: bool(choice.missing))]
