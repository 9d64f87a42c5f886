"""Takes as files for others: every form, level, rate and fade; what each file says of itself when it is opened again."""

from __future__ import annotations

import base64
import itertools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from acestep_lab.audio import pyav
from acestep_lab.audio.audio import Audio
from acestep_lab.audio.exporting import BITRATES, ExportOptions, bytes_about, dithered, ready
from acestep_lab.errors import RecipeError, SourceError, TakeWarning
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.exchange import export, read_file
from acestep_lab.takes.take import Take

RATE = 48_000
CODECS = pytest.mark.skipif(not pyav.is_there(), reason="PyAV is not installed")


def music(seconds: float = 4.0, level: float = 0.5, rate: int = RATE, seed: int = 1) -> Audio:
    """Chords that swell, with a little noise: something a codec keeps and a meter measures."""
    at = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * at) for f in (220.0 + seed, 277.2, 329.6, 1318.5)) / 4
    noise = np.random.default_rng(seed).standard_normal((2, len(at))) * 0.02
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * at / 2.0)
    whole = swell * tones + noise
    return Audio((whole / np.abs(whole).max() * level).astype(np.float32), rate).on_grid()


def a_take(**how: Any) -> Take:
    recipe = Recipe("slow dub <b>techno</b>", seconds=4.0, seed=7)
    return Take(recipe, music(**how), np.zeros((20, 8), np.float32), made_with={"checkpoint": "pocket"})


TAKE = a_take()


@pytest.mark.parametrize(
    ("name", "options", "subtype"),
    [
        ("a.wav", {"bits": 16}, "PCM_16"),
        ("a.wav", {"bits": 24}, "PCM_24"),
        ("a.wav", {"bits": 32}, "FLOAT"),
        ("a.wav", {}, "FLOAT"),
        ("a.flac", {"bits": 16}, "PCM_16"),
        ("a.flac", {"bits": 24}, "PCM_24"),
        ("a.opus", {"bitrate": 96}, "OPUS"),
        ("a.mp3", {"bitrate": 320}, "MPEG_LAYER_III"),
    ],
)
def test_an_unchanged_export_is_the_take_or_a_copy_of_it(
    name: str, options: dict[str, Any], subtype: str, tmp_path: Path
) -> None:
    path = TAKE.export(tmp_path / name, **options)
    assert soundfile.info(str(path)).subtype == subtype
    back = read_file(path)
    assert (back.id, back.remarks) == (TAKE.id, ())
    assert back.is_copy == (subtype in ("PCM_16", "OPUS", "MPEG_LAYER_III"))


@CODECS
def test_an_m4a_holds_the_manifest_and_is_a_copy(tmp_path: Path) -> None:
    back = read_file(TAKE.export(tmp_path / "a.m4a", bitrate=192))
    assert (back.id, back.is_copy) == (TAKE.id, True)


CHANGES: dict[str, dict[str, Any]] = {
    "louder": {"lufs": -20.0},
    "peak": {"peak_db": -6.0},
    "faded in": {"fade_in": 0.5},
    "faded out": {"fade_out": 1.0},
    "resampled": {"rate": 44_100},
}
LOSSLESS = ("wav", "flac")


@pytest.mark.parametrize(("what", "kind"), itertools.product(CHANGES, ["wav", "flac", "opus", "mp3", "m4a"]))
def test_a_changed_export_says_so_and_is_never_the_take_itself(what: str, kind: str, tmp_path: Path) -> None:
    if kind == "m4a" and not pyav.is_there():
        pytest.skip("PyAV is not installed")
    if kind == "opus" and what == "resampled":
        with pytest.raises(SourceError, match="48000 always works"):
            TAKE.export(tmp_path / "a.opus", **CHANGES[what])
        return
    back = read_file(TAKE.export(tmp_path / f"a.{kind}", **CHANGES[what]))
    assert back.id != TAKE.id
    assert back.parents == (TAKE.id,)
    assert "changed on purpose" in back.remarks[0]
    assert len(back.remarks[0]) < 300


