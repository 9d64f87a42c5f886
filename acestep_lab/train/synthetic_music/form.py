"""The form of a song: how many bars, which sections, which stems play in which."""

from __future__ import annotations

import math
from dataclasses import dataclass

from acestep_lab.train.synthetic_music.rng import SeededRNG

HARMONIC = ("keyboard", "guitar", "synth", "strings", "brass", "woodwinds", "backing_vocals")


@dataclass(frozen=True)
class Meter:
    """A bar: beats in it, and the lengths in beats of the beat's eighth and sixteenth."""

    sign: str
    beats: int
    eighth: float
    sixteenth: float


METERS = {
    "2": Meter("2", 2, 1 / 2, 1 / 4),
    "3": Meter("3", 3, 1 / 2, 1 / 4),
    "4": Meter("4", 4, 1 / 2, 1 / 4),
    "6": Meter("6", 2, 1 / 3, 1 / 6),
}


@dataclass(frozen=True)
class FormSection:
    """A section in bars, before its times are known."""

    tag: str
    first: int
    bars: int
    stems: frozenset[str]
    intensity: float


SHORT_FORMS = {
    1: (("Verse",), ("Chorus",), ("Instrumental",), ("Verse",)),
    2: (
        ("Intro", "Verse"),
        ("Verse", "Chorus"),
        ("Verse", "Bridge"),
        ("Chorus", "Outro"),
        ("Intro", "Chorus"),
        ("Bridge", "Chorus"),
    ),
    3: (
        ("Intro", "Verse", "Chorus"),
        ("Verse", "Chorus", "Outro"),
        ("Verse", "Bridge", "Chorus"),
        ("Chorus", "Bridge", "Chorus"),
    ),
}


def _tags(count: int, rng: SeededRNG) -> list[str]:
    if count in SHORT_FORMS:
        return list(rng.choice(SHORT_FORMS[count]))
    middle = ["Verse", "Chorus", "Verse", "Chorus", "Bridge", "Chorus", "Instrumental", "Chorus"]
    inner = [middle[i % len(middle)] for i in range(count - 2)]
    return ["Intro", *inner, "Outro"]


def _section_count(bars: int, rng: SeededRNG) -> int:
    if bars < 4:
        return 1 if bars < 2 or rng.happens(0.6) else 2
    if bars < 8:
        return 1 if rng.happens(0.35) else 2
    if bars < 16:
        return rng.integer(2, 3)
    return max(3, round(bars / (4 if bars <= 28 else 8)))


def _lengths(bars: int, count: int) -> list[int]:
    """Even lengths where there is room, the rest given to the last section."""
    unit = bars // count
    if unit >= 2:
        unit -= unit % 2
    lengths = [unit] * count
    spare = bars - unit * count
    for i in range(spare):
        lengths[count - 1 - i % count] += 1
    return lengths


def _resting(tag: str, stems: tuple[str, ...], rng: SeededRNG) -> tuple[set[str], float]:
    resting: set[str] = set()
    intensity = {"Intro": 0.85, "Verse": 0.9, "Chorus": 1.0, "Bridge": 0.85, "Outro": 0.85, "Instrumental": 0.95}[tag]
    rests = {
        "Intro": {"drums": 0.72, "percussion": 0.5, "vocals": 1.0, "backing_vocals": 0.6, "bass": 0.35, "strings": 0.3},
        "Verse": {"backing_vocals": 0.7, "strings": 0.3, "brass": 0.4, "synth": 0.2, "guitar": 0.15},
        "Chorus": {},
        "Bridge": {"drums": 0.72, "percussion": 0.6, "bass": 0.3, "guitar": 0.3, "brass": 0.4, "keyboard": 0.2},
        "Outro": {"drums": 0.5, "percussion": 0.4, "vocals": 0.8, "brass": 0.5, "guitar": 0.25},
        "Instrumental": {"vocals": 1.0, "backing_vocals": 0.5},
    }[tag]
    for stem in stems:
        if rng.happens(rests.get(stem, 0.0)):
            resting.add(stem)
    return resting, intensity


def plan_form(bars: int, stems: tuple[str, ...], rng: SeededRNG, full: bool) -> list[FormSection]:
    """Sections over `bars`; every stem plays somewhere and something pitched plays from the first beat."""
    count = min(bars, _section_count(bars, rng))
    tags, lengths = _tags(count, rng), _lengths(bars, count)
    if count == 1:
        tags = ["Instrumental"] if "vocals" not in stems else ["Verse" if tags == ["Instrumental"] else tags[0]]
    pitched = [s for s in stems if s in HARMONIC or s == "bass"]
    rows: list[tuple[str, set[str], float]] = []
    for tag in tags:
        silent, intensity = _resting(tag, stems, rng)
        playing = set(stems) if full or count == 1 else set(stems) - silent
        if pitched and not playing & set(pitched):
            playing.add(pitched[0])
        rows.append((tag, playing or set(stems), intensity))
    for stem in stems:
        if not any(stem in playing for _, playing, _ in rows):
            max(rows, key=lambda row: row[2])[1].add(stem)
    sections, first = [], 0
    for (tag, playing, intensity), length in zip(rows, lengths, strict=True):
        sections.append(FormSection(tag, first, length, frozenset(playing), intensity))
        first += length
    return sections


def bars_in(seconds: float, bpm: int, meter: Meter) -> int:
    """Bars begun within `seconds`; a sliver of a bar at the end does not count."""
    exact = seconds * bpm / 60 / meter.beats
    return max(1, math.ceil(exact - 0.12))
