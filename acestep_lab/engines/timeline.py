"""What a card copied while it worked, drawn: as text and as a picture. Knows stretches of time; no card and no model.

::

    Timeline(watch.read())          # components ████████ / comes ▒▒▒▒ / goes home ░░
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from acestep_lab.models.lanes import COMES, GOES, PIECE, WORK, Stretch
from acestep_lab.models.memory_plan import aligned, gb

ROWS = {
    WORK: ("works", "#0072B2"),
    PIECE: ("pieces", "#56B4E9"),
    COMES: ("weights come", "#E69F00"),
    GOES: ("goes home", "#009E73"),
}
"""Rows of the picture from above: how each is called, and its colour."""
NOTHING = "Nothing was copied: this machine works where its memory is."


@dataclass(frozen=True)
class Copied:
    """What was copied of one thing, all together."""

    what: str
    kind: str  # COMES or GOES
    times: int
    bytes: int
    seconds: float
    hidden: float
    """Seconds of those in which the card worked."""
    meanwhile: str
    """What it worked on for most of that time; "" for nothing."""


@dataclass(frozen=True)
class Timeline:
    """Copies and work of a render in the order in which they began; seconds count from when somebody began to watch."""

    stretches: tuple[Stretch, ...] = ()

    @property
    def busy(self) -> tuple[Stretch, ...]:
        """When the card worked: pieces where they were told, else whole components (which may wait for pieces)."""
        pieces = [one for one in self.stretches if one.kind == PIECE]
        whole = [one for one in self.stretches if one.kind == WORK and not any(_shared(one, piece) for piece in pieces)]
        return tuple(sorted([*pieces, *whole], key=lambda one: one.start))

    def copied(self) -> tuple[Copied, ...]:
        """Every copy, those of one thing together, each with what was worked on meanwhile."""
        groups: dict[tuple[str, str], list[Stretch]] = {}
        for one in self.stretches:
            if one.kind in (COMES, GOES):
                groups.setdefault((_name(one.what), one.kind), []).append(one)
        return tuple(self._together(what, kind, some) for (what, kind), some in groups.items())

    def _together(self, what: str, kind: str, some: Sequence[Stretch]) -> Copied:
        beside: dict[str, float] = {}
        for one in some:
            for work in self.busy:
                if shared := _shared(one, work):
                    beside[_name(work.what)] = beside.get(_name(work.what), 0.0) + shared
        seconds = sum(one.end - one.start for one in some)
        most = max(beside, key=lambda name: beside[name], default="")
        return Copied(
            what, kind, len(some), sum(one.bytes for one in some), seconds, min(seconds, sum(beside.values())), most
        )

    def __str__(self) -> str:
        """A row of blocks for each kind, and a line for everything that was copied."""
        found = self.copied()
        if not found:
            return NOTHING
        return "\n".join((*self._drawn(), "", *aligned([*_table(found)])))

    def _drawn(self, columns: int = 64) -> Iterator[str]:
        """What each lane did, in columns of equal time."""
        length = self._length
        for kind, (title, _) in ROWS.items():
            cells = ["·"] * columns
            for one in (one for one in self.stretches if one.kind == kind):
                first, last = (min(columns - 1, int(columns * at / length)) for at in (one.start, one.end))
                cells[first : last + 1] = "█" * (last + 1 - first)
            yield f"{title:>12} {''.join(cells)}"
        yield f"{'':>12} 0 s{f'{length:.2f} s':>{columns - 3}}"

    @property
    def _length(self) -> float:
        return max((one.end for one in self.stretches), default=0.0) or 1.0

    def _repr_html_(self) -> str:
        found = self.copied()
        if not found:
            return f"<p>{NOTHING}</p>"
        head, *rows = _table(found)
        cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        names = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
        return f"{self._picture()}<table><thead><tr>{names}</tr></thead><tbody>{cells}</tbody></table>"

    def _picture(self, width: int = 520) -> str:
        """A row for each kind; what is drawn says its name and seconds when it is pointed at."""
        scale, parts = width / self._length, []
        for line, (kind, (title, colour)) in enumerate(ROWS.items()):
            parts.append(f'<text x="0" y="{24 * line + 15}" font-size="13">{title}</text>')
            for one in (one for one in self.stretches if one.kind == kind):
                wide = max(0.5, scale * (one.end - one.start))
                parts.append(
                    f'<rect x="{100 + scale * one.start:.1f}" y="{24 * line + 3}" width="{wide:.1f}" height="16" fill="{colour}" '
                    f'stroke="currentColor" stroke-width="0.3"><title>{escape(_said(one))}</title></rect>'
                )
        what = f"What the card copied while it worked, over {self._length:.2f} seconds"
        return (
            f'<svg role="img" aria-label="{what}" width="{width + 110}" height="{24 * len(ROWS) + 6}" fill="currentColor">'
            f"{''.join(parts)}</svg>"
        )


NOTHING_MOVED = Timeline()
"""Of a machine with one lane."""


def _said(one: Stretch) -> str:
    size = f", {gb(one.bytes)}" if one.bytes else ""
    return f"{one.what}: {one.start:.3f} to {one.end:.3f} s{size}"


def _table(found: Sequence[Copied]) -> Iterator[tuple[str, ...]]:
    """A header, and a row for each thing that was copied."""
    yield "copied", "way", "times", "size", "took", "beside work", "meanwhile"
    for one in found:
        share = f"{100 * one.hidden / one.seconds:.0f} %" if one.seconds else "-"
        yield (
            one.what,
            ROWS[one.kind][0],
            str(one.times),
            gb(one.bytes),
            f"{one.seconds:.3f} s",
            share,
            one.meanwhile or "-",
        )


def _name(what: str) -> str:
    """A thing without its number: "dit" of "dit 7"."""
    return re.sub(r" \d+$", "", what)


def _shared(one: Stretch, other: Stretch) -> float:
    """Seconds that two stretches have in common."""
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))
