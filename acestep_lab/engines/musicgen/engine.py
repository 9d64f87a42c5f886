"""MusicGen behind the engine contract: words, sources, the token loop, EnCodec. Runs on one thread; knows no threads, no library
and no view.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acestep_lab.audio.audio import Audio, splice
from acestep_lab.audio.mastering import gain_for, mastered
from acestep_lab.engines.base import (
    Capabilities,
    Check,
    Devices,
    Find,
    LatentSpec,
    Progress,
    Rendered,
    Request,
    Sound,
    Vocabulary,
)
from acestep_lab.engines.card_tiles import CardTiles
from acestep_lab.engines.musicgen import catalog, onnx
from acestep_lab.engines.musicgen import resolve as resolving
from acestep_lab.engines.musicgen.checkpoint import COMPONENTS, Checkpoint
from acestep_lab.engines.musicgen.chroma import HOP, melody
from acestep_lab.engines.musicgen.codec import HALO, TILE, Codec
from acestep_lab.engines.musicgen.generation import Conditions, Generation
from acestep_lab.engines.musicgen.request import TokenRequest
from acestep_lab.engines.musicgen.resolve import described
from acestep_lab.engines.musicgen.task_rows import SHORTEST_SECONDS, Limits, audio_of, row_of, tasks_of
from acestep_lab.engines.musicgen.windows import Window, delays
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, MachineError, RecipeError, SourceError, Stopped, shown
from acestep_lab.models.assembly import opened
from acestep_lab.models.component_spec import ComponentSpec, WorkingMemory
from acestep_lab.models.onnx_export import OnnxParts
from acestep_lab.models.recording import Recorder, recorder_for
from acestep_lab.models.stored_content import StoredContent
from acestep_lab.models.weights import number, whole_number
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling
from acestep_lab.prompt.tasks import Region, Task
from acestep_lab.takes.take import Take

RATE = 48_000
"""Samples a second of a finished song; EnCodec's own rate is 32,000."""
_FIXED = frozenset(
    {
        "Text2Music.reference",
        "Extend.before",
        "Cover.strength",
        "Cover.noise_strength",
        "Cover.through_codes",
        "Cover.reference",
    }
)
"""Fields of its tasks that it has no use for."""
HEARD = 256
"""Tokens of a long caption, whose keys and values a plan for memory counts with."""
MOST_TOKENS = 512
"""Tokens of a caption that are read: what T5 was taught."""
ROLES = {"text": "encoder", "codec": "decoder", "decoder": "loop"}
LABELS = {"text": "T5", "codec": "EnCodec", "decoder": "decoder"}
"""What a component is to a plan for memory, and how a sentence calls it."""
_INT8 = {"text": 0.62, "decoder": 0.52}
"""Which share of its bytes is left where its linear layers are kept in eight bits; tables of words and codes stay. EnCodec is
never kept so.
"""
TEMPERATURE, TOP_K, TOP_P, GUIDANCE_SCALE = 1.0, 250, 1.0, 3.0
"""Where a checkpoint's generation_config.json does not say: audiocraft's defaults."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A sound that is gone on from, and which stays."""

    codes: Tensor
    """`[frames, codebooks]`."""
    canvas: Audio
    """The sound where it lies in the song, with nothing after it."""
    added: Region
    """What is new in the song."""
    crossfade: float
    """Seconds over which both are mixed, on the prompt's side."""
    gain: float
    """The prompt's own level."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One resolved recipe with everything the loop and the decoding need."""

    request: TokenRequest
    conditions: Conditions | None
    """None once the loop is through."""
    prompt: Prompt | None = None
    remarks: tuple[str, ...] = ()

    @property
    def group(self) -> Hashable:
        """Those of as many steps share a loop."""
        return self.request.windows

    def after_sampling(self) -> Prepared:
        return replace(self, conditions=None)


