"""What is played: melody, bass, chords, beats, as values; to plain data and back, and to a MIDI file. Knows no engine.

`listen_for_notes` hears all of it in a sound. The melody may be listened to in another sound than the rest, a stem of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, shown
from acestep_lab.files import write_whole
from acestep_lab.listen import midi
from acestep_lab.listen.beat_grid import BeatGrid, BeatTracker, OwnBeats
from acestep_lab.listen.chords import ChordSpan, chord_spans
from acestep_lab.listen.key import TONICS
from acestep_lab.listen.pitch import QUIET, HarmonicSum, Note, PitchTracker, SwiftPitch, listened, notes_of
from acestep_lab.prompt import checks

MOST = 100_000
"""Notes, chords or beats that plain data may have."""
NO_SOUND = "This sound is silent: there are no notes, chords or beats in it."
NO_BEAT = "No beat is heard clearly, so that there are no bars."
NO_PITCH = "No pitch is heard clearly: no melody, no bass and no chord."
IN_A_MIX = "The melody was picked out of the mix, where others play over it; in a stem alone, such as vocals, it is heard better."
NO_EXTRA = (
    "One voice alone is followed better by swift-f0: pip install 'acestep_lab[melody]'; our own ears listened instead."
)


@dataclass(frozen=True, repr=False)
class Notes:
    """Melody, bass, chords and beats of a sound. Prints as a table; `to_midi` writes a file for other programs."""

    seconds: float
    melody: tuple[Note, ...] = ()
    bass: tuple[Note, ...] = ()
    chords: tuple[ChordSpan, ...] = ()
    """From start to end without a gap; "N" where none is heard."""
    beats: tuple[float, ...] = ()
    """Seconds; none where no beat is heard."""
    downbeats: tuple[float, ...] = ()
    """First beats of bars, in seconds."""
    bpm: float | None = None
    beats_per_bar: int = 4
    stem: str = ""
    """The stem in which melody, or bass, was listened to; "" for the mix."""
    heard_by: tuple[str, ...] = ()
    """Who listened: for the melody, the bass, the beats."""
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        beat = f"{self.bpm:g} bpm" if self.bpm else "no beat"
        return (
            f"<Notes: {len(self.melody)} of the melody, {len(self.bass)} of the bass, {len(self.named_chords)} chords, "
            f"{beat}, {self.seconds:.1f} s>"
        )

    def __str__(self) -> str:
        chords = "  ".join(f"{_clock(one.start)} {one.name}" for one in self.named_chords)
        lines = [f"{name}: {_line(getattr(self, name))}" for name in ("melody", "bass") if getattr(self, name)]
        return "\n".join([repr(self), *([f"chords: {chords}"] if chords else []), *lines, *self.remarks])

    @property
    def named_chords(self) -> tuple[ChordSpan, ...]:
        """The chords that are heard, without the stretches in which none is."""
        return tuple(one for one in self.chords if one.name != "N")

    def chord_at(self, seconds: float) -> str:
        """The chord at a time in seconds, "N" where none is heard."""
        return next((one.name for one in self.chords if one.start <= seconds < one.end), "N")

    def midi(self) -> bytes:
        """As a Standard MIDI File: melody, bass and chords on tracks of their own, bars where they are heard."""
        chords = [note for one in self.named_chords for note in _chord_notes(one)]
        tracks = {"Melody": self.melody, "Bass": self.bass, "Chords": chords}
        words = [(one.start, one.name) for one in self.named_chords]
        return midi.midi_file(tracks, words, self.beats, self.downbeats, self.beats_per_bar, self.bpm)

    def to_midi(self, path: str | os.PathLike[str]) -> Path:
        """Write the MIDI file, and return where it is; RecipeError for a path that does not end in .mid."""
        target = Path(checks.place("A MIDI file", path))
        if target.suffix.lower() not in (".mid", ".midi"):
            raise RecipeError(f"A MIDI file ends in .mid, which {shown(target.name)} does not.")
        write_whole(target, lambda draft: draft.write_bytes(self.midi()))
        return target

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = {name: [_note_row(one) for one in getattr(self, name)] for name in ("melody", "bass")}
        plain = {name: list(getattr(self, name)) for name in ("beats", "downbeats", "heard_by", "remarks")}
        chords = [[one.start, one.end, one.name, round(one.sure, 3)] for one in self.chords]
        numbers = {name: getattr(self, name) for name in ("seconds", "bpm", "beats_per_bar", "stem")}
        return {**numbers, **rows, **plain, "chords": chords}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Out of plain data; RecipeError for what is none."""
        given = checks.mapping("Notes", data)
        checks.known_fields("Notes", given, _READERS)
        missing = sorted(set(_READERS) - set(given))
        if missing:
            raise RecipeError(f"Notes need {', '.join(missing)}.")
        return cls(**{name: read(given[name]) for name, read in _READERS.items()})


