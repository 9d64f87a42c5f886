"""Bringing in: sounds from files, kept as takes where they are ours, and selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.takes.take import Take
from acestep_lab.ui import sound_drop
from acestep_lab.ui.controllers.base import Controller, connect


class Bringing(Controller):
    """The place where sounds are dropped."""

    def build(self, made: Callable[..., Any]) -> None:
        self.drop = made(sound_drop, "SoundDrop")

    def connect(self) -> None:
        connect(self.drop, sound=self._on_sound)

    def _on_sound(self, sound: Take | Audio, name: str) -> None:
        """A sound was brought in: a take of ours is kept, anything else is selected as it is."""
        if isinstance(sound, Take):
            sound = self.backend.takes.admit(sound)
        if isinstance(sound, Take) and not (sound.is_copy and self.backend.session.library.knows(sound.id)):
            self.studio.add(sound, made=False)
        else:
            self.studio.select(sound, title=name)
