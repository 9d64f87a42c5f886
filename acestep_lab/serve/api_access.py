"""The boundary in front of the REST door: which host is meant, which page asks. Knows no key and no route.

A key is asked for behind it, by every handler. A page of a stranger whose name is made to point at this machine (DNS
rebinding) still sends its own name as `Host`, and ends here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from acestep_lab.serve.access import RefusalHandler, local_address
from acestep_lab.serve.api_handler import Door, encoded, from_near, let_page
from acestep_lab.serve.api_polling import PlainPoll, is_plain
from acestep_lab.serve.hosts import Hosts, read_host


class ApiAccess(Router):
    """Refuses, or hands on to the door's routes."""

    def __init__(self, app: Application, hosts: Hosts, door: Door) -> None:
        self._app, self._hosts, self._door = app, hosts, door

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> HTTPMessageDelegate:
        """The handler of a request that may pass; else the one that says why not."""
        problem = self._wrong_site(request)
        if problem:
            return self._app.get_handler_delegate(request, ApiRefusal, {"sentence": problem})
        for origin in request.headers.get_list("Origin"):
            let_page(request, origin)
        if is_plain(request):
            return PlainPoll(self._door, request, partial(self._app.find_handler, request, **options))
        return self._app.find_handler(request, **options)

    def _wrong_site(self, request: HTTPServerRequest) -> str:
        named = request.headers.get_list("Host")
        host = read_host(named[0]) if len(named) == 1 else None
        if not self._hosts.has(host, local_address(request)):
            return "This door is not known by that name. If it should be, start it with --origin and the name."
        for origin in request.headers.get_list("Origin"):
            if not from_near(origin) and not self._hosts.allows_origin(origin, host):
                return "Pages of other hosts may not use this door. If one should, name it with --origin."
        return ""


class ApiRefusal(RefusalHandler):
    """Says why not in the door's own form, before any body is read."""

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Connection", "close")  # Tornado ends a connection that is answered before its request is read
        self.finish(encoded({"detail": self._sentence, "error": self._sentence}))
