"""What each word of a take did: every change rendered on the same noise, measured, and kept beside the take. Knows engines by their
contract; what can be changed says `listen.variants`, how far music moves `listen.attribution`.

A run that gives way: between two loops whatever else waits has its turn, and what is measured by then is kept, so that the same
call goes on after a stop.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Attaches, Engine, Prepared, Rendered, Request, ShowsAttention, groups
from acestep_lab.errors import CheckpointError, LabError, RecipeError, Stopped, sentence, shown
from acestep_lab.jobs import annotating
from acestep_lab.jobs.eta import DECODE, ENCODE, RENDER, EtaEstimator, Round, Work
from acestep_lab.jobs.progress import clock_of
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.stitching import is_stitch
from acestep_lab.jobs.work import item_work, work_key
from acestep_lab.listen import attribution
from acestep_lab.listen.attribution import Attribution, Effect, Heard, WordAttention
from acestep_lab.listen.variants import LEFT_OUT, WHAT, Variant, variants, words
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED, Source
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take

FEW_STEPS = 8
"""Steps of each render, at most: what a word changes is there early."""
AT_ONCE = 4
"""Changes that share a loop, at most."""
METHOD = 1
"""Which version of the method measured what is kept; another one measures anew."""
DRAWS = ((0.3, 0), (0.6, 1))
"""Times (1 is noise) and seeds at which the model is watched."""
MOST_WORDS = 64
"""Words of a caption whose attention is told."""
LISTEN = "listen"
BY = ("change", "attention")
NAME = "attribution"
NO_ATTENTION = "shows no attention; what each word does is measured by leaving it out: lab.attribute(take)."
NO_CODES_CHANGE = "The audio codes of its plan stayed as they are: what the words did to the plan is not in this."


class Engines(Protocol):
    """The engines that are open, and the memory they share."""

    def maker_of(self, made: Take) -> Engine:
        """The engine that made a take."""

    def longest(self, engine: Engine) -> float:
        """The longest song, in seconds, that this machine has room for."""

    def batch(self, engine: Engine) -> int:
        """How many songs may share a loop."""

    def fit_to(self, engine: Engine, seconds: float, takes: int) -> None:
        """Take up the memory plan for songs of so many seconds."""

    def device(self, engine: Engine) -> object:
        """Where an engine works."""


@dataclass(frozen=True)
class Asked:
    """What is to be found out about a take."""

    what: tuple[str, ...] = WHAT
    swap: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    by: str = BY[0]
    anew: bool = False

    @classmethod
    def of(cls, what: Any, swap: Any, steps: Any, by: Any, anew: Any) -> Asked:
        """Read what is asked for; RecipeError for what cannot be."""
        listed = (
            (what,)
            if checks.is_a(what, str)
            else checks.sequence("What is changed", WHAT if what is None else what, 20)
        )
        chosen = tuple(dict.fromkeys(checks.choice("What is changed", one, WHAT) for one in listed))
        return cls(
            chosen, checks.mapping("swap", {} if swap is None else swap),
            None if steps is None else checks.whole("steps", steps, 1, 1000), checks.choice("by", by, BY),
            checks.truth("anew", anew),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As plain data, as it goes to another machine."""
        swap = dict(self.swap) or None
        return {"what": list(self.what), "swap": swap, "steps": self.steps, "by": self.by, "anew": self.anew}


class Attributes(Protocol):
    """Who finds out what each word did: here, or on another machine."""

    def begin(self, source: Source, asked: Asked) -> AttributionRun:
        """Queue a run that finds out."""

    def cost(self, source: Source, asked: Asked) -> AttributionCost:
        """What it would take."""


