"""Whatever is handed in as a sound becomes one or a sentence, at once; whatever is written comes back."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import struct
import sys
import time
import tracemalloc
import wave
from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from acestep_lab.audio import arrays, layouts, reading, resampling
from acestep_lab.audio.audio import Audio, splice
from acestep_lab.engines.ace15.resolve import _check_sources
from acestep_lab.errors import SourceError
from acestep_lab.models.geometry import Geometry
from acestep_lab.prompt.tasks import Cover, Region
from acestep_lab.ui.sound_drop import check, decode
from tests.closeness import assert_near

RATE = 8000
COMMON = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
UNUSUAL = (
    (44101, 48000),
    (48000, 44101),
    (47999, 44100),
    (192001, 48000),
    (1009, 1013),
    (1000, 767999),
    (767999, 1000),
)


def noise(channels: int = 2, samples: int = 4000, level: float = 0.3, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((channels, samples)) * level).astype(np.float32).clip(-1, 1)


def flac(path: Path, samples: np.ndarray, rate: int, total: int | None = None) -> Path:
    """A FLAC whose head says that it has `total` samples (0: nobody knows), whatever it has."""
    soundfile.write(path, samples.T, rate, subtype="PCM_16")
    if total is not None:
        data = bytearray(path.read_bytes())
        data[21] = data[21] & 0xF0 | total >> 32
        data[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
        path.write_bytes(data)
    return path


def peak_of(work: Callable[[], object]) -> float:
    """Megabytes that some work took at most (as numpy and Python ask for them)."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


# -- arrays


@pytest.mark.parametrize(
    ("samples", "first"),
    [
        (np.array([128, 255, 0], np.uint8), [0, 127 / 128, -1]),
        (np.array([0, 64, -128], np.int8), [0, 0.5, -1]),
        (np.array([0, 16384, -32768], np.int16), [0, 0.5, -1]),
        (np.array([32768, 65535, 0], np.uint16), [0, 1 - 2**-15, -1]),
        (np.array([0, 2**30, -(2**31)], np.int32), [0, 0.5, -1]),
        (np.array([0, 0.5, -1], np.float16), [0, 0.5, -1]),
        (np.array([0, 0.5, -1], ">f8"), [0, 0.5, -1]),
        (np.array([0, 0.5, -1], object), [0, 0.5, -1]),
        ([0, 0.5, -1], [0, 0.5, -1]),
        ([[0, 1, -1]], [0, 1, -1]),
        ((Fraction(0), Fraction(1, 2), -1), [0, 0.5, -1]),
        (torch.tensor([0, 0.5, -1], requires_grad=True), [0, 0.5, -1]),
        (torch.tensor([0, 0.5, -1], dtype=torch.bfloat16), [0, 0.5, -1]),
        (torch.tensor([0, 16384, -32768], dtype=torch.int16), [0, 0.5, -1]),
        (np.array([0, 9, 0.5, 9, -1, 9], np.float32)[::2], [0, 0.5, -1]),
    ],
)
def test_samples_of_every_kind_of_number_have_their_level(samples: Any, first: list[float]) -> None:
    assert np.array_equal(Audio(samples, RATE).samples, np.array([first], np.float32))


