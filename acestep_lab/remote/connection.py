"""HTTP to the door of another machine: JSON, files and events; whatever goes wrong is one of our errors, as a sentence.

A question that only asks is put again when the line drops; an event stream goes on where it was. Knows no verb.
"""

from __future__ import annotations

import contextlib
import copy
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acestep_lab import errors
from acestep_lab.errors import LabError, MachineError, shown
from acestep_lab.remote.stream import EventStream, raw_pieces

PATIENCE = 300.0
"""Seconds for which a dropped line is tried again before whoever waits is told."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
"""Seconds until an answer begins: a planner may write for minutes."""
SILENCE_SECONDS = 60.0
"""An event stream that says nothing for so long is dead: the door tells every 15 s that it stands."""
MOST_ANSWER = 64 * 2**20
"""Bytes of the largest answer that is no file."""
MOST_FILE = 2**30
"""Bytes of the largest file that is fetched."""
SLOWEST = 2_000
"""Bytes a second of the slowest line on which a file is waited for, once it has had a minute."""
_KINDS: Mapping[str, type[LabError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LabError)
}  # fmt: skip
_AGAIN = (502, 503, 504)
CLOSED = "This session is closed; connect once more."


class ConnectionLost(MachineError):
    """The other machine cannot be reached."""

    code = "CONNECTION"


class Connection:
    """A door at an address such as "http://gpu-box:8001", with a key; may be used by several threads."""

    def __init__(self, url: str, key: str = "", transport: Any = None, patience: float = PATIENCE) -> None:
        """`transport` is an httpx2 transport to speak through, None: the network. LabError for what is no address."""
        import httpx2

        self.url, self.key, self.patience = checked_url(url), key.strip(), patience
        if not self.key.isascii() or not self.key.isprintable():
            raise LabError("A key has plain characters only; it is the one that the door was started with.")
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        headers["Accept-Encoding"] = "identity"  # what is packed could unpack to anything
        self._timeout = timeout
        self._client = httpx2.Client(
            base_url=self.url, headers=headers, transport=transport, trust_env=transport is None
        )

    def in_a_hurry(self, connect: float, answer: float, patience: float = 0.0) -> Connection:
        """The same line for what is not worth waiting for long: so many seconds each until it answers, and for trying again."""
        import httpx2

        other = copy.copy(self)
        other.patience, other._timeout = patience, httpx2.Timeout(answer, connect=connect)
        return other

    def get(self, path: str, **asked: Any) -> Any:
        """What the door answers, from JSON; a dropped line is tried again."""
        return self._read(self._patiently("GET", path, params=_given(asked)))

    def post(self, path: str, body: Any = None) -> Any:
        """Send JSON once, and what the door answers: what it may have begun is not begun again by itself."""
        return self._read(self._ask("POST", path, json={} if body is None else body))

    def send(self, path: str, file: Path, beside: Mapping[str, Path] | None = None, **fields: Any) -> Any:
        """Send a file, streamed, with other files and fields beside it, as multipart."""
        with contextlib.ExitStack() as stack:
            files = {
                name: (one.name, stack.enter_context(one.open("rb")))
                for name, one in {"file": file, **(beside or {})}.items()
            }
            texts = {name: str(value) for name, value in _given(fields).items()}
            return self._read(self._ask("POST", path, data=texts, files=files))

    def fetch(self, path: str, into: Path, most: int = MOST_FILE, **asked: Any) -> dict[str, str]:
        """Write what the door answers, at most so many bytes, into a file, piece by piece, and give the answer's headers;
        whole, or not at all. MachineError for more, or a line too slow to wait for.
        """
        part = into.with_name(f".{into.name}.{secrets.token_hex(6)}.part")
        try:
            headers = self._fetched(path, part, most, _given(asked))
            part.replace(into)
        finally:
            part.unlink(missing_ok=True)
        return headers

    def _fetched(self, path: str, part: Path, most: int, asked: dict[str, Any]) -> dict[str, str]:
        import httpx2

        end = time.monotonic() + self.patience
        while True:
            try:
                with self._asked("GET", path, self._timeout, params=asked) as answer, part.open("wb") as file:
                    self._check(answer)
                    for piece in self._pieces(answer, most):
                        file.write(piece)
                    return dict(answer.headers)
            except httpx2.TransportError as problem:
                self.wait_or_give_up(problem, end)

    def events(
        self, path: str, after: str = "", dropped: Callable[[bool], None] = lambda _: None, **asked: Any
    ) -> EventStream:
        """Server-sent events from `path`, those after the running number `after`; see `EventStream`."""
        return EventStream(self, path, after, _given(asked), dropped)

    @contextlib.contextmanager
    def listening(self, path: str, asked: Mapping[str, Any], after: str) -> Iterator[Any]:
        """A stream of events as it begins; a TransportError where the line drops, or a machine before the door's is not up."""
        import httpx2

        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        headers = {"Last-Event-ID": after} if after else {}
        with self._asked("GET", path, timeout, params=asked, headers=headers) as answer:
            if answer.status_code in _AGAIN:
                raise httpx2.RemoteProtocolError(f"it says {answer.status_code}")
            self._check(answer)
            yield answer

    def close(self) -> None:
        """Let the line go."""
        self._client.close()

    # -- one question

    @contextlib.contextmanager
    def _asked(self, method: str, path: str, timeout: Any, **more: Any) -> Iterator[Any]:
        """An answer as it begins; LabError once the line was let go. Nothing follows to where an answer sends us: the key
        is for this address alone.
        """
        if self._client.is_closed:
            raise LabError(CLOSED)
        with self._client.stream(method, path, timeout=timeout, follow_redirects=False, **more) as answer:
            yield answer

    def _patiently(self, method: str, path: str, **more: Any) -> Any:
        import httpx2

        end = time.monotonic() + self.patience
        while True:
            try:
                answer = self._whole(method, path, **more)
            except httpx2.TransportError as problem:
                self.wait_or_give_up(problem, end)
            else:
                if answer.status_code not in _AGAIN or time.monotonic() >= end:
                    return answer
                time.sleep(1.0)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        import httpx2

        try:
            return self._whole(method, path, **more)
        except httpx2.TransportError as problem:
            raise self.lost(problem) from None

    def _whole(self, method: str, path: str, **more: Any) -> _Answer:
        """An answer with all its bytes, which are not many."""
        with self._asked(method, path, self._timeout, **more) as answer:
            return self._rest(answer)

    def _pieces(self, answer: Any, most: int) -> Iterator[bytes]:
        """The bytes of an answer as they come; MachineError where they are too many, or come too slowly."""
        began, size = time.monotonic(), 0
        for piece in raw_pieces(answer):
            size += len(piece)
            if size > most:
                raise MachineError(f"{shown(self.url)} sends more than the {most / 2**20:,.0f} MB that were expected.")
            if time.monotonic() - began > 60 + size / SLOWEST:
                raise MachineError(f"{shown(self.url)} sends too slowly to wait for; ask again on a better line.")
            yield piece

    def wait_or_give_up(self, problem: Exception | None, end: float) -> None:
        """Wait a moment before a dropped line is tried again; ConnectionLost once `end`, on the monotonic clock, is over."""
        if time.monotonic() >= end:
            raise self.lost(problem) from None
        time.sleep(min(1.0, max(0.05, end - time.monotonic())))

    def lost(self, problem: Exception | None = None) -> ConnectionLost:
        """The sentence for a machine that does not answer."""
        why = f" ({type(problem).__name__})" if problem is not None else ""
        return ConnectionLost(
            f"{shown(self.url)} does not answer{why}; is `acestep-lab api` running there, and does the network reach it?"
        )

    def _read(self, answer: Any) -> Any:
        self._check(answer)
        try:
            return answer.json()
        except (ValueError, RecursionError):
            raise MachineError(f"{shown(self.url)} answers, but is no door of acestep_lab.") from None

    def _check(self, answer: Any) -> None:
        """Raise what the door refused with, as the kind of error that it was there."""
        if 200 <= answer.status_code < 300:
            return
        if answer.status_code < 400:
            where = shown(str(answer.headers.get("location", "elsewhere")))
            raise MachineError(f"{shown(self.url)} sends on to {where}; connect to the door's own address.")
        try:
            told = (answer if isinstance(answer, _Answer) else self._rest(answer)).json()
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("error"), str):
            raise MachineError(f"{shown(self.url)} answers {answer.status_code}; is it a door of acestep_lab?")
        if answer.status_code == 401:
            raise MachineError(self._without_key())
        raise error_of(str(told.get("code")), told["error"])

    def _without_key(self) -> str:
        """What whoever is refused at the door can do."""
        if self.key:
            return (
                f"{shown(self.url)} does not know this key: give Session.connect(…, key=…), or ACESTEP_API_KEY, one that the "
                "door there was started with."
            )
        return (
            f"{shown(self.url)} asks for a key, and none was given: give Session.connect(…, key=…), or ACESTEP_API_KEY, one "
            "that the door there was started with."
        )

    def _rest(self, answer: Any) -> _Answer:
        return _Answer(answer.status_code, answer.headers, b"".join(self._pieces(answer, MOST_ANSWER)))


@dataclass(frozen=True)
class _Answer:
    """An answer that is there whole."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """What it says; ValueError or RecursionError where that is no JSON."""
        return json.loads(self.content)


def error_of(code: str, message: str) -> LabError:
    """An error of the other machine, as the kind of error that it was there."""
    return _KINDS.get(code, LabError)(message)


def checked_url(url: str) -> str:
    """An address as `scheme://host:port`; LabError for what is none."""
    text = url.strip().rstrip("/")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise LabError(f'An address is like "http://gpu-box:8001", not {shown(url)}.')
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
