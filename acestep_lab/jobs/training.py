"""A training under way: its losses, what it kept, previews; and how long it will take, by its own pace.

Knows no trainer: whatever teaches tells it what happens. It gives way: between two steps whatever else waits has its turn.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, SourceError, Stopped
from acestep_lab.jobs.changes import CHANCE_SEEDS, MOST_MEASURED, Changes, compared
from acestep_lab.jobs.run import Run
from acestep_lab.listen.analysis import Analysis, analyze
from acestep_lab.prompt.tasks import MAX_SEED

if TYPE_CHECKING:
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.takes.take import Take

ENCODE, TRAIN, PREVIEW = "encoding", "training", "previewing"
"""Its stages: songs become lessons, steps are made, takes with and without the adapter."""
RECENT = 0.9
"""How much of the pace is that of the pieces before the last one."""


@dataclass
class Pace:
    """How many pieces a stage has, how many are done, and the seconds one takes of late."""

    whole: int = 0
    done: int = 0
    seconds: float | None = None

    def add(self, seconds: float, pieces: int = 1) -> None:
        """So many pieces more took so many seconds."""
        one = seconds / max(1, pieces)
        self.seconds = one if self.seconds is None else RECENT * self.seconds + (1 - RECENT) * one
        self.done += pieces

    @property
    def left(self) -> float | None:
        """Seconds to go; None while the pace is not known."""
        pieces = max(0, self.whole - self.done)
        return 0.0 if not pieces else None if self.seconds is None else pieces * self.seconds


@dataclass(frozen=True)
class Loss:
    """A loss at a step: of the lessons just heard, or (`held_out`) of songs that are not learnt from."""

    step: int
    loss: float
    held_out: bool = False
    losses: Mapping[float, float] | None = None
    """Of held-out songs, the loss by time."""
    best: bool = False
    learning_rate: float = 0.0
    alignment: float | None = None
    """How far hidden states are from what encoders hear (1 - cosine); None in a training that is not aligned."""


@dataclass(frozen=True)
class Preview:
    """Two takes of one recipe and seed: what the adapter changes at a step."""

    step: int
    take: Take
    bare: Take
    """Without the adapter."""


class TrainingRun(Run[Loss, Path]):
    """Songs on their way to an adapter: iterate it for its losses, ask it for its `result()`, the folder that `lab.lora` takes.

    ::

        run = lab.train(songs, steps=120)
        for loss in run: ...                # or run.stop(), which keeps what it has
        lab.lora(run.result())
        print(run.what_changed())           # with chance beside each measure
    """

    kind = "training"
    gives_way = True

    def __init__(self, title: str, steps: int, songs: int, previews: int, folder: Path, seconds: float) -> None:
        self.folder = folder
        """Where it is kept: the same call with this folder goes on after a stop or a crash."""
        self.previews: list[Preview] = []
        self.pace = {ENCODE: Pace(songs), TRAIN: Pace(steps), PREVIEW: Pace(previews)}
        self.lessons = 0
        """Lessons that are at hand: songs that could be read."""
        self.saved_step = 0
        """The step whose adapter is on disk; 0 where none is."""
        self.put_on: Callable[[float], object] | None = None
        """Puts its adapter on the session's model with a strength, and only it; 0 takes it off. None where nobody can."""
        self.bare: Callable[[Sequence[Recipe]], Sequence[Take]] | None = None
        """Renders recipes without any adapter, for chance, and keeps nothing. None where nobody can."""
        self.sounds: Callable[[], Iterable[Audio]] = tuple
        """Sounds of the songs it learns from, each read when it is asked for."""
        self.keep_changes: Callable[[Changes], object] | None = None
        """Keeps what was measured."""
        self.changes: Changes | None = None
        """What was measured last (`what_changed`)."""
        self.earlier: tuple[Loss, ...] = ()
        """Losses of the runs that it goes on from."""
        self._measuring = threading.Lock()
        super().__init__(title, seconds)

    @property
    def step(self) -> int:
        """Steps made, those before an interruption included."""
        return self.pace[TRAIN].done

    @property
    def steps(self) -> int:
        """Steps there are to make."""
        return self.pace[TRAIN].whole

    @property
    def losses(self) -> tuple[Loss, ...]:
        """All losses of this run alone, in order."""
        return tuple(self._pieces)

    @property
    def curve(self) -> tuple[Loss, ...]:
        """The running loss from the first step, that of earlier runs included; it mostly says which times were drawn."""
        return tuple(one for one in (*self.earlier, *self.losses) if not one.held_out)

    @property
    def held_out_curve(self) -> tuple[Loss, ...]:
        """The loss on songs that are not learnt from, always at the same times and noise: what to judge by."""
        return tuple(one for one in (*self.earlier, *self.losses) if one.held_out)

    @property
    def alignment_curve(self) -> tuple[Loss, ...]:
        """How far the model's states are from what the encoders of `repa` hear: of held-out songs, else of those just heard."""
        curve = self.held_out_curve or self.curve
        return tuple(replace(one, loss=one.alignment, best=False) for one in curve if one.alignment is not None)

    @property
    def steps_per_second(self) -> float | None:
        """Its pace of late; None before the first step."""
        seconds = self.pace[TRAIN].seconds
        return None if not seconds else 1.0 / seconds

    @property
    def remaining(self) -> float | None:
        """Seconds of its own work still to do, by its own pace; None before its first step. What gives way is not counted."""
        if self.over:
            return 0.0
        training = self.pace[TRAIN].left
        return (
            None if training is None else training + (self.pace[ENCODE].left or 0.0) + (self.pace[PREVIEW].left or 0.0)
        )

    def _result(self) -> Path:
        return self.folder

    def _at_work(self) -> str:
        pace = self.pace.get(self._state)
        if pace is None:
            return self._state
        names = {ENCODE: "reading song", TRAIN: "step", PREVIEW: "a take with the adapter,"}
        return f"{names[self._state]} {min(pace.done + 1, pace.whole)} of {pace.whole}"

    def what_is_kept(self) -> str:
        """What there is of it so far, in sentences."""
        if not self.saved_step:
            return "Nothing was learnt yet."
        return (
            f"The adapter of step {self.saved_step} is in {self.folder.name}: lab.lora(run.folder) puts it on, and the same "
            "lab.train(…) goes on from there."
        )

    def stopped(self) -> Stopped:
        """What to raise for a training that was asked to stop."""
        return Stopped(f"The training was stopped after step {self.step} of {self.steps}. {self.what_is_kept()}")

    # -- what it changed

    def what_changed(self, sounds: Iterable[Audio] | None = None) -> Changes:
        """Measure the last preview beside the same without the adapter, the songs it learns from, and chance; and keep that.

        Chance takes renders: the same words without the adapter, from a few other seeds (`changes.py`); they are kept nowhere.
        `sounds` are songs to measure instead of those it knows. LabError without a preview, or while it is being measured.
        """
        if not self.previews:
            raise LabError("There is no preview yet; train with previews to hear and measure what changes.")
        if not self._measuring.acquire(blocking=False):
            raise LabError("It is being measured already.")
        try:
            last = self.previews[-1]
            songs = _measured(self.sounds() if sounds is None else sounds)
            others = [] if self.bare is None else [analyze(take) for take in self.bare(_other_seeds(last.bare.recipe))]
            rows = compared(analyze(last.bare), analyze(last.take), songs, others)
            found = Changes(last.step, rows, len(songs), len(others) + 1 if others else 0)
            self.changes = found = found if songs or self.changes is None else found.with_songs_of(self.changes)
        finally:
            self._measuring.release()
        if self.keep_changes is not None:
            self.keep_changes(found)
        self._emit("measured", found)
        return found

    def _repr_html_(self) -> str:
        """Where there are no widgets: how it stands, its losses, and what it changed."""
        lines = [f"{self.doing}: step {self.step} of {self.steps}", *self.messages, self.problem]
        curve, held_out = self.curve, self.held_out_curve
        lines += (
            [f"running loss {curve[0].loss:.3f} at step {curve[0].step}, {curve[-1].loss:.3f} now"] if curve else []
        )
        if held_out:
            best = min(held_out, key=lambda one: one.loss)
            lines.append(f"held-out loss {held_out[0].loss:.3f} at step {held_out[0].step}, {held_out[-1].loss:.3f} now, "
                         f"best {best.loss:.3f} at step {best.step}")  # fmt: skip
        lines += [f"step {one.step}: {one.take.id} with it, {one.bare.id} without" for one in tuple(self.previews)]
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
        table = "" if self.changes is None else self.changes._repr_html_()
        return f"<div><strong>{html.escape(self.title)}</strong>{text}{table}</div>"

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data, with its last losses and what it changed."""
        curve, held_out, aligned = self.curve, self.held_out_curve, self.alignment_curve
        extra = {"alignment": aligned[-1].loss} if aligned else {}
        return super().to_json() | extra | {
            "step": self.step, "steps": self.steps, "saved_step": self.saved_step,
            "loss": curve[-1].loss if curve else None, "held_out_loss": held_out[-1].loss if held_out else None,
            "steps_per_second": self.steps_per_second,
            "previews": [{"step": p.step, "take": p.take.id, "bare": p.bare.id} for p in tuple(self.previews)],
            "changes": None if self.changes is None else self.changes.to_json(),
        }  # fmt: skip

    # -- what the teacher tells

    def begin(self, stage: str) -> None:
        """Be at a stage from now on; Stopped where a stop was asked for."""
        self.check()
        if self._state != stage:
            self.enter(stage)

    def did(self, stage: str, seconds: float, pieces: int = 1) -> None:
        """So many pieces of a stage took so many seconds."""
        self.pace[stage].add(seconds, pieces)
        self._weigh()

    def goes_on(self, step: int) -> None:
        """So many steps were made before an interruption."""
        self.pace[TRAIN].done = step
        self.saved_step = step

    def remembers(self, losses: Sequence[Loss], previews: Sequence[Preview], changes: Changes | None) -> None:
        """What earlier runs of the same training told."""
        self.earlier, self.changes = tuple(losses), changes
        self.previews[:0] = previews

    def learnt(self, loss: Loss) -> None:
        """A step was made."""
        self._add(loss)
        self._emit("learnt", loss)

    def held_out(self, loss: Loss) -> None:
        """The held-out songs were heard."""
        self._add(loss)
        self._emit("held_out", loss)

    def preview(self, preview: Preview) -> None:
        """Two takes exist, and are kept."""
        place = 2 * len(self.previews)
        new = all(one.bare.id != preview.bare.id for one in self.previews)
        self.previews.append(preview)
        if new:
            self._emit("take", (place, preview.bare))
        self._emit("take", (place + 1, preview.take))
        self._emit("preview", preview)

    def saved(self, step: int) -> None:
        """The adapter of a step is on disk, and all that going on needs."""
        self.saved_step = step
        self._emit("saved", step)

    def _weigh(self) -> None:
        """How much is done: of the seconds that it takes, as far as they are known."""
        spent = sum(pace.done * (pace.seconds or 0.0) for pace in self.pace.values())
        left = self.remaining
        encoded = self.pace[ENCODE].done / max(1, self.pace[ENCODE].whole)
        share = 0.1 * encoded if left is None else spent / (spent + left) if spent + left > 0 else 0.0
        self._measure(share)
        self._emit("progress", self._fraction)


def _other_seeds(recipe: Recipe) -> list[Recipe]:
    """The same from other seeds."""
    first = recipe.seed or 0
    return [recipe.replace(seed=(first + 1 + n) % (MAX_SEED + 1)) for n in range(CHANCE_SEEDS)]


def _measured(sounds: Iterable[Audio]) -> list[Analysis]:
    """A few of the songs, measured; those that cannot be, such as one shorter than a second, are none of them."""
    found: list[Analysis] = []
    for sound in sounds:
        if len(found) >= MOST_MEASURED:
            break
        try:
            found.append(analyze(sound))
        except SourceError:
            continue
    return found
