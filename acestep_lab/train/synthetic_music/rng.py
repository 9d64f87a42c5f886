"""Chance, one independent stream per question, so that answering one question does not reshuffle the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")


class SeededRNG:
    """Draws from PCG64 in blocks: a scalar costs a list index instead of a numpy call."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._generator = np.random.Generator(np.random.PCG64([seed, crc32(purpose.encode())]))
        self._block: list[float] = []

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        if not self._block:
            self._block = self._generator.random(64).tolist()
        return low + (high - low) * self._block.pop()

    def chance(self, probability: float) -> bool:
        return self.real() < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.real() * (high - low + 1))

    def pick(self, things: Sequence[T]) -> T:
        return things[int(self.real() * len(things))]

    def weighted(self, things: Iterable[tuple[T, float]]) -> T:
        rows = list(things)
        left = self.real() * sum(weight for _, weight in rows)
        for thing, weight in rows:
            left -= weight
            if left < 0:
                return thing
        return rows[-1][0]

    def shuffled(self, things: Iterable[T]) -> list[T]:
        """A new list in random order (Fisher-Yates)."""
        cards = list(things)
        for i in range(len(cards) - 1, 0, -1):
            j = self.whole(0, i)
            cards[i], cards[j] = cards[j], cards[i]
        return cards
