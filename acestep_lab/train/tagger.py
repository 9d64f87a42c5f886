"""Training the classifiers of `listen`, instrument tagger and meter, on synthetic music, where both are known.

`python -m acestep_lab.train.tagger --songs 3000 --work DIR -o FOLDER` writes the files that `listen` ships. The instrument tagger also
trains on the clips that a pocket training left in DIR, decoded by its autoencoder: it has to classify such sounds.
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
from acestep_lab.listen.instruments import InstrumentTagger, fit_tagger, mel_spectrogram
from acestep_lab.listen.meter import SIGNS, meter_features
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.synthetic_music import Song, compose, render

FIRST_SEED = 210_000
LENGTHS = (5.0, 8.0, 10.0, 10.0, 10.0, 14.0, 20.0)  # seconds
HELD_OUT = 0.1
FEWEST_SONGS = 1000  # with fewer nothing would be held out
LATENT_NOISE = (0.02, 0.25)  # range of the noise on latents, in their standard deviations


class TrainingData(NamedTuple):
    """Features of songs and their labels."""

    spectrograms: list[np.ndarray]  # [frames, bands] of each song
    stems: np.ndarray  # [songs, 12] of 0 and 1
    meter: np.ndarray  # [songs, features]
    timesignatures: np.ndarray  # [songs, 4] of 0 and 1


def degrade(samples: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """Augment a sound [channels, samples]: a third of the time with hiss, a quarter of the time with a duller treble."""
    if random.random() < 0.35:
        hiss = 10 ** (-random.uniform(45, 75) / 20)
        samples = samples + np.float32(hiss) * random.standard_normal(samples.shape, np.float32)
    if random.random() < 0.25:
        hz = np.fft.rfftfreq(samples.shape[1], 1 / rate)
        lowpass = 1 / (1 + (hz / random.uniform(3500, 11000)) ** 6) ** 0.5
        samples = np.fft.irfft(np.fft.rfft(samples) * lowpass, samples.shape[1])
    return np.asarray(samples, np.float32)


def render_songs(count: int, rate: int = 24000, first_seed: int = FIRST_SEED) -> Iterator[tuple[Song, Audio]]:
    """Synthetic songs of several lengths and their sound, some of it degraded."""
    random = np.random.Generator(np.random.PCG64(first_seed))
    for seed in range(first_seed, first_seed + count):
        song = compose(seed, float(random.choice(LENGTHS)))
        yield song, Audio(degrade(render(song, rate).mix, rate, random), rate)


@torch.no_grad()
def decode_clips(file: Path, vae: PocketVae) -> Iterator[tuple[tuple[str, ...], Audio]]:
    """The stems in the clips of one shard and their sound after the autoencoder; single stems and mixes without one too.

    Half of the latents get noise, as a transformer's have.
    """
    random = np.random.default_rng(int(file.stem))
    for clip in torch.load(file, weights_only=False):
        if clip.seconds > max(LENGTHS):
            continue
        others = tuple(stem for stem in clip.song.instruments if stem != clip.stem)
        for latent, stems in (
            (clip.mix_latents, clip.song.instruments),
            (clip.stem_latents, (clip.stem,)),
            (clip.rest_latents, others),
        ):
            if latent is None:
                continue
            latent = latent.float().T[None]
            if random.random() < 0.5:
                noise = random.standard_normal(latent.shape, np.float32)
                latent = latent + random.uniform(*LATENT_NOISE) * torch.from_numpy(noise)
            yield stems, Audio(vae.decode(latent)[0].numpy(), PocketConfig().rate)


def clip_spectrograms(work: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Mel spectrograms of all clips of a pocket training, and their stems [spectrograms, 12]; computed once and kept in its folder."""
    vae = PocketVae(PocketConfig())
    spectrograms: list[np.ndarray] = []
    stems: list[np.ndarray] = []
    vae.load_state_dict(torch.load(work / "vae.pt", weights_only=False)["state"]["vae"])
    (work / "spectrograms").mkdir(exist_ok=True)
    for file in sorted((work / "clips").glob("*.pt")):
        cached = work / "spectrograms" / f"{file.stem}.npz"
        if not cached.exists():
            rows = [
                (mel_spectrogram(sound), [stem in names for stem in STEMS]) for names, sound in decode_clips(file, vae)
            ]
            made, present = zip(*rows, strict=True)
            temporary = cached.with_suffix(".new.npz")
            np.savez(temporary, n=[len(p) for p in made], p=np.concatenate(made), s=np.array(present))
            os.replace(temporary, cached)
        with np.load(cached) as found:
            spectrograms += np.split(found["p"], np.cumsum(found["n"])[:-1])
            stems.append(found["s"].astype(np.float32))
    return spectrograms, np.concatenate(stems)


