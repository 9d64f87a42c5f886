"""CheckpointSwitch: which checkpoint and planner make the music, and what others would cost. The browser half is
`widgets/checkpoint.js`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from acestep_lab.errors import LabError, shown
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Name


@dataclass(frozen=True)
class Choice:
    """A checkpoint in the list."""

    name: str
    family: str = ""
    note: str = ""
    """What its licence asks, as a sentence; "" where it asks nothing."""
    is_open: bool = False
    missing: str = ""
    """Why it cannot be chosen, and what would help; "" where it can."""


@dataclass(frozen=True)
class PlannerChoice:
    """A planner that the chosen checkpoint can be used with."""

    name: str
    note: str = ""
    missing: str = ""
    """Why it cannot be chosen; "" where it can."""


class CheckpointSwitch(Component):
    """The checkpoint in use, its licence, and a list of others; one is chosen, with a planner if there are several, read about,
    and then used.

    `set_current`, `offer` and `offer_planners` fill it, `price` says what the chosen one costs; nothing is used whose price was
    not shown. Listeners: "list", "cost" (name, and lm for another planner than its own), "use" (the same)::

        switch = CheckpointSwitchWidget()
        switch.set_current("pocket")
        switch.on("list", lambda: switch.offer([Choice("pocket", is_open=True), Choice("base")]))
        switch.on("cost", lambda name, lm=None: switch.price(name, str(lab.cost(name, lm)), lm))
        switch.on("use", lambda name, lm=None: lab.use(name, lm))
    """

    module = "checkpoint"
    fields: ClassVar[Mapping[str, object]] = {
        "current": "", "note": "", "choices": [], "chosen": "", "planners": [], "planner": "", "cost": "", "busy": False,
        "plans": "",
    }  # fmt: skip

    current: str
    chosen: str
    planner: str
    cost: str
    busy: bool

    def setup(self) -> None:
        """Begin with an empty list; it is asked for once somebody opens it."""
        self._choices: dict[str, Choice] = {}
        self._planners: dict[str, PlannerChoice] = {}

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def set_current(self, current: str, note: str = "", plans: str = "") -> None:
        """Say which checkpoint makes the music from now on, what its licence asks, and why nobody plans for it."""
        used = bool(self.chosen)
        self.current, self.note, self.plans = current, note, plans
        self.chosen, self.cost, self.busy, self.planner = "", "", False, ""
        self.offer_planners("", ())
        if used:
            self.emit("used", name=current)

    def offer(self, choices: Sequence[Choice]) -> None:
        """Fill the list."""
        self._choices = {choice.name: choice for choice in choices}
        self.choices = [asdict(choice) for choice in choices]

    def offer_planners(self, name: str, planners: Sequence[PlannerChoice]) -> None:
        """Say which planners the chosen checkpoint can be used with, besides its own."""
        if name == self.chosen:
            self._planners = {one.name: one for one in planners}
            self.planners = [asdict(one) for one in planners]

    def price(self, name: str, sentence: str, lm: str | None = None) -> None:
        """Say what the chosen checkpoint costs; a price that comes late, for another, is not shown."""
        if (name, lm or "") == (self.chosen, self.planner):
            self.cost, self.busy = sentence, False

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_list(self) -> None:
        """Somebody opened the list."""
        self.notify("list")

    def do_choose(self, name: Name) -> None:
        """Read about a checkpoint before it is used."""
        choice = self._choices.get(name)
        if choice is None:
            raise LabError(f"There is no checkpoint {shown(name, 60)} in the list.")
        if choice.missing:
            raise LabError(choice.missing)
        self.chosen, self.planner = name, ""
        self.offer_planners(name, ())
        self._ask_price()

    def do_choose_planner(self, name: Name = "") -> None:
        """Read about the chosen checkpoint with another planner; "" is its own."""
        if not self.chosen:
            raise LabError("Choose a checkpoint first, then its planner.")
        if name and name not in self._planners:
            raise LabError(f"There is no planner {shown(name, 60)} for {self.chosen}.")
        if name and self._planners[name].missing:
            raise LabError(self._planners[name].missing)
        self.planner = name
        self._ask_price()

    def do_use(self) -> None:
        """Use the checkpoint that was chosen and whose price was read."""
        if not self.chosen or not self.cost:
            raise LabError("Choose a checkpoint first, and read what it costs.")
        self.busy = True
        self.notify("use", name=self.chosen, **self._lm())

    def _ask_price(self) -> None:
        self.cost, self.busy = "", True
        self.notify("cost", name=self.chosen, **self._lm())

    def _lm(self) -> dict[str, Any]:
        """The planner, where it is another than the checkpoint's own."""
        return {"lm": self.planner} if self.planner else {}

    def show_error(self, text: str, field: str = "", code: str = "") -> None:
        """Show a sentence; nothing is waited for any more."""
        self.busy = False
        super().show_error(text, field, code)


CheckpointSwitchWidget, CheckpointSwitchPane = widget_and_pane(CheckpointSwitch)
