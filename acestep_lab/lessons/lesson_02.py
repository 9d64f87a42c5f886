"""Exercises of lesson 02, every task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acestep_lab.lessons.questions import question
from acestep_lab.takes.take import Take

KEPT_SECONDS = 2.0
"""What 02.1 wants to stay as it is."""


@question(
    "02.1",
    "Hand in a take and a new one made out of it: as long, its first two seconds the same samples, and new music after them.",
    "Outside the regions a repaint gives back the source's own samples.",
)
def new_after_two_seconds(source: Take, new: Take) -> str | None:
    """The first two seconds are kept bit for bit; something later is not."""
    if source.audio.samples.shape != new.audio.samples.shape:
        return f"One lasts {source.seconds:g} s and the other {new.seconds:g} s; which task leaves the length alone?"
    changed = (source.audio.samples != new.audio.samples).any(axis=0)
    if not changed.any():
        return "These two are the same from end to end: nothing new was made."
    first = int(np.argmax(changed)) / source.audio.rate
    if first < KEPT_SECONDS:
        return f"Something changes already at {first:.3f} s. Think of the short crossfade before a region's start."
    return None


@question(
    "02.2",
    "Hand in a take and a longer one that holds all of it, but for the crossfade at a seam, unchanged.",
    "Its own latent went in as what is to be kept, so the old music is not made again.",
)
def longer_and_still_inside(source: Take, longer: Take) -> str | None:
    """Most of the source's samples are found in the longer one, at its beginning, at its end, or where it was put."""
    extra = longer.audio.samples.shape[1] - source.audio.samples.shape[1]
    if extra <= 0:
        return f"The second lasts {longer.seconds:g} s, no longer than the first ({source.seconds:g} s)."
    before = float(getattr(longer.recipe.task, "before", 0.0))
    starts = {0, extra, min(extra, round(before * source.audio.rate))}
    if max(_kept(source, longer, start) for start in starts) > 0.9:
        return None
    return "It is longer, and the old music is not in it. Which task adds to a take and leaves it as it is?"


def _kept(source: Take, longer: Take, start: int) -> float:
    """The share of the source's samples that stand unchanged in another sound from a sample on."""
    part = longer.audio.samples[:, start : start + source.audio.samples.shape[1]]
    return float((part == source.audio.samples).all(axis=0).mean())


@question(
    "02.3",
    "Hand in a list of four takes or more, oldest first: each made out of the one before it, each by another task.",
    "Every take names its parents, so a piece can be followed back to its first sketch.",
)
def a_chain(takes: Sequence[Take]) -> str | None:
    """A line of descent whose steps are of different tasks."""
    if len(takes) < 4:
        return f"That is {len(takes)}; four are asked for."
    for older, newer in zip(takes, takes[1:], strict=False):
        if older.id not in newer.parents:
            return f"{newer!r} was not made out of {older!r}: look at its .parents."
    kinds = [type(take.recipe.task).__name__ for take in takes[1:]]
    if len(set(kinds)) < len(kinds):
        return f"The steps are {', '.join(kinds)}: one of them is there twice."
    return None
