"""What was asked for against what is heard, one row for each: tempo, key, meter, instruments, sections, language, the lyrics, and
the planner's judgement. Every value is 0 to 1, beside what chance would get; a row that cannot be said is None, shown as "—".

- tempo: 1 within 3 % of what was asked, one half at half or double of it (which one hears as well), else 0; chance is a tempo
  drawn by its logarithm from 60 to 180;
- key: MIREX's weights: the same 1, a fifth off 0.5, the relative 0.3, the parallel 0.2; chance is any of the 24;
- meter: 1 or 0; chance is one of the four;
- instruments: the share of the stems a caption names that are heard; chance is the share of all stems that are;
- sections: of every two moments, how often lyrics and sound agree whether they belong together (Rand 1971); chance is the sound
  turned round in time. Where the lyrics' sections lie says their alignment, else an even plan of them;
- language: how near the planner's reading of the sound is to the language that was asked for (its plan score of that field);
- coverage, order, sureness: `listen.lyric_scores`; agreement: `listen.plan_score`, where one half is no evidence;
- dit_score, lm_score: those of ACE-Step's own code, for people who compare.

They compare takes of one recipe; they are no grades. Knows values only; who measures is said in `jobs.scoring`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from acestep_lab.errors import RecipeError, shown
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.key import key_relation
from acestep_lab.listen.segmentation import HeardSection
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt import checks
from acestep_lab.prompt.vocabulary import STEMS, TIMESIGNATURES

SAME_TEMPO = 0.03
"""A tempo within this share of what was asked for is as asked."""
TEMPI = (60.0, 180.0)
SURE_PULSE, SURE_KEY, SURE_METER = 0.15, 0.05, 0.5
"""Below these a tempo (by its beat, 0 to 1), a key (by its lead, 0 to about 0.5) and a meter (0 to 1) are called unsure."""
KEY_SAID = {
    "same": "as asked", "fifth": "a fifth off", "relative": "the relative key", "parallel": "the parallel key",
    "other": "another key",
}  # fmt: skip
KEY_WEIGHTS = dict(zip(KEY_SAID.values(), (1.0, 0.5, 0.3, 0.2, 0.0), strict=True))
KEY_CHANCE = (1.0 + 2 * 0.5 + 0.3 + 0.2) / 24
EVEN = 0.5
"""What no evidence gives: of two, one."""
FRAME_SECONDS = 0.5
MOST_ROWS = 40
STEM_WORDS: Mapping[str, tuple[str, ...]] = {
    "drums": ("drums?", "drum kit", "drum machine", "breakbeats?", "808s"),
    "percussion": ("percussion", "shakers?", "tambourines?", "congas?", "bongos?"),
    "bass": ("bass", "bass ?lines?", "sub-?bass"),
    "guitar": ("guitars?", "ukulele", "banjo"),
    "keyboard": ("piano", "keys", "keyboards?", "rhodes", "organ", "electric piano", "harpsichord"),
    "synth": ("synths?", "synthesi[sz]ers?", "pads?", "arpeggios?"),
    "strings": ("strings?", "violins?", "cellos?", "viola", "fiddle", "harp"),
    "brass": ("brass", "trumpets?", "trombones?", "horns?", "tuba"),
    "woodwinds": ("woodwinds?", "flutes?", "clarinets?", "sax", "saxophones?", "oboe", "bassoon"),
    "vocals": ("vocals?", "voice", "singer", "singing", "sung"),
    "backing_vocals": ("backing vocals", "choir", "background vocals"),
    "fx": ("fx", "risers?", "sound effects"),
}
"""How captions name the stems; a word with "no" or "without" before it names none."""
_NOT = r"(?<!no )(?<!without )(?<!not )"
REFERENCE = ("dit_score", "lm_score")
LYRIC = ("coverage", "order", "sureness")


@dataclass(frozen=True)
class Score:
    """One thing that was asked for, and what is heard of it."""

    name: str
    value: float | None
    """0 to 1; None where there is nothing to score, and `why` says so."""
    said: str = ""
    """In a few words: "as asked", "a fifth off"; "" where the number says all."""
    asked: str = ""
    heard: str = ""
    chance: float | None = None
    """What chance would get."""
    sure: bool = True
    """Whether the ear trusts itself."""
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: — ({self.why})" if self.why else f"{self.name}: —"
        number = f"{self.value:.2f}" + ("" if self.chance is None else f" (chance {self.chance:.2f})")
        both = f", {self.asked} asked, {self.heard} heard" if self.asked and self.heard else ""
        said = f"{self.said}{'' if self.sure else ' (unsure)'}, " if self.said else ""
        return f"{self.name}: {said}{number}{both}"


@dataclass(frozen=True, repr=False)
class Scores:
    """All rows of a take; `scores["key"]` is one of them. Prints as a table."""

    rows: tuple[Score, ...]
    remarks: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    """What was measured on the way: fields of an `Analysis` that are numbers, without those that are not finite."""

    @property
    def unsure(self) -> tuple[str, ...]:
        """Which of them the ear does not trust: of "tempo", "key" and "meter" those."""
        return tuple(
            name for name in ("tempo", "key", "meter") if any(row.name == name and not row.sure for row in self.rows)
        )

    def __getitem__(self, name: str) -> Score:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"There is no score {name!r}; there are {', '.join(row.name for row in self.rows)}.")

    def __iter__(self) -> Iterator[Score]:
        return iter(self.rows)

    def __repr__(self) -> str:
        said = sum(row.value is not None for row in self.rows)
        return f"<Scores: {said} of {len(self.rows)} can be said>"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.rows), *self.remarks])

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [asdict(row) for row in self.rows]
        return {"rows": rows, "remarks": list(self.remarks), "measures": dict(self.measures)}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Out of plain data; RecipeError for what is none."""
        given = checks.mapping("Scores", data)
        checks.known_fields("Scores", given, {"rows", "remarks", "measures"})
        rows = checks.sequence("The rows of scores", given.get("rows", []), MOST_ROWS)
        remarks = checks.sequence("Remarks", given.get("remarks", []), MOST_ROWS)
        numbers = checks.mapping("The measures of scores", given.get("measures", {}))
        measures = {name: checks.real(f"The measure {name}", one, -1e6, 1e6) for name, one in numbers.items()}
        return cls(tuple(map(_read, rows)), tuple(checks.text("A remark", one) for one in remarks), measures)


