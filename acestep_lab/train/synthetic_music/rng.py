"""Seeded random numbers, one independent stream per decision, so that taking one decision does not reshuffle the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")


class SeededRNG:
    """Draws from PCG64, seeded by a number and the name of a decision, in blocks: a scalar costs a list index, no numpy call.

    The names are part of the seed: another name gives other songs.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._generator = np.random.Generator(np.random.PCG64([seed, crc32(purpose.encode())]))
        self._block: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A real number from `low` up to `high`."""
        if not self._block:
            self._block = self._generator.random(64).tolist()
        return low + (high - low) * self._block.pop()

    def happens(self, probability: float) -> bool:
        """True with a probability."""
        return self.uniform() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.uniform() * (high - low + 1))

    def choice(self, items: Sequence[T]) -> T:
        """One item, all alike likely."""
        return items[int(self.uniform() * len(items))]

    def weighted_choice(self, items: Iterable[tuple[T, float]]) -> T:
        """One of (item, weight) pairs, by weight."""
        rows = list(items)
        left = self.uniform() * sum(weight for _, weight in rows)
        for item, weight in rows:
            left -= weight
            if left < 0:
                return item
        return rows[-1][0]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """A new list in random order (Fisher-Yates)."""
        shuffled_items = list(items)
        for i in range(len(shuffled_items) - 1, 0, -1):
            j = self.integer(0, i)
            shuffled_items[i], shuffled_items[j] = shuffled_items[j], shuffled_items[i]
        return shuffled_items
