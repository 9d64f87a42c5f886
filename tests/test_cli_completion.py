"""The shell completes commands, options and names, and learns to by one option."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acestep_lab.cli import main
from acestep_lab.engines import registry
from acestep_lab.prompt.vocabulary import STEMS

COMPLETION_VARIABLE = "_ACESTEP_LAB_COMPLETE"


def completed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What bash is offered for the last of these words; "dir" and "file" where it looks for one itself."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(COMPLETION_VARIABLE, "bash_complete")
        environment.setenv("COMP_WORDS", " ".join(["acestep-lab", *words]))
        environment.setenv("COMP_CWORD", str(len(words)))
        assert main() == 0
    kinds = [line.split(",", 1) for line in capsys.readouterr().out.splitlines() if line]
    return [value if kind == "plain" else kind for kind, value in kinds]


def test_commands_and_options_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "co") == ["compose", "cover", "complete"]
    assert {"doctor", "evaluate", "serve", "repaint", "extract"} <= set(completed(capsys, ""))
    assert completed(capsys, "compose", "x", "--sol") == ["--solver"]


@pytest.mark.parametrize(
    "words", [["compose", "x", "--checkpoint"], ["serve", "--checkpoint"], ["evaluate"], ["doctor", "--checkpoint"]]
)
def test_checkpoints_are_completed_by_name_or_as_folders(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, *words, "") == ["dir", *registry.names()]
    assert completed(capsys, *words, "xl-") == ["dir", "xl-turbo", "xl-sft", "xl-base"]
    assert completed(capsys, *words, "musicgen-st")[1] == "musicgen-stereo-small"


def test_only_what_can_be_fetched_is_offered_for_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(completed(capsys, "download", "")) == set(registry.names()) - {"pocket"}


def test_stems_are_completed_one_after_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "extract", "song.flac", "") == list(STEMS)
    assert completed(capsys, "complete", "song.flac", "drums", "b") == ["brass", "bass", "backing_vocals"]
    assert completed(capsys, "lego", "") == ["file"]


def test_choices_languages_and_planners_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "compose", "x", "--guidance", "a") == ["apg", "adg"]
    assert completed(capsys, "compose", "x", "--precision", "") == ["auto", "int8"]
    assert completed(capsys, "compose", "x", "--language", "d") == ["da", "de"]
    assert completed(capsys, "compose", "x", "--lm", "") == ["dir", "0.6B", "1.7B", "4B"]
    assert completed(capsys, "repaint", "song.flac", "--mode", "b") == ["balanced"]


def test_files_are_completed_after_an_at_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words [1].txt").touch()
    (tmp_path / "other.txt").touch()
    assert completed(capsys, "compose", "x", "--lyrics", f"@{tmp_path}/wo") == [f"@{tmp_path}/words [1].txt"]
    assert completed(capsys, "compose", "x", "--lyrics", "hello") == []


def test_what_was_typed_wrongly_before_does_not_stop_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "compose", "--lyrics", "@/nowhere", "--seed", "x", "--solver", "h") == ["heun"]


def test_completion_loads_neither_torch_nor_numpy() -> None:
    look = (
        "import sys; from acestep_lab.cli import main; main()\n"
        "print(*sorted({'torch', 'numpy', 'diffusers', 'transformers', 'panel'} & set(sys.modules)), file=sys.stderr)"
    )
    for words in ("acestep-lab compose --checkpoint t", "acestep-lab extract x dr"):
        asked = {COMPLETION_VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
        done = subprocess.run(
            [sys.executable, "-c", look], capture_output=True, text=True, check=True, env=os.environ | asked
        )
        assert done.stderr.strip() == ""
        assert ("turbo" in done.stdout and "musicgen" not in done.stdout) or "drums" in done.stdout


# -- installing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, with a space in its name."""
    folder = tmp_path / "my home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize(("shell", "start"), [("bash", ".bashrc"), ("zsh", ".zshrc")])
def test_installing_adds_one_line_to_the_start_file_however_often(
    shell: str, start: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    (home / start).write_bytes(b"export NAME=caf\xe9")  # of another coding, and without an end of line
    assert main(["--install-completion"]) == 0
    once = (home / start).read_bytes()
    assert main([f"--install-completion={shell}"]) == 0
    assert (home / start).read_bytes() == once
    first, line = once.splitlines()
    assert first == b"export NAME=caf\xe9"
    assert f"completion.{shell}".encode() in line
    assert start in capsys.readouterr().out


def test_fish_reads_its_folder_of_completions(home: Path) -> None:
    assert main(["--install-completion=fish"]) == 0
    assert "acestep-lab" in (home / ".config/fish/completions/acestep-lab.fish").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_of_every_shell_can_be_shown(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--show-completion={shell}"]) == 0
    assert f"{shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shell", "option", "sentence"),
    [
        ("/bin/tcsh", "--install-completion", "not known for 'tcsh'; name one of bash, zsh"),
        ("", "--show-completion", "SHELL does not say"),
        ("/bin/bash", "--install-completion=ksh", "not known for 'ksh'"),
        ("/bin/bash", "--install-completion=powershell", "$PROFILE"),
    ],
)
def test_a_shell_that_cannot_be_served_is_a_sentence(
    shell: str,
    option: str,
    sentence: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHELL", shell)
    assert main([option]) == 2
    assert sentence in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    assert main(["--install-completion=bash"]) == 2
    assert "could not be installed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_new_bash_completes_after_installing(home: Path) -> None:
    assert main(["--install-completion=bash"]) == 0
    command = home / "acestep-lab"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m acestep_lab "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    ask = (
        ". ~/.bashrc; COMP_WORDS=(acestep-lab evaluate xl-t); COMP_CWORD=2; compopt() { :; }\n"
        '_acestep_lab_completion acestep-lab; echo "${COMPREPLY[@]}"'
    )
    environment = os.environ | {"PATH": f"{home}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "xl-turbo\n"
    assert done.stderr == ""
