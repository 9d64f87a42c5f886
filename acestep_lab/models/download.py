"""Getting weights: a catalog row or a hub id becomes files on this disk, whole and checked. It knows no tensors.

::

    fetch("turbo", lm="1.7B", say=print)      # into the hub's cache, where `Checkpoint.open("turbo")` finds it
    fetch("owner/name", folder="checkpoints") # any hub id; into a folder of one's own

Hubs are tried in order: Hugging Face (or the mirror that HF_ENDPOINT names), then ModelScope. A file cut short goes on where it
stopped, also after a restart (huggingface_hub 2 keeps no partial files, so its own downloads start from nothing; we write into
its cache all the same); it is kept under its name only once its size and checksum are right. Free disk is checked first.

No revision is written into the catalog, because none could be looked up when it was made. Instead the first download records
the commit and every file's checksum in `acestep-lab.lock.json` beside the weights, and later ones fetch exactly that,
until `update=True`.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from acestep_lab.errors import CheckpointError, DownloadError, MachineError
from acestep_lab.files import read_json, write_whole
from acestep_lab.models import catalog
from acestep_lab.models.catalog import MAIN_REPO, TEXT_FOLDER, VAE_FOLDER
from acestep_lab.models.memory_plan import gb

LOCK = "acestep-lab.lock.json"
CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # in a row without a byte won, for each file and hub
PAUSE = 1.0  # seconds before trying again
SPARE = 200 * 2**20  # bytes of disk to leave free

KEPT = (".json", ".safetensors", ".txt", ".model", ".jinja")
ALSO_KEPT = ("silence_latent.pt",)
"""What is fetched of a repo: weights, configs, tokenizers. Neither code (never run) nor other pickles."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repo: where, how long, and what it must hash to."""

    path: str  # inside the repo, with slashes
    size: int  # bytes
    sha256: str = ""  # of a large file
    blob: str = ""  # git's id (sha1) of a small one

    @property
    def key(self) -> str:
        """What names its contents."""
        return self.sha256 or self.blob or hashlib.sha256(f"{self.path}:{self.size}".encode()).hexdigest()


@dataclass(frozen=True)
class Listing:
    """What a repo holds at one revision."""

    revision: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Lock:
    """What the first download recorded of a repo."""

    listing: Listing
    fetched: frozenset[str]  # paths


@dataclass(frozen=True)
class Wanted:
    """What to fetch of one repo: everything, or some of its folders."""

    repo: str
    folders: tuple[str, ...] = ()

    def takes(self, file: RemoteFile) -> bool:
        path = PurePosixPath(file.path)
        inside = not self.folders or path.parts[0] in self.folders
        return inside and (path.suffix in KEPT or path.name in ALSO_KEPT)


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
class Fetched:
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


class Hub(Protocol):
    """A place that lists a repo and serves its files."""

    @property
    def name(self) -> str: ...
    def listing(self, repo: str, revision: str | None) -> Listing: ...
    def request(self, repo: str, revision: str, path: str) -> urllib.request.Request: ...


@dataclass(frozen=True)
class HuggingFace:
    """Hugging Face, or a mirror that speaks its protocol."""

    endpoint: str = "https://huggingface.co"
    token: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return urllib.parse.urlsplit(self.endpoint).netloc

    def listing(self, repo: str, revision: str | None) -> Listing:
        said = _json(self._asking(f"/api/models/{repo}/revision/{revision or 'main'}?blobs=true"))
        files = [
            RemoteFile(
                entry["rfilename"], int(entry.get("size") or 0), (entry.get("lfs") or {}).get("sha256", ""),
                "" if entry.get("lfs") else entry.get("blobId", ""),
            )
            for entry in said["siblings"]
        ]  # fmt: skip
        return Listing(said["sha"], tuple(files))

    def request(self, repo: str, revision: str, path: str) -> urllib.request.Request:
        return self._asking(f"/{repo}/resolve/{revision}/{urllib.parse.quote(path)}")

    def _asking(self, path: str) -> urllib.request.Request:
        request = urllib.request.Request(self.endpoint.rstrip("/") + path)
        if self.token:  # never passed on to where a redirect leads
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request


