"""When the sampler looks at the velocity. Knows nothing but numbers: no tensors, no models, no tasks.

Time runs from t = 1 (pure noise) to t = 0 (music). A schedule lists the n times at which a step begins; the terminal
0 is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from acestep_lab.errors import RecipeError


def times(steps: int, shift: float = 1.0) -> tuple[float, ...]:
    """The flow-matching schedule, `shift * t / (1 + (shift - 1) * t)` over n equal steps (Esser et al. 2024, eq. 23).

    A shift above 1 spends more steps near the noise; the turbo tables of ACE-Step are this formula at 8 steps.
    """
    if steps < 1:
        raise RecipeError(f"steps={steps} makes no music: at least one step is needed.")
    if shift <= 0:
        raise RecipeError(f"shift={shift} is not possible: it is a positive number, usually between 1 and 5.")
    even = _evenly(steps)
    shifted = np.float32(shift) * even / (np.float32(1.0) + np.float32(shift - 1.0) * even)
    return tuple(float(t) for t in shifted)


def _evenly(steps: int) -> np.ndarray:
    """1 to 0 in equal steps without the 0, rounded to single precision as torch.linspace rounds: the DiT looks at
    1000 * t, where a last bit can be seen in a comparison.
    """
    step, index = float(np.float32(-1.0) / np.float32(steps)), np.arange(steps)
    return np.where(index < (steps + 1) // 2, 1.0 + step * index, -step * (steps - index)).astype(np.float32)


def checked_times(values: Iterable[float]) -> tuple[float, ...]:
    """Times written by hand, as a schedule: descending, within (0, 1]; a trailing 0 is dropped because it is implied."""
    given = tuple(float(value) for value in values)
    if given and given[-1] == 0.0:
        given = given[:-1]
    if not given:
        raise RecipeError("timesteps is empty: give at least one time, such as (1.0, 0.75, 0.5, 0.25).")
    if outside := [t for t in given if not 0.0 < t <= 1.0]:
        raise RecipeError(f"timesteps contains {outside[0]:g}: times lie above 0 and up to 1, where 1 is pure noise.")
    if any(later >= earlier for earlier, later in zip(given, given[1:])):
        raise RecipeError("timesteps must fall from noise to music, each smaller than the one before: (1.0, 0.6, 0.3).")
    return given


def starting_near(schedule: Sequence[float], t: float) -> tuple[float, ...]:
    """The schedule from its time nearest to t on: where a noised source joins in (ACE-Step cover_noise_strength)."""
    nearest = min(range(len(schedule)), key=lambda index: abs(schedule[index] - t))
    return tuple(schedule[nearest:])


def step_count(fraction: float, steps: int) -> int:
    """How many first steps a share of the schedule covers, cut off downwards as the reference cuts."""
    return int(steps * fraction)
