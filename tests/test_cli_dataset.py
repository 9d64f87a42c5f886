"""`acestep-lab dataset`: songs are told, labelled and checked; what is odd decides the exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.cli import dataset as command
from acestep_lab.cli import main
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.labels import Label
from tests.pretend import PretendSession, tone
from tests.test_cli_completion import completed

SUBCOMMANDS = ("scan", "label", "check")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two songs, one of them with a caption that a person wrote."""
    place = tmp_path / "songs"
    place.mkdir()
    for number, name in enumerate(("a", "b"), start=1):
        tone(6.0, seed=number).write(place / f"{name}.wav")
    (place / "b.caption.txt").write_text("my own words")
    return place


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PretendSession]:
    """Sessions that the command opens are stand-ins; they are listed here."""
    opened: list[PretendSession] = []

    @contextmanager
    def open_session(checkpoint: str | None, **options: Any) -> Iterator[PretendSession]:
        lab = PretendSession(options["library"], pause=0.0)
        if checkpoint is not None:
            lab.use(checkpoint)
        opened.append(lab)
        try:
            yield lab
        finally:
            lab.close()

    monkeypatch.setattr(command, "open_session", open_session)
    return opened


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# -- help and completion -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_each_fits_eighty_columns_and_says_what_every_option_is_for(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["dataset", name, "-h"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"[a-z]\.\.\.", out)
    found = command.dataset.commands[name]
    assert all(getattr(param, "help", "") for param in found.params)
    assert found.help is not None
    assert found.help.rstrip().endswith(".")


def test_help_and_completion_load_neither_torch_nor_numpy() -> None:
    look = (
        "import sys; from acestep_lab.cli import main\n"
        f"for name in {SUBCOMMANDS}: main(['dataset', name, '--help'])\n"
        "print(*sorted({'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == ""


def test_commands_positions_and_checkpoints_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "dataset", "") == list(SUBCOMMANDS)
    assert completed(capsys, "dataset", "label", "songs", "--tag-position", "") == ["prepend", "append", "replace"]
    assert "musicgen-small" in completed(capsys, "dataset", "label", "songs", "--checkpoint", "")


# -- scan and check ----------------------------------------------------------------------------------------------------


