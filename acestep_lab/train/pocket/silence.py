"""The silence that stands for "nothing to go by", with the time written into it.

The transformer knows only relative positions. Its source for text2music (and for the hole of a repaint) is a buffer of the
checkpoint, the encoded silence; adding a code of the absolute time to that buffer gives bars and sections something to hold
on to, and every program that loads the checkpoint hands it over without knowing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.pocket.vae import PocketVae

LOUDNESS = 0.5  # of the code, where latents have a spread of 1
SHORTEST, LONGEST = 0.4, 400.0  # seconds, of the code's waves


def time_code(frames: int, channels: int, per_second: float) -> Tensor:
    """Sines and cosines of the time in geometric steps of their period, [frames, channels]."""
    seconds = torch.arange(frames)[:, None] / per_second
    steps = torch.linspace(0, 1, channels // 2)
    period = SHORTEST * (LONGEST / SHORTEST) ** steps
    angle = 2 * math.pi * seconds / period
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


@torch.no_grad()
def timed_silence(vae: PocketVae, shapes: Shapes) -> Tensor:
    """The buffer `silence_latent`, [1, frames, channels]."""
    device = vae.to_latent.weight.device
    quiet = vae.moments(torch.zeros(1, 1, shapes.rate, device=device))[0][0].cpu()  # [channels, frames]
    still = quiet[:, quiet.shape[1] // 2]
    code = time_code(shapes.silence_frames, shapes.latent_channels, shapes.latents_per_second)
    return (still + LOUDNESS * code)[None]
