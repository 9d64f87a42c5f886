"""Evaluation by generating: make takes for unseen songs' prompts and measure them.

Three conditions are compared: the prompt alone; the prompt with the song's own codes (what a perfect planner would hand over); and the
prompt with codes that the trained planner wrote. Beside them stand the songs themselves through the autoencoder, which is the
ceiling, and the same takes scored against other songs' prompts, which is chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion.schedule import times
from acestep_lab.listen import key, pulse, same_key, same_tempo, scale_mass, tempo
from acestep_lab.listen.instruments import default_tagger
from acestep_lab.plan import prompt_template
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.clips import Clip
from acestep_lab.train.pocket.codes import decode_codes
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.dit import CodeSource
from acestep_lab.train.pocket.lm import CodedSong, plan_facts
from acestep_lab.train.pocket.tasks import TrainingExample, collate
from acestep_lab.train.pocket.tokenizer import instruction, prompt_and_lyrics
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.synthetic_music import Song

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class SamplingSettings:
    """How takes are sampled."""

    steps: int = 16
    shift: float = 3.0
    guidance_scale: float = 2.0  # of plain classifier-free guidance; 1 is none
    guidance_until: float = 0.0  # guidance is off below this time


@torch.no_grad()
def generate(
    components: Components,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[TrainingExample],
    settings: SamplingSettings,
    seed: int = 0,
) -> Tensor:
    """Sample latents [items, frames, channels] for examples of one length, by Euler steps."""
    batch = collate(examples, tokenizer)
    x = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(seed))
    conditions = components.conditions(batch.texts, batch.lyrics, batch.references)
    context = torch.cat([batch.source, batch.mask[..., None].expand_as(batch.source)], dim=-1)
    timesteps = times(settings.steps, settings.shift)
    for t, next_t in zip(timesteps, (*timesteps[1:], 0.0), strict=True):
        time = torch.full((len(x),), t)
        velocity = components.velocity(x, time, conditions, context)
        if settings.guidance_scale != 1 and t >= settings.guidance_until:
            null = components.velocity(x, time, components.null(conditions), context)
            velocity = null + settings.guidance_scale * (velocity - null)
        x = x + (next_t - t) * velocity
    return x


def prompt_example(clip: Clip, source: Tensor, task: str = "text2music") -> TrainingExample:
    """An example with the prompt of a clip, a source [frames, channels] and no mask."""
    return TrainingExample(
        clip.mix_latents.float(),
        source,
        torch.ones(len(clip.mix_latents)),
        *prompt_and_lyrics(clip.song, clip.seconds, instruction(task)),
        task,
    )


@torch.no_grad()
def write_codes(
    lm: Any,
    tokenizer: PreTrainedTokenizerFast,
    clip: Clip,
    count: int,
    scale: float = 1.5,
    temperature: float = 0.85,
    seed: int = 0,
) -> list[int]:
    """`count` codes that the planner samples for a given plan, with classifier-free guidance against an empty prompt."""
    plan = plan_facts(CodedSong(clip.song, clip.seconds, ()))
    thought = prompt_template.thought_block(prompt_template.thought(plan, prompt_template.PLAN_FIELDS))
    prompts = [
        prompt_template.plan_prompt(plan["caption"], plan["lyrics"]) + thought,
        prompt_template.negative_prompt("", ""),
    ]
    first: int = tokenizer.get_vocab()["<|audio_code_0|>"]
    generator, codes = torch.Generator().manual_seed(seed), list[int]()
    caches: list[Any] = [None, None]
    inputs = [torch.tensor([prompt.encode(tokenizer)]) for prompt in prompts]
    for _ in range(count):
        outputs = [lm(input_ids=i, past_key_values=c, use_cache=True) for i, c in zip(inputs, caches, strict=True)]
        caches = [output.past_key_values for output in outputs]
        conditional, null = (output.logits[0, -1, first:].float() for output in outputs)
        probabilities = functional.softmax((null + scale * (conditional - null)) / temperature, dim=-1)
        codes.append(int(torch.multinomial(_top_p(probabilities, 0.9), 1, generator=generator)))
        inputs = [torch.tensor([[first + codes[-1]]])] * 2
    return codes


def _top_p(probabilities: Tensor, share: float) -> Tensor:
    """Keep only the likeliest values that together make up the share (Holtzman et al. 2020, nucleus sampling)."""
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    return torch.zeros_like(probabilities).scatter(0, order, torch.where(before < share, probabilities[order], 0.0))


def decode_sounds(vae: PocketVae, latents: Tensor, rate: int) -> list[Audio]:
    """Decode latents [items, frames, channels], one item at a time."""
    with torch.no_grad():
        return [Audio(vae.decode(latent.T[None])[0].float().numpy(), rate) for latent in latents.float()]


def score_sounds(sounds: list[Audio], songs: list[Song]) -> dict[str, float]:
    """How well sounds match their songs' metadata: name → mean, and the same against the next song (`… by chance`)."""
    others = songs[1:] + songs[:1]
    tagger = default_tagger()
    analyses = [(tagger.present(s), key(s)[0], tempo(s)[0]) for s in sounds]
    scores: dict[str, list[float]] = {}
    for suffix, references in (("", songs), (" by chance", others)):
        for (stems, tonality, bpm), sound, song in zip(analyses, sounds, references, strict=True):
            triple = song.timesignature in ("3", "6")
            row: dict[str, Any] = {
                "instruments": np.mean([(stem in stems) == (stem in song.instruments) for stem in STEMS]),
                "key": same_key(tonality, song.keyscale),
                "scale": scale_mass(sound, song.keyscale),
            }
            if "drums" in song.instruments:
                row |= {"tempo": same_tempo(bpm, song.bpm, triple=triple), "pulse": pulse(sound, song.bpm)}
            for name, value in row.items():
                scores.setdefault(name + suffix, []).append(float(value))
    return {name: round(float(np.mean(values)), 3) for name, values in scores.items()}


def generation_scores(
    components: Components,
    vae: PocketVae,
    codes: CodeSource,
    clips: list[Clip],
    tokenizer: PreTrainedTokenizerFast,
    settings: SamplingSettings,
    lm: Any = None,
    lm_tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of each condition, and of the autoencoder alone, over clips of one length."""
    silences = [components.silence(len(c.mix_latents)) for c in clips]
    sources = {
        "prompt": ("text2music", silences),
        "own codes": ("cover", list(codes(torch.stack([c.note_targets() for c in clips]).float(), 0.0))),
    }
    if lm is not None and lm_tokenizer is not None:
        count = len(clips[0].mix_latents) // components.config.pool
        rows = torch.tensor([write_codes(lm, lm_tokenizer, c, count, seed=i) for i, c in enumerate(clips)])
        sources["planner's codes"] = (
            "cover",
            list(decode_codes(codes.code_model.tokenizer, codes.code_model.detokenizer, rows)),
        )
    songs, rate = [c.song for c in clips], components.config.rate
    scores = {"autoencoder": score_sounds(decode_sounds(vae, torch.stack([c.mix_latents for c in clips]), rate), songs)}
    for condition, (task, source) in sources.items():
        examples = [prompt_example(c, s, task) for c, s in zip(clips, source, strict=True)]
        latents = torch.cat(
            [generate(components, tokenizer, examples[i : i + 8], settings, seed=i) for i in range(0, len(examples), 8)]
        )
        scores[condition] = score_sounds(decode_sounds(vae, latents, rate), songs)
    return scores
