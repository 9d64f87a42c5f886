"""The command line makes music, writes what it promised, and answers nonsense with one sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acestep_lab import Audio, Recipe
from acestep_lab.cli import COMMANDS, main
from acestep_lab.cli.options import text_or_file
from acestep_lab.cli.render import open_session
from acestep_lab.engines import registry
from acestep_lab.prompt.tasks import Cover, Extend, Lego, Region, Repaint
from acestep_lab.takes.exchange import read_file
from tests.tiny_musicgen import tiny_musicgen


@pytest.fixture(autouse=True)
def takes_in_a_folder_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACESTEP_LAB_TAKES", str(tmp_path / "takes"))


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return out + err


def test_compose_writes_a_file_that_opens_again_with_its_recipe(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song, page = tmp_path / "song.flac", tmp_path / "song.html"
    arguments = ["compose", "slow dub techno", "--seconds", "2", "--seed", "7", "--steps", "3", "--bpm", "118"]
    assert main([*arguments, "--checkpoint", str(tiny_base), "-o", str(song), "--page", str(page)]) == 0
    assert "seed 7" in printed(capsys)
    assert read_file(song).recipe.bpm == 118
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
        (["evaluate", "pocket", "--out", "/dev/null/table"], "cannot be made"),
        (["serve", "--checkpoint", "trubo"], "turbo"),
        (["serve", "--takes", "/dev/null/takes"], "cannot be made"),
        (["compose", "x", "--key", "H major"], "no key"),
        (["compose", "x", "--lyrics", "@/nowhere.txt"], "cannot be read"),
        (["compose", "x", "--checkpoint", "trubo"], "turbo"),
        (["compose", "x", "--checkpoint", "/nowhere"], "no folder"),
        (["evaluate", "pocket", "--only", "tempi"], "no measure 'tempi'"),
        (["evaluate", "pocket", "--prompts", "9999"], "fixed prompts"),
        (["repaint", "/nowhere.flac", "--region", "1:2"], "is no file and no take"),
        (["repaint", "x.flac", "--region", "2:1"], "runs forward"),
        (["extend", "x.flac"], "seconds to add"),
        (["cover", "x.flac", "--strength", "2"], "strength"),
        (["extract", "x.flac", "drumz"], "Did you mean 'drums'?"),
        (["complete", "x.flac", "drums", "trumpets"], "no stem"),
    ],
)
def test_nonsense_is_one_sentence_and_status_two(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out = printed(capsys)
    assert sentence in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["compos"], "'compose'"),
        (["extract"], "Missing argument 'SOURCE'"),
        (["compose", "x", "--second", "3"], "'--seconds'"),
        (["compose", "x", "--seed"], "acestep-lab compose --help"),
        (["compose", "x", "y"], "unexpected extra argument (y). `acestep-lab compose --help`"),
        (["compose", "x", "--seed", "seven"], "no whole number"),
        (["compose", "x", "--seed", "9" * 5000], "no whole number"),
        (["compose", "x", "--" + "o" * 5000], "acestep-lab compose --help"),
        (["compose", "x", "--seconds", "long"], "no number"),
        (["compose", "x", "--precision", "int4"], "'auto', 'int8'"),
        (["serve", "--port", "99999"], "between 1 and 65535"),
        (["repaint", "x.flac", "--region", "8"], "8:12"),
        (["repaint", "x.flac"], "--region"),
        (["complete", "x.flac"], "STEM"),
    ],
)
def test_what_no_command_takes_is_one_line_with_the_help_to_ask(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("acestep-lab: ")
    assert sentence in err
    assert "--help` says what there is." in err
    assert len(err) < 330
    assert err.count("\n") == 1


# -- help ----------------------------------------------------------------------------------------------------------------


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: acestep-lab" in err
    assert all(f"  {command.name} " in err for command in COMMANDS)


@pytest.mark.parametrize("command", [None, *(command.name for command in COMMANDS)])
@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_help_fits_eighty_columns_and_cuts_no_sentence(
    command: str | None, asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, asked] if command else [asked]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"[a-z]\.\.\.", out)


def test_every_option_says_what_it_is_for() -> None:
    silent = [f"{command.name} {p.name}" for command in COMMANDS for p in command.params if not getattr(p, "help", "")]
    assert silent == []
    assert all(command.help and command.help.endswith(".") for command in COMMANDS)


def test_every_option_of_a_recipe_is_one_of_its_fields() -> None:
    from acestep_lab.cli.compose import OUTPUT_OPTIONS, SESSION_OPTIONS, compose

    own = {"caption", "recipe_file", "plan_file", "without_times", *OUTPUT_OPTIONS, *SESSION_OPTIONS}
    fields = {param.name for param in compose.params} - own
    assert {"seconds", "seed", "keyscale", "guidance_scale", "top_k"} <= fields
    assert all(isinstance(Recipe("x").replace(**{name: None}), Recipe) for name in fields)


def test_help_and_versions_load_neither_torch_nor_numpy() -> None:
    look = (
        "import sys; from acestep_lab.cli import COMMANDS, main\n"
        "for words in ([], ['--version'], *([one.name, '--help'] for one in COMMANDS)): main(words)\n"
        "print(*sorted({'torch', 'numpy', 'diffusers', 'transformers', 'panel'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""
    assert "acestep_lab 0." in done.stdout


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "acestep_lab", "bogus"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("acestep-lab: No such command 'bogus'")


# -- changing a sound that is there --------------------------------------------------------------------------------------


def test_a_sound_is_reworked_as_the_options_say(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--steps", "1", "--checkpoint", str(tiny_base), "-o"]
    song, out = str(tmp_path / "song.flac"), str(tmp_path / "out.flac")
    assert main(["compose", "dub", "--seconds", "2", "--bpm", "118", *usual, song]) == 0

    def reworked(*arguments: str) -> Recipe:
        assert main([arguments[0], song, *arguments[1:], *usual, out]) == 0, capsys.readouterr().err
        return read_file(out).recipe

    recipe = reworked("repaint", "--region", "0.5:1", "--region", "1.5:1.75", "--mode", "aggressive", "--seed", "3")
    assert isinstance(recipe.task, Repaint)
    assert recipe.task.regions == (Region(0.5, 1), Region(1.5, 1.75))
    assert (recipe.task.mode, recipe.caption, recipe.bpm, recipe.seed) == ("aggressive", "dub", 118, 3)
    recipe = reworked("extend", "--after", "1")
    assert isinstance(recipe.task, Extend)
    assert recipe.seconds == pytest.approx(3.0)
    recipe = reworked("cover", "--caption", "soft piano", "--strength", "0.5")
    assert isinstance(recipe.task, Cover)
    assert (recipe.caption, recipe.task.strength) == ("soft piano", 0.5)
    recipe = reworked("lego", "bass", "--region", "0:1")
    assert isinstance(recipe.task, Lego)
    assert (recipe.task.stem, recipe.task.region) == ("bass", Region(0, 1))
    assert reworked("extract", "drums").task.stem == "drums"
    assert reworked("complete", "drums", "bass").task.stems == ("drums", "bass")


def test_a_sound_from_elsewhere_is_a_source_without_words(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, out = tmp_path / "tone.wav", tmp_path / "out.flac"
    Audio(0.1 * np.sin(np.arange(96_000) / 30).astype(np.float32)[None].repeat(2, 0), 48_000).write(sound)
    usual = ["--steps", "1", "--checkpoint", str(tiny_base), "-o", str(out)]
    assert main(["cover", str(sound), "--caption", "soft piano", *usual]) == 0
    assert read_file(out).recipe.caption == "soft piano"
    assert "Its sound alone is the source." in capsys.readouterr().err


def test_a_licence_that_does_not_let_everything_is_said_where_the_checkpoint_is_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_session("pocket").close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("acestep_lab.engines.offered.FREE_LICENCES", ())
    open_session("pocket").close()
    assert capsys.readouterr().err == "pocket: Its weights are under MIT.\n"


# -- what a checkpoint's engine can do -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_musicgen(tmp_path_factory.mktemp("musicgen") / "tiny"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["compose", "x", "--checkpoint", "pocket", "--top-k", "3"],
            "ACE-Step 1.5 has no top_k: that is a knob of token models",
        ),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--steps", "3"], "tiny has no steps"),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--solver", "heun"], "tiny has no solver"),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--lyrics", "la la"], "tiny does not sing"),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--lm", "1.7B"], "MusicGen has no planner"),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--precision", "int8"], "MusicGen is sampled as it is"),
        (["compose", "x", "--checkpoint", "MUSICGEN", "--seconds", "500"], "up to 120 s"),
        (["compose", "x", "--checkpoint", "pocket", "--top-k", "3", "--steps", "3"], "No model has both"),
        (["compose", "x", "--checkpoint", "musicgen-smal"], "did you mean musicgen-small"),
        (["compose", "x", "--checkpoint", "musicgen-small"], "acestep-lab download musicgen-small"),
        (["repaint", "SOUND", "--region", "0:0.5", "--checkpoint", "MUSICGEN"], "tiny cannot repaint"),
        (["extract", "SOUND", "drums", "--checkpoint", "MUSICGEN"], "tiny cannot take a stem out"),
        (["lego", "SOUND", "drums", "--checkpoint", "MUSICGEN"], "tiny cannot add a stem"),
        (["complete", "SOUND", "drums", "--checkpoint", "MUSICGEN"], "tiny cannot accompany"),
        (["cover", "SOUND", "--caption", "x", "--checkpoint", "MUSICGEN"], "follows no melody"),
        (["extend", "SOUND", "--before", "1", "--caption", "x", "--checkpoint", "MUSICGEN"], "before"),
        (["evaluate", "MUSICGEN", "--only", "stems,planner"], "Nothing of this can be measured"),
        (["checkpoints", "nothing-like-it"], "acestep-lab checkpoints"),
    ],
)
def test_what_an_engine_cannot_do_is_its_own_sentence_before_any_work(
    options: list[str], sentence: str, musicgen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tmp_path / "tone.wav"
    Audio(0.1 * np.sin(np.arange(48_000) / 30).astype(np.float32)[None], 48_000).write(sound)
    places = {"MUSICGEN": musicgen, "SOUND": str(sound)}
    out = tmp_path / "out.flac"
    writing = [] if options[0] in ("evaluate", "checkpoints") else ["-o", str(out)]
    assert main([*(places.get(option, option) for option in options), *writing]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err
    assert not out.exists()


def test_a_token_model_composes_extends_and_tells_its_licence(
    musicgen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song, page = tmp_path / "song.flac", tmp_path / "song.html"
    knobs = ["--top-k", "8", "--temperature", "0.9", "--seed", "7", "--checkpoint", musicgen]
    assert main(["compose", "dub", "--seconds", "1", *knobs, "-o", str(song), "--page", str(page)]) == 0
    err = capsys.readouterr().err
    assert "tiny: Its weights are under CC-BY-NC-4.0. They are not for commercial use." in err
    assert read_file(song).recipe.sampling.top_k == 8
    assert "<img" not in page.read_text(encoding="utf-8")
    longer = tmp_path / "longer.flac"
    assert main(["extend", str(song), "--after", "0.5", "--checkpoint", musicgen, "-o", str(longer)]) == 0
    assert read_file(longer).seconds == pytest.approx(1.5, rel=0.05)


def test_checkpoints_of_all_families_are_listed_with_licence_size_place_and_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["checkpoints"]) == 0
    out = capsys.readouterr().out
    rows = dict(zip(*[iter(out.splitlines())] * 2, strict=True))
    assert [row.split()[0] for row in rows] == list(registry.names())
    small = next(row for row in rows if row.startswith("musicgen-small "))
    assert small.split()[1] == "musicgen"
    assert "CC-BY-NC-4.0" in small
    assert rows[small].strip() == "Text2Music, Extend"
    pocket = next(iter(rows))
    assert pocket.split()[-1] == "here"
    assert "Repaint" in rows[pocket]
    assert max(map(len, out.splitlines())) <= 80
    assert main(["checkpoints", "--here"]) == 0
    assert capsys.readouterr().out.startswith("pocket")


def test_one_checkpoint_is_told_with_all_that_can_be_asked_of_it(
    musicgen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["checkpoints", musicgen]) == 0
    out = capsys.readouterr().out
    assert "temperature, top_k, top_p, guidance_scale" in out
    assert "They are not for commercial use." in out
    assert main(["checkpoints", "pocket"]) == 0
    out = capsys.readouterr().out
    assert "steps, shift" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_kept_take_is_a_source_by_its_id(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song, shelf = str(tmp_path / "song.flac"), ["--takes", str(tmp_path / "shelf")]
    usual = ["--steps", "1", "--checkpoint", str(tiny_base), *shelf, "-o"]
    assert main(["compose", "dub", "--seconds", "1", *usual, song]) == 0
    take = read_file(song)
    assert main(["extend", take.id, "--after", "1", *usual, song]) == 0
    assert take.id in read_file(song).parents


# -- files and streams ---------------------------------------------------------------------------------------------------


def test_a_take_without_a_name_replaces_no_file(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compose", "slow dub techno", "--seconds", "1", "--steps", "1", "--checkpoint", str(tiny_base)]
    for _ in range(3):
        assert main([*arguments, "--seed", "7"]) == 0
    first = "slow dub techno, seed 7"
    names = [f"{first}-2.flac", f"{first}-3.flac", f"{first}.flac"]
    assert sorted(path.name for path in tmp_path.glob("*.flac")) == names
    assert not list(tmp_path.glob(".draft*"))
    assert f"{first}-3.flac: 1.0 s" in printed(capsys)


def test_an_odd_choice_is_said_once(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.wav")
    arguments = ["compose", "x", "--seconds", "1", "--steps", "1", "--shift", "9", "-o", out]
    assert main([*arguments, "--checkpoint", str(tiny_base)]) == 0
    assert printed(capsys).count("with 9 its steps fall where it did not learn") == 1


def test_a_reader_that_goes_away_is_no_accident(tmp_path: Path) -> None:
    environment = os.environ | {"ACESTEP_LAB_TAKES": str(tmp_path / "takes")}
    speak = "import sys; from acestep_lab.cli import main; sys.stdin.read(); sys.exit(main(['checkpoints']))"
    with subprocess.Popen(
        [sys.executable, "-c", speak],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as speaker:
        assert speaker.stdin is not None
        assert speaker.stdout is not None
        assert speaker.stderr is not None
        speaker.stdout.close()
        speaker.stdin.close()  # it speaks when nobody reads any more
        assert "Traceback" not in speaker.stderr.read().decode()
    assert speaker.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_finds_no_room_is_a_sentence(buffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": buffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "acestep_lab", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr == "acestep-lab: What there is to say could not be written (No space left on device).\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_where_nobody_can_be_told_the_exit_status_still_tells() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "acestep_lab", "bogus"]
        assert subprocess.run(command, stderr=full, stdout=subprocess.DEVNULL, check=False).returncode == 2


def test_help_for_a_reader_that_has_gone_is_no_accident() -> None:
    speak = "import sys, time; from acestep_lab.cli import main; time.sleep(0.5); sys.exit(main(['--help']))"
    with subprocess.Popen([sys.executable, "-c", speak], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdout.close()
        assert asked.stderr.read() == b""
    assert asked.returncode == 141


def test_ctrl_c_is_a_sentence_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("acestep_lab.doctor.examine", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_the_doctor_is_bad_news_for_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--checkpoint", str(tmp_path / "nothing")]) == 1
    assert "There is no folder" in capsys.readouterr().out


def test_words_after_an_at_sign_are_read_from_that_file(tmp_path: Path) -> None:
    (tmp_path / "song.txt").write_text("[Verse]\nhello", encoding="utf-8")
    assert text_or_file(f"@{tmp_path / 'song.txt'}") == "[Verse]\nhello"
    assert text_or_file("mail@example.org") == "mail@example.org"


def test_a_folder_that_is_no_checkpoint_is_named_with_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", "x", "--checkpoint", str(tmp_path)]) == 2
    assert str(tmp_path) in printed(capsys)


def test_a_page_never_takes_the_place_of_its_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = str(tmp_path / "song.flac")
    assert main(["compose", "dub", "--seconds", "1", "-o", song, "--page", song]) == 2
    assert "name two files" in capsys.readouterr().err


@pytest.mark.parametrize("odd", [["--prompts", "0"], ["--prompts", "-3"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_an_evaluation_is_told_what_is_wrong_before_anything_is_rendered(
    odd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "pocket", *odd]) == 2
    assert "lies between" in (said := capsys.readouterr().err) or "is a number" in said
