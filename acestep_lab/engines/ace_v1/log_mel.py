"""Sound as the log-mel picture that ACE-Step v1's autoencoder reads: short-time Fourier transform, slaney mel bands, logarithm.

Knows neither models nor files. A picture of part of a sound is that part of the whole's picture, so long sounds go in pieces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from acestep_lab.errors import SourceError

LOWEST, HIGHEST = -11.0, 3.0
"""The logarithms that become -1 and 1 in a picture; what lies outside is kept, not clipped."""

_FLOOR, _MAGNITUDE_FLOOR = 1e-5, 1e-6
_LINEAR_STEP, _BREAK_HZ, _BREAK_MEL = 200.0 / 3, 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27  # Slaney's: above 1 kHz, 27 bands for a factor of 6.4


@dataclass(frozen=True)
class LogMel:
    """The published numbers: 2048 samples of Hann window every 512, 128 bands from 40 to 16,000 Hz at 44,100 samples a second."""

    rate: int = 44_100
    n_fft: int = 2048
    win_length: int = 2048
    hop: int = 512
    bands: int = 128
    f_min: float = 40.0
    f_max: float = 16_000.0

    @property
    def margins(self) -> tuple[int, int]:
        """Samples a picture hears before its first and after its last frame's hop; at a sound's ends they are mirrored."""
        around = self.win_length - self.hop
        return around // 2, (around + 1) // 2

    def __call__(self, samples: Tensor) -> Tensor:
        """The log-mel `[..., bands, frames]` of samples `[..., n]`, a frame a hop; what is short of a hop at the end is left out.

        float32 (float64 where the samples are); SourceError for a sound too short to be mirrored at its ends.
        """
        return self.part(samples, 0, samples.shape[-1] // self.hop)

    def part(self, samples: Tensor, start: int, end: int) -> Tensor:
        """Frames start to end of the whole's log-mel."""
        before, after = self.margins
        length = samples.shape[-1] // self.hop * self.hop
        if length <= max(before, after):
            raise SourceError(
                f"A log-mel picture needs more than {max(before, after)} samples, and this sound has {samples.shape[-1]}."
            )
        first, last = start * self.hop - before, end * self.hop + after
        piece = samples[..., max(0, first) : min(length, last)]
        piece = piece.to(torch.promote_types(piece.dtype, torch.float32)).reshape(-1, piece.shape[-1])  # [rows, n]
        piece = nn.functional.pad(piece[:, None], (max(0, -first), max(0, last - length)), mode="reflect")[:, 0]
        log_mel = self._log_mel(piece)
        return log_mel.reshape(*samples.shape[:-1], *log_mel.shape[-2:])

    def _log_mel(self, rows: Tensor) -> Tensor:
        window = hann_window(self.win_length).to(rows)
        spectrum = torch.stft(
            rows, self.n_fft, self.hop, self.win_length, window, center=False, onesided=True, return_complex=True
        )
        magnitude = (spectrum.real**2 + spectrum.imag**2 + _MAGNITUDE_FLOOR).sqrt()
        return (self.filters().to(rows).T @ magnitude).clamp_min(_FLOOR).log()

    def filters(self) -> Tensor:
        """The mel bands' weights `[n_fft/2 + 1, bands]`, float64."""
        return slaney_filters(self.rate, self.n_fft, self.bands, self.f_min, self.f_max)


def to_picture(log_mel: Tensor) -> Tensor:
    """A log-mel as the autoencoder sees it: first to 0…1, then to -1…1."""
    return ((log_mel - LOWEST) / (HIGHEST - LOWEST) - 0.5) / 0.5


def from_picture(picture: Tensor) -> Tensor:
    """The log-mel of what the autoencoder made."""
    return (picture * 0.5 + 0.5) * (HIGHEST - LOWEST) + LOWEST


@lru_cache(maxsize=8)
def hann_window(length: int) -> Tensor:
    """A periodic Hann window, float64."""
    return torch.hann_window(length, dtype=torch.float64)


@lru_cache(maxsize=8)
def slaney_filters(rate: int, n_fft: int, bands: int, f_min: float, f_max: float) -> Tensor:
    """Triangles on Slaney's mel scale, each of area 1 in hertz: `[n_fft/2 + 1, bands]`, float64."""
    ends = torch.linspace(_mel(f_min), _mel(f_max), bands + 2, dtype=torch.float64)
    corners = torch.tensor([_hertz(float(mel)) for mel in ends], dtype=torch.float64)  # [bands + 2]
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    triangles = torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp_min(0)
    return triangles * (2 / (high - low))


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_STEP
    return _BREAK_MEL + math.log(hertz / _BREAK_HZ) / _LOG_STEP


def _hertz(mel: float) -> float:
    if mel < _BREAK_MEL:
        return mel * _LINEAR_STEP
    return _BREAK_HZ * math.exp((mel - _BREAK_MEL) * _LOG_STEP)
