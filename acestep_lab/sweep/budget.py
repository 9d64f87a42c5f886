"""What a sweep will cost, before anything is made: cells, time from what takes of this checkpoint took, bytes. Knows manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from acestep_lab.errors import LibraryError
from acestep_lab.jobs.progress import clock_of
from acestep_lab.jobs.run import USUAL_SECONDS
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep.cells import Sweep
from acestep_lab.takes.library import Library

MOST_READ = 12
"""Takes whose seconds are looked at, the newest first."""
BYTES_A_SECOND = 48_000 * 2 * 3
"""What a second of stereo takes as FLAC of 24 bits, at most about."""


@dataclass(frozen=True)
class Budget:
    """What a sweep will cost: print it for a sentence; `refused` says which cells cannot be made, and why."""

    sweep: Sweep
    there: int
    """Cells whose takes are in the library already."""
    to_make: int
    refused: Mapping[int, str] = field(default_factory=dict)
    """Cells that their engine refuses, by place, each with its sentence."""
    seconds: float | None = None
    """How long it will take, from what earlier takes took; None where none was measured."""
    bytes: int = 0
    where: str = "this session"

    def __str__(self) -> str:
        """In a sentence or two."""
        count = len(self.sweep.cells)
        parts = [f"{count} cell{'s' * (count != 1)}: {self.to_make} to make on {self.where}"]
        parts += [f"{self.there} there already"] * bool(self.there)
        parts += [f"{len(self.refused)} refused"] * bool(self.refused)
        time = "how long is not measured yet" if self.seconds is None else f"about {clock_of(self.seconds)}"
        return f"{', '.join(parts)}; {time}, {self.bytes / 1e6:.0f} MB." if self.to_make else f"{', '.join(parts)}."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.sweep.full_name, "cells": len(self.sweep.cells), "there": self.there, "to_make": self.to_make,
            "refused": {str(place): why for place, why in self.refused.items()}, "seconds": self.seconds,
            "bytes": self.bytes, "where": self.where,
        }  # fmt: skip


def seconds_of(
    recipes: Sequence[Recipe], width: int, library: Library, checkpoint: str, measured: Sequence[float]
) -> float | None:
    """How long these recipes take, so many at a time; None where nothing was measured.

    From this sweep's own cells where there are any, else from the newest takes by this checkpoint: seconds of work for each
    second of music and step.
    """
    if not recipes:
        return 0.0
    if measured:
        return median(measured) * len(recipes) / max(1, width)
    paces = _paces(library, checkpoint)
    if not paces:
        return None
    return median(paces) * sum(_size(one.to_json()) for one in recipes) / max(1, width)


def _paces(library: Library, checkpoint: str) -> list[float]:
    found: list[float] = []
    for card in library.cards():
        if len(found) >= MOST_READ:
            break
        try:
            told = library.told(card.id)[0]
        except LibraryError:  # gone since it was listed
            continue
        made = told.get("made_with") or {}
        spent = sum(float(one) for one in dict(made.get("seconds") or {}).values())
        if made.get("checkpoint") == checkpoint and "step" not in made and spent > 0:
            found.append(spent / _size(told["recipe"]))
    return found


def _size(recipe: Mapping[str, Any]) -> float:
    """Music in seconds, times steps."""
    return float(recipe.get("seconds") or USUAL_SECONDS) * float(recipe.get("steps") or 8)
