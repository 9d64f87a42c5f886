"""What Binder is asked to do fits into 2 GB: the first lesson, and the studio's server making a take."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest

from acestep_lab.serve.hosts import Hosts, read_host

ROOT = Path(__file__).parent.parent
LIMIT = 2 * 2**30
PEAK = "print('peak', int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024)\n"
"""VmHWM and not `ru_maxrss`, which a new process inherits from the large one that started it."""
# Fewer steps than a reader's: they are made in the same memory, one after another.
LESSON = """
import jupytext
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in jupytext.read({lesson!r}).cells:
    if cell.cell_type == "code":
        shell.run_cell(cell.source.replace("seed=7, bpm", "seed=7, steps=4, bpm")).raise_error()
        if "parameters" in cell.metadata.get("tags", ()):
            shell.run_cell("SEEDS, SECONDS, VALUES = 1, 1.0, [2, 3]").raise_error()
"""
STUDIO = """
import sys
from urllib.request import urlopen
from acestep_lab import Recipe, Session
from acestep_lab.serve.app import serve
from tests.browser.conftest import free_port, wait_for
from acestep_lab.ui.backend import backend_of
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
        page = Studio(backend_of(lab))
        page.start(Recipe("warm lo-fi with keys, bass and drums", seconds=20, steps=4, seed=7))
        wait_for(lambda: page.gallery.cards, 240, "the take")
    finally:
        server.stop()
"""


def peak_megabytes(code: str, takes: Path) -> int:
    """Peak memory of a program that may not have more than 2 GB of data."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + PEAK],
        cwd=takes,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "ACESTEP_LAB_TAKES": str(takes),
            "MPLBACKEND": "agg",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["01_first_song", "10_an_experiment"])
def test_a_lesson_fits(name: str, tmp_path: Path) -> None:
    lesson = str(ROOT / "notebooks" / f"{name}.py")
    assert peak_megabytes(LESSON.format(lesson=lesson), tmp_path) < 1500


@pytest.mark.slow
def test_the_studio_fits(tmp_path: Path) -> None:
    assert peak_megabytes(STUDIO, tmp_path) < 1500


def proxied(monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[int, list[str]]:
    """The port and the origins with which the proxy starts the studio."""
    from acestep_lab.cli import commands

    for name in list(os.environ):
        if name.startswith(("JUPYTERHUB_", "BINDER_", "ACESTEP_LAB_ORIGIN")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (found,) = (e for e in entry_points(group="jupyter_serverproxy_servers") if e.name == "acestep-lab")
    command = found.load()()["command"]
    assert command[:3] == [sys.executable, "-m", "acestep_lab"]
    name, *arguments = [part.format(port=5007) for part in command[3:]]
    assert name == "serve"
    options = commands.commands[name].make_context(name, arguments).params
    Hosts("127.0.0.1", options["origin"])  # a sentence if it were none
    return options["port"], list(options["origin"])


@pytest.mark.parametrize("sign", ["JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_API_TOKEN", "BINDER_SERVICE_HOST"])
def test_on_a_hub_the_proxy_starts_the_studio_for_pages_of_any_origin(
    monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    assert proxied(monkeypatch, **{sign: "x"}) == (5007, ["*"])


def test_outside_a_hub_no_foreign_page_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "*" not in proxied(monkeypatch)[1]
    named = proxied(monkeypatch, ACESTEP_LAB_ORIGIN="lab.example.org, https://b.example.org:8443,*,")[1]
    assert named[:2] == ["lab.example.org", "https://b.example.org:8443"]
    assert "*" not in named


@pytest.mark.parametrize(("ip", "reached"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True), ("", True)])
def test_beside_a_jupyter_server_its_own_names_are_known(
    monkeypatch: pytest.MonkeyPatch, ip: str, reached: bool
) -> None:
    server = SimpleNamespace(ip=ip, port=8888)
    app = SimpleNamespace(initialized=lambda: True, instance=lambda: server)
    monkeypatch.setitem(sys.modules, "jupyter_server.serverapp", SimpleNamespace(ServerApp=app))
    origins = proxied(monkeypatch)[1]
    assert origins[:2] == ["localhost:8888", "127.0.0.1:8888"]
    assert (f"{socket.gethostname().lower()}:8888" in origins) is (reached or socket.gethostname() == "localhost")
    assert Hosts("127.0.0.1", origins).has(read_host("localhost:8888"))
    assert not Hosts("127.0.0.1", origins).has(read_host("evil.example:8888"))


def test_the_servers_libraries_are_no_older_than_their_holes() -> None:
    """Web sockets could be taken over before Bokeh 3.8.2; a cookie's attributes injected before Tornado 6.5.5."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {"bokeh>=3.8.2", "tornado>=6.5.5"} <= set(asked)
