"""What ACE-Step 1.5 knows about each task, one row per task: source, mask, spans that are spliced, second description.

Knows tasks, latents and rates; does not know models, the loop or sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from acestep_lab.engines.ace15 import context
from acestep_lab.engines.ace15.context import Context
from acestep_lab.engines.ace15.edit_spec import EditSpec, KeepMask, SourceLatents
from acestep_lab.engines.ace15.semantic import fitted
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.models.geometry import Geometry
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    KeepStrength,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
    keep_strength,
)
from acestep_lab.prompt.vocabulary import INSTRUCTIONS
from acestep_lab.takes.take import Take


@dataclass(frozen=True)
class Splice:
    """Where new sound replaces the source's, in seconds of the finished song."""

    offset: float
    """Where the source begins."""
    spans: tuple[Region, ...]
    """What is new; everything else is the source's own, sample for sample."""
    crossfade: float
    """Seconds over which both are mixed, outside the spans."""


@dataclass(frozen=True)
class EditWindow:
    """The part of the schedule in which a flow-edit follows the difference of two descriptions."""

    n_min: float
    n_max: float
    n_avg: int


@dataclass(frozen=True)
class NoiseTurn:
    """Noise that is turned: whose, towards which seed, and how far."""

    source: Take
    seed: int
    variance: float


@dataclass(frozen=True)
class TaskRow:
    """One task. The callables are handed the task itself."""

    does: str
    """What it does, after "cannot"."""
    edit: Callable[[Any, SourceLatents, Geometry, int], EditSpec]
    """What the DiT sees, for a song of so many latent frames."""
    seconds: Callable[[Any, Geometry], float | None] = lambda task, geometry: float(task.source.seconds)
    """Length of the song, where the task decides it."""
    regions: Callable[[Any], tuple[Region, ...]] = lambda task: ()
    """Regions of the source that it names."""
    through_codes: Callable[[Any], bool] = lambda task: False
    """Whether its source is heard through audio codes."""
    splice: Callable[[Any, Geometry, float], Splice | None] = lambda task, geometry, seconds: None
    """Where its sound is put into the source's, for a song of so many seconds."""
    described: Callable[[Any, Recipe], Recipe | None] = lambda task, recipe: None
    """How the source is described, where the loop listens to two descriptions."""
    window: Callable[[Any], tuple[EditWindow, ...]] = lambda task: ()
    """The part of the schedule in which two descriptions are followed; none for other tasks."""
    keeps_outside: bool = False
    """Whether it keeps the source outside of what it makes, and with it the level."""
    check: Callable[[Any, Geometry], None] = lambda task, geometry: None
    """Refuses what the task itself cannot do with this checkpoint's rates; RecipeError."""
    takes_silence: bool = False
    """Whether a silent source makes sense."""
    heeds_planner: bool = False
    """Whether asking for the planner's thoughts means something."""
    corrected: bool = True
    """Whether DCW and the choice of a solver act on it."""
    detects_key: bool = False
    """Whether an open key is the one detected in its source, where codes do not carry it."""
    turn: Callable[[Any], NoiseTurn | None] = lambda task: None
    """The noise it turns, where it is another take's task done again."""


def row_of(task: Task) -> TaskRow:
    """The row of a task; of a retake, its own, not that of the task it turns."""
    return TASK_ROWS[type(task)]


def rooted(task: Task) -> Task:
    """The task itself; of a retake, the task of the take it turns."""
    while (turn := row_of(task).turn(task)) is not None:
        task = turn.source.recipe.task
    return task


def edit_spec(task: Task, latents: SourceLatents, geometry: Geometry, seconds: float) -> EditSpec:
    """The work order of a task for a song of so many seconds."""
    if latents.source is not None:
        context.checked_source(latents.source, geometry.patch)
    return row_of(task).edit(task, latents, geometry, frame_count(seconds, geometry))


