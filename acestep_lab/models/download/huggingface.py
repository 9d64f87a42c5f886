"""Hugging Face through its own libraries: `huggingface_hub` asks, `hf_xet` brings chunks. Yields bytes; knows no disk.

They know tokens, gated repos, proxies, rate limits and Xet storage. What huggingface_hub 2.4 does not do is go on with a file:
`hf_hub_download` throws its partial file away on every error, does not try again after a reset, and loses up to 10 MB, which it
gathers, whenever a connection closes. A server on this machine had to send 20 MB so many times
(`python -m tests.benchmarks.bench_resume`):

    connection                 hf_hub_download    here
    reset once, at 90 %        1.9, in two calls  1.0
    closed once, at 90 %       1.4                1.0
    closed every 4 MB          2.2, in two calls  1.0
    answer cut short at 90 %   1.9, in two calls  1.0, in two calls

And a download broken off by its user begins anew in the next call. So `hf_hub_download` is not used: the same library's session
streams a file from where it stopped, and so does hf_xet's stream, which begins at any byte.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from json import JSONDecodeError
from typing import TYPE_CHECKING

from acestep_lab.models.download.hub import Listing, RemoteFile, host_of, not_a_listing
from acestep_lab.models.download.huggingface_session import hub_errors_for, xet_error
from acestep_lab.versions import version_of

if TYPE_CHECKING:
    from hf_xet import XetDownloadStream, XetSession
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling
    from huggingface_hub.utils import XetFileData

XET_SETTINGS = {
    "telemetry.enabled": False,
    "client.retry_max_attempts": 2,  # we try again ourselves, and can say so
    "client.connect_timeout": datetime.timedelta(seconds=10),
    "client.read_timeout": datetime.timedelta(seconds=30),
    "client.retry_base_delay": datetime.timedelta(seconds=1),
}


@dataclass(frozen=True)
class HuggingFace:
    """Hugging Face, or a mirror that speaks its protocol."""

    endpoint: str = "https://huggingface.co"
    token: str | bool | None = field(default=None, repr=False)
    """None: the one that is logged in (HF_TOKEN, `hf auth login`), if any; False: none."""

    @property
    def name(self) -> str:
        return host_of(self.endpoint)

    def listing(self, repo: str, revision: str | None) -> Listing:
        """What a repo holds, with its files' sizes and checksums."""
        from huggingface_hub import constants

        with hub_errors_for(self.endpoint, repo):
            try:
                info = self._api.model_info(
                    repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
                )
                return Listing(info.sha or "", tuple(map(_remote_file, info.siblings or ())))
            except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
                raise not_a_listing() from error

    def pieces(self, repo: str, revision: str, file: RemoteFile, start: int) -> Generator[tuple[int, bytes]]:
        """A file's bytes: from Xet storage if it is kept there, else over HTTP."""
        from huggingface_hub import hf_hub_url

        with hub_errors_for(self.endpoint, repo):
            url = hf_hub_url(repo, file.path, revision=revision, endpoint=self.endpoint.rstrip("/"))
            stored = self._in_xet(url) if file.sha256 else None
            if stored is None:
                yield from self._over_http(url, start)
            else:
                yield from self._over_xet(stored, file, start)

    def _over_http(self, url: str, start: int) -> Generator[tuple[int, bytes]]:
        from huggingface_hub import constants
        from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

        headers = self._headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with http_stream_backoff(
            "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            retry_on_exceptions=(), retry_on_status_codes=429, max_retries=2,
        ) as answer:  # fmt: skip
            hf_raise_for_status(answer)
            offset = start if answer.status_code == 206 else 0
            for piece in answer.iter_bytes():  # as they arrive: what is gathered is lost when the connection closes
                yield offset, piece
                offset += len(piece)

    def _in_xet(self, url: str) -> XetFileData | None:
        """Where Xet storage keeps a file; None where it does not, or is not to be used."""
        from huggingface_hub import constants, get_hf_file_metadata

        if constants.HF_HUB_DISABLE_XET or importlib.util.find_spec("hf_xet") is None:
            return None
        return get_hf_file_metadata(url, headers=self._headers, token=self.token, endpoint=self.endpoint).xet_file_data

    def _over_xet(self, stored: XetFileData, file: RemoteFile, start: int) -> Generator[tuple[int, bytes]]:
        """Chunks in order; each request goes through hf_xet, which is told to report nothing home."""
        from hf_xet import XetConfig, XetFileInfo, XetSession

        session = XetSession(XetConfig().with_config(XET_SETTINGS))
        try:
            with session.new_download_stream_group(
                token_refresh_url=stored.refresh_route, token_refresh_headers=self._headers
            ) as group:
                offset = start
                stream = group.download_stream(XetFileInfo(stored.file_hash, file.size), start=start)
                for piece in _interruptible(stream, session):
                    yield offset, piece
                    offset += len(piece)
        except (RuntimeError, OSError) as error:  # hf_xet's own are children of these
            raise xet_error(error) from error

    @property
    def _headers(self) -> dict[str, str]:
        """The token and who we are. A redirect to another host goes there without the token."""
        from huggingface_hub.utils import build_hf_headers

        name, version = _program()
        return build_hf_headers(token=self.token, library_name=name, library_version=version)

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        name, version = _program()
        return HfApi(self.endpoint.rstrip("/"), token=self.token, library_name=name, library_version=version)


def _remote_file(entry: RepoSibling) -> RemoteFile:
    """Large files have a sha256, small ones git's blob id."""
    if entry.lfs:
        return RemoteFile(entry.rfilename, entry.size or 0, entry.lfs.sha256)
    return RemoteFile(entry.rfilename, entry.size or 0, blob=entry.blob_id or "")


def _program() -> tuple[str, str]:
    """Who asks, for the User-Agent."""
    return "acestep-lab", version_of("acestep_lab")


def _interruptible(stream: XetDownloadStream, session: XetSession) -> Generator[bytes]:
    """A stream's pieces, waited for on another thread: hf_xet waits where Ctrl-C does not reach."""
    with ThreadPoolExecutor(1, "xet") as waiting:
        try:
            while (piece := waiting.submit(next, stream, None).result()) is not None:
                yield piece
        except BaseException:
            session.sigint_abort()  # or that thread would wait as long as the server is silent
            raise
