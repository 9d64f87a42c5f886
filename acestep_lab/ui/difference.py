"""What a repaint changed and what it did not, sample by sample. Knows no browser."""

from __future__ import annotations

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

    def sentence(self) -> str:
        """What stayed, in numbers one can check."""
        total, same = len(self.amount), int((self.amount == 0).sum())
        if self.before.rate != self.after.rate:
            return "The two sounds have different rates and cannot be compared sample by sample."
        if same == total:
            return f"Nothing differs: all {total:,} samples are the same."
        spans = ", ".join(f"{r.start:.2f}–{r.end:.2f} s" for r in self.changed[:4]) + (
            " and more" if len(self.changed) > 4 else ""
        )
        outside = total - sum(r.samples(self.after.rate).stop - r.samples(self.after.rate).start for r in self.changed)
        return f"Changed only within {spans}. The other {outside:,} samples of {total:,} are the same, bit for bit."
