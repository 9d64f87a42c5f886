"""Watching: the queue, and the music as it forms step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.ui import latent_preview, queue_view
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.throttle import Throttle

PROGRESS_PER_SECOND = 8.0
LISTED_RUNS = 4


class Watching(Controller):
    """The queue's rows and the preview of the run that is watched."""

    picture: Callable[[Step], bytes] | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.watched: RenderRun | None = None
        """The run whose steps are shown."""
        self._throttle = Throttle(PROGRESS_PER_SECOND)
        self.queue = made(queue_view, "RunQueue")
        self.preview = made(latent_preview, "LatentPreview", picture=self.picture)

    def connect(self) -> None:
        connect(
            self.queue,
            stop=self._stop_run,
            watch=self._watch_run,
            dismiss=self._dismiss,
            hold=self._hold,
            move=self._move,
            pause=self._pause,
        )
        connect(self.preview, stop=self.stop_watched, keep=self._keep_step, play_step=self._play_step)

    def adopted(self, name: str, can: Capabilities) -> None:
        if not self.preview.live:
            self.preview.hears = can.previews

    def started(self, run: RenderRun) -> None:
        if self.watched is None or self.watched.over:
            self.watch(run)

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        if event is not None and run is not None and run is self.watched:
            self._show_watched(self.watched, event)
        self._throttle.offer(self._show_queue)
        if run is not None and run.over and event is not None and event.kind == "state":
            self._throttle.flush()
            self._show_queue()

    def finished(self, run: AnyRun) -> None:
        waiting = next((one for one in reversed(self.renders()) if not one.over), None)
        if waiting is not None and run is self.watched:
            self.watch(waiting)

    def refreshed(self) -> None:
        self._show_queue()

    def attach(self) -> None:
        """A page that (re)opens takes up what is under way."""
        mine = self.renders()
        live = next((run for run in reversed(mine) if not run.over), mine[0] if mine else None)
        if live is not None:
            self.watch(live)

    def renders(self) -> list[RenderRun]:
        """This person's renders, newest first."""
        return [run for run in self.backend.jobs.runs(self.studio.owner) if isinstance(run, RenderRun)]

    def watch(self, run: RenderRun) -> None:
        """Show the steps of a run from here on."""
        self.watched = run
        recipe = run.recipe
        self.preview.begin(run.id, recipe.seconds or 0.0, getattr(recipe.sampling, "steps", None) or 0)
        self.preview.catch_up(run.steps)
        if run.over:
            self.preview.end(run.problem)

    def stop_watched(self) -> None:
        """Stop the run that is watched."""
        if self.watched is not None:
            self._stop_run(self.watched.id)

    def _show_watched(self, run: RenderRun, event: Event) -> None:
        if event.kind == "step":
            self.preview.add(event.value)
        if run.over:
            self.preview.end(
                {"done": "", "stopped": "Stopped. The steps so far can still be heard and kept."}.get(
                    run.state, run.problem
                )
            )

    def _show_queue(self) -> None:
        jobs, owner = self.backend.jobs, self.studio.owner
        self.queue.rows = jobs.rows(owner, LISTED_RUNS)
        self.queue.paused, self.queue.hosts = jobs.paused, not owner

    def _watch_run(self, id: str) -> None:
        run = self.backend.jobs.find(id, self.studio.owner)
        if isinstance(run, RenderRun):
            self.watch(run)

    def _stop_run(self, id: str) -> None:
        """Stop one of this person's own runs; one that has ended since the click is left alone."""
        if self.backend.jobs.find(id, self.studio.owner) is not None:
            self.backend.jobs.stop(id, self.studio.owner)

    def _dismiss(self, id: str) -> None:
        if self.backend.jobs.find(id, self.studio.owner) is not None:
            self.backend.jobs.dismiss(id, self.studio.owner)

    def _hold(self, id: str, held: bool) -> None:
        """Hold back one of this person's runs that waits, or let it wait its turn again."""
        (self.backend.jobs.hold if held else self.backend.jobs.release)(id, self.studio.owner)

    def _move(self, id: str, place: int) -> None:
        """Put one of this person's runs at another place among their own."""
        self.backend.jobs.move(id, place, self.studio.owner)

    def _pause(self, paused: bool) -> None:
        """Begin no run until the host says so."""
        (self.backend.jobs.pause if paused else self.backend.jobs.resume)(self.studio.owner)

    def _keep_step(self, step: int) -> None:
        run = self._watched_run()
        self.preview.note = f"Decoding step {step + 1} whole…"

        def work() -> None:
            try:
                self.studio.add(run.keep(step))
            finally:
                self.preview.note = ""

        self.in_background(self.preview, work)

    def _play_step(self, step: int, start: float, end: float) -> None:
        run = self._watched_run()
        shown = next((f for f in run.steps if f.index == step), None)
        if shown is None:
            raise LabError(f"Step {step + 1} has not been reached yet.")
        self.in_background(
            self.preview,
            lambda: self.preview.sound(
                self.backend.session.preview(shown, (start + end) / 2, max(0.2, end - start)), step, start
            ),
        )

    def _watched_run(self) -> RenderRun:
        if self.watched is None:
            raise LabError("Nothing is being made yet.")
        return self.watched
