"""The studio laid out by Panel: an app that fills the window, or an output that flows in a notebook. Knows no model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import panel as pn
from panel.io.resources import LOCAL_DIST
from panel.viewable import Viewable

from acestep_lab.errors import LabError
from acestep_lab.session_like import SessionLike
from acestep_lab.ui import first_paint, tracks
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.studio import Studio

LEFT = ("describe", "prompt", "lyrics", "adapters", "drop")
"""What one composes with, by name, in order; a name that a studio has no component for takes no place."""
LISTEN, REPAINT, AFTER = ("queue", "plan", "preview"), ("picker",), ("attribution", "stems", "song")
TRAIN = ("train_form", "dataset_table", "training_view")
SWEEP = ("sweep_form", "sweep_view")
TAKES = ("gallery", "tree")
OVER = ("export",)
"""Dialogs: they lie over the page and take no room in it."""

# All are Rows, whatever they look like: Panel's Column tells Python of every scroll, and Python's answer scrolls it again.
# A part of the page that a narrow page shows by its tab asks a property that widgets/tabs.js sets on the document: custom
# properties reach into shadow roots in every browser.
_CHILDREN = """
:host > div { max-height: none; align-self: stretch; min-width: 0; }
"""
_PLAIN = """
:host { display: flex !important; flex-direction: column; gap: 10px; width: 100% !important; min-width: 0; }
:host { height: auto !important; max-height: none !important; }
:host > div { flex: none; }
"""
_PAGE = """
:host { display: grid !important; grid-template: auto minmax(0, 1fr) auto auto / minmax(0, 1fr); gap: 0; }
:host { width: 100% !important; height: 100vh !important; height: 100dvh !important; overflow: hidden; margin: 0; }
@media (max-height: 420px) { :host { grid-template-rows: auto minmax(190px, 1fr) auto auto; overflow: auto; } }
"""
_HEAD = """
:host { display: grid !important; grid-template-columns: minmax(0, 1fr) clamp(150px, 17vw, 240px); gap: 10px; }
:host { width: 100% !important; height: 46px; padding: 3px 14px; box-sizing: border-box; align-items: start; }
:host { position: relative; z-index: 30; }
@media (max-width: 899.9px) { :host { padding: 3px 8px; grid-template-columns: minmax(0, 1fr) 34vw; gap: 4px; } }
"""
_FRAME = """
:host { display: grid !important; grid-template: minmax(0, 1fr) / minmax(370px, 5fr) minmax(0, 11fr); gap: 12px; }
:host { width: 100% !important; height: 100% !important; min-height: 0; box-sizing: border-box; padding: 0 14px 10px; }
@media (max-width: 899.9px) { :host { display: flex !important; flex-direction: column; padding: 0 8px; gap: 0; } }
"""
_LEFT = """
:host { display: flex !important; flex-direction: column; gap: 10px; width: 100% !important; min-width: 0; min-height: 0; }
:host { height: 100% !important; overflow: hidden auto; overscroll-behavior: contain; scrollbar-width: thin; }
:host > div { flex: none; }
@media (max-width: 899.9px) { :host { display: var(--acl-tab-compose, flex) !important; } }
"""
_RIGHT = """
:host { display: flex !important; flex-direction: column; width: 100% !important; min-width: 0; min-height: 0; }
:host { height: 100% !important; }
@media (max-width: 899.9px) { :host { display: contents !important; } }
"""
# The work above takes what it needs, up to the height that leaves the takes their first row.
_WORK = """
:host { display: block !important; width: 100% !important; min-width: 0; }
:host { flex: 0 1 auto; max-height: calc(100% - var(--acl-takes, 208px)) !important; overflow: hidden auto; }
:host { overscroll-behavior: contain; scrollbar-width: thin; }
@media (max-width: 899.9px) { :host { display: contents !important; } }
"""
# Two that are folded to one line each lie side by side.
_TAB = """
:host { display: flex !important; flex-flow: row wrap; column-gap: 10px; width: 100% !important; min-width: 0; }
:host > div { margin-block-end: 10px !important; flex: 1 1 100%; }
:host > div[data-folded="true"] { flex-basis: 300px; }
@media (max-width: 899.9px) {
  :host { display: var(--acl-tab-NAME, none) !important; flex-flow: column nowrap; flex: 0 1 auto; min-height: 0; }
  :host { overflow: hidden auto; overscroll-behavior: contain; scrollbar-width: thin; }
  :host > div, :host > div[data-folded="true"] { flex: none; }
}
"""
_TAKES = """
:host { display: flex !important; flex-direction: column; gap: 10px; width: 100% !important; min-width: 0; min-height: 0; }
:host { flex: 1 1 0; overflow: hidden auto; overscroll-behavior: contain; scrollbar-width: thin; }
:host > div { flex: none; }
@media (max-width: 899.9px) {
  :host { display: var(--acl-tab-takes, none) !important; }
  :host > div:first-of-type { max-height: 100%; overflow: hidden auto; border-radius: 12px; overscroll-behavior: auto; }
}
"""
_FLOWING_GRID = """
:host { display: grid !important; grid-template-columns: minmax(360px, 5fr) minmax(0, 8fr); gap: 12px; }
:host { align-items: start; width: 100% !important; height: auto !important; max-height: none !important; }
@media (max-width: 899.9px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
_FLOWING_BAR = """
:host { display: block !important; width: 100% !important; height: auto !important; }
"""
# Sticky against the whole output, of which the bar is a child.
_FOOT = """
:host > div.acl-foot { position: sticky; bottom: 0; z-index: 20; }
"""
_OVER = """
:host { display: block !important; position: fixed !important; inset-inline: 0; bottom: 0; height: 0; overflow: hidden; }
"""
# The form is taller than its column: scrolled past, its last row (the buttons that begin a run) stays in sight.
_FORM = ":host { position: sticky; top: calc(74px - var(--acl-height, 0px)); z-index: 3; }"


def layout(studio: Studio, whole: bool = False) -> Viewable:
    """The studio's components as a page that fills the window, or (in a notebook) as an output that flows."""
    return _whole(studio) if whole else _flowing(studio)


def _whole(studio: Studio) -> Viewable:
    """The page of an app: head, form, work and takes, the player, and on a narrow page its tabs."""
    of = _finder(studio)
    studio.prompt.stylesheets = [*studio.prompt.stylesheets, _FORM]
    parts = (("listen", LISTEN), ("repaint", REPAINT), ("listen", AFTER), ("sweep", SWEEP), ("train", TRAIN))
    work = [_box(_TAB.replace("NAME", tab), *of(names)) for tab, names in parts if of(names)]
    right = _box(_RIGHT, _box(_WORK, *work), _box(_TAKES, *of(TAKES)))
    frame = _box(_FRAME, _box(_LEFT, *of(LEFT)), right)
    head = _box(_HEAD, studio.top, studio.switch)
    return _box(_PAGE, head, frame, studio.player, studio.tabs, *_over(of))


def _flowing(studio: Studio) -> Viewable:
    """The output of a notebook: as tall as it is, the player at the foot of what is seen of it."""
    of = _finder(studio)
    grid = _box(_FLOWING_GRID, _box(_PLAIN, *of(LEFT)), _box(_PLAIN, *of(LISTEN + REPAINT + AFTER + SWEEP + TRAIN)))
    bar = _box(_FLOWING_BAR, studio.player)
    bar.css_classes = ["acl-foot"]
    return _box(_PLAIN + _FOOT, studio.top, studio.switch, grid, *of(TAKES), bar, *_over(of))


def _over(of: Callable[[Sequence[str]], list[Any]]) -> list[Any]:
    return [_box(_OVER, *of(OVER))] if of(OVER) else []


def _finder(studio: Studio) -> Callable[[Sequence[str]], list[Any]]:
    """Gives the components of some names, as far as the studio has them."""
    return lambda names: [studio.components[name] for name in names if name in studio.components]


def _box(style: str, *children: object) -> pn.Row:
    return pn.Row(*children, sizing_mode="stretch_width", margin=0, stylesheets=[_CHILDREN, style])


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
    if whole and pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
        pn.state.curdoc.template = first_paint.template()
    studio = Studio(backend_of(session), owner, address=address, panes=True, page=whole, url=url, **options)
    view = layout(studio, whole)
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
