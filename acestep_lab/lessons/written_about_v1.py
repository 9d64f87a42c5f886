"""What two documents say of ACE-Step v1, held against what its classes say: the table of lesson 09.

A is the architecture page of AceSteps' docs, B lofi.nvim's specification. Everything is measured at true sizes on the "meta" device
(a tensor there has a shape and no numbers) or at tiny size with random numbers; no weights are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from acestep_lab._libraries import transformers
from acestep_lab.diffusion.sampler import rotate_noise
from acestep_lab.engines.ace_v1 import dcae, geometry, languages, layout, schedules
from acestep_lab.engines.ace_v1.catalog import V1
from acestep_lab.engines.ace_v1.codec import EXPORT_RATE
from acestep_lab.engines.ace_v1.linear_attention import CrossAttention, LinearAttention
from acestep_lab.engines.ace_v1.log_mel import LogMel
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from acestep_lab.train.alignment import distance

MIB, GIB, MILLION = 2**20, 2**30, 10**6
NEAR = 0.01
"""So near is right, where it is not the same to as many digits."""
KINDS = {3: "waveform", 4: "log-mel"}
"""Dimensions of the weights of a convolution over time, and of one over a picture."""
UMT5 = {"vocab_size": 256_384, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}

Value = str | float | None


@dataclass(frozen=True)
class Claim:
    """One line of the table: what it is about, what A and B say (None: nothing), and what was measured."""

    what: str
    a: Value
    b: Value
    measured: str | float
    at_least: bool = False
    """Whether what is said has to be as much as what was measured, or more."""

    def right(self, said: Value) -> bool | None:
        """Whether what a document says is so, rounded to as many digits as it has or within 1 %; None where it says nothing."""
        found = self.measured
        if said is None:
            return None
        if isinstance(said, str) or isinstance(found, str):
            return said == found
        if self.at_least:
            return said >= found
        digits = len(str(said).replace(".", "").strip("0"))
        return float(f"{found:.{max(1, digits)}g}") == said or abs(found - said) < NEAR * abs(said)

    def row(self) -> dict[str, str]:
        """The line as text, with a mark behind what was said."""
        said = {name: self._said(one) for name, one in (("A", self.a), ("B", self.b))}
        return {"": self.what, **said, "measured": _plain(self.measured)}

    def _said(self, said: Value) -> str:
        return "" if said is None else f"{_plain(said)} {'✓' if self.right(said) else '✗'}"


def claims() -> list[Claim]:
    """Every line, measured now."""
    return [*_of_the_transformer(), *_of_the_sound(), *_of_the_sizes(), *_of_the_training()]


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _numbers(module: Any) -> int:
    return sum(one.numel() for one in module.parameters())


def _of_the_transformer() -> list[Claim]:
    config = geometry.V1Config()
    with torch.device("meta"):
        dit = AceStepV1Transformer(config, projectors=True)
    block: Any = dit.transformer_blocks[0]
    kinds = [type(one).__name__ for one in dit.modules() if isinstance(one, LinearAttention | CrossAttention)]
    return [
        Claim("width of a token", 1536, 2560, block.attn.to_q.in_features),
        Claim("attention heads", 24, 20, block.attn.heads),
        Claim("numbers in a head", 64, 128, block.attn.to_q.out_features // block.attn.heads),
        Claim("blocks", 24, 24, len(dit.transformer_blocks)),
        Claim("its network widens by", 4, 2.5, block.ff.point_conv.conv.in_features / config.dim),
        Claim("frames its network hears", 1, None, _frames_heard()),
        Claim("attentions that are linear, of 48", 48, None, kinds.count("LinearAttention")),
        Claim("what scales and shifts a block follows", "time and text", None, " and ".join(_followed())),
        Claim("width of the text encoder's states", 1024, 768, dit.genre_embedder.in_features),
        Claim("width of the lyric encoder", None, 1024, dit.lyric_embs.embedding_dim),
    ]


def _small() -> AceStepV1Transformer:
    torch.manual_seed(0)
    return AceStepV1Transformer(geometry.V1Config.tiny()).eval()


@torch.inference_mode()
def _frames_heard() -> int:
    """How many frames of a block's network move when one frame of what goes in does."""
    small = _small()
    block: Any = small.transformer_blocks[0]
    one, other = torch.zeros(1, 9, small.config.dim), torch.zeros(1, 9, small.config.dim)
    other[:, 4] = 1
    return int(((block.ff(one, None) - block.ff(other, None)).abs().sum(-1) > 0).sum())


