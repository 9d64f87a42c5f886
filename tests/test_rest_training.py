"""The training routes of the REST door, asked as Ace-Step-Wrangler and ACE-Step's own clients ask them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from acestep_lab import Session
from acestep_lab.errors import RecipeError
from acestep_lab.features import Feature, FeatureFlags
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.openapi import document
from acestep_lab.serve.rest_training import TRAINING_ROUTES
from acestep_lab.serve.rest_training_fields import TRAINING, wish
from acestep_lab.takes.library import Library
from acestep_lab.train.dataset import Dataset
from tests.pretend import PretendSession, tone
from tests.test_rest import ADA, HOST, data

QUICK = {
    "lora_rank": 2, "lora_alpha": 4, "train_epochs": 2, "train_batch_size": 1, "gradient_accumulation": 1,
    "learning_rate": 0.01, "training_seed": 3,
}  # fmt: skip
AS_HOST = {"Authorization": f"Bearer {HOST}"}


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    FeatureFlags.enable(Feature.API_TRAINING_ENDPOINTS)
    yield
    FeatureFlags.reset(Feature.API_TRAINING_ENDPOINTS)


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sounds, one with words."""
    folder = tmp_path_factory.mktemp("songs")
    for number, name in enumerate("abc", start=1):
        tone(2.0 + 0.2 * number, seed=number).write(folder / f"{name}.wav")
    (folder / "b.caption.txt").write_text("my own words")
    return folder


@pytest.fixture
def door(lab: Session) -> Iterator[httpx2.Client]:
    with ApiServer(lab, port=0) as server, httpx2.Client(base_url=server.address, timeout=30) as client:
        yield client


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A door with keys over a session that has ears and a planner and teaches nothing."""
    session = PretendSession(tmp_path / "library", pause=0.0)
    with (
        ApiServer(session, 0, keys=[HOST, ADA]) as server,
        httpx2.Client(base_url=server.address, timeout=30, headers=AS_HOST) as client,
    ):
        yield client
    session.close()
    session.library.close()


def until(client: httpx2.Client, path: str, over: Any) -> dict[str, Any]:
    """Poll as a client does."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        told = data(client.get(path))
        if over(told):
            return dict(told)
        time.sleep(0.03)
    raise AssertionError(f"{path} did not come to an end: {told}")


def done(told: dict[str, Any]) -> bool:
    return told["status"] in ("completed", "failed")


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert said["detail"] == said["error"]
    return str(said["detail"])


# -- who may


def test_switched_off_every_route_says_so(pretended: httpx2.Client) -> None:
    FeatureFlags.disable(Feature.API_TRAINING_ENDPOINTS)
    for method, path, _, _ in TRAINING:
        answer = pretended.request(method.upper(), path.replace("{id}", "3"))
        assert "API_TRAINING_ENDPOINTS" in refused(answer, 403), path


def test_training_is_the_host_s(pretended: httpx2.Client) -> None:
    for method, path, _, _ in TRAINING:
        route = path.replace("{id}", "3")
        as_ada = pretended.request(method.upper(), route, headers={"Authorization": f"Bearer {ADA}"})
        assert "the host's" in refused(as_ada, 403), path
        refused(pretended.request(method.upper(), route, headers={"Authorization": "Bearer nobody"}), 401)
    body = {"ai_token": HOST, "caption": "x"}
    named = pretended.request("PUT", "/v1/dataset/sample/0", json=body, headers={"Authorization": ""})
    assert "No data set is open" in refused(named, 400)


def test_every_route_is_described_and_there(pretended: httpx2.Client) -> None:
    paths = document()["paths"]
    assert {path for _, path, _, _ in TRAINING} == set(TRAINING_ROUTES) <= set(paths)
    for method, path, _, fields in TRAINING:
        told = paths[path][method]
        body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        known = {one["name"] for one in told.get("parameters", ())} | set(body.get("properties", ()))
        assert set(fields) <= known
    assert pretended.delete("/v1/dataset/scan").status_code == 405
    assert pretended.get("/v1/training/start").status_code == 405


