"""The front door: a Session holds the loaded models and turns recipes into takes.

The stages meet in `road.py`; here are the verbs, the worker thread and the library.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion.sampler import Step
from acestep_lab.engines.ace15 import resolve as resolving
from acestep_lab.engines.ace15.engine import LRUCache, Prepared, Road, build, groups
from acestep_lab.engines.ace15.profile import Profile, profile
from acestep_lab.errors import LibraryError, MachineError, RecipeError, SourceError, shown
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.worker import Worker
from acestep_lab.listen import Analysis, analyze
from acestep_lab.listen.plan_score import PlanScore, agreement
from acestep_lab.models.adapters import Adapter
from acestep_lab.models.adapters import apply as attach_adapters
from acestep_lab.models.adapters import opened as open_adapters
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.precision import Int8Mode
from acestep_lab.models.roofline import measured_peak
from acestep_lab.models.tiers import Machine, Tier, asked_device, asked_dtype
from acestep_lab.plan.fields import ATTRIBUTES
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    MAX_SEED,
    MOST_CAPTION,
    MOST_LYRICS,
    MOST_SECONDS,
    TASKS,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Source,
    Task,
    regions,
)
from acestep_lab.takes.ids import is_id, is_sound_id, is_take_id
from acestep_lab.takes.library import Library, read_file
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Comparison, Verdict
from acestep_lab.versions import version_of

NO_ROOM = "This machine has no room for the planner of this checkpoint."

MOST_RECIPES = 10_000
"""Recipes of one start; a generator without end is refused."""

MOST_PLANS = 16
"""Plans written from one reading."""

DEFAULT_SECONDS = resolving.DEFAULT_SECONDS

DECODE_SHARE = 0.15
"""Share of a run's progress bar that belongs to decoding."""

PACKAGES = ("acestep_lab", "torch", "diffusers", "transformers")
"""Whose versions a take remembers."""

T = TypeVar("T")


class _Open:
    """`Session.open("turbo")` opens a checkpoint; `lab.open("song.flac")` opens a take."""

    @overload
    def __get__(self, session: None, kind: type[Session]) -> Callable[..., Session]: ...
    @overload
    def __get__(self, session: Session, kind: type[Session]) -> Callable[[str | os.PathLike[str]], Take]: ...
    def __get__(self, session: Session | None, kind: type[Session]) -> Callable[..., Any]:
        return kind.open_checkpoint if session is None else session.open_take


