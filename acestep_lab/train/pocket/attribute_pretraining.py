"""Attribute pretraining: from the mean of a prompt's states, stems, sounds, style, tempo, key and meter have to be predictable.

Without it the transformer ignored the prompt for fourteen hundred steps: a prompt is a hundred tokens of which ten differ from song
to song, and cross-attention begins as a plain average. So that average is made informative first, in two minutes and without any
sound, and the same losses keep it so while the transformer learns.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab.prompt.vocabulary import STEMS, TIMESIGNATURES, key_parts
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.stage import Interval, Stage, fast_precision, set_learning_rate
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.synthetic_music import Song
from acestep_lab.train.synthetic_music.patches import PATCHES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PEAK_LEARNING_RATE = 2e-3
STYLES, SOUND_NAMES = sorted(synthetic_music.STYLES), sorted(PATCHES)
TEMPO_BINS, SLOWEST, FASTEST = 48, 40.0, 240.0


def tempo_distribution(bpm: float) -> Tensor:
    """A soft one-hot vector of a tempo on a logarithmic scale, [TEMPO_BINS], summing to one."""
    centre = TEMPO_BINS * math.log(bpm / SLOWEST) / math.log(FASTEST / SLOWEST)
    return torch.softmax(-0.5 * ((torch.arange(TEMPO_BINS) - centre) / 0.7).square(), dim=0)


def attributes_of(song: Song) -> dict[str, Tensor]:
    """The attributes of a song that its prompt should tell, each a vector of probabilities."""
    tonic, minor = key_parts(song.keyscale)
    sounds = {note.sound for note in song.notes}
    return {
        "stems": torch.tensor([float(stem in song.instruments) for stem in STEMS]),
        "sounds": torch.tensor([float(name in sounds) for name in SOUND_NAMES]),
        "style": functional.one_hot(torch.tensor(STYLES.index(song.style)), len(STYLES)).float(),
        "tempo": tempo_distribution(song.bpm),
        "key": functional.one_hot(torch.tensor(tonic + 12 * minor), 24).float(),
        "meter": functional.one_hot(torch.tensor(TIMESIGNATURES.index(song.timesignature)), 4).float(),
    }


class AttributeHeads(nn.Module):
    """Linear heads on the mean state of a prompt, one for each attribute; only for training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = {
            "stems": len(STEMS),
            "sounds": len(SOUND_NAMES),
            "style": len(STYLES),
            "tempo": TEMPO_BINS,
            "key": 24,
            "meter": 4,
        }
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})

    def losses(self, text_states: Tensor, mask: Tensor, attributes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropy of each attribute from text states [items, tokens, width] with their mask [items, tokens]."""
        weight = mask[..., None].float()
        mean = (text_states.float() * weight).sum(1) / weight.sum(1)
        losses_by_name = {}
        for name, head in self.heads.items():
            # where the prompt leaves out bpm, key or meter, the head can only guess
            target = torch.stack([m[name] for m in attributes]).to(mean.device)
            multilabel = name in ("stems", "sounds")
            logits = head(mean)
            losses_by_name[name] = (
                functional.binary_cross_entropy_with_logits(logits, target) * 4
                if multilabel
                else functional.cross_entropy(logits, target)
            )
        return losses_by_name


def pretrain_attributes(
    stage: Stage,
    components: Components,
    attribute_heads: AttributeHeads,
    tokenizer: PreTrainedTokenizerFast,
    songs: int = 6000,
    *,
    train_encoder: bool = True,
) -> None:
    """Train text encoder, its projection and the heads until the time budget is used up; without `train_encoder` only the heads."""
    random = np.random.default_rng(6)
    rows = [
        (song, attributes_of(song))
        for song in (synthetic_music.compose(seed, 10.0) for seed in range(30_000_000, 30_000_000 + songs))
    ]
    trained = (
        [*components.text.parameters(), *components.condition.text_projector.parameters()] if train_encoder else []
    )
    trained += attribute_heads.parameters()
    optimiser, log_interval = torch.optim.AdamW(trained, PEAK_LEARNING_RATE, weight_decay=0.01), Interval(15)
    components.to(stage.device), attribute_heads.to(stage.device)
    for _ in stage.steps():
        set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE))
        batch = [rows[i] for i in random.integers(len(rows), size=48)]
        texts = [prompt_and_lyrics(song, 10, instruction("text2music"))[0] for song, _ in batch]
        tokens = tokenizer(texts, padding="longest", truncation=True, max_length=256, return_tensors="pt").to(
            stage.device
        )
        with fast_precision(stage.device), torch.set_grad_enabled(train_encoder):
            text_states = components.encode_text(tokens)
        losses = attribute_heads.losses(text_states, tokens["attention_mask"], [m for _, m in batch])
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if log_interval.due(stage.elapsed):
            stage.log(**{name: value.detach() for name, value in losses.items()})
    weights = {
        "text": components.text.state_dict(),
        "projector": components.condition.text_projector.state_dict(),
        "attribute_heads": attribute_heads.state_dict(),
    }
    stage.save(**weights)
