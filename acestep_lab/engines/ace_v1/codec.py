"""Latent ↔ sound of ACE-Step v1: log-mel and DCAE one way, DCAE and vocoder the other, in tiles that fit the memory.

Tiles joined are the whole, to rounding: each carries the context its core depends on, and what the DCAE's attention hears of the
whole piece is summed beforehand (see dcae.py), at about a twelfth of the work. So the whole is what is decoded however long the piece,
as the original does unless it is asked for `overlapped_decode`; with `overlapped=True` a piece beyond 48 s is decoded as it is
there: in windows of 512 frames every 256, each hearing itself alone. That changes what attention hears, and so the sound.
The rate is 44,100 inside; `exported` makes the 48,000 of a take.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace_v1.dcae import DcaeDecoder, DcaeEncoder, Span
from acestep_lab.engines.ace_v1.log_mel import LogMel, from_picture, to_picture
from acestep_lab.engines.ace_v1.vocoder import Vocoder
from acestep_lab.engines.card_tiles import CardTiles, brought_home
from acestep_lab.engines.tiles import tiles
from acestep_lab.errors import CheckpointError, MachineError, SourceError, Stopped, shown
from acestep_lab.models.lanes import Lanes

TILE = 128
"""Frames of a tile with its context (12 seconds), always the same, so that a song comes out in the same bytes on every machine of
a kind; a stereo picture of it at the DCAE's full width takes 67 MB in float32."""

SCALE, SHIFT = 0.1786, -1.9091
"""A latent is (what the DCAE makes - SHIFT) · SCALE, so that its values are about 1 in size."""

WINDOW, WINDOW_HOP, FADE = 512, 256, 16
"""Frames of an overlapped window and from one to the next, as in the original; frames over which one is faded into the next."""

EXPORT_RATE = 48_000
_SUMS_SHARE = 0.08

Progress = Callable[[float], None]


