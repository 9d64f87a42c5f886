"""ACE-Step 1.5 behind the contract: words, sources, the loop, the autoencoder. Runs on one thread; knows no threads, no
library and no view.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acestep_lab.audio.audio import Audio, normalizing_gain, splice
from acestep_lab.audio.mastering import gain_for, mastered
from acestep_lab.engines.ace15 import alignment, attention, card_attention, conditioning, onnx, training
from acestep_lab.engines.ace15.cache import remember
from acestep_lab.engines.ace15.card_attention import CardRoad
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.edit_spec import SourceLatents, put_back
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.engines.ace15.lint import lint
from acestep_lab.engines.ace15.profile import Profile, profile
from acestep_lab.engines.ace15.render import FlowPrepared, PredictFn, render, start_noise
from acestep_lab.engines.ace15.request import FlowRequest
from acestep_lab.engines.ace15.resolve import DEFAULT_SECONDS, ResolveContext, decided_sampling, resolve
from acestep_lab.engines.ace15.sources import Sources
from acestep_lab.engines.ace15.task_rows import TASK_ROWS, Splice, edit_spec, row_of
from acestep_lab.engines.ace15.words import ConditionReader
from acestep_lab.engines.base import (
    Capabilities,
    Check,
    Devices,
    Find,
    Hidden,
    LatentSpec,
    Lesson,
    LyricAttention,
    Prepared,
    Progress,
    Rendered,
    Request,
    Sound,
    TrainingRule,
    Vocabulary,
)
from acestep_lab.engines.card_tiles import CardTiles
from acestep_lab.engines.placed import Placed
from acestep_lab.engines.step import Step
from acestep_lab.engines.timeline import Timeline
from acestep_lab.errors import MachineError, RecipeError, SourceError, shown
from acestep_lab.listen.plan_score import PlanScore, plan_score
from acestep_lab.models.adapters import Adapter, check_family
from acestep_lab.models.adapters import apply as attach_adapters
from acestep_lab.models.compiling import Compiler
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.lanes import Watch
from acestep_lab.models.loading import Checkpoint, component_specs
from acestep_lab.models.merging import Merged, merge
from acestep_lab.models.onnx_export import OnnxParts
from acestep_lab.models.precision import Int8Mode
from acestep_lab.models.recording import CudaGraphs, Recorder, recorder_for
from acestep_lab.models.roofline import measured_peak
from acestep_lab.models.step_running import StepRunning
from acestep_lab.plan.following import plan_conflicts
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.planner import Planner
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import SECONDS_RANGE, Recipe
from acestep_lab.prompt.sampling import FlowSampling
from acestep_lab.prompt.tasks import MOST_SECONDS, Task
from acestep_lab.takes.take import Take

WIDENED = (("mlp",), ("mlp", "self_attn", "cross_attn"))
"""What of a block computes in float32 where float16 overflows in it, the likeliest first."""
PROBED_FRAMES, PROBED_TIMES = 250, (0.95, 0.6, 0.25)
"""Where a change of the DiT is measured: enough of a song to hear it, little beside rendering one."""


class Ace15Engine:
    """One ACE-Step 1.5 checkpoint; see `engines.base.Engine` for what each method promises."""

    def __init__(
        self, checkpoint: Checkpoint, precision: object = "auto", compiler: Compiler | None = None,
        recorder: Recorder | None = None, lm_step: str = "auto",
    ) -> None:  # fmt: skip
        """`precision` is "auto" or "int8"; `compiler` makes a block quicker before its first look, `recorder` records steps of the
        DiT on a card; None: nothing does. `lm_step` says how the planner's steps run: see `models.recording.recorder_for`.
        """
        self._lm_step = lm_step
        self.checkpoint, self.geometry = checkpoint, checkpoint.geometry
        self._running = StepRunning(attention.layers_of, WIDENED, compiler, recorder)
        self._road = CardRoad(everywhere=compiler is not None, graphs=self._running.graphs)
        self._precision = precision
        self._int8_mode: Int8Mode | None = None
        self._adapters: tuple[tuple[Adapter, float], ...] = ()
        self._attention_cache = attention.CrossAttentionCache()

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def location(self) -> tuple[str, ...]:
        """The real paths of its folder and its planner."""
        places = [self.checkpoint.folder, *(self.checkpoint.places[name] for name in ("lm",) if self.checkpoint.has_lm)]
        return tuple(os.path.realpath(place) for place in places)

    @cached_property
    def capabilities(self) -> Capabilities:
        row, g = self.checkpoint.row, self.geometry
        return Capabilities(
            family="ace-step-1.5",
            tasks=frozenset(task.__name__ for task in TASK_ROWS if row.allows(task.name)),
            sampling=FlowSampling,
            vocabulary=Vocabulary.whole(),
            components=self.checkpoint.components,
            latent=LatentSpec("continuous", g.latent_channels, g.frames_per_second, g.rate, g.channels),
            seconds=(SECONDS_RANGE[0], g.longest_seconds),
            licence=row.licence,
            plans=self.checkpoint.has_lm,
            takes_lm=True,
            planner=self.checkpoint.lm_name,
            previews=True,
            attaches=True,
            aligns=alignment.knows_heads(self.checkpoint.config("dit")),
            attends=True,
            trains=True,
            codes="codes" in self.checkpoint.components,
        )

    # -- memory --------------------------------------------------------------------------------------------------------

    def component_specs(self) -> Sequence[ComponentSpec]:
        return component_specs(self.checkpoint)

    @property
    def passes(self) -> int:
        return 1 if self.checkpoint.row.is_turbo else 2

    def connect(self, devices: Devices) -> None:
        self.devices = devices
        self._int8_mode = Int8Mode.asked(self._precision, devices.device)
        self.sources = Sources(self.checkpoint, devices)
        self.reader = ConditionReader(self.checkpoint, devices, self.sources)

    def twin(self) -> Ace15Engine:
        recorder = self._running.recorder  # of one card: its recordings are played where they were made
        fresh = CudaGraphs() if isinstance(recorder, CudaGraphs) else recorder
        return type(self)(self.checkpoint, self._precision, self._running.compiler, fresh, self._lm_step)

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        module: nn.Module = build(self.checkpoint, component, dtype, self._road)
        if component != "dit":
            return module
        if self._int8_mode is not None:
            self._int8_mode.quantize(module)
        if self._adapters:
            attach_adapters(module, self._adapters)
        self._running.ready(module)
        return module

    def verify(self, component: str) -> None:
        self.checkpoint.verify(component)

    # -- before any work -----------------------------------------------------------------------------------------------

    def defaults(self, task: Task) -> FlowSampling:
        return decided_sampling(FlowSampling(), task, task, self.checkpoint.row)

    def resolve(self, recipe: Recipe, plan: Plan | None, find: Find, longest: float) -> FlowRequest:
        longest = min(longest, self.geometry.longest_seconds)
        context = ResolveContext(self.checkpoint.row, self.geometry, self.checkpoint.components, longest, find)
        return resolve(recipe, context, plan)

    def lint(self, recipe: Recipe, plan: Plan | None) -> Iterable[str]:
        yield from lint(recipe, self.checkpoint.row)
        if plan is not None:
            yield from plan_conflicts(recipe, plan, self.geometry.codes, self.geometry.codes_per_second)

    # -- planning ------------------------------------------------------------------------------------------------------

    @cached_property
    def planner(self) -> Planner:
        """What asks this checkpoint's language model; its tables are built once."""
        checkpoint = self.checkpoint
        own = checkpoint.places["lm"].parent == checkpoint.folder  # another planner may have been opened with it
        road = partial(recorder_for, wish=self._lm_step)
        return Planner(checkpoint.lm_tokenizer(), self.geometry, own and checkpoint.row.repeats_caption, road)

    def lm(self) -> Any:
        """The language model on its device, for the time of a `with`."""
        return self.devices.on("lm")

    def plans(self, recipe: Recipe, seeds: Sequence[int], **how: Any) -> list[Plan]:
        return self.planner.plan(self.lm, recipe, seeds, **how)

    def sketch(self, sentence: str, instrumental: bool, seed: int, **how: Any) -> Plan:
        return self.planner.sketch(self.lm, sentence, instrumental, seed, **how)

    def polish(self, caption: str, lyrics: str, seed: int, **how: Any) -> Plan:
        return self.planner.polish(self.lm, caption, lyrics, seed, **how)

    def understand(self, sound: Sound, seed: int, **how: Any) -> Plan:
        return self.planner.understand(self.lm, self.sources.codes(sound), seed, **how)

    def plan_tokens(self, recipe: Recipe, codes: bool | None) -> tuple[int, int]:
        """A few fields, then codes, or lyrics."""
        writes = recipe.task.plans if codes is None else codes
        seconds = DEFAULT_SECONDS if recipe.seconds is None else recipe.seconds
        return 40 + (self.geometry.codes(seconds) if writes else 0), 2 if recipe.planning.cfg_scale > 1 else 1

    def code_count(self, seconds: float) -> int:
        return self.geometry.codes(seconds)

    def plan_score(self, sound: Sound, plan: Plan, scale: float) -> PlanScore:
        """How well a sound agrees with a plan in the planner's judgement; `scale` as in the reference."""
        codes = self.sources.codes(sound)
        with self.lm() as lm:
            return plan_score(lm, self.checkpoint.lm_tokenizer(), codes, plan, scale=scale)

    # -- where words are sung ------------------------------------------------------------------------------------------

    @cached_property
    def lyric_heads(self) -> alignment.Heads | None:
        """The heads that listen to lyrics, where that is known of this checkpoint."""
        return alignment.head_map(self.checkpoint.config("dit"))

    def lyric_attention(
        self, prepared: Prepared, latent: Tensor, draws: Sequence[tuple[float, int]],
        stop: threading.Event | None = None,
    ) -> LyricAttention:  # fmt: skip
        """What a latent attends to of a request's lyrics, by the listed heads alone."""
        one, heads, g = checks.instance("What is aligned", prepared, FlowPrepared), self.lyric_heads, self.geometry
        if heads is None:
            raise RecipeError(f"{self.name} aligns no lyrics: which of its heads listen to them is not known.")
        fields = self.reader.wanted(one.request, one.spec)[0].fields
        tokens = conditioning.lyric_tokens(self.checkpoint.tokenizer(), fields)
        each = g.patch / g.frames_per_second
        return self.devices.run_with_retry(
            "dit", lambda dit: alignment.lyric_attention(dit, one, latent, tokens, heads, draws, g.patch, each, stop)
        )

    def caption_attention(
        self, prepared: Prepared, latent: Tensor, draws: Sequence[tuple[float, int]],
        stop: threading.Event | None = None,
    ) -> LyricAttention:  # fmt: skip
        """What a latent attends to of a request's caption, averaged over all heads of all layers."""
        one, g = checks.instance("What is looked into", prepared, FlowPrepared), self.geometry
        fields, heads = (
            self.reader.wanted(one.request, one.spec)[0].fields,
            alignment.all_heads(self.checkpoint.config("dit")),
        )
        tokens = conditioning.caption_tokens(self.checkpoint.tokenizer(), fields)
        each, most = g.patch / g.frames_per_second, conditioning.TEXT_TOKENS
        return self.devices.run_with_retry(
            "dit",
            lambda dit: alignment.lyric_attention(dit, one, latent, tokens, heads, draws, g.patch, each, stop, most),
        )

    # -- training ------------------------------------------------------------------------------------------------------

    @property
    def training_rule(self) -> TrainingRule:
        return training.rule_of(self.checkpoint)

    @cached_property
    def lesson_mark(self) -> str:
        return self._mark("text", "condition", "codes", "vae")

    @cached_property
    def training_mark(self) -> str:
        return self._mark("dit")

    def _mark(self, *names: str) -> str:
        marks = [self.checkpoint.content(name).mark for name in names if name in self.checkpoint.components]
        return hashlib.blake2b(" ".join(marks).encode(), digest_size=8).hexdigest()

    def lesson(self, prepared: Prepared, sound: Sound, stop: threading.Event | None = None) -> Lesson:
        """The words as a render would hear them, the sound as this checkpoint's latent."""
        return training.lesson_of(
            checks.instance("What is learnt", prepared, FlowPrepared), self.sources.latent(sound, stop)
        )

    def training_module(self, dtype: torch.dtype) -> nn.Module:
        return training.prepared_module(build(self.checkpoint, "dit", dtype).to(self.devices.device))

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        return training.draw_times(self.checkpoint, count, generator)

    def velocity(
        self, module: nn.Module, x: Tensor, t: Tensor, states: Tensor, mask: Tensor, context: Tensor
    ) -> Tensor:
        return training.velocity(module, x, t, states, mask, context)

    @property
    def hidden_shape(self) -> tuple[int, int]:
        return training.hidden_shape(self.checkpoint)

    def hidden_after(self, module: nn.Module, block: int) -> AbstractContextManager[Hidden]:
        return training.hidden_after(module, block)

    # -- before the loop -----------------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[Request], stop: threading.Event | None = None) -> list[FlowPrepared]:
        """Sources and words encoded, component after component, so that a small machine changes them only a few times."""
        drafts = [self._draft(self._own(request), stop) for request in requests]
        wanted = [self.reader.wanted(draft.request, draft.spec) for draft in drafts]
        known = self.reader.read(one for several in wanted for one in several)
        prepared = [
            FlowPrepared(
                draft.request, draft.spec, draft.start, tuple(known[one.key] for one in several),
                draft.source_gain, draft.splice,
            )
            for draft, several in zip(drafts, wanted, strict=True)
        ]  # fmt: skip
        notes = self._measure(prepared[0])
        return [replace(prepared[0], notes=notes), *prepared[1:]]

    def _own(self, request: Request) -> FlowRequest:
        if not isinstance(request, FlowRequest):
            raise RecipeError(f"{self.name} was handed another engine's request; resolve the recipe with this one.")
        return request

    def _draft(self, request: FlowRequest, stop: threading.Event | None) -> FlowPrepared:
        """Everything of a request but its words."""
        task, g = request.root, self.geometry
        spec = edit_spec(task, self._source_latents(request, stop), g, request.seconds)
        start = start_noise(request.noise, spec.frames, g.latent_channels)
        where = row_of(task).splice(task, g, request.seconds)
        if where is None:
            return FlowPrepared(request, spec, start, ())
        source: Sound = task.source  # type: ignore[union-attr, assignment]
        placed = self._placed(self.sources.resampled(source), where, request.seconds)
        return FlowPrepared(request, spec, start, (), self.sources.gain(source), ((placed, where),))

    def _source_latents(self, request: FlowRequest, stop: threading.Event | None) -> SourceLatents:
        """What the task starts from, as latents."""
        task, silence = request.root, self.sources.silence
        source: Sound | None = getattr(task, "source", None)
        if source is None:
            return SourceLatents(silence, semantic=self.sources.of_codes(request.codes) if request.codes else None)
        latent, samples = self.sources.latent(source, stop), self.sources.resampled(source).samples.shape[1]
        through = row_of(task).through_codes(task)
        return SourceLatents(silence, latent, self.sources.through_codes(latent) if through else None, samples)

    def _placed(self, source: Audio, where: Splice, seconds: float) -> Audio:
        """The source where it lies in the song, with nothing around it."""
        length = self._samples(seconds)
        samples = np.pad(source.samples, ((0, 0), (round(where.offset * self.geometry.rate), 0)))[:, :length]
        return Audio(np.pad(samples, ((0, 0), (0, length - samples.shape[1]))), source.rate)

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.geometry.rate)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def sample(self, prepared: Sequence[Prepared], check: Check) -> Iterator[Step]:
        """`check` is called before every call of the DiT."""
        group = [checks.instance("What is sampled", one, FlowPrepared) for one in prepared]
        if why := self._running.may_record(self.devices.memory_plan, "dit"):
            self.devices.say(why)
        for step in render(group, self._predict(check), together=self.devices.device.type != "cpu"):
            yield replace(step, items=tuple(range(len(group))))

    def _predict(self, check: Check) -> PredictFn:
        ask, placed = torch.inference_mode()(partial(attention.velocity, cache=self._attention_cache)), Placed()

        def predict(x: Tensor, t: float, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
            check()

            def look(dit: Any) -> Tensor:
                like = dit.scale_shift_table
                time = torch.full((), t, dtype=like.dtype, device=like.device)  # filled there: nothing is copied
                heard, seen = placed.beside(states, like), placed.beside(context, like)
                asked = partial(ask, dit, x, time, heard, seen, mask=placed.mask_beside(mask, like))
                return self._running.asked(dit, asked, self.devices.say)

            return self.devices.run_with_retry("dit", look)

        return predict

    def _measure(self, prepared: FlowPrepared) -> tuple[str, ...]:
        """Before the first song in int8: have it measured when the DiT is built, and say what came of it."""
        mode = self._int8_mode
        if mode is None or mode.decision is not None:
            return self._measure_float16(prepared)
        mode.probe = self._probe(prepared)
        self.devices.free()  # a DiT built before there was a song to measure with
        with self.devices.on("dit"):
            pass
        return (str(mode.decision),)

    def _measure_float16(self, prepared: FlowPrepared) -> tuple[str, ...]:
        """Before the first song in float16: find out where it overflows, and say so."""
        if self.devices.memory_plan.kept_in("dit") != "float16":
            return ()
        probe = torch.inference_mode()(self._probe(prepared))
        found = self.devices.run_with_retry("dit", lambda dit: self._running.measure(dit, probe))
        return (found,) if found else ()

    def _probe(self, prepared: FlowPrepared) -> Any:
        """What asks a DiT for its velocities at three times of a song's first seconds: how far a change moves it."""
        frames, conditions = slice(0, PROBED_FRAMES), prepared.conditions[0]
        noise = prepared.start[frames]
        context, silence = prepared.spec.context.latents[frames], self.sources.silence[: len(noise)]
        noise = noise[: len(silence)]

        def probe(dit: nn.Module) -> Tensor:
            asked = [t * noise + (1 - t) * silence for t in PROBED_TIMES]
            return torch.cat(
                [attention.velocity(dit, x[None], t, conditions.states, context[None, : len(x)], mask=conditions.mask)
                 for x, t in zip(asked, PROBED_TIMES, strict=True)]
            )  # fmt: skip

        return probe

    # -- after the loop ------------------------------------------------------------------------------------------------

    def decode(
        self, prepared: Prepared, latent: Tensor, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> Rendered:
        assert isinstance(prepared, FlowPrepared)
        request, recipe = prepared.request, prepared.request.recipe
        latent = put_back(latent * request.latent_rescale + request.latent_shift, prepared.spec.kept)
        samples = self._samples_of(latent, stop, progress)[:, : self._samples(request.seconds)]
        gain = prepared.source_gain if prepared.splice else gain_for(recipe, samples)
        audio = mastered(recipe, samples, self.geometry.rate, gain)
        for source, where in prepared.splice:
            audio = splice(source, audio, where.spans, where.crossfade)
        return Rendered(audio, latent, float(gain))

    def decode_latent(self, latent: object, stop: threading.Event | None = None) -> Audio:
        return Audio(self._samples_of(self._checked(latent), stop, None), self.geometry.rate)

    def _checked(self, value: object) -> Tensor:
        """A latent `[frames, channels]` of finite numbers."""
        channels = self.geometry.latent_channels
        array = checks.tried(lambda: np.array(value, dtype=np.float32))
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != channels or not len(array):
            raise RecipeError(
                f"A latent is numbers in the shape [frames, {channels}], as take.latent is, not {shown(value)}."
            )
        return torch.from_numpy(array)

    def _samples_of(self, latent: Tensor, stop: threading.Event | None, progress: Progress | None) -> np.ndarray:
        """Samples `[channels, samples]` of a latent, tile by tile; stops between tiles."""
        if not torch.isfinite(latent).all():
            raise SourceError("This latent holds values that are not numbers; there is no sound in it.")

        def run(vae: Any) -> Tensor:
            codec, done = self._codec(vae), 0
            sound = torch.empty(codec.channels, latent.shape[0] * codec.hop)
            for piece in codec.stream(latent, stop):
                sound[:, done : done + piece.shape[-1]] = _finite(piece)
                done += piece.shape[-1]
                if progress is not None:
                    progress(done / sound.shape[-1])
            return sound

        return self.devices.run_with_retry("vae", run).numpy()

    def preview(self, latent: Tensor | np.ndarray, at: float, seconds: float) -> Audio:
        """The seconds around a time of a latent `[frames, channels]`, exactly as they sound in the whole."""
        latent = torch.from_numpy(latent.copy()) if isinstance(latent, np.ndarray) else latent
        rate = self.geometry.frames_per_second
        frames = latent.shape[0]
        at = checks.real("The time to listen at", at, -MOST_SECONDS, MOST_SECONDS, "seconds")
        seconds = checks.real("The length to listen for", seconds, -MOST_SECONDS, MOST_SECONDS, "seconds")
        if not seconds > 0:
            raise RecipeError(f"A preview lasts some seconds, such as 3, not {seconds:g}.")
        if not 0 <= at <= frames / rate:
            raise RecipeError(f"There is nothing to hear at {at:g} s: this song runs from 0 to {frames / rate:.2f} s.")
        first = min(max(0, math.floor((at - seconds / 2) * rate)), frames - 1)
        last = min(frames, max(first + 1, math.ceil((at + seconds / 2) * rate)))
        with self.devices.on("vae") as vae:
            samples = self._codec(vae).window(latent.float(), first, last).cpu().numpy()
        return Audio(samples * np.float32(min(1.0, normalizing_gain(samples))), self.geometry.rate)

    def _codec(self, vae: Any) -> Codec:
        plan, lanes = self.devices.memory_plan.part("vae"), self.devices.lanes
        if lanes is None:
            return Codec(vae, plan.tile_frames)
        sound = 2 * 4 * self.geometry.hop * self.geometry.channels  # of a frame: two pieces, one on its way home
        sizes = CardTiles.of(plan, "vae", plan.bytes_per_frame("vae") + sound, plan.tile_frames, lanes.free_bytes())
        return Codec(vae, plan.tile_frames, lanes, sizes)

    def watched(self) -> AbstractContextManager[Watch]:
        return self.devices.watched()

    def profile(self, take: Take, shown_at: Sequence[float], watch: Watch) -> Profile:
        """Where the seconds of a take went, beside the least this machine could take."""
        dtype = self.devices.memory_plan.torch_dtype
        peak = measured_peak(dtype, self.devices.device)
        return profile(take, self.checkpoint, peak, torch.finfo(dtype).bits // 8, shown_at, Timeline(watch.read()))

    # -- sounds and adapters -------------------------------------------------------------------------------------------

    def encode(self, sound: Sound, stop: threading.Event | None = None) -> Tensor:
        return self.sources.latent(sound, stop)

    def codes(self, sound: Sound, stop: threading.Event | None = None) -> tuple[int, ...]:
        return self.sources.codes(sound, stop)

    @property
    def precision(self) -> object:
        """What was asked for when it was opened: "auto" or "int8"."""
        return self._precision

    @property
    def attached(self) -> tuple[tuple[Adapter, float], ...]:
        return self._adapters

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
        for adapter, _ in adapters:
            check_family(adapter, self.capabilities.family)
        with self.devices.on("dit") as dit:
            attach_adapters(dit, adapters)
            self._running.ready(dit)
        self._adapters = tuple(adapters)
        return tuple(adapter.name for adapter, _ in adapters)

    def merged(self, adapters: Sequence[tuple[Adapter, float]], folder: Path, link: bool, exact: bool) -> Merged:
        return merge(self.checkpoint, adapters, folder, link, exact)

    def onnx_parts(self) -> OnnxParts:
        return onnx.parts(self.checkpoint, self.checkpoint.vae_mark)

    def made_with(self) -> Mapping[str, Any]:
        return {
            "checkpoint": self.name,
            "vae": self.sources.vae_mark,
            "precision": "auto" if self._int8_mode is None else self._int8_mode.chosen,
            "adapters": {adapter.name: strength for adapter, strength in self._adapters},
        }


def _finite(piece: Tensor) -> Tensor:
    """Pass decoded samples on as long as they are numbers."""
    if not torch.isfinite(piece).all():
        raise MachineError(
            "The autoencoder produced NaN. Usually this is float16 on a machine without bfloat16: open the session with a "
            "tier whose dtype is float32."
        )
    return piece


def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype, road: CardRoad | None = None) -> Any:
    """Make a component in a dtype; autoencoder and DiT are made quicker on the way (same numbers, less work). `road` is the DiT's
    on an accelerator.
    """
    if component == "vae":
        vae = prepare_vae(checkpoint.build(component))
        return vae if dtype == torch.float32 else vae.to(dtype)
    module: Any = checkpoint.build(component, dtype)
    if component == "condition":
        remember(module.get_submodule("timbre_encoder"))  # without reference audio it hears the same silence every time
    return card_attention.install(module, road) if component == "dit" else module
