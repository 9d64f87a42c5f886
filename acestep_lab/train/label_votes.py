"""What was measured and what several readings by a planner agree on, as labels with how far each may be trusted.

Knows values; no session, no file. Nothing here decides whether a label may be written: a song does (`Song.filled`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from acestep_lab.listen.analysis import Analysis
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.vocabulary import BPM_RANGE, INSTRUMENTAL
from acestep_lab.train.labels import Label, Remark
from acestep_lab.train.word_checks import word_remarks

LEAST_SURE = 0.05
"""What is less sure stays open. Of 30 synthetic songs the two wrong keys had .02 and .08, half of the right ones .4 and more."""

SAME_TEMPO = 0.1
"""How near a planner's tempo must be to the double or the half of the measured one to say which is counted."""

SUNG_LUFS, SILENT_LUFS = -6.0, -25.0
"""Loudness of an extracted voice against the whole: above, somebody sings; below, nobody does; between, the ear decides.

A small model leaves the whole mix in a stem: on the pocket, voices and none lie from -10 to -18 alike.
"""

VOICES = ("vocals", "backing_vocals")


@dataclass(frozen=True)
class Voice:
    """Whether somebody sings; None: nothing could be said."""

    sings: bool | None = None
    sure: float = 0.0
    why: str = ""


# -- measured ----------------------------------------------------------------------------------------------------------


def measured(found: Analysis, plans: Sequence[Plan] = ()) -> tuple[dict[str, Label], tuple[Remark, ...]]:
    """Tempo, key, meter and instruments as they were heard, and remarks on what is too unsure to be said.

    A tempo is heard up to an octave; where the planner's readings lie at its double or half, those say which is counted.
    """
    bpm = tempo_of(found, plans)
    sides = [abs(2 * probability - 1) for _, probability in found.instruments]
    sayings: dict[str, tuple[str | int | None, float]] = {
        "bpm": (round(bpm) if BPM_RANGE[0] <= bpm <= BPM_RANGE[1] else None, found.pulse),
        "keyscale": (found.keyscale, min(1.0, 2 * found.key_confidence)),
        "timesignature": (found.timesignature, found.meter_confidence),
        "instruments": (", ".join(found.present) or None, fmean(sides) if sides else 0.0),
    }
    labels, remarks = {}, []
    for name, (value, sure) in sayings.items():
        sure = min(1.0, max(0.0, float(sure)))
        if value is None or sure < LEAST_SURE:
            remarks.append(Remark("unsure", f"The {WORDS[name]} could not be heard clearly, so it stays open.", name))
        else:
            labels[name] = Label(value, "heard", sure=round(sure, 3))
    return labels, tuple(remarks)


WORDS: Mapping[str, str] = {
    "bpm": "tempo", "keyscale": "key", "timesignature": "meter", "instruments": "instrumentation",
    "instrumental": "voice", "genre": "genre", "caption": "caption", "language": "language", "lyrics": "lyrics",
}  # fmt: skip
"""Fields as sentences call them."""


def tempo_of(found: Analysis, plans: Sequence[Plan]) -> float:
    """The tempo of an analysis, in the octave that the plans count."""
    return counted_tempo(found.bpm, [plan.bpm for plan in plans if plan.bpm is not None])


def counted_tempo(heard: float, planned: Sequence[float]) -> float:
    """A measured tempo, doubled or halved where a planner's middle reading says so."""
    if not planned or heard <= 0:
        return heard
    middle = median(planned)
    return next((heard * by for by in (2.0, 0.5) if abs(middle / (heard * by) - 1) <= SAME_TEMPO), heard)


def voice(found: Analysis | None, extracted: float | None) -> Voice:
    """Whether somebody sings: by the loudness of the extracted voice against the whole (in LU), else by what is heard in the mix.

    A voice that one of them hears and the other does not is not decided.
    """
    chance = None if found is None else max((dict(found.instruments).get(stem, 0.0) for stem in VOICES), default=0.0)
    if extracted is not None and extracted >= SUNG_LUFS:
        return Voice(True, min(1.0, 0.75 + (extracted - SUNG_LUFS) / 24), "extract")
    if extracted is not None and extracted <= SILENT_LUFS and (chance is None or chance < 0.5):
        return Voice(False, min(1.0, 0.75 + (SILENT_LUFS - extracted) / 100), "extract")
    if chance is None or (extracted is not None and extracted <= SILENT_LUFS) or abs(2 * chance - 1) < 0.2:
        return Voice()
    return Voice(chance > 0.5, abs(2 * chance - 1), "analyze")


