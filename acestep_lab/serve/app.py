"""The studio as an app: one model per process, a page per tab, takes per person. Knows no model.

It binds to loopback unless told otherwise, and asks for a token wherever else it is bound. Whose takes a page shows is
said by the connection's own cookie, read by the access control in front of every handler; what a browser says in a
Bokeh token counts for nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import panel as pn
from panel.io.server import Server, get_server
from panel.io.threads import StoppableThread
from panel.viewable import Viewable
from tornado.ioloop import IOLoop

from acestep_lab.errors import MachineError, shown
from acestep_lab.serve.access import LOGIN, AccessControl, SecurityHeaders
from acestep_lab.serve.hosts import Hosts, is_everywhere, is_loopback
from acestep_lab.serve.people import BYTES, People, default_secret_path, read_secret
from acestep_lab.serve.sound_urls import PATH, SoundHandler, SoundUrls
from acestep_lab.serve.token_auth import LoginHandler, TokenAuth
from acestep_lab.serve.visitors import visitor_of
from acestep_lab.session_like import SessionLike
from acestep_lab.ui.page import page

CONNECT_TIMEOUT_MS = 120_000
"""Milliseconds a page may take from being sent to being connected; a slow or sleeping computer needs some."""
SHORTEST_TOKEN = 8


def serve(
    session: SessionLike,
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    token: str | None = None,
    origins: Sequence[str] = (),
    *,
    block: bool = True,
    announce: Callable[[str], None] = print,
    people: Path | None = None,
    **options: Any,
) -> Server | StoppableThread:
    """Serve the studio until interrupted; `block=False` returns the server, which is stopped by `.stop()`.

    Bound to anything but loopback it needs a token: the given one, or a fresh one that is said on the console. With a
    token every browser sees its own takes only, and finds them again after a restart. `origins` are hosts, such as
    "hub.example.org", by which the studio is known behind a proxy; "*" is any, for a proxy that itself lets in only who
    may. `people` is the file of the secret by which browsers are known again; by default one in the user's data folder.
    Raises MachineError for a port in use, an origin that is none, or a secret of people that others can read.
    """
    hosts = Hosts(address, origins)
    if not is_loopback(address) and not token:
        token = secrets.token_urlsafe(16)
    warnings: list[str] = []
    auth = _token_auth(token, people or default_secret_path(), warnings) if token else None
    if origins and auth is None:
        warnings.append(
            "It has no token: whoever the proxy lets in sees the host's takes. Give --token for takes of their own."
        )

    def begin(loop: IOLoop | None = None, server_id: str | None = None) -> Server:
        pages = _Pages(session, port, address, show, options)
        server = pages.server(hosts, auth, loop, server_id)
        announce(f"acestep_lab studio: {_url(address, int(server.port or port), token)}")
        for warning in warnings:
            announce(warning)
        server.start()
        return server

    return _until_interrupted(begin()) if block else _in_background(begin)


def _until_interrupted(server: Server) -> Server:
    """Go on serving; in a notebook the loop runs already, and does so by itself."""
    loop: Any = server.io_loop
    if not loop.asyncio_loop.is_running():
        loop.start()
    return server


@dataclass(frozen=True)
class _Pages:
    """Pages over one session, and where they are served."""

    session: SessionLike
    port: int
    address: str
    show: bool
    options: Mapping[str, Any]

    def server(self, hosts: Hosts, auth: TokenAuth | None, loop: IOLoop | None, server_id: str | None) -> Server:
        """The server, with the access control before its routes; it listens, and answers once it is started."""
        sounds = SoundUrls()
        controls: list[AccessControl] = []
        routes: list[tuple[object, ...]] = [
            (rf"/{PATH}/([A-Za-z0-9_-]{{20,64}})\.wav", SoundHandler, {"sounds": sounds})
        ]
        if auth is not None:
            routes.append((LOGIN, LoginHandler, {"auth": auth}))
        server = self._listening(
            lambda: self._page(sounds, controls), routes, loop, server_id
        )  # Panel calls no partial
        if auth is not None:
            auth.port = int(server.port or self.port)
        controls.append(AccessControl(server._tornado, hosts, auth))
        server._http.request_callback = controls[0]
        return server

    def _page(self, sounds: SoundUrls, controls: list[AccessControl]) -> Viewable:
        """The page of the visitor whose connection this is."""
        visitor = visitor_of(_request())
        pn.state.on_session_destroyed(lambda context: controls[0].forget(context.id))
        return page(
            self.session,
            owner=visitor.owner,
            address=visitor.address,
            url=lambda audio: sounds.url(audio, visitor.owner),
            whole=True,
            **self.options,
        )

    def _listening(
        self, studio: Callable[[], Viewable], routes: list[tuple[object, ...]], loop: IOLoop | None, server_id: str | None
    ) -> Server:  # fmt: skip
        """Panel's server on the port; MachineError where that cannot be used."""
        named: dict[str, Any] = {"server_id": server_id} if server_id else {}
        try:
            return get_server(
                {"/": studio},
                port=self.port,
                address=self.address,
                show=self.show,
                loop=loop,
                title="acestep_lab",
                location=False,  # Panel reads no IPv6 address of a page, and nothing here asks for it
                unused_session_lifetime_milliseconds=CONNECT_TIMEOUT_MS,
                check_unused_sessions_milliseconds=CONNECT_TIMEOUT_MS // 10,
                extra_patterns=routes,
                transforms=[SecurityHeaders],
                secret_key=secrets.token_bytes(32),
                sign_sessions=True,
                include_cookies=[],  # a Bokeh token is readable by every script of the page; no cookie is put into it
                exclude_headers=["Cookie", "Authorization"],
                **named,
            )
        except OSError as problem:
            raise MachineError(
                f"Port {self.port} of {shown(self.address)} cannot be used ({problem.strerror}); "
                "choose another with --port."
            ) from None


def _request() -> object:
    """The connection that the page being made is for; None where there is none."""
    context = None if pn.state.curdoc is None else pn.state.curdoc.session_context
    return getattr(context, "request", None)


def _in_background(begin: Callable[[IOLoop, str], Server]) -> StoppableThread:
    """Run a server in a thread of its own; what goes wrong before it answers is raised here."""
    loop, begun = IOLoop(make_current=False), Future[None]()

    def run(server_id: str) -> Server | None:
        asyncio.set_event_loop(loop.asyncio_loop)
        try:
            server = begin(loop, server_id)
        except BaseException as problem:  # noqa: BLE001 - raised again by whoever waits
            begun.set_exception(problem)
            return None
        begun.set_result(None)
        server.io_loop.start()
        return server

    thread = StoppableThread(target=run, io_loop=loop, owns_loop=True, kwargs={"server_id": secrets.token_hex(16)})
    pn.state._threads[thread.server_id] = thread
    thread.start()
    begun.result()
    return thread


def _token_auth(token: str, people: Path, warnings: list[str]) -> TokenAuth:
    """The login for a token; what the host should know of it is put into the warnings."""
    if len(token) < SHORTEST_TOKEN:
        warnings.append(f"A token this short can be guessed; take one of {SHORTEST_TOKEN} characters or more.")
    try:
        return TokenAuth(token, People(read_secret(people)))
    except OSError as problem:
        warnings.append(
            f"{shown(str(people), 120)} cannot be used ({problem.strerror}): after a restart nobody finds their takes "
            "again."
        )
        return TokenAuth(token, People(secrets.token_bytes(BYTES)))


def _url(address: str, port: int, token: str | None) -> str:
    host = "127.0.0.1" if is_everywhere(address) else f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


__all__ = ["is_loopback", "page", "serve"]
