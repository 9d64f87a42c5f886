"""How a sweep lies as a table: what goes across, what goes down. Knows cells; no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from acestep_lab.sweep import axes
from acestep_lab.sweep.cells import Sweep


def layout(sweep: Sweep) -> tuple[str, list[str], str, list[str]]:
    """How a sweep lies as a table: what goes across and its values, what goes down and its values; one column where it was drawn."""
    names = [name for name, _ in sweep.axes]
    if sweep.picks is not None or len(sweep.axes) == 1:
        return "", [""], ", ".join(names), [cell.title for cell in sweep.cells]
    across, values = sweep.axes[-1]
    assert isinstance(values, Sequence)
    columns = [axes.label(one) for one in values]
    rows = [_row(cell.values, across) for cell in sweep.cells[:: len(columns)]]
    return across, columns, ", ".join(names[:-1]), rows


def _row(values: Mapping[str, Any], across: str) -> str:
    """The head of a row: its values without the one that goes across."""
    others = [(name, value) for name, value in values.items() if name != across]
    return ", ".join(f"{name.rpartition('.')[2]}={axes.label(value)}" for name, value in others)
