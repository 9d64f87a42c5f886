"""Exercises of lesson 12, your own recording."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from acestep_lab.lessons.questions import question
from acestep_lab.listen.analysis import Analysis
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover
from acestep_lab.takes.take import Take


def _likeness(latent: NDArray[np.float32], take: Take) -> float:
    """The correlation of a take's latent with another, over the frames they share."""
    length = min(len(latent), len(take.latent))
    return float(np.corrcoef(latent[:length].ravel(), take.latent[:length].ravel())[0, 1])


@question(
    "12.1",
    "Hand in a cover of the recording that is more like it than the one at hand.",
    "More of the recording got in, by whichever door.",
)
def nearer(latent: NDArray[np.float32], cover: Take, other: Take) -> str | None:
    """A cover whose latent is nearer to the recording's than that of another cover."""
    if not isinstance(task := other.recipe.task, Cover):
        return f"This take is a {type(task).__name__}, no cover."
    if not isinstance(first := cover.recipe.task, Cover) or first.source != task.source:
        return "It is a cover of another sound."
    one, two = _likeness(latent, cover), _likeness(latent, other)
    if two > one:
        return None
    return (
        f"Its likeness is {two:.2f}, that of the one at hand {one:.2f}: let more of the recording stand at the start."
    )


@question(
    "12.2",
    "How long is one bar of the recording, in seconds?",
    "A beat lasts 60 divided by the tempo, and a bar has as many as the meter says.",
)
def one_bar(seconds: float, heard: Analysis) -> str | None:
    """The length of a bar from tempo and meter."""
    found, beat = float(seconds), 60 / heard.bpm
    beats = 2 if heard.timesignature == "6" else int(heard.timesignature)  # of 6/8 the beat is a dotted quarter
    if math.isclose(found, beat * beats, rel_tol=0.03):
        return None
    if math.isclose(found, beat, rel_tol=0.03):
        return "That is one beat, and a bar has several."
    return f"It was heard at {heard.bpm:.0f} beats a minute, {beats} of them in a bar. How long is one beat?"


@question(
    "12.3",
    "Hand in a recipe whose task covers the recording's codes with their two halves exchanged, and the codes themselves.",
    "The same material in another order: you have composed with codes.",
)
def halves_exchanged(recipe: Recipe, codes: Sequence[int]) -> str | None:
    """A cover of rotated codes."""
    given, task = tuple(codes), recipe.task
    if len(given) < 2:
        return "There are too few codes to exchange halves of; lab.codes(own) gives five a second."
    if not isinstance(task, Cover) or task.codes is None:
        return f"Its task is {type(task).__name__}; a cover may follow codes instead of a source: Cover(codes=…)."
    if task.codes == given:
        return "These are the codes in their own order."
    if sorted(task.codes) != sorted(given):
        return "These are not the same codes; exchange the halves, and leave none out."
    halves = {given[at:] + given[:at] for at in (len(given) // 2, (len(given) + 1) // 2)}
    return None if task.codes in halves else "The same codes, but in an order that is not second half, first half."
