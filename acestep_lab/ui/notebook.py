"""How a value shows itself at the end of a notebook cell: a player, whose sound never lands in the file.

Knows values and the player; no model. Where no widget can be drawn, a static waveform stands in for the picture.
"""

from __future__ import annotations

import html
from typing import Any

from acestep_lab.decode.audio import Audio
from acestep_lab.takes.take import Take
from acestep_lab.ui import sound
from acestep_lab.ui.player import PlayerWidget


def take_bundle(take: Take, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """The mime bundle of a take: a player widget, its words as text, a still waveform as HTML."""
    return _bundle(take, repr(take), include, exclude)


def sound_bundle(audio: Audio, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """The mime bundle of a sound."""
    return _bundle(audio, repr(audio), include, exclude)


def _bundle(thing: Take | Audio, text: str, include: Any, exclude: Any) -> dict[str, Any]:
    shown = PlayerWidget(thing)._repr_mimebundle_(include=include, exclude=exclude) or {}
    bundle: dict[str, Any] = dict(shown[0] if isinstance(shown, tuple) else shown)
    return bundle | {"text/plain": text, "text/html": still(thing)}


def still(thing: Take | Audio, width: int = 640, height: int = 64) -> str:
    """A waveform as a small inline SVG with its title; a few kilobytes, no sound."""
    facts = " · ".join(
        [sound.title_of(thing), f"{sound.audio_of(thing).seconds:.1f} s", *sound.facts_of(thing)]
    )
    return (
        f'<figure style="margin:0"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(facts, quote=True)}"><path d="{wave_path(sound.audio_of(thing), width, height)}" '
        f'fill="#56B4E9"/></svg><figcaption>{html.escape(facts)}</figcaption></figure>'
    )


def wave_path(audio: Audio, width: int, height: int, bins: int = 320) -> str:
    """The outline of a waveform as an SVG path."""
    peaks = audio.with_channels(1).peaks(bins)[0]
    if not len(peaks):
        return ""
    step, middle = width / len(peaks), height / 2
    top = [f"{i * step:.1f},{middle - high * middle:.1f}" for i, (_, high) in enumerate(peaks)]
    bottom = [f"{i * step:.1f},{middle - low * middle:.1f}" for i, (low, _) in enumerate(peaks)]
    return "M" + "L".join(top + bottom[::-1]) + "Z"
