"""The pocket stays small: its peak memory is read from a process of its own.

VmHWM and not `ru_maxrss`, which a new process inherits from the large one that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SONG = """
import tempfile
from acestep_lab import Recipe, Session
with tempfile.TemporaryDirectory() as folder, Session.open(library=folder) as lab:
    take = lab.make(Recipe("warm lo-fi with keys, bass and drums", seconds=10, steps=4, seed=7))
    lab.codes(take)
with open("/proc/self/status") as status:
    print(int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from Linux's own accounts")
def test_ten_seconds_with_planner_and_encoder_peak_below_one_point_two_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", SONG], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1200, f"peak {done.stdout} MB"
