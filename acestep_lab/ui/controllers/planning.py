"""Planning: what the planner writes, streamed while it does, then a plan to read and change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LabError
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import plan_view
from acestep_lab.ui.component import Component
from acestep_lab.ui.controllers.base import Controller, connect, start_thread


class Planning(Controller):
    """The plan view."""

    _writing: Client | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.plan = made(plan_view, "PlanView")

    def connect(self) -> None:
        connect(self.plan, make=self.studio.start, stop=self.stop_writing)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.plan.offered = self.studio.plans

    def selected(self, sound: Take | Audio, title: str) -> None:
        recipe, plan = getattr(sound, "recipe", None), getattr(sound, "plan", None)
        if plan is not None:
            self.plan.show_plan(plan, getattr(sound, "asked", None) or recipe, unfolded=False)

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        if run is None or event is None or run is not self.studio.watching.watched:
            return
        if event.kind == "token":
            if not self.plan.live:  # it began before anybody looked
                self.plan.begin()
            self.plan.add_token(event.value)
        elif event.kind == "state" and event.value == "planning":
            self.plan.begin()
        elif event.kind == "state" and self.plan.live:
            self.plan.end()

    def plan_first(self, recipe: Recipe) -> None:
        """Let the planner write; what is locked in the plan at hand stands."""
        recipe = self.studio.by_choice(recipe)
        locked = self.plan.value if self.plan.value is not None and self.plan.value.locked else None
        self.write(recipe, lambda: self.backend.session.plan(recipe, keep=locked, on_token=self.plan.add_token))

    def polish(self, recipe: Recipe) -> None:
        """Let the planner find better words; they are shown as a difference, and taken field by field."""
        fixed = {
            name: getattr(recipe, name)
            for name in ("bpm", "keyscale", "timesignature", "language")
            if getattr(recipe, name)
        }
        self.write(
            recipe,
            lambda: self.backend.session.polish(
                recipe.caption,
                recipe.lyrics,
                recipe.seed or 0,
                checkpoint=self.studio.checkpoint,
                on_token=self.plan.add_token,
                **fixed,
            ),
        )

    def write(
        self, recipe: Recipe | Callable[[Any], Recipe], ask: Callable[[], Any], title: str = "", *,
        at: Component | None = None, then: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Ask the planner for this page, and show what it wrote against a recipe; LabError where there is none, or it writes.

        The recipe may be made of what was written. What goes wrong is said `at` the component that asked; `then` is called
        once it is through, whatever came of it.
        """
        if not self.studio.plans:
            raise LabError(
                "This checkpoint has no planner; press Make it, and the words go to the music model as they are."
            )
        if self.plan.live:
            raise LabError("The planner is writing already; stop it, or let it finish.")
        client = self._writing = self.studio.client()
        self.plan.begin()
        words = recipe.caption if isinstance(recipe, Recipe) else ""

        def work() -> None:
            try:
                made = self.backend.ask(client, ask, title or (f"Plan: {words}" if words.strip() else ""))
            finally:
                self.plan.end()
            self.plan.show_plan(made, recipe if isinstance(recipe, Recipe) else recipe(made))

        start_thread(at or self.plan, work, then)  # the planner's turns are counted by the queue

    def stop_writing(self) -> None:
        """Stop what the planner writes for this page, and nothing it writes for anybody else."""
        if self._writing is not None:
            self._writing.stop()
        watched = self.studio.watching.watched
        if watched is not None and watched.state == "planning":
            self.studio.watching.stop_watched()

    def close(self) -> None:
        if self._writing is not None:
            self._writing.stop()
