"""Settings: one order of places, each value with its source; bad words are sentences; launch habits are translated."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from acestep_lab.cli import habits, main
from acestep_lab.doctor import DeviceRequest, settings
from acestep_lab.errors import LabError
from acestep_lab.models.tiers import asked_device
from acestep_lab.serve.api_door import DoorLimits
from acestep_lab.settings import NOT_NEEDED, SETTINGS, VARIABLES, Settings


def read(folder: Path, env: dict[str, str] | None = None, **flags: object) -> Settings:
    return Settings.read(flags, env or {}, folder, folder / "user" / "config.toml")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder in which every file says another dtype."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "config.toml").write_text('dtype = "half"\nlm = "4B"\n')
    (tmp_path / "acestep_lab.toml").write_text('dtype = "fp16"\nmax_cuda_vram = 12\nprogress = false\n')
    (tmp_path / ".env").write_text('export ACESTEP_DTYPE="bf16"  # a note\nACESTEP_DEVICE=cpu\n')
    return tmp_path


def test_flags_come_before_the_environment_before_files_before_defaults(places: Path) -> None:
    env = {"ACESTEP_DTYPE": "fp32"}
    told = [read(places, env, dtype="float16"), read(places, env, dtype=None), read(places)]
    assert [one.value("dtype") for one in told] == ["float16", "fp32", "bf16"]
    (places / ".env").unlink()
    assert read(places).value("dtype") == "fp16"
    (places / "acestep_lab.toml").unlink()
    assert read(places).value("dtype") == "half"
    (places / "user" / "config.toml").unlink()
    assert read(places).value("dtype") is None
    assert str(read(places)["dtype"]) == "auto"


def test_each_value_says_where_it_comes_from(places: Path) -> None:
    found = read(places, {"ACESTEP_CONFIG_PATH": "acestep-v15-sft"}, dtype="bf16")
    assert found["dtype"].source == "--dtype"
    assert found["checkpoint"].source == "environment (ACESTEP_CONFIG_PATH)"
    assert found["device"].source == f"{places / '.env'} (ACESTEP_DEVICE)"
    assert found["max_cuda_vram"].source == f"{places / 'acestep_lab.toml'} (max_cuda_vram)"
    assert found["lm"].source == f"{places / 'user' / 'config.toml'} (lm)"
    assert (found["takes"].source, found["progress"].text) == ("default", "false")


@pytest.mark.parametrize(
    ("variable", "word"),
    [("ACESTEP_DEVICE", "toaster"), ("ACESTEP_DTYPE", "int3"), ("MAX_CUDA_VRAM", "nan"), ("MAX_MPS_VRAM", "-1"),
     ("ACESTEP_LAB_PROGRESS", "maybe"), ("ACESTEP_DOWNLOAD_SOURCE", "ftp")],
)  # fmt: skip
def test_a_bad_value_is_a_sentence_that_names_its_place(tmp_path: Path, variable: str, word: str) -> None:
    with pytest.raises(LabError, match=rf"'{word}'; environment \({variable}\) says so"):
        read(tmp_path, {variable: word})


@pytest.mark.parametrize(
    ("name", "content"),
    [("acestep_lab.toml", b"dtype = "), ("acestep_lab.toml", b"[dtype]\nx = 1"), (".env", b"\xff\xfe\xfa")],
)
def test_a_broken_file_is_a_sentence_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LabError, match=name.replace(".", r"\.")):
        read(tmp_path)


def test_a_folder_called_env_is_no_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert read(tmp_path).value("device") is None


def test_an_unknown_name_gets_the_nearest_one_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ACESTEP_DTYP=bf16\nOTHER=1\n")
    (tmp_path / "acestep_lab.toml").write_text('chekpoint = "turbo"\n')
    env = {"ACESTEP_DEVISE": "cpu", "ACESTEP_FEATURE_LORA_TRAINING": "true", "ACESTEP_API_WORKERS": "2", "PATH": ""}
    found = read(tmp_path, env)
    near = [("ACESTEP_DEVISE", "ACESTEP_DEVICE"), ("ACESTEP_DTYP", "ACESTEP_DTYPE"), ("chekpoint", "checkpoint")]
    assert [(name in line, meant in line) for line, (name, meant) in zip(found.warnings, near, strict=True)] == [
        (True, True)
    ] * 3
    assert found.unneeded == {"ACESTEP_API_WORKERS"}


def test_reading_runs_nothing_and_leaves_the_environment_alone(places: Path) -> None:
    (places / ".env").write_text("ACESTEP_LAB_TAKES=$(touch made)${HOME}\nACESTEP_LAB_LM=4B\n")
    before = dict(os.environ)
    assert read(places).value("takes") == "$(touch made)${HOME}"
    assert dict(os.environ) == before
    assert not (places / "made").exists()


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    found = read(tmp_path, {"ACESTEP_LAB_TOKEN": "sesame"})
    assert (str(found["token"]), found.value("token")) == ("set", "sesame")
    said = [str(finding) for finding in settings(read=lambda **given: found)]
    assert any("token = set" in line for line in said)
    assert not any("sesame" in line for line in said)


def test_code_that_asks_by_variable_hears_a_file_after_the_environment(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    monkeypatch.delenv("ACESTEP_DEVICE", raising=False)
    (places / ".env").write_text("ACESTEP_DEVICE=cuda:1\n")
    assert asked_device() == "cuda:1"
    monkeypatch.setenv("ACESTEP_DEVICE", "cpu")
    assert asked_device() == "cpu"
    assert VARIABLES.get("ACESTEP_LAB_NOTHING") is None


def test_the_doctor_lists_every_setting_and_says_a_flag_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = [finding.message for finding in settings(DeviceRequest("cpu"))]
    assert [one.name for one in SETTINGS if not any(line.startswith(f"{one.name} = ") for line in said)] == []
    assert said[0].startswith("device = cpu, from --device")


def test_no_variable_is_both_honoured_and_not_needed() -> None:
    honoured = [variable for one in SETTINGS for variable in one.variables]
    assert len(honoured) == len(set(honoured))
    assert set(honoured) & set(NOT_NEEDED) == set()


def served(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, object]:
    """What the studio would have been opened with."""
    asked: dict[str, object] = {}

    class Opened(nullcontext):  # type: ignore[type-arg]
        name, capabilities = "a stand-in", SimpleNamespace(licence="mit")

    def opened(checkpoint: str, **given: object) -> Opened:
        asked.update(given, checkpoint=checkpoint)
        return Opened()

    monkeypatch.setattr("acestep_lab.session.Session.open", opened)
    monkeypatch.setattr(
        "acestep_lab.serve.app.serve",
        lambda lab, port, address, show, token, origin, **door: asked.update(
            port=port, address=address, token=token, **door
        ),
    )
    monkeypatch.setattr(
        "acestep_lab.serve.api.serve_api",
        lambda lab, port, address, keys, origin, limits: asked.update(
            port=port, address=address, keys=keys, limits=limits
        ),
    )
    assert main(arguments) == 0
    return asked


THEIRS = ("--server-name", "0.0.0.0", "--config_path=acestep-v15-turbo", "--lm_model_path", "acestep-5Hz-lm-0.6B",
          "--device_id", "1", "--enable-api", "--auth-password", "open-sesame")  # fmt: skip
NONE_HERE = (
    "--language", "zh", "--init_service", "true", "--service-mode", "--cpu_offload", "true", "--torch_compile", "--share",
    "--auth-username", "ada", "--init_llm", "auto", "--offload_to_cpu", "true", "--backend", "vllm", "--debug",
)  # fmt: skip


def test_launch_habits_are_translated_with_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = served(monkeypatch, *THEIRS, *NONE_HERE, "--bf16")  # as their launcher takes them: without a command
    assert (asked["address"], asked["api"], asked["token"], asked["device"]) == (
        "0.0.0.0",
        True,
        "open-sesame",
        "cuda:1",
    )
    assert (asked["checkpoint"], asked["lm"], asked["dtype"]) == ("acestep-v15-turbo", "0.6B", "bfloat16")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    given = {
        name for name in habits.NAMES if {f"--{name}", f"--{name.replace('_', '-')}"} & {*THEIRS, *NONE_HERE, "--bf16"}
    }
    given |= {"config_path"}
    assert len(said) == len(given)
    assert sum("means nothing here" in line for line in said) == len(given & set(habits.NOTHING))
    assert not any("open-sesame" in line for line in said)


@pytest.mark.parametrize("name", habits.NAMES)
def test_every_habit_is_understood_by_serve_in_both_spellings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    word = "true" if name in habits.SWITCHES else "1"
    for spelled in (name, name.replace("_", "-")):
        served(monkeypatch, f"--{spelled}", word)
        assert f"--{name}" in capsys.readouterr().err
        if name in habits.OF_THE_API:
            served(monkeypatch, "api", f"--{spelled}={word}")
            assert f"--{name}" in capsys.readouterr().err


def test_their_port_and_key_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = served(monkeypatch, "--port", "7860", "--enable-api", "--api-key", "the-hosts-key")
    assert (asked["port"], asked["api"], asked["keys"]) == (7860, True, ("the-hosts-key",))
    assert main(["serve", "--api-key", "the-hosts-key"]) == 2


DOOR = "ACESTEP_API_HOST=::1\nACESTEP_API_PORT=9001\nACESTEP_API_KEY=the-hosts-key\nACESTEP_QUEUE_MAXSIZE=7\n"


@pytest.mark.parametrize("command", [("api",), ("serve", "--api")])
def test_what_is_set_for_the_door_counts_after_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{DOOR}ACESTEP_GENERATION_TIMEOUT=600\nACESTEP_TMPDIR={tmp_path}\n")
    asked = served(monkeypatch, *command)
    assert (asked["port"], asked["address"], asked["keys"]) == (9001, "::1", ("the-hosts-key",))
    assert asked["limits"] == DoorLimits(7, 600, tmp_path)
    asked = served(monkeypatch, *command, "--port", "9002", "--address", "127.0.0.1", "--api-key", "another-key")
    assert (asked["port"], asked["address"], asked["keys"]) == (9002, "127.0.0.1", ("another-key",))


def test_the_page_alone_does_not_heed_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(DOOR)
    asked = served(monkeypatch, "serve")
    assert (asked["port"], asked["address"], asked["api"], asked["keys"]) == (5006, "127.0.0.1", False, ())


@pytest.mark.parametrize(
    ("variable", "word"),
    [("ACESTEP_API_PORT", "0"), ("ACESTEP_API_PORT", "99999"), ("ACESTEP_QUEUE_MAXSIZE", "many"),
     ("ACESTEP_GENERATION_TIMEOUT", "-5")],
)  # fmt: skip
def test_a_number_that_cannot_be_is_a_sentence(tmp_path: Path, variable: str, word: str) -> None:
    with pytest.raises(LabError, match=rf"'{word}'; environment \({variable}\) says so"):
        read(tmp_path, {variable: word})


def test_every_command_opens_what_is_set_and_what_is_named_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acestep_lab.cli.render import open_session

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ACESTEP_LAB_CHECKPOINT=musicgen-small\nACESTEP_LM_MODEL_PATH=acestep-5Hz-lm-0.6B\n")
    opened: list[tuple[str, object]] = []

    def engine(name: str, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(
            capabilities=SimpleNamespace(takes_lm=not name.startswith("musicgen"), licence="mit"), name=name
        )

    monkeypatch.setattr("acestep_lab.engines.opened.registry.open_engine", engine)
    monkeypatch.setattr(
        "acestep_lab.session.Session.open",
        lambda checkpoint, lm=None: opened.append((checkpoint, lm)) or engine(checkpoint),
    )
    for asked in (
        {"checkpoint": None, "lm": None},
        {"checkpoint": "turbo", "lm": None},
        {"checkpoint": "turbo", "lm": "4B"},
    ):
        open_session(**asked)
    assert opened == [("musicgen-small", None), ("turbo", "0.6B"), ("turbo", "4B")]


def test_a_session_without_a_name_opens_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acestep_lab.engines.opened import asked_engine

    monkeypatch.chdir(tmp_path)
    asked: list[tuple[object, ...]] = []

    def engine(*named: object, **_: object) -> SimpleNamespace:
        asked.append(named)
        return SimpleNamespace(capabilities=SimpleNamespace(takes_lm=True))

    monkeypatch.setattr("acestep_lab.engines.opened.registry.open_engine", engine)
    asked_engine(None)
    assert asked[-1] == ("pocket", None)
    (tmp_path / "acestep_lab.toml").write_text('checkpoint = "turbo"\nlm = "4B"\n')
    asked_engine(None)
    assert asked[-1] == ("turbo", "4B")
    asked_engine("base")
    assert asked[-1] == ("base", None), "one that is named has its own planner"


def test_an_option_of_ours_stays_and_a_word_that_is_none_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = served(monkeypatch, "serve", "--checkpoint", "pocket", "--config-path", "turbo")
    assert asked["checkpoint"] == "pocket"
    assert "left out" in capsys.readouterr().err
    assert main(["serve", "--bf16", "perhaps"]) == 2
    assert "'perhaps'" in capsys.readouterr().err


def test_serve_takes_its_checkpoint_and_token_from_where_they_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ACESTEP_LAB_TOKEN=sesame\nACESTEP_CONFIG_PATH=acestep-v15-sft\n")
    asked = served(monkeypatch, "serve")
    assert (asked["token"], asked["checkpoint"]) == ("sesame", "acestep-v15-sft")


def test_a_working_folder_that_is_gone_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("ACESTEP_DEVICE", "cpu")
    assert VARIABLES["ACESTEP_DEVICE"] == "cpu"
    assert VARIABLES.get("ACESTEP_FEATURE_BATCH_GENERATION") is None
    assert Settings.read(env={}, user_file=tmp_path / "none.toml")["device"].source == "default"
