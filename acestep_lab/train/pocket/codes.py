"""Five codes a second: a word out of a thousand for a fifth of a second of music, and back to what can be heard in it.

Two lessons. First the words themselves: note sheets (`heard.py`) are squeezed through a code and rebuilt, so that ten bits keep
what they can of harmony, bass, drums and entries. Then the ears: the tokenizer learns to hear in latents the codes that give the
sheet back. That order matters: latents carry phase, pitch is hard to hear in them, and a pair trained from latents alone ends with
codes that mean loudness.
"""

from __future__ import annotations

import torch
from diffusers.pipelines.ace_step.modeling_ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.train.pocket.stage import Every, Stage, quick, set_rate
from acestep_lab.train.pocket.clips import ClipPool
from acestep_lab.train.pocket.note_targets import KINDS
from acestep_lab.train.pocket.config import Shapes

PEAK = 1.5e-3
WEIGHTS = {"chroma": 1.0, "bass": 0.7, "drums": 2.8, "entries": 1.2, "lead": 0.05}
"""Rhythm first: the transformer obeys a key from the words alone, but never found the beat without codes that carry it."""
USUAL = {
    "chroma": 0.60,
    "bass": 0.095,
    "drums": 0.134,
    "entries": 0.64,
    "lead": 0.665,
}  # variance of each kind over 96 songs


class Rounding:
    """Straight-through rounding: the class rounds with `floor`, whose gradient is zero everywhere.

    Only a share of the numbers is rounded at first; with all of them rounded from the start the pair learns to ignore them.
    """

    def __init__(self, quantizer: nn.Module) -> None:
        self.plain, self.share = quantizer._quantize, 1.0
        self.crowding = torch.zeros(())
        quantizer._quantize = self

    def __call__(self, x: Tensor) -> Tensor:
        """Values on the grid (or not yet), with the gradient of the values as they came."""
        self.crowding = crowding(x.flatten(0, -2))
        rounded = self.plain(x)
        if self.share < 1:
            rounded = torch.where(torch.rand_like(x) < self.share, rounded, x.clamp(-1, 1))
        return x + (rounded - x).detach()


def crowding(x: Tensor) -> Tensor:
    """How far numbers [items, dimensions] in -1..1 are from filling their cube: sorted against an even row, and correlations.

    Without it the tanh before the rounding saturates in the first hundred steps and every song gets the same code.
    """
    even = torch.linspace(-1, 1, len(x), device=x.device)[:, None]
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    crossed = covariance - torch.diag(torch.diagonal(covariance))
    return 4 * (x.sort(dim=0).values - even).square().mean() + crossed.square().sum()


class Codec5(nn.Module):
    """Tokenizer and detokenizer, and the scribe that reads note sheets; the scribe is not exported."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.tokenizer = AceStepAudioTokenizer(**shapes.tokenizer_config())
        self.detokenizer = AceStepAudioTokenDetokenizer(**shapes.detokenizer_config())
        self.scribe = nn.Sequential(
            nn.Linear(shapes.pool * shapes.latent_channels, 512), nn.SiLU(), nn.Linear(512, 256), nn.SiLU(),
            nn.Linear(256, shapes.code_width),
        )  # fmt: skip
        self.pool = shapes.pool
        self._words: tuple[Tensor, Tensor] | None = None  # what all codes stand for, once training them is over
        with torch.no_grad():
            self.detokenizer.proj_out.weight.mul_(0.2)

    def read(self, sheet: Tensor) -> Tensor:
        """What the scribe makes of a sheet [batch, frames, channels]: [batch, codes, width]."""
        return self.scribe(sheet.unflatten(1, (-1, self.pool)).flatten(2))

    def forward(self, sheet: Tensor) -> tuple[Tensor, Tensor]:
        """A sheet through the codes: (rebuilt sheet, indices [batch, codes])."""
        quantised, indices = self.tokenizer.quantizer(self.read(sheet))
        return self.detokenizer(quantised), indices[..., 0]

    @torch.no_grad()
    def true_codes(self, sheet: Tensor) -> Tensor:
        """Indices [batch, codes] of note sheets: of all codes, the one whose own sheet misses least, weighed as in training.

        The scribe's answer is a guess at this, good enough to learn from; a finished checkpoint has no scribe and needs none.
        """
        if self._words is None:
            self._words = self._dictionary()
        words, weight = self._words
        asked = (sheet.unflatten(1, (-1, self.pool)) * weight).flatten(2)  # [batch, codes, numbers]
        return (words.square().sum(1) - 2 * asked @ words.T).argmin(-1)

    def _dictionary(self) -> tuple[Tensor, Tensor]:
        """The weighted sheets of all codes [codes, numbers], and the root of each channel's weight [channels]."""
        quantizer = self.tokenizer.quantizer
        device = next(self.parameters()).device
        weight = torch.zeros(self.detokenizer.proj_out.out_features, device=device)
        for name, channels in KINDS.items():
            weight[channels] = (WEIGHTS[name] / USUAL[name] / (channels.stop - channels.start)) ** 0.5
        every = torch.arange(quantizer.codebook_size, device=device)[:, None]
        sheets = hints(self.tokenizer, self.detokenizer, every)  # [codes, pool, channels]
        return (sheets.float() * weight).flatten(1), weight

    def hear(self, latents: Tensor) -> Tensor:
        """What the tokenizer makes of latents [batch, frames, channels] before it rounds: [batch, codes, width]."""
        windows = latents.unflatten(1, (-1, self.pool))
        return self.tokenizer.attention_pooler(self.tokenizer.audio_acoustic_proj(windows))


