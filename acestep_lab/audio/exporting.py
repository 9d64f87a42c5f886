"""A sound made ready for a file that is handed on: its rate, level and fades, the bits or bitrate it is kept in.

Knows samples. Nothing is clipped: what would be above full scale is turned down as a whole, and that is said. Sixteen bits are
made with triangular dither (TPDF) of one step, always from the same seed, so that the same take gives the same file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from acestep_lab.audio import arrays, writing
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError, shown

LOSSY = ("mp3", "opus", "ogg", "m4a")
BITRATES: Mapping[str, tuple[int, int, int]] = {
    "mp3": (64, 320, 192), "opus": (24, 510, 128), "ogg": (24, 510, 128), "m4a": (48, 320, 192),
}  # fmt: skip
"""The least and the most kilobits a second of a lossy format, and what it is where nobody says."""
CEILING_DB = -1.0
"""The highest peak that a loudness is reached with, in dBFS: what a lossy encoder adds still fits."""
DITHER_SEED = 16
SIXTEEN = np.float32(2.0**15)


@dataclass(frozen=True)
class ExportOptions:
    """How a sound is handed on; what is None stays as it is."""

    bits: int | None = None
    """Of a WAV 16, 24 or 32 (floats), of a FLAC 16 or 24."""
    bitrate: int | None = None
    """Kilobits a second of an MP3, Opus or M4A, all channels together."""
    rate: int | None = None
    """Samples a second."""
    peak_db: float | None = None
    """Bring the highest peak here, in dBFS."""
    lufs: float | None = None
    """Bring the loudness here (ITU-R BS.1770); lower where its peaks would pass −1 dBFS."""
    fade_in: float = 0.0
    """Seconds from silence at the start."""
    fade_out: float = 0.0
    """Seconds to silence at the end."""
    form: str = ""
    """The kind of sound inside a zip: "flac", "wav", "opus", "mp3" or "m4a"; "": whichever keeps every sample."""
    latent: bool = True
    """Whether a zip holds the latent as well."""

    def __post_init__(self) -> None:
        _one_of("Bits are", self.bits, (None, 16, 24, 32))
        _between("A bitrate in kbit/s", self.bitrate, 24, 510)
        _between("A rate", self.rate, 1000, 768_000)
        _between("A peak in dBFS", self.peak_db, -60, 0)
        _between("A loudness in LUFS", self.lufs, -60, 0)
        _between("A fade in seconds", self.fade_in, 0, 3600)
        _between("A fade in seconds", self.fade_out, 0, 3600)
        _one_of("The sound in a zip is", self.form, ("", "flac", "wav", *LOSSY))
        if self.peak_db is not None and self.lufs is not None:
            raise SourceError("A level is a peak (peak_db) or a loudness (lufs), not both; leave one out.")
        for name in ("bits", "bitrate", "rate"):
            value = getattr(self, name)
            if value is not None and value != int(value):
                raise SourceError(f"The {name} of an export is a whole number, not {shown(value)}.")
            object.__setattr__(self, name, None if value is None else int(value))
        object.__setattr__(self, "latent", bool(self.latent))

    @classmethod
    def of(cls, options: Any = None, changes: Mapping[str, Any] | None = None) -> ExportOptions:
        """Options, some of them changed; SourceError for a name that is none."""
        if options is not None and not isinstance(options, cls):
            raise SourceError(f"How to export is said by ExportOptions(bits=16, …), not {shown(options)}.")
        known = [one.name for one in fields(cls)]
        if unknown := [name for name in changes or {} if name not in known]:
            raise SourceError(f"An export has no option {shown(unknown[0])}; there are {', '.join(known)}.")
        return replace(options or cls(), **(changes or {}))

    def fit(self, kind: str) -> ExportOptions:
        """The options as a kind of file takes them; SourceError for what it cannot have."""
        if self.bits is not None and kind in LOSSY:
            raise SourceError(f"A .{kind} has no bits; say bitrate={BITRATES[kind][2]}, or write a .wav or .flac.")
        if self.bits == 32 and kind == "flac":
            raise SourceError("A .flac holds 16 or 24 bits; 32-bit floats need a .wav.")
        if self.bitrate is not None and kind not in LOSSY:
            raise SourceError(f"A .{kind} has no bitrate; say bits=16 or bits=24, or write an .mp3 or .opus.")
        if self.bitrate is not None:
            least, most, _ = BITRATES[kind]
            _between(f"The bitrate of a .{kind}", self.bitrate, least, most)
        return self


@dataclass(frozen=True, eq=False)
class Ready:
    """A sound ready to be written."""

    audio: Audio
    edits: tuple[str, ...] = ()
    """What was changed on purpose, in words; () where the sound is the take's own."""
    remarks: tuple[str, ...] = ()
    """What could not be done as asked, in sentences."""


