"""Exercises of lesson 09, two architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acestep_lab.audio.audio import Audio
from acestep_lab.lessons.questions import question
from acestep_lab.lessons.round_trip import BANDS, kept

HEAD = 32
ALIKE, UNLIKE = 0.7, 0.5
FLOW, DDPM, STEPS = "flow, Euler", "DDPM", 125


@question(
    "09.1",
    "From how many frames on are all pairs of a head more numbers than the sums of a head of 32?",
    "Pairs grow with the square of the song; the sums stay as they are.",
)
def pairs_outgrow_sums(frames: int) -> str | None:
    """The first number of frames whose square is above that of the head's width."""
    if frames != int(frames) or not 0 < frames < 10**6:
        return "It is a whole number of frames."
    if frames**2 <= HEAD**2:
        return f"{frames} frames have {frames**2:,} pairs: how many numbers are in the sums of one head, which has 32 rows and columns?"
    return None if (frames - 1) ** 2 <= HEAD**2 else "There they are more, but they are so with fewer frames too."


@question(
    "09.2",
    "Hand in the song and a sound with its loudness, whose waveform in the middle band correlates with it by less than 0.5.",
    "Two sounds under one picture: loudness does not know where a wave is in its swing.",
)
def same_picture_other_wave(song: Audio, other: Audio) -> str | None:
    """A sound whose loudness follows the song's in every band, and whose waveform does not."""
    if abs(song.seconds - other.seconds) > 0.1 or song.seconds < 1:
        return "It is not as long as the song."
    row = kept(other, song)
    if lost := [name for name in BANDS if not row[f"{name}: loudness"] > ALIKE]:
        return f"In the {lost[0]} its loudness does not follow the song's ({row[f'{lost[0]}: loudness']:.2f})."
    if row["middle: waveform"] >= UNLIKE:
        return f"Its waveform in the middle is alike by {row['middle: waveform']:.2f}: the phase has to be another one."
    return None


@question(
    "09.3",
    "How many steps of flow matching come below the error of 125 steps of DDPM? The smallest of COUNTS.",
    "So many steps without dice do as well as 125 with them, in this plane and with a perfect guess.",
)
def fewest_steps(steps: int, counts: Sequence[int], errors: Mapping[str, Sequence[float]]) -> str | None:
    """The first count at which flow matching's error is below that of DDPM."""
    bar = dict(zip(counts, errors[DDPM], strict=True))[STEPS]
    found = dict(zip(counts, errors[FLOW], strict=True))
    if steps not in found:
        return f"It is one of {', '.join(map(str, counts))}."
    if found[steps] >= bar:
        return f"There its error is {found[steps]:.3f}, and that of DDPM with 125 steps {bar:.3f}."
    return (
        None
        if all(found[one] >= bar for one in counts if one < steps)
        else "It is below, but it is so with fewer steps too."
    )