@dataclass(frozen=True)
class AttributionCost:
    """What it will take to find out, said before: print it for a sentence."""

    changes: int
    """What is changed, one at a time."""
    known: int
    """How many of those are measured already."""
    renders: int
    """The changes that are not, the take itself and another seed."""
    steps: int
    """Steps of each; 0 for a model without."""
    seconds: float | None = None
    """How long that takes, from what renders took here; None where none was measured."""

    def __str__(self) -> str:
        """In a sentence."""
        if not self.renders:
            return (
                f"All {self.changes} changes are known."
                if self.changes
                else "One look at the model's attention; no render."
            )
        time = "how long is not measured yet" if self.seconds is None else f"about {clock_of(self.seconds)}"
        steps = f" of {self.steps} step{'s' * (self.steps != 1)}" if self.steps else ""
        known = f"; {self.known} of {self.changes} changes are known" if self.known else ""
        return f"{self.renders} renders{steps}, {time}{known}."

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class AttributionRun(Run[Effect, Attribution]):
    """What each word did, being found out: iterate it for each change as it is measured; `result()` is the Attribution."""

    kind = NAME
    gives_way = True

    def __init__(self, take: Take, cost: AttributionCost, work: Work | None = None) -> None:
        self.take, self.cost = take, cost
        self.attribution: Attribution | None = None
        """What is known so far; None before anything is."""
        super().__init__(f"what each word did in {take.id}", take.audio.seconds * max(1, cost.renders) / 2, work)
        self.messages.append(str(cost))

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What was measured by now."""
        return tuple(self._pieces)

    def _result(self) -> Attribution:
        if self.attribution is None:
            raise LabError("This run ended without an attribution; look at run.messages.")
        return self.attribution

    def _at_work(self) -> str:
        if not self.cost.renders or self._state == "queued":
            return self._state
        return f"change {min(len(self._pieces) + 1, self.cost.changes)} of {self.cost.changes}"

    def what_is_kept(self) -> str:
        """What there is of it so far, in a sentence."""
        return f"{len(self._pieces)} of {self.cost.changes} changes are measured; the same lab.attribute(…) goes on from there."

    def stopped(self) -> Stopped:
        """What to raise where it was asked to stop."""
        return Stopped(f"The attribution was stopped. {self.what_is_kept()}")

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data."""
        return super().to_json() | {"take": self.take.id, "cost": self.cost.to_json(), "effects": len(self._pieces)}

    # -- what the worker tells

    def measured(self, effect: Effect) -> None:
        """A change was measured."""
        self._add(effect)
        self._measure(len(self._pieces) / max(1, self.cost.changes))
        self._emit("effect", effect)

    def found(self, what: Attribution) -> None:
        """All that is known by now."""
        self.attribution = what


@dataclass
class Found:
    """What is known by now."""

    effects: dict[str, Effect] = field(default_factory=dict)
    """By the keys of the changes."""
    heard: Heard | None = None
    attention: WordAttention | None = None
    of: str = "x0"

    @classmethod
    def kept(cls, kept: Mapping[str, Any], key: Mapping[str, Any], control: str) -> Found:
        """What was kept under this key; nothing unless the other seed was measured too, or where the file is damaged."""
        if kept.get("key") != key:
            return cls()
        told = annotating.read(Attribution.from_json, kept, NAME)
        known = annotating.read(attribution.of_effects, kept, "effects")
        if told is None or known is None:
            return cls()
        return cls(known, told.heard, told.attention, told.of) if control in known else cls(attention=told.attention)


@dataclass
class Job:
    """A take, the changes, the engine, and what is known."""

    take: Take
    engine: Engine
    asked: Asked
    base: Recipe
    plan: Plan | None
    changes: tuple[Variant, ...]
    kept: Mapping[str, Any]
    requests: dict[str, Request] = field(default_factory=dict)
    """By the keys of the changes; "" is the take itself."""
    problems: dict[str, str] = field(default_factory=dict)
    """Changes that the engine refuses, by key, with its sentence."""

    @cached_property
    def key(self) -> dict[str, Any]:
        """What must be the same for a measurement to stand."""
        codes = "" if self.plan is None else str(self.plan.codes)
        told = json.dumps([_plain(self.base), codes], sort_keys=True)
        content = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        return {
            "recipe": content,
            "checkpoint": self.engine.name,
            "adapters": adapters_of(self.engine),
            "method": METHOD,
        }

    @cached_property
    def control(self) -> Variant:
        """Another noise and nothing else: the scale of it all."""
        seed = (int(self.base.seed or 0) + 1) % (MAX_SEED + 1)
        return Variant("seed", str(seed), "→ another seed", self.base.replace(seed=seed))

    @cached_property
    def found(self) -> Found:
        """What is known by now; at first, what was kept."""
        return Found() if self.asked.anew else Found.kept(self.kept, self.key, self.control.key)

    @property
    def steps(self) -> int:
        """Steps of each render; 0 for a model without."""
        return int(getattr(self.base.sampling, "steps", None) or 0)

    @property
    def to_make(self) -> tuple[Variant, ...]:
        """The changes to be rendered, the other seed first."""
        wanted = [one for one in self.changes if one.key not in {*self.problems, *self.found.effects}]
        return (*((self.control,) if self.control.key not in self.found.effects else ()), *wanted) if wanted else ()

    def effect(self, one: Variant) -> Effect | None:
        """What a change did, as far as it is known."""
        problem = self.problems.get(one.key)
        return self.found.effects.get(one.key) if problem is None else _refused(one, problem)

    def attribution(self) -> Attribution:
        """All that is known by now, as a value."""
        effects = (found for one in self.changes if (found := self.effect(one)) is not None)
        known, take = self.found, self.take
        control = known.effects.get(self.control.key) if self.changes else None
        return Attribution(
            take.id, self.base.caption, self.base.lyrics, self.engine.name, round(take.audio.seconds, 4), self.steps, known.of,
            tuple(effects), control, known.heard if self.changes else None, known.attention, self.remarks(),
        )  # fmt: skip

    def remarks(self) -> tuple[str, ...]:
        """What whoever reads it ought to know."""
        said = []
        if self.plan is not None and self.changes:
            said.append(NO_CODES_CHANGE)
        if dict(self.take.made_with.get("adapters") or {}) != dict(adapters_of(self.engine)):
            said.append("This take was made with other adapters than are on now; what is measured here is those.")
        if not _attends(self.engine):
            said.append(f"{self.engine.name} shows no attention; what was left out and swapped is all there is to see.")
        return tuple(said)


