"""The doctor finds what is broken, says what helps, and never falls ill itself."""

import importlib.metadata
import json
import shutil
from functools import partial

import pytest

from acestep_lab import doctor
from acestep_lab.doctor import Finding, TorchBuild, examine
from acestep_lab.models.download import Listing, RemoteFile, Store
from tests.tiny_musicgen import tiny_musicgen


def one(findings):
    (finding,) = findings
    return finding


def test_a_bare_machine_is_examined_whole_without_an_exception(tmp_path, monkeypatch):
    monkeypatch.setenv("ACESTEP_LAB_NOTHING", "1")  # a name that nobody knows is told of, with what to do
    findings = examine(tmp_path / "nothing here")
    names = {finding.name for finding in findings}
    assert {"python", "torch", "torchaudio", "libraries", "device", "codecs", "browser", "disk", "checkpoint"} <= names
    assert all(finding.state in doctor.STATES for finding in findings)
    assert all(finding.fix for finding in findings if finding.state != "ok")


def test_this_environment_is_healthy_apart_from_the_missing_checkpoint(tmp_path):
    wrong = [finding for finding in examine(tmp_path / "nothing here") if finding.state == "bad"]
    assert [finding.name for finding in wrong] == ["checkpoint"]
    assert "There is no folder" in wrong[0].message


@pytest.mark.parametrize(
    "error", [OSError("no such device"), RuntimeError("CUDA error"), ImportError("libc10"), ValueError()]
)
def test_a_check_that_fails_is_a_finding_and_the_next_ones_still_run(error):
    def broken():
        raise error

    first, second = examine(checks=[broken, doctor.python])
    assert (first.name, first.state) == ("broken", "bad")
    assert type(error).__name__ in first.message
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
    assert words in finding.message
    assert bool(finding.fix) == (state != "ok")


def test_an_old_python_is_found():
    assert one(doctor.python((3, 10, 4))).state == "bad"


@pytest.mark.parametrize(("state", "verdict"), [("works", "ok"), ("patched", "ok"), ("absent", "warn")])
def test_the_torchaudio_trap_is_known_in_all_three_states(state, verdict):
    assert one(doctor.torchaudio(state)).state == verdict


REQUIRED = ["diffusers>=0.42.1", "transformers>=5", "peft>=0.17", "llguidance<2,>=1.7", "av>=14; extra == 'codecs'"]


def libraries(**versions):
    """The finding where these versions are installed, and of everything else one that is right."""
    right = {"diffusers": "0.42.1", "transformers": "5.1.0", "peft": "0.17", "llguidance": "1.9.1+local"}

    def installed(name):
        version = (right | versions).get(name, "missing")
        if version == "missing":
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    return one(doctor.libraries(lambda: REQUIRED, installed))


def test_missing_old_and_too_new_libraries_are_named_with_the_command_that_helps():
    finding = libraries(diffusers="0.35.2", peft="missing", llguidance="2.0")
    assert finding.state == "bad"
    assert finding.message == "diffusers 0.35.2 is not >=0.42.1; peft is not installed; llguidance 2.0 is not <2,>=1.7"
    assert finding.fix == "`pip install --upgrade 'diffusers>=0.42.1' 'peft>=0.17' 'llguidance<2,>=1.7'`"


def test_libraries_as_required_are_well_and_those_of_extras_are_nobodys_duty():
    assert libraries().state == "ok"
    assert libraries(diffusers="0.43.0.dev0", av="1.0").state == "ok"


def test_a_library_whose_records_are_damaged_is_found():
    assert libraries(peft=None).message == "peft is installed, but its records are damaged"


def test_a_copied_folder_says_that_nothing_names_its_libraries():
    def requirements():
        raise importlib.metadata.PackageNotFoundError("acestep_lab")

    finding = one(doctor.libraries(requirements))
    assert (finding.state, finding.fix) == ("warn", "`pip install .` in its folder.")


@pytest.mark.parametrize(
    ("formats", "state"), [(("WAV", "FLAC", "OGG", "MP3"), "ok"), (("WAV", "FLAC", "OGG"), "warn"), (("WAV",), "bad")]
)
def test_missing_codecs_are_found(formats, state):
    assert one(doctor.codecs(formats)).state == state


def test_missing_and_empty_browser_halves_are_found(tmp_path):
    assert one(doctor.browser_modules([tmp_path])).state == "bad"
    (tmp_path / "player.js").write_text("")
    assert "player.js" in one(doctor.browser_modules([tmp_path])).message
    (tmp_path / "player.js").write_text("export default {}")
    assert one(doctor.browser_modules([tmp_path])).state == "ok"


