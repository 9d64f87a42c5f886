"""`acestep-lab train`: it says what it would take, teaches, is interrupted, and goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.cli import main
from acestep_lab.cli import train as command
from acestep_lab.jobs.training import Loss, TrainingRun
from acestep_lab.train.lora import KINDS
from acestep_lab.train.optimisers import NAMES
from tests.pretend import tone
from tests.test_cli_completion import completed

QUICK = ["--rank", "2", "--learning-rate", "0.01", "--seed", "3", "--held-out", "0.3"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sounds of two seconds."""
    folder = tmp_path_factory.mktemp("songs")
    for number, name in enumerate("abcd", start=1):
        tone(2.0 + 0.1 * number, seed=number).write(folder / f"{name}.wav")
    return folder


@pytest.fixture
def asked(songs: Path, tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command that teaches a tiny checkpoint."""
    takes = tmp_path_factory.getbasetemp() / "cli-train-takes"
    where = ["--checkpoint", str(tiny_original_turbo), "--takes", str(takes)]
    return ["train", str(songs), *QUICK, *where]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# -- help and completion -----------------------------------------------------------------------------------------------


def test_help_fits_eighty_columns_has_an_example_and_loads_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    look = (
        "import sys; from acestep_lab.cli import main\n"
        "main(['train', '--help'])\n"
        "print(*sorted({'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    env = os.environ | {"COLUMNS": "80"}
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, env=env)
    assert ended.stderr.strip() == ""
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "acestep-lab train songs --out zafu" in " ".join(ended.stdout.split())
    assert not re.search(r"[a-z]\.\.\.", ended.stdout)
    assert all(getattr(param, "help", "") for param in command.train.params)


def test_kinds_and_optimisers_are_completed_as_the_trainer_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "train", "songs", "--kind", "") == list(KINDS)
    assert completed(capsys, "train", "songs", "--optimiser", "") == list(NAMES)
    assert completed(capsys, "train", "songs", "--dry") == ["--dry-run"]


# -- a training --------------------------------------------------------------------------------------------------------


def test_it_says_first_what_it_would_take(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wish = [*asked, "--tag", "zafu", "--out", str(tmp_path / "zafu"), "--steps", "4", "--dry-run"]
    assert main(wish) == 0
    out = capsys.readouterr().out
    assert "3 songs to learn from, 1 held out" in out
    assert "It fits" in out
    assert "while it learns" in out
    assert main([*wish, "--json"]) == 0
    (plan,) = lines(capsys.readouterr().out)
    assert (plan["steps"], plan["fits"], plan["folder"]) == (4, True, str(tmp_path / "zafu"))
    assert not (tmp_path / "zafu").exists()


def test_what_happens_is_told_as_json(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--tag", "zafu", "--steps", "4", "--preview-every", "2", "--preview", "zafu, dub", "--kind", "lokr"]
    assert main([*asked, *more, "--out", str(tmp_path / "zafu"), "--json"]) == 0
    told = lines(capsys.readouterr().out)
    assert [one["step"] for one in told if one["kind"] == "learnt"] == [1, 2, 3, 4]
    assert [one["step"] for one in told if one["kind"] == "preview"] == [2, 4]
    assert {one["step"] for one in told if one["kind"] == "held_out"} == {0, 4}
    assert told[-1]["kind"] == "done"
    assert (told[-1]["state"], told[-1]["folder"]) == ("done", str(tmp_path / "zafu"))
    assert (tmp_path / "zafu" / "last" / "lokr_weights.safetensors").is_file()


def test_ctrl_c_saves_and_it_goes_on_with_or_without_its_options(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt, out = TrainingRun.learnt, ["--out", str(tmp_path / "zafu")]

    def interrupted(self: TrainingRun, loss: Loss) -> None:
        learnt(self, loss)
        if loss.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
            self.stop_event.wait(5)

    monkeypatch.setattr(TrainingRun, "learnt", interrupted)
    stop_at = 3
    assert main([*asked, *out, "--tag", "zafu", "--steps", "8"]) == 130
    err = capsys.readouterr().err
    assert f"until step 3 of 8 is in {tmp_path / 'zafu'}; the same command goes on." in err
    stop_at = 5
    assert main([*asked, *out, "--tag", "zafu", "--steps", "8"]) == 130
    assert "It goes on after step 3." in capsys.readouterr().err
    bare = [word for word in asked if word not in QUICK]
    assert main([*bare, *out, "--resume", "--steps", "9"]) == 2
    assert "has steps 8, not 9" in capsys.readouterr().err
    assert main([*bare, *out, "--resume"]) == 0
    said, err = capsys.readouterr()
    assert "It goes on after step 5." in err
    assert f"{tmp_path / 'zafu'}: an adapter of 8 steps" in said
    assert "held-out loss: " in said


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--resume"], "--out FOLDER"),
        (["--resume", "--out", "{tmp}/nothing"], "no training to go on with"),
        (["--preview", "dub"], "--preview-every"),
        (["--tag-position", "append"], "--tag zafu"),
        (["--tag", "zafu", "--steps", "0"], "steps"),
        (["--tag", "zafu", "--kind", "lorra"], "lora"),
        (["--tag", "zafu", "--rank", "500"], "rank"),
        (["--tag", "zafu", "--out", "/dev/null/out"], "cannot be made"),
    ],
)
def test_nonsense_is_a_sentence(
    more: list[str], sentence: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, *(one.format(tmp=tmp_path) for one in more)]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


def test_a_folder_without_songs_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("acestep-lab: There is no ")
