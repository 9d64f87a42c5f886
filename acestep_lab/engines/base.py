"""The contract of an engine: one model family, whatever it is inside. Values and a protocol; no torch at import.

::

    requests = [engine.resolve(recipe, None, find, longest) for recipe in recipes]   # every "auto" is a number now
    prepared = engine.prepare(requests, stop)             # words and sources are encoded; each owns all it needs
    for group in groups(prepared, most):                  # those that may share a loop
        for step in engine.sample(group, check): ...      # the loop, one Step at a time; check() may raise Stopped
        rendered = engine.decode(prepared[0], latent, stop, progress)        # latent → sound

What an engine cannot do, its capabilities say before anybody asks; nothing outside `engines/` knows which one it talks to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import RecipeError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import Sampling
from acestep_lab.prompt.tasks import Source, Task
from acestep_lab.takes.take import Take

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from acestep_lab.models.adapters import Adapter
    from acestep_lab.models.component_spec import ComponentSpec
    from acestep_lab.models.lanes import Lanes, Watch
    from acestep_lab.models.memory_plan import MemoryPlan
    from acestep_lab.models.merging import Merged
    from acestep_lab.models.onnx_export import OnnxParts

Sound = Take | Audio
Find = Callable[[Source], Sound]
"""The sound that an id, a path, a take or an audio stands for; SourceError where there is none."""
Check = Callable[[], None]
"""Raises Stopped where somebody asked to stop; called at least once a step."""
Progress = Callable[[float], None]
"""Hears how much of a piece of work is done, 0 to 1."""
T = TypeVar("T")


@dataclass(frozen=True)
class LatentSpec:
    """What an engine computes before there is sound."""

    kind: Literal["continuous", "tokens"]
    channels: int
    """Numbers of a latent frame; of tokens, codebooks."""
    frames_per_second: float
    rate: int
    """Samples a second of the sound it decodes to."""
    audio_channels: int
    """1 mono, 2 stereo."""


@dataclass(frozen=True)
class Vocabulary:
    """Words and numbers an engine understands: what a form offers. Empty where it reads free text only."""

    languages: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    keyscales: tuple[str, ...] = ()
    timesignatures: tuple[str, ...] = ()
    bpm: tuple[int, int] | None = None
    """Slowest and quickest tempo that may be asked for; None: tempo is no field of its own."""
    lyrics: bool = False
    """Whether it sings."""

    @classmethod
    def whole(cls) -> Vocabulary:
        """All that the recipe's fields know."""
        return cls(
            vocabulary.LANGUAGES, vocabulary.STEMS, vocabulary.KEYSCALES, vocabulary.TIMESIGNATURES,
            (vocabulary.BPM_RANGE[0], vocabulary.BPM_RANGE[1]), True,
        )  # fmt: skip


