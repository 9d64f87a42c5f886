"""Lyrics in time under a waveform, and the line that is sung lit: what player and picker share. The browser half is
`widgets/lyric_lane.js`.

Knows alignments and nobody who listens. A sound without one says why there is none, and offers the sections as planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.alignment import SURE, planned
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt import checks
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component
from acestep_lab.ui.messages import Id, Name

Lines = Alignment | Iterable[tuple[float, str]]
NO_WORDS = "It has no words: nothing is sung."
RECORDING = "A recording has no words of its own: lab.align(sound, lyrics='…') finds those that you name."
NOT_YET = "Nobody has looked for its words yet."
NO_HEADS = "{} aligns no lyrics: which of its heads listen to them is not known."


@dataclass(frozen=True)
class Without:
    """Why a sound has no lyrics in time, and what may be done about it: "sound" looks for them, "plan" estimates sections."""

    why: str = ""
    offers: tuple[str, ...] = ()


def without(sound: Take | Audio, session: SessionLike | None = None) -> Without:
    """Why nothing is known of a sound's lyrics, and what a session, if there is one, could do."""
    if not isinstance(sound, Take):
        return Without(RECORDING)
    text = LyricText.of(sound.recipe.lyrics)
    plan = ("plan",) if sum(bool(tag.text) for tag in text.tags) > 1 else ()
    if not text.lines:
        return Without(NO_WORDS, plan)
    if session is None:
        return Without(NOT_YET, plan)
    made_by = str(sound.made_with.get("checkpoint", ""))
    name = made_by if made_by in session.checkpoints else session.name
    if session.capabilities_of(name).aligns:
        return Without(NOT_YET, ("sound", *plan))
    return Without(NO_HEADS.format(name), plan)


class LyricLane(Component):
    """A component that shows the lyrics of the sound in hand. Listeners: "align" (id), which looks for them."""

    _sung_by: Take | Audio | None = None
    _sung: Mapping[str, Any] = {}
    _without: Callable[[Take | Audio], Without] = staticmethod(without)

    def _hold_lyrics(self, sound: Take | Audio, lines: Lines) -> list[tuple[float, str]]:
        """Take up the lyrics of a sound that is shown from now on; its lines by their starts, "" where a rest begins."""
        rows = lines if isinstance(lines, Alignment) else [(float(at), str(words)) for at, words in lines]
        self._sung_by = sound
        found = rows if isinstance(rows, Alignment) else alignment_of(rows, sound.seconds) if rows else None
        self._sung = told(found, self._without(sound))
        return tracks.lines_of(rows) if isinstance(rows, Alignment) else rows

    def show_lyrics(self, found: Alignment) -> None:
        """Show lyrics in time of the sound in hand, in place of those that are shown."""
        if self._sung_by is not None:
            self._sung = told(found, self._without(self._sung_by))
            self._send_lyrics()

    def _send_lyrics(self) -> None:
        if self._sung_by is not None:
            self.emit("lyrics", id=self._sung_by.id, **self._sung)

    def do_lyrics(self, id: Id) -> None:
        """Send the lyrics of the sound in hand."""
        if self._sung_by is not None and self._sung_by.id == id:
            self._send_lyrics()

    def do_find_lyrics(self, id: Id, by: Name = "sound") -> None:
        """Look for the words, or estimate where sections lie, which needs nobody."""
        checks.choice("What to find lyrics by", by, ("sound", "plan"))
        sound = self._sung_by
        if not isinstance(sound, Take) or sound.id != id:
            return
        if by == "sound":
            self.notify("align", id=id)
        else:
            bpm = sound.recipe.bpm or getattr(sound.plan, "bpm", None)
            self.show_lyrics(planned(sound.recipe.lyrics, sound.seconds, bpm))


def alignment_of(rows: Sequence[tuple[float, str]], seconds: float) -> Alignment:
    """Lines by their starts as an alignment; each lasts until the next one, "" is a rest."""
    ends = [*(at for at, _ in rows[1:]), max(seconds, rows[-1][0])]
    timed = [(at, end, words) for (at, words), end in zip(rows, ends, strict=True) if words]
    lines = tuple(Timed(words, at, end, 1.0, n) for n, (at, end, words) in enumerate(timed))
    return Alignment(lines, heard=False)


def told(found: Alignment | None, missing: Without) -> dict[str, Any]:
    """What a browser half is told: lines, words and sections with their times, or why there are none."""
    if found is None:
        return {
            "lines": [],
            "words": [],
            "sections": [],
            "heard": False,
            "remarks": [],
            "why": missing.why,
            "offers": list(missing.offers),
        }
    lines = found.found
    place = {line.line: n for n, line in enumerate(lines)}
    words = [
        [word.text, word.start, word.end, place[word.line]] for word in found.words if word.found and word.line in place
    ]
    return {
        "lines": [[line.text, line.start, line.end, line.sure >= SURE] for line in lines],
        "words": words,
        "sections": [[one.text, one.start, one.end] for one in found.sections if one.text],
        "heard": found.heard,
        "remarks": list(found.remarks),
        "why": "" if lines else missing.why,
        "offers": [] if lines else [offer for offer in missing.offers if offer != "plan" or not found.sections],
    }
