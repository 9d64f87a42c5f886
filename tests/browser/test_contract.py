"""The component contract in every host: render, drag, key, bytes both ways, destroy; and no host is ever muted.

The hosts run as programs of their own. What Python heard is read from a file that the kernel writes.
`LAB_TESTS_OLD_KERNEL` may name a Python with the oldest supported ipykernel (6.30) in it; the JupyterLab tests then run
on that one as well: `python -m venv --system-site-packages old && old/bin/pip install ipykernel==6.30.1`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Window, free_port, take_hold, wait_for
from tests.pretend import tone

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parent.parent.parent
OLD = os.environ.get("LAB_TESTS_OLD_KERNEL")

HEARD = """
import json, os, sys
sys.path.insert(0, {root!r})
from tests.pretend import tone
told = dict(regions=[], sounds=[], stops=0)
def tell(**news):
    told.update(news)
    with open({out!r} + ".part", "w") as file: json.dump(told, file)
    os.replace({out!r} + ".part", {out!r})
def wired(picker, drop, queue):
    picker.load(tone(10.0))
    picker.on("changed", lambda: tell(regions=[[r["start"], r["end"]] for r in picker.regions]))
    drop.on("sound", lambda sound, name: tell(sounds=told["sounds"] + [[name, round(sound.seconds, 3)]]))
    queue.rows = [dict(id="run-1", title="a run", state="rendering", fraction=0.5, eta=3.0, position=0, mine=True, problem="", notes=[], stopping=False, took="")]
    queue.on("stop", lambda id: tell(stops=told["stops"] + 1))
    tell()
    return picker, drop, queue
"""
WIDGETS = "from acestep_lab.ui import WaveformPickerWidget as Picker, SoundDropWidget as Drop, RunQueueWidget as Queue\nparts = wired(Picker(), Drop(), Queue())\n"
PANES = "from acestep_lab.ui import WaveformPickerPane as Picker, SoundDropPane as Drop, RunQueuePane as Queue\nparts = wired(Picker(), Drop(), Queue())\n"


class Host:
    """A program that shows the components, and what its Python heard."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.out = folder, free_port(), folder / "heard.json"
        self.head = HEARD.format(root=str(ROOT), out=str(self.out))
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str, **environment: str) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        self.log = (self.folder / "host.log").open("wb")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def heard(self) -> dict[str, Any]:
        return json.loads(self.out.read_text()) if self.out.is_file() else {}

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.log.close()


