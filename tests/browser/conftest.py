"""A real browser that can reach nothing but this machine, and a studio to look at."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pretend import PretendSession, png

for _name in ("panel", "bokeh", "tornado", "asyncio"):
    logging.getLogger(_name).setLevel(logging.WARNING)

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PICTURES = Path(os.environ.get("LAB_TESTS_SCREENSHOTS") or Path(__file__).parent / "screenshots")
OFFLINE = [
    "--no-sandbox",
    "--disable-gpu",
    "--renderer-process-limit=1",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], Any], seconds: float = 90.0, what: str = "it") -> Any:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A Chromium for the tests of this folder. It ends with them: playwright keeps an event loop running in the main thread,
    where later tests have their own.
    """
    if CHROMIUM is None and os.environ.get("LAB_TESTS_REQUIRE_BROWSER"):
        pytest.fail("There is no Chromium on this machine, and LAB_TESTS_REQUIRE_BROWSER asks for one.")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on this machine; these tests need a real browser.")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        yield chromium
        chromium.close()


class Window:
    """A page with its complaints: failed requests and errors of our own making."""

    def __init__(
        self, browser: Any, width: int = 1280, height: int = 900, dark: bool = False, locale: str = "en-GB"
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            locale=locale,
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)
        self.failed: list[str] = []
        self.errors: list[str] = []
        self.page.on("requestfailed", lambda r: self.failed.append(r.url) if not _harmless(r) else None)
        self.page.on("response", lambda r: self.failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))

    def picture(self, name: str) -> None:
        """Keep a screenshot for whoever looks at the run."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=True)

    def close(self) -> None:
        self.context.close()


def _harmless(request: Any) -> bool:
    """An <audio> element that is given up on aborts its own request."""
    return "ERR_ABORTED" in (request.failure or "") or request.url.startswith("blob:")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Remember that a test has failed while its page is still open."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
def window(browser: Any, request: pytest.FixtureRequest) -> Iterator[Window]:
    opened = Window(browser)
    yield opened
    if request.node.stash.get(FAILED, False):
        opened.picture(f"failed-{request.node.name[:60]}")
        print(f"When it failed, the page said: {opened.page.locator('body').inner_text(timeout=5000)[-4000:]}")
    opened.close()
    assert opened.failed == [], "a request failed"
    assert opened.errors == [], "a script failed"


CURSOR = """([x, y]) => { let node = document.elementFromPoint(x, y); while (node?.shadowRoot) { const deeper = node.shadowRoot.elementFromPoint(x, y); if (!deeper || deeper === node) break; node = deeper; } return getComputedStyle(node).cursor; }"""


def take_hold(page: Any, x: float, y: float) -> None:
    """Point at something that can be dragged until the page shows that it knows, then press."""

    def known() -> bool:
        page.mouse.move(x + 1, y + 1)
        page.mouse.move(x, y)
        page.wait_for_timeout(100)
        return page.evaluate(CURSOR, [x, y]) not in ("auto", "default", "crosshair")

    wait_for(known, what="the box under the pointer")
    page.mouse.down()


class Studio:
    """A served studio over a stand-in session."""

    def __init__(self, folder: Path, **options: Any) -> None:
        from acestep_lab.serve.app import serve

        self.gate = options.pop("gate", None)
        token = options.pop("token", None)
        self.session = PretendSession(folder, gate=self.gate, **options)
        self.port = free_port()
        self.server = serve(
            self.session,
            port=self.port,
            block=False,
            token=token,
            announce=lambda _: None,
            people=folder.parent / "people.secret",
            picture=png,
            crossfades=lambda mode, strength: (0.04, 0.05),
        )
        wait_for(self._answers, what="the server")
        self.url = f"http://127.0.0.1:{self.port}/"

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.session.close()
        self.server.stop()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    served = Studio(tmp_path / "library")
    yield served
    served.stop()


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose every step waits until the test lets it go."""
    served = Studio(tmp_path / "library", gate=threading.Semaphore(0))
    yield served
    for _ in range(100):
        served.gate.release()
    served.stop()
