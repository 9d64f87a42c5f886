"""WAV files by hand, where libsndfile does not suffice: long comments, channel masks, lengths that nobody wrote down.

Knows bytes and samples. libsndfile 1.2 drops every INFO text of a WAV whose comment has more than 2,000 bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from acestep_lab.audio import layouts

INFO = {"title": b"INAM", "comment": b"ICMT", "software": b"ISFT", "artist": b"IART", "date": b"ICRD"}
MOST_INFO = 32 * 2**20
"""Bytes of the longest list of texts that is read."""

_BLOCK = 65_536
_UNKNOWN = b"\xff\xff\xff\xff"
_SUBFORMAT = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
_NAMES = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"fact",
    b"cue ",
    b"smpl",
    b"JUNK",
    b"PAD ",
    b"iXML",
    b"_PMX",
    b"PEAK",
    b"inst",
    b"junk",
)


def write(
    file: BinaryIO, samples: np.ndarray, rate: int, layout: tuple[str, ...], bits: int, tags: Mapping[str, str]
) -> None:
    """Write `[channels, samples]` as 16- or 24-bit whole numbers or, with `bits` = 32, as the floats they are.

    Tags are `INFO`'s names; their texts are UTF-8, as ffmpeg and libsndfile write them.
    """
    count, length = samples.shape
    data = count * length * bits // 8
    head = _format(rate, count, layout, bits) + _chunk(b"fact", struct.pack("<I", length)) + _info(tags)
    file.write(b"RIFF" + struct.pack("<I", 4 + len(head) + 8 + data + data % 2) + b"WAVE" + head)
    file.write(b"data" + struct.pack("<I", data))
    for start in range(0, length, _BLOCK):
        file.write(_packed(samples[:, start : start + _BLOCK].T, bits))
    file.write(b"\0" * (data % 2))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _format(rate: int, count: int, layout: tuple[str, ...], bits: int) -> bytes:
    """The `fmt ` chunk; more than two channels say where they stand (WAVE_FORMAT_EXTENSIBLE)."""
    kind, frame = (3 if bits == 32 else 1), count * bits // 8
    wide = count > 2
    body = struct.pack("<HHIIHH", 0xFFFE if wide else kind, count, rate, rate * frame, frame, bits)
    if wide:
        body += struct.pack("<HHIH", 22, bits, layouts.mask_of(layout, count), kind) + _SUBFORMAT
    elif kind == 3:
        body += struct.pack("<H", 0)
    return _chunk(b"fmt ", body)


def _info(tags: Mapping[str, str]) -> bytes:
    texts = b"".join(_chunk(INFO[name], text.encode() + b"\0") for name, text in tags.items() if text)
    return _chunk(b"LIST", b"INFO" + texts) if texts else b""


def _packed(frames: np.ndarray, bits: int) -> bytes:
    """Frames `[samples, channels]` as little-endian bytes; whole numbers are clipped at full scale."""
    if bits == 32:
        return frames.astype("<f4").tobytes()
    full = 2 ** (bits - 1)
    steps = np.clip(np.rint(frames.astype(np.float64) * full), -full, full - 1).astype("<i4")
    return np.ascontiguousarray(steps).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, place of the body and size of each chunk of a little-endian WAV; none where it is no WAV. Sizes may lie."""
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    at = 12
    for _ in range(1000):  # a chunk is 8 bytes at least: a file of nothing but empty ones is no sound
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = struct.unpack("<I", head[4:])[0]
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def layout_of(file: BinaryIO) -> tuple[str, ...]:
    """The loudspeakers a WAV's channel mask names; () where it has none."""
    for name, at, length in chunks(file):
        if name == b"fmt " and length >= 24:
            file.seek(at)
            body = file.read(24)
            if len(body) == 24 and body[:2] == b"\xfe\xff":
                return layouts.of_mask(struct.unpack("<I", body[20:24])[0], struct.unpack("<H", body[2:4])[0])
    return ()


def tags_of(file: BinaryIO) -> dict[str, str]:
    """The texts in a WAV's INFO list, by `INFO`'s names; what is no UTF-8 is read as Windows-1252, as of old."""
    found: dict[str, str] = {}
    for name, at, length in chunks(file):
        if name == b"LIST" and length <= MOST_INFO:
            file.seek(at)
            body = file.read(length)
            found.update(_texts(body) if body[:4] == b"INFO" else {})
    return found


def _texts(body: bytes) -> Iterator[tuple[str, str]]:
    names, at = {code: name for name, code in INFO.items()}, 4
    while at + 8 <= len(body):
        code, length = body[at : at + 4], struct.unpack("<I", body[at + 4 : at + 8])[0]
        text = body[at + 8 : at + 8 + length].split(b"\0")[0]
        if code in names:
            yield names[code], _decoded(text)
        at += 8 + length + length % 2


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def length_fixes(file: BinaryIO) -> dict[int, bytes]:
    """The bytes to read in a WAV's head instead of what is there, by their place: a streamed WAV's length, which says 0, goes to the end.

    Whoever writes a WAV into a pipe cannot come back to write its length; where that is 0, libsndfile finds none.
    """
    for name, at, length in chunks(file):
        if name == b"data":
            file.seek(at)
            after = file.read(8)
            streamed = length == 0 and len(after) == 8 and after[:4] not in _NAMES
            return {4: _UNKNOWN, at - 4: _UNKNOWN} if streamed else {}
    return {}


class PatchedFile(io.RawIOBase):
    """A file some of whose bytes read as others; nothing else about it is known, its name neither."""

    def __init__(self, file: BinaryIO, patches: Mapping[int, bytes]) -> None:
        self._file, self._patches = file, patches
        self._file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        at = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        for place, other in self._patches.items():
            for offset, byte in enumerate(other, place - at):
                if 0 <= offset < len(data):
                    data[offset] = byte
        buffer[: len(data)] = data
        return len(data)
