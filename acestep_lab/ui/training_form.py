"""TrainingForm: what to learn from, how, and what that would take. The browser half is `widgets/training_form.js`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Line, Name, Typed

WHICH = ("hand", "listed", "starred")
"""Takes that can be learnt from: the one in hand, those that are listed, those with a star."""


class TrainingForm(Component):
    """The first card of the Train tab: takes or a folder, a few settings, the dry run's words, and Train.

    Listeners: "folder" (path), "takes" (which), "clear" (), "label" (), "halt" (), "setting" (field, value), "foretell" (),
    "train" (), "opened" (on).

    ::

        TrainingFormWidget(session=lab)
        form = TrainingFormWidget(standalone=True)
        form.on("train", lambda: print(form.songs))
    """

    offered: bool
    opened: bool
    songs: dict[str, Any]
    settings: list[Any]
    plan: dict[str, Any]
    busy: str
    labelling: dict[str, Any]
    module = "training_form"
    fields: ClassVar[Mapping[str, object]] = {
        "offered": False, "opened": False, "songs": {}, "settings": [], "plan": {}, "busy": "", "labelling": {},
    }  # fmt: skip
    news = Component.news | {"opened"}

    def setup(self, *, standalone: bool = False) -> None:
        self.opened = standalone

    def do_open(self, on: bool) -> None:
        """Open the tab's cards, or fold them to a line."""
        self.opened = on
        self.notify("opened", on=on)

    def do_folder(self, path: Line) -> None:
        """Learn from a folder or table of songs on this machine, beside what is in the table."""
        self._may()
        if not path.strip():
            raise RecipeError("Write where the songs lie on this machine: a folder, or a table that names them.")
        self.notify("folder", path=path.strip())

    def do_takes(self, which: Name) -> None:
        """Learn from takes, beside what is in the table."""
        self._may()
        if which not in WHICH:
            raise RecipeError(f"{shown(which)} is no choice of takes.")
        self.notify("takes", which=which)

    def do_clear(self) -> None:
        """Begin again with an empty table."""
        self._may()
        self.notify("clear")

    def do_label(self) -> None:
        """Listen to the songs for what nobody wrote: tempo, key, meter, instruments; a caption, where there is a planner."""
        self._may()
        self.notify("label")

    def do_halt(self) -> None:
        """Stop the listening; what was heard is kept."""
        self.notify("halt")

    def do_setting(self, field: Name, value: Typed = None) -> None:
        """Set one of the settings; nothing means what is usual."""
        self.notify("setting", field=field, value=value)

    def do_foretell(self) -> None:
        """Say what the training would take, before it begins."""
        self._may()
        self.notify("foretell")

    def do_train(self) -> None:
        """Begin the training."""
        self._may()
        self.notify("train")

    def _may(self) -> None:
        if not self.offered:
            raise LabError(
                "Nothing can be trained on this page: training is the host's, with a checkpoint that learns."
            )
        if self.busy:
            raise LabError("One moment: what was asked for last is still being done.")


TrainingFormWidget, TrainingFormPane = widget_and_pane(TrainingForm)
