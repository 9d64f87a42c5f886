"""Words and timbres become conditions: by the text encoder, all of them, then by the condition encoder.

Knows no task and no loop. What was encoded is remembered, so that a second seed reads nothing anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from acestep_lab.engines.ace15 import conditioning
from acestep_lab.engines.ace15.conditioning import Conditions, PromptFields
from acestep_lab.engines.ace15.edit_spec import EditSpec
from acestep_lab.engines.ace15.request import FlowRequest
from acestep_lab.engines.ace15.sources import Sources
from acestep_lab.engines.ace15.task_rows import row_of
from acestep_lab.engines.base import Devices, Sound
from acestep_lab.lru_cache import LRUCache
from acestep_lab.models.loading import Checkpoint
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.vocabulary import INSTRUCTIONS

REMEMBERED = 128
"""Conditions kept in RAM; some hundred kilobytes each."""


@dataclass(frozen=True)
class ConditionRequest:
    """Words to be read, and a sound whose timbre they lean on."""

    fields: PromptFields
    references: tuple[Sound, ...] = ()

    @property
    def key(self) -> Hashable:
        return self.fields, *(sound.id for sound in self.references)


class ConditionReader:
    """What encodes words for one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, devices: Devices, sources: Sources) -> None:
        self.checkpoint, self.devices, self.sources = checkpoint, devices, sources
        self._known = LRUCache[Conditions](REMEMBERED)

    def wanted(self, request: FlowRequest, spec: EditSpec) -> tuple[ConditionRequest, ...]:
        """What the DiT hears, and what instead once a cover has switched or as the source of a flow-edit."""
        recipe, task = request.recipe, request.root
        reference = getattr(task, "reference", None)
        references = () if reference is None else (reference,)
        first = ConditionRequest(self._fields(request, recipe, spec.instruction), references)
        described = row_of(task).described(task, recipe)
        if described is not None:
            return first, ConditionRequest(self._fields(request, described, task.instruction()), references)
        if spec.fallback is not None and spec.cover_strength < 1.0:
            return first, ConditionRequest(prompt_fields(recipe, INSTRUCTIONS["text2music"]), references)
        return (first,)

    def _fields(self, request: FlowRequest, recipe: Recipe, instruction: str) -> PromptFields:
        """A recipe's words as this checkpoint was taught to read them."""
        fields = prompt_fields(recipe, request.instruction or instruction)
        if not self.checkpoint.row.stem_captions:
            return fields
        mask = getattr(request.root, "mask", "auto")
        return replace(fields, global_caption=recipe.sampling.global_caption, mask_control=mask == "explicit")  # type: ignore[union-attr]

    def read(self, wanted: Iterable[ConditionRequest]) -> dict[Hashable, Conditions]:
        """The conditions of all that is wanted, by key; what was not read before is encoded together."""
        asked = {one.key: one for one in wanted}
        found = {key: self._known[key] for key in asked if key in self._known}
        new = [one for key, one in asked.items() if key not in found]
        return found | self._encoded(new) if new else found

    def _encoded(self, new: Sequence[ConditionRequest]) -> dict[Hashable, Conditions]:
        timbres = [self.sources.timbre(one.references[0]) if one.references else None for one in new]
        with self.devices.on("text") as text:
            encodings = conditioning.encode_text(text, self._tokenizer, [one.fields for one in new])
        frames = conditioning.timbre_frames(self.checkpoint.geometry.frames_per_second)
        with self.devices.on("condition") as encoder:
            return {
                one.key: self._known.put(
                    one.key, conditioning.encode_conditions(encoder, [encoding], frames, timbre).cpu()
                )
                for one, encoding, timbre in zip(new, encodings, timbres, strict=True)
            }

    @cached_property
    def _tokenizer(self) -> Any:
        return self.checkpoint.tokenizer()


def prompt_fields(recipe: Recipe, instruction: str) -> PromptFields:
    """A recipe's words and numbers as the prompt states them."""
    return PromptFields(
        caption=recipe.caption,
        lyrics=recipe.lyrics,
        language=recipe.language or "unknown",
        seconds=recipe.seconds,
        bpm=recipe.bpm,
        keyscale=recipe.keyscale,
        timesignature=recipe.timesignature,
        instruction=instruction,
    )
