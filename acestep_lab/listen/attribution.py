"""What each word of a take did, as values: how far the music moves where it is left out, when, in which band, and what is heard then.

Knows numbers and text; who renders is in `jobs.attributing`. Every change is held against the same noise, and all of them against
a change of the noise alone: what moves the music less than that is no more than a seed's whim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.listen.analysis import analyze
from acestep_lab.listen.lyric_text import Span
from acestep_lab.listen.spectra import magnitudes, mono_of
from acestep_lab.prompt import checks

EDGES = (31.0, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
"""Edges of the bands in Hz, an octave each; those above half a sound's rate are empty."""
SLICES = 48
"""Slices of time in which a movement is told, at most."""
SLICE_SECONDS = 0.25
SIZE, HOP = 2048, 1024
FLOOR_DB = -60.0
"""What lies this far below the loudest counts as silence: nobody hears it move."""
MOST_EFFECTS = 200
NO_CAUSE = "This is where the model looks while it makes each moment; looking is no cause. What a word does is seen by leaving it out."
MEASURES = ("tempo", "key", "meter", "loudness", "instruments")


@dataclass(frozen=True)
class Heard:
    """What is measured in one sound."""

    tempo: float
    key: str
    meter: str
    loudness: float
    """LUFS before the sound was brought to its level."""
    instruments: tuple[str, ...]

    def changes(self, other: Heard) -> tuple[str, ...]:
        """What another sound is heard to have otherwise, each as a few words."""
        said = []
        if abs(self.tempo - other.tempo) > 0.02 * max(self.tempo, 1.0):
            said.append(f"tempo {self.tempo:.0f} → {other.tempo:.0f}")
        said += [f"{name} {one} → {two}" for name, one, two in self._pairs(other) if one != two]
        if abs(self.loudness - other.loudness) >= 1.0:
            said.append(f"loudness {other.loudness - self.loudness:+.0f} LU")
        said += [f"+ {name}" for name in other.instruments if name not in self.instruments]
        return (*said, *(f"- {name}" for name in self.instruments if name not in other.instruments))

    def _pairs(self, other: Heard) -> tuple[tuple[str, str, str], ...]:
        return ("key", self.key, other.key), ("meter", self.meter, other.meter)


@dataclass(frozen=True)
class Effect:
    """What one change did."""

    kind: str
    """ "phrase", "tag", "section", "field"; "seed" for the noise that the rest is held against."""
    name: str
    change: str
    """ "left out", or what stood in its place."""
    span: Span | None
    """From which letter to which, of the caption or of the lyrics."""
    moved: float
    """How far the music moved, as a share of its own size: 0 is the same, 1.4 another music altogether."""
    over_time: tuple[float, ...]
    """The same in each slice of time."""
    over_band: tuple[float, ...]
    """How far the level of each band moved, in dB, averaged over time."""
    grid: tuple[tuple[float, ...], ...]
    """The same of each band in each slice of time: `[bands][slices]`."""
    heard: Heard | None = None
    """What is heard after the change; None where the sound is too short to tell."""
    problem: str = ""
    """Why this change could not be made; then nothing moved."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, out of which `from_json` makes the same again."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: Any) -> Effect:
        """An effect out of plain data; RecipeError for what is none."""
        return effect_from(data)


@dataclass(frozen=True)
class WordAttention:
    """How much of each moment's attention lies on each word of the caption."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]
    shares: tuple[tuple[float, ...], ...]
    """`[words][slices]`, shares of all attention; most of it lies on no word of the caption."""
    note: str = NO_CAUSE

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return dict(_plain(asdict(self)))

    def mean(self) -> tuple[float, ...]:
        """The share of each word, over the whole song."""
        return tuple(float(np.mean(row)) if row else 0.0 for row in self.shares)


