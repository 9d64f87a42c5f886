"""The body of a chat request: JSON in which whole songs may stand as base64, written to the disk as they come.

Knows JSON and base64; no message and no route. A song of some minutes is a string of tens of megabytes: in memory it
would be there several times over, and reading it in one go would hold up everybody else's requests.
"""

from __future__ import annotations

import binascii
import contextlib
import io
import re
import secrets
from pathlib import Path
from typing import BinaryIO

from acestep_lab.errors import RecipeError
from acestep_lab.serve.api_body import MOST_FIELD_BYTES, MOST_FILE_BYTES, BadBody, Body, NewFile, Upload, json_object

LONG = 2**19
"""Bytes from which a string goes to the disk: far more than lyrics or codes have."""
_BETWEEN = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""JSON up to a string whose end is not there yet: however many strings there are, this takes them in one go."""
_STRING = re.compile(rb'(?:[^"\\]++|\\(?:u[0-9a-fA-F]{4}|[^u]))*+', re.DOTALL)
"""The inside of a JSON string, as far as it is whole."""
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {
    b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
}  # fmt: skip
_LONGEST_ESCAPE = 6
_PIECE = 2**20
_BITE = 2**16
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BROKEN = "The body is no JSON that can be read."


class LongStrings:
    """A reader of JSON (`api_body.Reader`): long strings become files, and in their place stands the name of the file in `Body.files`."""

    def __init__(self, new_file: NewFile) -> None:
        self._new_file = new_file
        self._name = secrets.token_hex(16)  # nobody can write it into a body beforehand
        self._text, self._left = bytearray(), b""
        self._inside = False
        self._begins = self._long_bytes = 0
        self._out: BinaryIO | None = None
        self._files: dict[str, Upload] = {}

    def feed(self, chunk: bytes) -> None:
        """Take some more; BadBody where it cannot be JSON or is too much."""
        for begin in range(0, len(chunk), _BITE):
            self._bite(chunk[begin : begin + _BITE])
        if len(self._text) > MOST_FIELD_BYTES:
            raise BadBody(f"Everything but the sounds of a chat has at most {MOST_FIELD_BYTES // 2**20} MB.", 413)

    def _bite(self, chunk: bytes) -> None:
        """Take less than a long string has."""
        data, at, self._left = self._left + chunk, 0, b""
        while at < len(data):
            at = self._string(data, at) if self._inside else self._between(data, at)

    def finish(self) -> Body:
        """The fields; BadBody for what is no JSON object."""
        if self._inside or self._left:
            raise BadBody(_BROKEN)
        data = bytes(self._text).strip()
        return Body(json_object(data) if data else {}, self._files)

    def drop(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # a full disk refuses the last bytes as well
            self._close()
        Body({}, self._files).forget()

    def _between(self, data: bytes, at: int) -> int:
        """Keep everything up to the beginning of a string that does not end here; gives where that is."""
        found = _BETWEEN.match(data, at)
        end = at if found is None else found.end()
        self._inside = end < len(data)
        end += self._inside
        self._text += data[at:end]
        self._begins = len(self._text)
        return end

    def _string(self, data: bytes, at: int) -> int:
        """Keep what there is of a string; gives where it ends, or where the data does."""
        found = _STRING.match(data, at)
        end = at if found is None else found.end()
        self._keep(data[at:end])
        if end == len(data):
            return end
        if data[end] == ord('"'):
            self._close()
            self._inside = False
            self._text += b'"'
            return end + 1
        self._left = data[end:]
        if len(self._left) >= _LONGEST_ESCAPE:
            raise BadBody(_BROKEN)
        return len(data)

    def _keep(self, piece: bytes) -> None:
        if self._out is None:
            self._text += piece
            if len(self._text) - self._begins <= LONG:
                return
            piece = bytes(self._text[self._begins :])
            del self._text[self._begins :]
            self._open()
        self._write(piece)

    def _open(self) -> None:
        """Begin a file, and leave its name in its string."""
        name = f"{self._name}-{len(self._files)}"
        path = self._new_file("")
        self._files[name] = Upload(path, name)
        try:
            self._out = path.open("xb")
        except OSError as problem:
            raise _refused(problem) from None
        self._text += name.encode()

    def _write(self, piece: bytes) -> None:
        self._long_bytes += len(piece)
        if self._long_bytes > MOST_FILE_BYTES:
            raise BadBody(f"The sounds of a chat have at most {MOST_FILE_BYTES // 2**20} MB together.", 413)
        try:
            if self._out is not None:
                self._out.write(_unescaped(piece))
        except OSError as problem:
            raise _refused(problem) from None

    def _close(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            out.close()


def _unescaped(piece: bytes) -> bytes:
    """The inside of a JSON string as it is meant: some programs write / and + of base64 as escapes."""
    return _ESCAPE.sub(_meant, piece) if b"\\" in piece else piece


def _meant(escape: re.Match[bytes]) -> bytes:
    sign = escape[1]
    if len(sign) > 1:
        return chr(int(sign[1:], 16)).encode("utf-8", "surrogatepass")
    if sign not in _ESCAPED:
        raise BadBody(_BROKEN)
    return _ESCAPED[sign]


def _refused(problem: OSError) -> BadBody:
    return BadBody(f"The disk refused the upload ({problem.strerror}).", 507)


def decode_sound(coded: Path | str, path: Path) -> None:
    """Write the sound that a text (or the file of one) holds as base64 or as a data URL; RecipeError where it does not."""
    if isinstance(coded, Path):
        with coded.open("rb") as text, path.open("xb") as out:
            _decode(text, out)
    else:
        with path.open("xb") as out:
            _decode(io.BytesIO(coded.encode("utf-8", "replace")), out)


def _decode(text: BinaryIO, out: BinaryIO) -> None:
    left = _without_head(text.read(_PIECE).lstrip())
    while piece := text.read(_PIECE):
        left = b"".join((left + piece).split()).translate(_URL_SAFE)
        whole = len(left) // 4 * 4 - 4  # the last four may be padded
        if whole > 0:
            out.write(_decoded(left[:whole]))
            left = left[whole:]
    left = b"".join(left.split()).translate(_URL_SAFE).rstrip(b"=")
    out.write(_decoded(left + b"=" * (-len(left) % 4)))
    if not out.tell():
        raise RecipeError("A sound in a message has its data as base64; this one is empty.")


def _without_head(text: bytes) -> bytes:
    """A data URL's base64; base64 that stands alone as it is."""
    if text[:5].lower() != b"data:":
        return text
    head, comma, rest = text.partition(b",")
    if not comma or not head.lower().endswith(b";base64"):
        raise RecipeError("A data URL of a sound goes data:audio/wav;base64, and then its data.")
    return rest


def _decoded(block: bytes) -> bytes:
    try:
        return binascii.a2b_base64(block, strict_mode=True)
    except binascii.Error:
        raise RecipeError("The data of a sound in a message is no base64 that can be read.") from None
