"""LatentPreview: watch the music appear, step by step. The browser half is `widgets/latent.js`.

Three views of a step: its sound (a mel spectrogram), what changed in it, and the bare latent. All are drawn on a thread of
their own (`DrawingThread`); what a step sounds like is found out by `StepSounds`, within its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.run import OVER
from acestep_lab.takes.take import Take
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.drawing_thread import DrawingThread
from acestep_lab.ui.messages import Id, Name
from acestep_lab.ui.step_sounds import StepSound, StepSounds
from acestep_lab.ui.throttle import Throttle

PICTURES_PER_SECOND = 4.0
WIDEST = 1200
"""Pixels; a longer song's latent frames are averaged into these."""
VIEWS = ("sound", "change", "latent")


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
    """The music at every step as a picture; scrub back, hear a window of a step, keep it, stop.

    Pictures are made of steps only as fast as somebody can look (the latest wins) and of past steps when asked for.
    `sounds` tells what a step sounds like; without it, only latents are shown. Where a step cannot be heard before the last
    (`hears` False), only its progress is shown. After the run the finished take is one more place behind the last step.
    Listeners: "stop", "keep" (step), "play_step" (step, start, end).

    ::

        watch = LatentPreviewWidget()
        watch.follow(lab.start(recipe))
    """

    module = "latent"
    includes = ("audio_player", "fold")
    fields: ClassVar[Mapping[str, object]] = {
        "run": "", "steps": 0, "latest": -1, "seconds": 0.0, "live": False, "note": "", "code": "", "track": {},
        "hears": True, "sounds": False, "take": "", "took": 0.0, "unfolded": False, "song": 0, "songs": 1, "colours": {}, "stops": True,
    }  # fmt: skip

    track: dict[str, Any]
    hears: bool
    took: float
    take: str
    songs: int
    stops: bool
    """Whether Stop is shown here; not where the run's own bar is beside it and has one."""

    def setup(
        self,
        picture: Callable[[Step], bytes] | None = None,
        sounds: StepSounds | None = None,
        later: Callable[[str, Callable[[], None]], None] | None = None,
    ) -> None:
        """Take the way a step becomes a picture, and the way it becomes a sound; `later` is who draws, and when."""
        from acestep_lab.ui import colours

        self._picture, self._sounds, self._later = picture or Pictures(), sounds, later or DrawingThread().ask
        self._by_index: dict[int, Step] = {}
        self._finished: Take | None = None
        self._generation = 0
        """Which run is watched, counted; a picture that waits for its moment may belong to the one before."""
        self._view = "sound" if sounds is not None else "latent"
        self._throttle = Throttle(PICTURES_PER_SECOND)
        self._window: Audio | None = None
        self._length = 0.0
        self.sounds, self.colours = sounds is not None, colours.scales()

    def begin(self, run: str, seconds: float, steps: int = 0, song: int = 0, songs: int = 1) -> None:
        """Look at another run, or at another song of it; no step of the one before is shown after this."""
        self._generation += 1
        self._throttle.anew(partial(self._empty, run, seconds, steps, song, songs))

    def _empty(self, run: str, seconds: float, steps: int, song: int, songs: int) -> None:
        self._by_index, self._finished, self._length = {}, None, float(seconds)
        self.latest, self.steps, self.seconds, self.note, self.track = -1, steps, float(seconds), "", {}
        self.take, self.took, self.song, self.songs, self.live, self.unfolded = "", 0.0, song, songs, True, True
        self.code = "for step in run:\n    display(step)          # and run.keep(step.index), run.stop()"
        if self._sounds is not None:
            self._sounds.begin(run)
        self.show_error("")
        self.run = f"{run}:{song}" if song else run

    def clear(self) -> None:
        """Nothing is watched."""
        self.begin("", 0.0)
        self.live = self.unfolded = False

    def follow(self, run: RenderRun) -> None:
        """Show a run's (first) song from here to the run's end, and stop it when asked to."""
        self.begin(run.id, run.recipe.seconds or 0.0)
        self.on("stop", run.stop)
        if not run.over:
            run.subscribe(partial(self._on_event, run))
        self.catch_up(step for step in run.steps if step.items[0] == 0)
        if run.over:
            self.end(run.problem, run.seconds_running)

    def _on_event(self, run: RenderRun, event: Event) -> None:
        if event.kind == "step" and event.value.items[0] == 0:
            self.add(event.value)
        elif event.kind == "state" and event.value in OVER:
            self.end(run.problem, run.seconds_running)

    def catch_up(self, steps: Iterable[Step]) -> None:
        """Take over the steps a run has shown already; the latest is drawn once somebody looks."""
        self._by_index.update((step.index, step) for step in steps)
        self._throttle.now(self._show_newest)

    def add(self, step: Step) -> None:
        """Show one more step; called from the worker thread, also while `begin` and `catch_up` are at work."""
        generation = self._generation
        self._by_index[step.index] = step
        if self._sounds is not None:
            self._sounds.arrived()
        self._throttle.offer(lambda: self._push(step) if generation == self._generation else None)

    def finish(self, take: Take) -> None:
        """The song's take exists: its own sound is shown in the same colours."""
        self._finished, self.take = take, take.id
        if self.has_views and self.hears:
            self._ask("take", partial(self._send_take, "sound"))

    def end(self, note: str = "", took: float = 0.0) -> None:
        """No more steps come; the card folds into one line, unless there is something to be said."""
        self._throttle.flush()
        self.note, self.took, self.unfolded, self.live = note, float(took), bool(note), False

    def sound(self, audio: Audio, step: int, start: float) -> None:
        """Play the window that was asked for."""
        from acestep_lab.ui import tracks

        self._window = audio
        self.track = {**tracks.track(audio, title=f"step {step + 1}, from {start:.1f} s"), "step": step}

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: show it the latest step."""
        self._throttle.now(self._show_newest)
        if self._finished is not None and self.hears:
            self._ask("take", partial(self._send_take, self._view))
        super().do_ready()

    def do_view(self, view: Name) -> None:
        """Look at steps in another way from now on: "sound", "change" or "latent"."""
        if view not in VIEWS:
            raise RecipeError(f"A step is looked at as {', '.join(VIEWS)}; not as {view!r}.")
        self._view = view

    def do_picture(self, step: int, view: Name = "latent") -> None:
        """Send a picture of a past step; the place behind the last one is the finished take."""
        if step in self._by_index:
            self._ask("asked", partial(self._send_picture, self._by_index[step], view, asked=True))
        elif self._finished is not None and step > self._newest():
            self._ask("take", partial(self._send_take, view))

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

    # -- inside --------------------------------------------------------------------------------------------------------

    def _known(self, step: int) -> None:
        if step not in self._by_index:
            raise RecipeError(f"Step {step + 1} has not been reached yet.")

    def _newest(self) -> int:
        return max(self._by_index, default=-1)

    def _show_newest(self) -> None:
        if self._by_index:
            self._push(self._by_index[self._newest()])

    def _push(self, step: Step) -> None:
        self.steps, self.latest, self.hears = int(step.steps), int(step.index), step.estimate is not None
        if self.has_views and step.estimate is not None:
            self._ask("live", partial(self._send_picture, step, self._view))

    def _ask(self, kind: str, work: Callable[[], None]) -> None:
        """Have something drawn, unless another run is watched by then."""
        generation = self._generation
        self._later(kind, lambda: work() if generation == self._generation else None)

    def _send_picture(self, step: Step, view: str, asked: bool = False) -> None:
        """Send a picture of a step: in the view asked for where it can be drawn, else of its latent."""
        if step.estimate is None:
            return
        shown = self._sound(step, asked) if view != "latent" else None
        before = self._by_index.get(step.index - 1)
        if shown is None:
            self._emit_picture(int(step.index), "latent", self._picture(step), t=float(step.t))
        elif view == "sound":
            self._emit_sound(int(step.index), shown)
        elif before is not None and (earlier := self._sound(before, asked)) is not None:
            self._emit_change(int(step.index), shown, earlier)
        else:
            self._emit_sound(int(step.index), shown)

    def _sound(self, step: Step, asked: bool) -> StepSound | None:
        return None if self._sounds is None else self._sounds.of_step(step, self._length, asked)

    def _send_take(self, view: str) -> None:
        """Send the finished take's own sound, and what its last step had not; its latent is that of the last step."""
        take, place = self._finished, self._newest() + 1
        if take is None or self._sounds is None:
            return
        try:
            own = self._sounds.of_take(take)
        except LabError:
            return  # a take without a sample has no picture
        last = self._by_index.get(place - 1)
        earlier = self._sound(last, True) if view == "change" and last is not None else None
        if earlier is not None and earlier.levels.shape == own.levels.shape:
            self._emit_change(place, own, earlier)
        else:
            self._emit_sound(place, own)

    def _emit_sound(self, place: int, sound: StepSound) -> None:
        from acestep_lab.ui import mel_image

        facts = {"source": sound.source, "explained": round(sound.explained, 3), "axis": mel_image.axis(sound.rate)}
        self._emit_picture(place, "sound", mel_image.sound_png(sound.levels), **facts)

    def _emit_change(self, place: int, now: StepSound, before: StepSound) -> None:
        from acestep_lab.ui import mel_image

        change = mel_image.summary(now.levels, before.levels, now.rate)
        least = min((now, before), key=lambda one: one.explained)
        facts = {"source": least.source, "explained": round(least.explained, 3), "axis": mel_image.axis(now.rate)}
        png = mel_image.change_png(now.levels, before.levels)
        self._emit_picture(place, "change", png, **facts, where=change.where, how=change.how)

    def _emit_picture(self, place: int, view: str, png: bytes, **facts: object) -> None:
        self.emit("picture", png, run=self.run, step=place, view=view, **facts)


LatentPreviewWidget, LatentPreviewPane = widget_and_pane(LatentPreview)
