"""Five codes a second: latents to a word out of a thousand and back, with harmony and onsets kept on purpose.

Plain reconstruction spends the ten bits on loudness. Two small heads, thrown away afterwards, ask every code for the chroma,
the bass note and the onsets inside its fifth of a second, so that a cover keeps what makes it the same song.
"""

from __future__ import annotations

import types

import torch
from diffusers.pipelines.ace_step.modeling_ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.train.pocket.bench import Every, Stage, set_rate
from acestep_lab.train.pocket.clips import SLOTS, ClipPool
from acestep_lab.train.pocket.shapes import Shapes

PEAK = 2e-3
HEARD = 24 + SLOTS  # chroma, bass chroma, onsets


def let_gradients_through(quantizer: nn.Module) -> None:
    """Straight-through rounding: the class rounds with `floor`, whose gradient is zero everywhere."""
    plain = quantizer._quantize
    quantizer._quantize = types.MethodType(lambda self, x: x + (plain(x) - x).detach(), quantizer)


class Codec5(nn.Module):
    """Tokenizer, detokenizer, and the head that is only there to teach."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.tokenizer = AceStepAudioTokenizer(**shapes.tokenizer_config())
        self.detokenizer = AceStepAudioTokenDetokenizer(**shapes.detokenizer_config())
        self.head = nn.Sequential(nn.Linear(shapes.code_width, 256), nn.SiLU(), nn.Linear(256, HEARD))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [batch, frames, channels] as (reconstruction, indices [batch, codes], heard [batch, codes, HEARD])."""
        quantised, indices = self.tokenizer.tokenize(latents)
        return self.detokenizer(quantised), indices[..., 0], self.head(quantised)


@torch.no_grad()
def code_indices(tokenizer: nn.Module, latents: Tensor) -> Tensor:
    """Indices [batch, codes] of latents [batch, frames, channels]."""
    return tokenizer.tokenize(latents)[1][..., 0]


@torch.no_grad()
def hints(tokenizer: nn.Module, detokenizer: nn.Module, indices: Tensor) -> Tensor:
    """The latents [batch, frames, channels] that codes stand for, as the pipeline makes them."""
    return detokenizer(tokenizer.quantizer.get_output_from_indices(indices[..., None]))


def train_codes(stage: Stage, shapes: Shapes, pool: ClipPool) -> Codec5:
    """Train tokenizer and detokenizer until the box is used up."""
    torch.manual_seed(2)
    codec = Codec5(shapes).to(stage.device)
    let_gradients_through(codec.tokenizer.quantizer)
    optimiser = torch.optim.AdamW(codec.parameters(), PEAK, weight_decay=1e-2)
    kept = stage.load()
    if kept:
        codec.load_state_dict(kept["codec"])
        optimiser.load_state_dict(kept["optimiser"])
    look = Every(30)
    for _ in stage.steps():
        set_rate(optimiser, stage.rate(PEAK))
        latents, heard = _batch(pool, stage.device)
        loss, figures = _loss(codec, latents, heard)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if look.due(stage.spent):
            pool.update(1)
            stage.log(**figures)
    stage.save(codec=codec.state_dict(), optimiser=optimiser.state_dict())
    stage.log(final=True, **figures)
    return codec.eval()


def _batch(pool: ClipPool, device: str) -> tuple[Tensor, Tensor]:
    seconds = pool.length()
    clips = pool.draw(seconds, max(1, (160 if device == "cpu" else 2000) // seconds))
    return torch.stack([c.mix for c in clips]).float().to(device), torch.stack([c.notes for c in clips]).to(device)


def _loss(codec: Codec5, latents: Tensor, heard: Tensor) -> tuple[Tensor, dict[str, Tensor | float]]:
    """Reconstruction + what should be heard, each relative to its variance."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        made, indices, guess = codec(latents)
    made, guess = made.float(), guess.float()
    rebuilt = functional.mse_loss(made, latents) / latents.var()
    parts = {"chroma": slice(0, 12), "bass": slice(12, 24), "onsets": slice(24, HEARD)}
    missed = {name: functional.mse_loss(guess[..., s], heard[..., s]) / heard[..., s].var() for name, s in parts.items()}
    loss = rebuilt + 0.5 * (missed["chroma"] + missed["bass"] + missed["onsets"])
    counts = torch.bincount(indices.flatten(), minlength=1)
    share = counts[counts > 0] / counts.sum()
    figures = {"explained": 1 - rebuilt.detach(), **{k: 1 - v.detach() for k, v in missed.items()}}
    return loss, figures | {"codes": len(share), "bits": -(share * share.log2()).sum()}
