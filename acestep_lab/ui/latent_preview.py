"""LatentPreview: watch the music appear, step by step. The browser half is `widgets/latent.js`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import RecipeError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.run import OVER
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id
from acestep_lab.ui.throttle import Throttle

PICTURES_PER_SECOND = 4.0
WIDEST = 1200
"""Pixels; a longer song's latent frames are averaged into these."""


class Pictures:
    """Draws estimates (x0) as PNGs; channels that move together stand together, in one order for a whole run."""

    def __init__(self) -> None:
        self._order: Any = None

    def __call__(self, step: Any) -> bytes:
        from acestep_lab.ui import latent_image

        latent = step.estimate[0] if step.estimate.ndim == 3 else step.estimate
        if step.index == 0 or self._order is None or len(self._order) != latent.shape[-1]:
            self._order = latent_image.order_of(latent)
        return latent_image.png_bytes(latent_image.picture(latent, self._order, min(latent.shape[0], WIDEST)))


class LatentPreview(Component):
    """The estimate (x0) as a picture at every step; scrub back, hear a window of a step, keep it, stop.

    Pictures are made of steps only as fast as somebody can look (the latest wins) and of past steps when asked for.
    Where a step cannot be heard before the last (`hears` False), only its progress is shown.
    Listeners: "stop", "keep" (step), "play_step" (step, start, end).
    """

    module = "latent"
    includes = ("audio_player",)
    fields: ClassVar[Mapping[str, object]] = {
        "run": "",
        "steps": 0,
        "latest": -1,
        "seconds": 0.0,
        "live": False,
        "note": "",
        "code": "",
        "track": {},
        "hears": True,
    }

    track: dict[str, Any]
    hears: bool

    def setup(self, picture: Callable[[Step], bytes] | None = None) -> None:
        """Take the way a step becomes a picture."""
        self._picture = picture or Pictures()
        self._by_index: dict[int, Step] = {}
        self._generation = (
            0  # which run is generation at; a picture that waits for its moment may belong to the one before
        )
        self._throttle = Throttle(PICTURES_PER_SECOND)
        self._window: Audio | None = None
        self._length = 0.0

    def begin(self, run: str, seconds: float, steps: int = 0) -> None:
        """Look at another run."""
        self._generation += 1
        self._by_index, self._length = {}, float(seconds)
        self.latest, self.steps, self.seconds, self.live, self.note, self.track = (
            -1,
            steps,
            float(seconds),
            True,
            "",
            {},
        )
        self.code = "for step in run:\n    display(step)          # and run.keep(step.index), run.stop()"
        self.run = run

    def follow(self, run: RenderRun) -> None:
        """Show a run's (first) song from here to the run's end, and stop it when asked to."""
        self.begin(run.id, run.recipe.seconds or 0.0)
        self.on("stop", run.stop)
        if not run.over:
            run.subscribe(partial(self._on_event, run))
        self.catch_up(step for step in run.steps if step.items[0] == 0)
        if run.over:
            self.end(run.problem)

    def _on_event(self, run: RenderRun, event: Event) -> None:
        if event.kind == "step" and event.value.items[0] == 0:
            self.add(event.value)
        elif event.kind == "state" and event.value in OVER:
            self.end(run.problem)

    def catch_up(self, steps: Iterable[Step]) -> None:
        """Take over the steps a run has shown already; the latest is drawn once somebody looks."""
        self._by_index.update((step.index, step) for step in steps)
        self._show_newest()

    def add(self, step: Step) -> None:
        """Show one more step; called from the worker thread, also while `begin` and `catch_up` are at work."""
        generation = self._generation
        self._by_index[step.index] = step
        self._throttle.offer(lambda: self._push(step) if generation == self._generation else None)

    def end(self, note: str = "") -> None:
        """No more steps come."""
        self._throttle.flush()
        self.note, self.live = note, False

    def sound(self, audio: Audio, step: int, start: float) -> None:
        """Play the window that was asked for."""
        from acestep_lab.ui import tracks

        self._window = audio
        self.track = {**tracks.track(audio, title=f"step {step + 1}, from {start:.1f} s"), "step": step}

    def do_ready(self) -> None:
        """A view was drawn: show it the latest step."""
        self._show_newest()
        super().do_ready()

    def do_picture(self, step: int) -> None:
        """Send the picture of a past step."""
        if step in self._by_index:
            self._send_picture(self._by_index[step])

    def do_bytes(self, id: Id = "") -> None:
        """Send the window that was asked for, as a WAV file."""
        if self._window is not None and self._window.id == id:
            self.emit("bytes", self._window.encoded("wav", bits=16), id=id)

    def do_play_step(self, step: int, start: float = 0.0, end: float = 0.0) -> None:
        """Ask for a window of a step as sound."""
        self._known(step)
        start = max(0.0, min(float(start), self._length))
        self.notify("play_step", step=step, start=start, end=max(start, min(float(end), self._length)))

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here, in the window that was heard."""

    def do_keep(self, step: int) -> None:
        """Ask for a take made of a step."""
        self._known(step)
        self.notify("keep", step=step)

    def do_stop(self) -> None:
        """Ask the run to stop."""
        self.notify("stop")

    def _known(self, step: int) -> None:
        if step not in self._by_index:
            raise RecipeError(f"Step {step + 1} has not been reached yet.")

    def _show_newest(self) -> None:
        """Show the newest step, and again if the worker brought a newer one meanwhile: ours may have covered it."""
        shown = -1
        while self._by_index and (newest := max(self._by_index)) != shown:
            self._push(self._by_index[newest])
            shown = newest

    def _push(self, step: Step) -> None:
        self.steps, self.latest, self.hears = int(step.steps), int(step.index), step.estimate is not None
        if self.has_views:
            self._send_picture(step)

    def _send_picture(self, step: Step) -> None:
        """Send the picture of a step; a token model's has no estimate, and nothing to look at."""
        if step.estimate is not None:
            self.emit("picture", self._picture(step), run=self.run, step=int(step.index), t=float(step.t))


LatentPreviewWidget, LatentPreviewPane = widget_and_pane(LatentPreview)