class Codec:
    """A DCAE and a vocoder at work; latents are `[frames, channels · rows]`, sound `[2, samples]` at 44,100 a second, float32.

    `tile` is the length of a tile in latent frames, context and all; it changes the result by rounding only. A DCAE that works
    elsewhere brings its `halves` along. With the `lanes` of a card, sound comes home while the next piece is worked out, and `sizes`
    chooses the tile.
    """

    def __init__(
        self,
        dcae: nn.Module,
        vocoder: Vocoder,
        tile: int = TILE,
        overlapped: bool = False,
        halves: tuple[DcaeEncoder, DcaeDecoder] | None = None,
        lanes: Lanes | None = None,
        sizes: CardTiles | None = None,
    ):
        found: Any = dcae
        self.lanes, self.sizes = lanes, sizes
        self.dcae, self.vocoder, self.tile, self.overlapped = found, vocoder, tile, overlapped
        self.encoder, self.decoder = halves or (DcaeEncoder(found.encoder), DcaeDecoder(found.decoder))
        self.log_mel: LogMel = vocoder.config.log_mel
        self.rate, self.channels = self.log_mel.rate, int(found.config.in_channels)
        self.rows = self.log_mel.bands // self.decoder.factor
        self.latent_channels = int(found.config.latent_channels) * self.rows
        self.hop = self.log_mel.hop * self.decoder.factor
        self.vocoder_reach = vocoder.backbone_reach + vocoder.head_reach
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.encoder.factor != self.decoder.factor or self.log_mel.bands % self.decoder.factor or self.channels != 2:
            raise CheckpointError(
                f"This DCAE does not fit the vocoder: it has {self.channels} channels and halves a picture of {self.log_mel.bands} "
                f"bands to 1/{self.encoder.factor} and back by {self.decoder.factor}; ACE-Step v1's has 2 and 8."
            )
        least = 2 * max(self.decoder.reach, self.encoder.local_reach, self.encoder.attention.reach + 1) + 1
        if self.tile < least:
            raise MachineError(f"A tile of {self.tile} frames has no core; give tiles of at least {least} frames.")

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop

    # --- sound to latent ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(
        self,
        sound: Audio | Tensor,
        stop: threading.Event | None = None,
        progress: Progress = lambda share: None,
    ) -> Tensor:
        """The latent `[frames, channels]` of a sound: any Audio, or samples `[2, n]` at this codec's rate.

        A tail shorter than a frame is kept: silence fills it. SourceError for samples that are no sound; Stopped between tiles.
        """
        samples = self._samples(sound)
        frames = -(-samples.shape[-1] // self.hop)
        steps, weight = _Steps(stop, progress, self._encode_steps(frames)), self._weight
        samples = nn.functional.pad(samples.to(weight.device), (0, frames * self.hop - samples.shape[-1]))

        def picture(start: int, end: int) -> Tensor:
            part = self.log_mel.part(samples, start * self.decoder.factor, end * self.decoder.factor)
            return to_picture(part)[None].to(weight.dtype)

        made = self.encoder.encode(picture, frames, self.tile, steps.check)
        latent = ((made.to(self._wide) - SHIFT) * SCALE).flatten(1, 2)[0].T.contiguous().cpu()
        steps.finish(latent)
        return latent

    def _samples(self, sound: Audio | Tensor) -> Tensor:
        """Samples `[2, n]` at the codec's rate, at least one, all of them numbers."""
        if isinstance(sound, Audio):
            sound = torch.from_numpy(sound.with_channels(self.channels).resample(self.rate).samples.copy())
        if not torch.is_tensor(sound) or sound.ndim != 2 or not sound.is_floating_point():
            raise SourceError(
                f"Sound is an Audio, or a float tensor [2, samples] at {self.rate} Hz, not {shown(sound)}."
            )
        if sound.shape[0] != self.channels or sound.shape[1] == 0:
            raise SourceError(f"This DCAE hears samples of the shape [2, n]; these are {list(sound.shape)}.")
        if not torch.isfinite(sound).all():
            raise SourceError("This sound holds values that are not numbers; nothing can be made of it.")
        return sound

    def _encode_steps(self, frames: int) -> int:
        attention = self.encoder.attention
        passes = len(attention.blocks) * _count(frames, self.tile, attention.reach)
        return (
            passes
            + _count(frames, self.tile, self.encoder.local_reach)
            + _count(frames, self.tile, attention.reach + 1)
        )

    # --- latent to sound ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(
        self, latent: Tensor, stop: threading.Event | None = None, progress: Progress = lambda share: None
    ) -> Tensor:
        """The samples `[2, frames · hop]` of a latent `[frames, channels]`; Stopped between tiles where `stop` is set."""
        sound = torch.empty(self.channels, len(latent) * self.hop, dtype=self._wide)
        done = 0
        for piece in self.stream(latent, stop, progress):
            sound[:, done : done + piece.shape[-1]] = piece
            done += piece.shape[-1]
        return sound

    def stream(
        self, latent: Tensor, stop: threading.Event | None = None, progress: Progress = lambda share: None
    ) -> Iterator[Tensor]:
        """Samples `[2, n]` piece by piece, the first one playable while the rest is decoded; joined they are `decode(latent)`."""
        return self.open(latent).pieces(stop=stop, progress=progress)

    def window(self, latent: Tensor, start: int, end: int) -> Tensor:
        """The samples of frames start to end alone, as they sound in the whole: what is under the playhead."""
        return torch.cat(list(self.open(latent).pieces(start, end)), dim=-1)

    def open(self, latent: Tensor) -> Decoding:
        """A latent ready to be decoded in part, as often as wanted, its attention summed once; SourceError for another shape."""
        latent = torch.as_tensor(latent)
        if latent.ndim != 2 or latent.shape[-1] != self.latent_channels or not len(latent):
            raise SourceError(
                f"A latent of this DCAE is [frames, {self.latent_channels}]; this one is {list(latent.shape)}."
            )
        if not torch.isfinite(latent).all():
            raise SourceError("This latent holds values that are not numbers; there is no sound in it.")
        image = latent.T.unflatten(0, (-1, self.rows))[None]  # [1, channels, rows, frames]
        weight = self._weight
        image = (image.to(weight.device, self._wide) / SCALE + SHIFT).to(weight.dtype)
        return Decoding(self, image, windows(len(latent)) if self.overlapped else [(0, len(latent))])

    def exported(self, samples: Tensor, length: int | None = None, rate: int = EXPORT_RATE) -> Audio:
        """Decoded samples `[2, n]` as a take has them: `ceil(n · rate / 44,100)` samples at 48 kHz, or the first `length` of those."""
        audio = Audio(samples.float().cpu().numpy(), self.rate).resample(rate)
        if length is None or length == audio.samples.shape[1]:
            return audio
        if not 0 < length < audio.samples.shape[1]:
            raise SourceError(
                f"Of {audio.samples.shape[1]} samples, {length} were asked for: ask for 1 at least and all at most."
            )
        return Audio(audio.samples[:, :length], rate)

    @property
    def _weight(self) -> Tensor:
        return next(self.dcae.parameters())

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(self._weight.dtype, torch.float32)


