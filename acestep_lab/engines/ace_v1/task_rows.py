"""What ACE-Step v1 knows about each task, one row per task: its length, its way, what it begins with, what it keeps.

Knows tasks, sounds and latents `[frames, 128]`; no weights and no loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace_v1 import schedules
from acestep_lab.engines.ace_v1.geometry import FRAMES_PER_SECOND, seconds_of
from acestep_lab.engines.ace_v1.regions import Window, extend_window, repaint_mask
from acestep_lab.engines.ace_v1.schedules import Walk
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
    keep_strength,
)
from acestep_lab.takes.take import Take

SHORTEST_SECONDS = 1.0
DEFAULT_SECONDS = 60.0
"""The length of a song where nobody says one, as in the original."""
COVER_STRENGTH = 0.5
"""How much of its source a cover keeps where nobody says: the original's `ref_audio_strength`."""
VARIANCE = {"conservative": 0.2, "aggressive": 1.0}
"""How much a repaint may vary by its mode; a balanced one varies by its strength."""
SEAM_SECONDS = 0.025
"""Between a source and what is added to it, on the source's side; as everywhere in the house."""


def frames_for(seconds: float) -> int:
    """Latent frames that hold so many seconds, rounded up; the sound is cut to length afterwards."""
    return max(1, math.ceil(seconds * FRAMES_PER_SECOND - 1e-6))


def audio_of(source: Any) -> Audio:
    """The sound of a resolved source: a take's, or the audio itself."""
    found: Audio = source.audio if isinstance(source, Take) else source
    return found


@dataclass(frozen=True)
class Splice:
    """Where new sound is put into a source's."""

    offset: float
    """Seconds before the source begins."""
    spans: tuple[Region, ...]
    """What is new, in seconds of the song."""
    crossfade: float
    """Seconds on each side, outside of what is new."""


@dataclass(frozen=True, eq=False)
class Start:
    """What a song's loop begins with besides noise, in frames that it works on."""

    frames: int
    source: Tensor | None = None
    """`[frames, 128]`."""
    mask: Tensor | None = None
    """True where frames are new."""
    window: Window | None = None
    """Of an extension, the part of the song that is worked on."""


@dataclass(frozen=True)
class TaskRow:
    """One task. The callables are handed the task itself, from `seconds` on with its sources as sounds."""

    does: str
    """What it does, after "cannot"."""
    instead: str = ""
    """Who does it, where v1 does not: a sentence; "" where it does."""
    usual: tuple[tuple[str, object], ...] = ()
    """Fields that mean nothing here, by the value they stay at."""
    decided: Callable[[Any], Any] = lambda task: task
    """The task with what it leaves open decided."""
    needs_words: bool = False
    """Whether there is nothing to work from without a caption or lyrics."""
    takes_silence: bool = False
    """Whether a silent source makes sense."""
    seconds: Callable[[Any, float | None], float] = lambda task, asked: DEFAULT_SECONDS if asked is None else asked
    """Length of the song, of the seconds that were asked for."""
    grows: bool = False
    """Whether a song may get longer than the model looks at at once."""
    edits: bool = False
    """Whether two descriptions are followed."""
    sampling: FlowSamplingV1 = schedules.USUAL
    """The knobs where nobody sets them."""
    walk: Callable[[Any, FlowSamplingV1], Walk] = lambda task, how: schedules.walk(how)
    """How the loop goes, of knobs that are decided."""
    start: Callable[[Any, Tensor | None, float], Start] = lambda task, latent, seconds: Start(frames_for(seconds))
    """What it begins with, of its source's latent and the song's seconds."""
    splice: Callable[[Any, float], Splice | None] = lambda task, seconds: None
    """Where its sound is put into the source's, for a song of so many seconds."""
    regions: Callable[[Any], tuple[Region, ...]] = lambda task: ()
    """Regions of the source that it names."""
    remarks: Callable[[Any], Iterable[str]] = lambda task: ()
    """A sentence for each choice that is fulfilled only in part, or otherwise than elsewhere."""


def row_of(task: Task) -> TaskRow:
    """The row of a task; of a retake, its own, not that of the task it turns."""
    return TASK_ROWS[type(task)]


def rooted(task: Task) -> Task:
    """The task itself; of a retake, the task of the take it turns. SourceError for a bare sound."""
    while isinstance(task, Retake):
        task = turned(task).recipe.task
    return task


def turned(task: Retake) -> Take:
    """The take whose noise a retake turns; SourceError for a bare sound."""
    if not isinstance(task.source, Take):
        raise SourceError(
            "A retake turns the noise of a take; a bare sound has none. Use Cover or FlowEdit for a sound."
        )
    return task.source


def check_unused(task: Task, name: str) -> None:
    """Refuse a field that would be left out of the music without a word; RecipeError."""
    for field, usual in row_of(task).usual:
        if getattr(task, field) != usual:
            raise RecipeError(
                f"{name} has no {field} for {type(task).__name__}; that is ACE-Step 1.5's. Leave it at {usual}."
            )


def _source_seconds(task: Any, asked: float | None) -> float:
    return float(audio_of(task.source).seconds)


# --- repaint, extend -------------------------------------------------------------------------------------------------


def _repaint_walk(task: Repaint, how: FlowSamplingV1) -> Walk:
    return schedules.repaint_walk(how, VARIANCE.get(task.mode, task.strength))


