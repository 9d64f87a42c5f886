"""Server-sent events of another machine, as they come; when the line drops, gone on with where they were.

Whatever the machine sends is bounded and read as lines of JSON; an event that was told already is not told again.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import MachineError, shown

if TYPE_CHECKING:
    from acestep_lab.remote.connection import Connection

MOST_EVENT = 64 * 2**20
"""Bytes of one event."""
_MOST_DIGITS = 15
"""Of an event's running number."""


@dataclass(frozen=True)
class Told:
    """One server-sent event."""

    id: str
    """Its running number, after which the stream can be gone on with; "" where the door gave none."""
    kind: str
    data: Any


class EventStream:
    """The events of a route one after another, to be iterated once; `close()` ends that from any thread.

    `dropped` is told True when the line drops, False when it is there again. Ends when the door says "end". ConnectionLost where the line stays away, MachineError for what is no event.
    """

    def __init__(
        self,
        connection: Connection,
        path: str,
        after: str = "",
        asked: Mapping[str, Any] | None = None,
        dropped: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._connection, self._path, self._after, self._asked = connection, path, after, dict(asked or {})
        self._ended = threading.Event()
        self._socket: Any = None
        self._dropped, self._is_down = dropped, False

    def __iter__(self) -> Iterator[Told]:
        import httpx2

        end = time.monotonic() + self._connection.patience
        while not self._ended.is_set():
            problem: Exception | None = None
            try:
                for told in self._once():
                    if told.kind == "end":
                        return
                    end = time.monotonic() + self._connection.patience
                    yield told
            except httpx2.TransportError as lost:
                problem = lost
            if not self._ended.is_set():
                self._say(down=True)
                self._connection.wait_or_give_up(problem, end)

    def close(self) -> None:
        """End it now, also where another thread waits for the next event."""
        self._ended.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _say(self, down: bool) -> None:
        if down != self._is_down:
            self._is_down = down
            self._dropped(down)

    def _once(self) -> Iterator[Told]:
        """Events until the line ends; those after the last one that was told."""
        with self._connection.listening(self._path, self._asked, self._after) as answer:
            self._say(down=False)
            stream = answer.extensions.get("network_stream")
            self._socket = None if stream is None else stream.get_extra_info("socket")
            for told in read_events(lines_of(raw_pieces(answer)), self._connection.url):
                if self._ended.is_set():
                    return
                if not told.id or not self._after or int(told.id) > int(self._after):
                    self._after = told.id or self._after
                    yield told
        self._socket = None


def raw_pieces(answer: Any) -> Iterable[bytes]:
    """The bytes of an answer as they come, not unpacked: a transport that is no network may have read them."""
    return [answer.content] if answer.is_stream_consumed else answer.iter_raw()


def lines_of(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text that comes in pieces; one without its end has not arrived. MachineError for an endless one."""
    rest: list[bytes] = []
    size = 0
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line]).decode("utf-8", "replace").removesuffix("\r")
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > MOST_EVENT:
            raise MachineError(f"What came as an event is longer than {MOST_EVENT // 2**20} MB.")


def read_events(lines: Iterator[str], who: str) -> Iterator[Told]:
    """Events out of the lines of a stream; one without its empty line has not arrived. MachineError for what is no JSON."""
    id, kind, data, size = "", "message", list[str](), 0
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Told(id, kind, _json("\n".join(data), who))
            id, kind, data, size = "", "message", [], 0
        elif name == "data":
            data.append(value)
            size += len(value)
            if size > MOST_EVENT:
                raise MachineError(f"What came as an event is longer than {MOST_EVENT // 2**20} MB.")
        elif name == "event":
            kind = value
        elif name == "id":
            id = value if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS else ""


def _json(text: str, who: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MachineError(
            f"{shown(who)} tells of something that cannot be read; is it a door of acestep_lab?"
        ) from None
