"""One adapter taught by `acestep-lab train`, by one process of `accelerate launch`, and by two: the same bytes, and to rounding.

python -m tests.benchmarks.two_processes [steps=6]     # two minutes; a tiny checkpoint of random weights, on the CPU (gloo)

Two processes with a batch of 1 hear what one hears with a batch of 2, by the same draws: only the sum of gradients is rounded
in another order, and Adam makes of that what it makes of any rounding.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from acestep_lab.audio.audio import Audio
from tests.benchmarks.meter import show, write
from tests.tiny import tiny_original

SONGS, RATE = 6, 8000
LAUNCH = ("-m", "accelerate.commands.launch")
PROGRAMS: dict[str, tuple[tuple[str, ...], int]] = {
    "acestep-lab train, batch 2": (("-m", "acestep_lab", "train"), 2),
    "accelerate, 1 process, batch 2": ((*LAUNCH, "--num_processes", "1", "--cpu", "-m", "acestep_lab.train"), 2),
    "accelerate, 2 processes, batch 1": (
        (*LAUNCH, "--multi_gpu", "--num_processes", "2", "-m", "acestep_lab.train"),
        1,
    ),
}


def songs(folder: Path) -> Path:
    """A folder of noises with words beside them, each longer than the one before."""
    folder.mkdir()
    for number in range(SONGS):
        noise = np.random.default_rng(number).standard_normal((1, 2 * RATE + 900 * number)).astype(np.float32)
        Audio(0.1 * noise, RATE).write(folder / f"{number}.wav")
        (folder / f"{number}.txt").write_text(f"song number {number}")
    return folder


def taught(place: Path, number: int, program: tuple[str, ...], batch: int, steps: int) -> tuple[Path, float]:
    """The adapter's file that a program leaves, and the seconds that it took."""
    out, began = place / f"run{number}", time.monotonic()
    asked = [str(place / "songs"), "--checkpoint", str(place / "tiny"), "--out", str(out), "--rank", "2", "--seed", "3"]
    how = ["--learning-rate", "0.01", "--steps", str(steps), "--batch", str(batch)]
    quiet = {"ACESTEP_LAB_LIBRARY": str(place / "library"), "ACESTEP_LAB_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *program, *asked, *how], env=os.environ | quiet, check=True, capture_output=True, text=True
    )
    return out / "last" / "adapter_model.safetensors", time.monotonic() - began


def main(steps: int) -> None:
    """Teach thrice, compare, tell."""
    table: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as there:
        place, first = Path(there), None
        songs(place / "songs")
        tiny_original(place / "tiny")
        for number, (name, (program, batch)) in enumerate(PROGRAMS.items()):
            file, seconds = taught(place, number, program, batch, steps)
            found = load_file(file)
            first = found if first is None else first
            apart = max(float((one - first[key]).abs().max()) for key, one in found.items())
            largest = max(float(one.abs().max()) for one in first.values())
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            table[name] = {"bytes": digest, "furthest": f"{apart:.1e} of {largest:.2f}", "s": round(seconds, 1)}
    show(f"{steps} steps", table)
    write("two_processes", {"steps": steps, "programs": table})


if __name__ == "__main__":
    main(next((int(one.partition("=")[2]) for one in sys.argv[1:] if one.startswith("steps=")), 6))
