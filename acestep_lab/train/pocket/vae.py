"""The autoencoder: sound to 100 latent frames a second and back. It does not know what a song is, only waveforms.

Two ideas make it learnable within minutes on a CPU. The full-rate stages are exact identities, so training touches one long
strided filterbank instead of many convolutions over every sample; and that filterbank starts as an MDCT + MDST, so pitch is
there from the first step instead of having to be discovered. `export` writes the result into the plain `AutoencoderOobleck`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from diffusers import AutoencoderOobleck
from diffusers.models.autoencoders.autoencoder_oobleck import OobleckDecoderBlock, OobleckEncoderBlock, Snake1d
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.train.pocket.config import Shapes

VOICES = 4  # channels of the last decoder stage that carry sound; the others stay zero, for speed
QUIET = -15.0  # a Snake whose log frequency is this low is the identity in single precision
WINDOWS = (4096, 2048, 512, 128)  # samples, of the spectral loss


class FastSnake(torch.autograd.Function):
    """x + sin²(a·x)/b with a hand-written backward pass: autograd's own keeps four times the memory moving."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        a, b = alpha.exp(), (beta.exp() + 1e-9).reciprocal()
        phase = x * a
        ctx.save_for_backward(phase, a, b, beta)
        return torch.addcmul(x, torch.sin(phase).square_(), b.expand_as(x))

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        phase, a, b, beta = ctx.saved_tensors
        turn = torch.sin(phase * 2).mul_(grad)  # d sin²(p)/dp = sin 2p
        to_alpha = (turn * phase).sum((0, 2), keepdim=True) * b
        lift = (grad * torch.sin(phase).square_()).sum((0, 2), keepdim=True)
        return torch.addcmul(grad, turn, (a * b).expand_as(turn)), to_alpha, -lift * b * b * beta.exp()


def use_fast_snake(module: nn.Module) -> nn.Module:
    """Give every Snake of `module` the fused passes, in place; values stay the same."""
    for part in module.modules():
        if isinstance(part, Snake1d):
            part.forward = lambda x, snake=part: FastSnake.apply(x, snake.alpha, snake.beta)
    return module


def lapped_transform(size: int) -> tuple[Tensor, Tensor]:
    """Rows of an MDCT and of an MDST with a sine window: [size, 2·size] each (Princen & Bradley 1986)."""
    n = torch.arange(2 * size) + 0.5
    k = torch.arange(size)[:, None] + 0.5
    angle = math.pi / size * (n + size / 2) * k
    window = torch.sin(math.pi * n / (2 * size)) * math.sqrt(2 / size)
    return window * torch.cos(angle), window * torch.sin(angle)


class PocketVae(nn.Module):
    """The autoencoder as it is trained: `AutoencoderOobleck` without the stages that are identities."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        first, second = shapes.ratios
        wide, deep = (2 * shapes.latent_channels * m for m in shapes.channel_multiples)
        slim, broad = (shapes.decoder_channels * m for m in shapes.channel_multiples)
        self.front = nn.Conv1d(1, wide, 2 * first, first, padding=first // 2)
        self.down = OobleckEncoderBlock(wide, deep, second)
        self.down_snake = Snake1d(deep)
        self.to_latent = nn.Conv1d(deep, 2 * shapes.latent_channels, 3, padding=1)
        self.from_latent = nn.Conv1d(shapes.latent_channels, broad, 7, padding=3)
        self.up = OobleckDecoderBlock(broad, slim, second)
        self.up_snake = Snake1d(slim)
        self.back = nn.ConvTranspose1d(slim, VOICES, 2 * first, first, padding=first // 2)
        self.out_snake = Snake1d(VOICES)
        self.out = nn.Conv1d(VOICES, 1, 7, padding=3, bias=False)
        self._start(first)

    @torch.no_grad()
    def _start(self, size: int) -> None:
        """Start as a lapped transform in and out, with small residual corrections around it."""
        cosine, sine = lapped_transform(size)
        self.front.weight.mul_(0.3)
        self.front.weight[: 2 * size, 0] = torch.cat([cosine, sine])
        self.back.weight.mul_(0.1)
        self.back.weight[:, 0] = 0
        self.back.weight[:size, 0] = cosine
        self.out.weight.mul_(0.1)[0, 0] = functional.one_hot(torch.tensor(3), 7).float()
        self.out_snake.alpha.fill_(-3)
        self._open_the_middle()
        for name, tensor in self.named_parameters():
            if "res_unit" in name and "conv2" in name and name.endswith("weight_g"):
                tensor.mul_(0.15)
            if name in ("front.bias", "back.bias"):
                tensor.zero_()

    def _open_the_middle(self) -> None:
        """Let the lowest bands of the two short frames behind a latent pass straight through to the decoder."""
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
        """Sound [batch, 1, samples] of latents [batch, channels, frames]."""
        voices = self.back(self.up_snake(self.up(self.from_latent(latent))))
        return self.out(self.out_snake(voices.float()))

    def forward(self, sound: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sound there and back through a sampled latent, and the divergence from N(0, 1) per frame."""
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

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        total = made.new_zeros(())
        for size in WINDOWS:
            a, b = self._magnitude(made, size), self._magnitude(true, size)
            convergence = (a - b).norm() / b.norm().clamp_min(1e-3)
            total = total + convergence + ((a + 1e-3).log() - (b + 1e-3).log()).abs().mean()
        return total / len(WINDOWS)


