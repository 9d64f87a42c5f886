"""The training set of all stages after the autoencoder: latents of mixes and stems, with each song's metadata and notes.

A second process may run `write_shards` all the time: it composes, renders and encodes song after song into shards of a folder,
while the trainer's `ClipPool` reads whatever has appeared. Songs begin at t = 0, always: the phase of the beat is then a function
of the tempo, which is the only way a prompt can fix it.
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.note_targets import note_targets_of
from acestep_lab.train.pocket.stage import fast_precision
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.synthetic_music import Song

LENGTHS = {10: 0.50, 5: 0.12, 7: 0.10, 8: 0.10, 14: 0.08, 20: 0.06, 30: 0.025, 60: 0.01, 120: 0.005}
"""Seconds → share of the songs; ten is what most people try first."""
SHARD = 60  # clips in a file
RANDOM_ENSEMBLES = 0.5
"""Share of the transformer's songs whose instruments are drawn from all twelve stems alike, whatever their style would choose."""
ENSEMBLE_SIZES = {1: 0.35, 2: 0.2, 3: 0.2, 4: 0.15, 6: 0.1}
"""Stems in such a song → its share."""


@dataclass
class Clip:
    """One song and its latents, half precision, [frames, channels]."""

    song: Song
    seconds: int
    mix_latents: Tensor
    stem: str = ""
    stem_latents: Tensor | None = None  # one stem alone
    rest_latents: Tensor | None = None  # the mix without it
    cached_targets: Tensor | None = None  # note targets, once they have been computed

    def note_targets(self) -> Tensor:
        """The song's note targets at the rate of its latents, [frames, 32], half precision."""
        if self.cached_targets is None or len(self.cached_targets) != len(self.mix_latents):
            frames = len(self.mix_latents)
            self.cached_targets = note_targets_of(self.song, frames, frames / self.seconds)
        return self.cached_targets


def snap_to_grid(song: Song, grid: float) -> Song:
    """Move every note start of a song onto the latent grid of `grid` seconds (10 ms, below what is heard as a shift).

    A note then has the same latents wherever it stands, instead of one set for every offset within a frame.
    """
    notes = tuple(note._replace(start=round(note.start / grid) * grid) for note in song.notes)
    return dataclasses.replace(song, notes=notes)


def training_song(seed: int, seconds: int, random_share: float = RANDOM_ENSEMBLES) -> Song:
    """The training song of a seed: as composed for its style or, for `random_share` of the seeds, with random instruments.

    Left to the styles, a piano comes with jazz and a choir hardly ever, so that a model may go by the style instead of the
    instruments named.
    """
    random = np.random.default_rng([seed, 12])
    if random.random() >= random_share:
        return synthetic_music.compose(seed, seconds)
    count = random.choice(list(ENSEMBLE_SIZES), p=list(ENSEMBLE_SIZES.values()))
    players = random.choice(STEMS, size=count, replace=False).tolist()
    if players == ["fx"]:  # effects stand between sections, and a short song may have only one
        players.append("drums")
    return synthetic_music.compose(seed, seconds, instruments=players)


@torch.no_grad()
def encode(vae: PocketVae, sounds: np.ndarray, device: str) -> Tensor:
    """Encode mono sounds [items, samples] to latents [items, frames, channels], half precision on the CPU."""
    batch = torch.from_numpy(np.ascontiguousarray(sounds, np.float32))[:, None].to(device)
    with fast_precision(device):
        mean = vae.moments(batch)[0]
    return mean.transpose(1, 2).to("cpu", torch.float16)


def make_clip(
    seed: int, seconds: int, vae: PocketVae, config: PocketConfig, random: np.random.Generator, device: str = "cpu"
) -> Clip:
    """Compose, render and encode the song of a seed; four in ten also keep one stem and the mix without it."""
    song = snap_to_grid(training_song(seed, seconds), 1 / config.latents_per_second)
    stems = {
        name: np.asarray(stem, np.float32).reshape(-1)
        for name, stem in synthetic_music.render(song, config.rate, 1).stems.items()
    }
    samples = seconds * config.rate
    stems = {name: np.pad(stem, (0, max(0, samples - len(stem))))[:samples] for name, stem in stems.items()}
    mix: np.ndarray = sum(stems.values(), np.zeros(samples, np.float32))
    clip = Clip(song, seconds, torch.empty(0))
    sounds = [mix]
    if len(stems) > 1 and random.random() < 0.4:
        clip.stem = str(random.choice(sorted(stems)))
        sounds += [stems[clip.stem], mix - stems[clip.stem]]
    latents = encode(vae, np.stack(sounds), device)
    clip.mix_latents = latents[0].clone()
    if clip.stem:
        clip.stem_latents, clip.rest_latents = latents[1].clone(), latents[2].clone()
    return clip


def write_shards(
    folder: Path, vae: PocketVae, config: PocketConfig, first_seed: int, shards: int, device: str = "cpu"
) -> None:
    """Write `shards` files of SHARD new clips each, seeds counted from `first_seed`; a file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        seed = first_seed + shard * SHARD
        file = folder / f"{seed:09d}.pt"
        if file.exists():
            continue
        random = np.random.default_rng(seed)
        clips = [
            make_clip(
                seed + i, int(random.choice(list(LENGTHS), p=list(LENGTHS.values()))), vae, config, random, device
            )
            for i in range(SHARD)
        ]
        torch.save(clips, file.with_suffix(".new"))
        os.replace(file.with_suffix(".new"), file)


class ClipPool:
    """All clips that have appeared in a folder, by length."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self.shards_read: set[Path] = set()
        self.by_length: dict[int, list[Clip]] = defaultdict(list)
        self.update()

    def __len__(self) -> int:
        return sum(map(len, self.by_length.values()))

    def update(self, shards: int = 10**6) -> int:
        """Read at most `shards` files that are new; returns how many clips there are."""
        for file in sorted(set(self.folder.glob("*.pt")) - self.shards_read)[:shards]:
            self.shards_read.add(file)
            for clip in torch.load(file, weights_only=False):
                self.by_length[clip.seconds].append(clip)
        return len(self)

    def draw_length(self, longest: int = 10**6) -> int:
        """A clip length of at most `longest` seconds, drawn in proportion to how much music there is of it."""
        lengths = sorted(length for length in self.by_length if length <= longest)
        weights = np.array([len(self.by_length[length]) * length for length in lengths], float)
        return int(self.random.choice(lengths, p=weights / weights.sum()))

    def draw(self, seconds: int, count: int) -> list[Clip]:
        """`count` clips of one length, drawn with replacement."""
        clips = self.by_length[seconds]
        return [clips[i] for i in self.random.integers(len(clips), size=count)]
