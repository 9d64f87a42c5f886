"""Labels for songs to learn from: what can be measured is measured, the rest is guessed several times and voted on.

Knows songs, and listeners that are handed in (`analyze`, `understand`, `extract`: a session's verbs, or a stand-in's); no model.
What a person wrote, and what is locked, is never overwritten, and nobody listens for it. Lyrics are the person's own: a planner
invents them, and writes them only where it is asked to.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, RecipeError, Stopped, sentence
from acestep_lab.listen.analysis import Analysis
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.lyrics import sections
from acestep_lab.prompt.tasks import Region
from acestep_lab.prompt.vocabulary import INSTRUMENTAL
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train import label_votes
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label_progress import LabelProgress
from acestep_lab.train.labels import Label, Remark, read_value
from acestep_lab.train.song import Song

HEARD = ("bpm", "keyscale", "timesignature", "instruments", "instrumental")
GUESSED = ("caption", "genre", "language")
MOST_SEEDS = 16
EXCERPT_SECONDS = 10.0
"""How much of a song a voice is extracted from: where it is loudest, which is where people sing."""

OURS = frozenset({"label", "unsure", "unlabelled"})
"""Kinds of remarks that labelling makes anew."""

UNMEASURED = "It cannot be measured"

_FAILURES = (LabError, OSError, RuntimeError, ValueError, ArithmeticError, MemoryError)
"""What may go wrong with one song and say nothing about the others: its sound, its numbers, the card's memory."""

Sound = Take | Audio | str
"""What listeners are handed: a take, a sound, or a file's place. A file is named, so that nobody holds a thousand songs."""


class Lab(Protocol):
    """What is asked of a session."""

    @property
    def library(self) -> Library: ...
    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def has_planner(self) -> bool: ...
    def analyze(self, source: Any, bpm: float | None = None) -> Analysis: ...
    def understand(self, source: Any, seed: int = 0) -> Plan: ...
    def stems(self, source: Any, which: Any = None, **changes: object) -> Any: ...


@dataclass(frozen=True)
class Listeners:
    """Who listens: each is a function, None where there is none."""

    analyze: Callable[[Sound, float | None], Analysis] | None = None
    """Measures a sound; the tempo, where it is known, tells the meter which beat to count."""
    understand: Callable[[Sound, int], Plan] | None = None
    """Reads a sound, by a seed."""
    extract: Callable[[Audio], Audio] | None = None
    """The voice of a sound, at its level in the mix."""
    name: str = ""
    """Who they are: what others said before is not taken for theirs."""

    @classmethod
    def of(cls, session: Lab) -> Self:
        """A session's own; without what its checkpoint cannot do."""
        can = session.capabilities
        extracts = "Extract" in can.tasks and "vocals" in can.vocabulary.stems
        return cls(
            session.analyze,
            (lambda sound, seed: session.understand(sound, seed)) if session.has_planner else None,
            (lambda sound: _voice_of(session, sound)) if extracts else None,
            f"{session.name} {can.planner}".strip(),
        )

    @property
    def lacks(self) -> str:
        """What nobody will say, as a sentence; "" where everybody is there."""
        if self.understand is None:
            return "There is no planner here: caption, genre and language stay open. Open a checkpoint that has one."
        return ""


def _voice_of(session: Lab, sound: Audio) -> Audio:
    """The voice of a sound; the stem that was made for it is no take that anybody wants, and goes to the bin."""
    before = set(session.library.ids())
    stems = session.stems(sound, "vocals", seed=0)
    voice: Audio = stems.sound("vocals")
    if (made := stems["vocals"].id) not in before and made in session.library:
        session.library.bin(made)
    return voice


@dataclass(frozen=True)
class Labelled:
    """One song is done: how many are, of how many, what was said of it, and what was odd."""

    done: int
    of: int
    song: Song
    """The song with its new labels and remarks."""
    labels: Mapping[str, Label] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    resumed: bool = False
    """Whether it was known already, and nobody listened."""

    @property
    def failed(self) -> bool:
        """Whether something went wrong, so that it will be tried again."""
        return any(remark.kind == "label" for remark in self.remarks)

    def to_json(self) -> dict[str, object]:
        """As plain data, for a page or another program."""
        said = {
            name: {"value": label.value, "source": label.source, "sure": label.sure}
            for name, label in self.labels.items()
        }
        return {
            "kind": "labelled", "done": self.done, "of": self.of, "song": self.song.name, "labels": said,
            "remarks": [str(remark) for remark in self.remarks], "resumed": self.resumed, "failed": self.failed,
        }  # fmt: skip


