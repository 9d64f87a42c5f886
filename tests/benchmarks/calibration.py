"""How far `analyze` may be trusted: of what it says with 70 %, are 70 % right? On songs it was fitted on no part of.

    python -m tests.benchmarks.calibration [songs=60] [seconds=12]
    python -m tests.benchmarks.calibration fit [songs=120]        writes acestep_lab/listen/calibration.npz

Songs of the synthetic world in three forms: as they are; damaged (noise, a telephone's band, clipping); and by another orchestra
(every part played by random harmonic tones, drums by noise), whose tempo, key, meter and parts are known and whose sound is not
ours; and sounds without music (noise, hum, glides, silence), of which nothing that is said is right. Neither librosa's nor scipy's package ships a recording of music (librosa's examples are downloaded, scipy's files are a few
samples long), so that there is none here. ECE: mean distance between what is said and what is so, over ten bins.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen import calibration
from acestep_lab.listen.calibration import MEASURES, Calibration, log_odds, profile, sigmoid
from acestep_lab.listen.instruments import default_tagger, mel_spectrogram
from acestep_lab.listen.key import chroma_frames, has_notes, key_of, profile_of, same_key
from acestep_lab.listen.meter import meter
from acestep_lab.listen.tempo import same_tempo, tempo
from acestep_lab.train.synthetic_music import Song, compose, render

RATE = 24_000
FIT_SEED, TEST_SEED = 80_000, 90_000
FORMS = ("world", "damaged", "another orchestra", "no music")
NOTHING_EVERY = 3
"""One sound without music to so many songs."""
NOTED = ("drums", "percussion", "fx")


@dataclass(frozen=True)
class Heard:
    """What was measured in a sound whose truth is known."""

    form: str
    strengths: np.ndarray
    right: np.ndarray
    """Of tempo, key and meter, `[3]` each."""
    said: np.ndarray
    present: np.ndarray
    """What the tagger says of each stem, and whether it is there, `[12]` each."""
    profile: np.ndarray
    notes: bool
    """Whether there are notes to have a key from."""


def heard(song: Song, sound: Audio, form: str) -> Heard:
    """Measure a sound as `analyze` does, before any calibration."""
    bpm, pulse = tempo(sound)
    harmony = chroma_frames(sound)
    name, lead = key_of(profile_of(harmony))
    sign, certainty = meter(sound, bpm)
    picture = mel_spectrogram(sound)
    tagger = default_tagger()
    right = (same_tempo(bpm, song.bpm), same_key(name, song.keyscale), sign == song.timesignature.split("/")[0])
    present = [stem in song.instruments for stem in tagger.roles]
    return Heard(
        form, np.array([pulse, lead, certainty]), np.array(right, float), tagger.probabilities_of(picture),
        np.array(present, float), profile(picture), has_notes(harmony),
    )  # fmt: skip


def damaged(mix: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise, a telephone's band or clipping, one of them by chance."""
    kind = random.integers(3)
    if kind == 0:
        return mix + random.standard_normal(mix.shape) * mix.std() * 10 ** (-random.uniform(0, 15) / 20)
    if kind == 1:
        spectrum, hertz = np.fft.rfft(mix), np.fft.rfftfreq(mix.shape[-1], 1 / RATE)
        return np.fft.irfft(spectrum * ((hertz > 300) & (hertz < 3400)), mix.shape[-1])
    return np.clip(mix * random.uniform(5, 20), -1, 1)


def another_orchestra(song: Song, random: np.random.Generator) -> np.ndarray:
    """The written notes by random harmonic tones, one timbre a part; drums by noise of random length."""
    mix = np.zeros(round(song.seconds * RATE) + RATE)
    timbres = {
        stem: (random.dirichlet(np.full(8, 0.5)), random.uniform(0.002, 0.08), random.uniform(1, 8))
        for stem in song.instruments
    }
    for one in song.notes:
        weights, attack, decay = timbres[one.stem]
        time = np.arange(round(min(one.length + 0.1, 4.0) * RATE)) / RATE
        envelope = np.minimum(1, time / attack) * np.exp(-decay * time)
        if one.stem in NOTED:
            tone = random.standard_normal(len(time)) * np.exp(-20 * decay * time)
        else:
            hertz = 440 * 2 ** ((one.pitch - 69) / 12)
            tone = sum(
                weight * np.sin(2 * np.pi * hertz * (n + 1) * time)
                for n, weight in enumerate(weights)
                if hertz * (n + 1) < RATE / 2
            )
        at = round(one.start * RATE)
        piece = (tone * envelope * one.velocity)[: max(0, len(mix) - at)]
        mix[at : at + len(piece)] += piece
    mix = mix[: round(song.seconds * RATE)]
    return (0.3 * mix / max(float(np.abs(mix).max()), 1e-9))[None]