@dataclass(frozen=True)
class ModelScope:
    """ModelScope, the mirror the reference falls back to; its repos have the same names, its revisions do not."""

    endpoint: str = "https://modelscope.cn"

    @property
    def name(self) -> str:
        return urllib.parse.urlsplit(self.endpoint).netloc

    def listing(self, repo: str, revision: str | None) -> Listing:
        said = _json(self._asking(f"/api/v1/models/{repo}/repo/files?Revision=master&Recursive=true"))
        rows = [row for row in said["Data"]["Files"] if row.get("Type") != "tree"]
        files = tuple(RemoteFile(row["Path"], int(row["Size"]), row.get("Sha256") or "") for row in rows)
        contents = "\n".join(sorted(f"{file.path} {file.key}" for file in files))
        return Listing(hashlib.sha1(contents.encode()).hexdigest(), files)  # named by what it holds

    def request(self, repo: str, revision: str, path: str) -> urllib.request.Request:
        return self._asking(f"/api/v1/models/{repo}/repo?Revision=master&FilePath={urllib.parse.quote(path)}")

    def _asking(self, path: str) -> urllib.request.Request:
        return urllib.request.Request(self.endpoint.rstrip("/") + path, headers={"User-Agent": "acestep-lab"})


def known_hubs() -> tuple[Hub, ...]:
    """The hubs of this machine, in order; ACESTEP_DOWNLOAD_SOURCE picks one, as it does for the reference."""
    from huggingface_hub import constants, get_token

    known: dict[str, Hub] = {
        "huggingface": HuggingFace(constants.ENDPOINT, get_token()),
        "modelscope": ModelScope(os.environ.get("MODELSCOPE_ENDPOINT", ModelScope.endpoint)),
    }
    asked = os.environ.get("ACESTEP_DOWNLOAD_SOURCE", "auto").lower()
    if asked not in ("auto", *known):
        raise DownloadError(f"ACESTEP_DOWNLOAD_SOURCE is auto, huggingface or modelscope, not {asked!r}.")
    return tuple(known.values()) if asked == "auto" else (known[asked],)


def wanted(name: str, lm: str | None = None) -> tuple[Wanted, ...]:
    """What a catalog name or hub id, and a planner's name, stand for; CheckpointError offers the nearest names."""
    found: dict[str, set[str]] = {}
    row = catalog.find(name)
    if row is None and name.count("/") != 1:
        catalog.row(name)  # says which names are near
    if row is None:
        found[name] = set()
    elif row.repo is not None:
        found[row.repo] = {row.folder} - {""}
        found.setdefault(MAIN_REPO, set()).update((VAE_FOLDER, TEXT_FOLDER))
    if lm is not None:
        planner = catalog.lm_row(lm)
        if planner is None:
            raise CheckpointError(f"No planner is called {lm!r}; {catalog.nearest(lm, catalog.LMS)}")
        found.setdefault(planner.repo, set()).update({planner.folder} - {""})
    return tuple(Wanted(repo, tuple(sorted(folders))) for repo, folders in found.items())