@dataclass(frozen=True)
class Capabilities:
    """Everything a page, a server or a script may ask about an engine before using it."""

    family: str
    """ "ace-step-1.5", "musicgen", …"""
    tasks: frozenset[str]
    """Class names of the tasks it can do: "Text2Music", "Repaint", …"""
    sampling: type[Sampling]
    """The kind of a recipe's sampling value: FlowSampling, TokenSampling or FlowSamplingV1."""
    vocabulary: Vocabulary
    components: tuple[str, ...]
    """All of them are budgeted, moved and verified, in the order a render uses them."""
    latent: LatentSpec
    seconds: tuple[float, float]
    """Shortest and longest song."""
    licence: str
    """Of the weights; shown where they are chosen."""
    plans: bool = False
    """Whether a planner (LM) can write the plan of a song."""
    takes_lm: bool = False
    """Whether a planner may be handed over when a checkpoint is opened (`lm=`)."""
    planner: str = ""
    """The planner's name, as its publisher has it; "" where there is none."""
    aligns: bool = False
    """Whether it is known which heads listen to the lyrics, so that words can be found in time."""
    attends: bool = False
    """Whether one may look at how much of its attention lies on each word of the caption."""
    trains: bool = False
    previews: bool = False
    """Whether a step's estimate can be heard."""
    attaches: bool = False
    """Whether adapters (LoRA and kin) can be put on."""
    codes: bool = False
    """Whether sounds have audio codes that a cover can follow."""
    fixed: frozenset[str] = frozenset()
    """Fields of its tasks that stay at their defaults here, as "Extend.before": what a form leaves out."""
    usual: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What a field of a task is where nothing is said, where that is another than elsewhere: {"Cover.noise_strength": 0.5}."""
    presets: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict, hash=False)
    """Settings worth a name, as its publisher has them: {"Fast, 27 steps": {"steps": 27}}; a form offers them."""

    def allows(self, task: Task) -> bool:
        """Whether this engine does such a task."""
        return type(task).__name__ in self.tasks


@dataclass(frozen=True)
class Request:
    """A recipe with every number decided, for one engine: no field is None."""

    recipe: Recipe
    """As decided, its sources as sounds: what the take will carry, with ids in their place."""
    seconds: float
    seed: int
    remarks: tuple[str, ...]
    """Sentences for the musician about what is done only in part, or otherwise than usual."""

    @property
    def task(self) -> Task:
        return self.recipe.task

    @property
    def steps(self) -> int:
        """How many steps its loop has; of tokens, how many at most."""
        return 1

    @property
    def passes(self) -> int:
        """How many rows the loop's component works on for it: two under guidance."""
        return 1


class Prepared(Protocol):
    """A request with everything its loop and its decoding need."""

    @property
    def request(self) -> Request: ...
    @property
    def group(self) -> Hashable:
        """Equal for those that may share a loop."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that came up on the way."""

    def after_sampling(self) -> Prepared:
        """The same without what only the loop needs: what is kept while the run's steps can be heard."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """What decoding gave."""

    audio: Audio
    latent: Tensor
    """`[frames, channels]`, the one the sound stands for."""
    gain: float
    """What the samples were multiplied by to reach their level."""


class Devices(Protocol):
    """Where an engine's components are: the device manager, as one engine sees it."""

    @property
    def device(self) -> torch.device: ...
    @property
    def memory_plan(self) -> MemoryPlan:
        """How this engine's components share the memory."""

    @property
    def lanes(self) -> Lanes | None:
        """What lets a card copy while it works; None where there is one lane."""

    def watched(self) -> AbstractContextManager[Watch]:
        """For a time, write down what is copied and what works meanwhile."""

    def device_for(self, component: str) -> torch.device:
        """Where one component's inputs belong: of several cards, its own."""

    def on(self, component: str) -> AbstractContextManager[Any]:
        """A component on its device, for the time of a `with`."""

    def run_with_retry(self, component: str, operation: Callable[[Any], T]) -> T:
        """What `operation` makes with a component; done again with less memory where there was too little."""

    def free(self) -> None:
        """Give back the memory of what only this engine uses and is not at work."""

    def say(self, sentence: str) -> None:
        """Tell whoever waits for the music something of the machine."""


