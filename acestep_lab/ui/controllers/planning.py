"""Planning: what the planner writes, streamed while it does, then a plan to read and change.

The plan view speaks of one song at a time: what is asked for here, or the run that is watched, or the take in hand. Whatever
arrives late for another one is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError, RecipeError, Stopped
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import code_features, plan_view
from acestep_lab.ui.component import Component
from acestep_lab.ui.controllers.base import Controller, connect, start_thread
from acestep_lab.ui.drawing_thread import DrawingThread
from acestep_lab.ui.forms import Form

FIXED = ("bpm", "keyscale", "timesignature", "language", "seconds")
"""What a person fixes by setting it in the form."""
WORDS = ("caption", "lyrics")
"""What a person fixes by locking it."""


class Planning(Controller):
    """The plan view."""

    def build(self, made: Callable[..., Any]) -> None:
        self._writing: Client | None = None
        self._turn = 0
        """Which asking is the newest; what an older one brings is dropped."""
        self._of = ""
        """The run whose plan is shown, "" for that of an asking or a take."""
        self._drawing = DrawingThread()
        self.plan = made(plan_view, "PlanView")

    def connect(self) -> None:
        connect(self.plan, make=self._make, stop=self.stop_writing)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.plan.offered = self.studio.plans
        self.plan.adopt(Form.of(can, plans=self.studio.plans), can.vocabulary.languages)

    # -- whose plan is shown -------------------------------------------------------------------------------------------

    def started(self, run: RenderRun) -> None:
        """A new run: what was asked for before it is not wanted any more, and the last song's plan goes."""
        self._drop_writing()
        watched = self.studio.watching.watched
        if watched is None or watched is run or self._of != watched.id:
            self._clear()

    def selected(self, sound: Take | Audio, title: str) -> None:
        """The plan of the take in hand, with what its codes sound like; none where it has none."""
        if self.plan.live:
            return
        self._of = ""
        plan, codes = getattr(sound, "plan", None), codes_of(sound)
        if plan is None:
            self.plan.clear()
        else:
            self.plan.show_plan(plan, getattr(sound, "asked", None) or getattr(sound, "recipe", None), unfolded=False)
        self.plan.show_codes(codes)
        if codes and isinstance(sound, Take):
            self._drawing.ask("lane", lambda: self._draw_lane(sound, codes))

    def show_run(self, run: RenderRun) -> None:
        """Another run is watched: its plan, as far as there is one. That of a finished one comes with its take."""
        if self._writing is not None or (run.over and run.made):
            return
        self._clear()
        self._of = run.id
        self._show_written(run)

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        watched: AnyRun | None = self.studio.watching.watched
        if run is None or event is None or self._writing is not None or run is not watched:
            return
        if event.kind == "token":
            if not self.plan.live or self._of != run.id:  # it began before anybody looked
                self._begin(run.id)
            self.plan.add_token(event.value)
        elif event.kind == "state" and event.value == "planning":
            self._begin(run.id)
        elif event.kind == "state" and (self.plan.live or self._of == run.id):
            self.plan.end()
            if isinstance(run, RenderRun) and not run.over and self.plan.value is None:
                self._show_written(run)

    def _show_written(self, run: RenderRun) -> None:
        """What the planner has written for a run, folded: nobody asked to read it first."""
        plan = next(iter(run.plans), None)
        if plan is not None:
            self.plan.show_plan(plan, run.recipe, unfolded=False)

    def _begin(self, of: str) -> None:
        self._of = of
        self.plan.clear()
        self.plan.begin()

    def _clear(self) -> None:
        self._of = ""
        self.plan.clear()

    def _draw_lane(self, take: Take, codes: tuple[int, ...]) -> None:
        """What each code sounds like in the take; dropped where another one is in hand by now."""
        features = code_features.of_sound(take.audio, len(codes))
        if self.studio.selected is take and not self.plan.live:
            self.plan.show_features(features)

    # -- asking --------------------------------------------------------------------------------------------------------

    def _make(self, recipe: Recipe, plan: Plan) -> None:
        """Render with the plan at hand, which stays in view, folded."""
        run = self.studio.start(recipe, plan)
        if self.studio.watching.watched is run and self.plan.value is None:
            self._of = run.id
            self.plan.show_plan(plan, recipe, unfolded=False)

    def plan_first(self, recipe: Recipe) -> None:
        """Let the planner write; what is locked in the plan at hand, and what the form locks, stands."""
        recipe = self.studio.by_choice(recipe)
        session, keep, on_token = self.backend.session, self._kept(recipe), self.listener()
        self.write(recipe, lambda: session.plan(recipe, keep=keep, on_token=on_token))

    def polish(self, recipe: Recipe) -> None:
        """Let the planner find better words; they are shown as a difference, and taken field by field."""
        fixed, session, on_token = self._fixed(recipe), self.backend.session, self.listener()
        checkpoint = self.studio.checkpoint
        words = {name: fixed.pop(name) for name in WORDS if name in fixed}

        def ask() -> Plan:
            found = session.polish(
                recipe.caption, recipe.lyrics, recipe.seed or 0, checkpoint=checkpoint, on_token=on_token, **fixed
            )
            return found.replace(**words)

        self.write(recipe, ask)

    def _kept(self, recipe: Recipe) -> Plan | None:
        """The plan whose locked fields stand: those of the plan at hand, and the words that the form locks."""
        plan, words = self.plan.value or Plan(), self._locked_words(recipe)
        self._must_agree(plan, words)
        for name, value in words.items():
            plan = plan.replace(**{name: value}).lock(name)
        return plan if plan.locked else None

    def _fixed(self, recipe: Recipe) -> dict[str, Any]:
        """What a polishing leaves alone: what the form sets or locks, and what is locked in the plan at hand."""
        plan = self.plan.value or Plan()
        own = {name: value for name in FIXED if (value := getattr(recipe, name)) is not None}
        own |= self._locked_words(recipe)
        self._must_agree(plan, own)
        return {name: getattr(plan, name) for name in plan.locked if name != "codes"} | own

    def _locked_words(self, recipe: Recipe) -> dict[str, str]:
        """Caption and lyrics, where the form locks them and they are there."""
        locked = self.studio.prompt.value.locked
        return {name: text for name in WORDS if name in locked and (text := getattr(recipe, name)).strip()}

    def _must_agree(self, plan: Plan, own: dict[str, Any]) -> None:
        """RecipeError where the plan at hand locks something else than the form says."""
        for name, value in own.items():
            if name in plan.locked and getattr(plan, name) != value:
                raise RecipeError(
                    f"The form has another {name} than the plan has locked. Change one of them, or unlock it."
                )

    def listener(self) -> Callable[[Any], None]:
        """What hears the tokens of the next asking (`write`), and drops them once another one is waited for."""
        return partial(self._heard_token, self._turn + 1)

    def write(
        self, recipe: Recipe | Callable[[Any], Recipe], ask: Callable[[], Any], title: str = "", *,
        at: Component | None = None, then: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Ask the planner for this page, and show what it wrote against a recipe; LabError where there is none, or it writes.

        `ask` returns the plan; it hands `listener()`, taken before this, to the session as `on_token`. The recipe may be made
        of what was written. What goes wrong is said `at` the component that asked; `then` is called once it is through.
        """
        if not self.studio.plans:
            raise LabError(
                "This checkpoint has no planner; press Make it, and the words go to the music model as they are."
            )
        if self._writing is not None:
            raise LabError("The planner is writing already; stop it, or let it finish.")
        client = self._writing = self.studio.client()
        self._turn += 1
        turn, words = self._turn, recipe.caption if isinstance(recipe, Recipe) else ""
        self._begin_asked()

        def work() -> None:
            try:
                made = self.backend.ask(client, ask, title or (f"Plan: {words}" if words.strip() else ""))
            except Stopped:
                self._written(turn)
            except BaseException:
                if self._written(turn):
                    raise
            else:
                if self._written(turn):
                    self.plan.show_plan(made, recipe if isinstance(recipe, Recipe) else recipe(made))

        start_thread(at or self.plan, work, then)  # the planner's turns are counted by the queue

    def _begin_asked(self) -> None:
        """Stream what is asked for; the plan at hand stays until there is another, and so do its locks."""
        self._of = ""
        self.plan.begin()

    def _heard_token(self, turn: int, token: Any) -> None:
        if turn == self._turn and self._writing is not None:
            self.plan.add_token(token)

    def _written(self, turn: int) -> bool:
        """An asking is over; whether it is the one that is waited for."""
        if turn != self._turn or self._writing is None:
            return False
        self._writing = None
        self.plan.end()
        return True

    def _drop_writing(self) -> None:
        """Let go of what is being written: what it brings is not waited for any more."""
        if self._writing is not None:
            client, self._writing = self._writing, None
            self._turn += 1
            self.plan.end()
            client.stop()

    def stop_writing(self) -> None:
        """Stop what the planner writes for this page, and nothing it writes for anybody else."""
        self._drop_writing()
        watched = self.studio.watching.watched
        if watched is not None and watched.state == "planning":
            self.studio.watching.stop_watched()

    def close(self) -> None:
        if self._writing is not None:
            self._writing.stop()


def codes_of(sound: object) -> tuple[int, ...]:
    """The codes a take was made from: its plan's, else those its recipe was handed."""
    plan, task = getattr(sound, "plan", None), getattr(getattr(sound, "recipe", None), "task", None)
    found = getattr(plan, "codes", ()) or getattr(task, "codes", None) or ()
    return tuple(found)
