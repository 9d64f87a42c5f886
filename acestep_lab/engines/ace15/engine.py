"""The road from resolved recipes to sound: words, sources, the loop, the autoencoder. Runs on one thread; knows no
threads, no library and no view.

::

    songs = road.prepare(recipes)                     # sources and words are encoded; a song owns all it needs
    for places in groups(songs, most):                # those that share a loop
        for frame in road.walk(songs, places, check)  # the loop, one Step a step
        road.finish(song, latent)                     # latent -> Audio
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from acestep_lab.audio.audio import Audio, normalizing_gain, splice
from acestep_lab.audio.mastering import gain_for, mastered
from acestep_lab.diffusion import sampler
from acestep_lab.diffusion.sampler import Step
from acestep_lab.engines.ace15 import attention, conditioning, semantic
from acestep_lab.engines.ace15.cache import remember
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.conditioning import Conditions, Words
from acestep_lab.engines.ace15.edit_spec import SourceLatents, added_frames, brief, finished, keep_strength_of
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.engines.ace15.render import Item, VelocityFn, render
from acestep_lab.engines.ace15.resolve import rooted
from acestep_lab.errors import MachineError, RecipeError, SourceError
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.loading import Checkpoint
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.planner import Planner
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Region, Repaint, Retake, Task
from acestep_lab.prompt.vocabulary import INSTRUCTIONS
from acestep_lab.takes.take import Take

PROBED_FRAMES, PROBED_TIMES = 250, (0.95, 0.6, 0.25)
"""Where a change of the DiT is measured: enough of a song to hear it, little beside rendering one."""

T = TypeVar("T")
Check = Callable[[], None]


@dataclass(frozen=True)
class Prepared:
    """One resolved recipe with everything the loop and the decoder need."""

    item: Item
    heard: Conditions | None  # None once the loop is through
    later: Conditions | None
    canvas: Audio | None = None  # what stays outside a repaint's regions, at the song's length
    gain: float | None = None  # the canvas's own level; None: the recipe's

    @property
    def recipe(self) -> Recipe:
        return self.item.recipe

    def after_the_loop(self) -> Prepared:
        """The same without its words, which only the loop listens to: what is kept while the run's steps can be."""
        return replace(self, heard=None, later=None)


