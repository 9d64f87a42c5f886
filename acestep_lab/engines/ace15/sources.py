"""Sounds a task starts from, as this checkpoint hears them: its rate and channels, its latents, its codes.

Knows sounds and the components that read them; no task, no loop. What was read is remembered by the sound's id.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace15 import conditioning, semantic
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.base import Devices, Sound
from acestep_lab.errors import SourceError
from acestep_lab.lru_cache import LRUCache
from acestep_lab.models.loading import Checkpoint
from acestep_lab.takes.take import Take


class Sources:
    """What reads sounds for one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, devices: Devices) -> None:
        self.checkpoint, self.geometry, self.devices = checkpoint, checkpoint.geometry, devices
        self._latents = LRUCache[Tensor](16)
        self._resampled = LRUCache[Audio](16)

    @cached_property
    def silence(self) -> Tensor:
        """The checkpoint's recorded silence, `[frames, channels]`."""
        with self.devices.on("condition") as encoder:
            silence: Tensor = encoder.silence_latent[0].float().cpu()
        return silence

    def resampled(self, sound: Sound) -> Audio:
        """A sound at this checkpoint's rate and number of channels; SourceError for one without samples."""
        audio, g = sound.audio if isinstance(sound, Take) else sound, self.geometry
        if not audio.samples.size:
            raise SourceError("This sound has no samples; there is nothing to hear in it.")
        return self._resampled.recall(sound.id, lambda: audio.with_channels(g.channels).resample(g.rate))

    def latent(self, sound: Sound, stop: threading.Event | None = None) -> Tensor:
        """A sound's latent `[frames, channels]`: a take's own where it was made with this autoencoder, else encoded."""
        if isinstance(sound, Take) and self.is_ours(sound):
            return torch.from_numpy(sound.latent.copy())
        return self._latents.recall(sound.id, lambda: self._encoded(self.resampled(sound), stop))

    def is_ours(self, take: Take) -> bool:
        """Whether a take's latent is one of this autoencoder's."""
        frames = math.ceil(take.audio.samples.shape[1] / self.geometry.hop)
        return take.made_with.get("vae") == self.vae_mark and take.latent.shape[0] == frames

    def gain(self, sound: Sound) -> float:
        """What a sound's decoded samples were multiplied by to reach its level; 1 for recordings."""
        return float(sound.made_with.get("gain", 1.0)) if isinstance(sound, Take) and self.is_ours(sound) else 1.0

    def _encoded(self, audio: Audio, stop: threading.Event | None) -> Tensor:
        samples, tile = torch.from_numpy(audio.samples.copy()), self.devices.memory_plan.part("vae").tile_frames
        return self.devices.run_with_retry("vae", lambda vae: Codec(vae, tile).encode(samples, stop)).cpu()

    # -- codes

    def codes(self, sound: Sound, stop: threading.Event | None = None) -> tuple[int, ...]:
        """The audio codes of a sound."""
        latent, silence = self.latent(sound, stop), self.silence
        with self.devices.on("codes") as coder:
            return semantic.to_codes(coder, latent, silence)

    def of_codes(self, codes: Sequence[int]) -> Tensor:
        """The latent that codes stand for, `[frames, channels]`."""
        with self.devices.on("codes") as coder:
            return semantic.from_codes(coder, codes).cpu()

    def through_codes(self, latent: Tensor) -> Tensor:
        """What is left of a latent once it has gone through the codes, `[frames, channels]`."""
        silence = self.silence  # before the codes come: it lives in another component
        with self.devices.on("codes") as coder:
            return semantic.through_codes(coder, latent, silence).cpu()

    # -- timbre

    def timbre(self, reference: Sound) -> Tensor:
        """The latent of a reference's three windows, `[frames, channels]`."""

        def windows() -> Tensor:
            audio = self.resampled(reference)
            samples = conditioning.timbre_windows(torch.from_numpy(audio.samples.copy()), audio.rate)
            return self._encoded(Audio(samples.numpy(), audio.rate), None)

        return self._latents.recall(("timbre", reference.id), windows)

    @property
    def vae_mark(self) -> str:
        """Which autoencoder this is: takes made with it keep their latents."""
        return self.checkpoint.vae_mark
