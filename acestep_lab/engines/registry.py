"""A name, a folder, a hub id or an entry point becomes an engine. Knows families by name only, and loads none before it is asked for.

A family is a module with `NAMES` (catalog names, for completion and the nearest-name hint), `entry(name)` (what the catalog says
of one), `claims(name_or_folder)` (whether it is this family's, looking at names and small JSON files only),
`open_engine(name_or_folder, lm)` and `download(name, lm)` (which files a name stands for). Families of other packages announce
such a module under the entry point group "acestep_lab.engines". Asking for names and entries loads neither torch nor numpy.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.errors import CheckpointError, shown

if TYPE_CHECKING:
    from acestep_lab.engines.base import Engine
    from acestep_lab.models.download import FileSelection

GROUP = "acestep_lab.engines"
OWN: Mapping[str, str] = {
    "musicgen": "acestep_lab.engines.musicgen",
    "ace-step-1.5": "acestep_lab.engines.ace15",
}
"""Our own families, in the order they are asked; the last one explains what it does not know."""


class Family(Protocol):
    """What a family's module offers."""

    NAMES: tuple[str, ...]

    def entry(self, name: str) -> CatalogEntry: ...
    def claims(self, name: str | os.PathLike[str]) -> bool: ...
    def download(self, name: str, lm: str | None = None) -> tuple[FileSelection, ...]: ...
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
    """The family that claims a name or folder; where none does, the one that says what is known of folders and hub ids.

    CheckpointError with the nearest names of all families for a bare name that is none of theirs.
    """
    families = all_families()
    claimed = next((family for family in families.values() if family.claims(name)), None)
    if claimed is None and _is_bare_name(name):
        raise CheckpointError(f"No checkpoint is called {shown(name)}; {_nearest(str(name))}")
    return claimed or families["ace-step-1.5"]


def _nearest(name: str) -> str:
    """Half a sentence naming what somebody may have meant."""
    close = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "`acestep-lab checkpoints` lists those there are; a folder or a hub id in the cache will do as well."


def _is_bare_name(name: object) -> bool:
    """Whether something can be a catalog's name only: neither a path, nor a folder here, nor a hub id."""
    if not isinstance(name, str) or not name.strip() or set(name) & set("/\\"):
        return False
    try:
        return not Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name that no disk has
        return False


def names() -> tuple[str, ...]:
    """Every checkpoint's catalog name, of all families."""
    return tuple(name for family in reversed(all_families().values()) for name in family.NAMES)


def entries() -> tuple[CatalogEntry, ...]:
    """What the catalogs of all families say of their checkpoints, in the order of `names()`."""
    return tuple(family.entry(name) for family in reversed(all_families().values()) for name in family.NAMES)


def download(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """Which files of which repos a catalog name or hub id, and a planner's name, stand for; none for what ships with a package.

    CheckpointError offers the nearest names, and says where a family has no planner.
    """
    return family_of(name).download(name, lm)


@cache
def all_families() -> dict[str, Family]:
    """Every family by its name: those of other packages first, then our own."""
    theirs = {point.name: point.load() for point in metadata.entry_points(group=GROUP) if point.name not in OWN}
    return theirs | {name: importlib.import_module(module) for name, module in OWN.items()}
