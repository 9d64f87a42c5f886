"""The login of a studio that others can reach: a token to come in, then a login for each browser. Knows no page.

The token comes in the address once (`/?token=…`) or is typed. What the browser keeps is not the token but the random id
of a login that this process remembers, so a restart asks again; and the signed name of a person, so that takes are
found again. Cookies are strict about other sites, so that no foreign page can use the studio in a visitor's name.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from html import escape
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest, parse_cookie
from tornado.web import RequestHandler

from acestep_lab.jobs.fair_queue import network
from acestep_lab.serve.people import COOKIE, DAYS, People
from acestep_lab.serve.visitors import visitor_of

LOGIN_DAYS = 7
"""Days until a browser is asked for the token again."""
MOST_LOGINS = 10_000
FREE_ATTEMPTS = 3
LONGEST_WAIT = 60.0
"""Seconds an address waits at most between two wrong tokens."""
FORGOTTEN_AFTER = 900.0
"""Seconds after which an address's wrong tokens are forgotten."""
MOST_ADDRESSES = 4096

_STYLE = """body{margin:0;min-height:100vh;display:grid;place-items:center}
body{background:#f6f5f1;color:#1c2229;font:16px/1.5 system-ui,sans-serif}
form{background:#fff;border:1px solid #e3e1db;border-radius:14px;padding:28px 32px;max-width:340px}
input,button{font:inherit;padding:9px 12px;border-radius:9px;border:1px solid #d6d3ca}
input,button{width:100%;box-sizing:border-box;margin-top:10px}
button{background:#0072b2;color:#fff;border:none;font-weight:600}p{margin:0}.error{color:#b84a00;margin-top:10px}
@media (prefers-color-scheme:dark){body{background:#101317;color:#e8e6e1}form{background:#1a1e23;border-color:#30363d}
input{background:#101317;color:#e8e6e1;border-color:#30363d}.error{color:#ff9a52}}"""
_HEAD = (
    """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">"""
    """<title>acestep_lab</title><link rel="icon" href="data:,">"""
)
_PAGE = (
    _HEAD
    + """<meta name="viewport" content="width=device-width, initial-scale=1"><style>%s</style></head>
<body><form method="post" action="./login"><p><strong>acestep_lab</strong></p>
<p>This studio asks for a token; whoever started it was told one.</p>
<input name="token" type="password" autocomplete="current-password" aria-label="Token" autofocus>
<button>Come in</button>%s</form></body></html>"""
)
_RELOAD = _HEAD + """<meta http-equiv="refresh" content="0"></head><body></body></html>"""
"""Asks for the same address again, now from a page of ours: a browser that follows a link from elsewhere keeps strict
cookies back.
"""


class Login(NamedTuple):
    """A browser that gave the token."""

    owner: str
    until: float


class Attempts:
    """Slows wrong tokens down, each address for itself; nobody else waits, and no thread does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this address may try again."""
        return max(0.0, self._wrong.get(network(address), (0, -math.inf))[1] - self._clock())

    def failed(self, address: str) -> None:
        """Count a wrong token: the first few are free, then each wait is twice the one before."""
        key, now = network(address), self._clock()
        count, until = self._wrong.pop(key, (0, now))
        count = 1 if now > until + FORGOTTEN_AFTER else count + 1
        self._wrong[key] = (
            count,
            now + min(LONGEST_WAIT, 2.0 ** min(count - FREE_ATTEMPTS, 9) if count > FREE_ATTEMPTS else 0.0),
        )
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def passed(self, address: str) -> None:
        """Forget an address's wrong tokens, now that it knows the right one."""
        self._wrong.pop(network(address), None)


