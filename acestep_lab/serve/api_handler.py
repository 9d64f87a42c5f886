"""What every route of the REST door has in common: who asks, a body read as it comes, the envelope, errors as sentences.

Knows no route and no model. Handlers run on the event loop, so that whatever may take a while is done by `work`, in a
thread. The contract is that of ACE-Step 1.5's own server; where it leaves its users without an answer, ours gives one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, NoReturn, TypeVar

from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from acestep_lab.errors import LabError, code_of, sentence
from acestep_lab.serve.api_body import MOST_FIELD_BYTES, MOST_FILE_BYTES, BadBody, Body, NewFile, Reader, reader_for
from acestep_lab.serve.api_keys import ApiKeys
from acestep_lab.serve.api_lab_runs import LabRuns
from acestep_lab.serve.hosts import read_page
from acestep_lab.serve.rest_events import LatentPictures, TaskFeed
from acestep_lab.serve.rest_tasks import RestTasks
from acestep_lab.serve.rest_training_desk import TrainingDesk
from acestep_lab.session_like import SessionLike

T = TypeVar("T")
HEADERS: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Origin"}
"""What every answer says."""
MOST_BODY_BYTES = MOST_FILE_BYTES + MOST_FIELD_BYTES


ASKED_AT_ONCE, MOST_ASKING = 4, 100
"""Requests that the session works on at once, and that wait for it together."""


@dataclass(frozen=True)
class Door:
    """What the routes share."""

    session: SessionLike
    keys: ApiKeys
    tasks: RestTasks
    threads: Executor
    """Where what takes a while is done."""
    asking: set[object] = field(default_factory=set)
    """Who waits for the session just now; touched on the event loop only."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ASKED_AT_ONCE))
    listeners: set[object] = field(default_factory=set)
    """Who listens to events just now; touched on the event loop only."""
    patience: float = 600.0
    """Seconds that a chat waits for its music."""
    pictures: LatentPictures = field(default_factory=LatentPictures)

    @cached_property
    def feed(self) -> TaskFeed:
        """How the tasks stand, for whoever listens."""
        return TaskFeed(self.tasks)

    @cached_property
    def lab(self) -> LabRuns:
        """The runs of sessions far away."""
        return LabRuns(self.session)

    @cached_property
    def training(self) -> TrainingDesk:
        """The host's data set and trainings."""
        return TrainingDesk(self.session, self.tasks.places)


class Refused(LabError):
    """An answer that is a refusal, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def from_near(origin: str) -> bool:
    """Whether a page of this origin may speak to the door from a browser: one of a file, or one of this machine."""
    page = read_page(origin)
    return origin == "null" or (page is not None and page.name in ("localhost", "127.0.0.1", "::1"))


def let_page(request: HTTPServerRequest, origin: str) -> None:
    """A page of this origin may read the answer, wherever it comes from: it was named with `--origin`."""
    vars(request)["may_read"] = origin


def encoded(value: object) -> bytes:
    """A value as JSON in UTF-8; half a character that a client sent is told back as the escape that it wrote."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def envelope(data: Any, code: int = 200, error: str | None = None) -> dict[str, Any]:
    """What ACE-Step's server puts around an answer."""
    return {"data": data, "code": code, "error": error, "timestamp": int(time.time() * 1000), "extra": None}


def _not_exiting(job: Callable[[], T]) -> T:
    """Do something; where an engine exits, only what asked for it fails: an exit on the event loop would end the door."""
    try:
        return job()
    except (SystemExit, KeyboardInterrupt) as problem:
        raise Refused(500, sentence(problem)) from problem


def _ask_for_a_key(name: str) -> NoReturn:
    """No file is written for who has not shown a key in a header."""
    raise BadBody(ASKS, 401)


