"""The command line makes music, writes what it promised, and answers nonsense with one sentence."""

from __future__ import annotations

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


def test_a_seed_of_words_is_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compose", "x", "--seed", "seven"])
    assert stopped.value.code == 2
    assert "no whole number" in said(capsys)


def test_a_folder_that_is_no_checkpoint_is_named_with_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", "x", "--checkpoint", str(tmp_path)]) == 2
    assert str(tmp_path) in said(capsys)
