"""CheckpointSwitch: which checkpoint makes the music, and what another would cost. The browser half is
`widgets/checkpoint.js`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

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


class CheckpointSwitch(Component):
    """The checkpoint in use, its licence, and a list of others; one is chosen, read about, and then used.

    `set_current` and `offer` fill it, `price` says what the chosen one costs; nothing is used whose price was not shown. Listeners:
    "list", "cost" (name), "use" (name)::

        switch = CheckpointSwitchWidget()
        switch.set_current("pocket")
        switch.on("list", lambda: switch.offer([Choice("pocket", is_open=True), Choice("base")]))
        switch.on("cost", lambda name: switch.price(name, str(lab.cost(name))))
        switch.on("use", lambda name: lab.use(name))
    """

    module = "checkpoint"
    fields: ClassVar[Mapping[str, object]] = {
        "current": "",
        "note": "",
        "choices": [],
        "chosen": "",
        "cost": "",
        "busy": False,
    }

    current: str
    chosen: str
    cost: str
    busy: bool

    def setup(self) -> None:
        """Begin with an empty list; it is asked for once somebody opens it."""
        self._choices: dict[str, Choice] = {}

    # -- what Python asks ----------------------------------------------------------------------------------------------

    def set_current(self, current: str, note: str = "") -> None:
        """Say which checkpoint makes the music from now on, and what its licence asks."""
        self.current, self.note = current, note
        self.chosen, self.cost, self.busy = "", "", False

    def offer(self, choices: Sequence[Choice]) -> None:
        """Fill the list."""
        self._choices = {choice.name: choice for choice in choices}
        self.choices = [asdict(choice) for choice in choices]

    def price(self, name: str, sentence: str) -> None:
        """Say what the chosen checkpoint costs; a price that comes late, for another, is not shown."""
        if name == self.chosen:
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
        self.chosen, self.cost, self.busy = name, "", True
        self.notify("cost", name=name)

    def do_use(self) -> None:
        """Use the checkpoint that was chosen and whose price was read."""
        if not self.chosen or not self.cost:
            raise LabError("Choose a checkpoint first, and read what it costs.")
        self.notify("use", name=self.chosen)

    def show_error(self, text: str, field: str = "") -> None:
        """Show a sentence; nothing is waited for any more."""
        self.busy = False
        super().show_error(text, field)


CheckpointSwitchWidget, CheckpointSwitchPane = widget_and_pane(CheckpointSwitch)
