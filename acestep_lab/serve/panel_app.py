"""The studio for `panel serve`: `panel serve $(python -c "import acestep_lab.serve.panel_app as a; print(a.__file__)")`.

One Session per process, whatever the number of tabs. `ACESTEP_LAB_CHECKPOINT` names the checkpoint (default: pocket),
`ACESTEP_LAB_TAKES` the folder of takes. Sounds travel by message here; `acestep-lab serve` serves them by range requests.
Put Panel's own `--basic-auth` in front of it where others can reach it.
"""

from __future__ import annotations

import os
from typing import Any

import panel as pn

from acestep_lab.ui.page import page


def session() -> Any:
    """The session of this process."""
    from acestep_lab.session import Session

    return pn.state.as_cached(
        "acestep_lab session", lambda: Session.open(os.environ.get("ACESTEP_LAB_CHECKPOINT", "pocket"))
    )


if __name__.startswith("bokeh_app"):
    page(session(), whole=True).servable(title="acestep_lab")
