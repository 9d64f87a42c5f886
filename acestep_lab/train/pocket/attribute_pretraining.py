"""What words mean, taught directly: the mean of a prompt's states has to tell stems, sounds, style, tempo, key and meter.

Left to itself the transformer did not notice the words for fourteen hundred steps: a prompt is a hundred tokens of which ten
differ from song to song, and cross-attention begins as a plain average. So that average is made to mean something first, in two
minutes and without any sound, and is held to it while the transformer learns.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from acestep_lab.prompt.vocabulary import STEMS, TIMESIGNATURES, key_parts
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket.stage import Every, Stage, quick, set_rate
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.synthetic_music import Song
from acestep_lab.train.synthetic_music.patches import SOUNDS

PEAK = 2e-3
STYLES, SOUND_NAMES = sorted(synthetic_music.STYLES), sorted(SOUNDS)
TEMPO_BINS, SLOWEST, FASTEST = 48, 40.0, 240.0


def tempo_row(bpm: float) -> Tensor:
    """A soft place on a logarithmic scale of tempi, [TEMPO_BINS], summing to one."""
    place = TEMPO_BINS * math.log(bpm / SLOWEST) / math.log(FASTEST / SLOWEST)
    return torch.softmax(-0.5 * ((torch.arange(TEMPO_BINS) - place) / 0.7).square(), dim=0)


def meaning(song: Song) -> dict[str, Tensor]:
    """What the words of a song should tell."""
    tonic, minor = key_parts(song.keyscale)
    sounds = {note.sound for note in song.notes}
    return {
        "stems": torch.tensor([float(stem in song.instruments) for stem in STEMS]),
        "sounds": torch.tensor([float(name in sounds) for name in SOUND_NAMES]),
        "style": functional.one_hot(torch.tensor(STYLES.index(song.style)), len(STYLES)).float(),
        "tempo": tempo_row(song.bpm),
        "key": functional.one_hot(torch.tensor(tonic + 12 * minor), 24).float(),
        "meter": functional.one_hot(torch.tensor(TIMESIGNATURES.index(song.timesignature)), 4).float(),
    }


class Gist(nn.Module):
    """Linear readings of the mean state of a prompt; only for teaching."""

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

    def losses(self, told: Tensor, mask: Tensor, meanings: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropies of states [items, tokens, width] against meanings."""
        weight = mask[..., None].float()
        mean = (told.float() * weight).sum(1) / weight.sum(1)
        found = {}
        for name, head in self.heads.items():
            goal = torch.stack([m[name] for m in meanings]).to(
                mean.device
            )  # bpm, key, meter left out of the words: a guess
            several = name in ("stems", "sounds")
            guess = head(mean)
            found[name] = (
                functional.binary_cross_entropy_with_logits(guess, goal) * 4
                if several
                else functional.cross_entropy(guess, goal)
            )
        return found


def train_gist(
    stage: Stage,
    parts: Parts,
    gist: Gist,
    tokenizer: PreTrainedTokenizerFast,
    songs: int = 6000,
    *,
    words_too: bool = True,
) -> None:
    """Teach the text encoder and its projection until the box is used up; without `words_too`, only to read off what they say."""
    random = np.random.default_rng(6)
    rows = [
        (song, meaning(song))
        for song in (synthetic_music.compose(seed, 10.0) for seed in range(30_000_000, 30_000_000 + songs))
    ]
    learners = [*parts.text.parameters(), *parts.condition.text_projector.parameters()] if words_too else []
    learners += gist.parameters()
    optimiser, look = torch.optim.AdamW(learners, PEAK, weight_decay=0.01), Every(15)
    parts.to(stage.device), gist.to(stage.device)
    for _ in stage.steps():
        set_rate(optimiser, stage.rate(PEAK))
        chosen = [rows[i] for i in random.integers(len(rows), size=48)]
        texts = [prompt_and_lyrics(song, 10, instruction("text2music"))[0] for song, _ in chosen]
        tokens = tokenizer(texts, padding="longest", truncation=True, max_length=256, return_tensors="pt").to(
            stage.device
        )
        with quick(stage.device), torch.set_grad_enabled(words_too):
            told = parts.tell(tokens)
        losses = gist.losses(told, tokens["attention_mask"], [m for _, m in chosen])
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(learners, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if look.due(stage.spent):
            stage.log(**{name: value.detach() for name, value in losses.items()})
    weights = {
        "text": parts.text.state_dict(),
        "projector": parts.condition.text_projector.state_dict(),
        "gist": gist.state_dict(),
    }
    stage.save(**weights)
