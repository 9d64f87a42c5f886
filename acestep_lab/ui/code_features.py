"""What audio codes mean to a musician: harmony and onsets beside each code, out of the sound they stand for.

Knows sounds and codes; no plan, no model, no browser. A code alone does not say its harmony: decoded by themselves, codes
give a sound whose chroma agrees with the take's no more than with any other take's (measured on the pocket checkpoint: mean
correlation 0.28, and as much with other songs). So before there is a sound only what is known is shown: which codes come back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import onset_envelope

PITCHES = 12
ROWS = PITCHES + 1
"""Numbers of one code: its pitch classes, C first, then its onset."""
PER_SECOND = 5
"""Codes in a second, where nobody says how many there are."""
PIECE_CODES = 300
"""Codes measured at a time: the spectra of ten minutes would take gigabytes."""


@dataclass(frozen=True, eq=False)
class CodeFeatures:
    """For each code how strong each pitch class is, C first, and how much begins there; all from 0 to 1."""

    chroma: NDArray[np.float32]  # [codes, 12]
    onset: NDArray[np.float32]  # [codes]

    def table(self) -> NDArray[np.uint8]:
        """A row for each code, `[codes, ROWS]`, 255 the strongest: how both pages that draw it are sent it."""
        rows = np.concatenate([self.chroma, self.onset[:, None]], axis=1)
        return np.asarray(np.clip(rows * 255, 0, 255).round(), np.uint8)


def of_sound(sound: Sound, codes: int | None = None) -> CodeFeatures:
    """The features of so many codes that last as long as a sound, five a second where nobody says how many.

    Chroma by spectral peaks (`listen.key`), onsets by spectral flux (`listen.tempo`). SourceError where there is nothing to
    hear or no code.
    """
    samples = np.asarray(sound.samples)
    count = math.ceil(samples.shape[-1] / sound.rate * PER_SECOND) if codes is None else codes
    if count < 1 or not samples.size:
        raise SourceError("Features of codes need at least one code, and a sound with samples.")
    firsts = range(0, count, PIECE_CODES)
    pieces = [_measured(samples, sound.rate, first, min(first + PIECE_CODES, count), count) for first in firsts]
    chroma, onset = (np.concatenate(part) for part in zip(*pieces, strict=True))
    loudest = chroma.max(axis=1, keepdims=True)
    level = np.sqrt(np.clip(loudest / max(float(loudest.max()), 1e-9), 0, 1))  # what is quiet is shown quiet
    return CodeFeatures(
        (chroma / np.maximum(loudest, 1e-9) * level).astype(np.float32),
        (onset / max(float(onset.max()), 1e-9)).astype(np.float32),
    )


def repeats(codes: Sequence[int]) -> NDArray[np.uint8]:
    """How often each code comes, in its place; 255 and more are the same."""
    counts = Counter(codes)
    return np.array([min(255, counts[code]) for code in codes], np.uint8)


def _measured(
    samples: NDArray[np.float32], rate: int, first: int, last: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chroma `[codes, 12]` and onsets `[codes]`, as they are, of the codes from the first to before the last of `count`."""
    start, end = (round(place / count * samples.shape[-1]) for place in (first, last))
    piece = Audio(samples[:, start : max(end, start + 1)], rate)
    onset = _per_code(onset_envelope(piece)[0][:, None], last - first, peak=True)[:, 0]
    return _per_code(chroma_frames(piece), last - first), onset


def _per_code(frames: NDArray[np.float64], codes: int, peak: bool = False) -> NDArray[np.float64]:
    """Frames `[frames, values]` gathered into so many equal spans, by their mean or their largest."""
    edges = np.linspace(0, len(frames), codes + 1)
    spans = [
        frames[int(first) : max(int(first) + 1, int(np.ceil(last)))]
        for first, last in zip(edges, edges[1:], strict=False)
    ]
    gather = np.max if peak else np.mean
    return np.array([gather(span, axis=0) if len(span) else np.zeros(frames.shape[1]) for span in spans])
