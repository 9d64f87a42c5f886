"""What audio codes keep of a sound, as a picture: its harmony and its attacks, five times a second. Knows no browser.

Codes themselves are names without an order; their numbers as colours say nothing. Rhythm and harmony are what a cover through
codes hears, so these are shown.
"""

from __future__ import annotations

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.tempo import onset_envelope
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks

RATE = 5.0
"""Columns per second: as many as codes."""
ROWS = 13
"""Twelve pitch classes, C first, then the strength of attacks."""
PIECE_SECONDS = 60.0


def codes_lane(take: Take | Audio) -> np.ndarray:
    """The picture, uint8 `[columns, ROWS]`; 255 is the strongest of the sound."""
    audio = tracks.audio_of(take)
    columns = max(1, int(np.ceil(audio.seconds * RATE)))
    table = np.concatenate([_piece_of(piece) for piece in _pieces(audio)])[:columns]
    chroma, attacks = table[:, :12], table[:, 12:]
    whole = np.concatenate([_scaled(chroma) ** 0.7, _scaled(attacks)], axis=1)
    return np.asarray(np.rint(255 * whole), np.uint8)


def _pieces(audio: Audio) -> list[Audio]:
    """A minute at a time: the spectra of ten minutes would not fit."""
    size = round(PIECE_SECONDS * audio.rate)
    return [
        Audio(audio.samples[:, start : start + size], audio.rate)
        for start in range(0, max(1, audio.samples.shape[1]), size)
    ]


def _piece_of(audio: Audio) -> np.ndarray:
    columns = max(1, int(np.ceil(audio.seconds * RATE)))
    chroma = chroma_frames(audio)
    attacks, per_second = onset_envelope(audio)
    hop = audio.seconds / max(1, len(chroma) - 1)
    return np.concatenate(
        [
            _binned(chroma, 1 / max(hop, 1e-9), columns, np.add),
            _binned(attacks[:, None], per_second, columns, np.maximum),
        ],
        axis=1,
    )


def _binned(line: np.ndarray, per_second: float, columns: int, how: np.ufunc) -> np.ndarray:
    """Frames `[frames, n]` gathered into columns; a column without a frame of its own has its neighbour's."""
    edges = np.clip((np.arange(columns) / RATE * per_second).round().astype(int), 0, len(line) - 1)
    return np.asarray(how.reduceat(line, edges, axis=0))


def _scaled(table: np.ndarray) -> np.ndarray:
    top = np.percentile(table, 99.5) if table.size else 0.0
    return np.clip(table / top, 0.0, 1.0) if top > 0 else np.zeros_like(table)
