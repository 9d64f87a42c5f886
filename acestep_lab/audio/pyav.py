"""AAC, M4A, WebM and others, read (and M4A written) by ffmpeg's libraries where PyAV is installed (`pip install "acestep_lab[codecs]"`).

Knows files and frames. A file is opened by the container its first bytes name and by nothing else: never by an address
or a playlist, which ffmpeg would follow. PyAV is BSD-licensed; the ffmpeg in its wheels is LGPL, hence an extra.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from acestep_lab.audio import arrays
from acestep_lab.errors import SourceError

_KINDS = (
    (4, b"ftyp", "AAC or ALAC in MP4 (.m4a, .mp4)", "mp4"),
    (4, b"moov", "a QuickTime file", "mov"),
    (4, b"mdat", "a QuickTime file", "mov"),
    (4, b"wide", "a QuickTime file", "mov"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (.wma)", "asf"),
    (0, b"\x0bw", "AC-3", "ac3"),
    (0, b"wvpk", "WavPack", "wv"),
    (0, b"MAC ", "Monkey's Audio (.ape)", "ape"),
    (0, b"TTA1", "True Audio (.tta)", "tta"),
    (0, b"MPCK", "Musepack", "mpc8"),
    (0, b"MP+", "Musepack", "mpc"),
    (0, b"DSD ", "DSD (.dsf)", "dsf"),
    (0, b"FRM8", "DSD (.dff)", "iff"),
    (0, b"#!AMR", "AMR", "amr"),
    (0, b"FLV\x01", "Flash video", "flv"),
    (0, b"OggS", "an Ogg of another kind than Vorbis, Opus and FLAC", "ogg"),
)
"""Place and bytes that tell a container, its name in words, ffmpeg's name of it."""

_OGGS = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC")
"""How an Ogg begins that libsndfile reads."""

_ADTS = "AAC (.aac)", "aac"


def kind_of(head: bytes) -> tuple[str, str] | None:
    """Words and ffmpeg's name for the container that a file's first kilobytes tell; None where it is none of them."""
    if any(mark in head[:64] for mark in _OGGS):
        return None
    for at, mark, words, name in _KINDS:
        if head[at : at + len(mark)] == mark:
            return words, name
    tag = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        tag = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    after = head[tag : tag + 2]
    return _ADTS if len(after) == 2 and after[0] == 0xFF and after[1] & 0xF6 == 0xF0 else None


def installed() -> bool:
    """Whether PyAV is there and can be loaded."""
    try:
        import av  # noqa: F401
    except ImportError:  # also of a wheel whose libraries are missing
        return False
    return True


def missing_codec_error(name: str, words: str, path: str) -> SourceError:
    """The error where a file could be read with PyAV, which is not installed."""
    plain = path if len(path) <= 40 else f"song{path[path.rfind('.') :][:6]}"
    new = f"{plain.rpartition('.')[0] or plain}.flac"
    return SourceError(
        f'{name} is {words}. `pip install "acestep_lab[codecs]"` reads it; or convert it: '
        f"`ffmpeg -i {shlex.quote(plain)} {shlex.quote(new)}`."
    )


