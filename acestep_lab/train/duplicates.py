"""Which sounds of many are the same, also where one is a lossy copy of the other.

Knows sounds and fingerprints. Few pairs are ever held against each other: only those of nearly one length and one outline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError
from acestep_lab.takes.fingerprint import LONGER_SECONDS, fingerprint, is_copy, outline
from acestep_lab.takes.identity import digest
from acestep_lab.train.song import Song

_NEAR_DECIBELS = 1.0
"""How far two outlines of one sound may lie apart, on average."""


@dataclass(frozen=True)
class _Print:
    name: str
    seconds: float
    digest: str
    print: str
    outline: np.ndarray  # [parts * bands], decibels


class Duplicates:
    """Sounds are added one after another and let go; then it says which are which."""

    def __init__(self) -> None:
        self._prints: list[_Print] = []

    def add(self, name: str, audio: Audio) -> None:
        """Remember a sound by its fingerprint."""
        print_ = fingerprint(audio)
        around = outline(print_, audio.seconds, audio.channels)
        self._prints.append(_Print(name, audio.seconds, digest(audio.samples), print_, around))

    def pairs(self, songs: Mapping[str, Song]) -> dict[str, str]:
        """For each sound that came before in the order of adding, the name of the first one like it."""
        order = {one.name: number for number, one in enumerate(self._prints)}
        by_length = sorted(self._prints, key=lambda one: (one.seconds, order[one.name]))
        found: dict[str, str] = {}
        lengths = np.array([one.seconds for one in by_length])
        outlines = np.stack([one.outline for one in by_length]) if by_length else np.zeros((0, 1))
        for place, one in enumerate(by_length):
            end = int(np.searchsorted(lengths, one.seconds + LONGER_SECONDS, side="right"))
            away = np.abs(outlines[place + 1 : end] - one.outline).mean(axis=1)
            for step in np.flatnonzero(away <= _NEAR_DECIBELS):
                other = by_length[place + 1 + int(step)]
                if not (one.name in found and found.get(other.name) == found[one.name]) and _same(one, other, songs):
                    _join(found, one.name, other.name, order)
        return found


def _join(found: dict[str, str], one: str, other: str, order: Mapping[str, int]) -> None:
    """Note that two sounds are one: all of their group go by the earliest."""
    roots = {found.get(one, one), found.get(other, other)}
    first = min(roots, key=order.__getitem__)
    members = {one, other} | roots | {name for name, root in found.items() if root in roots}
    found.update(dict.fromkeys(members - {first}, first))


def _same(shorter: _Print, longer: _Print, songs: Mapping[str, Song]) -> bool:
    if shorter.digest == longer.digest:
        return True
    try:
        return is_copy(shorter.print, shorter.seconds, songs[longer.name].audio())
    except SourceError:  # it went away since
        return False
