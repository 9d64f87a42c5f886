"""The sound of a moment as a picture: mel levels over time, in colours that mean loudness, or louder and quieter.

Knows no steps, models or widgets: a sound in, levels and PNG files out. One table of colours (`colours.py`) and one axis for all,
so that the estimate of a step and the finished take can be laid side by side.
"""

from __future__ import annotations

import numpy as np

from acestep_lab.listen.mel_levels import (
    CHANGE_DB,
    RANGE_DB,
    Levels,
    axis,
    difference,
    loudest,
    mel_levels,
    summary,
)
from acestep_lab.ui.colours import CHANGE, LOUDNESS, Table
from acestep_lab.ui.latent_image import png_bytes

__all__ = ["axis", "change_png", "mel_levels", "sound_png", "summary"]
WIDEST = 1200
"""Frames of the widest picture."""


def sound_png(levels: Levels) -> bytes:
    """Levels as a picture: low frequencies below, the loudest brightest, what is 60 dB quieter dark."""
    shown = _narrowed(levels)
    share = (shown - (loudest(shown) - RANGE_DB)) / RANGE_DB
    return _png(share, LOUDNESS)


def change_png(now: Levels, before: Levels) -> bytes:
    """What became louder and what quieter, 20 dB in full colour."""
    return _png(_narrowed(difference(now, before)) / (2 * CHANGE_DB) + 0.5, CHANGE)


def _narrowed(levels: Levels) -> Levels:
    """A long song's frames averaged into the widest picture."""
    count = len(levels)
    if count <= WIDEST:
        return levels
    edges = np.arange(WIDEST) * count // WIDEST
    sizes = np.diff(np.append(edges, count))[:, None]
    return (np.add.reduceat(levels, edges, axis=0) / sizes).astype(np.float32)


def _png(share: Levels, table: Table) -> bytes:
    """Shares 0 to 1, `[frames, bands]`, in the colours of a table; time runs to the right, frequency upwards."""
    places = np.clip(np.nan_to_num(share) * 255, 0, 255).astype(np.uint8)
    return png_bytes(table[places.T[::-1]])
