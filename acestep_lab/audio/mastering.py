"""The last touches on decoded samples: their level and their fades. Knows samples and a recipe's numbers; no latents.

The order is the reference's: level first, then fades (ACE-Step 1.5, `enable_normalization`, `fade_in_duration`).
"""

from __future__ import annotations

import numpy as np

from acestep_lab.audio.audio import Audio, normalizing_gain
from acestep_lab.prompt.recipe import Recipe

PEAK_DB = -1.0
"""The peak a song is brought to where the recipe names none, in dBFS."""


def gain_for(recipe: Recipe, samples: np.ndarray) -> float:
    """The factor that brings `[channels, samples]` to the recipe's level; 1 where it is to stay as it comes."""
    if recipe.normalize is False:
        return 1.0
    return normalizing_gain(samples, PEAK_DB if recipe.peak_db is None else recipe.peak_db)


def mastered(recipe: Recipe, samples: np.ndarray, rate: int, gain: float) -> Audio:
    """Samples `[channels, samples]`, changed in place, at their level and faded, on the grid that a kept file holds."""
    samples *= np.float32(gain)
    fade(samples, round(recipe.fade_in * rate), round(recipe.fade_out * rate))
    return Audio(samples, rate).on_grid()


def fade(samples: np.ndarray, into: int, out: int) -> None:
    """Let `[channels, samples]` rise from silence over the first `into` samples and fall to it over the last `out`, linearly."""
    length = samples.shape[-1]
    if into := min(into, length):
        samples[..., :into] *= np.linspace(0.0, 1.0, into, dtype=np.float32)
    if out := min(out, length):
        samples[..., length - out :] *= np.linspace(1.0, 0.0, out, dtype=np.float32)
