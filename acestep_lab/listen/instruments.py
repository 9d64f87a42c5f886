"""Which of the 12 stems are present in a mix, by a small convolutional network on a mel spectrogram.

The weights beside this file were trained on the project's own synthetic music, half of it after the pocket's autoencoder, and
know that music only; for other music train others with `train_tagger`. Torch is imported when a tagger is used, not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from acestep_lab.listen.spectra import Sound, magnitudes, mel_bands, mono_of, power_of_two
from acestep_lab.prompt.vocabulary import STEMS

if TYPE_CHECKING:
    from torch import Tensor, nn

BANDS = 128
LOWEST_HZ, HIGHEST_HZ = 40.0, 11000.0
WINDOW, HOP = 0.085, 0.0213  # seconds
DEFAULT_WEIGHTS = Path(__file__).with_name("presence.npz")
SCALE, LARGEST = " scale", 63
"""Matrices are kept as whole numbers up to so many, which compress to six bits each, and a scale for each row."""
WIDTHS, WIDE = (32, 64, 72), 112
"""Channels of the three convolutions over time and pitch, and of the two over time alone."""
MIN_STEPS = 60
"""Steps of training, however few the sounds."""
CROP_FRAMES = 440
"""Frames of a crop in training at most, 9.4 s: nearly a whole short song, since a stem may rest in half of it."""


def mel_spectrogram(audio: Sound) -> np.ndarray:
    """Mel levels `[frames, bands]`, half precision, in units of 10 dB relative to the sound's own power, floored at -60 dB."""
    size = power_of_two(WINDOW * audio.rate)
    bands = mel_bands(audio.rate, size, BANDS, LOWEST_HZ, min(HIGHEST_HZ, audio.rate / 2))
    power = magnitudes(mono_of(audio), size, round(HOP * audio.rate)) ** 2 @ bands
    return np.log10(power / (power.mean() + 1e-12) + 1e-6).astype(np.float16)