def test_the_level_is_where_it_was_asked_to_be(tmp_path: Path) -> None:
    assert Audio.read(TAKE.export(tmp_path / "a.wav", lufs=-20.0)).loudness() == pytest.approx(-20, abs=0.1)
    assert 20 * np.log10(Audio.read(TAKE.export(tmp_path / "b.wav", peak_db=-6.0)).peak) == pytest.approx(-6, abs=0.01)


def test_fades_begin_and_end_in_silence_and_leave_the_middle(tmp_path: Path) -> None:
    made = Audio.read(TAKE.export(tmp_path / "a.wav", fade_in=0.5, fade_out=1.0))
    assert np.abs(made.samples[:, [0, -1]]).max() == 0
    middle = slice(RATE, 2 * RATE)
    assert np.array_equal(made.samples[:, middle], TAKE.audio.samples[:, middle])


def test_loudness_that_would_cut_peaks_off_stops_before_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(TakeWarning, match="peaks would be cut off"):
        made = Audio.read(TAKE.export(tmp_path / "a.wav", bits=24, lufs=-3.0))
    assert 20 * np.log10(made.peak) == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("kind", ["wav", "flac", pytest.param("m4a", marks=CODECS)])
def test_what_is_louder_than_full_scale_is_turned_down_and_said(kind: str, tmp_path: Path) -> None:
    loud = a_take(level=3.0)
    options = {} if kind == "m4a" else {"bits": 16}
    with pytest.warns(TakeWarning, match="louder than full scale"):
        path = loud.export(tmp_path / f"a.{kind}", **options)
    assert Audio.read(path).peak < 1.0
    assert read_file(path).parents == (loud.id,)


def test_silence_has_no_level_to_change_and_says_so(tmp_path: Path) -> None:
    silent = TAKE.replace(audio=Audio(np.zeros((2, RATE), np.float32), RATE))
    with pytest.warns(TakeWarning, match="silent"):
        silent.export(tmp_path / "a.wav", peak_db=-1.0)


def test_sixteen_bits_are_dithered_by_a_seed_and_on_their_grid() -> None:
    one, other = dithered(TAKE.audio), dithered(TAKE.audio)
    assert np.array_equal(one.samples, other.samples)
    steps = one.samples * 2.0**15
    assert np.array_equal(steps, np.rint(steps))
    error = (one.samples - TAKE.audio.samples).ravel() * 2.0**15
    assert np.abs(error).max() <= 1.5
    assert np.std(error) == pytest.approx(0.5, abs=0.02), "triangular dither and rounding: half a step"
    assert dithered(one) is one


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.opus", "a.mp3", "a.zip", pytest.param("a.m4a", marks=CODECS)])
def test_the_same_take_and_options_give_the_same_sound_again(name: str, tmp_path: Path) -> None:
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = TAKE.export(tmp_path / folder / name, fade_out=1.0)
        if name.endswith("zip"):
            with zipfile.ZipFile(path) as archive:
                made.append({entry: archive.read(entry) for entry in archive.namelist()})
        else:
            made.append(Audio.read(path).samples.tobytes())
    assert made[0] == made[1]


def test_a_zip_holds_several_takes_each_with_manifest_and_latent(tmp_path: Path) -> None:
    takes = [a_take(seed=1), a_take(seed=2)]
    path, remarks = export(takes, tmp_path / "all.zip", ExportOptions(form="mp3", bitrate=128))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = sorted(archive.namelist())
    assert names == sorted(f"{take.id}.{kind}" for take in takes for kind in ("mp3", "json", "safetensors"))
    assert remarks == ()
    path, _ = export(takes, tmp_path / "few.zip", ExportOptions(latent=False))
    with zipfile.ZipFile(path) as archive:
        assert {name.rsplit(".")[-1] for name in archive.namelist()} == {"flac", "json"}


