"""`POST /query_result` as clients ask it over and over: a small JSON body, answered without a handler of its own.

Fifty clients that poll ask a hundred times a second, and most of what an answer costs is Tornado's `RequestHandler` around
it. A question that is plain (JSON, short, of no page) is answered here from the same functions that the route calls; whatever
is not plain, or would be refused, goes to the route's handler with all its bytes, so that there is one place for every refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)

from acestep_lab.errors import LabError
from acestep_lab.serve.api_body import json_object
from acestep_lab.serve.api_handler import ASKS, HEADERS, Door, Refused, encoded, envelope
from acestep_lab.serve.rest_fields import task_ids

PATH = "/query_result"
MOST_BYTES = 64 * 1024
_DONE = ResponseStartLine("HTTP/1.1", 200, "OK")


def is_plain(request: HTTPServerRequest) -> bool:
    """Whether a request is a question about tasks that needs nothing but an answer."""
    headers = request.headers
    length = headers.get("Content-Length", "")
    return (
        request.method == "POST" and request.path == PATH and "Origin" not in headers and "Expect" not in headers
        and length.isdecimal() and len(length) < 6 and 0 < int(length) <= MOST_BYTES
        and headers.get("Content-Type", "").startswith("application/json")
    )  # fmt: skip


class PlainPoll(HTTPMessageDelegate):
    """Answers once the body is there; `otherwise` makes the handler of what cannot be answered so."""

    def __init__(self, door: Door, request: HTTPServerRequest, otherwise: Callable[[], HTTPMessageDelegate]) -> None:
        self._door, self._request, self._otherwise = door, request, otherwise
        self._body = bytearray()
        self._gone = False
        self._handler: HTTPMessageDelegate | None = None

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self._start: RequestStartLine = start_line

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def on_connection_close(self) -> None:
        if self._handler is None:
            self._gone = True
        else:
            self._handler.on_connection_close()

    def finish(self) -> None:
        if self._gone:
            return
        try:
            answer = self._answer()
        except LabError:  # the route's handler says what is wrong
            self._handing = asyncio.ensure_future(self._hand_on())
            return
        headers = HTTPHeaders(HEADERS)
        headers["Content-Type"] = "application/json; charset=utf-8"
        headers["Content-Length"] = str(len(answer))
        connection: Any = self._request.connection
        connection.write_headers(_DONE, headers, answer)
        connection.finish()

    def _answer(self) -> bytes:
        """The answer; LabError where there is none."""
        fields = json_object(bytes(self._body))
        owner = self._door.keys.owner(self._request.headers.get("Authorization", ""), fields)
        if owner is None:
            raise Refused(401, ASKS)
        return encoded(envelope(self._door.tasks.entries(task_ids(fields), owner)))

    async def _hand_on(self) -> None:
        """Give the route's handler everything that came, as it came."""
        handler = self._handler = self._otherwise()
        ready = handler.headers_received(self._start, self._request.headers)
        if ready is not None:
            await ready
        handler.data_received(bytes(self._body))
        handler.finish()
