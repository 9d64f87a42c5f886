"""The one boundary in front of every handler: which host is meant, which page asks, who it is. Knows no page and no
take.

It stands before the routes, so that a handler added tomorrow is behind it too. A request that passes carries its
`Visitor`; everything else ends here in a sentence. A Bokeh session belongs to whoever's request made it.
"""

from __future__ import annotations

import inspect
import re
import secrets
import sys
from typing import Any
from urllib.parse import quote

import param
from bokeh.server.contexts import ApplicationContext
from bokeh.server.tornado import BokehTornado
from bokeh.util.token import check_token_signature, get_session_id
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import HTTPError, OutputTransform, RequestHandler, stream_request_body

from acestep_lab.serve.hosts import Hosts, is_loopback, one_name, read_address, read_host
from acestep_lab.serve.token_auth import ReloadHandler, TokenAuth
from acestep_lab.serve.visitors import Visitor, set_visitor, visitor_of

LOGIN = "/login"
MOST_LOGIN_BYTES = 4096
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_COMPONENT = re.compile(r"/components/((?:panel|acestep_lab)(?:\.\w+)*)/(\w+)/.*", re.ASCII)
_COMPONENTS = "/components/"
"""Below it lies what components bring along. Panel imports whatever module such an address names, and runs it by that.
"""
_ENTRIES = ("/", LOGIN)
"""Where a link on a page of somebody else may lead."""


class AccessControl(Router):
    """Refuses, or hands on to the studio's own routes."""

    def __init__(self, app: BokehTornado, hosts: Hosts, auth: TokenAuth | None = None) -> None:
        self._app, self._hosts, self._auth = app, hosts, auth
        self._owners: dict[str, str] = {}
        for context in app.applications.values():
            self._bind(context)

    def find_handler(self, request: HTTPServerRequest, **options: object) -> HTTPMessageDelegate:
        """The handler of a request that may pass; else the one that says why not."""
        problem = self._wrong_site(request) or _malformed(request)
        if problem:
            return self._refuse(request, problem)
        visitor = self._visitor(request)
        set_visitor(request, visitor)
        if self._auth is not None and not visitor.owner:
            return self._unauthenticated(request)
        if self._auth is not None and request.path == "/" and "token" in request.query_arguments:
            return self._redirect(request, "./")  # who is in needs no token in the address, nor in the history
        problem = self._not_owned(request, visitor)
        if problem:
            return self._refuse(request, problem)
        return self._app.find_handler(request, **options)

    def forget(self, session: str) -> None:
        """A session is over."""
        self._owners.pop(session, None)

    # -- who asks ------------------------------------------------------------------------------------------------------

    def _wrong_site(self, request: HTTPServerRequest) -> str:
        """Why a request is not for this studio, or comes from a page of somebody else; "" where neither is so."""
        named = request.headers.get_list("Host")
        host = read_host(named[0]) if len(named) == 1 else None
        if not self._hosts.has(host, local_address(request)):
            return (
                "This studio is not known by that name. If it should be, start it with "
                f"--origin {one_name(host.name) if host else 'and the name'}."
            )
        origins = request.headers.get_list("Origin") + request.headers.get_list("Sec-Websocket-Origin")
        if not all(self._hosts.allows_origin(origin, host) for origin in origins):
            return "Pages of other hosts may not use this studio. If this is its own address, name it with --origin."
        elsewhere = request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site")
        linked = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path in _ENTRIES
        if elsewhere and not origins and not linked:
            return "Pages of other hosts may not use this studio's parts."
        for name in ("Origin", "Sec-Websocket-Origin"):  # judged here; Bokeh's own list knows no tunnels
            request.headers.pop(name, None)
        return ""

    def _visitor(self, request: HTTPServerRequest) -> Visitor:
        """The visitor of a connection. A proxy on this machine, told of by `--origin`, is believed whom it speaks
        for.
        """
        address, scheme = one_name(str(request.remote_ip)), str(request.protocol)
        if self._hosts.behind and is_loopback(address):
            address = read_address(request.headers.get("X-Forwarded-For", "").rpartition(",")[2]) or address
            scheme = request.headers.get("X-Forwarded-Proto", scheme).rpartition(",")[2].strip()
        return Visitor(self._auth.owner(request) if self._auth is not None else "", address, scheme == "https")

    def _unauthenticated(self, request: HTTPServerRequest) -> HTTPMessageDelegate:
        """Who has not logged in finds the login page, and nothing else."""
        shown = request.method in ("GET", "HEAD") and request.path in ("/", LOGIN)
        if shown and request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site"):
            return self._app.get_handler_delegate(request, ReloadHandler)
        if request.path == LOGIN:
            long = request.headers.get("Content-Length", "0")
            known = "Transfer-Encoding" not in request.headers and long.isascii() and long.isdecimal() and len(long) < 9
            if known and int(long) <= MOST_LOGIN_BYTES:
                return self._app.find_handler(request)
        if shown and "Upgrade" not in request.headers:
            token = request.query_arguments.get("token", [b""])[-1]
            return self._redirect(request, "./login" + (f"?token={quote(token, safe='')}" if token else ""))
        return self._refuse(request, "This studio asks for a token; open its page first.")

    def _not_owned(self, request: HTTPServerRequest, visitor: Visitor) -> str:
        """Why a request asks for what no page of this visitor would ask for; "" otherwise."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            session = self._session(request)
            if session is None or self._owners.get(session, visitor.owner) != visitor.owner:
                return "That page belongs to another browser. Reload it."
        return ""

    # -- whose session -------------------------------------------------------------------------------------------------

    def _session(self, request: HTTPServerRequest) -> str | None:
        """The session that a web socket asks for, where this process signed it."""
        protocols = [part.strip() for part in request.headers.get("Sec-Websocket-Protocol", "").split(",")]
        if len(protocols) != 2 or not _TOKEN.fullmatch(protocols[1]):
            return None
        try:
            good = check_token_signature(protocols[1], secret_key=self._app.secret_key, signed=True)
            return str(get_session_id(protocols[1])) if good else None
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            AssertionError,
            RecursionError,
        ):  # whatever was sent as a token
            return None

    def _bind(self, context: ApplicationContext) -> None:
        """Have every session of an application belong to the visitor whose request made it, however its id is
        brought.
        """
        make = context.create_session_if_needed

        async def made(session_id: Any, request: Any = None, token: str | None = None) -> Any:
            owner = visitor_of(request).owner
            if self._owners.setdefault(session_id, owner) != owner:
                raise HTTPError(403, reason="That page belongs to another browser.")
            return await make(session_id, request, token)

        context.create_session_if_needed = made  # type: ignore[method-assign]  # Bokeh has no other place to ask

    # -- answers -------------------------------------------------------------------------------------------------------

    def _refuse(self, request: HTTPServerRequest, sentence: str) -> HTTPMessageDelegate:
        return self._app.get_handler_delegate(request, RefusalHandler, {"sentence": sentence})

    def _redirect(self, request: HTTPServerRequest, where: str) -> HTTPMessageDelegate:
        return self._app.get_handler_delegate(request, RedirectHandler, {"where": where})


def _malformed(request: HTTPServerRequest) -> str:
    """Why a request is none that a page of ours makes; "" where it might be."""
    if request.method not in ("GET", "HEAD", "POST"):
        return "This studio answers to GET, HEAD and POST."
    bears = "Transfer-Encoding" in request.headers or request.headers.get("Content-Length", "0") != "0"
    if bears and (request.method, request.path) != ("POST", LOGIN):
        return "Only the token is sent to this studio."
    brought = {"bokeh-token", "bokeh-session-id"} & set(request.query_arguments)
    if brought or "Bokeh-Session-Id" in request.headers:
        return "That page belongs to another browser. Reload it."  # ours are joined by web sockets alone
    if request.path.startswith(_COMPONENTS) and not _is_component(request.path):
        return "There is no such component."
    return ""


def _is_component(path: str) -> bool:
    """Whether an address names a component that is there already; nothing is imported, nor made, to find out."""
    named = _COMPONENT.fullmatch(path)
    module = sys.modules.get(named[1]) if named is not None else None
    found = None if named is None or module is None else vars(module).get(named[2])
    return inspect.isclass(found) and issubclass(found, param.Parameterized)  # as all of Panel's and ours are


def local_address(request: HTTPServerRequest) -> str:
    """This machine's end of a connection."""
    stream = getattr(request.connection, "stream", None)
    try:
        end = stream.socket.getsockname() if stream is not None and stream.socket is not None else ""
    except OSError:  # it has gone meanwhile
        return ""
    return str(end[0]) if isinstance(end, tuple) else ""


