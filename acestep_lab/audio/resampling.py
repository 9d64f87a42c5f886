"""From any sample rate to any other, in bounded time and memory.

Knows samples and rates only. Rates with a small common ratio go through torchaudio's polyphase filter, whose table has
`up · (down + width)` numbers; for the others that table would have billions (44,101 Hz to 48,000: 8.5 GB), and they go
through Fourier transforms of one second each: in a second both rates have a whole number of samples, whatever they are.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from acestep_lab.audio.arrays import rate_of

MOST_TABLE = 2**20
"""Numbers in the largest polyphase table: all pairs of rates from 8 to 192 kHz that are in common use stay below it."""

_BLOCK = 2**22
"""Samples of a channel that the polyphase filter is given at once: a minute and a half of 48 kHz."""
_CUTOFF = 0.9475937167399596
"""Where the filter is at half, as a share of the lower rate's Nyquist frequency: that of the polyphase filter."""
_ZEROS = 64
_BETA = 12.0
"""Kaiser's parameter of the band edge; a filter rings for 4 / (width of the edge) seconds, 130 dB down afterwards."""
_RINGING = 4.5


def resample(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Samples `[channels, samples]` at another rate: `ceil(samples · target / source)` of them."""
    source, target = rate_of(source), rate_of(target)
    if source == target:
        return samples
    if table_size(source, target) <= MOST_TABLE:
        return _polyphase(samples, source, target)
    return _by_seconds(samples, source, target)


def table_size(source: int, target: int) -> int:
    """How many numbers the polyphase filter between two rates has."""
    common = math.gcd(source, target)
    return target // common * (source // common + 2 * reach(source, target))


def _polyphase(samples: np.ndarray, source: int, target: int, block: int = _BLOCK) -> np.ndarray:
    """torchaudio's filter, `block` samples at a time: it takes six times the memory of its input.

    As many samples as torchaudio makes, which counts them in float32.
    """
    common = math.gcd(source, target)
    up, down = target // common, source // common
    if samples.shape[1] <= block:
        return _by_torchaudio(samples, source, target)
    halo, step = (-(-reach(source, target) // down) + 1) * down, -(-block // down) * down
    made = np.zeros((len(samples), math.ceil(np.float32(up * samples.shape[1] / down))), np.float32)
    for first in range(0, samples.shape[1], step):
        begin = max(0, first - halo)
        part = _span(samples, begin, first + step + halo - begin)
        at, skip = first // down * up, (first - begin) // down * up
        piece = _by_torchaudio(part, source, target)[:, skip : skip + step // down * up]
        made[:, at : at + piece.shape[1]] = piece[:, : made.shape[1] - at]
    return made


def reach(source: int, target: int) -> int:
    """How many input samples to each side an output of the polyphase filter depends on."""
    return math.ceil(_ZEROS * source / (min(source, target) * _CUTOFF))


def _by_torchaudio(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    import torch

    from acestep_lab._torchaudio import resample

    made: np.ndarray = resample(torch.from_numpy(np.array(samples)), source, target).numpy()
    return made


def _by_seconds(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Overlapping seconds, each cut to the common band and put back at the other rate by Fourier transforms.

    What a second's ends would add to its middle is below -130 dB of full scale, so that no seam is to be found.
    """
    import torch

    low, (channels, length) = min(source, target), samples.shape
    total, margin = -(-length * target // source), _RINGING / ((1 - _CUTOFF) * low)
    kept, edge = math.floor((1 - 2 * margin) * target), math.ceil(margin * source)
    response, made = torch.from_numpy(_response(low) * (target / source)), np.empty((channels, total), np.float32)
    for first in range(0, total, kept):
        begin = first * source // target - edge
        spectrum = torch.fft.rfft(torch.from_numpy(_span(samples, begin, source)))[:, : low // 2 + 1]
        late = (first * source - begin * target) / (source * target)  # seconds from the span's begin to this output
        second = torch.fft.irfft(spectrum * response * _turned(late, low), n=target)
        made[:, first : first + kept] = second[:, : min(kept, total - first)].numpy()
    return made


def _span(samples: np.ndarray, begin: int, count: int) -> np.ndarray:
    """`count` samples from `begin` on, zero where there are none."""
    part = samples[:, max(0, begin) : max(0, begin + count)]
    before = max(0, -begin)
    return np.pad(part, ((0, 0), (before, count - before - part.shape[1])))


@lru_cache(maxsize=4)
def _response(low: int) -> np.ndarray:
    """The filter at 0, 1, 2 … Hz: 1, then falling along a Kaiser window's integral to 0 at the Nyquist frequency."""
    nyquist = low / 2
    fine = np.concatenate([[0.0], np.cumsum(np.kaiser(4096, _BETA))])
    start = (2 * _CUTOFF - 1) * nyquist
    at = (np.arange(low // 2 + 1) - start) / (nyquist - start)
    return (1 - np.interp(at, np.linspace(0, 1, 4097), fine / fine[-1])).astype(np.float32)


def _turned(seconds: float, low: int) -> Any:
    """What makes a spectrum that of the same sound begun `seconds` later."""
    import torch

    turns = torch.arange(low // 2 + 1, dtype=torch.float64) * (2 * math.pi * seconds)
    return torch.polar(torch.ones_like(turns), turns).to(torch.complex64)
