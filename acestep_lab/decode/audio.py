"""Sound as a value: samples and their rate; files, loudness, peaks, splicing.

Knows no model and imports no torch. Samples are float32 `[channels, samples]`, full scale at ±1.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile

from acestep_lab.errors import SourceError
from acestep_lab.prompt.tasks import Region

LONGEST_SOURCE_SECONDS = 1200.0
"""A longer file is refused before it is decoded into memory."""

_SUBTYPES = {"flac": "PCM_24", "wav": "FLOAT", "ogg": "OPUS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}
_FORMATS = {"flac": "FLAC", "wav": "WAV", "ogg": "OGG", "opus": "OGG", "mp3": "MP3"}
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound: float32 samples `[channels, samples]` at `rate` per second."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples)
        if samples.ndim == 1:
            samples = samples[None]
        if samples.ndim != 2 or not 1 <= samples.shape[0] <= 16:
            raise SourceError(f"Samples come as [channels, samples]; these have the shape {list(samples.shape)}.")
        if np.issubdtype(samples.dtype, np.integer):
            samples = samples / np.float32(np.iinfo(samples.dtype).max)
        samples = np.array(samples, dtype=np.float32, order="C")
        samples.flags.writeable = False
        object.__setattr__(self, "samples", samples)
        if isinstance(self.rate, bool) or int(self.rate) != self.rate or not 1000 <= self.rate <= 768_000:
            raise SourceError(f"A sample rate is a whole number such as 48000 (per second), not {self.rate!r}.")
        object.__setattr__(self, "rate", int(self.rate))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Audio({self.seconds:.2f} s, {self.channels} channel{'s' * (self.channels > 1)}, {self.rate} Hz)"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.rate

    @property
    def peak(self) -> float:
        """Largest absolute sample; 1.0 is full scale."""
        return float(np.abs(self.samples).max(initial=0.0))

    @cached_property
    def id(self) -> str:
        """A name made of the content: the same samples at the same rate have the same id."""
        digest = hashlib.blake2b(self.samples.tobytes(), digest_size=8, salt=str(self.rate).encode()[:16])
        return f"audio-{digest.hexdigest()}"

    def loudness(self) -> float:
        """Integrated loudness in LUFS (ITU-R BS.1770-4); -inf for silence or under 0.4 s."""
        return integrated_loudness(self.samples, self.rate)

    def cut(self, region: Region) -> Audio:
        """The samples inside a region."""
        return Audio(self.samples[:, region.samples(self.rate)], self.rate)

    def on_grid(self) -> Audio:
        """The same sound on the grid of 24-bit files, so that a FLAC of it gives these very samples back."""
        steps = _steps24(self.samples)
        steps /= np.float32(_GRID)
        return Audio(steps, self.rate)

    def with_channels(self, channels: int) -> Audio:
        """The same sound with another number of channels: mono is copied, more are averaged."""
        if channels == self.channels:
            return self
        mono = self.samples.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        return Audio(np.repeat(mono, channels, axis=0), self.rate)

    def resample(self, rate: int) -> Audio:
        """The same sound at another rate (windowed sinc, by torchaudio)."""
        if rate == self.rate:
            return self
        import torch

        from acestep_lab._torchaudio import resample

        return Audio(resample(torch.from_numpy(self.samples.copy()), self.rate, rate).numpy(), rate)

    def gain(self, decibels: float) -> Audio:
        """The same sound louder or softer."""
        return Audio(self.samples * np.float32(10 ** (decibels / 20)), self.rate)

    def normalized(self, peak_dbfs: float = -1.0) -> Audio:
        """The same sound with its peak at `peak_dbfs`; silence stays as it is."""
        return Audio(self.samples * np.float32(normalizing_gain(self.samples, peak_dbfs)), self.rate)

    def peaks(self, bins: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
        """Lowest and highest sample of each of `bins` equal spans: float32 `[channels, bins, 2]`."""
        first, last = round(start * self.rate), round((self.seconds if end is None else end) * self.rate)
        part = self.samples[:, max(0, first) : max(0, last)]
        if part.shape[1] == 0:
            return np.zeros((self.channels, 0, 2), np.float32)
        edges = np.unique(np.linspace(0, part.shape[1], min(bins, part.shape[1]) + 1).astype(int)[:-1])
        low, high = np.minimum.reduceat(part, edges, axis=1), np.maximum.reduceat(part, edges, axis=1)
        return np.stack([low, high], axis=-1)

    @classmethod
    def read(cls, path: str | os.PathLike[str] | io.BytesIO, longest: float = LONGEST_SOURCE_SECONDS) -> Self:
        """Read any format libsndfile knows (WAV, FLAC, OGG, MP3, AIFF …); SourceError says what was wrong."""
        name = "the upload" if isinstance(path, io.BytesIO) else f"{Path(path).name!r}"
        if not isinstance(path, io.BytesIO) and not Path(path).is_file():
            raise SourceError(f"There is no file {str(path)!r}.")
        try:
            with soundfile.SoundFile(path if isinstance(path, io.BytesIO) else str(path)) as file:
                if file.frames > longest * file.samplerate:
                    raise SourceError(
                        f"{name} lasts {file.frames / file.samplerate / 60:.0f} minutes; at most {longest / 60:.0f} can be read."
                    )
                samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
        except soundfile.LibsndfileError as error:
            raise SourceError(
                f"{name} is no sound file that can be read ({error.error_string.rstrip('.')}). "
                "WAV, FLAC, OGG, MP3 and AIFF can."
            ) from None
        if not np.isfinite(samples).all():
            raise SourceError(f"{name} holds samples that are not numbers.")
        return cls(samples.T, rate)

    def write(self, path: str | os.PathLike[str], *, comment: str | None = None, title: str | None = None) -> Path:
        """Write FLAC, WAV (float), OGG/Opus or MP3 by the file's ending; whole or not at all."""
        target, kind = can_write(path)
        draft = draft_of(target)
        try:
            self._write(draft, kind, {"comment": comment, "title": title})
            os.replace(draft, target)
        except (soundfile.LibsndfileError, OSError) as error:
            raise SourceError(f"{str(target)!r} cannot be written ({error}).") from None
        finally:
            draft.unlink(missing_ok=True)
        return target

    def _write(self, path: Path, kind: str, tags: dict[str, str | None]) -> None:
        """Write in blocks of a second: libsndfile crashes on long Vorbis or Opus written in one call."""
        audio = self if _SUBTYPES[kind] != "OPUS" or self.rate in _OPUS_RATES else self.resample(48000)
        with soundfile.SoundFile(
            str(path), "w", audio.rate, audio.channels, subtype=_SUBTYPES[kind], format=_FORMATS[kind]
        ) as file:
            for name, text in tags.items():
                if text:
                    setattr(file, name, text)
            for start in range(0, audio.samples.shape[1], audio.rate):
                block = audio.samples[:, start : start + audio.rate].T
                file.write(_steps24(block).astype(np.int32) << 8 if kind == "flac" else block)

    def encoded(self, kind: str = "wav") -> bytes:
        """The bytes of a file: "wav" (16 bit), "flac" or "opus" (in an Ogg)."""
        buffer = io.BytesIO()
        subtype, form = {"wav": ("PCM_16", "WAV"), "flac": ("PCM_16", "FLAC"), "opus": ("OPUS", "OGG")}[kind]
        audio = self if kind != "opus" or self.rate in _OPUS_RATES else self.resample(48000)
        with soundfile.SoundFile(buffer, "w", audio.rate, audio.channels, subtype=subtype, format=form) as file:
            for start in range(0, audio.samples.shape[1], audio.rate):
                file.write(audio.samples[:, start : start + audio.rate].T)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from acestep_lab.ui.notebook import sound_bundle

        return sound_bundle(self, include=include, exclude=exclude)


