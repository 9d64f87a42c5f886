"""Briefs and conditions become Frames: the one place where schedule, guidance and solver meet. Does not know how the
DiT is built or where it lives: it is handed `look`, which asks it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from acestep_lab.diffusion import sampler, schedule
from acestep_lab.diffusion.dcw import correction
from acestep_lab.diffusion.flowedit import edit
from acestep_lab.diffusion.guidance import guided
from acestep_lab.diffusion.sampler import After, Step, Velocity
from acestep_lab.engines.ace15.conditioning import Conditions
from acestep_lab.engines.ace15.context import Context, stacked
from acestep_lab.engines.ace15.edit_spec import EditSpec, holding
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import FlowEdit, Retake

VelocityFn = Callable[[Tensor, float, Tensor, Tensor, Tensor], Tensor]
"""look(x, t, states, mask, context) -> velocity, all [items, …]."""


@dataclass(frozen=True)
class Item:
    """One of the songs rendered together: its recipe with every number decided, its brief, its start noise."""

    recipe: Recipe
    brief: EditSpec
    start: Tensor  # [frames, channels]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Items of one kind can share a loop: same length, same schedule, same way of walking it."""
        r, b = self.recipe, self.brief
        walk = (r.solver, r.guidance, r.guidance_scale, r.guidance_interval, r.velocity_clamp, r.velocity_ema)
        dcw = (r.dcw, r.dcw_low, r.dcw_high)
        flow = None if (edit := flow_edit_of(r)) is None else (edit.n_min, edit.n_max, edit.n_avg)
        return b.frames, times_of(r), walk, dcw, flow, b.follow if b.later else 1.0, b.join


def flow_edit_of(recipe: Recipe) -> FlowEdit | None:
    """The flow-edit a recipe is, or turns the noises of; None for every other task."""
    task: Any = recipe.task
    while isinstance(task, Retake):
        task = task.source.recipe.task  # type: ignore[union-attr]
    return task if isinstance(task, FlowEdit) else None


def times_of(recipe: Recipe) -> tuple[float, ...]:
    """The schedule of a recipe whose numbers are decided."""
    if recipe.timesteps:
        return schedule.checked_times(recipe.timesteps)
    return schedule.times(recipe.steps or 1, 1.0 if recipe.shift is None else recipe.shift)


def render(
    items: Sequence[Item], heard: Conditions, later: Conditions | None, look: VelocityFn, together: bool = False
) -> Iterator[Step]:
    """Walk items of one kind from noise to music, yielding every step as [items, frames, channels].

    heard is what they listen to; later what a cover listens to after its switch, or how a flow-edit's source is
    described. together asks the DiT for both halves of guidance at once: quicker on an accelerator.
    """
    recipe, briefs = items[0].recipe, [item.brief for item in items]
    times = times_of(recipe)
    velocity = partial(_velocity, recipe=recipe, look=look, together=together)
    if flow_edit_of(recipe) is not None:
        yield from sampler.checked(_edited(items, heard, later or heard, velocity, times))
        return
    start = torch.stack([item.start for item in items])
    if briefs[0].join:
        times = schedule.starting_near(times, 1.0 - briefs[0].join)
    switch = ConditionSwitch.of(briefs, heard, later, times)
    hold = holding([b.kept for b in briefs], start, len(times))
    frames = sampler.sample(
        velocity(switch),
        sampler.add_noise(_sources(briefs), start, times[0]) if briefs[0].join else start,
        times,
        solver=recipe.solver or "euler",
        fresh=_fresh(items, first=1),
        after=switch.watching(hold),
        clamp=recipe.velocity_clamp,
        ema=recipe.velocity_ema,
        correct=correction(recipe.dcw or "off", recipe.dcw_low or 0.0, recipe.dcw_high or 0.0),
    )
    yield from sampler.checked(frames)


@dataclass(frozen=True)
class StepConditions:
    """What the DiT hears and sees at one moment."""

    heard: Conditions
    context: Tensor  # [items, frames, 2 * channels]


