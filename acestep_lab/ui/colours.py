"""The colours that pictures of numbers are drawn in: one table for loudness, one for what lies on two sides of nothing.

Knows no picture: numbers in, colours out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Table = NDArray[np.uint8]
"""Colours `[256, 3]`, the lowest number's first."""

BELOW, ZERO, ABOVE = (70, 130, 255), (14, 14, 20), (255, 176, 46)
"""Blue below nothing, near-black at it, amber above."""
_VIRIDIS = (
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
    (170, 220, 50), (253, 231, 37),
)  # fmt: skip
"""Viridis (van der Walt and Smith 2015): even to the eye, and to colour-blind eyes too."""


def _table(stops: tuple[Colour, ...]) -> Table:
    at = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), at, channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=1).astype(np.uint8)


LOUDNESS: Table = _table(_VIRIDIS)
"""Quiet to loud."""
CHANGE: Table = _table((BELOW, ZERO, ABOVE))
"""Quieter, the same, louder."""


def scales() -> dict[str, list[str]]:
    """A few colours of each table, as a page draws its colour bar: "sound" from quiet to loud, "change" from quieter to louder."""
    places = np.linspace(0, 255, 9).astype(int)
    tables = {"sound": LOUDNESS, "change": CHANGE}
    return {name: ["#" + bytes(colour).hex() for colour in table[places]] for name, table in tables.items()}
