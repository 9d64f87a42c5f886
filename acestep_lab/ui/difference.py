"""What a repaint changed and what it did not, sample by sample. Knows no browser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.prompt.tasks import Region
from acestep_lab.ui.peaks import Peaks


@dataclass(frozen=True, eq=False)
class Difference:
    """Two sounds of one rate compared sample by sample, over the length they share."""

    before: Audio
    after: Audio

    @cached_property
    def amount(self) -> np.ndarray:
        """Largest absolute difference of any channel, `[samples]`."""
        length = min(self.before.samples.shape[1], self.after.samples.shape[1])
        channels = min(self.before.channels, self.after.channels)
        return np.abs(self.after.samples[:channels, :length] - self.before.samples[:channels, :length]).max(axis=0)

    @cached_property
    def peaks(self) -> Peaks:
        """The difference as a pyramid, in decibels: 0 where nothing differs at all, then 0.1 (−100 dB) to 1 (0 dB)."""
        loud = np.maximum(self.amount, 1e-5)
        lane = np.where(self.amount == 0, 0.0, 0.1 + 0.9 * (1 + np.log10(loud) / 5)).astype(np.float32)
        return Peaks(lane, self.after.rate)

    @cached_property
    def changed(self) -> list[Region]:
        """The spans in which samples differ; gaps under 50 ms are counted in."""
        where = np.flatnonzero(self.amount)
        if not len(where):
            return []
        breaks = np.flatnonzero(np.diff(where) > 0.05 * self.after.rate)
        starts, ends = where[np.r_[0, breaks + 1]], where[np.r_[breaks, len(where) - 1]]
        return [
            Region(float(a) / self.after.rate, float(b + 1) / self.after.rate)
            for a, b in zip(starts, ends, strict=True)
        ]

    @property
    def is_possible(self) -> bool:
        """Whether the two can be compared at all."""
        return self.before.rate == self.after.rate

    @property
    def kept(self) -> float:
        """The share of samples that lie outside all changed spans, 0 to 1; 0 where nothing can be compared."""
        if not self.is_possible or not len(self.amount):
            return 0.0
        return self._outside / len(self.amount)

    @cached_property
    def _outside(self) -> int:
        """Samples outside the changed spans."""
        spans = [region.samples(self.after.rate) for region in self.changed]
        return len(self.amount) - sum(span.stop - span.start for span in spans)

    def sentence(self) -> str:
        """What stayed, in numbers one can check."""
        if not self.is_possible:
            return "The two sounds have different rates and cannot be compared sample by sample."
        total, outside = len(self.amount), self._outside
        if outside == total:
            return f"Nothing differs: all {total:,} samples are the same."
        spans = ", ".join(f"{r.start:.2f}–{r.end:.2f} s" for r in self.changed[:4]) + (
            " and more" if len(self.changed) > 4 else ""
        )
        if not outside:
            return f"Changed from beginning to end: no stretch of the {total:,} samples stayed the same."
        return (
            f"Changed only within {spans}. The other {outside:,} samples of {total:,} ({_percent(outside, total)}) are "
            "the same, bit for bit."
        )


def _percent(part: int, whole: int) -> str:
    """A share that is never rounded up to all of it."""
    return f"{math.floor(1000 * part / whole) / 10:.1f} %"
