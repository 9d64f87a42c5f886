"""What MusicGen knows about each task, one row per task: who does it, its length, what it goes on from, what it follows.

Knows tasks, sounds and a checkpoint's limits; no torch, no weights and no loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Sound
from acestep_lab.errors import RecipeError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Repaint,
    Retake,
    Task,
    Text2Music,
)
from acestep_lab.takes.take import Take

SHORTEST_SECONDS = 0.5
DEFAULT_SECONDS = 30.0
"""The length of a song where nobody says one: what the models were taught."""
CROSSFADE_SECONDS = 0.025
"""Between a source and what is added to it, on the source's side; as ACE-Step's."""


@dataclass(frozen=True)
class Limits:
    """What a checkpoint can do, as far as a recipe is concerned."""

    name: str
    channels: int
    follows_melodies: bool
    frames_per_second: float
    window_seconds: float
    stride_seconds: float
    longest_seconds: float
    latest: int
    """By how many steps the last codebook is late."""
    defaults: TokenSampling
    """Every knob decided."""

    def frames(self, seconds: float) -> int:
        """Frames of codes that last at least so long."""
        return max(1, int(np.ceil(seconds * self.frames_per_second - 1e-6)))


class DoneBy(Enum):
    """Which checkpoints of the family do a task."""

    ALL = "all"
    MELODY = "melody"
    """Those that follow a melody."""
    NONE = "none"


@dataclass(frozen=True)
class TaskRow:
    """One task. The callables are handed the task itself, from `seconds` on with its sources as sounds."""

    does: str
    """What it does, after "cannot"."""
    done_by: DoneBy = DoneBy.NONE
    instead: str = ""
    """Who does it, where a checkpoint does not: a sentence."""
    check: Callable[[Any, Limits], None] = lambda task, limits: None
    """Refuses what of the task means nothing here; RecipeError."""
    needs_words: bool = False
    """Whether there is nothing to work from without a caption."""
    takes_silence: bool = True
    """Whether a silent source makes sense."""
    seconds: Callable[[Any, float | None, Limits], float] = lambda task, asked, limits: _usual_seconds(asked, limits)
    """Length of the song, of the seconds that were asked for."""
    shorter: str = "Make it shorter."
    """What to do where it gets too long."""
    prompt: Callable[[Any], tuple[Sound, ...]] = lambda task: ()
    """The sound it goes on from, and which stays; none: ()."""
    melody: Callable[[Any], tuple[Sound, ...]] = lambda task: ()
    """The sound whose melody it follows; none: ()."""
    crossfade: Callable[[Any], float] = lambda task: CROSSFADE_SECONDS
    """Seconds over which the prompt and what is added to it are mixed, on the prompt's side."""
    remarks: Callable[[Any, float, Limits], Iterable[str]] = lambda task, seconds, limits: ()
    """A sentence for each choice that is fulfilled only in part, in a song of so many seconds."""
    lint: Callable[[Recipe], Iterable[str]] = lambda asked: ()
    """A sentence for each choice of a recipe of this task that does nothing."""

    def allows(self, follows_melodies: bool) -> bool:
        """Whether a checkpoint does it."""
        return self.done_by is DoneBy.ALL or (self.done_by is DoneBy.MELODY and follows_melodies)


def row_of(task: Task) -> TaskRow:
    """The row of a task."""
    return TASK_ROWS[type(task)]


def tasks_of(follows_melodies: bool) -> frozenset[str]:
    """Class names of the tasks that a checkpoint does."""
    return frozenset(task.__name__ for task, row in TASK_ROWS.items() if row.allows(follows_melodies))


def audio_of(source: Any) -> Audio:
    """The sound of a resolved source: a take's, or the audio itself."""
    found: Audio = source.audio if isinstance(source, Take) else source
    return found


# --- music from words ------------------------------------------------------------------------------------------------


def _usual_seconds(asked: float | None, limits: Limits) -> float:
    return min(DEFAULT_SECONDS, limits.longest_seconds) if asked is None else asked


def _check_unused(task: Text2Music | Cover, limits: Limits) -> None:
    """Refuse codes and a timbre, which nothing here would follow."""
    if task.codes is not None:
        raise RecipeError(f"{limits.name} cannot follow audio codes; that is ACE-Step's. Leave codes away.")
    if task.reference is not None:
        raise RecipeError(
            f"{limits.name} takes no timbre from a reference; that is ACE-Step's. Describe the sound in the caption."
        )