@torch.inference_mode()
def _followed() -> list[str]:
    """What changes the numbers that scale and shift all blocks: another time, other words."""
    small, told = _small(), []
    small.t_block.register_forward_hook(lambda _, __, found: told.append(found))
    states = torch.randn(2, 1, 5, small.config.dim)
    for t, condition in ((0.5, states[0]), (0.7, states[0]), (0.5, states[1])):
        small.velocity(torch.ones(1, 8, 16, 4), torch.tensor([t]), condition, torch.ones(1, 5, dtype=torch.bool))
    return [what for what, now in (("time", told[1]), ("text", told[2])) if not torch.equal(now, told[0])]


def _of_the_sound() -> list[Claim]:
    mel = LogMel()
    with torch.device("meta"), torch.no_grad():
        codec: Any = dcae.build().eval()
        latent = codec.encode(torch.empty(1, 2, mel.bands, 80)).latent
        picture = codec.decode(latent).sample
    _, channels, heights, columns = latent.shape
    frames = picture.shape[-1] // columns
    reads, gives = (KINDS[conv.weight.ndim] for conv in (codec.encoder.conv_in, codec.decoder.conv_out))
    return [
        Claim("channels of a latent", 16, 8, channels),
        Claim("rows of a latent", None, 16, heights),
        Claim("latent frames in 30 s", 41_000, None, geometry.frames_of(30)),
        Claim("samples in a latent frame", 32, None, mel.hop * frames),
        Claim("mel frames in a latent frame", None, 8, frames),
        Claim("the autoencoder's encoder reads", "waveform", "waveform", reads),
        Claim("its decoder gives", "waveform", "log-mel", gives),
        Claim("samples a second inside", 44_100, 44_100, mel.rate),
        Claim("samples a second handed out", 44_100, 48_000, EXPORT_RATE),
    ]


def _of_the_sizes() -> list[Claim]:
    config = geometry.V1Config()
    with torch.device("meta"):
        dit, codec, vocoder = AceStepV1Transformer(config, projectors=True), dcae.build(), Vocoder(VocoderConfig())
        words = transformers.UMT5EncoderModel(transformers.UMT5Config(**UMT5))
    stored = {name: tuple(one.shape) for name, one in dit.state_dict().items()} | layout.uncalled(config)
    in_file = sum(int(np.prod(shape)) for shape in stored.values())
    whole = 2 * (in_file + _numbers(codec) + _numbers(vocoder)) + 4 * _numbers(words)  # UMT5 is stored in float32
    return [
        Claim("autoencoder, million numbers", None, 100, _numbers(codec) / MILLION),
        Claim("autoencoder, MiB", None, 299, 2 * _numbers(codec) / MIB),
        Claim("vocoder, million numbers", None, 50, _numbers(vocoder) / MILLION),
        Claim("vocoder, MiB", None, 197, 2 * _numbers(vocoder) / MIB),
        Claim("transformer, billion numbers", None, 3.5, in_file / 10**9),
        Claim("transformer, GiB", None, 6.2, 2 * in_file / GIB),
        Claim("text encoder, million numbers", None, 300, _numbers(words) / MILLION),
        Claim("all four, GiB", None, 7.7, whole / GIB),
        Claim("GiB on a card that holds one part at a time", 8, 1, max(V1.sizes.values()) / GIB, at_least=True),
    ]


def _of_the_training() -> list[Claim]:
    torch.manual_seed(0)
    first, second = torch.randn(2, 100_000)
    mixed, rotated = float((0.5 * first + 0.5 * second).std()), float(rotate_noise(first, second, 0.5).std())
    features = torch.randn(50, 8)
    squares = round(float((features**2).mean()), 2)
    return [
        Claim("languages it sings", 19, None, len(languages.NAMES)),
        Claim("steps where nothing is said", 27, 27, schedules.USUAL.steps or 0),
        Claim("spread of a variation's start, by its formula", round(mixed, 2), None, rotated),
        Claim("REPA loss of features and their double", squares, None, float(distance(features, 2 * features))),
    ]