def label(
    dataset: Dataset,
    listeners: Listeners,
    *,
    seeds: int = 3,
    lyrics: bool = False,
    progress: str | os.PathLike[str] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Labelled]:
    """Listen to every song for what may be said of it, and tell after each one.

    ::

        events = label(songs, Listeners.of(lab), progress="labels.jsonl")
        songs = labelled(songs, events)

    `seeds` readings are voted on (1 to 16), `lyrics` are guessed too where they are open. `progress` is a file that knows what is
    finished: the same call goes on where it ended, whatever ended it. `stop` is asked between two listenings; what was begun is
    then left out. A song that fails is told with a remark. RecipeError for what is no such number, LibraryError where the file
    cannot be written.
    """
    seeds = checks.whole("The number of readings", seeds, 1, MOST_SEEDS)
    wish = _Wish(listeners, seeds, checks.truth("lyrics", lyrics), stop or (lambda: False))
    return _label(checks.instance("What is labelled", dataset, Dataset), wish, LabelProgress(progress))


def labelled(dataset: Dataset, events: Iterable[Labelled]) -> Dataset:
    """The data set with everything that was told, as one change that can be undone; songs that are gone since are left aside."""
    told = {event.song.name: event for event in events}
    told = {name: event for name, event in told.items() if name in dataset}
    filled = dataset.fill({name: event.labels for name, event in told.items()})
    songs = tuple(_remarked(song, told[song.name].remarks) if song.name in told else song for song in filled)
    return replace(filled, songs=songs)


@dataclass(frozen=True)
class _Wish:
    """Who is to listen, how often, and for what."""

    listeners: Listeners
    seeds: int
    lyrics: bool
    stop: Callable[[], bool]

    def fields(self, song: Song) -> frozenset[str]:
        """The fields of a song that may be filled and that somebody here can fill."""
        who = self.listeners
        named = [
            *((name for name in HEARD) if who.analyze or who.extract else ()),
            *((*GUESSED, *(("lyrics",) if self.lyrics else ())) if who.understand else ()),
        ]
        return frozenset(name for name in named if song.may_fill(name))


class _Interrupted(Exception):
    """Somebody asked to stop between two listenings."""


def _label(dataset: Dataset, wish: _Wish, progress: LabelProgress) -> Iterator[Labelled]:
    for done, song in enumerate(dataset, start=1):
        if wish.stop():
            return
        try:
            labels, remarks, resumed = _said_of(song, wish, progress)
        except _Interrupted:
            return
        yield Labelled(done, len(dataset), _remarked(song.filled(labels), remarks), labels, remarks, resumed)


def _said_of(song: Song, wish: _Wish, progress: LabelProgress) -> tuple[dict[str, Label], tuple[Remark, ...], bool]:
    """What is said of a song, what was odd, and whether that was known already."""
    wanted = wish.fields(song)
    if not wanted:
        return {}, (), False
    try:
        key = _key(song, wanted, wish)
    except _FAILURES as problem:
        return {}, (_failure("Its sound cannot be read", problem),), False
    known = progress.get(key)
    if known is not None:
        return *known, True
    labels, remarks = _listen(song, wanted, wish)
    if not any(remark.kind == "label" for remark in remarks):
        progress.add(key, song.name, labels, remarks)
    return labels, remarks, False


def _remarked(song: Song, remarks: tuple[Remark, ...]) -> Song:
    return replace(song, noted=(*(one for one in song.noted if one.kind not in OURS), *remarks))


def _key(song: Song, wanted: frozenset[str], wish: _Wish) -> str:
    """A name for a song's sound, for who listens, and for everything a person said that is listened with."""
    given = {name: song.labels[name].value for name in ("bpm", "lyrics", "instrumental") if not song.may_fill(name)}
    who = [wish.listeners.name, wish.listeners.extract is not None, wish.listeners.understand is not None]
    parts = [song.sound_hash, *who, wish.seeds, sorted(wanted), given]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _failure(what: str, problem: BaseException) -> Remark:
    return Remark("label", f"{what}: {sentence(problem)}")


# -- one song ----------------------------------------------------------------------------------------------------------


def _listen(song: Song, wanted: frozenset[str], wish: _Wish) -> tuple[dict[str, Label], tuple[Remark, ...]]:
    """Everything that is wanted of a song, and what went wrong: what one listener cannot say, another still may."""
    labels: dict[str, Label] = {}
    remarks: list[Remark] = []
    sound: Sound = song.held if song.held is not None else str(song.path)
    plans = _readings(sound, wanted, wish, remarks)
    found = _analysis(song, sound, wanted, plans, wish, remarks)
    if found is not None:
        labels, unsure = label_votes.measured(found, plans)
        remarks += unsure
    voiced = _voice(song, found, wanted, wish, remarks)
    sings = None if "instrumental" not in voiced else not voiced["instrumental"].value
    words, silent = label_votes.guessed(plans, _own_lyrics(song), sings), label_votes.unsaid(plans)
    kept = _readable({n: said for n, said in (labels | voiced | words).items() if n in wanted}, remarks)
    return kept, tuple(one for one in (*remarks, *silent) if not one.field or one.field in wanted)