@pytest.mark.parametrize(
    "samples",
    [
        None, "noise", 5, b"1234", {}, {1: 2}, [[1], [1, 2]], [None], ["a"], [object()], [1j], np.array([True, False]),
        np.array(["a"]), np.array(0.5), np.zeros((2, 2, 2)), np.zeros((17, 17)), np.zeros((0, 5)), np.array([2, 300]),
        [10**400], [math.nan], np.array([0, math.inf], np.float32), np.array([1e300]), np.array([1], "datetime64[s]"),
        np.broadcast_to(np.float32(0), (8, 10**10)), torch.zeros(2, 2, 2), torch.tensor([math.nan]), (x for x in [1.0]),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_refused_in_a_sentence_and_before_it_is_copied(samples: Any) -> None:
    with pytest.raises(SourceError):
        Audio(samples, RATE)


def test_samples_by_channels_are_turned_where_only_that_can_be_meant() -> None:
    sound = noise(2, 100)
    assert Audio(sound.T, RATE) == Audio(sound, RATE)
    assert Audio(noise(2, 3), RATE).channels == 2
    assert Audio(noise(16, 2), RATE).channels == 16


def test_nobody_can_change_a_sound_through_the_array_it_was_made_of() -> None:
    held = noise()
    view = held[:]
    held.flags.writeable = False
    sound = Audio(held, RATE)
    view[:] = 0
    assert sound.peak > 0
    with pytest.raises(ValueError, match="read-only"):
        sound.samples[0, 0] = 1


@pytest.mark.parametrize(
    "rate", [0, -1, 999, 768_001, 10**400, 44100.5, math.nan, math.inf, "48000", None, True, [], 1j, b"8"]
)
def test_a_rate_that_is_none_is_a_sentence_wherever_one_is_given(rate: Any) -> None:
    for work in (lambda: Audio(noise(), rate), lambda: Audio(noise(), RATE).resample(rate)):
        with pytest.raises(SourceError, match="A sample rate is a whole number"):
            work()


@pytest.mark.parametrize(
    "work",
    [
        lambda sound: sound.with_channels("2"),
        lambda sound: sound.with_channels(0),
        lambda sound: sound.with_channels(10**9),
        lambda sound: sound.with_channels(9),
        lambda sound: sound.gain("loud"),
        lambda sound: sound.gain(math.nan),
        lambda sound: sound.gain(10**400),
        lambda sound: sound.gain(399).gain(399),
        lambda sound: sound.normalized(None),
        lambda sound: sound.normalized(1e9),
        lambda sound: sound.peaks(0),
        lambda sound: sound.peaks(10, math.nan),
        lambda sound: sound.cut((0, 1)),
        lambda sound: sound.encoded("xyz"),
        lambda sound: sound.encoded([]),
        lambda sound: sound.encoded("flac", bits=32),
        lambda sound: sound.cut(Region(5, 6)).encoded(),
        lambda sound: sound.with_channels(6).encoded("mp3"),
        lambda sound: splice(sound, None, []),
        lambda sound: splice(sound, sound, [], crossfade=math.nan),
        lambda sound: Audio(sound.samples, RATE, layout=("FL", "XX")),
        lambda sound: Audio(noise(3), RATE, layout=("FL", "FR")),
        lambda sound: Audio(noise(3), RATE, layout=5),
    ],
)
def test_nonsense_asked_of_a_sound_is_a_sentence(work: Callable[[Audio], object]) -> None:
    with pytest.raises(SourceError) as said:
        work(Audio(noise(), RATE))
    assert 10 < len(str(said.value)) <= 300


# -- files that are none, or lie


def test_what_is_no_ordinary_sound_file_is_a_sentence_at_once(tmp_path: Path) -> None:
    sound = Audio(noise(2, 4000), RATE)
    wav, mp3 = sound.encoded("wav", bits=16), sound.encoded("mp3")
    contents = {
        "empty.wav": b"", "words.wav": b"words\n" * 1000, "head.wav": wav[:30],
        "zeros.mp3": bytes(2**20), "junk.raw": b"abc" * 99,
        "silent.wav": sound.encoded("wav")[:44].replace(b"data", b"junk"), "lost.flac": sound.encoded("flac")[:900],
        "rate0.wav": wav[:24] + bytes(4) + wav[28:], "rate1.wav": wav[:24] + struct.pack("<I", 1) + wav[28:],
        "huge.wav": wav[:24] + b"\xff" * 4 + wav[28:], "many.wav": wav[:22] + struct.pack("<H", 300) + wav[24:],
        "tag.mp3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + mp3,
        "nan.wav": Audio(noise(1, 9), RATE).encoded("wav")[:-4] + b"\xff" * 4,
        "no.m4a": b"\0\0\0\x1cftypM4A " + bytes(200),
        "no.webm": b"\x1aE\xdf\xa3" + bytes(200), "no.opus": sound.encoded("opus")[:200],
    }  # fmt: skip
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "endless.wav").symlink_to("/dev/zero")
    paths: list[Any] = [
        *tmp_path.iterdir(),
        "",
        "\0",
        "a" * 5000,
        "~nobody-of-this-name/a.wav",
        None,
        5,
        [],
        b"x",
        tmp_path / "no",
    ]
    began = time.perf_counter()
    for path in paths:
        with pytest.raises(SourceError) as said:
            Audio.read(path)
        assert 10 < len(str(said.value)) <= 300, path
    assert time.perf_counter() - began < 5


def test_a_damaged_file_of_any_format_is_a_sound_or_a_sentence() -> None:
    sound, dice = Audio(noise(2, 3000), 48000), np.random.default_rng(1)
    wholes = [sound.encoded(kind) for kind in ("wav", "flac", "mp3", "opus")]
    for kind in ("AIFF", "CAF", "W64", "AU", "OGG"):
        soundfile.write(into := io.BytesIO(), sound.samples.T, 48000, format=kind)
        wholes.append(into.getvalue())
    answers = []
    for number in range(450):
        data = bytearray(wholes[number % len(wholes)])
        at = int(dice.integers(0, 100))
        data[at : at + 4] = (b"\xff" * 4, b"\0" * 4, dice.bytes(4), dice.bytes(9), b"")[number % 5]
        try:
            assert Audio.read(bytes(data)).samples.size
        except SourceError as said:
            answers.append(len(str(said)))
    assert 100 < len(answers) < 450
    assert max(answers) <= 300


def test_a_sound_bomb_is_refused_by_its_head_and_costs_nothing(tmp_path: Path) -> None:
    small, second = noise(8, 100) * 0, 655_350
    bomb = flac(tmp_path / "bomb.flac", small, second, total=1000 * second)
    liar = flac(tmp_path / "liar.flac", small, second, total=2**36 - 1)

    def refused() -> None:
        with pytest.raises(SourceError, match=r"would take at least 19\.5 GB .*8 channels, 655350 Hz.*at most 1\.0 GB"):
            Audio.read(bomb)
        with pytest.raises(SourceError, match=r"lasts 1,747\.\d minutes; at most 20\.0 minutes"):
            Audio.read(liar)

    assert peak_of(refused) < 5


def test_a_limit_holds_while_decoding_where_the_head_does_not_say_how_long_a_file_is(tmp_path: Path) -> None:
    long = flac(tmp_path / "long.flac", np.zeros((2, 100 * RATE), np.float32), RATE, total=0)
    with pytest.raises(SourceError, match=r"at most 1\.00 s can be read"):
        Audio.read(long, longest=1.0)
    assert peak_of(lambda: Audio.read(long)) < 4 * 100 * RATE * 2 * 4 / 2**20


def test_every_song_that_somebody_might_have_is_within_the_limits() -> None:
    for rate, channels, minutes in ((48000, 2, 20), (96000, 2, 20), (192000, 2, 11), (48000, 6, 15), (44100, 8, 12)):
        arrays.check_size("a song", rate, channels, rate * 60 * minutes, reading.LONGEST_SOURCE_SECONDS)


def test_flac_and_wav_streams_of_unknown_length_are_read_to_their_end(tmp_path: Path) -> None:
    sound = noise(2, 3 * RATE)
    unknown = flac(tmp_path / "unknown.flac", sound, RATE, total=0)
    assert Audio.read(unknown) == Audio.read(flac(tmp_path / "known.flac", sound, RATE))
    whole = Audio(sound, RATE).encoded("wav")
    at = whole.index(b"data") + 4
    for length in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xf0\xff\xff\x7f"):
        streamed = whole[:4] + length + whole[8:at] + length + whole[at + 4 :]
        (tmp_path / "stream.wav").write_bytes(streamed)
        assert Audio.read(tmp_path / "stream.wav") == Audio.read(streamed) == Audio(sound, RATE)


def test_a_path_may_begin_with_the_home_folder_and_hold_any_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sound = Audio(noise(), RATE)
    assert sound.write("~/Grüße 音.wav") == tmp_path / "Grüße 音.wav"
    assert Audio.read("~/Grüße 音.wav") == sound
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    sound.write(odd)
    assert Audio.read(odd) == sound


# -- what is written comes back


@pytest.mark.parametrize("level", [1.0, 1.5, 2.0, 1e6, 3e38])
def test_nothing_above_full_scale_is_clipped_in_any_file(level: float, tmp_path: Path) -> None:
    samples = noise()
    samples = samples / np.abs(samples).max() * np.float32(level)
    sound = Audio(samples, 48000)
    assert Audio.read(sound.write(tmp_path / "a.wav")) == sound
    assert Audio.read(sound.encoded("wav")) == Audio.read(sound.encoded("wav", bits=16 if level > 1 else 24)) == sound
    again = Audio.read(sound.write(tmp_path / "a.flac"))
    step = 2.0 ** (max(0, math.ceil(math.log2(level)) + (level == 2.0)) - 23)
    assert np.abs(again.samples - samples).max() <= step * (0.5 if level > 1 else 1)
    assert Audio.read(again.write(tmp_path / "b.flac")) == again == sound.on_grid()
    assert np.abs(Audio.read(sound.encoded("flac", bits=16)).samples - samples).max() <= step * 256


@pytest.mark.parametrize("kind", ["opus", "mp3"])
def test_lossy_files_of_loud_sounds_are_not_clipped_either(kind: str) -> None:
    at = np.arange(2 * 48000) / 48000
    loud = Audio(3.0 * np.sin(2 * np.pi * 440 * at), 48000)
    again = Audio.read(loud.encoded(kind))
    assert again.peak == pytest.approx(3.0, rel=0.05)
    assert again.loudness() == pytest.approx(loud.loudness(), abs=0.2)


def test_a_sound_knows_which_lossless_file_gives_its_very_samples_back(tmp_path: Path) -> None:
    grid = Audio(noise(), RATE).on_grid()
    sounds = {
        "flac": [grid, grid.gain(0), Audio(grid.samples * 8, RATE), Audio([1.5, -2], RATE),
                 Audio(noise(6), RATE).on_grid(), Audio([0.5, -1], RATE)],
        "wav": [Audio(noise(), RATE), Audio([1.0, 0.5], RATE), Audio([-0.0, 0.5], RATE), Audio(grid.samples, 99991),
                Audio(noise(9), RATE).on_grid(), Audio(noise(3), RATE, ("FL", "FR", "LFE")).on_grid()],
    }  # fmt: skip
    for kind, each in sounds.items():
        for sound in each:
            assert sound.lossless_kind == kind, sound
            again = Audio.read(sound.write(tmp_path / f"a.{kind}"))
            assert again == sound
            assert again.layout == sound.layout


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
def test_a_title_and_a_long_comment_in_any_script_come_back_from_every_file(kind: str, tmp_path: Path) -> None:
    comment = "Grüße, 音楽 " * (8000 if kind != "opus" else 2000)
    path = Audio(noise(), 48000).write(tmp_path / f"a.{kind}", title="Tö 音", comment=comment)
    assert reading.tags(path)["title"] == "Tö 音"
    assert reading.tags(path)["comment"] == comment
    assert Audio.read(path).channels == 2


@pytest.mark.parametrize("text", [5, b"x", "half \ud800", "nul \0"])
def test_a_tag_that_no_file_can_hold_is_refused_before_a_file_is_begun(text: Any, tmp_path: Path) -> None:
    for kind in ("wav", "flac", "mp3", "ogg"):
        with pytest.raises(SourceError, match="comment"):
            Audio(noise(), RATE).write(tmp_path / f"a.{kind}", comment=text)
    with pytest.raises(SourceError, match="48,000"):
        Audio(noise(), RATE).write(tmp_path / "a.opus", comment="x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_other_programs_read_what_we_write_in_a_wav(tmp_path: Path) -> None:
    grid = Audio(noise(3), RATE).on_grid()
    with wave.open(io.BytesIO(Audio(noise(), RATE).encoded("wav", bits=16))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth(), file.getnframes()) == (2, RATE, 2, 4000)
    for sound in (grid, Audio(noise(1, 3), RATE)):
        theirs, rate = soundfile.read(io.BytesIO(sound.encoded("wav")), dtype="float32", always_2d=True)
        assert rate == RATE
        assert np.array_equal(theirs.T, sound.samples)


@pytest.mark.parametrize(
    ("kind", "rate"), [("mp3", 96000), ("mp3", 44101), ("opus", 44100), ("ogg", 768_000), ("ogg", 1000)]
)
def test_a_rate_that_a_format_does_not_know_is_changed_to_one_it_does(kind: str, rate: int, tmp_path: Path) -> None:
    sound = Audio(noise(8 if kind == "ogg" else 2, rate // 2), rate)
    again = Audio.read(sound.write(tmp_path / f"a.{kind}"))
    assert again.rate == 48000
    assert again.seconds == pytest.approx(0.5, abs=0.1)
    with pytest.raises(SourceError, match=r"cannot have 99991 samples a second; write a \.wav"):
        Audio(noise(), 99991).write(tmp_path / "a.flac")


# -- channels


def test_surround_folds_to_stereo_as_the_standard_says() -> None:
    left, right, centre, low, back_left, back_right = noise(6)
    six = Audio(np.stack([left, right, centre, low, back_left, back_right]), RATE)
    half = np.float32(0.5**0.5)
    wanted = np.stack([left + half * centre + half * back_left, right + half * centre + half * back_right])
    assert_near(six.with_channels(2).samples, wanted, 1e-6)
    assert_near(six.with_channels(1).samples[0], wanted.mean(axis=0), 1e-6)
    five = Audio(six.samples[[0, 1, 2, 4, 5]], RATE)
    eight = Audio(np.concatenate([six.samples, six.samples[4:] * 0]), RATE)
    for other in (five, eight):
        assert_near(other.with_channels(2).samples, wanted, 1e-6)
    quad = Audio(six.samples[[0, 1, 4, 5]], RATE)
    assert_near(quad.with_channels(2).samples, wanted - half * centre, 1e-6)


@pytest.mark.parametrize("count", range(1, 17))
def test_every_number_of_channels_becomes_every_other_or_a_sentence(count: int) -> None:
    sound = Audio(noise(count, 50), RATE)
    for wanted in range(1, 9):
        assert sound.with_channels(wanted).channels == wanted
    assert np.array_equal(sound.with_channels(2).with_channels(6).samples[:2], sound.with_channels(2).samples)
    assert (
        sound.cut(Region(0, 0.002)).with_channels(2).samples.tolist() == sound.with_channels(2).samples[:, :16].tolist()
    )


def test_a_files_own_order_of_channels_is_known(tmp_path: Path) -> None:
    tones = np.stack([np.sin(2 * np.pi * hertz * np.arange(48000) / 48000) * 0.1 for hertz in range(200, 800, 100)])
    sound = Audio(tones, 48000)
    stereo = sound.with_channels(2)
    for kind in ("wav", "flac", "ogg"):
        again = Audio.read(sound.write(tmp_path / f"a.{kind}"))
        assert again.with_channels(2).loudness() == pytest.approx(stereo.loudness(), abs=0.1)
        spectrum = np.abs(np.fft.rfft(again.with_channels(2).samples[:, :48000]))
        assert spectrum[0, 200] > 10 * spectrum[0, 300]
        assert spectrum[1, 300] > 10 * spectrum[1, 200]
        assert spectrum[0, 400] == pytest.approx(spectrum[1, 400], rel=0.05)
        assert spectrum[0, 500] < 0.05 * spectrum[0, 400], "the low frequency channel is left out"
    odd = Audio(noise(3), RATE, ("FL", "FR", "LFE"))
    assert np.array_equal(Audio.read(odd.encoded("wav")).with_channels(2).samples, odd.samples[:2])
    assert layouts.of_mask(0, 6) == layouts.of_mask(3, 6) == ()


@pytest.mark.parametrize(("channels", "silent"), [(1, True), (2, False)])
def test_silence_is_what_a_model_would_hear_as_silence(channels: int, silent: bool) -> None:
    wave_ = noise(1)
    against = Audio(np.concatenate([wave_, -wave_]), RATE)
    rumble = Audio(np.concatenate([wave_ * 0] * 3 + [wave_] + [wave_ * 0] * 2), RATE)
    ears = Geometry(RATE, channels, hop=80, latent_channels=8, patch=2, pool_window=5, code_count=9, longest_seconds=60)
    for sound, unheard in ((against, silent), (rumble, True), (Audio(wave_, RATE), False)):
        with pytest.raises(SourceError, match="silent") if unheard else nullcontext():
            _check_sources(Cover(sound), ears)


# -- rates


@pytest.mark.parametrize(
    ("source", "target"), [(44100, 48000), (48000, 44100), (192000, 44100), (8000, 48000), (44101, 48000)]
)
def test_a_long_sound_is_resampled_in_blocks_and_nobody_can_tell(
    source: int, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = noise(2, source // 2 + 17)
    whole = resampling.resample(samples, source, target)
    monkeypatch.setattr(resampling, "_BLOCK", source // 20)
    assert np.array_equal(resampling.resample(samples, source, target), whole)


@pytest.mark.parametrize(("source", "target"), [*itertools.permutations(COMMON[:5], 2), *UNUSUAL])
def test_a_resampled_sound_has_as_many_samples_as_fit_and_they_are_always_the_same(source: int, target: int) -> None:
    for length in (0, 1, 2, 3, 33, 441, 1000, 4411):
        samples = noise(2, length)
        made = resampling.resample(samples, source, target)
        assert made.shape == (2, -(-length * target // source))
        assert made.dtype == np.float32
        assert np.array_equal(made, resampling.resample(samples, source, target))
        assert np.array_equal(made[:1], resampling.resample(samples[:1], source, target)), "a channel knows no company"


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations((22050, 24000, 32000, 44100, 48000), 2)))
def test_common_rates_keep_what_both_hold_to_nine_tenths_and_nothing_else(source: int, target: int) -> None:
    nyquist = min(source, target) / 2
    for share in (0.05, 0.5, 0.9):
        made, wanted = heard(source, target, share * nyquist)
        assert 20 * np.log10(wanted.std() / (made - wanted).std()) > 60, "neither moved in time nor levelled"
        assert abs(20 * np.log10(made.std() / wanted.std())) < 0.02
    if source > target:
        made, _ = heard(source, target, min(1.05 * nyquist, source / 2 - 1))
        assert 20 * np.log10(0.9 / 2**0.5 / made.std()) > 120, "nothing folds back"


def heard(source: int, target: int, hertz: float) -> tuple[np.ndarray, np.ndarray]:
    """A sine at one rate brought to another, and that sine as it ought to be; without the ends, where it begins."""
    seconds = 2.3 if max(source, target) < 200_000 else 1.3
    sine = 0.9 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * source)) / source)
    made = Audio(sine, source).resample(target)
    assert made.samples.shape[1] == -(-round(seconds * source) * target // source)
    ends = round(0.2 * target)
    wanted = 0.9 * np.sin(2 * np.pi * hertz * np.arange(made.samples.shape[1]) / target)
    return made.samples[0, ends:-ends], wanted[ends:-ends]


@pytest.mark.parametrize(("source", "target"), UNUSUAL)
def test_any_other_rate_keeps_what_both_rates_hold_and_nothing_else(source: int, target: int) -> None:
    nyquist = min(source, target) / 2
    for share in (0.05, 0.5, 0.88):
        made, wanted = heard(source, target, share * nyquist)
        level = float(made @ wanted / (wanted @ wanted))
        assert abs(20 * np.log10(level)) < 0.01, "no ripple"
        assert 20 * np.log10(wanted.std() / (made - level * wanted).std()) > 100, "no seam, no drift"
    if source > target:
        made, _ = heard(source, target, min(1.01 * nyquist, source / 2 - 1))
        assert 20 * np.log10(0.9 / 2**0.5 / made.std()) > 120, "nothing folds back"


def test_an_unusual_rate_costs_no_more_memory_than_its_sound_and_little_more_time() -> None:
    seconds = 20
    usual, unusual = (Audio(noise(2, seconds * rate), rate) for rate in (44_100, 44_101))
    for sound in (usual, unusual):
        sound.cut(Region(0, 1)).resample(48_000)
    times = []
    for sound in (usual, unusual):
        began = time.process_time()
        sound.resample(48_000)
        times.append(time.process_time() - began)
    assert times[1] < 10 * max(times[0], 0.02)
    assert peak_of(lambda: unusual.resample(48_000)) < 3 * usual.samples.nbytes / 2**20


def test_what_would_grow_beyond_all_limits_is_refused_before_it_does() -> None:
    with pytest.raises(SourceError, match="At 768000 Hz this sound would take"):
        Audio(np.zeros((1, 500_000), np.float32), 1000).resample(768_000)


# -- formats of others


def with_ffmpeg(path: Path, container: str, codec: str, layout: str, samples: np.ndarray, rate: int) -> Path:
    """A file written with PyAV's encoders."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=container) as file:
        file.metadata["title"] = "Tö 音"
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        fitted = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or 1024)
        for piece in [*fitted.resample(frame), *fitted.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return path


FOREIGN = [
    ("a.m4a", "ipod", "aac", "stereo"),
    ("a.aac", "adts", "aac", "stereo"),
    ("a.mp4", "mp4", "aac", "5.1"),
    ("alac.m4a", "ipod", "alac", "stereo"),
    ("a.webm", "webm", "libopus", "stereo"),
    ("a.mka", "matroska", "aac", "mono"),
]


@pytest.mark.parametrize(("name", "container", "codec", "layout"), FOREIGN)
def test_aac_m4a_and_webm_are_read_where_pyav_is_and_within_the_same_limits(
    name: str, container: str, codec: str, layout: str, tmp_path: Path
) -> None:
    at = np.arange(2 * 48000) / 48000
    count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    tones = np.stack([0.3 * np.sin(2 * np.pi * (300 + 100 * n) * at) for n in range(count)]).astype(np.float32)
    path = with_ffmpeg(tmp_path / name, container, codec, layout, tones, 48000)
    sound = Audio.read(path)
    assert (sound.channels, sound.rate, sound.layout) == (count, 48000, ())
    assert sound.seconds == pytest.approx(2, abs=0.1)
    assert sound.with_channels(1).loudness() == pytest.approx(Audio(tones, 48000).with_channels(1).loudness(), abs=0.5)
    assert Audio.read(path.read_bytes()) == sound
    assert reading.tags(path).get("title", "") == ("" if container == "adts" else "Tö 音")
    with pytest.raises(SourceError, match=r"at most 0\.50 s"):
        Audio.read(path, longest=0.5)
    (tmp_path / "half").write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceError):
        Audio.read(tmp_path / "half")


def test_without_pyav_the_sentence_names_the_format_and_the_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acestep_lab.audio.pyav.installed", lambda: False)
    (tmp_path / "my song.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(200))
    with pytest.raises(SourceError, match=r"AAC .*acestep_lab\[codecs\].*`ffmpeg -i 'my song.m4a' 'my song.flac'`"):
        Audio.read(tmp_path / "my song.m4a")


def test_a_page_lets_in_what_can_be_read(tmp_path: Path) -> None:
    at = np.arange(48000) / 48000
    song = with_ffmpeg(tmp_path / "a.m4a", "ipod", "aac", "mono", np.sin(at * 2000, dtype=np.float32)[None], 48000)
    check("My Song.M4A", song.stat().st_size)
    assert decode(song.read_bytes(), "My Song.M4A").seconds == pytest.approx(1, abs=0.1)
    with pytest.raises(SourceError, match=r"'two\.webm' is"):
        decode(b"\x1aE\xdf\xa3" + bytes(99), "two.webm")


def test_a_playlist_is_never_followed(tmp_path: Path) -> None:
    for text in (
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n",
        "ffconcat version 1.0\nfile '/etc/hostname'\n",
    ):
        (tmp_path / "list.m4a").write_text(text)
        with pytest.raises(SourceError, match="no sound file"):
            Audio.read(tmp_path / "list.m4a")


def test_a_pyav_whose_libraries_are_missing_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # importing it raises ImportError
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(200))
    for ask in (Audio.read, reading.tags):
        with pytest.raises(SourceError):
            ask(tmp_path / "song.m4a")


def test_the_grid_of_a_gridded_sound_is_the_sound_itself_and_a_flac_of_it_gives_it_back() -> None:
    over = np.nextafter(np.float32(1), np.float32(2))
    for value in (over, -over, 1.0, -1.0, 1.5, 2**20 + 0.3, 1 - 2**-24):
        gridded = Audio(np.full((2, 500), value, np.float32), 48000).on_grid()
        assert np.array_equal(gridded.on_grid().samples, gridded.samples)
        assert np.array_equal(Audio.read(gridded.encoded("flac")).samples, gridded.samples)


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_a_sound_as_loud_as_floats_go_is_written_and_read_without_a_warning(kind: str) -> None:
    loud = Audio(np.full((1, 5000), np.finfo(np.float32).max), 48000)
    with contextlib.suppress(SourceError):  # the codec may overshoot: then it is a sentence
        assert Audio.read(loud.encoded(kind)).peak > 1e37
