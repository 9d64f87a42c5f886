"""ACE-Step 1.5: an LM planner, a diffusion transformer and an autoencoder behind the engine contract.

Its formulas and where they come from: REFERENCE.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.models import catalog
from acestep_lab.prompt.tasks import MODEL_TASKS
from acestep_lab.settings import Settings

if TYPE_CHECKING:
    from acestep_lab.engines.ace15.engine import Ace15Engine
    from acestep_lab.models.download import FileSelection

NAMES = tuple(catalog.ROWS)


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is this family's: a name of the catalog, a folder in one of its two layouts, or what
    was exported from one to ONNX.
    """
    if isinstance(name, str) and catalog.find(name) is not None:
        return True
    from acestep_lab.models import onnx_manifest
    from acestep_lab.models.loading import is_folder_of_ours

    if onnx_manifest.is_exported(name):
        return onnx_manifest.family_of(name) == "ace-step-1.5"
    return is_folder_of_ours(name)


def entry(name: str) -> CatalogEntry:
    """What the catalog says of a checkpoint; CheckpointError for a name that is not in it."""
    row = catalog.row(name)
    tasks = frozenset(task for task, kind in MODEL_TASKS.items() if row.allows(kind.name))
    note = row.note or f"{row.kind}, {row.steps} steps"
    return CatalogEntry(row.name, row.licence, tasks, sum(row.sizes.values()), row.repo, note)


def download(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """Which files a catalog name or hub id, and a planner's name, stand for; CheckpointError offers the nearest names."""
    from acestep_lab.engines.ace15.published_files import select_files

    return select_files(name, lm)


def open_engine(
    name: str | os.PathLike[str] = "pocket", lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> Ace15Engine:
    """Open a checkpoint of this family; reads small JSON files only. CheckpointError says what is missing."""
    from acestep_lab.engines.ace15.engine import Ace15Engine
    from acestep_lab.models import onnx_manifest
    from acestep_lab.models.compiling import compile_block
    from acestep_lab.models.loading import Checkpoint
    from acestep_lab.models.recording import CudaGraphs

    if onnx_manifest.is_exported(name):
        from acestep_lab.engines.ace15.onnx_engine import OnnxAce15Engine

        return OnnxAce15Engine.open(Path(name).expanduser(), lm, precision)
    wanted = Settings.read()
    compiler = compile_block if wanted.on("compile_model") else None
    recorder = CudaGraphs() if wanted.on("graphs") else None
    return Ace15Engine(Checkpoint.open(name, lm), precision, compiler, recorder, str(wanted.value("lm_step") or "auto"))
