"""Pictures with axes: spectrograms or latents one below the other over one axis of time; plain SVG with the PNGs inside.

    spectrograms("A render forms", [("step 1", first), ("step 12", last)])

Knows sounds, latents and words; no steps and no takes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.mel_levels import axis as frequencies
from acestep_lab.listen.mel_levels import mel_levels
from acestep_lab.ui.latent_image import order_of, picture, png_bytes
from acestep_lab.ui.line_chart import LEFT, RIGHT, TOP, WIDTH, Axis, Scale, heading, sheet
from acestep_lab.ui.mel_image import sound_png

_ROW, _GAP, _FOOT = 96, 26, 44
"""Height of a picture, what is above it for its name, and what is below the last one; in the chart's units."""
_COLUMNS = 160
"""Columns of a picture: a lesson stays small."""
_APART = 0.16
"""Of a picture's height: what two written values are apart at least."""
Ticks = Sequence[tuple[float, str]]
"""Heights, 0 at the bottom to 1 on top, and what is written there."""


@dataclass(frozen=True, repr=False)
class PictureChart:
    """Named PNGs, one below the other, over seconds; a notebook shows it by itself, `svg()` is the file."""

    title: str
    seconds: float
    y: str
    ticks: Ticks
    panels: tuple[tuple[str, bytes], ...]
    start: float = 0.0

    def svg(self) -> str:
        """The picture, white behind, so that it reads in a dark notebook too."""
        along = Scale(Axis("time in seconds"), [self.start, self.start + self.seconds], LEFT, WIDTH - RIGHT)
        along.low, along.high = self.start, self.start + self.seconds
        rows = "".join(self._row(number) for number in range(len(self.panels)))
        end = TOP - 30 + len(self.panels) * (_ROW + _GAP)
        named = ", ".join(name for name, _ in self.panels)
        said = f"{self.title}. {self.y} over time in seconds, one below the other: {named}"
        return sheet(said, f"{heading(self.title)}{rows}{_below(along, end)}", end + _FOOT)

    def _row(self, number: int) -> str:
        """One picture with its name above and what its heights mean beside it."""
        name, png = self.panels[number]
        top = TOP - 30 + number * (_ROW + _GAP) + _GAP
        inside = base64.b64encode(png).decode()
        written = "".join(
            f'<text x="{LEFT - 8}" y="{top + (1 - height) * _ROW + 4:.1f}" text-anchor="end">{escape(text)}</text>'
            for height, text in self.ticks
        )
        turned = (
            f'<text transform="translate(14 {top + _ROW / 2}) rotate(-90)" text-anchor="middle">{escape(self.y)}</text>'
        )
        return (
            f'<text x="{LEFT}" y="{top - 6}">{escape(name)}</text>{written}{turned}'
            f'<image x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{_ROW}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{inside}"/>'
        )

    def __repr__(self) -> str:
        return f"<PictureChart {self.title!r}>"

    def _repr_html_(self) -> str:
        return self.svg()


def _below(along: Scale, top: float) -> str:
    """The axis of time below the last picture."""
    ticks = "".join(
        f'<path d="M{along.place(value):.1f} {top}v4" stroke="#666"/>'
        f'<text x="{along.place(value):.1f}" y="{top + 17}" text-anchor="middle">{value:g}</text>'
        for value in along.ticks()
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'{ticks}<text x="{middle}" y="{top + 36}" text-anchor="middle">{escape(along.axis.label)}</text>'


def spectrograms(title: str, sounds: Sequence[tuple[str, Audio]], start: float = 0.0) -> PictureChart:
    """Mel spectrograms of named sounds of one length; the loudest of each is brightest, what is 60 dB below it dark."""
    first = sounds[0][1]
    panels = tuple((name, sound_png(mel_levels(sound, _COLUMNS))) for name, sound in sounds)
    return PictureChart(title, first.seconds, "frequency", _frequency_ticks(first.rate), panels, start)


def _frequency_ticks(rate: int) -> Ticks:
    """Frequencies far enough from one another to be written beside a picture."""
    found: list[tuple[float, str]] = []
    for height, text in frequencies(rate):
        if not found or float(str(height)) - found[-1][0] > _APART:
            found.append((float(str(height)), str(text)))
    return found


def latents(title: str, named: Sequence[tuple[str, object]], seconds: float) -> PictureChart:
    """Latents `[frames, channels]` of one render; amber is above zero, blue below. All have the last one's order of channels."""
    order = order_of(named[-1][1])
    panels = tuple((name, png_bytes(picture(one, order, _COLUMNS, 1))) for name, one in named)
    return PictureChart(title, seconds, "latent channel", [(0.98, "1"), (0.02, str(len(order)))], panels)
