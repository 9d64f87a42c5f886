"""When ACE-Step v1 looks at its velocity, and on which of these looks it is guided. Knows numbers only: no tensors, no models.

Time runs from t = 1 (pure noise) to t = 0 (music); the original calls it sigma, and 1000 · t its timestep. A schedule lists
the times at which a step begins; the final 0 is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acestep_lab.errors import RecipeError
from acestep_lab.prompt.sampling import FlowSamplingV1

TRAINED = 1000
"""Times the model was taught on."""
PRESETS = {"fast": 27, "balanced": 40, "best": 60}
"""Steps by what they are good for."""
EDITS = {"only_lyrics": (0.6, 1.0), "remix": (0.2, 0.4)}
"""(n_min, n_max) of the usual edits: other words to the same music, or the same song in another dress."""
NAMED: Mapping[str, Mapping[str, str | float]] = {
    **{f"{name.capitalize()}: {steps} steps": {"steps": steps} for name, steps in PRESETS.items()},
    **{
        name: {"task": "FlowEdit", "FlowEdit.n_min": EDITS[key][0], "FlowEdit.n_max": EDITS[key][1]}
        for key, name in {"only_lyrics": "Edit: only the lyrics", "remix": "Edit: remix"}.items()
    },
}
"""The same as settings of a form, by the names it offers them under."""
USUAL = FlowSamplingV1(
    steps=PRESETS["best"], shift=3.0, solver="euler", omega=10.0, guidance="apg", guidance_scale=15.0, guidance_share=0.5,
    guidance_decay=0.0, min_guidance_scale=3.0, guidance_scale_text=0.0, guidance_scale_lyric=0.0, erg_tag=True,
    erg_lyric=True, erg_diffusion=True,
)  # fmt: skip
"""What is meant where nothing is said."""
HELD = USUAL.replace(omega=0.0)
"""The same where a source is held outside of what is new: repaint and extend step plainly."""
EDITING = HELD.replace(guidance_share=1.0, erg_tag=False, erg_lyric=False, erg_diffusion=False)
"""The same for an edit, which follows a difference, and is guided all the way from no words at all."""


def decided(how: FlowSamplingV1, usual: FlowSamplingV1 = USUAL) -> FlowSamplingV1:
    """The knobs with every "auto" that of `usual`; RecipeError where caption and lyrics are guided apart by only one scale."""
    found = usual.replace(**how.given())
    assert found.guidance_scale_text is not None
    assert found.guidance_scale_lyric is not None
    if (found.guidance_scale_text > 1.0) != (found.guidance_scale_lyric > 1.0):
        raise RecipeError(
            "Caption and lyrics are guided apart where guidance_scale_text and guidance_scale_lyric are both above 1, such as 5 "
            "and 1.5; set both, or leave both out."
        )
    return found if found.own_steps is None else found.replace(steps=len(found.own_steps))


def times(steps: int, shift: float = 3.0, start: float = 1.0) -> tuple[float, ...]:
    """The schedule of so many steps, from `start` of the noise down: evenly from the first to the last time the model was
    taught, which are shifted, then shifted once more, as it was taught.
    """
    first, last = (float(t) * TRAINED for t in _shifted(np.array([start, 1.0 / TRAINED], np.float32), shift))
    even = np.linspace(first, last, steps) / TRAINED
    return _plain(_shifted(even, shift))


def own_times(steps: Sequence[int], shift: float = 3.0) -> tuple[float, ...]:
    """Only these steps of the schedule that has as many as the last of them, counted from 1; as with the original's
    `oss_steps`, the shift is applied to them once more.
    """
    whole = np.array(times(steps[-1], shift), np.float32) * np.float32(TRAINED)
    return _plain(_shifted(whole[np.array(steps) - 1] / np.float32(TRAINED), shift))


def _shifted(even: Any, shift: float) -> Any:
    """Times pushed towards the noise, shift · t / (1 + (shift − 1) · t), in their own precision."""
    return shift * even / (1 + (shift - 1) * even)


def _plain(found: Any) -> tuple[float, ...]:
    return tuple(float(t) for t in found.astype(np.float32))


def share_of(steps: int, share: float) -> int:
    """How many whole steps a share of them is, cut off downwards; 0.9 of 10 is 9, however 0.9 is rounded."""
    return int(steps * share + 1e-9)


def guided_steps(steps: int, share: float) -> range:
    """The steps in which guidance acts: a share of them, in the middle."""
    return range(share_of(steps, (1 - share) / 2), share_of(steps, share / 2 + 0.5))


@dataclass(frozen=True)
class Walk:
    """How a loop goes from its start to the music: songs that share it, and all else of their sampling, may share a loop."""

    times: tuple[float, ...]
    """The times that are left, from the noisiest down, without the final 0."""
    skipped: int = 0
    """Steps of the schedule before the first of these."""
    edit: tuple[float, float, int] | None = None
    """Of an edit (n_min, n_max, n_avg), else None."""

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return len(self.times)

    @property
    def schedule_steps(self) -> int:
        """How many the whole schedule has: what guidance's share is counted on."""
        return self.skipped + len(self.times)


def walk(how: FlowSamplingV1) -> Walk:
    """All the way from noise, of knobs that are decided."""
    assert how.steps is not None
    assert how.shift is not None
    return Walk(times(how.steps, how.shift) if how.own_steps is None else own_times(how.own_steps, how.shift))


def repaint_walk(how: FlowSamplingV1, variance: float) -> Walk:
    """A repaint's way: the less it may vary, the more first steps are left out and the nearer to the source it begins."""
    whole = walk(how).times
    skipped = min(share_of(len(whole), 1.0 - variance), len(whole) - 1)
    return Walk(whole[skipped:], skipped)


def source_walk(how: FlowSamplingV1, strength: float) -> Walk:
    """An audio2audio's way, from a source of which `strength` (0–1) is kept: fewer steps, from less noise.

    The source has to be noised to the first of these very times. At least one step is walked.
    """
    if how.own_steps is not None:
        return repaint_walk(how, 1.0 - strength)
    assert how.steps is not None
    assert how.shift is not None
    start = max(1.0 - strength, 1.0 / how.steps)
    return Walk(times(max(share_of(how.steps, start), 1), how.shift, start))


def edit_walk(how: FlowSamplingV1, n_min: float, n_max: float, n_avg: int) -> Walk:
    """An edit's way: the difference of two descriptions is followed from the share n_min of the steps to n_max."""
    return Walk(walk(how).times, edit=(n_min, n_max, n_avg))