def listen_for_notes(
    sound: Audio, *, stem: str = "", alone: Audio | None = None, beats: BeatTracker | None = None,
    voice: PitchTracker | None = None,
) -> Notes:  # fmt: skip
    """Everything that is played in a sound. `alone` is a stem of it, called `stem`: its melody (of "bass", its bass) counts.

    `beats` and `voice` are who hears beats and one voice alone; None: our own ears, and swift-f0 where it is installed.
    """
    mix, line = listened(sound), None if alone is None else listened(alone)
    if float(np.abs(mix.samples).max(initial=0.0)) < QUIET:
        return Notes(sound.seconds, stem=stem, remarks=(NO_SOUND,))
    melody, who, said = _melody(mix, None if stem == "bass" else line, voice)
    bass = notes_of(line if stem == "bass" and line else mix, HarmonicSum("bass"), "bass")
    tracker = beats or OwnBeats()
    grid, chords = tracker.grid(mix), chord_spans(mix)
    pitched = any(one.name != "N" for one in chords)
    if line is None and not pitched:
        melody, bass, said = (), (), (NO_PITCH,)
    remarks = said if grid.beats else (*said, NO_BEAT)
    heard_by = (who, HarmonicSum.name, tracker.name)
    return _notes(sound.seconds, melody, bass, chords, grid, stem, heard_by, remarks)


def _melody(
    mix: Audio, alone: Audio | None, voice: PitchTracker | None
) -> tuple[tuple[Note, ...], str, tuple[str, ...]]:
    """The melody, who heard it, and what is to be said of that: a network for one voice does not listen to a mix."""
    if alone is None:
        return notes_of(mix, HarmonicSum()), HarmonicSum.name, (IN_A_MIX,)
    tracker = voice or SwiftPitch.found()
    if tracker is None:
        return notes_of(alone, HarmonicSum()), HarmonicSum.name, (NO_EXTRA,)
    return notes_of(alone, tracker), tracker.name, ()


def _notes(
    seconds: float, melody: tuple[Note, ...], bass: tuple[Note, ...], chords: tuple[ChordSpan, ...], grid: BeatGrid,
    stem: str, heard_by: tuple[str, ...], remarks: tuple[str, ...],
) -> Notes:  # fmt: skip
    """All of it as it goes into plain data: thousandths of a second."""
    return Notes(
        seconds, tuple(_rounded(one, seconds) for one in melody), tuple(_rounded(one, seconds) for one in bass),
        tuple(ChordSpan(round(one.start, 3), round(one.end, 3), one.name, round(one.sure, 3)) for one in chords),
        tuple(round(at, 3) for at in grid.beats), tuple(round(at, 3) for at in grid.downbeats), grid.bpm,
        grid.beats_per_bar, stem, heard_by, remarks,
    )  # fmt: skip


def _rounded(one: Note, seconds: float) -> Note:
    return Note(round(one.start, 3), round(min(one.end, seconds), 3), one.pitch, round(one.sure, 3), one.velocity)


# -- for people


def pitch_name(pitch: int) -> str:
    """A MIDI pitch as it is written: 60 is "C4"."""
    return f"{TONICS[pitch % 12]}{pitch // 12 - 1}"


def _line(notes: Sequence[Note]) -> str:
    names = [pitch_name(one.pitch) for one in notes]
    return " ".join(names[:32]) + (f" … {len(names) - 32} more" if len(names) > 32 else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"


def _chord_notes(span: ChordSpan) -> list[Note]:
    """A triad in the middle of the keyboard."""
    root = TONICS.index(span.name.removesuffix("m"))
    third = 3 if span.name.endswith("m") else 4
    return [Note(span.start, span.end, 48 + root + step, span.sure, 60) for step in (0, third, 7)]


# -- plain data


def _note_row(one: Note) -> list[Any]:
    return [one.start, one.end, one.pitch, one.sure, one.velocity]


def _read_note(row: object) -> Note:
    start, end, pitch, sure, velocity = _row("A note", row, 5)
    return Note(
        _time(start), _time(end), checks.whole("A pitch", pitch, 0, 127), checks.real("A sureness", sure, 0, 1),
        checks.whole("A velocity", velocity, 0, 127),
    )  # fmt: skip


def _read_chord(row: object) -> ChordSpan:
    start, end, name, sure = _row("A chord", row, 4)
    known = {*TONICS, *(f"{tonic}m" for tonic in TONICS), "N"}
    name = checks.text("A chord", name)
    if name not in known:
        raise RecipeError(f"A chord is called like 'C' or 'C#m', not {shown(name)}.")
    return ChordSpan(_time(start), _time(end), name, checks.real("A sureness", sure, 0, 1))


def _row(what: str, row: object, count: int) -> tuple[Any, ...]:
    values = checks.sequence(what, row, count, ordered=True)
    if len(values) != count:
        raise RecipeError(f"{what} is a row of {count} values, not {shown(row)}.")
    return values


def _time(value: object) -> float:
    return checks.real("A time", value, 0.0, 1e6)


def _many(read: Callable[[object], Any]) -> Callable[[object], tuple[Any, ...]]:
    return lambda value: tuple(read(one) for one in checks.sequence("Rows of notes", value, MOST, ordered=True))


_READERS: dict[str, Callable[[object], Any]] = {
    "seconds": _time,
    "bpm": lambda value: None if value is None else checks.real("A tempo", value, 0.1, 10_000),
    "beats_per_bar": lambda value: checks.whole("Beats in a bar", value, 1, 64),
    "stem": lambda value: checks.text("A stem", value, 40),
    "melody": _many(_read_note), "bass": _many(_read_note), "chords": _many(_read_chord),
    "beats": _many(_time), "downbeats": _many(_time),
    "heard_by": _many(lambda value: checks.text("A listener", value, 40)),
    "remarks": _many(lambda value: checks.text("A remark", value, 1000)),
}  # fmt: skip
assert set(_READERS) == {one.name for one in fields(Notes)}
