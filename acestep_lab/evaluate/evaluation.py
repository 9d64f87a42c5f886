"""The evaluation itself: one function per group of measures, each given an `EvalContext`.

Knows sessions, prompts and synthetic songs, and of an engine what its capabilities say: a group runs where they promise what it
needs, and is left out, with the reason, where they do not. Every sound is made once and measured by all that need it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities, Plans
from acestep_lab.errors import MachineError, RecipeError
from acestep_lab.evaluate import measures
from acestep_lab.evaluate.prompts import Prompt
from acestep_lab.evaluate.prompts import prompts as fixed_prompts
from acestep_lab.evaluate.report import Metric, Report
from acestep_lab.jobs.client import at_priority
from acestep_lab.listen.discontinuities import discontinuity
from acestep_lab.listen.instruments import InstrumentTagger, default_tagger
from acestep_lab.listen.key import chroma_correlation, key, same_key
from acestep_lab.listen.tempo import same_tempo, tempo
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Repaint, Text2Music
from acestep_lab.session import Session
from acestep_lab.sweep.pools import pool_for
from acestep_lab.sweep.work import MODEST, Job, News, Pool, Watch
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train.synthetic_music import Rendering, render
from acestep_lab.train.synthetic_music.compose import LONGEST, SHORTEST

ADHERENCE = "prompt adherence"
"""The group of metrics on how well takes follow their prompts."""
SECONDS = (SHORTEST, LONGEST)
"""Shortest and longest songs to evaluate on: those that can be composed."""


@dataclass
class EvalContext:
    """A session, the prompts it is evaluated on, and sounds that several measures share."""

    session: Session
    prompts: list[Prompt]
    """As this engine can be asked: without what it has no field for."""
    seconds: float
    progress: Callable[[str], None]
    tagger: InstrumentTagger = field(default_factory=default_tagger)

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do."""
        return self.session.capabilities

    def fixed(self, count: int, solo: bool = False) -> list[Prompt]:
        """The first `count` fixed prompts, as this engine can be asked."""
        return [prompt.for_engine(self.capabilities.vocabulary) for prompt in fixed_prompts(count, solo)]

    def rendered(self, prompt: Prompt) -> Rendering:
        """The prompt's own song, at the checkpoint's rate and channels."""
        latent = self.capabilities.latent
        return render(prompt.song(self.seconds), latent.rate, latent.audio_channels)

    def audio(self, samples: np.ndarray) -> Audio:
        """Samples [channels, samples] at the checkpoint's rate."""
        return Audio(samples, self.capabilities.latent.rate)

    def latent(self, audio: Audio) -> np.ndarray:
        """Encode a sound to a latent [frames, channels]."""
        return self.session.encode(audio)

    def round_trip(self, audio: Audio) -> Audio:
        """A sound after the autoencoder, cut to its own length."""
        back = self.session.decode(self.latent(audio))
        return Audio(back.samples[:, : audio.samples.shape[1]], back.rate)

    @cached_property
    def originals(self) -> list[Audio]:
        """The prompts' own songs."""
        return [self.audio(self.rendered(prompt).mix) for prompt in self.prompts]

    @cached_property
    def round_trips(self) -> list[Audio]:
        """The prompts' own songs after the autoencoder: the ceiling."""
        return [self.round_trip(audio) for audio in self.tracked("round trips", self.originals)]

    def make(self, prompts: Sequence[Prompt], what: str, **more: Any) -> list[Take]:
        """A take for every prompt; `more` are further fields of the recipe, `what` names them to `progress`."""
        return [self.session.make(prompt.recipe(self.seconds, **more)) for prompt in self.tracked(what, prompts)]

    def tracked(self, what: str, items: Sequence[Any]) -> Iterator[Any]:
        """Pass items on, telling `progress` now and then how far it is."""
        for place, item in enumerate(items):
            if place % 16 == 0:
                self.progress(f"{what}: {place} of {len(items)}")
            yield item


