"""The arrangement of a song: its sections as blocks in an order, each a piece of a take, and how they join. Knows no browser.

A arrangement never changes; every edit makes another one, so that undo and redo are a list. `SongDraft` holds the arrangement that is worked
on: it belongs to a person and lives as long as the session, whichever take is in hand and however often a page is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.listen.beats import Beats, beats_near
from acestep_lab.listen.segmentation import heard_sections
from acestep_lab.prompt import checks, lyrics, times
from acestep_lab.prompt.tasks import MOST_CROSSFADE_SECONDS, MOST_PIECES, Piece, Region
from acestep_lab.takes.take import Take

Sound = Take | Audio

SHORTEST = 0.25
"""Seconds of the shortest block."""
MOST_UNDONE = 100
MOST_UNDONE_SOUNDS = 4
"""Recordings held in memory for strips before the one worked on; others are read from the library again."""
KINDS = ("intro", "verse", "chorus", "bridge", "solo", "break", "outro")
"""Kinds of sections with a colour of their own; every other is "other"."""
_KIND_OF = {
    "hook": "chorus", "refrain": "chorus", "drop": "chorus", "post-chorus": "chorus", "pre-chorus": "verse", "build": "bridge",
    "interlude": "break", "breakdown": "break", "instrumental": "solo", "inst": "solo", "ending": "outro", "end": "outro",
}  # fmt: skip
FROM_LYRICS = "estimated from the lyrics"
FROM_TIMES = "from the times in the lyrics"
FROM_PLAN = "estimated from the plan's lyrics"
BY_EAR = "heard"
WHOLE = "the whole take"
FROM_SONG = "from a kept song"


@dataclass(frozen=True)
class Block:
    """A section of the song: so many seconds of a take or sound, and how it joins the one before it."""

    id: int
    source: str
    start: float
    end: float
    label: str = ""
    """What somebody calls it: "Chorus", "A"."""
    origin: str = WHOLE
    """How its ends were found."""
    joint: str | float = "beat"
    """"beat", "none", or seconds of crossfade."""
    lyrics: str = ""
    """Its lines of the lyrics, under their tag."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    @property
    def kind(self) -> str:
        """One of KINDS, or "other": what its colour is chosen by."""
        words = self.label.lower().split()
        found = next((word for word in reversed(words) if word in KINDS or word in _KIND_OF), "")
        return _KIND_OF.get(found, found) or "other"