@stream_request_body
class RefusalHandler(RequestHandler):
    """Says why not, before any body is read."""

    def initialize(self, sentence: str) -> None:
        self._sentence = sentence

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Connection", "close")  # Tornado ends a connection that is answered before its request is read
        self.finish(self._sentence + "\n")

    def data_received(self, chunk: bytes) -> None:
        """Let it pass by."""


class RedirectHandler(RequestHandler):
    """Sends a browser to another address."""

    def initialize(self, where: str) -> None:
        self._where = where

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.redirect(self._where)

    head = get


class SecurityHeaders(OutputTransform):
    """What every answer tells the browser: whose scripts run, who may frame it, that it is no other kind of file."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the headers. The scripts of a page carry a number of this answer alone; it holds no text of anybody's."""
        nonce = secrets.token_urlsafe(16)
        if headers.get("Content-Type", "").startswith("text/html") and finishing:
            chunk = chunk.replace(b"<script", f'<script nonce="{nonce}"'.encode())
            if "Content-Length" in headers and chunk:
                headers["Content-Length"] = str(len(chunk))
        if status_code != 304:  # what a browser kept has its own
            headers["Content-Security-Policy"] = content_security_policy(nonce)
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return status_code, headers, chunk


def content_security_policy(nonce: str) -> str:
    """The Content-Security-Policy of an answer whose own scripts carry this number (CSP 3).

    Components are ES modules that Panel loads from blobs; Bokeh writes styles into the page; nothing comes from
    elsewhere.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' blob: 'nonce-{nonce}'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob: data:",
            "font-src 'self' data:",
            "connect-src 'self' blob:",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        )
    )
