"""Pieces of sounds one after another: where each stands, and the crossfades between them. Knows samples; no take, no beat.

All numbers here are decided: whoever calls has found the beats and the zero crossings. Outside its crossfades, every sample of
a piece is its sound's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError

_GRID = np.float64(2**23)
"""Steps of a 24-bit file to full scale."""


@dataclass(frozen=True, eq=False)
class Part:
    """Samples `first` to `last` of a sound, coming in over `crossfade` samples; 0 is a cut."""

    audio: Audio
    first: int
    last: int
    crossfade: int = 0

    @property
    def count(self) -> int:
        """Samples between its ends."""
        return self.last - self.first


@dataclass(frozen=True)
class Place:
    """Where a part stands in the song, in samples: its `first` one, and the span of the crossfade by which it comes in."""

    start: int
    fade_from: int
    fade_to: int


def arranged(parts: Sequence[Part]) -> tuple[Place, ...]:
    """Where each part stands; RecipeError for one that is too short for the crossfades beside it.

    A crossfade lies over the place where two parts meet, half on each side where their sounds hold enough beyond their ends,
    else where they do. Where they hold too little, the later part begins a whole crossfade sooner. What goes on in the same
    sound needs none.
    """
    places = [Place(0, 0, 0)]
    for number, (before, part) in enumerate(zip(parts, parts[1:], strict=False), 2):
        place = _joined(places[-1].start + before.count, before, part)
        if place.fade_from < places[-1].fade_to or place.fade_to > place.start + part.count:
            short = number if place.fade_to > place.start + part.count else number - 1
            raise RecipeError(_too_short(short, parts[short - 1], part))
        places.append(place)
    return tuple(places)


def _joined(end: int, before: Part, part: Part) -> Place:
    """A part after another one that ends at a sample of the song."""
    if part.crossfade == 0 or (part.audio is before.audio and part.first == before.last):
        return Place(end, end, end)
    held_before, held_after = part.first, before.audio.samples.shape[1] - before.last
    early = min(held_before, part.crossfade // 2)
    late = min(held_after, part.crossfade - early)
    early = min(held_before, part.crossfade - late)
    if early + late == part.crossfade:
        return Place(end, end - early, end + late)
    return Place(end - part.crossfade, end - part.crossfade, end)


def _too_short(number: int, part: Part, joined: Part) -> str:
    seconds, fade = part.count / part.audio.rate, joined.crossfade / joined.audio.rate
    return (
        f"Piece {number} lasts {seconds:.2f} s, too short for the crossfades beside it ({fade:.2f} s): take a longer "
        "piece or a shorter crossfade."
    )


def stitched(parts: Sequence[Part]) -> Audio:
    """The song of several parts of one rate and number of channels, `[channels, samples]`."""
    places = arranged(parts)
    total = places[-1].start + parts[-1].count
    first = parts[0].audio
    song = np.empty((first.channels, total), np.float32)
    ends = [place.fade_from for place in places[1:]] + [total]
    for number, (part, place, end) in enumerate(zip(parts, places, ends, strict=True)):
        song[:, place.fade_to : end] = _span(part, place, place.fade_to, end)
        if place.fade_to > place.fade_from:
            span = (place.fade_from, place.fade_to)
            old, new = _span(parts[number - 1], places[number - 1], *span), _span(part, place, *span)
            song[:, slice(*span)] = crossfaded(old, new)
    return Audio(song, first.rate, first.layout)


def _span(part: Part, place: Place, start: int, end: int) -> np.ndarray:
    """A part's samples between two samples of the song, also beyond its own ends."""
    shift = part.first - place.start
    return part.audio.samples[:, start + shift : end + shift]


def crossfaded(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """One sound going out while another comes in, `[channels, samples]`, at equal power however alike the two are.

    cos and sin keep the power of two strangers; of two that are alike their sum would swell, so that it is divided by what
    it swells by (Fink, Holters and Zölzer, DAFx 2016: signal-matched power-complementary crossfades): of a sound faded into
    itself nothing is heard. Rounded to 24 bits.
    """
    count = old.shape[1]
    angle = (np.arange(count) + 0.5) / count * (np.pi / 2)
    one, two = old.astype(np.float64), new.astype(np.float64)
    power = float(np.sqrt((one**2).sum() * (two**2).sum()))
    alike = max(0.0, float((one * two).sum()) / power) if power > 0 else 0.0
    mixed = (np.cos(angle) * one + np.sin(angle) * two) / np.sqrt(1 + alike * np.sin(2 * angle))
    return (np.rint(mixed * _GRID) / _GRID).astype(np.float32)


def zero_crossing(audio: Audio, at: int, within: int, rising: bool | None = None) -> tuple[int, bool | None]:
    """The sample nearest to `at` before which the wave crosses zero, and whether it rises there; `at` where none does.

    With `rising`, a crossing of that direction, where there is one.
    """
    start, end = max(1, at - within), min(audio.samples.shape[1], at + within + 1)
    if end <= start:
        return at, rising
    wave = audio.samples[:, start - 1 : end].mean(axis=0)
    up = wave >= 0
    found = np.flatnonzero(up[1:] != up[:-1])
    fitting = found[up[1:][found] == rising] if rising is not None else found
    found = fitting if len(fitting) else found
    if not len(found):
        return at, rising
    nearest = int(found[np.argmin(np.abs(found + start - at))])
    return nearest + start, bool(up[1:][nearest])