def test_a_page_plays_by_itself_and_tells_where_each_take_came_from(tmp_path: Path) -> None:
    parent = a_take(seed=1)
    child = a_take(seed=2).replace(parents=(parent.id,))
    path, _ = export([parent, child], tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    sounds = re.findall(r'<audio controls[^>]*src="data:audio/ogg;codecs=opus;base64,([^"]+)"', text)
    assert [round(Audio.read(base64.b64decode(one)).seconds) for one in sounds] == [4, 4]
    assert text.count("<svg") == 2
    assert '<html lang="en">' in text
    assert "<b>techno</b>" not in text
    assert f"({parent.id})" in text.split("Made from")[1]
    assert TAKE.export(tmp_path / "one.html").read_text(encoding="utf-8").count("<audio") == 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.wav", {"bits": 8}, "16, 24, 32"),
        ("a.flac", {"bits": 32}, "16 or 24"),
        ("a.mp3", {"bits": 16}, "bitrate="),
        ("a.wav", {"bitrate": 128}, "bits=16"),
        ("a.mp3", {"bitrate": 500}, "64 to 320"),
        ("a.wav", {"lufs": -14, "peak_db": -1}, "not both"),
        ("a.wav", {"peak_db": 3}, "-60 to 0"),
        ("a.wav", {"fade_in": -1}, "0 to 3600"),
        ("a.wav", {"loudness": -14}, "no option"),
        ("a.wav", {"rate": "fast"}, "rate"),
        ("a.zip", {"form": "aiff"}, "flac"),
        ("a.xyz", {}, "no ending"),
    ],
)
def test_what_a_file_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(
    name: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=re.escape(said)) as refused:
        TAKE.export(tmp_path / name, **options)
    assert len(str(refused.value)) < 300
    assert list(tmp_path.iterdir()) == []


def test_several_takes_are_no_single_sound(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\.zip or an \.html"):
        export([a_take(seed=1), a_take(seed=2)], tmp_path / "a.wav")


@pytest.mark.parametrize("kind", [kind for kind in BITRATES if kind != "m4a" or pyav.is_there()])
def test_the_size_is_told_beforehand(kind: str, tmp_path: Path) -> None:
    options = ExportOptions(bitrate=128)
    told = bytes_about(kind, 20.0, RATE, 2, options)
    path = music(20.0).write(tmp_path / f"a.{kind}", bitrate=128)
    assert path.stat().st_size == pytest.approx(told, rel=0.15)


def test_a_sound_that_nothing_is_done_to_is_the_very_same() -> None:
    assert ready(TAKE.audio, "flac", ExportOptions()).audio is TAKE.audio


# -- a preview that a notebook keeps -------------------------------------------------------------------------------------


def sound_in(html: str) -> Audio:
    return Audio.read(base64.b64decode(re.search(r'base64,([^"]+)"', html)[1]))  # type: ignore[index]


def test_ten_embedded_seconds_play_anywhere_and_are_small() -> None:
    take = TAKE.replace(audio=music(40.0))
    kept = take.embed(seconds=10)
    html = kept._repr_html_()
    assert len(html.encode()) < 120_000
    assert sound_in(html).seconds == pytest.approx(10, abs=0.1)
    assert "<script" not in html
    assert "<b>techno" not in html
    assert "<svg" in html
    assert "kB" in repr(kept)


def test_a_preview_is_of_the_liveliest_part_or_of_the_part_asked_for() -> None:
    samples = np.concatenate([music(20.0, 0.05).samples, music(10.0, 0.8).samples, music(10.0, 0.05).samples], axis=1)
    take = TAKE.replace(audio=Audio(samples, RATE))
    assert take.embed(seconds=8).start == pytest.approx(21, abs=1.5)
    assert take.embed(seconds=8, start=3).start == 3
    assert take.embed(seconds=8, start=39).start == 32, "never beyond the end"
    assert take.embed(seconds=60).seconds == 40


@pytest.mark.parametrize("seconds", [0, -1, 1000, "ten", float("nan")])
def test_a_preview_of_no_length_is_refused(seconds: Any) -> None:
    with pytest.raises(RecipeError):
        TAKE.embed(seconds=seconds)


def test_nothing_warns_where_all_was_done_as_asked(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TAKE.export(tmp_path / "a.wav", bits=16, lufs=-20, fade_out=1)


def test_a_rate_that_is_no_whole_number_is_refused_and_not_cut() -> None:
    with pytest.raises(SourceError, match=r"The rate of an export is a whole number, not 22050\.5"):
        ExportOptions(rate=22050.5)  # type: ignore[arg-type]
