"""The autoencoder's stage: crops in, spectral + waveform loss, figures every half minute, standardised at the end."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.crops import CropPool, render_song
from acestep_lab.train.pocket.stage import Interval, Stage, fast_precision, set_learning_rate
from acestep_lab.train.pocket.vae import (
    PocketVae,
    SpectralLoss,
    log_spectral_distance,
    si_sdr,
    standardise,
    use_fast_snake,
)

HELD_OUT = 900_000_000  # seeds from here on are never trained on
PEAK_LEARNING_RATE = 2e-3
POLISH_LEARNING_RATE = 6e-4
DECODER = ("from_latent", "up", "up_snake", "back", "out_snake", "out")
"""The layers of `PocketVae` that polishing may change; latents stay what they are."""


def held_out_clips(config: PocketConfig, count: int = 12, seconds: float = 4.0) -> Tensor:
    """Mixes that no stage trains on, [count, 1, samples]."""
    clips = [torch.from_numpy(render_song(HELD_OUT + i, 12, config.rate).stems.sum(0)) for i in range(count)]
    start, length = 2 * config.rate, int(seconds * config.rate)
    return torch.stack([clip[start : start + length] for clip in clips])[:, None]


@torch.no_grad()
def quality(vae: PocketVae, clips: Tensor) -> dict[str, float]:
    """Reconstruction quality on clips [items, 1, samples]: SI-SDR and log-spectral distance, in dB."""
    rebuilt = vae.decode(vae.moments(clips)[0])[:, 0].float().cpu()
    true = clips[:, 0].cpu()
    return {"si_sdr": si_sdr(rebuilt, true).mean().item(), "lsd": log_spectral_distance(rebuilt, true)}


def vae_loss(
    vae: PocketVae, spectral: SpectralLoss, sound: Tensor, fraction: float, hop: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Spectral loss + waveform distance (its weight falling from 4 to 2) + KL divergence (rising to 1e-4), and each of them.

    `sound` is [items, 1, samples], `fraction` how much of the training is done, `hop` the samples per latent frame.
    """
    device = sound.device.type
    channels = vae.from_latent.in_channels
    noise = torch.randn(sound.shape[0], channels, sound.shape[-1] // hop, device=sound.device)
    with fast_precision(device):
        rebuilt, divergence = vae(sound, noise)
    spectra, wave = spectral(rebuilt.float(), sound), (rebuilt.float() - sound).abs().mean()
    weight = 1e-4 * min(1.0, 0.1 + 5 * fraction)
    total = spectra + (4 - 2 * fraction) * wave + weight * divergence
    return total, {"spectral": spectra, "wave": wave, "kl": divergence}


def train_vae(stage: Stage, config: PocketConfig, songs: int = 150) -> PocketVae:
    """Train until the time budget is used up; the result has standardised latents and is final."""
    torch.manual_seed(1)
    vae = use_fast_snake(PocketVae(config)).to(stage.device)
    optimiser = torch.optim.AdamW(vae.parameters(), PEAK_LEARNING_RATE, betas=(0.8, 0.99), weight_decay=1e-3)
    saved = stage.load()
    if saved:
        vae.load_state_dict(saved["vae"])
        if saved["final"]:
            return vae
        optimiser.load_state_dict(saved["optimiser"])
    pool = CropPool(songs, 20, config.rate, 1_000_000 * (1 + stage.step % 89))
    _fit(stage, config, vae, optimiser, pool)
    standardise(vae, (pool.batch(16, 4 * config.rate).to(stage.device) for _ in range(8)))
    stage.log(final=True, **quality(vae, held_out_clips(config).to(stage.device)))
    stage.save(vae=vae.state_dict(), final=True)
    return vae


def _fit(stage: Stage, config: PocketConfig, vae: PocketVae, optimiser: torch.optim.Optimizer, pool: CropPool) -> None:
    spectral, clips = SpectralLoss().to(stage.device), held_out_clips(config).to(stage.device)
    log_interval, save_interval = Interval(30), Interval(60)
    size = 8 if stage.device == "cpu" else 64
    for step in stage.steps():
        set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE))
        sound = pool.batch(size, 96 * config.hop).to(stage.device)
        loss, terms = vae_loss(vae, spectral, sound, stage.fraction, config.hop)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 4 == 0:
            pool.replace_one()
        if log_interval.due(stage.elapsed):
            stage.log(loss=loss, norm=norm, **terms, **quality(vae, clips))
        if save_interval.due(stage.elapsed):
            stage.save(vae=vae.state_dict(), optimiser=optimiser.state_dict(), final=False)


def polish(stage: Stage, config: PocketConfig, vae: PocketVae, songs: int = 60) -> PocketVae:
    """Train the decoder alone, once the latents are settled, on noisy latents such as a transformer makes.

    Half of every batch gets noise of up to a tenth of the latents' standard deviation; the error's level in dB joins the loss.
    """
    torch.manual_seed(7)
    vae = use_fast_snake(vae).to(stage.device).requires_grad_(False)
    trained = [p for name in DECODER for p in getattr(vae, name).requires_grad_(True).parameters()]
    optimiser, saved = torch.optim.AdamW(trained, POLISH_LEARNING_RATE, betas=(0.8, 0.99)), stage.load()
    if saved:
        vae.load_state_dict(saved["vae"])
    spectral, clips = SpectralLoss().to(stage.device), held_out_clips(config).to(stage.device)
    pool, log_interval = CropPool(songs, 20, config.rate, 500_000_000 + stage.step), Interval(30)
    stage.log(**quality(vae, clips))
    for step in stage.steps():
        set_learning_rate(optimiser, stage.learning_rate(POLISH_LEARNING_RATE, warmup=20))
        sound = pool.batch(8 if stage.device == "cpu" else 64, 96 * config.hop).to(stage.device)
        with fast_precision(stage.device):
            latent = vae.moments(sound)[0]
            scale = 0.1 * torch.rand(len(latent), 1, 1, device=latent.device)
            scale[::2] = 0
            rebuilt = vae.decode(latent + scale * torch.randn_like(latent))
        rebuilt = rebuilt.float()
        error = (rebuilt - sound).square().sum(-1)
        level = 1e-3 + sound.square().sum(-1)  # with a floor, because some crops are silent
        noise = 10 * torch.log10((error + 1e-3) / level).mean()  # dB below the sound
        (spectral(rebuilt, sound) + 2 * (rebuilt - sound).abs().mean() + 0.03 * noise).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 4 == 0:
            pool.replace_one()
        if log_interval.due(stage.elapsed):
            stage.log(**quality(vae, clips))
    stage.log(**quality(vae, clips))
    stage.save(vae=vae.state_dict())
    return vae


def main() -> None:
    """Run this stage alone."""
    config = PocketConfig()
    stage = Stage("vae", 60 * float(os.environ["MINUTES"]), Path(os.environ["WORK"]))
    train_vae(stage, config)


if __name__ == "__main__":
    main()
