"""What may be wrong with the sounds of songs to learn from, as remarks on their rows.

Knows samples; no words (`word_checks`), no model. Sounds are read one after another and let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError, shown
from acestep_lab.train.duplicates import Duplicates
from acestep_lab.train.labels import Remark
from acestep_lab.train.song import Song

SHORTEST_SECONDS = 5.0
"""What is shorter gives a crop too little to learn from."""

SILENT_DB = -60.0
"""Root mean square, in dB of full scale, below which a song is silence."""

CLIPPED_RUNS = 10
"""Flat tops a song may have; a master may touch full scale here and there."""
_FLAT_SAMPLES = 3
_FULL_SCALE = 0.985

SOUND_KINDS = frozenset({"short", "silent", "clipped", "duplicate", "unreadable"})

# -- sounds ------------------------------------------------------------------------------------------------------------


def sound_remarks(audio: Audio, shortest: float = SHORTEST_SECONDS) -> tuple[Remark, ...]:
    """What is odd about a sound by itself: too short (in seconds), silent, clipped."""
    found = []
    if audio.seconds < shortest:
        found.append(
            Remark("short", f"It lasts {audio.seconds:.1f} s; at least {shortest:g} s are worth learning from.")
        )
    level = _level(audio)
    if level < SILENT_DB:
        found.append(Remark("silent", "It is silent." if level < -150 else f"It is nearly silent ({level:.0f} dB)."))
    if (runs := clipped_runs(audio.samples)) > CLIPPED_RUNS:
        found.append(
            Remark("clipped", f"It is clipped at {runs:,} places: its tops are cut off, which would be learnt.")
        )
    return tuple(found)


def _level(audio: Audio) -> float:
    """Root mean square over all channels, in dB of full scale."""
    power = sum(float(np.vdot(channel, channel)) for channel in audio.samples) / max(audio.samples.size, 1)
    return float(10 * np.log10(power + 1e-20))


def clipped_runs(samples: np.ndarray) -> int:
    """How many flat tops `[channels, samples]` have: runs of equal samples at full scale."""
    total = 0
    for channel in samples:
        loud = np.abs(channel) >= _FULL_SCALE
        if loud.sum() < _FLAT_SAMPLES:
            continue
        flat = np.zeros(len(channel) + 1, np.int8)
        flat[1:-1] = loud[1:] & (channel[1:] == channel[:-1])  # each sample that repeats the one before it
        edges = np.flatnonzero(np.diff(flat))
        total += int((edges[1::2] - edges[::2] >= _FLAT_SAMPLES - 1).sum())
    return total


def checked(
    songs: Iterable[Song],
    shortest: float = SHORTEST_SECONDS,
    on_song: Callable[[int, Song], object] | None = None,
) -> list[Song]:
    """The same songs with the remarks on their sounds new; `shortest` in seconds.

    `on_song` is called with each song's number before it is read, and may raise to stop.
    """
    songs = list(songs)
    duplicates = Duplicates()
    heard: list[tuple[Remark, ...]] = []
    for number, song in enumerate(songs):
        if on_song is not None:
            on_song(number, song)
        heard.append(_heard(song, duplicates, shortest))
    same = duplicates.pairs({song.name: song for song in songs})
    return [
        replace(song, noted=(*_of_files(song), *remarks, *_duplicate(same.get(song.name))))
        for song, remarks in zip(songs, heard, strict=True)
    ]


def _of_files(song: Song) -> tuple[Remark, ...]:
    return tuple(one for one in song.noted if one.kind not in SOUND_KINDS)


def _heard(song: Song, duplicates: Duplicates, shortest: float) -> tuple[Remark, ...]:
    try:
        audio = song.audio()
    except SourceError as problem:
        return (Remark("unreadable", f"It cannot be read: {problem}"),)
    remarks = sound_remarks(audio, shortest)
    if not any(remark.kind == "silent" for remark in remarks):
        duplicates.add(song.name, audio)
    return remarks


def _duplicate(other: str | None) -> tuple[Remark, ...]:
    if other is None:
        return ()
    return (Remark("duplicate", f"It is the same sound as {shown(other, 120)}.", other=other),)
