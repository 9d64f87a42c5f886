"""The judging itself: one function per group of measures, each given the bench it works at.

Knows sessions, prompts and the world. Every sound is made once and measured by all that need it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.evaluate import measures
from acestep_lab.evaluate.prompts import Prompt
from acestep_lab.evaluate.prompts import prompts as fixed_prompts
from acestep_lab.evaluate.report import Figure, Report
from acestep_lab.listen.discontinuities import discontinuity
from acestep_lab.listen.instruments import InstrumentTagger, shipped
from acestep_lab.listen.key import chroma_correlation, key, same_key
from acestep_lab.listen.tempo import same_tempo, tempo
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import SECONDS_RANGE, Recipe
from acestep_lab.prompt.tasks import Region, Repaint
from acestep_lab.session import Session
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train.synthetic_music import Rendering, render


@dataclass
class EvalContext:
    """A session, its prompts, and sounds that several measures share."""

    lab: Session
    prompts: list[Prompt]
    seconds: float
    say: Callable[[str], None]
    ear: InstrumentTagger = field(default_factory=shipped)

    def rendered(self, prompt: Prompt) -> Rendering:
        """The world's own song, at the checkpoint's rate."""
        geometry = self.lab.checkpoint.geometry
        return render(prompt.song(self.seconds), geometry.rate, geometry.channels)

    def audio(self, samples: np.ndarray) -> Audio:
        """Samples at the checkpoint's rate."""
        return Audio(samples, self.lab.checkpoint.geometry.rate)

    def latent(self, audio: Audio) -> np.ndarray:
        """Encode a sound."""
        return self.lab.encode(audio)

    def round_trip(self, audio: Audio) -> Audio:
        """A sound after the autoencoder, cut to its own length."""
        back = self.lab.decode(self.latent(audio))
        return Audio(back.samples[:, : audio.samples.shape[1]], back.rate)

    @cached_property
    def originals(self) -> list[Audio]:
        """The world's songs."""
        return [self.audio(self.rendered(prompt).mix) for prompt in self.prompts]

    @cached_property
    def round_trips(self) -> list[Audio]:
        """The world's songs after the autoencoder: the ceiling."""
        return [self.round_trip(audio) for audio in self.told("round trips", self.originals)]

    def make(self, asked: Sequence[Prompt], what: str, **more: Any) -> list[Take]:
        """A take for every prompt."""
        return [self.lab.make(prompt.recipe(self.seconds, **more)) for prompt in self.told(what, asked)]

    def told(self, what: str, items: Sequence[Any]) -> Iterator[Any]:
        """Pass items on, saying now and then how far it is."""
        for place, item in enumerate(items):
            if place % 16 == 0:
                self.say(f"{what}: {place} of {len(items)}")
            yield item


