"""The REST door over one session without a port of its own: who may come in, the routes, the tasks behind them.

`ApiServer` gives it a port; the studio has it before its own routes, so that both are at one address. What comes to the
door is judged by its own access control and its keys alone: a page's cookie opens nothing here, a key no page.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from acestep_lab.errors import MachineError, shown
from acestep_lab.serve.api_access import ApiAccess
from acestep_lab.serve.api_handler import Door, NoRoute
from acestep_lab.serve.api_keys import ApiKeys
from acestep_lab.serve.hosts import Hosts
from acestep_lab.serve.rest import ROUTES
from acestep_lab.serve.rest_tasks import MOST_QUEUED, RestTasks
from acestep_lab.session_like import SessionLike
from acestep_lab.settings import Settings

_THREADS = 8
PATIENCE = 600.0
"""Seconds that a chat waits for its music where nobody says otherwise."""


def _pattern(path: str) -> str:
    """A route's path as Tornado reads it."""
    return path.replace("{id}", "(.+)")


_OURS = re.compile(r"/v1(/.*)?|" + "|".join(f"(?:{_pattern(path)})" for path in ROUTES))
"""Paths that are the door's, also where nothing is there (yet): an unknown one gets the door's own answer."""


@dataclass(frozen=True)
class DoorLimits:
    """How much a door takes on: tasks that wait, seconds of one render (None: any), and where its temporary folder lies."""

    most_queued: int = MOST_QUEUED
    most_seconds: float | None = None
    tmpdir: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> DoorLimits:
        """As the environment and files of settings say (ACESTEP_QUEUE_MAXSIZE, ACESTEP_GENERATION_TIMEOUT, ACESTEP_TMPDIR)."""
        tmpdir = settings.value("tmpdir")
        return cls(
            settings.number("queue_maxsize") or MOST_QUEUED,
            settings.number("generation_timeout"),
            None if tmpdir is None else Path(tmpdir).expanduser(),
        )


class ApiDoor:
    """A session's REST door; `close()` stops its tasks and removes its files, and leaves the session as it is."""

    def __init__(
        self, session: SessionLike, keys: Sequence[str], hosts: Hosts, limits: DoorLimits | None = None,
        folder: Path | None = None, guests: Sequence[str] = (), patience: float | None = None,
    ) -> None:  # fmt: skip
        """The first of the keys is the host's, those of `guests` are other people's. `folder` holds uploads and results, by
        default a temporary one; `patience` is how many seconds a chat waits for its music. MachineError for a key that can be
        guessed, or a folder that cannot be made.
        """
        taken, limits = ApiKeys(keys, guests), limits or DoorLimits()
        self._folder = _temporary(limits.tmpdir)
        self.tasks = RestTasks(
            session, folder or Path(self._folder.name), most_queued=limits.most_queued, most_seconds=limits.most_seconds
        )
        self._threads = ThreadPoolExecutor(_THREADS, "acestep_lab api")
        waits = patience or limits.most_seconds or PATIENCE
        door = self.door = Door(session, taken, self.tasks, self._threads, patience=waits)
        routes: list[Any] = [(_pattern(path), handler, {"door": door}) for path, handler in ROUTES.items()]
        app = Application(
            routes, default_handler_class=NoRoute, default_handler_args={"door": door}, log_function=_quiet
        )
        self.router = ApiAccess(app, hosts, door)
        self._ended = False

    @staticmethod
    def has(path: str) -> bool:
        """Whether a request for this path is the door's to answer."""
        return _OURS.fullmatch(path) is not None

    def stop(self) -> None:
        """Stop what is under way, and drop what waits."""
        self.tasks.close()
        self.door.lab.close()
        self.door.training.close()

    def close(self) -> None:
        """Stop what is under way, drop what waits, and remove the files; twice does no harm."""
        if self._ended:
            return
        self._ended = True
        self.stop()
        self._threads.shutdown(wait=True)
        self._folder.cleanup()


class OnePort(Router):
    """The page and the door at one address: each request is judged by the one that its path belongs to, and by no other."""

    def __init__(self, page: Router, door: ApiDoor) -> None:
        self._page, self._door = page, door

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> HTTPMessageDelegate | None:
        """The handler of whichever it is for."""
        router: Router = self._door.router if self._door.has(request.path) else self._page
        return router.find_handler(request, **options)


def _temporary(where: Path | None) -> tempfile.TemporaryDirectory[str]:
    try:
        if where is not None:
            where.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryDirectory(prefix="acestep_lab-api-", dir=where, ignore_cleanup_errors=True)
    except OSError as problem:
        raise MachineError(
            f"The folder {shown(str(where), 120)} for uploads and results cannot be used ({problem.strerror}); "
            "ACESTEP_TMPDIR names another."
        ) from None


def _quiet(handler: object) -> None:
    """Requests are no news; what fails unexpectedly is logged by Tornado itself."""
