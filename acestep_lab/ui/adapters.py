"""Adapters: LoRA and its kin on the music model, each with a strength and a switch. The browser half is `widgets/adapters.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from acestep_lab.errors import LabError
from acestep_lab.ui.adapter_list import STRENGTHS, Slot
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Line, text

Place = Annotated[str, text(1_000)]


class Adapters(Component):
    """The adapters that are here, with strength and switch; `show_slots` fills it.

    `host` offers to add, weigh and remove; anybody else may switch. Listeners: "add" (place), "switch" (name, on), "weigh"
    (name, strength), "remove" (name), "pair"::

        panel = AdaptersWidget()
        shared = AdapterList(lab)
        panel.show_slots(shared.slots)
        panel.on("add", lambda place: shared.add(place))
    """

    module = "adapters"
    fields: ClassVar[Mapping[str, object]] = {
        "rows": [], "host": True, "offered": True, "waits": False, "range": list(STRENGTHS), "pairs": True, "code": "",
    }  # fmt: skip

    offered: bool

    def setup(self, host: bool = True) -> None:
        """Begin with none; `host` may add some."""
        self.host = host

    def show_slots(self, slots: Sequence[Slot], waits: bool = False) -> None:
        """Show what is here; `waits` says that a change is put on after the run under way. Places are not shown."""
        self.rows = [{"name": slot.name, "strength": slot.strength, "on": slot.on} for slot in slots]
        self.waits = waits
        acting = ", ".join(f"({slot.name!r}, {slot.strength:g})" for slot in slots if slot.on)
        self.code = f"lab.lora({acting})" if slots else ""

    def do_add(self, place: Place) -> None:
        """Add an adapter by its file or folder on the machine that makes the music."""
        self.notify("add", place=place)

    def do_switch(self, name: Line, on: bool) -> None:
        """Switch one on or off."""
        self.notify("switch", name=name, on=on)

    def do_weigh(self, name: Line, strength: float) -> None:
        """Give one another strength."""
        self.notify("weigh", name=name, strength=strength)

    def do_remove(self, name: Line) -> None:
        """Take one off."""
        self.notify("remove", name=name)

    def do_pair(self) -> None:
        """Make the song of the form twice, with the adapters and without, to be compared."""
        if not self.rows:
            raise LabError("There is no adapter to compare with and without; add one first.")
        self.notify("pair")


AdaptersWidget, AdaptersPane = widget_and_pane(Adapters)
