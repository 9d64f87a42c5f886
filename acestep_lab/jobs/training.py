"""A training under way: its losses, what it kept, previews; and how long it will take, by its own pace.

Knows no trainer: whatever teaches tells it what happens. It gives way: between two steps whatever else waits has its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.errors import Stopped
from acestep_lab.jobs.run import Run

if TYPE_CHECKING:
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
    def curve(self) -> tuple[Loss, ...]:
        """The running loss so far; it mostly says which times were drawn."""
        return tuple(one for one in tuple(self._pieces) if not one.held_out)

    @property
    def held_out_curve(self) -> tuple[Loss, ...]:
        """The loss on songs that are not learnt from, always at the same times and noise: what to judge by."""
        return tuple(one for one in tuple(self._pieces) if one.held_out)

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

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data, with its last losses."""
        curve, held_out, aligned = self.curve, self.held_out_curve, self.alignment_curve
        extra = {"alignment": aligned[-1].loss} if aligned else {}
        return super().to_json() | extra | {
            "step": self.step, "steps": self.steps, "saved_step": self.saved_step,
            "loss": curve[-1].loss if curve else None, "held_out_loss": held_out[-1].loss if held_out else None,
            "steps_per_second": self.steps_per_second,
            "previews": [{"step": p.step, "take": p.take.id, "bare": p.bare.id} for p in tuple(self.previews)],
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
        self.previews.append(preview)
        if not place:
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