def sounds(seed: int, songs: int, seconds: float) -> Iterable[Heard]:
    """So many songs, each in its three forms."""
    for place in range(songs):
        song = compose(seed + place, seconds)
        random = np.random.default_rng(seed + place)
        mix = render(song, RATE).mix.astype(np.float64)
        played = (mix, damaged(mix, random), another_orchestra(song, random))
        for form, samples in zip(FORMS, played):
            yield heard(song, Audio(samples.astype(np.float32), RATE), form)
        if place % NOTHING_EVERY == 0:
            found = heard(song, Audio(no_music(random, seconds).astype(np.float32), RATE), FORMS[3])
            yield replace(found, right=np.zeros(3), present=np.zeros_like(found.present))


def no_music(random: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise of some colour, a hum, glides, or silence."""
    time = np.arange(round(seconds * RATE)) / RATE
    kind = random.integers(4)
    if kind == 0:
        return np.zeros((1, len(time)))
    if kind == 1:
        noise = np.fft.rfft(random.standard_normal(len(time)))
        return 0.1 * np.fft.irfft(noise / np.arange(1, len(noise) + 1) ** random.uniform(0, 0.5), len(time))[None]
    hertz = random.uniform(40, 1000, 3)[:, None] * (
        1 if kind == 2 else 2 ** np.sin(time * random.uniform(0.1, 3, (3, 1)))
    )
    return (0.1 * np.sin(2 * np.pi * np.cumsum(np.broadcast_to(hertz, (3, len(time))), axis=1) / RATE)).sum(axis=0)[
        None
    ]


# -- fitting


def fitted(rows: list[Heard]) -> Calibration:
    """The calibration that suits these sounds best."""
    profiles = np.stack([one.profile for one in rows if one.form == "world"])
    centre = profiles.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(profiles.T) + 1e-3 * np.eye(profiles.shape[1]))
    whiten = vectors / np.sqrt(values)
    usual = float(np.quantile(np.linalg.norm((profiles - centre) @ whiten, axis=1), 0.95))
    plain = Calibration(centre, whiten, usual, np.zeros((3, 3)), np.array([1.0, 0.0]))
    strange = np.array([_strange(plain, one) for one in rows])
    right = np.stack([one.right for one in rows])
    strengths = np.stack([one.strengths for one in rows])
    curves = np.stack(
        [_logistic(np.stack([np.ones(len(rows)), strengths[:, n], strange], 1), right[:, n]) for n in range(3)]
    )
    said, present = (np.stack([getattr(one, name) for one in rows]) for name in ("said", "present"))
    best = min(
        ((slope, loss) for slope in np.linspace(0.2, 1.6, 29) for loss in (0, 0.25, 0.5, 1, 2, 4, 8)),
        key=lambda pair: _log_loss(sigmoid(pair[0] * log_odds(said) / (1 + pair[1] * strange[:, None])), present),
    )
    return Calibration(centre, whiten, usual, curves, np.array(best))


def _strange(found: Calibration, one: Heard) -> float:
    return float(np.clip(np.linalg.norm((one.profile - found.centre) @ found.whiten) / found.usual - 1, 0, 5))


def _logistic(features: np.ndarray, right: np.ndarray, ridge: float = 0.1) -> np.ndarray:
    """Weights of a logistic curve by Newton's method, held near zero a little; what is strange is never surer for it."""
    weights = _newton(features, right, ridge)
    return weights if weights[2] <= 0 else np.append(_newton(features[:, :2], right, ridge), 0.0)


def _newton(features: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    weights = np.zeros(features.shape[1])
    for _ in range(50):
        said = np.asarray(sigmoid(features @ weights))
        slope = features.T @ (said - right) + ridge * weights
        weights -= np.linalg.solve((features.T * (said * (1 - said))) @ features + ridge * np.eye(len(weights)), slope)
    return weights


def _log_loss(said: np.ndarray | float, right: np.ndarray) -> float:
    share = np.clip(said, 1e-3, 1 - 1e-3)
    return float(-(right * np.log(share) + (1 - right) * np.log(1 - share)).mean())


# -- how good it is


def reliability(said: np.ndarray, right: np.ndarray, bins: int = 10) -> tuple[float, list[tuple[float, float, int]]]:
    """ECE, and for each bin what is said, what is so, and of how many."""
    place = np.minimum((said * bins).astype(int), bins - 1)
    rows = [
        (float(said[place == n].mean()), float(right[place == n].mean()), int((place == n).sum()))
        for n in range(bins)
        if (place == n).any()
    ]
    return sum(count * abs(told - so) for told, so, count in rows) / len(said), rows


def before(one: Heard) -> np.ndarray:
    """What was shown as sureness before: the strength itself; a key's lead, at most a half, twice."""
    return np.clip(one.strengths * (1, 2, 1), 0, 1)


def told_of(found: Calibration, one: Heard, n: int) -> float:
    """How likely a measure is right, as `analyze` says it."""
    there = one.notes or MEASURES[n] != "key"
    return found.probability(MEASURES[n], one.strengths[n], _strange(found, one), there)


def report(rows: list[Heard], found: Calibration) -> dict[str, tuple[float, float]]:
    """ECE before and after by measure; printed with the share that is right and what is called unsure."""
    told: dict[str, tuple[float, float]] = {}
    for form in (*FORMS, "all"):
        chosen = [one for one in rows if form in (one.form, "all")]
        for n, name in enumerate(MEASURES):
            right = np.array([one.right[n] for one in chosen])
            was = np.array([before(one)[n] for one in chosen])
            now = np.array([told_of(found, one, n) for one in chosen])
            sure = now >= 0.6
            ece = (reliability(was, right)[0], reliability(now, right)[0])
            told[f"{form}, {name}"] = ece
            print(
                f"{form:18} {name:12} right {right.mean():.2f}   ECE {ece[0]:.3f} → {ece[1]:.3f}   sure of {sure.mean():4.0%}, "
                f"{right[sure].mean() if sure.any() else 0:.2f} of these right; of the others {right[~sure].mean() if (~sure).any() else 0:.2f}"
            )
        said, present = (np.concatenate([getattr(one, name) for one in chosen]) for name in ("said", "present"))
        after = np.concatenate([[found.instrument(float(p), _strange(found, one)) for p in one.said] for one in chosen])
        ece = (reliability(said, present)[0], reliability(after, present)[0])
        told[f"{form}, instruments"] = ece
        print(
            f"{form:18} instruments  right {((said > 0.5) == present).mean():.2f}   ECE {ece[0]:.3f} → {ece[1]:.3f}   strangeness {np.mean([_strange(found, one) for one in chosen]):.2f}"
        )
    for name, column in zip(MEASURES, range(3)):
        now = np.array([told_of(found, one, column) for one in rows])
        curve = reliability(now, np.array([one.right[column] for one in rows]))[1]
        print(f"{name}: said → so (n): " + "  ".join(f"{said:.2f} → {so:.2f} ({count})" for said, so, count in curve))
    return told


if __name__ == "__main__":
    named = dict(one.split("=") for one in sys.argv[1:] if "=" in one)
    seconds = float(named.get("seconds", 12))
    if "fit" in sys.argv:
        made = fitted(list(sounds(FIT_SEED, int(named.get("songs", 120)), seconds)))
        parts = {name: getattr(made, name) for name in ("centre", "whiten", "curves", "instruments")}
        np.savez_compressed(
            calibration.SHIPPED, usual=made.usual, **{name: one.astype(np.float32) for name, one in parts.items()}
        )
        print(made.curves.round(2), made.instruments, made.usual)
    report(list(sounds(TEST_SEED, int(named.get("songs", 60)), seconds)), Calibration.load())