def can_write(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """A path and its kind of file, or SourceError where no sound can be written there."""
    target = Path(path)
    kind = target.suffix.lower().lstrip(".")
    if kind not in _FORMATS:
        raise SourceError(f"{str(target)!r} has no ending that can be written; use .flac, .wav, .opus, .ogg or .mp3.")
    has_room(target)
    return target, kind


def has_room(target: Path) -> None:
    """Try whether a file can be written there, leaving nothing behind; SourceError where it cannot."""
    if not target.parent.is_dir():
        raise SourceError(f"There is no folder {str(target.parent)!r} to write {target.name!r} into.")
    if target.is_dir():
        raise SourceError(f"{str(target)!r} is a folder; name a file in it.")
    if target.exists() and not os.access(target, os.W_OK):
        raise SourceError(f"{str(target)!r} is write-protected; choose another name.")
    draft = draft_of(target)
    try:
        draft.touch(exist_ok=False)  # only trying tells: rights, full disks and odd file systems alike
        draft.unlink()
    except OSError as error:
        raise SourceError(
            f"{str(target)!r} cannot be written ({error.strerror}); name a file in a folder of your own."
        ) from None


def draft_of(target: Path) -> Path:
    """A name beside a file, of the same kind, under which to write it before it is moved into place."""
    return target.with_name(f".draft-{secrets.token_hex(6)}{target.suffix}")


_GRID = 2**23


def _steps24(samples: np.ndarray) -> np.ndarray:
    """Samples as whole steps of a 24-bit file, clipped at full scale."""
    steps = samples.astype(np.float32) * np.float32(_GRID)  # exact: a power of two, and 24 bits are what float32 has
    return np.clip(np.rint(steps, out=steps), -_GRID, _GRID - 1, out=steps)


def normalizing_gain(samples: np.ndarray, peak_dbfs: float = -1.0) -> float:
    """The factor that brings the peak to `peak_dbfs`; 1 for silence (below -120 dBFS)."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 10 ** (peak_dbfs / 20) / peak if peak > 1e-6 else 1.0


def splice(original: Audio, new: Audio, regions: Sequence[Region], crossfade: float = 0.0) -> Audio:
    """The original with `new` inside the regions; crossfades lie just outside each region.

    Every sample outside regions and crossfades is the original's own, bit for bit. Both sounds have one rate,
    one number of channels and one length; `crossfade` is seconds on each side.
    """
    if original.rate != new.rate or original.samples.shape != new.samples.shape:
        raise SourceError(f"Only sounds of one shape can be spliced: {original!r} and {new!r}.")
    weight = np.zeros(original.samples.shape[1], np.float32)
    for region in regions:
        weight = np.maximum(weight, _window(region, original, crossfade))
    mixed = original.samples + weight * (new.samples - original.samples)
    return Audio(np.where(weight == 0, original.samples, np.where(weight == 1, new.samples, mixed)), original.rate)


def _window(region: Region, audio: Audio, crossfade: float) -> np.ndarray:
    """1 inside a region, falling to 0 over `crossfade` seconds outside it: `[samples]`."""
    span, length = region.samples(audio.rate), audio.samples.shape[1]
    fade = round(crossfade * audio.rate)
    at = np.arange(length)
    outside = np.maximum(span.start - at, at - (span.stop - 1))
    if fade == 0:
        return (outside <= 0).astype(np.float32)
    return np.clip(1 - outside / (fade + 1), 0, 1).astype(np.float32)


def integrated_loudness(samples: np.ndarray, rate: int) -> float:
    """Loudness of `[channels, samples]` in LUFS, gated in 400 ms blocks (ITU-R BS.1770-4)."""
    block, hop = round(0.4 * rate), round(0.1 * rate)
    if samples.shape[1] < block:
        return -math.inf
    power = np.cumsum(_k_weighted(samples.astype(np.float64), rate) ** 2, axis=1)
    power = np.concatenate([np.zeros((len(power), 1)), power], axis=1)
    starts = np.arange(0, samples.shape[1] - block + 1, hop)
    energy = (power[:, starts + block] - power[:, starts]).sum(axis=0) / block
    energy = energy[energy > 10 ** ((-70 + 0.691) / 10)]
    if not energy.size:
        return -math.inf
    energy = energy[energy > energy.mean() / 10]
    return float(-0.691 + 10 * np.log10(energy.mean()))


def _k_weighted(samples: np.ndarray, rate: int) -> np.ndarray:
    """The K-weighting curve applied in the frequency domain, `[channels, samples]`."""
    length = 1 << (samples.shape[1] + rate // 4 - 1).bit_length()
    z = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    response = np.ones_like(z)
    for b, a in (_shelf(rate), _highpass(rate)):
        response *= (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return np.fft.irfft(np.fft.rfft(samples, length) * response, length)[:, : samples.shape[1]]


def _shelf(rate: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """BS.1770's first stage for any rate: a high shelf of +4 dB at 1.7 kHz (De Man, 2018)."""
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / q + k * k
    b = ((high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0)
    return b, (1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0)


def _highpass(rate: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """BS.1770's second stage for any rate: a high pass at 38 Hz."""
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return (1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0)