def _voice(
    song: Song, found: Analysis | None, wanted: frozenset[str], wish: _Wish, remarks: list[Remark]
) -> dict[str, Label]:
    """Whether nobody sings, as a label: a person's word, else what is heard; none where neither says."""
    sings = _sings(song)
    if sings is not None:
        return {"instrumental": Label(not sings)}
    if "instrumental" not in wanted:
        return {}
    labels = label_votes.sung(label_votes.voice(found, _extracted(song, wish, remarks)))
    if not labels:
        remarks.append(Remark("unsure", "Whether somebody sings could not be heard clearly.", "instrumental"))
    return labels


def _readable(labels: Mapping[str, Label], remarks: list[Remark]) -> dict[str, Label]:
    """The labels that a song takes; a remark on each that a planner wrote and no song can have."""
    kept = {}
    for name, said in labels.items():
        try:
            kept[name] = replace(said, value=read_value(name, said.value))
        except RecipeError as problem:
            remarks.append(Remark("unsure", f"What the planner wrote is left out: {problem}", name))
    return kept


def _readings(sound: Sound, wanted: frozenset[str], wish: _Wish, remarks: list[Remark]) -> list[Plan]:
    understand = wish.listeners.understand
    if understand is None or not wanted & {*GUESSED, "lyrics"}:
        return []
    plans = []
    for seed in range(wish.seeds):
        plan = _tried(wish, "The planner cannot read it", remarks, lambda seed=seed: understand(sound, seed))  # type: ignore[misc]
        if plan is None:
            break
        plans.append(plan)
    return plans


def _analysis(
    song: Song, sound: Sound, wanted: frozenset[str], plans: list[Plan], wish: _Wish, remarks: list[Remark]
) -> Analysis | None:
    """What is measured; the meter is heard once more where the planner counts another octave of the tempo.

    On 36 synthetic songs the meter is right in .78 by the tempo as measured, in .86 with its octave right, in .97 by the true one.
    """
    analyze = wish.listeners.analyze
    if analyze is None or not wanted & set(HEARD):
        return None
    written = None if song.may_fill("bpm") else song.bpm
    found: Analysis | None = _tried(wish, UNMEASURED, remarks, lambda: analyze(sound, written))
    if found is None or written is not None or "timesignature" not in wanted:
        return found
    counted = label_votes.tempo_of(found, plans)
    if counted == found.bpm:
        return found
    again = _tried(wish, UNMEASURED, remarks, lambda: analyze(sound, counted))
    if again is None:
        return found
    return replace(found, timesignature=again.timesignature, meter_confidence=again.meter_confidence)


def _extracted(song: Song, wish: _Wish, remarks: list[Remark]) -> float | None:
    """How much louder than a song's loudest part its extracted voice is, in LU; None where nobody extracts, or nothing sounds."""
    extract = wish.listeners.extract
    if extract is None:
        return None

    def difference() -> float | None:
        part = loudest_part(song.audio())
        whole = part.loudness()
        return extract(part).loudness() - whole if math.isfinite(whole) else None

    return _tried(wish, "Its voice cannot be extracted", remarks, difference)


def _tried(wish: _Wish, what: str, remarks: list[Remark], listen: Callable[[], Any]) -> Any:
    """What a listener says; a remark and None where it fails. Stopping is no failure."""
    if wish.stop():
        raise _Interrupted
    try:
        return listen()
    except Stopped:
        raise
    except _FAILURES as problem:
        remarks.append(_failure(what, problem))
        return None


def _own_lyrics(song: Song) -> str:
    """Lyrics that a person wrote, or held fast."""
    return "" if song.may_fill("lyrics") else song.lyrics


def _sings(song: Song) -> bool | None:
    """Whether somebody sings, as far as a person said so: by the field, or by lyrics that have a line to sing, or say none."""
    if not song.may_fill("instrumental") and song.instrumental is not None:
        return not song.instrumental
    if _own_lyrics(song).strip().casefold() == INSTRUMENTAL.casefold():
        return False
    return True if any(line.strip() for section in sections(_own_lyrics(song)) for line in section.lines) else None


def loudest_part(audio: Audio, seconds: float = EXCERPT_SECONDS) -> Audio:
    """The part of a sound, of at most so many seconds, in which there is most sound."""
    count = round(seconds * audio.rate)
    if audio.samples.shape[1] <= count:
        return audio
    block = max(1, audio.rate // 10)
    blocks = audio.samples.shape[1] // block
    power = (
        np.square(audio.samples[:, : blocks * block], dtype=np.float64).sum(axis=0).reshape(blocks, block).sum(axis=1)
    )
    held = np.concatenate([[0.0], np.cumsum(power)])
    width = min(count // block, blocks)
    start = int(np.argmax(held[width:] - held[:-width])) * block / audio.rate
    return audio.cut(Region(start, min(start + seconds, audio.seconds)))
