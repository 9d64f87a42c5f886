"""The studio as an app: one model per process, a page per tab, takes per person. Knows no model.

It binds to loopback unless told otherwise, and asks for a token wherever else it is bound. Whose takes a page shows is
said by the connection's own cookie, read by the access control in front of every handler; what a browser says in a
Bokeh token counts for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
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
from acestep_lab.serve.api_door import ApiDoor, DoorLimits, OnePort
from acestep_lab.serve.api_keys import SHORTEST, can_be_key
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
    api: bool = False,
    keys: Sequence[str] = (),
    limits: DoorLimits | None = None,
    **options: Any,
) -> Server | StoppableThread:
    """Serve the studio until interrupted; `block=False` returns the server, which is stopped by `.stop()`.

    Bound to anything but loopback it needs a token: the given one, or a fresh one that is said on the console. With a
    token every browser sees its own takes only, and finds them again after a restart. `origins` are hosts, such as
    "hub.example.org", by which the studio is known behind a proxy; "*" is any, for a proxy that itself lets in only who
    may. `people` is the file of the secret by which browsers are known again; by default one in the user's data folder.
    Raises MachineError for a port in use, an origin that is none, or a secret of people that others can read.

    With `api` the same address answers other programs as well (REST), with takes in the same library. `keys` are those of
    `ApiServer`; without any, a given token is asked for as a key (of somebody who is not the host), and where it can be
    reached from elsewhere without either, one is made up. `limits` is how much the door takes on.
    """
    studio = _prepared(session, port, address, show, token, origins, people, api, keys, limits, options)
    begin = partial(studio.begin, announce)
    return _until_interrupted(begin, studio.door) if block else _in_background(begin, studio.door)


class Served:
    """A studio in a daemon thread of its own: where it is, and the key that was made up for its door, if one was."""

    def __init__(
        self, session: SessionLike, port: int, address: str, token: str | None, origins: Sequence[str], api: bool,
        keys: Sequence[str], limits: DoorLimits | None = None, people: Path | None = None,
    ) -> None:  # fmt: skip
        """As `serve`; what goes wrong before it answers is raised."""
        studio = _prepared(session, port, address, False, token, origins, people, api, keys, limits, {})
        self.warnings = studio.warnings
        self._thread = _in_background(partial(studio.begin, _say_nothing), studio.door, daemon=True)
        self.port, self.new_key = studio.at(), studio.key
        self.page, self.address = _url(address, self.port, studio.token), _url(address, self.port, None).rstrip("/")
        self._http: Any = studio.servers[0]._http

    def close(self) -> None:
        """End every connection, then the server and its door."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._thread.asyncio_loop).result()
            self._thread.stop()
            self._thread.join()

    async def _hang_up(self) -> None:
        self._http.stop()
        with contextlib.suppress(TimeoutError):  # one that does not go ends with the thread
            await asyncio.wait_for(self._http.close_all_connections(), 2)


def _say_nothing(sentence: str) -> None:
    """A card says it."""


@dataclass
class _Studio:
    """A studio that may begin: what it serves, who may come in, and the door beside it."""

    pages: _Pages
    hosts: Hosts
    auth: TokenAuth | None
    token: str | None
    key: str
    """The key that was made up for the door; "" where none was."""
    warnings: list[str]
    servers: list[Server] = field(default_factory=list)

    @property
    def door(self) -> ApiDoor | None:
        return self.pages.door

    def at(self) -> int:
        """The port it has."""
        return int(self.servers[0].port or self.pages.port)

    def begin(
        self, announce: Callable[[str], None], loop: IOLoop | None = None, server_id: str | None = None
    ) -> Server:
        """Answer from now on, and say where."""
        server = self.pages.server(self.hosts, self.auth, loop, server_id)
        self.servers.append(server)
        announce(f"acestep_lab studio: {_url(self.pages.address, self.at(), self.token)}")
        if self.door is not None:
            url = _url(self.pages.address, self.at(), None).rstrip("/")
            announce(f"acestep_lab api: {url}" + (f" key {self.key}" if self.key else ""))
        for warning in self.warnings:
            announce(warning)
        server.start()
        return server


def _prepared(
    session: SessionLike, port: int, address: str, show: bool, token: str | None, origins: Sequence[str],
    people: Path | None, api: bool, keys: Sequence[str], limits: DoorLimits | None, options: Mapping[str, Any],
) -> _Studio:  # fmt: skip
    """All that is needed before a port is taken; raises MachineError."""
    hosts = Hosts(address, origins)
    warnings: list[str] = []
    word = token or (None if is_loopback(address) else secrets.token_urlsafe(16))
    auth = _token_auth(word, people or default_secret_path(), warnings) if word else None
    if origins and auth is None:
        warnings.append(
            "It has no token: whoever the proxy lets in sees the host's takes. Give --token for takes of their own."
        )
    door, key = _door(session, hosts, address, token, keys, limits) if api else (None, "")
    return _Studio(_Pages(session, port, address, show, options, door), hosts, auth, word, key, warnings)


def _door(
    session: SessionLike, hosts: Hosts, address: str, token: str | None, keys: Sequence[str], limits: DoorLimits | None
) -> tuple[ApiDoor, str]:
    """The REST door at the studio's address, and the key that was made up for it, if one was; raises MachineError.

    Whoever knows the studio's token is a visitor, and as a key it makes nobody the host.
    """
    key = "" if keys or token or is_loopback(address) else secrets.token_urlsafe(16)
    guests = [token] if token and not keys else []
    if not all(can_be_key(one) for one in guests):
        raise MachineError(
            f"The token is also the key of the REST door, and a key has at least {SHORTEST} plain characters and no "
            "spaces; take a longer token, or give --api-key."
        )
    return ApiDoor(session, [key] if key else keys, hosts, limits, guests=guests), key


def _until_interrupted(begin: Callable[[], Server], door: ApiDoor | None) -> Server:
    """Go on serving; in a notebook the loop runs already, and does so by itself."""
    running = False
    try:
        server = begin()
        loop: Any = server.io_loop
        running = loop.asyncio_loop.is_running()
        if not running:
            loop.start()
        return server
    finally:
        if door is not None and not running:
            door.close()


@dataclass(frozen=True)
class _Pages:
    """Pages over one session, and where they are served."""

    session: SessionLike
    port: int
    address: str
    show: bool
    options: Mapping[str, Any]
    door: ApiDoor | None = None

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
        server._http.request_callback = controls[0] if self.door is None else OnePort(controls[0], self.door)
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


def _in_background(
    begin: Callable[[IOLoop, str], Server], door: ApiDoor | None, daemon: bool | None = None
) -> StoppableThread:
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
        if door is not None:
            door.close()
        return server

    thread = StoppableThread(
        target=run, io_loop=loop, owns_loop=True, daemon=daemon, kwargs={"server_id": secrets.token_hex(16)}
    )
    pn.state._threads[thread.server_id] = thread
    thread.start()
    try:
        begun.result()
    except BaseException:
        if door is not None:
            door.close()
        raise
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
