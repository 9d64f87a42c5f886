"""What an adapter for an ACE-Step v1 checkpoint is taught with: its times, its lessons, what of a song's words is left out.

The original teaches the layers that *read* the lyrics beside those of the blocks, so that a lesson keeps what the transformer's
`encode` is handed (text states, lyric ids) and not what it makes of them. A row of a lesson's states is one token:

    [-1, text states …]      a token of the prompt
    [id, 0 …]                a token of the lyrics; -2 - id where it is masked (no lyrics are one masked 0)

Prompt and lyrics are left out each on its own. There is no voice: the published checkpoint has none (zeros), so that the original's
`speaker_embedder` would learn nothing here. Times follow the original: logit-normal over its 1000 times, which are shifted once;
the error is that of the song which a velocity leads to, t² of the velocity's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from acestep_lab.engines.ace_v1 import erg
from acestep_lab.engines.ace_v1.checkpoint import DCAE, TEXT, Checkpoint
from acestep_lab.engines.ace_v1.geometry import FRAMES_PER_SECOND, V1Config, to_frames, to_image
from acestep_lab.engines.ace_v1.lyric_tokenizer import find_vocabulary
from acestep_lab.engines.base import Lesson, TrainingRule
from acestep_lab.errors import CheckpointError

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "linear_q", "linear_k", "linear_v")
"""Of the blocks, and of the layers that read lyrics: what the original's own adapters are of."""
MLP = ("inverted_conv.conv", "point_conv.conv")
TARGETS: Mapping[str, tuple[str, ...]] = {"attention": ATTENTION, "mlp": MLP}
DROPOUT = 0.15
"""Share of lessons without a prompt, and, drawn apart, without lyrics."""
LEARNING_RATE, BETAS = 1e-4, (0.8, 0.9)
ORIGINAL = (
    "The original's own adapters are rank-stabilised (kind='rslora', rank=256, alpha=32, clip=0.5), on a small card of rank 16; "
    "rank 8 with alpha 16 acts as strongly."
)
TIMES, SHIFT = 1000, 3.0
"""How many times there are to draw from, and how far they are shifted towards noise."""
RULE = "a logit-normal draw of 1000 times, shifted by 3"
TEXT_KIND, LYRIC_KIND = 0, 1
_TEXT, _MASKED = -1.0, -2.0


def rule_of(config: V1Config) -> TrainingRule:
    """How a checkpoint was taught."""
    side = min(config.dim, config.lyric_hidden_size)
    return TrainingRule(
        RULE, DROPOUT, LEARNING_RATE, TARGETS, FRAMES_PER_SECOND, side, BETAS, ORIGINAL, "song"
    )  # fmt: skip


def lesson_mark(checkpoint: Checkpoint) -> str:
    """Which encoders and which vocabulary lessons are made with; one is read without a vocabulary where nobody sings."""
    digest = hashlib.blake2b(f"rows 1 {checkpoint.mark(TEXT, DCAE)}".encode(), digest_size=8)
    try:
        digest.update(find_vocabulary(checkpoint.folder).read_bytes())
    except CheckpointError:  # a song with lyrics says so when it is read
        digest.update(b"no vocabulary")
    return digest.hexdigest()


def draw_times(count: int, generator: torch.Generator) -> Tensor:
    """Times `[count]` by the original's rule, 1 being noise."""
    place = (torch.sigmoid(torch.randn(count, generator=generator)) * TIMES).long().clamp(max=TIMES - 1)
    even = 1 - place / TIMES
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def lesson_of(words: erg.Words, latent: Tensor, notes: Sequence[str] = ()) -> Lesson:
    """A lesson out of one song's words, as a render hands them to the transformer, and its latent `[frames, channels]`."""
    text, ids, sung = words.text[0][words.text_mask[0] != 0], words.lyric_ids[0], words.lyric_mask[0] != 0
    named = torch.where(sung, ids, -2 - ids).float()
    prompt = torch.cat((torch.full((len(text), 1), _TEXT, device=text.device), text.float()), -1)
    lyrics = nn.functional.pad(named[:, None], (0, text.shape[-1]))
    target = latent.float().cpu()
    return Lesson(
        target=target, states=torch.cat((prompt, lyrics)).cpu(), null=_left_out(text.shape[-1]),
        context=target.new_zeros(len(target), 0), notes=tuple(notes),
        kinds=torch.tensor([TEXT_KIND] * len(prompt) + [LYRIC_KIND] * len(lyrics)),
    )  # fmt: skip


def _left_out(width: int) -> Tensor:
    """What stands for a token of the prompt, and of the lyrics, that is left out: silent states, and a masked 0."""
    return nn.functional.pad(torch.tensor([[_TEXT], [_MASKED]]), (0, width))


def words_of(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Text states with their mask, lyric ids with theirs, out of the rows `[items, tokens, 1 + width]` of lessons side by side."""
    names = states[..., 0]
    is_text, is_lyric = (names == _TEXT) & mask, (names != _TEXT) & mask
    texts = [row[there, 1:] for row, there in zip(states, is_text, strict=True)]
    lyrics = [row[there].round().long() for row, there in zip(names, is_lyric, strict=True)]
    here = pad_sequence([torch.ones(len(one), dtype=torch.long, device=states.device) for one in texts], True)
    ids = pad_sequence(lyrics, True, int(_MASKED))
    sung = ids >= 0
    return pad_sequence(texts, True), here, torch.where(sung, ids, -2 - ids), sung.long()


def velocity(module: nn.Module, x: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """The velocity `[items, frames, channels]` of a transformer in training, its words read by its own layers in the same pass."""
    dit: Any = module
    dit.lyric_encoder.gradient_checkpointing = dit.gradient_checkpointing
    text, text_mask, lyrics, lyric_mask = words_of(states, mask)
    voice = text.new_zeros(len(x), dit.config.speaker_embedding_dim)
    heard, there = dit.encode(text, text_mask, voice, lyrics, lyric_mask)
    found: Tensor = dit.velocity(to_image(x, dit.config.max_height), t, heard, there)
    return to_frames(found)
