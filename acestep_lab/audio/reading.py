"""Sound files as samples: what a file says of itself is checked before anything is decoded, and again while it is.

Knows files, libsndfile and, where it is installed, PyAV. Whatever cannot be read is one SourceError.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from acestep_lab.audio import arrays, layouts, pyav, wav
from acestep_lab.errors import SourceError, shown
from acestep_lab.prompt import checks

LONGEST_SOURCE_SECONDS = 1200.0
"""A longer file is refused before it is decoded into memory."""

_BLOCK = 2**18
"""Samples of all channels together that are decoded at once."""
_HEAD = 8192
_UNKNOWN = 2**62
"""libsndfile says about 2^63 frames where a FLAC does not say how many it has."""

_SCALED = re.compile(r"acestep_lab, scaled by 2\^-(\d{1,3})\b")


@dataclass(frozen=True)
class SoundFile:
    """What was read: float32 `[channels, samples]`, the rate, and where channels stand (() in the standard order)."""

    samples: np.ndarray
    rate: int
    layout: tuple[str, ...]


def read(source: Any, longest: float = LONGEST_SOURCE_SECONDS) -> SoundFile:
    """Read a file, or the bytes of one: any format of libsndfile (WAV, FLAC, OGG, Opus, MP3, AIFF, CAF …), or of PyAV.

    At most `longest` seconds and `arrays.MOST_SAMPLES` samples, whatever the file says of itself. Raises SourceError.
    """
    longest = arrays.finite(longest, "The longest sound to read, in seconds,", least=0)
    with opened(source) as (file, name, path):
        head = file.read(_HEAD)
        if not head:
            raise SourceError(f"{name} is empty.")
        kind = pyav.kind_of(head)
        try:
            return _by_libsndfile(file, name, path, longest)
        except soundfile.LibsndfileError as error:
            if kind is None:
                raise _no_sound(name, error) from None
        if not pyav.installed():
            raise pyav.missing_codec_error(name, kind[0], Path(path or "song").name)
        file.seek(0)
        samples, rate, names = pyav.read(file, kind[1], name, longest)
        return SoundFile(samples, rate, layouts.known(names, len(samples)))


@dataclass(frozen=True)
class Head:
    """What a sound file says of itself: its length in seconds, samples per second, channels, and its texts."""

    seconds: float
    rate: int
    channels: int
    tags: dict[str, str]


def head(source: Any, longest: float = LONGEST_SOURCE_SECONDS) -> Head:
    """What a sound file says of itself, without decoding it; SourceError where it is none, or too long to be read.

    `longest` is seconds. A file that does not say how long it is (FLAC and AAC out of a stream) is decoded after all.
    """
    with opened(source) as (file, name, path):
        kind = pyav.kind_of(file.read(_HEAD))
        try:
            with _sound(file, path) as sound:
                frames, rate, channels = sound.frames, sound.samplerate, sound.channels
                texts = {key: str(value) for key, value in sound.copy_metadata().items()} | wav.tags_of(file)
        except soundfile.LibsndfileError as error:
            if kind is None:
                raise _no_sound(name, error) from None
            if not pyav.installed():
                raise pyav.missing_codec_error(name, kind[0], Path(path or "song").name) from None
            file.seek(0)
            frames, rate, channels, texts = pyav.head(file, kind[1], name)
        if not 0 < frames < _UNKNOWN:
            found = read(source, longest)
            frames, rate, channels = found.samples.shape[1], found.rate, len(found.samples)
        arrays.check_size(name, rate, channels, frames, longest)
        return Head(frames / rate, rate, channels, texts)


def seconds_of(path: Path) -> float:
    """How long a sound file of ours lasts, by its header; SourceError where it has none."""
    try:
        about = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise _no_sound(path.name, error) from None
    return float(about.frames / about.samplerate)


def tags(source: Any) -> dict[str, str]:
    """The texts in a sound file: "title", "comment", "software" and the like; SourceError where it is none."""
    with opened(source) as (file, name, path):
        kind = pyav.kind_of(file.read(_HEAD))
        try:
            with _sound(file, path) as sound:
                found = {key: str(value) for key, value in sound.copy_metadata().items()}
        except soundfile.LibsndfileError as error:
            if kind is None or not pyav.installed():
                raise _no_sound(name, error) from None
            file.seek(0)
            return pyav.tags(file, kind[1], name)
        return found | wav.tags_of(file)


@contextlib.contextmanager
def opened(source: Any) -> Iterator[tuple[BinaryIO, str, str | None]]:
    """A file to read bytes from, what to call it in a sentence, and its path if it has one.

    SourceError for what is no ordinary file: a pipe or a device could be read for ever.
    """
    if checks.is_a(source, bytes, bytearray, memoryview):
        source = io.BytesIO(source)
    if checks.is_a(source, io.BytesIO):
        source.seek(0)
        yield source, "the upload", None
        return
    path = path_of(source)
    name = shown(path.name or str(path))
    try:
        with _ordinary(path, name) as file:
            yield file, name, str(path)
    except OSError as error:  # a disk that fails, a share that went away
        raise SourceError(f"{name} cannot be read ({error.strerror or error}).") from None


def path_of(source: Any) -> Path:
    """A path as somebody wrote it, "~" for the home folder; SourceError for anything else."""
    named = checks.plain_text(checks.tried(lambda: os.fspath(source)))
    if not named or "\0" in named:  # half characters may be: the system writes bytes that are no text so
        raise SourceError(f"A sound file is named by its path, not by {shown(source)}.")
    return Path(os.path.expanduser(named))


def _ordinary(path: Path, name: str) -> BinaryIO:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise SourceError(f"There is no file {shown(str(path), 120)}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{name} cannot be read ({reason}).") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SourceError(f"{name} is no ordinary file, but a folder, a pipe or a device.")
    return os.fdopen(handle, "rb")


class _Sound(soundfile.SoundFile):
    """A sound file read from its begin to its end: libsndfile cannot seek in a FLAC of unknown length."""

    def seekable(self) -> bool:
        return False


def _sound(file: BinaryIO, path: str | None) -> soundfile.SoundFile:
    """Open a sound; by its path where that may be (it is quicker), else through the bytes that are to be read."""
    fixes = wav.length_fixes(file)
    if path is None or fixes or path.lower().endswith(".raw") or os.name != "posix":
        return _Sound(wav.PatchedFile(file, fixes))
    return _Sound(os.fsencode(path))


def _by_libsndfile(file: BinaryIO, name: str, path: str | None, longest: float) -> SoundFile:
    with _sound(file, path) as sound:
        frames = sound.frames if 0 <= sound.frames < _UNKNOWN else None
        arrays.check_size(name, sound.samplerate, sound.channels, frames or 0, longest)
        samples = _decoded(sound, name, frames, longest)
        found = _SCALED.search(sound.software or "")
        rate, channels, kind = sound.samplerate, sound.channels, sound.format
    if found:
        with np.errstate(over="ignore"):  # what a codec lifted beyond every float is refused below
            samples = np.ldexp(samples, min(int(found[1]), 128))
        arrays.check_finite(samples, name, rate)
    layout = layouts.VORBIS.get(channels, ()) if kind == "OGG" and sound.subtype != "FLAC" else wav.layout_of(file)
    return SoundFile(samples, rate, layouts.known(layout, channels))


def _decoded(sound: soundfile.SoundFile, name: str, frames: int | None, longest: float) -> np.ndarray:
    """All samples `[channels, samples]`, block by block: never more than the file's head said, or the limits allow."""
    whole = None if frames is None else np.empty((sound.channels, frames), np.float32)
    blocks, at = [], 0
    while True:
        try:
            block = sound.read(max(1, _BLOCK // sound.channels), dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            raise SourceError(
                f"{name} is damaged after {arrays.span(at / sound.samplerate)}{_reason(error)}."
            ) from None
        count = block.shape[1] if whole is None else min(block.shape[1], whole.shape[1] - at)
        if not count:
            break
        arrays.check_finite(block, name, sound.samplerate, at)
        arrays.check_size(name, sound.samplerate, sound.channels, at + count, longest)
        if whole is None:
            blocks.append(block)
        else:
            whole[:, at : at + count] = block[:, :count]
        at += count
    if not at:
        raise SourceError(f"{name} holds no samples.")
    return np.concatenate(blocks, axis=1) if whole is None else whole[:, :at]


def _no_sound(name: str, error: soundfile.LibsndfileError) -> SourceError:
    return SourceError(f"{name} is no sound file that can be read{_reason(error)}. WAV, FLAC, OGG, MP3 and AIFF can.")


def _reason(error: soundfile.LibsndfileError) -> str:
    """libsndfile's words in brackets, without those that mislead: it says "no regular file" of what is no MP3."""
    text = error.error_string.removeprefix("Error : ").rstrip(". ")
    return "" if "regular file" in text or "unspecified" in text.lower() else f" ({text})"
