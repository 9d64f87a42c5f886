"""Checkpoints: which one makes the music of this page, and what another would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.offered import OfferedCheckpoint, licence_note, offered
from acestep_lab.session_like import SessionLike
from acestep_lab.ui import checkpoint_switch
from acestep_lab.ui.checkpoint_switch import Choice
from acestep_lab.ui.controllers.base import Controller, connect


class Checkpoints(Controller):
    """The checkpoint switch."""

    catalog: Callable[[], Iterable[OfferedCheckpoint]] = staticmethod(offered)

    def build(self, made: Callable[..., Any]) -> None:
        self.switch = made(checkpoint_switch, "CheckpointSwitch")

    def connect(self) -> None:
        connect(self.switch, list=self._list, cost=self._show_cost, use=self._use)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.switch.set_current(name, licence_note(can.licence))

    def _list(self) -> None:
        """Fill the list: the host may use all that are here, everybody else those that are open."""
        known = (lambda: ()) if self.studio.owner else self.catalog
        self.in_background(self.switch, lambda: self.switch.offer(choices(self.backend.session, known())))

    def _show_cost(self, name: str) -> None:
        """Say what a checkpoint costs; of an open one it is in memory, or has its place there, already."""
        session = self.backend.session
        if name in session.checkpoints:
            self.switch.price(name, f"{name} is open already: nothing more is loaded.")
        else:
            self.in_background(self.switch, lambda: self.switch.price(name, str(session.cost(name))))

    def _use(self, name: str) -> None:
        """Another checkpoint: for everybody where the host says so, for this page's recipes alone where a visitor does."""
        session, owner = self.backend.session, self.studio.owner
        if owner:
            session.capabilities_of(name)  # CheckpointError where it is not open
            self.studio.adopt(None if name == session.name else name)
        else:
            self.in_background(self.switch, lambda: self.backend.use(name, owner))


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
