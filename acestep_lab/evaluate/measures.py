"""What is measured on sounds made for a prompt. Knows sounds and prompts; no models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.evaluate.prompts import Prompt
from acestep_lab.listen.instruments import InstrumentTagger
from acestep_lab.listen.key import key, same_key, scale_mass
from acestep_lab.listen.meter import meter
from acestep_lab.listen.sections import section_accuracy
from acestep_lab.listen.tempo import pulse, same_tempo, tempo

Score = Callable[[Audio, Prompt], float]

FIVE_ROLES = {
    "drums": ("drums", "percussion"),
    "bass": ("bass",),
    "chords": ("keyboard", "guitar"),
    "pads": ("strings", "synth", "backing_vocals"),
    "lead": ("vocals", "woodwinds", "brass"),
}
"""The roles of a small band → the stems that take them; effects take none. The first pocket models were measured in these."""


@dataclass(frozen=True)
class PromptMeasure:
    """A measure of one sound against one prompt, and which prompts it makes sense for."""

    name: str
    score: Score
    applies: Callable[[Prompt], bool] = lambda prompt: True
    threshold: float | None = None
    """As a share of the ceiling, or an absolute one (`absolute`)."""
    absolute: bool = False


def _tempo(audio: Audio, prompt: Prompt) -> float:
    return float(same_tempo(tempo(audio)[0], prompt.bpm, triple=prompt.timesignature in ("3", "6")))


def _pulse(audio: Audio, prompt: Prompt) -> float:
    return pulse(audio, prompt.bpm)


def _key(audio: Audio, prompt: Prompt) -> float:
    return float(same_key(key(audio)[0], prompt.keyscale))


def _scale(audio: Audio, prompt: Prompt) -> float:
    return scale_mass(audio, prompt.keyscale)


def _meter(audio: Audio, prompt: Prompt) -> float:
    return float(meter(audio, prompt.bpm)[0] == prompt.timesignature)


def _sections(audio: Audio, prompt: Prompt) -> float:
    return section_accuracy(audio, prompt.song(audio.seconds).sections)


def _with_drums(prompt: Prompt) -> bool:
    return "drums" in prompt.instruments


def _tonal(prompt: Prompt) -> bool:
    return bool(set(prompt.instruments) - {"drums", "percussion", "fx"})


def _mixed_sections(prompt: Prompt) -> bool:
    """Whether drums play in some sections and rest in others, and the sections are told, which the lyrics do."""
    return bool(prompt.lyrics) and len({"drums" in section.stems_playing for section in prompt.song().sections}) == 2


PROMPT_MEASURES = (
    PromptMeasure("tempo ±4 %, octaves allowed", _tempo, _with_drums, 0.80),
    PromptMeasure("pulse at the asked tempo", _pulse, _with_drums),
    PromptMeasure("key exact", _key, _tonal, 0.70),
    PromptMeasure("chroma inside the asked scale", _scale, _tonal),
    PromptMeasure("meter", _meter, _with_drums, 0.70, absolute=True),
    PromptMeasure("drums per section as asked", _sections, _mixed_sections, 0.85, absolute=True),
)


def mismatched(items: Sequence[Prompt]) -> list[Prompt]:
    """Another prompt in each one's place, for the chance level: the list rotated by about a third."""
    by = max(1, len(items) // 3)
    return [*items[by:], *items[:by]]


def mean_scores(measure: PromptMeasure, sounds: Sequence[Audio], prompts: Sequence[Prompt]) -> tuple[float, float, int]:
    """(mean score, mean score by chance, n) over the prompts a measure applies to; NaN, NaN, 0 where it applies to none."""
    pairs = [(sound, prompt) for sound, prompt in zip(sounds, prompts, strict=True) if measure.applies(prompt)]
    if not pairs:
        return float("nan"), float("nan"), 0
    fitting = [prompt for _, prompt in pairs]
    true = [measure.score(sound, prompt) for sound, prompt in pairs]
    chance = [measure.score(sound, other) for (sound, _), other in zip(pairs, mismatched(fitting), strict=True)]
    return float(np.mean(true)), float(np.mean(chance)), len(pairs)


def instrument_accuracy(
    tagger: InstrumentTagger,
    sounds: Sequence[Audio],
    prompts: Sequence[Prompt],
    count_unnamed: bool = False,
    roles: Mapping[str, Sequence[str]] | None = None,
) -> float:
    """Balanced accuracy of stems present or absent as asked: mean over stems of (hit rate + rejection rate) / 2.

    With `roles`, such as FIVE_ROLES, the mean is over roles instead; one is present when any of its stems is.

    Asked for is what the prompt's texts name. What its own song has beyond them was neither asked for nor ruled out, and counts
    only with `count_unnamed`. Stems that fewer than four prompts ask for, or fewer than four leave out, are not counted; chance
    is 0.5, and NaN comes back where no stem is counted.
    """
    detected = [tagger.present(sound) for sound in sounds]
    named = [prompt.named for prompt in prompts]
    rates = []
    for stems in (roles or {stem: (stem,) for stem in tagger.roles}).values():
        playing = np.array([not set(stems).isdisjoint(prompt.instruments) for prompt in prompts])
        threshold = playing if count_unnamed else np.array([not set(stems).isdisjoint(names) for names in named])
        found = np.array([not set(stems).isdisjoint(present) for present in detected])
        if min(threshold.sum(), (~playing).sum()) >= 4:
            rates.append((found[threshold].mean() + (~found)[~playing].mean()) / 2)
    return float(np.mean(rates)) if rates else float("nan")


def solo_accuracy(tagger: InstrumentTagger, sounds: Sequence[Audio], prompts: Sequence[Prompt]) -> float:
    """How often the likeliest stem is the one asked for; NaN without sounds."""
    hits = [
        max(chances, key=chances.__getitem__) == prompt.instruments[0]
        for prompt, chances in ((p, tagger.probabilities(s)) for s, p in zip(sounds, prompts, strict=True))
    ]
    return float(np.mean(hits)) if hits else float("nan")


def si_sdr(found: np.ndarray, true: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019) of two sounds of one shape."""
    found, true = found.ravel() - found.mean(), true.ravel() - true.mean()
    projected = (found @ true) / (true @ true + 1e-12) * true
    return float(10 * np.log10((projected @ projected) / (((found - projected) ** 2).sum() + 1e-12) + 1e-12))


def log_spectral_distance(found: np.ndarray, true: np.ndarray, size: int = 1024) -> float:
    """Mean over frames of the RMS difference of log spectra, in dB; magnitudes floored at 1e-3."""

    def spectra(samples: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(samples.ravel(), size)[:: size // 4]
        return np.maximum(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)), 1e-3)

    difference = 20 * (np.log10(spectra(found)) - np.log10(spectra(true)))
    return float(np.sqrt((difference**2).mean(axis=1)).mean())


def gain_decibels(before: np.ndarray, after: np.ndarray, target: np.ndarray) -> float:
    """How much nearer to a target the latents [frames, channels] came, in dB of squared error."""
    frames = min(len(before), len(after), len(target))
    before, after, target = (x[:frames] for x in (before, after, target))
    return float(10 * np.log10(((before - target) ** 2).mean() / (((after - target) ** 2).mean() + 1e-12)))