def si_sdr(made: Tensor, true: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB per item (Le Roux et al. 2019); `[batch, samples]` each."""
    true, made = true - true.mean(-1, keepdim=True), made - made.mean(-1, keepdim=True)
    target = (made * true).sum(-1, keepdim=True) / true.square().sum(-1, keepdim=True).clamp_min(1e-9) * true
    return 10 * torch.log10(target.square().sum(-1) / (made - target).square().sum(-1).clamp_min(1e-9))


def log_spectral_distance(made: Tensor, true: Tensor, size: int = 1024, floor: float = 1e-3) -> float:
    """Root mean square difference of log spectra in dB, over `[batch, samples]`."""
    window = torch.hann_window(size)
    a, b = (
        torch.stft(x, size, size // 4, window=window, normalized=True, return_complex=True).abs() for x in (made, true)
    )
    difference = 20 * (torch.log10(a + floor) - torch.log10(b + floor))
    return difference.square().mean(1).sqrt().mean().item()


@torch.no_grad()
def standardise(vae: PocketVae, clips: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Fold each latent channel's mean and spread into the convolutions around it, so that latents are about N(0, 1).

    The pipeline knows no latent scaling factor, so the autoencoder itself has to carry it.
    """
    frames = torch.cat([vae.moments(clip)[0].transpose(1, 2).flatten(0, 1) for clip in clips])  # [frames, channels]
    mean, spread = frames.mean(0), frames.std(0)
    half = len(mean)
    # softplus(s) ≈ exp(s) for the small posterior widths here, so dividing the width is a shift of s
    vae.to_latent.weight[:half] /= spread[:, None, None]
    vae.to_latent.bias[:half] = (vae.to_latent.bias[:half] - mean) / spread
    vae.to_latent.bias[half:] -= spread.log()
    inner = vae.from_latent
    inner.bias += (inner.weight.sum(2) * mean).sum(1)
    inner.weight *= spread[None, :, None]
    return mean, spread


def _fill(conv: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Write a plain weight into a weight-normalised convolution; rows of zeros get length zero, not 0/0."""
    norm = weight.flatten(1).norm(dim=1).view(-1, 1, 1)
    conv.weight_g.copy_(norm)
    conv.weight_v.copy_(torch.where(norm > 0, weight, torch.ones_like(weight)))
    if conv.bias is not None:
        conv.bias.copy_(torch.zeros_like(conv.bias) if bias is None else bias)


def _silence_units(block: nn.Module) -> None:
    """Make a block's residual units exact identities."""
    for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
        unit.conv2.weight_g.zero_()
        unit.conv2.bias.zero_()


@torch.no_grad()
def export(vae: PocketVae, shapes: Shapes) -> AutoencoderOobleck:
    """The trained autoencoder in the class that everybody loads; the dropped stages come back as identities."""
    real = AutoencoderOobleck(**shapes.vae_config())
    _export_encoder(vae, real.encoder)
    _export_decoder(vae, real.decoder)
    return real.eval()


@torch.no_grad()
def imported(real: AutoencoderOobleck, shapes: Shapes) -> PocketVae:
    """The way back from `export`: a shipped autoencoder in the form it is trained in, to go on from there."""
    vae = PocketVae(shapes)
    encoder, decoder = real.encoder, real.decoder
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
    vae.back.weight.copy_(_plain(last.conv_t1)[:, :VOICES])
    vae.back.bias.copy_(last.conv_t1.bias[:VOICES])
    vae.out_snake.alpha.copy_(decoder.snake1.alpha[:, :VOICES])
    vae.out_snake.beta.copy_(decoder.snake1.beta[:, :VOICES])
    vae.out.weight.copy_(_plain(decoder.conv2)[:, :VOICES])
    return vae.eval()


def _plain(conv: nn.Module) -> Tensor:
    """The weight that a weight-normalised convolution works with."""
    return conv.weight_v * (conv.weight_g / conv.weight_v.flatten(1).norm(dim=1).view(-1, 1, 1))


def _export_encoder(vae: PocketVae, encoder: nn.Module) -> None:
    width = encoder.conv1.weight_v.shape[0]
    copy = torch.zeros(width, 1, 7)
    copy[0, 0, 3] = 1
    _fill(encoder.conv1, copy, None)
    first, second = encoder.block
    _silence_units(first)
    first.snake1.alpha.fill_(QUIET)
    spread = torch.zeros(first.conv1.weight_v.shape)
    spread[:, :1] = vae.front.weight
    _fill(first.conv1, spread, vae.front.bias)
    second.load_state_dict(vae.down.state_dict())
    encoder.snake1.load_state_dict(vae.down_snake.state_dict())
    _fill(encoder.conv2, vae.to_latent.weight, vae.to_latent.bias)


def _export_decoder(vae: PocketVae, decoder: nn.Module) -> None:
    _fill(decoder.conv1, vae.from_latent.weight, vae.from_latent.bias)
    first, last = decoder.block
    first.load_state_dict(vae.up.state_dict())
    _silence_units(last)
    last.snake1.load_state_dict(vae.up_snake.state_dict())
    _fill(last.conv_t1, _widened(vae.back.weight, last.conv_t1.weight_v), _widened(vae.back.bias, last.conv_t1.bias, 0))
    decoder.snake1.alpha.fill_(QUIET)[:, :VOICES] = vae.out_snake.alpha
    decoder.snake1.beta[:, :VOICES] = vae.out_snake.beta
    _fill(decoder.conv2, _widened(vae.out.weight, decoder.conv2.weight_v), None)


def _widened(weight: Tensor, like: Tensor, axis: int = 1) -> Tensor:
    """`weight` with zeros for the channels that carry nothing."""
    wide = torch.zeros(like.shape)
    wide.narrow(axis, 0, weight.shape[axis]).copy_(weight)
    return wide
