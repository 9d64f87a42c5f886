"""Audio codes: five a second, each one of a thousand, and the tokenizer and detokenizer between them and latents.

They are trained in two steps. First the codebook: note targets (`note_targets.py`) are autoencoded through a code, so that ten bits
keep what they can of harmony, bass, drums and entries. Then the audio tokenizer, which learns to predict from latents the codes that
give the targets back. That order matters: latents carry phase, pitch is hard to find in them, and a pair trained from latents alone
ends with codes that mean loudness.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import ace_step_modules
from acestep_lab.train.pocket.clips import ClipPool
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.note_targets import TARGET_CHANNELS
from acestep_lab.train.pocket.stage import Interval, Stage, fast_precision, set_learning_rate

PEAK_LEARNING_RATE = 1.5e-3
LOSS_WEIGHTS = {"chroma": 1.0, "bass": 0.7, "drums": 2.8, "entries": 1.2, "lead": 0.05}
"""Rhythm first: the transformer follows a key from the prompt alone, but never found the beat without codes that carry it."""
TARGET_VARIANCE = {
    "chroma": 0.60,
    "bass": 0.095,
    "drums": 0.134,
    "entries": 0.64,
    "lead": 0.665,
}  # of each kind over 96 songs


class StraightThroughRounding:
    """A straight-through estimator for a quantizer that rounds with `floor`, whose gradient is zero everywhere.

    Only a share of the numbers is rounded at first; with all of them rounded from the start the pair learns to ignore them.
    """

    def __init__(self, quantizer: Any) -> None:
        self.plain, self.share = quantizer._quantize, 1.0
        self.spread_loss = torch.zeros(())
        quantizer._quantize = self

    def __call__(self, x: Tensor) -> Tensor:
        """Round `share` of the values onto the grid; the gradient is that of the values as they came."""
        self.spread_loss = spread_loss(x.flatten(0, -2))
        rounded = self.plain(x)
        if self.share < 1:
            rounded = torch.where(torch.rand_like(x) < self.share, rounded, x.clamp(-1, 1))
        return x + (rounded - x).detach()


def spread_loss(x: Tensor) -> Tensor:
    """How far values [items, dimensions] are from independent and uniform in -1..1: sorted against an even row, and correlations.

    Without it the tanh before the rounding saturates in the first hundred steps and every song gets the same code.
    """
    even = torch.linspace(-1, 1, len(x), device=x.device)[:, None]
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    crossed = covariance - torch.diag(torch.diagonal(covariance))
    return 4 * (x.sort(dim=0).values - even).square().mean() + crossed.square().sum()


class AudioCodeModel(nn.Module):
    """Audio tokenizer and detokenizer, and an encoder of note targets that only training needs (not exported)."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        self.tokenizer: Any = ace_step_modules.AceStepAudioTokenizer(**config.tokenizer_config())
        self.detokenizer: Any = ace_step_modules.AceStepAudioTokenDetokenizer(**config.detokenizer_config())
        self.target_encoder = nn.Sequential(
            nn.Linear(config.pool * config.latent_channels, 512), nn.SiLU(), nn.Linear(512, 256), nn.SiLU(),
            nn.Linear(256, config.code_width),
        )  # fmt: skip
        self.pool = config.pool
        self._codebook: tuple[Tensor, Tensor] | None = None  # computed once the codes are trained
        with torch.no_grad():
            self.detokenizer.proj_out.weight.mul_(0.2)

    def encode_targets(self, targets: Tensor) -> Tensor:
        """Encode note targets [batch, frames, channels] to unquantised codes [batch, codes, width]."""
        encoded: Tensor = self.target_encoder(targets.unflatten(1, (-1, self.pool)).flatten(2))
        return encoded

    def forward(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Note targets [batch, frames, channels] through the codes and back: (rebuilt targets, indices [batch, codes])."""
        quantised, indices = self.tokenizer.quantizer(self.encode_targets(targets))
        return self.detokenizer(quantised), indices[..., 0]

    @torch.no_grad()
    def nearest_codes(self, targets: Tensor) -> Tensor:
        """The codes [batch, codes] that rebuild note targets best, found by trying all of them, weighed as in training.

        The target encoder's answer is an estimate of this, good enough to train with; a finished checkpoint needs no encoder.
        """
        if self._codebook is None:
            self._codebook = self._make_codebook()
        codebook, weight = self._codebook
        wanted = (targets.unflatten(1, (-1, self.pool)) * weight).flatten(2)  # [batch, codes, numbers]
        return (codebook.square().sum(1) - 2 * wanted @ codebook.T).argmin(-1)

    def _make_codebook(self) -> tuple[Tensor, Tensor]:
        """The weighted targets of all codes [codes, numbers], and the root of each channel's weight [channels]."""
        quantizer = self.tokenizer.quantizer
        device = next(self.parameters()).device
        weight = torch.zeros(self.detokenizer.proj_out.out_features, device=device)
        for name, channels in TARGET_CHANNELS.items():
            weight[channels] = (LOSS_WEIGHTS[name] / TARGET_VARIANCE[name] / (channels.stop - channels.start)) ** 0.5
        every = torch.arange(quantizer.codebook_size, device=device)[:, None]
        targets = decode_codes(self.tokenizer, self.detokenizer, every)  # [codes, pool, channels]
        return (targets.float() * weight).flatten(1), weight

    def encode_latents(self, latents: Tensor) -> Tensor:
        """Encode latents [batch, frames, channels] to unquantised codes [batch, codes, width]."""
        windows = latents.unflatten(1, (-1, self.pool))
        pooled: Tensor = self.tokenizer.attention_pooler(self.tokenizer.audio_acoustic_proj(windows))
        return pooled


@torch.no_grad()
def decode_codes(tokenizer: Any, detokenizer: Any, indices: Tensor) -> Tensor:
    """Detokenize codes [batch, codes] to [batch, frames, channels], as the pipeline does."""
    decoded: Tensor = detokenizer(tokenizer.quantizer.get_output_from_indices(indices[..., None]))
    return decoded


def train_codes(stage: Stage, config: PocketConfig, pool: ClipPool) -> AudioCodeModel:
    """Train target encoder, quantizer and detokenizer on note targets; codes taken from a finished checkpoint stay as they are."""
    torch.manual_seed(2)
    code_model = AudioCodeModel(config).to(stage.device)
    saved = stage.load()
    if saved:
        code_model.load_state_dict(saved["code_model"])
        if saved.get("final"):
            return code_model.eval()
    rounding = StraightThroughRounding(code_model.tokenizer.quantizer)
    trained = [
        *code_model.target_encoder.parameters(),
        *code_model.tokenizer.quantizer.parameters(),
        *code_model.detokenizer.parameters(),
    ]
    optimiser, log_interval = torch.optim.AdamW(trained, PEAK_LEARNING_RATE, weight_decay=1e-2), Interval(15)
    for _ in stage.steps():
        set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE))
        rounding.share = min(1.0, 4 * stage.fraction)
        targets = _stacked(pool, 80 if stage.device == "cpu" else 2000, stage.device)[1]
        with fast_precision(stage.device, short_rows=True):
            rebuilt, indices = code_model(targets)
        errors = relative_errors(rebuilt.float(), targets)
        (_weighted(errors) + 2 * rounding.spread_loss).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if log_interval.due(stage.elapsed):
            stage.log(**{name: 1 - value.detach() for name, value in errors.items()}, **codebook_usage(indices))
    code_model.tokenizer.quantizer._quantize = rounding.plain
    stage.save(code_model=code_model.state_dict())
    return code_model.eval()


