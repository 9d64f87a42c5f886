"""The app's doors over HTTP, without a browser: who is let in, by which name, and to whose takes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import panel as pn
import pytest
from bokeh.util.token import generate_jwt_token, generate_session_id, get_session_id, get_token_payload
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpclient import HTTPClientError as HTTPError
from tornado.httputil import HTTPHeaders
from tornado.websocket import websocket_connect

from acestep_lab.errors import MachineError
from acestep_lab.serve import app, token_auth
from acestep_lab.serve.app import is_loopback, serve
from acestep_lab.serve.hosts import Hosts, read_host
from acestep_lab.serve.panel_app import owner_of
from acestep_lab.serve.people import COOKIE, People, read_secret
from acestep_lab.serve.sound_urls import byte_range
from acestep_lab.serve.token_auth import Attempts, matches
from acestep_lab.serve.visitors import Visitor, visitor_of
from tests.browser.conftest import free_port, wait_for
from tests.pretend import PretendSession, png, tone

TOKEN = "a word & more"
EVIL = "evil.example"


class Reply:
    """An answer: status, headers, body."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read().decode(errors="replace")


class Served:
    """A studio that is served, and what its pages were made with."""

    def __init__(self, session: Any, **options: Any) -> None:
        self.said: list[str] = []
        self.port = options.pop("port", None) or free_port()
        self.thread = serve(
            session,
            port=self.port,
            block=False,
            announce=self.said.append,
            picture=png,
            crossfades=lambda *_: (0.0, 0.0),
            **options,
        )
        self.server = pn.state._servers[self.thread.server_id][0]
        self.host = f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.thread.stop()
        self.thread.join(10)

    @property
    def routes(self) -> list[str]:
        """A path for every registered route."""
        made = []
        for rule in self.server._tornado.wildcard_router.rules:
            pattern = rule.matcher.regex.pattern
            path = pattern.rstrip("$").replace("/?", "/").replace("[A-Za-z0-9_-]{20,64}", "a" * 32)
            path = (
                re.sub(r"\(\?!.*?\)", "", path)
                .replace(".*", "x.js")
                .replace("\\", "")
                .replace("(", "")
                .replace(")", "")
            )
            assert re.fullmatch(pattern, path), f"no path was made for {pattern}"
            made.append(path)
        return made