def frame_count(seconds: float, geometry: Geometry) -> int:
    """Latent frames that hold so many seconds, rounded up; the sound is cut to length afterwards."""
    return max(-(-round(seconds * geometry.rate) // geometry.hop), 1)


# --- music from words, covers ----------------------------------------------------------------------------------------


def _text2music(task: Text2Music, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    silence = context.blank(latents.silence, frames)
    if latents.semantic is None:
        return EditSpec(silence, task.instruction())
    return EditSpec(_following(latents, frames), INSTRUCTIONS["cover"], fallback=silence)


def _cover(task: Cover, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    seen = _following(latents, frames) if latents.semantic is not None else context.whole(_source(latents, frames))
    return EditSpec(
        seen,
        task.instruction(),
        fallback=context.blank(latents.silence, frames),
        cover_strength=task.strength,
        init_noise=task.noise_strength,
        source=None if latents.source is None else _source(latents, frames),
    )


def _following(latents: SourceLatents, frames: int) -> Context:
    assert latents.semantic is not None
    return context.whole(fitted(latents.semantic, context.tiled(latents.silence, frames), frames))


def _code_seconds(task: Any, geometry: Geometry) -> float | None:
    """Length of the codes of a task without a source."""
    if getattr(task, "source", None) is not None:
        return float(task.source.seconds)
    return len(task.codes) / geometry.codes_per_second if task.codes and geometry.codes_per_second else None


# --- repaint, extend -------------------------------------------------------------------------------------------------


def _repaint(task: Repaint, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    spans = _spans(task.regions, frames, geometry)
    spec = _held(task, _source(latents, frames), spans, latents, geometry, repaint_strength(task))
    return replace(spec, context=_with_mask(spec.context, task.mask))


def _extend(task: Extend, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    """A last frame the source fills only in part is made anew, so that no gap is left before what is added."""
    before, whole = added_frames(task, geometry), latents.samples // geometry.hop
    source = _source(latents, max(frames - before, 1))
    clean = torch.cat([context.tiled(latents.silence, before).to(source), source])[:frames]
    spans = [slice(0, before), slice(before + whole if task.after else frames, frames)]
    return _held(task, clean, spans, latents, geometry, extend_strength(task))


def _held(
    task: Task, clean: Tensor, spans: Sequence[slice], latents: SourceLatents, geometry: Geometry, keep: KeepStrength
) -> EditSpec:
    seen = context.masked(clean, latents.silence, spans)
    crossfade = round(keep.latent_seconds * geometry.frames_per_second)
    return EditSpec(seen, task.instruction(), kept=KeepMask(clean, seen.mask, keep, crossfade))


def _with_mask(seen: Context, mask: str) -> Context:
    """The context with what the DiT is to make: the mask as it is, or ones everywhere (the reference's "auto")."""
    return replace(seen, mask=torch.ones_like(seen.mask)) if mask == "auto" else seen


def repaint_strength(task: Repaint) -> KeepStrength:
    """How firmly a repaint holds its outside: the mode's numbers, or those given by hand."""
    usual = keep_strength(task.mode, task.strength)
    return KeepStrength(
        usual.injection if task.injection is None else task.injection,
        usual.latent_seconds if task.latent_crossfade is None else task.latent_crossfade,
        usual.wave_seconds if task.wave_crossfade is None else task.wave_crossfade,
    )


def extend_strength(task: Extend) -> KeepStrength:
    """How firmly an extended source is held: balanced, with its own crossfade where one is given."""
    keep = keep_strength("balanced", 0.5)
    return keep if task.wave_crossfade is None else replace(keep, wave_seconds=task.wave_crossfade)


def added_frames(task: Extend, geometry: Geometry) -> int:
    """Latent frames added before the source; whole ones, so that the source's own frames stay as they are."""
    return round(task.before * geometry.frames_per_second)


def _check_added(task: Extend, geometry: Geometry) -> None:
    """Refuse to add less than the autoencoder can make."""
    least = 1 / geometry.frames_per_second
    for name in ("before", "after"):
        if 0 < getattr(task, name) < least:
            raise RecipeError(
                f"Extend adds at least {least:g} s, one frame of the autoencoder; {name}={getattr(task, name):g} is less."
            )


def _extended_seconds(task: Extend, geometry: Geometry) -> float:
    return float(geometry.seconds(added_frames(task, geometry)) + task.source.seconds + task.after)  # type: ignore[union-attr]


def _repaint_splice(task: Repaint, geometry: Geometry, seconds: float) -> Splice:
    return Splice(0.0, task.regions, repaint_strength(task).wave_seconds)


def _extend_splice(task: Extend, geometry: Geometry, seconds: float) -> Splice:
    start, end = geometry.seconds(added_frames(task, geometry)), seconds - task.after
    spans = [Region(*span) for span in ((0.0, start), (end, seconds)) if span[1] > span[0] + 0.5 / geometry.rate]
    return Splice(start, tuple(spans), extend_strength(task).wave_seconds)


# --- stems, flow-edits, retakes --------------------------------------------------------------------------------------


def _lego(task: Lego, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    source = _source(latents, frames)
    spans = [slice(0, frames)] if task.region is None else _spans([task.region], frames, geometry)
    return EditSpec(_with_mask(context.windowed(source, spans), task.mask), task.instruction())


def _on_whole(task: Extract | Complete, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    return EditSpec(context.whole(_source(latents, frames)), task.instruction())


def _flow_edit(task: FlowEdit, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    return EditSpec(context.blank(latents.silence, frames), task.instruction(), source=_source(latents, frames))


def _described_source(task: FlowEdit, recipe: Recipe) -> Recipe:
    """How a flow-edit's source is described: as the task says, else as its own recipe does; a recording's tempo, key and
    meter are taken to be the goal's.
    """
    old = task.source.recipe if isinstance(task.source, Take) else recipe.replace(lyrics="")
    metas = {name: getattr(old, name) for name in ("bpm", "keyscale", "timesignature", "language")}
    return recipe.replace(caption=task.caption or old.caption, lyrics=task.lyrics or old.lyrics, **metas)


def _retake(task: Retake, latents: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    raise RecipeError("A retake is its source's own task with turned noise; ask for the work order of that task.")


def _turn(task: Retake) -> NoiseTurn:
    """SourceError for a bare sound."""
    if not isinstance(task.source, Take):
        raise SourceError(
            "A retake turns the noise of a take; a bare sound has none. Use Cover or FlowEdit for a sound."
        )
    return NoiseTurn(task.source, task.seed, task.variance)


# --- what they share -------------------------------------------------------------------------------------------------


def _source(latents: SourceLatents, frames: int) -> Tensor:
    """The source's latent at the song's length."""
    if latents.source is None:
        raise SourceError("This task starts from a sound: hand it a take or an audio.")
    return fitted(latents.source, context.tiled(latents.silence, frames), frames)


def _spans(regions: Sequence[Region], frames: int, geometry: Geometry) -> list[slice]:
    """Frames of the regions, the last ones cut at the song's end."""
    seconds = geometry.seconds(frames)
    for region in regions:
        if region.start >= seconds:
            raise RecipeError(
                f"The region {region.start:g}–{region.end:g} s begins after the source ends ({seconds:.2f} s); to add "
                "music after it, use Extend."
            )
    spans = [region.frames(geometry.frames_per_second) for region in regions]
    return [slice(min(span.start, frames - 1), min(span.stop, frames)) for span in spans]


TASK_ROWS: Mapping[type[Any], TaskRow] = {
    Text2Music: TaskRow("make music from words", _text2music, seconds=_code_seconds, heeds_planner=True),
    Cover: TaskRow(
        "make covers", _cover, seconds=_code_seconds, through_codes=lambda task: task.through_codes, detects_key=True
    ),
    Repaint: TaskRow(
        "repaint", _repaint, regions=lambda task: task.regions, splice=_repaint_splice, keeps_outside=True, takes_silence=True
    ),
    Extend: TaskRow(
        "extend a sound", _extend, seconds=_extended_seconds, splice=_extend_splice, check=_check_added, keeps_outside=True,
        takes_silence=True
    ),
    Extract: TaskRow("take a stem out of a sound (Extract)", _on_whole),
    Lego: TaskRow(
        "add a stem to a sound (Lego)", _lego, regions=lambda task: () if task.region is None else (task.region,)
    ),
    Complete: TaskRow("accompany a stem (Complete)", _on_whole),
    FlowEdit: TaskRow(
        "edit a sound", _flow_edit, described=_described_source, corrected=False,
        window=lambda task: (EditWindow(task.n_min, task.n_max, task.n_avg),),
    ),
    Retake: TaskRow("vary a take", _retake, heeds_planner=True, turn=_turn),
}  # fmt: skip