def _read(row: object) -> Score:
    given = checks.mapping("A score", row)
    checks.known_fields("A score", given, {one.name for one in fields(Score)})
    if not isinstance(given.get("name"), str):
        raise RecipeError(f"A score has a name, which {shown(row)} has not.")
    said, asked, heard, why = (
        checks.text(f"The {name} of a score", given.get(name, "")) for name in ("said", "asked", "heard", "why")
    )
    value, chance = (_share(name, given.get(name)) for name in ("value", "chance"))
    return Score(given["name"], value, said, asked, heard, chance, checks.truth("sure", given.get("sure", True)), why)


def _share(name: str, value: object) -> float | None:
    return None if value is None else checks.real(f"The {name} of a score", value, 0.0, 1.0)


def nothing(name: str, why: str, heard: str = "", sure: bool = True) -> Score:
    """A row that cannot be said, and why; perhaps something is heard all the same."""
    return Score(name, None, heard=heard, sure=sure, why=why)


def measures_of(found: Analysis) -> dict[str, float]:
    """The numbers of an analysis that are finite."""
    numbers = {name: value for name, value in vars(found).items() if isinstance(value, float)}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


# -- asked against heard


def is_sure(found: Analysis, name: str) -> bool:
    """Whether the ear trusts itself with "tempo", "key" or "meter"; where a machine says no probability, by how strong it is."""
    if getattr(found, f"{name}_probability") is not None:
        return name not in found.unsure
    strong = {
        "tempo": found.pulse >= SURE_PULSE, "key": found.key_confidence >= SURE_KEY,
        "meter": found.meter_confidence >= SURE_METER,
    }  # fmt: skip
    return strong[name]


def tempo_said(asked: float, heard: float) -> str:
    """How a tempo that is heard lies to the one that was asked for, in words."""
    for said, ratio in (("as asked", 1.0), ("double what was asked", 2.0), ("half of what was asked", 0.5)):
        if abs(heard / (asked * ratio) - 1) <= SAME_TEMPO:
            return said
    return f"{abs(heard - asked):.0f} bpm {'faster' if heard > asked else 'slower'}"


def key_said(asked: str, heard: str) -> str:
    """How a key that is heard lies to the one that was asked for, in words: a row of `KEY_WEIGHTS`."""
    return KEY_SAID[key_relation(asked, heard)]


def tempo_row(asked: float | None, found: Analysis) -> Score:
    """How the tempo is as asked."""
    if asked is None:
        return nothing("tempo", "No tempo was asked for.", f"{found.bpm:.0f} bpm", is_sure(found, "tempo"))
    said = tempo_said(asked, found.bpm)
    value = 1.0 if said == "as asked" else 0.5 if said.endswith("asked") else 0.0
    spans = ((1.0, 1.0), (2.0, 0.5), (0.5, 0.5))
    chance = sum(weight * _chance_of(asked * ratio) for ratio, weight in spans)
    return Score("tempo", value, said, f"{asked:g} bpm", f"{found.bpm:.0f} bpm", chance, is_sure(found, "tempo"))


def _chance_of(bpm: float) -> float:
    """How likely a tempo drawn by its logarithm from `TEMPI` is within 3 % of this one."""
    low, high = (min(max(bpm * (1 + by), TEMPI[0]), TEMPI[1]) for by in (-SAME_TEMPO, SAME_TEMPO))
    return math.log(high / low) / math.log(TEMPI[1] / TEMPI[0])


def key_row(asked: str | None, found: Analysis) -> Score:
    """How the key is as asked."""
    if not asked:
        return nothing("key", "No key was asked for.", found.keyscale, is_sure(found, "key"))
    said = key_said(asked, found.keyscale)
    return Score("key", KEY_WEIGHTS[said], said, asked, found.keyscale, KEY_CHANCE, is_sure(found, "key"))


