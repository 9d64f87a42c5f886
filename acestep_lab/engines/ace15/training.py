"""What an adapter for an ACE-Step 1.5 checkpoint is taught with: its times, its lessons, its transformer. Knows no optimiser.

A lesson's words are made by the code that a render prepares with, so that what is learnt is what is heard later. Times follow
the checkpoint's kind: a turbo knows only its own eight; others were taught with the larger of two logit-normal draws
(`forward` of the published model code, `timestep_mu` and `timestep_sigma` of its config); the pocket by its own rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.diffusion import schedule
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.render import FlowPrepared
from acestep_lab.engines.base import Hidden, Lesson, TrainingRule
from acestep_lab.engines.hidden import after_block
from acestep_lab.models.loading import Checkpoint

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("gate_proj", "up_proj", "down_proj")
TARGETS: Mapping[str, tuple[str, ...]] = {"attention": ATTENTION, "mlp": MLP}
DROPOUT = 0.15
"""Share of lessons without words, as the published trainers have it."""
POCKET_DROPOUT = 0.10
LEARNING_RATE, POCKET_LEARNING_RATE = 3e-4, 2e-3
"""What people report for the published checkpoints, and what the pocket was measured to learn by."""
MU, SIGMA = -0.4, 1.0
"""The logit-normal's mean and width where a config is silent."""


def rule_of(checkpoint: Checkpoint) -> TrainingRule:
    """How a checkpoint was taught."""
    times, dropout, learning_rate = _habits(checkpoint)
    rate, config = checkpoint.geometry.frames_per_second, checkpoint.config("dit")
    side = min(int(config["hidden_size"]), int(config["num_key_value_heads"]) * int(config["head_dim"]))
    return TrainingRule(times, dropout, learning_rate, TARGETS, rate, side)


def _habits(checkpoint: Checkpoint) -> tuple[str, float, float]:
    """Its times in words, the share of lessons without words, a usual learning rate."""
    if checkpoint.row.is_turbo:
        steps = ", ".join(f"{t:.2f}" for t in _own_times(checkpoint))
        return f"one of its own times ({steps})", 0.0, LEARNING_RATE
    if checkpoint.row.name == "pocket":
        return "half from high noise, the rest from everywhere", POCKET_DROPOUT, POCKET_LEARNING_RATE
    return "the larger of two logit-normal draws", DROPOUT, LEARNING_RATE


def draw_times(checkpoint: Checkpoint, count: int, generator: torch.Generator) -> Tensor:
    """Times `[count]` by the rule of a checkpoint, 1 being noise."""
    if checkpoint.row.is_turbo:
        own = torch.tensor(_own_times(checkpoint), dtype=torch.float32)
        return own[torch.randint(len(own), (count,), generator=generator)]
    if checkpoint.row.name == "pocket":
        return _pocket_times(count, generator)
    config = checkpoint.config("dit")
    mu, sigma = float(config.get("timestep_mu", MU)), float(config.get("timestep_sigma", SIGMA))
    return torch.sigmoid(mu + sigma * torch.randn(2, count, generator=generator)).amax(dim=0)


def _own_times(checkpoint: Checkpoint) -> tuple[float, ...]:
    """The times that a turbo was distilled at."""
    return tuple(schedule.times(checkpoint.row.steps, checkpoint.row.shift))


def _pocket_times(count: int, generator: torch.Generator) -> Tensor:
    """Half from high noise, the rest from everywhere, a twentieth at t = 1 (`train.pocket.dit.draw_times`, a draw for each)."""
    normal, even, kind = (torch.randn(count, generator=generator), *torch.rand(2, count, generator=generator))
    t = torch.where(kind < 0.5, torch.sigmoid(normal + 1.0), torch.where(kind < 0.85, torch.sigmoid(normal), even))
    return torch.where(kind > 0.95, torch.ones(()), t).clamp(1e-3, 1.0)


def lesson_of(prepared: FlowPrepared, latent: Tensor) -> Lesson:
    """A lesson out of what a render would hear, and the latent `[frames, channels]` it should arrive at."""
    conditions, context = prepared.conditions[0], prepared.spec.context.latents
    frames = min(len(latent), len(context))
    return Lesson(
        target=latent[:frames].float().cpu(), states=conditions.states[0][conditions.mask[0]].float().cpu(),
        null=conditions.null[0].float().cpu(), context=context[:frames].float().cpu(), notes=conditions.notes,
    )  # fmt: skip


def prepared_module(dit: nn.Module) -> nn.Module:
    """A transformer ready to be taught: with masks for words, frozen, and stock attention, whose gradients torch knows."""
    module: Any = attention.install(dit, quick=False)  # type: ignore[arg-type]
    module.requires_grad_(False)
    return module.train()


def velocity(module: nn.Module, x: Tensor, t: Tensor, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
    """The velocity `[items, frames, channels]` of a transformer in training, with r = t as the published model is taught."""
    return attention.velocity(module, x, t, states, context, mask=mask)


def hidden_shape(checkpoint: Checkpoint) -> tuple[int, int]:
    """How many layers the transformer of a checkpoint has, and their width."""
    config = checkpoint.config("dit")
    return int(config["num_hidden_layers"]), int(config["hidden_size"])


def hidden_after(module: nn.Module, block: int) -> AbstractContextManager[Hidden]:
    """Keep what layer `block`, counted from 1, gives; a token stands for a patch of frames."""
    dit: Any = module
    return after_block(dit.layers, block, float(dit.patch_size))
