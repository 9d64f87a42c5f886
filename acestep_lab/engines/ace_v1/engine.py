"""ACE-Step v1 behind the contract: words, sources, the loop, DCAE and vocoder. Runs on one thread; knows no threads, no library
and no view.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acestep_lab.audio.audio import Audio, normalizing_gain, splice
from acestep_lab.audio.mastering import gain_for, mastered
from acestep_lab.engines.ace_v1 import TASKS, catalog, erg, loop, schedules, text_encoder, training
from acestep_lab.engines.ace_v1 import resolve as resolving
from acestep_lab.engines.ace_v1.checkpoint import COMPONENTS, DCAE, TEXT, TRANSFORMER, Checkpoint
from acestep_lab.engines.ace_v1.codec import TILE, Codec
from acestep_lab.engines.ace_v1.geometry import FRAMES_PER_SECOND, to_image
from acestep_lab.engines.ace_v1.guidance import Branch, Branches
from acestep_lab.engines.ace_v1.languages import NAMES
from acestep_lab.engines.ace_v1.loop import CHANNELS, Song
from acestep_lab.engines.ace_v1.lyric_tokenizer import LyricReader
from acestep_lab.engines.ace_v1.request import V1Request
from acestep_lab.engines.ace_v1.request import Words as AskedWords
from acestep_lab.engines.ace_v1.resolve import ResolveContext
from acestep_lab.engines.ace_v1.task_rows import (
    COVER_STRENGTH,
    FIXED,
    SHORTEST_SECONDS,
    Splice,
    Start,
    audio_of,
    frames_for,
    row_of,
)
from acestep_lab.engines.ace_v1.text_encoder import PromptReader
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.base import (
    Capabilities,
    Check,
    Devices,
    Find,
    Hidden,
    LatentSpec,
    Lesson,
    Prepared,
    Progress,
    Rendered,
    Request,
    Sound,
    TrainingRule,
    Vocabulary,
)
from acestep_lab.engines.card_tiles import CardTiles
from acestep_lab.engines.hidden import after_block
from acestep_lab.engines.step import Step
from acestep_lab.errors import MachineError, RecipeError, SourceError, shown
from acestep_lab.lru_cache import LRUCache
from acestep_lab.models.adapters import Adapter, check_family
from acestep_lab.models.adapters import apply as attach_adapters
from acestep_lab.models.compiling import BlockCompiling, Compiler
from acestep_lab.models.component_spec import ComponentSpec, WorkingMemory
from acestep_lab.models.merging import Base, Merged, merge
from acestep_lab.models.onnx_export import OnnxParts
from acestep_lab.models.precision import Int8Mode
from acestep_lab.models.stored_content import StoredContent
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import MOST_SECONDS, Task
from acestep_lab.takes.take import Take

RATE = 48_000
"""Samples a second of a finished song; inside, the model's own rate is 44,100."""
ROLES = {"text": "encoder", "dit": "loop", "codec": "decoder"}
LABELS = {"text": "UMT5", "dit": "DiT", "codec": "DCAE and vocoder"}
"""What a component is to a plan for memory, and how a sentence calls it."""
_INT8 = {"text": 0.85, "dit": 0.504}
"""Which share of its bytes is left where its linear layers are kept in eight bits, counted on the published sizes; UMT5's table of
256,384 words, two thirds of it, stays.
"""


STATES, LOOP_BYTES, CODEC_SHARE = 800, 4500, 0.37
"""What a plan for memory counts with: words and lyrics of a full prompt; bytes a minute for each number of the transformer's width; a
tile's pictures as a share of the codec's weights. Traced at the published sizes (`tests/benchmarks/tier_table.py`).
"""

PROBED_FRAMES, PROBED_TIMES = 108, (0.95, 0.6, 0.25)
"""Where a change of the transformer is measured: ten seconds of a song, at three times."""


