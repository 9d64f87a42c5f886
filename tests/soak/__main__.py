"""Runs the trials one after the other and prints what was tried and survived."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.soak import Row, disks, files, kills, messages, pages, renders, values

Trial = Callable[[float, int, Path], list[Row]]
TRIALS: dict[str, tuple[Trial, float]] = {
    "files": (files.trial, 0.3),
    "kills": (kills.trial, 0.2),
    "disks": (disks.trial, 0.05),
    "pages": (pages.trial, 0.2),
    "messages": (messages.trial, 0.2),
    "renders": (renders.trial, 0.25),
    "values": (values.trial, 0.1),
}
"""Trial → what does it, and its share of the time."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("trials", nargs="*", choices=[[], *TRIALS], help="only these; all where none is named")
    parser.add_argument("--seconds", type=float, default=120.0, help="about how long all of it may take")
    parser.add_argument("--seed", type=int, default=1, help="the same seed tries the same things")
    asked = parser.parse_args()
    logging.disable(logging.ERROR)
    names = asked.trials or list(TRIALS)
    whole = sum(TRIALS[name][1] for name in names)
    rows: list[tuple[str, Row, float]] = []
    for name in names:
        trial, share = TRIALS[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = trial(asked.seconds * share / whole, asked.seed, Path(folder))
        rows += [(name, row, time.monotonic() - began) for row in found]
    print(f"{'trial':9}{'what':62}{'tried':>7}{'survived':>10}  note")
    for name, row, _ in rows:
        print(f"{name:9}{row.what:62}{row.tried:7}{row.survived:10}  {row.note}")
    return 0 if all(row.well and row.tried for _, row, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
