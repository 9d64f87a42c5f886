"""Bringing in: sounds from files, kept under their names for whoever brought them, and selected; ours come back as takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.takes.take import Take
from acestep_lab.ui import sound_drop
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.sound_drop import Brought, MemoryRecordings


class OwnedRecordings:
    """One person's recordings in the library, and in memory those the disk refused."""

    def __init__(self, takes: OwnedLibrary, owner: str) -> None:
        self._takes, self._owner, self._unkept = takes, owner, MemoryRecordings()

    def put(self, sound: Audio, name: str) -> None:
        """Keep a recording; where the disk refuses it stays in memory, and the sentence is raised."""
        try:
            self._takes.keep_sound(sound, self._owner, name)
        except (LabError, OSError):
            self._unkept.put(sound, name)
            raise

    def rows(self) -> list[Brought]:
        """This person's recordings, the one brought last first."""
        takes, owner = self._takes, self._owner
        kept = [Brought(id, takes.sound_name(id, owner), takes.sound_seconds(id)) for id in takes.sounds(owner)]
        known = {one.id for one in kept}
        return [one for one in self._unkept.rows() if one.id not in known] + kept

    def open(self, id: str) -> Audio:
        """One of them; LabError for anybody else's."""
        return self._unkept.open(id) if self._is_unkept(id) else self._takes.sound(id, self._owner)

    def rename(self, id: str, name: str) -> None:
        """Call it otherwise."""
        if self._is_unkept(id):
            self._unkept.rename(id, name)
        else:
            self._takes.name_sound(id, self._owner, name)

    def forget(self, id: str) -> None:
        """Take it off this person's list."""
        if self._is_unkept(id):
            self._unkept.forget(id)
        else:
            self._takes.forget_sound(id, self._owner)

    def _is_unkept(self, id: str) -> bool:
        return any(one.id == id for one in self._unkept.rows())


class Bringing(Controller):
    """The place where sounds are dropped, and the list of those that were."""

    def build(self, made: Callable[..., Any]) -> None:
        store = OwnedRecordings(self.backend.takes, self.studio.owner)
        self.drop = made(sound_drop, "SoundDrop", store=store, url=self.studio.url)

    def connect(self) -> None:
        self.drop.anywhere = bool(self.studio.listening.top.page)
        connect(self.drop, sound=self._on_sound)

    def _on_sound(self, sound: Take | Audio, name: str) -> None:
        """A sound was brought in: a take of ours is kept, anything else is selected as it is."""
        if isinstance(sound, Take):
            sound = self.backend.takes.admit(sound)
        if isinstance(sound, Take) and not (sound.is_copy and self.backend.session.library.knows(sound.id)):
            self.studio.add(sound, made=False)
        else:
            self.studio.select(sound, title=name)
