"""MusicGen: a T5 text encoder, a transformer that writes EnCodec tokens, and EnCodec, behind the engine contract.

Meta's MusicGen (Copet et al. 2023, arXiv 2306.05284) in the checkpoints that transformers reads. It makes music from words, goes
on from a sound (Extend after), and its melody checkpoints follow the melody of one (Cover). It does not sing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from acestep_lab.engines.musicgen import catalog
from acestep_lab.errors import CheckpointError

if TYPE_CHECKING:
    from acestep_lab.engines.musicgen.engine import MusicGenEngine

NAMES = tuple(catalog.ROWS)


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is this family's: a name of the catalog, or a config.json that says so in its model_type."""
    from acestep_lab.engines.musicgen.checkpoint import claims

    return claims(name)


def licence(name: str) -> str:
    """The licence of a catalog name's weights."""
    row = catalog.find(name)
    return row.licence if row is not None else catalog.LICENCE


def open_engine(
    name: str | os.PathLike[str], lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> MusicGenEngine:
    """Open a checkpoint of this family; reads small JSON files only. CheckpointError says what is missing."""
    if lm is not None:
        raise CheckpointError("MusicGen has no planner; lm= is for ACE-Step checkpoints. Leave it away.")
    if precision != "auto":
        raise CheckpointError('MusicGen is sampled as it is; leave precision= at "auto".')
    from acestep_lab.engines.musicgen.checkpoint import Checkpoint
    from acestep_lab.engines.musicgen.engine import MusicGenEngine

    return MusicGenEngine(Checkpoint.open(name))
