"""Lessons on a machine without torch, the models in another process: run by hand.

    python -m tests.benchmarks.lessons_from_a_laptop LAPTOP_PYTHON [LESSON …]

LAPTOP_PYTHON is the Python of an environment made by `pip install -r binder/laptop.txt nbclient` and `pip install --no-deps .`.
The box is `acestep-lab api` with the pocket in this environment. Prints what each lesson took, and that no torch was there.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[2]
LESSONS = ("01_first_song", "04_repaint_and_prove_it", "05_seeds_and_blind_listening", "06_the_planner_thinks_aloud")
RUN = """
import json, sys, nbformat
from importlib.util import find_spec
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
errors = [o for c in notebook.cells for o in c.get("outputs", ()) if o["output_type"] == "error"]
print(json.dumps({"cells": len(notebook.cells), "errors": len(errors), "torch": find_spec("torch") is not None}))
"""


def main(laptop: str, lessons: list[str]) -> None:
    """Serve the pocket, and run lessons there from here."""
    key = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ACESTEP_API_KEY": key, "ACESTEP_LAB_TAKES": f"{folder}/takes"}
        box = subprocess.Popen(
            [sys.executable, "-m", "acestep_lab", "api", "--port", "5399"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
        )
        try:
            _wait("http://127.0.0.1:5399/health")
            there = {
                "PATH": os.environ["PATH"], "HOME": folder, "ACESTEP_LAB_SERVER": "http://127.0.0.1:5399",
                "ACESTEP_API_KEY": key, "IPYTHONDIR": f"{folder}/ipython", "ACESTEP_LAB_PROGRESS": "0",
            }  # fmt: skip
            for lesson in lessons:
                _run(laptop, lesson, there, folder)
        finally:
            box.terminate()
            box.wait(20)


def _run(laptop: str, lesson: str, env: dict[str, str], folder: str) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [laptop, "-c", RUN, str(ROOT / "notebooks" / f"{lesson}.ipynb")],
        cwd=folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout) if done.returncode == 0 else done.stderr[-1500:]
    print(f"{lesson}: {time.monotonic() - began:.0f} s, {told}")


def _wait(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.3)
    raise SystemExit("The box does not answer.")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(LESSONS))