@stream_request_body
class ApiHandler(RequestHandler):
    """A route: `owner` is whose takes the asker sees, `body` what was sent."""

    is_open: ClassVar[bool] = False
    """Whether it answers without a key."""
    takes_files: ClassVar[bool] = False

    def initialize(self, door: Door) -> None:
        self.door = door
        self.owner = ""
        self.body = Body()
        self._reader: Reader | None = None
        self._problem: tuple[int, str] | None = None

    # -- before the body

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        origin = self.request.headers.get("Origin", "")
        if from_near(origin) or (origin and origin == getattr(self.request, "may_read", None)):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, OPTIONS")
            self.set_header("Access-Control-Allow-Headers", "Content-Type, Authorization")

    def prepare(self) -> None:
        if self.request.method == "OPTIONS":
            return
        told = self.request.headers.get("Authorization", "")
        owner = self.door.keys.owner(told)
        if owner is None and not self.is_open and (told or self.request.method not in _WITH_BODY):
            self._problem = (401, ASKS)
        self.owner = owner or ""
        connection: Any = self.request.connection
        connection.set_max_body_size(MOST_BODY_BYTES)  # what is too long for this route passes by, unkept
        long = self.request.headers.get("Content-Length", "")
        if len(long) > len(str(MOST_BODY_BYTES)) or (long.isdecimal() and int(long) > MOST_BODY_BYTES):
            self._problem = (413, f"A body has at most {MOST_BODY_BYTES // 2**20} MB.")
        elif self.request.method in _WITH_BODY:
            self._begin_reading(owner)
            return
        if self._problem is not None:
            # Tornado ends a connection that is answered before its request is read
            self.set_header("Connection", "close")
            self._refuse(*self._problem)

    def _begin_reading(self, owner: str | None) -> None:
        if self._problem is not None:
            return
        try:
            self._reader = self.new_reader(self._new_file(owner))
        except BadBody as problem:  # answered when the body has passed by: the connection lives on
            self._problem = (problem.status, str(problem))

    def new_reader(self, new_file: NewFile | None) -> Reader:
        """What reads the body; BadBody where nothing can."""
        return reader_for(self.request.headers.get("Content-Type", ""), new_file)

    def _new_file(self, owner: str | None) -> NewFile | None:
        """Where the files of a body go: nowhere on a route that takes none, nor before a header has shown a key."""
        if not self.takes_files:
            return None
        return _ask_for_a_key if owner is None else partial(self.door.tasks.places.new_upload, owner)

    def data_received(self, chunk: bytes) -> None:
        if self._reader is None or self._problem is not None:
            return
        try:
            self._reader.feed(chunk)
        except BadBody as problem:  # the rest passes by; the answer is given at its end
            self._reader.drop()
            self._problem = (problem.status, str(problem))
        except OSError as problem:
            self._reader.drop()
            self._problem = (507, sentence(problem))

    def on_connection_close(self) -> None:
        if self._reader is not None and not self.body.files:
            self._reader.drop()

    def on_finish(self) -> None:
        if self._reader is not None and not self.body.files:  # files of a body that was read are its route's
            self._reader.drop()

    def read_body(self) -> Body:
        """The body, once all of it is there; raises Refused for one that cannot be read, or brings no key."""
        if self._problem is not None:
            raise Refused(*self._problem)
        if self._reader is not None:
            try:
                self.body = self._reader.finish()
            except BadBody as problem:
                self._reader.drop()
                raise Refused(problem.status, str(problem)) from None
        if not self.is_open:
            owner = self.door.keys.owner(self.request.headers.get("Authorization", ""), self.body.fields)
            if owner is None:
                self.body.forget()
                raise Refused(401, ASKS)
            self.owner = owner
        return self.body

    # -- answers

    async def work(self, job: Callable[..., T], *args: Any) -> T:
        """Do what may take a while in a thread."""
        return await IOLoop.current().run_in_executor(self.door.threads, _not_exiting, partial(job, *args))

    async def ask(self, job: Callable[[], T]) -> T:
        """Do what waits for the session, a few at once: the threads that are left serve everybody else meanwhile."""
        if len(self.door.asking) >= MOST_ASKING:
            raise Refused(429, f"{MOST_ASKING} requests wait for the planner already; ask again in a while.")
        self.door.asking.add(self)
        try:
            async with self.door.turns:
                return await self.work(job)
        finally:
            self.door.asking.discard(self)

    def answer(self, data: Any, code: int = 200, error: str | None = None) -> None:
        """The envelope of ACE-Step's server around an answer."""
        self.send(envelope(data, code, error))

    def send(self, value: Any) -> None:
        """Plain JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(encoded(value))

    def _refuse(self, status: int, text: str, code: str = LabError.code) -> None:
        self.set_status(status)
        self.send({"detail": text, "error": self.error_of(status, text), "code": code})

    def error_of(self, status: int, text: str) -> Any:
        """What an error says under `error`: its sentence again, as ACE-Step's clients read it there."""
        return text

    def write_error(self, status_code: int, **options: Any) -> None:
        """Every error is a sentence, under both names that clients read, and says its kind."""
        problem = options.get("exc_info", (None, None))[1]
        if isinstance(problem, HTTPError):
            text = _OF_STATUS.get(
                status_code, problem.log_message or f"The request cannot be answered ({status_code})."
            )
        else:
            text = sentence(problem) if problem is not None else f"The request cannot be answered ({status_code})."
        self._refuse(status_code, text, code_of(problem) if problem is not None else LabError.code)

    def _handle_request_exception(self, problem: BaseException) -> None:
        """One of our errors is an answer, and no fault of the server's."""
        if isinstance(problem, StreamClosedError):  # whoever asked has gone
            return
        status = getattr(problem, "status", 400) if isinstance(problem, LabError) else None
        if status is None or self._finished:
            super()._handle_request_exception(problem)
            return
        self._refuse(int(status), str(problem), code_of(problem))

    def options(self, *_: str) -> None:
        """What a browser asks before it lets a page send something."""
        self.set_status(204)
        self.finish()


_WITH_BODY = ("POST", "PUT")
ASKS = "This door asks for a key: send it as Authorization: Bearer and the key."
_OF_STATUS = {404: "There is no such route.", 405: "This route has another method; see /openapi.json."}


class NoRoute(ApiHandler):
    """What is not there."""

    is_open = True

    def get(self) -> None:
        raise HTTPError(404)

    head = post = put = patch = delete = get  # the body passes by first: the connection lives on
