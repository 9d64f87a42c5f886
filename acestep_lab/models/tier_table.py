"""The committed table of tiers: what each model takes on each row of machine, traced and planned. Reads a file; knows no torch.

`python -m tests.benchmarks.tier_table --write` makes it on a pretended card; `acestep-lab doctor --table` draws it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from acestep_lab.errors import MachineError
from acestep_lab.models.memory_plan import aligned, gb

FILE = Path(__file__).with_name("tier_table.json")
CLOSE = 0.15
"""How far a plan's own estimate may be from what was traced, as a share of that."""


@dataclass(frozen=True)
class Cell:
    """One model on one row of machine for songs of one length, as many together as the row allows."""

    tier: str
    model: str
    seconds: float
    takes: int
    level: str
    tile_frames: int
    without: tuple[str, ...]  # components that have no room
    memory: int  # bytes there are
    planned: int  # bytes in use by the plan's own estimate, the driver's among them
    traced: int  # the same, weights counted and work traced

    @property
    def fits(self) -> bool:
        """Whether what was traced is there."""
        return self.traced <= self.memory

    @property
    def error(self) -> float:
        """How far the estimate is from the trace, as a share of it."""
        return self.planned / self.traced - 1


def read(file: Path = FILE) -> tuple[Cell, ...]:
    """Every cell of the table; MachineError where the file is damaged."""
    try:
        return tuple(
            Cell(**{**cell, "without": tuple(cell["without"])}) for cell in json.loads(file.read_text("utf-8"))
        )
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise MachineError(f"The table of tiers cannot be read ({problem}); install the package again.") from problem


def written(cells: Iterable[Cell]) -> str:
    """The table as text: a cell a line, so that a change shows in a diff."""
    return "[\n" + ",\n".join(json.dumps(asdict(cell)) for cell in cells) + "\n]\n"


def drawn(cells: tuple[Cell, ...]) -> str:
    """The table for a terminal: a row for each machine and model, a column for each length."""
    lengths = sorted({cell.seconds for cell in cells})
    rows = [("machine", "model", *(f"{seconds:g} s" for seconds in lengths))]
    for tier, model in dict.fromkeys((cell.tier, cell.model) for cell in cells):
        found = {cell.seconds: cell for cell in cells if (cell.tier, cell.model) == (tier, model)}
        rows.append((tier, model, *(_said(found.get(seconds)) for seconds in lengths)))
    worst = max(abs(cell.error) for cell in cells if cell.fits)
    last = (
        "Each: most in use (takes at once, how components share the memory); -: not offered there. Traced on a pretended card, "
        f"planned within {worst:.0%}."
    )
    return "\n".join((*aligned(rows), "", last))


def _said(cell: Cell | None) -> str:
    """What stands in the table for a cell: "9.1 GB (2, all)"."""
    if cell is None:
        return "-"
    left = f", no {'/'.join(cell.without)}" if cell.without else ""
    return f"{gb(cell.traced)} ({cell.takes}, {cell.level}{left})" if cell.fits else "no room"