def meter_row(asked: str | None, found: Analysis) -> Score:
    """Whether the meter is as asked."""
    if not asked:
        return nothing("meter", "No meter was asked for.", found.timesignature, is_sure(found, "meter"))
    same = str(asked) == found.timesignature
    said, sure = "as asked" if same else "another meter", is_sure(found, "meter")
    return Score("meter", float(same), said, str(asked), found.timesignature, 1 / len(TIMESIGNATURES), sure)


def stems_named(caption: str) -> tuple[str, ...]:
    """The stems that a caption names."""
    words = re.sub(r"\b(backing|background) vocals\b", "choir", caption.lower())  # whose words hold another's
    found = {stem for stem, names in STEM_WORDS.items() if re.search(rf"\b{_NOT}({'|'.join(names)})\b", words)}
    return tuple(stem for stem in STEMS if stem in found)


def instruments_row(caption: str, found: Analysis) -> Score:
    """How many of the instruments that a caption names are heard."""
    asked = stems_named(caption)
    if not asked:
        return nothing("instruments", "The caption names no instrument.", ", ".join(found.present))
    heard = set(found.present)
    number = len(heard & set(asked))
    said = "all heard" if number == len(asked) else f"{number} of {len(asked)} heard"
    return Score(
        "instruments", number / len(asked), said, ", ".join(asked), ", ".join(found.present), len(heard) / len(STEMS)
    )


def sections_row(asked: Sequence[Timed], heard: Sequence[HeardSection], seconds: float) -> Score:
    """How far the sections of the lyrics are those of the sound."""
    names = [" ".join(section.text.lower().rstrip("0123456789 ").split()) for section in asked]
    if len(asked) < 2:
        return nothing("sections", "The lyrics ask for fewer than two sections.")
    frames = max(2, round(seconds / FRAME_SECONDS))
    at = (np.arange(frames) + 0.5) * seconds / frames
    wanted = _labels(at, [(one.start, name) for one, name in zip(asked, names, strict=True)])
    found = _labels(at, [(one.start, one.letter) for one in heard])
    value, turned = _rand(wanted, found), [_rand(wanted, np.roll(found, by)) for by in range(1, frames)]
    same = len(asked) == len(heard)
    said = "as many as asked" if same else f"{len(heard)} for {len(asked)} asked"
    letters = " ".join(one.letter for one in heard)
    return Score("sections", value, said, ", ".join(one.text for one in asked), letters, float(np.mean(turned)))


def _labels(at: np.ndarray, starts: Sequence[tuple[float, str]]) -> np.ndarray:
    """Which section each moment lies in, as a number for each name; -1 before the first."""
    names = sorted({name for _, name in starts})
    edges = np.array([start for start, _ in starts])
    numbers = np.array([-1, *(names.index(name) for _, name in starts)])
    return np.asarray(numbers[np.searchsorted(edges, at, side="right")])


def _rand(one: np.ndarray, other: np.ndarray) -> float:
    """Of every two moments, how often both say the same of whether these belong together."""
    both = np.bincount((one - one.min()) * (other.max() + 2) + other + 1)
    pairs = [float((count * (count - 1.0)).sum()) for count in (both, np.bincount(one + 1), np.bincount(other + 1))]
    every = len(one) * (len(one) - 1.0)
    return (every + 2 * pairs[0] - pairs[1] - pairs[2]) / every


# -- lyrics and the planner


def lyric_rows(found: Alignment) -> list[Score]:
    """Coverage, order and sureness of lyrics, and the reference's two scores where an alignment has them."""
    scores: Mapping[str, Any] = found.scores or {}
    chance: Mapping[str, Any] = scores.get("chance") or {}
    rows = [Score(name, scores.get(name), chance=chance.get(name)) for name in LYRIC]
    lines = f"{len(found.found)} of {len(found.lines)} lines"
    rows[0] = Score("coverage", scores.get("coverage"), lines, chance=chance.get("coverage"))
    reference: Mapping[str, Any] = scores.get("reference") or {}
    return [*rows, *(Score(name, reference[name]) for name in REFERENCE if reference.get(name) is not None)]


def no_lyric_rows(why: str) -> list[Score]:
    """The same where no lyrics can be heard, and why."""
    return [nothing(name, why) for name in LYRIC]


def language_row(asked: str | None, sings: bool, fields_of_plan: Mapping[str, float]) -> Score:
    """How near the planner's reading is to the language that was asked for."""
    if not sings:
        return nothing("language", INSTRUMENTAL)
    if not asked or asked == "unknown":
        return nothing("language", "No language was asked for.")
    value = fields_of_plan.get("language")
    if value is None:
        return nothing("language", NO_READER)
    said = "as asked" if value > 0.999 else "perhaps" if value > EVEN else "another one"
    return Score("language", value, said, asked, asked if value > 0.999 else "")


INSTRUMENTAL = "It has no words: nothing is sung."
NO_READER = "Only a planner can tell, and none is at hand."


def agreement_row(total: float) -> Score:
    """The planner's judgement as a row."""
    return Score("agreement", float(min(1.0, max(0.0, total))), chance=EVEN)