class Road:
    """Everything that computes, given a checkpoint and the manager that brings its components on the device."""

    def __init__(self, checkpoint: Checkpoint, devices: DeviceManager):
        self.checkpoint = checkpoint
        self.geometry = checkpoint.geometry
        self.devices = devices
        self._heard = LRUCache[Conditions](128)
        self._latents = LRUCache[Tensor](16)
        self._canvases = LRUCache[Audio](16)
        self._attention_cache = attention.CrossAttentionCache()

    # -- the planner ---------------------------------------------------------------------------------------------------

    @cached_property
    def planner(self) -> Planner:
        """What asks this checkpoint's language model; its tables are built once."""
        checkpoint = self.checkpoint
        own = checkpoint.places["lm"].parent == checkpoint.folder  # another planner may have been opened with it
        return Planner(checkpoint.lm_tokenizer(), self.geometry, own and checkpoint.row.repeats_caption)

    def lm(self) -> AbstractContextManager[Any]:
        """The language model, on the device for the time of a call."""
        return self.devices.on("lm")

    def plans(self, recipe: Recipe, seeds: Sequence[int], **how: Any) -> list[Plan]:
        """A plan for each seed, from one reading of the recipe; `how` goes to `Planner.plan`."""
        longest = self.devices.memory_plan.longest_seconds
        return self.planner.plan(self.lm, recipe, seeds, longest=longest, **how)

    # -- before the loop -----------------------------------------------------------------------------------------------

    def prepare(self, recipes: Sequence[Recipe], stop: threading.Event | None = None) -> list[Prepared]:
        """Sources and words encoded, component after component, so that a small machine changes them only a few times."""
        items = [self._item(recipe, stop) for recipe in recipes]
        wishes = [self._wishes(item, stop) for item in items]
        heard = self._hear([wish for pair in wishes for wish in pair if wish is not None])
        return [self._song(item, heard, *pair) for item, pair in zip(items, wishes, strict=True)]

    def _item(self, recipe: Recipe, stop: threading.Event | None) -> Item:
        task = rooted(recipe.task)
        material = self._material(task, stop)
        work = brief(task, material, self.geometry, recipe.seconds or 0.0)
        return Item(recipe, work, self._start(recipe, work.frames))

    def _material(self, task: Task, stop: threading.Event | None) -> SourceLatents:
        """What the task starts from, as latents."""
        source, codes = getattr(task, "source", None), getattr(task, "codes", None)
        latent = None if source is None else self.latent(source, stop)
        through = codes or (isinstance(task, Cover) and task.through_codes)
        heard = self._semantic(latent, codes) if through else None
        samples = 0 if source is None else self.canvas(source).samples.shape[1]
        return SourceLatents(self.silence, latent, heard, samples)

    def _semantic(self, latent: Tensor | None, codes: tuple[int, ...] | None) -> Tensor:
        silence = self.silence  # before the codes come on the device: it lives in another component
        with self.devices.on("codes") as coder:
            if codes:
                return semantic.from_codes(coder, codes).cpu()
            assert latent is not None
            return semantic.through_codes(coder, latent, silence).cpu()

    def _start(self, recipe: Recipe, frames: int) -> Tensor:
        """Start noise; of a retake its source's, turned towards the second seed."""
        task, channels = recipe.task, self.geometry.latent_channels
        if not isinstance(task, Retake):
            return sampler.noise(recipe.seed or 0, frames, channels)
        assert isinstance(task.source, Take)
        first = self._start(task.source.recipe, frames)
        return sampler.rotate_noise(first, sampler.noise(task.seed, frames, channels), task.variance)

    @cached_property
    def silence(self) -> Tensor:
        """The checkpoint's recorded silence, [frames, channels]."""
        with self.devices.on("condition") as encoder:
            return encoder.silence_latent[0].float().cpu()

    def latent(self, sound: Take | Audio, stop: threading.Event | None = None) -> Tensor:
        """A sound's latent [frames, channels]: a take's own where it was made with this autoencoder, else encoded."""
        if isinstance(sound, Take) and self._is_ours(sound):
            return torch.from_numpy(sound.latent.copy())
        return self._latents.recall(sound.id, lambda: self._encoded(self.canvas(sound), stop))

    def _is_ours(self, take: Take) -> bool:
        frames = math.ceil(take.audio.samples.shape[1] / self.geometry.hop)
        return take.made_with.get("vae") == self.vae_mark and take.latent.shape[0] == frames

    def _encoded(self, audio: Audio, stop: threading.Event | None) -> Tensor:
        samples = torch.from_numpy(audio.samples.copy())
        return self.devices.run_with_retry("vae", lambda vae: self._codec(vae).encode(samples, stop)).cpu()

    def canvas(self, sound: Take | Audio) -> Audio:
        """A sound as this checkpoint hears it: its rate, its number of channels."""
        audio, g = sound.audio if isinstance(sound, Take) else sound, self.geometry
        if not audio.samples.size:
            raise SourceError("This sound has no samples; there is nothing to hear in it.")
        return self._canvases.recall(sound.id, lambda: audio.with_channels(g.channels).resample(g.rate))

    def codes(self, sound: Take | Audio, stop: threading.Event | None = None) -> tuple[int, ...]:
        """The audio codes of a sound."""
        latent, silence = self.latent(sound, stop), self.silence
        with self.devices.on("codes") as coder:
            return semantic.to_codes(coder, latent, silence)

    # -- words ---------------------------------------------------------------------------------------------------------

    def _wishes(self, item: Item, stop: threading.Event | None) -> tuple[_Wish, _Wish | None]:
        """What is listened to, and what instead once a cover has switched or as the source of a flow-edit."""
        recipe, task = item.recipe, rooted(item.recipe.task)
        reference = getattr(task, "reference", None)
        first = _Wish(self._told(recipe, recipe.instruction or item.brief.instruction), reference)
        if isinstance(task, FlowEdit):
            return first, _Wish(
                self._told(_old_recipe(recipe, task), recipe.instruction or task.instruction()), reference
            )
        if item.brief.later is not None and item.brief.follow < 1.0:
            return first, _Wish(_words(recipe, INSTRUCTIONS["text2music"]), reference)
        return first, None

    def _told(self, recipe: Recipe, instruction: str) -> Words:
        """A recipe's words as this checkpoint was taught to read them."""
        words = _words(recipe, instruction)
        if not self.checkpoint.row.stem_captions:
            return words
        mask = getattr(rooted(recipe.task), "mask", "auto")
        return replace(words, global_caption=recipe.global_caption, mask_control=mask == "explicit")

    def _hear(self, wishes: Iterable[_Wish]) -> dict[Hashable, Conditions]:
        """What the wishes say, by their keys. Those not heard before are encoded: by the text encoder, all of them, then by
        the condition encoder.
        """
        asked = {wish.key: wish for wish in wishes}
        found: dict[Hashable, Conditions] = {key: self._heard[key] for key in asked if key in self._heard}
        new = [wish for key, wish in asked.items() if key not in found]
        return found | self._encode_words(new) if new else found

    def _encode_words(self, new: Sequence[_Wish]) -> dict[Hashable, Conditions]:
        """Wishes encoded, and remembered as far as there is room."""
        timbres = [self._timbre(wish.reference) for wish in new]
        with self.devices.on("text") as text:
            readings = conditioning.read(text, self._tokenizer, [wish.words for wish in new])
        frames = conditioning.timbre_frames(self.geometry.frames_per_second)
        with self.devices.on("condition") as encoder:
            return {
                wish.key: self._heard.put(wish.key, conditioning.fuse(encoder, [reading], frames, timbre).cpu())
                for wish, reading, timbre in zip(new, readings, timbres, strict=True)
            }

    def _timbre(self, reference: Take | Audio | None) -> Tensor | None:
        """The latent of a reference's three windows."""
        if reference is None:
            return None

        def windows() -> Tensor:
            audio = self.canvas(reference)
            samples = conditioning.timbre_windows(torch.from_numpy(audio.samples.copy()), audio.rate)
            return self._encoded(Audio(samples.numpy(), audio.rate), None)

        return self._latents.recall(("timbre", reference.id), windows)

    @cached_property
    def _tokenizer(self) -> Any:
        return self.checkpoint.tokenizer()

    def _song(self, item: Item, heard: dict[Hashable, Conditions], first: _Wish, second: _Wish | None) -> Prepared:
        task = rooted(item.recipe.task)
        song = Prepared(item, heard[first.key], heard[second.key] if second else None)
        if not isinstance(task, Repaint | Extend):
            return song
        source: Any = task.source
        gain = source.made_with.get("gain", 1.0) if isinstance(source, Take) and self._is_ours(source) else 1.0
        return replace(song, canvas=self._placed(task, self.canvas(source), item.recipe), gain=gain)

    def _placed(self, task: Repaint | Extend, source: Audio, recipe: Recipe) -> Audio:
        """The source where it lies in the song, with nothing around it."""
        before = added_frames(task, self.geometry) * self.geometry.hop if isinstance(task, Extend) else 0
        samples = np.pad(source.samples, ((0, 0), (before, 0)))[:, : self._length(recipe)]
        return Audio(np.pad(samples, ((0, 0), (0, self._length(recipe) - samples.shape[1]))), source.rate)

    def _length(self, recipe: Recipe) -> int:
        """Samples in a song of this recipe."""
        return round((recipe.seconds or 0.0) * self.geometry.rate)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def walk(self, songs: Sequence[Prepared], places: Sequence[int], check: Check) -> Iterator[Step]:
        """Render the songs at these places, which are of one kind, together; yield every step.

        `check` is called before every look at the DiT and may raise.
        """
        group = [songs[place] for place in places]
        heard = conditioning.joined([song.heard for song in group if song.heard is not None])
        later = [song.later for song in group if song.later is not None]
        together = self.devices.device.type != "cpu"
        steps = render(
            [s.item for s in group],
            heard,
            conditioning.joined(later) if later else None,
            self._look(check),
            together,
        )
        for frame in steps:
            yield replace(frame, items=tuple(places))

    def probing(self, song: Prepared) -> Callable[[torch.nn.Module], Tensor]:
        """What asks a DiT for its velocities at three times of a song's first seconds: how far a change moves it."""
        frames = slice(0, PROBED_FRAMES)
        noise = song.item.start[frames]
        seen, silence = song.item.brief.context.latents[frames], self.silence[: len(noise)]
        noise = noise[: len(silence)]

        def look(dit: torch.nn.Module) -> Tensor:
            asked = [t * noise + (1 - t) * silence for t in PROBED_TIMES]
            heard = song.heard
            assert heard is not None
            return torch.cat(
                [attention.velocity(dit, x[None], t, heard.states, seen[None, : len(x)], mask=heard.mask)
                 for x, t in zip(asked, PROBED_TIMES, strict=True)]
            )  # fmt: skip

        return look

    def _look(self, check: Check) -> VelocityFn:
        ask = torch.inference_mode()(partial(attention.velocity, cache=self._attention_cache))

        def look(x: Tensor, t: float, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
            check()
            return self.devices.run_with_retry("dit", lambda dit: ask(dit, x, t, states, context, mask=mask))

        return look

    # -- after the loop ------------------------------------------------------------------------------------------------

    def finish(
        self,
        song: Prepared,
        latent: Tensor,
        stop: threading.Event | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> tuple[Audio, Tensor, float]:
        """A latent [frames, channels] as sound: kept parts put back, decoded, brought to its level. Returns the sound,
        the latent it stands for, and the gain.
        """
        recipe = song.recipe
        latent = finished(latent * recipe.latent_rescale + recipe.latent_shift, song.item.brief.kept)
        samples = self.decode(latent, stop, progress)[:, : self._length(recipe)]
        gain = gain_for(recipe, samples) if song.gain is None else song.gain
        audio = mastered(recipe, samples, self.geometry.rate, gain)
        if song.canvas is not None:
            audio = self._spliced(song, audio)
        return audio, latent, float(gain)

    def _spliced(self, song: Prepared, new: Audio) -> Audio:
        """The new sound inside the regions, the source's own samples outside."""
        task = rooted(song.recipe.task)
        assert isinstance(task, Repaint | Extend)
        assert song.canvas is not None
        return splice(song.canvas, new, self._regions(task, song), keep_strength_of(task).wave_seconds)

    def _regions(self, task: Repaint | Extend, song: Prepared) -> Sequence[Region]:
        if isinstance(task, Repaint):
            return task.regions
        rate, whole = self.geometry.rate, song.recipe.seconds or 0.0
        start = added_frames(task, self.geometry) * self.geometry.hop / rate
        end = whole - task.after
        return [Region(*span) for span in ((0.0, start), (end, whole)) if span[1] > span[0] + 0.5 / rate]

    def decode(
        self,
        latent: Tensor,
        stop: threading.Event | None = None,
        progress: Callable[[float], None] = lambda share: None,
    ) -> np.ndarray:
        """Samples [channels, samples] of a latent, tile by tile; stops between tiles."""

        if not torch.isfinite(latent).all():
            raise SourceError("This latent holds values that are not numbers; there is no sound in it.")

        def run(vae: Any) -> Tensor:
            codec, done = self._codec(vae), 0
            sound = torch.empty(codec.channels, latent.shape[0] * codec.hop)
            for piece in codec.stream(latent, stop):
                sound[:, done : done + piece.shape[-1]] = _sounding(piece)
                done += piece.shape[-1]
                progress(done / sound.shape[-1])
            return sound

        return self.devices.run_with_retry("vae", run).numpy()

    def glimpse(self, latent: Tensor, at: float, seconds: float) -> Audio:
        """The seconds around a time of a latent [frames, channels], exactly as they sound in the whole."""
        rate, frames = self.geometry.frames_per_second, latent.shape[0]
        if not seconds > 0:
            raise RecipeError(f"A glimpse lasts some seconds, such as 3, not {seconds:g}.")
        if not 0 <= at <= frames / rate:
            raise RecipeError(f"There is nothing to hear at {at:g} s: this song runs from 0 to {frames / rate:.2f} s.")
        first = min(max(0, math.floor((at - seconds / 2) * rate)), frames - 1)
        last = min(frames, max(first + 1, math.ceil((at + seconds / 2) * rate)))
        with self.devices.on("vae") as vae:
            samples = self._codec(vae).window(latent.float(), first, last).cpu().numpy()
        return Audio(samples * np.float32(min(1.0, normalizing_gain(samples))), self.geometry.rate)

    def _codec(self, vae: Any) -> Codec:
        return Codec(vae, self.devices.memory_plan.tile_frames)

    # -- components ---------------------------------------------------------------------------------------------------------

    @cached_property
    def vae_mark(self) -> str:
        """Which autoencoder this is, from the first bytes of its weights: takes made with it keep their latents."""
        digest = hashlib.blake2b(digest_size=8)
        for file in sorted(self.checkpoint.places["vae"].glob("*.safetensors")):
            with file.open("rb") as opened:
                digest.update(str(file.stat().st_size).encode() + opened.read(1 << 20))
        return digest.hexdigest()


def _sounding(piece: Tensor) -> Tensor:
    """Pass decoded samples on as long as they are numbers."""
    if not torch.isfinite(piece).all():
        raise MachineError(
            "The autoencoder produced NaN. Usually this is float16 on a machine without bfloat16: open the session with a "
            "tier whose dtype is float32."
        )
    return piece


def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype) -> torch.nn.Module:
    """Make a component in a dtype; autoencoder and DiT are made quicker on the way (same numbers, less work)."""
    if component == "vae":
        vae = prepare_vae(checkpoint.build(component))
        return vae if dtype == torch.float32 else vae.to(dtype)
    module = checkpoint.build(component, dtype)
    if component == "condition":
        remember(module.timbre_encoder)  # without reference audio it hears the same silence every time
    return attention.install(module) if component == "dit" else module


def groups(songs: Sequence[Prepared], most: int) -> Iterator[list[int]]:
    """Places of songs that can share a loop, in order of the first of each kind, at most so many together."""
    kinds: dict[Hashable, list[int]] = {}
    for place, song in enumerate(songs):
        kinds.setdefault((song.item.kind, song.later is None), []).append(place)
    for places in kinds.values():
        for first in range(0, len(places), max(1, most)):
            yield places[first : first + max(1, most)]


@dataclass(frozen=True)
class _Wish:
    """Words and a timbre to lean on."""

    words: Words
    reference: Any = None

    @property
    def key(self) -> tuple[Any, ...]:
        return self.words, getattr(self.reference, "id", None)


def _words(recipe: Recipe, instruction: str) -> Words:
    return Words(
        caption=recipe.caption,
        lyrics=recipe.lyrics,
        language=recipe.language or "unknown",
        seconds=recipe.seconds,
        bpm=recipe.bpm,
        keyscale=recipe.keyscale,
        timesignature=recipe.timesignature,
        instruction=instruction,
    )


def _old_recipe(recipe: Recipe, task: FlowEdit) -> Recipe:
    """How a flow-edit's source is described: as the task says, else as its own recipe does; a recording's tempo, key and
    meter are taken to be the goal's.
    """
    old = task.source.recipe if isinstance(task.source, Take) else recipe.replace(lyrics="")
    metas = {name: getattr(old, name) for name in ("bpm", "keyscale", "timesignature", "language")}
    return recipe.replace(caption=task.caption or old.caption, lyrics=task.lyrics or old.lyrics, **metas)


class LRUCache(dict[Hashable, T]):
    """The last so many results by key: a cache, which may have forgotten any of them when it is asked again."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def put(self, key: Hashable, value: T) -> T:
        self[key] = value
        while len(self) > self.most:
            del self[next(iter(self))]
        return value

    def recall(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of a key, made where it is not at hand."""
        return self[key] if key in self else self.put(key, make())
