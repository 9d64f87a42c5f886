"""A sound as the browser needs it: an id, a title, peaks, bytes.

Knows no browser. Peaks and bytes are made on demand; bytes are kept for the sounds used last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.timed_lyrics import GAP_SECONDS, Alignment
from acestep_lab.takes import titles
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import LONGEST, Find, TitleParts
from acestep_lab.ui.peaks import Peaks, View

UrlOf = Callable[[Audio], str]
"""Gives a sound an address the browser can fetch from (an app); without one its bytes travel by message."""


def peaks_of(audio: Audio) -> Peaks:
    """The pyramid of a sound, made once and kept beside it (to be asked for its id would take longer)."""
    kept = vars(audio)
    if "_peaks" not in kept:
        kept["_peaks"] = Peaks(audio.samples, audio.rate)
    peaks: Peaks = kept["_peaks"]
    return peaks


@lru_cache(maxsize=4)
def wav_of(audio: Audio) -> bytes:
    """The sound as a WAV file that holds these very samples; the last four are kept."""
    return audio.encoded("wav")


def audio_of(sound: Take | Audio) -> Audio:
    """The samples of a take, or of a sound itself."""
    return sound.audio if hasattr(sound, "audio") else sound


def title_of(sound: Take | Audio, longest: int = LONGEST, find: Find = lambda id: "") -> str:
    """What a sound is called, cut at a word: by the words or the sound it was made from, else its id. `find` knows what its
    source is called; a page asks its studio, which knows titles given by hand as well.
    """
    return titles.title(TitleParts.of(sound), find, longest) or sound.id


def seed_of(sound: Take | Audio) -> int | None:
    """The seed of a take; None for a recording."""
    recipe = getattr(sound, "recipe", None)
    return recipe.seed if recipe is not None else None


def facts_of(sound: Take | Audio) -> list[str]:
    """The few facts under a title: seed, tempo, key, task; only those that are known."""
    recipe, plan = getattr(sound, "recipe", None), getattr(sound, "plan", None)
    if recipe is None:
        return [f"{audio_of(sound).rate:,} Hz".replace(",", " ")]
    facts = [] if type(recipe.task).__name__ == "Text2Music" else [type(recipe.task).__name__.lower()]
    facts += [f"seed {recipe.seed}"] if recipe.seed is not None else []
    for name, form in (("bpm", "{} bpm"), ("keyscale", "{}")):
        value = getattr(plan, name, None) or getattr(recipe, name)
        facts += [form.format(value)] if value else []
    return facts


def lines_of(found: Alignment) -> list[tuple[float, str]]:
    """The lines of an alignment, each with its start; "" where a rest begins."""
    lines = found.found
    rows = [(line.start, line.text) for line in lines]
    for line, after in zip(lines, [*(one.start for one in lines[1:]), math.inf], strict=True) if lines else ():
        rows += [(line.end, "")] if after - line.end >= GAP_SECONDS else []
    return sorted(rows)


def track(
    sound: Take | Audio, url: UrlOf | None = None, lines: Sequence[tuple[float, str]] = (), title: str = ""
) -> dict[str, Any]:
    """What a browser half is told of a sound; plain data."""
    audio = audio_of(sound)
    return {
        "id": sound.id,
        "title": title or title_of(sound),
        "facts": facts_of(sound),
        "seconds": float(audio.seconds),
        "rate": audio.rate,
        "channels": audio.channels,
        "url": url(audio) if url else None,
        "lines": [[float(at), str(text)] for at, text in lines],
    }


def view(sound: Take | Audio, start: float, end: float, pixels: int) -> View:
    """Peaks of a span of a sound."""
    return peaks_of(audio_of(sound)).view(start, end, pixels)
