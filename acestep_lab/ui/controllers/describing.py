"""Describing: a line becomes a plan, a sound becomes words, the dice throw an example; all of them fill the form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.examples import example
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import describe, tracks
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.draft import Draft

NO_PLANNER = (
    "This checkpoint has no planner to describe a song to; write the words below, or choose another checkpoint on top."
)
_FILLED = ("caption", "bpm", "keyscale", "timesignature", "seconds")
"""Fields of the form that a plan or an example fills; a seed, sampling and whatever else was chosen stay."""


@dataclass(frozen=True)
class Words:
    """What stands in the form and beside it: the draft, and the lyrics with their language and switch."""

    draft: Draft
    lyrics: str
    language: str
    instrumental: bool


class Describing(Controller):
    """The strip on top of the form."""

    _before: Words | None = None
    _after: Words | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.describe = made(describe, "DescribeStrip")

    def connect(self) -> None:
        connect(
            self.describe,
            sketch=self._sketch,
            understand=self._understand,
            stop=self.studio.planning.stop_writing,
            use=self._use,
            dice=lambda seed: self._fill(example(seed), "example"),
            codes=self._codes,
            undo=self._undo,
        )
        connect(self.studio.prompt, changed=self._prompt_changed)
        connect(self.studio.plan, changed=self._plan_changed)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.describe.cannot = "" if self.studio.plans else NO_PLANNER
        self.describe.has_codes = can.codes

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.describe.source = title or tracks.title_of(sound, 60)

    # -- asking the planner --------------------------------------------------------------------------------------------

    def _sketch(self, sentence: str, instrumental: bool, language: str | None, seed: int) -> None:
        def ask(on_token: Any) -> Plan:
            return self.backend.session.sketch(
                sentence, instrumental, seed, language=language, checkpoint=self.studio.checkpoint, on_token=on_token
            )

        more = (", instrumental=True" if instrumental else "") + (f", language={language!r}" if language else "")
        code = f"plan = lab.sketch({sentence!r}, seed={seed}{more})"
        self._write("sketch", seed, ask, sentence, code)

    def _understand(self, seed: int) -> None:
        sound = self.studio.selected
        assert sound is not None  # the strip has asked for one

        def ask(on_token: Any) -> Plan:
            return self.backend.session.understand(sound, seed, checkpoint=self.studio.checkpoint, on_token=on_token)

        code = f"plan = lab.understand({sound.id!r}, seed={seed})"
        self._write("understand", seed, ask, f"Describe: {self.describe.source}", code)

    def _write(self, what: str, seed: int, ask: Callable[[Any], Plan], title: str, code: str) -> None:
        """Let the planner write: it is seen in the plan view, and offered here."""
        on_token = self.studio.planning.listener()

        def work() -> Plan:
            made = ask(on_token)
            self.describe.offer(made, code)
            return made

        def asked(made: Plan) -> Recipe:
            self._asked = recipe_of(made).replace(seed=seed)
            return self._asked

        self.describe.begin(what)
        try:
            self.studio.planning.write(asked, work, title, at=self.describe, then=self.describe.end)
        except BaseException:
            self.describe.end()
            raise

    def _plan_changed(self) -> None:
        """The plan was changed by hand: that is what is used, as long as it is the one that was written here."""
        if self.describe.value is not None and self.studio.plan.asked is self._asked:
            self.describe.offer(self.studio.plan.value, self.describe.code)

    _asked: Recipe | None = None

    def _use(self, plan: Plan) -> None:
        self._fill(recipe_of(plan), "plan")
        self.describe.forget()

    # -- the form ------------------------------------------------------------------------------------------------------

    def _fill(self, recipe: Recipe, with_what: str) -> None:
        """Put words and metadata into the form; locked fields and everything else stay. One undo brings the former back."""
        before, locked = self._words(), self.studio.prompt.value.locked
        self.studio.prompt.fill({name: getattr(recipe, name) for name in _FILLED} | {"task": "Text2Music"})
        if "lyrics" not in locked:
            language = recipe.language if "language" not in locked else before.language or None
            self.studio.lyrics.load(recipe.lyrics, language)
        self._before, self._after = before, self._words()
        self.describe.filled = with_what if self._after != before else ""

    def _words(self) -> Words:
        lyrics = self.studio.lyrics
        return Words(self.studio.prompt.value, lyrics.text, lyrics.language, lyrics.instrumental)

    def _undo(self) -> None:
        """Bring the former words back, whether the form was touched since or not."""
        if self._before is not None and self._after is not None:
            if self.studio.prompt.value is self._after.draft:
                self.studio.prompt.do_undo()  # which brings the lyrics along
            self._put_lyrics(self._before)
            self.describe.filled = ""

    def _prompt_changed(self) -> None:
        """The form's own undo and redo reach the lyrics that were filled in with it; any other change ends that."""
        before, after = self._before, self._after
        if before is None or after is None:
            return
        now = self._words()
        if now.draft is before.draft and self._has_lyrics_of(after):
            self._put_lyrics(before)
            self.describe.filled = ""
        elif now.draft is after.draft and self._has_lyrics_of(before):
            self._put_lyrics(after)
        elif now.draft is not after.draft:
            self.describe.filled = ""

    def _has_lyrics_of(self, words: Words) -> bool:
        now = self._words()
        return (now.lyrics, now.instrumental) == (words.lyrics, words.instrumental)

    def _put_lyrics(self, words: Words) -> None:
        self.studio.lyrics.load(words.lyrics, words.language or None)
        if words.instrumental and not self.studio.lyrics.instrumental:
            self.studio.lyrics.do_instrumental(True)

    # -- codes ---------------------------------------------------------------------------------------------------------

    def _codes(self) -> None:
        """Read the audio codes of the sound in hand; the codec is asked between two steps of a run."""
        sound, name = self.studio.selected, self.describe.source
        assert sound is not None  # the strip has asked for one

        def work() -> None:
            codes = self.backend.session.codes(sound, checkpoint=self.studio.checkpoint)
            self.describe.hand_codes(codes, name)

        self.in_background(self.describe, work)


def recipe_of(plan: Plan) -> Recipe:
    """What a plan says, as a recipe for words and metadata."""
    return Recipe(
        plan.caption or "", plan.lyrics or "", bpm=plan.bpm, keyscale=plan.keyscale or None,
        timesignature=plan.timesignature or None, language=plan.language or None, seconds=plan.seconds or None,
    )  # fmt: skip