@dataclass(frozen=True, repr=False)
class Attribution:
    """What each word, tag and field of a take did. Prints as a table; `ranked` has the strongest first."""

    take: str
    caption: str
    lyrics: str
    checkpoint: str
    seconds: float
    steps: int
    """Steps of the renders that were compared; 0 for a model without steps."""
    of: str = "x0"
    """What moved: "x0", the latent, or "spectrogram" where a model has none."""
    effects: tuple[Effect, ...] = ()
    control: Effect | None = None
    """Another seed and nothing else: the scale for all others. None where only attention was looked at."""
    heard: Heard | None = None
    """What is heard without any change."""
    attention: WordAttention | None = None
    remarks: tuple[str, ...] = ()
    edges: tuple[float, ...] = EDGES
    """Edges of the bands in Hz."""

    def __repr__(self) -> str:
        return f"<Attribution of {self.take}: {len(self.effects)} changes by {self.checkpoint}>"

    def share(self, effect: Effect) -> float:
        """How far a change moved the music, as a share of what another seed moves it by; 0 where there is no scale."""
        scale = 0.0 if self.control is None else self.control.moved
        return effect.moved / scale if scale > 0 else 0.0

    def changes(self, effect: Effect) -> tuple[str, ...]:
        """What is heard to be otherwise after a change, each as a few words."""
        return () if self.heard is None or effect.heard is None else self.heard.changes(effect.heard)

    @property
    def ranked(self) -> tuple[Effect, ...]:
        """The effects, the strongest first."""
        return tuple(sorted(self.effects, key=lambda one: (-one.moved, one.kind, one.name)))

    @property
    def start_of_slices(self) -> tuple[float, ...]:
        """Seconds at which each slice of time begins."""
        count = max([len(one.over_time) for one in self.effects] + [len(row) for row in self._shares()], default=0)
        return tuple(round(place * self.seconds / count, 3) for place in range(count))

    def _shares(self) -> tuple[tuple[float, ...], ...]:
        return () if self.attention is None else self.attention.shares

    def to_records(self) -> list[dict[str, Any]]:
        """A row for each change and one for the other seed, as a table wants them."""
        rows = (*self.ranked, *((self.control,) if self.control else ()))
        return [
            {
                "kind": one.kind, "name": one.name, "change": one.change, "moved": one.moved, "share_of_a_seed": self.share(one),
                "heard": ", ".join(self.changes(one)), "problem": one.problem,
            }
            for one in rows
        ]  # fmt: skip

    def __str__(self) -> str:
        """The table, for a terminal or a cell."""
        of = "the latent (x0)" if self.of == "x0" else "the spectrogram"
        lines = [f"What each word did in {self.take}, by {self.checkpoint}"]
        if self.effects:
            lines += [f"How far {of} moves on the same noise; 100 % is what another seed does.", ""]
            lines += [self._line(one) for one in (*self.ranked, *((self.control,) if self.control else ()))]
        if self.attention is not None:
            whole = sum(self.attention.mean()) or 1.0
            lines += ["", f"Where the model looks among its {len(self.attention.words)} words (no cause):"]
            lines += [f"{100 * share / whole:4.0f} %  {word}" for word, share in self.looked_at()[:12]]
        return "\n".join([*lines, *(["", *self.remarks] if self.remarks else [])])

    def looked_at(self) -> list[tuple[str, float]]:
        """Words with the share of attention on them, the most looked at first."""
        found = self.attention
        return [] if found is None else sorted(zip(found.words, found.mean(), strict=True), key=lambda one: -one[1])

    def _line(self, one: Effect) -> str:
        share = self.share(one)
        name = f"another seed ({one.name})" if one.kind == "seed" else one.name
        how = "" if one.kind == "seed" else f" {one.change}"
        said = one.problem or ", ".join(self.changes(one))
        return f"{100 * share:4.0f} %  {'█' * min(20, round(10 * share)):<12} {name}{how}{'  ' + said if said else ''}"

    def _repr_html_(self) -> str:
        """The table, where there are no widgets."""
        from html import escape

        rows = self.to_records()
        names = ("kind", "name", "change", "share_of_a_seed", "heard")
        head = "".join(f'<th scope="col">{name.replace("_", " ")}</th>' for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(row[name]))}</td>" for name in names) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    # -- as plain data

    def to_json(self) -> dict[str, Any]:
        """Plain data, out of which `from_json` makes the same again."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """An attribution out of plain data; RecipeError for what is none."""
        told = checks.mapping("An attribution", data)
        names = {one.name for one in fields(cls)}
        checks.known_fields("An attribution", told, names)
        try:
            plain = {name: told[name] for name in names if name in told}
            nested = {
                "effects": tuple(effect_from(one) for one in _rows(told.get("effects", ()))),
                "control": None if told.get("control") is None else effect_from(told["control"]),
                "heard": _heard_from(told.get("heard")), "attention": _attention_from(told.get("attention")),
                "remarks": tuple(checks.text("A remark", one) for one in _rows(told.get("remarks", ()))),
                "edges": _numbers(told.get("edges", EDGES)),
            }  # fmt: skip
            for name in ("take", "caption", "lyrics", "checkpoint", "of"):
                plain[name] = checks.text(name, told.get(name, "x0" if name == "of" else None), verbatim=True)
            plain |= {name: checks.real(name, told.get(name, 0.0), 0.0, 1e9) for name in ("seconds",)}
            return cls(**plain | nested | {"steps": checks.whole("steps", told.get("steps"), 0, 10_000)})
        except (TypeError, KeyError, AttributeError) as odd:
            raise RecipeError(f"This is no attribution that Attribution.to_json() wrote: {shown(str(odd))}.") from None


def _plain(value: Any) -> Any:
    """Data whose tuples are lists, as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _cell(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, float) else str(value)


