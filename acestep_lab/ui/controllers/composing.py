"""Composing: the words, the form, presets and sweeps; what the Make button does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    TASKS,
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
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take
from acestep_lab.ui import lyrics_editor, prompt_editor, tracks
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.draft import PLAIN_FIELDS, Form

Axis = tuple[str, Sequence[object]]
"""A field that a sweep goes over, and its values."""


class Composing(Controller):
    """The prompt editor and the lyrics editor."""

    def build(self, made: Callable[..., Any]) -> None:
        self.lyrics = made(lyrics_editor, "LyricsEditor")
        self.prompt = made(
            prompt_editor,
            "PromptEditor",
            defaults=lambda task: defaults(self.backend.session, task, self.studio.checkpoint),
            presets=self._presets(),
            source=lambda: self.studio.selected,
            words=lambda: (self.lyrics.value, self.lyrics.chosen_language, self.studio.repainting.picker.value),
        )

    def connect(self) -> None:
        connect(
            self.prompt,
            make=self.studio.start,
            plan=self.studio.planning.plan_first,
            polish=self.studio.planning.polish,
            sweep=self._start_sweep,
            changed=self._prompt_changed,
        )
        connect(self.lyrics, changed=self.prompt.refresh)

    def adopted(self, name: str, can: Capabilities) -> None:
        able = refusals(name, can)
        self.prompt.adopt(Form.of(can, plans=self.studio.plans), able)
        self.lyrics.adopt(can.vocabulary.languages, can.vocabulary.lyrics)

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.prompt.refresh(title or tracks.title_of(sound, 60))

    def reuse(self, take: Take) -> None:
        """Load a take's recipe, as it was asked for, into the editors."""
        recipe = getattr(take, "asked", None) or take.recipe
        self.prompt.load(recipe.replace(seed=take.recipe.seed))
        self.lyrics.load(recipe.lyrics, recipe.language)
        if take.recipe.task.sources():
            first = str(next(iter(take.recipe.task.with_ids().sources().values())))
            self.in_background(self.prompt, lambda: self.studio.select(self.studio.open(first)))

    def _start_sweep(self, x: Axis, y: Axis | None, recipes: list[list[Recipe]]) -> None:
        flat = [recipe for row in recipes for recipe in row]
        names = " and ".join(axis[0] for axis in (x, y) if axis)
        run = self.studio.start(flat, title=f"Sweep over {names}: {flat[0].caption}")
        self.studio.collecting.show_sweep(run, x, y, (len(recipes), len(recipes[0])))

    def _prompt_changed(self) -> None:
        """The prompt changed: hold the lyrics' length against the new song's."""
        wrong, values = self.prompt.problems(), self.prompt.value.values
        seconds, bpm = (
            None if name in wrong else PLAIN_FIELDS[name].read(values.get(name)) for name in ("seconds", "bpm")
        )
        self.lyrics.compare_with(seconds, bpm)

    def _presets(self) -> Path | None:
        """The file of this person's presets; the words in them are theirs as those of their takes are."""
        owner, folder = self.studio.owner, getattr(self.backend.session.library, "folder", None)
        whose = f"-{hashlib.sha256(owner.encode()).hexdigest()[:16]}" if owner else ""
        return folder / f"presets{whose}.yaml" if folder is not None else None


def refusals(name: str, can: Capabilities) -> dict[str, str | None]:
    """For each task None, or why the checkpoint of this name cannot do it."""
    return {
        task: None if task in can.tasks else f"{name} cannot do this; another checkpoint may, see the list on top."
        for task in TASKS
    }


_EXAMPLES: tuple[Task, ...] = (
    Text2Music(),
    Repaint("a take", (Region(0, 1),)),
    Extend("a take", after=1.0),
    Cover("a take"),
    Retake("a take", 0.5, 1),
    Extract("a take", "drums"),
    Lego("a take", "drums"),
    Complete("a take", ("drums",)),
    FlowEdit("a take"),
)
"""A task of each kind, for what is decided whatever it starts from."""


def defaults(session: SessionLike, task: str, checkpoint: str | None = None) -> dict[str, object]:
    """What Auto means for the sampling's fields in a task of this name (a key of TASKS), where the checkpoint does it."""
    can = session.capabilities if checkpoint is None else session.capabilities_of(checkpoint)
    if task not in can.tasks:
        return {}
    example = next(one for one in _EXAMPLES if type(one).__name__ == task)
    sampling = session.defaults(example) if checkpoint is None else session.defaults(example, checkpoint)
    found = {name: getattr(sampling, name) for name in type(sampling).names()}
    return found | ({"guidance_scale": None} if found.get("guidance") == "none" else {})
