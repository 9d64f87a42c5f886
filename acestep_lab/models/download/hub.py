"""What a hub is: a place that lists a repo and yields the bytes of its files. Knows neither HTTP nor this disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

_REVISION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,80}")


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

    @property
    def well_formed(self) -> bool:
        """Whether each field is of its type; what hubs and files on disk say may be anything."""
        texts = (self.path, self.sha256, self.blob)
        hexadecimal = all(set(text) <= set("0123456789abcdefABCDEF") for text in texts[1:] if type(text) is str)
        return all(type(text) is str for text in texts) and hexadecimal and type(self.size) is int and self.size >= 0

    @property
    def inside_its_folder(self) -> bool:
        """Whether its path stays inside the folder it is written to, on every system."""
        path = PurePosixPath(self.path)
        return not (path.is_absolute() or ".." in path.parts or not path.parts or set(self.path) & set("\\:\0"))


@dataclass(frozen=True)
class Listing:
    """What a repo holds at one revision."""

    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def well_formed(self) -> bool:
        """Whether its revision can name a folder and its files are described in full."""
        named = type(self.revision) is str and _REVISION.fullmatch(self.revision) is not None
        return named and all(file.well_formed for file in self.files)


class HubError(Exception):
    """What a hub did instead of answering: `reason` goes on after its name, `advice` is what the user can do.

    `permanent`: asking again would not help.
    """

    def __init__(self, reason: str, advice: str = "", permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.advice, self.permanent = reason, advice, permanent


class Hub(Protocol):
    """A place that lists a repo and serves its files; both methods raise HubError."""

    @property
    def name(self) -> str:
        """Its host, as sentences name it."""
        ...

    def listing(self, repo: str, revision: str | None) -> Listing:
        """What a repo holds at a revision; None: the newest."""
        ...

    def pieces(self, repo: str, revision: str, file: RemoteFile, start: int) -> Generator[tuple[int, bytes]]:
        """The bytes of a file from `start` on, each piece with its offset; from 0 where the hub cannot begin later."""
        ...


def host_of(endpoint: str) -> str:
    """The host of an address, as a sentence names it; without a password that may stand before it."""
    return endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2] or endpoint


def not_a_listing() -> HubError:
    """For an answer that makes no sense."""
    return HubError("sent a page that is no listing", permanent=True)


def status_error(status: int, advice: str = "") -> HubError:
    """For an HTTP status that is no success; 408 and those of the server's own making may pass."""
    reason, usual = _STATUS.get(status, (f"answers with status {status}", ""))
    return HubError(reason, advice or usual, permanent=400 <= status < 500 and status != 408)


_STATUS = {
    401: ("does not let us in", ""),
    403: ("does not let us in", ""),
    404: ("does not know it", "Check its spelling"),
    416: ("has a shorter file than it lists", "Ask for the newest revision (--update)"),
    429: ("asks us to wait", "Run the download again in some minutes"),
}
