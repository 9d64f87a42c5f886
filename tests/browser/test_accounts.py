"""Two people at one studio, each in a real browser of their own: what is one's is not the other's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.ui.backend import backend_of
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import COMPONENTS, compose, open_page, state_of, until, whole_page

pytestmark = pytest.mark.browser
TOKEN = "a word that both were told & more"

SAY_TO_ALL = """(message) => {
    const views = [], walk = (view) => { if (view && !views.includes(view)) { views.push(view); [...(view.child_views ?? [])].forEach(walk); } };
    [...Bokeh.index.roots].forEach(walk);
    const able = views.filter((view) => view.model_proxy);
    able.forEach((view) => view.model_proxy.send_msg(message));
    return able.length;
}"""
"""What somebody types into the console of their own page: a message to every component of it."""


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Studio]:
    """A studio with a token, whose every step waits until the test lets it go."""
    served = Studio(tmp_path / "library", gate=threading.Semaphore(0), token=TOKEN)
    yield served
    for _ in range(100):
        served.gate.release()
    served.stop()


class Account(Window):
    """A browser of somebody's own, with what its console complained of."""

    def __init__(self, browser: Any) -> None:
        super().__init__(browser)
        self.refused: list[str] = []
        self.page.on(
            "console",
            lambda line: self.refused.append(line.text) if "Content Security Policy" in line.text else None,
        )

    def come_in(self, studio: Studio) -> Any:
        """Give the token as a person does: typed into the form."""
        self.page.goto(studio.url)
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button", name="Come in").click()
        whole_page(self.page)
        return self.page

    def fetched(self, url: str) -> int:
        """The status of an address, fetched by this browser with all its cookies."""
        return int(self.page.evaluate("async (url) => (await fetch(url)).status", url))


@pytest.fixture
def two(browser: Any) -> Iterator[tuple[Account, Account]]:
    accounts = Account(browser), Account(browser)
    yield accounts
    for one in accounts:
        one.close()
        assert one.errors == [], "a script failed"
        assert one.refused == [], "the page breaks its own Content-Security-Policy"


def test_the_second_account_cannot_see_stop_rename_or_hear_what_is_the_firsts(
    two: tuple[Account, Account], shared: Studio
) -> None:
    one, other = two
    mine = one.come_in(shared)
    one.picture("accounts-first")
    compose(mine, "a secret lullaby", seconds="3")
    for _ in range(10):
        shared.gate.release()
    until(mine, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    with mine.expect_response(lambda r: "/takes/" in r.url) as heard:
        mine.get_by_role("button", name="Play", exact=True).click()
    sound = heard.value.url
    one.picture("accounts-after")
    take = str(state_of(mine, ".acl-waveform", "drawn"))
    compose(mine, "a second secret", seconds="3", seed="8")
    run = str(mine.locator(".acl-runs li[data-state=rendering]").first.get_attribute("data-run"))

    theirs = other.come_in(shared)
    theirs.locator(f".acl-runs li[data-run='{run}']").wait_for()  # that somebody waits is seen, not who or what
    assert "secret" not in theirs.locator("body").inner_text()
    assert state_of(theirs, ".acl-gallery", "cards") in (None, "0")
    other.picture("accounts-second")
    assert not theirs.locator(f".acl-runs li[data-run='{run}'] button.stop").is_visible()

    assert one.fetched(sound) == 200
    assert other.fetched(sound) == 404, "the sound's address is of no use to somebody else"
    messages: list[dict[str, Any]] = [
        {"kind": kind, "id": run} for kind in ("stop", "watch", "dismiss", "keep", "play_step", "hold", "move")
    ]
    messages += [
        {"kind": kind, "id": take}
        for kind in ("open", "select", "reuse", "analyze", "bytes", "peaks", "play_step", "save")
    ]
    messages += [{"kind": "mark", "id": take, "note": "mine now", "star": True}, {"kind": "bin", "ids": [take]}]
    for message in messages:
        assert theirs.evaluate(SAY_TO_ALL, message) >= COMPONENTS
    compose(theirs, "something of my own", seconds="3", seed="9")
    theirs.locator(".acl-runs li", has_text="something of my own").wait_for()  # all that was said before has been heard

    backend = backend_of(shared.session)
    found = backend.jobs.run(run)
    assert not found.stopping
    assert backend.takes.owner_of(take)
    card = next(card for card in backend.session.library.cards() if card.id == take)
    assert (card.star, card.note) == (False, "")
    assert "secret" not in theirs.locator("body").inner_text()
    assert state_of(theirs, ".acl-waveform", "drawn") != take
    mine.evaluate(SAY_TO_ALL, {"kind": "stop", "id": run})
    wait_for(lambda: found.over, what="the stop, asked for in the same words by whose run it is")
    for _ in range(30):
        shared.gate.release()
    until(theirs, ".acl-gallery", "cards", "1")
    assert [r for r in other.failed if not r.startswith("404")] == []


def test_a_reload_knows_the_browser_again_and_a_new_browser_is_asked(
    two: tuple[Account, Account], shared: Studio
) -> None:
    one, other = two
    other.page.goto(shared.url)
    other.page.get_by_label("Token").fill("not the word")
    other.page.get_by_role("button", name="Come in").click()
    other.page.get_by_text("That was not the token.").wait_for()
    other.picture("accounts-login")
    assert other.page.context.cookies() == []
    mine = one.come_in(shared)
    assert mine.url == shared.url, "no token stays in the address"
    open_page(one, shared)
    compose(mine, "still here", seconds="3")
    for _ in range(10):
        shared.gate.release()
    until(mine, ".acl-gallery", "cards", "1")
    mine.context.clear_cookies(name=f"acestep_lab_login_{shared.port}")  # as if the server had been started anew
    mine.goto(shared.url)
    one.come_in(shared)
    until(mine, ".acl-gallery", "cards", "1")


def test_a_link_with_the_token_from_another_site_keeps_the_person(two: tuple[Account, Account], shared: Studio) -> None:
    one, _ = two
    page = one.come_in(shared)
    before = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    page.route("http://127.0.0.2:1/**", lambda route: route.fulfill(
        content_type="text/html", body=f'<a href="{shared.url}?token={TOKEN.replace(" ", "%20").replace("&", "%26")}">to the studio</a>'
    ))  # fmt: skip
    for _ in range(2):
        page.goto("http://127.0.0.2:1/mail")
        page.get_by_text("to the studio").click()
        whole_page(page)
        assert page.url == shared.url
    after = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    assert before == after, "who was in already is not let in anew"
    page.context.clear_cookies(name=f"acestep_lab_login_{shared.port}")
    page.goto("http://127.0.0.2:1/mail")
    page.get_by_text("to the studio").click()
    whole_page(page)
    again = {
        cookie["name"]: cookie["value"].split("|")[4] for cookie in page.context.cookies() if "person" in cookie["name"]
    }
    assert list(again.values()) == [value.split("|")[4] for name, value in before.items() if "person" in name]
