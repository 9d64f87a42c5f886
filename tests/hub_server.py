"""Hugging Face, its Xet storage and ModelScope, played by one server on this machine, with the ways in which they fail."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
XET_CHUNK = 50_000
"""Bytes of one chunk of the pretended Xet storage; real ones have about 64 kB."""


def git_blob(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class HubServer(ThreadingHTTPServer):
    """The hubs' protocols over one dictionary of files.

    Faults: `status` (and `code`, Hugging Face's X-Error-Code) for every answer, `status_of_files` for the files alone,
    `page` instead of listings, `cut` (bytes after which weights end), `instead` (other weights), `no_ranges`, `drops` (how many
    answers break off `after` so many bytes, by a reset if `reset`), `redirect` (an address that serves the files),
    `xet` (weights are kept in chunks), `xet_status`, `silent` (seconds before any answer), `stall`
    (seconds before any bytes of a file).
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], **faults: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files, self.faults, self.revision = dict(files), faults, REVISION
        self.asked: list[tuple[str, str | None]] = []  # (path, Range) of files
        self.authorizations: list[str | None] = []
        self.addresses: list[str] = []  # everything that was asked for
        self.sent = 0  # bytes of files
        self.drops_left: int = faults.get("drops", 0)

    def start(self) -> HubServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""

    @property
    def fetched(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._note()
        if self._refused("status_of_files"):
            return
        path = unquote(self.path.split("/resolve/")[1].split("/", 1)[1])
        data = self.server.files[path]
        self.send_response(200)
        self.send_header("ETag", f'"{sha256(data)}"')
        self.send_header("X-Repo-Commit", self.server.revision)
        self.send_header("Content-Length", str(len(data)))
        if self.server.faults.get("xet") and path.endswith(".safetensors"):
            self.send_header("X-Xet-Hash", sha256(data))
            self.send_header("X-Xet-Refresh-Route", f"{self.server.endpoint}/xet-read-token")
        self.end_headers()

    def do_POST(self) -> None:
        self._note()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._note()
        time.sleep(self.server.faults.get("silent", 0))
        address = urlsplit(self.path)
        if address.path.startswith(("/v1/reconstructions", "/v2/reconstructions", "/xet", "/xorb")):
            return self._xet(address.path)
        if self._refused():
            return None
        if address.path.startswith("/api/models/"):
            return self._say(self._hugging_face_listing())
        if address.path.endswith("/repo/files"):
            return self._say(self._modelscope_listing())
        if self._refused("status_of_files"):
            return None
        if address.path.endswith("/repo"):
            return self._serve(parse_qs(address.query)["FilePath"][0])
        if "redirect" in self.server.faults:
            self.send_response(302)
            self.send_header("Location", self.server.faults["redirect"] + self.path)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self._serve(unquote(address.path.split("/resolve/")[1].split("/", 1)[1]))

    def _note(self) -> None:
        self.server.addresses.append(f"{self.command} {self.path}")
        self.server.authorizations.append(self.headers.get("Authorization"))

    def _refused(self, fault: str = "status") -> bool:
        """Whether the answer was a refusal."""
        faults = self.server.faults
        if fault not in faults:
            return False
        self.send_response(faults[fault])
        if "code" in faults:
            self.send_header("X-Error-Code", faults["code"])
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def _say(self, value: Any) -> None:
        body = self.server.faults.get("page") or json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hugging_face_listing(self) -> dict[str, Any]:
        siblings = []
        for path, data in self.server.files.items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_blob(data)}
            if path.endswith(".safetensors"):
                entry["lfs"] = {"size": len(data), "sha256": sha256(data), "pointerSize": 134}
            siblings.append(entry)
        return {"id": "somebody/something", "sha": self.server.revision, "siblings": siblings}

    def _modelscope_listing(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = [{"Path": "vae", "Type": "tree", "Size": 0}]
        for path, data in self.server.files.items():
            rows.append({"Path": path, "Type": "blob", "Size": len(data), "Sha256": sha256(data)})
        return {"Code": 200, "Data": {"Files": rows}}

    def _serve(self, path: str) -> None:
        faults, asked = self.server.faults, self.headers.get("Range")
        self.server.asked.append((path, asked))
        data = self.server.files[path]
        if path.endswith(".safetensors"):
            data = faults.get("instead", data)[: faults.get("cut", len(data))]
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and not faults.get("no_ranges") else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.server.drops_left and path.endswith(".safetensors"):
            return self._drop(data[start : start + faults.get("after", 100_000)])
        return self._send(data[start:])

    def _send(self, data: bytes) -> None:
        time.sleep(self.server.faults.get("stall", 0))
        self.server.sent += len(data)
        self.wfile.write(data)

    def _drop(self, data: bytes) -> None:
        """Break off after some bytes: by closing, or by a reset as routers do."""
        self.server.drops_left -= 1
        self._send(data)
        self.wfile.flush()
        time.sleep(0.05)  # a reset throws away what has not been read yet
        if self.server.faults.get("reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _xet(self, path: str) -> None:
        """The Xet storage: a token, which chunks a file consists of, and the chunks themselves, not compressed."""
        if self._refused("xet_status"):
            return None
        if path == "/xet-read-token":
            return self._say({"accessToken": "x", "exp": int(time.time()) + 3600, "casUrl": self.server.endpoint})
        data = next(data for name, data in self.server.files.items() if name.endswith(".safetensors"))
        first, last = (int(end) for end in (self.headers["Range"] or "").removeprefix("bytes=").split("-"))
        if path.startswith("/v1/"):
            self.server.asked.append(("xet", self.headers["Range"]))
            return self._say(_reconstruction(data, first, min(last, len(data) - 1), self.server.endpoint))
        if path.startswith("/xorb"):
            return self._send_chunks(_chunks(self.server.faults.get("instead", data))[first : last + 1])
        return self.send_error(404)

    def _send_chunks(self, body: bytes) -> None:
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body)


def _reconstruction(data: bytes, first: int, last: int, endpoint: str) -> dict[str, Any]:
    """Which chunks hold the bytes from `first` to `last`, as Xet's reconstruction endpoint (version 1) says it."""
    start, end = first // XET_CHUNK, last // XET_CHUNK + 1
    chunks, one = {"start": start, "end": end}, XET_CHUNK + 8
    lengths = [min(XET_CHUNK, len(data) - at * XET_CHUNK) for at in range(start, end)]
    place = {"range": chunks, "url": f"{endpoint}/xorb", "url_range": {"start": start * one, "end": end * one - 1}}
    return {
        "offset_into_first_range": first - start * XET_CHUNK,
        "terms": [
            {"hash": "ab" * 32, "unpacked_length": length, "range": {"start": at, "end": at + 1}}
            for at, length in enumerate(lengths, start)
        ],
        "fetch_info": {"ab" * 32: [place]},
    }


def _chunks(data: bytes) -> bytes:
    """A xorb: every chunk behind its header of version, length, compression (none) and length when unpacked."""
    pieces = (data[at : at + XET_CHUNK] for at in range(0, len(data), XET_CHUNK))
    sizes = ((len(piece).to_bytes(3, "little"), piece) for piece in pieces)
    return b"".join(b"\0" + size + b"\0" + size + piece for size, piece in sizes)