def judge(
    checkpoint: str | os.PathLike[str] | Session = "pocket",
    *,
    prompts: int = 64,
    seconds: float = 10.0,
    only: Iterable[str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Report:
    """Measure a checkpoint (or an open session) and report; `only` names groups of MEASURES."""
    chosen = tuple(MEASURES) if only is None else tuple(only)
    if unknown := set(chosen) - set(MEASURES):
        raise RecipeError(f"There is no measure {sorted(unknown)[0]!r}; there are {', '.join(MEASURES)}.")
    chosen_prompts = _prompts(prompts)
    seconds = checks.real("The length of a song", seconds, *SECONDS_RANGE, "seconds")
    with tempfile.TemporaryDirectory() as folder:
        lab = checkpoint if isinstance(checkpoint, Session) else Session.open(checkpoint, library=Library(folder))
        bench = EvalContext(lab, chosen_prompts, seconds, say)
        figures = [figure for name in chosen for figure in MEASURES[name](bench)]
        settings = {"prompts": len(bench.prompts), "seconds": f"{seconds:g}", **_row_settings(lab)}
        report = Report(lab.checkpoint.name, settings, tuple(figures))
        if lab is not checkpoint:
            lab.close()
    return report


def _prompts(count: int) -> list[Prompt]:
    found = fixed_prompts(checks.whole("The number of prompts", count, 1, 10_000))
    if len(found) < count:
        raise RecipeError(f"There are {len(found)} fixed prompts; ask for at most so many, not {count}.")
    return found


def _row_settings(lab: Session) -> dict[str, Any]:
    row = lab.checkpoint.row
    return {"steps": row.steps, "shift": row.shift, row.guidance: row.guidance_scale}


# -- groups of measures --------------------------------------------------------------------------------------------------


def round_trip(bench: EvalContext) -> list[Figure]:
    """What the autoencoder keeps."""
    pairs = list(zip(bench.originals, bench.round_trips, strict=True))
    sdr = [measures.si_sdr(back.samples, true.samples) for true, back in pairs]
    distance = [measures.log_spectral_distance(back.samples, true.samples) for true, back in pairs]
    same = [same_key(key(true)[0], key(back)[0]) for true, back in pairs]
    drummed = [pair for pair, prompt in zip(pairs, bench.prompts, strict=True) if "drums" in prompt.instruments]
    beat = [same_tempo(tempo(true)[0], tempo(back)[0]) for true, back in drummed]
    n = len(pairs)
    return [
        Figure("autoencoder", "round trip SI-SDR", float(np.mean(sdr)), None, None, n, "dB", 10.0),
        Figure("autoencoder", "round trip log-spectral distance", float(np.mean(distance)), None, None, n, "dB"),
        Figure("autoencoder", "key as found in the original", float(np.mean(same)), 1 / 24, 1.0, n, wanted=0.85),
        Figure(
            "autoencoder", "tempo as found in the original", float(np.mean(beat)), None, 1.0, len(beat), wanted=0.95
        ),
    ]


def words(bench: EvalContext) -> list[Figure]:
    """What text2music does with its words, on the checkpoint's default road."""
    return _obedience(bench, "words", "text2music")


def words_alone(bench: EvalContext) -> list[Figure]:
    """The same without a planner: the DiT obeying words alone."""
    if not bench.lab.checkpoint.has_lm:
        return []
    return _obedience(bench, "words alone", "text2music, no planner", thinking=False)


def _obedience(bench: EvalContext, group: str, what: str, **more: Any) -> list[Figure]:
    takes = [take.audio for take in bench.make(bench.prompts, what, **more)]
    figures = []
    for measure in measures.SCORED:
        value, chance, n = measures.mean_scores(measure, takes, bench.prompts)
        ceiling = measures.mean_scores(measure, bench.round_trips, bench.prompts)[0]
        wanted = measure.wanted if measure.wanted is None or measure.absolute else measure.wanted * ceiling
        if n:
            figures.append(Figure(group, measure.name, value, chance, ceiling, n, wanted=wanted))
    other = measures.shuffled(bench.prompts)
    for name, how, goal in (
        ("instruments present or absent as asked", {}, 0.90),
        ("the same, those that the words leave out counted too", {"unnamed_too": True}, None),
        ("the same in five roles", {"roles": measures.FIVE_ROLES}, 0.82),
    ):
        figures.append(
            Figure(
                group,
                name,
                measures.presence_accuracy(bench.ear, takes, bench.prompts, **how),
                measures.presence_accuracy(bench.ear, takes, other, **how),
                measures.presence_accuracy(bench.ear, bench.round_trips, bench.prompts, **how),
                len(takes),
                wanted=goal,
            )
        )
    return figures


def solo(bench: EvalContext) -> list[Figure]:
    """Whether a single instrument is the asked one."""
    asked = fixed_prompts(len(bench.prompts) // 2, solo=True)
    made = [take.audio for take in bench.make(asked, "single instruments")]
    true = [bench.round_trip(bench.audio(bench.rendered(prompt).mix)) for prompt in asked]
    return [
        Figure(
            "words",
            "single instrument",
            measures.solo_accuracy(bench.ear, made, asked),
            measures.solo_accuracy(bench.ear, made, measures.shuffled(asked)),
            measures.solo_accuracy(bench.ear, true, asked),
            len(asked),
            wanted=0.90,
        )
    ]


def stems(bench: EvalContext) -> list[Figure]:
    """What extract, lego and complete do with the world's stems."""
    gains: dict[str, list[float]] = {}
    lego_true, lego_chance, complete = [], [], []
    chosen = [p for p in bench.prompts if len(p.instruments) >= 3][: max(4, len(bench.prompts) // 4)]
    for place, prompt in enumerate(bench.told("stems", chosen)):
        song = bench.rendered(prompt)
        stem = prompt.instruments[place % len(prompt.instruments)]
        mix, alone = bench.audio(song.mix), bench.audio(song.stems[stem])
        gains.setdefault(stem, []).append(_extract_gain(bench, prompt, stem, mix, alone))
        rest = bench.audio(song.mix - song.stems[stem])
        added = bench.lab.lego(rest, stem, prompt.caption, seed=prompt.seed)
        lego_true.append(stem in bench.ear.heard(added.audio))
        lego_chance.append(chosen[place - 1].instruments[0] in bench.ear.heard(added.audio))
        others = [s for s in prompt.instruments if s != stem][:3]
        full = bench.lab.complete(alone, others, prompt.caption, seed=prompt.seed)
        complete += [s in bench.ear.heard(full.audio) for s in others]
    figures = [
        Figure("stems", f"extract {stem}: nearer to the stem by", float(np.mean(g)), None, None, len(g), "dB")
        for stem, g in sorted(gains.items())
    ]
    every = [gain for g in gains.values() for gain in g]
    return [
        *figures,
        Figure("stems", "extract, all stems", float(np.mean(every)), 0.0, None, len(every), "dB", 9.0),
        Figure(
            "stems",
            "lego: the new stem is heard",
            float(np.mean(lego_true)),
            float(np.mean(lego_chance)),
            1.0,
            len(lego_true),
        ),
        Figure("stems", "complete: the added stems are heard", float(np.mean(complete)), None, 1.0, len(complete)),
    ]


def _extract_gain(bench: EvalContext, prompt: Prompt, stem: str, mix: Audio, alone: Audio) -> float:
    take = bench.lab.extract(mix, stem, caption=prompt.caption, seed=prompt.seed)
    return measures.gain_decibels(bench.latent(mix), take.latent, bench.latent(alone))


def cover(bench: EvalContext) -> list[Figure]:
    """Whether a cover keeps rhythm and harmony of its source."""
    half = bench.prompts[: max(4, len(bench.prompts) // 2)]
    covers = []
    for prompt, source in bench.told("covers", list(zip(half, bench.originals, strict=False))):
        covers.append(bench.lab.cover(source, prompt.caption, prompt.lyrics, seed=prompt.seed).audio)
    others = [*bench.originals[1 : len(half)], bench.originals[0]]
    pairs = [(c, s, o, p) for c, s, o, p in zip(covers, bench.originals, others, half, strict=False)]
    drummed = [pair for pair in pairs if "drums" in pair[3].instruments]
    beat = [same_tempo(tempo(c)[0], tempo(s)[0]) for c, s, _, _ in drummed]
    luck = [same_tempo(tempo(c)[0], tempo(o)[0]) for c, _, o, _ in drummed]
    kept = [chroma_correlation(c, s) for c, s, _, _ in pairs]
    chance = [chroma_correlation(c, o) for c, _, o, _ in pairs]
    top = [chroma_correlation(b, s) for b, s in zip(bench.round_trips, bench.originals, strict=False)][: len(half)]
    return [
        Figure("cover", "tempo kept", float(np.mean(beat)), float(np.mean(luck)), 1.0, len(beat), wanted=0.9),
        Figure(
            "cover",
            "harmony kept (chroma correlation)",
            float(np.mean(kept)),
            float(np.mean(chance)),
            float(np.mean(top)),
            len(kept),
            wanted=0.6,
        ),
    ]


def repaint(bench: EvalContext) -> list[Figure]:
    """Whether a repaint's borders are heard, and whether anything outside changed."""
    chosen = bench.prompts[: max(4, len(bench.prompts) // 2)]
    quiet, own, outside, inside, again = [], [], [], [], []
    for place, prompt in enumerate(bench.told("repaints", chosen)):
        source = bench.lab.make(prompt.recipe(bench.seconds))
        start = bench.seconds * (0.2 + 0.3 * (place % 3) / 2)
        region = Region(start, start + bench.seconds * 0.3)
        take = bench.lab.repaint(source, region, seed=prompt.seed + 1)
        quiet += [not discontinuity(take.audio, at).audible for at in (region.start, region.end)]
        own += [not discontinuity(source.audio, at).audible for at in (region.start, region.end)]
        outside.append(_largest_change_outside(source, take, region))
        free = _left_to_the_model(bench, source, region, prompt.seed + 1)
        span = region.frames(bench.lab.checkpoint.geometry.frames_per_second)
        inside.append(_change_decibels(source.latent[span], free[span]))
        again.append(_change_outside_decibels(source.latent, free, span))
    n = len(quiet)
    return [
        Figure(
            "repaint",
            "borders no louder than the song's own joints",
            float(np.mean(quiet)),
            None,
            float(np.mean(own)),
            n,
            wanted=0.9,
        ),
        Figure("repaint", "largest change outside", float(np.max(outside)), None, 0.0, len(outside), "of full scale"),
        Figure("repaint", "new inside: distance to the old", float(np.mean(inside)), None, None, len(inside), "dB"),
        Figure(
            "repaint", "outside when left to the model: distance", float(np.mean(again)), None, None, len(again), "dB"
        ),
    ]


def _left_to_the_model(bench: EvalContext, source: Take, region: Region, seed: int) -> np.ndarray:
    """The latent [frames, channels] of a repaint as the loop leaves it: nothing held on the way, nothing put back after it."""
    task = Repaint(source, (region,), injection=0.0, latent_crossfade=0.0)
    run = bench.lab.start(bench.lab.recipe_from(source, task, seed=seed))
    run.take()
    latent: np.ndarray = run.steps[-1].latent.float().cpu().numpy()
    return latent


def _largest_change_outside(source: Take, take: Take, region: Region, margin: float = 0.06) -> float:
    """Largest sample difference outside a region and its crossfades."""
    changed = np.abs(source.audio.samples - take.audio.samples).max(axis=0)
    span = region.samples(source.audio.rate)
    edge = round(margin * source.audio.rate)
    changed[max(0, span.start - edge) : span.stop + edge] = 0
    return float(changed.max())


def _change_decibels(old: np.ndarray, new: np.ndarray) -> float:
    """Squared difference of latents against the old ones' power, in dB: 3 is unrelated, -20 the same."""
    return float(10 * np.log10(((old - new) ** 2).mean() / (old**2).mean() + 1e-12))


def _change_outside_decibels(old: np.ndarray, new: np.ndarray, span: slice) -> float:
    outside = np.ones(len(old), bool)
    outside[span] = False
    return _change_decibels(old[outside], new[outside])


def seeds(bench: EvalContext) -> list[Figure]:
    """Whether a seed means something: the same gives the same bytes, another gives other music."""
    recipe: Recipe = bench.prompts[0].recipe(bench.seconds)
    one, again, other = bench.lab.make(recipe), bench.lab.make(recipe), bench.lab.make(recipe.replace(seed=1))
    same = float(np.array_equal(one.audio.samples, again.audio.samples))
    likeness = float(np.corrcoef(one.latent.ravel(), other.latent.ravel())[0, 1])
    return [
        Figure("seeds", "same recipe, same bytes", same, None, 1.0, 1, wanted=1.0),
        Figure("seeds", "likeness of another seed's latent", likeness, None, 1.0, 1),
    ]


def planner(bench: EvalContext) -> list[Figure]:
    """Whether plans are well formed, keep what was asked, and agree with what is played."""
    if not bench.lab.checkpoint.has_lm:
        return []
    geometry, kept, form = bench.lab.checkpoint.geometry, [], []
    for prompt in bench.told("plans", bench.prompts):
        plan = bench.lab.plan(prompt.recipe(bench.seconds, thinking=True))
        form.append(len(plan.codes) == geometry.codes(bench.seconds) and plan.bpm is not None)
        kept.append(
            (plan.bpm, plan.keyscale, plan.timesignature) == (prompt.bpm, prompt.keyscale, prompt.timesignature)
        )
    return [
        Figure("planner", "well formed, exact number of codes", float(np.mean(form)), None, 1.0, len(form), wanted=1.0),
        Figure("planner", "keeps what was asked", float(np.mean(kept)), None, 1.0, len(kept), wanted=1.0),
        *_understanding(bench),
    ]


def _understanding(bench: EvalContext) -> list[Figure]:
    """Whether the planner hears in a sound what was asked for: agreement of the world's songs with their own words and with
    another song's, and the metadata it writes down of them.
    """
    half = bench.prompts[: max(4, len(bench.prompts) // 4)]
    sounds, others = bench.originals[: len(half)], measures.shuffled(half)
    own, strange, metadata, luck = [], [], [], []
    for prompt, other, sound in bench.told("understanding", list(zip(half, others, sounds, strict=True))):
        own.append(bench.lab.agreement(sound, prompt.plan(bench.seconds)).total)
        strange.append(bench.lab.agreement(sound, other.plan(bench.seconds)).total)
        heard = bench.lab.understand(sound, seed=prompt.seed)
        metadata.append(_same_metadata(heard, prompt))
        luck.append(_same_metadata(heard, other))
    n = len(half)
    return [
        Figure("planner", "agreement of songs with their words", float(np.mean(own)), float(np.mean(strange)), 1.0, n),
        Figure("planner", "tempo, key and meter understood", float(np.mean(metadata)), float(np.mean(luck)), 1.0, n),
    ]


def _same_metadata(heard: Plan, prompt: Prompt) -> float:
    """The share of tempo (±4 %, octaves allowed), key and meter that a plan has as the prompt does."""
    same = [
        heard.bpm is not None and same_tempo(heard.bpm, prompt.bpm),
        heard.keyscale is not None and same_key(heard.keyscale, prompt.keyscale),
        heard.timesignature == prompt.timesignature,
    ]
    return float(np.mean(same))


MEASURES: dict[str, Callable[[EvalContext], list[Figure]]] = {
    "round_trip": round_trip,
    "words": words,
    "words_alone": words_alone,
    "solo": solo,
    "stems": stems,
    "cover": cover,
    "repaint": repaint,
    "seeds": seeds,
    "planner": planner,
}
"""Groups of measures by name."""
