"""SoundDrop: bring in a sound, or any of our files with everything in it. The browser half is `widgets/drop.js`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, SourceError
from acestep_lab.takes.comments import read_comment
from acestep_lab.takes.exchange import read_file
from acestep_lab.takes.take import Take
from acestep_lab.ui.component import Component, widget_and_pane

MOST_BYTES = 200 * 1024 * 1024
KINDS = tuple("wav flac ogg opus oga mp3 aif aiff caf au w64 rf64 m4a aac mp4 mov webm mka wma".split())
"""Endings that are let in; what is in a file, and whether it can be read here, `Audio.read` tells."""
CHUNK = 512 * 1024
"""Bytes in one message; a web socket refuses very large ones."""


class SoundDrop(Component):
    """Takes one file at a time, in pieces, refuses what is too big or of another kind, and decodes it with libsndfile
    only.

    The name a file had is shown and never used as a path. Listener: "sound" (a Take for our own files, else an Audio,
    and its name).
    """

    module = "drop"
    news = Component.news | {"sound"}
    fields: ClassVar[Mapping[str, object]] = {"limit": MOST_BYTES, "kinds": list(KINDS), "chunk": CHUNK, "status": ""}

    def setup(self, most_bytes: int = MOST_BYTES) -> None:
        """Refuse files larger than this."""
        self.limit = most_bytes
        self._drop()

    def do_begin(self, name: str = "", size: int = 0) -> None:
        """A file is about to come."""
        self._drop()
        check(str(name), int(size), self.limit)
        self._name, self._size = str(name)[-200:], int(size)
        self.status = "Reading…"
        self.emit("next", at=0)

    def do_piece(self, buffers: list[Any], at: int = 0) -> None:
        """A piece of it."""
        data = bytes(buffers[0])
        if not self._size or int(at) != len(self._data) or len(self._data) + len(data) > self._size:
            self._drop()
            raise SourceError("The file did not arrive whole; bring it in again.")
        self._data += data
        if len(self._data) < self._size:
            self.emit("next", at=len(self._data))
            return
        data, name = bytes(self._data), self._name
        self._drop()
        sound, remarks = receive(data, name)
        self.status = " ".join([f"Brought in: {name}", *remarks])
        self.emit("done", name=name)
        self.notify("sound", sound=sound, name=name)

    def show_error(self, text: str, field: str = "") -> None:
        self.status = ""
        super().show_error(text, field)

    def _drop(self) -> None:
        self._data, self._name, self._size, self.status = bytearray(), "", 0, ""


def check(name: str, size: int, most: int = MOST_BYTES) -> None:
    """Refuse by size and kind, before a byte is read; SourceError says what would do."""
    kind = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if kind not in KINDS:
        raise SourceError(
            f"{name[-60:]!r} is no sound file; {', '.join(k.upper() for k in KINDS[:4])}, MP3, AIFF, M4A and WebM can be "
            "brought in."
        )
    if size <= 0:
        raise SourceError(f"{name[-60:]!r} is empty.")
    if size > most:
        raise SourceError(
            f"{name[-60:]!r} has {size / 2**20:,.0f} MB; at most {most / 2**20:,.0f} MB can be brought in. "
            "Cut it, or save it as FLAC."
        )


def decode(data: bytes, name: str) -> Take | Audio:
    """A take where the file is one of ours, else its sound; the bytes are written to a file of our own naming."""
    return receive(data, name)[0]


def receive(data: bytes, name: str) -> tuple[Take | Audio, tuple[str, ...]]:
    """The same, and what was found out of the ordinary, in sentences: whoever edits a take's file brings a new take."""
    kind = name.rsplit(".", 1)[-1].lower()
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
        path = Path(folder) / f"sound.{kind}"
        path.write_bytes(data)
        try:
            audio = Audio.read(path)
        except SourceError as problem:
            raise SourceError(str(problem).replace(repr(path.name), repr(name[-60:]))) from None
        try:
            take = read_file(path)
        except LabError as problem:
            ours = "acestep_lab.take/" in read_comment(path)[0]
            return audio, (f"{_named(str(problem), path.name, name)} Only its sound was taken.",) if ours else ()
    remarks = tuple(_named(remark, path.name, name) for remark in take.remarks)
    return take.replace(remarks=remarks), remarks


def _named(text: str, ours: str, theirs: str) -> str:
    """A sentence about our file of the bytes, told of the file that came."""
    return text.replace(ours, repr(theirs[-60:]))


SoundDropWidget, SoundDropPane = widget_and_pane(SoundDrop)
