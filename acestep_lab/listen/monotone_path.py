"""The best way through things that come one after another in time, with rests between them: a left-to-right Viterbi search.

Knows numbers only. At each frame the path stays where it is, goes on to the next unit, rests, or leaves units out at a price;
every frame costs a few operations on all units at once, so that four minutes of 600 units take a tenth of a second.
"""

from __future__ import annotations

import numpy as np

PAUSE, PAUSE_INSIDE = 0.5, 4.0
"""What a rest costs at the end of a line and inside one, in nats."""
REST = 1.0
"""What rest is granted in each frame: a word is sung where it stands out clearly, not wherever nothing else does."""
SKIP = 4.0
"""What it costs to leave a unit out."""


def monotone_path(units: np.ndarray, rest: np.ndarray, last_of_line: np.ndarray) -> np.ndarray:
    """For each frame the number of the unit it belongs to, -1 where it rests, `[frames]`.

    `units` `[units, frames]` and `rest` `[frames]` are log evidence: above 0 where more than usual speaks for it;
    `last_of_line` `[units]` says behind which of them a rest is to be expected.
    """
    count, frames = units.shape
    if not count or not frames:
        return np.full(frames, -1)
    search = _Search(count, np.where(last_of_line, PAUSE, PAUSE_INSIDE), frames)
    for frame in range(frames):
        search.take(frame, units[:, frame], float(rest[frame]) + REST)
    return search.way_back()


class _Search:
    """Scores of all states, and where each came from. `sung[k]` is at unit k, `idle[k]` rests before unit k."""

    def __init__(self, count: int, pauses: np.ndarray, frames: int) -> None:
        self.count, self.pauses, self.steps = count, pauses, np.arange(count)
        self.price = SKIP * self.steps
        self.sung, self.idle = np.full(count, -np.inf), np.full(count + 1, -np.inf)
        self.idle[0] = 0.0
        self.origin = np.full((frames, count), -1, np.int16 if count < 2**15 else np.int32)
        """From before which unit the unit was entered; -1: it stayed."""
        self.rested = np.zeros((frames, count), bool)
        """Whether what is entered at a unit comes out of a rest."""
        self.paused = np.zeros((frames, count + 1), bool)
        """Whether a rest began here."""

    def take(self, frame: int, units: np.ndarray, rest: float) -> None:
        """Go on by a frame."""
        from_unit = np.concatenate([[-np.inf], self.sung])
        ready = np.maximum(self.idle[:-1], from_unit[:-1])
        self.rested[frame] = self.idle[:-1] >= from_unit[:-1]
        entered, origin = self._best_entry(ready)
        stays = self.sung >= entered
        self.origin[frame] = np.where(stays, -1, origin)
        pausing = from_unit - np.concatenate([[0.0], self.pauses])
        self.paused[frame] = pausing > self.idle
        self.idle = np.maximum(self.idle, pausing) + rest
        self.sung = np.where(stays, self.sung, entered) + units

    def _best_entry(self, ready: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best score with which each unit can be entered, units left out being paid for, and before which one it stood."""
        paid = ready + self.price
        best = np.maximum.accumulate(paid)
        return best - self.price, np.maximum.accumulate(np.where(paid >= best, self.steps, 0))

    def way_back(self) -> np.ndarray:
        """The best path, from its end; what is left of the units is paid for."""
        left = SKIP * np.arange(self.count, -1, -1)
        sung, idle = self.sung - left[1:], self.idle - left
        at, resting = (int(sung.argmax()), False) if sung.max() > idle.max() else (int(idle.argmax()), True)
        path = np.full(len(self.origin), -1)
        for frame in range(len(path) - 1, -1, -1):
            if resting:
                if self.paused[frame, at]:
                    at, resting = at - 1, False
                continue
            path[frame] = at
            origin = int(self.origin[frame, at])
            if origin >= 0:
                resting = bool(self.rested[frame, origin])
                at = origin if resting else origin - 1
        return path