class Browser:
    """Somebody's browser: it keeps cookies, and says what it is told to."""

    def __init__(self, served: Served, source: str = "127.0.0.1") -> None:
        self.served, self.source, self.cookies = served, source, dict[str, str]()

    def ask(
        self, path: str = "/", method: str = "GET", body: str = "", hosts: tuple[str, ...] = ("",), **headers: str
    ) -> Reply:
        link = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30, source_address=(self.source, 0))
        link.putrequest(method, path, skip_host=True)
        for host in hosts:
            link.putheader("Host", host or self.served.host)
        if self.cookies:
            link.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if body:
            link.putheader("Content-Length", str(len(body)))
            link.putheader("Content-Type", "application/x-www-form-urlencoded")
        for name, value in headers.items():
            link.putheader(name.replace("_", "-"), value)
        link.endheaders(body.encode() or None)
        with contextlib.closing(link):
            reply = Reply(link.getresponse())
        for line in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return reply

    def come_in(self) -> Reply:
        """Give the token, and see the page."""
        given = self.ask("/login", "POST", "token=a+word+%26+more")
        assert (given.status, given.headers["Location"]) == (302, "./")
        return self.ask("/")

    def shakes_hands(self, token: str | None = None, **headers: str) -> bool:
        """Whether the studio's web socket lets this browser in; by default with a token of its own page."""
        token = token if token is not None else token_of(self.ask("/"))
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        request = HTTPRequest(
            f"ws://{self.served.host}/ws",
            headers={
                **({"Cookie": cookies} if cookies else {}),
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
        )
        with ThreadPoolExecutor(1) as pool:  # a browser's tests leave an event loop running in this thread
            try:
                pool.submit(asyncio.run, _shake(request, token)).result()
            except HTTPError as refused:
                return {403: False}[refused.code]
        return True


async def _shake(request: HTTPRequest, token: str) -> None:
    (await websocket_connect(request, subprotocols=["bokeh", token])).close()


def token_of(page: Reply) -> str:
    """The Bokeh token in a page."""
    assert page.status == 200, page.body
    return re.search(r'"token":"([^"]+)"', page.body)[1]  # type: ignore[index]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[PretendSession]:
    made = PretendSession(tmp_path / "library", pause=0.0)
    yield made
    made.close()
    made.library.close()


@pytest.fixture
def start(session: PretendSession, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve a studio; it ends with the test, whatever becomes of that."""
    running: list[Served] = []

    def begin(**options: Any) -> Served:
        running.append(Served(session, **({"people": tmp_path / "people.secret"} | options)))
        return running[-1]

    yield begin
    for served in running:
        served.stop()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What each page was made with; the page itself is one word."""
    made: list[SimpleNamespace] = []

    def page(session: Any, **options: Any) -> Any:
        made.append(SimpleNamespace(**options))
        return pn.pane.Str("page")

    monkeypatch.setattr(app, "page", page)
    return made


# -- by which name --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "only_here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_what_is_loopback_and_what_is_not(address: str, only_here: bool) -> None:
    assert is_loopback(address) is only_here


@pytest.mark.parametrize(
    ("bound", "origins", "named", "known"),
    [
        ("127.0.0.1", (), "localhost", True),
        ("127.0.0.1", (), "LocalHost:9", True),
        ("127.0.0.1", (), "[::1]:5006", True),
        ("127.0.0.1", (), "127.0.0.1:8000", True),
        ("127.0.0.1", (), "evil.example:5006", False),
        ("127.0.0.1", (), "localhost.evil.example", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1", (), "evil.example@127.0.0.1", False),
        ("127.0.0.1", (), "localhost:5006:5006", False),
        ("127.0.0.1", (), "localhost:99999", False),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "2130706433", False),
        ("127.0.0.1", (), "192.168.1.7", False),
        ("127.0.0.1", (), "0.0.0.0:5006", False),
        ("127.0.0.1", (), socket.gethostname(), socket.gethostname() == "localhost"),
        ("127.0.0.1", ("hub.example.org",), "hub.example.org", True),
        ("127.0.0.1", ("https://Hub.example.org:8443/",), "hub.example.org:8443", True),
        ("127.0.0.1", ("hub.example.org",), "evil.hub.example.org", False),
        ("127.0.0.1", ("*",), "anything.example", True),
        ("192.168.1.7", (), "192.168.1.7:5006", True),
        ("0.0.0.0", (), "0.0.0.0:5006", True),
        ("0.0.0.0", (), "10.1.2.3", True),  # where the connection came in
        ("0.0.0.0", (), "[::ffff:10.1.2.3]", True),
        ("0.0.0.0", (), "8.8.8.8", False),
        ("::", (), socket.gethostname(), True),
        ("", (), f"{socket.gethostname()}:5006", True),
        ("0.0.0.0", (), "evil.example", False),
    ],
)
def test_a_studio_answers_to_its_own_names_only(bound: str, origins: tuple[str, ...], named: str, known: bool) -> None:
    assert Hosts(bound, origins).has(read_host(named), "10.1.2.3") is known


@pytest.mark.parametrize(
    ("origins", "host", "origin", "welcome"),
    [
        ((), "localhost:5006", "http://localhost:5006", True),
        ((), "localhost", "https://localhost", True),
        ((), "localhost:5006", "http://localhost:5007", False),
        ((), "localhost:5006", "http://127.0.0.1:5006", False),
        ((), "localhost:5006", "null", False),
        ((), "localhost:5006", "http://evil.example", False),
        ((), "localhost:5006", "http://localhost:5006@evil.example", False),
        ((), "localhost:5006", "file://localhost:5006", False),
        (("hub.example.org",), "127.0.0.1:5006", "https://hub.example.org", True),
        (("hub.example.org",), "127.0.0.1:5006", "http://hub.example.org", True),
        (("hub.example.org",), "127.0.0.1:5006", "http://hub.example.org:81", False),
        (("https://hub.example.org",), "127.0.0.1:5006", "http://hub.example.org", False),
        (("hub.example.org:81",), "127.0.0.1:5006", "http://hub.example.org:81", True),
        (("*",), "127.0.0.1:5006", "null", True),
    ],
)
def test_pages_of_other_hosts_are_kept_out_unless_their_host_was_named(
    origins: tuple[str, ...], host: str, origin: str, welcome: bool
) -> None:
    assert Hosts("127.0.0.1", origins).allows_origin(origin, read_host(host)) is welcome


@pytest.mark.parametrize("origin", ["", "ftp://x", "a b", "http://", "hub.example.org/path", "x" * 400, "hub:0"])
def test_an_origin_that_is_none_is_a_sentence_before_anything_is_served(session: PretendSession, origin: str) -> None:
    with pytest.raises(MachineError, match="--origin takes a host"):
        serve(session, origins=[origin])


def test_every_route_refuses_a_name_that_is_not_the_studios(start: Callable[..., Served]) -> None:
    served = start(token=TOKEN)
    visitor = Browser(served)
    visitor.come_in()
    paths = [*served.routes, "/nowhere", "/autoload.js?bokeh-autoload-element=1", "/?token=x"]
    assert {"/", "/ws", "/metadata", "/login", "/autoload.js", f"/takes/{'a' * 32}.wav", "/static/x.js"} <= set(paths)
    for path in paths:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            for hosts in ((f"{EVIL}:{served.port}",), (served.host, EVIL)):
                with_origin = {"Origin": f"http://{hosts[-1]}"}
                assert visitor.ask(path, method, hosts=hosts, **with_origin).status in (400, 403), path
        assert "not known" not in visitor.ask(path, hosts=(f"localhost:{served.port}",)).body, path
    answer = visitor.ask("/", hosts=(EVIL,))
    assert answer.status == 403
    assert f"--origin {EVIL}" in answer.body
    assert visitor.ask("/", hosts=()).status == 400


def test_without_a_login_every_route_but_the_login_page_is_refused(start: Callable[..., Served]) -> None:
    served = start(token=TOKEN)
    for path in [*served.routes, "/nowhere"]:
        answer = Browser(served).ask(path)
        wanted = {"/login": 200, "/": 302}.get(path, 403)
        assert answer.status == wanted, path
    assert not Browser(served).shakes_hands("x.y")
    assert Browser(served).ask("/login", "POST", "token=" + "x" * 10_000).status == 403, "before it is read"
    assert Browser(served).ask("/takes/x.wav", "POST", "x" * 100_000).status == 403


def test_the_web_socket_knows_pages_of_its_own_only(start: Callable[..., Served]) -> None:
    served = start(origins=["hub.example.org"])
    browser = Browser(served)
    for origin, welcome in (
        (f"http://{served.host}", True),
        ("https://hub.example.org", True),
        ("https://other.example.org", False),
        (f"http://127.0.0.1:{served.port + 1}", False),
        ("null", False),
    ):
        assert browser.shakes_hands(Origin=origin) is welcome, origin
        assert (browser.ask("/", Origin=origin).status == 200) is welcome, origin
    assert not browser.shakes_hands(Sec_WebSocket_Origin="http://evil.example")


def test_no_page_of_another_site_takes_a_component_of_ours(start: Callable[..., Served]) -> None:
    browser = Browser(start())
    script = "/autoload.js?bokeh-autoload-element=1"
    assert browser.ask(script).status == 200
    for site in ("cross-site", "same-site"):
        assert browser.ask(script, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
        assert browser.ask("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 200, "a link may lead here"
        for path in (script, "/metadata", "/components/panel.layout.base/Column/__css__/y", f"/takes/{'a' * 32}.wav"):
            assert browser.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 403, "and nowhere else"


def test_no_address_makes_the_server_import_what_it_names(start: Callable[..., Served]) -> None:
    browser = Browser(start())
    for module in ("antigravity", "this", "panelx", "acestep_lab_x", "os.path", "tests.pretend"):
        assert browser.ask(f"/components/{module}/x/__css__/y").status == 403
    before = set(sys.modules)
    for path in ("acestep_lab.__main__/x", "panel.__main__/x", "panel.tests.conftest/x", "panel..io/x", "panel.io.pyodide/x", "panel%2eio/x",
                 "acestep_lab/Session", "panel.io.server/x", "panel/state", "panel/__path__", "panel", "panel/", "acestep_lab.session/x"):  # fmt: skip
        assert browser.ask(f"/components/{path}/__css__/y").status == 403, path
    assert set(sys.modules) == before
    assert browser.ask("/").status == 200, "it goes on serving"
    assert browser.ask("/components/panel.layout.base/Column/__css__/y").status in (403, 404), "Panel's own answer"


def test_every_kind_of_answer_says_whose_scripts_run_and_who_may_frame_it(start: Callable[..., Served]) -> None:
    served = start(token=TOKEN)
    stranger, visitor = Browser(served), Browser(served)
    visitor.come_in()
    answers = [visitor.ask(path) for path in ("/", "/static/js/bokeh.min.js", "/nowhere", "/favicon.ico", "/metadata")]
    answers += [stranger.ask(path) for path in ("/", "/login", "/login?token=x", "/ws")]
    answers += [visitor.ask("/", hosts=(EVIL,)), stranger.ask("/", Sec_Fetch_Site="cross-site")]
    for answer in answers:
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'self'"
        assert "unsafe" not in policy["script-src"]
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    page = answers[0]
    nonces = set(re.findall(r'<script nonce="([^"]+)"', page.body))
    assert len(nonces) == 1
    assert f"'nonce-{nonces.pop()}'" in page.headers["Content-Security-Policy"]
    assert page.headers["Content-Security-Policy"] != visitor.ask("/").headers["Content-Security-Policy"]


def test_no_request_that_no_page_makes_gets_to_a_handler(start: Callable[..., Served]) -> None:
    served = start(token=TOKEN)
    browser = Browser(served)
    browser.come_in()
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "PROPFIND"):
        for path in ("/", "/autoload.js?bokeh-autoload-element=1", "/ws", "/login"):
            assert browser.ask(path, method, Origin=f"http://{served.host}").status in (403, 405), (method, path)
    for junk in ("", "a.b", "W10.x", "bnVsbA.AAAA", "%ff", "x" * 3000):
        for name in ("bokeh-token", "bokeh-session-id"):
            assert browser.ask(f"/?{name}={junk}").status == 403
            assert browser.ask(f"/autoload.js?bokeh-autoload-element=1&{name}={junk}").status == 403
            assert browser.ask("/", body=f"{name}={junk}").status == 403
        assert browser.ask("/", Bokeh_Session_Id=junk).status == 403
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        link.sendall(
            f"GET / HTTP/1.1\r\nHost: {served.host}\r\nCookie: {cookies}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
        )
        assert link.recv(64).split()[1] == b"403"
    assert browser.ask("/").status == 200


def test_a_studio_is_opened_by_each_of_its_names(start: Callable[..., Served]) -> None:
    served = start()
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "127.9.9.9"):
        assert Browser(served).ask("/", hosts=(f"{name}:{served.port}",)).status == 200, name
        assert Browser(served).ask("/", hosts=(name,)).status == 200, name
    if socket.has_ipv6:
        at_six = start(address="::1")
        with contextlib.closing(http.client.HTTPConnection("::1", at_six.port, timeout=30)) as link:
            link.request("GET", "/")
            assert link.getresponse().status == 200


# -- who it is ------------------------------------------------------------------------------------------------------------


def test_bound_elsewhere_it_asks_for_a_token_and_every_browser_is_a_person(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    served = start(address="0.0.0.0")
    token = served.said[0].split("token=")[1]
    assert len(token) >= 20, "a token nobody guesses"
    one, two = Browser(served), Browser(served)
    assert one.ask("/").headers["Location"] == "./login"
    assert "asks for a token" in one.ask("/login").body
    assert one.ask("/login?token=wrong").status == 403
    assert one.cookies == {}
    for browser in (one, two):
        asked = browser.ask(f"/?token={token}")
        assert asked.headers["Location"] == f"./login?token={token}"
        let_in = browser.ask(f"/login?token={token}")
        for line in let_in.headers.get_all("Set-Cookie"):
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in line.split(";")}
            assert "expires=" in line
            assert str(served.port) in line.partition("=")[0]
            assert token not in line
        assert browser.ask(f"/?token={token}").headers["Location"] == "./", "an address keeps no token"
        assert browser.ask("/").status == 200
    owners = [page.owner for page in pages]
    assert len(set(owners)) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", owner) for owner in owners)
    assert {page.address for page in pages} == {"127.0.0.1"}


def test_a_page_carries_neither_cookie_nor_token(start: Callable[..., Served]) -> None:
    browser = Browser(start(token=TOKEN))
    page = browser.come_in()
    payload = get_token_payload(token_of(page))
    assert payload["cookies"] == {}
    told = f"{payload} {page.body}"
    assert all(value not in told for value in (*browser.cookies.values(), TOKEN))


def test_a_bokeh_token_of_ones_own_making_confers_nothing(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    """The fault this began with: the owner was read from cookies that the client wrote into its token."""
    for options in ({"token": TOKEN}, {}):
        served = start(**options)
        victim, thief = Browser(served), Browser(served)
        for browser in (victim, thief):
            browser.come_in() if options else browser.ask("/")
        pages.clear()
        stolen = {"headers": {}, "arguments": {}, "cookies": dict(victim.cookies)}
        for signed in (False, True):
            secret = b"a secret of the thief's own"
            id = generate_session_id(secret_key=secret, signed=signed)
            forged = generate_jwt_token(id, secret_key=secret, signed=signed, extra_payload=stolen)
            assert not thief.shakes_hands(forged)
            assert thief.ask(f"/?bokeh-token={forged}").status == 403
            assert thief.ask(f"/?bokeh-session-id={id}").status == 403
            assert thief.ask("/", Bokeh_Session_Id=id).status == 403
        assert pages == []


@pytest.mark.parametrize("junk", ["x", "x.y", "e30.e30", "..", "ä.y", "bnVsbA.AAAA", "W1tbW1tb.x", "x" * 20_000])
def test_junk_in_place_of_a_token_is_refused(start: Callable[..., Served], junk: str) -> None:
    served = start()
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        link.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {served.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\nSec-WebSocket-Protocol: bokeh, {junk}\r\n\r\n".encode()
        )
        assert link.recv(64).split()[1] in (b"400", b"403")


def test_a_page_of_somebody_else_cannot_be_joined(start: Callable[..., Served], pages: list[SimpleNamespace]) -> None:
    served = start(token=TOKEN)
    victim, thief, stranger = Browser(served), Browser(served), Browser(served)
    token = token_of(victim.come_in())
    thief.come_in()
    id = get_session_id(token)
    assert victim.shakes_hands(token)
    assert not thief.shakes_hands(token)
    assert not stranger.shakes_hands(token)
    assert thief.ask(f"/?bokeh-token={token}").status == 403
    assert thief.ask(f"/?bokeh-session-id={id}").status == 403
    assert thief.ask("/", Bokeh_Session_Id=id).status == 403
    assert thief.ask("/", body=f"bokeh-session-id={id}").status == 403, "however it is brought"
    assert thief.ask(f"/autoload.js?bokeh-autoload-element=1&bokeh-session-id={id}").status == 403
    victim.cookies.clear()
    assert not victim.shakes_hands(token), "without its cookie a page is nobody's"
    assert len(pages) == 2


def test_a_token_outlives_its_page_only_for_whose_it_was(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    served = start(token=TOKEN)
    victim, thief = Browser(served), Browser(served)
    token = token_of(victim.come_in())
    thief.come_in()
    served.server._http.request_callback.forget(get_session_id(token))
    for context in served.server._tornado.applications.values():
        context._sessions.clear()  # as after two minutes without a connection
    assert thief.shakes_hands(token)
    wait_for(lambda: len(pages) == 3, what="the page made anew")
    assert pages[2].owner == pages[1].owner != pages[0].owner, "it is the thief's own, not the victim's"


def test_whose_a_page_was_is_forgotten_with_it(start: Callable[..., Served], pages: list[SimpleNamespace]) -> None:
    served = start()
    for _ in range(3):
        Browser(served).ask("/")
    holders = served.server._http.request_callback._owners
    assert len(holders) == len(pages) == 3
    (context,) = served.server._tornado.applications.values()
    asyncio.run_coroutine_threadsafe(context._cleanup_sessions(-1), served.thread.asyncio_loop).result(30)
    assert holders == {}


def test_cookies_cannot_be_chosen(start: Callable[..., Served], pages: list[SimpleNamespace]) -> None:
    served = start(token=TOKEN)
    victim = Browser(served)
    victim.come_in()
    owner = pages[0].owner
    login, person = f"acestep_lab_login_{served.port}", f"{COOKIE}_{served.port}"
    for value in (TOKEN, owner, "", "x" * 5000, victim.cookies[person], victim.cookies[login][:-1], '"'):
        guest = Browser(served)
        guest.cookies = {login: value.replace(" ", "%20").replace(";", "")}
        assert guest.ask("/").status == 302
    foreign = People(b"another secret").signed(owner)
    tampered = victim.cookies[person].replace("|", "|", 1)[:-1] + ("0" if victim.cookies[person][-1] != "0" else "1")
    for value in ("", owner, foreign, tampered, "2|1:0|10:9999999999|18:acestep_lab_person|0:|00"):
        guest = Browser(served)
        guest.cookies = {person: value, COOKIE: value}
        guest.come_in()
        assert pages[-1].owner not in ("", owner)
    assert People(b"k").read(COOKIE, People(b"k").signed("")) == "", "nobody is the host"
    assert People(b"k").read(COOKIE, People(b"k").signed("user:host")) == ""


def test_a_second_cookie_of_one_name_makes_nobody_anybody_else(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    """Another port's pages can put a cookie beside ours; which of two a browser sends first is no proof."""
    served = start(token=TOKEN)
    victim, thief = Browser(served), Browser(served)
    victim.come_in(), thief.come_in()
    owners = [page.owner for page in pages]

    def sent(*cookies: str) -> Reply:
        return Browser(served).ask("/", Cookie="; ".join(cookies))

    login, person = f"acestep_lab_login_{served.port}", f"{COOKIE}_{served.port}"
    mine, theirs = (f"{login}={one.cookies[login]}" for one in (victim, thief))
    assert sent(mine, theirs).status == sent(theirs, mine).status == 302
    for beside in (f"{login}=junk", f"{login}=", mine, "x=\xff"):
        for cookies in ((mine, beside), (beside, mine)):
            assert sent(*cookies).status == 200, beside
            assert pages[-1].owner == owners[0]
    mine, theirs = (f'{person}="{one.cookies[person]}"' for one in (victim, thief))
    for cookies in ((mine, theirs), (theirs, mine)):
        guest = Browser(served)
        let_in = guest.ask("/login?token=a%20word%20%26%20more", Cookie="; ".join(cookies))
        assert let_in.status == 302
        assert guest.ask("/").status == 200
        assert pages[-1].owner not in owners
    guest = Browser(served)
    other_port = theirs.replace(str(served.port), "1")
    assert guest.ask("/login?token=a%20word%20%26%20more", Cookie=f"{other_port}; {mine}").status == 302
    assert guest.ask("/").status == 200
    assert pages[-1].owner == owners[0], "this port's own cookie goes before those of others"


def test_a_restart_asks_again_and_gives_people_their_names_back(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    first = start(token=TOKEN)
    browser = Browser(first)
    browser.come_in()
    assert browser.ask("/").status == 200, "a reload is let in"
    first.stop()
    browser.served = start(token=TOKEN, port=first.port)
    assert browser.ask("/").status == 302
    browser.come_in()
    browser.served = start(token=TOKEN)
    assert browser.ask("/").status == 302, "a login is one port's"
    browser.come_in()
    assert len({page.owner for page in pages}) == 1
    assert len([name for name in browser.cookies if "login" in name]) == 2


def test_a_login_ends(tmp_path: Path) -> None:
    now = [1000.0]
    made = token_auth.TokenAuth(TOKEN, People(b"k"), lambda: now[0])
    made.port = 1
    id = made.log_in(TOKEN, "10.0.0.1", "somebody")
    asked: Any = SimpleNamespace(headers=HTTPHeaders({"Cookie": f"{made.cookie}={id}"}))
    assert made.owner(asked) == "somebody"
    now[0] += token_auth.LOGIN_DAYS * 86400
    assert made.owner(asked) == ""
    made.log_in(TOKEN, "10.0.0.1", "somebody")
    assert len(made._logins) == 1, "what has ended is forgotten"


def test_wrong_tokens_are_slowed_for_their_address_alone() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    waits = []
    for _ in range(40):
        attempts.failed("10.0.0.1")
        waits.append(attempts.wait("10.0.0.1"))
        now[0] += waits[-1]
    assert waits[: token_auth.FREE_ATTEMPTS] == [0.0] * token_auth.FREE_ATTEMPTS
    assert waits[3:10] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert max(waits) == token_auth.LONGEST_WAIT
    attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.2") == 0
    assert attempts.wait("::1") == 0
    for last in range(8):
        attempts.failed(f"2001:db8::{last}")
    assert attempts.wait("2001:db8::ffff") > 0, "a network of one customer counts once"
    now[0] += token_auth.FORGOTTEN_AFTER + token_auth.LONGEST_WAIT + 1
    attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") == 0, "forgiven after a while"
    for one in range(2 * token_auth.MOST_ADDRESSES):
        attempts.failed(f"10.1.{one >> 8}.{one & 255}")
    assert len(attempts._wrong) == token_auth.MOST_ADDRESSES


def test_one_address_that_guesses_waits_and_locks_nobody_else_out(start: Callable[..., Served]) -> None:
    served = start(token=TOKEN)
    guesser = Browser(served)
    statuses = [guesser.ask(f"/login?token=guess{i}").status for i in range(token_auth.FREE_ATTEMPTS + 3)]
    assert statuses == [403] * (token_auth.FREE_ATTEMPTS + 1) + [429] * 2
    answer = guesser.ask("/login", "POST", "token=a+word+%26+more")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2"), "else guessing would not be slowed"
    assert "Try again in 2 s" in answer.body
    Browser(served, source="127.0.0.2").come_in()


def test_a_token_is_compared_whole() -> None:
    assert matches("abc", "abc")
    assert matches("ä\ud800", "ä\ud800")
    for wrong in ("ab", "", None, "äbc", "abcd", "ABC"):
        assert not matches(wrong, "abc")


@pytest.mark.parametrize(
    ("origins", "told", "seen"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["hub.example.org"], "203.0.113.9", "203.0.113.9"),
        (["hub.example.org"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["hub.example.org"], "nonsense", "127.0.0.1"),
        (["hub.example.org"], "2001:db8::0:1", "2001:db8::1"),
    ],
)
def test_only_a_proxy_of_ones_own_is_believed_whom_it_speaks_for(
    start: Callable[..., Served], pages: list[SimpleNamespace], origins: list[str], told: str, seen: str
) -> None:
    Browser(start(origins=origins)).ask("/", X_Forwarded_For=told)
    assert pages[0].address == seen
    assert pages[0].owner == ""


# -- whose sound ----------------------------------------------------------------------------------------------------------


def test_a_sound_is_heard_by_whose_page_showed_it(start: Callable[..., Served], pages: list[SimpleNamespace]) -> None:
    served = start(token=TOKEN)
    one, other = Browser(served), Browser(served)
    one.come_in(), other.come_in()
    audio = tone(0.5)
    url = "/" + pages[0].url(audio)
    assert one.ask(url).status == 200
    assert one.ask(url, Range="bytes=0-9").headers["Content-Range"].startswith("bytes 0-9/")
    assert other.ask(url).status == 404
    assert Browser(served).ask(url).status == 403
    assert "/" + pages[1].url(audio) != url
    assert other.ask("/" + pages[1].url(audio)).status == 200
    assert one.ask(url, hosts=(EVIL,)).status == 403
    assert one.ask(url, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403


def test_names_of_sounds_cannot_be_guessed_and_no_path_is_one(start: Callable[..., Served]) -> None:
    browser = Browser(start())
    for path in ("../pyproject.toml", "%2e%2e%2fpyproject.wav", "a" * 32 + ".wav", "short.wav", ".wav"):
        assert browser.ask(f"/takes/{path}").status == 404


def test_a_part_is_called_one_only_where_one_was_asked_for(
    start: Callable[..., Served], pages: list[SimpleNamespace]
) -> None:
    browser = Browser(start())
    browser.ask("/")
    url = "/" + pages[0].url(tone(0.5))
    for asked, status in (
        ("bytes=0-", 206),
        ("bytes=0-9", 206),
        ("items=0-9", 200),
        ("bytes=0-1,3-4", 200),
        ("bytes", 200),
    ):
        answer = browser.ask(url, Range=asked)
        assert answer.status == status, asked
        assert ("Content-Range" in answer.headers) == (status == 206)
    head = browser.ask(url, "HEAD")
    assert (head.status, head.body) == (200, "")
    assert int(head.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=2-5", (2, 5)),
        ("bytes=-3", (7, 9)),
        ("bytes=4-", (4, 9)),
        ("bytes=4-99", (4, 9)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=²-", (0, 9)),
        ("bytes=" + "9" * 5000 + "-", (0, 9)),
        ("bytes=-", (0, 9)),
        ("bytes=0-1,3-4", (0, 9)),
        ("", (0, 9)),
    ],
)
def test_a_range_is_digits_or_ignored(asked: str, span: tuple[int, int] | None) -> None:
    assert byte_range(asked, 10) == span


# -- what it says and keeps -----------------------------------------------------------------------------------------------


def test_the_address_it_says_can_be_opened(start: Callable[..., Served], pages: list[SimpleNamespace]) -> None:
    served = start(address="::1", token=TOKEN)
    assert served.said[0].endswith(f"http://[::1]:{served.port}/?token=a%20word%20%26%20more")
    browser = Browser(start(token=TOKEN))
    assert browser.ask("/login?token=a%20word%20%26%20more").status == 302
    assert browser.ask("/").status == 200
    assert any("short" in line for line in start(token="short").said)


def test_the_secret_of_people_is_this_users_alone(tmp_path: Path) -> None:
    place = tmp_path / "new" / "people.secret"
    secret = read_secret(place)
    assert len(secret) == 32
    assert read_secret(place) == secret
    assert [file.name for file in place.parent.iterdir()] == ["people.secret"], "no draft is left"
    if os.name == "posix":
        assert place.stat().st_mode & 0o077 == 0
        place.chmod(0o644)
        with pytest.raises(MachineError, match="chmod 600"):
            read_secret(place)
        place.chmod(0o600)
    for damage in (b"", secret[:31], secret + b"x"):
        place.write_bytes(damage)
        with pytest.raises(MachineError, match="damaged"):
            read_secret(place)


def test_where_the_secret_cannot_be_kept_it_is_said_and_served(
    start: Callable[..., Served], tmp_path: Path, pages: list[SimpleNamespace]
) -> None:
    (tmp_path / "a file").write_text("")
    served = start(token=TOKEN, people=tmp_path / "a file" / "people.secret")
    assert any("after a restart nobody finds their takes" in line for line in served.said)
    Browser(served).come_in()
    assert pages[0].owner


@pytest.mark.parametrize("block", [True, False])
def test_a_port_in_use_is_said_in_a_sentence(session: PretendSession, block: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MachineError, match="choose another"):
            serve(session, port=taken.getsockname()[1], announce=lambda _: None, block=block)


def test_where_a_loop_runs_already_as_in_a_notebook_it_serves_there(session: PretendSession) -> None:
    async def cell() -> int:
        port = free_port()
        server = serve(session, port=port, announce=lambda _: None, picture=png)
        try:
            return (await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/")).code
        finally:
            server.stop()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, cell()).result(60) == 200


def test_a_page_asked_for_past_the_access_control_is_nobodys() -> None:
    with pytest.raises(MachineError, match="past the access control"):
        visitor_of(SimpleNamespace(cookies={"acestep_lab_person": "x"}))
    assert Visitor("", "127.0.0.1").owner == ""


@pytest.mark.parametrize(
    ("user", "peer", "host", "forwarded", "owner"),
    [
        (None, "127.0.0.1", "localhost:5006", "", ""),
        (None, "::1", "[::1]:5006", "", ""),
        (None, "192.168.1.9", "localhost:5006", "", None),
        (None, "127.0.0.1", "evil.example:5006", "", None),
        (None, "127.0.0.1", "localhost", "203.0.113.9", None),
        (None, "127.0.0.1", "", "", None),
        ("guest", "192.168.1.9", "studio:5006", "", None),
        ("ada", "192.168.1.9", "studio:5006", "203.0.113.9", "user:ada"),
    ],
)
def test_panel_serve_shows_the_hosts_takes_to_the_host_alone(
    user: str | None, peer: str, host: str, forwarded: str, owner: str | None
) -> None:
    headers = {"Host": host} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    connection = SimpleNamespace(context=SimpleNamespace(address=(peer, 1)))
    own = SimpleNamespace(connection=connection, remote_ip=peer, headers=headers)
    claimed = SimpleNamespace(_request=own, headers={"Host": "localhost"}, cookies={"user": "ada"})
    assert owner_of(user, claimed) == owner