@dataclass(frozen=True)
class Store:
    """Where files of a repo go: the hub's cache, or a folder of one's own."""

    root: Path
    is_cache: bool = True

    def home(self, repo: str) -> Path:
        """The folder that holds a repo's partial files and its lock."""
        if self.is_cache:
            return self.root / f"models--{repo.replace('/', '--')}"
        return self.root

    def place(self, repo: str, revision: str) -> Path:
        """The folder a repo's files lie in, by their paths in the repo."""
        if self.is_cache:
            return self.home(repo) / "snapshots" / revision
        return self.root if repo == MAIN_REPO else self.root / repo.split("/")[-1]

    def partial(self, repo: str, file: RemoteFile) -> Path:
        return self.home(repo) / ".partial" / file.key

    def keep(self, repo: str, revision: str) -> None:
        """Make a revision the one that is found when none is named."""
        if self.is_cache:
            ref = self.home(repo) / "refs" / "main"
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(revision)

    def lock(self, repo: str) -> Lock | None:
        """What was fetched the first time, if anything was; a damaged lock counts as none."""
        try:
            said = self._locks(repo)[repo]
            files = tuple(RemoteFile(**entry) for entry in said["files"])
            lock = Lock(Listing(said["revision"], files), frozenset(said["fetched"]))
        except (ValueError, KeyError, TypeError):
            return None
        texts = [
            said["revision"],
            *lock.fetched,
            *(text for file in files for text in (file.path, file.sha256, file.blob)),
        ]
        whole = all(type(text) is str for text in texts) and all(type(file.size) is int for file in files)
        return lock if whole else None

    def write_lock(self, repo: str, listing: Listing, fetched: Iterable[str]) -> None:
        """Record a listing, and which of its files are here whole."""
        before = self.lock(repo)
        if before is not None and before.listing.revision == listing.revision:
            fetched = before.fetched.union(fetched)
        said = self._locks(repo) | {
            repo: {
                "revision": listing.revision,
                "fetched": sorted(fetched),
                "files": [vars(file) for file in listing.files],
            }
        }
        path = self.home(repo) / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(said, indent=1)
        write_whole(
            path, lambda draft: draft.write_text(text, encoding="utf-8"), "The list of what was fetched", DownloadError
        )

    def _locks(self, repo: str) -> dict[str, Any]:
        """What the lock's file holds, by repo; nothing where there is none, or a damaged one."""
        try:
            return read_json(self.home(repo) / LOCK, "The list of what was fetched", DownloadError)
        except DownloadError:
            return {}


def cache() -> Store:
    """The hub's cache on this machine (HF_HOME, HF_HUB_CACHE)."""
    from huggingface_hub import constants

    return Store(Path(constants.HF_HUB_CACHE))


def fetch(
    name: str,
    lm: str | None = None,
    folder: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    *,
    report: Callable[[Progress], None] | None = None,
    update: bool = False,
    offline: bool | None = None,
    hubs: Sequence[Hub] | None = None,
    store: Store | None = None,
    free_bytes: Callable[[Path], int] | None = None,
    pause: float = PAUSE,
) -> Fetched:
    """Fetch a checkpoint, and a planner if one is named; what is here already is checked by size and left.

    `say` hears a sentence now and then, `report` every piece that arrives. `offline` (by default HF_HUB_OFFLINE) asks nobody.
    """
    order = wanted(name, lm)
    store = store or (cache() if folder is None else Store(Path(folder).expanduser(), is_cache=False))
    silent = _is_offline() if offline is None else offline
    errand = _Errand(
        () if silent else tuple(known_hubs() if hubs is None else hubs),
        store, say or (lambda sentence: None), report or (lambda progress: None), pause,
    )  # fmt: skip
    listings = {want: errand.look_up(want, update) for want in order}
    missing = {want: errand.missing(want, listing) for want, listing in listings.items()}
    errand.check_disk(name, missing, free_bytes or free_disk)
    fetched = sum(errand.bring(want, listings[want], files) for want, files in missing.items())
    return Fetched(
        name,
        {want.repo: store.place(want.repo, listing.revision) for want, listing in listings.items()},
        {want.repo: listing.revision for want, listing in listings.items()},
        sum(len([file for file in listing.files if want.takes(file)]) for want, listing in listings.items()),
        fetched,
    )