def test_paths_lie_in_the_folders_of_training(tmp_path: Path, songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "training" / "mine").mkdir(parents=True)
    monkeypatch.setenv("ACESTEP_LAB_TRAINING", str(tmp_path / "training"))
    tone(2.0, seed=1).write(tmp_path / "training" / "mine" / "a.wav")
    session = PretendSession(tmp_path / "library", pause=0.0)
    with ApiServer(session, 0) as server, httpx2.Client(base_url=server.address, timeout=30) as client:
        assert data(client.post("/v1/dataset/scan", json={"audio_dir": "mine"}))["num_samples"] == 1
        outside = str(songs)
        assert "ACESTEP_LAB_TRAINING" in refused(client.post("/v1/dataset/scan", json={"audio_dir": outside}), 400)
        for name in ("../training-not", str(tmp_path / "library" / "x.json"), str(songs / "x.json"), "a\0b", "//a/b"):
            refused(client.post("/v1/dataset/save", json={"save_path": name}), 400)
        (tmp_path / "training" / "link").mkdir()
        (tmp_path / "training" / "link" / "a.wav").symlink_to(songs / "a.wav")
        refused(client.post("/v1/dataset/scan", json={"audio_dir": "link"}), 400)
        stranger = {"samples": [{"audio_path": str(songs / "b.wav"), "caption": "not mine"}]}
        (tmp_path / "training" / "theirs.json").write_text(json.dumps(stranger))
        assert "can be read" in refused(client.post("/v1/dataset/load", json={"dataset_path": "theirs.json"}), 400)
        refused(client.post("/v1/dataset/load", json={"dataset_path": "nowhere.json"}), 404)
        data(client.post("/v1/dataset/save", json={"save_path": "sets/mine.json"}))
        assert (tmp_path / "training" / "sets" / "mine.json").is_file()
    session.close()
    session.library.close()
    assert not list(songs.glob("*.json"))


# -- a data set


def test_wrangler_scans_edits_saves_and_loads(door: httpx2.Client, songs: Path, tmp_path: Path) -> None:
    assert "No data set" in refused(door.get("/v1/dataset/samples"), 400)
    scanned = data(door.post("/v1/dataset/scan", json={"audio_dir": str(songs), "custom_tag": "zafu"}))
    assert [one["filename"] for one in scanned["samples"]] == ["a.wav", "b.wav", "c.wav"]
    assert (scanned["num_samples"], scanned["labeled_count"], scanned["samples"][1]["caption"]) == (
        3,
        1,
        "my own words",
    )
    sent = {
        "caption": "a drum", "genre": "dub", "mood": "", "lyrics": "", "timesignature": "3", "language": "unknown",
        "is_instrumental": True,
    }  # fmt: skip
    changed = data(door.put("/v1/dataset/sample/0", json=sent))["sample"]
    assert (changed["caption"], changed["lyrics"], changed["labeled"]) == ("a drum", "[Instrumental]", True)
    assert changed["custom_tag"] == "zafu"
    data(door.put("/v1/dataset/sample/0", json={"bpm": "120", "prompt_override": "genre"}))
    one = data(door.get("/v1/dataset/sample/0"))
    assert (one["bpm"], one["caption"], one["prompt_override"]) == (120, "a drum", "genre")
    assert "0 to 2" in refused(door.get("/v1/dataset/sample/3"), 404)
    for wrong in ({"bpm": "fast"}, {"bpm": 1e300}, {"language": "xx"}, {"prompt_override": "both"}):
        refused(door.put("/v1/dataset/sample/0", json=wrong), 400)
    elsewhere = data(door.post("/v1/dataset/save", json={"file_path": str(tmp_path / "set.json")}))
    assert "3 of them lie outside" in elsewhere["message"]
    file = songs.parent / "set.json"
    data(door.post("/v1/dataset/save", json={"file_path": str(file)}))
    before = data(door.get("/v1/dataset/samples"))
    data(door.post("/v1/dataset/scan", json={"audio_dir": str(songs)}))
    loaded = data(door.get("/v1/dataset/load", params={"file_path": str(file)}))
    assert loaded["samples"] == before["samples"]
    assert data(door.post("/v1/dataset/load", json={"dataset_path": str(file)}))["samples"] == before["samples"]
    file.unlink()