def notebook(path: Path, *cells: str, kernel: str = "python3") -> None:
    """Write a notebook of code cells."""
    code = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "source": textwrap.dedent(c),
            "outputs": [],
            "execution_count": None,
        }
        for i, c in enumerate(cells)
    ]
    path.write_text(
        json.dumps(
            {
                "cells": code,
                "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )


def lab(host: Host, kernel: str) -> None:
    """Start JupyterLab with nothing of this user's, on a kernel of this Python or of an older one."""
    places = {f"JUPYTER_{kind}_DIR": str(host.folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{kind}_DIR": str(host.folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    settings = host.folder / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    spec = host.folder / f"data/kernels/{kernel}"
    spec.mkdir(parents=True)
    python = OLD if kernel == "old" else sys.executable
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": kernel,
                "language": "python",
            }
        )
    )
    host.run(
        sys.executable,
        "-m",
        "jupyterlab",
        "--allow-root",
        "--no-browser",
        "--expose-app-in-browser",
        "--ip",
        "127.0.0.1",
        "--port",
        str(host.port),
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--ServerApp.root_dir=.",
        **places,
    )


def open_lab(window: Window, host: Host) -> Any:
    """Open the notebook and run all its cells."""
    page = window.page
    wait_for(lambda: answers(host.port), 240, "JupyterLab")
    page.goto(f"http://127.0.0.1:{host.port}/lab/tree/contract.ipynb?reset")
    page.locator(".jp-Notebook").wait_for(timeout=240_000)
    wait_for(lambda: page.evaluate(KERNEL_READY), 240, "the kernel")
    wait_for(lambda: _runs(page), 240, "the first cell's run")
    return page


KERNEL_READY = """() => { const at = window.jupyterapp?.shell.currentWidget?.sessionContext;
  const kernel = at?.session?.kernel;
  return !!kernel && at.isReady && !at.hasNoKernel && kernel.connectionStatus === "connected" && kernel.status === "idle"; }"""
"""Whether the notebook in front has its kernel: of cells that are run before, JupyterLab runs some, and asks for a kernel for the others
behind everybody's back."""


def _runs(page: Any) -> bool:
    """Ask JupyterLab to run all cells; before its kernel is really there it asks back which one, or does nothing at all."""
    patience = 3.0 if _choose(page, "Run", "Run All Cells") else 0.0
    end = time.monotonic() + patience
    while not _begun(page) and time.monotonic() < end:
        page.wait_for_timeout(100)
    return _begun(page)


def _begun(page: Any) -> bool:
    """Whether the first cell has run or waits for its turn."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").first.inner_text().strip() not in ("", "[ ]:", "[]:")


def _choose(page: Any, menu: str, entry: str) -> bool:
    """Choose from JupyterLab's menus and say whether that worked: a dialog may come up at any moment and stand before them."""
    from playwright.sync_api import TimeoutError as TooSlow

    try:
        asked = page.locator(".jp-Dialog .jp-mod-accept")
        if asked.count():
            asked.first.click(timeout=3000)
            page.wait_for_timeout(1000)
        page.get_by_role("menuitem", name=menu, exact=True).click(timeout=3000)
        page.get_by_role("menuitem", name=entry, exact=True).click(timeout=3000)
    except TooSlow:
        page.keyboard.press("Escape")  # no menu stays open half way
        return False
    return True


def answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def keeps_the_contract(page: Any, host: Host, folder: Path) -> None:
    """Render with bytes from Python, drag, key, bytes to Python."""
    picker = page.locator(".acl-waveform")
    _in_sight(page, picker.first)
    wait_for(lambda: (picker.first.get_attribute("data-bins") or "0") != "0", 240, "the waveform")
    stage = page.locator(".acl-waveform .stage").first
    stage.focus()
    page.keyboard.press("a")
    wait_for(lambda: host.heard().get("regions"), what="the key")
    stage.scroll_into_view_if_needed()
    box, (start, end) = stage.bounding_box(), host.heard()["regions"][0]

    def at(second: float) -> float:
        return box["x"] + 4 + (box["width"] - 8) * second / 10

    take_hold(page, at((start + end) / 2), box["y"] + 50)
    page.mouse.move(at(5), box["y"] + 50, steps=6)
    page.mouse.move(at(6), box["y"] + 50, steps=6)
    page.mouse.up()
    moved = wait_for(lambda: (r := host.heard()["regions"][0])[0] > 4 and r, what="the drag")
    assert moved[1] - moved[0] == pytest.approx(end - start, abs=0.05)
    sound = tone(2.0).write(folder / "sound.flac")
    page.get_by_label("Sound files").set_input_files(str(sound))
    wait_for(lambda: host.heard()["sounds"] == [["sound.flac", 2.0]], what="the bytes to Python")


def _in_sight(page: Any, part: Any) -> None:
    """Wait for a part of the page; where it never comes, say what is there instead."""
    from playwright.sync_api import TimeoutError as TooSlow

    for patience in (100_000, 240_000):
        try:
            return part.wait_for(timeout=patience)
        except TooSlow:
            print(f"It did not come; the page says: {page.locator('body').inner_text()[-2000:]}")
            if page.locator(".jp-Notebook").count():  # on a busy machine JupyterLab loses cells it was asked to run
                _choose(page, "Run", "Run All Cells")
    raise AssertionError("It did not come; what the page says is printed above.")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Named before `window` in a test, so that the page is closed before the program behind it."""
    made = Host(tmp_path)
    yield made
    made.stop()


def test_in_panel_serve(host: Host, window: Window, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        host.head
        + PANES
        + "import panel as pn\nfrom acestep_lab.ui.page import local_styles\nlocal_styles()\nshown = pn.Column(*parts)\nparts[2].on('dismiss', lambda id: shown.clear())\nshown.servable()\n"
    )
    host.run(
        sys.executable,
        "-m",
        "panel",
        "serve",
        str(app),
        "--port",
        str(host.port),
        "--address",
        "127.0.0.1",
        "--unused-session-lifetime",
        "120000",
    )
    wait_for(lambda: answers(host.port), 240, "panel serve")
    window.page.goto(f"http://127.0.0.1:{host.port}/app")
    keeps_the_contract(window.page, host, tmp_path)
    window.page.locator(".acl-runs button.stop:visible").click()
    wait_for(lambda: host.heard()["stops"] == 1, what="the stop")
    assert window.page.evaluate("globalThis.__acestepLab.alive") == 3
    window.page.locator(".acl-runs button[aria-label=Dismiss]").dispatch_event("click")
    wait_for(lambda: window.page.evaluate("globalThis.__acestepLab.alive") == 0, what="the end of all views")
    assert window.page.locator(".acl").count() == 0


KERNELS = [
    "python3",
    pytest.param(
        "old", marks=pytest.mark.skipif(not OLD, reason="LAB_TESTS_OLD_KERNEL names no Python with an old ipykernel")
    ),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_in_jupyterlab_as_anywidget_and_never_muted_after_an_async_cell(
    host: Host, window: Window, tmp_path: Path, kernel: str
) -> None:
    notebook(
        tmp_path / "contract.ipynb",
        host.head + WIDGETS + "display(*parts)",
        "import asyncio\nfor _ in range(40):\n    await asyncio.sleep(0.1)\n    parts[2].ahead += 1\ntell(awaited=True)",
        kernel=kernel,
    )
    lab(host, kernel)
    page = open_lab(window, host)
    stop = page.locator(".acl-runs button.stop")
    stop.first.wait_for(timeout=240_000)
    stop.first.dispatch_event("click")
    wait_for(lambda: host.heard().get("awaited"), 240, "the async cell")
    stop.first.dispatch_event("click")
    wait_for(lambda: host.heard()["stops"] == 2, what="both stops, during and after the async cell")
    keeps_the_contract(page, host, tmp_path)
    alive = page.evaluate("globalThis.__acestepLab.alive")
    wait_for(lambda: _choose(page, "Edit", "Clear Outputs of All Cells"), what="the menu")
    wait_for(lambda: page.evaluate("globalThis.__acestepLab.alive") == alive - 3, what="the end of all views")
    page.keyboard.press("Control+s")
    wait_for(lambda: (tmp_path / "contract.ipynb").stat().st_size < 100_000, what="a small notebook")


def test_in_jupyterlab_as_panel_component(host: Host, window: Window, tmp_path: Path) -> None:
    notebook(
        tmp_path / "contract.ipynb",
        "import panel as pn\npn.extension(inline=True)",
        host.head + PANES + "pn.Column(*parts)",
    )
    lab(host, "python3")
    page = open_lab(window, host)
    keeps_the_contract(page, host, tmp_path)
    page.locator(".acl-runs button.stop").first.dispatch_event("click")
    wait_for(lambda: host.heard()["stops"] == 1, what="the stop")


@pytest.mark.skipif(importlib.util.find_spec("marimo") is None, reason="marimo is not installed")
def test_in_marimo(host: Host, window: Window, tmp_path: Path) -> None:
    body = textwrap.indent(
        host.head
        + WIDGETS
        + "import marimo as mo\nshown = mo.vstack([mo.ui.anywidget(part) for part in parts])\nshown",
        "    ",
    )
    app = tmp_path / "contract.py"
    app.write_text(
        f"import marimo\napp = marimo.App()\n@app.cell\ndef _():\n{body}\n    return\nif __name__ == '__main__':\n    app.run()\n"
    )
    host.run(
        sys.executable,
        "-m",
        "marimo",
        "run",
        str(app),
        "--headless",
        "--no-token",
        "--host",
        "127.0.0.1",
        "--port",
        str(host.port),
    )
    wait_for(lambda: answers(host.port), 240, "marimo")
    window.page.goto(f"http://127.0.0.1:{host.port}/")
    keeps_the_contract(window.page, host, tmp_path)
    window.failed = [
        url for url in window.failed if "127.0.0.1" in url and "acestep" in url
    ]  # marimo's own page asks for things of its own
