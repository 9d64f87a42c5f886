"""A task becomes a brief: which latents the DiT sees, what is held, where the loop begins. A row per task.

Knows tasks and latents; does not know models, prompts' words, the loop or sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from acestep_lab.engines.ace15 import context
from acestep_lab.engines.ace15.context import Context, KeepStrength
from acestep_lab.engines.ace15.semantic import fitted
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.models.geometry import Geometry
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
)
from acestep_lab.prompt.vocabulary import INSTRUCTIONS


@dataclass(frozen=True)
class SourceLatents:
    """What a task starts from, already as latents [frames, channels]."""

    silence: Tensor
    source: Tensor | None = None  # the source as the autoencoder hears it
    semantic: Tensor | None = None  # the source, or codes, as the five-a-second codes remember it
    samples: int = 0  # length of the source's sound


@dataclass(frozen=True)
class KeepMask:
    """What a repaint holds outside its regions."""

    clean: Tensor  # [frames, channels]
    mask: Tensor  # [frames], 1 = make, 0 = keep
    hold: KeepStrength
    crossfade: int  # latent frames


@dataclass(frozen=True)
class EditSpec:
    """One item's work order for the loop."""

    context: Context
    instruction: str
    later: Context | None = None  # seen instead of `context` once the switch has come
    follow: float = 1.0  # share of the steps before the switch
    join: float = 0.0  # above 0: begin from the source noised to about 1 - join
    source: Tensor | None = None  # what is joined, or edited [frames, channels]
    kept: KeepMask | None = None

    @property
    def frames(self) -> int:
        return self.context.frames


def brief(task: Task, material: SourceLatents, geometry: Geometry, seconds: float) -> EditSpec:
    """The work order of a task for a song of so many seconds."""
    if material.source is not None:
        context.checked_source(material.source, geometry.patch)
    return BRIEFS[type(task)](task, material, geometry, frame_count(seconds, geometry))


def frame_count(seconds: float, geometry: Geometry) -> int:
    """Latent frames that hold so many seconds, rounded up; the sound is cut to length afterwards."""
    return max(-(-round(seconds * geometry.rate) // geometry.hop), 1)


def _text2music(task: Text2Music, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    silence = context.blank(material.silence, frames)
    if material.semantic is None:
        return EditSpec(silence, task.instruction())
    return EditSpec(_following(material, frames), INSTRUCTIONS["cover"], later=silence)


def _cover(task: Cover, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    seen = _following(material, frames) if material.semantic is not None else context.whole(_source(material, frames))
    return EditSpec(
        seen,
        task.instruction(),
        later=context.blank(material.silence, frames),
        follow=task.strength,
        join=task.noise_strength,
        source=None if material.source is None else _source(material, frames),
    )


def _following(material: SourceLatents, frames: int) -> Context:
    assert material.semantic is not None
    return context.whole(fitted(material.semantic, context.tiled(material.silence, frames), frames))


def _repaint(task: Repaint, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    spans = _spans(task.regions, frames, geometry)
    return _held(task, _source(material, frames), spans, material, geometry, keep_strength_of(task), task.mask)


def _extend(task: Extend, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    """A last frame the source fills only in part is made anew, so that no gap is left before what is added."""
    before, whole = added_frames(task, geometry), material.samples // geometry.hop
    source = _source(material, max(frames - before, 1))
    clean = torch.cat([context.tiled(material.silence, before).to(source), source])[:frames]
    spans = [slice(0, before), slice(before + whole if task.after else frames, frames)]
    return _held(task, clean, spans, material, geometry, keep_strength_of(task))


def _held(
    task: Repaint | Extend,
    clean: Tensor,
    spans: Sequence[slice],
    material: SourceLatents,
    geometry: Geometry,
    hold: KeepStrength,
    mask: str = "explicit",
) -> EditSpec:
    seen = context.holes(clean, material.silence, spans)
    crossfade = round(hold.latent_seconds * geometry.frames_per_second)
    return EditSpec(_told(seen, mask), task.instruction(), kept=KeepMask(clean, seen.mask, hold, crossfade))


def _told(seen: Context, mask: str) -> Context:
    """What the DiT is told to make: the mask as it is, or ones everywhere (the reference's "auto")."""
    return replace(seen, mask=torch.ones_like(seen.mask)) if mask == "auto" else seen


def keep_strength_of(task: Repaint | Extend) -> KeepStrength:
    """How firmly this task holds its outside: the mode's numbers, or those given by hand."""
    if isinstance(task, Extend):
        hold = context.hold("balanced", 0.5)
        return hold if task.wave_crossfade is None else replace(hold, wave_seconds=task.wave_crossfade)
    hold = context.hold(task.mode, task.strength)
    given = {
        "injection": task.injection,
        "latent_seconds": task.latent_crossfade,
        "wave_seconds": task.wave_crossfade,
    }
    return replace(hold, **{name: value for name, value in given.items() if value is not None})


def added_frames(task: Extend, geometry: Geometry) -> int:
    """Latent frames added before the source; whole ones, so that the source's own frames stay as they are."""
    return round(task.before * geometry.frames_per_second)


def _lego(task: Lego, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    source = _source(material, frames)
    spans = [slice(0, frames)] if task.region is None else _spans([task.region], frames, geometry)
    return EditSpec(_told(context.windowed(source, spans), task.mask), task.instruction())


def _on_whole(task: Extract | Complete, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    return EditSpec(context.whole(_source(material, frames)), task.instruction())


def _flow_edit(task: FlowEdit, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    return EditSpec(context.blank(material.silence, frames), task.instruction(), source=_source(material, frames))


def _retake(task: Retake, material: SourceLatents, geometry: Geometry, frames: int) -> EditSpec:
    raise RecipeError("A retake is its source's own task with turned noise; ask for the brief of that task.")


def _source(material: SourceLatents, frames: int) -> Tensor:
    """The source's latent at the song's length."""
    if material.source is None:
        raise SourceError("This task starts from a sound: hand it a take or an audio.")
    return fitted(material.source, context.tiled(material.silence, frames), frames)


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


BRIEFS: dict[type, Callable[[Any, SourceLatents, Geometry, int], EditSpec]] = {
    Text2Music: _text2music,
    Cover: _cover,
    Repaint: _repaint,
    Extend: _extend,
    Retake: _retake,
    Extract: _on_whole,
    Complete: _on_whole,
    Lego: _lego,
    FlowEdit: _flow_edit,
}


def finished(latent: Tensor, kept: KeepMask | None) -> Tensor:
    """The loop's last latent [frames, channels] with the kept part put back, fading over the crossfade."""
    if kept is None:
        return latent
    return context.crossfaded(latent[None], kept.clean[None].to(latent), kept.mask[None].to(latent), kept.crossfade)[0]


def holding(
    kept: Sequence[KeepMask | None], start: Tensor, steps: int
) -> Callable[[int, float, Tensor], Tensor] | None:
    """What holds the outside during the loop for a batch: each item by its own share of the steps."""
    if all(item is None for item in kept):
        return None
    hooks = [_holding_one(item, start[index : index + 1], steps) for index, item in enumerate(kept)]
    return lambda index, t, x: torch.cat([hook(index, t, x[n : n + 1]) for n, hook in enumerate(hooks)])


def _holding_one(kept: KeepMask | None, start: Tensor, steps: int) -> Callable[[int, float, Tensor], Tensor]:
    if kept is None:
        return lambda index, t, x: x
    clean, mask = kept.clean[None].to(start), kept.mask[None].to(start)
    return context.injection(clean, start, mask, round(kept.hold.injection * steps))
