"""The studio as an app: one model per process, a page per tab, takes per person. Knows no model.

It binds to loopback unless told otherwise, and asks for a token wherever else it is bound.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import panel as pn

from acestep_lab.errors import MachineError
from acestep_lab.serve.door import Door, person
from acestep_lab.serve.sounds import PATH, Shelf, SoundHandler
from acestep_lab.ui.page import page

PATIENCE = 120_000
"""Milliseconds a page may take from being sent to being connected; a slow or sleeping computer needs some."""


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def serve(
    session: Any,
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    token: str | None = None,
    origins: Sequence[str] = (),
    *,
    block: bool = True,
    announce: Callable[[str], None] = print,
    **options: Any,
) -> Any:
    """Serve the studio until interrupted; `block=False` returns the server, which is stopped by `.stop()`.

    Bound to anything but loopback it needs a token: the given one, or a fresh one that is said on the console. With a
    token every browser sees its own takes only. `origins` are hosts, such as "hub.example.org", whose pages may reach it
    through a proxy; "*" is any, for a proxy that itself lets in only who may.
    """
    shelf = Shelf()
    if not is_loopback(address) and not token:
        token = secrets.token_urlsafe(16)
    guarded: dict[str, Any] = {"auth_provider": Door(token)} if token else {}
    if token or origins:
        here = [f"{host}:{port}" for host in ("127.0.0.1", "localhost", address)]
        guarded["websocket_origin"] = ["*"] if token else [*here, *origins]
    announce(f"acestep_lab studio: {_where(address, port, token)}")

    def studio() -> Any:
        owner = person(pn.state.cookies) if token else ""
        return page(session, owner=owner, url=shelf.url, whole=True, **options)

    try:
        return pn.serve(
            {"/": studio},
            port=port,
            address=address,
            show=show,
            threaded=not block,
            verbose=False,
            title="acestep_lab",
            unused_session_lifetime_milliseconds=PATIENCE,
            check_unused_sessions_milliseconds=PATIENCE // 10,
            extra_patterns=[(rf"/{PATH}/([A-Za-z0-9_-]{{20,64}})\.wav", SoundHandler, {"shelf": shelf})],
            **guarded,
        )
    except OSError as problem:
        raise MachineError(
            f"Port {port} of {address} cannot be used ({problem.strerror}); choose another with --port."
        ) from None


def _where(address: str, port: int, token: str | None) -> str:
    host = "127.0.0.1" if address in ("", "0.0.0.0", "::") else address
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


__all__ = ["is_loopback", "page", "serve"]
