"""Notes as a Standard MIDI File (format 1), written by its specification (RP-001). Knows notes and beats, no sound.

Bars of the file are the bars that were heard: between two beats lie 480 ticks, however long they last, and the tempo says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

TICKS = 480
"""Ticks of a beat."""
USUAL_BPM = 120.0
PROGRAMS = {"Melody": 73, "Bass": 33, "Chords": 4}
"""General MIDI: flute, fingered bass, electric piano."""
Event = tuple[int, int, bytes]
"""Tick, order among those of one tick, bytes."""


class Sounding(Protocol):
    """One note."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def pitch(self) -> int: ...
    @property
    def velocity(self) -> int: ...


def midi_file(
    tracks: Mapping[str, Iterable[Sounding]], words: Iterable[tuple[float, str]], beats: Sequence[float],
    downbeats: Sequence[float], beats_per_bar: int, bpm: float | None,
) -> bytes:  # fmt: skip
    """The bytes of a file: a track of tempo and bars with `words` (seconds, text) as markers, then one for each of `tracks`."""
    clock = _Clock(beats, downbeats, beats_per_bar, bpm)
    rows = [_track("", [*clock.tempos(), *_markers(words, clock)])]
    for channel, (name, notes) in enumerate(tracks.items()):
        rows.append(_track(name, _notes(notes, channel, clock, PROGRAMS.get(name, 0))))
    return struct.pack(">4sIHHH", b"MThd", 6, 1, len(rows), TICKS) + b"".join(rows)


class _Clock:
    """Which tick a second is, by the beats; without beats, by a steady tempo."""

    def __init__(self, beats: Sequence[float], downbeats: Sequence[float], per_bar: int, bpm: float | None) -> None:
        period = 60.0 / (bpm or USUAL_BPM)
        self.per_bar = max(1, per_bar)
        self.times = np.array(beats if len(beats) > 1 else [0.0, period], np.float64)
        self.periods = np.diff(self.times)
        self.lead = _lead(self.times, downbeats, self.per_bar) if len(beats) > 1 else 0

    def tick(self, seconds: float) -> int:
        """The tick of a time; before the first and after the last beat the tempo is taken to go on."""
        times, last = self.times, len(self.times) - 1
        if seconds < times[0]:
            beat = (seconds - times[0]) / self.periods[0]
        elif seconds > times[-1]:
            beat = last + (seconds - times[-1]) / self.periods[-1]
        else:
            beat = float(np.interp(seconds, times, np.arange(len(times))))
        return max(0, round((self.lead + beat) * TICKS))

    def tempos(self) -> list[Event]:
        """The meter, and a tempo at every beat whose length is another than that of the one before it."""
        found: list[Event] = [(0, 0, b"\xff\x58\x04" + bytes((min(self.per_bar, 255), 2, 24, 8)))]
        before = 0
        for place, period in enumerate(self.periods):
            micros = int(np.clip(round(period * 1e6), 1, 2**24 - 1))
            if micros != before:
                tick = (place + self.lead) * TICKS if place else 0
                found.append((tick, 0, b"\xff\x51\x03" + micros.to_bytes(3, "big")))
            before = micros
        return found


def _lead(times: np.ndarray, downbeats: Sequence[float], per_bar: int) -> int:
    """Beats before the first one that was heard, so that downbeats fall on bars and nothing lies before the file's start."""
    first = int(np.abs(times - downbeats[0]).argmin()) if len(downbeats) else 0
    least = int(np.ceil(times[0] / (times[1] - times[0]) - 0.25))
    return least + (-first - least) % per_bar


def _notes(notes: Iterable[Sounding], channel: int, clock: _Clock, program: int) -> list[Event]:
    found: list[Event] = [(0, 0, bytes((0xC0 | channel, program)))]
    for one in notes:
        start, end = clock.tick(one.start), clock.tick(one.end)
        found.append((start, 2, bytes((0x90 | channel, one.pitch, max(1, one.velocity)))))
        found.append((max(end, start + 1), 1, bytes((0x80 | channel, one.pitch, 0))))
    return found


def _markers(words: Iterable[tuple[float, str]], clock: _Clock) -> list[Event]:
    return [(clock.tick(at), 1, b"\xff\x06" + _text(text)) for at, text in words]


def _text(text: str) -> bytes:
    plain = text.encode("utf-8")
    return _length(len(plain)) + plain


def _length(value: int) -> bytes:
    """A number in groups of seven bits, the highest first."""
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(0x80 | value & 0x7F)
    return bytes(reversed(found))


def _track(name: str, events: Iterable[Event]) -> bytes:
    body, now = b"\x00\xff\x03" + _text(name) if name else b"", 0
    for tick, _, data in sorted(events):
        body += _length(tick - now) + data
        now = tick
    body += b"\x00\xff\x2f\x00"
    return struct.pack(">4sI", b"MTrk", len(body)) + body
