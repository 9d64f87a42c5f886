"""Notes, chords and beats of takes and sounds: what is kept from before, where the result is kept. How they are heard is said in
`listen.notes`. Knows no engine: a stem is made by whoever is asked for notes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.jobs import annotating
from acestep_lab.jobs.stems import Stems
from acestep_lab.listen import beat_grid
from acestep_lab.listen.notes import Notes, listen_for_notes
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take

KIND = "notes"
METHOD = 1
"""Which version of the method heard what is kept; another one listens anew."""
WITHOUT_PITCH = ("drums", "percussion", "fx")
"""Stems that have no notes."""
MIX = ""


def pitched_stem(stem: object) -> str:
    """The stem whose line is listened to; RecipeError for one that is none or has no notes."""
    name = vocabulary.stem(stem)
    if name in WITHOUT_PITCH:
        raise RecipeError(f"{name} has no melody to write down; ask for 'vocals', 'bass' or another stem with a pitch.")
    return name


class Lab(Protocol):
    """What is asked of a session."""

    @property
    def library(self) -> Library: ...
    def sound(self, source: Any) -> Take | Audio: ...
    def stems(self, source: Any, which: Any = None) -> Stems: ...


def notes_for(lab: Lab, source: Any, stem: object, anew: bool) -> Notes:
    """What is played in a take or sound; a stem that is asked for is made once, and only where nothing is kept of it."""
    anew, name = checks.truth("anew", anew), MIX if stem is None else pitched_stem(stem)
    sound = lab.sound(source)
    known = None if anew else _known(lab.library, sound, name)
    if known is not None:
        return known
    alone = lab.stems(sound, [name])[name] if name else None
    return notes_of_sound(lab.library, sound, name, alone, anew)


def _known(library: Library, sound: Take | Audio, stem: str) -> Notes | None:
    return kept_notes(library, sound.id, stem, tracker_for(sound).name)


def tracker_for(sound: Take | Audio) -> beat_grid.BeatTracker:
    """Who hears the beats of a take or sound: told its tempo and meter, where they are known."""
    return beat_grid.tracker_of(*(known_tempo(sound) or ()))


def known_tempo(take: Take | Audio) -> tuple[float, int] | None:
    """Beats per minute and beats per bar (0: not known) that a take was made with; None where there is no tempo."""
    recipe, plan = getattr(take, "recipe", None), getattr(take, "plan", None)

    def found(name: str) -> Any:  # a recipe stands against its plan
        return getattr(recipe, name, None) or getattr(plan, name, None)

    bpm, signature = found("bpm"), found("timesignature")
    return (float(bpm), beat_grid.beats_per_bar(str(signature)) if signature else 0) if bpm else None


def notes_of_sound(library: Library, sound: Take | Audio, stem: str, alone: Take | Audio | None, anew: bool) -> Notes:
    """What is played in a take or sound; what was heard of a kept take before is not listened for again, and of two who ask for
    the same at once one listens.
    """
    with annotating.alone(library, KIND, sound.id):
        known = None if anew else _known(library, sound, stem)
        if known is not None:
            return known
        tracker = tracker_for(sound)
        apart = None if alone is None else _audio(alone)
        found = listen_for_notes(_audio(sound), stem=stem, alone=apart, beats=tracker)
        return _kept(library, sound, stem, found, tracker.name) if isinstance(sound, Take) else found


def kept_notes(library: Library, id: str, stem: str = MIX, beats_by: str | None = None) -> Notes | None:
    """What was heard in a take, or in a stem of it, and lies beside it; None where nothing does.

    `beats_by` is who must have heard the beats; None: whoever did.
    """
    entry = annotating.kept(library, id, KIND).get(stem)
    if not isinstance(entry, dict) or entry.get("method") != METHOD or beats_by not in (None, entry.get("beats_by")):
        return None
    return annotating.read(Notes.from_json, entry, KIND)


def _kept(library: Library, take: Take, stem: str, found: Notes, beats_by: str) -> Notes:
    """The notes, once they are beside their take and what was heard of its other stems."""
    entry = {"method": METHOD, "beats_by": beats_by, KIND: found.to_json()}
    said = annotating.keep(library, take.id, KIND, {**annotating.kept(library, take.id, KIND), stem: entry})
    return replace(found, remarks=(*found.remarks, *said))


def _audio(sound: Take | Audio) -> Audio:
    return sound.audio if isinstance(sound, Take) else sound
