"""How loud a sound is: integrated loudness by ITU-R BS.1770-4. Knows samples and a rate; takes seconds at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_HOPS = 100
"""Steps of 100 ms that are filtered together, so that a long sound takes no more memory than a short one."""
SURROUND, LOW = 1.41, 0.0
"""What BS.1770 counts a channel beside or behind, and one of low frequencies, for; all others count for 1."""


def weights_of(layout: Sequence[str]) -> list[float]:
    """What each of a layout's channels counts for."""
    return [SURROUND if name in ("BL", "BR", "SL", "SR") else LOW if name == "LFE" else 1.0 for name in layout]


def integrated_loudness(samples: np.ndarray, rate: int, weights: Sequence[float] = ()) -> float:
    """Loudness of `[channels, samples]` in LUFS, gated in 400 ms blocks; `weights` are the channels', else 1 each."""
    block, hop = round(0.4 * rate), round(0.1 * rate)
    if samples.shape[1] < block:
        return -math.inf
    each = np.array(weights or [1.0] * len(samples))
    starts = np.arange(0, samples.shape[1] - block + 1, hop)
    energy = np.concatenate(
        [each @ _energies(samples, rate, starts[at : at + _HOPS], block) for at in range(0, len(starts), _HOPS)]
    )
    energy = energy[energy > 10 ** ((-70 + 0.691) / 10)]
    if not energy.size:
        return -math.inf
    energy = energy[energy > energy.mean() / 10]
    return float(-0.691 + 10 * np.log10(energy.mean()))


def _energies(samples: np.ndarray, rate: int, starts: np.ndarray, block: int) -> np.ndarray:
    """Mean power of the blocks that begin at `starts`, `[channels, starts]`; the filter starts 0.5 s earlier."""
    first = max(0, int(starts[0]) - rate // 2)
    power = _k_weighted(samples[:, first : int(starts[-1]) + block].astype(np.float64), rate) ** 2
    total = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
    at = starts - first
    return (total[:, at + block] - total[:, at]) / block


def _k_weighted(samples: np.ndarray, rate: int) -> np.ndarray:
    """The K-weighting curve applied in the frequency domain, `[channels, samples]`."""
    least = samples.shape[1] + rate // 4
    unit = 1 << max(0, least.bit_length() - 3)
    length = -(-least // unit) * unit  # 4 to 8 times a power of two: quick to transform, and hardly longer than needed
    return np.fft.irfft(np.fft.rfft(samples, length) * _curve(length, rate), length)[:, : samples.shape[1]]


@lru_cache(maxsize=2)
def _curve(length: int, rate: int) -> np.ndarray:
    """The K-weighting curve at the frequencies of a transform of `length` samples."""
    z = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    response = np.ones_like(z)
    for b, a in (_shelf(rate), _highpass(rate)):
        response *= (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)
    return response


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
