"""How `jupyter-server-proxy` finds the studio: on a hub or on Binder it starts it and stands before it, at /acestep-lab/.

It comes as an entry point, since a Jupyter server reads such settings from no folder of snippets.
"""

from __future__ import annotations

import sys
from typing import Any


def studio() -> dict[str, Any]:
    """The command of the studio's server, and the tile in Jupyter's launcher.

    The proxy lets in only whoever may use the notebook server, and the page's address is the hub's own; so pages of any
    origin are taken.
    """
    return {
        "command": [sys.executable, "-m", "acestep_lab", "serve", "--port", "{port}", "--origin", "*"],
        "timeout": 240,
        "launcher_entry": {"title": "acestep_lab studio"},
    }
