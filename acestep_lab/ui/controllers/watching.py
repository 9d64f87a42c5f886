"""Watching: the queue, and the music as it forms step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.takes.take import Take
from acestep_lab.ui import latent_preview, queue_view
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.step_sounds import step_sounds_of
from acestep_lab.ui.throttle import Throttle

PROGRESS_PER_SECOND = 8.0
STOPPED = "Stopped. The steps so far can still be heard and kept."
LISTED_RUNS = 4


class Watching(Controller):
    """The queue's rows and the preview of the run that is watched."""

    picture: Callable[[Step], bytes] | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.watched: RenderRun | None = None
        """The run whose steps are shown."""
        self._song = 0
        self._kept: dict[str, set[str]] = {}
        self._throttle = Throttle(PROGRESS_PER_SECOND)
        self.queue = made(queue_view, "RunQueue")
        self.preview = made(
            latent_preview, "LatentPreview", picture=self.picture, sounds=step_sounds_of(self.backend.session)
        )
        self.preview.stops = False  # the run's row in the queue has one

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

    def selected(self, sound: Take | Audio, title: str) -> None:
        """The pictures of another song than the one in hand say nothing of it; those of a run under way stay."""
        if self.watched is not None and not self.watched.over:
            return
        own = next((run for run in self.renders() if sound.id in self._ids_of(run)), None)
        if own is not self.watched:
            if own is None:
                self.watched = None
                self.preview.clear()
            else:
                self.watch(own)

    def _ids_of(self, run: RenderRun) -> set[str]:
        """Ids of the takes a run has made, those of its kept steps included."""
        return {take.id for take in run.made.values()} | self._kept.get(run.id, set())

    def heard(self, run: AnyRun | None, event: Event | None) -> None:
        if event is not None and run is not None and run is self.watched:
            self._show_watched(self.watched, event)
        self._throttle.offer(self._show_queue)
        if run is not None and run.over and event is not None and event.kind == "state":
            self._throttle.now(self._show_queue)

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
        """Show the steps of a run from here on: of several songs, the one that is being made."""
        self.watched = run
        shown = {step.item for step in run.steps}
        self._begin_song(run, max(shown, default=0) if len(run.made) else min(shown, default=0))
        if run.over:
            self._end(run)
        self.studio.planning.show_run(run)

    def _begin_song(self, run: RenderRun, song: int) -> None:
        self._song = song
        recipe = run.recipes[min(song, len(run.recipes) - 1)]
        steps = getattr(recipe.sampling, "steps", None) or 0
        self.preview.begin(run.id, recipe.seconds or 0.0, steps, song, len(run.recipes))
        self.preview.catch_up(step for step in run.steps if step.item == song)
        if song in run.made:
            self.preview.finish(run.made[song])

    def stop_watched(self) -> None:
        """Stop the run that is watched."""
        if self.watched is not None:
            self._stop_run(self.watched.id)

    def _show_watched(self, run: RenderRun, event: Event) -> None:
        if event.kind == "step":
            self._show_step(run, event.value)
        elif event.kind == "take" and event.value[0] == self._song:
            self.preview.finish(event.value[1])
        if run.over:
            self._end(run)

    def _show_step(self, run: RenderRun, step: Step) -> None:
        """One more step of the song that is watched; once that one is made, of the next."""
        if step.item > self._song and self._song in run.made:
            self._begin_song(run, step.item)
        elif step.item == self._song:
            self.preview.add(step)

    def _end(self, run: RenderRun) -> None:
        said = {"done": "", "stopped": STOPPED if run.steps else ""}.get(run.state, run.problem)
        self.preview.end(said, run.seconds_running)

    def _show_queue(self) -> None:
        jobs, owner = self.backend.jobs, self.studio.owner
        self.queue.rows = jobs.rows(owner, LISTED_RUNS)
        self.queue.paused, self.queue.hosts = jobs.paused, not owner

    def _watch_run(self, id: str) -> None:
        run = self.backend.jobs.find(id, self.studio.owner)
        if isinstance(run, RenderRun):
            self.watch(run)
            if run.made:
                self.studio.select(next(iter(run.made.values())))
        elif isinstance(run, TrainingRun):
            self.studio.training.watch(run)

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
        run, song, before = self._watched_run(), self._song, self.preview.note
        self.preview.note = f"Decoding step {step + 1} whole…"

        def work() -> None:
            try:
                take = run.keep(step, song)
                self._kept.setdefault(run.id, set()).add(take.id)
                self.studio.add(take)
            finally:
                if self.watched is run:
                    self.preview.note = before

        self.in_background(self.preview, work)

    def _play_step(self, step: int, start: float, end: float) -> None:
        run = self._watched_run()
        shown = next((f for f in run.steps if f.index == step and f.item == self._song), None)
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
