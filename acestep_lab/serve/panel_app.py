"""The studio for `panel serve`: `panel serve $(python -c "import acestep_lab.serve.panel_app as a;
print(a.__file__)")`.

One Session per process, whatever the number of tabs. `ACESTEP_LAB_CHECKPOINT` names the checkpoint (default: pocket),
`ACESTEP_LAB_TAKES` the folder of takes. Sounds travel by message here; `acestep-lab serve` serves them by range
requests.

Whose takes it shows: with Panel's own login in front of it (`--basic-auth`, `--oauth-provider`) everybody's own, by the
name they logged in with, which Panel signs. Without a login only a browser on this machine, at a loopback address, is
shown the host's takes; everybody else is shown a sentence. Behind a proxy there must be a login. `acestep-lab serve`
guards more: it binds each page to its browser, and refuses foreign hosts before any handler.
"""

from __future__ import annotations

from typing import Any

import panel as pn

from acestep_lab.serve.hosts import is_loopback, read_host
from acestep_lab.ui.page import page

CLOSED = (
    "This studio has no login, so only browsers on its own machine may use it. Start it with `acestep-lab serve "
    "--address 0.0.0.0`, which asks for a token, or put Panel's `--basic-auth` in front of it."
)


def session() -> Any:
    """The session of this process."""
    from acestep_lab.session import Session

    return pn.state.as_cached("acestep_lab session", Session.open)


def owner_of(user: str | None, request: Any) -> str | None:
    """Whose takes a page shows: those of who logged in, the host's ("") on the host's own machine, nobody's (None)
    otherwise.

    `request` is Bokeh's proxy of the connection; its peer and `Host` are asked of the connection itself, since what the
    proxy tells of cookies and headers comes from a token that the browser sends.
    """
    if user and user != "guest":
        return f"user:{user}"
    own: Any = getattr(request, "_request", None)
    peer = getattr(getattr(getattr(own, "connection", None), "context", None), "address", None)
    if not isinstance(peer, tuple) or not all(is_loopback(one) for one in (str(peer[0]), str(own.remote_ip))):
        return None
    host = read_host(own.headers.get("Host", ""))
    forwarded = any(name in own.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-Ip"))
    return "" if host is not None and is_loopback(host.name) and not forwarded else None


def studio() -> Any:
    """The page of whoever asks."""
    context = None if pn.state.curdoc is None else pn.state.curdoc.session_context
    owner = owner_of(pn.state.user, getattr(context, "request", None))
    return pn.pane.Alert(CLOSED, alert_type="warning") if owner is None else page(session(), owner=owner, whole=True)


if __name__.startswith("bokeh_app"):
    studio().servable(title="acestep_lab")