class Attributing:
    """Finds out what each word of a take did."""

    def __init__(self, engines: Engines, sounds: Sounds, queue: JobQueue) -> None:
        self.engines, self.sounds, self.queue = engines, sounds, queue

    def begin(self, source: Source, asked: Asked) -> AttributionRun:
        """Queue the run; RecipeError and CheckpointError for what cannot be found out, before any work."""
        self.queue.must_be_open()
        job = self._job(source, asked)
        cost, work = self._cost(job)
        return self.queue.submit(AttributionRun(job.take, cost, work), lambda run: self._work(run, job))

    def cost(self, source: Source, asked: Asked) -> AttributionCost:
        """What it would take."""
        return self._cost(self._job(source, asked))[0]

    # -- what is to be done

    def _job(self, source: Source, asked: Asked) -> Job:
        take = attributable(self.sounds.find(source))
        engine = self._maker(take)
        if asked.by == "attention" and not _attends(engine):
            raise RecipeError(f"{engine.name} {NO_ATTENTION}")
        if asked.by == "attention" and not words(take.recipe.caption):
            raise RecipeError("This take has no caption that the model could look at; take one with words.")
        base = quick(take.recipe, asked.steps)
        changes = _read_by(engine, variants(base, asked.what, asked.swap)) if asked.by == "change" else ()
        job = Job(take, engine, asked, base, _codes_alone(take.plan), changes, self._annotation(take.id))
        self._resolve(job)
        return job

    def _maker(self, take: Take) -> Engine:
        """The engine that made a take; CheckpointError where it is not open any more."""
        engine, name = self.engines.maker_of(take), take.made_with.get("checkpoint")
        if isinstance(name, str) and name != engine.name:
            raise CheckpointError(
                f"This take was made by {shown(name)}, which is not open; only it can tell what its words did: lab.use({shown(name)})."
            )
        return engine

    def _resolve(self, job: Job) -> None:
        """Every recipe as the engine decides it; what it refuses of a change is that change's problem."""
        job.requests[""] = self._request(job, job.base)
        for one in (job.control, *job.changes):
            try:
                job.requests[one.key] = self._request(job, one.recipe)
            except RecipeError as problem:
                job.problems[one.key] = sentence(problem)

    def _request(self, job: Job, recipe: Recipe) -> Request:
        return job.engine.resolve(recipe, job.plan, self.sounds.find, self.engines.longest(job.engine))

    def _cost(self, job: Job) -> tuple[AttributionCost, Work]:
        made = job.to_make
        requests = [job.requests[""], *(job.requests[one.key] for one in made)] if made else []
        work = self._work_of(job, requests) if requests else Work()
        seconds = self._seconds(work) if requests else 0.0
        known = sum(one.key in job.found.effects for one in job.changes)
        return AttributionCost(len(job.changes), known, len(requests), job.steps, seconds), work

    def _seconds(self, work: Work) -> float | None:
        """How long it should take, from what renders took here; before anything was measured in a sound, without that."""
        known = self.queue.history.knows(work.key, LISTEN)
        stages = {name: rounds for name, rounds in work.stages.items() if known or name != LISTEN}
        return EtaEstimator(Work(work.key, stages), self.queue.history).remaining

    def _work_of(self, job: Job, requests: Sequence[Request]) -> Work:
        """Words, loops, sounds, and what is measured in them."""
        items = [item_work(job.engine, one, False) for one in requests]
        work = Work.of(work_key(job.engine, self.engines.device(job.engine)), items, self._at_once(job))
        return Work(work.key, {**work.stages, LISTEN: [Round(1.0, one.seconds) for one in items]})

    def _at_once(self, job: Job) -> int:
        """How many changes share a loop: as many as have room in place of one long song."""
        room = int(self.engines.longest(job.engine) / max(job.requests[""].seconds, 0.1))
        return max(self.engines.batch(job.engine), min(AT_ONCE, room), 1)

    # -- on the worker thread

    def _work(self, run: AttributionRun, job: Job) -> Iterator[None]:
        """The run's body."""
        run.enter(LISTEN)
        for one in job.changes:
            if (known := job.effect(one)) is not None:
                run.measured(known)
        if self._looks(job):
            self._look(run, job)
            yield
        if job.to_make:
            yield from self._measure(run, job)
        run.found(job.attribution())
        self._keep(run, job)
        run.finish()

    def _looks(self, job: Job) -> bool:
        return _attends(job.engine) and job.found.attention is None and bool(words(job.base.caption))

    def _look(self, run: AttributionRun, job: Job) -> None:
        """Where the model looks while it makes the take."""
        engine: Any = job.engine
        with run.stage(LISTEN):
            [prepared] = engine.prepare([job.requests[""]], run.stop_event)
            latent = engine.encode(job.take, run.stop_event)
            seen = engine.caption_attention(prepared, latent, DRAWS, run.stop_event)
            caption, count = job.base.caption, attribution.slices(job.take.audio.seconds)
            spans = words(caption)[:MOST_WORDS]
            job.found.attention = attribution.attention_of(seen.log, seen.spans, caption, spans, count)

    def _measure(self, run: AttributionRun, job: Job) -> Iterator[None]:
        """Render what is not known, some changes at a time; what is measured is kept after each loop."""
        changes = {one.key: one for one in job.to_make}
        order, worn = ["", *changes], adapters_of(job.engine)
        wanted, most = [job.requests[key] for key in order], self._at_once(job)
        with run.stage(ENCODE):
            self.engines.fit_to(job.engine, max(one.seconds for one in wanted), min(len(wanted), most))
            prepared = job.engine.prepare(wanted, run.stop_event)
        base: Measured | None = None
        for places in groups(prepared, most):
            yield
            if adapters_of(job.engine) != worn:
                raise RecipeError("The adapters were changed meanwhile, so that the rest would not compare; ask again.")
            for place, made in self._made(run, job, {place: prepared[place] for place in places}):
                base = base or made
                if place:
                    self._told(run, job, changes[order[place]], made, base)
            job.found.heard, job.found.of = base.heard if base else None, base.of if base else "x0"
            self._keep(run, job)

    def _told(self, run: AttributionRun, job: Job, one: Variant, made: Measured, base: Measured) -> None:
        job.found.effects[one.key] = effect = made.against(base, one)
        if one.kind != "seed":
            run.measured(effect)

    def _made(
        self, run: AttributionRun, job: Job, prepared: Mapping[int, Prepared]
    ) -> Iterator[tuple[int, Measured]]:  # fmt: skip
        """Render some changes in one loop, and measure each."""
        places, states = list(prepared), dict[int, Any]()
        with run.stage(RENDER):
            for step in job.engine.sample(list(prepared.values()), run.check):
                states |= {one.item: one.state for one in step.each() if one.state is not None}
                run.advance()
                self.queue.run_small_jobs()
                run.check()
        for index, place in enumerate(places):
            with run.stage(DECODE):
                rendered = job.engine.decode(prepared[place], states.pop(index), run.stop_event)
            with run.stage(LISTEN):
                yield place, Measured.of_sound(job, rendered)

    # -- what is kept beside a take

    def _annotation(self, id: str) -> Mapping[str, Any]:
        return annotating.kept(self.sounds.library, id, NAME)

    def _keep(self, run: AttributionRun, job: Job) -> None:
        """What is known by now goes beside a kept take; where the disk refuses it is only told."""
        effects = {key: one.to_json() for key, one in job.found.effects.items()}
        told = {"key": job.key, "effects": effects, NAME: job.attribution().to_json()}
        for said in annotating.keep(self.sounds.library, job.take.id, NAME, told):
            run.message(said)


