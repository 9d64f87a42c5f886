"""axe-core looks at the page as a screen reader's user meets it: empty, after a take, on a phone, in the dark, in Chinese."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

from tests.browser.conftest import Studio, Window
from tests.browser.test_studio import compose, open_page, until

pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")
BUTTON_WITHOUT_A_NAME = """function put(root) {
  for (const node of root.querySelectorAll("*")) {
    if (node.matches(".acl-compose")) return node.append(document.createElement("button"));
    if (node.shadowRoot) put(node.shadowRoot);
  }
}"""


def findings(page: Any) -> list[str]:
    """What axe-core finds seriously wrong on a page, with the places."""
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(script)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['impact']} {one['id']}: {one['help']} — {node['target']} {node['html'][:160]}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"][:4]
    ]


def test_the_page_has_no_serious_finding_empty_and_after_a_take(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    assert findings(page) == []
    compose(page, "slow dub techno")
    until(page, ".acl-gallery", "cards", "1")
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    assert findings(page) == []
    page.evaluate(f"({BUTTON_WITHOUT_A_NAME})(document)")
    assert any("button-name" in one for one in findings(page)), "axe-core looks into the components"


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_has_no_serious_finding_in_any_tab(browser: Any, studio: Studio, dark: bool) -> None:
    window = Window(browser, 390, 844, dark=dark)
    page = open_page(window, studio)
    tabs = page.get_by_role("tab").all()
    assert len(tabs) >= 4
    for tab in tabs:
        tab.click()
        assert findings(page) == []
    window.close()