@dataclass(frozen=True)
class _Errand:
    """One visit to the hubs."""

    hubs: tuple[Hub, ...]  # none: offline
    store: Store
    say: Callable[[str], None]
    report: Callable[[Progress], None]
    pause: float

    def look_up(self, want: Wanted, update: bool) -> Listing:
        """What a repo holds: as the lock says, or as the first hub that answers says."""
        lock = self.store.lock(want.repo)
        if lock is not None and not update and any(map(want.takes, lock.listing.files)):
            return lock.listing
        if not self.hubs:
            raise DownloadError(
                f"{want.repo} is not here whole, and offline mode is on (HF_HUB_OFFLINE); unset it to fetch, "
                "or open a folder that holds the checkpoint. The pocket checkpoint is always there."
            )
        troubles = []
        for hub in self.hubs:
            try:
                listing = hub.listing(want.repo, None if update or lock is None else lock.listing.revision)
            except _TROUBLE as error:
                troubles.append(f"{hub.name} {_reason(error)}")
                continue
            if not any(map(want.takes, listing.files)):
                troubles.append(f"{hub.name} has no weights in {want.repo}")
                continue
            _refuse_strange_paths(want.repo, listing.files)
            return listing
        raise DownloadError(_nobody(want.repo, troubles))

    def missing(self, want: Wanted, listing: Listing) -> list[RemoteFile]:
        """The files that are not here in their full size."""
        place = self.store.place(want.repo, listing.revision)
        return [file for file in listing.files if want.takes(file) and _size(place / file.path) != file.size]

    def check_disk(
        self, name: str, missing: Mapping[Wanted, Iterable[RemoteFile]], free_bytes: Callable[[Path], int]
    ) -> None:
        """MachineError if the disk has no room for what is to come."""
        need = sum(
            file.size - (_size(self.store.partial(want.repo, file)) or 0)
            for want, files in missing.items()
            for file in files
        )
        free = free_bytes(self.store.root)
        if need and need + SPARE > free:
            raise MachineError(
                f"{name} needs {gb(need)} more on disk, and {self.store.root} has {gb(free)} free. Make room, "
                "or name a folder on another disk (--folder; HF_HOME moves the cache)."
            )

    def bring(self, want: Wanted, listing: Listing, files: Sequence[RemoteFile]) -> int:
        """Fetch files one after the other, from the first hub that has them right; record what was fetched."""
        if files and not self.hubs:
            raise DownloadError(
                f"{files[0].path} of {want.repo} is missing or cut short, and offline mode is on (HF_HUB_OFFLINE); "
                "unset it and run the download again."
            )
        place = self.store.place(want.repo, listing.revision)
        for number, file in enumerate(files, 1):
            self.say(f"{want.repo}/{file.path}, {gb(file.size)} ({number} of {len(files)})")
            self._bring_one(want.repo, listing.revision, file, place / file.path, number, len(files))
        self.store.write_lock(want.repo, listing, [file.path for file in listing.files if want.takes(file)])
        self.store.keep(want.repo, listing.revision)
        return sum(file.size for file in files)

    def _bring_one(self, repo: str, revision: str, file: RemoteFile, target: Path, number: int, of: int) -> None:
        partial = self.store.partial(repo, file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        troubles = []
        for hub in self.hubs:

            def report(done: int, hub: Hub = hub) -> None:
                self.report(Progress(repo, file.path, done, file.size, number, of, hub.name))

            trouble = _pull(hub.request(repo, revision, file.path), partial, file, report, self.pause)
            if not trouble:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(partial, target)
                return
            troubles.append(f"{hub.name} {trouble}")
            if hub is not self.hubs[-1]:
                self.say(f"{hub.name} {trouble}; trying {self.hubs[self.hubs.index(hub) + 1].name}.")
        raise DownloadError(_not_fetched(repo, file, troubles, _size(partial) or 0))


def _pull(
    request: urllib.request.Request, partial: Path, file: RemoteFile, report: Callable[[int], None], pause: float
) -> str:
    """Get the rest of a file until it is whole, as long as bytes keep coming; "" or what is wrong with this hub."""
    trouble, tries = "", TRIES
    while tries:
        before = _size(partial) or 0
        try:
            if before < file.size:
                _pull_once(request, partial, before, file.size, report)
            trouble = _flaw(partial, file)
        except _TROUBLE as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise MachineError(
                    f"The disk is full; {gb(before)} of {file.path} are kept. Make room and go on."
                ) from error
            trouble = _reason(error)
        if trouble.startswith(_HOPELESS):
            if trouble.startswith(_WRONG):
                partial.unlink(missing_ok=True)
            return trouble
        if not trouble:
            return ""
        tries = TRIES if (_size(partial) or 0) > before else tries - 1
        time.sleep(pause)
    return trouble


def _pull_once(
    request: urllib.request.Request, partial: Path, start: int, size: int, report: Callable[[int], None]
) -> None:
    """One answer, appended to what is there; from the beginning where the server does not know of parts."""
    if start:
        request.add_header("Range", f"bytes={start}-")
    else:
        request.remove_header("Range")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if start and answer.status != http.client.PARTIAL_CONTENT:
            start = 0
        with partial.open("ab" if start else "wb") as out:
            while start < size and (piece := answer.read(min(CHUNK, size - start))):
                out.write(piece)
                start += len(piece)
                report(start)


_WRONG = "sent another file"
_HOPELESS = (_WRONG, "does not know", "does not let", "sent a page")
_TROUBLE = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)
"""What a hub can do to us: no connection, a dropped one, an error status (all OSError), an answer that makes no sense."""


