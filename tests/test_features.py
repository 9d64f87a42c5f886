"""The table of what the studio can do names tests that exist, commands that exist, and leaves no row out."""

from __future__ import annotations

import re
from pathlib import Path

from acestep_lab.cli import commands

HERE = Path(__file__).parent
ROWS = [
    line
    for line in (HERE.parent / "acestep_lab" / "ui" / "FEATURES.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]


def test_the_sixty_four_are_there_and_what_came_since_in_order() -> None:
    numbers = [int(row.split("|")[1]) for row in ROWS]
    assert len(numbers) >= 64
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_row_names_a_test_that_exists() -> None:
    named = [re.findall(r"`([\w/]+\.py)::(\w+)`", row) for row in ROWS]
    assert all(named)
    lost = [
        f"{file}::{name}"
        for row in named
        for file, name in row
        if f"def {name}(" not in (HERE / file).read_text(encoding="utf-8")
    ]
    assert lost == []


def test_every_command_it_names_exists() -> None:
    named = {name for row in ROWS for name in re.findall(r"`acestep-lab (\w+)", row)}
    assert sorted(named - set(commands.commands)) == []
