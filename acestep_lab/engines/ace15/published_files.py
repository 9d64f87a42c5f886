"""Which files of which repos a name of ACE-Step's catalog stands for. Knows no hub and no disk."""

from __future__ import annotations

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import catalog
from acestep_lab.models.catalog import MAIN_REPO, TEXT_FOLDER, VAE_FOLDER
from acestep_lab.models.download import FileSelection


def select_files(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """What a catalog name or hub id, and a planner's name, stand for; CheckpointError offers the nearest names."""
    found: dict[str, set[str]] = {}
    row = catalog.find(name)
    if row is None and name.count("/") != 1:
        catalog.row(name)  # says which names are near
    if row is None:
        found[name] = set()
    elif row.repo is not None:
        found[row.repo] = {row.folder} - {""}
        found.setdefault(MAIN_REPO, set()).update((VAE_FOLDER, TEXT_FOLDER))
    if lm is not None:
        planner = catalog.lm_row(lm)
        if planner is None:
            raise CheckpointError(f"No planner is called {shown(lm)}; {catalog.nearest(lm, catalog.LMS)}")
        found.setdefault(planner.repo, set()).update({planner.folder} - {""})
    return tuple(FileSelection(repo, tuple(sorted(folders))) for repo, folders in found.items())
