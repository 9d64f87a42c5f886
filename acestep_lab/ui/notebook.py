"""Values in a notebook: a take shows itself as a player, and nothing of its sound is stored in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from acestep_lab.audio.audio import Audio
    from acestep_lab.takes.take import Take

Bundle = dict[str, Any]


def take_bundle(take: Take, include: Any = None, exclude: Any = None) -> Any:
    """What Jupyter shows for a take: a player, and its repr where there are no widgets."""
    return sound_bundle(take, include, exclude)


def sound_bundle(sound: Take | Audio, include: Any = None, exclude: Any = None) -> Any:
    """What Jupyter shows for a sound: a player, and its repr where there are no widgets."""
    from acestep_lab.ui.player import PlayerWidget

    shown = PlayerWidget(sound)._repr_mimebundle_(include=include, exclude=exclude)
    if shown is None:
        return {"text/plain": repr(sound)}
    bundle, *rest = shown if isinstance(shown, tuple) else (shown,)
    bundle = {**bundle, "text/plain": repr(sound)}
    return (bundle, *rest) if rest else bundle


def setup(inline: bool = True) -> None:
    """Make Panel work in this notebook; `inline` needs no internet, and writes 6 MB of JavaScript into the file once.

    Strip outputs before committing (nbstripout, jupytext), or pass `inline=False` where the internet is at hand.
    """
    import panel

    panel.extension(inline=inline)


def studio(session: Any) -> Viewable:
    """The studio page over a session, in a notebook; call `setup()` once before. LabError where that was forgotten."""
    from acestep_lab.ui.page import page

    return page(session)


show = studio
"""Show the page again after a reload: runs and takes have gone on living in the session."""
