"""Long trials, run by hand: `python -m tests.soak` for two minutes, `--seconds 1200` for as long as one likes.

Each trial does to the workbench what the world does — broken files, pulled plugs, full disks, many pages, many renders —
and counts what was tried and what it survived. It prints one table and fails if anything was not survived.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """One line of the table: what was done how often, and how often it was survived."""

    what: str
    tried: int = 0
    survived: int = 0
    note: str = ""

    def count(self, well: bool, note: str = "") -> None:
        """One more try; the first failure's note is kept."""
        self.tried += 1
        self.survived += bool(well)
        if not well and not self.note:
            self.note = note[:120]

    @property
    def well(self) -> bool:
        return self.tried == self.survived
