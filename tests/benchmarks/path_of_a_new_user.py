"""What a new user's way costs in a real browser: clicks, scrolls and the tallest page, at a desk and on a phone.

The way: type words, make it, play, mark a part by dragging, repaint, hear, see the verdict, star, pick the first take, hear
it, back to the words. A scroll is a target that is not inside what is seen of the page and of all that scrolls around it.

    python -m tests.benchmarks.path_of_a_new_user
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.browser.conftest import CHROMIUM, OFFLINE, Studio, Window
from tests.browser.test_shell import INSIDE, TALLEST, show_tab
from tests.browser.test_studio import open_page, until

BEFORE = {(1280, 900): (11, 3, 2195), (390, 844): (11, 8, 4066)}
"""Clicks, scrolls and tallest page of the same way before the page was rebuilt."""
SEEN_ENOUGH = 0.6


class Walk:
    """One user's way through a page, counted."""

    def __init__(self, page: Any, narrow: bool) -> None:
        self.page, self.narrow = page, narrow
        self.clicks = self.tabs = self.scrolls = self.tallest = 0
        self.scrolled_to: list[str] = []

    def see(self, selector: str, tab: str = "") -> Any:
        """An element, scrolled to (and counted) if one could not see it."""
        if tab and self.narrow and self.page.locator(f".acl-tabs [data-tab={tab}]").get_attribute("tabindex") != "0":
            show_tab(self.page, tab)
            self.tabs += 1
            self.page.wait_for_timeout(100)
        found = self.page.locator(selector).first
        found.wait_for()
        self.tallest = max(self.tallest, self.page.evaluate("document.documentElement.scrollHeight"))
        if self.narrow:
            self.tallest = max(self.tallest, self.page.evaluate(TALLEST))
        if float(found.evaluate(INSIDE)) < SEEN_ENOUGH:
            self.scrolls += 1
            self.scrolled_to.append(selector)
            found.scroll_into_view_if_needed()
            self.page.wait_for_timeout(150)
        return found

    def click(self, selector: str, tab: str = "") -> None:
        self.see(selector, tab).click()
        self.clicks += 1

    def drag(self, selector: str, tab: str = "") -> None:
        """Mark the middle of a waveform."""
        box = self.see(selector, tab).bounding_box()
        level = box["y"] + box["height"] * 0.45
        self.page.mouse.move(box["x"] + box["width"] * 0.4, level)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * 0.6, level, steps=8)
        self.page.mouse.up()
        self.clicks += 1

    def whole_way(self) -> None:
        """From the first word to the second song's."""
        self.click(".acl-compose textarea", "compose")
        self.page.keyboard.type("slow dub techno")
        self.click(".acl-compose button.go")
        until(self.page, ".acl-gallery", "cards", "1")
        until(self.page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
        self.click(".acl-player button.play")
        self.drag(".acl-waveform .stage", "repaint")
        until(self.page, ".acl-waveform", "regions", lambda s: len(json.loads(s)) == 1)
        self.click(".acl-waveform button.go", "repaint")
        until(self.page, ".acl-gallery", "cards", "2")
        self.click(".acl-player button.play")
        self.see("text=the same, bit for bit", "repaint")
        self.click(".acl-player button.star")
        self.click(".acl-gallery .card:nth-of-type(2) button.pick, .acl-gallery .card:nth-of-type(2) h3", "takes")
        self.click(".acl-player button.play")
        self.click(".acl-compose textarea", "compose")


def walked(browser: Any, width: int, height: int) -> Walk:
    """The way through a page of a size, over a session and a library of its own."""
    with tempfile.TemporaryDirectory() as folder:
        studio, window = Studio(Path(folder) / "library"), Window(browser, width, height)
        walk = Walk(open_page(window, studio), width < 900)
        walk.whole_way()
        window.close()
        studio.stop()
        if window.errors or window.failed:
            raise RuntimeError(f"The page complained: {window.errors + window.failed}.")
    return walk


def main() -> None:
    """Print the table."""
    from playwright.sync_api import sync_playwright

    print("| window | clicks | tabs turned | scrolls | tallest page | before: clicks, scrolls, tallest |")
    print("|---|---|---|---|---|---|")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        for (width, height), before in BEFORE.items():
            walk = walked(browser, width, height)
            row = (f"{width} × {height}", walk.clicks, walk.tabs, walk.scrolls, f"{walk.tallest} px")
            print(f"| {' | '.join(map(str, row))} | {before[0]}, {before[1]}, {before[2]} px |")
            for selector in walk.scrolled_to:
                print(f"  scrolled to {selector}")
        browser.close()


if __name__ == "__main__":
    main()
