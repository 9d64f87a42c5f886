"""ACE-Step 1.5: an LM planner, a diffusion transformer and an autoencoder behind the engine contract.

Its formulas and where they come from: REFERENCE.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from acestep_lab.models import catalog

if TYPE_CHECKING:
    from acestep_lab.engines.ace15.engine import Ace15Engine

NAMES = tuple(catalog.ROWS)


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is this family's: a name of the catalog, or a folder in one of its two layouts."""
    if isinstance(name, str) and catalog.find(name) is not None:
        return True
    from acestep_lab.models.loading import is_folder_of_ours

    return is_folder_of_ours(name)


def licence(name: str) -> str:
    """The licence of a catalog name's weights; CheckpointError for a name that is none."""
    return catalog.row(name).licence


def open_engine(
    name: str | os.PathLike[str] = "pocket", lm: str | os.PathLike[str] | None = None, precision: object = "auto"
) -> Ace15Engine:
    """Open a checkpoint of this family; reads small JSON files only. CheckpointError says what is missing."""
    from acestep_lab.engines.ace15.engine import Ace15Engine
    from acestep_lab.models.loading import Checkpoint

    return Ace15Engine(Checkpoint.open(name, lm), precision)
