"""Music of two numbers: five spots in a plane, for which the best guess is a formula, so that a sampler's error is its own. For lesson 09.

Flow matching (arXiv 2210.02747) on ACE-Step v1's schedule, DDPM (arXiv 2006.11239), and DDIM (arXiv 2010.02502).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from acestep_lab.engines.ace_v1 import schedules

FIFTHS = 2 * np.pi * np.arange(5) / 5
SPOTS = 1.3 * np.stack([np.sin(FIFTHS), np.cos(FIFTHS)], 1)
KEPT = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
"""Of DDPM, the share of music that is left at each of 1000 times."""
_ALONG = np.linspace(0, np.pi, 16, endpoint=False)
_AXES = np.stack([np.cos(_ALONG), np.sin(_ALONG)])
_ROUND = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in FIFTHS])


def exactly(random: np.random.Generator, count: int, spread: float) -> NDArray[np.float64]:
    """Points `[count, 2]` drawn from the music itself."""
    return SPOTS[random.integers(0, 5, count)] + spread * random.standard_normal((count, 2))


def best_guess(x: NDArray[np.float64], signal: float, noise: float, spread: float) -> NDArray[np.float64]:
    """E[music | x] where x = signal · music + noise · (a standard normal): exact for a mixture of normals."""
    variance = (signal * spread) ** 2 + noise**2
    apart = x[:, None] - signal * SPOTS  # [points, spots, 2]
    likely = -(apart**2).sum(-1) / (2 * variance)
    weight = np.exp(likely - likely.max(1, keepdims=True))
    guess = SPOTS + signal * spread**2 / variance * apart
    return np.asarray((weight[..., None] * guess).sum(1) / weight.sum(1)[:, None])


def flow(x: NDArray[np.float64], steps: int, spread: float) -> Iterator[NDArray[np.float64]]:
    """Every state of Euler's way along v = (x − guess) / t, on v1's own schedule."""
    times = (*schedules.times(steps), 0.0)
    yield x
    for t, after in zip(times, times[1:], strict=False):
        x = x + (after - t) * (x - best_guess(x, 1 - t, t, spread)) / t
        yield x


def ddpm(
    x: NDArray[np.float64], steps: int, spread: float, random: np.random.Generator | None = None
) -> Iterator[NDArray[np.float64]]:
    """Every state of the older way: towards the guess, then new noise. Without `random` none is added: DDIM."""
    chain = np.append(KEPT[np.linspace(999, 0, steps).round().astype(int)], 1.0)
    yield x
    for now, after in zip(chain, chain[1:], strict=False):
        guess, ratio = best_guess(x, now**0.5, (1 - now) ** 0.5, spread), now / after
        if random is None:
            x = after**0.5 * guess + (1 - after) ** 0.5 * (x - now**0.5 * guess) / (1 - now) ** 0.5
        else:
            mean = (after**0.5 * (1 - ratio) * guess + ratio**0.5 * (1 - after) * x) / (1 - now)
            x = mean + ((1 - ratio) * (1 - after) / (1 - now)) ** 0.5 * random.standard_normal(x.shape)
        yield x


def error(points: NDArray[np.float64], music: NDArray[np.float64]) -> float:
    """Sliced Wasserstein distance: how far points must move, seen along 16 axes, to lie as the music does.

    `music` has a whole multiple of as many points as `points`.
    """
    many = len(music) // len(points)
    wanted = _seen(music)[many // 2 :: many]
    return float(np.sqrt(((_seen(points) - wanted) ** 2).mean()))


def _seen(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on each axis, sorted. The spots are alike but for a fifth of a turn: so each point is turned to all five."""
    return np.sort(np.concatenate([points @ turn for turn in _ROUND]) @ _AXES, axis=0)
