"""The command line makes music, writes what it promised, and answers nonsense with one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acestep_lab import Session
from acestep_lab.cli import main


@pytest.fixture(autouse=True)
def takes_in_a_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACESTEP_LAB_TAKES", str(tmp_path / "takes"))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return out + err


def test_compose_writes_a_file_that_opens_again_with_its_recipe(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song, page = tmp_path / "song.flac", tmp_path / "song.html"
    arguments = ["compose", "slow dub techno", "--seconds", "2", "--seed", "7", "--steps", "3", "--bpm", "118"]
    assert main([*arguments, "--checkpoint", str(tiny_base), "-o", str(song), "--page", str(page)]) == 0
    assert "seed 7" in said(capsys)
    with Session.open(tiny_base, library=tmp_path / "other") as lab:
        assert lab.open(song).recipe.bpm == 118
    html = page.read_text(encoding="utf-8")
    assert html.count("<img") == 3
    assert "http" not in html.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compose", "  "], "no words"),
        (["compose", "x", "--seconds", "0"], "0 s cannot be made"),
        (["compose", "x", "--seconds", "10000"], "10000 s cannot be made"),
        (["compose", "x", "-o", "/nowhere/at/all/a.flac"], "no folder"),
        (["compose", "x", "-o", "song.xyz"], ".flac"),
        (["compose", "x", "-o", "/"], "'/' has no ending"),
        (["compose", "x", "--page", "/nowhere/at/all/a.html"], "no folder"),
        (["compose", "x", "--page", "/"], "is a folder"),
        (["demo", ""], "no words"),
        (["demo", "--seconds", "0"], "0 s cannot be made"),
        (["demo", "--out", "/dev/null/demo"], "cannot be made"),
        (["judge", "pocket", "--out", "/dev/null/table"], "cannot be made"),
        (["serve", "--checkpoint", "trubo"], "turbo"),
        (["serve", "--takes", "/dev/null/takes"], "cannot be made"),
        (["compose", "x", "--key", "H major"], "no key"),
        (["compose", "x", "--lyrics", "@/nowhere.txt"], "cannot be read"),
        (["compose", "x", "--checkpoint", "trubo"], "turbo"),
        (["compose", "x", "--checkpoint", "/nowhere"], "no folder"),
        (["judge", "pocket", "--only", "tempi"], "no measure 'tempi'"),
        (["judge", "pocket", "--prompts", "9999"], "fixed prompts"),
    ],
)
def test_nonsense_is_one_sentence_and_status_two(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out = said(capsys)
    assert sentence in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compose", "x", "--seed", "seven"], "no whole number"),
        (["compose", "x", "--seconds", "long"], "no number"),
        (["serve", "--port", "99999"], "between 1 and 65535"),
    ],
)
def test_words_for_numbers_are_refused_by_the_parser(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert sentence in said(capsys)


def test_a_take_without_a_name_replaces_no_file(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compose", "slow dub techno", "--seconds", "1", "--steps", "1", "--checkpoint", str(tiny_base)]
    for _ in range(3):
        assert main(arguments) == 0
    assert sorted(path.name for path in tmp_path.glob("*.flac")) == ["take-2.flac", "take-3.flac", "take.flac"]
    assert not list(tmp_path.glob(".draft*"))
    assert "take-3.flac: 1.0 s" in said(capsys)


def test_an_odd_choice_is_said_once(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.wav")
    arguments = ["compose", "x", "--seconds", "1", "--steps", "1", "--shift", "9", "-o", out]
    assert main([*arguments, "--checkpoint", str(tiny_base)]) == 0
    assert said(capsys).count("with 9 its steps fall where it did not learn") == 1


def test_a_reader_that_goes_away_is_no_accident(tmp_path: Path) -> None:
    environment = os.environ | {"ACESTEP_LAB_TAKES": str(tmp_path / "takes")}
    speak = "import sys, time; from acestep_lab.cli import main; time.sleep(1); sys.exit(main(['doctor']))"
    with subprocess.Popen(
        [sys.executable, "-c", speak], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as doctor:
        assert doctor.stdout is not None
        assert doctor.stderr is not None
        doctor.stdout.close()
        assert "Traceback" not in doctor.stderr.read().decode()
    assert doctor.returncode == 141


def test_a_folder_that_is_no_checkpoint_is_named_with_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", "x", "--checkpoint", str(tmp_path)]) == 2
    assert str(tmp_path) in said(capsys)


def test_a_page_never_takes_the_place_of_its_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = str(tmp_path / "song.flac")
    assert main(["compose", "dub", "--seconds", "1", "-o", song, "--page", song]) == 2
    assert "name two files" in capsys.readouterr().err


@pytest.mark.parametrize("odd", [["--prompts", "0"], ["--prompts", "-3"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_a_judge_is_told_what_is_wrong_before_anything_is_rendered(
    odd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge", "pocket", *odd]) == 2
    assert "lies between" in (said := capsys.readouterr().err) or "is a number" in said
