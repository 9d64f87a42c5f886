"""The studio laid out by Panel: in an app or in a notebook, one column or two. Knows no model."""

from __future__ import annotations

import sys
from typing import Any

import panel as pn
from panel.io.resources import LOCAL_DIST
from panel.viewable import Viewable

from acestep_lab.errors import LabError
from acestep_lab.session_like import SessionLike
from acestep_lab.ui import tracks
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.studio import Studio

# Panel's columns end in a button, unseen but for the gap before it.
_GRID = """
:host { display: grid !important; grid-template-columns: minmax(360px, 5fr) minmax(0, 8fr); gap: 20px; }
:host { align-items: start; width: 100% !important; }
.scroll-button { display: none; }
@media (max-width: 900px) { :host { grid-template-columns: minmax(0, 1fr); gap: 14px; } }
"""
_STACK = """
:host { display: flex !important; flex-direction: column; gap: 20px; width: 100% !important; min-width: 0; }
.scroll-button { display: none; }
"""
_PAGE = """
:host { display: flex !important; flex-direction: column; gap: 20px; width: 100% !important; max-width: 1440px; }
:host { margin: 0 auto !important; padding: 18px 28px 60px; box-sizing: border-box; }
.scroll-button { display: none; }
@media (max-width: 900px) { :host { padding: 10px 12px 40px; gap: 14px; } }
"""


def layout(studio: Studio) -> Viewable:
    """The studio's components as one page: two columns where there is room, one where there is not."""
    left = _column(_STACK, studio.describe, studio.prompt, studio.lyrics, studio.adapters, studio.drop)
    right = _column(_STACK, studio.queue, studio.plan, studio.preview, studio.player, studio.picker)
    return _column(_PAGE, studio.top, studio.switch, _column(_GRID, left, right), studio.gallery, studio.tree)


def _column(style: str, *children: object) -> pn.Column:
    return pn.Column(*children, sizing_mode="stretch_width", margin=0, stylesheets=[style])


def page(
    session: SessionLike,
    *,
    owner: str = "",
    address: str = "",
    url: tracks.UrlOf | None = None,
    whole: bool = False,
    **options: Any,
) -> Viewable:
    """The studio over a session as something Panel shows: in an app, or in a notebook; LabError where Panel is not in
    it.

    `owner` is the person, "" the host; `address` is where they come from, so that another name buys no more room in the
    queue.
    """
    if _in_a_kernel() and not pn.extension._loaded:
        raise LabError(
            "This notebook has no Panel in it yet. Run `from acestep_lab.ui.notebook import setup; setup()` in a cell "
            "of its own, then this one again."
        )
    local_styles()
    studio = Studio(backend_of(session), owner, address=address, panes=True, page=whole, url=url, **options)
    view = layout(studio)
    if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        pn.state.on_session_destroyed(lambda _: studio.close())
    return view


def _in_a_kernel() -> bool:
    """Whether this is a Jupyter kernel; there Panel needs its JavaScript in the page before it can show anything."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and bool(kernel.IPKernelApp.initialized())


def local_styles() -> None:
    """Have Panel's own style sheets served from here, even to a page whose session was made anew over its web socket.

    Panel says where they are only while it answers a page over HTTP; otherwise it points browsers to a CDN.
    """
    if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        pn.state.curdoc.template_variables.setdefault("dist_url", LOCAL_DIST)