def test_sounds_are_described_in_the_background(pretended: httpx2.Client, songs: Path) -> None:
    status = "/v1/dataset/auto_label_status"
    assert data(pretended.get(status))["status"] == "idle"
    data(pretended.post("/v1/dataset/scan", json={"audio_dir": str(songs)}))
    file = songs.parent / "described.json"
    asked = {"only_unlabeled": True, "save_path": str(file), "format_lyrics": True}
    begun = data(pretended.post("/v1/dataset/auto_label_async", json=asked))
    assert begun["total"] == 2
    told = until(pretended, f"{status}/{begun['task_id']}", done)
    assert (told["status"], told["current"], told["total"]) == ("completed", 2, 2)
    assert told == data(pretended.get(status))
    assert told["last_updated_sample"]["filename"] == "c.wav"
    assert "format_lyrics" in told["result"]["message"]
    captions = [one["caption"] for one in told["result"]["samples"]]
    assert captions[1] == "my own words"
    assert all(captions)
    assert [song.caption for song in Dataset.scan(file)] == captions
    again = data(pretended.post("/v1/dataset/auto_label", json={"only_unlabeled": True}))
    assert again["labeled_count"] == 3
    refused(pretended.get(f"{status}/nobody"), 404)
    assert "planner" in refused(pretended.post("/v1/dataset/auto_label", json={"lm_model_path": "70B"}), 400)


def test_a_session_that_teaches_nothing_says_so(pretended: httpx2.Client, songs: Path, tmp_path: Path) -> None:
    data(pretended.post("/v1/dataset/scan", json={"audio_dir": str(songs)}))
    for path in ("/v1/training/start", "/v1/training/start_lokr", "/v1/dataset/preprocess"):
        refused(pretended.post(path, json={"output_dir": str(tmp_path / "out")}), 501)
    assert data(pretended.get("/v1/training/status"))["status"] == "Idle"
    assert "No training" in data(pretended.post("/v1/training/stop"))["message"]


# -- a training


def trained(told: dict[str, Any]) -> bool:
    return not told["is_training"]


def test_wrangler_encodes_trains_and_exports(door: httpx2.Client, lab: Session, songs: Path, tmp_path: Path) -> None:
    tensors, output, exported = (tmp_path / name for name in ("tensors", "output", "loras/zafu"))
    data(door.post("/v1/dataset/scan", json={"audio_dir": str(songs), "dataset_name": "mine", "custom_tag": "zafu"}))
    assert "encoded here" in refused(door.post("/v1/training/start", json={"tensor_dir": str(tmp_path)}), 400)
    tensors.mkdir()
    (tensors / "manifest.json").write_text('{"num_samples": 2, "metadata": {}}')
    assert "another program" in refused(door.post("/v1/dataset/preprocess", json={"output_dir": str(tensors)}), 400)
    (tensors / "manifest.json").unlink()
    begun = data(door.post("/v1/dataset/preprocess_async", json={"output_dir": str(tensors)}))
    told = until(door, f"/v1/dataset/preprocess_status/{begun['task_id']}", done)
    assert (told["status"], told["result"]["num_tensors"]) == ("completed", 3), told
    info = data(door.post("/v1/training/load_tensor_info", json={"tensor_dir": str(tensors)}))
    assert (info["dataset_name"], info["num_samples"], info["custom_tag"]) == ("mine", 3, "zafu")
    lessons = sorted((Path(lab.library.folder) / "adapters" / "lessons").iterdir())
    sent = {**QUICK, "tensor_dir": str(tensors), "output_dir": str(output), "save_every_n_epochs": 1, "use_fp8": True}
    started = data(door.post("/v1/training/start", json=sent))
    assert "use_fp8 is left aside" in started["message"]
    assert started["config"]["lora_rank"] == 2
    told = until(door, "/v1/training/status", trained)
    assert (told["error"], told["current_step"], told["total_steps"], told["current_epoch"]) == (None, 6, 6, 2)
    assert [one["step"] for one in told["loss_history"]] == [1, 2, 3, 4, 5, 6]
    assert told["status"].startswith("Training completed")
    assert lessons == sorted((Path(lab.library.folder) / "adapters" / "lessons").iterdir()), "encoded twice"
    done_ = data(door.post("/v1/training/export", json={"export_path": str(exported), "lora_output_dir": str(output)}))
    assert done_["export_path"] == str(exported)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {one.name for one in exported.iterdir()}
    data(door.post("/v1/lora/load", json={"lora_path": str(exported)}))
    data(door.post("/v1/training/export", json={"export_path": str(exported), "lora_output_dir": str(output)}))
    said = refused(
        door.post("/v1/training/export", json={"export_path": str(songs), "lora_output_dir": str(output)}), 400
    )
    assert "no adapter" in said
    assert len(list(songs.glob("*.wav"))) == 3
    everything = {"export_path": tempfile.gettempdir(), "lora_output_dir": str(output)}
    assert "a folder in it" in refused(door.post("/v1/training/export", json=everything), 400)
    lokr = {**QUICK, "lokr_linear_dim": 2, "tensor_dir": str(tensors), "output_dir": str(output)}
    data(door.post("/v1/training/start_lokr", json=lokr))
    told = until(door, "/v1/training/status", trained)
    assert (told["error"], told["config"]["adapter_type"]) == (None, "lokr")
    assert sorted(one.name.partition("-")[0] for one in output.iterdir()) == ["lokr", "lora"]
    newest = {"export_path": str(tmp_path / "loras" / "other"), "lora_output_dir": str(output)}
    assert "lokr-" in data(door.post("/v1/training/export", json=newest))["source"]


