"""The checkpoints somebody may choose among, of all families: what they can do, which are on this machine, what their licence asks.

Knows families by their registry; loads nothing, and reads small JSON files only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from acestep_lab.engines import registry
from acestep_lab.errors import CheckpointError
from acestep_lab.models.catalog import LMS

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
    note: str = ""
    """What sets it apart, in a few words."""
    bytes: int = 0
    """Of its weights at two bytes a number: of its files where it is here, else as the catalog says."""
    tasks: frozenset[str] = frozenset()
    """Class names of the tasks it can do."""


def offered() -> Iterator[OfferedCheckpoint]:
    """Every checkpoint of every family's catalog, those that are always there first."""
    for family, module in reversed(registry.all_families().items()):
        for name in module.NAMES:
            yield _looked_at(family, module, name)


def _looked_at(family: str, module: registry.Family, name: str) -> OfferedCheckpoint:
    """A checkpoint as its files tell of it, or as the catalog does where they are not here."""
    entry = module.entry(name)
    try:
        engine = module.open_engine(name)
        size = sum(spec.bytes for spec in engine.component_specs())
    except CheckpointError as problem:
        return OfferedCheckpoint(name, family, entry.licence, str(problem), entry.note, entry.bytes, entry.tasks)
    can = engine.capabilities
    return OfferedCheckpoint(name, family, can.licence, "", entry.note, size, can.tasks)


@dataclass(frozen=True)
class OfferedPlanner:
    """A planner that a checkpoint can be opened with, as somebody who chooses sees it."""

    name: str
    note: str = ""
    missing: str = ""
    """Why it cannot be used now; "" where it is on this machine."""


def offered_planners(checkpoint: str) -> tuple[OfferedPlanner, ...]:
    """The planners a checkpoint of the catalogs can be opened with; none where its family has no such thing."""
    try:
        if not registry.open_engine(checkpoint).capabilities.takes_lm:
            return ()
    except CheckpointError:
        return ()
    return tuple(OfferedPlanner(row.name, row.note, _lacks(checkpoint, row.name)) for row in LMS.values())


def _lacks(checkpoint: str, planner: str) -> str:
    """Why a checkpoint cannot be opened with a planner; "" where it can."""
    try:
        registry.open_engine(checkpoint, planner)
    except CheckpointError as problem:
        return str(problem)
    return ""


def licence_note(licence: str) -> str:
    """A sentence to show wherever weights under a licence are chosen; "" where it lets everybody do everything."""
    if licence in FREE_LICENCES:
        return ""
    terms = " They are not for commercial use." if "-NC" in licence.upper() else ""
    return f"Its weights are under {licence}.{terms}"
