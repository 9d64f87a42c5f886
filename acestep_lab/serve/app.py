"""The studio as an app: one model per process, a page per tab, takes per person. Knows no model.

It binds to loopback unless told otherwise, and asks for a token wherever else it is bound.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from typing import Any

import panel as pn
from panel.viewable import Viewable

from acestep_lab.serve.sounds import PATH, Shelf, SoundHandler
from acestep_lab.ui import sound
from acestep_lab.ui.desk import desk_of
from acestep_lab.ui.studio import Studio

_GRID = """
:host { display: grid !important; grid-template-columns: minmax(360px, 5fr) minmax(0, 8fr); gap: 20px; align-items: start; width: 100% !important; }
@media (max-width: 900px) { :host { grid-template-columns: minmax(0, 1fr); gap: 14px; } }
"""
_STACK = ":host { display: flex !important; flex-direction: column; gap: 20px; width: 100% !important; min-width: 0; }"
_PAGE = """
:host { display: flex !important; flex-direction: column; gap: 20px; width: 100% !important; max-width: 1440px; margin: 0 auto !important; padding: 18px 28px 60px; box-sizing: border-box; }
@media (max-width: 900px) { :host { padding: 10px 12px 40px; gap: 14px; } }
"""


def layout(studio: Studio) -> Viewable:
    """The studio's components as one page: two columns where there is room, one where there is not."""
    left = _column(_STACK, studio.prompt)
    right = _column(_STACK, studio.queue, studio.preview, studio.player)
    return _column(_PAGE, studio.top, _column(_GRID, left, right))


def _column(style: str, *children: Any) -> pn.Column:
    return pn.Column(*children, sizing_mode="stretch_width", margin=0, stylesheets=[style])


def page(session: Any, *, owner: str = "", url: sound.UrlOf | None = None, whole: bool = False, **options: Any) -> Viewable:
    """The studio over a session as something Panel shows: in an app, or in a notebook."""
    studio = Studio(desk_of(session), owner, panes=True, page=whole, url=url, **options)
    view = layout(studio)
    if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        pn.state.on_session_destroyed(lambda _: studio.close())
    return view


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    if address in ("localhost", ""):
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
    *,
    block: bool = True,
    announce: Callable[[str], None] = print,
    **options: Any,
) -> Any:
    """Serve the studio until interrupted; `block=False` returns the server, which is stopped by `.stop()`.

    Bound to anything but loopback it needs a token: the given one, or a fresh one that is said on the console.
    """
    shelf = Shelf()
    if not is_loopback(address) and not token:
        token = secrets.token_urlsafe(16)
    announce(f"acestep_lab studio: {_where(address, port, token)}")
    return pn.serve(
        {"/": lambda: page(session, url=shelf.url, whole=True, **options)},
        port=port,
        address=address,
        show=show,
        threaded=not block,
        title="acestep_lab",
        extra_patterns=[(rf"/{PATH}/([A-Za-z0-9_-]{{20,64}})\.wav", SoundHandler, {"shelf": shelf})],
    )


def _where(address: str, port: int, token: str | None) -> str:
    host = "127.0.0.1" if address in ("", "0.0.0.0", "::") else address
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