def evaluate(
    checkpoint: str | os.PathLike[str] | Session = "pocket",
    *,
    prompts: int = 64,
    seconds: float = 10.0,
    only: Iterable[str] | None = None,
    progress: Callable[[str], None] = lambda sentence: None,
    on: Any = None,
    resource: str | None = None,
) -> Report:
    """Measure a checkpoint (or an open session) on the first `prompts` fixed prompts, each `seconds` long.

    `only` names groups of MEASURES; `progress` is told a sentence now and then. A group that the engine cannot be measured by is
    left out, and the report says why. With `on` (that of `lab.sweep`: sessions, or the workers of a Dask cluster) each group is measured
    by whoever is free there, by the checkpoint in use there, which `checkpoint` then does not name. Raises RecipeError, before anything is loaded, for an unknown group, groups none of which
    can be measured, more prompts than there are, or a length that no song can have.
    """
    chosen = tuple(MEASURES) if only is None else tuple(only)
    if unknown := set(chosen) - set(MEASURES):
        raise RecipeError(f"There is no measure {sorted(unknown)[0]!r}; there are {', '.join(MEASURES)}.")
    count = _checked_count(prompts)
    seconds = checks.real("The length of a song", seconds, *SECONDS, "seconds")
    if on is not None:
        return _evaluated_on(pool_for(None, on, resource), chosen, count, seconds, progress)
    with tempfile.TemporaryDirectory() as folder:
        session = checkpoint if isinstance(checkpoint, Session) else Session.open(checkpoint, library=Library(folder))
        try:
            return _evaluated(session, chosen, count, seconds, progress)
        finally:
            if session is not checkpoint:
                session.close()


def _evaluated(
    session: Session, chosen: Sequence[str], count: int, seconds: float, progress: Callable[[str], None]
) -> Report:
    """The report on those of the chosen groups that the engine can be measured by; RecipeError where it is none of them."""
    left_out = {name: why for name in chosen if (why := MEASURES[name].missing(session))}
    if chosen and len(left_out) == len(chosen):
        raise RecipeError(f"Nothing of this can be measured: {next(iter(left_out.values()))}")
    limits = session.capabilities.seconds
    seconds = checks.real(f"The length of a song by {session.name}", seconds, *limits, "seconds")
    context = EvalContext(session, [], seconds, progress)
    context.prompts = context.fixed(count)
    metrics = [metric for name in chosen if name not in left_out for metric in MEASURES[name].measure(context)]
    decided = session.defaults(Text2Music())
    knobs = {knob: value for knob, value in decided.given().items() if value is not None}
    settings = {"prompts": len(context.prompts), "seconds": f"{seconds:g}", **knobs}
    return Report(session.name, settings, tuple(metrics), left_out)


def measured(lab: Any, watch: Watch, group: str, prompts: int, seconds: float) -> Report:
    """One group of measures, as a piece of work for a session that computes here."""
    if not isinstance(lab, Session):
        raise MachineError(
            "Measuring needs a session that computes where it is asked, such as a worker's; this one is elsewhere."
        )
    if why := MEASURES[group].missing(lab):
        return Report(lab.name, {}, (), {group: why})
    with at_priority(MODEST):
        return _evaluated(lab, (group,), prompts, seconds, lambda said: watch.tell({"message": said}))


def _evaluated_on(
    pool: Pool, chosen: Sequence[str], count: int, seconds: float, progress: Callable[[str], None]
) -> Report:  # fmt: skip
    """The report on groups that others measure, in the order they were asked for; a group that fails ends it with its reason."""
    found: dict[int, Report] = {}

    def hear(news: News) -> None:
        if news.kind == "told" and "message" in news.value:
            progress(str(news.value["message"]))
        elif news.kind == "failed":
            raise news.value
        elif news.kind == "done":
            found[news.place] = news.value
            progress(f"{chosen[news.place]}: done by {news.by or pool.where}")

    jobs = [
        Job(place, measured, partial(dict, group=name, prompts=count, seconds=seconds))
        for place, name in enumerate(chosen)
    ]
    try:
        pool.run(jobs, hear, lambda: False)
    finally:
        pool.close()
    reports = [found[place] for place in sorted(found)]
    left_out = {name: why for one in reports for name, why in one.left_out.items()}
    if len(left_out) == len(chosen):
        raise RecipeError(f"Nothing of this can be measured: {next(iter(left_out.values()))}")
    settings = next(one.settings for one in reports if one.metrics)
    return Report(reports[0].checkpoint, settings, tuple(metric for one in reports for metric in one.metrics), left_out)


