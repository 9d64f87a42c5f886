"""A component used alone, with a session: the studio page around it, of which only this one component is seen.

What a click does is written once, in the page's controllers (`controllers/`); here they are built over components without
a view. Knows the page as a whole and no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, shown
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.component import Component, unseen
from acestep_lab.ui.studio import Studio


def studio_around(
    component: Component, session: Any, arguments: Sequence[object], keywords: Mapping[str, object]
) -> Studio:
    """The page over a session whose one visible part is this component, set up with its own arguments; LabError where that
    is no session, or the component no part of a page.

    Keep it as long as the component lives, and `close` it after.
    """
    if not isinstance(session, SessionLike):
        raise LabError(f"A session is what Session.open() gives, not {shown(session)}.")
    placed = False

    def make(module: ModuleType, name: str, **given: object) -> Any:
        nonlocal placed
        core = getattr(module, name)
        if not isinstance(component, core):
            return unseen(core)(**given)
        placed = True
        alone = {"standalone": True} if "standalone" in given else {}
        component.setup(*arguments, **{**given, **alone, **keywords})
        return component

    studio = Studio(backend_of(session), make=make)
    if not placed:
        studio.close()
        raise LabError(f"A {type(component).__name__} needs no session; leave it out.")
    if arguments and isinstance(arguments[0], Take | Audio):
        studio.select(arguments[0])
    return studio
