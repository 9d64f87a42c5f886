"""Between sounds and latents, beside the runs: what a session hears early, encodes and decodes. Knows engines by their contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Engine, HasCodes, Previews, able
from acestep_lab.engines.step import Step
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Source
from acestep_lab.takes.take import Take

NO_PREVIEW = "has nothing to hear before its last step"
Find = Callable[[Source], Take | Audio]
"""Gives the take or sound that a source stands for."""


class Engines(Protocol):
    """The engines that are open."""

    current: Engine

    def asked(self, checkpoint: str | None) -> Engine:
        """An open engine by its name, the one in use where none is named; CheckpointError where it is not open."""

    def maker_of(self, made: Take | Step) -> Engine:
        """The engine that made a take or a step."""


class Latents:
    """Latents `[frames, channels]` and audio codes of sounds, and sounds of latents, each by the engine it belongs to."""

    def __init__(self, engines: Engines, find: Find, queue: JobQueue) -> None:
        self.engines, self.find, self.queue = engines, find, queue

    def preview(self, made: Step | Take, at: float, seconds: float) -> Audio:
        """The seconds around a time of a step's estimate or a take's latent, decoded alone."""
        checks.instance("What is previewed", made, (Step, Take))
        engine = able(self.engines.maker_of(made), Previews, NO_PREVIEW)
        own: Any = made.latent if isinstance(made, Take) else made.estimate
        latent = self.encode(made) if isinstance(made, Take) and not own.size else own  # a stitched song has none
        return self.queue.call(partial(engine.preview, latent, at, seconds))

    def codes(self, source: Source, checkpoint: str | None) -> tuple[int, ...]:
        """The audio codes of a sound, in order; RecipeError where an engine has none."""
        sound, maker = self.find(source), self.engines.asked(checkpoint)
        engine = able(maker, HasCodes, "has no audio codes", maker.capabilities.codes)
        return self.queue.aside(lambda stop: engine.codes(sound, stop))

    def encode(self, source: Source) -> np.ndarray:
        """The latent `[frames, channels]` of a sound, by the engine in use."""
        sound, engine = self.find(source), self.engines.current
        return self.queue.aside(lambda stop: engine.encode(sound, stop)).numpy()

    def decode(self, latent: np.ndarray) -> Audio:
        """The sound of a latent `[frames, channels]`, by the engine in use, at its own level."""
        engine = self.engines.current
        return self.queue.aside(lambda stop: engine.decode_latent(latent, stop))
