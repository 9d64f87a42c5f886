"""A sound's fingerprint: a few kilobytes by which a copy in a lossy format is recognised, and an edited sound is not.

Knows samples only. Half-octave band levels from 50 Hz to 12.8 kHz (what every codec keeps) in half decibels: of all channels
together four times a second, and of the first one once a second, so that channels swapped or copied are noticed. Measured on music, noise and tones: MP3, Opus and Vorbis at libsndfile's usual quality move
a cell by up to 0.75 dB; a quarter of a second made 3 dB louder moves one by 1.5 dB and more.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np

from acestep_lab.audio.audio import Audio

CELL_SECONDS = 0.25
MOST_CELLS = 2400
"""Longer sounds get longer cells."""

SIDE_CELLS = 4
"""Cells of all channels together in one of the first channel."""

BANDS = 16
MOST_CHARACTERS = 80_000
OUTLINE_ROWS = 8
TOLERANCE_DECIBELS = 1.2
"""How far a copy's cell may be from the original's: on average over its bands, and in their sum."""

LONGER_SECONDS = 0.15
"""How much silence an encoder may have added."""

_DELAYS = (0, 529, 1105, 1152, 1681, 2257)
"""Samples by which MP3 decoders that do not know an encoder's delay start late (LAME's 576, a decoder's 529, their sum …)."""

_FLOOR, _STEPS = -100.0, 2.0
_RANGE = 50.0
"""Cells so many decibels below the loudest are not compared: there a codec may do as it likes."""
_SIDE_RANGE = 30.0
"""The same for the first channel, which codecs code together with the others."""
_NEAR = 30.0
"""The same for a band beside its cell's loudest."""
_SILENT = 1e-4
"""A copy of what is silent in all bands is silent."""


def fingerprint(audio: Audio) -> str:
    """The fingerprint of a sound, as text."""
    levels = np.concatenate(_views(audio.samples, audio.rate, _cells(audio.seconds)))
    steps = np.clip(np.rint((levels - _FLOOR) * _STEPS), 0, 255).astype(np.uint8)
    differences = np.diff(
        steps, axis=0, prepend=np.zeros((1, steps.shape[1]), np.uint8)
    )  # wraps around, and back again
    return base64.b64encode(zlib.compress(differences.T.tobytes(), 9)).decode()


def _views(samples: np.ndarray, rate: int, cells: int) -> list[np.ndarray]:
    """Levels of all channels and, where there are several, of the first, `[cells, bands]` each."""
    whole = _levels(samples, rate, cells)
    return [whole] if len(samples) == 1 else [whole, _levels(samples[:1], rate, _side_cells(cells))]


