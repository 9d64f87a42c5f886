"""ModelScope, the mirror the reference falls back to, over our own HTTP. Yields bytes; knows no disk.

Its own package (`modelscope`) would bring a second cache, a second progress bar and many dependencies for these two requests.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from acestep_lab.models.download.hub import HubError, Listing, RemoteFile, host_of, not_a_listing, status_error

TIMEOUT = 30.0  # seconds without a byte
READ_SIZE = 1 << 16  # bytes at a time; what came before a drop is handed over


@dataclass(frozen=True)
class ModelScope:
    """ModelScope: its repos have the same names as Hugging Face's, its revisions do not."""

    endpoint: str = "https://modelscope.cn"

    @property
    def name(self) -> str:
        return host_of(self.endpoint)

    def listing(self, repo: str, revision: str | None) -> Listing:
        """What a repo holds now, its revision named by what it holds."""
        try:
            with self._open(f"/api/v1/models/{repo}/repo/files?Revision=master&Recursive=true") as answer:
                rows = [row for row in json.load(answer)["Data"]["Files"] if row.get("Type") != "tree"]
            files = tuple(RemoteFile(row["Path"], int(row["Size"]), row.get("Sha256") or "") for row in rows)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_a_listing() from error
        contents = "\n".join(sorted(f"{file.path} {file.key}" for file in files))
        return Listing(hashlib.sha1(contents.encode()).hexdigest(), files)

    def pieces(self, repo: str, revision: str, file: RemoteFile, start: int) -> Generator[tuple[int, bytes]]:
        """A file's bytes; from the beginning where the server does not know of ranges."""
        address = f"/api/v1/models/{repo}/repo?Revision=master&FilePath={quote(file.path)}"
        with self._open(address, {"Range": f"bytes={start}-"} if start else {}) as answer:
            offset = start if answer.status == http.client.PARTIAL_CONTENT else 0
            while piece := answer.read(READ_SIZE):
                yield offset, piece
                offset += len(piece)

    @contextmanager
    def _open(
        self, address: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer; HubError for whatever goes wrong with it while it is open."""
        try:
            request = urllib.request.Request(self.endpoint.rstrip("/") + address, headers={**_AGENT, **headers})
        except ValueError as error:
            raise HubError(f"is no address ({error})", "Correct MODELSCOPE_ENDPOINT", permanent=True) from error
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise _hub_error(error) from error


_AGENT = {"User-Agent": "acestep-lab"}


def _hub_error(error: Exception) -> HubError:
    """What went wrong, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return status_error(error.code)
    if isinstance(error, TimeoutError):
        return HubError(f"was silent for {TIMEOUT:g} seconds")
    if isinstance(error, urllib.error.URLError | http.client.InvalidURL):
        return HubError(f"cannot be reached ({getattr(error, 'reason', error)})")
    return HubError(f"dropped the connection ({type(error).__name__})")
