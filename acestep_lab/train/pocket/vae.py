"""The autoencoder: sound to 100 latent frames a second and back. Knows waveforms, no songs.

Two ideas make it learnable within minutes on a CPU. The full-rate stages are exact identities, so training touches one long
strided filterbank instead of many convolutions over every sample; and that filterbank starts as an MDCT + MDST, so pitch is
there from the first step instead of having to be learnt. `export_vae` writes the result into the plain `AutoencoderOobleck`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import diffusers, oobleck
from acestep_lab.train.pocket.config import PocketConfig

if TYPE_CHECKING:
    from diffusers import AutoencoderOobleck

ACTIVE_CHANNELS = 4  # channels of the last decoder stage in use; the others stay zero, for speed
IDENTITY_ALPHA = -15.0  # a Snake whose log frequency is this low is the identity in single precision
WINDOWS = (4096, 2048, 512, 128)  # samples, of the spectral loss

M = TypeVar("M", bound=nn.Module)


class FastSnake(torch.autograd.Function):
    """The Snake activation x + sin²(a·x)/b with a hand-written backward pass; autograd's own moves four times the memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """The activation of x [batch, channels, frames]; `alpha` and `beta` [1, channels, 1] are logarithms of a and b."""
        a, b = alpha.exp(), (beta.exp() + 1e-9).reciprocal()
        phase = x * a
        ctx.save_for_backward(phase, a, b, beta)
        return torch.addcmul(x, torch.sin(phase).square_(), b.expand_as(x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x, `alpha` and `beta`."""
        phase, a, b, beta = ctx.saved_tensors
        turn = torch.sin(phase * 2).mul_(grad)  # d sin²(p)/dp = sin 2p
        to_alpha = (turn * phase).sum((0, 2), keepdim=True) * b
        lift = (grad * torch.sin(phase).square_()).sum((0, 2), keepdim=True)
        return torch.addcmul(grad, turn, (a * b).expand_as(turn)), to_alpha, -lift * b * b * beta.exp()


def use_fast_snake(module: M) -> M:
    """Let every Snake of `module` compute with `FastSnake`, in place; its values stay the same."""
    for child in module.modules():
        if isinstance(child, oobleck.Snake1d):
            setattr(child, "forward", partial(_fast_forward, child))  # noqa: B010 (mypy refuses to assign to a method)
    return module


def _fast_forward(snake: Any, x: Tensor) -> Tensor:
    activated: Tensor = FastSnake.apply(x, snake.alpha, snake.beta)
    return activated


def lapped_transform(size: int) -> tuple[Tensor, Tensor]:
    """Rows of an MDCT and of an MDST with a sine window: [size, 2·size] each (Princen & Bradley 1986)."""
    n = torch.arange(2 * size) + 0.5
    k = torch.arange(size)[:, None] + 0.5
    angle = math.pi / size * (n + size / 2) * k
    window = torch.sin(math.pi * n / (2 * size)) * math.sqrt(2 / size)
    return window * torch.cos(angle), window * torch.sin(angle)


class PocketVae(nn.Module):
    """The autoencoder as it is trained: `AutoencoderOobleck` without the stages that are identities."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        first, second = config.ratios
        wide, deep = (2 * config.latent_channels * m for m in config.channel_multiples)
        slim, broad = (config.decoder_channels * m for m in config.channel_multiples)
        self.front: Any = nn.Conv1d(1, wide, 2 * first, first, padding=first // 2)
        self.down: Any = oobleck.OobleckEncoderBlock(wide, deep, second)
        self.down_snake: Any = oobleck.Snake1d(deep)
        self.to_latent: Any = nn.Conv1d(deep, 2 * config.latent_channels, 3, padding=1)
        self.from_latent: Any = nn.Conv1d(config.latent_channels, broad, 7, padding=3)
        self.up: Any = oobleck.OobleckDecoderBlock(broad, slim, second)
        self.up_snake: Any = oobleck.Snake1d(slim)
        self.back: Any = nn.ConvTranspose1d(slim, ACTIVE_CHANNELS, 2 * first, first, padding=first // 2)
        self.out_snake: Any = oobleck.Snake1d(ACTIVE_CHANNELS)
        self.out: Any = nn.Conv1d(ACTIVE_CHANNELS, 1, 7, padding=3, bias=False)
        self._init_weights(first)

    @torch.no_grad()
    def _init_weights(self, size: int) -> None:
        """Initialise as a lapped transform in and out, with small residual corrections around it."""
        cosine, sine = lapped_transform(size)
        self.front.weight.mul_(0.3)
        self.front.weight[: 2 * size, 0] = torch.cat([cosine, sine])
        self.back.weight.mul_(0.1)
        self.back.weight[:, 0] = 0
        self.back.weight[:size, 0] = cosine
        self.out.weight.mul_(0.1)[0, 0] = functional.one_hot(torch.tensor(3), 7).float()
        self.out_snake.alpha.fill_(-3)
        self._init_passthrough()
        for name, tensor in self.named_parameters():
            if "res_unit" in name and "conv2" in name and name.endswith("weight_g"):
                tensor.mul_(0.15)
            if name in ("front.bias", "back.bias"):
                tensor.zero_()

    def _init_passthrough(self) -> None:
        """Initialise the middle to pass the lowest bands of a latent's two short frames straight through to the decoder."""
        channels, half = self.from_latent.in_channels, self.from_latent.in_channels // 2
        for conv in (self.down.conv1, self.to_latent, self.from_latent, self.up.conv_t1):
            (conv.weight_v if hasattr(conv, "weight_v") else conv.weight).mul_(0.3)
        for channel in range(channels):
            frame, band = divmod(channel, half)
            self.down.conv1.weight_v[channel, band, 1 + frame] = 1
            self.to_latent.weight[channel, channel, 1] = 1
            self.from_latent.weight[channel, channel, 3] = 1
            self.up.conv_t1.weight_v[channel, band, 1 + frame] = 1
        for conv in (self.down.conv1, self.up.conv_t1):
            conv.weight_g.copy_(conv.weight_v.flatten(1).norm(dim=1).view(-1, 1, 1))
        self.to_latent.bias[channels:] = -3

    def moments(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents of `sound` [batch, 1, samples], each [batch, channels, frames]."""
        mean, scale = self.to_latent(self.down_snake(self.down(self.front(sound)))).float().chunk(2, dim=1)
        return mean, functional.softplus(scale) + 1e-4

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents [batch, channels, frames] to sound [batch, 1, samples]."""
        hidden = self.back(self.up_snake(self.up(self.from_latent(latent))))
        sound: Tensor = self.out(self.out_snake(hidden.float()))
        return sound

    def forward(self, sound: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sound [batch, 1, samples] rebuilt from a sampled latent, and the KL divergence from N(0, 1) per frame (times two)."""
        mean, std = self.moments(sound)
        divergence = (mean.square() + std.square() - 2 * std.log() - 1).sum(1).mean()
        return self.decode(mean + std * noise), divergence


class SpectralLoss(nn.Module):
    """Spectral convergence + log magnitude at four window lengths (Yamamoto et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        for size in WINDOWS:
            self.register_buffer(f"window{size}", torch.hann_window(size))

    def _magnitude(self, sound: Tensor, size: int) -> Tensor:
        bins = torch.stft(
            sound[:, 0],
            size,
            size // 4,
            window=getattr(self, f"window{size}"),
            normalized=True,
            return_complex=True,
            pad_mode="constant",
        )
        return torch.view_as_real(bins).square().sum(-1).add(1e-9).sqrt()

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """The loss between two batches of sound [batch, 1, samples], one number."""
        total = estimate.new_zeros(())
        for size in WINDOWS:
            a, b = self._magnitude(estimate, size), self._magnitude(reference, size)
            convergence = (a - b).norm() / b.norm().clamp_min(1e-3)
            total = total + convergence + ((a + 1e-3).log() - (b + 1e-3).log()).abs().mean()
        return total / len(WINDOWS)


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB per item (Le Roux et al. 2019); `[batch, samples]` each."""
    reference, estimate = reference - reference.mean(-1, keepdim=True), estimate - estimate.mean(-1, keepdim=True)
    target = (
        (estimate * reference).sum(-1, keepdim=True)
        / reference.square().sum(-1, keepdim=True).clamp_min(1e-9)
        * reference
    )
    return 10 * torch.log10(target.square().sum(-1) / (estimate - target).square().sum(-1).clamp_min(1e-9))


def log_spectral_distance(estimate: Tensor, reference: Tensor, size: int = 1024, floor: float = 1e-3) -> float:
    """Root mean square difference of log spectra in dB, over `[batch, samples]`."""
    window = torch.hann_window(size)
    a, b = (
        torch.stft(x, size, size // 4, window=window, normalized=True, return_complex=True).abs()
        for x in (estimate, reference)
    )
    difference = 20 * (torch.log10(a + floor) - torch.log10(b + floor))
    return float(difference.square().mean(1).sqrt().mean())


@torch.no_grad()
def standardise(vae: PocketVae, clips: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Fold each latent channel's mean and standard deviation into the convolutions around it, so that latents are about N(0, 1).

    The pipeline knows no latent scaling factor, so the autoencoder itself has to carry it. Changes `vae` in place; returns mean and
    standard deviation [channels].
    """
    frames = torch.cat([vae.moments(clip)[0].transpose(1, 2).flatten(0, 1) for clip in clips])  # [frames, channels]
    mean, std = frames.mean(0), frames.std(0)
    half = len(mean)
    # softplus(s) ≈ exp(s) for the small posterior widths here, so dividing the width is a shift of s
    vae.to_latent.weight[:half] /= std[:, None, None]
    vae.to_latent.bias[:half] = (vae.to_latent.bias[:half] - mean) / std
    vae.to_latent.bias[half:] -= std.log()
    inner = vae.from_latent
    inner.bias += (inner.weight.sum(2) * mean).sum(1)
    inner.weight *= std[None, :, None]
    return mean, std


def _set_weight(conv: Any, weight: Tensor, bias: Tensor | None) -> None:
    """Write a plain weight into a weight-normalised convolution; rows of zeros get length zero, not 0/0."""
    norm = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
    conv.weight_g.copy_(norm)
    conv.weight_v.copy_(torch.where(norm > 0, weight, torch.ones_like(weight)))
    if conv.bias is not None:
        conv.bias.copy_(torch.zeros_like(conv.bias) if bias is None else bias)


def _make_identity(block: Any) -> None:
    """Make a block's residual units exact identities."""
    for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
        unit.conv2.weight_g.zero_()
        unit.conv2.bias.zero_()


@torch.no_grad()
def export_vae(vae: PocketVae, config: PocketConfig) -> AutoencoderOobleck:
    """Export the trained autoencoder to the class of diffusers; the stages left out in training come back as identities."""
    published: Any = diffusers.AutoencoderOobleck(**config.vae_config())
    _export_encoder(vae, published.encoder)
    _export_decoder(vae, published.decoder)
    exported: AutoencoderOobleck = published.eval()
    return exported


@torch.no_grad()
def import_vae(published: Any, config: PocketConfig) -> PocketVae:
    """The inverse of `export_vae`: a published `AutoencoderOobleck` in the form in which it is trained."""
    vae = PocketVae(config)
    encoder, decoder = published.encoder, published.decoder
    (narrow, second), (first, last) = encoder.block, decoder.block
    vae.front.weight.copy_(_plain(narrow.conv1)[:, :1])
    vae.front.bias.copy_(narrow.conv1.bias)
    vae.down.load_state_dict(second.state_dict())
    vae.down_snake.load_state_dict(encoder.snake1.state_dict())
    vae.to_latent.weight.copy_(_plain(encoder.conv2))
    vae.to_latent.bias.copy_(encoder.conv2.bias)
    vae.from_latent.weight.copy_(_plain(decoder.conv1))
    vae.from_latent.bias.copy_(decoder.conv1.bias)
    vae.up.load_state_dict(first.state_dict())
    vae.up_snake.load_state_dict(last.snake1.state_dict())
    vae.back.weight.copy_(_plain(last.conv_t1)[:, :ACTIVE_CHANNELS])
    vae.back.bias.copy_(last.conv_t1.bias[:ACTIVE_CHANNELS])
    vae.out_snake.alpha.copy_(decoder.snake1.alpha[:, :ACTIVE_CHANNELS])
    vae.out_snake.beta.copy_(decoder.snake1.beta[:, :ACTIVE_CHANNELS])
    vae.out.weight.copy_(_plain(decoder.conv2)[:, :ACTIVE_CHANNELS])
    return vae.eval()


def _plain(conv: Any) -> Tensor:
    """The weight that a weight-normalised convolution works with."""
    weight: Tensor = conv.weight_v * (conv.weight_g / conv.weight_v.flatten(1).norm(dim=1).view(-1, 1, 1))
    return weight


def _export_encoder(vae: PocketVae, encoder: Any) -> None:
    width = encoder.conv1.weight_v.shape[0]
    copy = torch.zeros(width, 1, 7)
    copy[0, 0, 3] = 1
    _set_weight(encoder.conv1, copy, None)
    first, second = encoder.block
    _make_identity(first)
    first.snake1.alpha.fill_(IDENTITY_ALPHA)
    spread = torch.zeros(first.conv1.weight_v.shape)
    spread[:, :1] = vae.front.weight
    _set_weight(first.conv1, spread, vae.front.bias)
    second.load_state_dict(vae.down.state_dict())
    encoder.snake1.load_state_dict(vae.down_snake.state_dict())
    _set_weight(encoder.conv2, vae.to_latent.weight, vae.to_latent.bias)


def _export_decoder(vae: PocketVae, decoder: Any) -> None:
    _set_weight(decoder.conv1, vae.from_latent.weight, vae.from_latent.bias)
    first, last = decoder.block
    first.load_state_dict(vae.up.state_dict())
    _make_identity(last)
    last.snake1.load_state_dict(vae.up_snake.state_dict())
    _set_weight(
        last.conv_t1,
        _zero_padded(vae.back.weight, last.conv_t1.weight_v),
        _zero_padded(vae.back.bias, last.conv_t1.bias, 0),
    )
    decoder.snake1.alpha.fill_(IDENTITY_ALPHA)[:, :ACTIVE_CHANNELS] = vae.out_snake.alpha
    decoder.snake1.beta[:, :ACTIVE_CHANNELS] = vae.out_snake.beta
    _set_weight(decoder.conv2, _zero_padded(vae.out.weight, decoder.conv2.weight_v), None)


def _zero_padded(weight: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """`weight` padded with zeros along `axis` to the shape of `like`."""
    wide = torch.zeros(like.shape)
    wide.narrow(axis, 0, weight.shape[axis]).copy_(weight)
    return wide
