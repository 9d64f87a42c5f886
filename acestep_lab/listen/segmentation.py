"""Where a song turns into something else: sections by the novelty of its sound (Foote 2000), and which of them are alike.

Knows samples only. Timbre (mel bands) and harmony (chroma) are compared half second by half second; a section begins where what
follows is least like what came before. No name is given but a letter: A comes back as A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.spectra import magnitudes, mel_bands, mono_of

RATE = 12_000
"""What is listened to: enough for harmony and timbre, a quarter of the work."""
HOP_SECONDS = 0.5
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALIKE = 0.55
"""Mean likeness of two sections from which on they bear one letter; 1 is the same, 0 what any two moments of the song have."""


@dataclass(frozen=True)
class HeardSection:
    """A section that was heard, in seconds; sections of one letter sound alike."""

    start: float
    end: float
    letter: str


def heard_sections(sound: Audio, shortest: float | None = None) -> tuple[HeardSection, ...]:
    """The sections of a sound, from its start to its end; one section where nothing changes or it is short.

    `shortest` is the least length in seconds; None: an eighth of the song, 3 to 8 s.
    """
    least = min(8.0, max(3.0, sound.seconds / 8)) if shortest is None else shortest
    features = _features(sound)
    edges = [0, *_turns(features, max(2, round(least / HOP_SECONDS))), len(features)]
    times = [*(edge * HOP_SECONDS for edge in edges[:-1]), sound.seconds]
    letters = _letters(features, edges)
    spans = zip(times, times[1:], letters, strict=False)
    return tuple(HeardSection(float(start), float(end), letter) for start, end, letter in spans)


def _features(sound: Audio) -> np.ndarray:
    """Timbre and harmony of each half second, `[halves, 36]`, every row of length one."""
    small = Audio(mono_of(sound)[None], sound.rate).resample(RATE)
    spectra = magnitudes(small.samples[0], 4096, RATE // 10)  # [tenths, bins]
    timbre = np.log1p(300 * spectra @ mel_bands(RATE, 4096, 24))
    harmony = np.sqrt(spectra @ _chroma(RATE, 4096))
    both = [part / max(float(part.std()), 1e-6) for part in (timbre, harmony)]
    steps = max(1, round(small.seconds / HOP_SECONDS))
    rows = np.concatenate(both, axis=1)
    means = np.stack([part.mean(axis=0) for part in np.array_split(rows[: max(steps, len(rows))], steps)])
    means -= means.mean(axis=0)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)


def _chroma(rate: int, size: int) -> np.ndarray:
    """Which pitch class each bin belongs to, `[bins, 12]`; below 60 Hz and above 2 kHz none."""
    hertz = np.arange(size // 2 + 1) * rate / size
    pitch = np.rint(12 * np.log2(np.maximum(hertz, 1) / 440)).astype(int) % 12
    table = np.zeros((len(hertz), 12), np.float32)
    table[np.arange(len(hertz)), pitch] = (hertz > 60) & (hertz < 2000)
    return table


def _turns(features: np.ndarray, least: int) -> list[int]:
    """The steps at which a section begins, by peaks of the novelty, the greatest first, at least `least` apart."""
    count = len(features)
    if count < 2 * least:
        return []
    novelty = _novelty(features @ features.T, least)
    loud = novelty > max(0.15, float(novelty.mean() + 0.5 * novelty.std()))
    found: list[int] = []
    for at in np.argsort(-novelty):
        free = all(abs(int(at) - other) >= least for other in (0, count, *found))
        if loud[at] and free:
            found.append(int(at))
    return sorted(found)


def _novelty(likeness: np.ndarray, half: int) -> np.ndarray:
    """How unlike what follows each step is what came before: a checkerboard along the diagonal, -1 to 1."""
    at = np.arange(-half, half) + 0.5
    taper = np.exp(-0.5 * (at / (0.5 * half)) ** 2)
    board = np.sign(np.outer(at, at)) * np.outer(taper, taper)
    padded = np.pad(likeness, half)
    scale = float(np.abs(board).sum())
    windows = (padded[step : step + 2 * half, step : step + 2 * half] for step in range(len(likeness)))
    return np.array([float((window * board).sum()) / scale for window in windows])


def _letters(features: np.ndarray, edges: list[int]) -> list[str]:
    """A letter for each section: that of the first one it is like, else a new one."""
    centres: list[np.ndarray] = []
    letters = []
    for start, end in zip(edges, edges[1:], strict=False):
        centre = features[start:end].mean(axis=0)
        centre /= max(float(np.linalg.norm(centre)), 1e-6)
        likeness = [float(centre @ other) for other in centres]
        same = int(np.argmax(likeness)) if likeness and max(likeness) > _ALIKE else len(centres)
        if same == len(centres):
            centres.append(centre)
        letters.append(LETTERS[min(same, len(LETTERS) - 1)])
    return letters
