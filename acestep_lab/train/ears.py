"""Teaching the ears of `listen` (who plays, which meter) on the synthetic world, where both are known.

`python -m acestep_lab.train.ears --songs 6000 -o folder` writes the files that `listen` ships. Knows no model: to judge
sounds that went through a codec, hand `lessons` the round trip.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acestep_lab.decode.audio import Audio
from acestep_lab.listen.classifier import Classifier, train
from acestep_lab.listen.instruments import presence_features
from acestep_lab.listen.meter import SIGNS, meter_features
from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.world import Song, compose, render

FIRST_SEED = 210_000
LENGTHS = (5.0, 8.0, 10.0, 10.0, 10.0, 14.0, 20.0)  # seconds
HELD_OUT = 0.1


class Lessons(NamedTuple):
    """What was heard in songs, and what was in them."""

    presence: np.ndarray  # [songs, features]
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


def lessons(pairs: Iterable[tuple[Song, Audio]], through: Callable[[Audio], Audio] | None = None) -> Lessons:
    """Hear every song, `through` a codec's round trip if one is handed in."""
    rows = []
    for song, sound in pairs:
        heard = through(sound) if through else sound
        stems, signs = [s in song.instruments for s in STEMS], [s == song.timesignature for s in SIGNS]
        rows.append((presence_features(heard), stems, meter_features(heard, song.bpm), signs))
    return Lessons(*(np.array(column, np.float32) for column in zip(*rows, strict=True)))


def teach(taught: Lessons) -> tuple[Classifier, Classifier, dict[str, float]]:
    """The ear for stems, the ear for meter, and their accuracy on the tenth of songs they were not taught on."""
    cut = round(len(taught.stems) * (1 - HELD_OUT))
    old, new = Lessons(*(a[:cut] for a in taught)), Lessons(*(a[cut:] for a in taught))
    presence = train(old.presence, old.stems, STEMS, hidden=96, epochs=80, decay=1e-2)
    meter = train(old.meter, old.signs, SIGNS, exclusive=True, hidden=32)
    right = (presence.probabilities(new.presence) > 0.5) == (new.stems > 0.5)
    signs = meter.probabilities(new.meter).argmax(axis=1) == new.signs.argmax(axis=1)
    scores = {"stems": float(right.mean()), "meter": float(signs.mean())}
    return presence, meter, scores | {s: float(r) for s, r in zip(STEMS, right.mean(axis=0), strict=True)}


def main() -> None:
    """Teach both ears and write them."""
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.ears", description=__doc__)
    parser.add_argument("--songs", type=int, default=6000)
    parser.add_argument("-o", "--output", type=Path, default=Path("."))
    asked = parser.parse_args()
    presence, meter, scores = teach(lessons(songs(asked.songs)))
    presence.save(asked.output / "presence.npz")
    meter.save(asked.output / "meter.npz")
    print("\n".join(f"{name:16}{score:.3f}" for name, score in scores.items()))


if __name__ == "__main__":
    main()
