"""Sounds over HTTP with range requests, each under a name nobody can guess, for one person. Knows no page and no
library.

A name is 192 random bits, made when a page first shows the sound; it names bytes in this process, never a path. Whoever
asks with it must be the person whose page it was made for.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict

from tornado.web import HTTPError, RequestHandler

from acestep_lab.audio.audio import Audio
from acestep_lab.serve.visitors import visitor_of
from acestep_lab.ui import tracks

MOST_BYTES = 2**30
"""Bytes of sounds that can be fetched; the one not asked for longest goes first."""
PATH = "takes"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class SoundUrls:
    """Sounds that may be fetched, by their names."""

    def __init__(self) -> None:
        self._sounds: OrderedDict[str, tuple[str, Audio]] = OrderedDict()
        self._names: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def url(self, audio: Audio, owner: str = "") -> str:
        """An address, relative to the page, that serves this sound to this person."""
        with self._lock:
            name = self._names.get((owner, audio.id)) or secrets.token_urlsafe(24)
            self._names[owner, audio.id], self._sounds[name] = name, (owner, audio)
            self._sounds.move_to_end(name)
            held = sum(one.samples.nbytes for one in {id(one): one for _, one in self._sounds.values()}.values())
            while held > MOST_BYTES and len(self._sounds) > 1:
                _, (whose, old) = self._sounds.popitem(last=False)
                self._names.pop((whose, old.id), None)
                held -= old.samples.nbytes
        return f"{PATH}/{name}.wav"

    def open(self, name: str, owner: str = "") -> Audio | None:
        """The sound of a name, for the person it was made for."""
        with self._lock:
            whose, audio = self._sounds.get(name, (owner, None))
            if audio is None or whose != owner:
                return None
            self._sounds.move_to_end(name)
            return audio


class SoundHandler(RequestHandler):
    """GET and HEAD of one sound, whole or a range of it."""

    def initialize(self, sounds: SoundUrls) -> None:
        self._sounds = sounds

    def head(self, name: str) -> None:
        self._serve(name, body=False)

    def get(self, name: str) -> None:
        self._serve(name, body=True)

    def _serve(self, name: str, body: bool) -> None:
        audio = self._sounds.open(name, visitor_of(self.request).owner)
        if audio is None:
            raise HTTPError(404)
        data = tracks.wav_of(audio)
        span = byte_range(self.request.headers.get("Range", ""), len(data))
        if span is None:
            self.set_header("Content-Range", f"bytes */{len(data)}")
            self.set_status(416)
            return
        first, last = span
        if _asked(self.request.headers.get("Range", "")):
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        for key, value in {
            "Content-Type": "audio/wav", "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600",
            "Vary": "Cookie", "Content-Length": str(last - first + 1),
        }.items():  # fmt: skip
            self.set_header(key, value)
        if body:
            self.write(data[first : last + 1])
        self.finish()


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte asked for (RFC 9110 §14, one range); the whole where none is; None where there is no such
    byte.
    """
    asked = _asked(header)
    if asked is None:
        return 0, size - 1
    first, last = asked.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    begin, end = int(first), min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin <= end and begin < size else None


def _asked(header: str) -> re.Match[str] | None:
    """The one range a header asks for; None for another unit, several ranges, or what is none: then all is sent."""
    asked = _RANGE.fullmatch(header.replace(" ", ""))
    return None if asked is None or asked[0] == "bytes=-" else asked
