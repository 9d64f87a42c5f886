"""MusicGen: a T5 text encoder, a transformer that writes EnCodec tokens, and EnCodec, behind the engine contract.

Meta's MusicGen (Copet et al. 2023, arXiv 2306.05284) in the checkpoints that transformers reads. It makes music from words, goes
on from a sound (Extend after), and its melody checkpoints follow the melody of one (Cover). It does not sing.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.engines.musicgen import catalog
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.settings import Settings

if TYPE_CHECKING:
    from acestep_lab.engines.musicgen.engine import MusicGenEngine
    from acestep_lab.models.download import FileSelection

NAMES = tuple(catalog.ROWS)
_NO_PLANNER = "MusicGen has no planner; lm= is for ACE-Step checkpoints. Leave it away."


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is this family's: a name of the catalog, or a config.json that says so in its model_type."""
    from acestep_lab.engines.musicgen.checkpoint import claims
    from acestep_lab.models import onnx_manifest

    if onnx_manifest.is_exported(name):
        return onnx_manifest.family_of(name) == "musicgen"
    return claims(name)


def entry(name: str) -> CatalogEntry:
    """What the catalog says of a checkpoint; CheckpointError for a name that is not in it."""
    row = catalog.find(name)
    if row is None:
        raise CheckpointError(f"No MusicGen checkpoint is called {shown(name)}; there are {', '.join(NAMES)}.")
    tasks = frozenset({"Text2Music", "Extend", *(["Cover"] if row.melody else [])})
    return CatalogEntry(row.name, row.licence, tasks, sum(row.sizes.values()), row.repo, row.note)


def download(name: str, lm: str | None = None) -> tuple[FileSelection, ...]:
    """Which files a catalog name or hub id stands for: all weights, configs and the tokenizer of its repo."""
    from acestep_lab.models.download import FileSelection

    if lm is not None:
        raise CheckpointError(_NO_PLANNER)
    row = catalog.find(name)
    return (FileSelection(name if row is None else row.repo),)


def open_engine(
    name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> MusicGenEngine:
    """Open a checkpoint of this family; reads small JSON files only. CheckpointError says what is missing."""
    if lm is not None:
        raise CheckpointError(_NO_PLANNER)
    if precision != "auto":
        raise CheckpointError('MusicGen is sampled as it is; leave precision= at "auto".')
    from acestep_lab.models import onnx_manifest

    if onnx_manifest.is_exported(name):
        from acestep_lab.engines.musicgen.onnx_engine import OnnxMusicGenEngine

        return OnnxMusicGenEngine.open(Path(name).expanduser())
    from acestep_lab.engines.musicgen.checkpoint import Checkpoint
    from acestep_lab.engines.musicgen.engine import MusicGenEngine
    from acestep_lab.models.recording import recorder_for

    step = Settings.read().value("lm_step") or "auto"
    return MusicGenEngine(Checkpoint.open(name), road=partial(recorder_for, wish=step))
