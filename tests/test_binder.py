"""What Binder is asked to do fits into 2 GB: the first lesson, and the studio's server making a take."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIMIT = 2 * 2**30
PEAK = "import resource\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
LESSON = """
import jupytext
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in jupytext.read({lesson!r}).cells:
    if cell.cell_type == "code":
        shell.run_cell(cell.source).raise_error()
"""
STUDIO = """
import sys
from urllib.request import urlopen
from acestep_lab import Recipe, Session
from acestep_lab.serve.app import serve
from tests.browser.conftest import free_port, wait_for
from acestep_lab.ui.desk import desk_of
from acestep_lab.ui.studio import Studio
port = free_port()
with Session.open() as lab:
    server = serve(lab, port=port, block=False)
    def answers():
        try:
            return urlopen(f"http://127.0.0.1:{port}/").status == 200
        except OSError:
            return False
    try:
        wait_for(answers, 240, "the page")
        page = Studio(desk_of(lab))
        page.go(Recipe("warm lo-fi with keys, bass and drums", seconds=20, seed=7))
        wait_for(lambda: page.gallery.cards, 240, "the take")
    finally:
        server.stop()
"""


def peak_megabytes(code: str, takes: Path) -> int:
    """Peak memory of a program that may not have more than 2 GB of data."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + PEAK],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACESTEP_LAB_TAKES": str(takes), "MPLBACKEND": "agg"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_the_first_lesson_fits(tmp_path: Path) -> None:
    lesson = str(ROOT / "notebooks/01_first_song.py")
    assert peak_megabytes(LESSON.format(lesson=lesson), tmp_path) < 1500


@pytest.mark.slow
def test_the_studio_fits(tmp_path: Path) -> None:
    assert peak_megabytes(STUDIO, tmp_path) < 1500


def test_the_proxy_finds_the_studio_and_starts_it_with_options_it_knows() -> None:
    from acestep_lab.cli import _parser

    (found,) = (e for e in entry_points(group="jupyter_serverproxy_servers") if e.name == "acestep-lab")
    command = found.load()()["command"]
    assert command[:3] == [sys.executable, "-m", "acestep_lab"]
    chosen = _parser().parse_args([part.format(port=5007) for part in command[3:]])
    assert (chosen.command, chosen.port, chosen.origin) == ("serve", 5007, ["*"])
