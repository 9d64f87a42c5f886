"""Which wording of a song a pass hears: its caption, or its genre, by a lot of the seed, the pass and the song.

Both wordings are lessons of their own in the cache, so that the choice is made anew each time a song comes and costs no encoder.
The lot depends on nothing else: a training that was interrupted goes on with the words it would have had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acestep_lab.engines.base import Lesson

_LOT = 0x67656E7265
"""Sets these draws apart from the trainer's own."""


@dataclass(frozen=True, eq=False)
class Wordings:
    """Lessons by place, some of which have a second one in other words."""

    lessons: Sequence[Lesson]
    others: Sequence[Lesson]
    other_at: Mapping[int, int]
    """Place of a lesson → place of its other wording."""
    share: float
    """Of the passes that hear the other wording."""
    seed: int

    def __call__(self, place: int, turn: int) -> Lesson:
        """The lesson at a place, as the pass of this number hears it."""
        other = self.other_at.get(place)
        return self.lessons[place] if other is None or not self.by_lot(place, turn) else self.others[other]

    def by_lot(self, place: int, turn: int) -> bool:
        """Whether a pass hears the other wording of a place."""
        return bool(np.random.default_rng([self.seed, _LOT, turn, place]).random() < self.share)
