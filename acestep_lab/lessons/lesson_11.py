"""Exercises of lesson 11, a piece from nothing."""

from __future__ import annotations

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.jobs.stems import Stems
from acestep_lab.lessons.questions import question
from acestep_lab.prompt.tasks import Stitch
from acestep_lab.takes.take import Take

ENDING, KEPT = 1.0, 2.0
"""Seconds before the end that must change, and before which nothing may."""
SOFTER = 10 ** (-6 / 20)


@question(
    "11.1",
    "Hand in the take and a repaint of it that changes its last second, and nothing before its last two.",
    "Another ending, and every sample before it is the old one.",
)
def another_ending(source: Take, other: Take) -> str | None:
    """Sounds that are equal but for the end."""
    if other.audio.samples.shape != source.audio.samples.shape:
        return "It is not as long as the take it comes from: a repaint keeps the length, an extension does not."
    rate, changed = source.audio.rate, np.abs(other.audio.samples - source.audio.samples).max(axis=0)
    length = changed.shape[0]
    if changed[: max(0, length - round(KEPT * rate))].any():
        at = int(np.flatnonzero(changed)[0]) / rate
        return f"It differs from {at:.2f} s on, which is before the last two seconds; a border takes a little room too."
    if not changed[length - round(ENDING * rate) :].any():
        return "Its last second is the old one."
    if changed[length - round(ENDING * rate) :].mean() < 1e-4:
        return "Its last second hardly changed."
    return None


@question(
    "11.2",
    "Hand in a stitched song of three pieces, A B A.",
    "It comes home: the ear recognises the last piece, for it is the first one.",
)
def comes_home(song: Take) -> str | None:
    """A stitch whose first and last piece are one, and whose middle is another take."""
    task = song.recipe.task
    if not isinstance(task, Stitch):
        return f"This take is a {type(task).__name__}; lab.stitch puts pieces together."
    if len(task.pieces) != 3:
        return f"It has {len(task.pieces)} pieces and not three."
    first, middle, last = ((str(getattr(piece.source, "id", piece.source)), piece.region) for piece in task.pieces)
    if first[0] != last[0]:
        return "The first and the last piece are of two takes."
    if middle[0] == first[0]:
        return "The middle one is of the same take as the others."
    asked = (song.asked or song.recipe).task
    wanted = asked.pieces if isinstance(asked, Stitch) else task.pieces
    if wanted[0].region != wanted[-1].region:
        return "The first and the last piece are two different parts of their take; give both the same region."
    return None


@question(
    "11.3",
    "Hand in a mix of the stems in which the drums are 6 dB softer and everything else is as it was.",
    "Six dB are a factor of about one half, of the drums alone.",
)
def softer_drums(mix: Audio, stems: Stems) -> str | None:
    """The stems' mix with the drums at 10^(-6/20)."""
    found, sound = mix.samples, stems.audio
    if mix.rate != sound.rate or found.shape != sound.samples.shape:
        return "It is not as long as the mix the stems come from, or has another rate."
    drums = stems.sound("drums").samples.astype(np.float64)
    power = float((drums**2).sum())
    if power == 0:
        return "There are no drums in these stems, so nothing can be told from them."
    change = found.astype(np.float64) - sound.samples
    factor = 1 + float((change * drums).sum()) / power
    if np.abs(change - (factor - 1) * drums).max() > 1e-3:
        return "More than the drums changed."
    if abs(factor - SOFTER) < 0.02:
        return None
    if factor < 0.01:
        return "The drums are gone; they should be softer."
    return f"The drums are multiplied by {factor:.2f}, which is {20 * np.log10(factor):+.1f} dB."