# -- out of plain data


def effect_from(data: Any) -> Effect:
    """An effect out of plain data; RecipeError for what is none."""
    told = checks.mapping("An effect", data)
    names = {one.name for one in fields(Effect)}
    checks.known_fields("An effect", told, names)
    if lacking := [name for name in ("kind", "name", "change", "moved") if name not in told]:
        raise RecipeError(f"An effect has a {lacking[0]}; this is not one that Attribution.to_json() wrote.")
    words = {
        name: checks.text(name, told.get(name, ""), verbatim=True) for name in ("kind", "name", "change", "problem")
    }
    return Effect(
        **words, span=_span(told.get("span")), moved=checks.real("moved", told["moved"], 0.0, 1e9),
        over_time=_numbers(told.get("over_time", ())), over_band=_numbers(told.get("over_band", ())),
        grid=tuple(_numbers(row) for row in _rows(told.get("grid", ()))), heard=_heard_from(told.get("heard")),
    )  # fmt: skip


def _rows(value: Any) -> tuple[Any, ...]:
    return checks.sequence("Rows of an attribution", value, 4 * MOST_EFFECTS)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(checks.real("A number of an attribution", one, -1e9, 1e9) for one in _rows(value))


def _span(value: Any) -> Span | None:
    if value is None:
        return None
    start, end = checks.pair("A span of letters", value)
    return checks.whole("A letter", start, 0, 10**6), checks.whole("A letter", end, 0, 10**6)


def _heard_from(value: Any) -> Heard | None:
    if value is None:
        return None
    told = checks.mapping("What is heard", value)
    checks.known_fields("What is heard", told, MEASURES)
    return Heard(
        checks.real("tempo", told.get("tempo"), 0.0, 1e6), checks.text("key", told.get("key")), checks.text("meter", told.get("meter")),
        checks.real("loudness", told.get("loudness"), -1e3, 1e3),
        tuple(checks.text("An instrument", one) for one in _rows(told.get("instruments", ()))),
    )  # fmt: skip


def _attention_from(value: Any) -> WordAttention | None:
    if value is None:
        return None
    told = checks.mapping("Attention", value)
    checks.known_fields("Attention", told, ("words", "spans", "shares", "note"))
    names = tuple(checks.text("A word", one, verbatim=True) for one in _rows(told.get("words", ())))
    spans = tuple(found for one in _rows(told.get("spans", ())) if (found := _span(one)) is not None)
    shares = tuple(_numbers(row) for row in _rows(told.get("shares", ())))
    if not len(names) == len(spans) == len(shares):
        raise RecipeError("Attention has a span and shares for each of its words.")
    return WordAttention(names, spans, shares, checks.text("A note", told.get("note", NO_CAUSE)))


