"""How `jupyter-server-proxy` finds the studio: on a hub, on Binder or beside a local Jupyter it starts it and stands
before it.

It comes as an entry point, since a Jupyter server reads such settings from no folder of snippets. The page is at
/acestep-lab/.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from acestep_lab.serve.hosts import is_loopback, this_machine
from acestep_lab.settings import VARIABLES

NAMED = "ACESTEP_LAB_ORIGIN"
"""Hosts, with commas between, by which the Jupyter server is known where it cannot tell itself."""


def studio() -> dict[str, Any]:
    """The command of the studio's server, and the tile in Jupyter's launcher, which opens a tab of its own.

    The proxy lets in only whoever may use the notebook server, and hands on the host that the browser named.
    """
    origins = [part for origin in origins_of_jupyter() for part in ("--origin", origin)]
    return {
        "command": [sys.executable, "-m", "acestep_lab", "serve", "--port", "{port}", *origins],
        "timeout": 240,
        "launcher_entry": {"title": "acestep_lab studio"},
    }


def origins_of_jupyter() -> list[str]:
    """By which hosts people reach this Jupyter server.

    On a hub or Binder any: its address is the hub's, and nobody's browser runs on that machine, so no foreign page can
    reach the studio's port past the proxy (DNS rebinding). Elsewhere loopback, and what a server that others can reach
    is called.
    """
    if any(name.startswith(("JUPYTERHUB_", "BINDER_")) for name in os.environ):
        return ["*"]
    named = [one.strip() for one in VARIABLES.get(NAMED, "").split(",") if one.strip() and one.strip() != "*"]
    found = sys.modules.get("jupyter_server.serverapp")
    server = found.ServerApp.instance() if found is not None and found.ServerApp.initialized() else None
    if server is None:
        return named
    own = ["localhost", "127.0.0.1"]
    if not is_loopback(server.ip):
        own += [f"[{one}]" if ":" in one else one for one in this_machine()]
    return [*named, *(f"{one}:{server.port}" for one in own)]
