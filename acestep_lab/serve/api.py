"""The REST door as a server of its own: one Session, one port, no page.

It binds to loopback unless told otherwise, and asks for a key wherever else it is bound. It shares the session with
whatever else does: the same models in memory, the same queue, the same library.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from acestep_lab.errors import MachineError, shown
from acestep_lab.serve.api_door import ApiDoor, DoorLimits
from acestep_lab.serve.api_handler import encoded
from acestep_lab.serve.hosts import Hosts, is_everywhere, is_loopback
from acestep_lab.session_like import SessionLike

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PORT = 8001
"""Where ACE-Step's own server listens, and its clients look."""
_IDLE_SECONDS, _BODY_SECONDS = 120.0, 1800.0
"""Seconds in which a connection may say nothing, and in which a body has to be there."""
MOST_CONNECTIONS = 512
"""Connections at once; no more than half of the files the system lets a process open."""


class ApiServer:
    """A REST server in a daemon thread of its own; `close()` ends it and leaves the session as it is, `wait()` waits.

    ::

        with ApiServer(lab, port=8001) as door:
            print(door.address)               # http://127.0.0.1:8001
    """

    def __init__(
        self, session: SessionLike, port: int = PORT, address: str = "127.0.0.1", keys: Sequence[str] = (),
        origins: Sequence[str] = (), folder: Path | None = None, limits: DoorLimits | None = None,
        patience: float | None = None,
    ) -> None:  # fmt: skip
        """Port 0 takes a free one; `folder` holds uploads and results, by default a temporary one that goes with the server; `patience` is how many seconds a chat waits for its music, 600 or what `limits` says. Raises MachineError for a port in use, or a key that can be guessed."""
        self.new_key = "" if keys or is_loopback(address) else secrets.token_urlsafe(16)
        """The key that was made up because the door can be reached from elsewhere and none was given."""
        hosts = Hosts(address, origins)
        self._door = ApiDoor(
            session, [self.new_key] if self.new_key else keys, hosts, limits, folder, patience=patience
        )
        try:
            self._sockets = _bound(port, address)
        except MachineError:
            self._door.close()
            raise
        self.port = int(self._sockets[0].getsockname()[1])
        self._host = address
        self._loop = asyncio.new_event_loop()
        self._ended = False
        begun = Future[None]()
        self._thread = threading.Thread(target=self._run, args=(begun,), name="acestep_lab api loop", daemon=True)
        self._thread.start()
        begun.result()

    @property
    def address(self) -> str:
        """What a client is given: `http://127.0.0.1:8001`."""
        host = "127.0.0.1" if is_everywhere(self._host) else f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def _run(self, begun: Future[None]) -> None:
        """Serve until the loop is stopped."""
        asyncio.set_event_loop(self._loop)
        server: Any = _Listener(self._door.router, idle_connection_timeout=_IDLE_SECONDS, body_timeout=_BODY_SECONDS)
        server.add_sockets(self._sockets)
        self._loop.call_soon(begun.set_result, None)
        try:
            self._loop.run_forever()
        finally:
            server.stop()
            self._loop.run_until_complete(self._last(server))
            self._loop.close()

    async def _last(self, server: Any) -> None:
        """Close what is open, and end what still waits on this loop."""
        await server.close_all_connections()
        waiting = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C ends it."""
        with contextlib.suppress(KeyboardInterrupt):
            while self._thread.is_alive():
                self._thread.join(0.5)
        self.close()

    def close(self) -> None:
        """Answer no more, stop the door's own tasks, and remove its files; twice does no harm."""
        if self._ended:
            return
        self._ended = True
        self._door.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._door.close()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ApiServer {self.address}{' (closed)' if self._ended else ''}>"

    def _repr_html_(self) -> str:
        state = "closed" if self._ended else "is answering"
        key = f" with the key <code>{self.new_key}</code>" if self.new_key else ""
        return f'<p><b>REST</b> {state} at <a href="{self.address}/health">{self.address}</a>{key}</p>'


class _Listener(HTTPServer):
    """Takes so many connections and no more: without a number left for another, accepting would fail without end."""

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        if len(self._connections) < _most_connections():
            super()._handle_connection(connection, address)
            return
        with contextlib.suppress(OSError), connection:
            connection.setblocking(False)
            connection.sendall(_TOO_MANY)


_SENTENCE = encoded({"detail": (_many := "Too many connections are open; try again in a while."), "error": _many})
_TOO_MANY = (
    f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\n"
    f"Content-Length: {len(_SENTENCE)}\r\n\r\n"
).encode("ascii") + _SENTENCE


def _most_connections() -> int:
    if resource is None:
        return MOST_CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)


def _bound(port: int, address: str) -> list[Any]:
    try:
        if port == 0:  # one port for all of an address's families
            return bind_sockets(0, address)[:1]
        return bind_sockets(port, address)
    except (OSError, OverflowError) as problem:
        why = getattr(problem, "strerror", None) or "it is none"
        raise MachineError(
            f"Port {port} of {shown(address)} cannot be used ({why}); choose another with --port."
        ) from None


def serve_api(
    session: SessionLike, port: int = PORT, address: str = "127.0.0.1", keys: Sequence[str] = (),
    origins: Sequence[str] = (), announce: Callable[[str], None] = print, limits: DoorLimits | None = None,
) -> None:  # fmt: skip
    """Serve until interrupted, or asked to end: what came in on the way does not stay on the disk."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = ApiServer(session, port, address, keys, origins, limits=limits)
    announce(f"acestep_lab api: {server.address}" + (f" key {server.new_key}" if server.new_key else ""))
    server.wait()
