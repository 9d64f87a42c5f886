"""Whether any panel of the page waits while a long song renders: how soon it answers, idle and during a long render.

`python -m tests.benchmarks.bench_busy [seconds]`; 120, the most the pocket makes, without a number. The pocket renders in this process, a real browser asks; wall seconds from the
browser's clock, medians over rounds that alternate. What is asked: the peaks of a span (waveform), a search (gallery), a star.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.serve.app import serve
from acestep_lab.session import Session
from tests.browser.conftest import CHROMIUM, OFFLINE, Window, free_port, wait_for

ROUNDS = 12


def answers(page: Any) -> dict[str, Callable[[int], float]]:
    """How each panel is asked, and how long its answer takes in seconds."""

    def timed(act: Callable[[], object], so: Callable[[], Any]) -> float:
        began = time.perf_counter()
        act()
        wait_for(so, 30, "the answer")
        return time.perf_counter() - began

    stage, search = page.locator(".acl-waveform .stage"), page.locator(".acl-gallery input[type=search]")
    star = page.locator(".acl-gallery .card .star").first

    def look(place: int) -> float:
        seen = page.locator(".acl-waveform").get_attribute("data-view")
        stage.focus()
        return timed(
            lambda: page.keyboard.press("0" if place % 2 else "+"),
            lambda: page.locator(".acl-waveform").get_attribute("data-view") != seen,
        )

    def find(place: int) -> float:
        wanted = "1" if place % 2 else "0"
        return timed(
            lambda: search.fill("" if place % 2 else "nothing of that name"),
            lambda: page.locator(".acl-gallery").get_attribute("data-cards") == wanted,
        )

    def mark(place: int) -> float:
        was = star.get_attribute("aria-pressed")
        return timed(star.click, lambda: star.get_attribute("aria-pressed") != was)

    return {"view of the waveform": look, "star": mark, "search (150 ms of waiting for the typing's end)": find}


def main(seconds: float) -> None:
    """Print a table of medians: idle, rendering, ratio."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, Session.open("pocket", library=Path(folder) / "takes") as lab:
        lab.make(Recipe("slow dub techno", seconds=10, seed=1, steps=4))
        port = free_port()
        server = serve(lab, port=port, block=False, announce=lambda _: None, people=Path(folder) / "people.secret")
        with sync_playwright() as running:
            window = Window(running.chromium.launch(executable_path=CHROMIUM, args=OFFLINE))
            window.page.goto(f"http://127.0.0.1:{port}/")
            wait_for(lambda: window.page.locator(".acl-gallery .card").count() == 1, what="the page")
            window.page.wait_for_timeout(2000)
            asked = answers(window.page)
            idle = {name: statistics.median(ask(place) for place in range(ROUNDS)) for name, ask in asked.items()}
            run = lab.start(Recipe("a long song", seconds=seconds, seed=2, steps=50, thinking=False))
            wait_for(lambda: run.state == "rendering", what="the render")
            busy = {name: statistics.median(ask(place) for place in range(ROUNDS)) for name, ask in asked.items()}
            was = run.state
            run.stop()
        server.stop()
    print(f"| asked | idle | while {seconds:g} s render ({was} to the end) | ratio |\n|---|---|---|---|")
    for name in asked:
        print(f"| {name} | {idle[name]:.3f} s | {busy[name]:.3f} s | {busy[name] / idle[name]:.1f} |")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)
