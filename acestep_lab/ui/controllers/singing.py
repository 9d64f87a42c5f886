"""Singing: the lyrics of the take in hand, found in time when somebody asks, shown under its waveforms."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from acestep_lab.audio.audio import Audio
from acestep_lab.jobs.aligning import kept_alignment
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.takes.take import Take
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.lyric_lane import LyricLane, Without, without

if TYPE_CHECKING:
    from acestep_lab.ui.studio import Studio

MOST_HELD = 50
"""Alignments of this page that are remembered besides those in the library, which may lie on another machine."""


class Singing(Controller):
    """Who finds lyrics for the player and the waveform."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio)
        self._found: OrderedDict[str, Alignment] = OrderedDict()
        self._busy: set[str] = set()

    def found(self, sound: Take | Audio) -> Alignment | tuple[()]:
        """The lyrics of a sound as they were found, by this page or another; () where nobody did."""
        kept = kept_alignment(self.backend.session.library, sound.id) if isinstance(sound, Take) else None
        return self._found.get(sound.id, ()) if kept is None else kept

    def without(self, sound: Take | Audio) -> Without:
        """Why nothing is known of a sound's lyrics, and what this page's session could do."""
        return without(sound, self.backend.session)

    @property
    def _lanes(self) -> tuple[LyricLane, ...]:
        return (self.studio.listening.player, self.studio.repainting.picker)

    def connect(self) -> None:
        for lane in self._lanes:
            connect(lane, align=partial(self._align, lane))

    def _align(self, asker: LyricLane, id: str) -> None:
        """Look for the words of the take in hand; a second click while somebody looks is none."""
        take = self.studio.selected
        if not isinstance(take, Take) or take.id != id or id in self._busy:
            return
        self._busy.add(id)
        self.in_background(asker, partial(self._find, take))

    def _find(self, take: Take) -> None:
        try:
            found = self.backend.session.align(self.backend.takes.to_remake(take, self.studio.owner))
        finally:
            self._busy.discard(take.id)
        self._found[take.id] = found
        if len(self._found) > MOST_HELD:
            self._found.popitem(last=False)
        if self.studio.selected is not None and self.studio.selected.id == take.id:
            for lane in self._lanes:
                lane.show_lyrics(found)
