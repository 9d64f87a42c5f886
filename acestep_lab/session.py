"""A Session holds open engines and turns recipes into takes. Verbs only; the work is done in the rooms.

`engines/` resolve and compute, `jobs/` queue and run, `takes/` keep and find.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities, Engine
from acestep_lab.engines.step import Step
from acestep_lab.features import Feature, require
from acestep_lab.jobs.aligning import Aligning
from acestep_lab.jobs.attributing import Attributing
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.latents import Latents
from acestep_lab.jobs.planning import OnToken, Planning
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import Renderer, recipes_of
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.jobs.verbs import Verbs
from acestep_lab.listen.analysis import Analysis, analyze
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks, tasks
from acestep_lab.prompt.checks import Place
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import Sampling
from acestep_lab.prompt.tasks import Source, Task
from acestep_lab.settings import VARIABLES
from acestep_lab.takes.library import Library, library_at
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Verdict

if TYPE_CHECKING:
    from acestep_lab.models.device_manager import DeviceManager
    from acestep_lab.models.memory_plan import MemoryPlan
    from acestep_lab.models.merging import Merged
    from acestep_lab.models.onnx_manifest import Manifest
    from acestep_lab.models.precision import Int8Mode
    from acestep_lab.models.shared_memory_plan import CheckpointCost
    from acestep_lab.models.tiers import Machine, Tier
    from acestep_lab.remote.session import RemoteSession
    from acestep_lab.train.forecast import TrainingPlan
    from acestep_lab.train.labelling import LabelRun
    from acestep_lab.train.lora import LoraConfig


class Session(Verbs):
    """Open engines, a queue with a worker thread, and a library of takes.

    ::

        with Session.open() as lab:                                     # or "turbo", "musicgen-small", a folder, a hub id
            take = lab.make(Recipe("slow dub techno", seconds=20))      # start, vary; repaint, extend, cover, … of a take
            lab.analyze(take), lab.preview(take, at=3), lab.load(take.id)
            lab.cost("base"), lab.use("base"), lab.capabilities         # several checkpoints in one session

    The engine is opened light; components load when they are first needed, on the worker thread. Stand-ins with the same
    verbs may be handed in for every collaborator.
    """

    def __init__(
        self, engine: Engine, tier: Tier | None = None, library: Library | None = None,
        devices: DeviceManager | object = None, jobs: JobQueue | None = None, device: object = None,
        dtype: object = None, cards: Sequence[Machine] | None = None,
    ) -> None:  # fmt: skip
        from acestep_lab.engines.opened import OpenEngines  # a session elsewhere opens none

        self.engines = OpenEngines(engine, tier, devices, device, dtype, cards)
        self.jobs = jobs or JobQueue()
        self._sounds = Sounds(library_at() if library is None else library)  # an empty one is falsy
        self._renderer = Renderer(self.engines, self._sounds, self.jobs)
        self._planning = Planning(self.engines, self.jobs)
        self._latents = Latents(self.engines, self.sound, self.jobs)
        self._aligning = Aligning(self.engines, self._sounds, self.jobs)
        self._attributes = Attributing(self.engines, self._sounds, self.jobs)

    @classmethod
    def open(
        cls, checkpoint: Place | None = None, tier: Tier | None = None, library: Library | Place | None = None,
        precision: str | Int8Mode = "auto", lm: Place | None = None, device: object = None, dtype: object = None,
        devices: object = None,
    ) -> Self:  # fmt: skip
        """Open a checkpoint: "pocket", a catalog name, a folder, or a hub id; no weights are read yet. Without a name it is what
        ACESTEP_LAB_CHECKPOINT and ACESTEP_LAB_LM (or a file of settings) say, else the pocket; one that is named has its own planner.
        Where ACESTEP_LAB_SERVER names the door of another machine, a call with nothing but a library is `connect` with the
        key in ACESTEP_API_KEY: a lesson runs there as it stands, without torch.

        `precision="int8"` lets the DiT multiply whole numbers on a CPU, once a measurement in the first render has shown that
        it changes little and is quicker here. `lm` names another planner than the checkpoint's own: "0.6B", "1.7B", "4B", a
        folder or a hub id. `device` is where the work runs ("auto", "cpu", "cuda", "cuda:1", "mps", "xpu", or torch's own)
        and `dtype` what it computes in ("auto", "float32", "bfloat16", "float16", or torch's own); ACESTEP_DEVICE and
        ACESTEP_DTYPE say so for all sessions. Of several cards, `devices` says which do what: "dit:0,lm:1", "0,1" (the takes
        of a run are spread over cards alike), "auto" (by memory), or ACESTEP_GPU_MAPPING. Raises CheckpointError where there is no checkpoint, saying what is missing,
        and MachineError for a device that is not there.
        """
        unsaid = all(one is None for one in (checkpoint, tier, lm, device, dtype, devices))
        if unsaid and (server := VARIABLES.get("ACESTEP_LAB_SERVER")):
            return cast("Self", cls.connect(server, VARIABLES.get("ACESTEP_API_KEY", ""), library))
        from acestep_lab.engines.opened import asked_engine

        engine = asked_engine(checkpoint, lm, precision, tier, device, dtype, devices)
        return cls(engine, tier, library_at(library), devices, device=device, dtype=dtype)

    @staticmethod
    def connect(url: str, key: str = "", library: Library | Place | None = None) -> RemoteSession:
        """A session whose models are on another machine, at the door of its `acestep-lab api`: "http://gpu-box:8001".

        The same verbs, on a machine that needs no torch. `key` is one that the door takes. Takes are in the library there;
        with `library`, a folder or a Library, here. Raises LabError for what is no address, MachineError where nobody answers.
        """
        from acestep_lab.remote.session import RemoteSession

        return RemoteSession.connect(url, key, library)

    def use(self, checkpoint: Place, lm: Place | None = None) -> Capabilities:
        """Make another checkpoint the one in use, opened where it is not yet; what two have in common is in memory once.

        `lm` names its planner, as in `open`; one that is open with another is given this one, between two runs. Recipes may
        also name a checkpoint: `Recipe("dub", checkpoint="base")`. Returns what it can do; `cost` says beforehand what it
        takes.
        """
        if lm is None:
            return self.engines.use(checkpoint).capabilities
        return self.jobs.call(partial(self.engines.use, checkpoint, lm), between=True).capabilities

    def cost(self, checkpoint: Place, lm: Place | None = None) -> CheckpointCost:
        """What using another checkpoint or planner would cost, before anything loads: print it for a sentence."""
        return self.engines.cost(checkpoint, lm)

    @property
    def name(self) -> str:
        """The checkpoint in use."""
        return self.engine.name

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that are open."""
        return self.engines.names

    def capabilities_of(self, checkpoint: str) -> Capabilities:
        """What an open checkpoint can do; CheckpointError where it is not open."""
        return self.engines.named(checkpoint).capabilities

    def defaults(self, task: Task, checkpoint: str | None = None) -> Sampling:
        """What is decided for a task where a recipe says nothing, by the checkpoint in use or another open one."""
        return self.engines.asked(checkpoint).defaults(
            checks.instance("A task", task, tuple(tasks.MODEL_TASKS.values()))
        )

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self.engines.current

    @property
    def capabilities(self) -> Capabilities:
        """What the engine in use can do."""
        return self.engine.capabilities

    @property
    def tier(self) -> Tier:
        """How much machine there is."""
        return self.engines.tier

    def __repr__(self) -> str:
        return f"<Session {self.name!r}: {len(self.library)} takes kept, {self.engines.summary()}>"

    # -- making --------------------------------------------------------------------------------------------------------

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Plan | None = None, *,
              adapters: Sequence[Place | tuple[Place, float]] | None = None) -> RenderRun:  # fmt: skip
        """Begin a render and return at once; the run shows steps, can be stopped, and has a take for each recipe.

        The checkpoint's planner, if it has one, first writes what is missing for music from words: a whole plan, or the
        codes of the plan at hand, whose fields then stand. `thinking=False` in a recipe goes straight to the music. What a
        recipe sets always stands. `adapters` are on for this run alone, and no others: [] is the bare model; None, those
        that `lora` put on. Raises RecipeError for what this checkpoint cannot make, before any work.
        """
        return self._renderer.begin(recipes_of(recipe), plan, adapters=adapters)

    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> list[Take]:
        """The same music from other noise, a take for each seed.

        What varies is the noise alone: words, numbers and codes are those of the source take, or of one plan, written with
        the first seed. Other plans come from `lab.start([recipe.replace(seed=seed) for seed in seeds])`. With a variance
        between 0 and 1 the takes stay near the source: its noise is turned towards each seed's, and 0 gives the source itself.
        """
        self.jobs.refuse_to_wait()
        return self._renderer.vary(source, seeds, variance).takes()

    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        """The recipe with every "auto" decided by the plan, then the engine; raises RecipeError."""
        return self._renderer.recipe(recipe, plan)

    # -- planning ------------------------------------------------------------------------------------------------------

    @overload
    def plan(self, recipe: Recipe, n: None = None, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> Plan: ...  # fmt: skip
    @overload
    def plan(self, recipe: Recipe, n: int, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> list[Plan]: ...  # fmt: skip
    def plan(self, recipe: Recipe, n: int | None = None, *, keep: Plan | None = None, codes: bool | None = None,
             on_token: OnToken = None) -> Plan | list[Plan]:  # fmt: skip
        """What the planner decides before a note is made: read it, change it, hand it to `make` or `start`.

        With `n`, so many plans from one reading of the prompt, by the recipe's seed and those after it. `keep` is a plan
        whose locked fields stand; `codes` False leaves the audio codes out; `on_token` hears every token as it is written.
        """
        plans = self._planning.plan(recipe, n, keep, codes, on_token)
        return plans[0] if n is None else plans

    def sketch(self, sentence: str, instrumental: bool = False, seed: int = 0, *, language: str | None = None,
               checkpoint: str | None = None, on_token: OnToken = None) -> Plan:  # fmt: skip
        """A caption, lyrics and metadata out of one sentence: `lab.sketch("a sad song about rain")`.

        `checkpoint` names the open one whose planner is asked, here and below; None: the one in use.
        """
        return self._planning.sketch(sentence, instrumental, seed, language, on_token, self.engines.asked(checkpoint))

    def polish(self, caption: str, lyrics: str = "", seed: int = 0, *, checkpoint: str | None = None,
               on_token: OnToken = None, **fixed: object) -> Plan:  # fmt: skip
        """Better words for a caption and lyrics, with metadata; fields given by name stand: `bpm=118`."""
        return self._planning.polish(caption, lyrics, seed, on_token, fixed, self.engines.asked(checkpoint))

    def understand(self, source: Source, seed: int = 0, *, checkpoint: str | None = None,
                   on_token: OnToken = None) -> Plan:  # fmt: skip
        """What the planner hears in a take or any sound: caption, lyrics and metadata."""
        return self._planning.understand(self.sound(source), seed, on_token, self.engines.asked(checkpoint))

    def plan_score(self, source: Source, plan: Plan | None = None, scale: float = 0.1) -> PlanScore:
        """How well a sound agrees with a plan in the planner's judgement: a score per field, 0 to 1.

        Without a plan, a take is held against its own, or against its recipe; any other sound needs one.
        """
        require(Feature.EXPERIMENTAL_SCORING)
        return self._planning.score(self.sound(source), plan, scale)

    @property
    def has_planner(self) -> bool:
        """Whether the engine in use has a planner and this machine has room for it."""
        return self.engines.has_planner(self.engine)

    def has_planner_of(self, checkpoint: str) -> bool:
        """Whether an open checkpoint has one; CheckpointError where it is not open."""
        return self.engines.has_planner(self.engines.named(checkpoint))

    # -- keeping and looking -------------------------------------------------------------------------------------------

    def analyze(self, source: Source, bpm: float | None = None) -> Analysis:
        """What can be measured in a take or any sound: tempo, key, meter, loudness, instruments.

        `bpm` only tells the meter which beat to count; of a take it is its recipe's.
        """
        return analyze(self.sound(source), bpm)

    def align(self, source: Source, lyrics: str | None = None, *, language: str | None = None,
              by: Literal["sound", "plan"] = "sound", checkpoint: str | None = None, reference: bool = False,
              anew: bool = False) -> Alignment:  # fmt: skip
        """Where each line and word of the lyrics is sung, how sure that is, and how well they fit, beside chance.

        Lyrics are a take's own, or those that are given: `lab.align(Audio.read("song.wav"), lyrics="…").lrc()`. What was found
        for a take is kept beside it, and found again only `anew`. `reference` adds the two scores of ACE-Step's own code;
        `by="plan"` listens to nothing and estimates sections. RecipeError for a checkpoint whose heads nobody knows.
        """
        return self._aligning.align(source, lyrics, language, by, checkpoint, reference, anew)

    def preview(self, step: Step | Take, at: float, seconds: float = 3.0) -> Audio:
        """The seconds around a time of a step's estimate, decoded alone, exactly; RecipeError where its engine has none."""
        return self._latents.preview(step, at, seconds)

    def codes(self, source: Source, *, checkpoint: str | None = None) -> tuple[int, ...]:
        """The audio codes of a take or any sound: what a cover through codes hears of it. RecipeError where an engine has none."""
        return self._latents.codes(source, checkpoint)

    def encode(self, source: Source) -> np.ndarray:
        """The latent `[frames, channels]` of a take or any sound."""
        return self._latents.encode(source)

    def decode(self, latent: np.ndarray) -> Audio:
        """The sound of a latent `[frames, channels]`, at its own level."""
        return self._latents.decode(latent)

    def explain(self, recipe: Recipe | None = None) -> MemoryPlan:
        """How the engine fits this machine, before anything loads: print it for a sentence and a table."""
        return self.engines.plan_for(recipe)

    def lora(self, *adapters: Place | tuple[Place, float]) -> tuple[str, ...]:
        """Put adapters (files or folders, each alone or with a strength) on the DiT, and only these; none: the bare model.

        A run under way keeps what it began with: they go on between two runs. Raises CheckpointError for one that is no
        adapter or does not fit, and leaves all as it was.
        """
        return self._renderer.attach(adapters)

    @property
    def adapters(self) -> tuple[tuple[str, str, float], ...]:
        """The adapters that `lora` put on: name, file and strength of each."""
        return self._renderer.attached

    def merge(
        self, folder: Place, *adapters: Place | tuple[Place, float], link: bool = True, exact: bool = False
    ) -> Merged:  # fmt: skip
        """Write the checkpoint in use with adapters in its weights, as a new one: `Session.open(folder)`. Without names: those on.

        Files that stay are linked where the disk can, `link=False` copies them; `exact` stores what changes in float32. Print
        what comes back for its size. CheckpointError for an adapter that does not fit, or a folder that holds something.
        """
        return self._renderer.merge(folder, adapters, link, exact)

    def export_onnx(
        self, folder: Place, *components: str, dtype: str = "fp32", tolerance: float | None = None
    ) -> Manifest:
        """Write the checkpoint in use as ONNX graphs (all, or these components), each held against torch: `Session.open(folder)`.

        `dtype` is "fp32", "fp16" or "int8". CheckpointError, and nothing written, for a graph further from torch than
        `tolerance`, a share of its largest number. Adapters are not in it: `merge` them into a checkpoint first.
        """
        from acestep_lab.engines.exporting import export_onnx

        self._renderer.queue.must_be_open()
        return export_onnx(self._renderer.engines.current, folder, components, dtype, tolerance)

    @overload
    def train(self, songs: Any, config: LoraConfig | None = None, *, dry_run: Literal[False] = False,
              **options: Any) -> TrainingRun: ...  # fmt: skip
    @overload
    def train(self, songs: Any, config: LoraConfig | None = None, *, dry_run: Literal[True],
              **options: Any) -> TrainingPlan: ...  # fmt: skip
    def train(self, songs: Any, config: LoraConfig | None = None, *, dry_run: bool = False,
              **options: Any) -> TrainingRun | TrainingPlan:  # fmt: skip
        """Teach an adapter a data set or takes, in a run beside which the session goes on; `dry_run` only says what it takes.

        `config` is a `LoraConfig`, its fields may be options: `lab.train(songs, steps=120, rank=16)`; and so may `folder`,
        `roads` ("words", "codes"), `preview`, a recipe, and `repa`, HuBERT-like encoders to align with. The same call again
        goes on where it ended. RecipeError for what cannot be learnt.
        """
        from acestep_lab.train.teaching import Teaching

        require(Feature.LORA_TRAINING)
        return Teaching(self.engines, self._renderer, self._sounds, self.jobs).begin(songs, config, dry_run, **options)

    def label(self, songs: Any, *, seeds: int = 3, lyrics: bool = False, folder: Place | None = None,
              on: Any = None, resource: str | None = None) -> LabelRun:  # fmt: skip
        """Listen to a data set, a folder of songs or takes, and say what may be said of each, in a run beside which the session goes on.

        Tempo, key, meter and instruments are measured, words guessed by the planner `seeds` times and voted on; what a person wrote
        or locked stays; `lyrics` are guessed only if asked for. What is finished is kept in `folder` (the library's, where none is
        named): the same call goes on after a stop or a kill. `on` is that of `sweep`. `result()` is the data set. RecipeError for none.
        """
        from acestep_lab.train.labelling import begin

        return begin(self, songs, seeds=seeds, lyrics=lyrics, folder=folder, on=on, resource=resource)

    def training(self, folder: Place) -> TrainingRun:
        """A training to look at, from its folder or its name in the library: curves, previews, what it changed. Nothing is trained.

        One that is over shows as it ended, one under way here as it goes. LibraryError for a folder without any.
        """
        from acestep_lab.train.teaching import Teaching

        return Teaching(self.engines, self._renderer, self._sounds, self.jobs).look(folder)

    def profile(self, recipe: Recipe) -> Any:
        """Render a recipe and say where the seconds went, stage by stage, beside this machine's roofline."""
        return self._renderer.profile(recipe)

    def free(self) -> None:
        """Give back the memory of all components; the next render loads them again."""
        self.jobs.call(self.engines.free)

    def _verified(self, take: Take) -> Verdict:
        self.jobs.refuse_to_wait()
        return take.verify(self._renderer.again(take))

    def close(self) -> None:
        """Stop what runs, waits and serves, and end the worker thread; a session nobody holds any more does so itself."""
        self.jobs.close()
