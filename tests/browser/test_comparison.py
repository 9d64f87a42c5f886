"""What differs between two takes that are compared, in a real browser, in Chinese."""

from __future__ import annotations

from typing import Any

import pytest

from acestep_lab.prompt.recipe import Recipe
from tests.browser.conftest import Studio, Window
from tests.browser.test_studio import open_page, until

pytestmark = pytest.mark.browser
GALLERY = ".acl-gallery"


def test_what_differs_between_two_takes_is_told_in_the_readers_language(browser: Any, studio: Studio) -> None:
    for seed, caption in ((1, "slow dub"), (2, "<b>fast</b> techno")):
        studio.session.keep(studio.session.make(Recipe(caption, "[Verse]\nla la", seconds=2.0, seed=seed)))
    window = Window(browser, 1280, 900, dark=True, locale="zh-CN")
    page = open_page(window, studio)
    page.set_default_timeout(20_000)
    for n in range(2):
        page.locator(f"{GALLERY} .letter").nth(n).click()
    button = page.locator(f"{GALLERY} .compare").get_by_role("button", name="有何不同")
    button.focus()
    page.keyboard.press("Enter")
    until(page, GALLERY, "differences", lambda rows: int(rows) > 3)
    table = page.locator(f"{GALLERY} .differences table")
    assert {"响度", "段落", "要求的描述"} <= set(table.locator("th[scope=row]").all_inner_texts())
    assert table.get_by_text("<b>fast</b> techno").count(), "what somebody wrote stays as it is"
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator(f"{GALLERY} .differences img").get_attribute("alt").startswith("两张频谱图")
    window.picture("comparison-1280")
    page.set_viewport_size({"width": 390, "height": 900})
    page.get_by_role("tab", name="作品").click()
    table.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth <= 390"), "nothing lies beside a narrow page"
    window.picture("comparison-390-dark")
    button.click()
    table.wait_for(state="hidden")
    window.close()
    assert (window.failed, window.errors) == ([], [])