def _checked_count(count: int) -> int:
    count = checks.whole("The number of prompts", count, 1, 10_000)
    found = len(fixed_prompts(count))
    if found < count:
        raise RecipeError(f"There are {found} fixed prompts; ask for at most so many, not {count}.")
    return count


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    """The mean; NaN of nothing, as where no prompt of a few has drums."""
    return float(np.mean(values)) if len(values) else float("nan")


# -- groups of measures --------------------------------------------------------------------------------------------------


def round_trip(context: EvalContext) -> list[Metric]:
    """How much the autoencoder preserves."""
    pairs = list(zip(context.originals, context.round_trips, strict=True))
    sdr = [measures.si_sdr(back.samples, true.samples) for true, back in pairs]
    distance = [measures.log_spectral_distance(back.samples, true.samples) for true, back in pairs]
    same = [same_key(key(true)[0], key(back)[0]) for true, back in pairs]
    drummed = [pair for pair, prompt in zip(pairs, context.prompts, strict=True) if "drums" in prompt.instruments]
    beat = [same_tempo(tempo(true)[0], tempo(back)[0]) for true, back in drummed]
    n = len(pairs)
    return [
        Metric("autoencoder", "round trip SI-SDR", _mean(sdr), None, None, n, "dB", 10.0),
        Metric("autoencoder", "round trip log-spectral distance", _mean(distance), None, None, n, "dB"),
        Metric("autoencoder", "key as found in the original", _mean(same), 1 / 24, 1.0, n, threshold=0.85),
        Metric("autoencoder", "tempo as found in the original", _mean(beat), None, 1.0, len(beat), threshold=0.95),
    ]


def prompt_adherence(context: EvalContext) -> list[Metric]:
    """How well text2music follows the prompt, with the checkpoint's default settings."""
    return _adherence(context, ADHERENCE, "text2music")


def prompt_adherence_without_planner(context: EvalContext) -> list[Metric]:
    """The same without a planner: the DiT given the prompt alone."""
    return _adherence(context, f"{ADHERENCE}, no planner", "text2music, no planner", thinking=False)


def _adherence(context: EvalContext, group: str, what: str, **more: Any) -> list[Metric]:
    takes = [take.audio for take in context.make(context.prompts, what, **more)]
    metrics = []
    for measure in measures.PROMPT_MEASURES:
        value, chance, n = measures.mean_scores(measure, takes, context.prompts)
        ceiling = measures.mean_scores(measure, context.round_trips, context.prompts)[0]
        threshold = measure.threshold if measure.threshold is None or measure.absolute else measure.threshold * ceiling
        if n:
            metrics.append(Metric(group, measure.name, value, chance, ceiling, n, threshold=threshold))
    other = measures.mismatched(context.prompts)
    variants: tuple[tuple[str, dict[str, Any], float | None], ...] = (
        ("instruments present or absent as asked", {}, 0.90),
        ("the same, those that the caption leaves out counted too", {"count_unnamed": True}, None),
        ("the same in five roles", {"roles": measures.FIVE_ROLES}, 0.82),
    )
    for name, options, threshold in variants:
        metrics.append(
            Metric(
                group,
                name,
                measures.instrument_accuracy(context.tagger, takes, context.prompts, **options),
                measures.instrument_accuracy(context.tagger, takes, other, **options),
                measures.instrument_accuracy(context.tagger, context.round_trips, context.prompts, **options),
                len(takes),
                threshold=threshold,
            )
        )
    return metrics


