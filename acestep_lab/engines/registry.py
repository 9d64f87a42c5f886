"""A name, a folder, a hub id or an entry point becomes an engine. Knows families by name only, and loads none before it is asked for.

A family is a module with `NAMES` (catalog names, for completion and the nearest-name hint), `licence(name)` (of those names'
weights), `claims(name_or_folder)` (whether it is this family's, looking at names and small JSON files only) and
`open_engine(name_or_folder, lm)`. Families of other packages
announce such a module under the entry point group "acestep_lab.engines".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Protocol

from acestep_lab.engines.base import Engine

GROUP = "acestep_lab.engines"
OWN: Mapping[str, str] = {
    "musicgen": "acestep_lab.engines.musicgen",
    "ace-step-1.5": "acestep_lab.engines.ace15",
}
"""Our own families, in the order they are asked; the last one explains what it does not know."""


class Family(Protocol):
    """What a family's module offers."""

    NAMES: tuple[str, ...]

    def licence(self, name: str) -> str: ...
    def claims(self, name: str | os.PathLike[str]) -> bool: ...
    def open_engine(
        self, name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
    ) -> Engine: ...


def open_engine(
    name: str | os.PathLike[str] = "pocket", lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> Engine:
    """The engine of a catalog name, a folder or a hub id; light: JSON only. CheckpointError where there is none.

    `lm` names another planner than the checkpoint's own, `precision` is "auto" or "int8"; a family that has no such thing
    says so.
    """
    return family_of(name).open_engine(name, lm, precision)


def family_of(name: str | os.PathLike[str]) -> Family:
    """The family that claims a name or folder; where none does, the one that says what is known."""
    families = all_families()
    return next((family for family in families.values() if family.claims(name)), families["ace-step-1.5"])


def names() -> tuple[str, ...]:
    """Every checkpoint's catalog name, of all families."""
    return tuple(name for family in reversed(all_families().values()) for name in family.NAMES)


@cache
def all_families() -> dict[str, Family]:
    """Every family by its name: those of other packages first, then our own."""
    theirs = {point.name: point.load() for point in metadata.entry_points(group=GROUP) if point.name not in OWN}
    return theirs | {name: importlib.import_module(module) for name, module in OWN.items()}
