"""A sound keeps its samples through files and splices, and knows its loudness."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio, splice
from acestep_lab.errors import SourceError
from acestep_lab.prompt.tasks import Region
from tests.closeness import assert_near


def tone(
    seconds: float = 2.0, rate: int = 24_000, hertz: float = 997.0, channels: int = 1, level: float = 0.5
) -> Audio:
    at = np.arange(round(seconds * rate)) / rate
    return Audio(np.repeat(level * np.sin(2 * np.pi * hertz * at)[None], channels, axis=0), rate)


def test_a_flac_gives_back_the_very_samples_and_its_comment(tmp_path: Path) -> None:
    import soundfile

    sound = tone(channels=2).on_grid()
    story = "Grüße, 音楽, " + "x" * 9000
    sound.write(tmp_path / "a.flac", comment=story)
    assert np.array_equal(Audio.read(tmp_path / "a.flac").samples, sound.samples)
    with soundfile.SoundFile(str(tmp_path / "a.flac")) as file:
        assert file.comment == story


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "ogg", "mp3"])
def test_every_format_keeps_length_and_level(kind: str, tmp_path: Path) -> None:
    sound = tone(seconds=3)
    again = Audio.read(sound.write(tmp_path / f"a.{kind}"))
    assert again.seconds == pytest.approx(3, abs=0.15)
    assert again.loudness() == pytest.approx(sound.loudness(), abs=0.3)


def test_a_minute_and_more_of_opus_does_not_bring_the_process_down(tmp_path: Path) -> None:
    long = tone(seconds=70).write(tmp_path / "long.ogg")
    assert Audio.read(long).seconds == pytest.approx(70, abs=0.1)


def test_full_scale_sine_measures_as_the_standard_says() -> None:
    assert tone(level=1.0, rate=48_000).loudness() == pytest.approx(-3.01, abs=0.02)
    assert tone(level=1.0, rate=24_000).loudness() == pytest.approx(-3.01, abs=0.1)
    assert tone(seconds=0.2).loudness() == -math.inf


def test_loudness_of_a_long_sound_is_that_of_its_parts_and_behind_counts_more() -> None:
    long = tone(seconds=35)
    assert long.loudness() == pytest.approx(tone(seconds=5).loudness(), abs=1e-3)
    assert (long.gain(-20).loudness() - long.loudness()) == pytest.approx(-20, abs=1e-6)
    silence, one = np.zeros(48_000, np.float32), tone().samples[0]
    six = {place: Audio(np.stack([one if n == place else silence for n in range(6)]), 24_000) for place in (0, 3, 4)}
    assert six[4].loudness() - six[0].loudness() == pytest.approx(1.5, abs=0.01)
    assert six[3].loudness() == -math.inf, "low frequencies do not count"


def test_resampling_keeps_a_tone_where_it_was() -> None:
    resampled = tone(rate=44_100).resample(24_000)
    inside = slice(1200, -1200)
    assert_near(resampled.samples[:, inside], tone(rate=24_000).samples[:, inside], 1e-3)


def test_a_splice_changes_nothing_outside_regions_and_crossfades() -> None:
    old, new = tone(seconds=4, channels=2), tone(seconds=4, channels=2, hertz=440)
    spliced = splice(old, new, [Region(0.5, 1), Region(2, 3)], crossfade=0.1)
    changed = np.nonzero((spliced.samples != old.samples).any(axis=0))[0] / old.rate
    assert changed.min() >= 0.4
    assert changed.max() <= 3.1
    assert not ((changed > 1.1) & (changed < 1.9)).any()
    inside = Region(2, 3).samples(old.rate)
    assert np.array_equal(spliced.samples[:, inside], new.samples[:, inside])


def test_peaks_hold_the_extremes_of_every_span() -> None:
    peaks = tone().peaks(50)
    assert peaks.shape == (1, 50, 2)
    assert peaks.min() == tone().samples.min()
    assert peaks.max() == tone().samples.max()


def test_what_is_no_sound_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "words.wav").write_text("not a sound at all")
    with pytest.raises(SourceError, match=r"'words.wav' is no sound file"):
        Audio.read(tmp_path / "words.wav")
    with pytest.raises(SourceError, match="no file"):
        Audio.read(tmp_path / "none.wav")
    with pytest.raises(SourceError, match="the upload is no sound"):
        Audio.read(io.BytesIO(b"\0" * 100))
    with pytest.raises(SourceError, match=r"\.flac"):
        tone().write(tmp_path / "a.xyz")
    with pytest.raises(SourceError, match="no folder"):
        tone().write(tmp_path / "none" / "a.flac")
    with pytest.raises(SourceError, match=r"lasts 2.00 s; at most 1.00 s"):
        Audio.read(tone().write(tmp_path / "a.flac"), longest=1.0)


def test_the_same_samples_have_the_same_name() -> None:
    assert tone() == tone()
    assert tone() != tone(level=0.4)
    assert tone().id == Audio(tone().samples, 24_000).id


def test_a_written_file_can_be_read_by_whoever_may_read_files_here(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    assert tone().write(tmp_path / "a.flac").stat().st_mode == plain.stat().st_mode
