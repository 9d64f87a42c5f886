"""A stand-in Session for the tests of what people see: the real Run, JobQueue and Library, a sine instead of a model."""

from __future__ import annotations

import dataclasses
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from acestep_lab.audio.audio import Audio, splice
from acestep_lab.engines.base import Capabilities, LatentSpec, Vocabulary
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, RecipeError, shown
from acestep_lab.jobs import noting, scoring, stems, stitching
from acestep_lab.jobs.attributing import Asked, AttributionCost, AttributionRun, attributable
from acestep_lab.jobs.eta import Round, Work
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import recipes_of
from acestep_lab.jobs.run import Run
from acestep_lab.listen.alignment import planned, text_with_words
from acestep_lab.listen.analysis import Analysis, analyze
from acestep_lab.listen.attribution import Attribution, Effect, Heard, WordAttention
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.scores import Scores
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.listen.variants import Variant, variants, words
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSampling, Sampling, TokenSampling, converted
from acestep_lab.prompt.tasks import MODEL_TASKS, Repaint, Retake, Task
from acestep_lab.sweep.begin import sweep
from acestep_lab.sweep.mapping import map_songs
from acestep_lab.sweep.report import report
from acestep_lab.sweep.verifying import verify
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take
from acestep_lab.train import labelling

RATE = 8000


def png(step: Step) -> bytes:
    """The estimate as a grey PNG, by hand."""
    values = np.asarray(step.estimate).T
    grey = np.clip((values - values.min()) / (np.ptp(values) + 1e-9) * 255, 0, 255).astype(np.uint8)
    height, width = grey.shape
    raw = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tone(seconds: float, seed: int = 1, rate: int = RATE) -> Audio:
    """A quiet stereo sound that differs by seed and swells, so that its waveform has a shape."""
    at = np.arange(round(seconds * rate)) / rate
    swell = 0.35 + 0.3 * np.sin(2 * np.pi * at / 3.1 + seed) + 0.1 * np.sin(2 * np.pi * 1.7 * at)
    wave = swell * np.sin(2 * np.pi * (110 + 20 * (seed % 12)) * at)
    return Audio(np.stack([wave, np.roll(wave, 40)]).astype(np.float32), rate)


@dataclasses.dataclass(frozen=True)
class PretendEngine:
    """A model family that plays sines: what it can do, and what it does where a recipe says nothing."""

    name: str
    capabilities: Capabilities
    usual: Sampling
    steps: int


def _can(family: str, licence: str, tasks: Any, sampling: type[Any], latent: LatentSpec, **more: Any) -> Capabilities:
    return Capabilities(
        family, frozenset(tasks), sampling, more.pop("vocabulary"), ("sine",), latent, (0.5, 60.0), licence, **more
    )


FLOW = PretendEngine(
    "pretend",
    _can(
        "pretend-flow", "MIT", MODEL_TASKS, FlowSampling, LatentSpec("continuous", 8, 5.0, RATE, 2),
        vocabulary=Vocabulary.whole(), plans=True, planner="pretend-lm", takes_lm=True,
        previews=True, attaches=True, codes=True, aligns=True,
    ),
    FlowSampling(steps=6, shift=1.0, solver="euler", guidance="cfg", guidance_scale=4.0),
    6,
)  # fmt: skip
"""Does everything, with pictures of every step."""
TOKENS = PretendEngine(
    "pretend-tokens",
    _can(
        "pretend-tokens", "CC-BY-NC-4.0", ("Text2Music", "Extend"), TokenSampling, LatentSpec("tokens", 4, 5.0, RATE, 2),
        vocabulary=Vocabulary(), fixed=frozenset({"Extend.before"}),
    ),
    TokenSampling(temperature=1.0, top_k=250, top_p=1.0, guidance_scale=3.0),
    12,
)  # fmt: skip
"""Plays from words alone, shows nothing on the way, and is not for commercial use."""


@dataclasses.dataclass(frozen=True)
class PretendCost:
    """What a sine costs."""

    checkpoint: str

    def __str__(self) -> str:
        return f"{self.checkpoint}: 0.0 GB more; the others stay loaded beside it."


