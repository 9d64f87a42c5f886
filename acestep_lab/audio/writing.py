"""Samples as sound files, whole or not at all, and never clipped.

Knows files, libsndfile and WAV. What holds whole numbers only (FLAC) or full scale (Opus, MP3) gets louder sounds
scaled by a power of two, which costs no precision, and says so in the file's "software" tag, where reading undoes it.
"""

from __future__ import annotations

import io
import math
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from acestep_lab.audio import layouts, pyav, wav
from acestep_lab.audio.reading import path_of
from acestep_lab.errors import SourceError, shown
from acestep_lab.files import NO_CHARACTER, write_whole

_SUBTYPES = {"flac": "PCM_24", "ogg": "OPUS", "opus": "OPUS", "mp3": "MPEG_LAYER_III", "m4a": "AAC"}
_FORMATS = {"flac": "FLAC", "wav": "WAV", "ogg": "OGG", "opus": "OGG", "mp3": "MP3", "m4a": "MP4"}
"""Kinds of file; an M4A (AAC) is written by ffmpeg's libraries, where PyAV is installed."""
_RATES = {
    "OPUS": (8000, 12000, 16000, 24000, 48000),
    "MPEG_LAYER_III": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "AAC": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
_CHANNELS = {"flac": 8, "ogg": 8, "opus": 8, "mp3": 2, "m4a": 2, "wav": layouts.MOST_CHANNELS}
_BLOCK = 2**15
"""Samples of all channels in one call: libsndfile crashes on long Vorbis or Opus written at once."""
_MOST_OPUS_TEXT = 48_000
"""Bytes of comment after which libsndfile writes an Opus file that nobody can read."""

GRID = 2**23
"""Steps between 0 and full scale in a 24-bit file."""


def can_write(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """A path and its kind of file, or SourceError where no sound can be written there; "~" is the home folder."""
    target = path_of(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in _FORMATS:
        raise SourceError(
            f"{shown(str(target), 120)} has no ending that can be written; use .flac, .wav, .opus, .ogg, .mp3 or .m4a."
        )
    if kind == "m4a":
        pyav.must_be_there()
    has_room(target)
    return target, kind


def has_room(target: Path) -> None:
    """Try whether a file can be written there, leaving nothing behind; SourceError where it cannot."""
    target = path_of(target)
    name = shown(str(target), 120)
    try:
        if not target.parent.is_dir():
            raise SourceError(
                f"There is no folder {shown(str(target.parent), 120)} to write {shown(target.name)} into."
            )
        if target.is_dir():
            raise SourceError(f"{name} is a folder; name a file in it.")
        if target.exists() and not os.access(target, os.W_OK):
            raise SourceError(f"{name} is write-protected; choose another name.")
        draft = draft_of(target)
        draft.touch(exist_ok=False)  # only trying tells: rights, full disks and odd file systems alike
        draft.unlink()
    except OSError as error:
        raise SourceError(
            f"{name} cannot be written ({error.strerror}); name a file in a folder of your own."
        ) from None


def draft_of(target: Path) -> Path:
    """A name beside a file, of the same kind, under which to write it before it is moved into place."""
    return target.with_name(f".draft-{secrets.token_hex(6)}{target.suffix}")


def halvings(samples: np.ndarray) -> int:
    """How often samples are halved until none is above full scale."""
    high, low = float(samples.max(initial=0.0)), -float(samples.min(initial=0.0))
    above = math.frexp(high)[1] if high > 1 else 0
    part, below = math.frexp(low)
    return max(above, below - (part == 0.5) if low > 1 else 0)  # -1 is a step of the grid, 1 the one above its last


def steps24(samples: np.ndarray, halved: int = 0) -> np.ndarray:
    """Samples, halved so often, as whole steps of a 24-bit file; exactly full scale is the step below it."""
    steps = samples.astype(np.float32) * np.float32(
        2.0 ** (23 - halved)
    )  # exact: a power of two, and 24 bits are what float32 has
    np.clip(np.rint(steps, out=steps), -GRID, GRID - 1, out=steps)
    steps += np.float32(0)  # whole numbers know no -0
    return steps


def lossless_kind(samples: np.ndarray, rate: int, layout: tuple[str, ...]) -> str:
    """ "flac" where a FLAC of these samples gives them back one by one, else "wav", which always does."""
    fits = len(samples) <= 8 and not layout and _flac_rate(rate)
    return "flac" if fits and _on_grid(samples, halvings(samples)) else "wav"


def wav_bits(samples: np.ndarray, bits: int) -> int:
    """How many bits a WAV needs: those asked for, or 32, floats, where they would clip or (24) lose anything."""
    exact = halvings(samples) == 0 and (bits == 16 or (bits == 24 and _on_grid(samples, 0)))
    return bits if exact else 32


def _flac_rate(rate: int) -> bool:
    """Whether a FLAC can have this rate (RFC 9639, section 7: streamable files)."""
    return rate <= 65_535 or (rate <= 655_350 and rate % 10 == 0)


def _on_grid(samples: np.ndarray, halved: int) -> bool:
    scale = np.float32(2.0 ** (halved - 23))
    blocks = (samples[:, at : at + _BLOCK] for at in range(0, samples.shape[1], _BLOCK))
    return all(np.array_equal((steps24(block, halved) * scale).view(np.int32), _bits(block)) for block in blocks)


def _bits(block: np.ndarray) -> np.ndarray:
    """Floats as what they are in memory, where -0 is not 0."""
    return np.ascontiguousarray(block, np.float32).view(np.int32)


def best_rate(kind: str, rate: int) -> int:
    """The rate at which a kind of file keeps a sound of this rate."""
    rates = _RATES.get(_SUBTYPES.get(kind, ""), (rate,))
    return rate if rate in rates else 48_000


def check(kind: Any, samples: np.ndarray, rate: int, tags: Mapping[str, str | None]) -> dict[str, str]:
    """Refuse what a kind of file cannot hold, before it is begun; the tags that are there."""
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise SourceError(f'A kind of sound file is "flac", "wav", "opus", "ogg", "mp3" or "m4a", not {shown(kind)}.')
    if kind == "m4a":
        pyav.must_be_there()
    if samples.shape[1] == 0:
        raise SourceError("This sound has no samples; there is nothing to write.")
    if len(samples) > _CHANNELS[kind]:
        raise SourceError(
            f"A .{kind} file holds at most {_CHANNELS[kind]} channels, not {len(samples)}; "
            "use `audio.with_channels(2)`, or write a .wav."
        )
    if kind == "flac" and not _flac_rate(rate):
        raise SourceError(
            f"A .flac file cannot have {rate} samples a second; write a .wav, or use `audio.resample(96000)`."
        )
    return {name: _text(name, text, kind) for name, text in tags.items() if text}


def _text(name: str, text: Any, kind: str) -> str:
    try:
        length = len(text.encode())
    except (AttributeError, UnicodeEncodeError):
        raise SourceError(f"A file's {name} is text, not {shown(text)}.") from None
    if bad := NO_CHARACTER.search(text):
        raise SourceError(f"A file's {name} cannot hold what is no character (U+{ord(bad.group()):04X}).")
    most = _MOST_OPUS_TEXT if _SUBTYPES.get(kind) == "OPUS" else 2**24
    if length > most:
        raise SourceError(f"The {name} has {length:,} bytes; a .{kind} file holds {most:,}. A .flac file holds more.")
    return text


def write_file(
    target: Path,
    kind: str,
    samples: np.ndarray,
    rate: int,
    layout: tuple[str, ...],
    tags: Mapping[str, str],
    bits: int = 32,
    bitrate: int | None = None,
) -> Path:
    """Write a file of a kind that `check` has passed, whole or not at all; SourceError where the disk refuses."""

    def write(draft: Path) -> None:
        with draft.open("xb+") as file:
            write_to(file, kind, samples, rate, layout, bits, tags, bitrate)

    return write_whole(target, write, "The sound", SourceError)


def write_to(
    file: BinaryIO,
    kind: str,
    samples: np.ndarray,
    rate: int,
    layout: tuple[str, ...],
    bits: int,
    tags: Mapping[str, str],
    bitrate: int | None = None,
) -> None:
    """Write a sound into an open file; `bits` are those of a WAV or FLAC: 16, 24, or 32 for a WAV of floats, `bitrate` the
    kilobits a second of what is lossy.
    """
    if kind == "wav":
        wav.write(file, samples, rate, layout, bits, tags)
        return
    if kind == "m4a":
        pyav.write_m4a(file, samples, rate, bitrate or 192, tags)
        return
    halved = halvings(samples)
    if halved:
        tags = {**tags, "software": f"acestep_lab, scaled by 2^-{halved}"}
    if kind == "mp3":
        file.write(_id3(tags))
        tags, file, into = {}, io.BytesIO(), file
    names = layouts.VORBIS if _SUBTYPES[kind] == "OPUS" else layouts.STANDARD
    samples = layouts.reorder(samples, layout, names.get(len(samples), layouts.STANDARD[len(samples)]))
    kept = _ErrorKeepingFile(file)
    try:
        _by_libsndfile(kept, kind, samples, rate, halved, bits, tags, bitrate)
    except (
        soundfile.LibsndfileError,
        AssertionError,
    ) as error:  # the latter where fewer samples were written than given
        if kept.problem is None:
            reason = getattr(error, "error_string", "").rstrip(".")
            raise SourceError(f"The sound cannot be written ({reason or 'libsndfile stopped'}).") from None
    if kept.problem is not None:
        raise kept.problem
    if kind == "mp3":
        into.write(file.getbuffer())  # type: ignore[attr-defined]


class _ErrorKeepingFile:
    """A file that remembers what its disk refused: libsndfile goes on after it and says nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.problem: OSError | None = None

    def _tried(self, call: Callable[[], int]) -> int:
        try:
            return call() if self.problem is None else 0
        except OSError as problem:
            self.problem = problem
            return 0

    def write(self, data: bytes) -> int:
        return self._tried(lambda: self._file.write(data))

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._tried(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._tried(self._file.tell)


def _compression(kind: str, channels: int, bitrate: int | None) -> dict[str, Any]:
    """A bitrate in kbit/s as libsndfile is told of it: by a level from 0 (all it can) to 1."""
    if bitrate is None or kind == "flac":
        return {}
    if kind == "mp3":
        level = min(0.99, max(0.0, (320 - bitrate) / (320 - 32)))
        return {"compression_level": level, "bitrate_mode": "CONSTANT"}
    each = 1000 * bitrate / channels  # of Opus, 6 to 256 kbit/s a channel
    return {"compression_level": min(1.0, max(0.0, 1.0 - (each - 6000) / 250_000))}


def _by_libsndfile(
    file: _ErrorKeepingFile,
    kind: str,
    samples: np.ndarray,
    rate: int,
    halved: int,
    bits: int,
    tags: Mapping[str, str],
    bitrate: int | None = None,
) -> None:
    subtype = "PCM_16" if kind == "flac" and bits == 16 else _SUBTYPES[kind]
    step = max(1, _BLOCK // len(samples))
    how = {"subtype": subtype, "format": _FORMATS[kind], **_compression(kind, len(samples), bitrate)}
    with soundfile.SoundFile(file, "w", rate, len(samples), **how) as sound:
        for name, text in tags.items():
            setattr(sound, name, text)
        for start in range(0, samples.shape[1], step):
            block = samples[:, start : start + step].T
            if kind == "flac":
                sound.write(steps24(block, halved).astype(np.int32) << 8)
            else:
                sound.write(np.ascontiguousarray(block * np.float32(2.0**-halved)))


def _id3(tags: Mapping[str, str]) -> bytes:
    """Tags as ID3v2.4 in UTF-8, to stand before an MP3; libsndfile would write them as if they were Latin-1."""
    names = {"title": b"TIT2", "software": b"TSSE", "comment": b"COMM"}
    frames = b"".join(
        _id3_frame(names[name], (b"\x03und\0" if name == "comment" else b"\x03") + text.encode())
        for name, text in tags.items()
    )
    return b"ID3\x04\0\0" + _id3_size(len(frames)) + frames if frames else b""


def _id3_frame(name: bytes, body: bytes) -> bytes:
    return name + _id3_size(len(body)) + b"\0\0" + body


def _id3_size(count: int) -> bytes:
    return bytes((count >> shift) & 127 for shift in (21, 14, 7, 0))
