"""The doctor finds what is broken, says what helps, and never falls ill itself."""

import importlib.metadata
import json
import shutil
from functools import partial

import pytest

from acestep_lab import doctor
from acestep_lab.doctor import Finding, TorchBuild, examine


def one(findings):
    (finding,) = findings
    return finding


def test_a_bare_machine_is_examined_whole_without_an_exception(tmp_path):
    findings = examine(tmp_path / "nothing here")
    names = {finding.name for finding in findings}
    assert {"python", "torch", "torchaudio", "libraries", "device", "codecs", "browser", "disk", "checkpoint"} <= names
    assert all(finding.state in doctor.STATES for finding in findings)
    assert all(finding.fix for finding in findings if finding.state != "ok")


def test_this_environment_is_healthy_apart_from_the_missing_checkpoint(tmp_path):
    wrong = [finding for finding in examine(tmp_path / "nothing here") if finding.state == "bad"]
    assert [finding.name for finding in wrong] == ["checkpoint"]
    assert "There is no folder" in wrong[0].what


@pytest.mark.parametrize(
    "error", [OSError("no such device"), RuntimeError("CUDA error"), ImportError("libc10"), ValueError()]
)
def test_a_check_that_fails_is_a_finding_and_the_next_ones_still_run(error):
    def broken():
        raise error

    first, second = examine(checks=[broken, doctor.python])
    assert (first.name, first.state) == ("broken", "bad")
    assert type(error).__name__ in first.what
    assert second.state == "ok"


def test_a_finding_says_itself_with_what_helps():
    said = str(Finding("torch", "warn", "built for cpu", "Install the other one."))
    assert said.startswith("warn  torch")
    assert said.endswith("→ Install the other one.")


@pytest.mark.parametrize(
    ("build", "state", "words"),
    [
        (TorchBuild("2.13.0+cpu", "cpu", False, False), "ok", "built for cpu"),
        (TorchBuild("2.13.0+cpu", "cpu", False, True), "warn", "though there is an NVIDIA driver"),
        (TorchBuild("2.13.0", "CUDA 13.0", False, True), "warn", "sees no card"),
        (TorchBuild("2.13.0", "CUDA 13.0", True, True, (8, 6)), "ok", "CUDA 13.0"),
        (TorchBuild("2.13.0", "CUDA 13.0", True, True, (7, 5)), "warn", "no bf16 of its own"),
    ],
)
def test_a_torch_that_does_not_fit_the_machine_is_found(build, state, words):
    finding = one(doctor.torch_build(build))
    assert finding.state == state
    assert words in finding.what
    assert bool(finding.fix) == (state != "ok")


def test_an_old_python_is_found():
    assert one(doctor.python((3, 10, 4))).state == "bad"


@pytest.mark.parametrize(("state", "verdict"), [("works", "ok"), ("patched", "ok"), ("absent", "warn")])
def test_the_torchaudio_trap_is_known_in_all_three_states(state, verdict):
    assert one(doctor.torchaudio(state)).state == verdict


def test_missing_and_old_libraries_are_named_with_the_command_that_helps():
    def installed(name):
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"diffusers": "0.35.2"}.get(name, "99.0")

    finding = one(doctor.libraries(installed))
    assert finding.state == "bad"
    assert "diffusers 0.35.2 is older than 0.42.1; peft is not installed" in finding.what
    assert finding.fix == "`pip install --upgrade 'diffusers>=0.42.1' 'peft>=0.17'`"


@pytest.mark.parametrize(
    ("formats", "state"), [(("WAV", "FLAC", "OGG", "MP3"), "ok"), (("WAV", "FLAC", "OGG"), "warn"), (("WAV",), "bad")]
)
def test_missing_codecs_are_found(formats, state):
    assert one(doctor.codecs(formats)).state == state


def test_missing_and_empty_browser_halves_are_found(tmp_path):
    assert one(doctor.browser([tmp_path])).state == "bad"
    (tmp_path / "player.js").write_text("")
    assert "player.js" in one(doctor.browser([tmp_path])).what
    (tmp_path / "player.js").write_text("export default {}")
    assert one(doctor.browser([tmp_path])).state == "ok"


def test_a_small_disk_is_a_warning(tmp_path):
    finding = next(iter(doctor.disk(tmp_path, lambda folder: 2**30)))
    assert finding.state == "warn"
    assert "HF_HOME" in finding.fix


def test_a_whole_checkpoint_is_ok_and_the_plan_for_it_is_said(tiny_turbo):
    whole, plan = doctor.weights(tiny_turbo, {"MAX_CUDA_VRAM": "8"})
    assert (whole.state, plan.state) == ("ok", "ok")
    assert "every shape right" in whole.what
    assert plan.what.startswith("8 GB: everything stays loaded")


def test_a_checkpoint_too_big_for_the_machine_is_a_warning(tiny_turbo):
    _, plan = doctor.weights(tiny_turbo, {"MAX_CUDA_VRAM": "0.5"})
    assert plan.state == "warn"
    assert plan.fix


def broken(tiny, tmp_path, how):
    """A copy of the tiny checkpoint with one thing wrong; and the words that must be said of it."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    file = next((folder / "transformer").glob("*.safetensors"))
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "config missing":
        (folder / "vae" / "config.json").unlink()
    else:
        config = json.loads((folder / "transformer" / "config.json").read_text())
        config["intermediate_size"] += 8
        (folder / "transformer" / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "transformer has no weights"),
        ("truncated", "is cut short"),
        ("config missing", "vae/config.json"),
        ("wrong shape", "has the shape"),
    ],
)
def test_a_broken_checkpoint_is_named_by_the_file_that_is_wrong(tiny_turbo, tmp_path, how, words):
    finding = one(doctor.weights(broken(tiny_turbo, tmp_path, how)))
    assert finding.state == "bad"
    assert words in finding.what
    assert finding.fix


def test_an_unknown_checkpoint_is_answered_with_the_nearest_names():
    assert "did you mean turbo" in one(doctor.weights("turbbo")).what


def test_the_device_and_dtype_asked_for_are_planned_with(tiny_turbo):
    [*_, plan] = doctor.weights(tiny_turbo, {}, doctor.Asked("cpu", "bfloat16"))
    assert plan.what.endswith("computes in bfloat16 on cpu")
    [*_, plan] = doctor.weights(tiny_turbo, {"ACESTEP_DTYPE": "float16", "ACESTEP_DEVICE": "cpu"})
    assert plan.what.endswith("computes in float16 on cpu")


def test_a_device_that_is_not_here_is_a_finding():
    found = one(examine(checks=[partial(doctor.device, doctor.Asked("cuda:77"))]))
    assert found.state == "bad"
    assert "no device cuda:77 here" in found.what


@pytest.mark.parametrize("exact", [True, False])
def test_what_int8_may_bring_here_is_said(exact):
    [found] = doctor.whole_numbers(exact)
    assert ("measured on the first song" in found.what) == exact
