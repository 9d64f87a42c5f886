"""The values of a written song: notes, chords, sections. Knows nothing of sound or of how songs are invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Note(NamedTuple):
    """One sounding event; times in seconds, pitch in MIDI numbers, velocity 0-1."""

    stem: str
    sound: str
    start: float
    length: float
    pitch: int
    velocity: float


class Chord(NamedTuple):
    """A harmony that holds from `start` to `end` (seconds); `classes` are pitch classes, root first."""

    start: float
    end: float
    name: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A part of the form, with the stems that sound in it."""

    tag: str
    start_s: float
    end_s: float
    stems_playing: tuple[str, ...]


@dataclass(frozen=True)
class Song:
    """A written song, complete before a sample of it is rendered; the beat in 6/8 is the dotted quarter."""

    seed: int
    seconds: float
    bpm: int
    keyscale: str
    timesignature: str
    style: str
    instruments: tuple[str, ...]
    caption: str
    lyrics: str
    sections: tuple[Section, ...]
    beats: tuple[float, ...]
    downbeats: tuple[float, ...]
    chords: tuple[Chord, ...]
    notes: tuple[Note, ...]
    echo: float = 0.0
    pump: float = 0.0