@dataclass(frozen=True, eq=False)
class Measured:
    """What is compared of one render."""

    latent: np.ndarray
    """`[frames, channels]`: the latent, or levels above silence where a model has none."""
    levels: np.ndarray
    """`[bands, slices]` in dB."""
    heard: Heard | None
    of: str

    @classmethod
    def of_sound(cls, job: Job, rendered: Rendered) -> Measured:
        """Measure a render."""
        count = attribution.slices(job.take.audio.seconds)
        levels = attribution.band_levels(rendered.audio, rendered.gain, count)
        heard = attribution.listened(rendered.audio, rendered.gain, job.base.bpm)
        if job.engine.capabilities.latent.kind == "continuous":
            return cls(rendered.latent.float().cpu().numpy(), levels, heard, "x0")
        return cls(np.maximum(levels - levels.max() - attribution.FLOOR_DB, 0.0).T, levels, heard, "spectrogram")

    def against(self, base: Measured, one: Variant) -> Effect:
        """What a change did, held against the take itself."""
        grid = attribution.moved_in_bands(base.levels, self.levels)
        count = grid.shape[1]
        return Effect(
            one.kind, one.name, one.change, one.span, round(attribution.moved(base.latent, self.latent), 5),
            attribution.moved_over_time(base.latent, self.latent, count), _rounded(grid.mean(axis=1)),
            tuple(_rounded(row) for row in grid), self.heard,
        )  # fmt: skip


