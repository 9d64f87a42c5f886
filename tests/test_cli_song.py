"""The command line's ways out: stitched songs, stems, exports, names of files; and what it says where there is nothing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from acestep_lab import Audio, Recipe, Take
from acestep_lab.cli import main
from acestep_lab.cli.song import read_piece
from acestep_lab.prompt.tasks import Stitch
from acestep_lab.takes.exchange import read_file
from acestep_lab.takes.library import Library


@pytest.fixture
def kept(tmp_path: Path) -> tuple[list[str], list[str]]:
    """Two takes in a library: how a command is told of it, and their ids."""
    library = Library(tmp_path / "library")
    ids = []
    for seed in (1, 2):
        time = np.arange(2 * 8000) / 8000
        sound = Audio(0.3 * np.sin(2 * np.pi * 220 * seed * time)[None].astype(np.float32), 8000)
        take = Take(Recipe("slow dub", seconds=2, seed=seed), audio=sound, latent=np.zeros((4, 4), np.float32))
        library.keep(take)
        ids.append(take.id)
    return ["--takes", str(tmp_path / "library")], ids


def said(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """What a command writes to stdout and stderr."""
    capsys.readouterr()
    found = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    assert found == status, err
    return out + err


def test_an_export_is_written_as_chosen_and_several_takes_go_into_one_file(
    kept: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library, ids = kept
    out = tmp_path / "out.wav"
    said(capsys, "export", ids[0], out, "--bits", "24", "--peak", "-6", "--fade-out", "0.5", *library)
    assert Audio.read(out).peak == pytest.approx(10 ** (-6 / 20), rel=0.02)
    assert read_file(out).parents == (ids[0],)
    said(capsys, "export", out, tmp_path / "again.flac", *library)
    told = json.loads(said(capsys, "export", *ids, tmp_path / "both.zip", "--no-latent", "--json", *library))
    assert told == {"ids": ids, "file": str(tmp_path / "both.zip")}
    with zipfile.ZipFile(tmp_path / "both.zip") as archive:
        assert not any(name.endswith(".safetensors") for name in archive.namelist())
    said(capsys, "export", *ids, tmp_path / "page.html", *library)
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<audio") == 2
    assert "go into a .zip" in said(capsys, "export", *ids, tmp_path / "both.mp3", *library, status=2)
    assert "has no bits" in said(capsys, "export", ids[0], tmp_path / "a.mp3", "--bits", "16", *library, status=2)


def test_takes_are_listed_by_their_titles_and_an_empty_list_says_so(
    kept: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library, ids = kept
    listed = said(capsys, "takes", *library)
    assert "slow dub #2" in listed
    assert all(id in listed for id in ids)
    assert said(capsys, "takes", "waltz", *library) == "No kept take is like that.\n"
    assert said(capsys, "takes", "--takes", tmp_path / "none") == "No take is kept yet.\n"
    assert said(capsys, "restore", *library) == "The bin is empty.\n"
    assert "holds no take" in said(capsys, "restore", "take-0000000000000000", *library, status=2)


def test_pieces_are_stitched_and_called_by_their_title(
    kept: tuple[list[str], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, ids = kept
    monkeypatch.chdir(tmp_path)
    said(capsys, "stitch", f"{ids[0]}:0:1", ids[1], "--crossfade", "none", *library)
    (song,) = tmp_path.glob("*.flac")
    assert song.name == "slow dub, stitched.flac"
    made = read_file(song)
    assert made.parents == tuple(ids)
    assert isinstance(made.recipe.task, Stitch)
    assert made.seconds == pytest.approx(3.0, abs=0.02)
    assert "runs forward" in said(capsys, "stitch", f"{ids[0]}:1:0", *library, status=2)
    assert "A crossfade is" in said(capsys, "stitch", ids[0], "--crossfade", "foo", *library, status=2)


def test_a_piece_is_a_source_and_perhaps_times() -> None:
    assert read_piece("song.flac:0:8.5") == ("song.flac", (0.0, 8.5))
    assert read_piece("song.flac") == ("song.flac", None)
    assert read_piece("a:b:c.flac") == ("a:b:c.flac", None)
    assert read_piece("C:take.flac:1:2") == ("C:take.flac", (1.0, 2.0))


def test_stems_and_the_rest_add_up_to_the_mix(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--checkpoint", str(tiny_base), "--takes", str(tmp_path / "library")]
    mix = Audio(np.sin(np.arange(48000) / 20)[None].repeat(2, 0).astype(np.float32) * 0.3, 48000)
    mix.write(tmp_path / "mix.wav")
    said(capsys, "stems", tmp_path / "mix.wav", "drums", "--out", tmp_path / "lanes", *usual)
    lanes = sorted((tmp_path / "lanes").glob("*.wav"))
    assert [lane.name for lane in lanes] == ["drums.wav", "rest.wav"]
    total = sum(Audio.read(lane).samples for lane in lanes)
    assert np.abs(total - mix.samples).max() < 1e-6
