"""What each word did, in the page: asked for with its cost said, stopped, shown as a strip, by keyboard, narrow and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import panel as pn
import pytest

from acestep_lab import Recipe
from acestep_lab.ui import AttributionPane
from tests.browser.conftest import Window, free_port
from tests.pretend import PretendSession

pytestmark = pytest.mark.browser


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[PretendSession, str]]:
    """A session with a take, and the address of a page that shows what its words did."""
    lab = PretendSession(tmp_path)
    lab.jobs.progress = False
    take = lab.make(Recipe("slow dub techno, warm pad, deep bass", seconds=3.0, steps=2, bpm=112))
    port = free_port()
    server = pn.serve(
        lambda: AttributionPane(take, session=lab), port=port, show=False, threaded=True, address="127.0.0.1"
    )
    yield lab, f"http://127.0.0.1:{port}/"
    lab.close()
    server.stop()


def test_the_strip_is_asked_for_read_by_keyboard_and_holds_in_a_narrow_dark_page(
    asked: tuple[PretendSession, str], window: Window, tmp_path: Path
) -> None:
    _, url = asked
    page = window.page
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(url)
    page.locator(".acl-attribution[data-ready]").wait_for()
    page.evaluate(
        "() => { document.documentElement.dataset.aclTheme = 'dark'; document.body.style.background = '#111'; }"
    )
    page.get_by_role("button", name="What each word did").click()
    page.get_by_text("6 renders of 2 steps").wait_for()
    page.get_by_role("button", name="Find out").click()
    page.locator(".acl-attribution .line.seed").wait_for()
    words = page.locator(".acl-attribution .word")
    assert [one.split("\n")[0] for one in words.all_inner_texts()] == ["slow dub techno", "warm pad", "deep bass"]
    page.locator(".acl-attribution .rows button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".acl-attribution .name[aria-pressed=true]", has_text="warm pad").wait_for()
    assert page.locator(".acl-attribution .detail .band").count() == 2
    page.locator(".acl-attribution summary").click()
    assert page.locator(".acl-attribution tbody tr").count() == 5
    assert page.evaluate("() => document.documentElement.scrollWidth <= 390"), "nothing lies beside a narrow page"
    page.screenshot(path=str(tmp_path / "strip.png"), full_page=True)
    page.get_by_role("button", name="Where the model looks (no cause)").click()
    assert page.locator(".acl-attribution .line.word").count() == 7