class MusicGenEngine:
    """One MusicGen checkpoint; more than `window_seconds` of music are stitched from windows that move on by the stride."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        window_seconds: float = catalog.WINDOW_SECONDS,
        stride_seconds: float = catalog.STRIDE_SECONDS,
        road: Callable[[torch.device], Recorder | None] = recorder_for,
    ):
        """`road` says how the decoder's steps are run on its device."""
        self._road = road
        self.checkpoint, self.window_seconds, self.stride_seconds = checkpoint, window_seconds, stride_seconds
        self.shape = checkpoint.shape
        self.late = delays(self.shape.codebooks, self.shape.channels)
        self._devices: Devices | None = None
        self._defaults = _defaults(checkpoint)

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def location(self) -> tuple[str, ...]:
        """The real path of its folder."""
        return (os.path.realpath(self.checkpoint.folder),)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What this checkpoint can do."""
        shape = self.shape
        return Capabilities(
            family="musicgen",
            tasks=tasks_of(self.checkpoint.is_melody),
            sampling=TokenSampling,
            vocabulary=Vocabulary(),
            components=COMPONENTS,
            latent=LatentSpec("tokens", shape.codebooks, shape.frames_per_second, RATE, shape.channels),
            seconds=(SHORTEST_SECONDS, self._longest),
            licence=catalog.LICENCE,
            fixed=_FIXED,
        )

    # -- memory

    def component_specs(self) -> Sequence[ComponentSpec]:
        """Each component with its size and what it needs while it works: the decoder a window's keys and values for each row,
        EnCodec one piece's widest layers.
        """
        sizes, needs, checkpoint = self.checkpoint.sizes(), self._working_memory(), self.checkpoint
        return [
            ComponentSpec(
                name, sizes[name], ROLES[name], LABELS[name], int8=_INT8.get(name), working=needs.get(name),
                content=StoredContent.of(f"musicgen {name}", checkpoint.config_of(name), checkpoint.entries(name)),
            )
            for name in COMPONENTS
        ]  # fmt: skip

    def _working_memory(self) -> Mapping[str, WorkingMemory]:
        """What a component needs while it works, in bytes."""
        decoder, codec = self.checkpoint.config_of("decoder"), self.checkpoint.config_of("codec")
        layers = whole_number(decoder, "num_hidden_layers", self.name, 24)
        width = whole_number(decoder, "hidden_size", self.name, 1024)
        places = self.window_seconds * self.shape.frames_per_second + (self.shape.chroma or 0)
        filters = whole_number(codec, "num_filters", self.name, 32)
        piece = (TILE + 2 * HALO) * self.shape.hop * filters * self.shape.channels * 4
        logits = (
            2 * 2 * self.shape.codebooks * self.shape.words * places * 2
        )  # of both rows, once more as they are stacked
        return {
            "decoder": WorkingMemory(
                fixed=logits + 8 * width * places * 2, per_take=2 * layers * width * (places + HEARD) * 2
            ),
            "codec": WorkingMemory(fixed=3.5 * piece),
        }

    @property
    def passes(self) -> int:
        """Rows of each song the decoder is asked in: with the words, and without."""
        return 1 if self._defaults.guidance_scale == 1.0 else 2

    def twin(self) -> MusicGenEngine:
        return type(self)(self.checkpoint, self.window_seconds, self.stride_seconds, self._road)

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        """Make a component on the CPU; CheckpointError for an unknown name or damaged files."""
        return self.checkpoint.build(component, dtype)

    def verify(self, component: str) -> None:
        """Compare a component's stored tensors with its config, by name and shape; CheckpointError where they do not fit."""
        self.checkpoint.verify(component)

    def connect(self, devices: Devices) -> None:
        """Be told where the components are."""
        self._devices = devices

    @property
    def devices(self) -> Devices:
        if self._devices is None:
            raise MachineError("This engine has not been told where its components are; call connect(devices) first.")
        return self._devices

    # -- before any work

    @property
    def _longest(self) -> float:
        return self.checkpoint.row.longest_seconds if self.checkpoint.row else catalog.LONGEST_SECONDS

    def defaults(self, task: Task) -> TokenSampling:
        """What the checkpoint's generation_config.json says, and audiocraft's defaults for what it leaves open."""
        return self._defaults

    def limits(self, task: Task, longest: float | None = None) -> Limits:
        """What a recipe of a task may ask for, on a machine with room for songs of `longest` seconds."""
        most = self._longest if longest is None else min(self._longest, longest)
        return Limits(
            self.name, self.shape.channels, self.checkpoint.is_melody, self.shape.frames_per_second, self.window_seconds,
            self.stride_seconds, most, max(self.late), self.defaults(task),
        )  # fmt: skip

    def resolve(self, recipe: Recipe, plan: Plan | None, find: Find, longest: float) -> TokenRequest:
        """The recipe with every "auto" decided; RecipeError or SourceError for what cannot be made."""
        return resolving.resolve(recipe, plan, find, self.limits(recipe.task, longest))

    def lint(self, recipe: Recipe, plan: Plan | None) -> Iterable[str]:
        """Sentences about explicit choices that usually spoil the music, or do nothing."""
        return resolving.lint(recipe, self.limits(recipe.task))

    # -- before the loop

    def prepare(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Sequence[Prepared]:
        """Words read, then sources encoded: component after component."""
        own = [self._own(request) for request in requests]
        texts = self._read([described(request.recipe) for request in own], stop)
        return [self._prepared(request, *text, stop) for request, text in zip(own, texts, strict=True)]

    def _own(self, request: Request) -> TokenRequest:
        if not isinstance(request, TokenRequest):
            raise RecipeError(f"{self.name} was handed another engine's request; resolve the recipe with this one.")
        return request

    def _read(
        self, captions: Sequence[str], stop: threading.Event | None
    ) -> list[tuple[Tensor, bool, tuple[str, ...]]]:
        """T5's states of each caption, alone, so that none depends on its neighbours; whether it has words; and remarks."""
        found: list[tuple[Tensor, bool, tuple[str, ...]]] = []
        for caption in captions:
            _check(stop)
            ids = self._tokenizer.encode(caption).ids
            said = (
                (f"The caption has {len(ids)} tokens; the first {MOST_TOKENS} of them are read.",)
                if len(ids) > MOST_TOKENS
                else ()
            )
            found.append((self._states(ids[:MOST_TOKENS] or [0]), bool(caption), said))
        return found

    def _states(self, ids: Sequence[int]) -> Tensor:
        @torch.inference_mode()
        def read(text: Any) -> Tensor:
            asked = torch.tensor([ids], device=self.devices.device_for("text"))
            states: Tensor = text(input_ids=asked, attention_mask=torch.ones_like(asked)).last_hidden_state
            return states[0].float().cpu()

        return self.devices.run_with_retry("text", read)

    @cached_property
    def _tokenizer(self) -> Any:
        return self.checkpoint.tokenizer()

    def _prepared(
        self, request: TokenRequest, text: Tensor, has_words: bool, said: tuple[str, ...], stop: threading.Event | None
    ) -> Prepared:
        melodies = self._melodies(request) if self.checkpoint.is_melody else None
        prompts = [self._prompt(sound, request, stop) for sound in row_of(request.task).prompt(request.task)]
        return Prepared(request, Conditions(text, has_words, melodies), prompts[0] if prompts else None, said)

    def _prompt(self, sound: Sound, request: TokenRequest, stop: threading.Event | None) -> Prompt:
        """A sound that is gone on from, encoded; a take of this family brings its own codes and level."""
        codes = _of_frames(self.encode(sound, stop).long(), request.windows[0].start)
        canvas, seam = self._canvas(sound, request)
        added = Region(seam / RATE, canvas.seconds)
        gain = sound.made_with.get("gain", 1.0) if isinstance(sound, Take) and self._is_ours(sound) else 1.0
        return Prompt(codes, canvas, added, row_of(request.task).crossfade(request.task), float(gain))

    def _melodies(self, request: TokenRequest) -> tuple[Tensor, ...]:
        """The melody of each window: the source's from the window's begin on, round and round; of no source, silence."""
        windows, followed = request.windows, row_of(request.task).melody(request.task)
        if not followed:
            silence = torch.zeros(self.shape.chroma or 0, 12)
            silence[:, 0] = 1
            return (silence,) * len(windows)
        samples = audio_of(followed[0]).with_channels(1).resample(self.shape.rate).samples[0]
        return tuple(self._melody(samples, window, len(windows) > 1) for window in windows)

    def _melody(self, samples: np.ndarray, window: Window, stitched: bool) -> Tensor:
        """A window's melody `[frames, 12]`: in one window as transformers hears it, in several as audiocraft does."""
        frames, most = self.shape.chroma or 0, round(self.window_seconds * self.shape.rate)
        if stitched:
            places = np.arange(window.begin * self.shape.hop, window.begin * self.shape.hop + most) % len(samples)
            samples = samples[places]
        heard = torch.from_numpy(melody(samples[:most], self.shape.rate, hop=HOP))
        return heard.repeat(-(-frames // len(heard)), 1)[:frames]

    def _canvas(self, source: Sound, request: Request) -> tuple[Audio, int]:
        """The source at the song's rate, followed by nothing, and where it ends; stereo stays stereo where the checkpoint
        writes mono.
        """
        audio = audio_of(source)
        audio = audio.with_channels(max(self.shape.channels, min(2, audio.channels))).resample(RATE)
        seam = audio.samples.shape[1]
        length = max(round(request.seconds * RATE), seam + 1)
        return Audio(np.pad(audio.samples, ((0, 0), (0, length - seam))), RATE), seam

    # -- the loop

    def sample(self, prepared: Sequence[Prepared], check: Check) -> Iterator[Step]:
        """Write the codes of requests of one group, a token of each at a time; the last step's state is the codes.

        Each is asked for alone, in its own rows, so that an item comes out in the same bytes whatever is made beside it.
        """
        songs = [self._generation(one) for one in prepared]
        steps, items = songs[0].steps, tuple(range(len(songs)))
        for index in range(steps):
            for song in songs:
                check()
                song.advance(lambda work: self.devices.run_with_retry("decoder", work), lambda: self.devices.device)
            last = index == steps - 1
            state = torch.stack([song.codes for song in songs]).float() if last else None
            yield Step(index, steps, 1 - (index + 1) / steps, state, None, items)

    def _generation(self, one: Prepared) -> Generation:
        request = one.request
        assert one.conditions is not None
        known = torch.zeros(0, self.shape.codebooks, dtype=torch.long) if one.prompt is None else one.prompt.codes
        return Generation(
            request.windows, known, self.late, self.shape.pad, one.conditions, request.rules, request.seed, self._road
        )

    # -- after the loop

    def decode(
        self, prepared: Prepared, latent: Tensor, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> Rendered:
        """Codes `[frames, codebooks]` as finished sound: a source put back, brought to its level."""
        recipe, prompt = prepared.request.recipe, prepared.prompt
        length = round(prepared.request.seconds * RATE) if prompt is None else prompt.canvas.samples.shape[1]
        bare = self._decoded(latent, stop, progress, 0 if prompt is None else self._first_heard(prompt))
        samples = _of_length(bare.samples, length)
        gain = gain_for(recipe, samples) if prompt is None else prompt.gain
        audio = mastered(recipe, samples, RATE, gain)
        if prompt is not None:
            audio = splice(prompt.canvas, audio.with_channels(prompt.canvas.channels), [prompt.added], prompt.crossfade)
        return Rendered(audio, latent, float(gain))

    def _first_heard(self, prompt: Prompt) -> int:
        """The first frame that is heard of what is written after a prompt: those before its crossfade are the prompt's."""
        return max(0, len(prompt.codes) - round(prompt.crossfade * self.shape.frames_per_second) - 2)

    def _decoded(
        self, latent: Tensor, stop: threading.Event | None, progress: Progress | None, first: int = 0
    ) -> Audio:
        """The bare sound of codes at the song's rate; silent before frame `first`."""
        codes = self._codes(latent)
        told = progress or (lambda share: None)
        samples = self.devices.run_with_retry(
            "codec", lambda codec: self._codec(codec).decode(codes, stop, told, first)
        )
        if not torch.isfinite(samples).all():
            raise MachineError(
                "EnCodec produced values that are not numbers; its weights may be damaged. Fetch them again."
            )
        return Audio(samples.numpy(), self.shape.rate).resample(RATE)

    def _codes(self, latent: Tensor) -> Tensor:
        """A latent as whole numbers; RecipeError where it holds none, or codes that do not exist."""
        shape = self.shape
        if latent.ndim != 2 or latent.shape[1] != shape.codebooks or not len(latent):
            raise RecipeError(
                f"A latent of {self.name} is codes [frames, {shape.codebooks}]; this one has the shape {list(latent.shape)}."
            )
        numbers = latent.float()
        if not torch.isfinite(numbers).all() or (numbers != numbers.round()).any():
            raise RecipeError(f"A latent of {self.name} holds whole numbers, its codes; this one is of another family.")
        if numbers.min() < 0 or numbers.max() >= shape.words:
            raise RecipeError(
                f"Code {int(numbers.max() if numbers.max() >= shape.words else numbers.min())} does not exist: {self.name}'s run "
                f"from 0 to {shape.words - 1}."
            )
        return numbers.long()

    def encode(self, sound: Sound, stop: threading.Event | None = None) -> Tensor:
        """The codes of a sound: float32 `[frames, codebooks]`; a take's own where it was made with this codec."""
        if isinstance(sound, Take) and self._is_ours(sound):
            return torch.from_numpy(sound.latent.copy())
        audio = audio_of(sound)
        if not audio.samples.size:
            raise SourceError("This sound has no samples; there is nothing to hear in it.")
        audio = audio.with_channels(self.shape.channels).resample(self.shape.rate)
        samples = torch.from_numpy(audio.samples.copy())
        return self.devices.run_with_retry("codec", lambda codec: self._codec(codec).encode(samples, stop)).float()

    def decode_latent(self, latent: Tensor | np.ndarray, stop: threading.Event | None = None) -> Audio:
        """The bare sound of codes `[frames, codebooks]`; RecipeError for another shape, or codes that do not exist."""
        found = checks.tried(lambda: np.array(latent, np.float32))
        if not isinstance(found, np.ndarray):
            raise RecipeError(
                f"A latent of {self.name} is codes [frames, {self.shape.codebooks}], as take.latent is, not {shown(latent)}."
            )
        return self._decoded(torch.from_numpy(found), stop, None)

    def _codec(self, codec: object) -> Codec:
        plan, lanes = self.devices.memory_plan.part("codec"), self.devices.lanes
        if lanes is None:
            return Codec(codec, self.shape.channels, self.devices.device_for("codec"))
        per_frame = plan.working_bytes("codec") / (TILE + 2 * HALO)  # what the plan counts is for one such piece
        sizes = CardTiles.of(plan, "codec", per_frame, TILE, lanes.free_bytes())
        return Codec(codec, self.shape.channels, self.devices.device_for("codec"), lanes=lanes, sizes=sizes)

    def _is_ours(self, take: Take) -> bool:
        frames = self.limits(take.recipe.task).frames(take.audio.seconds)
        return take.made_with.get("vae") == self.codec_mark and take.latent.shape == (frames, self.shape.codebooks)

    @cached_property
    def codec_mark(self) -> str:
        """Which EnCodec this is, from its codebooks: checkpoints that share it may go on from each other's codes."""
        entries = self.checkpoint.entries("codec")
        digest = hashlib.blake2b(f"encodec {self.shape.rate} {self.shape.hop}".encode(), digest_size=8)
        for name in sorted(entries):
            if name.endswith("codebook.embed"):
                with opened(entries[name].file) as stored:
                    digest.update(stored.get_tensor(entries[name].key).float().numpy().tobytes())
        return digest.hexdigest()

    def onnx_parts(self) -> OnnxParts:
        """Graphs and files that its export consists of."""
        return onnx.parts(self.checkpoint, self.codec_mark)

    def made_with(self) -> Mapping[str, Any]:
        """What a take remembers of this engine; a song longer than `window_seconds` was stitched."""
        return {
            "checkpoint": self.name,
            "vae": self.codec_mark,
            "licence": catalog.LICENCE,
            "window_seconds": self.window_seconds,
            "stride_seconds": self.stride_seconds,
        }


def _defaults(checkpoint: Checkpoint) -> TokenSampling:
    """What a generation_config.json says, and audiocraft's defaults for what it leaves open; CheckpointError for numbers no
    recipe may have.
    """
    told, where = checkpoint.defaults, f"{checkpoint.name} (generation_config.json)"
    try:
        return TokenSampling(
            temperature=number(told, "temperature", where, TEMPERATURE),
            top_k=whole_number(told, "top_k", where, TOP_K, least=0),
            top_p=number(told, "top_p", where, TOP_P),
            guidance_scale=number(told, "guidance_scale", where, GUIDANCE_SCALE),
        )
    except RecipeError as problem:
        raise CheckpointError(f"The config of {where} cannot be: {problem}") from None


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped("The run was stopped while its words were read.")


def _of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Samples `[channels, samples]` of a length, a copy: cut, or followed by silence."""
    return np.pad(samples[:, :length], ((0, 0), (0, max(0, length - samples.shape[1])))).astype(np.float32)


def _of_frames(codes: Tensor, frames: int) -> Tensor:
    """Codes `[frames, codebooks]` of so many frames: resampling may count one more or less than the seconds do."""
    short = frames - len(codes)
    return codes[:frames] if short <= 0 else torch.cat([codes, codes[-1:].expand(short, -1)])
