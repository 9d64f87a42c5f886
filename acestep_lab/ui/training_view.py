"""TrainingView: a training as it goes: its curves, its pace, takes with and without. Browser half: `widgets/training_view.js`."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, SourceError, code_of, sentence, shown
from acestep_lab.jobs.changes import MOST_MEASURED
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.run import OVER
from acestep_lab.jobs.training import Loss, TrainingRun
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.adapter_list import STRENGTHS
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id
from acestep_lab.ui.throttle import Throttle

LOOKS_PER_SECOND = 2.0
MOST_POINTS = 240
"""Points of one curve: of more steps, each is the mean of several."""
MOST_PREVIEWS = 24
"""Previews in the row: of more, the first, the last, and some between."""
MOST_MESSAGES = 6


class TrainingView(Component):
    """Follows a training: curves, pace, memory, previews with and without at one seed; Stop, which keeps; then its strength.

    ::

        run = lab.train(songs, steps=200, preview_every=50)
        TrainingViewWidget(run)

    Listeners: "weigh" (strength), where the run itself cannot put its adapter on. A run that is handed in puts it on by
    `run.put_on`. `songs` says what it learns from, for "what changed".
    """

    run: dict[str, Any]
    curves: dict[str, Any]
    previews: list[Any]
    changes: dict[str, Any]
    worn: dict[str, Any]
    hidden: bool
    module = "training_view"
    includes = ("audio_player",)
    fields: ClassVar[Mapping[str, object]] = {
        "run": {}, "curves": {}, "previews": [], "changes": {}, "worn": {}, "hidden": False,
    }  # fmt: skip

    def setup(
        self,
        run: TrainingRun | None = None,
        *,
        url: tracks.UrlOf | None = None,
        standalone: bool = True,
        songs: Callable[[], Iterable[Any]] = tuple,
    ) -> None:
        """Follow a training, if one is given; `songs` gives what it learns from, when it is asked what changed."""
        self._url, self._songs, self._standalone = url, songs, standalone
        self._followed: TrainingRun | None = None
        self._throttle = Throttle(LOOKS_PER_SECOND)
        self.hidden = not standalone
        if run is not None:
            self.follow(run)

    # -- what it shows -------------------------------------------------------------------------------------------------

    @property
    def followed(self) -> TrainingRun | None:
        """The training that is shown."""
        return self._followed

    def follow(self, run: TrainingRun) -> None:
        """Show a training from here to its end."""
        if not isinstance(run, TrainingRun):
            raise LabError(f"A training is what lab.train(…) gives, not {shown(run)}.")
        if run is self._followed:
            return
        self._followed, self.worn = run, {}
        self._show_changes(run)
        run.subscribe(partial(self._on_event, run))
        self._throttle.now(partial(self._show, run))

    def fold(self, on: bool) -> None:
        """Hide the view on a page that has no use for it now; alone, it stays."""
        self.hidden = on and not self._standalone

    def wear(self, strength: float, waits: bool = False) -> None:
        """Show that the adapter is on with a strength (0: off), or (`waits`) will be after the run under way."""
        self.worn = {"strength": float(strength), "waits": waits}

    def _on_event(self, run: TrainingRun, event: Event) -> None:
        if run is not self._followed:
            return
        if event.kind == "measured":
            self._show_changes(run)
        elif event.kind == "state" and event.value in OVER:
            self._throttle.now(partial(self._show, run))
        else:
            self._throttle.offer(partial(self._show, run))

    def _show(self, run: TrainingRun) -> None:
        if run is not self._followed:
            return
        eta = None if run.over else run.eta
        rate = run.steps_per_second
        self._show_previews(run)
        self.curves = {"running": thinned(run.curve), "held_out": thinned(run.held_out_curve)} | (
            {"aligned": thinned(run.alignment_curve)} if run.alignment_curve else {}
        )
        self.run = {
            "id": run.id, "title": run.title, "state": run.state, "doing": run.doing, "over": run.over,
            "stopping": run.stopping, "step": run.step, "steps": run.steps, "fraction": round(float(run.fraction), 4),
            "eta": None if eta is None else round(float(eta), 1), "rate": None if rate is None else round(rate, 3),
            "took": round(run.seconds_running, 1), "problem": run.problem, "saved": run.saved_step,
            "messages": list(run.messages)[-MOST_MESSAGES:], "memory": 0 if run.over else memory_in_use(),
            "range": list(STRENGTHS),
        }  # fmt: skip

    def _show_previews(self, run: TrainingRun) -> None:
        """Tell of the takes; the same list again is told to nobody."""
        made = _some(tuple(run.previews))
        row = [self._told(made[0].bare, 0, True)] if made else []
        row += [self._told(one.take, one.step, False) for one in made]
        if row != self.previews:
            self.previews = row

    def _told(self, take: Take, step: int, bare: bool) -> dict[str, Any]:
        url = self._url(take.audio) if self._url else None
        return {
            "id": take.id, "step": step, "bare": bare, "seconds": float(take.seconds), "seed": take.recipe.seed,
            "sound": take.audio.id, "url": url, "caption": take.recipe.caption[:200],
        }  # fmt: skip

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: show the training as it stands."""
        if self._followed is not None:
            self._throttle.now(partial(self._show, self._followed))
        super().do_ready()

    def do_stop(self) -> None:
        """Ask the training to stop; what it has learnt is kept."""
        run = self._now()
        run.stop()
        self._throttle.now(partial(self._show, run))

    def do_peaks(self, id: Id, pixels: int = 400) -> None:
        """Send the waveform of a preview for a picture this wide."""
        take = self._take(id)
        self.emit("peaks", tracks.view(take, 0.0, take.seconds, pixels).pairs.tobytes(), id=id)

    def do_bytes(self, id: Id) -> None:
        """Send a preview as a WAV file."""
        audio = self._sound(id)
        self.emit("bytes", tracks.wav_of(audio), id=id)

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused here."""
        self.notify("at", seconds=float(seconds))

    def do_weigh(self, strength: float) -> None:
        """Put the adapter on with this strength; 0 takes it off."""
        run, (low, high) = self._now(), STRENGTHS
        if not low <= strength <= high:
            raise RecipeError(
                f"A strength lies between {low:g} and {high:g}, 1 as trained and 0 off, not at {strength:g}."
            )
        if not run.saved_step:
            raise LabError("Nothing was learnt yet that could be put on.")
        if self._listeners.get("weigh") or run.put_on is None:
            self.notify("weigh", strength=strength)
        else:
            self._aside(partial(self._put_on, run.put_on, strength))

    def _put_on(self, put_on: Callable[[float], object], strength: float) -> None:
        self.wear(strength, waits=True)
        try:
            put_on(strength)
        except LabError:
            self.worn = {}
            raise
        self.wear(strength)

    def do_measure(self) -> None:
        """Measure what the adapter changed: the last preview beside the same without, and the songs it learns from."""
        run = self._now()
        if not run.previews:
            raise LabError("There is no preview yet; train with previews to hear and measure what changes.")
        if self.changes.get("busy"):
            raise LabError("It is being measured already.")
        self.changes = {**self.changes, "busy": True}
        self._aside(partial(self._measure, run))

    def _measure(self, run: TrainingRun) -> None:
        try:
            run.what_changed(self._learnt_sounds() or None)
        except BaseException:
            self._show_changes(run)
            raise
        self._show_changes(run)

    def _show_changes(self, run: TrainingRun) -> None:
        """Tell what was measured last, here or by Python."""
        if run is self._followed:
            self.changes = {} if run.changes is None else {"busy": False, **run.changes.to_json()}

    def _learnt_sounds(self) -> list[Audio]:
        """A few of the songs; those that cannot be read, or are too short to be measured, are none of them."""
        found: list[Audio] = []
        for song in self._songs():
            if len(found) >= MOST_MEASURED:
                break
            try:
                audio = song.audio() if callable(song.audio) else song.audio
            except SourceError:
                continue
            if audio.seconds >= 1:
                found.append(audio)
        return found

    # -- inside --------------------------------------------------------------------------------------------------------

    def _now(self) -> TrainingRun:
        if self._followed is None:
            raise LabError("There is no training here; show one: TrainingView(lab.train(songs)).")
        return self._followed

    def _takes(self) -> dict[str, Take]:
        made = () if self._followed is None else tuple(self._followed.previews)
        return {take.id: take for one in made for take in (one.bare, one.take)}

    def _take(self, id: str) -> Take:
        takes = self._takes()
        if id not in takes:
            raise RecipeError("This preview is of another training; reload the page.")
        return takes[id]

    def _sound(self, id: str) -> Audio:
        """A preview's sound, by the sound's id or the take's."""
        for take in self._takes().values():
            if id in (take.id, take.audio.id):
                return take.audio
        raise RecipeError("This preview is of another training; reload the page.")

    def _aside(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except (LabError, OSError) as problem:
                self.show_error(sentence(problem), code=code_of(problem))

        threading.Thread(target=run, name="acestep_lab training view", daemon=True).start()


def thinned(losses: Sequence[Loss], most: int = MOST_POINTS) -> list[list[float]]:
    """A curve as [step, loss, 1 where it is the best], of at most so many points: each the mean of the steps around it."""
    real = [one for one in losses if math.isfinite(one.loss)]
    size = max(1, -(-len(real) // most))
    groups = [real[at : at + size] for at in range(0, len(real), size)]
    return [
        [group[-1].step, sum(one.loss for one in group) / len(group), float(any(one.best for one in group))]
        for group in groups
    ]


def _some(previews: Sequence[Any]) -> list[Any]:
    """All of them, or the first, the last and those between in equal distances."""
    if len(previews) <= MOST_PREVIEWS:
        return list(previews)
    last = len(previews) - 1
    return [previews[round(n * last / (MOST_PREVIEWS - 1))] for n in range(MOST_PREVIEWS)]


def memory_in_use() -> int:
    """Bytes in use now: of the graphics card where one is at work, else of this process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.memory_allocated())
    import psutil

    return int(psutil.Process().memory_info().rss)


TrainingViewWidget, TrainingViewPane = widget_and_pane(TrainingView)