def test_a_stop_keeps_and_the_same_again_goes_on(door: httpx2.Client, songs: Path, tmp_path: Path) -> None:
    data(door.post("/v1/dataset/scan", json={"audio_dir": str(songs), "custom_tag": "zafu"}))
    sent = {**QUICK, "train_epochs": 200, "lora_output_dir": str(tmp_path / "output")}
    data(door.post("/v1/training/start", json=sent))
    assert "already" in refused(door.post("/v1/training/start", json=sent), 400)
    until(door, "/v1/training/status", lambda told: told["current_step"] >= 2)
    assert "kept" in data(door.post("/v1/training/stop"))["message"]
    told = until(door, "/v1/training/status", trained)
    assert told["error"] is None
    assert told["saved_step"] == told["current_step"] >= 2
    assert "stopped after step" in told["status"]
    data(door.post("/v1/training/start", json=sent))
    on = until(door, "/v1/training/status", lambda now: now["current_step"] > told["current_step"])
    assert f"goes on after step {told['current_step']}" in on["training_log"]
    assert on["steps_per_second"] > 0
    assert on["estimated_time_remaining"] > 0
    data(door.post("/v1/training/stop"))
    until(door, "/v1/training/status", trained)


def test_what_cannot_be_learnt_is_refused_at_once(door: httpx2.Client, songs: Path, tmp_path: Path) -> None:
    data(door.post("/v1/dataset/scan", json={"audio_dir": str(songs)}))
    for wrong in (
        {"lora_rank": 0},
        {"lora_rank": "many"},
        {"lora_rank": 500},
        {"train_epochs": 0.5},
        {"learning_rate": -1},
    ):
        refused(door.post("/v1/training/start", json={**QUICK, **wrong, "output_dir": str(tmp_path / "out")}), 400)
    assert data(door.get("/v1/training/status"))["is_training"] is False


def test_steps_are_counted_from_epochs() -> None:
    asked = wish({"train_epochs": 3, "train_batch_size": 2, "gradient_accumulation": 2}, "lora")
    assert asked.counted(10)["steps"] == 8
    assert (asked.values["rank"], asked.values["alpha"]) == (64, 128)
    assert not wish({"use_fp8": False, "lokr_factor": -1, "network_weights": None}, "lokr").notes
    with pytest.raises(RecipeError, match="train_epochs"):
        wish({"train_epochs": "all"}, "lora")
