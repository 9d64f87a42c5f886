"""Hugging Face through its own libraries: `huggingface_hub` asks, `hf_xet` brings chunks. Yields bytes; knows no disk.

They know tokens, gated repos, proxies, rate limits and Xet storage; what they do not do is go on with a file. Measured with
huggingface_hub 2.4 (`python -m tests.benchmarks.bench_resume`, a file of 20 MB from a server on this machine):
`hf_hub_download` throws its partial file away on every error, so that a download broken off at 90 % begins anew, in the same
call after a reset (which it does not try again) and always in the next one; and as it reads 10 MB at a time, a connection that
drops more often than that wins nothing. So `hf_hub_download` is not used: the same library's session streams a file from where
it stopped, and a Xet stream is opened there, for which hf_xet has a parameter.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from acestep_lab.models.download.hub import Listing, RemoteFile, host_of
from acestep_lab.models.download.huggingface_session import speaking_to, xet_error

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import XetFileData

XET_SETTINGS = {
    "telemetry.enabled": False,
    "client.retry_max_attempts": 2,  # we try again ourselves, and can say so
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

        with speaking_to(self.endpoint, repo):
            info = self._api.model_info(
                repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
            files = [
                RemoteFile(
                    entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else "",
                    "" if entry.lfs else entry.blob_id or "",
                )
                for entry in info.siblings or ()
            ]  # fmt: skip
        return Listing(info.sha or "", tuple(files))

    def pieces(self, repo: str, revision: str, file: RemoteFile, start: int) -> Generator[tuple[int, bytes]]:
        """A file's bytes: from Xet storage if it is kept there, else over HTTP."""
        from huggingface_hub import hf_hub_url

        with speaking_to(self.endpoint, repo):
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
            for (
                piece
            ) in answer.iter_bytes():  # as they arrive: of a fixed size, what is gathered would be lost in a drop
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
                for piece in group.download_stream(XetFileInfo(stored.file_hash, file.size), start=start):
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


def _program() -> tuple[str, str]:
    """Who asks, for the User-Agent."""
    from acestep_lab import __version__

    return "acestep-lab", __version__
