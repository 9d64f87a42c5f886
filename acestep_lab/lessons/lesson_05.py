"""Exercises of lesson 05, seeds and blind listening."""

from __future__ import annotations

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.lessons.questions import question
from acestep_lab.sweep.intervals import ENOUGH, by_chance
from acestep_lab.takes.take import Take

NEAR, FAR = 0.95, 0.6
EQUAL_LU = 0.1
VOTES = 12


@question(
    "05.1",
    "Hand in the first take and a variation of it whose likeness to it lies between 0.6 and 0.95.",
    "The noise was turned a little, so most of the piece stayed and some of it is new.",
)
def cousin(first: Take, other: Take) -> str | None:
    """Two takes of one recipe, as alike as asked for."""
    if first.latent.shape != other.latent.shape:
        return "The two are not equally long; make it with lab.vary from the first take."
    if other.recipe.caption != first.recipe.caption:
        return "Its words are others; let lab.vary change nothing but the noise."
    found = float(np.corrcoef(first.latent.ravel(), other.latent.ravel())[0, 1])
    if not np.isfinite(found):
        return "One of the two is silence, which is like nothing."
    if found > NEAR:
        return f"Their likeness is {found:.3f}: nearly the same take. Turn the noise further."
    if found < FAR:
        return f"Their likeness is {found:.2f}: rather strangers than cousins. Turn the noise less far."
    return None


@question(
    "05.2",
    "Hand in a pair of sounds, (one, other), equally loud to 0.1 LU, that do not clip.",
    "Now neither wins for being louder, and neither was spoilt on the way.",
)
def equally_loud(pair: tuple[Audio | Take, Audio | Take]) -> str | None:
    """Two sounds at one loudness, within full scale."""
    one, other = (sound.audio if isinstance(sound, Take) else sound for sound in pair)
    if one.id == other.id:
        return "Both are the same sound; hand in the two takes' sounds."
    between = one.loudness() - other.loudness()
    if not np.isfinite(between):
        return "One of the two is silence or under 0.4 s, so it has no loudness."
    if abs(between) > EQUAL_LU:
        return f"The first is {abs(between):.1f} LU {'louder' if between > 0 else 'softer'} than the second."
    if max(one.peak, other.peak) > 1:
        return "Equally loud, but one of them goes above full scale and would clip: turn the louder one down instead."
    return None


@question(
    "05.3",
    "How many of twelve votes must one side win, at least, so that a coin does so in fewer than 1 of 20 evenings?",
    "A coin wins so many or more of twelve in fewer than 1 of 20 evenings, and one vote less is not enough.",
)
def fewest_of_twelve(votes: int) -> str | None:
    """The smallest count that chance reaches more rarely than one time in twenty."""
    if votes != int(votes) or not 0 <= votes <= VOTES:
        return "It is a whole number of votes from 0 to 12."
    if by_chance(int(votes), VOTES) >= ENOUGH:
        return f"A coin does that in {by_chance(int(votes), VOTES):.0%} of all evenings; look for less than 5 %."
    if by_chance(int(votes) - 1, VOTES) < ENOUGH:
        return "That is enough, but fewer would be enough as well: by_chance(won, 12) tells how easily a coin does it."
    return None
