"""DescribeStrip: one line becomes a song to be made; a sound in hand is described; the dice throw an example. The browser half is
`widgets/describe.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.sampling import MOST_CAPTION
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.draft import new_seed
from acestep_lab.ui.lyrics_editor import NAMES
from acestep_lab.ui.messages import Name
from acestep_lab.ui.messages import text as text_of

Sentence = Annotated[str, text_of(MOST_CAPTION)]
_LONGEST_SHOWN = 120


class DescribeStrip(Component):
    """A line to describe a song in, what the planner made of it, and two buttons that fill the form.

    `cannot` says why there is nobody to ask, "" where there is; the dice work without. Listeners: "sketch" (sentence,
    instrumental, language, seed), "understand" (seed), "stop", "use" (plan), "dice" (seed), "codes", "undo"::

        strip = DescribeStripWidget()
        strip.on("sketch", lambda sentence, instrumental, language, seed: strip.offer(
            lab.sketch(sentence, instrumental, seed, language=language)))
        strip.on("use", lambda plan: print(plan))
    """

    module = "describe"
    fields: ClassVar[Mapping[str, object]] = {
        "seed": 0, "busy": "", "offered": "", "heard": False, "cannot": "", "source": "", "has_codes": False,
        "filled": "", "languages": [], "code": "",
    }  # fmt: skip

    seed: int
    busy: str
    cannot: str
    source: str

    def setup(self, cannot: str = "") -> None:
        """Begin with an empty line and a seed by the dice; `cannot` is why there is no planner to ask."""
        self._plan: Plan | None = None
        self.seed, self.cannot = new_seed(), cannot
        self.languages = [[code, NAMES.get(code, code)] for code in vocabulary.LANGUAGES if code != "unknown"]

    # -- what Python asks ----------------------------------------------------------------------------------------------

    @property
    def value(self) -> Plan | None:
        """What the planner wrote last, with what was changed of it since."""
        return self._plan

    def begin(self, what: str) -> None:
        """The planner is asked: "sketch" or "understand"; what it wrote before is over."""
        self.forget()
        self.busy, self.heard = what, what == "understand"

    def end(self) -> None:
        """The planner is through, with a plan or without."""
        self.busy = ""

    def offer(self, plan: Plan, code: str = "") -> None:
        """Show what it wrote, to be used; `code` is the Python line that asks the same."""
        self._plan, self.busy, self.code = plan, "", code
        words = " ".join((plan.caption or plan.lyrics or "").split())
        self.offered = words if len(words) <= _LONGEST_SHOWN else words[: _LONGEST_SHOWN - 1] + "…"

    def forget(self) -> None:
        """What was offered is over."""
        self._plan, self.offered, self.code = None, "", ""

    def hand_codes(self, codes: tuple[int, ...], name: str) -> None:
        """Send the audio codes of a sound, to be copied or saved as a JSON list of whole numbers."""
        self.busy = ""
        self.emit("codes", text=f"[{', '.join(map(str, codes))}]", count=len(codes), name=name)

    def show_error(self, text: str, field: str = "", code: str = "") -> None:
        """Show a sentence; nothing is waited for any more."""
        self.busy = ""
        super().show_error(text, field, code)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_sketch(
        self, sentence: Sentence, instrumental: bool = False, language: Name = "", seed: int | None = None
    ) -> None:
        """Let the planner make a song of one line."""
        if not sentence.strip():
            raise RecipeError("Describe the song in a few words first: a sad song about rain.")
        self._must_be_free()
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise RecipeError(f"A seed is a whole number from 0 to {MAX_SEED}, not {shown(seed)}.")
        self.seed = self.seed if seed is None else seed
        spoken = vocabulary.language(language) if language else None
        self.notify("sketch", sentence=sentence.strip(), instrumental=instrumental, language=spoken, seed=self.seed)

    def do_understand(self) -> None:
        """Let the planner describe the sound in hand."""
        self._must_be_free()
        if not self.source:
            raise LabError("There is no sound in hand yet: bring one in, or select a take.")
        self.notify("understand", seed=self.seed)

    def do_stop(self) -> None:
        """Let the planner be."""
        self.notify("stop")

    def do_use(self) -> None:
        """Fill the form with what was offered."""
        if self._plan is None:
            raise LabError("There is nothing to use yet: describe a song first.")
        self.notify("use", plan=self._plan)

    def do_new_seed(self) -> None:
        """Another seed by the dice."""
        self.seed = new_seed()

    def do_dice(self) -> None:
        """Fill the form with an example of ours."""
        self.notify("dice", seed=new_seed())

    def do_undo(self) -> None:
        """Bring back what stood in the form before it was filled."""
        self.notify("undo")

    def do_codes(self) -> None:
        """Ask for the audio codes of the sound in hand."""
        self._must_be_free()
        if not self.source:
            raise LabError("There is no sound in hand yet: bring one in, or select a take.")
        self.busy = "codes"
        self.notify("codes")

    def _must_be_free(self) -> None:
        if self.busy:
            raise LabError("The last question is not answered yet; stop it, or let it finish.")


DescribeStripWidget, DescribeStripPane = widget_and_pane(DescribeStrip)
