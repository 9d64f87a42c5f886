"""What a pipeline's call gives: the takes of one prompt, and the ways diffusers and scripts read a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acestep_lab.prompt.checks import Place, place

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.takes.take import Take


@dataclass(frozen=True)
class Result:
    """The music of one prompt: one take, or one for each waveform that was asked for. The library has them already."""

    takes: tuple[Take, ...]

    @property
    def take(self) -> Take:
        """The (first) take: recipe, sound, latent, verdicts."""
        return self.takes[0]

    @property
    def audio(self) -> Audio:
        """The (first) sound, samples `[channels, samples]` with their rate."""
        return self.take.audio

    @property
    def audios(self) -> np.ndarray:
        """All sounds as diffusers has them: float32 `[batch, channels, samples]`; shorter ones end in silence."""
        sounds = [take.audio.samples for take in self.takes]
        longest = max(sound.shape[-1] for sound in sounds)
        return np.stack([np.pad(sound, ((0, 0), (0, longest - sound.shape[-1]))) for sound in sounds])

    @property
    def sample_rate(self) -> int:
        """Samples per second, in Hz."""
        return int(self.audio.rate)

    @property
    def seed(self) -> int:
        """The seed of the (first) take, also where none was asked for: the same seed makes the same music."""
        return self.seeds[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every take."""
        return tuple(int(take.recipe.seed or 0) for take in self.takes)

    def save(self, path: Place, **options: Any) -> Path:
        """Write it as .mp3, .wav, .flac, .opus, .ogg, .m4a, .zip or .html, as `Take.export` does, and return the file.

        `options` are those of `ExportOptions`: bits, bitrate, lufs, fade_out in seconds, … Further waveforms lie beside the
        first: "x.mp3", "x-2.mp3", "x-3.mp3". Raises SourceError for an option that there is not, LibraryError for a kind of
        file that cannot be written.
        """
        written = self.take.export(place("A file to save to", path), **options)
        for number, take in enumerate(self.takes[1:], start=2):
            take.export(written.with_stem(f"{written.stem}-{number}"), **options)
        return written

    def __len__(self) -> int:
        return len(self.takes)

    def __iter__(self) -> Iterator[Take]:
        return iter(self.takes)

    def __repr__(self) -> str:
        more = f", {len(self.takes)} waveforms" if len(self.takes) > 1 else ""
        return f"<Result {self.take.id}: {self.take.seconds:g} s at {self.sample_rate} Hz, seed {self.seed}{more}>"
