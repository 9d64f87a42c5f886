"""Prepared songs become Steps: the one place where schedule, guidance and solver meet. Does not know how the DiT is built or
where it lives: it is handed `predict`, which asks it once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion import sampler, schedule
from acestep_lab.diffusion.dcw import correction
from acestep_lab.diffusion.flowedit import edit
from acestep_lab.diffusion.guidance import guided
from acestep_lab.diffusion.sampler import AfterStep, VelocityFn
from acestep_lab.engines.ace15.conditioning import Conditions, batched
from acestep_lab.engines.ace15.context import stacked
from acestep_lab.engines.ace15.edit_spec import EditSpec, holding
from acestep_lab.engines.ace15.request import FlowRequest, LoopSettings, NoiseSource
from acestep_lab.engines.ace15.task_rows import EditWindow, Splice
from acestep_lab.engines.step import Step

PredictFn = Callable[[Tensor, float, Tensor, Tensor, Tensor], Tensor]
"""predict(x, t, states, mask, context) -> velocity, all `[items, …]`."""


@dataclass(frozen=True, eq=False)
class FlowPrepared:
    """One request with everything the loop and the decoder need."""

    request: FlowRequest
    spec: EditSpec
    start: Tensor
    """Start noise `[frames, channels]`."""
    conditions: tuple[Conditions, ...]
    """What is listened to, and what instead once a cover has switched or as a flow-edit's source; () after the loop."""
    source_gain: float = 1.0
    """The level of the source that is spliced in."""
    splice: tuple[tuple[Audio, Splice], ...] = ()
    """The source, and where new sound replaces it; () where all is new."""
    notes: tuple[str, ...] = ()
    """What came up while it was prepared, in sentences."""

    @property
    def group(self) -> Hashable:
        """Those of one group can share a loop: same length, same schedule, same way of walking it."""
        spec = self.spec
        switch = spec.cover_strength if spec.fallback is not None else 1.0
        request = self.request
        return spec.frames, request.loop, request.edit_window, switch, spec.init_noise, len(self.conditions)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that came up while words were read."""
        of_words = (note for conditions in self.conditions for note in conditions.notes)
        return tuple(dict.fromkeys([*self.notes, *of_words]))

    def after_sampling(self) -> FlowPrepared:
        """The same without its conditions, which only the loop listens to."""
        return replace(self, conditions=())


def start_noise(source: NoiseSource, frames: int, channels: int, draw: int = 0) -> Tensor:
    """Noise `[frames, channels]` of a seed, turned towards each retake's; `draw` numbers further noises of the same seeds."""
    return sampler.turned_noise(source.seed, source.turns, frames, channels, draw)


def render(group: Sequence[FlowPrepared], predict: PredictFn, together: bool = False) -> Iterator[Step]:
    """Sample the items of one group from noise to music, yielding every step as `[items, frames, channels]`.

    `together` asks the DiT for both halves of guidance at once: quicker on an accelerator.
    """
    first = group[0]
    conditions = [batched(one) for one in zip(*(item.conditions for item in group), strict=True)]
    window = first.request.edit_window
    velocity = partial(_velocity, loop=first.request.loop, predict=predict, together=together, draws=bool(window))
    if window:
        yield from sampler.checked(_edited(group, conditions, velocity, window[0]))
    else:
        yield from sampler.checked(_sampled_from_noise(group, conditions, velocity))


@dataclass(frozen=True, eq=False)
class StepConditions:
    """The DiT's conditions and context at one time t: the same tensors in every step, so that they are brought to it once."""

    conditions: Conditions
    context: Tensor  # [items, frames, 2 * channels]

    @cached_property
    def null_states(self) -> Tensor:
        """What is heard where nothing is asked, in the shape of the states."""
        return self.conditions.null_states

    @cached_property
    def both(self) -> tuple[Tensor, Tensor, Tensor]:
        """States, mask and context for both halves of guidance in one batch."""
        states = torch.cat([self.conditions.states, self.null_states])
        return states, torch.cat([self.conditions.mask] * 2), torch.cat([self.context] * 2)


ConditionsAt = Callable[[float], StepConditions]
GuidedBy = Callable[[ConditionsAt], VelocityFn]


