"""How well the world can be heard: every measure of `listen` on songs whose facts are known, with its chance level."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio, integrated_loudness
from acestep_lab.listen.instruments import shipped
from acestep_lab.listen.key import key, same_key, scale_mass
from acestep_lab.listen.meter import meter
from acestep_lab.listen.sections import section_accuracy
from acestep_lab.listen.tempo import pulse, same_tempo, tempo
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.synthetic_music.compose import compose
from acestep_lab.train.synthetic_music.render import Rendering, render
from acestep_lab.train.synthetic_music.score import Song

FIRST_SEED = 900_000_000
"""Checks draw songs from here on, far from any lesson."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, its value, and what shuffled songs give."""

    name: str
    value: float
    chance: float
    count: int


def heard_tempo(song: Song, bpm: float) -> bool:
    """Whether a heard tempo is the song's, octaves (and thirds in triple meters) allowed."""
    return same_tempo(bpm, song.bpm, triple=song.timesignature in ("3", "6"))


def _against_next(songs: Sequence[Song], found: Sequence[object], same: object) -> float:
    """The same measure with every song's facts exchanged for its neighbour's."""
    return float(np.mean([same(songs[(i + 1) % len(songs)], value) for i, value in enumerate(found)]))  # type: ignore[operator]


def check(count: int, seconds: float = 10.0, rate: int = 24000) -> list[Row]:
    """Compose, render and listen to `count` songs."""
    songs = [compose(FIRST_SEED + i, seconds) for i in range(count)]
    sounds = [Audio(render(song, rate).mix, rate) for song in songs]
    return [*_harmony(songs, sounds), *_rhythm(songs, sounds), *_players(songs, sounds), *_sound(songs, sounds)]


def _harmony(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Row]:
    names = [key(sound)[0] for sound in sounds]
    exact = np.mean([same_key(song.keyscale, name) for song, name in zip(songs, names, strict=True)])
    chance = _against_next(songs, names, lambda song, name: same_key(song.keyscale, name))
    mass = np.mean([scale_mass(sound, song.keyscale) for song, sound in zip(songs, sounds, strict=True)])
    other = _against_next(songs, sounds, lambda song, sound: scale_mass(sound, song.keyscale))
    return [
        Row("key, exact", float(exact), chance, len(songs)),
        Row("mass on the scale", float(mass), other, len(songs)),
    ]


def _rhythm(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Row]:
    pairs = [(song, sound) for song, sound in zip(songs, sounds, strict=True) if "drums" in song.instruments]
    beaten, ringing = [song for song, _ in pairs], [sound for _, sound in pairs]
    found = [tempo(sound)[0] for sound in ringing]
    right = np.mean([heard_tempo(song, bpm) for song, bpm in zip(beaten, found, strict=True)])
    pulses = np.mean([pulse(sound, song.bpm) for song, sound in pairs])
    signs = [meter(sound, song.bpm)[0] for song, sound in pairs]
    meters = np.mean([song.timesignature == sign for song, sign in zip(beaten, signs, strict=True)])
    return [
        Row("tempo ±4 %, with drums", float(right), _against_next(beaten, found, heard_tempo), len(pairs)),
        Row("pulse at the asked tempo", float(pulses), _against_next(beaten, ringing, lambda song, sound: pulse(sound, song.bpm)), len(pairs)),
        Row("meter, tempo given", float(meters), _against_next(beaten, signs, lambda song, sign: song.timesignature == sign), len(pairs)),
    ]  # fmt: skip


def _players(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Row]:
    ear = shipped()
    heard = [ear.heard(sound) for sound in sounds]

    def share(song: Song, stems: frozenset[str]) -> float:
        return float(np.mean([(stem in stems) == (stem in song.instruments) for stem in STEMS]))

    parted = [
        (song, sound)
        for song, sound in zip(songs, sounds, strict=True)
        if "drums" in song.instruments and len(song.sections) > 1
    ]
    accuracy = [section_accuracy(sound, song.sections) for song, sound in parted]
    always = [np.mean(["drums" in s.stems_playing for s in song.sections]) for song, _ in parted]
    return [
        Row(
            "stems present",
            float(np.mean([share(s, h) for s, h in zip(songs, heard, strict=True)])),
            _against_next(songs, heard, share),
            len(songs),
        ),
        Row("drums by section", float(np.mean(accuracy)), float(np.mean(always)), len(parted)),
    ]


def _sound(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Row]:
    loud = [integrated_loudness(sound.samples, sound.rate) for sound in sounds]
    return [
        Row("loudness LUFS, median", float(np.median(loud)), float("nan"), len(songs)),
        Row(
            "loudness LUFS, spread 5-95 %", float(np.subtract(*np.percentile(loud, (95, 5)))), float("nan"), len(songs)
        ),
        Row("largest peak", max(sound.peak for sound in sounds), float("nan"), len(songs)),
        Row("x real time, composed and played", speed(songs), float("nan"), len(songs)),
    ]


def speed(songs: Sequence[Song], rate: int = 24000) -> float:
    """Seconds of music per second of processor time with a warm cache; an arrow upwards is better."""
    kept: list[Rendering] = []
    start = time.process_time()
    for song in songs:
        kept = [render(compose(song.seed, song.seconds), rate)]
    spent = time.process_time() - start
    return sum(song.seconds for song in songs[: len(songs) if kept else 0]) / spent


def table(rows: Sequence[Row]) -> str:
    """The rows as plain text."""
    lines = [f"{'measure':36}{'value':>9}{'shuffled':>10}{'songs':>7}"]
    for row in rows:
        chance = "" if np.isnan(row.chance) else f"{row.chance:.3f}"
        lines.append(f"{row.name:36}{row.value:9.3f}{chance:>10}{row.count:7}")
    return "\n".join(lines)
