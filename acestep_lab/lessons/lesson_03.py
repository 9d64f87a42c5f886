"""Exercises of lesson 03, inside a render."""

from __future__ import annotations

from typing import Any

import numpy as np

from acestep_lab.diffusion.schedule import times
from acestep_lab.engines.step import Step
from acestep_lab.lessons.questions import question

STEPS, SHIFT, MIDDLE = 20, 3.0, 0.5
SCALE = 5.0
CLOSE = 1e-2
"""Of the spread of what is asked: what float32 leaves of a few sums and a division."""


@question(
    "03.1",
    "Hand in the first step of a render and the noise the render began with, as an array of the same shape.",
    "A state is a known mixture of the noise and the estimate, so either two of the three give the third.",
)
def where_it_began(step: Step, noise: Any) -> str | None:
    """The start noise out of state, estimate and t: a straight Euler step leaves x on the line between noise and estimate."""
    if step.index != 0 or step.state is None or step.estimate is None:
        return "This wants the first step of a run: steps[0], whose estimate was made at t = 1."
    state, estimate, found = (np.asarray(one, np.float64) for one in (step.state, step.estimate, noise))
    if found.shape != state.shape:
        return f"The noise has the shape of the state, {state.shape}; this is {found.shape}."
    true = (state - (1.0 - step.t) * estimate) / step.t
    if np.abs(found - true).max() <= CLOSE * true.std():
        return None
    if np.allclose(found, state):
        return "That is where the first step ended; some of the music is in it already."
    if np.allclose(found, true * step.t, rtol=1e-3, atol=CLOSE * step.t * float(true.std()) / 10):
        return "That is t · noise: the noise as it stands in the mixture. Divide by t."
    return "Write state = t · noise + (1 − t) · estimate with the t of this step, and solve it for the noise."


@question(
    "03.2",
    f"Hand in how many of {STEPS} steps begin while t is above {MIDDLE:g}, with shift {SHIFT:g}.",
    "Most of the steps are spent where noise is most of what there is: that is what a shift above 1 does.",
)
def how_many_near_the_noise(count: int) -> str | None:
    """A count over the schedule."""
    true = sum(t > MIDDLE for t in times(STEPS, SHIFT))
    if count == true and not isinstance(count, bool):
        return None
    if count == sum(t > MIDDLE for t in times(STEPS, 1.0)):
        return f"That is the schedule without a shift; times({STEPS}, {SHIFT:g}) lists the one asked for."
    if count == sum(t >= MIDDLE for t in times(STEPS, SHIFT)):
        return f"One of them begins at {MIDDLE:g} itself, and that is not above it."
    return f"times({STEPS}, {SHIFT:g}) lists the t where each step begins, from 1 down. Count those above {MIDDLE:g} and hand in that number."


@question(
    "03.3",
    f"Hand in the velocity with words, the one without, and the two as classifier-free guidance of scale {SCALE:g} joins them.",
    "Scale 1 is the velocity with words itself; every scale above it goes further along the same line.",
)
def guided_velocity(with_words: Any, without: Any, guided: Any) -> str | None:
    """u + w (c − u), computed from what was handed in."""
    c, u, found = (np.asarray(one, np.float64) for one in (with_words, without, guided))
    if not c.shape == u.shape == found.shape or c.size < 2 or np.allclose(c, u):
        return "The three are arrays of one shape, and words must have made a difference between the first two."
    if np.allclose(found, u + SCALE * (c - u), rtol=1e-3, atol=CLOSE * float((c - u).std())):
        return None
    if np.allclose(found, c, rtol=1e-3):
        return "That is the velocity with words itself, which is scale 1."
    if np.allclose(found, c + SCALE * (c - u), rtol=1e-3):
        return f"This goes {SCALE:g} times the difference on from the one WITH words: scale 1 would not give that one itself."
    return f"Begin at u, the velocity without words, and go w = {SCALE:g} times the difference c − u, so that w = 1 would end at c."
