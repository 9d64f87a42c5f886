"""One download, from a name to files that are whole: look up, check the disk, fetch what is missing, check, record.

Knows hubs by their protocol alone; what arrives is written here. A file grows in the store's partial folder, over dropped
connections, calls and hubs, and gets its name once its size and checksum are right. Whoever wants to stop presses Ctrl-C, or raises
from `on_progress`: what has arrived is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from acestep_lab.errors import DownloadError, MachineError, shown
from acestep_lab.models.download.hub import Hub, HubError, Listing, RemoteFile, not_a_listing
from acestep_lab.models.download.huggingface import HuggingFace
from acestep_lab.models.download.modelscope import ModelScope
from acestep_lab.models.download.partial import complete_file
from acestep_lab.models.download.selection import FileSelection
from acestep_lab.models.download.store import Store, file_size, free_disk, hub_cache, move_into_place
from acestep_lab.models.memory_plan import gb
from acestep_lab.settings import VARIABLES

PAUSE = 1.0  # seconds before trying again
SPARE = 200 * 2**20  # bytes of disk to leave free


@dataclass(frozen=True)
class Progress:
    """How far one file is."""

    repo: str
    path: str
    done: int  # bytes
    total: int
    number: int  # of this file, from 1
    of: int
    hub: str

    def __str__(self) -> str:
        return f"{self.number}/{self.of} {self.path}: {gb(self.done)} of {gb(self.total)} from {self.hub}"


@dataclass(frozen=True)
class FetchResult:
    """What is on this disk now; says itself in a sentence."""

    name: str
    places: Mapping[str, Path]  # repo → folder
    revisions: Mapping[str, str]
    files: int
    bytes_fetched: int

    def __str__(self) -> str:
        if not self.places:
            return f"{self.name} ships with this package; there is nothing to fetch."
        where = ", ".join(str(place) for place in self.places.values())
        news = f"{gb(self.bytes_fetched)} fetched" if self.bytes_fetched else "nothing was missing"
        pins = ", ".join(f"{repo} at {revision[:12]}" for repo, revision in self.revisions.items())
        return f"{self.name} is here whole, {self.files} files; {news} ({pins}). In {where}."


def fetch(
    name: str,
    selections: Sequence[FileSelection] | None = None,
    folder: str | Path | None = None,
    on_message: Callable[[str], None] | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    update: bool = False,
    offline: bool | None = None,
    hubs: Sequence[Hub] | None = None,
    store: Store | None = None,
    free_bytes: Callable[[Path], int] | None = None,
    pause: float = PAUSE,
) -> FetchResult:
    """Fetch the files a name stands for (`registry.download` tells them); what is here already is checked by size and left.

    Without `selections` the name is a hub id, "owner/name", all of whose files are fetched. `on_message` is called with a sentence now and then, `on_progress` with every piece that arrives. `offline` (by default
    HF_HUB_OFFLINE) asks nobody. Raises DownloadError, and MachineError where the disk has no room.
    """
    selections = (FileSelection(name),) if selections is None else tuple(selections)
    job = DownloadJob(
        () if (_is_offline() if offline is None else offline) else tuple(known_hubs() if hubs is None else hubs),
        store or (hub_cache() if folder is None else Store(Path(folder).expanduser(), is_cache=False)),
        on_message or (lambda sentence: None),
        on_progress or (lambda progress: None),
        pause,
    )
    return job.run(name, selections, update, free_bytes or free_disk)


def known_hubs() -> tuple[Hub, ...]:
    """The hubs of this machine, in order; ACESTEP_DOWNLOAD_SOURCE picks one, as it does for the reference."""
    from huggingface_hub import constants

    known: dict[str, Hub] = {
        "huggingface": HuggingFace(constants.ENDPOINT),
        "modelscope": ModelScope(VARIABLES.get("MODELSCOPE_ENDPOINT", ModelScope.endpoint)),
    }
    asked = VARIABLES.get("ACESTEP_DOWNLOAD_SOURCE", "auto").lower()
    if asked not in ("auto", *known):
        raise DownloadError(f"ACESTEP_DOWNLOAD_SOURCE is auto, huggingface or modelscope, not {shown(asked)}.")
    return tuple(known.values()) if asked == "auto" else (known[asked],)


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.is_offline_mode()


@dataclass(frozen=True)
class DownloadJob:
    """One visit to the hubs."""

    hubs: tuple[Hub, ...]  # none: offline
    store: Store
    on_message: Callable[[str], None]
    on_progress: Callable[[Progress], None]
    pause: float  # seconds

    def run(
        self, name: str, selections: Sequence[FileSelection], update: bool, free_bytes: Callable[[Path], int]
    ) -> FetchResult:
        """Make every selected file be here, whole."""
        listings = {selection: self.look_up(selection, update) for selection in selections}
        missing = {selection: self.missing_files(selection, listing) for selection, listing in listings.items()}
        self.check_disk(name, missing, free_bytes)
        return FetchResult(
            name,
            bytes_fetched=sum(self.download(one, listings[one], files) for one, files in missing.items()),
            places={one.repo: self.store.snapshot_folder(one.repo, found.revision) for one, found in listings.items()},
            revisions={one.repo: found.revision for one, found in listings.items()},
            files=sum(one.includes(file) for one, found in listings.items() for file in found.files),
        )

    def look_up(self, selection: FileSelection, update: bool) -> Listing:
        """What a repo holds: as the lock file says, or as the first hub that answers says."""
        repo, lock = selection.repo, self.store.read_lock(selection.repo)
        if lock is not None and not update and any(map(selection.includes, lock.listing.files)):
            return lock.listing
        if not self.hubs:
            raise DownloadError(
                f"{repo} is not here whole, and offline mode is on (HF_HUB_OFFLINE); unset it to fetch, "
                "or open a folder that holds the checkpoint. The pocket checkpoint is always there."
            )
        failures: list[tuple[Hub, HubError]] = []
        for hub in self.hubs:
            try:
                return _checked(hub.listing(repo, None if update or lock is None else lock.listing.revision), selection)
            except HubError as error:
                failures.append((hub, error))
        raise DownloadError(_not_looked_up(repo, failures))

    def missing_files(self, selection: FileSelection, listing: Listing) -> list[RemoteFile]:
        """The files that are not here in their full size."""
        folder = self.store.snapshot_folder(selection.repo, listing.revision)
        return [
            file for file in listing.files if selection.includes(file) and file_size(folder / file.path) != file.size
        ]

    def check_disk(
        self, name: str, missing: Mapping[FileSelection, Iterable[RemoteFile]], free_bytes: Callable[[Path], int]
    ) -> None:
        """MachineError if the disk has no room for what is to come."""
        need = sum(
            file.size - (file_size(self.store.partial_path(selection.repo, file)) or 0)
            for selection, files in missing.items()
            for file in files
        )
        free = free_bytes(self.store.root)
        if need and need + SPARE > free:
            raise MachineError(
                f"{name} needs {gb(need)} more on disk, and {self.store.root} has {gb(free)} free. Make room, "
                "or name a folder on another disk (--folder; HF_HOME moves the cache)."
            )

    def download(self, selection: FileSelection, listing: Listing, files: Sequence[RemoteFile]) -> int:
        """Fetch files one after the other, from the first hub that has them right; record them. Returns their bytes."""
        repo = selection.repo
        if files and not self.hubs:
            raise DownloadError(
                f"{files[0].path} of {repo} is missing or cut short, and offline mode is on (HF_HUB_OFFLINE); "
                "unset it and run the download again."
            )
        paths = [file.path for file in listing.files if selection.includes(file)]
        if not files and self.store.has_recorded(repo, listing, paths):  # a cache that cannot be written will do
            return 0
        with self.store.exclusively(repo, lambda: self.on_message(f"{repo} is being fetched already; waiting for it.")):
            for number, file in enumerate(files, 1):
                self.on_message(f"{repo}/{file.path}, {gb(file.size)} ({number} of {len(files)})")
                self._download_file(repo, listing.revision, file, number, len(files))
            self.store.write_lock(repo, listing, paths)
            self.store.set_main_revision(repo, listing.revision)
        return sum(file.size for file in files)

    def _download_file(self, repo: str, revision: str, file: RemoteFile, number: int, of: int) -> None:
        """Fetch one file from the first hub that has it right."""
        target, partial = self.store.snapshot_folder(repo, revision) / file.path, self.store.partial_path(repo, file)
        if file_size(target) == file.size:  # another process fetched it while we waited
            return
        failures: list[tuple[Hub, HubError]] = []
        for hub in self.hubs:
            if failures:
                last, error = failures[-1]
                self.on_message(f"{last.name} {error.reason}; trying {hub.name}.")

            def report(done: int, hub: Hub = hub) -> None:
                self.on_progress(Progress(repo, file.path, done, file.size, number, of, hub.name))

            try:
                complete_file(partial, file, bind(hub.pieces, repo, revision, file), report, self.pause)
            except HubError as error:
                failures.append((hub, error))
                continue
            move_into_place(partial, target)
            return
        raise DownloadError(_not_fetched(repo, file, failures, file_size(partial) or 0))


def _checked(listing: Listing, selection: FileSelection) -> Listing:
    """A listing that makes sense and holds something to fetch; DownloadError for one that would write outside its folder."""
    if not listing.well_formed:
        raise not_a_listing()
    strange = next((file for file in listing.files if not file.inside_its_folder), None)
    if strange is not None:
        raise DownloadError(
            f"{selection.repo} lists a file {shown(strange.path)}, which would land outside its folder; it is not fetched."
        )
    if not any(map(selection.includes, listing.files)):
        raise HubError(f"has no weights in {selection.repo}", permanent=True)
    return listing


def _not_looked_up(repo: str, failures: Sequence[tuple[Hub, HubError]]) -> str:
    return f"{shown_repo(repo)} could not be looked up: {_reasons(failures)} What is on this disk still opens."


def _not_fetched(repo: str, file: RemoteFile, failures: Sequence[tuple[Hub, HubError]], kept: int) -> str:
    partly = (
        f"{gb(kept)} of it are kept; run the download again to go on from there." if kept else "Nothing of it is kept."
    )
    return f"{file.path} of {repo} could not be fetched whole: {_reasons(failures)} {partly}"


def _reasons(failures: Sequence[tuple[Hub, HubError]]) -> str:
    """Who was asked and what they did, and the advice of the first who has one, in two sentences."""
    reasons = "; ".join(f"{hub.name} {error.reason}" for hub, error in failures)
    advice = next((error.advice for _, error in failures if error.advice), "")
    return f"{reasons}. {advice or 'Check the connection, or set HF_ENDPOINT to a mirror'}."


def shown_repo(repo: str) -> str:
    """A hub id as a sentence names it, however long."""
    return repo if len(repo) <= 100 and repo.isprintable() else shown(repo, 100)
