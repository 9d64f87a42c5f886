"""Which files of a repo are fetched. Knows no catalog, no hub and no disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from acestep_lab.models.download.hub import RemoteFile

SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
FILE_NAMES = ("silence_latent.pt",)
"""What is fetched of a repo: weights, configs, tokenizers. Neither code (never run) nor other pickles."""


@dataclass(frozen=True)
class FileSelection:
    """What to fetch of one repo: everything, or some of its folders."""

    repo: str
    folders: tuple[str, ...] = ()

    def includes(self, file: RemoteFile) -> bool:
        path = PurePosixPath(file.path)
        inside = not self.folders or path.parts[0] in self.folders
        return inside and (path.suffix in SUFFIXES or path.name in FILE_NAMES)
