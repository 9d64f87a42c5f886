"""The pocket stays small: its peak memory is read from a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SONG = """
import resource, sys, tempfile
from acestep_lab import Recipe, Session
with tempfile.TemporaryDirectory() as folder, Session.open(library=folder) as lab:
    take = lab.make(Recipe("warm lo-fi with keys, bass and drums", seconds=10, seed=7))
    lab.codes(take)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_ten_seconds_with_planner_and_encoder_peak_below_one_point_two_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", SONG], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1200, f"peak {done.stdout} MB"
