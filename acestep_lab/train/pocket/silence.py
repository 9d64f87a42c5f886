"""The silence that stands for an empty source, with an encoding of the time added to it.

The transformer knows only relative positions. Its source for text2music (and for the masked region of a repaint) is a buffer of the
checkpoint, the encoded silence; adding an encoding of the absolute time to that buffer gives bars and sections a position
to go by, and every program that loads the checkpoint hands it over without knowing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.vae import PocketVae

ENCODING_LEVEL = 0.5  # of the encoding, where latents have a standard deviation of 1
SHORTEST, LONGEST = 0.4, 400.0  # periods of the encoding, in seconds


def time_encoding(frames: int, channels: int, per_second: float) -> Tensor:
    """A sinusoidal encoding of the time: sines and cosines in geometric steps of their period, [frames, channels]."""
    seconds = torch.arange(frames)[:, None] / per_second
    steps = torch.linspace(0, 1, channels // 2)
    period = SHORTEST * (LONGEST / SHORTEST) ** steps
    angle = 2 * math.pi * seconds / period
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


@torch.no_grad()
def timed_silence(vae: PocketVae, config: PocketConfig) -> Tensor:
    """The buffer `silence_latent` of the condition encoder: encoded silence plus the time encoding, [1, frames, channels]."""
    device = vae.to_latent.weight.device
    latents = vae.moments(torch.zeros(1, 1, config.rate, device=device))[0][0].cpu()  # [channels, frames]
    frame = latents[:, latents.shape[1] // 2]
    encoding = time_encoding(config.silence_frames, config.latent_channels, config.latents_per_second)
    return (frame + ENCODING_LEVEL * encoding)[None]