def read(file: BinaryIO, container: str, name: str, longest: float) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Samples `[channels, samples]`, rate and layout of the first sound in a file; SourceError says what was wrong."""
    with _opened(file, container, name) as opened:
        if not opened.streams.audio:
            raise SourceError(f"There is no sound in {name}.")
        return _decoded(opened, name, longest)


def head(file: BinaryIO, container: str, name: str) -> tuple[int, int, int, dict[str, str]]:
    """Samples (0 where the file does not say), their rate, channels and texts of the first sound in a file."""
    with _opened(file, container, name) as opened:
        if not opened.streams.audio:
            raise SourceError(f"There is no sound in {name}.")
        stream = opened.streams.audio[0]
        texts = {key.lower(): value for key, value in opened.metadata.items()}
        seconds = _seconds_said(opened, stream) if _length_is_written(opened) else 0.0
        return round(seconds * stream.rate), stream.rate, stream.channels, texts


def _seconds_said(opened: Any, stream: Any) -> float:
    """How long a file says that its sound is."""
    base = stream.time_base or 0
    return float(stream.duration * base) if stream.duration else (opened.duration or 0) / 1_000_000


def tags(file: BinaryIO, container: str, name: str) -> dict[str, str]:
    """The texts in a file, their names in small letters."""
    with _opened(file, container, name) as opened:
        return {key.lower(): value for key, value in opened.metadata.items()}


@contextlib.contextmanager
def _opened(file: BinaryIO, container: str, name: str) -> Iterator[Any]:
    import av

    asked = {"protocol_whitelist": "file"}
    try:
        with av.open(file, format=container, metadata_errors="replace", options=asked) as opened:
            yield opened
    except (av.FFmpegError, EOFError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)[:60]
        raise SourceError(f"{name} is damaged, or of a kind that ffmpeg cannot read ({reason}).") from None


def _decoded(opened: Any, name: str, longest: float) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """All frames of the first sound, within the limits of every file."""
    stream, rate = opened.streams.audio[0], 0
    layout: tuple[str, ...] = ()
    blocks: list[np.ndarray] = []
    seconds_said = _seconds_said(opened, stream)
    frames = 0
    for block, block_rate, block_layout in _frames(opened, stream):
        if not blocks:
            rate, layout = block_rate, block_layout
            if _length_is_written(opened):
                arrays.check_size(name, rate, len(block), round(seconds_said * rate), longest)
        if (block_rate, len(block)) != (rate, len(blocks[0]) if blocks else len(block)):
            raise SourceError(f"{name} changes its rate or its number of channels at {frames / rate:.1f} s.")
        arrays.check_finite(block, name, rate, frames)
        frames += block.shape[1]
        arrays.check_size(name, rate, len(block), frames, longest)
        blocks.append(block)
    if not frames:
        raise SourceError(f"{name} holds no samples.")
    return np.concatenate(blocks, axis=1), rate, layout


def _length_is_written(opened: Any) -> bool:
    """Whether a container's length is written in it; that of raw AAC is guessed from its first frames."""
    return opened.format.name != "aac"


def _frames(opened: Any, stream: Any) -> Iterator[tuple[np.ndarray, int, tuple[str, ...]]]:
    """Planar samples, rate and layout of each frame."""
    for frame in opened.decode(stream):
        count = len(frame.layout.channels)
        samples = frame.to_ndarray()
        samples = samples if frame.format.is_planar else samples.reshape(-1, count).T
        names = tuple(channel.name for channel in frame.layout.channels)
        yield arrays.to_full_scale(samples).astype(np.float32), frame.sample_rate, names


def is_there() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def must_be_there() -> None:
    """SourceError where an M4A cannot be written here."""
    if not is_there():
        raise SourceError('An .m4a needs PyAV: `pip install "acestep_lab[codecs]"`. An .mp3 or .opus needs nothing.')


_FRAMES = 1 << 16
"""Samples of a channel that are handed to the encoder at once."""


def write_m4a(file: BinaryIO, samples: np.ndarray, rate: int, bitrate: int, tags: Mapping[str, str]) -> None:
    """Write `[channels, samples]` within full scale as AAC in MP4, `bitrate` in kbit/s; SourceError says what was wrong."""
    import av

    layout = "mono" if len(samples) == 1 else "stereo"
    try:
        # Which second it is does not belong into a file: the same sound gives the same bytes.
        with av.open(file, "w", format="ipod", options={"fflags": "+bitexact"}) as opened:
            opened.metadata.update({name: text for name, text in tags.items() if text})
            stream: Any = opened.add_stream("aac", rate=rate, layout=layout)
            stream.bit_rate = bitrate * 1000
            for at in range(0, samples.shape[1], _FRAMES):
                block = np.ascontiguousarray(samples[:, at : at + _FRAMES], np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, at
                opened.mux(stream.encode(frame))
            opened.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise SourceError(f"The sound cannot be written as AAC ({str(error)[:80]}).") from None