def _repaint_start(task: Repaint, latent: Tensor | None, seconds: float) -> Start:
    source = _known(latent)
    return Start(len(source), source, repaint_mask(len(source), task.regions))


def _repaint_splice(task: Repaint, seconds: float) -> Splice:
    usual = keep_strength(task.mode, task.strength).wave_seconds
    return Splice(0.0, task.regions, usual if task.wave_crossfade is None else task.wave_crossfade)


def _repaint_remarks(task: Repaint) -> Iterator[str]:
    end = audio_of(task.source).seconds
    for region in task.regions:
        if region.end > end + 1 / FRAMES_PER_SECOND:
            yield f"The region {region.start:g}–{region.end:g} s ends with the source, at {end:.2f} s."


def added_before(task: Extend) -> int:
    """Latent frames added before the source; whole ones, so that the source's own frames stay as they are."""
    return round(task.before * FRAMES_PER_SECOND)


def _extended_seconds(task: Extend, asked: float | None) -> float:
    return float(seconds_of(added_before(task)) + audio_of(task.source).seconds + task.after)


def extension(task: Extend) -> Window:
    """The part of the song that is worked on; RecipeError where it does not fit into what the model looks at at once.

    A last frame that the source fills only in part is made anew, so that no gap is left before what is added.
    """
    length, before = audio_of(task.source).seconds, added_before(task)
    whole = max(1, math.floor(length * FRAMES_PER_SECOND + 1e-6)) if task.after else frames_for(length)
    after = frames_for(_extended_seconds(task, None)) - before - whole if task.after else 0
    return extend_window(whole, before, after)


def _extend_start(task: Extend, latent: Tensor | None, seconds: float) -> Start:
    window = extension(task)
    return Start(window.frames, window.source(_known(latent)), window.mask(), window)


def _extend_splice(task: Extend, seconds: float) -> Splice:
    start, end = seconds_of(added_before(task)), seconds - task.after
    spans = tuple(Region(*span) for span in ((0.0, start), (end, seconds)) if span[1] > span[0] + 1e-5)
    return Splice(start, spans, SEAM_SECONDS if task.wave_crossfade is None else task.wave_crossfade)


def check_added(task: Extend) -> None:
    """Refuse to add less than the autoencoder can make, or more than the model looks at at once; RecipeError."""
    least = 1 / FRAMES_PER_SECOND
    for name in ("before", "after"):
        if 0 < getattr(task, name) < least:
            raise RecipeError(
                f"Extend adds at least {least:.3f} s, one frame of the autoencoder; {name}={getattr(task, name):g} is less."
            )
    extension(task)


# --- covers and edits ------------------------------------------------------------------------------------------------


def _decided_cover(task: Cover) -> Cover:
    return replace(task, noise_strength=COVER_STRENGTH) if task.noise_strength == 0.0 else task


def _from_source(task: Any, latent: Tensor | None, seconds: float) -> Start:
    source = _known(latent)
    return Start(len(source), source)


def _cover_remarks(task: Cover) -> Iterator[str]:
    yield (
        f"ACE-Step v1 covers a sound by starting from it with noise on top (audio2audio); {task.noise_strength:g} of it is kept, "
        "which noise_strength says."
    )


def _edit_walk(task: FlowEdit, how: FlowSamplingV1) -> Walk:
    return schedules.edit_walk(how, task.n_min, task.n_max, task.n_avg)


def _known(latent: Tensor | None) -> Tensor:
    if latent is None:
        raise SourceError("This task starts from a sound: hand it a take or an audio.")
    return latent


_STEMS = "ACE-Step 1.5's base checkpoints can: Session.open('base')."
TASK_ROWS: Mapping[type[Any], TaskRow] = {
    Text2Music: TaskRow("make music from words", usual=(("reference", None), ("codes", None)), needs_words=True),
    Retake: TaskRow("vary a take"),
    Repaint: TaskRow(
        "repaint", usual=(("injection", None), ("latent_crossfade", None), ("mask", "explicit")), takes_silence=True,
        seconds=_source_seconds, walk=_repaint_walk, start=_repaint_start, splice=_repaint_splice,
        regions=lambda task: task.regions, remarks=_repaint_remarks, sampling=schedules.HELD,
    ),
    Extend: TaskRow(
        "extend a sound", takes_silence=True, seconds=_extended_seconds, grows=True, start=_extend_start, splice=_extend_splice,
        sampling=schedules.HELD,
    ),
    Cover: TaskRow(
        "make covers", usual=(("strength", 1.0), ("codes", None), ("reference", None)), decided=_decided_cover,
        seconds=_source_seconds, walk=lambda task, how: schedules.source_walk(how, task.noise_strength), start=_from_source,
        remarks=_cover_remarks,
    ),
    FlowEdit: TaskRow(
        "edit a sound", seconds=_source_seconds, edits=True, walk=_edit_walk, start=_from_source, sampling=schedules.EDITING,
    ),
    Extract: TaskRow("take a stem out of a sound (Extract)", instead=_STEMS),
    Lego: TaskRow("add a stem to a sound (Lego)", instead=_STEMS),
    Complete: TaskRow("accompany a stem (Complete)", instead=_STEMS),
}  # fmt: skip
FIXED = frozenset(
    {f"{kind.__name__}.{field}" for kind, row in TASK_ROWS.items() for field, _ in row.usual} | {"Cover.through_codes"}
)
"""Fields of its tasks that it has no use for: what a form leaves out."""
