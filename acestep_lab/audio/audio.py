"""Sound as a value: samples and their rate; files, loudness, peaks, splicing.

Knows no model and imports no torch. Samples are float32 `[channels, samples]`, full scale at ±1.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from acestep_lab.audio import arrays, layouts, reading, writing
from acestep_lab.audio.loudness import integrated_loudness as integrated_loudness
from acestep_lab.audio.loudness import weights_of
from acestep_lab.audio.reading import LONGEST_SOURCE_SECONDS as LONGEST_SOURCE_SECONDS
from acestep_lab.audio.reading import tags as tags
from acestep_lab.audio.writing import can_write as can_write
from acestep_lab.audio.writing import draft_of as draft_of
from acestep_lab.audio.writing import has_room as has_room
from acestep_lab.errors import SourceError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Region


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound: float32 samples `[channels, samples]` at `rate` per second.

    Made of any array, tensor or list of finite numbers (see `arrays.planar`), of at most `arrays.MOST_SAMPLES`.
    `layout` says where three and more channels stand, `("FL", "FR", "FC", …)`; () is the order of WAV and FLAC.
    """

    samples: np.ndarray
    rate: int
    layout: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", arrays.rate_of(self.rate))
        object.__setattr__(self, "samples", arrays.planar(self.samples))
        object.__setattr__(self, "layout", layouts.checked(self.layout, self.channels))

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
        samples = self.samples + np.float32(0.0)  # a file of whole numbers gives -0.0 back as 0.0: the same sound
        digest = hashlib.blake2b(samples.data, digest_size=8, salt=str(self.rate).encode()[:16])
        digest.update(" ".join(self.layout).encode())
        return f"audio-{digest.hexdigest()}"

    def loudness(self) -> float:
        """Integrated loudness in LUFS (ITU-R BS.1770-4); -inf for silence or under 0.4 s."""
        weights = weights_of(self.layout or layouts.STANDARD.get(self.channels, ()))
        return integrated_loudness(self.samples, self.rate, weights)

    def cut(self, region: Region) -> Audio:
        """The samples inside a region; SourceError for what is no region."""
        if not checks.is_a(region, Region):
            raise SourceError(f"What is cut out is a Region, such as Region(1.5, 4), not {shown(region)}.")
        return self._with(self.samples[:, region.samples(self.rate)])

    def on_grid(self) -> Audio:
        """The same sound on the grid of 24-bit files, so that a FLAC of it gives these very samples back.

        Above full scale the grid is coarser by as many powers of two as it takes: nothing is clipped.
        """
        halved = writing.halvings(self.samples)
        steps = writing.steps24(self.samples, halved)
        steps *= np.float32(2.0 ** (halved - 23))
        made = self._without_copy(steps, self.rate, self.layout)
        return made if writing.halvings(steps) == halved else made.on_grid()  # rounded down into a finer grid

    @property
    def lossless_kind(self) -> str:
        """ "flac" where a FLAC gives these very samples back, else "wav", which always does."""
        return writing.lossless_kind(self.samples, self.rate, self.layout)

    def with_channels(self, channels: int) -> Audio:
        """The same sound with another number of channels: mono is copied, stereo averaged, surround folded down first.

        5.1 and the like become stereo by ITU-R BS.775 (L + 0.707·C + 0.707·Ls, without the low frequency channel).
        Nothing is levelled or clipped: loud channels may add up to more than full scale.
        """
        channels = arrays.whole(channels, "A number of channels", 1, layouts.MOST_CHANNELS)
        if channels == self.channels:
            return self
        return self._without_copy(layouts.to_channels(self.samples, channels, self.layout), self.rate)

    def resample(self, rate: int) -> Audio:
        """The same sound at another rate, from 1 kHz to 768 kHz (windowed sinc), in bounded time and memory.

        SourceError for a rate outside these, or where the sound would become too large to hold.
        """
        rate = arrays.rate_of(rate)
        if rate == self.rate:
            return self
        from acestep_lab.audio.resampling import resample

        if self.samples.shape[1] * rate > arrays.MOST_SAMPLES * self.rate // self.channels:
            raise SourceError(
                f"At {rate} Hz this sound would take {arrays.size(int(self.seconds * rate) * self.channels)}; "
                f"a sound may have {arrays.size(arrays.MOST_SAMPLES)}. Cut it first."
            )
        return self._without_copy(resample(self.samples, self.rate, rate), rate, self.layout)

    def gain(self, decibels: float) -> Audio:
        """The same sound louder or softer by so many decibels; SourceError above 400."""
        decibels = arrays.finite(decibels, "A gain in decibels")
        if decibels > 400:
            raise SourceError(f"A gain is at most 400 decibels, not {shown(decibels)}.")
        return self._times(10 ** (decibels / 20))

    def normalized(self, peak_dbfs: float = -1.0) -> Audio:
        """The same sound with its peak at `peak_dbfs`; silence stays as it is. SourceError above 400."""
        peak_dbfs = arrays.finite(peak_dbfs, "A peak in decibels")
        if peak_dbfs > 400:
            raise SourceError(f"A peak is at most 400 decibels above full scale, not {shown(peak_dbfs)}.")
        return self._times(normalizing_gain(self.samples, peak_dbfs))

    def _times(self, factor: float) -> Audio:
        with np.errstate(over="ignore"):  # what becomes infinite is refused by the new sound
            return self._without_copy(self.samples * np.float32(factor), self.rate, self.layout)

    def _with(self, samples: np.ndarray) -> Audio:
        """Other samples of the same rate and layout."""
        return Audio(samples, self.rate, self.layout)

    @classmethod
    def _without_copy(cls, samples: np.ndarray, rate: int, layout: tuple[str, ...] = ()) -> Self:
        """A sound of samples that nobody else holds, without copying them."""
        return cls(arrays.OwnedArray(samples), rate, layout)  # type: ignore[arg-type]

    def peaks(self, bins: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
        """Lowest and highest sample of each of `bins` equal spans between two times in seconds: float32 `[channels, bins, 2]`."""
        bins = arrays.whole(bins, "A number of bins", 1, 2**24)
        start, end = (
            arrays.finite(start, "The start in seconds"),
            arrays.finite(self.seconds if end is None else end, "The end"),
        )
        first, last = round(start * self.rate), round(end * self.rate)
        part = self.samples[:, max(0, first) : max(0, last)]
        if part.shape[1] == 0:
            return np.zeros((self.channels, 0, 2), np.float32)
        edges = np.unique(np.linspace(0, part.shape[1], min(bins, part.shape[1]) + 1).astype(int)[:-1])
        low, high = np.minimum.reduceat(part, edges, axis=1), np.maximum.reduceat(part, edges, axis=1)
        return np.stack([low, high], axis=-1)

    @classmethod
    def read(cls, path: str | os.PathLike[str] | io.BytesIO | bytes, longest: float = LONGEST_SOURCE_SECONDS) -> Self:
        """Read a sound file, or the bytes of one: WAV, FLAC, OGG, Opus, MP3, AIFF and whatever else libsndfile knows.

        AAC, M4A, WebM and the like too where PyAV is installed (`pip install "acestep_lab[codecs]"`). At most `longest`
        seconds and `arrays.MOST_SAMPLES` samples are decoded, whatever the file says. SourceError says what was wrong.
        """
        sound = reading.read(path, longest)
        return cls._without_copy(sound.samples, sound.rate, sound.layout)

    def write(
        self, path: str | os.PathLike[str], *, comment: str | None = None, title: str | None = None,
        bits: int | None = None, bitrate: int | None = None,
    ) -> Path:  # fmt: skip
        """Write FLAC (24 bit), WAV (float), OGG/Opus, MP3 or M4A by the file's ending; whole or not at all, never clipped.

        What is above full scale is halved as often as it takes in all but WAV; the file's "software" tag says so, and
        `read` undoes it (an M4A is refused). Reading a WAV gives these very samples back; a FLAC does, where they are
        `on_grid`. `bits` are those of a WAV (16, 24, 32) or FLAC (16, 24), rounded to (above full scale a WAV stays floats); `bitrate`
        is kilobits a second of the rest.
        """
        target, kind = can_write(path)
        tags = writing.check(kind, self.samples, self.rate, {"title": title, "comment": comment})
        bits = _bits(kind, 32 if bits is None and kind == "wav" else 24 if bits is None else bits)
        if kind == "wav" and writing.halvings(self.samples):
            bits = 32
        sound = self._at_best_rate(kind)
        return writing.write_file(target, kind, sound.samples, sound.rate, sound.layout, tags, bits, bitrate)

    def encoded(self, kind: str = "wav", bits: int = 24, bitrate: int | None = None) -> bytes:
        """The bytes of a file: "wav", "flac", "opus", "ogg", "mp3" or "m4a", never clipped.

        A "wav" of 24 bits holds floats where 24-bit whole numbers would not give these very samples back; `bits` = 16
        makes smaller WAV and FLAC files for listening. SourceError for a kind, bits or a sound that no such file can hold.
        """
        tags = writing.check(kind, self.samples, self.rate, {})
        bits = _bits(kind, bits)
        sound, buffer = self._at_best_rate(kind), io.BytesIO()
        if kind == "wav":
            bits = writing.wav_bits(self.samples, bits)
        writing.write_to(buffer, kind, sound.samples, sound.rate, sound.layout, bits, tags, bitrate)
        return buffer.getvalue()

    def _at_best_rate(self, kind: str) -> Audio:
        """The sound at a rate that a kind of file can have; SourceError where an M4A would cut it off at full scale."""
        if kind == "m4a" and self.peak > 1:
            raise SourceError("An .m4a cannot hold what is above full scale; turn it down: `audio.normalized()`.")
        return self.resample(writing.best_rate(kind, self.rate))


def _bits(kind: str, bits: object) -> int:
    bits = arrays.whole(bits, "The bits of a sample", 1, 64)
    if bits not in (16, 24, 32) or (bits == 32 and kind != "wav"):
        raise SourceError(f"A sample has 16 or 24 bits, or 32 in a WAV, not {shown(bits)}.")
    return bits


def normalizing_gain(samples: np.ndarray, peak_dbfs: float = -1.0) -> float:
    """The factor that brings the peak to `peak_dbfs`; 1 for silence (below -120 dBFS)."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 10 ** (peak_dbfs / 20) / peak if peak > 1e-6 else 1.0


def splice(original: Audio, new: Audio, regions: Sequence[Region], crossfade: float = 0.0) -> Audio:
    """The original with `new` inside the regions; crossfades lie just outside each region.

    Every sample outside regions and crossfades is the original's own, bit for bit. Both sounds have one rate,
    one number of channels and one length; `crossfade` is seconds on each side.
    """
    if not checks.is_a(original, Audio) or not checks.is_a(new, Audio):
        raise SourceError("Two sounds are spliced, both of them an Audio.")
    crossfade = arrays.finite(crossfade, "A crossfade in seconds", least=0)
    if original.rate != new.rate or original.samples.shape != new.samples.shape:
        raise SourceError(f"Only sounds of one shape can be spliced: {original!r} and {new!r}.")
    weight = np.zeros(original.samples.shape[1], np.float32)
    for region in regions:
        weight = np.maximum(weight, _window(region, original, crossfade))
    mixed = original.samples + weight * (new.samples - original.samples)
    return Audio(
        np.where(weight == 0, original.samples, np.where(weight == 1, new.samples, mixed)),
        original.rate,
        original.layout,
    )


def _window(region: Region, audio: Audio, crossfade: float) -> np.ndarray:
    """1 inside a region, falling to 0 over `crossfade` seconds outside it: `[samples]`."""
    span, length = region.samples(audio.rate), audio.samples.shape[1]
    fade = round(crossfade * audio.rate)
    at = np.arange(length)
    outside = np.maximum(span.start - at, at - (span.stop - 1))
    if fade == 0:
        return (outside <= 0).astype(np.float32)
    return np.clip(1 - outside / (fade + 1), 0, 1).astype(np.float32)
