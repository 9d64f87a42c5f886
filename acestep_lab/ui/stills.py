"""What stands beside a widget in a notebook that is read where no kernel runs: short sounds and drawings, no script.

Off unless ACESTEP_LAB_STILLS says so: a notebook at work stays small; one that is committed as it ran carries its music.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError
from acestep_lab.settings import Settings
from acestep_lab.takes.embedding import embed, embed_audio
from acestep_lab.takes.take import Take

SECONDS = 6.0
"""Of a take, where it is liveliest: about 50 kB each."""
MOST = 6
"""Sounds of one output; of more, the first."""


def still(value: object) -> dict[str, object]:
    """HTML for a value that is otherwise a widget, as a MIME bundle; empty where stills are off or there is nothing to hear."""
    if not Settings.read().on("stills"):
        return {}
    html = "".join(_heard(value))
    return {"text/html": html} if html else {}


def _heard(value: object) -> list[str]:
    return [html for title, sound in list(_sounds(value))[:MOST] if (html := _player(title, sound))]


def _sounds(value: Any) -> Iterable[tuple[str, Take | Audio]]:
    """What a value has to be heard, with names: a take, a sound, the takes of a run, stems."""
    if isinstance(value, Take | Audio):
        yield "", value
    elif isinstance(made := getattr(value, "made", None), Mapping):
        yield from (("", value.take(place)) for place in list(made)[:MOST])
    elif hasattr(value, "residual"):
        yield from ((name, value.sound(name)) for name in value)
        yield "", value.residual


def _player(title: str, sound: Take | Audio) -> str:
    """A sound as a player; nothing for one that is empty."""
    try:
        return (
            embed(sound, SECONDS) if isinstance(sound, Take) else embed_audio(sound, title or sound.id, SECONDS)
        ).html
    except LabError:
        return ""
