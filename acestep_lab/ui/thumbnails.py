"""Small waveforms of takes, kept beside them, so that a page of many opens no sound to draw them. Knows no browser.

A take never changes, so neither does its waveform; the folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from acestep_lab.errors import LabError
from acestep_lab.files import read_bytes, write_whole
from acestep_lab.takes.ids import is_take_id
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks

BINS = 200
"""Pairs of lowest and highest in one waveform."""
FOLDER = ".waveforms"


class Thumbnails:
    """Waveforms by id, in memory and, with a folder, on disk."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = None if folder is None else folder / FOLDER
        self._kept: dict[str, bytes] = {}

    def get(self, id: str, take: Callable[[], Take]) -> bytes:
        """The int8 pairs of a take; its sound is asked for only where nobody has drawn it yet."""
        if id not in self._kept:
            self._kept[id] = self._read(id) or self._draw(id, take())
        return self._kept[id]

    def has(self, id: str) -> bool:
        """Whether a waveform is at hand without its sound."""
        if id not in self._kept and (found := self._read(id)):
            self._kept[id] = found
        return id in self._kept

    def _draw(self, id: str, take: Take) -> bytes:
        data = tracks.view(take, 0.0, take.seconds, BINS).pairs.tobytes()
        if self._folder is not None and is_take_id(id) and not self._folder.is_symlink():
            with contextlib.suppress(LabError, OSError):  # it is drawn again next time
                self._folder.mkdir(exist_ok=True)
                write_whole(self._folder / id, lambda path: path.write_bytes(data))
        return data

    def _read(self, id: str) -> bytes:
        if self._folder is None or not is_take_id(id) or self._folder.is_symlink():
            return b""
        try:
            data = read_bytes(self._folder / id, most=2 * BINS)
        except LabError:
            return b""
        return data if 0 < len(data) <= 2 * BINS and len(data) % 2 == 0 else b""
