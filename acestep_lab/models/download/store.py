"""Where fetched files lie, and the list of what was fetched. Knows this disk; asks no hub.

No revision is written into the catalog, because none could be looked up when it was made. Instead the first download records
the commit and every file's checksum in `acestep-lab.lock.json` beside the weights, and later ones fetch exactly that,
until `update=True`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acestep_lab.errors import DownloadError, MachineError, shown
from acestep_lab.files import read_json, write_whole
from acestep_lab.models.catalog import MAIN_REPO
from acestep_lab.models.download.hub import Listing, RemoteFile

LOCKFILE = "acestep-lab.lock.json"
PARTIAL_FOLDER = ".partial"


@dataclass(frozen=True)
class LockEntry:
    """What the first download recorded of a repo."""

    listing: Listing
    fetched: frozenset[str]  # paths


@dataclass(frozen=True)
class Store:
    """Where files of a repo go: the hub's cache, or a folder of one's own."""

    root: Path
    is_cache: bool = True

    def repo_folder(self, repo: str) -> Path:
        """The folder that holds a repo's partial files and its lock file."""
        if self.is_cache:
            return self.root / f"models--{repo.replace('/', '--')}"
        return self.root

    def snapshot_folder(self, repo: str, revision: str) -> Path:
        """The folder a repo's files lie in, by their paths in the repo."""
        if self.is_cache:
            return self.repo_folder(repo) / "snapshots" / revision
        return self.root if repo == MAIN_REPO else self.root / repo.split("/")[-1]

    def partial_path(self, repo: str, file: RemoteFile) -> Path:
        """Where a file grows until it is whole; named by its contents, so that any hub may go on with it."""
        return self.repo_folder(repo) / PARTIAL_FOLDER / file.key

    def set_main_revision(self, repo: str, revision: str) -> None:
        """Make a revision the one that is found when none is named."""
        if self.is_cache:
            ref = self.repo_folder(repo) / "refs" / "main"
            make_folder(ref.parent)
            write_whole(ref, lambda draft: draft.write_text(revision), "The newest revision's name", DownloadError)

    def read_lock(self, repo: str) -> LockEntry | None:
        """What was fetched the first time, if anything was; a damaged list counts as none."""
        try:
            entry = self._read_lockfile(repo)[repo]
            files = tuple(RemoteFile(**file) for file in entry["files"])
            lock = LockEntry(Listing(entry["revision"], files), frozenset(entry["fetched"]))
        except (ValueError, KeyError, TypeError):
            return None
        whole = lock.listing.well_formed and all(type(path) is str for path in lock.fetched)
        return lock if whole and all(file.inside_its_folder for file in files) else None

    def recorded_repos(self) -> tuple[str, ...]:
        """The repos that a list here says were fetched, by name; damaged lists are passed over."""
        folders = sorted(self.root.glob("models--*")) if self.is_cache else [self.root]
        named = {repo for folder in folders for repo in self._repos_in(folder / LOCKFILE)}
        return tuple(sorted(repo for repo in named if self.read_lock(repo) is not None))

    def _repos_in(self, lockfile: Path) -> Iterable[str]:
        """The repos that a lock file names; none where there is no such file, or a damaged one."""
        try:
            return read_json(lockfile, "The list of what was fetched", DownloadError).keys()
        except DownloadError:
            return ()

    def write_lock(self, repo: str, listing: Listing, fetched: Iterable[str]) -> None:
        """Record a listing, and which of its files are here whole."""
        before = self.read_lock(repo)
        if before is not None and before.listing.revision == listing.revision:
            fetched = before.fetched.union(fetched)
        entry = {
            "revision": listing.revision,
            "fetched": sorted(fetched),
            "files": [vars(file) for file in listing.files],
        }
        text = json.dumps(self._read_lockfile(repo) | {repo: entry}, indent=1)
        path = self.repo_folder(repo) / LOCKFILE
        make_folder(path.parent)
        write_whole(
            path, lambda draft: draft.write_text(text, encoding="utf-8"), "The list of what was fetched", DownloadError
        )

    def has_recorded(self, repo: str, listing: Listing, paths: Iterable[str]) -> bool:
        """Whether the list says so already."""
        lock = self.read_lock(repo)
        return lock is not None and lock.listing == listing and lock.fetched.issuperset(paths)

    def _read_lockfile(self, repo: str) -> dict[str, Any]:
        """What the lock file holds, by repo; nothing where there is none, or a damaged one."""
        try:
            return read_json(self.repo_folder(repo) / LOCKFILE, "The list of what was fetched", DownloadError)
        except DownloadError:
            return {}

    @contextmanager
    def exclusively(self, repo: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold a repo's folder against other processes that fetch into it; `on_wait` is called once before waiting."""
        from filelock import FileLock, Timeout

        folder = self.repo_folder(repo) / PARTIAL_FOLDER
        make_folder(folder)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            yield
        finally:
            lock.release()


def hub_cache() -> Store:
    """The hub's cache on this machine (HF_HOME, HF_HUB_CACHE)."""
    from huggingface_hub import constants

    return Store(Path(constants.HF_HUB_CACHE))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; MachineError where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def move_into_place(partial: Path, target: Path) -> None:
    """Give a file that is whole its name; MachineError where the disk refuses."""
    make_folder(target.parent)
    try:
        os.replace(partial, target)
    except OSError as error:
        raise not_writable(target, error) from error


def not_writable(path: Path, error: OSError) -> MachineError:
    """For whatever keeps us from writing there."""
    return MachineError(
        f"{shown(str(path), 120)} cannot be written ({error.strerror}); name another folder (--folder)."
    )


def file_size(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def free_disk(path: Path) -> int:
    """Free bytes on the disk a folder lies on, or will lie on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
