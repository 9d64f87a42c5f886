"""Key and harmony: chroma from spectral peaks, correlated with probe-tone profiles."""

from __future__ import annotations

import numpy as np

from acestep_lab.listen.spectra import Sound, magnitudes, mono_of, power_of_two
from acestep_lab.prompt.vocabulary import key_parts

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 10, 11)}
"""Major, and minor with both sevenths, since minor music raises it over the dominant."""

PROFILES = {
    "krumhansl": (  # Krumhansl & Kessler 1982
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    ),
    "temperley": (  # Temperley 1999
        (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
        (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
    ),
}
LOWEST_HZ, HIGHEST_HZ = 55.0, 1800.0
FLOOR = 0.01  # of the loudest peak
COMPRESSION = 0.75  # exponent on magnitudes
THIRD_HARMONIC = 0.3
HIGHEST_BASS = 53.0
"""MIDI pitch below which a peak is the bass."""


def _peaks(audio: Sound) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Spectral peaks: their frames, MIDI pitches (fractional) and magnitudes, and the number of frames."""
    size = power_of_two(0.34 * audio.rate)
    spectra = magnitudes(mono_of(audio), size, size // 4)
    log = np.log(spectra + 1e-7)
    middle = log[:, 1:-1]
    frame, bin_ = np.nonzero((middle > log[:, :-2]) & (middle >= log[:, 2:]))
    left, top, right = log[frame, bin_], log[frame, bin_ + 1], log[frame, bin_ + 2]
    shift = 0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-9)
    hz = (bin_ + 1 + shift) * audio.rate / size
    fits = (hz > LOWEST_HZ) & (hz < HIGHEST_HZ)
    midi = 69 + 12 * np.log2(hz[fits] / 440)
    return frame[fits], midi, np.exp(top[fits]), len(spectra)


def _tuning(midi: np.ndarray, weight: np.ndarray) -> float:
    """How far the piece is from equal temperament at 440 Hz, in semitones (-0.5 to 0.5)."""
    turn = np.sum(weight * np.exp(2j * np.pi * midi))
    return float(np.angle(turn) / (2 * np.pi))


def chroma_frames(audio: Sound) -> np.ndarray:
    """Pitch-class strength over time, `[frames, 12]`, C first; quiet frames count less.

    A peak speaks for its own pitch class and, more softly, for the one whose third harmonic it would be
    (Gomez 2006): without that a loud fifth above the root passes for the tonic.
    """
    return chroma_and_bass(audio)[0]


def chroma_and_bass(audio: Sound) -> tuple[np.ndarray, np.ndarray]:
    """The chroma of `chroma_frames`, and that of the bass alone, each `[frames, 12]`; a frame lasts about 85 ms."""
    frame, midi, magnitude, count = _peaks(audio)
    keep = magnitude > FLOOR * magnitude.max(initial=0.0)
    frame, midi, weight = frame[keep], midi[keep], magnitude[keep] ** COMPRESSION
    midi = midi - _tuning(midi, weight)
    near = weight * np.exp(-0.5 * ((midi - np.round(midi)) / 0.2) ** 2)
    place = frame * 12 + np.round(midi).astype(int) % 12
    own = _folded(place, near, count)
    low = _folded(place, near * (midi < HIGHEST_BASS), count)
    return own + THIRD_HARMONIC * np.roll(own, -7, axis=1), low


def _folded(place: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(place, weight, minlength=count * 12)[: count * 12].reshape(count, 12)


def chroma(audio: Sound) -> np.ndarray:
    """Pitch-class profile of the whole sound, `[12]`, summing to one (zeros for silence)."""
    return profile_of(chroma_frames(audio))


def profile_of(frames: np.ndarray) -> np.ndarray:
    """Pitch-class profile `[12]` of a chroma `[frames, 12]`."""
    total: np.ndarray = frames.sum(axis=0)
    return total / max(total.sum(), 1e-12)


def key_scores(profile: np.ndarray, profiles: str = "krumhansl") -> np.ndarray:
    """Correlation of a chroma `[12]` with the 24 keys: C major … B major, C minor … B minor."""
    rows = np.array([np.roll(row, tonic) for row in PROFILES[profiles] for tonic in range(12)])
    rows = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    spread = profile.std()
    return rows @ (profile - profile.mean()) / (12 * spread) if spread > 0 else np.zeros(24)


def key_of(profile: np.ndarray) -> tuple[str, float]:
    """The best key of a chroma, and its lead over the second best (0 to about 0.5)."""
    scores = key_scores(profile)
    order = np.argsort(scores)
    best = int(order[-1])
    name = f"{TONICS[best % 12]} {'minor' if best >= 12 else 'major'}"
    return name, float(scores[best] - scores[order[-2]])


FEWEST, MOST, MOST_WANDERING = 6.0, 11.5, 10.8
"""Pitch classes that a sound with a key has at least and at most, by the entropy of its chroma; at most where nothing stays."""
STAYS = 0.6
"""Of its chroma, the share that may have moved within a second for it to have stayed."""


def has_notes(frames: np.ndarray) -> bool:
    """Whether there are notes to have a key from, by the chroma `[frames, 12]`: a hum has too few, noise all of them alike, and what
    glides stays on none.
    """
    total = frames.sum(axis=1, keepdims=True)
    if not total.any():
        return False
    mean = frames.sum(axis=0) / total.sum()
    classes = float(np.exp(-(mean[mean > 0] * np.log(mean[mean > 0])).sum()))
    each, second = frames / np.maximum(total, 1e-9), min(12, len(frames) - 1)
    moved = float(np.abs(each[second:] - each[: len(each) - second]).sum(axis=1).mean()) / 2
    return FEWEST <= classes <= (MOST_WANDERING if moved > STAYS else MOST)


def key(audio: Sound) -> tuple[str, float]:
    """The key a sound is in and how sure that is, as its lead over the second best."""
    return key_of(chroma(audio))


def same_key(one: str, other: str) -> bool:
    """Whether two names mean one key: "C# minor" and "Db minor" do."""
    return key_parts(one) == key_parts(other)


def key_relation(one: str, other: str) -> str:
    """How two keys lie to one another: "same", "fifth" (up or down, of one mode), "relative", "parallel" or "other"."""
    (first, minor), (then, is_minor) = key_parts(one), key_parts(other)
    away = (then - first) % 12
    if minor == is_minor:
        return {0: "same", 7: "fifth", 5: "fifth"}.get(away, "other")
    if away == 0:
        return "parallel"
    return "relative" if away == (3 if minor else 9) else "other"


def scale_mass(audio: Sound, keyscale: str) -> float:
    """The part of a sound's chroma that lies on a key's scale; about 0.6 for any key by chance."""
    tonic, minor = key_parts(keyscale)
    return float(chroma(audio)[[(tonic + step) % 12 for step in SCALES[minor]]].sum())


def chroma_correlation(one: Sound, other: Sound) -> float:
    """How alike the harmony of two sounds of one length is: mean correlation of their chroma over time."""
    a, b = _smooth(chroma_frames(one)), _smooth(chroma_frames(other))
    count = min(len(a), len(b))
    a, b = a[:count] - a[:count].mean(axis=1, keepdims=True), b[:count] - b[:count].mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    sounding = norm > 1e-9
    return float(((a * b).sum(axis=1)[sounding] / norm[sounding]).mean()) if sounding.any() else 0.0


def _smooth(frames: np.ndarray, width: int = 5) -> np.ndarray:
    sums = np.cumsum(np.pad(frames, ((width // 2 + 1, width // 2), (0, 0))), axis=0)
    return (sums[width:] - sums[:-width]) / width
