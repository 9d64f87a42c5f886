"""Exercises of lesson 04, repaint and prove it."""

from __future__ import annotations

import math

import numpy as np

from acestep_lab.lessons.questions import question
from acestep_lab.prompt.tasks import Repaint
from acestep_lab.takes.take import Take

MOST_SHARE = 0.25
"""Of a take: what 04.3 lets change."""


def _changed(one: Take, other: Take) -> np.ndarray:
    """Which samples differ, `[samples]`; ValueError for takes of different shape, which a check answers."""
    if one.audio.samples.shape != other.audio.samples.shape:
        raise ValueError("the two takes are not of one length")
    return np.asarray((one.audio.samples != other.audio.samples).any(axis=0))


@question(
    "04.1",
    "Hand in a take, its repaint, and the share of the samples (0 to 1) that differ in any channel.",
    "A share that can be counted is worth more than a promise that little has changed.",
)
def share_of_samples(source: Take, new: Take, share: float) -> str | None:
    """Counted, not estimated."""
    changed = _changed(source, new)
    if not changed.any():
        return "These two takes are equal; hand in one and its repaint."
    if math.isclose(share, changed.mean(), rel_tol=1e-6, abs_tol=1e-9):
        return None
    if math.isclose(share, 100 * changed.mean(), rel_tol=1e-6):
        return "As a share, not in per cent: between 0 and 1."
    if math.isclose(share, 1 - changed.mean(), rel_tol=1e-6):
        return "That is the share of those that stayed."
    return "Compare samples with !=, join the channels with .any(axis=0), and take the mean of what is left."


@question(
    "04.2",
    "Hand in a take, its repaint of one region, and how many seconds before that region the first sample changes.",
    "The crossfade lies outside the region, so that the region itself is new from its first sample to its last.",
)
def crossfade_before(source: Take, new: Take, seconds: float) -> str | None:
    """From the first changed sample to the start of the first region."""
    task = new.recipe.task
    if not isinstance(task, Repaint):
        return "The second is not a repaint: look at its recipe.task."
    changed = _changed(source, new)
    if not changed.any():
        return "These two takes are equal; hand in one and its repaint."
    true = task.regions[0].start - int(np.argmax(changed)) / source.audio.rate
    if abs(seconds - true) <= 0.002:
        return None
    if abs(seconds + true) <= 0.002 and true:
        return "The sign: how long BEFORE the region, so above 0 where it comes first."
    return "np.argmax of what changed is the first sample; samples over the rate are seconds. Subtract from the region's start."


@question(
    "04.3",
    "Hand in a take and a repaint of it with two regions or more, of which at most a quarter of the samples has changed.",
    "Small regions are cheap to judge: all the rest is proved to be as it was.",
)
def a_small_repaint(source: Take, new: Take) -> str | None:
    """Several regions, little changed."""
    task = new.recipe.task
    if not isinstance(task, Repaint) or len(task.regions) < 2:
        return "Two regions or more, as a list: lab.repaint(song, [Region(…), Region(…)], …)."
    share = float(_changed(source, new).mean())
    if not 0 < share <= MOST_SHARE:
        return f"{share:.0%} of the samples differ; crossfades count as well."
    return None