def train_audio_tokenizer(stage: Stage, code_model: AudioCodeModel, pool: ClipPool) -> AudioCodeModel:
    """Train the audio tokenizer's pooler to find in latents the codes that give the note targets back."""
    torch.manual_seed(3)
    code_model.to(stage.device).requires_grad_(False)
    trained = [
        *code_model.tokenizer.attention_pooler.parameters(),
        *code_model.tokenizer.audio_acoustic_proj.parameters(),
    ]
    for parameter in trained:
        parameter.requires_grad_(True)
    rounding = StraightThroughRounding(code_model.tokenizer.quantizer)
    optimiser = torch.optim.AdamW(trained, PEAK_LEARNING_RATE, weight_decay=1e-2)
    log_interval, save_interval = Interval(30), Interval(60)
    saved, averages = stage.load(), dict[str, float]()
    if saved:
        code_model.tokenizer.load_state_dict(saved["tokenizer"])
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
    for _ in stage.steps():
        set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE))
        latents, targets = _stacked(pool, 60 if stage.device == "cpu" else 1500, stage.device)
        with fast_precision(stage.device, short_rows=True):
            rebuilt = code_model.detokenizer(code_model.tokenizer.quantizer(code_model.encode_latents(latents))[0])
        errors = relative_errors(rebuilt.float(), targets)
        _weighted(errors).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        for name, value in errors.items():
            averages[name] = 0.98 * averages.get(name, 1 - value.item()) + 0.02 * (1 - value.item())
        if log_interval.due(stage.elapsed):
            pool.update(1)
            stage.log(**averages)
        if save_interval.due(stage.elapsed):
            stage.save(tokenizer=code_model.tokenizer.state_dict(), optimiser=optimiser.state_dict())
    code_model.tokenizer.quantizer._quantize = rounding.plain
    stage.save(tokenizer=code_model.tokenizer.state_dict(), optimiser=optimiser.state_dict())
    return code_model.eval()


def _weighted(errors: dict[str, Tensor]) -> Tensor:
    """The sum of the errors by LOSS_WEIGHTS."""
    return sum((LOSS_WEIGHTS[name] * value for name, value in errors.items()), torch.zeros(()))


def _stacked(pool: ClipPool, budget: int, device: str) -> tuple[Tensor, Tensor]:
    """Latents and note targets of clips of one length, [batch, frames, channels] each; `budget` is in seconds of music."""
    seconds = pool.draw_length()
    clips = pool.draw(seconds, max(1, budget // seconds))
    latents, targets = [c.mix_latents for c in clips], [c.note_targets() for c in clips]
    return torch.stack(latents).float().to(device), torch.stack(targets).float().to(device)


def relative_errors(rebuilt: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The squared error of each kind of note target relative to its variance: 1 is no better than the mean."""
    return {
        name: functional.mse_loss(rebuilt[..., s], targets[..., s]) / TARGET_VARIANCE[name]
        for name, s in TARGET_CHANNELS.items()
    }


def codebook_usage(indices: Tensor) -> dict[str, float | Tensor]:
    """How many codes a batch of indices uses, and their entropy in bits."""
    counts = torch.bincount(indices.flatten().clamp_min(0), minlength=1)
    share = counts[counts > 0] / counts.sum()
    return {"codes": len(share), "bits": -(share * share.log2()).sum()}
