"""The autoencoder's stage: crops in, spectral + waveform loss, figures every half minute, standardised at the end."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from acestep_lab.train.pocket.stage import Every, Stage, quick, set_rate
from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.pocket.crops import SoundPool, rendered
from acestep_lab.train.pocket.vae import (
    PocketVae,
    SpectralLoss,
    log_spectral_distance,
    si_sdr,
    standardise,
    use_fast_snake,
)

HELD_OUT = 900_000_000  # seeds from here on are never trained on
PEAK = 2e-3
POLISH = 6e-4
DECODER = ("from_latent", "up", "up_snake", "back", "out_snake", "out")
"""The parts of `PocketVae` that a polish may change; latents stay what they are."""


def held_out_clips(shapes: Shapes, count: int = 12, seconds: float = 4.0) -> Tensor:
    """Unseen mixes [count, 1, samples]."""
    clips = [torch.from_numpy(rendered(HELD_OUT + i, 12, shapes.rate).stems.sum(0)) for i in range(count)]
    start, length = 2 * shapes.rate, int(seconds * shapes.rate)
    return torch.stack([clip[start : start + length] for clip in clips])[:, None]


@torch.no_grad()
def quality(vae: PocketVae, clips: Tensor) -> dict[str, float]:
    """Round trip of unseen clips: SI-SDR and log spectral distance in dB."""
    made = vae.decode(vae.moments(clips)[0])[:, 0].float().cpu()
    true = clips[:, 0].cpu()
    return {"si_sdr": si_sdr(made, true).mean().item(), "lsd": log_spectral_distance(made, true)}


def loss_of(
    vae: PocketVae, spectral: SpectralLoss, sound: Tensor, fraction: float, hop: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Spectral loss + waveform distance (its weight falling from 4 to 2) + a little divergence (rising to 1e-4)."""
    device = sound.device.type
    channels = vae.from_latent.in_channels
    noise = torch.randn(sound.shape[0], channels, sound.shape[-1] // hop, device=sound.device)
    with quick(device):
        made, divergence = vae(sound, noise)
    spectra, wave = spectral(made.float(), sound), (made.float() - sound).abs().mean()
    weight = 1e-4 * min(1.0, 0.1 + 5 * fraction)
    total = spectra + (4 - 2 * fraction) * wave + weight * divergence
    return total, {"spectral": spectra, "wave": wave, "kl": divergence}


def train_vae(stage: Stage, shapes: Shapes, songs: int = 150) -> PocketVae:
    """Train until the stage's box is used up; the result has standardised latents and is final."""
    torch.manual_seed(1)
    vae = use_fast_snake(PocketVae(shapes)).to(stage.device)
    optimiser = torch.optim.AdamW(vae.parameters(), PEAK, betas=(0.8, 0.99), weight_decay=1e-3)
    kept = stage.load()
    if kept:
        vae.load_state_dict(kept["vae"])
        if kept["final"]:
            return vae
        optimiser.load_state_dict(kept["optimiser"])
    pool = SoundPool(songs, 20, shapes.rate, 1_000_000 * (1 + stage.step % 89))
    _fit(stage, shapes, vae, optimiser, pool)
    standardise(vae, (pool.batch(16, 4 * shapes.rate).to(stage.device) for _ in range(8)))
    stage.log(final=True, **quality(vae, held_out_clips(shapes).to(stage.device)))
    stage.save(vae=vae.state_dict(), final=True)
    return vae


def _fit(stage: Stage, shapes: Shapes, vae: PocketVae, optimiser: torch.optim.Optimizer, pool: SoundPool) -> None:
    spectral, clips = SpectralLoss().to(stage.device), held_out_clips(shapes).to(stage.device)
    look, keep = Every(30), Every(60)
    size = 8 if stage.device == "cpu" else 64
    for step in stage.steps():
        set_rate(optimiser, stage.rate(PEAK))
        sound = pool.batch(size, 96 * shapes.hop).to(stage.device)
        loss, parts = loss_of(vae, spectral, sound, stage.fraction, shapes.hop)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 4 == 0:
            pool.exchange()
        if look.due(stage.spent):
            stage.log(loss=loss, norm=norm, **parts, **quality(vae, clips))
        if keep.due(stage.spent):
            stage.save(vae=vae.state_dict(), optimiser=optimiser.state_dict(), final=False)


def polish(stage: Stage, shapes: Shapes, vae: PocketVae, songs: int = 60) -> PocketVae:
    """Train the decoder alone, long after the latents are settled: on latents a little off, as a transformer makes them.

    Only half of every batch is off, by noise of up to a tenth of the latents' spread; the error's level in dB joins the loss.
    """
    torch.manual_seed(7)
    vae = use_fast_snake(vae).to(stage.device).requires_grad_(False)
    learners = [p for name in DECODER for p in getattr(vae, name).requires_grad_(True).parameters()]
    optimiser, kept = torch.optim.AdamW(learners, POLISH, betas=(0.8, 0.99)), stage.load()
    if kept:
        vae.load_state_dict(kept["vae"])
    spectral, clips = SpectralLoss().to(stage.device), held_out_clips(shapes).to(stage.device)
    pool, look = SoundPool(songs, 20, shapes.rate, 500_000_000 + stage.step), Every(30)
    stage.log(**quality(vae, clips))
    for step in stage.steps():
        set_rate(optimiser, stage.rate(POLISH, warm=20))
        sound = pool.batch(8 if stage.device == "cpu" else 64, 96 * shapes.hop).to(stage.device)
        with quick(stage.device):
            latent = vae.moments(sound)[0]
            off = 0.1 * torch.rand(len(latent), 1, 1, device=latent.device)
            off[::2] = 0
            made = vae.decode(latent + off * torch.randn_like(latent))
        made = made.float()
        missed = (made - sound).square().sum(-1)
        level = 1e-3 + sound.square().sum(-1)  # with a floor, because some crops are silent
        noise = 10 * torch.log10((missed + 1e-3) / level).mean()  # dB below the sound
        (spectral(made, sound) + 2 * (made - sound).abs().mean() + 0.03 * noise).backward()
        torch.nn.utils.clip_grad_norm_(learners, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 4 == 0:
            pool.exchange()
        if look.due(stage.spent):
            stage.log(**quality(vae, clips))
    stage.log(**quality(vae, clips))
    stage.save(vae=vae.state_dict())
    return vae


def main() -> None:
    """Run this stage alone."""
    shapes = Shapes()
    stage = Stage("vae", 60 * float(os.environ["MINUTES"]), Path(os.environ["WORK"]))
    train_vae(stage, shapes)


if __name__ == "__main__":
    main()
