"""A few seconds of a take as HTML that holds its sound: what a committed notebook still plays where there is no kernel.

Opus inside an `<audio>`, the waveform as a drawing, no script: viewers that strip scripts (GitHub, nbviewer) leave it whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Region
from acestep_lab.takes.page import base64_of, escaped, wave_path
from acestep_lab.takes.take import Take

BITRATE = 56
"""Kilobits a second: ten seconds are 70 kB, 94 kB as text."""
LEAST, MOST = 0.5, 60.0
FADE = 0.02
"""Seconds over which a cut begins and ends, so that it does not click."""
LEVEL_DB = -1.0
_WIDTH, _HEIGHT, _POINTS = 600, 60, 300
_HTML = (
    '<figure class="acestep-lab-embed" style="margin: 4px 0; max-width: 640px; font: 13px/1.5 system-ui, sans-serif">'
    '<figcaption><strong style="unicode-bidi: isolate">{title}</strong><br><span style="opacity: .75">{facts}</span>'
    '</figcaption><svg viewBox="0 0 {width} {height}" width="100%" height="{height}" preserveAspectRatio="none" '
    'role="img" aria-label="Waveform"><path d="{wave}" fill="#0072b2"/></svg>'
    '<audio controls preload="metadata" aria-label="{title}" style="width: 100%" '
    'src="data:audio/ogg;codecs=opus;base64,{sound}"></audio></figure>'
)


@dataclass(frozen=True)
class Embedded:
    """A take's preview that a notebook keeps in its own file; `html` is all of it."""

    title: str
    start: float
    seconds: float
    html: str

    def __repr__(self) -> str:
        where = f"{self.start:.1f} to {self.start + self.seconds:.1f} s"
        return f"<Embedded {self.title!r}: {where}, {len(self.html.encode()) / 1000:.0f} kB>"

    def _repr_html_(self) -> str:
        return self.html


def embed(take: Take, seconds: float = 10.0, start: float | None = None) -> Embedded:
    """The preview of a take: so many seconds of it, from `start` or where it is liveliest; RecipeError for what is no length."""
    seconds = checks.real("The length of a preview in seconds", seconds, LEAST, MOST)
    seconds = min(seconds, take.seconds)
    last = take.seconds - seconds
    if start is None:
        start = liveliest(take.audio, seconds)
    else:
        start = min(checks.real("The start of a preview in seconds", start, 0.0, 1e6), last)
    return _embedded(take.audio, take.recipe.caption or take.id, start, seconds, _facts(take))


def embed_audio(audio: Audio, title: str, seconds: float = 10.0) -> Embedded:
    """The preview of a sound that is no take, called by `title`: so many seconds of it, where it is liveliest."""
    seconds = min(checks.real("The length of a preview in seconds", seconds, LEAST, MOST), audio.seconds)
    return _embedded(audio, title, liveliest(audio, seconds), seconds, [])


def _embedded(audio: Audio, title: str, start: float, seconds: float, facts: list[str]) -> Embedded:
    if seconds <= 0:
        raise RecipeError("There is no sound here to make a preview of.")
    part, title = excerpt(audio, start, seconds), " ".join(title.split())[:120]
    span = f"{start:.1f}–{start + part.seconds:.1f} of {audio.seconds:.1f} s"
    return Embedded(title, round(start, 3), round(seconds, 3), _html(part, title, [span, *facts]))


def liveliest(audio: Audio, seconds: float) -> float:
    """Where the loudest window of so many seconds begins, in whole half seconds: the chorus rather than the intro."""
    hop = max(1, round(0.5 * audio.rate))
    power = np.square(audio.samples).mean(axis=0)
    levels = np.add.reduceat(power, np.arange(0, len(power), hop)) if len(power) else np.zeros(1)
    width = max(1, round(seconds / 0.5))
    sums = np.convolve(levels, np.ones(width), "valid") if len(levels) > width else np.zeros(1)
    return float(min(0.5 * int(np.argmax(sums)), max(0.0, audio.seconds - seconds)))


def excerpt(audio: Audio, start: float, seconds: float) -> Audio:
    """The cut, its ends faded, within full scale, in at most two channels."""
    from acestep_lab.audio.mastering import fade

    cut = audio.cut(Region(start, min(start + seconds, audio.seconds)))
    cut = cut.with_channels(2) if cut.channels > 2 else cut
    cut = cut.normalized(LEVEL_DB) if cut.peak > 10 ** (LEVEL_DB / 20) else cut
    samples, frames = cut.samples.copy(), round(FADE * cut.rate)
    fade(samples, frames, frames)
    return Audio(samples, cut.rate, cut.layout)


def _facts(take: Take) -> list[str]:
    plan, recipe = take.plan, take.recipe
    bpm = recipe.bpm or getattr(plan, "bpm", None)
    key = recipe.keyscale or getattr(plan, "keyscale", None)
    return [f"seed {recipe.seed}", *([f"{bpm} bpm"] if bpm else []), *([str(key)] if key else []), take.id]


def _html(part: Audio, title: str, facts: list[str]) -> str:
    return _HTML.format(
        title=escaped(title), facts=escaped(" · ".join(facts)), width=_WIDTH, height=_HEIGHT,
        wave=wave_path(part, _WIDTH, _HEIGHT, _POINTS), sound=base64_of(part.encoded("opus", bitrate=BITRATE)),
    )  # fmt: skip
