"""SongBuilder: an arrangement of sections that becomes a song. The browser half is `widgets/song.js`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.takes.take import Take
from acestep_lab.ui import song_arrangement, tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Name, Typed
from acestep_lab.ui.song_arrangement import Block, SongDraft

GROWN_SECONDS = 8.0
"""What a section grows by."""


class SongBuilder(Component):
    """Sections of takes in a row: reorder, duplicate, cut and trim them, choose each joint, make one song of them.

    Listeners: "hear" (), "reroll" (block), "grow" (block, seconds), "make" (). Alone it edits; a studio makes the sound::

        builder = SongBuilderWidget(lab.load)
        builder.hold(take)
        builder.do_fill("lyrics")
        lab.stitch(builder.draft.arrangement.pieces(lab.load))
    """

    blocks: list[dict[str, Any]]
    track: dict[str, Any]
    module = "song"
    includes = ("audio_player",)
    fields: ClassVar[Mapping[str, object]] = {
        "blocks": [], "hand": {}, "can": {}, "track": {}, "said": "", "opened": False, "making": False,
    }  # fmt: skip

    def setup(
        self,
        sound: Callable[[str], Take | Audio] | None = None,
        *,
        draft: SongDraft | None = None,
        url: tracks.UrlOf | None = None,
    ) -> None:
        """`sound` gives a take or recording by its id; `draft` is the song that is worked on."""
        self._sound, self._url = sound, url
        self._hand: Take | Audio | None = None
        self._preview: Audio | None = None
        self._heard: tuple[song_arrangement.SongArrangement, list[float]] | None = None
        self.cannot: dict[str, str] = {"reroll": "", "grow": ""}
        """Why a section cannot be re-rolled or grown with this checkpoint; "" where it can."""
        self.draft = draft or SongDraft()
        self.stop_listening = self.draft.listen(self.draw)
        self.draw()

    # -- what it shows -------------------------------------------------------------------------------------------------

    def hold(self, sound: Take | Audio) -> None:
        """Another take or sound is in hand: sections can be taken from it."""
        self._hand = sound
        self.draw()

    def sound(self, id: str) -> Take | Audio:
        """A take or recording of the arrangement; RecipeError where nobody can give it."""
        if id in self.draft.sounds:
            return self.draft.sounds[id]
        if self._hand is not None and self._hand.id == id:
            return self._hand
        if self._sound is None:
            raise RecipeError("This song builder has no session: write SongBuilderWidget(lab.load).")
        return self._sound(id)

    def draw(self) -> None:
        """Show the arrangement as it stands."""
        draft, at, rows = self.draft, 0.0, []
        busy = dict(draft.waiting.values())
        starts = self._heard[1] if self._heard is not None and self._heard[0] == draft.arrangement else []
        for place, block in enumerate(draft.arrangement.blocks):
            rows.append(_row(block, starts[place] if starts else at, busy.get(block.id, "")))
            at += block.seconds
        self.blocks, self.said, self.opened = rows, draft.said, draft.opened
        self.can = {"undo": bool(draft.past), "redo": bool(draft.future), **self.cannot}
        self.hand = _hand(self._hand)
        if self._preview is not None and not starts:
            self.track, self._preview, self._heard = {}, None, None

    def hear(self, arrangement: song_arrangement.SongArrangement, audio: Audio, starts: list[float]) -> None:
        """The whole song as an arrangement makes it, each block's start in seconds; where it has changed since, it is made anew."""
        if arrangement != self.draft.arrangement:
            if self.draft.arrangement.blocks:
                self.notify("hear")
            return
        self._preview, self._heard = audio, (arrangement, starts)
        self.draw()
        self.track = tracks.track(audio, self._url)
        self.emit("heard", id=audio.id)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_open(self, on: bool) -> None:
        """Open or fold the builder."""
        self.draft.opened = on
        self.draft.tell()

    def do_fill(self, how: Name) -> None:
        """A new arrangement of the take in hand: its sections by "lyrics", "plan", "ear", or the "whole" of it."""
        self.draft.opened = True
        self._put_at_end(song_arrangement.blocks_of(self._held(), how), song_arrangement.SongArrangement())

    def do_append(self) -> None:
        """The take in hand at the end of the song."""
        self.draft.opened = True
        self._put_at_end(song_arrangement.blocks_of(self._held(), "whole"), self.draft.arrangement)

    def do_move(self, block: int, to: int) -> None:
        """A block to another place."""
        self.draft.change(self.draft.arrangement.move(block, to))

    def do_duplicate(self, block: int) -> None:
        """A block once more."""
        self.draft.change(self.draft.arrangement.duplicate(block))

    def do_remove(self, block: int) -> None:
        """A block out of the song."""
        self.draft.change(self.draft.arrangement.remove(block))

    def do_split(self, block: int, at: float) -> None:
        """A block cut in two, so many seconds after its start, on the nearest beat."""
        arrangement = self.draft.arrangement
        cut = arrangement.block(block)
        beat = song_arrangement.nearest_beat(self.sound(cut.source), cut.start + at) - cut.start
        inside = song_arrangement.SHORTEST <= beat <= cut.seconds - song_arrangement.SHORTEST
        self.draft.change(arrangement.split(block, beat if inside else at))

    def do_trim(self, block: int, start: float, end: float) -> None:
        """Other ends for a block, in seconds of its take, each snapped to the nearest beat."""
        one = self.draft.arrangement.block(block)
        self.draft.change(self.draft.arrangement.put(song_arrangement.trimmed(self.sound(one.source), one, start, end)))

    def do_nudge(self, block: int, edge: Name, beats: int) -> None:
        """An end of a block, "start" or "end", earlier or later by so many beats (of half a second, where none is heard)."""
        one = self.draft.arrangement.block(block)
        at = one.start if edge == "start" else one.end
        found = song_arrangement.beats_at(self.sound(one.source), at)
        to = at + beats * (found.period if found else 0.5)
        ends = (to, one.end) if edge == "start" else (one.start, to)
        self.do_trim(block, max(0.0, ends[0]), ends[1])

    def do_joint(self, block: int, how: Typed) -> None:
        """How a block joins the one before it: "beat", "none", or seconds of crossfade."""
        one = self.draft.arrangement.block(block)
        self.draft.change(self.draft.arrangement.put(replace(one, joint=song_arrangement.joint_of(how))))

    def do_label(self, block: int, text: Name) -> None:
        """What a block is called."""
        one = self.draft.arrangement.block(block)
        self.draft.change(self.draft.arrangement.put(replace(one, label=" ".join(text.split()) or one.label)))

    def do_undo(self) -> None:
        """Back by one edit."""
        self.draft.undo()

    def do_redo(self) -> None:
        """Forth by one edit."""
        self.draft.redo()

    def do_clear(self) -> None:
        """Start the arrangement anew; undo brings it back."""
        self.draft.change(song_arrangement.SongArrangement())

    def do_hear(self) -> None:
        """The whole song, to be heard before it is made."""
        self._must_have_blocks()
        self.notify("hear")

    def do_reroll(self, block: int) -> None:
        """New music in place of a section."""
        self.notify("reroll", block=self._free(block, "reroll"))

    def do_grow(self, block: int) -> None:
        """More music after a section."""
        self.notify("grow", block=self._free(block, "grow"), seconds=GROWN_SECONDS)

    def do_make(self) -> None:
        """Make a take of the arrangement."""
        self._must_have_blocks()
        self.notify("make")

    def do_bytes(self, id: Id) -> None:
        """The song to be heard, as a WAV file."""
        if self._preview is not None and self._preview.id == id:
            self.emit("bytes", tracks.wav_of(self._preview), id=id)

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here; nobody needs to know."""

    # -- inside --------------------------------------------------------------------------------------------------------

    def _held(self) -> Take | Audio:
        if self._hand is None:
            raise RecipeError("There is no take in hand yet; make one, or choose one among the takes.")
        return self._hand

    def _put_at_end(self, blocks: list[Block], arrangement: song_arrangement.SongArrangement) -> None:
        if isinstance(held := self._held(), Audio):
            self.draft.sounds[held.id] = held
        self.draft.change(arrangement.insert(blocks))

    def _must_have_blocks(self) -> None:
        if not self.draft.arrangement.blocks:
            raise RecipeError("The song has no sections yet; take them from the take in hand first.")

    def _free(self, block: int, what: str) -> Block:
        """A block that nothing is being made for, if the checkpoint can do it."""
        if self.cannot[what]:
            raise RecipeError(self.cannot[what])
        one = self.draft.arrangement.block(block)
        if any(busy == block for busy, _ in self.draft.waiting.values()):
            raise RecipeError("New music is being made for that section already; wait for it, or stop it in the queue.")
        return one


def _row(block: Block, at: float, busy: str) -> dict[str, Any]:
    """A block as the browser draws it."""
    return {
        "id": block.id, "label": block.label, "kind": block.kind, "origin": block.origin, "source": block.source,
        "start": block.start, "end": block.end, "seconds": block.seconds, "joint": block.joint, "at": at, "busy": busy,
    }  # fmt: skip


def _hand(sound: Take | Audio | None) -> dict[str, Any]:
    """The take in hand, and what its sections can be read from."""
    if sound is None:
        return {}
    ways = [how for how in ("lyrics", "plan") if song_arrangement.words_of(sound, how)]
    return {"id": sound.id, "title": tracks.title_of(sound, 60), "ways": [*ways, "ear", "whole"]}


SongBuilderWidget, SongBuilderPane = widget_and_pane(SongBuilder)