def _sampled_from_noise(
    group: Sequence[FlowPrepared], conditions: Sequence[Conditions], velocity: GuidedBy
) -> Iterator[Step]:
    """The loop from noise, or from a noised source."""
    specs, loop = [item.spec for item in group], group[0].request.loop
    start, times, init_noise = torch.stack([item.start for item in group]), loop.times, specs[0].init_noise
    if init_noise:
        times = schedule.starting_near(times, 1.0 - init_noise)
    switch = ConditionSwitch.of(specs, conditions, times)
    return sampler.sample(
        velocity(switch),
        sampler.add_noise(_sources(specs), start, times[0]) if init_noise else start,
        times,
        solver=loop.solver,
        noise_fn=partial(_new_noise, group),
        after=switch.watching(holding([spec.kept for spec in specs], start, len(times))),
        clamp=loop.velocity_clamp or None,
        ema=loop.velocity_ema or None,
        correct=correction(loop.dcw, loop.dcw_low, loop.dcw_high),
    )


@dataclass
class ConditionSwitch:
    """The conditions and context of now. A cover of strength s follows its source for int(steps * s) whole steps, then only the
    words (the reference's meaning of audio_cover_strength): both calls of a heun step see the same.
    """

    before: StepConditions
    after: StepConditions
    count: int  # steps before the switch
    done: int = 0

    @classmethod
    def of(cls, specs: Sequence[EditSpec], conditions: Sequence[Conditions], times: Sequence[float]) -> ConditionSwitch:
        before = StepConditions(conditions[0], stacked([spec.context for spec in specs]))
        count = schedule.step_count(specs[0].cover_strength, len(times))
        if len(conditions) == 1 or count >= len(times):
            return cls(before, before, len(times))
        fallbacks = [spec.fallback for spec in specs if spec.fallback is not None]
        return cls(before, StepConditions(conditions[1], stacked(fallbacks)), count)

    def __call__(self, t: float) -> StepConditions:
        return self.before if self.done < self.count else self.after

    def watching(self, hold: AfterStep | None) -> AfterStep:
        """What happens after a step: it is counted, and what a repaint keeps is held."""

        def after(index: int, t: float, x: Tensor) -> Tensor:
            self.done = index + 1
            return x if hold is None else hold(index, t, x)

        return after


def _velocity(at: ConditionsAt, loop: LoopSettings, predict: PredictFn, together: bool, draws: bool) -> VelocityFn:
    """The DiT as a function of x and t, guided as the recipe says."""

    def alone(x: Tensor, t: float) -> Tensor:
        now = at(t)
        return predict(x, t, now.conditions.states, now.conditions.mask, now.context)

    def apart(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        now = at(t)
        return alone(x, t), predict(x, t, now.null_states, now.conditions.mask, now.context)

    def at_once(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        conditioned, plain = predict(torch.cat([x, x]), t, *at(t).both).chunk(2)
        return conditioned, plain

    return guided(
        alone, at_once if together else apart, loop.guidance, loop.guidance_scale, loop.guidance_interval, draws=draws
    )


def _edited(
    group: Sequence[FlowPrepared], conditions: Sequence[Conditions], velocity: GuidedBy, window: EditWindow
) -> Iterator[Step]:
    """The flow-edit loop: the old description and the new, each with a guidance memory of its own."""
    specs, loop = [item.spec for item in group], group[0].request.loop
    context = stacked([spec.context for spec in specs])
    clamped = partial(sampler.clamp_ema, clamp=loop.velocity_clamp or None)
    new, old = (clamped(velocity(_always(one, context))) for one in conditions)
    frames, channels = group[0].start.shape

    def noises(k: int) -> Tensor:
        return torch.stack([start_noise(item.request.noise, frames, channels, draw=k) for item in group])

    return edit(
        old, new, _sources(specs), loop.times, noises,
        n_min=window.n_min, n_max=window.n_max, n_avg=window.n_avg, ema=loop.velocity_ema or None,
    )  # fmt: skip


def _always(conditions: Conditions, context: Tensor) -> ConditionsAt:
    now = StepConditions(conditions, context)
    return lambda t: now


def _sources(specs: Sequence[EditSpec]) -> Tensor:
    """The sources of all items, `[items, frames, channels]`."""
    return torch.stack([spec.source for spec in specs if spec.source is not None])


def _new_noise(group: Sequence[FlowPrepared], k: int) -> Tensor:
    """New noise for the k-th time, every item from its own seed; draw 0 is the start noise."""
    frames, channels = group[0].start.shape
    return sampler.noises([item.request.seed for item in group], frames, channels, draw=k + 1)
