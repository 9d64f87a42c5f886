"""Exporting: takes of this page as files for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.takes.take import Take
from acestep_lab.ui import export
from acestep_lab.ui.controllers.base import Controller


class Exporting(Controller):
    """The export dialog; alone, in a cell, it follows the take in hand."""

    def build(self, made: Callable[..., Any]) -> None:
        self.export = made(export, "Export", find=self._find, lyrics=self.studio.singing.found, standalone=False)

    def selected(self, sound: Take | Audio, title: str) -> None:
        if self.export.inline:
            self.export.load([sound])

    def _find(self, id: str) -> Take | Audio:
        """The sound in hand, or one of this person's takes; LibraryError where there is none."""
        now = self.studio.selected
        return now if now is not None and now.id == id else self.backend.source(id, self.studio.owner)