class Session:
    """Loaded models, a worker thread, and a library of takes.

    `checkpoint` is opened light; parts load when they are first needed, on the worker thread. Stand-ins with the same
    verbs may be handed in for every collaborator.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tier: Tier | None = None,
        library: Library | None = None,
        residency: DeviceManager | None = None,
        worker: Worker | None = None,
        precision: str | Int8Mode = "auto",
        device: object = None,
        dtype: object = None,
    ) -> None:
        self.checkpoint = checkpoint
        machine = Machine.for_session(tier, asked_device(device))
        self.tier = (tier or Tier.for_machine(machine)).computing_in(asked_dtype(dtype))
        self.library = Library(default_folder()) if library is None else library  # an empty one is falsy
        self.residency = residency or DeviceManager(self._build, self._arrangement(machine))
        self.road = Road(checkpoint, self.residency)
        self._worker = worker or Worker()
        self._pace, self._planning_pace = EtaEstimator(), EtaEstimator(seconds_of)
        self._known: LRUCache[Take | Audio] = LRUCache(256)
        self._said: set[str] = set()
        self._adapters: tuple[tuple[Adapter, float], ...] = ()
        self._int8_mode = Int8Mode.asked(precision, self.residency.device)

    open = _Open()

    @classmethod
    def open_checkpoint(
        cls,
        checkpoint: str | os.PathLike[str] = "pocket",
        tier: Tier | None = None,
        library: Library | str | os.PathLike[str] | None = None,
        precision: str | Int8Mode = "auto",
        lm: str | os.PathLike[str] | None = None,
        device: object = None,
        dtype: object = None,
    ) -> Self:
        """Open a checkpoint: "pocket", a catalog name, a folder, or a hub id; no weights are read yet.

        `precision="int8"` lets the DiT multiply whole numbers on a CPU, once a measurement on the first song has shown that
        it changes little and is quicker here. `lm` names another planner than the checkpoint's own: "0.6B", "1.7B", "4B", a
        folder or a hub id. `device` is where the work runs ("auto", "cpu", "cuda", "cuda:1", "mps", "xpu", or torch's own)
        and `dtype` what it computes in ("auto", "float32", "bfloat16", "float16", or torch's own); ACESTEP_DEVICE and
        ACESTEP_DTYPE say so for all sessions. Raises CheckpointError where there is no checkpoint, saying what is missing,
        and MachineError for a device that is not there.
        """
        checks.instance("A tier", tier, (Tier, NoneType), " Tier.for_memory(8) gives one.")
        named = checks.place("A checkpoint", checkpoint), None if lm is None else checks.place("A planner (lm)", lm)
        given: Any = library
        kept = given if checks.is_a(given, Library, NoneType) else Library(checks.place("A library's folder", given))
        asked_device(device), asked_dtype(dtype)  # refused before anything is opened
        opened = Checkpoint.open(*named)
        return cls(opened, tier, kept, precision=precision, device=device, dtype=dtype)

    def __repr__(self) -> str:
        g = self.checkpoint.geometry
        return f"<Session {self.checkpoint.name!r}: {g.rate} Hz, {self.tier.name} tier, {len(self.library)} takes kept>"

    # -- making --------------------------------------------------------------------------------------------------------

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None) -> Run:
        """Begin a render and return at once; the run shows frames, can be stopped, and has a take for each recipe.

        The checkpoint's planner, if it has one, first writes what is missing for music from words: a whole plan, or the
        codes of the plan at hand, whose fields then stand. `thinking=False` in a recipe goes straight to the music. What a
        recipe sets always stands. Raises RecipeError for what this checkpoint cannot make, before any work.
        """
        return self._begin(_recipes(recipe), plan)

    def _begin(self, asked: Sequence[Recipe], plan: Plan | None = None, shared: Shared | None = None) -> Run:
        """Queue a run; with `shared`, one plan for all of its recipes."""
        self._worker.must_be_open()
        resolved = tuple(self.resolve(one, plan) for one in asked)
        for one in resolved:
            resolving.thinks(one, self.has_planner)
        run = Run(resolved, self._pace.expect(resolved))
        self._warn(run, asked, plan)
        if not self.has_planner and any(resolving.thinks(one, self.checkpoint.has_lm) for one in resolved):
            run.note(
                f"The planner has no room here, and the music is made straight from the words. {self.explain().words()}."
            )
        return self._worker.submit(run, partial(self._render, asked=asked, plan=plan, shared=shared))

    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take:
        """Render a recipe and wait for its take; several at once are for `start`."""
        if not checks.is_a(recipe, Recipe) and len(_recipes(recipe)) != 1:
            raise RecipeError("make renders one recipe; for several write lab.start(recipes).takes().")
        self._worker.refuse_to_wait()
        return self.start(recipe, plan).take()

    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> list[Take]:
        """The same music from other noise, a take for each seed.

        What varies is the noise alone: words, numbers and codes are those of the source take, or of one plan, written with
        the first seed. Other plans come from `lab.start([recipe.replace(seed=seed) for seed in seeds])`. With a variance between
        0 and 1 the takes stay near the source: its noise is turned towards each seed's, and 0 gives the source itself.
        """
        self._worker.refuse_to_wait()
        if not checks.is_a(seeds, Iterable) or checks.is_a(seeds, str):
            raise RecipeError(
                f"vary makes a take for each of several seeds, such as seeds=range(4), not {shown(seeds)}."
            )
        what = "A seed" if variance is None else "A retake's second seed"
        listed = [checks.whole(what, seed, 0, MAX_SEED) for seed in checks.sequence("seeds", seeds, MOST_RECIPES)]
        checks.instance("What is varied", source, (Take, Recipe))
        if variance is None:
            recipe, plan = (source.recipe, source.plan) if isinstance(source, Take) else (source, None)
            return self._begin(_recipes([recipe.replace(seed=seed) for seed in listed]), shared=Shared(plan)).takes()
        if not isinstance(source, Take):
            raise RecipeError("A variance is the distance from a take; make one first, then vary it.")
        return self.start([source.recipe.replace(task=Retake(source, variance, seed)) for seed in listed]).takes()

    def repaint(
        self,
        source: Source,
        region: Region | Iterable[Region],
        caption: str | None = None,
        lyrics: str | None = None,
        *,
        mode: str = "balanced",
        strength: float = 0.5,
        injection: float | None = None,
        latent_crossfade: float | None = None,
        wave_crossfade: float | None = None,
        **changes: Any,
    ) -> Take:
        """New music inside one or several regions; every sample outside them and their crossfades stays.

        mode and strength stand for three numbers (`Repaint` says which); one given here wins.
        """
        numbers = (injection, latent_crossfade, wave_crossfade)
        task = Repaint(source, regions(region), mode, strength, *numbers)
        return self._make_from(source, task, caption, lyrics, changes)

    def extend(
        self,
        source: Source,
        before: float = 0.0,
        after: float = 0.0,
        caption: str | None = None,
        lyrics: str | None = None,
        *,
        wave_crossfade: float | None = None,
        **changes: Any,
    ) -> Take:
        """So many seconds of new music before the source, after it, or both."""
        task = Extend(source, before, after, wave_crossfade)
        return self._make_from(source, task, caption, lyrics, changes)

    def cover(
        self,
        source: Source,
        caption: str | None = None,
        lyrics: str | None = None,
        *,
        strength: float = 1.0,
        noise_strength: float = 0.0,
        through_codes: bool | None = None,
        reference: Source | None = None,
        **changes: Any,
    ) -> Take:
        """The source's rhythm and harmony in another sound; `through_codes` None: where the checkpoint has codes."""
        through = "codes" in self.checkpoint.parts if through_codes is None else through_codes
        task = Cover(source, strength, noise_strength, through, reference=reference)
        return self._make_from(source, task, caption, lyrics, changes)

    def extract(self, source: Source, stem: str, **changes: Any) -> Take:
        """One stem of the source, alone."""
        return self._make_from(source, Extract(source, stem), changes.pop("caption", None), None, changes)

    def lego(
        self,
        source: Source,
        stem: str,
        caption: str | None = None,
        region: Region | None = None,
        lyrics: str | None = None,
        **changes: Any,
    ) -> Take:
        """A new stem that fits the source, in a region or all along."""
        return self._make_from(source, Lego(source, stem, region), caption, lyrics, changes)

    def complete(
        self,
        source: Source,
        stems: str | Iterable[str],
        caption: str | None = None,
        lyrics: str | None = None,
        **changes: Any,
    ) -> Take:
        """The source with accompaniment by the named stems."""
        return self._make_from(source, Complete(source, stems), caption, lyrics, changes)  # type: ignore[arg-type]

    def edit(
        self,
        source: Source,
        caption: str,
        lyrics: str | None = None,
        *,
        described: str = "",
        described_lyrics: str = "",
        n_min: float = 0.0,
        n_max: float = 1.0,
        n_avg: int = 1,
        **changes: Any,
    ) -> Take:
        """The source moved from its description to another (FlowEdit); `described` and `described_lyrics` say how it sounds
        now, and may be left away for a take, which knows.
        """
        task = FlowEdit(source, described, described_lyrics, n_min, n_max, n_avg)
        return self._make_from(source, task, caption, lyrics, changes)

    def codes(self, source: Source) -> tuple[int, ...]:
        """The audio codes of a take or any sound: what a cover through codes hears of it."""
        if "codes" not in self.checkpoint.parts:
            raise RecipeError(f"{self.checkpoint.name} has no audio codes.")
        sound = self.sound(source)
        return self._aside(lambda stop: self.road.codes(sound, stop))

    def recipe_from(self, source: Source, task: Task, **changes: Any) -> Recipe:
        """A recipe for a task on a source: a take's words and choices come along, its seed and length do not."""
        checks.instance("What is to be done", task, tuple(TASKS.values()), " Such as Cover(take).")
        sound = self.sound(source)
        asked = (sound.asked or sound.recipe) if isinstance(sound, Take) else Recipe("", task=task)
        asked = asked if task.plans else replace(asked, task=task, thinking=None)
        words = sound.recipe if isinstance(sound, Take) else asked
        kept = {name: getattr(words, name) for name in ("bpm", "keyscale", "timesignature", "language")}
        return asked.replace(**({**kept, "task": task, "seed": None, "seconds": None} | changes))

    def _make_from(
        self, source: Source, task: Task, caption: str | None, lyrics: str | None, changes: dict[str, Any]
    ) -> Take:
        words = {"caption": caption, "lyrics": lyrics}
        changes |= {name: value for name, value in words.items() if value is not None}
        return self.make(self.recipe_from(source, task, **changes))

    # -- planning ------------------------------------------------------------------------------------------------------

    @overload
    def plan(
        self,
        recipe: Recipe,
        n: None = None,
        *,
        keep: Plan | None = None,
        codes: bool | None = None,
        on_token: Callable[[Any], None] | None = None,
    ) -> Plan: ...
    @overload
    def plan(
        self,
        recipe: Recipe,
        n: int,
        *,
        keep: Plan | None = None,
        codes: bool | None = None,
        on_token: Callable[[Any], None] | None = None,
    ) -> list[Plan]: ...
    def plan(
        self,
        recipe: Recipe,
        n: int | None = None,
        *,
        keep: Plan | None = None,
        codes: bool | None = None,
        on_token: Callable[[Any], None] | None = None,
    ) -> Plan | list[Plan]:
        """What the planner decides before a note is made: read it, change it, hand it to `make` or `start`.

        With `n`, so many plans from one reading of the prompt, by the recipe's seed and those after it. `keep` is a plan
        whose locked fields stand; `codes` False leaves the audio codes out; `on_token` hears every token as it is written.
        """
        if n is not None and not (checks.is_whole(n) and 1 <= (checks.plain_number(n) or 0) <= MOST_PLANS):
            raise RecipeError(f"The planner writes 1 to {MOST_PLANS} plans at once, not {shown(n)}.")
        n = None if n is None else checks.whole("n", n, 1, MOST_PLANS)
        codes = None if codes is None else checks.truth("codes", codes)
        if not checks.is_a(recipe, Recipe) or not checks.is_a(keep, Plan, NoneType):
            raise RecipeError(
                "The planner is asked with a recipe, and keeps a plan: lab.plan(Recipe('dub'), keep=plan)."
            )
        first = recipe.seed if recipe.seed is not None else secrets.randbelow(2**32)
        seeds = range(first, first + (n or 1))
        ask = partial(self._plans, recipe.replace(seed=first), seeds, keep=keep, codes=codes)
        plans = self._ask_planner(recipe.replace(seed=first), ask, on_token)
        return plans[0] if n is None else plans

    def sketch(
        self,
        sentence: str,
        instrumental: bool = False,
        seed: int = 0,
        *,
        language: str | None = None,
        on_token: Callable[[Any], None] | None = None,
    ) -> Plan:
        """A caption, lyrics and metadata out of one sentence: `lab.sketch("a sad song about rain")`."""

        sentence = checks.text("The sentence a sketch starts from", sentence, MOST_CAPTION)
        instrumental, seed = checks.truth("instrumental", instrumental), checks.whole("A seed", seed, 0, MAX_SEED)
        language = None if language is None else vocabulary.language(language)

        def ask(run: Run) -> list[Plan]:
            how = {"language": language, "longest": self._longest, **_heeded(run)}
            return [self.road.planner.sketch(self.road.lm, sentence, instrumental, seed, **how)]

        return self._ask_planner(_titled(sentence), ask, on_token)[0]

    def polish(
        self,
        caption: str,
        lyrics: str = "",
        seed: int = 0,
        *,
        on_token: Callable[[Any], None] | None = None,
        **fixed: Any,
    ) -> Plan:
        """Better words for a caption and lyrics, with metadata; fields given by name stand: `bpm=118`."""

        caption = checks.text("The caption to be polished", caption, MOST_CAPTION)
        lyrics = checks.text("The text of the lyrics to be polished", lyrics, MOST_LYRICS)
        seed, fixed = checks.whole("A seed", seed, 0, MAX_SEED), _fixed(fixed)

        def ask(run: Run) -> list[Plan]:
            how = {"fixed": fixed, "longest": self._longest, **_heeded(run)}
            return [self.road.planner.polish(self.road.lm, caption, lyrics, seed, **how)]

        return self._ask_planner(_titled(caption, lyrics), ask, on_token)[0]

    def understand(self, source: Source, seed: int = 0, *, on_token: Callable[[Any], None] | None = None) -> Plan:
        """What the planner hears in a take or any sound: caption, lyrics and metadata."""
        sound, seed = self.sound(source), checks.whole("A seed", seed, 0, MAX_SEED)

        def ask(run: Run) -> list[Plan]:
            codes = self.road.codes(sound, run.stop_event)
            return [self.road.planner.understand(self.road.lm, codes, seed, **_heeded(run))]

        return self._ask_planner(Recipe(f"what is heard in {sound.id}"), ask, on_token)[0]

    def agreement(self, source: Source, plan: Plan | None = None, scale: float = 0.1) -> PlanScore:
        """How well a sound agrees with a plan in the planner's ears: a score per field, 0 to 1.

        Without a plan, a take is held against its own, or against its recipe; any other sound needs one.
        """
        checks.instance("A plan", plan, (Plan, NoneType))
        sound, scale = self.sound(source), checks.real("The scale of agreement", scale, -1e6, 1e6)
        said = plan or (_said(sound) if isinstance(sound, Take) else None)
        if said is None:
            raise RecipeError(
                "A sound that is no take has no plan of its own; say what to hold it against: plan=Plan(…)."
            )

        def ask() -> PlanScore:
            codes = self.road.codes(sound)
            with self.road.lm() as lm:
                return agreement(lm, self.checkpoint.lm_tokenizer(), codes, said, scale=scale)

        self._needs_planner()
        return self._worker.call(ask)

    def _plans(self, recipe: Recipe, seeds: Sequence[int], run: Run, **how: Any) -> list[Plan]:
        return self.road.plans(recipe, seeds, **how, **_heeded(run))

    @property
    def has_planner(self) -> bool:
        """Whether the checkpoint has a planner and this machine has room for it."""
        return self.checkpoint.has_lm and "lm" not in self.residency.arrangement.left_out

    @property
    def _longest(self) -> float:
        """The longest song this machine has room for, in seconds."""
        return float(self.residency.arrangement.longest_seconds)

    def _needs_planner(self) -> None:
        if self.checkpoint.has_lm and not self.has_planner:
            raise MachineError(f"{NO_ROOM} Open a smaller one, or write the plan by hand: Plan(bpm=118, …).")
        if not self.checkpoint.has_lm:
            raise RecipeError(
                f"{self.checkpoint.name} has no planner aboard. Hand it one with Session.open(…, lm='0.6B'), or write the plan "
                "by hand: Plan(bpm=118, …)."
            )

    def _ask_planner(
        self, recipe: Recipe, ask: Callable[[Run], list[Plan]], on_token: Callable[[Any], None] | None = None
    ) -> list[Plan]:
        """Ask the planner in a run of its own, which waits its turn and can be interrupted."""
        if on_token is not None and not callable(on_token):
            raise RecipeError(f"on_token is a function that hears each token, not {shown(on_token)}.")
        self._needs_planner()
        self._worker.refuse_to_wait()

        def work(run: Run) -> None:
            run.enter("planning", 0.0)
            with self.residency.telling(run.note):
                run.plans = tuple(ask(run))
            self._planning_pace.learn(run.recipes, run.seconds_running)
            run.finish()

        run = Run((recipe,), self._planning_pace.expect((recipe,)))
        if on_token is not None:
            run.subscribe(lambda event: on_token(event.value) if event.kind == "token" else None)
        self._worker.submit(run, work).takes()
        return [plan for plan in run.plans if plan is not None]

    # -- keeping and looking -------------------------------------------------------------------------------------------

    def keep(self, take: Take) -> Take:
        """Keep a take in the library, and return it as it is kept: every take a run makes is kept already, those of single
        steps (`run.keep`) as well.

        A take whose id belongs to another sound here, as an edited copy's may, gets an id of its own.
        """
        if not checks.is_a(take, Take):
            raise LibraryError(f"A library keeps takes, not {shown(take)}.")
        take = self._admitted(take)
        self._remember(take)
        self.library.keep(take)
        return take

    def open_take(self, name: str | os.PathLike[str]) -> Take:
        """A take by its id, or out of any of our sound files: recipe, plan and parents come along.

        A file whose sound is not the one its manifest tells of is a new take with that one as its parent; what was found out
        of the ordinary is warned of (`TakeWarning`) and stays in the take's `remarks`.
        """
        text = checks.place("A take's id or file", name, LibraryError)
        known = self._known.get(text)
        if isinstance(known, Take):
            return known
        file = os.path.expanduser(text)  # Path.expanduser raises where there is no such home
        if is_take_id(text) and (text in self.library or not os.path.isfile(file)):
            take = self.library.open(text)
        elif not os.path.isfile(file):
            raise LibraryError(
                f"There is no file {shown(text)}, and no take of that name; ids look like 'take-1f0c9a52'."
            )
        else:
            take = self._admitted(read_file(file))
        self._remember(take)
        for remark in take.remarks:
            warnings.warn(remark, TakeWarning, stacklevel=_levels_to_the_caller())
        return take

    def _admitted(self, take: Take) -> Take:
        """The take, or the same under an id of its own where its id is another sound's, in memory or in the library."""
        known = self._known.get(take.id)
        if take.manifest is not None and isinstance(known, Take) and not take.has_sound_of(known):
            return take.descended(
                f"{take.id} is another take here; this one got an id of its own, with that one as its parent."
            )
        return self.library.admit(take)

    def _remember(self, sound: Take | Audio) -> None:
        """Find a sound by its id from now on; an id that is known stays whose it is."""
        known = self._known.get(sound.id)
        if isinstance(sound, Take) and sound.manifest is not None:
            taken = known is not None and not (isinstance(known, Take) and known.is_copy and not sound.is_copy)
            if taken or (sound.is_copy and sound in self.library) or self._admitted(sound) is not sound:
                return
        self._known.put(sound.id, sound)

    def sound(self, source: Source | os.PathLike[str]) -> Take | Audio:
        """The take or sound that a source stands for: itself, an id this session or its library knows, or a file."""
        given: Any = source
        if checks.is_a(given, Take, Audio):
            self._remember(given)
            return given
        if not checks.is_a(given, str, os.PathLike):
            raise SourceError(f"A source is a take, an audio, an id or a file, not {checks.kind_of(source)}.")
        name = checks.place("A source", given, SourceError)
        if name in self._known:
            return self._known[name]
        if not is_id(name) and os.path.isfile(os.path.expanduser(name)):
            return Audio.read(os.path.expanduser(name))
        try:
            return self.library.open_sound(name) if is_sound_id(name) else self.library.open(name)
        except LibraryError as problem:
            if name in self.library:
                raise SourceError(str(problem)) from None
            raise SourceError(
                f"{shown(name)} is no file and no take this session knows; its library has {len(self.library)} takes."
            ) from None

    def listen(self, source: Source, bpm: float | None = None) -> Analysis:
        """What can be heard in a take or any sound: tempo, key, meter, loudness, instruments."""
        sound = self.sound(source)
        bpm = None if bpm is None else checks.real("A tempo to listen for", bpm, 10, 1000)
        return analyze(sound, bpm)

    def glimpse(self, frame: Step | Take, at: float, seconds: float = 3.0) -> Audio:
        """The seconds around a time of a step's estimate, decoded alone; exact, and cheap enough between two frames."""
        checks.instance("What is listened into", frame, (Step, Take))
        at = checks.real("The time to listen at", at, -MOST_SECONDS, MOST_SECONDS, "seconds")
        seconds = checks.real("The length to listen for", seconds, -MOST_SECONDS, MOST_SECONDS, "seconds")
        latent = torch.from_numpy(frame.latent.copy()) if isinstance(frame, Take) else frame.estimate
        return self._worker.call(partial(self.road.glimpse, latent, at, seconds))

    def encode(self, source: Source) -> np.ndarray:
        """The latent [frames, channels] of a take or any sound."""
        sound = self.sound(source)
        return self._aside(lambda stop: self.road.latent(sound, stop)).numpy()

    def decode(self, latent: np.ndarray | Tensor) -> Audio:
        """The sound of a latent [frames, channels], at its own level."""
        wanted = _latent(latent, self.checkpoint.geometry.latent_channels)
        samples = self._aside(lambda stop: self.road.decode(wanted, stop))
        return Audio(samples, self.checkpoint.geometry.rate)

    def _aside(self, job: Callable[[threading.Event], T]) -> T:
        """Do a small job on the worker thread and wait for it; Ctrl-C sets the event it is handed."""
        stop = threading.Event()
        return self._worker.call(partial(job, stop), stop)

    def explain(self, recipe: Recipe | None = None) -> MemoryPlan:
        """How this checkpoint fits this machine, before anything loads: print it for a sentence and a table."""
        checks.instance("What is explained", recipe, (Recipe, NoneType))
        arrangement: MemoryPlan = self.residency.arrangement
        return arrangement if recipe is None else arrangement.fit(recipe)

    def lora(self, *adapters: str | os.PathLike[str] | tuple[str | os.PathLike[str], float]) -> tuple[str, ...]:
        """Put adapters (files or folders, each alone or with a strength) on the DiT, and only these; none: the bare model.

        Raises CheckpointError for one that is no adapter or does not fit, and leaves all as it was.
        """
        wanted = open_adapters(adapters)

        def wear() -> None:
            with self.residency.on("dit") as dit:
                attach_adapters(dit, wanted)

        self._worker.call(wear)
        self._adapters = wanted
        return tuple(adapter.name for adapter, _ in wanted)

    def profile(self, recipe: Recipe) -> Profile:
        """Render a recipe and say where the seconds went, stage by stage, beside this machine's floor."""
        checks.instance("What is profiled", recipe, Recipe)
        self._worker.refuse_to_wait()
        warm = recipe.replace(caption=recipe.caption + " (warming up)", steps=1)  # other words: nothing is remembered
        self.start(warm).take()
        run = self.start(recipe)
        take = run.take()
        dtype = self.residency.arrangement.torch_dtype
        peak = self._worker.call(partial(measured_peak, dtype, self.residency.device))
        return profile(take, self.checkpoint, peak, torch.finfo(dtype).bits // 8, run.shown_at)

    def free(self) -> None:
        """Give back the memory of all parts; the next render loads them again."""
        self._worker.call(self.residency.free)

    def compare(self, one: Take, other: Take) -> Comparison:
        """What differs between two takes: the fields of their recipes, and their sounds."""
        return Comparison.of(*(checks.instance("What is compared", take, Take) for take in (one, other)))

    def verify(self, take: Take) -> Verdict:
        """Make a take again from its recipe and say: same, same to the ear, or different."""
        step = checks.instance("What is verified", take, Take).made_with.get("step")
        return take.verify(self) if step is None else take.verify(self._until(step, take))

    def _until(self, step: int, take: Take) -> Take:
        """The take of a step, made again as far as that step."""
        self._worker.refuse_to_wait()
        run = self.start(take.recipe, take.plan)
        for frame in run:
            if frame.index == step:
                again = run.keep(step)
                run.stop()
                return again
        raise RecipeError(f"The run of this recipe ended before step {step + 1}; it has {len(run.frames)}.")

    def close(self) -> None:
        """Stop what runs and waits, and end the worker thread; a session that nobody holds any more does so itself.

        As `with Session.open() as lab:` it is closed at the block's end.
        """
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs under way or waiting, as they will be done."""
        return self._worker.waiting

    # -- resolving -----------------------------------------------------------------------------------------------------

    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        """The recipe with every "auto" decided by the plan, then the checkpoint's row; raises RecipeError."""
        checks.instance("What is resolved", recipe, Recipe)
        checks.instance("A plan", plan, (Plan, NoneType), " lab.plan(Recipe('…')) gives one.")
        geometry, most = self.checkpoint.geometry, self.residency.arrangement.longest_seconds
        longest = min(geometry.longest_seconds, most)
        house = resolving.ResolveContext(self.checkpoint.row, geometry, self.checkpoint.parts, longest, self.sound)
        return resolving.resolve(recipe, house, plan)

    def _warn(self, run: Run, asked: Sequence[Recipe], plan: Plan | None) -> None:
        """Say once what usually comes of an odd choice, what of a plan is not followed, and what is done only in part."""
        sentences = [s for recipe in asked for s in resolving.lint(recipe, self.checkpoint.row)]
        if plan is not None:
            sentences += [
                s for recipe in asked for s in resolving.plan_conflicts(recipe, plan, self.checkpoint.geometry)
            ]
        for sentence in dict.fromkeys(sentences):
            run.note(sentence)
            if sentence not in self._said:
                self._said.add(sentence)
                warnings.warn(sentence, LintWarning, stacklevel=_levels_to_the_caller())
        for wished, recipe in zip(asked, run.recipes, strict=True):
            planned = None if plan is None else plan.keyscale
            if isinstance(recipe.task, Cover) and recipe.keyscale and not (wished.keyscale or planned):
                run.note(
                    f"Analysis in the source and told to the model: {recipe.keyscale}. Another keyscale may be asked for."
                )
            for remark in resolving.remarks(recipe, self.checkpoint.geometry):
                run.note(remark)

    # -- the road, on the worker thread --------------------------------------------------------------------------------

    def _render(self, run: Run, asked: Sequence[Recipe], plan: Plan | None, shared: Shared | None) -> None:
        """Plan → words and sources → conditions → frames → sound → takes; what the machine does meanwhile is told."""
        with self.residency.telling(run.note):
            self._road(run, asked, plan, shared)

    def _road(self, run: Run, asked: Sequence[Recipe], plan: Plan | None, shared: Shared | None) -> None:
        clock = StageTimer()
        with clock("plan"):
            self._think(run, asked, plan, shared)
        run.enter("rendering", 0.0)
        longest = max(recipe.seconds or DEFAULT_SECONDS for recipe in run.recipes)
        self.residency.suit(longest, min(len(run.recipes), self.residency.arrangement.batch))
        with clock("encode"):
            songs = self.road.prepare(run.recipes, run.stop_event)
        self._measure(run, songs[0])
        for note in dict.fromkeys(note for song in songs if song.heard is not None for note in song.heard.notes):
            run.note(note)
        made = partial(self._finish, run, asked, songs, clock)
        run.can_keep(lambda frame, song: self._worker.call(partial(self._kept, made, frame, song, run)))
        for places in groups(songs, self.residency.arrangement.batch):
            self._sing(run, songs, places, clock, made)
        self._pace.learn(run.recipes, run.seconds_running)
        run.finish()

    def _sing(
        self, run: Run, songs: list[Prepared], places: Sequence[int], clock: StageTimer, made: Callable[..., Take]
    ) -> None:
        """Songs that share a loop, from noise to kept takes: sampled together, then each decoded, kept and let go, so that a
        run that is stopped or fails has what it had finished.
        """
        if run.state != "rendering":
            run.enter("rendering")
        done = len(run.made)
        with clock("render"):
            latents = self._watch(run, songs, places)
        for place in places:
            songs[place] = songs[place].after_the_loop()
        run.enter("decoding")
        for number, place in enumerate(places):
            begun = done + number + (len(places) - number) * (1 - DECODE_SHARE)
            with clock("decode"):
                take = made(place, latents.pop(place), progress=partial(_share, run, begun))
            self._store(take, run, run.recipes[place])
            run.add(place, take)

    def _think(self, run: Run, asked: Sequence[Recipe], plan: Plan | None, shared: Shared | None) -> None:
        """Let the planner decide for each recipe that wants it, and resolve those recipes anew."""
        common = None if shared is None else shared.plan
        plans: list[Plan | None] = [plan or common] * len(asked)
        recipes = list(run.recipes)
        for place, (wish, resolved) in enumerate(zip(asked, run.recipes, strict=True)):
            if resolving.thinks(resolved, self.has_planner):
                seeded = wish.replace(seed=resolved.seed)
                written = common or self._thought(run, seeded, resolved.seed or 0, plan)
                common = None if shared is None else written
                plans[place], recipes[place] = written, self.resolve(seeded, written)
        run.recipes, run.plans = tuple(recipes), tuple(plans)

    def _thought(self, run: Run, recipe: Recipe, seed: int, plan: Plan | None) -> Plan:
        """A plan for a recipe; of a plan at hand everything stands, and only what it lacks is written."""
        run.enter("planning", 0.0)
        held = None if plan is None else plan.held(recipe)
        [written] = self._plans(recipe, [seed], run, keep=held)
        return replace(written, locked=frozenset() if plan is None else plan.locked)

    def _measure(self, run: Run, song: Prepared) -> None:
        """Before the first song in whole numbers: have them measured when the DiT is built, and say what came of it."""
        numbers = self._int8_mode
        if numbers is None or numbers.gate is not None:
            return
        numbers.look = self.road.probing(song)
        self.residency.free()  # a DiT built before there was a song to measure with
        with self.residency.on("dit"):
            pass
        run.note(str(numbers.gate))

    def _watch(self, run: Run, songs: Sequence[Prepared], places: Sequence[int]) -> dict[int, Tensor]:
        """Walk the loop of the songs at these places, show every step, and return each one's last latent."""
        latents: dict[int, Tensor] = {}
        done = len(run.made)
        for frame in self.road.walk(songs, places, run.check):
            latents = dict(zip(frame.items, frame.latent, strict=True))
            share = (done + len(places) * (1 - DECODE_SHARE) * frame.fraction) / len(songs)
            for one in frame.each():
                run.show(one, share)
            self._worker.breathe()
            run.check()
        return latents

    def _finish(
        self,
        run: Run,
        asked: Sequence[Recipe],
        songs: Sequence[Prepared],
        clock: StageTimer,
        place: int,
        latent: Tensor,
        progress: Callable[[float], None] | None = None,
    ) -> Take:
        """Decode a song's latent and make its take."""
        song, listener = songs[place], {"stop": run.stop_event, "progress": progress} if progress else {}
        audio, latent, gain = self.road.finish(song, latent, **listener)  # type: ignore[arg-type]
        task = song.recipe.task
        take = Take(
            recipe=song.recipe.replace(task=task.with_ids()),
            audio=audio,
            latent=latent.float().numpy(),
            plan=run.plans[place],
            parents=tuple(dict.fromkeys(source.id for source in task.sources().values())),  # type: ignore[union-attr]
            made_with=self._made_with(clock, gain),
            asked=asked[place].replace(task=asked[place].task.with_ids()),
        )
        self._known.put(take.id, take)
        return take

    def _kept(self, made: Callable[[int, Tensor], Take], frame: Step, song: int, run: Run) -> Take:
        """The take of a step's estimate, kept."""
        take = made(song, frame.estimate)
        take = take.replace(made_with={**take.made_with, "step": frame.index})
        self._known.put(take.id, take)
        self._store(take, run, run.recipes[song])
        return take

    def _store(self, take: Take, run: Run, recipe: Recipe) -> None:
        """Put a take on disk the moment it exists, and the recordings its recipe starts from; a full disk costs a sentence,
        never the take.
        """
        try:
            for sound in recipe.task.sources().values():
                if isinstance(sound, Audio):
                    self.library.keep_sound(sound)
            self.library.keep(take)
        except (LibraryError, OSError) as error:
            run.note(f"{error} The take is safe in memory: free some space, then call lab.keep(take).")

    # -- collaborators -------------------------------------------------------------------------------------------------

    def _arrangement(self, machine: Machine) -> Any:
        """How this checkpoint fits a machine."""
        passes = 1 if self.checkpoint.row.is_turbo else 2  # of the DiT per step: guided ones look twice
        sizes, longest = self.checkpoint.sizes(2), self.checkpoint.geometry.longest_seconds
        return budget(machine, sizes, passes=passes, tier=self.tier, longest=longest)

    def _build(self, part: str) -> torch.nn.Module:
        module = build(self.checkpoint, part, self.residency.arrangement.torch_dtype)
        if part == "dit" and self._int8_mode is not None:
            self._int8_mode.put_into(module)
        return attach_adapters(module, self._adapters) if part == "dit" and self._adapters else module

    def _made_with(self, clock: StageTimer, gain: float) -> dict[str, Any]:
        """What a take was made with, as plain data."""
        return {
            "checkpoint": self.checkpoint.name,
            "vae": self.road.vae_mark,
            "tier": self.tier.name,
            "precision": "auto" if self._int8_mode is None else self._int8_mode.chosen,
            "device": str(self.residency.device),
            "dtype": self.residency.arrangement.dtype_name,
            "threads": torch.get_num_threads(),
            "gain": gain,
            "adapters": {adapter.name: strength for adapter, strength in self._adapters},
            "seconds": {name: round(seconds, 4) for name, seconds in clock.so_far().items()},
            "versions": {name: version_of(name) for name in PACKAGES},
        }


def _said(take: Take) -> Plan:
    """What a take was made from, as a plan."""
    recipe = take.recipe
    return take.plan or Plan(
        caption=recipe.caption, lyrics=recipe.lyrics, bpm=recipe.bpm, keyscale=recipe.keyscale,
        timesignature=recipe.timesignature, language=recipe.language,
    )  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """One plan for all recipes of a run: this one, or the first that is written."""

    plan: Plan | None = None


def _share(run: Run, begun: float, share: float) -> None:
    """Tell a run how far it is: so many songs' work, and a share of the one that is decoded."""
    run.progress((begun + DECODE_SHARE * share) / len(run.recipes))


def _heeded(run: Run) -> dict[str, Any]:
    """How a planner tells its run every token, and heeds its wish to stop."""
    return {"on_token": run.token, "stop": lambda: run.stopping}


def _fixed(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that are to stand, each as a plan reads it; what is None is open."""
    given = {name: value for name, value in fields.items() if value is not None}
    checks.known_fields("A plan", given, ATTRIBUTES)
    plan = Plan(**given)
    return {name: getattr(plan, name) for name in given}


def _latent(value: Any, channels: int) -> Tensor:
    """A latent [frames, channels] of finite numbers."""
    array = checks.tried(lambda: np.array(value, dtype=np.float32))
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != channels or not len(array):
        raise RecipeError(
            f"A latent is numbers in the shape [frames, {channels}], as take.latent is, not {shown(value)}."
        )
    return torch.from_numpy(array)


def _titled(caption: str, lyrics: str = "") -> Recipe:
    """A recipe for a run that asks the planner for words, which may start from none."""
    return Recipe(caption if not isinstance(caption, str) or caption.strip() else "a song", lyrics)


def _recipes(asked: Any) -> tuple[Recipe, ...]:
    """What is to be made as a tuple; RecipeError where there is none, or something else."""
    if checks.is_a(asked, str):
        raise RecipeError(f"Words become a recipe first: Recipe({asked[:40]!r}, seconds=30).")
    if not checks.is_a(asked, Recipe, Iterable) or checks.is_a(asked, bytes):
        raise RecipeError(f"A session makes recipes, not {checks.kind_of(asked)}; write Recipe('…', seconds=30).")
    found = (asked,) if checks.is_a(asked, Recipe) else checks.sequence("Recipes", asked, MOST_RECIPES)
    for one in found:
        if not checks.is_a(one, Recipe):
            raise RecipeError(f"A session makes recipes, not {checks.kind_of(one)}; write Recipe('…', seconds=30).")
    if not found:
        raise RecipeError("There is no recipe to make; hand over at least one.")
    return found


def _levels_to_the_caller() -> int:
    """How far up the first frame outside this package is, so that a warning shows the musician's own line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("acestep_lab"):
        level, frame = level + 1, frame.f_back
    return level


class TakeWarning(UserWarning):
    """Opening a take found something out of the ordinary."""


class LintWarning(UserWarning):
    """An explicit choice that usually spoils the music with this checkpoint."""


def default_folder() -> Path:
    """Where takes are kept unless told otherwise: `ACESTEP_LAB_TAKES`, or this user's data folder."""
    from platformdirs import user_data_path

    return Path(os.environ.get("ACESTEP_LAB_TAKES") or user_data_path("acestep_lab") / "takes")


@dataclass
class StageTimer:
    """Seconds spent per stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.running[stage] = time.perf_counter()
        try:
            yield
        finally:
            self.seconds = self.so_far()
            del self.running[stage]

    def so_far(self) -> dict[str, float]:
        """Seconds per stage, the running one's included."""
        now = time.perf_counter()
        return self.seconds | {name: self.seconds.get(name, 0.0) + now - began for name, began in self.running.items()}


def seconds_of(recipes: Sequence[Recipe]) -> float:
    """Seconds of music that recipes ask for."""
    return sum(recipe.seconds or DEFAULT_SECONDS for recipe in recipes)


def work_of(recipes: Sequence[Recipe]) -> float:
    """Work in seconds of music times looks at the DiT, decoding counted as four looks."""
    return sum(_looks(recipe) * (recipe.seconds or DEFAULT_SECONDS) for recipe in recipes)


class EtaEstimator:
    """How long work took here, to say how long more of it will take; `units` measures it."""

    def __init__(self, units: Callable[[Sequence[Recipe]], float] = work_of) -> None:
        self._per_unit: list[float] = []
        self._units = units

    def learn(self, recipes: Sequence[Recipe], seconds: float) -> None:
        """Remember that these recipes took so many seconds."""
        self._per_unit = [*self._per_unit[-19:], seconds / self._units(recipes)]

    def expect(self, recipes: Sequence[Recipe]) -> float | None:
        """Seconds these recipes should take; None before the first run."""
        if not self._per_unit:
            return None
        return sorted(self._per_unit)[len(self._per_unit) // 2] * self._units(recipes)


def _looks(recipe: Recipe) -> int:
    return (recipe.steps or 1) * (1 if recipe.guidance in (None, "none") else 2) + 4