class Decoding:
    """One latent being decoded, as an image `[1, channels, rows, frames]`; what attention sums over a span is kept once known."""

    def __init__(self, codec: Codec, image: Tensor, bounds: list[tuple[int, int]]):
        self.codec, self.image, self.bounds = codec, image, bounds
        self.frames = image.shape[-1]
        sizes = codec.sizes
        context = max(codec.decoder.reach, codec.decoder.attention.reach)
        self.tile = codec.tile if sizes is None else sizes.frames(self.frames, context)
        self._spans: dict[int, Span] = {}

    def pieces(
        self,
        start: int = 0,
        end: int | None = None,
        stop: threading.Event | None = None,
        progress: Progress = lambda share: None,
    ) -> Iterator[Tensor]:
        """Samples `[2, n]` of frames start to end (None: the last), piece by piece."""
        end = self.frames if end is None else end
        if not 0 <= start < end <= self.frames:
            raise SourceError(f"The window {start} to {end} does not lie in the latent's {self.frames} frames.")
        return map(_finite, brought_home(self._pieces(start, end, stop, progress), self.codec.lanes))

    def _parts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """First and last frame of each part, and from where it is worked out: on a card from further back where that gives it the
        shape of the others.
        """
        context = self.codec.decoder.reach
        if self.codec.sizes is None:
            yield from ((first, first, last) for first, last in _cores(low, high, self.tile - 2 * context))
            return
        for tile in tiles(high - low, self.tile, context):
            first, last = low + tile.start + tile.core.start, low + tile.start + tile.core.stop
            yield min(first, low + tile.start + context * (tile.start > 0)), first, last

    def _pieces(self, start: int, end: int, stop: threading.Event | None, progress: Progress) -> Iterator[Tensor]:
        """Log-mels are made in order and held as long as the vocoder needs them as context."""
        reach, factor = self.codec.vocoder_reach, self.codec.decoder.factor
        done, finish = start * factor, end * factor  # in mel frames, as all that follows
        low = max(0, done - reach) // factor
        high = min(self.frames, -(-(finish + reach) // factor))
        held_from, held = low * factor, None
        for begin, first, last in self._parts(low, high):
            self._sum(begin, last, stop, progress)
            made = self._log_mel(begin, last, stop)[..., (first - begin) * factor :]
            held = self._joined(held, made)
            ready = finish if last == high else min(finish, last * factor - reach)
            if ready <= done:
                continue
            _go_on(stop)
            yield self._sound(held, done - held_from, ready - held_from)
            before, share = self._share_before(), (ready - start * factor) / (finish - start * factor)
            progress(before + (1 - before) * share)
            keep_from, done = max(held_from, ready - reach), ready
            held, held_from = held[..., keep_from - held_from :].clone(), keep_from

    def _share_before(self) -> float:
        return _SUMS_SHARE if len(self.bounds) == 1 else 0.0

    @staticmethod
    @torch.inference_mode()
    def _joined(held: Tensor | None, made: Tensor) -> Tensor:
        return made if held is None else torch.cat([held, made], dim=-1)

    @torch.inference_mode()
    def _sum(self, first: int, last: int, stop: threading.Event | None, progress: Progress) -> None:
        """Sum attention over the spans that frames first to last lie in, where that is not done yet."""
        codec, attention = self.codec, self.codec.decoder.attention
        for i in self._spans_of(first, last):
            if i in self._spans:
                continue
            low, high = self.bounds[i]
            share = self._share_before()
            count = len(attention.blocks) * _count(high - low, self.tile, attention.reach)
            steps = _Steps(stop, lambda told, share=share: progress(told * share), count)  # type: ignore[misc]
            self._spans[i] = codec.decoder.span(self.image, low, high, self.tile, steps.check)

    @torch.inference_mode()
    def _log_mel(self, first: int, last: int, stop: threading.Event | None) -> Tensor:
        """The log-mel `[2, bands, mel frames]` of frames first to last, windows faded into one another."""
        codec = self.codec
        factor, picture = codec.decoder.factor, None
        for i in self._spans_of(first, last):
            _go_on(stop)
            begin, end = self._heard(i)
            near, far = max(first, begin), min(last, end)
            part = codec.decoder.part(self.image, self._spans[i], near, far)[0].to(codec._wide)
            picture = part.new_zeros(*part.shape[:2], (last - first) * factor) if picture is None else picture
            picture[..., (near - first) * factor : (far - first) * factor] += part * self._weights(i, near, far).to(
                part
            )
        assert picture is not None
        return from_picture(picture)

    def _spans_of(self, first: int, last: int) -> list[int]:
        """The spans that are heard in frames first to last."""
        heard = [self._heard(i) for i in range(len(self.bounds))]
        return [i for i, (begin, end) in enumerate(heard) if begin < last and end > first]

    def _heard(self, i: int) -> tuple[int, int]:
        """The frames a span is heard in: from the fade out of the one before to the fade into the next."""
        begin = self.bounds[i][0] + WINDOW // 4 - FADE // 2 if i else 0
        end = self.bounds[i + 1][0] + WINDOW // 4 + FADE // 2 if i + 1 < len(self.bounds) else self.frames
        return begin, end

    def _weights(self, i: int, first: int, last: int) -> Tensor:
        """How much a span counts in each mel frame of frames first to last: 0 to 1 over a fade, 1 within, 1 to 0 over the next."""
        factor = self.codec.decoder.factor
        begin, end = (place * factor for place in self._heard(i))
        at, fade = torch.arange(first * factor, last * factor, dtype=torch.float64) + 0.5, FADE * factor
        weights = torch.ones_like(at)
        if i:
            weights = torch.minimum(weights, (at - begin) / fade)
        if i + 1 < len(self.bounds):
            weights = torch.minimum(weights, (end - at) / fade)
        return weights

    @torch.inference_mode()
    def _sound(self, log_mel: Tensor, start: int, end: int) -> Tensor:
        """The samples of mel frames start to end of a log-mel, channel after channel, which halves the memory."""
        vocoder = self.codec.vocoder
        reach, inner, hop = self.codec.vocoder_reach, vocoder.head_reach, self.codec.log_mel.hop
        low, high = max(0, start - reach), min(log_mel.shape[-1], end + reach)
        near, far = max(low, start - inner), min(high, end + inner)
        rows = []
        weight = next(vocoder.parameters())
        for channel in log_mel[:, None, :, low:high].to(weight.device, weight.dtype):
            states = vocoder.backbone(channel)[..., near - low : far - low]
            rows.append(vocoder.head(states)[0, :, (start - near) * hop : (end - near) * hop])
        sound = torch.cat(rows).to(self.codec._wide)
        return sound.cpu() if self.codec.lanes is None else sound


def _finite(sound: Tensor) -> Tensor:
    """Pass sound on as long as it is numbers; asked on the host."""
    if not torch.isfinite(sound).all():
        raise MachineError(
            "The vocoder made values that are not numbers of this latent; its weights may be damaged. Fetch them again."
        )
    return sound


def windows(frames: int) -> list[tuple[int, int]]:
    """The original's overlapped windows of a piece: one for up to 512 frames (47.6 s), else 512 long every 256."""
    starts = range(0, frames - WINDOW_HOP, WINDOW_HOP) if frames > WINDOW else [0]
    return [(start, min(frames, start + WINDOW)) for start in starts]


def _cores(first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last, length):
        yield start, min(last, start + length)


def _count(frames: int, tile: int, context: int) -> int:
    return sum(1 for _ in tiles(frames, tile, context))


class _Steps:
    """Tells how much of a known number of steps is done, and stops before the next where that is asked."""

    def __init__(self, stop: threading.Event | None, progress: Progress, steps: int):
        self.stop, self.progress, self.steps, self.done = stop, progress, steps, 0

    def check(self) -> None:
        _go_on(self.stop)
        self.progress(self.done / self.steps)
        self.done += 1

    def finish(self, made: Tensor) -> None:
        if not torch.isfinite(made).all():
            raise MachineError(
                "The DCAE made values that are not numbers of this sound; its weights may be damaged. Fetch them again."
            )
        self.progress(1.0)


def _go_on(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped("The codec was stopped between two tiles.")
