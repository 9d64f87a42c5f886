"""A token of the planner, as whoever watches it write hears it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """One generated token: which plan, which field ("bpm", …, "codes", "lyrics"), its text, and how far that plan is (0 to 1)."""

    plan_index: int
    field: str
    text: str
    fraction: float

    @property
    def row(self) -> int:
        """Which of the plans that are written side by side it belongs to, as an event of a run says it."""
        return self.plan_index