# -- measuring


def slices(seconds: float) -> int:
    """In how many slices of time a song of this length is told."""
    return max(1, min(SLICES, round(seconds / SLICE_SECONDS)))


def moved(base: np.ndarray, other: np.ndarray) -> float:
    """How far one array lies from another, as a share of its size (L2)."""
    base, other = _as_long(base, other)
    return float(np.linalg.norm(other - base) / max(float(np.linalg.norm(base)), 1e-12))


def moved_over_time(base: np.ndarray, other: np.ndarray, count: int) -> tuple[float, ...]:
    """The same in each of `count` slices of `[frames, channels]`, as a share of the size an average slice has."""
    base, other = _as_long(base, other)
    size = max(float(np.sqrt(np.mean(np.square(base)))), 1e-12)
    parts = zip(_slices(base, count), _slices(other, count), strict=True)
    return tuple(
        round(float(np.sqrt(np.mean(np.square(two - one)))) / size, 5) if len(one) else 0.0 for one, two in parts
    )


def band_levels(audio: Audio, gain: float, count: int) -> np.ndarray:
    """Levels in dB of the bands `[bands, slices]`, before the sound was brought to its level by `gain`."""
    power = np.square(magnitudes(mono_of(audio) / max(gain, 1e-9), SIZE, HOP))
    hertz = np.arange(power.shape[1]) * audio.rate / SIZE
    inside = (hertz[:, None] >= EDGES[:-1]) & (hertz[:, None] < EDGES[1:])
    bands = power @ inside.astype(np.float32)
    return np.stack([10 * np.log10(part.mean(axis=0) + 1e-12) if len(part) else np.full(bands.shape[1], -120.0)
                     for part in _slices(bands, count)], axis=1)  # fmt: skip


def moved_in_bands(base: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the levels of bands moved in dB `[bands, slices]`; what is silent in both does not move."""
    floor = max(float(base.max(initial=-120.0)), float(other.max(initial=-120.0))) + FLOOR_DB
    return np.abs(np.maximum(other, floor) - np.maximum(base, floor))


def listened(audio: Audio, gain: float, bpm: float | None) -> Heard | None:
    """What is heard in a sound; None where it is too short to tell."""
    try:
        found = analyze(audio, bpm)
    except SourceError:
        return None
    level = found.loudness - 20 * float(np.log10(max(gain, 1e-9)))
    return Heard(
        found.bpm, found.keyscale, found.timesignature, round(max(level, -120.0), 2), tuple(sorted(found.present))
    )


def _slices(rows: np.ndarray, count: int) -> Sequence[np.ndarray]:
    return np.array_split(rows, count)


def _as_long(base: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays as long as the shorter one: a token model may end earlier."""
    length = min(len(base), len(other))
    return np.asarray(base[:length], np.float64), np.asarray(other[:length], np.float64)


def attention_of(
    log: np.ndarray, token_spans: Sequence[Span], caption: str, found: Sequence[Span], count: int
) -> WordAttention:
    """Attention on each word out of that on tokens: `log` is `[tokens, frames]`, the logarithm of the share of a frame's attention.

    A token that reaches over several words counts for each by its letters.
    """
    shares = np.exp(log.astype(np.float64))
    rows = []
    for first, last in found:
        weights = np.array(
            [max(0, min(end, last) - max(start, first)) / max(1, end - start) for start, end in token_spans]
        )
        row = weights @ shares if len(weights) else np.zeros(log.shape[1])
        rows.append(tuple(round(float(part.mean()), 6) if len(part) else 0.0 for part in _slices(row, count)))
    return WordAttention(tuple(caption[first:last] for first, last in found), tuple(found), tuple(rows))


def of_effects(told: object) -> dict[str, Effect]:
    """Effects that were kept, by their keys; those that cannot be read are left out, and measured anew."""
    found = {}
    for key, data in checks.mapping("Effects", told).items():
        try:
            found[key] = effect_from(data)
        except RecipeError:
            continue
    return found
