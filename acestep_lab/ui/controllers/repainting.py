"""Repainting: regions on the waveform of the take in hand, and the proof of what stayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.prompt.tasks import Region, Repaint, keep_strength
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks, waveform_picker
from acestep_lab.ui.controllers.base import Controller, connect
from acestep_lab.ui.controllers.composing import refusals


class Repainting(Controller):
    """The waveform picker."""

    crossfades: Callable[[str, float], tuple[float, float]] | None = None

    def build(self, made: Callable[..., Any]) -> None:
        self.picker = made(
            waveform_picker,
            "WaveformPicker",
            url=self.studio.url,
            standalone=False,
            crossfades=self.crossfades or crossfades_of,
        )

    def connect(self) -> None:
        connect(self.picker, repaint=self._repaint, changed=self.studio.composing.prompt.refresh)

    def adopted(self, name: str, can: Capabilities) -> None:
        self.picker.cannot = refusals(name, can)["Repaint"] or ""

    def selected(self, sound: Take | Audio, title: str) -> None:
        self.picker.load(sound, beats=beats_of(sound))
        recipe = getattr(sound, "recipe", None)
        if recipe is not None and isinstance(recipe.task, Repaint):
            self.in_background(self.picker, lambda: self.compare(sound, recipe.task.regions))

    def _repaint(self, take: Take | Audio, regions: list[Region], caption: str, **how: Any) -> None:
        chosen = {name: value for name, value in how.items() if value is not None}
        task = Repaint(take, tuple(regions), **chosen)
        words = {"caption": caption} if caption.strip() else {}
        seed = self.studio.composing.prompt.resolve_seed()
        self.studio.start(
            self.backend.session.recipe_from(take, task, seed=seed, **words),
            title=f"Repaint: {tracks.title_of(take, 60)}",
        )

    def compare(self, take: Take | Audio, regions: Sequence[Region]) -> None:
        """Prove what a repaint did not change; where the parent is gone, or somebody else's, there is nothing to compare."""
        self.picker.mark(regions)
        for parent in getattr(take, "parents", ())[:1]:  # a file from elsewhere may name none
            self.picker.compare(self.studio.open(parent))


def beats_of(take: Take | Audio) -> list[float]:
    """Times of the beats of a take of known tempo, counted from its start; none where the tempo is not known."""
    recipe, plan = getattr(take, "recipe", None), getattr(take, "plan", None)
    bpm = getattr(recipe, "bpm", None) or getattr(plan, "bpm", None)  # a recipe stands against its plan
    return list(np.arange(0.0, take.seconds, 60.0 / bpm)) if bpm else []


def crossfades_of(mode: str, strength: float) -> tuple[float, float]:
    """Seconds of crossfade of latents and of samples that a repaint has by itself."""
    keep = keep_strength(mode, strength)
    return keep.latent_seconds, keep.wave_seconds