class TokenAuth:
    """Lets in who has the token, and knows them again."""

    def __init__(self, token: str, people: People, clock: Callable[[], float] = time.time) -> None:
        self._token, self.people, self._clock = token, people, clock
        self._logins: OrderedDict[bytes, Login] = OrderedDict()
        self.attempts = Attempts()
        self.port = 0
        """The port that is served, once it is known: cookies of a host are shared by all its ports."""

    @property
    def cookie(self) -> str:
        """The name of this studio's login cookie."""
        return f"acestep_lab_login_{self.port}"

    def owner(self, request: HTTPServerRequest) -> str:
        """Who asks, by the cookie of the connection itself; "" for nobody who came in, and where cookies name several.

        A page on another port of this host can put a second cookie of the same name beside ours (cookie tossing).
        """
        given = [self._logins.get(_digest(value)) for name, value in cookies_of(request) if name == self.cookie]
        return _only(login.owner for login in given if login is not None and self._clock() < login.until)

    def person(self, request: HTTPServerRequest) -> str:
        """Who a browser was before, by this port's cookie, else by those of other ports; "" where that is not clear."""
        named = [(name, person) for name, value in cookies_of(request) if (person := self.people.read(name, value))]
        own = [person for name, person in named if name == f"{COOKIE}_{self.port}"]
        return _only(own or [person for _, person in named])

    def log_in(self, given: str, address: str, owner: str) -> str:
        """The id of a new login of somebody who gave a token; "" where it was the wrong one."""
        if not matches(given, self._token):
            self.attempts.failed(address)
            return ""
        self.attempts.passed(address)
        id = secrets.token_urlsafe(32)
        self._logins[_digest(id)] = Login(owner, self._clock() + LOGIN_DAYS * 86400)
        while len(self._logins) > MOST_LOGINS or next(iter(self._logins.values())).until <= self._clock():
            self._logins.popitem(last=False)
        return id


def matches(given: str | None, token: str) -> bool:
    """Whether a given token is the right one, in a time that says nothing of how near it was."""
    return bool(given) and hmac.compare_digest(_digest(str(given)), _digest(token))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def cookies_of(request: HTTPServerRequest) -> list[tuple[str, str]]:
    """The cookies a connection sent itself, with their values; several may have one name."""
    parts = ";".join(request.headers.get_list("Cookie")).split(";")
    return [pair for part in parts for pair in parse_cookie(part).items()]


def _only(names: Iterable[str]) -> str:
    """The one name among names; "" where there is none, or more than one."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


class LoginHandler(RequestHandler):
    """The form, and what it does."""

    def initialize(self, auth: TokenAuth) -> None:
        self._auth = auth

    def get(self) -> None:
        self._answer(self.get_query_argument("token", ""))

    def post(self) -> None:
        self._answer(self.get_body_argument("token", ""))

    def _answer(self, given: str) -> None:
        address = visitor_of(self.request).address
        if given and (wait := self._auth.attempts.wait(address)):
            self.set_header("Retry-After", str(math.ceil(wait)))
            self._show_form(f"Too many wrong tokens. Try again in {math.ceil(wait)} s.", 429)
            return
        owner = self._auth.person(self.request) or self._auth.people.new()
        if given and (id := self._auth.log_in(given, address, owner)):
            self._log_in(id, owner)
        else:
            self._show_form("That was not the token." if given else "", 403 if given else 200)

    def _show_form(self, message: str, status: int) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(_PAGE % (_STYLE, f'<p class="error" role="alert">{escape(message)}</p>' if message else ""))

    def _log_in(self, id: str, owner: str) -> None:
        """Give a browser its cookies and show it the page, at an address without the token."""
        person = f"{COOKIE}_{self._auth.port}"
        for name, value, days in (
            (self._auth.cookie, id, LOGIN_DAYS),
            (person, self._auth.people.signed(owner), DAYS),
        ):
            self.set_cookie(
                name,
                value,
                httponly=True,
                samesite="Strict",
                path="/",
                expires_days=days,
                secure=visitor_of(self.request).secure,
            )
        self.redirect("./")


class ReloadHandler(RequestHandler):
    """Asks the browser to ask once more, as our own page."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish(_RELOAD)

    head = get
