"""How well synthetic songs can be analysed: every measure of `listen` on songs whose truth is known, with its chance level."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from acestep_lab.audio.audio import Audio, integrated_loudness
from acestep_lab.listen.instruments import default_tagger
from acestep_lab.listen.key import key, same_key, scale_mass
from acestep_lab.listen.meter import meter
from acestep_lab.listen.sections import section_accuracy
from acestep_lab.listen.tempo import pulse, same_tempo, tempo
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.synthetic_music.compose import compose
from acestep_lab.train.synthetic_music.render import Rendering, render
from acestep_lab.train.synthetic_music.score import Song

T = TypeVar("T")
FIRST_SEED = 900_000_000
"""Checks draw songs from here on, far from any training."""


@dataclass(frozen=True)
class Measurement:
    """One row of the table: what was measured, its value, its value with songs exchanged, and over how many songs."""

    name: str
    value: float
    chance: float
    count: int


def tempo_matches(song: Song, bpm: float) -> bool:
    """Whether an estimated tempo is the song's, octaves (and thirds in triple meters) allowed."""
    return same_tempo(bpm, song.bpm, triple=song.timesignature in ("3", "6"))


def _chance_level(songs: Sequence[Song], found: Sequence[T], same: Callable[[Song, T], float]) -> float:
    """The same measure with every song exchanged for its neighbour."""
    return float(np.mean([same(songs[(i + 1) % len(songs)], value) for i, value in enumerate(found)]))


def check(count: int, seconds: float = 10.0, rate: int = 24000) -> list[Measurement]:
    """Compose, render and analyse `count` songs."""
    songs = [compose(FIRST_SEED + i, seconds) for i in range(count)]
    sounds = [Audio(render(song, rate).mix, rate) for song in songs]
    return [
        *_harmony(songs, sounds),
        *_rhythm(songs, sounds),
        *_instruments(songs, sounds),
        *_loudness_and_speed(songs, sounds),
    ]


def _harmony(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Measurement]:
    names = [key(sound)[0] for sound in sounds]
    exact = np.mean([same_key(song.keyscale, name) for song, name in zip(songs, names, strict=True)])
    chance = _chance_level(songs, names, lambda song, name: same_key(song.keyscale, name))
    mass = np.mean([scale_mass(sound, song.keyscale) for song, sound in zip(songs, sounds, strict=True)])
    other = _chance_level(songs, sounds, lambda song, sound: scale_mass(sound, song.keyscale))
    return [
        Measurement("key, exact", float(exact), chance, len(songs)),
        Measurement("mass on the scale", float(mass), other, len(songs)),
    ]


def _rhythm(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Measurement]:
    pairs = [(song, sound) for song, sound in zip(songs, sounds, strict=True) if "drums" in song.instruments]
    drummed, drummed_sounds = [song for song, _ in pairs], [sound for _, sound in pairs]
    found = [tempo(sound)[0] for sound in drummed_sounds]
    right = np.mean([tempo_matches(song, bpm) for song, bpm in zip(drummed, found, strict=True)])
    pulses = np.mean([pulse(sound, song.bpm) for song, sound in pairs])
    signs = [meter(sound, song.bpm)[0] for song, sound in pairs]
    meters = np.mean([song.timesignature == sign for song, sign in zip(drummed, signs, strict=True)])
    return [
        Measurement("tempo ±4 %, with drums", float(right), _chance_level(drummed, found, tempo_matches), len(pairs)),
        Measurement("pulse at the asked tempo", float(pulses), _chance_level(drummed, drummed_sounds, lambda song, sound: pulse(sound, song.bpm)), len(pairs)),
        Measurement("meter, tempo given", float(meters), _chance_level(drummed, signs, lambda song, sign: song.timesignature == sign), len(pairs)),
    ]  # fmt: skip


def _instruments(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Measurement]:
    tagger = default_tagger()
    detected = [tagger.present(sound) for sound in sounds]

    def share(song: Song, stems: frozenset[str]) -> float:
        return float(np.mean([(stem in stems) == (stem in song.instruments) for stem in STEMS]))

    sectioned = [
        (song, sound)
        for song, sound in zip(songs, sounds, strict=True)
        if "drums" in song.instruments and len(song.sections) > 1
    ]
    accuracy = [section_accuracy(sound, song.sections) for song, sound in sectioned]
    always = [np.mean(["drums" in s.stems_playing for s in song.sections]) for song, _ in sectioned]
    return [
        Measurement(
            "stems present",
            float(np.mean([share(s, h) for s, h in zip(songs, detected, strict=True)])),
            _chance_level(songs, detected, share),
            len(songs),
        ),
        Measurement("drums by section", float(np.mean(accuracy)), float(np.mean(always)), len(sectioned)),
    ]


def _loudness_and_speed(songs: Sequence[Song], sounds: Sequence[Audio]) -> list[Measurement]:
    loud = [integrated_loudness(sound.samples, sound.rate) for sound in sounds]
    return [
        Measurement("loudness LUFS, median", float(np.median(loud)), float("nan"), len(songs)),
        Measurement(
            "loudness LUFS, spread 5-95 %", float(np.subtract(*np.percentile(loud, (95, 5)))), float("nan"), len(songs)
        ),
        Measurement("largest peak", max(sound.peak for sound in sounds), float("nan"), len(songs)),
        Measurement("x real time, composed and played", real_time_factor(songs), float("nan"), len(songs)),
    ]


def real_time_factor(songs: Sequence[Song], rate: int = 24000) -> float:
    """Seconds of music per second of processor time with a warm cache."""
    kept: list[Rendering] = []
    start = time.process_time()
    for song in songs:
        kept = [render(compose(song.seed, song.seconds), rate)]
    spent = time.process_time() - start
    return sum(song.seconds for song in songs[: len(songs) if kept else 0]) / spent


def table(rows: Sequence[Measurement]) -> str:
    """The measurements as a table in plain text."""
    lines = [f"{'measure':36}{'value':>9}{'shuffled':>10}{'songs':>7}"]
    for row in rows:
        chance = "" if np.isnan(row.chance) else f"{row.chance:.3f}"
        lines.append(f"{row.name:36}{row.value:9.3f}{chance:>10}{row.count:7}")
    return "\n".join(lines)