@torch.no_grad()
def code_indices(tokenizer: nn.Module, latents: Tensor) -> Tensor:
    """Indices [batch, codes] as heard in latents [batch, frames, channels]."""
    return tokenizer.tokenize(latents)[1][..., 0]


@torch.no_grad()
def hints(tokenizer: nn.Module, detokenizer: nn.Module, indices: Tensor) -> Tensor:
    """The sheet [batch, frames, channels] that codes stand for, as the pipeline makes it."""
    return detokenizer(tokenizer.quantizer.get_output_from_indices(indices[..., None]))


def train_codes(stage: Stage, shapes: Shapes, pool: ClipPool) -> Codec5:
    """The words: scribe, quantiser and detokenizer on note sheets. Codes that came from a finished checkpoint stay as they are."""
    torch.manual_seed(2)
    codec = Codec5(shapes).to(stage.device)
    kept = stage.load()
    if kept:
        codec.load_state_dict(kept["codec"])
        if kept.get("final"):
            return codec.eval()
    rounding = Rounding(codec.tokenizer.quantizer)
    learners = [*codec.scribe.parameters(), *codec.tokenizer.quantizer.parameters(), *codec.detokenizer.parameters()]
    optimiser, look = torch.optim.AdamW(learners, PEAK, weight_decay=1e-2), Every(15)
    for _ in stage.steps():
        set_rate(optimiser, stage.rate(PEAK))
        rounding.share = min(1.0, 4 * stage.fraction)
        sheet = _stacked(pool, 80 if stage.device == "cpu" else 2000, stage.device)[1]
        with quick(stage.device, short_rows=True):
            made, indices = codec(sheet)
        missed = missing(made.float(), sheet)
        (sum(WEIGHTS[name] * value for name, value in missed.items()) + 2 * rounding.crowding).backward()
        torch.nn.utils.clip_grad_norm_(learners, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if look.due(stage.spent):
            stage.log(**{name: 1 - value.detach() for name, value in missed.items()}, **usage(indices))
    codec.tokenizer.quantizer._quantize = rounding.plain
    stage.save(codec=codec.state_dict())
    return codec.eval()


def train_ears(stage: Stage, codec: Codec5, pool: ClipPool) -> Codec5:
    """The ears: the tokenizer's pooler learns to hear in latents what, through the codes, gives the sheet back."""
    torch.manual_seed(3)
    codec.to(stage.device).requires_grad_(False)
    learners = [*codec.tokenizer.attention_pooler.parameters(), *codec.tokenizer.audio_acoustic_proj.parameters()]
    for parameter in learners:
        parameter.requires_grad_(True)
    rounding = Rounding(codec.tokenizer.quantizer)
    optimiser, look, keep = torch.optim.AdamW(learners, PEAK, weight_decay=1e-2), Every(30), Every(60)
    kept, smooth = stage.load(), dict[str, float]()
    if kept:
        codec.tokenizer.load_state_dict(kept["tokenizer"])
        if "optimiser" in kept:
            optimiser.load_state_dict(kept["optimiser"])
    for _ in stage.steps():
        set_rate(optimiser, stage.rate(PEAK))
        latents, sheet = _stacked(pool, 60 if stage.device == "cpu" else 1500, stage.device)
        with quick(stage.device, short_rows=True):
            made = codec.detokenizer(codec.tokenizer.quantizer(codec.hear(latents))[0])
        missed = missing(made.float(), sheet)
        sum(WEIGHTS[name] * value for name, value in missed.items()).backward()
        torch.nn.utils.clip_grad_norm_(learners, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        for name, value in missed.items():
            smooth[name] = 0.98 * smooth.get(name, 1 - value.item()) + 0.02 * (1 - value.item())
        if look.due(stage.spent):
            pool.update(1)
            stage.log(**smooth)
        if keep.due(stage.spent):
            stage.save(tokenizer=codec.tokenizer.state_dict(), optimiser=optimiser.state_dict())
    codec.tokenizer.quantizer._quantize = rounding.plain
    stage.save(tokenizer=codec.tokenizer.state_dict(), optimiser=optimiser.state_dict())
    return codec.eval()


def _stacked(pool: ClipPool, budget: int, device: str) -> tuple[Tensor, Tensor]:
    """Latents and note sheets of clips of one length, [batch, frames, channels] each."""
    seconds = pool.length()
    clips = pool.draw(seconds, max(1, budget // seconds))
    return torch.stack([c.mix for c in clips]).float().to(device), torch.stack([c.sheet() for c in clips]).float().to(
        device
    )


def missing(made: Tensor, sheet: Tensor) -> dict[str, Tensor]:
    """What is missing of each kind of thing on the sheet, relative to how much it varies."""
    return {name: functional.mse_loss(made[..., s], sheet[..., s]) / USUAL[name] for name, s in KINDS.items()}


def usage(indices: Tensor) -> dict[str, float | Tensor]:
    """How many codes were used, and their entropy in bits."""
    counts = torch.bincount(indices.flatten().clamp_min(0), minlength=1)
    share = counts[counts > 0] / counts.sum()
    return {"codes": len(share), "bits": -(share * share.log2()).sum()}
