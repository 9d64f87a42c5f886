"""Songs as the later stages see them: latents of the mix and of stems, the facts, and where the notes are.

A second process may run `fill` all the time: it composes, renders and encodes song after song into shards of a folder, while
the trainer's `ClipPool` picks up whatever has appeared. Songs begin at t = 0, always: the phase of the beat is then a function
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
from acestep_lab.train.pocket.stage import quick
from acestep_lab.train.pocket.note_targets import note_sheet
from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.synthetic_music import Song

LENGTHS = {10: 0.50, 5: 0.12, 7: 0.10, 8: 0.10, 14: 0.08, 20: 0.06, 30: 0.025, 60: 0.01, 120: 0.005}
"""Seconds → share of the songs; ten is what most people try first."""
SHARD = 60  # clips in a file
CHOSEN = 0.5
"""Share of the transformer's songs whose players are drawn from all twelve alike, whatever their style would choose."""
PLAYERS = {1: 0.35, 2: 0.2, 3: 0.2, 4: 0.15, 6: 0.1}
"""Stems in such a song → its share."""


@dataclass
class Clip:
    """One song: its facts and its latents, half precision, [frames, channels]."""

    song: Song
    seconds: int
    mix: Tensor
    stem: str = ""
    part: Tensor | None = None  # one stem alone
    rest: Tensor | None = None  # the mix without it
    notes: Tensor | None = None  # the note sheet, once it has been asked for

    def sheet(self) -> Tensor:
        """What can be heard, [frames, 32], half precision."""
        if self.notes is None or len(self.notes) != len(self.mix):
            self.notes = note_sheet(self.song, len(self.mix), len(self.mix) / self.seconds)
        return self.notes


def snapped(song: Song, grid: float) -> Song:
    """The song with every note start on the latent grid (10 ms, below what is heard as a shift).

    A note then always has the same latents, wherever it stands, instead of one set for every offset within a frame.
    """
    notes = tuple(note._replace(start=round(note.start / grid) * grid) for note in song.notes)
    return dataclasses.replace(song, notes=notes)


def lesson_song(seed: int, seconds: int, chosen: float = CHOSEN) -> Song:
    """Song number `seed` as the models are taught it: as the world writes it, or for any players at all.

    Left to their styles, a piano comes with jazz and a choir hardly ever, so that a model may listen to the style instead of
    the instruments named.
    """
    random = np.random.default_rng([seed, 12])
    if random.random() >= chosen:
        return synthetic_music.compose(seed, seconds)
    count = random.choice(list(PLAYERS), p=list(PLAYERS.values()))
    players = random.choice(STEMS, size=count, replace=False).tolist()
    if players == ["fx"]:  # effects stand between sections, and a short song may have only one
        players.append("drums")
    return synthetic_music.compose(seed, seconds, instruments=players)


@torch.no_grad()
def encode(vae: PocketVae, sounds: np.ndarray, device: str) -> Tensor:
    """Latents [items, frames, channels] in half precision of mono sounds [items, samples]."""
    batch = torch.from_numpy(np.ascontiguousarray(sounds, np.float32))[:, None].to(device)
    with quick(device):
        mean = vae.moments(batch)[0]
    return mean.transpose(1, 2).to("cpu", torch.float16)


def make_clip(
    seed: int, seconds: int, vae: PocketVae, shapes: Shapes, random: np.random.Generator, device: str = "cpu"
) -> Clip:
    """Compose, render and encode song number `seed`; four in ten songs keep one stem and the rest apart as well."""
    song = snapped(lesson_song(seed, seconds), 1 / shapes.latents_per_second)
    stems = {
        name: np.asarray(stem, np.float32).reshape(-1)
        for name, stem in synthetic_music.render(song, shapes.rate, 1).stems.items()
    }
    samples = seconds * shapes.rate
    stems = {name: np.pad(stem, (0, max(0, samples - len(stem))))[:samples] for name, stem in stems.items()}
    mix = sum(stems.values())
    clip = Clip(song, seconds, torch.empty(0))
    sounds = [mix]
    if len(stems) > 1 and random.random() < 0.4:
        clip.stem = str(random.choice(sorted(stems)))
        sounds += [stems[clip.stem], mix - stems[clip.stem]]
    latents = encode(vae, np.stack(sounds), device)
    clip.mix = latents[0].clone()
    if clip.stem:
        clip.part, clip.rest = latents[1].clone(), latents[2].clone()
    return clip


def fill(folder: Path, vae: PocketVae, shapes: Shapes, first_seed: int, shards: int, device: str = "cpu") -> None:
    """Write so many shards of new songs; a shard appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        seed = first_seed + shard * SHARD
        file = folder / f"{seed:09d}.pt"
        if file.exists():
            continue
        random = np.random.default_rng(seed)
        clips = [
            make_clip(
                seed + i, int(random.choice(list(LENGTHS), p=list(LENGTHS.values()))), vae, shapes, random, device
            )
            for i in range(SHARD)
        ]
        torch.save(clips, file.with_suffix(".new"))
        os.replace(file.with_suffix(".new"), file)


class ClipPool:
    """All clips that have appeared in a folder, sorted by length."""

    def __init__(self, folder: Path, seed: int, most: int = 12_000) -> None:
        self.folder, self.most = folder, most
        self.random = np.random.default_rng(seed)
        self.read: set[Path] = set()
        self.by_length: dict[int, list[Clip]] = defaultdict(list)
        self.update()

    def __len__(self) -> int:
        return sum(map(len, self.by_length.values()))

    def update(self, shards: int = 10**6) -> int:
        """Read shards that are new, at most so many; returns how many clips there are."""
        for file in sorted(set(self.folder.glob("*.pt")) - self.read)[:shards]:
            self.read.add(file)
            for clip in torch.load(file, weights_only=False):
                self.by_length[clip.seconds].append(clip)
        return len(self)

    def length(self, most: int = 10**6) -> int:
        """A clip length in seconds, at most so many, drawn by how much music there is of it."""
        lengths = sorted(length for length in self.by_length if length <= most)
        weights = np.array([len(self.by_length[length]) * length for length in lengths], float)
        return int(self.random.choice(lengths, p=weights / weights.sum()))

    def draw(self, seconds: int, count: int) -> list[Clip]:
        """So many clips of one length."""
        clips = self.by_length[seconds]
        return [clips[i] for i in self.random.integers(len(clips), size=count)]
