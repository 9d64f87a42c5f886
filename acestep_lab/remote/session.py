"""A session whose models are on another machine: every verb of `SessionLike` over HTTP. Imports no torch.

Recipes and plans go there, steps, takes and sounds come back; takes are in the library there, or in one here. Runs wait
their turn in a queue of this machine, so that pages and notebooks see them as they see any.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, RecipeError, shown
from acestep_lab.jobs import annotating, noting
from acestep_lab.jobs.kinds import PlanRun, RenderRun
from acestep_lab.jobs.planning import OnToken
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import recipes_of, varied_seeds
from acestep_lab.jobs.verbs import Verbs
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.notes import Notes
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.listen.scores import Scores
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.checks import Place
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import Sampling
from acestep_lab.prompt.tasks import TASKS, Retake, Source, Task
from acestep_lab.remote.attributing import FarAttributing
from acestep_lab.remote.bench import Bench
from acestep_lab.remote.connection import Connection, ConnectionLost
from acestep_lab.remote.facts import Facts, FarTier
from acestep_lab.remote.runs import LAB, FarRun, Line, follow_plan, follow_render
from acestep_lab.remote.steps import FarStep
from acestep_lab.remote.telling import recipes_from, same_number, understood
from acestep_lab.remote.wire import Price, to_wire
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Verdict

if TYPE_CHECKING:
    from acestep_lab.train.labelling import LabelRun

FRESH = 1.0
"""Seconds for which what is in use there is taken to be as it was; for longer where it takes long to ask."""

AWAY = (5.0, 60.0)
"""Seconds for which a machine that did not answer is left alone when somebody only asks what is in use: at first, and at most."""


class RemoteSession(Verbs):
    """The verbs of a Session on another machine.

    ::

        lab = Session.connect("http://gpu-box:8001", key="…")           # takes stay in the library there
        lab = Session.connect("http://gpu-box:8001", key="…", library="takes")          # or come into a folder here
        lab.make(Recipe("slow dub techno", seconds=20))

    A line that drops is taken up again for a few minutes, and a run goes on where it was. Errors are those of the other
    machine, as the same kinds. Changing the checkpoint or the adapters that everybody uses is for the host's key.
    """

    def __init__(self, connection: Connection, library: Library | None = None, jobs: JobQueue | None = None) -> None:
        """`library` None: the one there. MachineError where nobody answers, or with another version."""
        self._connection, self._line = connection, Line(connection)
        self._lock = threading.Lock()
        self._facts, self._facts_at, self._away = self._ask_facts(), time.monotonic(), AWAY[0]
        self._defaults: dict[tuple[Task, str], Sampling] = {}
        self._bench = Bench(connection, library)
        self._sounds = self._bench.sounds
        self.jobs = jobs or JobQueue()
        self._attributes = FarAttributing(self._line, self._bench, self.jobs)

    @classmethod
    def connect(cls, url: str, key: str = "", library: Library | Place | None = None) -> Self:
        """A session at the door of another machine, as `Session.connect` says."""
        kept = Library(library) if isinstance(library, str | os.PathLike) else library
        return cls(Connection(url, key), kept)

    # -- what is in use

    def _ask_facts(self) -> Facts:
        hurried = self._connection.in_a_hurry(5.0, 15.0)
        return Facts.read(hurried.get(LAB), self._connection.url)

    def _now(self, fresh: bool = False) -> Facts:
        """What is in use; as it last was, while the line is down."""
        with self._lock:
            began = time.monotonic()
            if fresh or began - self._facts_at > FRESH:
                try:
                    self._know(self._ask_facts(), began)
                except ConnectionLost:
                    if fresh:
                        raise
                    self._facts_at, self._away = time.monotonic() + self._away, min(2 * self._away, AWAY[1])
            return self._facts

    def _know(self, facts: Facts, asked_at: float) -> None:
        if facts != self._facts:
            self._defaults.clear()
        now = time.monotonic()
        self._facts, self._facts_at, self._away = facts, now + 4 * (now - asked_at), AWAY[0]

    @property
    def url(self) -> str:
        """The other machine's door."""
        return self._connection.url

    @property
    def name(self) -> str:
        """The checkpoint in use there."""
        return self._now().name

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that are open there."""
        return tuple(self._now().capabilities)

    @property
    def capabilities(self) -> Capabilities:
        """What the checkpoint in use can do."""
        facts = self._now()
        return facts.capabilities[facts.name]

    @property
    def has_planner(self) -> bool:
        """Whether the checkpoint in use has a planner, and that machine room for it."""
        facts = self._now()
        return facts.planners[facts.name]

    @property
    def tier(self) -> FarTier:
        """How much machine there is."""
        return self._now().tier

    @property
    def adapters(self) -> tuple[tuple[str, str, float], ...]:
        """The adapters that are on there: name, file and strength of each."""
        return self._now().adapters

    def capabilities_of(self, checkpoint: str) -> Capabilities:
        """What an open checkpoint can do; CheckpointError where it is not open there."""
        return self._open(checkpoint).capabilities[checkpoint]

    def has_planner_of(self, checkpoint: str) -> bool:
        """Whether an open checkpoint has one; CheckpointError where it is not open there."""
        return self._open(checkpoint).planners[checkpoint]

    def _open(self, checkpoint: str) -> Facts:
        facts = self._now()
        if checkpoint not in facts.capabilities:
            raise CheckpointError(
                f"No checkpoint {shown(checkpoint)} is open there; open are {', '.join(facts.capabilities)}."
            )
        return facts

    def use(self, checkpoint: Place, lm: Place | None = None) -> Capabilities:
        """Make another checkpoint the one in use there, by its name: for the host's key, since it is so for everybody."""
        can: Capabilities = self._do(
            "use", Capabilities, checkpoint=_name(checkpoint), lm=None if lm is None else _name(lm)
        )
        self._now(fresh=True)
        return can

    def cost(self, checkpoint: Place, lm: Place | None = None) -> Price:
        """What using another checkpoint or planner would cost there, before anything loads: print it for a sentence."""
        found: Price = self._do("cost", Price, checkpoint=_name(checkpoint), lm=None if lm is None else _name(lm))
        return found

    def defaults(self, task: Task, checkpoint: str | None = None) -> Sampling:
        """What is decided for a task where a recipe says nothing, by the checkpoint in use or another open one.

        Remembered while nothing changes there: a page asks for it whenever it is drawn.
        """
        checks.instance("A task", task, tuple(TASKS.values()))
        self.jobs.must_be_open()
        named = checkpoint or self._now().name
        plain = all(isinstance(source, str) for source in task.sources().values())
        with self._lock:
            known = self._defaults.get((task, named)) if plain else None
        if known is None:
            fields = _given({"task": task, "checkpoint": checkpoint})
            known = self._line.ask_at_once("defaults", fields, Sampling, drawing=True)
            if plain:
                with self._lock:
                    self._defaults[task, named] = known
        return known

    def lora(self, *adapters: Place | tuple[Place, float]) -> tuple[str, ...]:
        """Put adapters, files of the other machine, on the DiT there, and only these; none: the bare model. For the host's key."""
        names = tuple(self._do("lora", list[str], adapters=_adapters(adapters)))
        self._now(fresh=True)
        return names

    def merge(
        self, folder: Place, *adapters: Place | tuple[Place, float], link: bool = True, exact: bool = False
    ) -> NoReturn:  # fmt: skip
        """CheckpointError: weights are merged where they lie, by `acestep-lab merge` on that machine."""
        raise CheckpointError(
            "Adapters are merged where the checkpoint lies: on the other machine, by `acestep-lab merge CHECKPOINT --adapter FILE "
            "--to FOLDER`. lab.lora(…) puts them on there without writing anything."
        )

    def export_onnx(
        self, folder: Place, *components: str, dtype: str = "fp32", tolerance: float | None = None
    ) -> NoReturn:  # fmt: skip
        """CheckpointError: graphs are written where the weights lie, by `acestep-lab export-onnx` on that machine."""
        raise CheckpointError(
            "A checkpoint is exported where it lies: on the other machine, by `acestep-lab export-onnx CHECKPOINT --to FOLDER`."
        )

    def label(self, songs: Any, *, seeds: int = 3, lyrics: bool = False, folder: Place | None = None,
              on: Any = None, resource: str | None = None) -> LabelRun:  # fmt: skip
        """Label songs of this machine, as `Session.label` does: they are sent there to be heard, what is said stays here."""
        from acestep_lab.train.labelling import begin

        return begin(self, songs, seeds=seeds, lyrics=lyrics, folder=folder, on=on, resource=resource)

    # -- making

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, *,
              adapters: Sequence[Place | tuple[Place, float]] | None = None) -> RenderRun:  # fmt: skip
        """Begin a render there and return at once, as `Session.start` does; RecipeError for what cannot be made."""
        self.jobs.must_be_open()
        checks.instance("A plan", plan, (Plan, NoneType), " lab.plan(Recipe('…')) gives one.")
        worn = None if adapters is None else _adapters(adapters)
        asked = [self._bench.brought(one) for one in recipes_of(recipe)]
        resolved = self._resolve(asked, plan)
        local = _with_sounds(recipes_of(recipe))
        run = FarRun([local(one, place) for place, one in enumerate(resolved)])
        fields = {"recipes": asked, "plan": plan, "adapters": worn, "title": run.title}
        return self._submit(run, "render", fields, local)

    def _submit(
        self, run: FarRun, kind: str, fields: Mapping[str, Any], local: Callable[[Recipe, int], Recipe]
    ) -> FarRun:
        work = partial(
            _render, line=self._line, jobs=self.jobs, bench=self._bench, kind=kind, fields=_given(fields), local=local
        )
        return self.jobs.submit(run, work)

    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> list[Take]:
        """The same music from other noise, a take for each seed, as `Session.vary` does."""
        self.jobs.refuse_to_wait()
        listed = varied_seeds(source, seeds, variance)
        words = source.recipe if isinstance(source, Take) else source
        task = Retake(source, variance, 0) if isinstance(source, Take) and variance is not None else words.task
        recipes = recipes_of([words.replace(seed=seed, task=task) for seed in listed])
        there = self._bench.there(source) if isinstance(source, Take) else self._bench.brought(source)
        fields = {"source": there, "seeds": listed, "variance": variance}
        return self._submit(FarRun(recipes), "vary", fields, _with_sounds(recipes)).takes()

    def _verified(self, take: Take) -> Verdict:
        self.jobs.refuse_to_wait()
        there = self._bench.there(take)
        found: list[Verdict] = []
        run = FarRun([take.recipe])
        work = partial(
            _render, line=self._line, jobs=self.jobs, bench=self._bench, kind="verify",
            fields={"take": there}, local=_with_sounds([take.recipe]), found=found,
        )  # fmt: skip
        self.jobs.submit(run, work).result()
        return found[0]

    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        """The recipe with every "auto" decided by the plan, then the engine there; raises RecipeError."""
        checks.instance("What is made", recipe, Recipe, " Write Recipe('…', seconds=30).")
        checks.instance("A plan", plan, (Plan, NoneType), " lab.plan(Recipe('…')) gives one.")
        [resolved] = self._resolve([self._bench.brought(recipe)], plan)
        return _with_sounds([recipe])(resolved, 0)

    def _resolve(self, brought: Sequence[Recipe], plan: Plan | None) -> list[Recipe]:
        self.jobs.must_be_open()
        found = self._line.ask_at_once("resolve", _given({"recipes": brought, "plan": plan}), list[Recipe])
        with understood(self.url):
            same_number(found, brought)
            return recipes_from(found)

    # -- planning

    @overload
    def plan(self, recipe: Recipe, n: None = None, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> Plan: ...  # fmt: skip
    @overload
    def plan(self, recipe: Recipe, n: int, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> list[Plan]: ...  # fmt: skip
    def plan(self, recipe: Recipe, n: int | None = None, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> Plan | list[Plan]:  # fmt: skip
        """What the planner there decides before a note is made, as `Session.plan` says; RecipeError for what is no recipe."""
        if not checks.is_a(recipe, Recipe) or not checks.is_a(keep, Plan, NoneType):
            raise RecipeError(
                "The planner is asked with a recipe, and keeps a plan: lab.plan(Recipe('dub'), keep=plan)."
            )
        fields = {"recipe": self._bench.brought(recipe), "n": n, "keep": keep, "codes": codes}
        plans = self._ask("plan", recipe.caption or recipe.lyrics, fields, on_token)
        return plans[0] if n is None else plans

    def sketch(self, sentence: str, instrumental: bool = False, seed: int = 0, *, language: str | None = None,
               checkpoint: str | None = None, on_token: OnToken = None) -> Plan:  # fmt: skip
        """A caption, lyrics and metadata out of one sentence, by the planner there."""
        fields = {
            "sentence": sentence, "instrumental": instrumental, "seed": seed, "language": language, "checkpoint": checkpoint,
        }  # fmt: skip
        return self._ask("sketch", str(sentence), fields, on_token)[0]

    def polish(self, caption: str, lyrics: str = "", seed: int = 0, *, checkpoint: str | None = None,
               on_token: OnToken = None, **fixed: Any) -> Plan:  # fmt: skip
        """Better words for a caption and lyrics, with metadata, by the planner there; fields given by name stand."""
        fields = {"caption": caption, "lyrics": lyrics, "seed": seed, "checkpoint": checkpoint, "fixed": fixed}
        return self._ask("polish", str(caption or lyrics), fields, on_token)[0]

    def understand(self, source: Source, seed: int = 0, *, checkpoint: str | None = None,
                   on_token: OnToken = None) -> Plan:  # fmt: skip
        """What the planner there hears in a take or any sound: caption, lyrics and metadata."""
        there = self._bench.there(source)
        fields = {"source": there, "seed": seed, "checkpoint": checkpoint}
        return self._ask("understand", f"what the planner hears in {there}", fields, on_token)[0]

    def _ask(self, kind: str, title: str, fields: Mapping[str, Any], on_token: OnToken) -> list[Plan]:
        """Ask the planner in a run of its own, and wait for what is written."""
        if on_token is not None and not callable(on_token):
            raise RecipeError(f"on_token is a function that hears each token, not {shown(on_token)}.")
        self.jobs.refuse_to_wait()
        plain = _given(fields)
        run = PlanRun(title)
        if on_token is not None:
            run.subscribe(lambda event: on_token(event.value) if event.kind == "token" else None)
        return self.jobs.submit(run, partial(_plan, line=self._line, jobs=self.jobs, kind=kind, fields=plain)).result()

    def plan_score(self, source: Source, plan: Plan | None = None, scale: float = 0.1) -> PlanScore:
        """How well a sound agrees with a plan in the judgement of the planner there: a score per field, 0 to 1."""
        checks.instance("A plan", plan, (Plan, NoneType))
        found: PlanScore = self._do("plan_score", PlanScore, source=self._bench.there(source), plan=plan, scale=scale)
        return found

    # -- looking

    def analyze(self, source: Source, bpm: float | None = None) -> Analysis:
        """What can be measured in a take or any sound: tempo, key, meter, loudness, instruments."""
        found: Analysis = self._do("analyze", Analysis, source=self._bench.there(source), bpm=bpm)
        return found

    def align(
        self, source: Source, lyrics: str | None = None, *, language: str | None = None,
        by: Literal["sound", "plan"] = "sound", checkpoint: str | None = None, reference: bool = False, anew: bool = False,
    ) -> Alignment:  # fmt: skip
        """Where each line and word of the lyrics is sung, as the checkpoint there hears it; kept beside the take there."""
        asked = {"lyrics": lyrics, "language": language, "by": by, "checkpoint": checkpoint}
        there = self._bench.there(source)
        found: Alignment = self._do("align", Alignment, source=there, **asked, reference=reference, anew=anew)
        if lyrics is None and by == "sound":
            self._mirror(there, "alignment", found.to_json())
        return found

    def _mirror(self, id: str, kind: str, found: Mapping[str, Any]) -> None:
        """Keep beside a take here, too, what was found beside it there, for pages to show; there it can be asked for again."""
        annotating.keep(self.library, id, kind, {"key": {}, kind: dict(found)})

    def scores(self, source: Source, *, reference: bool = False, anew: bool = False) -> Scores:
        """What a take was asked for against what is heard of it, found there behind all renders and kept beside the take there."""
        there = self._bench.there(source)
        found: Scores = self._do("scores", Scores, source=there, reference=reference, anew=anew)
        self._mirror(there, "scores", found.to_json())
        return found

    def notes(self, source: Source, stem: str | None = None, *, anew: bool = False) -> Notes:
        """What is played, as `Session.notes` says; listened to there, and kept beside the take there."""
        name = None if stem is None else noting.pitched_stem(stem)
        sound, anew = self.sound(source), checks.truth("anew", anew)
        alone = None if name is None else self._bench.there(self.stems(sound, [name])[name])
        found: Notes = self._do("notes", Notes, source=self._bench.there(sound), stem=name, alone=alone, anew=anew)
        return found

    def codes(self, source: Source, *, checkpoint: str | None = None) -> tuple[int, ...]:
        """The audio codes of a take or any sound; RecipeError where the engine there has none."""
        return tuple(self._do("codes", list[int], source=self._bench.there(source), checkpoint=checkpoint))

    def preview(self, step: Step | Take, at: float, seconds: float = 3.0) -> Audio:
        """The seconds around a time of a step's estimate, decoded there alone, exactly; RecipeError where its engine has none."""
        checks.instance("What is previewed", step, (Step, Take))
        at, seconds = checks.real("A time", at, 0.0, 1e6), checks.real("A length", seconds, 0.0, 1e6)
        if isinstance(step, Take):
            made: dict[str, object] = {"take": self._bench.there(step)}
        elif isinstance(step, FarStep):
            made = {"run": step.run, "step": step.number, "item": step.item}
        else:
            raise RecipeError("This step was made by another session; ask that one.")
        return self._line.sound(f"{LAB}/preview", at=at, seconds=seconds, **made)

    def close(self) -> None:
        """Stop what runs and waits, and let the line go; what is open on the other machine stays so."""
        self.jobs.close()
        self._connection.close()

    def __repr__(self) -> str:
        return f"<RemoteSession {self.url}: {self._facts.name!r}, {len(self.library)} takes kept>"

    # -- inside

    def _do(self, verb: str, hint: Any, **fields: Any) -> Any:
        """Ask for a short verb, which gives something of a type."""
        self.jobs.must_be_open()
        return self._line.ask(verb, _given(fields), hint)


def _render(
    run: FarRun, line: Line, jobs: JobQueue, bench: Bench, kind: str, fields: Mapping[str, Any],
    local: Callable[[Recipe, int], Recipe], found: list[Verdict] | None = None,
) -> None:  # fmt: skip
    """A render's body: holds no session, so that one nobody holds any more can go."""
    value = follow_render(line, jobs, bench, run, kind, fields, local)
    if found is not None:
        found.append(value)


def _plan(run: PlanRun, line: Line, jobs: JobQueue, kind: str, fields: Mapping[str, Any]) -> None:
    follow_plan(line, jobs, run, kind, fields)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something, as they go over the line."""
    return {name: to_wire(value) for name, value in fields.items() if value is not None}


def _with_sounds(asked: Sequence[Recipe]) -> Callable[[Recipe, int], Recipe]:
    """Gives a recipe of the other machine the sounds that its asker handed in, where it holds their ids."""

    def local(recipe: Recipe, place: int) -> Recipe:
        mine = asked[place].task.sources() if place < len(asked) else {}
        held = {one.id: one for one in mine.values() if isinstance(one, Take | Audio)}
        sources = recipe.task.sources()
        found = {name: held.get(str(source), source) for name, source in sources.items()}
        return recipe.replace(task=recipe.task.with_sources(found)) if held and sources else recipe

    return local


def _name(checkpoint: Place) -> str:
    return checks.place("A checkpoint", checkpoint, CheckpointError)


def _adapters(asked: Any) -> list[list[Any]]:
    """Adapters, each with its strength, as they go over the line."""
    listed = checks.sequence("adapters", asked, 100)
    pairs = [one if isinstance(one, tuple) else (one, 1.0) for one in listed]
    return [[checks.place("An adapter", place, CheckpointError), strength] for place, strength in pairs]
