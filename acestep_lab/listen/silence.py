"""Where a sound is quiet: the places at which a cut is heard least."""

from __future__ import annotations

import numpy as np

from acestep_lab.listen.spectra import Sound

BLOCK_SECONDS = 0.01
QUIET_DB = -40.0
"""Quiet is this far under the loudest block."""
SHORTEST_SECONDS = 0.08


def block_levels(audio: Sound) -> tuple[np.ndarray, float]:
    """Root mean square of blocks of 10 ms, over all channels, `[blocks]`, and the seconds of a block."""
    samples = np.asarray(audio.samples, np.float32)
    size = max(1, round(BLOCK_SECONDS * audio.rate))
    count = samples.shape[-1] // size
    if count == 0:
        return np.zeros(0, np.float32), size / audio.rate
    power = np.zeros(count)
    for channel in samples:  # one after another: ten minutes of squares are large
        power += np.einsum("bs,bs->b", *[channel[: count * size].reshape(count, size)] * 2)
    return np.sqrt(power / (size * len(samples))), size / audio.rate


def quiet_spans(audio: Sound, below: float = QUIET_DB, shortest: float = SHORTEST_SECONDS) -> list[tuple[float, float]]:
    """Stretches, (start, end) in seconds, that lie `below` decibels under the loudest block for at least `shortest` seconds.

    A sound without any sound is one stretch.
    """
    levels, each = block_levels(audio)
    quiet = levels <= levels.max(initial=0.0) * 10 ** (below / 20)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    spans = edges.reshape(-1, 2) * each
    return [(float(start), float(end)) for start, end in spans if end - start >= shortest - 1e-9]


def cut_points(audio: Sound) -> list[float]:
    """Times in the quiet stretches where a region may begin or end: the middle of a short one, both ends of a long one."""
    points: list[float] = []
    for start, end in quiet_spans(audio):
        points += [(start + end) / 2] if end - start < 0.4 else [start, end]
    return points
