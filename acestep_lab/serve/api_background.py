"""`lab.serve()`: the page and the REST door of a session in the background of a notebook or a script, with a card that says where.

One server to a port: asked for once more, a session's server is given back. It ends with its session, with the process,
and by `.close()`; a script that has nothing else to do waits by `.wait()`.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acestep_lab.errors import LabError
from acestep_lab.prompt import checks
from acestep_lab.serve.api import PORT, ApiServer
from acestep_lab.serve.api_door import DoorLimits
from acestep_lab.session_like import SessionLike
from acestep_lab.settings import Settings
from acestep_lab.takes.page import escaped

PAGE_PORT = 5006
"""Where the page alone is served."""
_SERVERS: dict[int, LabServer] = {}
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Terms:
    """What a server is asked to be."""

    api: bool
    studio: bool
    address: str
    keys: tuple[str, ...]
    token: str | None
    origins: tuple[str, ...]


def serve(
    session: SessionLike, port: int | None = None, *, api: bool = True, studio: bool = True,
    key: str | Sequence[str] | None = None, open: bool = False, address: str | None = None, token: str | None = None,
    origins: Sequence[str] = (),
) -> LabServer:  # fmt: skip
    """Serve a session in the background and return at once; the card says the addresses, and what to type in a DAW.

    `port` is 8001 (or ACESTEP_API_PORT) with the REST door, 5006 for the page alone; 0 takes a free one. `key`, or several,
    are what clients of the door must send, the first being the host's; `token` is what visitors of the page must know.
    Bound to an `address` other than loopback, what is not given is made up, and on the card. `open` shows the page in this
    machine's browser. Asked for again on a port of its own, a session gets the same server back. Raises LabError for a
    port that serves something else here, MachineError for one that another program uses.
    """
    wanted, found = _terms(api, studio, key, address, token, origins)
    if open and not studio:
        raise LabError("open=True shows the page in a browser, and studio=False serves none; leave one of them away.")
    place = _port(port, found, api)
    with _LOCK:
        server = _running(session, place, wanted) or LabServer(session, place, wanted, DoorLimits.of(found))
    if open:
        webbrowser.open(server.page)
    return server


def close_all() -> None:
    """Close every server of this process, also those that nobody holds any more."""
    for server in tuple(_SERVERS.values()):
        server.close()


atexit.register(close_all)


def _terms(
    api: bool, studio: bool, key: str | Sequence[str] | None, address: str | None, token: str | None, origins: Sequence[str]
) -> tuple[Terms, Settings]:  # fmt: skip
    """What is asked for, with the settings where nothing is said."""
    api, studio = checks.truth("api", api), checks.truth("studio", studio)
    if not api and not studio:
        raise LabError("There is nothing to serve: api=True answers other programs, studio=True shows the page.")
    found = Settings.read(flags={"api_host": address, "token": token})
    known = found.value("api_key")
    keys = ((key,) if isinstance(key, str) else tuple(key)) if key else (known,) if known else ()
    host = found.value("api_host") or "127.0.0.1"
    return Terms(api, studio, host, keys, found.value("token") if studio else None, tuple(origins)), found


def _port(port: int | None, found: Settings, api: bool) -> int:
    if port is not None:
        return checks.whole("The port", port, 0, 65535)
    return (found.number("api_port") or PORT) if api else PAGE_PORT


def _running(session: SessionLike, port: int, wanted: Terms) -> LabServer | None:
    """The server that a session has on a port already; LabError where it is not the one that is asked for."""
    server = _SERVERS.get(port)
    if server is None:
        return None
    if server.session is not session:
        raise LabError(
            f"Port {port} serves another session of this process; close that one, name another port, or close all by "
            "acestep_lab.serve.api_background.close_all()."
        )
    if server.terms != wanted:
        raise LabError(f"Port {port} serves this session in another way already; close that server, and ask again.")
    return server


class LabServer:
    """A session's page and REST door in the background; `close()` ends them and leaves the session as it is."""

    def __init__(self, session: SessionLike, port: int, terms: Terms, limits: DoorLimits) -> None:
        self.session, self.terms = session, terms
        self._ended = threading.Event()
        session.jobs.must_be_open()
        begin = self._begin_page if terms.studio else self._begin_door
        self._end: Callable[[], None] = begin(port, limits)
        self._call_off = session.jobs.at_close(self.close)
        _SERVERS[self.port] = self

    def _begin_door(self, port: int, limits: DoorLimits) -> Callable[[], None]:
        """The REST door alone."""
        terms = self.terms
        door = ApiServer(self.session, port, terms.address, terms.keys, terms.origins, limits=limits)
        self.port, self.address, self.page, self.new_key = door.port, door.address, "", door.new_key
        return door.close

    def _begin_page(self, port: int, limits: DoorLimits) -> Callable[[], None]:
        """The page, and the door at its address where that is asked for."""
        from acestep_lab.serve.app import Served

        terms = self.terms
        served = Served(self.session, port, terms.address, terms.token, terms.origins, terms.api, terms.keys, limits)
        self.port, self.address, self.page, self.new_key = served.port, served.address, served.page, served.new_key
        return served.close

    @property
    def closed(self) -> bool:
        """Whether it answers no more."""
        return self._ended.is_set()

    def wait(self) -> None:
        """Wait until it is closed; Ctrl-C closes it."""
        with contextlib.suppress(KeyboardInterrupt):
            while not self._ended.wait(0.5):
                pass
        self.close()

    def close(self) -> None:
        """Answer no more, stop what the door was asked for, and remove its files; twice does no harm."""
        with _LOCK:
            if self._ended.is_set():
                return
            self._ended.set()
            if _SERVERS.get(self.port) is self:
                del _SERVERS[self.port]
        self._call_off()
        self._end()

    def __enter__(self) -> LabServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LabServer {self.page or self.address}{' (closed)' if self.closed else ''}>"

    def _repr_html_(self) -> str:
        """The card of a notebook."""
        if self.closed:
            return f"<p>The server at <code>{escaped(self.address)}</code> is closed.</p>"
        rows = [*self._rows(), ("Stop", "<code>.close()</code>, or close the session")]
        lines = "".join(
            f"<tr><th scope='row' style='text-align:start'>{name}</th><td>{text}</td></tr>" for name, text in rows
        )
        return f"<table aria-label='What serves this session'>{lines}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        """What the card says of the page and of the door, as HTML."""
        rows = []
        if self.page:
            rows.append(("Studio page", f'<a href="{escaped(self.page)}" target="_blank">{escaped(self.page)}</a>'))
        if self.terms.api:
            address = f"<code>{escaped(self.address)}</code>"
            rows += [
                ("REST (ACE-Step clients)", f"{address}; routes at <a href='{escaped(self.address)}/openapi.json'>/openapi.json</a>"),
                ("Key", self._key()),
                ("In a DAW", f"type {address} as the server's address{self._and_key()}: ACE-Step-DAW, acestep.vst3"),
            ]  # fmt: skip
        return rows

    def _key(self) -> str:
        if self.new_key:
            return f"<code>{escaped(self.new_key)}</code>, made up for this server"
        if self.terms.keys:
            return "the one you gave, as <code>Authorization: Bearer …</code>"
        if self.terms.token:
            return "the page's token, as <code>Authorization: Bearer …</code>"
        return "none is asked for: only programs on this machine reach it"

    def _and_key(self) -> str:
        return " and the key as its API key" if self.new_key or self.terms.keys or self.terms.token else ""