def _side_cells(cells: int) -> int:
    return max(1, cells // SIDE_CELLS)


def is_copy(known_print: str, seconds: float, audio: Audio) -> bool:
    """Whether a sound is a copy of the one of this fingerprint and length, as a lossy format leaves it."""
    cells = _cells(seconds)
    known = _read(known_print, [cells] if audio.channels == 1 else [cells, _side_cells(cells)])
    length, rate = round(seconds * audio.rate), audio.rate
    longer = audio.samples.shape[1] - length
    if known is None or not -1 <= longer - (longer < 0) <= LONGER_SECONDS * rate:
        return False
    starts = [start for start in {*_DELAYS, longer} if 0 <= start <= max(longer, 0)]
    if (known[0] <= _FLOOR + 10).all():
        return audio.peak < _SILENT
    parts = (audio.samples[:, start : start + length] for start in sorted(starts))
    return any(_all_near(known, _views(part, rate, cells)) for part in parts)


def outline(print_: str, seconds: float, channels: int) -> np.ndarray:
    """A fingerprint in a few numbers, `[rows * bands]` decibels: sounds whose outlines differ are no copies of each other.

    `seconds` and `channels` are those of its sound. Zeros where the text is no fingerprint of such a sound.
    """
    cells = _cells(seconds)
    known = _read(print_, [cells] if channels == 1 else [cells, _side_cells(cells)])
    rows = np.zeros((OUTLINE_ROWS, BANDS), np.float32)
    if known is not None:
        edges = np.linspace(0, cells, OUTLINE_ROWS + 1)
        for row, (first, last) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            rows[row] = known[0][int(first) : max(int(np.ceil(last)), int(first) + 1)].max(axis=0)
        rows = np.maximum(rows, rows.max() - _NEAR)
    return rows.reshape(-1)


def _cells(seconds: float) -> int:
    return int(min(MOST_CELLS, max(1, round(seconds / CELL_SECONDS))))


def _read(text: str, views: list[int]) -> list[np.ndarray] | None:
    """The levels in a fingerprint, `[cells, bands]` of each view; None where it is none of so many cells."""
    cells = sum(views)
    size = cells * BANDS
    try:
        packed = base64.b64decode(text[:MOST_CHARACTERS], validate=True)
        data = zlib.decompressobj().decompress(packed, size + 1)
    except (binascii.Error, zlib.error, ValueError):
        return None
    if len(data) != size:
        return None
    differences = np.frombuffer(data, np.uint8).reshape(BANDS, cells).T
    levels = np.cumsum(differences, axis=0, dtype=np.uint8) / _STEPS + _FLOOR
    return np.split(levels, np.cumsum(views)[:-1])


def _all_near(known: list[np.ndarray], found: list[np.ndarray]) -> bool:
    """Whether all views of two sounds are near."""
    peak = max(known[0].max(), found[0].max())
    if peak <= _FLOOR + 10:
        return False
    floors = (peak - _RANGE, peak - _SIDE_RANGE)
    return all(_near(*pair) for pair in zip(known, found, floors, strict=False))


def _near(one: np.ndarray, other: np.ndarray, floor: float) -> bool:
    """Whether every cell above a floor, in decibels, has nearly the same levels in both."""
    other = np.clip(other, _FLOOR, _FLOOR + 255 / _STEPS)
    away, top = np.abs(one - other), np.maximum(one, other)
    loudest = top.max(axis=1)
    live = loudest > max(floor, _FLOOR + 10)
    audible = top > loudest[:, None] - _NEAR
    bands = np.where(audible, away, 0).sum(axis=1) / audible.sum(axis=1)
    sums = np.abs(_sum(one) - _sum(other))
    return bool((np.maximum(bands, sums)[live] <= TOLERANCE_DECIBELS).all())


def _sum(levels: np.ndarray) -> np.ndarray:
    """Decibels of all bands together."""
    return np.asarray(10 * np.log10((10 ** (levels / 10)).sum(axis=1)))


def _levels(samples: np.ndarray, rate: int, cells: int) -> np.ndarray:
    """Decibels of half-octave bands in each cell, `[cells, bands]`."""
    length = samples.shape[1]
    edges = np.linspace(0, length, cells + 1).astype(int)
    power = np.stack([_power(samples, rate, *span) for span in zip(edges[:-1], edges[1:], strict=True)])
    return np.maximum(10 * np.log10(power + 1e-30), _FLOOR)


def _power(samples: np.ndarray, rate: int, first: int, last: int) -> np.ndarray:
    """Mean power of one cell in each band: one spectrum over the cell and a little around it."""
    around = round(CELL_SECONDS * rate / 8)
    part = samples[:, max(0, first - around) : last + around].astype(np.float64)
    count = part.shape[1]
    if count == 0:
        return np.zeros(BANDS)
    spectrum = np.abs(np.fft.rfft(part * _window(count, around), axis=1)) ** 2
    bins = np.clip(np.round(50 * 2 ** (np.arange(BANDS + 1) / 2) * count / rate).astype(int), 0, spectrum.shape[1])
    total = np.concatenate([[0.0], np.cumsum(spectrum.sum(axis=0))])
    return np.asarray(np.diff(total[bins]) * 2 / count**2)


def _window(count: int, fade: int) -> np.ndarray:
    """Ones between two raised-cosine fades, so that a cell's edges are soft."""
    fade = min(2 * fade, count // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))
    return np.concatenate([ramp, np.ones(count - 2 * fade), ramp[::-1]])
