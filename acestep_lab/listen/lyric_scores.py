"""How well words are sung, as far as attention tells, each measure beside what shuffled lyrics get. Knows numbers only.

- coverage: the share of lines that are found, that is, that stand out above all others and above rest in at least half of the
  frames in which the path has them sung;
- order: of every two lines, how often the earlier one's middle (the centre of its attention above the mean) comes first; no
  path is asked, one half is chance by construction;
- sureness: that share of frames itself, the mean over lines, each weighing as much as it has words.

Chance is the same measure for the same sound and the same words in a random order, the mean of `SHUFFLES` of them. `fits` says
whether the words are surer than in every one of those, and clearly surer than their mean: else these are hardly its words. All are 0 to
1 and compare takes of one lyric; they are no grades. Without words there is nothing to score, which is None and shown as "—".

`reference_score` is the score of ACE-Step 1.5's own code, for people who compare with it: attention brought to 0…1 over the whole
matrix; coverage (share of sung tokens with a peak above 0.1) squared, times monotonicity (share of neighbours whose centre of
mass is not more than 9 frames early) squared, times confidence (mean attention along the path that DTW finds).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from acestep_lab.engines.base import LyricAttention
from acestep_lab.listen.alignment import SURE, Evidence, line_mass, line_sureness
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.monotone_path import monotone_path

SHUFFLES = 8
NEAR_CHANCE = 0.1
"""Sureness is near chance where it is less than this above it."""
PEAK, WEIGHT, TOLERANCE = 0.1, 0.01, 9
"""The reference's thresholds: of a peak, of a weight that counts, and the frames that a neighbour may be early."""
MEASURES = ("coverage", "order", "sureness")
FITS_NO_BETTER = "These words fit this sound hardly better than the same words shuffled: it sings others, or none. Read the times as guesses."


def lyric_scores(found: Evidence, path: np.ndarray, lines: int, shuffles: int = SHUFFLES) -> dict[str, Any]:
    """Coverage, order and sureness of lyrics along a path, and `chance`, a mapping of the same by shuffled lyrics."""
    dice = np.random.default_rng(len(found.words_of))
    chances = []
    for _ in range(shuffles):
        shuffled = found.reordered(dice.permutation(len(found.words_of)))
        way = monotone_path(shuffled.units, shuffled.rest, shuffled.last_of_line)
        chances.append(_measures(shuffled, way, lines))
    chance = {name: round(float(np.mean([one[name] for one in chances])), 4) for name in MEASURES}
    own = {name: round(value, 4) for name, value in _measures(found, path, lines).items()}
    best = max(one["sureness"] for one in chances)
    fits = own["sureness"] > best and own["sureness"] >= chance["sureness"] + NEAR_CHANCE
    return {**own, "fits": fits, "chance": chance}


def _measures(found: Evidence, path: np.ndarray, lines: int) -> dict[str, float]:
    sure = line_sureness(found, path, lines)
    words = np.bincount(found.line_of, minlength=lines).astype(float)
    heard = words > 0  # lines beyond the reading limit were not, and are not judged
    return {
        "coverage": float((sure[heard] >= SURE).mean()),
        "order": _order(line_mass(found, lines)[heard]),
        "sureness": float((sure * words).sum() / words.sum()),
    }


def _order(mass: np.ndarray) -> float:
    """Of every two rows, how often the first one's middle comes first; one half where there is one row only."""
    above = np.maximum(mass - mass.mean(axis=1, keepdims=True), 0) ** 2
    total = above.sum(axis=1)
    middle = (above @ np.arange(mass.shape[1])) / np.maximum(total, 1e-12)
    first, second = np.triu_indices(len(middle), 1)
    return (
        float(((middle[first] < middle[second]) + 0.5 * (middle[first] == middle[second])).mean())
        if len(first)
        else 0.5
    )


# -- the reference's


def reference_score(attention: LyricAttention, text: LyricText) -> float | None:
    """The reference's lyric score, 0 to 1; None without words, where the reference says 1."""
    sung = np.array([_is_sung(span, text) for span in attention.spans], bool)
    if not sung.any():
        return None
    energy = np.exp(attention.log.astype(np.float64))
    energy = (energy - energy.min()) / max(float(np.ptp(energy)), 1e-12)
    coverage = float((energy[sung].max(axis=1) > PEAK).mean())
    monotony = _monotony(energy[sung])
    confidence = float(np.mean([energy[cell] for cell in dtw_path(energy**2)]))
    return round(float(np.clip(coverage**2 * monotony**2 * confidence, 0.0, 1.0)), 4)


def _is_sung(span: tuple[int, int], text: LyricText) -> bool:
    return any(start < span[1] and span[0] < end for line in text.lines for start, end in line.words)


def _monotony(energy: np.ndarray) -> float:
    """The share of neighbours whose centre of mass is not more than `TOLERANCE` frames early."""
    weights = np.where(energy > WEIGHT, energy, 0.0)
    total, frames = weights.sum(axis=1), np.arange(energy.shape[1])
    centres = (weights @ frames)[total > 0] / total[total > 0]
    return float((np.diff(centres) >= -TOLERANCE).mean()) if len(centres) > 1 else 1.0


def dtw_path(gain: np.ndarray) -> list[tuple[int, int]]:
    """Cells of the best path from the first corner of `[rows, columns]` to the last, by steps diagonal, down and right (ties:
    right), worked out along antidiagonals.
    """
    rows, columns = gain.shape
    total = np.full((rows + 1, columns + 1), -np.inf)
    total[0, 0] = 0.0
    ways = np.zeros((rows, columns), np.int8)
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows - 1, diagonal) + 1)
        j = diagonal - i
        gains = np.stack([total[i + 1, j], total[i, j + 1], total[i, j]])  # right, down, diagonal
        ways[i, j] = gains.argmax(axis=0)
        total[i + 1, j + 1] = gain[i, j] + gains.max(axis=0)
    return _steps_back(ways)


def _steps_back(ways: np.ndarray) -> list[tuple[int, int]]:
    i, j = ways.shape[0] - 1, ways.shape[1] - 1
    steps = []
    while i >= 0 and j >= 0:
        steps.append((i, j))
        way = int(ways[i, j])
        i, j = i - (way > 0), j - (way != 1)
    return steps[::-1]