def solo(context: EvalContext) -> list[Metric]:
    """Whether a single instrument is the asked one."""
    prompts = context.fixed(len(context.prompts) // 2, solo=True)
    made = [take.audio for take in context.make(prompts, "single instruments")]
    true = [context.round_trip(context.audio(context.rendered(prompt).mix)) for prompt in prompts]
    return [
        Metric(
            ADHERENCE,
            "single instrument",
            measures.solo_accuracy(context.tagger, made, prompts),
            measures.solo_accuracy(context.tagger, made, measures.mismatched(prompts)),
            measures.solo_accuracy(context.tagger, true, prompts),
            len(prompts),
            threshold=0.90,
        )
    ]


def stems(context: EvalContext) -> list[Metric]:
    """What extract, lego and complete do with the stems of the prompts' songs."""
    gains: dict[str, list[float]] = {}
    lego_true, lego_chance, complete = [], [], []
    chosen = [p for p in context.prompts if len(p.instruments) >= 3][: max(4, len(context.prompts) // 4)]
    for place, prompt in enumerate(context.tracked("stems", chosen)):
        song = context.rendered(prompt)
        stem = prompt.instruments[place % len(prompt.instruments)]
        mix, alone = context.audio(song.mix), context.audio(song.stems[stem])
        gains.setdefault(stem, []).append(_extract_gain(context, prompt, stem, mix, alone))
        rest = context.audio(song.mix - song.stems[stem])
        added = context.session.lego(rest, stem, prompt.caption, seed=prompt.seed)
        lego_true.append(stem in context.tagger.present(added.audio))
        lego_chance.append(chosen[place - 1].instruments[0] in context.tagger.present(added.audio))
        others = [s for s in prompt.instruments if s != stem][:3]
        full = context.session.complete(alone, others, prompt.caption, seed=prompt.seed)
        complete += [s in context.tagger.present(full.audio) for s in others]
    metrics = [
        Metric("stems", f"extract {stem}: nearer to the stem by", _mean(g), None, None, len(g), "dB")
        for stem, g in sorted(gains.items())
    ]
    every = [gain for g in gains.values() for gain in g]
    return [
        *metrics,
        Metric("stems", "extract, all stems", _mean(every), 0.0, None, len(every), "dB", 9.0),
        Metric(
            "stems",
            "lego: the new stem is detected",
            _mean(lego_true),
            _mean(lego_chance),
            1.0,
            len(lego_true),
        ),
        Metric("stems", "complete: the added stems are detected", _mean(complete), None, 1.0, len(complete)),
    ]


def _extract_gain(context: EvalContext, prompt: Prompt, stem: str, mix: Audio, alone: Audio) -> float:
    take = context.session.extract(mix, stem, caption=prompt.caption, seed=prompt.seed)
    return measures.gain_decibels(context.latent(mix), take.latent, context.latent(alone))


def cover(context: EvalContext) -> list[Metric]:
    """Whether a cover keeps rhythm and harmony of its source."""
    half = context.prompts[: max(4, len(context.prompts) // 2)]
    covers = []
    for prompt, source in context.tracked("covers", list(zip(half, context.originals, strict=False))):
        covers.append(context.session.cover(source, prompt.caption, prompt.lyrics, seed=prompt.seed).audio)
    others = [*context.originals[1 : len(half)], context.originals[0]]
    pairs = [(c, s, o, p) for c, s, o, p in zip(covers, context.originals, others, half, strict=False)]
    drummed = [pair for pair in pairs if "drums" in pair[3].instruments]
    beat = [same_tempo(tempo(c)[0], tempo(s)[0]) for c, s, _, _ in drummed]
    by_chance = [same_tempo(tempo(c)[0], tempo(o)[0]) for c, _, o, _ in drummed]
    kept = [chroma_correlation(c, s) for c, s, _, _ in pairs]
    chance = [chroma_correlation(c, o) for c, _, o, _ in pairs]
    top = [chroma_correlation(b, s) for b, s in zip(context.round_trips, context.originals, strict=False)][: len(half)]
    return [
        Metric("cover", "tempo kept", _mean(beat), _mean(by_chance), 1.0, len(beat), threshold=0.9),
        Metric(
            "cover",
            "harmony kept (chroma correlation)",
            _mean(kept),
            _mean(chance),
            _mean(top),
            len(kept),
            threshold=0.6,
        ),
    ]


def repaint(context: EvalContext) -> list[Metric]:
    """Whether a repaint's borders are audible, and whether anything outside changed."""
    chosen = context.prompts[: max(4, len(context.prompts) // 2)]
    smooth, reference, outside, inside, free_outside = [], [], [], [], []
    for place, prompt in enumerate(context.tracked("repaints", chosen)):
        source = context.session.make(prompt.recipe(context.seconds))
        start = context.seconds * (0.2 + 0.3 * (place % 3) / 2)
        region = Region(start, start + context.seconds * 0.3)
        take = context.session.repaint(source, region, seed=prompt.seed + 1)
        smooth += [not discontinuity(take.audio, at).audible for at in (region.start, region.end)]
        reference += [not discontinuity(source.audio, at).audible for at in (region.start, region.end)]
        outside.append(_largest_change_outside(source, take, region))
        free = _unconstrained_repaint(context, source, region, prompt.seed + 1)
        span = region.frames(context.capabilities.latent.frames_per_second)
        inside.append(_change_decibels(source.latent[span], free[span]))
        free_outside.append(_change_outside_decibels(source.latent, free, span))
    n = len(smooth)
    return [
        Metric(
            "repaint",
            "borders no louder than the song's own joints",
            _mean(smooth),
            None,
            _mean(reference),
            n,
            threshold=0.9,
        ),
        Metric("repaint", "largest change outside", float(np.max(outside)), None, 0.0, len(outside), "of full scale"),
        Metric("repaint", "new inside: distance to the old", _mean(inside), None, None, len(inside), "dB"),
        Metric(
            "repaint",
            "outside when left to the model: distance",
            _mean(free_outside),
            None,
            None,
            len(free_outside),
            "dB",
        ),
    ]


def _unconstrained_repaint(context: EvalContext, source: Take, region: Region, seed: int) -> np.ndarray:
    """The latent [frames, channels] of a repaint as sampled: the source neither injected on the way nor put back after it."""
    task = Repaint(source, (region,), injection=0.0, latent_crossfade=0.0)
    run = context.session.start(context.session.recipe_from(source, task, seed=seed))
    run.take()
    state = run.steps[-1].state
    if state is None:
        raise RecipeError(
            f"{context.session.name} shows no latents, so a repaint cannot be looked at before it is put back."
        )
    latent: np.ndarray = state.float().cpu().numpy()
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


def seeds(context: EvalContext) -> list[Metric]:
    """Whether a seed decides the take: the same gives the same bytes, another gives other music."""
    recipe: Recipe = context.prompts[0].recipe(context.seconds)
    one, again, other = (context.session.make(r) for r in (recipe, recipe, recipe.replace(seed=1)))
    same = float(np.array_equal(one.audio.samples, again.audio.samples))
    return [
        Metric("seeds", "same recipe, same bytes", same, None, 1.0, 1, threshold=1.0),
        _likeness(context.capabilities.latent.kind, one.latent, other.latent),
    ]


def _likeness(kind: str, one: np.ndarray, other: np.ndarray) -> Metric:
    """How alike two latents [frames, channels] are: their correlation; of tokens, which have no order, those that are equal."""
    if kind == "tokens":
        return Metric("seeds", "tokens that another seed has too", float((one == other).mean()), None, 1.0, 1)
    likeness = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    return Metric("seeds", "likeness of another seed's latent", likeness, None, 1.0, 1)


def planner(context: EvalContext) -> list[Metric]:
    """Whether plans are well formed and keep what was asked, and whether the planner recognises songs."""
    kept, form = [], []
    engine = context.session.engine
    codes = engine.code_count(context.seconds) if isinstance(engine, Plans) else 0
    for prompt in context.tracked("plans", context.prompts):
        plan = context.session.plan(prompt.recipe(context.seconds, thinking=True))
        form.append(len(plan.codes) == codes and plan.bpm is not None)
        kept.append(
            (plan.bpm, plan.keyscale, plan.timesignature) == (prompt.bpm, prompt.keyscale, prompt.timesignature)
        )
    return [
        Metric("planner", "well formed, exact number of codes", _mean(form), None, 1.0, len(form), threshold=1.0),
        Metric("planner", "keeps what was asked", _mean(kept), None, 1.0, len(kept), threshold=1.0),
        *(_understanding(context) if context.capabilities.codes else []),
    ]


def _understanding(context: EvalContext) -> list[Metric]:
    """Whether the planner recognises a song: plan scores against its own prompt and another one, and the metadata it infers."""
    half = context.prompts[: max(4, len(context.prompts) // 4)]
    sounds, others = context.originals[: len(half)], measures.mismatched(half)
    matched_scores, mismatched_scores, metadata, by_chance = [], [], [], []
    for prompt, other, sound in context.tracked("understanding", list(zip(half, others, sounds, strict=True))):
        matched_scores.append(context.session.plan_score(sound, prompt.plan(context.seconds)).total)
        mismatched_scores.append(context.session.plan_score(sound, other.plan(context.seconds)).total)
        inferred = context.session.understand(sound, seed=prompt.seed)
        metadata.append(_same_metadata(inferred, prompt))
        by_chance.append(_same_metadata(inferred, other))
    n = len(half)
    return [
        Metric(
            "planner",
            "plan score of songs against their prompts",
            _mean(matched_scores),
            _mean(mismatched_scores),
            1.0,
            n,
        ),
        Metric("planner", "tempo, key and meter understood", _mean(metadata), _mean(by_chance), 1.0, n),
    ]


def _same_metadata(plan: Plan, prompt: Prompt) -> float:
    """The share of tempo (±4 %, octaves allowed), key and meter that a plan has as the prompt does."""
    same = [
        plan.bpm is not None and same_tempo(plan.bpm, prompt.bpm),
        plan.keyscale is not None and same_key(plan.keyscale, prompt.keyscale),
        plan.timesignature == prompt.timesignature,
    ]
    return _mean(same)


@dataclass(frozen=True)
class MeasureGroup:
    """A group of measures, and what an engine must be able to do for it."""

    measure: Callable[[EvalContext], list[Metric]]
    tasks: tuple[str, ...] = ()
    """Class names of tasks, all of which are needed."""
    planner: bool = False
    distances: bool = False
    """Whether it measures how far apart latents are, which tokens do not tell."""

    def missing(self, session: Session) -> str:
        """Why a session cannot be measured so, as a sentence; "" where it can."""
        can = session.capabilities
        lacking = [task for task in self.tasks if task not in can.tasks]
        if lacking:
            return f"{session.name} does not do {' and '.join(lacking)}."
        if self.planner and not session.has_planner:
            return f"{session.name} has no planner{' that this machine has room for' if can.plans else ''}."
        if self.distances and can.latent.kind == "tokens":
            return f"{session.name} writes tokens, between which there is no distance."
        return ""


_MUSIC = ("Text2Music",)
MEASURES: Mapping[str, MeasureGroup] = {
    "round_trip": MeasureGroup(round_trip),
    "prompt_adherence": MeasureGroup(prompt_adherence, _MUSIC),
    "prompt_adherence_without_planner": MeasureGroup(prompt_adherence_without_planner, _MUSIC, planner=True),
    "solo": MeasureGroup(solo, _MUSIC),
    "stems": MeasureGroup(stems, ("Extract", "Lego", "Complete"), distances=True),
    "cover": MeasureGroup(cover, ("Cover",)),
    "repaint": MeasureGroup(repaint, ("Text2Music", "Repaint"), distances=True),
    "seeds": MeasureGroup(seeds, _MUSIC),
    "planner": MeasureGroup(planner, planner=True),
}
"""Groups of measures by name, as `only` takes them."""