def sung(voice: Voice) -> dict[str, Label]:
    """The same as a label; nothing where it is not decided."""
    if voice.sings is None:
        return {}
    return {"instrumental": Label(not voice.sings, "heard", sure=round(voice.sure, 3))}


# -- guessed -----------------------------------------------------------------------------------------------------------


def guessed(plans: Sequence[Plan], lyrics: str = "", sings: bool | None = None) -> dict[str, Label]:
    """Caption, genre, language and lyrics that several readings agree on most; how many do is how sure each is.

    One reading agrees with nobody, and is not sure at all (None). `lyrics` are a person's: a language whose script they are
    not in is no answer. Where nobody sings there is no language to guess.
    """
    genre = _vote([plan.genres for plan in plans])
    best = _middle([plan for plan in plans if genre is None or _plain(plan.genres) == _plain(genre.value)], plans)
    found = {"genre": genre, "caption": None if best is None else _agreed(best.caption, [p.caption for p in plans])}
    if sings is not False:
        languages = [plan.language or "" for plan in plans if plan.language != "unknown"]
        found["language"] = _vote([one for one in languages if one and _is_written_so(one, lyrics)], len(plans))
    if best is not None:
        words = INSTRUMENTAL if sings is False else best.lyrics
        found["lyrics"] = _agreed(words, [INSTRUMENTAL if sings is False else plan.lyrics for plan in plans])
    return {name: label for name, label in found.items() if label is not None and not label.is_open}


def unsaid(plans: Sequence[Plan]) -> tuple[Remark, ...]:
    """A remark where several readings leave the genre open."""
    if not plans or _vote([plan.genres for plan in plans]) is not None:
        return ()
    named = any(_plain(plan.genres) for plan in plans)
    why = "No two readings agree on a genre" if named else "The planner names no genre"
    return (Remark("unsure", f"{why}, so it stays open.", "genre"),)


def _plain(text: object) -> str:
    return " ".join(str(text or "").casefold().split()).strip(" .,;")


def _vote(words: Sequence[str], of: int | None = None) -> Label | None:
    """The word that most readings say, the first of several; None where none says anything, or no two of several agree.

    On the pocket a genre that one of three says is right in 1 of 12 songs (chance), one that two say in 6 of 14.
    """
    said = [word.strip() for word in words if _plain(word)]
    if not said:
        return None
    counts = Counter(map(_plain, said))
    most, votes = counts.most_common(1)[0]
    of = len(words) if of is None else of
    if votes == 1 and of > 1:
        return None
    word = next(word for word in said if _plain(word) == most)
    return Label(word, "guessed", sure=round(votes / of, 3) if of > 1 else None)


def _middle(among: Sequence[Plan], plans: Sequence[Plan]) -> Plan | None:
    """The plan whose caption is most like all others', the first of several; None where no plan has one."""
    told = [plan for plan in among if plan.caption.strip()] or [plan for plan in plans if plan.caption.strip()]
    return max(told, key=lambda plan: sum(likeness(plan.caption, other.caption) for other in plans), default=None)


def _agreed(text: str, texts: Sequence[str]) -> Label:
    """A text, and how like it the others are, in the mean."""
    others = list(texts)
    others.remove(text)
    sure = round(fmean(likeness(text, other) for other in others), 3) if others else None
    return Label(text.strip(), "guessed", sure=sure)


def likeness(one: str, other: str) -> float:
    """How many of the words of two texts are in both: 0 to 1."""
    here, there = (set(re.findall(r"\w+", text.casefold())) for text in (one, other))
    return len(here & there) / len(here | there) if here | there else 1.0


def _is_written_so(language: str, lyrics: str) -> bool:
    """Whether lyrics may be in a language: none of the remarks on them is about their script."""
    labels = {**_NOTHING, "lyrics": Label(lyrics), "language": Label(language)}
    return not lyrics or all(remark.kind != "script" for remark in word_remarks(labels, 60.0))


_NOTHING = {name: Label() for name in ("caption", "genre", "bpm", "instrumental", "instruments", "tag")}