@dataclass(frozen=True, eq=False)
class TextStates:
    """What UMT5 says of a prompt, and what it says with quieter queries: `[tokens, width]` each."""

    whole: Tensor
    dampened: Tensor
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class V1Prepared:
    """One request with everything the loop and the decoder need."""

    request: V1Request
    start: Start
    texts: tuple[TextStates, ...] = ()
    """Of what is asked for, and of an edit what describes the source; () after the loop."""
    source: Tensor | None = None
    """The source's whole latent `[frames, 128]`."""
    source_gain: float = 1.0
    notes: tuple[str, ...] = ()
    """What came up while it was prepared, in sentences."""
    splice: tuple[tuple[Audio, Splice], ...] = ()
    """The source where it lies in the song, and where new sound replaces it; () where all is new."""

    @property
    def group(self) -> Hashable:
        """Those of one length, one way and one sampling share a loop."""
        how = self.request.how
        erg_of = (how.erg_tag, how.erg_lyric, how.erg_diffusion)
        return self.start.frames, self.request.settings, self.request.walk, erg_of, self.start.source is not None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that came up while words were read."""
        return tuple(dict.fromkeys([*self.notes, *(remark for text in self.texts for remark in text.remarks)]))

    def after_sampling(self) -> V1Prepared:
        """The same without its words, which only the loop listens to."""
        return replace(self, texts=())


@dataclass(frozen=True, eq=False)
class Heard:
    """What the transformer is handed for one branch of guidance."""

    states: Any
    """Keys and values of the conditions, for every step of a run."""
    quietly: bool = False
    """Whether the transformer itself listens with quieter queries."""
    by: float | Tensor = erg.TAU
    """How much quieter: `[rows, 1, 1]` where branches are heard together, 1 for those that are not quieter."""


class AceV1Engine:
    """One ACE-Step v1 checkpoint; see `engines.base.Engine` for what each method promises."""

    def __init__(self, checkpoint: Checkpoint, precision: object = "auto", compiler: Compiler | None = None) -> None:
        """`precision` is "auto" or "int8"; `compiler` is what makes a block quicker before its first look, None: nothing."""
        self.checkpoint, self._precision = checkpoint, precision
        self._int8_mode: Int8Mode | None = None
        self._compiling = BlockCompiling(compiler)
        self.lyrics = LyricReader(checkpoint.folder, checkpoint.config.lyric_encoder_vocab_size)
        self._latents = LRUCache[Tensor](16)
        self._adapters: tuple[tuple[Adapter, float], ...] = ()
        self._devices: Devices | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def location(self) -> tuple[str, ...]:
        """The real path of its folder."""
        return (os.path.realpath(self.checkpoint.folder),)

    @cached_property
    def capabilities(self) -> Capabilities:
        row = self.checkpoint.row
        return Capabilities(
            family="ace-step-v1",
            tasks=TASKS,
            sampling=FlowSamplingV1,
            vocabulary=Vocabulary(languages=tuple(NAMES), lyrics=True),
            components=COMPONENTS,
            latent=LatentSpec("continuous", CHANNELS, FRAMES_PER_SECOND, RATE, 2),
            seconds=(SHORTEST_SECONDS, self._longest),
            licence=catalog.LICENCE if row is None else row.licence,
            trains=True,
            previews=True,
            attaches=True,
            fixed=FIXED,
            usual={"Cover.noise_strength": COVER_STRENGTH},
            presets=schedules.NAMED,
        )

    @property
    def _longest(self) -> float:
        return catalog.LONGEST_SECONDS if self.checkpoint.row is None else self.checkpoint.row.longest_seconds

    # -- memory --------------------------------------------------------------------------------------------------------

    def component_specs(self) -> Sequence[ComponentSpec]:
        """Each component with its size and what it needs while it works: the codec a tile's widest pictures, whatever the length;
        the transformer, for each branch of guidance, the keys and values of a prompt and long lyrics, and a little for each minute.
        """
        sizes, checkpoint = self.checkpoint.sizes(), self.checkpoint
        heard = 2 * 2 * STATES * checkpoint.config.num_layers * checkpoint.config.dim
        working = {
            "codec": WorkingMemory(fixed=CODEC_SHARE * sizes["codec"]),
            "dit": WorkingMemory(per_take=heard, per_minute=LOOP_BYTES * checkpoint.config.dim),
        }
        return [
            ComponentSpec(
                name, sizes[name], ROLES[name], LABELS[name], int8=_INT8.get(name), working=working.get(name),
                content=StoredContent.of(f"ace-step-v1 {name}", checkpoint.config_of(name), checkpoint.entries(name)),
            )
            for name in COMPONENTS
        ]  # fmt: skip

    @property
    def passes(self) -> int:
        return 2

    def twin(self) -> AceV1Engine:
        return type(self)(self.checkpoint, self._precision, self._compiling.compiler)

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        module = self.checkpoint.build(component, dtype)
        if component != "dit":
            return module
        if self._int8_mode is not None:
            self._int8_mode.quantize(module)
        return self._compiled(attach_adapters(module, self._adapters) if self._adapters else module)

    def _compiled(self, dit: Any) -> nn.Module:
        """The same transformer with its blocks compiled, where that is asked for."""
        if self._compiling.compiler is not None:
            self._compiling.take(dit.transformer_blocks)
        found: nn.Module = dit
        return found

    def verify(self, component: str) -> None:
        self.checkpoint.verify(component)

    def connect(self, devices: Devices) -> None:
        self._devices = devices
        self._int8_mode = Int8Mode.asked(self._precision, devices.device)
        self.prompts = PromptReader(self.checkpoint.place(TEXT), devices)

    @property
    def devices(self) -> Devices:
        if self._devices is None:
            raise MachineError("This engine has not been told where its components are; call connect(devices) first.")
        return self._devices

    # -- before any work -----------------------------------------------------------------------------------------------

    def defaults(self, task: Task) -> FlowSamplingV1:
        return schedules.decided(FlowSamplingV1(), row_of(task).sampling)

    def resolve(self, recipe: Recipe, plan: Plan | None, find: Find, longest: float) -> V1Request:
        context = ResolveContext(self.name, longest, self._longest, find, self.lyrics.read)
        return resolving.resolve(recipe, plan, context)

    def lint(self, recipe: Recipe, plan: Plan | None) -> Iterable[str]:
        return resolving.lint(recipe, self.name)

    # -- before the loop -----------------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[Request], stop: threading.Event | None = None) -> list[V1Prepared]:
        """Sources encoded, then words read: component after component."""
        drafts = [self._draft(self._own(request), stop) for request in requests]
        prepared = [replace(one, texts=self._texts(one.request)) for one in drafts]
        return [replace(prepared[0], notes=self._measure(prepared[0])), *prepared[1:]]

    def _own(self, request: Request) -> V1Request:
        if not isinstance(request, V1Request):
            raise RecipeError(f"{self.name} was handed another engine's request; resolve the recipe with this one.")
        return request

    def _draft(self, request: V1Request, stop: threading.Event | None) -> V1Prepared:
        """Everything of a request but its words."""
        task: Any = request.root
        row, source = row_of(task), getattr(task, "source", None)
        latent = None if source is None else self.encode(source, stop)
        start, where = row.start(task, latent, request.seconds), row.splice(task, request.seconds)
        if where is None:
            return V1Prepared(request, start, source=latent)
        placed = self._placed(audio_of(source), where, request.seconds)
        assert source is not None
        return V1Prepared(request, start, source=latent, source_gain=self._gain(source), splice=((placed, where),))

    def _placed(self, source: Audio, where: Splice, seconds: float) -> Audio:
        """The source where it lies in the song, with nothing around it."""
        samples, length = source.with_channels(2).resample(RATE).samples, round(seconds * RATE)
        samples = np.pad(samples, ((0, 0), (round(where.offset * RATE), 0)))[:, :length]
        return Audio(np.pad(samples, ((0, 0), (0, length - samples.shape[1]))), RATE)

    def _texts(self, request: V1Request) -> tuple[TextStates, ...]:
        return tuple(self._read(words, request) for words in (request.words, *request.source_words))

    def _read(self, words: AskedWords, request: V1Request) -> TextStates:
        """A prompt's states; with quieter queries too where guidance leads away from those."""
        (whole,) = self.prompts.read([words.prompt])
        if not (request.how.erg_tag and request.settings.strength.acts):
            return TextStates(whole.states, torch.zeros_like(whole.states), whole.remarks)
        (dampened,) = self.prompts.read([words.prompt], dampened=True)
        return TextStates(whole.states, dampened.states, whole.remarks)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def sample(self, prepared: Sequence[Prepared], check: Check) -> Iterator[Step]:
        """`check` is called before every call of the transformer."""
        group = [checks.instance("What is sampled", one, V1Prepared) for one in prepared]
        first = group[0].request
        check()
        sides = [self._branches(group, side) for side in range(len(group[0].texts))]
        yield from loop.sample(
            [_song(one) for one in group], self._velocity, sides[0], first.settings, first.walk, check,
            old=sides[1] if len(sides) > 1 else None, device=self.devices.device,
        )  # fmt: skip

    def _velocity(self, x: Tensor, t: Tensor, heard: Heard) -> Tensor:
        """The transformer's velocity `[items, 8, 16, frames]` for one branch."""

        @torch.inference_mode()
        def ask(dit: Any) -> Tensor:
            if not heard.quietly:
                self._compiling.warm_up(lambda: velocity(dit, x, t, heard), self.devices.say)
                return velocity(dit, x, t, heard)
            # what was compiled would not notice that its queries are dampened now
            with erg.dampened(dit, dit.damped_queries, heard.by), torch.compiler.set_stance("force_eager"):
                return velocity(dit, x, t, heard)

        return self.devices.run_with_retry("dit", ask)

    def _branches(self, group: Sequence[V1Prepared], side: int) -> Branches:
        """What the velocities of guidance hear: `side` 0 is what is asked for, 1 what an edit's source is described as."""
        how, strength, words = group[0].request.how, group[0].request.settings.strength, self._words(group, side)
        whole = Branch(Heard(self._encoded(words, erg.WHOLE)))
        if not strength.acts:
            return Branches(whole)
        hearings = [erg.WHOLE, erg.null_hearing(bool(how.erg_tag), bool(how.erg_lyric), edits=len(group[0].texts) > 1)]
        if strength.apart:
            hearings.append(erg.text_hearing(bool(how.erg_lyric)))
        if self.devices.device.type != "cpu":
            return Branches(whole, together=self._at_once(words, hearings, bool(how.erg_diffusion)))
        null = Branch(Heard(self._encoded(words, hearings[1]), bool(how.erg_diffusion)))
        text = Branch(Heard(self._encoded(words, hearings[2]))) if strength.apart else None
        return Branches(whole, null, text)

    def _at_once(self, words: erg.Words, hearings: Sequence[erg.Hearing], quietly: bool) -> Branch:
        """All branches as one batch, one behind the other; the second is the one that may listen quietly."""
        items = len(words.text)
        quieter = torch.ones(len(hearings) * items, 1, 1, device=self.devices.device)
        quieter[items : 2 * items] = erg.TAU
        return Branch(Heard(self._encoded(words, *hearings), quietly, quieter))

    def _words(self, group: Sequence[V1Prepared], side: int) -> erg.Words:
        """What the songs of a group are asked for, each its own, filled up to the longest."""
        texts = [one.texts[side] for one in group]
        lyrics = [([one.request.words], one.request.source_words)[side][0].lyrics for one in group]
        whole, mask = text_encoder.batch([text_encoder.PromptStates(text.whole) for text in texts])
        dampened, _ = text_encoder.batch([text_encoder.PromptStates(text.dampened) for text in texts])
        ids, heard = (
            [torch.tensor(one) for one in each] for each in zip(*((one.ids, one.mask) for one in lyrics), strict=True)
        )
        padded = [nn.utils.rnn.pad_sequence(one, batch_first=True) for one in (ids, heard)]
        speaker = torch.zeros(len(group), self.checkpoint.config.speaker_embedding_dim)
        device = self.devices.device
        return erg.Words(*(one.to(device) for one in (whole, dampened, mask, speaker, *padded)))

    def _encoded(self, words: erg.Words, *hearings: erg.Hearing) -> Any:
        """Keys and values of a branch's conditions, of several branches one behind the other."""

        @torch.inference_mode()
        def ask(dit: Any) -> Any:
            heard = [erg.encoded(dit.encode, words, one, dit, dit.damped_lyric_queries) for one in hearings]
            states, masks = zip(*heard, strict=True)
            return dit.prepare_states(torch.cat(states), torch.cat(masks))

        return self.devices.run_with_retry("dit", ask)

    def _measure(self, prepared: V1Prepared) -> tuple[str, ...]:
        """Before the first song in int8: have it measured when the transformer is built, and say what came of it."""
        mode = self._int8_mode
        if mode is None or mode.decision is not None:
            return ()
        mode.probe = self._probe(prepared)
        self.devices.free()  # a transformer built before there was a song to measure with
        with self.devices.on("dit"):
            pass
        return (str(mode.decision),)

    def _probe(self, prepared: V1Prepared) -> Callable[[Any], Tensor]:
        """What asks a transformer for its velocities at three times of a song's first seconds: how far a change moves it."""
        words, noise = self._words([prepared], 0), _song(prepared).start_noise()[:PROBED_FRAMES]
        image = to_image(noise[None]).to(self.devices.device)

        @torch.inference_mode()
        def probe(dit: Any) -> Tensor:
            heard = Heard(dit.prepare_states(*erg.encoded(dit.encode, words, erg.WHOLE, dit, ())))
            return torch.cat([velocity(dit, t * image, image.new_full((1,), t), heard) for t in PROBED_TIMES])

        return probe

    # -- after the loop ------------------------------------------------------------------------------------------------

    def decode(
        self, prepared: Prepared, latent: Tensor, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> Rendered:
        assert isinstance(prepared, V1Prepared)
        request, recipe, window = prepared.request, prepared.request.recipe, prepared.start.window
        if window is not None:
            assert prepared.source is not None
            latent = window.whole(prepared.source, latent)
        length = round(request.seconds * RATE)
        samples = _of_length(self._decoded(latent, stop, progress).samples, length)
        gain = prepared.source_gain if prepared.splice else gain_for(recipe, samples)
        audio = mastered(recipe, samples, RATE, gain)
        for source, where in prepared.splice:
            audio = splice(source, audio, where.spans, where.crossfade)
        return Rendered(audio, latent, float(gain))

    def decode_latent(self, latent: object, stop: threading.Event | None = None) -> Audio:
        array = checks.tried(lambda: np.array(latent, dtype=np.float32))
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != CHANNELS or not len(array):
            raise RecipeError(
                f"A latent is numbers in the shape [frames, {CHANNELS}], as take.latent is, not {shown(latent)}."
            )
        return self._decoded(torch.from_numpy(array), stop, None)

    def _decoded(self, latent: Tensor, stop: threading.Event | None, progress: Progress | None) -> Audio:
        """The bare sound of a latent at the song's rate, tile by tile."""

        def run(found: Any) -> Audio:
            codec = self._codec(found)
            return codec.exported(codec.decode(latent, stop, progress or (lambda share: None)), rate=RATE)

        return self.devices.run_with_retry("codec", run)

    def preview(self, latent: Tensor | np.ndarray, at: float, seconds: float) -> Audio:
        """The seconds around a time of a latent `[frames, channels]`, as they sound in the whole."""
        latent = torch.from_numpy(latent.copy()) if isinstance(latent, np.ndarray) else latent
        frames = len(latent)
        at = checks.real("The time to listen at", at, -MOST_SECONDS, MOST_SECONDS, "seconds")
        seconds = checks.real("The length to listen for", seconds, -MOST_SECONDS, MOST_SECONDS, "seconds")
        if not seconds > 0:
            raise RecipeError(f"A preview lasts some seconds, such as 3, not {seconds:g}.")
        if not 0 <= at <= frames / FRAMES_PER_SECOND:
            whole = frames / FRAMES_PER_SECOND
            raise RecipeError(f"There is nothing to hear at {at:g} s: this song runs from 0 to {whole:.2f} s.")
        first = min(max(0, math.floor((at - seconds / 2) * FRAMES_PER_SECOND)), frames - 1)
        last = min(frames, max(first + 1, math.ceil((at + seconds / 2) * FRAMES_PER_SECOND)))
        with self.devices.on("codec") as found:
            codec = self._codec(found)
            audio = codec.exported(codec.window(latent.float(), first, last), rate=RATE)
        return Audio(audio.samples * np.float32(min(1.0, normalizing_gain(audio.samples))), RATE)

    def _codec(self, found: Any) -> Codec:
        plan, lanes = self.devices.memory_plan.part("codec"), self.devices.lanes
        if lanes is None:
            return Codec(found.dcae, found.vocoder, TILE)
        per_frame = plan.working_bytes("codec") / TILE  # what the plan counts is for one such tile
        sizes = CardTiles.of(plan, "codec", per_frame, TILE, lanes.free_bytes())
        return Codec(found.dcae, found.vocoder, TILE, lanes=lanes, sizes=sizes)

    # -- sounds --------------------------------------------------------------------------------------------------------

    def encode(self, sound: Sound, stop: threading.Event | None = None) -> Tensor:
        """A sound's latent `[frames, 128]`: a take's own where it was made with this DCAE, else encoded and remembered."""
        if isinstance(sound, Take) and self._is_ours(sound):
            return torch.from_numpy(sound.latent.copy())
        return self._latents.recall(sound.id, lambda: self._encode(audio_of(sound), stop))

    def _encode(self, audio: Audio, stop: threading.Event | None) -> Tensor:
        if not audio.samples.size:
            raise SourceError("This sound has no samples; there is nothing to hear in it.")
        latent = self.devices.run_with_retry("codec", lambda found: self._codec(found).encode(audio, stop)).float()
        frames = frames_for(audio.seconds)  # resampling may count one more or less than the seconds do
        short = max(0, frames - len(latent))
        return torch.cat([latent[:frames], latent[-1:].expand(short, -1)])

    def _is_ours(self, take: Take) -> bool:
        """Whether a take's latent is one of this DCAE's, as long as its sound."""
        return take.made_with.get("vae") == self.vae_mark and len(take.latent) == frames_for(take.audio.seconds)

    def _gain(self, sound: Sound) -> float:
        """What a sound's decoded samples were multiplied by to reach its level; 1 for recordings."""
        return float(sound.made_with.get("gain", 1.0)) if isinstance(sound, Take) and self._is_ours(sound) else 1.0

    @cached_property
    def vae_mark(self) -> str:
        """Which DCAE this is, from the first bytes of its weights: takes made with it keep their latents."""
        return self.checkpoint.mark(DCAE)

    def onnx_parts(self) -> OnnxParts:
        from acestep_lab.engines.ace_v1 import onnx

        return onnx.parts(self.checkpoint, self.vae_mark)

    def made_with(self) -> Mapping[str, Any]:
        return {
            "checkpoint": self.name,
            "vae": self.vae_mark,
            "precision": "auto" if self._int8_mode is None else self._int8_mode.chosen,
            "adapters": {adapter.name: strength for adapter, strength in self._adapters},
        }

    # -- adapters and training -----------------------------------------------------------------------------------------

    @property
    def attached(self) -> tuple[tuple[Adapter, float], ...]:
        return self._adapters

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
        for adapter, _ in adapters:
            check_family(adapter, self.capabilities.family)  # before the weights are asked for
        with self.devices.on("dit") as dit:
            self._compiled(attach_adapters(dit, adapters))
        self._adapters = tuple(adapters)
        return tuple(adapter.name for adapter, _ in adapters)

    def merged(self, adapters: Sequence[tuple[Adapter, float]], folder: Path, link: bool, exact: bool) -> Merged:
        return merge(self._base, adapters, folder, link, exact)

    @property
    def _base(self) -> Base:
        """The checkpoint as something to merge into: its own folders, and what lies beside them."""
        checkpoint = self.checkpoint
        return Base(
            checkpoint.name, lambda: AceStepV1Transformer(checkpoint.config), checkpoint.entries("dit"),
            lambda draft, _: [(place, draft / place.name) for place in checkpoint.folders()],
            lambda draft: Checkpoint.open(draft).verify("dit"), checkpoint.folder,
        )  # fmt: skip

    @cached_property
    def training_rule(self) -> TrainingRule:
        return training.rule_of(self.checkpoint.config)

    @cached_property
    def lesson_mark(self) -> str:
        return training.lesson_mark(self.checkpoint)

    @cached_property
    def training_mark(self) -> str:
        return self.checkpoint.mark(TRANSFORMER)

    def lesson(self, prepared: Prepared, sound: Sound, stop: threading.Event | None = None) -> Lesson:
        """The words as a render would hear them, the sound as this DCAE's latent."""
        own = checks.instance("What is learnt", prepared, V1Prepared)
        words = self._words([own], 0)
        return training.lesson_of(words, self.encode(sound, stop)[: own.start.frames], own.remarks)

    def training_module(self, dtype: torch.dtype) -> nn.Module:
        module = self.checkpoint.build("dit", dtype).to(self.devices.device)
        return module.requires_grad_(False).train()

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        return training.draw_times(count, generator)

    def velocity(
        self, module: nn.Module, x: Tensor, t: Tensor, states: Tensor, mask: Tensor, context: Tensor
    ) -> Tensor:
        return training.velocity(module, x, t, states, mask)

    @property
    def hidden_shape(self) -> tuple[int, int]:
        return self.checkpoint.config.num_layers, self.checkpoint.config.dim

    def hidden_after(self, module: nn.Module, block: int) -> AbstractContextManager[Hidden]:
        dit: Any = module
        return after_block(dit.transformer_blocks, block, 1.0)


def velocity(dit: Any, x: Tensor, t: Tensor, heard: Heard) -> Tensor:
    """A transformer's velocity `[items, 8, 16, frames]` at times `[items]`."""
    found: Tensor = dit.velocity(x, t, heard.states)
    return found


def _song(one: V1Prepared) -> Song:
    """A prepared request as the loop takes it."""
    request, start = one.request, one.start
    return Song(request.noise_seed, start.frames, request.turns, start.source, start.mask)


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Samples `[channels, samples]` of a length, a copy: cut, or followed by silence."""
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1])))).astype(np.float32)