def test_songs_are_told_with_what_is_said_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "torn.flac").write_bytes(b"fLaC and no more")
    assert main(["dataset", "scan", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["a.wav: 6.0 s, nothing is said of it", "b.wav: 6.0 s, caption 'my own words'"]
    assert "torn.flac" in err
    assert "2 songs" in err
    assert main(["dataset", "scan", str(folder), "--json"]) == 0
    found = lines(capsys.readouterr().out)
    assert [one["song"] for one in found] == ["a.wav", "b.wav"]
    assert found[1]["labels"] == {
        "caption": {"value": "my own words", "source": "written", "locked": False, "sure": None}
    }
    assert found[0]["remarks"][0]["kind"] == "unlabelled"


def test_the_check_says_by_its_exit_status_whether_anything_is_serious(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "check", str(folder)]) == 0
    assert "(note) Nothing is said of this song yet." in capsys.readouterr().out
    Audio(np.zeros((1, 8000 * 6), np.float32), 8000).write(folder / "silence.wav")
    assert main(["dataset", "check", str(folder), "--json"]) == 1
    out, err = capsys.readouterr()
    assert [one["kind"] for one in lines(out)[2]["remarks"] if one["serious"]] == ["silent"]
    assert "1 song to look after" in err


def test_a_file_that_had_to_be_left_out_is_serious(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "torn.flac").write_bytes(b"fLaC and no more")
    assert main(["dataset", "check", str(folder)]) == 1
    assert "torn.flac" in capsys.readouterr().err


# -- label -------------------------------------------------------------------------------------------------------------


def test_songs_are_labelled_beside_themselves_and_what_was_written_stays(
    folder: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "label", str(folder), "--seeds", "2", "--tag", "zafu", "--tag-position", "append"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["1 of 2", "2 of 2"]
    assert "2 songs" in err
    found = Dataset.scan(folder)
    assert [(song.caption, song.labels["caption"].source) for song in found] == [
        ("a sine of 6.0 s", "guessed"), ("my own words", "written"),
    ]  # fmt: skip
    assert all(song.tag == "zafu" and song.labels["bpm"].source == "heard" for song in found if song.bpm)
    assert found.about["tag_position"] == "append"
    assert all(song.lyrics == "" for song in found)


def test_the_same_command_goes_on_and_again_listens_anew(
    folder: Path, tmp_path: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    wish = ["dataset", "label", str(folder), "--seeds", "1", "--json", "--out", str(out)]
    assert main(wish) == 0
    assert [one["resumed"] for one in lines(capsys.readouterr().out)] == [False, False]
    assert not (folder / "metadata.jsonl").exists()
    assert main(wish) == 2
    assert "--again" in capsys.readouterr().err
    assert main(["dataset", "label", str(out), "--seeds", "1", "--json"]) == 0
    assert [one["resumed"] for one in lines(capsys.readouterr().out)] == [True, True]
    assert main([*wish, "--again"]) == 0
    assert [one["resumed"] for one in lines(capsys.readouterr().out)] == [False, False]


def test_what_is_done_when_ctrl_c_comes_is_kept(
    folder: Path, pretended: list[PretendSession], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = PretendSession.analyze

    def once(self: PretendSession, source: Any, bpm: float | None = None) -> Any:
        if str(source).endswith("b.wav"):
            raise KeyboardInterrupt
        return first(self, source, bpm)

    monkeypatch.setattr(PretendSession, "analyze", once)
    assert main(["dataset", "label", str(folder), "--seeds", "1"]) == 130
    assert "1 of 2 are labelled; the same command goes on." in capsys.readouterr().err
    monkeypatch.setattr(PretendSession, "analyze", first)
    assert main(["dataset", "label", str(folder), "--seeds", "1", "--json"]) == 0
    assert [one["resumed"] for one in lines(capsys.readouterr().out)] == [True, False]


def test_a_song_that_fails_is_named_and_the_others_are_written(
    folder: Path, pretended: list[PretendSession], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def understand(self: PretendSession, source: Any, seed: int = 0, **how: Any) -> Plan:
        raise RuntimeError("the card is full")

    monkeypatch.setattr(PretendSession, "understand", understand)
    assert main(["dataset", "label", str(folder), "--seeds", "1"]) == 2
    err = capsys.readouterr().err
    assert "a.wav: The planner cannot read it" in err
    assert "2 of 2 songs could not be labelled whole." in err
    assert "heard" in (folder / "metadata.jsonl").read_text()


def test_without_a_planner_that_is_said_once_and_the_rest_is_measured(
    folder: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "label", str(folder), "--checkpoint", "pretend-tokens"]) == 0
    assert capsys.readouterr().err.count("There is no planner here") == 1
    assert "keyscale heard" in (folder / "metadata.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seeds", "0"], "between 1 and 16"),
        (["--tag", " "], "no caption has"),
        (["--tag-position", "append"], "--tag zafu"),
        (["--tag", "zafu", "--tag-position", "apend"], "'append'"),
        (["--out", "/dev/null/out"], "cannot be made"),
        (["--out", "{folder}/../full"], "holds other files"),
        (["--out", "{folder}/out"], "inside the songs' own folder"),
    ],
)
def test_nonsense_is_refused_before_anything_is_opened(
    options: list[str], sentence: str, folder: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "full").mkdir()
    (folder.parent / "full" / "letter.txt").touch()
    assert main(["dataset", "label", str(folder), *(one.format(folder=folder) for one in options)]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert pretended == []


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_folder_without_songs_is_a_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        assert main(["dataset", name, str(place)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("acestep-lab: There is no ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("metadata.jsonl", '{"file_name": "a.wav", "mood": "mine"}\n'), ("metadata.csv", "file_name,mood\na.wav,x\n")],
)
def test_another_programs_metadata_is_never_written_over(
    name: str, text: str, folder: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(text)
    assert main(["dataset", "label", str(folder)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    assert (folder / name).read_text() == text
    assert pretended == []


def test_a_library_of_takes_is_read_and_never_written_into(
    folder: Path, tmp_path: Path, pretended: list[PretendSession], capsys: pytest.CaptureFixture[str]
) -> None:
    lab = PretendSession(tmp_path / "takes", pause=0.0)
    lab.keep(lab.make(Recipe("slow dub", seconds=2.0, seed=3)))
    lab.close()
    before = sorted((tmp_path / "takes").iterdir())
    assert main(["dataset", "label", str(tmp_path / "takes"), "--seeds", "1"]) == 2
    assert "a library of takes" in capsys.readouterr().err
    assert sorted((tmp_path / "takes").iterdir()) == before
    assert main(["dataset", "label", str(tmp_path / "takes"), "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    assert Dataset.scan(tmp_path / "out")[0].labels["caption"] == Label("slow dub")


def test_the_pocket_labels_a_song_for_real(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b.wav").unlink()
    tone(2.0).write(folder / "a.wav")
    out = tmp_path / "out"
    assert main(["dataset", "label", str(folder), "--seeds", "1", "--json", "--out", str(out)]) == 0
    told, err = capsys.readouterr()
    said = lines(told)[0]["labels"]
    assert {said[name]["source"] for name in ("caption", "genre") if name in said} == {"guessed"}
    assert "%" not in err
    assert Dataset.scan(out)[0].caption == said["caption"]["value"]