# --- covers ----------------------------------------------------------------------------------------------------------

_SOURCE_WEIGHTS = {"strength": 1.0, "noise_strength": 0.0}
"""What a cover says of how much of its source stays, by its default. `through_codes` says how an ACE-Step hears a source; here
is one way only.
"""


def _check_cover(task: Cover, limits: Limits) -> None:
    _check_unused(task, limits)
    for field, usual in _SOURCE_WEIGHTS.items():
        if getattr(task, field) != usual:
            raise RecipeError(
                f"{limits.name} follows a source's melody as it is and has no {field}; that is ACE-Step's. Leave it at {usual}."
            )


def _cover_seconds(task: Cover, asked: float | None, limits: Limits) -> float:
    return max(SHORTEST_SECONDS, audio_of(task.source).seconds) if asked is None else asked


def _cover_remarks(task: Cover, seconds: float, limits: Limits) -> Iterator[str]:
    yield "The melody is the loudest pitch class of the whole mix at each moment; drums and bass may cover it."
    length = audio_of(task.source).seconds
    if seconds > length + 0.05:
        yield f"The source lasts {length:.1f} s; its melody is heard again from its begin after that."


# --- extensions ------------------------------------------------------------------------------------------------------


def _check_extend(task: Extend, limits: Limits) -> None:
    if task.before:
        raise RecipeError(
            f"{limits.name} writes music from left to right and can add none before a sound (before={task.before:g}); leave "
            "before at 0. ACE-Step checkpoints can."
        )
    least = 1 / limits.frames_per_second
    if task.after < least:
        raise RecipeError(f"Extend adds at least {least:g} s, one frame of codes; after={task.after:g} is less.")


def _extended_seconds(task: Extend, asked: float | None, limits: Limits) -> float:
    return audio_of(task.source).seconds + task.after


def _extend_crossfade(task: Extend) -> float:
    return CROSSFADE_SECONDS if task.wave_crossfade is None else task.wave_crossfade


def _extend_remarks(task: Extend, seconds: float, limits: Limits) -> Iterator[str]:
    if audio_of(task.source).channels > limits.channels:
        yield f"{limits.name} writes mono: what is added is the same in both channels. The source keeps its own."


def _extend_lint(asked: Recipe) -> Iterator[str]:
    if asked.normalize is not None or asked.peak_db is not None:
        yield "normalize and peak_db are not used: what is added takes the level of the source before it."
    if asked.seconds is not None:
        yield f"seconds={asked.seconds:g} is not used: the source and after= say how long it gets."


# --- the rows --------------------------------------------------------------------------------------------------------

_ANY_ACE_STEP = "ACE-Step 1.5 checkpoints can, such as Session.open('turbo')."
_BASE_ACE_STEP = "ACE-Step's base checkpoints can: Session.open('base')."

TASK_ROWS: Mapping[type[Any], TaskRow] = {
    Text2Music: TaskRow("make music from words", DoneBy.ALL, check=_check_unused, needs_words=True),
    Extend: TaskRow(
        "extend a sound", DoneBy.ALL, check=_check_extend, seconds=_extended_seconds, crossfade=_extend_crossfade,
        shorter="Cut the source to its end, or add less.", prompt=lambda task: (task.source,), remarks=_extend_remarks,
        lint=_extend_lint,
    ),
    Cover: TaskRow(
        "make covers: it follows no melody", DoneBy.MELODY,
        instead="MusicGen's melody checkpoints do, such as Session.open('musicgen-melody'); so do ACE-Step's.",
        check=_check_cover, takes_silence=False, seconds=_cover_seconds, shorter="Name the seconds to make.",
        melody=lambda task: (task.source,), remarks=_cover_remarks,
    ),
    Repaint: TaskRow("repaint", instead=_ANY_ACE_STEP),
    Retake: TaskRow(
        "turn a take's noise (Retake): its music is drawn token by token and has none",
        instead="Make the recipe again with another seed, or open an ACE-Step checkpoint.",
    ),
    Extract: TaskRow("take a stem out of a sound (Extract)", instead=_BASE_ACE_STEP),
    Lego: TaskRow("add a stem to a sound (Lego)", instead=_BASE_ACE_STEP),
    Complete: TaskRow("accompany a stem (Complete)", instead=_BASE_ACE_STEP),
    FlowEdit: TaskRow("edit a sound (FlowEdit)", instead=_ANY_ACE_STEP),
}  # fmt: skip