def _flaw(partial: Path, file: RemoteFile) -> str:
    """What is wrong with a file that was fetched; "" when nothing is."""
    size = _size(partial) or 0
    if size < file.size:
        return f"stopped after {size:,} of {file.size:,} bytes"
    found = checksum(partial, file)
    expected = file.sha256 or file.blob
    return f"{_WRONG}: its checksum is {found[:12]}… instead of {expected[:12]}…" if found != expected else ""


def checksum(path: Path, file: RemoteFile) -> str:
    """The checksum of a file on disk, of the kind the hub gave: sha256, or git's blob id; "" where it gave none."""
    if not (file.sha256 or file.blob):
        return ""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def flaws(repo: str, store: Store | None = None, deep: bool = False) -> list[str]:
    """What is wrong with a repo that was fetched, a sentence each: missing, cut short and (`deep`) changed files."""
    store = store or cache()
    lock = store.lock(repo)
    if lock is None:
        return []
    place, found = store.place(repo, lock.listing.revision), []
    for file in (file for file in lock.listing.files if file.path in lock.fetched):
        size = _size(place / file.path)
        if size is None:
            found.append(f"{place / file.path} is missing")
        elif size != file.size:
            found.append(f"{place / file.path} has {size:,} of {file.size:,} bytes")
        elif deep and checksum(place / file.path, file) != (file.sha256 or file.blob):
            found.append(f"{place / file.path} has changed since it was fetched")
    return found


def _json(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return json.load(answer)


def _reason(error: BaseException) -> str:
    """What a hub did, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        words = {401: "does not let us in", 403: "does not let us in", 404: "does not know it"}
        return words.get(error.code, f"answers with status {error.code}")
    if isinstance(error, urllib.error.URLError):
        return f"cannot be reached ({error.reason})"
    if isinstance(error, ValueError | KeyError | TypeError):
        return "sent a page that is no listing"
    if isinstance(error, TimeoutError):
        return f"was silent for {TIMEOUT:g} seconds"
    return f"dropped the connection ({type(error).__name__})"


def _nobody(repo: str, troubles: Sequence[str]) -> str:
    advice = "Check the connection, or set HF_ENDPOINT to a mirror"
    if any("does not let us in" in trouble for trouble in troubles):
        advice = "Log in with `hf auth login`, after accepting the repo's terms on its page"
    elif troubles and all("does not know it" in trouble for trouble in troubles):
        advice = "Check its spelling"
    return f"{repo} could not be looked up: {'; '.join(troubles)}. {advice}. What is on this disk still opens."


def _not_fetched(repo: str, file: RemoteFile, troubles: Sequence[str], kept: int) -> str:
    partly = (
        f" {gb(kept)} of it are kept; run the download again to go on from there."
        if kept
        else " Nothing of it is kept."
    )
    return f"{file.path} of {repo} could not be fetched whole: {'; '.join(troubles)}.{partly}"


def _refuse_strange_paths(repo: str, files: Iterable[RemoteFile]) -> None:
    """DownloadError for a listing that would write outside its folder."""
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or "\\" in file.path or ":" in file.path:
            raise DownloadError(
                f"{repo} lists a file {file.path!r}, which would land outside its folder; it is not fetched."
            )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def free_disk(path: Path) -> int:
    """Free bytes on the disk a folder lies on, or will lie on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.is_offline_mode()