def test_a_small_disk_is_a_warning(tmp_path):
    finding = next(iter(doctor.disk(tmp_path, lambda folder: 2**30)))
    assert finding.state == "warn"
    assert "HF_HOME" in finding.fix


def test_a_whole_checkpoint_is_ok_and_the_plan_for_it_is_said(tiny_turbo):
    whole, plan = doctor.checkpoint_files(tiny_turbo, {"MAX_CUDA_VRAM": "8"})
    assert (whole.state, plan.state) == ("ok", "ok")
    assert "every shape right" in whole.message
    assert plan.message.startswith("8 GB: everything stays loaded")


def test_a_checkpoint_of_another_family_is_looked_at_alike(tmp_path):
    folder = tiny_musicgen(tmp_path / "small")
    whole, licence, plan = doctor.checkpoint_files(folder, {"MAX_CUDA_VRAM": "8"})
    assert (whole.state, licence.state, plan.state) == ("ok", "ok", "ok")
    assert "(musicgen): text, codec, decoder" in whole.message
    assert "every shape right" in whole.message
    assert "not for commercial use" in licence.message


@pytest.mark.parametrize(("how", "words"), [("truncated", "is cut short"), ("wrong shape", "has the shape")])
def test_a_broken_checkpoint_of_another_family_is_found_too(tmp_path, how, words):
    folder = tiny_musicgen(tmp_path / "small")
    if how == "truncated":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    else:
        config = json.loads((folder / "config.json").read_text())
        config["decoder"]["ffn_dim"] += 8
        (folder / "config.json").write_text(json.dumps(config))
    finding = one(doctor.checkpoint_files(folder))
    assert finding.state == "bad"
    assert words in finding.message


def test_a_checkpoint_of_any_family_that_is_not_here_is_answered_with_its_download():
    finding = one(doctor.checkpoint_files("musicgen-small"))
    assert finding.fix == "`acestep-lab download musicgen-small` fetches what is missing or wrong."
    assert "did you mean musicgen-small" in one(doctor.checkpoint_files("musicgen-smal")).message


def test_downloads_of_every_family_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    store, file = Store(tmp_path), RemoteFile("config.json", 2, blob="0" * 40)
    for repo in ("facebook/musicgen-small", "somebody/else"):
        (store.snapshot_folder(repo, "abc")).mkdir(parents=True)
        store.write_lock(repo, Listing("abc", (file,)), ["config.json"])
    (store.snapshot_folder("somebody/else", "abc") / "config.json").write_text("{}")
    wrong, whole = doctor.cached()
    assert (wrong.state, whole.state) == ("bad", "ok")
    assert wrong.fix == "`acestep-lab download musicgen-small` fetches what is wrong again."
    assert whole.message == "somebody/else is whole"


def test_a_checkpoint_too_big_for_the_machine_is_a_warning(tiny_turbo):
    _, plan = doctor.checkpoint_files(tiny_turbo, {"MAX_CUDA_VRAM": "0.5"})
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
    finding = one(doctor.checkpoint_files(broken(tiny_turbo, tmp_path, how)))
    assert finding.state == "bad"
    assert words in finding.message
    assert finding.fix


def test_an_unknown_checkpoint_is_answered_with_the_nearest_names():
    assert "did you mean turbo" in one(doctor.checkpoint_files("turbbo")).message


def test_the_device_and_dtype_asked_for_are_planned_with(tiny_turbo):
    [*_, plan] = doctor.checkpoint_files(tiny_turbo, {}, doctor.DeviceRequest("cpu", "bfloat16"))
    assert plan.message.endswith("computes in bfloat16 on cpu")
    [*_, plan] = doctor.checkpoint_files(tiny_turbo, {"ACESTEP_DTYPE": "float16", "ACESTEP_DEVICE": "cpu"})
    assert plan.message.endswith("computes in float16 on cpu")


def test_a_device_that_is_not_here_is_a_finding():
    found = one(examine(checks=[partial(doctor.device, doctor.DeviceRequest("cuda:77"))]))
    assert found.state == "bad"
    assert "no device cuda:77 here" in found.message


@pytest.mark.parametrize("exact", [True, False])
def test_what_int8_may_bring_here_is_said(exact):
    [found] = doctor.int8_support(exact)
    assert ("measured on the first song" in found.message) == exact
