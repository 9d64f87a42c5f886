"""A sweep in a page: its cells by their axes, live, each with a player once it is made; stop; the best by a measure; by keyboard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel as pn
import pytest

from acestep_lab import Recipe
from acestep_lab.ui import SweepViewPane
from tests.browser.conftest import Window, free_port, wait_for
from tests.pretend import PretendSession

pytestmark = pytest.mark.browser


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[tuple[PretendSession, Any, str]]:
    """A session whose steps wait, a sweep in it, and the address of a page with nothing else."""
    gate = threading.Semaphore(0)
    lab = PretendSession(tmp_path, gate=gate)
    lab.jobs.progress = False
    lab.gate = gate  # type: ignore[attr-defined]
    run = lab.sweep(Recipe("a sine", seconds=2.0, steps=4), shift=[1, 3], seed=[1, 2, 3])
    port = free_port()
    server = pn.serve(lambda: SweepViewPane(run), port=port, show=False, threaded=True, address="127.0.0.1")
    yield lab, run, f"http://127.0.0.1:{port}/"
    lab.close()
    server.stop()


def test_cells_fill_as_they_are_made_play_and_are_ranked_and_a_stop_keeps_them(
    swept: tuple[PretendSession, Any, str], window: Window
) -> None:
    lab, run, url = swept
    page = window.page
    lab.gate.release(3)  # type: ignore[attr-defined]
    page.goto(url)
    page.locator(".acl-sweep[data-ready]").wait_for()
    assert page.locator(".acl-sweep th[scope=row]").all_inner_texts() == ["shift=1", "shift=3"]
    page.locator(".acl-sweep td[data-state=rendering] img.forming:not([hidden])").wait_for()
    assert page.locator(".acl-sweep .hear:visible").count() == 0
    lab.gate.release(5)  # type: ignore[attr-defined]
    page.locator(".acl-sweep td[data-state=done]").nth(1).wait_for()
    page.get_by_role("button", name="Stop").click()
    wait_for(lambda: run.over, what="the stop")
    page.locator(".acl-sweep button.stop").wait_for(state="hidden")
    assert len(run.made) == 2
    page.get_by_role("button", name="Play shift=1, seed=1").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause shift=1, seed=1").wait_for()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.shadowRoot.activeElement.getAttribute('aria-label')").endswith(
        "seed=2"
    )
    page.get_by_role("combobox", name="Best by").select_option("loudness")
    page.locator(".acl-sweep td.best").wait_for()
    best = max(run.measure("loudness").items(), key=lambda one: one[1])[0]
    assert page.locator(".acl-sweep td").nth(best).get_attribute("class") == "best"
    window.picture("sweep")
