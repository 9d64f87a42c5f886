"""The rates and widths of one checkpoint, read from its configs. It knows no tensors and no names of models.

Sound runs at `rate` samples a second; the autoencoder turns `hop` samples into one latent frame of `latent_channels`
numbers; the transformer reads `patch` frames as one token; one audio code stands for `pool_window` frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models.weights import whole_number

DEFAULTS: Mapping[str, int] = {"sampling_rate": 44_100, "audio_channels": 2, "decoder_input_channels": 64, "patch_size": 2,
                               "pool_window_size": 5}  # fmt: skip
RATIOS, LEVELS = (2, 4, 4, 8, 8), (8, 8, 8, 5, 5, 5)
"""What diffusers' classes take where their config says nothing, or null: `downsampling_ratios`, `fsq_input_levels`."""

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
        codes: Mapping[str, object] | None,
        longest_seconds: float,
    ) -> Geometry:
        """From the configs of the autoencoder, the transformer and (if there is one) the audio tokenizer; CheckpointError
        where one of them says something else than a number of that kind.
        """

        def checked(config: Mapping[str, Any], name: str, where: str, most: int) -> int:
            return whole_number(config, name, where, DEFAULTS[name], most=most)

        return cls(
            rate=checked(vae, "sampling_rate", "the autoencoder", 768_000),
            channels=checked(vae, "audio_channels", "the autoencoder", 64),
            hop=_product(vae, "downsampling_ratios", "the autoencoder", RATIOS, 2**20),
            latent_channels=checked(vae, "decoder_input_channels", "the autoencoder", 2**16),
            patch=checked(dit, "patch_size", "the transformer", 2**10),
            pool_window=0 if codes is None else checked(codes, "pool_window_size", "the audio codes", 2**16),
            code_count=0 if codes is None else _product(codes, "fsq_input_levels", "the audio codes", LEVELS, 2**31),
            longest_seconds=longest_seconds,
        )


def _product(config: Mapping[str, object], name: str, where: str, otherwise: tuple[int, ...], most: int) -> int:
    """The product of a config's list of whole numbers; CheckpointError where it is none."""
    members = config.get(name)
    members = otherwise if members is None else members
    if not isinstance(members, list | tuple) or not 0 < len(members) <= 32:
        raise CheckpointError(f"The config of {where} has {shown(members)} for {name}, a list of whole numbers.")
    found = prod(whole_number({name: one}, name, where, most=most) for one in members)
    if found > most:
        raise CheckpointError(
            f"The config of {where} has {name} whose product is {shown(found)}; at most {most:,} makes sense."
        )
    return found