@dataclass
class ConditionSwitch:
    """What is heard and seen now. A cover of strength s follows its source for int(steps * s) whole steps, then only the
    words (the reference's meaning of audio_cover_strength): both looks of a heun step see the same.
    """

    at_first: StepConditions
    then: StepConditions
    count: int  # steps before the switch
    done: int = 0

    @classmethod
    def of(
        cls, briefs: Sequence[EditSpec], heard: Conditions, later: Conditions | None, times: Sequence[float]
    ) -> ConditionSwitch:
        at_first = StepConditions(heard, stacked([brief.context for brief in briefs]))
        count = schedule.step_count(briefs[0].follow, len(times))
        if later is None or count >= len(times):
            return cls(at_first, at_first, len(times))
        return cls(at_first, StepConditions(later, stacked([_later(brief) for brief in briefs])), count)

    def __call__(self, t: float) -> StepConditions:
        return self.at_first if self.done < self.count else self.then

    def watching(self, hold: After | None) -> After:
        """What happens after a step: it is counted, and what a repaint keeps is held."""

        def after(index: int, t: float, x: Tensor) -> Tensor:
            self.done = index + 1
            return x if hold is None else hold(index, t, x)

        return after


def _later(brief: EditSpec) -> Context:
    assert brief.later is not None
    return brief.later


def _velocity(sight: Callable[[float], StepConditions], recipe: Recipe, look: VelocityFn, together: bool) -> Velocity:
    """The DiT as a function of x and t, guided as the recipe says."""

    def alone(x: Tensor, t: float) -> Tensor:
        now = sight(t)
        return look(x, t, now.heard.states, now.heard.mask, now.context)

    def apart(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        now = sight(t)
        return alone(x, t), look(x, t, now.heard.nothing, now.heard.mask, now.context)

    def at_once(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        now = sight(t)
        states = torch.cat([now.heard.states, now.heard.nothing])
        mask, context = torch.cat([now.heard.mask] * 2), torch.cat([now.context] * 2)
        wished, plain = look(torch.cat([x, x]), t, states, mask, context).chunk(2)
        return wished, plain

    return guided(
        alone,
        at_once if together else apart,
        recipe.guidance or "none",
        1.0 if recipe.guidance_scale is None else recipe.guidance_scale,
        recipe.guidance_interval or (0.0, 1.0),
        draws=flow_edit_of(recipe) is not None,
    )


def _edited(
    items: Sequence[Item],
    heard: Conditions,
    described: Conditions,
    velocity: Callable[[Callable[[float], StepConditions]], Velocity],
    times: Sequence[float],
) -> Iterator[Step]:
    """The flow-edit loop: the old description and the new, each with a guidance memory of its own."""
    task, briefs = flow_edit_of(items[0].recipe), [item.brief for item in items]
    assert task is not None
    context = stacked([brief.context for brief in briefs])
    calm = partial(sampler.clamp_ema, clamp=items[0].recipe.velocity_clamp)
    old, new = calm(velocity(_always(described, context))), calm(velocity(_always(heard, context)))
    frames, channels = items[0].start.shape

    def fresh(k: int) -> Tensor:
        return torch.stack([_turned_draw(item.recipe, frames, channels, k) for item in items])

    window = {"n_min": task.n_min, "n_max": task.n_max}
    ema = items[0].recipe.velocity_ema
    return edit(old, new, _sources(briefs), times, fresh, n_avg=task.n_avg, ema=ema, **window)


def _always(heard: Conditions, context: Tensor) -> Callable[[float], StepConditions]:
    sight = StepConditions(heard, context)
    return lambda t: sight


def _sources(briefs: Sequence[EditSpec]) -> Tensor:
    """The sources of all items, [items, frames, channels]."""
    return torch.stack([brief.source for brief in briefs if brief.source is not None])


def _turned_draw(recipe: Recipe, frames: int, channels: int, k: int) -> Tensor:
    """The k-th noise of a flow-edit, which has no start noise: a retake of it turns each of them."""
    task: Any = recipe.task
    if not isinstance(task, Retake):
        return sampler.noise(recipe.seed or 0, frames, channels, draw=k)
    first = _turned_draw(task.source.recipe, frames, channels, k)
    return sampler.rotate_noise(first, sampler.noise(task.seed, frames, channels, draw=k), task.variance)


def _fresh(items: Sequence[Item], first: int) -> Callable[[int], Tensor]:
    """New noise for the k-th time, every item from its own seed; draw 0 is the start noise."""
    seeds = [item.recipe.seed or 0 for item in items]
    frames, channels = items[0].start.shape
    return lambda k: sampler.noises(seeds, frames, channels, draw=k + first)
