"""The slow answer to "which words are obeyed?": make takes of unseen songs' words and listen to them.

Three roads are compared: words alone; words with the song's own codes (what a perfect planner would hand over); and words with
codes that the trained planner wrote. Beside them stand the songs themselves through the autoencoder, which is the best anybody
could do, and the same takes judged against other songs' words, which is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion.schedule import times
from acestep_lab.listen import key, pulse, same_key, same_tempo, scale_mass, tempo
from acestep_lab.listen.instruments import shipped
from acestep_lab.plan import prompt_template
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.codes import hints
from acestep_lab.train.pocket.dit import CodeSource
from acestep_lab.train.pocket.lm import Written, facts
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.tasks import TrainingExample, collate
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.synthetic_music import Song


@dataclass(frozen=True)
class Sampling:
    """How takes are made."""

    steps: int = 16
    shift: float = 3.0
    scale: float = 2.0  # of plain classifier-free guidance; 1 is none
    until: float = 0.0  # guidance is off below this time


@torch.no_grad()
def generate(
    parts: Parts, tokenizer: PreTrainedTokenizerFast, lessons: list[TrainingExample], how: Sampling, seed: int = 0
) -> Tensor:
    """Latents [items, frames, channels] of lessons of one length, by Euler steps."""
    batch = collate(lessons, tokenizer)
    x = torch.randn(batch.goal.shape, generator=torch.Generator().manual_seed(seed))
    heard = parts.conditions(batch.texts, batch.lyrics, batch.references)
    context = torch.cat([batch.source, batch.mask[..., None].expand_as(batch.source)], dim=-1)
    walk = times(how.steps, how.shift)
    for t, following in zip(walk, (*walk[1:], 0.0), strict=True):
        moment = torch.full((len(x),), t)
        velocity = parts.velocity(x, moment, heard, context)
        if how.scale != 1 and t >= how.until:
            plain = parts.velocity(x, moment, parts.null(heard), context)
            velocity = plain + how.scale * (velocity - plain)
        x = x + (following - t) * velocity
    return x


def lesson_of(clip: Clip, source: Tensor, name: str = "text2music") -> TrainingExample:
    """The words of a clip with a source."""
    return TrainingExample(
        clip.mix.float(),
        source,
        torch.ones(len(clip.mix)),
        *prompt_and_lyrics(clip.song, clip.seconds, instruction(name)),
        name,
    )


@torch.no_grad()
def written_codes(
    lm: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    clip: Clip,
    count: int,
    scale: float = 1.5,
    temperature: float = 0.85,
    seed: int = 0,
) -> list[int]:
    """Codes that the planner writes when the thought is given: guided by what the words add, forced to `count`."""
    told = facts(Written(clip.song, clip.seconds, ()))
    thought = prompt_template.thought_block(prompt_template.thought(told, prompt_template.PLAN_FIELDS))
    questions = [
        prompt_template.plan_prompt(told["caption"], told["lyrics"]) + thought,
        prompt_template.negative_prompt("", ""),
    ]
    first = tokenizer.convert_tokens_to_ids("<|audio_code_0|>")
    dice, caches, codes = torch.Generator().manual_seed(seed), [None, None], []
    inputs = [torch.tensor([question.encode(tokenizer)]) for question in questions]
    for _ in range(count):
        answers = [lm(input_ids=i, past_key_values=c, use_cache=True) for i, c in zip(inputs, caches, strict=True)]
        caches = [answer.past_key_values for answer in answers]
        with_words, without = (a.logits[0, -1, first:].float() for a in answers)
        chances = functional.softmax((without + scale * (with_words - without)) / temperature, dim=-1)
        codes.append(int(torch.multinomial(_nucleus(chances, 0.9), 1, generator=dice)))
        inputs = [torch.tensor([[first + codes[-1]]])] * 2
    return codes


def _nucleus(chances: Tensor, share: float) -> Tensor:
    """Only the likeliest values that together make up the share."""
    order = chances.argsort(descending=True)
    before = chances[order].cumsum(0) - chances[order]
    return torch.zeros_like(chances).scatter(0, order, torch.where(before < share, chances[order], 0.0))


def sounds_of(vae: PocketVae, latents: Tensor, rate: int) -> list[Audio]:
    """Latents as sound, one item at a time."""
    with torch.no_grad():
        return [Audio(vae.decode(latent.T[None])[0].float().numpy(), rate) for latent in latents.float()]


def judged(sounds: list[Audio], songs: list[Song]) -> dict[str, float]:
    """How well sounds do what songs say, and the same against the next song's words (`… by chance`)."""
    others = songs[1:] + songs[:1]
    ear = shipped()
    heard = [(ear.heard(s), key(s)[0], tempo(s)[0]) for s in sounds]
    figures: dict[str, list[float]] = {}
    for name, told in (("", songs), (" by chance", others)):
        for (stems, tonality, bpm), sound, song in zip(heard, sounds, told, strict=True):
            triple = song.timesignature in ("3", "6")
            row = {
                "instruments": np.mean([(stem in stems) == (stem in song.instruments) for stem in STEMS]),
                "key": same_key(tonality, song.keyscale),
                "scale": scale_mass(sound, song.keyscale),
            }
            if "drums" in song.instruments:
                row |= {"tempo": same_tempo(bpm, song.bpm, triple=triple), "pulse": pulse(sound, song.bpm)}
            for what, value in row.items():
                figures.setdefault(what + name, []).append(float(value))
    return {name: round(float(np.mean(values)), 3) for name, values in figures.items()}


def roads(
    parts: Parts,
    vae: PocketVae,
    codes: CodeSource,
    clips: list[Clip],
    tokenizer: PreTrainedTokenizerFast,
    how: Sampling,
    lm: Qwen3ForCausalLM | None = None,
    lm_tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, dict[str, float]]:
    """Road → figures, over clips of one length."""
    quiet = [parts.silence(len(c.mix)) for c in clips]
    sources = {
        "words": ("text2music", quiet),
        "own codes": ("cover", list(codes(torch.stack([c.sheet() for c in clips]).float(), 0.0))),
    }
    if lm is not None and lm_tokenizer is not None:
        count = len(clips[0].mix) // parts.shapes.pool
        rows = torch.tensor([written_codes(lm, lm_tokenizer, c, count, seed=i) for i, c in enumerate(clips)])
        sources["planner's codes"] = ("cover", list(hints(codes.codec.tokenizer, codes.codec.detokenizer, rows)))
    songs, rate = [c.song for c in clips], parts.shapes.rate
    found = {"autoencoder": judged(sounds_of(vae, torch.stack([c.mix for c in clips]), rate), songs)}
    for road, (name, source) in sources.items():
        lessons = [lesson_of(c, s, name) for c, s in zip(clips, source, strict=True)]
        latents = torch.cat(
            [generate(parts, tokenizer, lessons[i : i + 8], how, seed=i) for i in range(0, len(lessons), 8)]
        )
        found[road] = judged(sounds_of(vae, latents, rate), songs)
    return found
