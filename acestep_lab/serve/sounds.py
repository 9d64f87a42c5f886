"""Sounds over HTTP with range requests, each under a name nobody can guess. Knows no page and no library.

A name is 192 random bits, made when a page first shows the sound; it names bytes in this process, never a path.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from tornado.web import HTTPError, RequestHandler

from acestep_lab.decode.audio import Audio
from acestep_lab.ui import sound

MOST_BYTES = 2**30
"""Bytes of sounds that can be fetched; the one not asked for longest goes first."""
PATH = "takes"


class Shelf:
    """Sounds that may be fetched, by their names."""

    def __init__(self) -> None:
        self._sounds: OrderedDict[str, Audio] = OrderedDict()
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def url(self, audio: Audio) -> str:
        """An address, relative to the page, that serves this sound."""
        with self._lock:
            name = self._names.get(audio.id) or secrets.token_urlsafe(24)
            self._names[audio.id], self._sounds[name] = name, audio
            self._sounds.move_to_end(name)
            held = sum(one.samples.nbytes for one in self._sounds.values())
            while held > MOST_BYTES and len(self._sounds) > 1:
                _, old = self._sounds.popitem(last=False)
                self._names.pop(old.id, None)
                held -= old.samples.nbytes
        return f"{PATH}/{name}.wav"

    def open(self, name: str) -> Audio | None:
        """The sound of a name."""
        with self._lock:
            if name in self._sounds:
                self._sounds.move_to_end(name)
            return self._sounds.get(name)


class SoundHandler(RequestHandler):
    """GET and HEAD of one sound, whole or a range of it."""

    def initialize(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def head(self, name: str) -> None:
        self._serve(name, body=False)

    def get(self, name: str) -> None:
        self._serve(name, body=True)

    def _serve(self, name: str, body: bool) -> None:
        audio = self._shelf.open(name)
        if audio is None:
            raise HTTPError(404)
        data = sound.wav_of(audio)
        span = byte_range(self.request.headers.get("Range", ""), len(data))
        if span is None:
            self.set_header("Content-Range", f"bytes */{len(data)}")
            self.set_status(416)
            return
        first, last = span
        if "Range" in self.request.headers:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        for key, value in {
            "Content-Type": "audio/wav", "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600",
            "X-Content-Type-Options": "nosniff", "Content-Length": str(last - first + 1),
        }.items():  # fmt: skip
            self.set_header(key, value)
        if body:
            self.write(data[first : last + 1])
        self.finish()


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte asked for (RFC 9110 §14, one range); the whole where none is; None where there is no such byte."""
    if not header.startswith("bytes=") or "," in header:
        return 0, size - 1
    first, _, last = header[6:].strip().partition("-")
    if not (first.isdigit() or (not first and last.isdigit())) or not (last.isdigit() or not last):
        return 0, size - 1
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    begin, end = int(first), min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin <= end and begin < size else None
