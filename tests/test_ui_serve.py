"""The app's doors over HTTP, without a browser."""

from __future__ import annotations

import asyncio
import http.cookiejar
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bokeh.util.token import generate_jwt_token
from tornado.httpclient import HTTPClientError as HTTPError
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from acestep_lab.errors import MachineError
from acestep_lab.serve.app import is_loopback, serve
from acestep_lab.serve.door import matches, person
from tests.browser.conftest import free_port, wait_for
from tests.pretend import PretendSession, png

Started = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[PretendSession]:
    made = PretendSession(tmp_path / "library", pause=0.0)
    yield made
    made.close()
    made.library.close()


@pytest.fixture
def started() -> Iterator[Started]:
    """Serve a studio and tell its address and what it said; it ends with the test, whatever becomes of that."""
    servers: list[Any] = []

    def start(session: Any, **options: Any) -> tuple[str, list[str]]:
        said: list[str] = []
        port = free_port()
        servers.append(
            serve(
                session,
                port=port,
                block=False,
                announce=said.append,
                picture=png,
                fades=lambda *_: (0.0, 0.0),
                **options,
            )
        )
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: status(f"{url}/takes/{'x' * 32}.wav") == 404, what="the server")
        return url, said

    yield start
    for server in servers:
        server.stop()


def status(url: str, opener: Any = urllib.request, **headers: str) -> int:
    try:
        with (
            opener.open(urllib.request.Request(url, headers=headers))
            if hasattr(opener, "open")
            else opener.urlopen(urllib.request.Request(url, headers=headers)) as reply
        ):
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except urllib.error.URLError:
        return 0


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_what_is_loopback_and_what_is_not(address: str, only_here: bool) -> None:
    assert is_loopback(address) is only_here


def test_bound_elsewhere_it_asks_for_a_token_and_every_browser_is_a_person(
    session: PretendSession, started: Started
) -> None:
    url, said = started(session, address="0.0.0.0")
    token = said[0].split("token=")[1]
    assert len(token) >= 20, "a token nobody guesses"
    jar = http.cookiejar.CookieJar()
    visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with visitor.open(url + "/") as reply:
        assert reply.url.endswith("/login") or "/login?" in reply.url
        assert b"asks for a token" in reply.read()
    assert status(url + "/login?token=wrong", visitor) == 403
    with visitor.open(url + f"/?token={token}") as reply:
        assert b"root_id" in reply.read() or reply.status == 200
    cookies = {cookie.name: cookie.value for cookie in jar}
    assert person(cookies)
    assert all(
        cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "Strict"
        for cookie in jar
    )


def shakes_hands(url: str, origin: str) -> bool:
    """Whether the studio's web socket lets in a page of another origin. Asked from a thread: a browser's tests leave an event
    loop running in this one.
    """
    request = HTTPRequest(url.replace("http", "ws") + "/ws", headers={"Origin": origin})
    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(asyncio.run, _shake(request)).result()
        except HTTPError:
            return False
    return True


async def _shake(request: HTTPRequest) -> None:
    (await websocket_connect(request, subprotocols=["bokeh", generate_jwt_token("any session")])).close()


def test_pages_of_other_hosts_are_kept_out_unless_their_host_was_named(
    session: PretendSession, started: Started
) -> None:
    url, _ = started(session, origins=["hub.example.org"])
    assert shakes_hands(url, url)
    assert shakes_hands(url, "https://hub.example.org")
    assert not shakes_hands(url, "https://other.example.org")
    url, _ = started(session)
    assert shakes_hands(url, url)
    assert not shakes_hands(url, "https://hub.example.org")


def test_names_of_sounds_cannot_be_guessed_and_no_path_is_one(session: PretendSession, started: Started) -> None:
    url, _ = started(session)
    for path in (
        "/takes/../pyproject.toml",
        "/takes/%2e%2e%2fpyproject.wav",
        "/takes/" + "a" * 32 + ".wav",
        "/takes/short.wav",
        "/takes/.wav",
    ):
        assert status(url + path) == 404


def test_a_token_is_compared_whole() -> None:
    assert matches("abc", "abc")
    assert not matches("ab", "abc")
    assert not matches("", "abc")
    assert not matches(None, "abc")
    assert not matches("äbc", "abc")


def test_a_port_in_use_is_said_in_a_sentence(session: PretendSession) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError, match="choose another"):
            serve(session, port=taken.getsockname()[1], announce=lambda _: None)