def training_data(pairs: Iterable[tuple[Song, Audio]]) -> TrainingData:
    """Compute features and labels of every song."""
    rows = []
    for song, sound in pairs:
        stems, signs = [s in song.instruments for s in STEMS], [s == song.timesignature for s in SIGNS]
        rows.append((mel_spectrogram(sound), stems, meter_features(sound, song.bpm), signs))
    spectrograms, *others = zip(*rows, strict=True)
    return TrainingData(list(spectrograms), *(np.array(column, np.float32) for column in others))


def train_instruments(
    spectrograms: list[np.ndarray], stems: np.ndarray, epochs: int
) -> tuple[InstrumentTagger, dict[str, float]]:
    """Train the instrument tagger; returns it and its balanced accuracy on held-out songs, for each stem.

    Every tenth hundred of the spectrograms is held out, since a song, its stem and its rest stand together.
    """
    held_out = np.arange(len(spectrograms)) // 100 % round(1 / HELD_OUT) == round(1 / HELD_OUT) - 1
    tagger = fit_tagger(
        [spectrograms[i] for i in np.flatnonzero(~held_out)], stems[~held_out], epochs=epochs, report=print
    )
    found = np.array([tagger.probabilities_of(spectrograms[i]) for i in np.flatnonzero(held_out)]) > 0.5
    true = stems[held_out] > 0.5
    scores = {
        stem: float((found[true[:, i], i].mean() + (~found)[~true[:, i], i].mean()) / 2) for i, stem in enumerate(STEMS)
    }
    return tagger, {"stems": float(np.mean(list(scores.values()))), **scores}


def train_meter(data: TrainingData) -> tuple[Classifier, dict[str, float]]:
    """Train the meter classifier; returns it and its accuracy on the last tenth of the songs, held out."""
    cut = round(len(data.timesignatures) * (1 - HELD_OUT))
    classifier = train(data.meter[:cut], data.timesignatures[:cut], SIGNS, exclusive=True, hidden=32)
    right = classifier.probabilities(data.meter[cut:]).argmax(axis=1) == data.timesignatures[cut:].argmax(axis=1)
    return classifier, {"meter": float(right.mean())}


def main() -> None:
    """Train both classifiers and write them."""
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.tagger", description=__doc__)
    parser.add_argument("--songs", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=20, help="of the instrument tagger")
    parser.add_argument("--work", type=Path, help="folder of a pocket training, for sounds after its autoencoder")
    parser.add_argument("-o", "--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    if arguments.songs < FEWEST_SONGS:
        parser.error(f"--songs must be at least {FEWEST_SONGS}: every tenth hundred of the spectrograms is held out.")
    data = training_data(render_songs(arguments.songs))
    spectrograms, stems = data.spectrograms, data.stems
    if arguments.work:
        more, clip_stems = clip_spectrograms(arguments.work)
        spectrograms, stems = spectrograms + more, np.concatenate([stems, clip_stems])
    tagger, scores = train_instruments(spectrograms, stems, arguments.epochs)
    meter, meter_scores = train_meter(data)
    tagger.save(arguments.output / "presence.npz")
    meter.save(arguments.output / "meter.npz")
    print("\n".join(f"{name:16}{score:.3f}" for name, score in (scores | meter_scores).items()))


if __name__ == "__main__":
    main()
