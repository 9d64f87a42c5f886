"""Whether files are those that the hub listed: sizes and checksums. Reads this disk; asks no hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

from acestep_lab.models.download.hub import RemoteFile
from acestep_lab.models.download.store import Store, file_size, hub_cache

READ_SIZE = 1 << 20  # bytes read at a time


def checksum(path: Path, file: RemoteFile) -> str:
    """The checksum of a file on disk, of the kind the hub gave: sha256, or git's blob id; "" where it gave none."""
    if not (file.sha256 or file.blob):
        return ""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while piece := stream.read(READ_SIZE):
            digest.update(piece)
    return digest.hexdigest()


def expected_checksum(file: RemoteFile) -> str:
    """What `checksum` must find."""
    return (file.sha256 or file.blob).lower()


def verify(repo: str, store: Store | None = None, deep: bool = False) -> list[str]:
    """What is wrong with a repo that was fetched, a sentence each: missing, cut short and (`deep`) changed files."""
    store = store or hub_cache()
    lock = store.read_lock(repo)
    if lock is None:
        return []
    folder, found = store.snapshot_folder(repo, lock.listing.revision), []
    for file in (file for file in lock.listing.files if file.path in lock.fetched):
        size = file_size(folder / file.path)
        if size is None:
            found.append(f"{folder / file.path} is missing")
        elif size != file.size:
            found.append(f"{folder / file.path} has {size:,} of {file.size:,} bytes")
        elif deep and checksum(folder / file.path, file) != expected_checksum(file):
            found.append(f"{folder / file.path} has changed since it was fetched")
    return found
