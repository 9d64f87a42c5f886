"""Analysis: on sounds made by hand, where the answer is known, and on synthetic songs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen import (
    InstrumentTagger,
    analyze,
    chroma_correlation,
    discontinuities,
    discontinuity,
    key,
    meter,
    pulse,
    same_key,
    same_tempo,
    scale_mass,
    section_accuracy,
    tempo,
    train_tagger,
)
from acestep_lab.listen.instruments import DEFAULT_WEIGHTS
from acestep_lab.listen.key import chroma
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.train.synthetic_music import compose, render
from tests.closeness import assert_near

RATE = 24000
ASKED = {
    "bpm": 112,
    "keyscale": "E minor",
    "timesignature": "4",
    "style": "house",
    "instruments": ("drums", "bass", "keyboard"),
}


def tones(pitches: list[list[float]], seconds: float = 0.8, rate: int = RATE, cents: float = 0.0) -> Audio:
    """Chords of decaying tones with a few harmonics, one after another; pitches in MIDI numbers."""
    time = np.arange(int(seconds * rate)) / rate
    chords = []
    for chord in pitches:
        hz = [440 * 2 ** ((p - 69 + cents / 100) / 12) for p in chord]
        chords.append(
            sum(np.sin(2 * np.pi * f * h * time) / h**1.5 for f in hz for h in (1, 2, 3, 4)) * np.exp(-2 * time)
        )
    return Audio(0.1 * np.concatenate(chords), rate)


def cadence(tonic: int, minor: bool = False, **how: float) -> Audio:
    """I IV V I in root position."""
    third = 3 if minor else 4
    steps = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    return tones([[tonic - 12 + row[0], *(tonic + s for s in row)] for row in steps], **how)


def clicks(bpm: float, seconds: float = 10.0, rate: int = RATE, accent: int = 4) -> Audio:
    """Noise bursts on the beat, every `accent`-th one louder and lower."""
    random = np.random.Generator(np.random.PCG64(1))
    line = 0.001 * random.standard_normal(int(seconds * rate))
    burst = random.standard_normal(rate // 20) * np.exp(-np.arange(rate // 20) / rate * 80)
    for beat in range(int(seconds * bpm / 60)):
        at = round(beat * 60 / bpm * rate)
        piece = burst * (0.5 if beat % accent == 0 else 0.25)
        line[at : at + len(piece)] += piece[: len(line) - at]
    return Audio(line, rate)


@cache
def song(seed: int, **asked: object) -> tuple[object, Audio]:
    written = compose(seed, **asked)  # type: ignore[arg-type]
    return written, Audio(render(written, RATE).mix, RATE)


@pytest.mark.parametrize("tonic", range(60, 72))
def test_a_cadence_names_its_key(tonic: int):
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    assert key(cadence(tonic))[0] == f"{names[tonic - 60]} major"
    assert key(cadence(tonic, minor=True))[0] == f"{names[tonic - 60]} minor"


def test_the_key_is_found_when_everything_is_out_of_tune_and_at_any_rate():
    for cents in (-40, 30):
        assert key(cadence(62, cents=cents))[0] == "D major"
    for rate in (16000, 44100, 48000):
        assert key(cadence(65, minor=True, rate=rate))[0] == "F minor"


def test_stereo_is_heard_as_mono():
    mono = cadence(67)
    assert_near(chroma(mono), chroma(mono.with_channels(2)), 0.0001)


def test_enharmonic_keys_are_one_key():
    assert same_key("C# minor", "Db minor")
    assert not same_key("C# minor", "C# major")


def test_mass_lies_on_the_scale_that_was_played():
    sound = cadence(60)
    assert scale_mass(sound, "C major") > 0.85
    assert scale_mass(sound, "F# major") < 0.5


def test_harmony_correlates_with_itself_and_not_with_another():
    one, other = cadence(60), cadence(66)
    assert chroma_correlation(one, one) == pytest.approx(1.0)
    assert chroma_correlation(one, one.gain(-12)) > 0.98
    assert chroma_correlation(one, other) < 0.3


@pytest.mark.parametrize("bpm", [56, 83, 120, 144, 190])
def test_clicks_have_their_tempo_at_any_rate(bpm: int):
    for rate in (16000, 24000, 48000):
        found, strength = tempo(clicks(bpm, rate=rate))
        assert same_tempo(found, bpm, tolerance=0.01)
        assert strength > 0.4


def test_a_pulse_is_strongest_at_its_own_tempo():
    sound = clicks(126)
    assert pulse(sound, 126) > 0.5
    assert pulse(sound, 126) > pulse(sound, 101) + 0.3


def test_octaves_of_a_tempo_are_the_same_and_thirds_only_in_triple_meters():
    assert same_tempo(60, 120)
    assert same_tempo(123, 120)
    assert not same_tempo(126, 120)
    assert not same_tempo(180, 60)
    assert same_tempo(180, 60, triple=True)


def test_silence_is_analyzed_without_a_warning():
    found = analyze(Audio(np.zeros((1, 3 * RATE)), RATE))
    assert found.pulse == found.key_confidence == 0.0
    assert found.loudness == -np.inf


def test_less_than_a_second_is_refused():
    with pytest.raises(SourceError, match="shorter than a second"):
        analyze(Audio(np.zeros(RATE // 2), RATE))


def test_everything_is_measured_at_once():
    _, sound = song(900_000_004, seconds=10.0, **ASKED)
    found = analyze(sound, bpm=112)
    assert same_tempo(found.bpm, 112)
    assert found.keyscale == "E minor"
    assert found.timesignature == "4"
    assert {"drums", "bass"} <= set(found.present)
    assert -20 < found.loudness < -14


def drone(pitches: tuple[int, ...], seconds: float = 6.0) -> Audio:
    """A held chord that swells slowly, over a little noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 440 * 2 ** ((p - 69) / 12) * time) for p in pitches) * (
        1 + 0.3 * np.sin(2 * np.pi * 0.7 * time)
    )
    return Audio(0.1 * wave + 0.002 * np.random.Generator(np.random.PCG64(2)).standard_normal(len(time)), RATE)


