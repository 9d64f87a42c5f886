"""Which chord sounds when: a small hidden Markov model over chroma. Knows no take, no model that was trained.

Twenty-four triads and no chord; a seventh is heard as the triad below it. What a moment says of a chord is how alike its chroma
and its bass are to the chord's tones and root; that chords last is said by the path (Sheh & Ellis 2003, with fixed numbers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.key import TONICS, chroma_and_bass

PIECE_SECONDS = 60.0
"""So much is turned into chroma at a time: ten minutes take little memory."""
NAMES = (*TONICS, *(f"{tonic}m" for tonic in TONICS), "N")
"""Major triads, minor triads, no chord."""
SHARPNESS = 16.0
"""How much a moment's likeness says against the path."""
BASS = 0.1
"""How much the root in the bass says beside the chord's tones."""
NOTHING = 0.65
"""Likeness below which no chord is heard; a flat chroma is 0.5 like every triad."""
CHANGE = 0.035
"""How likely a chord gives way to another one within a frame of 85 ms."""
QUIET = 0.02
"""Chroma below this share of the song's median sounds no chord."""
SOUNDING, LIKE_A_CHORD = 0.2, 0.75
"""A moment has a harmony from this share of the loud moments, and this likeness to some chord, on."""
LEAST_SECONDS = 0.25
"""A shorter sound is too short for a chord."""
SHORTEST = 0.2
"""Seconds; a shorter chord is a slip between two others."""


@dataclass(frozen=True)
class ChordSpan:
    """A chord that is heard from `start` to `end` (seconds)."""

    start: float
    end: float
    name: str
    """"C" or "C#m"; "N" where none is heard."""
    sure: float
    """How sure that is, 0 to 1."""


def chord_spans(sound: Audio) -> tuple[ChordSpan, ...]:
    """The chords of a sound from its start to its end; one span "N" where it has no pitch."""
    if sound.seconds < LEAST_SECONDS:
        return (ChordSpan(0.0, sound.seconds, "N", 1.0),)
    whole, bass, per_second = _chroma(sound)
    likeness = _likeness(whole, bass)
    path, sure = _decoded(likeness)
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    times = [max(0.0, (edge - 0.5) / per_second) for edge in edges[:-1]] + [sound.seconds]
    rows = zip(edges, edges[1:], times, times[1:])
    return _joined([ChordSpan(t, u, NAMES[path[a]], float(sure[a:b].mean())) for a, b, t, u in rows])


def _chroma(sound: Audio) -> tuple[np.ndarray, np.ndarray, float]:
    """Chroma and bass `[frames, 12]` of a sound, and their frames per second."""
    size = max(1, round(PIECE_SECONDS * sound.rate))
    found = [
        chroma_and_bass(Audio(sound.samples[:, start : start + size], sound.rate))
        for start in range(0, sound.samples.shape[-1], size)
    ]
    whole, bass = (np.concatenate([piece[n] for piece in found]) for n in range(2))
    return whole, bass, len(whole) / max(sound.seconds, 1e-9)


def _templates() -> np.ndarray:
    """The tones of each chord, `[24, 12]`, every row of length one."""
    rows = [np.roll(np.bincount((0, third, 7), minlength=12), root) for third in (4, 3) for root in range(12)]
    return np.array(rows) / 3**0.5


def harmony_share(chroma: np.ndarray) -> float:
    """Share of the moments of a chroma `[moments, 12]`, 0 to 1, that sound like a chord: music has 0.7 and more, drums under 0.25."""
    loud = np.linalg.norm(chroma, axis=1)
    if not len(loud):
        return 0.0
    alike = (chroma / np.maximum(loud, 1e-9)[:, None] @ _templates().T).max(axis=1)
    return float(((loud > SOUNDING * np.quantile(loud, 0.9)) & (alike > LIKE_A_CHORD)).mean())


def _likeness(whole: np.ndarray, bass: np.ndarray) -> np.ndarray:
    """How alike each moment is to each chord, `[frames, 25]`."""
    loud = np.linalg.norm(whole, axis=1)
    tones = whole / np.maximum(loud, 1e-9)[:, None] @ _templates().T
    roots = bass / np.maximum(np.linalg.norm(bass, axis=1), 1e-9)[:, None]
    sounding = loud > QUIET * max(float(np.median(loud)), 1e-9)
    found = np.concatenate([tones + BASS * np.tile(roots, 2), np.full((len(whole), 1), NOTHING + BASS / 2)], axis=1)
    return np.where(sounding[:, None], found, np.eye(25)[24])


def _decoded(likeness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest chord of each frame `[frames]`, and how probable it is there, by both directions of the model."""
    power = np.exp(SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
    forward, backward = _passed(power), _passed(power[::-1])[::-1]
    together = forward * backward / power
    together /= together.sum(axis=1, keepdims=True)
    path = _best(SHARPNESS * likeness)
    return path, together[np.arange(len(path)), path]


def _passed(power: np.ndarray) -> np.ndarray:
    """What is known of each frame from those before it and itself, `[frames, chords]`."""
    found, now = np.empty_like(power), np.full(power.shape[1], 1 / power.shape[1])
    for place, row in enumerate(power):
        now = ((1 - CHANGE) * now + CHANGE / len(now)) * row
        now /= now.sum()
        found[place] = now
    return found


def _best(gain: np.ndarray) -> np.ndarray:
    """The path of most gain, `[frames]`, where a change costs its improbability (Viterbi)."""
    cost = np.log((1 - CHANGE) * gain.shape[1] / CHANGE)
    score, came = gain[0].copy(), np.zeros(gain.shape, np.int64)
    for place in range(1, len(gain)):
        best = int(score.argmax())
        stays = score >= score[best] - cost
        came[place] = np.where(stays, np.arange(len(score)), best)
        score = np.where(stays, score, score[best] - cost) + gain[place]
    path = np.empty(len(gain), np.int64)
    path[-1] = int(score.argmax())
    for place in range(len(gain) - 1, 0, -1):
        path[place - 1] = came[place, path[place]]
    return path


def _joined(spans: list[ChordSpan]) -> tuple[ChordSpan, ...]:
    """Spans without slips: one too short goes to the one before it; neighbours of one name are one."""
    kept: list[ChordSpan] = []
    for span in spans:
        last = kept[-1] if kept else None
        if last is not None and (span.end - span.start < SHORTEST or span.name == last.name):
            share = (last.end - last.start) / max(span.end - last.start, 1e-9)
            sure = last.sure if span.name != last.name else share * last.sure + (1 - share) * span.sure
            kept[-1] = ChordSpan(last.start, span.end, last.name, sure)
        else:
            kept.append(span)
    return tuple(kept)