class Engine(Protocol):
    """One checkpoint of one model family."""

    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    # -- memory

    def component_specs(self) -> Sequence[ComponentSpec]:
        """Every component with its size at two bytes a number and what it is to a plan for memory."""

    @property
    def passes(self) -> int:
        """How many rows of each song the loop's component works on at once: two under guidance."""

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        """Make a component on the CPU; CheckpointError for an unknown name or damaged files."""

    def connect(self, devices: Devices) -> None:
        """Be told where the components are; before this, nothing can be computed."""

    # -- before any work

    def defaults(self, task: Task) -> Sampling:
        """What is decided for a task where a recipe says nothing."""

    def resolve(self, recipe: Recipe, plan: Plan | None, find: Find, longest: float) -> Request:
        """The recipe with every "auto" decided; RecipeError or SourceError for what cannot be made.

        `longest` is the longest song, in seconds, that this machine has room for.
        """

    def lint(self, recipe: Recipe, plan: Plan | None) -> Iterable[str]:
        """Sentences about explicit choices that usually spoil the music, or that a plan contradicts."""

    # -- the work

    def prepare(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Sequence[Prepared]:
        """Words and sources encoded, component after component."""

    def sample(self, prepared: Sequence[Prepared], check: Check) -> Iterator[Step]:
        """The loop of requests of one group, counted from 0 in each step; the last step's state is what `decode` is handed."""

    def decode(
        self, prepared: Prepared, latent: Tensor, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> Rendered:
        """A latent `[frames, channels]` as finished sound: kept parts put back, brought to its level."""

    def encode(self, sound: Sound, stop: threading.Event | None = None) -> Tensor:
        """A sound as this engine's latent `[frames, channels]`."""

    def decode_latent(self, latent: Tensor | np.ndarray, stop: threading.Event | None = None) -> Audio:
        """The bare sound of a latent `[frames, channels]`; RecipeError for another shape."""

    def made_with(self) -> Mapping[str, object]:
        """What a take should remember of this engine, as plain data: "checkpoint", "vae", "precision", …"""


@runtime_checkable
class Twins(Protocol):
    """An engine of which several may be at work at once, each on a card of its own."""

    def twin(self) -> Engine:
        """The same checkpoint once more, not yet connected; what is put on it (adapters) is put on anew."""


@runtime_checkable
class Plans(Protocol):
    """An engine with a planner (LM)."""

    def plans(self, recipe: Recipe, seeds: Sequence[int], **how: object) -> list[Plan]:
        """A plan for each seed, from one reading of the recipe; `how` goes to `Planner.plan`."""

    def sketch(self, sentence: str, instrumental: bool, seed: int, **how: object) -> Plan:
        """A caption, lyrics and metadata out of one sentence."""

    def polish(self, caption: str, lyrics: str, seed: int, **how: object) -> Plan:
        """Better words for a caption and lyrics, with metadata."""

    def understand(self, sound: Sound, seed: int, **how: object) -> Plan:
        """What the planner hears in a sound."""

    def plan_tokens(self, recipe: Recipe, codes: bool | None) -> tuple[int, int]:
        """How many tokens the planner writes for a recipe, about, and in how many rows; `codes` None: as the task is."""

    def code_count(self, seconds: float) -> int:
        """How many audio codes a whole plan of so many seconds has; 0 where plans have none."""

    def plan_score(self, sound: Sound, plan: Plan, scale: float) -> Any:
        """How well a sound agrees with a plan in the planner's judgement (`listen.plan_score.PlanScore`)."""


@runtime_checkable
class Previews(Protocol):
    """An engine whose estimates can be heard."""

    def preview(self, latent: Tensor | np.ndarray, at: float, seconds: float) -> Audio:
        """So many seconds around a time `at` of a latent `[frames, channels]`, exactly as they sound in the whole."""


@runtime_checkable
class Profiles(Protocol):
    """An engine that knows the least its stages could take on a machine."""

    def watched(self) -> AbstractContextManager[Watch]:
        """For a time, write down what its components copy and work on."""

    def profile(self, take: Take, shown_at: Sequence[float], watch: Watch) -> object:
        """Where the seconds of a take went, beside this machine's best; `shown_at` says when each step came, `watch` what was
        copied meanwhile.
        """


@runtime_checkable
class HasCodes(Protocol):
    """An engine whose sounds have audio codes."""

    def codes(self, sound: Sound, stop: threading.Event | None = None) -> tuple[int, ...]:
        """The codes of a sound, in order."""


@runtime_checkable
class Located(Protocol):
    """An engine that says where its files are: what tells it from another one of its name."""

    @property
    def location(self) -> tuple[str, ...]:
        """The real paths of its folder, and of a planner that was handed over."""


@runtime_checkable
class Attaches(Protocol):
    """An engine that adapters (LoRA and kin) can be put on."""

    @property
    def attached(self) -> tuple[tuple[Adapter, float], ...]:
        """The adapters that are on, each with its strength."""

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
        """Put these adapters on, and only these; their names. CheckpointError, and all as it was, if one does not fit."""


@runtime_checkable
class Merges(Protocol):
    """An engine whose checkpoint can be written anew with adapters in its weights."""

    def merged(self, adapters: Sequence[tuple[Adapter, float]], folder: Path, link: bool, exact: bool) -> Merged:
        """Write that checkpoint into a folder; CheckpointError where an adapter does not fit, or the disk refuses."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """A song as training sees it: what the loop hears when it is asked for it, and the latent that it should arrive at."""

    target: Tensor
    """x0 `[frames, channels]`, in RAM."""
    states: Tensor
    """What is listened to `[tokens, width]`, made by the very code that a render uses."""
    null: Tensor
    """What is listened to where nothing is asked, a row for each kind of words (one where all are of a kind): `[rows, width]`."""
    context: Tensor
    """What the task shows of a source `[frames, channels of the context]`; no channels where the loop is shown nothing."""
    notes: tuple[str, ...] = ()
    """Sentences that came up while the words were read."""
    kinds: Tensor | None = None
    """Of which kind each token is `[tokens]`, 0 and up: each kind is left out on its own; None: all of kind 0."""


@dataclass(frozen=True)
class TrainingRule:
    """How a checkpoint was taught, and so how an adapter for it is."""

    times: str
    """The rule its times are drawn by, as a sentence."""
    dropout: float
    """Share of lessons without words, of each kind of words on its own: what guidance needs; 0 where guidance is distilled into
    the weights.
    """
    learning_rate: float
    """What is usual for it."""
    targets: Mapping[str, tuple[str, ...]]
    """Groups of layers that an adapter may be taught ("attention", "mlp") → the ends of their names."""
    frames_per_second: float
    most_rank: int
    """The smallest side of a layer: a larger rank learns nothing more."""
    betas: tuple[float, float] = (0.9, 0.999)
    """How long AdamW remembers."""
    original: str = ""
    """What the model's own trainer teaches with, as a sentence, where that is other than usual here."""
    error: Literal["velocity", "song"] = "velocity"
    """Of what the squared error is taken: the velocity, or the song that it leads to (t² of the former)."""


@runtime_checkable
class Trains(Protocol):
    """An engine whose loop's component can be taught an adapter."""

    @property
    def training_rule(self) -> TrainingRule: ...
    @property
    def lesson_mark(self) -> str:
        """Which encoders lessons are made with: what was made under another mark is not this engine's."""

    @property
    def training_mark(self) -> str:
        """Which weights are taught: an adapter taught under another mark cannot be taught on here."""

    def lesson(self, prepared: Prepared, sound: Sound, stop: threading.Event | None = None) -> Lesson:
        """What the loop would hear for a request that was prepared, with a sound as the music to arrive at; both as long as
        the shorter one.
        """

    def training_module(self, dtype: torch.dtype) -> nn.Module:
        """The loop's component anew, bare and on the engine's device: to be changed without touching the one that renders."""

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times of lessons `[batch]`, `count` of them, by the checkpoint's own rule, 1 being noise."""

    def velocity(
        self, module: nn.Module, x: Tensor, t: Tensor, states: Tensor, mask: Tensor, context: Tensor
    ) -> Tensor:
        """A training module's velocity `[items, frames, channels]` at x `[items, frames, channels]` and times t `[items]`;
        `states` `[items, tokens, width]` are listened to where `mask` `[items, tokens]` is True.
        """


@dataclass(eq=False)
class Hidden:
    """What a block gave: looked at from outside, part of the graph that gradients go back through."""

    frames_per_token: float
    """How many latent frames a token stands for; the last token of a song may reach beyond its end."""
    states: Tensor | None = None
    """`[items, tokens, width]`, the first token at the first frame; None before a pass was made."""


@runtime_checkable
class ShowsHidden(Protocol):
    """An engine whose training module can be looked into between two of its blocks (`engines.hidden.after_block` does it)."""

    @property
    def hidden_shape(self) -> tuple[int, int]:
        """How many blocks its training modules have, and the width of what each gives; known without weights."""

    def hidden_after(self, module: nn.Module, block: int) -> AbstractContextManager[Hidden]:
        """Keep what block `block`, counted from 1, gives in the pass made inside; afterwards no hook is left behind."""


@dataclass(frozen=True, eq=False)
class LyricAttention:
    """How much of a song's attention lies on each token of its lyrics, or of its caption, frame by frame."""

    log: np.ndarray
    """float32 `[tokens, frames]`: natural logarithm of the share of a frame's attention."""
    rest: np.ndarray
    """float32 `[frames]`: the same for all the rest: header, end, timbre, and the words of the other kind."""
    spans: tuple[tuple[int, int], ...]
    """The letters of the words that each token stands for, from which to which."""
    seconds_per_frame: float
    tokens: int
    """How many tokens the lyrics have, those beyond the reading limit counted."""
    limit: int
    """How many tokens are read."""

    @property
    def is_cut(self) -> bool:
        """Whether the lyrics are longer than what is read."""
        return self.tokens > self.limit


@runtime_checkable
class Aligns(Protocol):
    """An engine that knows which of its heads listen to the lyrics."""

    def lyric_attention(
        self, prepared: Prepared, latent: Tensor, draws: Sequence[tuple[float, int]],
        stop: threading.Event | None = None,
    ) -> LyricAttention:  # fmt: skip
        """What a latent `[frames, channels]` attends to of a request's lyrics, averaged over draws: times (1 is noise), each with
        the seed of its noise. Stopped between two draws where `stop` is set.
        """


@runtime_checkable
class ShowsAttention(Protocol):
    """An engine whose attention on the words of a caption can be looked at. Where a model looks is no cause of what it makes."""

    def caption_attention(
        self, prepared: Prepared, latent: Tensor, draws: Sequence[tuple[float, int]],
        stop: threading.Event | None = None,
    ) -> LyricAttention:  # fmt: skip
        """What a latent `[frames, channels]` attends to of a request's caption, averaged over draws: times (1 is noise), each with
        the seed of its noise. Stopped between two draws where `stop` is set; RecipeError for a caption without words.
        """


@runtime_checkable
class Verifies(Protocol):
    """An engine that can say whether its files are right without reading the weights."""

    def verify(self, component: str) -> None:
        """Compare a component's stored tensors with its config, by name and shape; CheckpointError where they do not fit."""


@runtime_checkable
class Exports(Protocol):
    """An engine whose components can leave as ONNX graphs.

    A family offers: an `OnnxGraph` for each component (a wrapper module of tensors in and out, two examples, the exporter that
    works for it), its configs and tokenizers under the names its `Checkpoint.open` finds them by, and loose tensors. For the way
    back, its `claims` and `open_engine` look for a manifest (`models.onnx_manifest`), and its engine's `build` gives
    `OnnxModule`s (`models.onnx_runner`) in the place of modules; `engines.ace15.onnx` and `.onnx_engine` are the pattern.
    """

    def onnx_parts(self) -> OnnxParts:
        """Graphs, files and tensors that its export consists of; light: nothing is built before a graph is made."""


def able(engine: Engine, kind: type[T], otherwise: str, can: bool = True) -> T:
    """An engine as one that can do something; RecipeError where it cannot."""
    if not (can and isinstance(engine, kind)):
        raise RecipeError(f"{engine.name} {otherwise}.")
    return engine


def groups(prepared: Sequence[Prepared], most: int) -> Iterator[list[int]]:
    """Places of those that may share a loop, in order of the first of each kind, at most so many together."""
    kinds: dict[Hashable, list[int]] = {}
    for place, one in enumerate(prepared):
        kinds.setdefault(one.group, []).append(place)
    for places in kinds.values():
        for first in range(0, len(places), max(1, most)):
            yield places[first : first + max(1, most)]
