"""Copies of the open engines on cards like the first one, each resident there, so that the takes of a run are spread.

Knows engines by their contract; no run. A copy is made when the first run is spread, and carries what is put on its original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.engines.base import Attaches, Engine, Twins
from acestep_lab.models.cards import tier_of
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.tiers import Machine, Tier

if TYPE_CHECKING:
    from acestep_lab.models.device_manager import DeviceManager

Managed = Callable[[Engine, MemoryPlan], "DeviceManager"]
"""Makes the device manager of a card, opened with one engine."""


class CardCopy:
    """One more card, and the engines that are open on it."""

    def __init__(self, card: Machine, tier: Tier, managed: Managed) -> None:
        self.card, self.tier, self._managed = card, tier_of(card, tier), managed
        self.devices: DeviceManager | None = None
        self._twins: dict[str, tuple[Engine, Engine]] = {}  # by name: the original and its twin here

    def twin(self, engine: Engine) -> Engine:
        """The copy of an engine on this card, opened where it is not yet, with the original's adapters."""
        assert isinstance(engine, Twins)
        known = self._twins.get(engine.name)
        if known is not None and known[0] is not engine:  # it was opened anew, with another planner
            self.free()
            self._twins.clear()
            self.devices = known = None
        twin = self._opened(engine, engine.twin()) if known is None else known[1]
        if isinstance(engine, Attaches) and isinstance(twin, Attaches) and list(twin.attached) != list(engine.attached):
            twin.attach(engine.attached)
        return twin

    def _opened(self, engine: Engine, twin: Engine) -> Engine:
        longest, specs = twin.capabilities.seconds[1], twin.component_specs()
        if self.devices is None:
            plan = budget(self.card, specs, passes=twin.passes, tier=self.tier, longest=longest)
            self.devices = self._managed(twin, plan)
        else:
            self.devices.add(twin.name, specs, twin.build, passes=twin.passes, longest=longest)
        twin.connect(self.devices.of(twin.name))
        self._twins[engine.name] = (engine, twin)
        return twin

    def holds(self, engine: Engine) -> bool:
        """Whether an engine is a copy on this card."""
        return any(engine is twin for _, twin in self._twins.values())

    def free(self) -> None:
        """Give back the memory of all that is on this card."""
        if self.devices is not None:
            self.devices.free()


def copies_on(cards: Sequence[Machine], tier: Tier, managed: Managed) -> tuple[CardCopy, ...]:
    """A place for copies on each of these cards; nothing is opened yet."""
    return tuple(CardCopy(card, tier, managed) for card in cards)


def can_be_copied(engine: Any) -> bool:
    """Whether several of an engine may be at work at once."""
    return isinstance(engine, Twins)