class PretendSession:
    """The verbs of a Session over sines; each step waits for `pause` seconds, or for `gate` if one is handed in.

    One engine is open; the other can be used.
    """

    def __init__(
        self,
        folder: Any,
        pause: float = 0.02,
        gate: threading.Semaphore | None = None,
        library: Any = None,
    ) -> None:
        self.library = Library(folder) if library is None else library
        self.tier = SimpleNamespace(name="test")
        self.started: list[Recipe] = []
        self.jobs, self._pause, self._gate = JobQueue(), pause, gate
        self.jobs.history.learn("pretend", "render", size=1.0, piece=1.0)
        self._sounds = Sounds(self.library)
        self._known = {engine.name: engine for engine in (FLOW, TOKENS)}
        self._open, self._engine = [FLOW.name], FLOW
        self._adapters: tuple[tuple[str, str, float], ...] = ()
        self.planners: dict[str, str] = {}
        """The planner each checkpoint was opened with, where it is not its own."""

    # -- checkpoints

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def checkpoints(self) -> tuple[str, ...]:
        return tuple(self._open)

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    def capabilities_of(self, checkpoint: str) -> Capabilities:
        return self._named(checkpoint).capabilities

    @property
    def has_planner(self) -> bool:
        return self.capabilities.plans

    def has_planner_of(self, checkpoint: str) -> bool:
        return self._named(checkpoint).capabilities.plans

    def use(self, checkpoint: Any, lm: Any = None) -> Capabilities:
        self._engine = self._catalog(checkpoint)
        if lm is not None:
            self.planners[self._engine.name] = str(lm)
        self._open = [*dict.fromkeys([*self._open, self._engine.name])]
        return self.capabilities

    def cost(self, checkpoint: Any, lm: Any = None) -> PretendCost:
        return PretendCost(self._catalog(checkpoint).name)

    def defaults(self, task: Task, checkpoint: str | None = None) -> Sampling:
        return (self._engine if checkpoint is None else self._named(checkpoint)).usual

    def _catalog(self, checkpoint: Any) -> PretendEngine:
        if checkpoint not in self._known:
            raise CheckpointError(
                f"No checkpoint is called {shown(str(checkpoint))}; there are {', '.join(self._known)}."
            )
        return self._known[checkpoint]

    def _named(self, checkpoint: str) -> PretendEngine:
        if checkpoint not in self._open:
            raise CheckpointError(f"No checkpoint {shown(checkpoint)} is open here; open are {', '.join(self._open)}.")
        return self._known[checkpoint]

    # -- making

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, *, adapters: Any = None) -> RenderRun:
        self.jobs.must_be_open()
        asked = recipes_of(recipe)
        wanted = None if adapters is None else _adapters(adapters)
        if stitching.only_stitches(asked):
            found = [stitching.decided(one, self.sound) for one in asked]
            self.started.extend(asked)
            return self.jobs.submit(RenderRun([one.recipe for one in found]), partial(self._stitch, found))
        resolved = tuple(self.resolve(one, plan) for one in asked)
        self.started.extend(asked)
        steps = _steps(resolved[0])
        work = Work("pretend", {"render": [Round(steps, 1.0 / steps)]})
        run = RenderRun(resolved, work)
        run.own_adapters = wanted  # type: ignore[attr-defined]
        return self.jobs.submit(run, self._render)

    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take:
        self.jobs.refuse_to_wait()
        return self.start(recipe, plan).take()

    def _stitch(self, found: Sequence[stitching.Stitched], run: RenderRun) -> None:
        for place, one in enumerate(found):
            run.check()
            take = one.take()
            self._sounds.remember(take)
            run.add(place, take)
        run.finish()

    def stitch(self, pieces: Iterable[object], crossfade: str | float = "beat", **changes: object) -> Take:
        return self.make(stitching.recipe_for(self.sound, pieces, crossfade, changes))

    def stems(self, source: Any, which: str | Iterable[str] | None = None, **changes: object) -> stems.Stems:
        return stems.of(self, source, which, **changes)

    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> list[Take]:
        recipe = source.recipe if isinstance(source, Take) else source
        if variance is None:
            return self.start([recipe.replace(seed=seed) for seed in seeds]).takes()
        return self.start([recipe.replace(task=Retake(source, variance, seed)) for seed in seeds]).takes()

    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        if stitching.is_stitch(recipe):
            return stitching.decided(recipe, self.sound).recipe
        engine = self._of(recipe)
        if not engine.capabilities.allows(recipe.task):
            raise RecipeError(f"{engine.name} cannot do the task {type(recipe.task).__name__}.")
        asked = converted(recipe.sampling, engine.capabilities.sampling, engine.name)
        sources = {name: self.sound(source) for name, source in recipe.task.sources().items()}
        task = recipe.task.with_sources(sources)
        added = sum(getattr(task, name, 0.0) for name in ("before", "after"))
        seconds = recipe.seconds or getattr(sources.get("source"), "seconds", 8.0) + added
        if seconds > 60:
            raise RecipeError(f"pretend makes songs of up to 60 s; {seconds:g} s is too long. Make it shorter.")
        sampling = engine.usual.replace(**asked.given())
        return recipe.replace(task=task, seconds=seconds, seed=recipe.seed or 1, sampling=sampling)

    def _of(self, recipe: Recipe) -> PretendEngine:
        return self._engine if recipe.checkpoint is None else self._named(recipe.checkpoint)

    def recipe_from(self, source: Any, task: Any, **changes: Any) -> Recipe:
        known = getattr(self.sound(source), "recipe", Recipe("a sine"))
        return known.replace(**({"task": task, "seed": None, "seconds": None} | changes))

    def preview(self, step: Step | Take, at: float, seconds: float = 3.0) -> Audio:
        return tone(seconds, getattr(step, "index", 0) + 1)

    # -- planning

    def plan(
        self, recipe: Recipe, n: int | None = None, *, keep: Plan | None = None, codes: bool | None = None,
        on_token: Any = None,
    ) -> Plan | list[Plan]:  # fmt: skip
        self._must_plan(recipe.checkpoint)
        written = Plan(bpm=100, caption=recipe.caption, lyrics=recipe.lyrics, codes=(1, 2, 3))
        return written if n is None else [written] * n

    def sketch(
        self, sentence: str, instrumental: bool = False, seed: int = 0, *, language: str | None = None,
        checkpoint: str | None = None, on_token: Any = None,
    ) -> Plan:  # fmt: skip
        self._must_plan(checkpoint)
        words = "[Instrumental]" if instrumental else f"[Verse]\n{sentence}"
        if on_token is not None:
            for piece in ("<think>", f"caption: {sentence}", "</think>"):
                on_token(piece)
        return Plan(
            caption=f"{sentence}, sketched", lyrics=words, bpm=60 + seed % 60, keyscale="A minor",
            language=language or "en", seconds=12.0,
        )  # fmt: skip

    def polish(
        self, caption: str, lyrics: str = "", seed: int = 0, *, checkpoint: str | None = None, on_token: Any = None,
        **fixed: Any,
    ) -> Plan:  # fmt: skip
        self._must_plan(checkpoint)
        return Plan(caption=f"{caption}, polished", lyrics=lyrics, **fixed)

    def understand(self, source: Any, seed: int = 0, *, checkpoint: str | None = None, on_token: Any = None) -> Plan:
        self._must_plan(checkpoint)
        heard = self.sound(source)
        return Plan(caption=f"a sine of {heard.seconds:.1f} s", lyrics="[Instrumental]", bpm=90, seconds=heard.seconds)

    def plan_score(self, source: Any, plan: Plan | None = None, scale: float = 0.1) -> Any:
        self._must_plan()
        return SimpleNamespace(total=0.5)

    def _must_plan(self, checkpoint: str | None = None) -> None:
        asked = self._engine if checkpoint is None else self._named(checkpoint)
        if not asked.capabilities.plans:
            raise RecipeError(f"{asked.name} has no planner.")

    @property
    def adapters(self) -> tuple[tuple[str, str, float], ...]:
        return self._adapters

    def codes(self, source: Any, *, checkpoint: str | None = None) -> tuple[int, ...]:
        asked = self._engine if checkpoint is None else self._named(checkpoint)
        if not asked.capabilities.codes:
            raise RecipeError(f"{asked.name} has no audio codes.")
        return tuple(range(max(1, int(5 * self.sound(source).seconds))))

    def lora(self, *adapters: Any) -> tuple[str, ...]:
        wanted = _adapters(adapters)
        if not self.capabilities.attaches:
            raise RecipeError(f"{self.name} takes no adapters.")

        def attach() -> tuple[str, ...]:
            self._adapters = wanted
            return tuple(name for name, _, _ in wanted)

        return self.jobs.call(attach, between=True)

    def merge(self, folder: Any, *adapters: Any, link: bool = True, exact: bool = False) -> Any:
        wanted = _adapters(adapters) or self._adapters
        if not self.capabilities.attaches:
            raise CheckpointError(f"{self.name} takes no adapters.")
        if not wanted:
            raise CheckpointError("There is no adapter to merge.")
        Path(folder).mkdir(parents=True)
        return f"{Path(folder).name}: {', '.join(f'{name} {strength:g}' for name, _, strength in wanted)} merged."

    def export_onnx(
        self, folder: Any, *components: str, dtype: str = "fp32", tolerance: float | None = None
    ) -> Any:  # fmt: skip
        raise CheckpointError(f"{self.name} is of a family that cannot be exported to ONNX.")

    def label(
        self,
        songs: Any,
        *,
        seeds: int = 3,
        lyrics: bool = False,
        folder: Any = None,
        on: Any = None,
        resource: str | None = None,
    ) -> Any:
        return labelling.begin(self, songs, seeds=seeds, lyrics=lyrics, folder=folder, on=on, resource=resource)

    def sweep(
        self, recipe: Any, *, on: Any = None, name: str = "", adapters: Any = None, dry_run: bool = False,
        skip_refused: bool = False, resource: str | None = None, **axes: Any,
    ) -> Any:  # fmt: skip
        return sweep(
            self, recipe, on=on, name=name, adapters=adapters, dry_run=dry_run, skip_refused=skip_refused, resource=resource,
            axes=axes,
        )  # fmt: skip

    def map_songs(self, work: Any, items: Any, *, on: Any = None, resource: str | None = None, **options: Any) -> Any:
        return map_songs(self, work, items, on=on, resource=resource, options=options)

    def verify(self, what: Any, *, on: Any = None, resource: str | None = None) -> Any:
        if on is None and isinstance(what, Take):
            return what.verify(self)
        return verify(self, what, on=on, resource=resource)

    def report(
        self,
        sweep: Any,
        path: Any = None,
        *,
        question: str = "",
        answer: str = "",
        seconds: float = 20.0,
        measures: Any = (),
    ) -> Any:
        return report(self, sweep, path, question=question, answer=answer, seconds=seconds, measures=measures)

    # -- keeping and looking

    def keep(self, take: Take) -> Take:
        return self._sounds.keep(take)

    def load(self, name: Any) -> Take:
        return self._sounds.load(name)

    def sound(self, source: Any) -> Take | Audio:
        return self._sounds.find(source)

    def analyze(self, source: Any, bpm: float | None = None) -> Analysis:
        return analyze(self.sound(source), bpm)

    def align(
        self, source: Any, lyrics: str | None = None, *, language: str | None = None,
        by: Literal["sound", "plan"] = "sound", checkpoint: str | None = None, reference: bool = False, anew: bool = False,
    ) -> Alignment:  # fmt: skip
        """Lines spread evenly over the sound, each as sure as the next."""
        sound = self.sound(source)
        text = text_with_words(getattr(sound, "recipe", Recipe("a sine")).lyrics if lyrics is None else lyrics)
        if by == "plan":
            return planned(text.text, sound.seconds)
        asked = self._engine if checkpoint is None else self._named(checkpoint)
        if not asked.capabilities.aligns:
            raise RecipeError(f"{asked.name} aligns no lyrics: which of its heads listen to them is not known.")
        each = sound.seconds / len(text.lines)
        lines = tuple(Timed(line.text, n * each, (n + 1) * each, 1.0, n) for n, line in enumerate(text.lines))
        scores = {"coverage": 1.0, "order": 1.0, "sureness": 1.0, "fits": True, "chance": {"coverage": 0.2}}
        found = Alignment(
            lines, scores=scores | ({"reference": {"dit_score": 0.5}} if reference else {}), lyrics=text.text
        )
        if lyrics is None and sound.id in self.library:
            self.library.annotate(sound.id, "alignment", {"key": {}, "alignment": found.to_json()})
        return found

    def attribute(
        self, take: Any, *, what: Any = None, swap: Any = None, steps: int | None = None,
        by: Literal["change", "attention"] = "change", anew: bool = False, dry_run: bool = False,
    ) -> Any:  # fmt: skip
        """Every change moves the music a little more than the one before it, and ever more towards the end."""
        asked, found = Asked.of(what, swap, steps, by, anew), attributable(self.sound(take))
        changes = variants(found.recipe, asked.what, asked.swap) if by == "change" else ()
        cost = AttributionCost(len(changes), 0, len(changes) + 2 if changes else 0, 2, 3.0 if changes else 0.0)
        if dry_run:
            return cost
        return self.jobs.submit(AttributionRun(found, cost), lambda run: self._attribute(run, changes))

    def _attribute(self, run: AttributionRun, changes: Sequence[Variant]) -> Any:
        take, name = run.take, self._engine.name
        heard = Heard(100.0, "A minor", "4", -14.0, ("bass", "drums"))
        run.enter("listen")
        for place, one in enumerate(changes):
            run.check()
            self._wait(run)
            share = (place + 1) / len(changes)
            over = tuple(round(share * n / 8, 3) for n in range(8))
            run.measured(
                Effect(one.kind, one.name, one.change, one.span, share, over, (1.0, 2.0 * share), (over, over), heard)
            )
            yield
        spans = words(take.recipe.caption)
        looks = WordAttention(
            tuple(take.recipe.caption[a:b] for a, b in spans), spans, tuple((0.01,) * 8 for _ in spans)
        )
        seed = Effect("seed", "8", "→ another seed", None, 1.25, (1.2,) * 8, (9.0, 9.0), ((9.0,) * 8,) * 2,
                      Heard(140.0, "C major", "4", -14.0, ("drums",)))  # fmt: skip
        words_of = (take.recipe.caption, take.recipe.lyrics, name, take.audio.seconds)
        told = Attribution(
            take.id,
            *words_of,
            2,
            "x0",
            run.effects,
            seed if changes else None,
            heard,
            looks,
            edges=(31.0, 1000.0, 8000.0),
        )
        run.found(told)
        if take.id in self.library:
            self.library.annotate(take.id, "attribution", {"attribution": told.to_json()})
        run.finish()

    def scores(self, source: Any, *, reference: bool = False, anew: bool = False) -> Scores:
        return scoring.scores_of(self, source, reference, anew)

    def notes(self, source: Any, stem: str | None = None, *, anew: bool = False) -> Notes:
        return noting.notes_for(self, source, stem, anew)

    # -- the work

    def _render(self, run: RenderRun) -> None:
        recipe = run.recipe
        own = getattr(run, "own_adapters", None)
        self._worn = self._adapters if own is None else own
        steps, shows = _steps(recipe), isinstance(recipe.sampling, FlowSampling)
        frames = max(4, int(5 * (recipe.seconds or 8)))
        goal = np.random.default_rng(recipe.seed).standard_normal((frames, 8)).cumsum(axis=0).astype(np.float32)
        noise = np.random.default_rng(1).standard_normal((frames, 8)).astype(np.float32)
        run.can_keep(lambda step, item: self._take(recipe, step))
        run.can_hear(lambda step, item, start, end: tone(max(0.2, end - start), step.index + 1))
        with run.stage("render"):
            for index in range(steps):
                self._wait(run)
                share = (index + 1) / steps
                x: Any = share * goal + (1 - share) * noise
                run.show(Step(index, steps, 1 - share, *((x, goal * share) if shows else (None, None))))
                run.check()
        with run.stage("decode"):
            for place, one in enumerate(run.recipes):
                run.add(place, self._take(one, run.steps[-1]))
        run.finish()

    def _wait(self, run: Run[Any, Any]) -> None:
        self.jobs.run_small_jobs()
        if self._gate is None:
            run.stop_event.wait(self._pause)
            return
        while not self._gate.acquire(timeout=0.05) and not run.stopping:
            self.jobs.run_small_jobs()

    def _take(self, recipe: Recipe, step: Step) -> Take:
        source: Any = recipe.task.sources().get("source")
        audio = tone(recipe.seconds or 8.0, (recipe.seed or 1) + step.index)
        if isinstance(recipe.task, Repaint):
            original = getattr(source, "audio", source).resample(RATE)
            audio = splice(original, audio, recipe.task.regions, recipe.task.wave_crossfade or 0.05)
        take = Take(
            recipe.replace(task=recipe.task.with_ids()),
            audio.on_grid(),
            np.zeros((4, 8), np.float32) if step.state is None else np.asarray(step.state),
            parents=(source.id,) if hasattr(source, "id") else (),
            made_with={"checkpoint": _player(recipe).name, "adapters": {n: w for n, _, w in self._worn}},
        )
        self._sounds.remember(take)
        return take

    @property
    def runs(self) -> tuple[Run[Any, Any], ...]:
        return self.jobs.waiting

    def close(self) -> None:
        self.jobs.close()


def _adapters(asked: Any) -> tuple[tuple[str, str, float], ...]:
    """Adapters as people name them, each with its name, file and strength; any file that is there will do."""
    found = []
    for one in asked:
        place, strength = one if isinstance(one, tuple) else (one, 1.0)
        if not Path(place).exists():
            raise CheckpointError(f"There is no adapter {shown(str(place))}.")
        found.append((Path(place).stem, str(place), float(strength)))
    return tuple(found)


def _player(resolved: Recipe) -> PretendEngine:
    """Which of the two plays a resolved recipe."""
    return FLOW if isinstance(resolved.sampling, FlowSampling) else TOKENS


def _steps(resolved: Recipe) -> int:
    return int(getattr(resolved.sampling, "steps", None) or _player(resolved).steps)
