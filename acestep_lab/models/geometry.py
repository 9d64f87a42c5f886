"""The rates and widths of one checkpoint, read from its configs. It knows no tensors and no names of models.

Sound runs at `rate` samples a second; the autoencoder turns `hop` samples into one latent frame of `latent_channels`
numbers; the transformer reads `patch` frames as one token; one audio code stands for `pool_window` frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

SILENCE_FRAMES = 15_000
"""Frames of the `silence_latent` buffer: fixed by diffusers' `AceStepConditionEncoder`, whatever the frame rate."""


@dataclass(frozen=True)
class Geometry:
    """Every number that turns seconds into samples, frames, tokens and codes; seconds outside, frames inside."""

    rate: int  # samples per second
    channels: int  # of sound: 1 mono, 2 stereo
    hop: int  # samples per latent frame
    latent_channels: int
    patch: int  # latent frames per token of the transformer
    pool_window: int  # latent frames per audio code; 0: this checkpoint has no audio codes
    code_count: int  # how many different audio codes there are; 0: none
    longest_seconds: float
    silence_frames: int = SILENCE_FRAMES

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop

    @property
    def codes_per_second(self) -> float:
        return self.frames_per_second / self.pool_window if self.pool_window else 0.0

    def frames(self, seconds: float) -> int:
        """Whole latent frames in so many seconds, rounded down as the reference does."""
        return round(seconds * self.rate) // self.hop

    def seconds(self, frames: int) -> float:
        return frames * self.hop / self.rate

    def codes(self, seconds: float) -> int:
        """Whole audio codes in so many seconds."""
        return self.frames(seconds) // self.pool_window if self.pool_window else 0

    @classmethod
    def read(
        cls,
        vae: Mapping[str, Any],
        dit: Mapping[str, Any],
        codes: Mapping[str, Any] | None,
        longest_seconds: float,
    ) -> Geometry:
        """From the configs of the autoencoder, the transformer and (if there is one) the audio tokenizer."""
        return cls(
            rate=vae["sampling_rate"],
            channels=vae["audio_channels"],
            hop=prod(vae["downsampling_ratios"]),
            latent_channels=vae["decoder_input_channels"],
            patch=dit["patch_size"],
            pool_window=codes["pool_window_size"] if codes else 0,
            code_count=prod(codes["fsq_input_levels"]) if codes else 0,
            longest_seconds=longest_seconds,
        )
