"""Song building: the arrangement of sections, new music for one of them, and the take that the arrangement becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.audio.stitching import arranged, stitched
from acestep_lab.engines.base import Capabilities
from acestep_lab.jobs import stitching
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extend, Piece, Region, Repaint, Task, source_id
from acestep_lab.takes.take import Take
from acestep_lab.ui import song_builder
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.controllers.composing import refusals
from acestep_lab.ui.draft import new_seed
from acestep_lab.ui.song_arrangement import FROM_SONG, Block, SongArrangement, SongDraft, label_of

AT_END = 0.05
"""Seconds before a sound's end from which on a section ends with it."""


class SongBuilding(Controller):
    """The song builder."""

    def build(self, made: Callable[..., Any]) -> None:
        draft = self.backend.drafts.setdefault(("song", self.studio.owner), SongDraft())
        self.song = made(song_builder, "SongBuilder", sound=self._sound, draft=draft, url=self.studio.url)

    def connect(self) -> None:
        connect(self.song, hear=self._hear, reroll=self._reroll, grow=self._grow, make=self._make)
        for run in self.backend.jobs.runs(self.studio.owner):
            if run.over:  # what ended while no page was open
                self.finished(run)

    def adopted(self, name: str, can: Capabilities) -> None:
        able = refusals(name, can)
        self.song.cannot = {"reroll": able["Repaint"] or "", "grow": able["Extend"] or ""}
        self.song.draw()

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.song.hold(sound)

    def finished(self, run: AnyRun) -> None:
        """A section's new music takes its place; a run that was stopped or failed leaves it as it was, with a sentence."""
        draft: SongDraft = self.song.draft
        block, what = draft.waiting.pop(run.id, (0, ""))
        if not what:
            return
        made = run.made if isinstance(run, RenderRun) else {}
        found = next((one for one in draft.arrangement.blocks if one.id == block), None)
        if made and found is not None:
            draft.change(draft.arrangement.put(_replaced(found, made[0], what)))
        elif found is not None:
            why = "was stopped" if run.state == "stopped" else f"failed: {run.problem}"
            draft.said = f"The new music {why} The section is as it was." if why[-1] == "." else (
                f"The new music {why}. The section is as it was."
            )  # fmt: skip
        draft.tell()

    def close(self) -> None:
        self.song.stop_listening()
        if self.song.draft.is_bare:
            self.backend.drafts.pop(("song", self.studio.owner), None)

    def reuse(self, take: Take) -> None:
        """The arrangement that made a stitched take, as it was asked for; undo brings the one before back."""
        task: Any = (take.asked or take.recipe).task
        draft: SongDraft = self.song.draft
        draft.opened = True
        draft.change(SongArrangement().insert([self._block(piece, task.crossfade) for piece in task.pieces]))

    def _block(self, piece: Piece, crossfade: str | float) -> Block:
        """A piece of a kept song as a block; what it was called is not kept."""
        id = source_id(piece.source)
        sound = self.backend.source(id, self.studio.owner)
        if isinstance(sound, Audio):
            self.song.draft.sounds[id] = sound
        region = piece.region or Region(0.0, sound.seconds)
        joint = (crossfade if piece.crossfade is None else piece.crossfade) or "none"
        return Block(0, id, region.start, region.end, label_of(sound), FROM_SONG, joint)

    # -- what is asked -------------------------------------------------------------------------------------------------

    def _sound(self, id: str) -> Take | Audio:
        """One of this person's takes or recordings."""
        return self.backend.source(id, self.studio.owner)

    def _recipe(self) -> Recipe:
        """The recipe of the arrangement as it stands."""
        arrangement = self.song.draft.arrangement
        words = {"lyrics": arrangement.lyrics} if arrangement.lyrics else {}
        return stitching.recipe_for(lambda sound: sound, arrangement.pieces(self.song.sound), "beat", words)

    def _hear(self) -> None:
        """The song as it would be, on a thread of its own, since beats are looked for and much may be resampled."""

        arrangement = self.song.draft.arrangement
        recipe = self._recipe()

        def work() -> None:
            found = stitching.decided(recipe, lambda sound: sound)
            rate = found.parts[0].audio.rate
            starts = [place.start / rate for place in arranged(found.parts)]
            self.song.hear(arrangement, stitched(found.parts), starts)

        self.in_background(self.song, work)

    def _make(self) -> None:
        recipe = self._recipe()
        self.studio.start(recipe, title=f"Song: {recipe.caption[:60] or len(self.song.draft.arrangement.blocks)}")

    def _reroll(self, block: Block) -> None:
        """The section made anew where it is in its source, from other noise."""
        source = self.song.sound(block.source)
        end = min(block.end, source.seconds)
        self._start(block, "reroll", source, Repaint(source, (Region(block.start, end),)))

    def _grow(self, block: Block, seconds: float) -> None:
        """The section's source as far as the section goes, with new music after it."""
        source = self.song.sound(block.source)
        audio = source.audio if isinstance(source, Take) else source
        at_end = block.end >= source.seconds - AT_END
        start: Take | Audio = source if at_end else audio.cut(Region(0.0, block.end))
        self._start(block, "grow", source, Extend(start, after=seconds))

    def _start(self, block: Block, what: str, words: Take | Audio, task: Task) -> None:
        """Begin a run for a block; `words` is the take whose words and choices it comes with."""
        recipe = self.backend.session.recipe_from(words, task, seed=new_seed())
        draft: SongDraft = self.song.draft
        run = self.studio.start(recipe, title=f"{'Re-roll' if what == 'reroll' else 'Grow'}: {block.label}")
        draft.waiting[run.id] = (block.id, what)
        draft.said = ""
        if run.over:  # it was quicker than this line
            self.finished(run)
        draft.tell()


def _replaced(block: Block, made: Take, what: str) -> Block:
    """A block whose music is another take's: the same span of it, or with what has grown after it."""
    end = made.seconds if what == "grow" else min(block.end, made.seconds)
    return replace(block, source=made.id, end=max(end, block.start + 0.1))
