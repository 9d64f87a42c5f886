"""A recipe with every number decided for ACE-Step 1.5. Knows no weights and no loop; no field is None."""

from __future__ import annotations

from dataclasses import dataclass

from acestep_lab.engines.ace15.task_rows import EditWindow, rooted
from acestep_lab.engines.base import Request
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSampling, converted
from acestep_lab.prompt.tasks import Task

FAMILY = "ACE-Step 1.5"


@dataclass(frozen=True)
class LoopSettings:
    """How the loop is walked: songs that share these may share a loop."""

    times: tuple[float, ...]
    """From noise (1) down, without the final 0."""
    solver: str
    guidance: str
    guidance_scale: float
    guidance_interval: tuple[float, float]
    velocity_clamp: float
    """0 = off."""
    velocity_ema: float
    """0 = off."""
    dcw: str
    dcw_low: float
    dcw_high: float


@dataclass(frozen=True)
class NoiseSource:
    """Where start noise comes from: a seed, and the seeds it is turned towards, one after the other."""

    seed: int
    turns: tuple[tuple[int, float], ...] = ()
    """(seed, variance) of each retake."""


@dataclass(frozen=True)
class FlowRequest(Request):
    """A request for ACE-Step 1.5."""

    loop: LoopSettings
    noise: NoiseSource
    codes: tuple[int, ...]
    """Audio codes to follow; none: ()."""
    edit_window: tuple[EditWindow, ...]
    """Of a flow-edit, the part of the schedule it acts in; else ()."""
    instruction: str
    """The line the DiT reads in place of the task's own; "": the task's."""
    latent_rescale: float
    latent_shift: float

    @property
    def steps(self) -> int:
        return len(self.loop.times)

    @property
    def passes(self) -> int:
        return 1 if self.loop.guidance == "none" else 2

    @property
    def root(self) -> Task:
        """The task itself; of a retake, the one it turns."""
        return rooted(self.task)


def flow(recipe: Recipe) -> FlowSampling:
    """A recipe's sampling as this family's; RecipeError naming a knob that it does not have."""
    found = converted(recipe.sampling, FlowSampling, FAMILY)
    assert isinstance(found, FlowSampling)
    return found
