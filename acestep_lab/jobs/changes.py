"""What an adapter changed, as numbers: the measures of `analyze` without it and with it, in the songs it learns from, and by chance.

**Chance** is the same measure of the same words without the adapter, at the preview's own seed and at a few others: the lowest and
the highest of them, or for words such as a key all that were heard. What lies within is no more than another seed gives. Knows
sounds; no model, no page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from acestep_lab.listen.analysis import Analysis

CHANCE_SEEDS = 3
"""Other seeds that chance is measured by, beside the preview's own."""
MOST_MEASURED = 6
"""Songs that are measured, to see what the adapter should come near to."""
SAID = (
    "Chance: the same measure of the same words without the adapter, at this seed and {n} others, lowest to highest. "
    "What lies within is no more than another seed gives."
)
_NAMES = {"tempo": "tempo (BPM)", "pulse": "pulse", "loudness": "loudness (LUFS)", "key": "key", "meter": "meter"}

Value = float | str | None


@dataclass(frozen=True)
class Change:
    """One measure."""

    kind: str
    """tempo, pulse, loudness, key, meter, or instrument."""
    before: Value
    """Without the adapter."""
    after: Value
    """With it, in the same words and at the same seed."""
    songs: Value = None
    """Of the songs it learns from: the median, of words the most frequent one."""
    chance: tuple[Value, ...] = ()
    """Without it at several seeds: the lowest and the highest, of words all; nothing where nobody could render."""
    stem: str = ""
    """Which instrument; the number is how likely it is heard."""

    @property
    def name(self) -> str:
        """What is measured, in a word or two."""
        return f"P({self.stem})" if self.kind == "instrument" else _NAMES[self.kind]

    @property
    def beyond(self) -> bool | None:
        """Whether it changed by more than another seed changes it; None where that is not known."""
        if not self.chance or self.after is None:
            return None
        if isinstance(self.after, str):
            return self.after not in self.chance
        low, high = self.chance[0], self.chance[-1]
        return None if not _is_number(low) or not _is_number(high) else not low <= self.after <= high  # type: ignore[operator]

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        told = {"kind": self.kind, "before": self.before, "after": self.after, "songs": self.songs,
                "chance": list(self.chance), "beyond": self.beyond}  # fmt: skip
        return told | ({"stem": self.stem} if self.stem else {})

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `to_json` gave; KeyError, TypeError or ValueError for anything else."""
        before, after, songs = (_read(told[name]) for name in ("before", "after", "songs"))
        kind, stem = str(told["kind"]), str(told.get("stem", ""))
        if kind not in (*_NAMES, "instrument"):
            raise ValueError(kind)
        return cls(kind, before, after, songs, tuple(_read(one) for one in told["chance"]), stem)


@dataclass(frozen=True)
class Changes:
    """All measures of a preview; print it for a table."""

    step: int
    """After which the take with the adapter was made."""
    rows: tuple[Change, ...]
    songs: int = 0
    """Songs that were measured."""
    seeds: int = 0
    """Takes without the adapter that chance is of, the preview's own included."""

    def with_songs_of(self, before: Changes) -> Changes:
        """The same beside the songs as they were measured before."""
        known = {(one.kind, one.stem): one.songs for one in before.rows}
        rows = tuple(replace(one, songs=known.get((one.kind, one.stem))) for one in self.rows)
        return replace(self, rows=rows, songs=before.songs)

    @property
    def said(self) -> str:
        """What chance is, and how little one take proves."""
        hint = f"One take with the adapter, of step {self.step}: a hint, no proof."
        return f"{SAID.format(n=self.seeds - 1)} {hint}" if self.seeds > 1 else hint

    def table(self) -> list[list[str]]:
        """Heads and rows as text."""
        heads = ["measure", "without", "with", "the songs", "chance", "beyond chance"]
        return [heads, *([one.name, *(_said(value) for value in (one.before, one.after, one.songs)),
                          _span(one.chance), _YES_NO[one.beyond]] for one in self.rows)]  # fmt: skip

    def __str__(self) -> str:
        cells = self.table()
        widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
        lines = ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([*(line.rstrip() for line in lines), self.said])

    def _repr_html_(self) -> str:
        heads, *rows = [[html.escape(text) for text in row] for row in self.table()]
        top = "".join(f"<th scope='col'>{text}</th>" for text in heads)
        body = "".join(
            f"<tr><th scope='row'>{name}</th>{''.join(f'<td>{text}</td>' for text in rest)}</tr>"
            for name, *rest in rows
        )
        caption = f"<caption>What changed at step {self.step}</caption>"
        return f"<table>{caption}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table><p><small>{html.escape(self.said)}</small></p>"

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        rows = [one.to_json() for one in self.rows]
        return {"step": self.step, "songs": self.songs, "seeds": self.seeds, "rows": rows, "said": self.said}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `to_json` gave; KeyError, TypeError or ValueError for anything else."""
        rows = tuple(Change.from_json(one) for one in told["rows"])
        return cls(int(told["step"]), rows, int(told["songs"]), int(told["seeds"]))


def compared(
    bare: Analysis, after: Analysis, songs: Sequence[Analysis] = (), others: Sequence[Analysis] = ()
) -> tuple[Change, ...]:
    """Measure by measure: without, with, the songs, and chance by `others`, takes without the adapter at other seeds.

    Of instruments those that are likely in any of them.
    """
    free = (bare, *others) if others else ()
    rows = [_row(kind, name, bare, after, songs, free) for kind, name in _FIELDS.items()]
    for stem in dict(bare.instruments):
        before, now = (dict(one.instruments).get(stem, 0.0) for one in (bare, after))
        heard = [dict(one.instruments).get(stem, 0.0) for one in songs]
        if max(before, now, _median(heard) or 0.0) > 0.5:
            lot = [dict(one.instruments).get(stem, 0.0) for one in free]
            rows.append(Change("instrument", _plain(before), _plain(now), _middle(heard), _range(lot), stem))
    return tuple(rows)


_FIELDS = {"tempo": "bpm", "pulse": "pulse", "loudness": "loudness", "key": "keyscale", "meter": "timesignature"}


def _row(
    kind: str, name: str, bare: Analysis, after: Analysis, songs: Sequence[Analysis], free: Sequence[Analysis]
) -> Change:
    values = [[getattr(one, name) for one in some] for some in ((bare, after), songs, free)]
    return Change(kind, _plain(values[0][0]), _plain(values[0][1]), _middle(values[1]), _range(values[2]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(value: object) -> Value:
    """A value of a file; TypeError for what is none."""
    if value is None or isinstance(value, str):
        return value
    if not _is_number(value) or not math.isfinite(value):  # type: ignore[arg-type]
        raise TypeError(value)
    return float(value)  # type: ignore[arg-type]


def _plain(value: Any) -> Value:
    if isinstance(value, str):
        return value
    return round(float(value), 3) if math.isfinite(value) else None


def _range(values: Sequence[Any]) -> tuple[Value, ...]:
    """The lowest and the highest; of words all, the most frequent first."""
    if not values:
        return ()
    if isinstance(values[0], str):
        return tuple(sorted(dict.fromkeys(values), key=list(values).count, reverse=True))
    found = [value for value in values if math.isfinite(value)]
    return (_plain(min(found)), _plain(max(found))) if found else ()


def _middle(values: Sequence[Any]) -> Value:
    """The median of numbers; of words the most frequent one."""
    if not values:
        return None
    if isinstance(values[0], str):
        return max(values, key=list(values).count)
    return _plain(_median(values))


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else None


_YES_NO = {True: "yes", False: "no", None: "–"}


def _said(value: Value) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:.2f}"


def _span(values: Sequence[Value]) -> str:
    if values and isinstance(values[0], str):
        return ", ".join(_said(one) for one in values)
    return " to ".join(_said(one) for one in values) or "–"
