"""ACE-Step v1-3.5B: a linear-attention DiT over pictures of log-mels, with a lyric conformer and a vocoder, behind the contract.

The first ACE-Step (Gong et al. 2025, arXiv 2506.00045) in the folder it was published in. It sings, repaints, extends, retakes,
edits and covers from a sound; it has no planner, no audio codes and no stems. Where it follows the original and where not: REFERENCE.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.engines.ace_v1 import catalog
from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.settings import Settings

if TYPE_CHECKING:
    from acestep_lab.engines.ace_v1.engine import AceV1Engine
    from acestep_lab.models.download import FileSelection

NAMES = tuple(catalog.ROWS)
TASKS = frozenset({"Text2Music", "Retake", "Repaint", "Extend", "FlowEdit", "Cover"})
"""Class names of the tasks it does."""
_NO_PLANNER = "ACE-Step v1 has no planner; lm= is for ACE-Step 1.5 checkpoints. Leave it away."


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is this family's: a name of the catalog, or a folder with a part that only this family has."""
    from acestep_lab.engines.ace_v1.checkpoint import claims
    from acestep_lab.models import onnx_manifest

    if onnx_manifest.is_exported(name):
        return onnx_manifest.family_of(name) == "ace-step-v1"
    return claims(name)


def entry(name: str) -> CatalogEntry:
    """What the catalog says of a checkpoint; CheckpointError for a name that is not in it."""
    row = catalog.find(name)
    if row is None:
        raise CheckpointError(f"No ACE-Step v1 checkpoint is called {shown(name)}; there is {', '.join(NAMES)}.")
    return CatalogEntry(row.name, row.licence, TASKS, sum(row.sizes.values()), row.repo, row.note)


def download(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """Which files a catalog name or hub id stands for: the four folders of its repo."""
    from acestep_lab.engines.ace_v1.checkpoint import FOLDERS
    from acestep_lab.models.download import FileSelection

    if lm is not None:
        raise CheckpointError(_NO_PLANNER)
    row = catalog.find(name)
    return (FileSelection(name if row is None else row.repo, tuple(FOLDERS)),)


def open_engine(
    name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> AceV1Engine:
    """Open a checkpoint of this family; reads small JSON files only. CheckpointError says what is missing."""
    if lm is not None:
        raise CheckpointError(_NO_PLANNER)
    from acestep_lab.models import onnx_manifest

    if onnx_manifest.is_exported(name):
        if precision != "auto":
            raise CheckpointError("An exported checkpoint has the numbers it was exported with; leave precision= away.")
        from acestep_lab.engines.ace_v1.onnx_engine import OnnxAceV1Engine

        return OnnxAceV1Engine.open(Path(name).expanduser())
    from acestep_lab.engines.ace_v1.checkpoint import Checkpoint
    from acestep_lab.engines.ace_v1.engine import AceV1Engine
    from acestep_lab.models.compiling import compile_block

    wanted = Settings.read().on("compile_model")
    return AceV1Engine(Checkpoint.open(name), precision, compile_block if wanted else None)