def _network(roles: int) -> nn.ModuleDict:
    """Three convolutions over time and pitch, two over time that see all bands at once (a timbre is spread over them), then
    three poolings of every channel: its mean, its maximum, and a role's own attention. The modules' names are those of the file.
    """
    from torch import nn

    def layer(convolution: nn.Module, width: int) -> list[nn.Module]:
        return [convolution, nn.GroupNorm(4, width), nn.SiLU()]

    first, second, third = WIDTHS
    return nn.ModuleDict(
        {
            "look": nn.Sequential(
                *layer(nn.Conv2d(1, first, (7, 5), stride=(4, 2), padding=(3, 2)), first),
                *layer(nn.Conv2d(first, second, 3, stride=2, padding=1), second),
                *layer(nn.Conv2d(second, third, 3, stride=2, padding=1), third),
            ),
            "follow": nn.Sequential(
                *layer(nn.Conv1d(third * (BANDS // 8), WIDE, 1), WIDE),
                *layer(nn.Conv1d(WIDE, WIDE, 3, padding=1), WIDE),
            ),
            "where": nn.Conv1d(WIDE, roles, 1),
            "what": nn.Conv1d(WIDE, roles, 1),
            "mix": nn.Sequential(nn.Linear(2 * WIDE, 48), nn.SiLU(), nn.Dropout(0.3)),
            "say": nn.Linear(48, roles),
        }
    )


def _scores(network: nn.ModuleDict, spectrograms: Tensor) -> Tensor:
    """Scores `[items, roles]` (log odds) of spectrograms `[items, frames, bands]`."""
    import torch

    maps = network["look"](spectrograms[:, None].float() / 2 + 1)  # [items, channels, frames / 16, bands / 8]
    sequence = network["follow"](maps.transpose(2, 3).flatten(1, 2))  # [items, channels, frames / 16]
    found = (network["what"](sequence) * network["where"](sequence).softmax(-1)).sum(-1)
    return found + network["say"](network["mix"](torch.cat([sequence.mean(-1), sequence.amax(-1)], dim=1)))


@dataclass(frozen=True, eq=False)
class InstrumentTagger:
    """A trained tagger of which stems are present."""

    roles: tuple[str, ...]
    network: nn.ModuleDict
    """As `_network` builds it, on the CPU, not in training."""

    def probabilities(self, audio: Sound) -> dict[str, float]:
        """How likely each stem is present."""
        return dict(zip(self.roles, map(float, self.probabilities_of(mel_spectrogram(audio))), strict=True))

    def probabilities_of(self, spectrogram: np.ndarray) -> np.ndarray:
        """The same of a mel spectrogram `[frames, bands]`, in the order of `roles`."""
        import torch

        rows = np.pad(spectrogram, ((0, max(0, 16 - len(spectrogram))), (0, 0)), constant_values=-6.0)
        with torch.inference_mode():
            found: np.ndarray = _scores(self.network, torch.from_numpy(rows)[None])[0].sigmoid().numpy()
        return found

    def present(self, audio: Sound) -> frozenset[str]:
        """The stems that are more likely present than not."""
        return frozenset(role for role, probability in self.probabilities(audio).items() if probability > 0.5)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the tagger as an .npz: matrices as small whole numbers with a scale for each row, the rest as half floats."""
        target = Path(path)
        arrays: dict[str, np.ndarray] = {"roles": np.array(self.roles)}
        for name, value in self.network.state_dict().items():
            weights = value.numpy()
            if weights.ndim > 1:
                scale = np.abs(weights).reshape(len(weights), -1).max(axis=1).astype(np.float16) / np.float16(LARGEST)
                arrays[name + SCALE] = scale = np.maximum(scale, np.float16(1e-6))
                weights = np.round(weights / scale.astype(np.float32).reshape(-1, *[1] * (weights.ndim - 1)))
                arrays[name] = weights.clip(-LARGEST, LARGEST).astype(np.int8)
            else:
                arrays[name] = weights.astype(np.float16)
        np.savez_compressed(target, **arrays)  # type: ignore[arg-type]
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str] = DEFAULT_WEIGHTS) -> Self:
        """Read a tagger; without a path, the one that comes with the package."""
        import torch

        with np.load(path, allow_pickle=False) as file:
            roles = tuple(str(role) for role in file["roles"])
            weights = {}
            for name in file.files:
                if name != "roles" and not name.endswith(SCALE):
                    scale = file[name + SCALE].astype(np.float32) if name + SCALE in file.files else np.float32(1)
                    rows = file[name].astype(np.float32)
                    weights[name] = torch.from_numpy(rows * scale.reshape(-1, *[1] * (rows.ndim - 1)))
        network = _network(len(roles))
        network.load_state_dict(weights)
        return cls(roles, network.eval())


@cache
def default_tagger() -> InstrumentTagger:
    """The tagger that comes with the package, read once."""
    return InstrumentTagger.load()


def train_tagger(
    sounds: Iterable[Sound],
    labels: Iterable[Collection[str]],
    roles: tuple[str, ...] = STEMS,
    seed: int = 0,
    epochs: int = 20,
) -> InstrumentTagger:
    """Train a tagger on sounds and the stems present in each; use codec round trips where those will be tagged."""
    targets = np.array([[role in present for role in roles] for present in labels], np.float32)
    return fit_tagger([mel_spectrogram(sound) for sound in sounds], targets, roles, seed, epochs)


def fit_tagger(
    spectrograms: list[np.ndarray],
    targets: np.ndarray,
    roles: tuple[str, ...] = STEMS,
    seed: int = 0,
    epochs: int = 20,
    report: Callable[[str], None] = lambda sentence: None,
) -> InstrumentTagger:
    """Train a tagger on mel spectrograms `[frames, bands]` and the stems of each, targets `[songs, roles]`.

    Rare stems weigh as much as common ones, so that one half is the fair threshold for all (balanced accuracy). Crops, a
    random tilt of the spectrum and dropped bands keep it from memorising songs; what is kept is a slow average of the
    weights. Draws from its own seeded generators.
    """
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    random, wanted = np.random.default_rng(seed), torch.from_numpy(targets)
    frames = min(CROP_FRAMES, max(map(len, spectrograms)))
    share = wanted.mean(0).clamp(0.02, 0.98)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(len(roles)).train()
        batches = [range(len(spectrograms))[i : i + 32] for i in range(0, len(spectrograms), 32)]
        epochs = max(epochs, round(MIN_STEPS / len(batches)))
        steps = epochs * len(batches)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / min(200, 1 + steps / 10)))
        optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=2e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
        for epoch in range(epochs):
            order, total = random.permutation(len(spectrograms)), 0.0
            for places in batches:
                chosen = order[places.start : places.stop]
                batch = torch.from_numpy(np.stack([_crop(spectrograms[i], frames, random) for i in chosen]))
                loss = _balanced_loss(network, batch, wanted[chosen], share)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                average.update_parameters(network)
                total += loss.item()
            report(f"epoch {epoch + 1} of {epochs}: loss {total / len(batches):.3f}")
    average.module.eval()
    return InstrumentTagger(roles, average.module)  # type: ignore[arg-type]  # a copy of the network


def _balanced_loss(network: nn.ModuleDict, batch: Tensor, goal: Tensor, share: Tensor) -> Tensor:
    """Cross entropy over a batch `[songs, frames, bands]`, in which both answers for a role weigh the same whatever share
    `[roles]` of the songs has it; the goal is `[songs, roles]`.
    """
    import torch
    from torch.nn import functional

    with torch.autocast("cpu", torch.bfloat16):
        answer = _scores(network, batch).float()
    weight = torch.where(goal > 0.5, 0.5 / share, 0.5 / (1 - share))
    return functional.binary_cross_entropy_with_logits(answer, goal, weight=weight)


def _crop(spectrogram: np.ndarray, frames: int, random: np.random.Generator) -> np.ndarray:
    """So many frames of a spectrogram (repeated where it is shorter), tilted a little, some bands dropped; `[frames, bands]`."""
    while len(spectrogram) < frames:
        spectrogram = np.concatenate([spectrogram, spectrogram])
    start = random.integers(0, len(spectrogram) - frames + 1)
    tilt = random.normal(0, 0.25) * np.linspace(-1, 1, BANDS) + random.normal(0, 0.1)
    crop = spectrogram[start : start + frames].astype(np.float32) + tilt.astype(np.float32)
    if random.random() < 0.3:
        first = random.integers(0, BANDS - 12)
        crop[:, first : first + random.integers(3, 12)] = crop.mean()
    return crop