def test_a_cut_is_heard_and_a_whole_song_is_not():
    sound, other = drone((52, 59, 64)), drone((53, 62, 70))
    half = 3 * RATE + 1000
    cut = Audio(np.concatenate([sound.samples[:, :half], other.samples[:, half:]], axis=1), RATE)
    assert discontinuity(cut, half / RATE).audible
    assert not discontinuity(sound, half / RATE).audible
    assert discontinuity(cut, half / RATE).spectrum > 3 * discontinuity(sound, half / RATE).spectrum


def test_a_click_is_heard():
    wave = 0.3 * np.sin(2 * np.pi * 110 * np.arange(4 * RATE) / RATE)
    broken = wave.copy()
    broken[2 * RATE + 50 :] *= -1
    assert discontinuity(Audio(broken, RATE), (2 * RATE + 50) / RATE).click > 30
    assert discontinuity(Audio(wave, RATE), 2.0).click < 5


def test_a_discontinuity_lies_inside_the_sound():
    with pytest.raises(SourceError, match="inside the sound"):
        discontinuities(clicks(100, seconds=2), [2.5])


def test_drums_are_missed_where_they_rest():
    accuracies = []
    for seed in range(900_000_000, 900_000_030):
        written = compose(seed, 12.0)
        playing = ["drums" in s.stems_playing for s in written.sections]
        if any(playing) and not all(playing):
            accuracies.append(section_accuracy(Audio(render(written, RATE).mix, RATE), written.sections))
    assert len(accuracies) >= 4
    assert np.mean(accuracies) > 0.8


def test_three_four_and_six_are_told_apart_by_the_beat():
    right = []
    for seed in range(900_000_100, 900_000_108):
        for sign in ("3", "4", "6"):
            written = compose(seed, 10.0, timesignature=sign, instruments=("drums", "bass", "keyboard"))
            right.append(meter(Audio(render(written, RATE).mix, RATE), written.bpm)[0] == sign)
    assert np.mean(right) > 0.7


def test_the_default_tagger_is_small_and_knows_the_stems():
    assert DEFAULT_WEIGHTS.stat().st_size < 200_000
    tagger = InstrumentTagger.load()
    written = [compose(seed, 10.0) for seed in range(900_000_300, 900_000_340)]
    detected = [tagger.present(Audio(render(song, RATE).mix, RATE)) for song in written]
    right = []
    for stem in ("drums", "bass", "vocals", "keyboard", "guitar", "strings", "synth"):
        there = np.array([stem in song.instruments for song in written])
        found = np.array([stem in stems for stems in detected])
        right.append((found[there].mean() + (~found)[~there].mean()) / 2)
    assert np.mean(right) > 0.85  # 0.9 of all twelve over 200 songs


def test_a_tagger_can_be_trained_and_kept(tmp_path):
    songs = [
        compose(seed, 5.0, instruments=("keyboard", "drums") if seed % 2 else ("keyboard", "bass"))
        for seed in range(40)
    ]
    sounds = [Audio(render(s, RATE).mix, RATE) for s in songs]
    tagger = train_tagger(sounds[:30], [s.instruments for s in songs[:30]], roles=("drums", "bass"))
    again = InstrumentTagger.load(tagger.save(tmp_path / "tagger.npz"))
    for written, sound in zip(songs[30:], sounds[30:], strict=True):
        assert again.present(sound) == set(written.instruments) & {"drums", "bass"}


@pytest.mark.filterwarnings("ignore")
def test_mir_eval_gives_full_marks():
    mir_eval = pytest.importorskip("mir_eval")
    _, sound = song(900_000_004, seconds=10.0, **ASKED)
    assert mir_eval.key.weighted_score("E minor", key(sound)[0]) == 1.0
    found = tempo(sound)[0]
    halves = np.array([found / 2, found]) if found > 150 else np.array([found, found * 2])
    assert mir_eval.tempo.detection(np.array([56.0, 112.0]), 0.5, halves, tol=0.04)[1]


def test_a_take_can_be_analyzed_and_its_asked_tempo_tells_which_beat_to_count() -> None:
    song = compose(7, 8.0)
    audio = Audio(render(song, 24000).mix, 24000)
    take = Take(Recipe("a song", bpm=song.bpm), audio, np.zeros((8, 2), np.float32))
    assert analyze(take) == analyze(audio, song.bpm)
    with pytest.raises(SourceError, match="shorter than a second"):
        analyze(Take(Recipe("a blip"), Audio(audio.samples[:, :6000], 24000), np.zeros((8, 2), np.float32)))


@pytest.mark.parametrize("bpm", [0, 9.9, 1001, "fast", float("nan"), True])
def test_what_is_no_tempo_is_refused(bpm: object) -> None:
    with pytest.raises(RecipeError, match="A tempo to listen for"):
        analyze(Audio(np.zeros((1, 2 * RATE)), RATE), bpm)  # type: ignore[arg-type]
