"""What the codes of a plan mean to a musician: harmony and onsets beside each code, out of the sound they became.

Knows sounds and codes; no plan, no model, no browser. A code alone does not say its harmony: decoded by themselves, codes
give a sound whose chroma agrees with the take's no more than with any other take's (measured on the pocket checkpoint: mean
correlation 0.28, and as much with other songs). So before there is a sound only what is known is shown: which codes come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acestep_lab.errors import SourceError
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import onset_envelope

PITCHES = 12


@dataclass(frozen=True, eq=False)
class CodeFeatures:
    """For each code how strong each pitch class is, C first, and how much begins there; all from 0 to 1."""

    chroma: NDArray[np.float32]  # [codes, 12]
    onset: NDArray[np.float32]  # [codes]

    def to_bytes(self) -> bytes:
        """A byte for each number: the twelve of every code, then the onsets."""
        parts = (self.chroma.ravel(), self.onset)
        return b"".join(np.clip(part * 255, 0, 255).round().astype(np.uint8).tobytes() for part in parts)


def of_sound(sound: Sound, codes: int) -> CodeFeatures:
    """The features of so many codes that last as long as a sound; SourceError where there is nothing to hear or no code."""
    if codes < 1 or not np.asarray(sound.samples).size:
        raise SourceError("Features of codes need at least one code, and a sound with samples.")
    chroma = _per_code(chroma_frames(sound), codes)
    loudest = chroma.max(axis=1, keepdims=True)
    level = np.sqrt(np.clip(loudest / max(float(loudest.max()), 1e-9), 0, 1))  # what is quiet is shown quiet
    onset = _per_code(onset_envelope(sound)[0][:, None], codes, peak=True)[:, 0]
    return CodeFeatures(
        (chroma / np.maximum(loudest, 1e-9) * level).astype(np.float32),
        (onset / max(float(onset.max()), 1e-9)).astype(np.float32),
    )


def repeats(codes: Sequence[int]) -> NDArray[np.uint8]:
    """How often each code comes, in its place; 255 and more are the same."""
    counts = Counter(codes)
    return np.array([min(255, counts[code]) for code in codes], np.uint8)


def _per_code(frames: NDArray[np.float64], codes: int, peak: bool = False) -> NDArray[np.float64]:
    """Frames `[frames, values]` gathered into so many equal spans, by their mean or their largest."""
    edges = np.linspace(0, len(frames), codes + 1)
    spans = [
        frames[int(first) : max(int(first) + 1, int(np.ceil(last)))]
        for first, last in zip(edges, edges[1:], strict=False)
    ]
    gather = np.max if peak else np.mean
    return np.array([gather(span, axis=0) if len(span) else np.zeros(frames.shape[1]) for span in spans])
