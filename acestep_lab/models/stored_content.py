"""Whether two components on disk are the same weights, by proof instead of by name. Knows files; no torch.

Two checkpoints often bring the same text encoder or autoencoder, once in a folder beside both or copied into each. Loaded, the same
content is one module (`DeviceManager`), so being alike is not enough: a finely tuned autoencoder has the same name, size and
header as the one it came from. The proof has three stages, each only where the one before holds:

1. The *outline* is the same: what builds it, its config, every tensor's name, shape and type, and the sizes of the files.
2. The files are the same ones on this disk (a link to one place, as in the hub's cache): proof enough.
3. Else the digests of their whole contents are the same. Each file is read for it once (about 1 GB a second).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import cast

from acestep_lab import files
from acestep_lab.errors import CheckpointError
from acestep_lab.models.weights import Entry, short

HEAD_BYTES = 2**20
"""Bytes of a file that its mark is made of."""


@dataclass(frozen=True)
class StoredFile:
    """A file as the disk knows it: two with the same values are one file, unchanged."""

    path: Path
    device: int
    inode: int
    size: int  # bytes
    modified: int  # nanoseconds

    @classmethod
    def at(cls, path: Path) -> StoredFile:
        """The file a path leads to, links followed; CheckpointError where there is none."""
        try:
            real = path.resolve(strict=True)
            found = real.stat()
        except OSError as reason:
            raise CheckpointError(f"The file {short(path)} cannot be read ({reason.strerror}).") from reason
        return cls(real, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def is_file(self, other: StoredFile) -> bool:
        """Whether both are one file on one disk."""
        mine = (self.device, self.inode, self.size, self.modified)
        return mine == (other.device, other.inode, other.size, other.modified) and (
            self.inode != 0 or self.path == other.path  # a disk that numbers no files
        )


@dataclass(frozen=True)
class StoredContent:
    """The weights of one component on disk, to be compared with another's."""

    outline: str  # a digest of what builds it, its config and its tensors' names, shapes and types
    stored: tuple[StoredFile, ...] = field(repr=False)

    @classmethod
    def of(
        cls, made_by: str, config: Mapping[str, object], entries: Mapping[str, Entry], others: Iterable[Path] = ()
    ) -> StoredContent:
        """The content of a component from its config and its tensors' headers; `others` are files it also reads.

        `made_by` names what builds the module: two builders never share, whatever they read.
        """
        tensors = sorted((name, entry.key, entry.dtype, *entry.shape) for name, entry in entries.items())
        kept = {key: value for key, value in config.items() if not key.startswith("_")}  # "_name_or_path" and its kin
        text = json.dumps([made_by, kept, tensors], sort_keys=True, default=str)
        paths = sorted({entry.file for entry in entries.values()}) + sorted(others)
        return cls(hashlib.sha256(text.encode()).hexdigest(), tuple(StoredFile.at(path) for path in paths))

    @cached_property
    def mark(self) -> str:
        """A short name of the content, from its outline and the first bytes of its files: quick, and no proof."""
        digest = hashlib.blake2b(self.outline.encode(), digest_size=8)
        for file in self.stored:
            digest.update(str(file.size).encode() + _head(file.path))
        return digest.hexdigest()

    def is_same_as(self, other: StoredContent) -> bool:
        """Whether both are the same numbers; files are read only where nothing less could tell."""
        mine, theirs = self.stored, other.stored
        if self.outline != other.outline or [one.size for one in mine] != [one.size for one in theirs]:
            return False
        return all(one.is_file(two) or digest(one) == digest(two) for one, two in zip(mine, theirs, strict=True))


@lru_cache(maxsize=256)
def digest(stored: StoredFile) -> str:
    """SHA-256 of a whole file, remembered as long as it is unchanged; CheckpointError where it cannot be read."""
    with files.open_ordinary(stored.path, "The weights", CheckpointError) as stream:
        try:
            found = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
            changed = os.fstat(stream.fileno()).st_mtime_ns != stored.modified
        except OSError as reason:
            raise CheckpointError(f"The file {short(stored.path)} cannot be read ({reason.strerror}).") from reason
    if changed:
        raise CheckpointError(f"The file {short(stored.path)} changed while it was read; open the checkpoint again.")
    return found


def _head(path: Path) -> bytes:
    """The first bytes of a file; CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError as reason:
        raise CheckpointError(f"The file {short(path)} cannot be read ({reason.strerror}).") from reason