@dataclass(frozen=True)
class SongArrangement:
    """Blocks in the order in which they are heard."""

    blocks: tuple[Block, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the song, joints aside."""
        return sum(block.seconds for block in self.blocks)

    def block(self, id: int) -> Block:
        """A block by its id; RecipeError where it is gone."""
        found = next((block for block in self.blocks if block.id == id), None)
        if found is None:
            raise RecipeError("That section is no longer in the song.")
        return found

    def place(self, id: int) -> int:
        """A block's place, counted from 0."""
        return self.blocks.index(self.block(id))

    def put(self, block: Block) -> SongArrangement:
        """The arrangement with a block in the place of the one of its id."""
        self.block(block.id)
        return SongArrangement(tuple(block if one.id == block.id else one for one in self.blocks))

    def insert(self, blocks: Sequence[Block], at: int | None = None) -> SongArrangement:
        """The arrangement with blocks put in before a place, at the end where none is given; ids are given anew."""
        at = len(self.blocks) if at is None else min(max(at, 0), len(self.blocks))
        if len(self.blocks) + len(blocks) > MOST_PIECES:
            raise RecipeError(f"A song has at most {MOST_PIECES} sections; take some out first.")
        first = 1 + max((block.id for block in self.blocks), default=0)
        new = tuple(replace(block, id=first + place) for place, block in enumerate(blocks))
        return SongArrangement((*self.blocks[:at], *new, *self.blocks[at:]))

    def remove(self, id: int) -> SongArrangement:
        """The arrangement without a block."""
        gone = self.block(id)
        return SongArrangement(tuple(block for block in self.blocks if block is not gone))

    def move(self, id: int, to: int) -> SongArrangement:
        """The arrangement with a block at another place, counted from 0 without it."""
        block, rest = self.block(id), self.remove(id).blocks
        to = min(max(to, 0), len(rest))
        return SongArrangement((*rest[:to], block, *rest[to:]))

    def duplicate(self, id: int) -> SongArrangement:
        """The arrangement with a block twice, one after the other."""
        return self.insert([self.block(id)], self.place(id) + 1)

    def split(self, id: int, at: float) -> SongArrangement:
        """The arrangement with a block cut in two, so many seconds after its start; the two go on as before."""
        block = self.block(id)
        if not SHORTEST <= at <= block.seconds - SHORTEST:
            raise RecipeError(f"A section is cut at least {SHORTEST:g} s from its ends; move the playhead into it.")
        middle = block.start + at
        second = replace(block, start=middle, joint="beat", lyrics="")
        return self.put(replace(block, end=middle)).insert([second], self.place(id) + 1)

    def pieces(self, sound: Callable[[str], Sound]) -> list[Piece]:
        """The blocks as pieces of the sounds they stand for."""
        joints = [None, *(None if block.joint == "beat" else _seconds(block.joint) for block in self.blocks[1:])]
        return [
            Piece(sound(block.source), Region(block.start, block.end), joint)
            for block, joint in zip(self.blocks, joints, strict=True)
        ]

    @property
    def lyrics(self) -> str:
        """The words of all blocks in their order; "" where none are known."""
        return "\n\n".join(block.lyrics for block in self.blocks if block.lyrics)


def _seconds(joint: str | float) -> float:
    return 0.0 if isinstance(joint, str) else joint


def joint_of(value: Any) -> str | float:
    """How two sections join: "beat", "none", or seconds; RecipeError otherwise."""
    if value in ("beat", "none"):
        return str(value)
    return checks.real("A crossfade", value, 0.0, MOST_CROSSFADE_SECONDS, "seconds")


@dataclass
class SongDraft:
    """The arrangement somebody works on, what it was before, the sounds in it, and the runs that make something for it."""

    arrangement: SongArrangement = field(default_factory=SongArrangement)
    past: list[SongArrangement] = field(default_factory=list)
    future: list[SongArrangement] = field(default_factory=list)
    sounds: dict[str, Audio] = field(default_factory=dict)
    """Recordings in the arrangement, by their ids; takes are in the library."""
    waiting: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Run → the block it makes something for, and what: "reroll" or "grow"."""
    said: str = ""
    """How the last of these ended, where it left the arrangement as it was."""
    opened: bool = False
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def change(self, arrangement: SongArrangement) -> None:
        """Go on with another arrangement; the one before can be had back."""
        if arrangement != self.arrangement:
            self.past, self.future, self.arrangement = [*self.past, self.arrangement][-MOST_UNDONE:], [], arrangement
            self._drop_sounds()
        self.said = ""
        self.tell()

    def _drop_sounds(self) -> None:
        """Let go of recordings that no arrangement holds, and of the oldest where undoing alone holds too many."""
        here = {block.source for block in self.arrangement.blocks}
        kept = here | {block.source for one in self.past for block in one.blocks}
        self.sounds = {id: sound for id, sound in self.sounds.items() if id in kept}
        undone = [id for id in self.sounds if id not in here]
        for id in undone[: max(0, len(undone) - MOST_UNDONE_SOUNDS)]:
            del self.sounds[id]

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing in it that anybody would miss."""
        return not (self.arrangement.blocks or self.past or self.future or self.waiting or self.listeners)

    def undo(self) -> None:
        """Back to the arrangement before; nothing where there is none."""
        if self.past:
            self.future, self.arrangement = [*self.future, self.arrangement], self.past.pop()
        self.tell()

    def redo(self) -> None:
        """Forth again to the arrangement that was undone."""
        if self.future:
            self.past, self.arrangement = [*self.past, self.arrangement], self.future.pop()
        self.tell()

    def tell(self) -> None:
        """Tell every page that shows it."""
        for listener in tuple(self.listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Be told of every change; returns the way to stop that."""
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener) if listener in self.listeners else None


# -- where sections come from ------------------------------------------------------------------------------------------


def blocks_of(sound: Sound, how: str) -> list[Block]:
    """The sections of a take or sound: "lyrics", "plan", "ear" or "whole"; RecipeError where there is nothing to go by."""
    if how == "ear":
        return _by_ear(sound)
    if how == "whole":
        return [Block(0, sound.id, 0.0, sound.seconds, label_of(sound))]
    if how not in ("lyrics", "plan"):
        raise RecipeError(f"Sections come from the lyrics, the plan, the ear or the whole take, not from {how!r}.")
    text = words_of(sound, how)
    if not text:
        which = "plan with lyrics" if how == "plan" else "lyrics with sections such as [Verse]"
        raise RecipeError(f"This sound has no {which}; find its sections by ear.")
    return _by_words(sound, text, FROM_PLAN if how == "plan" else FROM_LYRICS)


def words_of(sound: Sound, how: str) -> str:
    """The lyrics that sections can be read from: a take's own, or its plan's; "" without a section tag."""
    if not isinstance(sound, Take):
        return ""
    text = sound.recipe.lyrics if how == "lyrics" else getattr(sound.plan, "lyrics", None) or ""
    return text if any(section.tag for section in lyrics.sections(text)) else ""


def label_of(sound: Sound) -> str:
    """What the whole of a take is called in an arrangement."""
    return "Song" if isinstance(sound, Take) else "Recording"


def _by_ear(sound: Sound) -> list[Block]:
    audio = sound.audio if isinstance(sound, Take) else sound
    return [Block(0, sound.id, one.start, one.end, one.letter, BY_EAR) for one in heard_sections(audio)]


def _by_words(sound: Sound, text: str, origin: str) -> list[Block]:
    """A block for each section of the lyrics: at their times, where they carry any, else as long as their words take."""
    sections, seconds = lyrics.sections(text), sound.seconds
    bpm = float(getattr(getattr(sound, "recipe", None), "bpm", None) or 100)
    lengths = [lyrics.estimate_seconds(section, bpm) for section in sections]
    edges = [seconds * sum(lengths[:place]) / sum(lengths) for place in range(len(lengths))] + [seconds]
    timed = _timed_edges(text, sections, seconds)
    edges = timed or snapped_edges(sound, edges)
    spans = zip(sections, edges, edges[1:], strict=False)
    return [
        Block(0, sound.id, start, end, section.tag or "Intro", FROM_TIMES if timed else origin, "beat", _text(section))
        for section, start, end in spans
        if end - start >= SHORTEST
    ]


def _text(section: lyrics.Section) -> str:
    tag = f"{section.tag} - {section.modifier}" if section.modifier else section.tag
    return "\n".join([f"[{tag}]"] * bool(section.tag) + list(section.lines))


def _timed_edges(text: str, sections: Sequence[lyrics.Section], seconds: float) -> list[float]:
    """Where sections begin by the times of their first lines; none where some have no time."""
    stamps = times.first_times(text)
    starts = [section.start_line for section in sections]
    found = [
        next((stamp for stamp in stamps[start:end] if stamp is not None), None)
        for start, end in zip(starts, [*starts[1:], len(stamps)], strict=True)
    ]
    edges = [0.0, *(stamp for stamp in found[1:] if stamp is not None), seconds]
    return edges if len(edges) == len(sections) + 1 and None not in found and sorted(edges) == edges else []


def snapped_edges(sound: Sound, edges: Sequence[float]) -> list[float]:
    """Times moved to the nearest beat, the first and the last one left; as they are where no beat is heard."""
    inner = [nearest_beat(sound, edge) for edge in edges[1:-1]]
    return [edges[0], *inner, edges[-1]]


def beats_at(sound: Sound, at: float) -> Beats | None:
    """The beats of a take or sound around a time."""
    bpm = getattr(getattr(sound, "recipe", None), "bpm", None)
    return beats_near(sound.audio if isinstance(sound, Take) else sound, at, bpm)


def nearest_beat(sound: Sound, at: float) -> float:
    """A time moved to the nearest beat; as it is where none is heard."""
    beats = beats_at(sound, at)
    return min(max(beats.nearest(at) if beats else at, 0.0), sound.seconds)


def trimmed(sound: Sound, block: Block, start: float, end: float) -> Block:
    """A block with other ends, each that moved snapped to the nearest beat; RecipeError where nothing is left between."""
    first = block.start if abs(start - block.start) < 1e-6 else nearest_beat(sound, start)
    last = block.end if abs(end - block.end) < 1e-6 else nearest_beat(sound, min(end, sound.seconds))
    last = sound.seconds if end >= sound.seconds - 0.02 else last
    first = 0.0 if start <= 0.02 else first
    if last - first < SHORTEST:
        raise RecipeError(f"A section lasts at least {SHORTEST:g} s; take it out of the song instead.")
    return replace(block, start=first, end=last)