def kept_attribution(library: Library, id: str) -> Attribution | None:
    """What was found out about a take and lies beside it; None where nothing does, or it cannot be read."""
    return annotating.read(Attribution.from_json, annotating.kept(library, id, NAME), NAME)


def attributable(sound: Take | Audio) -> Take:
    """A take whose words can be left out; RecipeError for any other sound."""
    if not isinstance(sound, Take):
        raise RecipeError("This sound was not made from words here: only of a take can it be told what each word did.")
    if is_stitch(sound.recipe):
        raise RecipeError("A stitched song has no noise of its own; ask what the words did in the takes it is made of.")
    return sound


def quick(recipe: Recipe, steps: int | None) -> Recipe:
    """A take's recipe in few steps, straight from the words; one with times of its own, or without steps, keeps its loop."""
    base = recipe.replace(thinking=False)
    own = getattr(recipe.sampling, "steps", None)
    if own is None or getattr(recipe.sampling, "timesteps", None) is not None:
        return base
    return base.replace(steps=min(own, FEW_STEPS) if steps is None else steps)


def adapters_of(engine: Engine) -> list[list[Any]]:
    """The adapters that are on an engine, each with its strength, as plain data."""
    return [[one.name, strength] for one, strength in (engine.attached if isinstance(engine, Attaches) else ())]


def _read_by(engine: Engine, changes: Sequence[Variant]) -> tuple[Variant, ...]:
    """The changes of what an engine reads at all, and those that were asked for by name; RecipeError where none is left."""
    can = engine.capabilities.vocabulary
    read = {
        "bpm": can.bpm is not None, "keyscale": bool(can.keyscales), "timesignature": bool(can.timesignatures),
        "language": bool(can.languages),
    }  # fmt: skip
    found = tuple(
        one for one in changes
        if one.change != LEFT_OUT or one.kind == "phrase" or (read[one.name] if one.kind == "field" else can.lyrics)
    )  # fmt: skip
    if not found:
        raise RecipeError(f"{engine.name} reads no words of this take but a caption, which it has not.")
    return found


def _attends(engine: Engine) -> bool:
    return engine.capabilities.attends and isinstance(engine, ShowsAttention)


def _codes_alone(plan: Plan | None) -> Plan | None:
    """Of a plan, what the words of a recipe do not say: its codes; None where it has none."""
    return Plan(codes=plan.codes) if plan is not None and plan.codes else None


def _plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.replace(task=recipe.task.with_ids()).to_json()


def _refused(one: Variant, problem: str) -> Effect:
    return Effect(one.kind, one.name, one.change, one.span, 0.0, (), (), (), None, problem)


def _rounded(row: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in row)
