"""Chords, piano roll and beats of a sound under its waveform. The browser half is `widgets/note_lane.js`.

Whoever shows the lane hands over what was heard; alone, it is our own ears in the mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.noting import tracker_for
from acestep_lab.listen.notes import Notes, listen_for_notes, pitch_name
from acestep_lab.listen.pitch import Note
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component
from acestep_lab.ui.messages import Id

SURE = 0.6
"""A chord that is less sure is drawn as unsure."""


class NoteLane(Component):
    """A component that shows what is played in the sound in hand."""

    _noted: Notes | None = None
    _noted_in: Take | Audio | None = None

    def _hold_notes(self, sound: Take | Audio, found: Notes | None) -> None:
        """Take up the notes of a sound that is shown from now on; None where nobody has listened yet."""
        self._noted_in, self._noted = sound, found

    def show_notes(self, found: Notes) -> None:
        """Show what was heard in the sound in hand, in place of what is shown."""
        self._noted = found
        self._send_notes()

    def _send_notes(self) -> None:
        if self._noted_in is not None:
            self.emit("notes", id=self._noted_in.id, **told(self._noted))

    def do_notes(self, id: Id) -> None:
        """Send the notes of the sound in hand."""
        if self._noted_in is not None and self._noted_in.id == id:
            self._send_notes()

    def do_midi(self, id: Id) -> None:
        """Send the notes of the sound in hand as a MIDI file."""
        if self._noted is None or self._noted_in is None or self._noted_in.id != id:
            raise RecipeError("There are no notes to save yet; press Show notes first.")
        self.emit("midi", self._noted.midi(), id=id, name=f"{id}.mid")


def notes_in_mix(sound: Take | Audio, stem: str | None = None) -> Notes:
    """What is played in a sound, heard here; RecipeError for a stem, which only a session can take out of it."""
    if stem:
        raise RecipeError("A stem is taken out of a sound by a session: WaveformPickerWidget(take, session=lab).")
    return listen_for_notes(tracks.audio_of(sound), beats=tracker_for(sound))


def told(found: Notes | None) -> dict[str, Any]:
    """What a browser half is told: rows of plain numbers and names, the lines in words, and what is to be said of them."""
    if found is None:
        return {"there": False}
    chords = [[one.start, one.end, one.name, one.sure >= SURE] for one in found.named_chords]
    lines = {name: [[one.start, one.end, one.pitch] for one in getattr(found, name)] for name in ("melody", "bass")}
    said = {f"{name}_span": _span(getattr(found, name)) for name in ("melody", "bass")}
    return {
        "there": True, "chords": chords, **lines, **said, "beats": list(found.beats), "bars": list(found.downbeats),
        "stem": found.stem, "remarks": list(found.remarks),
    }  # fmt: skip


def _span(notes: Sequence[Note]) -> list[str]:
    """The lowest and the highest note by their names."""
    pitches = [one.pitch for one in notes]
    return [pitch_name(min(pitches)), pitch_name(max(pitches))] if pitches else []
