"""The studio page in a notebook. How values are shown there is in `formatters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panel.viewable import Viewable


def setup(inline: bool = True) -> None:
    """Make Panel work in this notebook; `inline` needs no internet, and writes 6 MB of JavaScript into the file once.

    SongArrangement outputs before committing (nbstripout, jupytext), or pass `inline=False` where the internet is at hand.
    """
    import panel

    panel.extension(inline=inline)


def studio(session: Any) -> Viewable:
    """The studio page over a session, in a notebook, also again after a reload: runs and takes live on in the session.

    Call `setup()` once before; LabError where that was forgotten.
    """
    from acestep_lab.ui.page import page

    return page(session)
