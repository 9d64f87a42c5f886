"""ACE-Step v1's loop: a group of songs from their starts to the music, one Step at a time. Knows no transformer and no text.

Outside, a latent is `[items, frames, 128]`; the velocity is handed `[items, 8, 16, frames]`. Every song's noise comes from its own
seed on the CPU, so that it is the same on every machine and whatever is made beside it.

::

    how = schedules.decided(recipe.sampling)
    steps = sample([Song(seed=7, frames=323)], velocity, branches, Settings.of(how), walk(how), check)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from acestep_lab.diffusion import sampler
from acestep_lab.diffusion.flowedit import edit
from acestep_lab.diffusion.sampler import AfterStep, add_noise
from acestep_lab.engines.ace_v1 import stepping
from acestep_lab.engines.ace_v1.geometry import to_frames, to_image
from acestep_lab.engines.ace_v1.guidance import Branches, Check, Guide, Strength, Velocity, guided_by
from acestep_lab.engines.ace_v1.schedules import Walk
from acestep_lab.engines.step import Step
from acestep_lab.prompt.sampling import FlowSamplingV1

CHANNELS = 128
"""Numbers of a latent frame: 8 channels of 16 rows."""


@dataclass(frozen=True)
class Settings:
    """How steps are taken: songs that share these may share a loop."""

    solver: str
    omega: float
    strength: Strength

    @classmethod
    def of(cls, how: FlowSamplingV1) -> Settings:
        """Those of knobs that are decided."""
        assert how.solver is not None
        assert how.omega is not None
        return cls(how.solver, how.omega, Strength.of(how))


@dataclass(frozen=True, eq=False)
class Song:
    """One song of a group: where its noise comes from, and what it begins with."""

    seed: int
    frames: int
    turns: tuple[tuple[int, float], ...] = ()
    """(seed, variance) of each retake that its noise is turned towards; with a mask, of the new frames' noise alone."""
    source: Tensor | None = None
    """Latent `[frames, 128]` that it begins from, noised to the walk's first time."""
    mask: Tensor | None = None
    """True where frames `[frames]` are new; the others stay the source's. None: all of them."""

    @property
    def group(self) -> Hashable:
        """Equal for those that may share a loop, where their walk and settings are equal too."""
        return self.frames, self.source is not None

    def start_noise(self) -> Tensor:
        """`[frames, 128]`."""
        turned = self.noise()
        return turned if self.mask is None else torch.where(self.mask[:, None].cpu(), turned, self.noise(turns=()))

    def noise(self, draw: int = 0, turns: tuple[tuple[int, float], ...] | None = None) -> Tensor:
        """The n-th noise of its seeds `[frames, 128]`; 0 is the one it starts from."""
        return sampler.turned_noise(self.seed, self.turns if turns is None else turns, self.frames, CHANNELS, draw)


def sample(
    songs: Sequence[Song],
    velocity: Velocity,
    branches: Branches,
    settings: Settings,
    walk: Walk,
    check: Check = lambda: None,
    *,
    old: Branches | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Step]:
    """Every step of songs of one length and one walk, latents `[items, frames, 128]`.

    `branches` are what is asked for; of an edit, `old` are what describes the sources. check() is called before every look, and at
    least once a step.
    """
    made = _edited if walk.edit is not None else _sampled
    group = _Group.of(songs, device)
    guide = partial(Guide, velocity, strength=settings.strength, walk=walk, check=check)
    guides = tuple(guide(one) for one in (old, branches) if one is not None)
    solver = guided_by(stepping.solver(settings.solver, settings.omega), guides, walk.skipped)
    steps = sampler.checked(_brought_home(made(group, guides, solver, walk)))
    return _watched(steps, walk.steps, len(songs), check)


def _brought_home(steps: Iterator[Step]) -> Iterator[Step]:
    """Steps whose latents are on the host, where they are looked at: both come in one copy."""
    for step in steps:
        assert step.state is not None
        assert step.estimate is not None
        if step.state.device.type != "cpu":
            state, estimate = torch.stack([step.state, step.estimate]).cpu()
            step = replace(step, state=state, estimate=estimate)
        yield step


def _watched(steps: Iterator[Step], count: int, items: int, check: Check) -> Iterator[Step]:
    """The steps as the house has them."""
    for _ in range(count):
        check()
        step = next(steps)
        assert step.state is not None
        assert step.estimate is not None
        yield replace(step, state=to_frames(step.state), estimate=to_frames(step.estimate), items=tuple(range(items)))


@dataclass(frozen=True, eq=False)
class _Group:
    """Songs beside each other, `[items, 8, 16, frames]`, where the loop works."""

    songs: Sequence[Song]
    device: torch.device | str
    start: Tensor
    source: Tensor | None
    mask: Tensor | None
    """`[items, 1, 1, frames]`."""

    @classmethod
    def of(cls, songs: Sequence[Song], device: torch.device | str) -> _Group:
        start = torch.stack([song.start_noise() for song in songs])
        found = [song.source for song in songs if song.source is not None]
        source = torch.stack([one.to("cpu", torch.float32) for one in found]) if found else None
        masks = [torch.ones(song.frames, dtype=torch.bool) if song.mask is None else song.mask for song in songs]
        mask = None if all(song.mask is None for song in songs) else torch.stack([one.cpu() for one in masks])
        return cls(
            songs, device, to_image(start).to(device), None if source is None else to_image(source).to(device),
            None if mask is None else mask[:, None, None].to(device),
        )  # fmt: skip

    def noise(self, draw: int) -> Tensor:
        """The n-th noise of every song from its own seed; 0 is what plain songs start from."""
        return to_image(torch.stack([song.noise(draw) for song in self.songs])).to(self.device)

    def holding(self) -> AfterStep | None:
        """What puts the source, noised to the time that was reached, back outside of the mask after a step."""
        if self.mask is None or self.source is None:
            return None
        mask, source = self.mask, self.source
        return lambda index, t, x: torch.where(mask, x, add_noise(source, self.start, t))


def _sampled(group: _Group, guides: tuple[Guide, ...], solver: sampler.Solver, walk: Walk) -> Iterator[Step]:
    """From noise, or from a source with as much noise as the first time says: retake, repaint, extend and audio2audio too."""
    start = group.start if group.source is None else add_noise(group.source, group.start, walk.times[0])
    return sampler.sample(
        guides[-1],
        start,
        walk.times,
        solver=solver,
        noise_fn=lambda index: group.noise(index + 1),
        after=group.holding(),
    )


def _edited(group: _Group, guides: tuple[Guide, ...], solver: sampler.Solver, walk: Walk) -> Iterator[Step]:
    """From a source along the difference of two descriptions, each guided with a memory of its own."""
    assert walk.edit is not None
    assert group.source is not None
    old, new = guides
    n_min, n_max, n_avg = walk.edit
    return edit(
        old, new, group.source, walk.times, group.noise, n_min=n_min, n_max=n_max, n_avg=n_avg, solver=solver,
        fresh_noise=lambda index: group.noise(walk.steps * n_avg + 1 + index),
    )  # fmt: skip
