"""JupyterLab: a cell that waits shows the music as it forms and then one player; a run shown by its name is live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Window, wait_for
from tests.browser.test_contract import Host, host, lab, notebook, open_lab

pytestmark = pytest.mark.browser
__all__ = ["host"]

SETUP = """
import os
os.environ["ACESTEP_LAB_PROGRESS"] = "1"
from acestep_lab import Recipe
from acestep_lab.ui import PromptEditor
from tests.pretend import PretendSession
lab = PretendSession("takes", pause=0.5)
"""


def test_a_waiting_cell_and_a_live_run_each_end_in_one_player_stop_works_and_a_component_alone_too(
    host: Host, window: Window, tmp_path: Path
) -> None:
    notebook(
        tmp_path / "contract.ipynb",
        SETUP,
        'lab.make(Recipe("a cell that waits", seconds=4, steps=16))',
        'lab.start(Recipe("a live run", seconds=4, steps=8))',
        'lab.start(Recipe("an endless run", seconds=4, steps=200))',
        'PromptEditor(Recipe("alone", seconds=2, steps=1), session=lab)',
    )
    lab(host, "python3")
    window.page.set_viewport_size({"width": 1280, "height": 3200})  # JupyterLab draws only the cells in view
    page = open_lab(window, host)
    waiting, live, endless, alone = (page.locator(".jp-CodeCell").nth(place) for place in (1, 2, 3, 4))
    waiting.locator("progress").wait_for()
    waiting.locator("img[alt*='as it forms']").wait_for()
    assert "interrupt the cell" in waiting.inner_text()
    window.picture("notebook-waiting")
    waiting.locator(".acl-player[data-peaks]").wait_for()
    assert waiting.locator("progress").count() == 0
    endless.locator(".acl-run .bar").wait_for()
    wait_for(lambda: _stopped(endless), what="the stop")
    live.locator(".acl-player[data-peaks]").wait_for()
    assert (waiting.locator(".acl-player").count(), live.locator(".acl-player").count()) == (1, 1)
    alone.locator(".acl-compose[data-ready]").get_by_role("button", name="Make it", exact=True).click()
    wait_for(lambda: list((tmp_path / "takes").glob("take-*.flac")), what="the take of the component alone")
    window.picture("notebook-done")
    page.keyboard.press("Control+s")
    wait_for(lambda: b'"Made in' in (tmp_path / "contract.ipynb").read_bytes(), what="the saved notebook")
    assert (tmp_path / "contract.ipynb").stat().st_size < 100_000


def _stopped(cell: Any) -> bool:
    """Press Stop, again where a slow page was not listening yet, and say whether the run has stopped."""
    if cell.locator(".acl-run[data-state=stopped]").count():
        return True
    button = cell.locator(".acl-run button.stop")
    if button.count():
        button.first.dispatch_event("click")
    return False
