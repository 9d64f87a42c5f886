"""The checkpoints somebody may choose among, of all families: which are on this machine, and what their licence asks.

Knows families by their registry; loads nothing, and reads small JSON files only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from acestep_lab.engines import registry
from acestep_lab.errors import CheckpointError

FREE_LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause")
"""Licences of weights that let everybody do everything; any other is shown where a checkpoint is chosen."""


@dataclass(frozen=True)
class OfferedCheckpoint:
    """A checkpoint of the catalogs, as somebody who chooses sees it."""

    name: str
    family: str
    licence: str
    missing: str = ""
    """Why it cannot be used now, and how to fetch it; "" where it is on this machine."""


def offered() -> Iterator[OfferedCheckpoint]:
    """Every checkpoint of every family's catalog, those that are always there first."""
    for family, module in reversed(registry.all_families().items()):
        for name in module.NAMES:
            try:
                yield OfferedCheckpoint(name, family, module.licence(name), _missing(module, name))
            except CheckpointError as problem:  # another package's, which cannot say under which licence it is
                yield OfferedCheckpoint(name, family, "", str(problem))


def _missing(module: registry.Family, name: str) -> str:
    """What a checkpoint lacks to be opened here, as a sentence."""
    try:
        module.open_engine(name)
    except CheckpointError as problem:
        return str(problem)
    return ""


def licence_note(licence: str) -> str:
    """A sentence to show wherever weights under a licence are chosen; "" where it lets everybody do everything."""
    if licence in FREE_LICENCES:
        return ""
    terms = " They are not for commercial use." if "-NC" in licence.upper() else ""
    return f"Its weights are under {licence}.{terms}"