def ready(audio: Audio, kind: str, options: ExportOptions) -> Ready:
    """A sound at its rate and level, faded, and on the grid of its bits; SourceError for options that the kind cannot have."""
    options = options.fit(kind)
    edits: list[str] = []
    remarks: list[str] = []
    if options.rate is not None and options.rate != audio.rate:
        if writing.best_rate(kind, options.rate) != options.rate:
            raise SourceError(f"A .{kind} cannot have {options.rate} samples a second; 48000 always works.")
        audio = audio.resample(options.rate)
        edits.append(f"resampled to {options.rate} Hz")
    audio = _levelled(audio, options, edits, remarks)
    audio = _faded(audio, options, edits)
    audio = _within(audio, kind, options, edits, remarks)
    if options.bits == 16:
        audio = dithered(audio)
    return Ready(audio, tuple(edits), tuple(remarks))


def _levelled(audio: Audio, options: ExportOptions, edits: list[str], remarks: list[str]) -> Audio:
    if options.peak_db is None and options.lufs is None:
        return audio
    if audio.peak <= 1e-6:
        remarks.append("It is silent, so that its level stays as it is.")
        return audio
    if options.peak_db is not None:
        edits.append(f"its peak brought to {options.peak_db:g} dBFS")
        return audio.normalized(options.peak_db)
    assert options.lufs is not None
    now = audio.loudness()
    if not math.isfinite(now):
        remarks.append(
            "It is too short or too quiet for its loudness to be measured, so that its level stays as it is."
        )
        return audio
    gain, room = options.lufs - now, CEILING_DB - 20 * math.log10(audio.peak)
    if gain > room:
        gain = room
        remarks.append(
            f"At {options.lufs:g} LUFS its peaks would be cut off: it is at {now + gain:.1f} LUFS, its peak at "
            f"{CEILING_DB:g} dBFS."
        )
    edits.append(f"its loudness brought to {now + gain:.1f} LUFS")
    return audio.gain(gain)


def _faded(audio: Audio, options: ExportOptions, edits: list[str]) -> Audio:
    from acestep_lab.audio.mastering import fade

    if not options.fade_in and not options.fade_out:
        return audio
    samples = audio.samples.copy()
    fade(samples, round(options.fade_in * audio.rate), round(options.fade_out * audio.rate))
    edits += [f"faded in over {options.fade_in:g} s"] if options.fade_in else []
    edits += [f"faded out over {options.fade_out:g} s"] if options.fade_out else []
    return Audio(samples, audio.rate, audio.layout)


def _within(audio: Audio, kind: str, options: ExportOptions, edits: list[str], remarks: list[str]) -> Audio:
    """Turned down as a whole where it would be cut off at full scale."""
    whole = (kind in ("wav", "flac") and options.bits in (16, 24)) or kind == "m4a"
    if not whole or audio.peak <= 1.0:
        return audio
    down = 20 * math.log10(audio.peak) - CEILING_DB
    said = f"turned down by {down:.1f} dB"
    edits.append(said)
    remarks.append(f"It is louder than full scale, which this file cannot hold: it is {said}, and not cut off.")
    return audio.gain(-down)


def dithered(audio: Audio) -> Audio:
    """The sound on the grid of 16-bit files, with triangular dither; one that is on it already stays."""
    steps = audio.samples * SIXTEEN
    if np.array_equal(steps, np.rint(steps)) and audio.peak <= 1.0:
        return audio
    noise = np.random.default_rng(DITHER_SEED)
    for row in steps:
        row += noise.random(len(row), np.float32)
        row -= noise.random(len(row), np.float32)
    np.clip(np.rint(steps, out=steps), -SIXTEEN, SIXTEEN - 1, out=steps)
    return Audio(steps / SIXTEEN, audio.rate, audio.layout)


def bytes_about(kind: str, seconds: float, rate: int, channels: int, options: ExportOptions) -> int:
    """How large a file will be, about, in bytes."""
    if kind in LOSSY:
        return round(seconds * (options.bitrate or BITRATES[kind][2]) * 125)
    bits = options.bits or (32 if kind == "wav" else 24)
    share = 0.62 if kind == "flac" else 1.0
    return round(seconds * (options.rate or rate) * channels * bits / 8 * share)


def _one_of(what: str, value: Any, known: tuple[Any, ...]) -> None:
    if not any(value is one or (type(value) is type(one) and value == one) for one in known):
        listed = ", ".join(repr(one) for one in known if one not in (None, ""))
        raise SourceError(f"{what} one of {listed}, not {shown(value)}.")


def _between(what: str, value: Any, least: float, most: float) -> None:
    if value is not None and not least <= arrays.finite(value, what) <= most:
        raise SourceError(f"{what} is from {least:g} to {most:g}, not {shown(value)}.")
