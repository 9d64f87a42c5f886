"""The page with the REST door beside it: what another program makes appears in the open page."""

from __future__ import annotations

from pathlib import Path

import httpx2

from acestep_lab.serve.api_background import serve
from tests.browser.conftest import Window
from tests.pretend import PretendSession


def test_a_song_that_another_program_asks_for_appears_in_the_open_page(window: Window, tmp_path: Path) -> None:
    lab = PretendSession(tmp_path / "library")
    with serve(lab, 0) as server:
        window.page.goto(server.page)
        window.page.get_by_role("button", name="Make it").wait_for()
        asked = {"prompt": "a music box from elsewhere", "audio_duration": 2, "batch_size": 1}
        assert httpx2.post(f"{server.address}/release_task", json=asked, timeout=20).status_code == 200
        window.page.locator(".acl-gallery .card h3", has_text="a music box from elsewhere").wait_for()
        window.picture("oneport")
        window.page.goto("about:blank")
    lab.close()
    lab.library.close()
