"""The Sweep tab in a real browser: axes, the budget, a grid that fills, a page reloaded in the middle, a blind vote, a narrow page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import field

pytestmark = pytest.mark.browser


def test_a_sweep_is_priced_begun_reloaded_in_the_middle_ended_and_heard_blind(window: Window, studio: Studio) -> None:
    page = window.page
    page.set_default_timeout(8_000)
    page.goto(studio.url)
    page.wait_for_selector(".acl-sweepform[data-ready=true]", state="attached")
    page.locator(".acl-compose textarea").first.fill("a sine")
    field(page, "Length").fill("2")
    page.get_by_role("button", name="Sweep: Open").click()
    form = page.locator(".acl-sweepform")
    assert form.get_by_label("Axis 1").input_value() == "seed"
    form.get_by_label("What seed goes over").fill("1..3")
    form.get_by_role("button", name="Another axis").click()
    form.get_by_label("Axis 2").select_option("shift")
    form.get_by_label("What shift goes over").fill("1,3")
    form.get_by_role("button", name="What it costs").click()
    form.locator(".plan", has_text="6 cells: 6 to make").wait_for()
    form.get_by_role("button", name="Start", exact=True).click()
    grid = page.locator(".acl-sweep")
    grid.locator("td[data-state=done]").first.wait_for()
    page.reload()
    grid.locator("td[data-state=done]").first.wait_for()
    assert form.get_by_label("What shift goes over").input_value() == "1,3"
    wait_for(lambda: grid.locator("td[data-state=done]").count() == 6, what="six takes")
    grid.get_by_label("What the two differ in").select_option("shift")
    grid.get_by_role("button", name="Listen blind").click()
    grid.get_by_role("button", name="Hear A").click()
    assert "shift" not in grid.locator(".ballot").inner_text()
    grid.get_by_role("button", name="A is better").click()
    grid.locator(".ballot", has_text="shift=").wait_for()
    assert grid.locator(".votes li").count() == 2
    with page.expect_download() as saved:
        grid.get_by_role("button", name="Report (HTML)").click()
    assert saved.value.suggested_filename.endswith(".html")
    grid.scroll_into_view_if_needed()
    window.picture("sweep-tab")
    narrow(page)
    window.picture("sweep-tab-narrow")


def narrow(page: Any) -> None:
    """A phone's page shows the tab, and nothing of it runs out of it."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.get_by_role("tab", name="Sweep").click()
    grid = page.locator(".acl-sweep")
    grid.wait_for()
    for part in (".acl-sweepform", ".acl-sweep"):
        assert page.locator(part).evaluate("node => node.getBoundingClientRect().right <= innerWidth + 1")
    assert page.locator(".acl-tabs .list").evaluate("node => node.scrollWidth <= node.clientWidth + 1")
