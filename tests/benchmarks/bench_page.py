"""What a reader waits for on the page: its first paint, all of it, the playhead's frames, the switch between A and B.

`python -m tests.benchmarks.bench_page [takes]`; 200 takes without a number. Needs a Chromium. All are wall seconds in a
browser on this machine, from its own clocks, and depend on what else the machine does.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Repaint
from tests.browser.conftest import CHROMIUM, OFFLINE, Studio, Window, wait_for

ROUNDS = 5
SECONDS = 4.0

FIRST_PAINT = "performance.getEntriesByType('paint').find(one => one.name === 'first-contentful-paint')?.startTime"
READY = """() => {
  const roots = () => { const all = []; const walk = node => { for (const one of node.querySelectorAll('*')) {
    if (one.matches('.acl[data-ready]')) all.push(one); if (one.shadowRoot) walk(one.shadowRoot); } };
    walk(document); return all.length; };
  let seen = 0; globalThis.allReady = 0;
  const look = () => { const now = roots(); if (now > seen) { seen = now; globalThis.allReady = performance.now(); }
    globalThis.readyCount = seen; if (performance.now() < 15000) setTimeout(look, 20); };
  document.addEventListener('DOMContentLoaded', look);
}"""
FRAMES = """seconds => new Promise(done => {
  let heads = 0, drawn = 0; const begun = performance.now();
  const count = event => { if (event.detail.playing) heads += 1; };
  addEventListener('acestep-lab:time', count);
  const frame = () => { drawn += 1; if (performance.now() - begun < 1000 * seconds) return requestAnimationFrame(frame);
    removeEventListener('acestep-lab:time', count);
    const span = (performance.now() - begun) / 1000; done([heads / span, drawn / span]); };
  requestAnimationFrame(frame);
})"""


def page(takes: int) -> dict[str, Any]:
    """The figures of a page over a library of so many takes."""
    with tempfile.TemporaryDirectory() as folder:
        served = Studio(Path(folder) / "library", pause=0.0)
        try:
            fill(served.session, takes)
            return browse(served)
        finally:
            served.stop()


def fill(session: Any, takes: int) -> None:
    """Make so many takes; the last is a repaint, so that it has a parent."""
    made = None
    for place in range(takes - 1):
        made = session.make(Recipe(f"song number {place}", seconds=30.0 if place == takes - 2 else 3.0, seed=place + 1))
        session.library.keep(made)
    session.library.keep(session.make(session.recipe_from(made, Repaint(made, (Region(10, 20),)), seed=9)))


def browse(served: Any) -> dict[str, Any]:
    """Open the page some times, play, switch."""
    from playwright.sync_api import sync_playwright

    paints, readies = [], []
    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        for place in range(ROUNDS):
            window = Window(chromium)
            window.page.add_init_script(f"({READY})()")
            window.page.goto(served.url)
            window.page.wait_for_timeout(2500)
            wait_for(lambda page=window.page: page.evaluate("performance.now() - allReady") > 1000, what="the page")
            paints.append(window.page.evaluate(FIRST_PAINT) / 1000)
            readies.append(window.page.evaluate("allReady") / 1000)
            if place < ROUNDS - 1:
                window.close()
        figures = {
            "components": window.page.evaluate("readyCount"),
            "first paint, s": round(statistics.median(paints), 3),
            "all ready, s": round(statistics.median(readies), 3),
            **play(window.page),
        }
        chromium.close()
    return figures


def play(page: Any) -> dict[str, Any]:
    """Frames a second of the playhead, and how far apart A and B are when one gives way to the other."""
    bar = page.locator(".acl-player")
    bar.locator("button.play").click()
    wait_for(lambda: bar.get_attribute("data-playing") == "true", what="the sound")
    heads, drawn = page.evaluate(FRAMES, SECONDS)
    wait_for(lambda: bar.get_attribute("data-pair"), what="the parent")
    page.wait_for_timeout(1500)
    apart = []
    for _ in range(6):
        bar.locator("button.ab").click()
        apart.append(abs(1000 * float(bar.get_attribute("data-apart"))))
        page.wait_for_timeout(700)
    return {
        "playhead, frames/s": round(heads, 1),
        "page, frames/s": round(drawn, 1),
        "A/B apart at the switch, ms": round(statistics.median(apart), 1),
        "A/B apart at worst, ms": round(max(apart), 1),
    }


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("There is no Chromium on this machine; this benchmark needs one.")
    print(json.dumps(page(int(sys.argv[1]) if len(sys.argv) > 1 else 200), indent=1))
