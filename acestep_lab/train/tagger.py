"""Teaching the ears of `listen` (who plays, which meter) on the synthetic world, where both are known.

`python -m acestep_lab.train.tagger --songs 3000 --work DIR -o FOLDER` writes the files that `listen` ships. The ear for stems also
hears the clips that a pocket training left in DIR, after their trip through its autoencoder: it has to judge such sounds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.classifier import Classifier, train
from acestep_lab.listen.instruments import InstrumentTagger, mel_picture, taught
from acestep_lab.listen.meter import SIGNS, meter_features
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.synthetic_music import Song, compose, render

FIRST_SEED = 210_000
LENGTHS = (5.0, 8.0, 10.0, 10.0, 10.0, 14.0, 20.0)  # seconds
HELD_OUT = 0.1
OFF = (0.02, 0.25)  # how far latents are off, in their own standard deviations


class Lessons(NamedTuple):
    """What was heard in songs, and what was in them."""

    pictures: list[np.ndarray]  # [frames, bands] of each song
    stems: np.ndarray  # [songs, 12] of 0 and 1
    meter: np.ndarray  # [songs, features]
    signs: np.ndarray  # [songs, 4] of 0 and 1


def worn(samples: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """A third of the time some hiss, a quarter of the time a duller treble, as codecs and models leave them."""
    if random.random() < 0.35:
        hiss = 10 ** (-random.uniform(45, 75) / 20)
        samples = samples + np.float32(hiss) * random.standard_normal(samples.shape, np.float32)
    if random.random() < 0.25:
        hz = np.fft.rfftfreq(samples.shape[1], 1 / rate)
        dull = 1 / (1 + (hz / random.uniform(3500, 11000)) ** 6) ** 0.5
        samples = np.fft.irfft(np.fft.rfft(samples) * dull, samples.shape[1])
    return samples.astype(np.float32)


def songs(count: int, rate: int = 24000, first_seed: int = FIRST_SEED) -> Iterator[tuple[Song, Audio]]:
    """Songs of the world in several lengths, some of them worn."""
    random = np.random.Generator(np.random.PCG64(first_seed))
    for seed in range(first_seed, first_seed + count):
        song = compose(seed, float(random.choice(LENGTHS)))
        yield song, Audio(worn(render(song, rate).mix, rate, random), rate)


@torch.no_grad()
def clips(file: Path, vae: PocketVae) -> Iterator[tuple[tuple[str, ...], Audio]]:
    """Who plays in the clips of one shard, and their sound after the autoencoder; stems alone and mixes without one too.

    Half of the latents are a little off, as a transformer's are.
    """
    random = np.random.default_rng(int(file.stem))
    for clip in torch.load(file, weights_only=False):
        if clip.seconds > max(LENGTHS):
            continue
        rest = tuple(stem for stem in clip.song.instruments if stem != clip.stem)
        for latent, stems in ((clip.mix, clip.song.instruments), (clip.part, (clip.stem,)), (clip.rest, rest)):
            if latent is None:
                continue
            latent = latent.float().T[None]
            if random.random() < 0.5:
                noise = random.standard_normal(latent.shape, np.float32)
                latent = latent + random.uniform(*OFF) * torch.from_numpy(noise)
            yield stems, Audio(vae.decode(latent)[0].numpy(), Shapes().rate)


def pictures_of(work: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures of all clips in the folder of a pocket training and who plays in them; what has been heard once is kept there."""
    vae, pictures, stems = PocketVae(Shapes()), [], []
    vae.load_state_dict(torch.load(work / "vae.pt", weights_only=False)["state"]["vae"])
    (work / "pictures").mkdir(exist_ok=True)
    for file in sorted((work / "clips").glob("*.pt")):
        kept = work / "pictures" / f"{file.stem}.npz"
        if not kept.exists():
            rows = [(mel_picture(sound), [stem in names for stem in STEMS]) for names, sound in clips(file, vae)]
            shown, present = zip(*rows, strict=True)
            fresh = kept.with_suffix(".new.npz")
            np.savez(fresh, n=[len(p) for p in shown], p=np.concatenate(shown), s=np.array(present))
            os.replace(fresh, kept)
        with np.load(kept) as found:
            pictures += np.split(found["p"], np.cumsum(found["n"])[:-1])
            stems.append(found["s"].astype(np.float32))
    return pictures, np.concatenate(stems)


def lessons(pairs: Iterable[tuple[Song, Audio]]) -> Lessons:
    """Hear every song."""
    rows = []
    for song, sound in pairs:
        stems, signs = [s in song.instruments for s in STEMS], [s == song.timesignature for s in SIGNS]
        rows.append((mel_picture(sound), stems, meter_features(sound, song.bpm), signs))
    pictures, *others = zip(*rows, strict=True)
    return Lessons(list(pictures), *(np.array(column, np.float32) for column in others))


def teach_presence(
    pictures: list[np.ndarray], stems: np.ndarray, epochs: int
) -> tuple[InstrumentTagger, dict[str, float]]:
    """The ear for stems and its balanced accuracy on songs it was not taught on: every tenth hundred of the pictures, since a
    song, its stem and its rest stand together.
    """
    held = np.arange(len(pictures)) // 100 % round(1 / HELD_OUT) == round(1 / HELD_OUT) - 1
    ear = taught([pictures[i] for i in np.flatnonzero(~held)], stems[~held], epochs=epochs, say=print)
    found = np.array([ear.chances(pictures[i]) for i in np.flatnonzero(held)]) > 0.5
    true = stems[held] > 0.5
    scores = {
        stem: float((found[true[:, i], i].mean() + (~found)[~true[:, i], i].mean()) / 2) for i, stem in enumerate(STEMS)
    }
    return ear, {"stems": float(np.mean(list(scores.values()))), **scores}


def teach_meter(heard: Lessons) -> tuple[Classifier, dict[str, float]]:
    """The ear for meter and its accuracy on the tenth of the songs it was not taught on."""
    cut = round(len(heard.signs) * (1 - HELD_OUT))
    ear = train(heard.meter[:cut], heard.signs[:cut], SIGNS, exclusive=True, hidden=32)
    right = ear.probabilities(heard.meter[cut:]).argmax(axis=1) == heard.signs[cut:].argmax(axis=1)
    return ear, {"meter": float(right.mean())}


def main() -> None:
    """Teach both ears and write them."""
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.tagger", description=__doc__)
    parser.add_argument("--songs", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=20, help="how often the ear for stems hears every song")
    parser.add_argument("--work", type=Path, help="folder of a pocket training, for sounds after its autoencoder")
    parser.add_argument("-o", "--output", type=Path, default=Path("."))
    asked = parser.parse_args()
    heard = lessons(songs(asked.songs))
    pictures, stems = heard.pictures, heard.stems
    if asked.work:
        more, theirs = pictures_of(asked.work)
        pictures, stems = pictures + more, np.concatenate([stems, theirs])
    presence, scores = teach_presence(pictures, stems, asked.epochs)
    meter, signs = teach_meter(heard)
    presence.save(asked.output / "presence.npz")
    meter.save(asked.output / "meter.npz")
    print("\n".join(f"{name:16}{score:.3f}" for name, score in (scores | signs).items()))


if __name__ == "__main__":
    main()
