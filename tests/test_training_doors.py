"""Doors that lead to data sets, labels and trainings: what reads and writes files does so where it may, for whoever may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from acestep_lab import Dataset
from acestep_lab.features import Feature, FeatureFlags
from acestep_lab.serve.api import ApiServer
from tests.pretend import PretendSession, tone

HOST, ADA = "host-key-of-tests", "ada-key-of-tests"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    FeatureFlags.enable(Feature.API_TRAINING_ENDPOINTS)
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()
    FeatureFlags.reset(Feature.API_TRAINING_ENDPOINTS)


@pytest.fixture
def client(lab: PretendSession) -> Iterator[httpx2.Client]:
    with (
        ApiServer(lab, 0, keys=[HOST, ADA]) as server,
        httpx2.Client(base_url=server.address, timeout=30, headers={"Authorization": f"Bearer {HOST}"}) as client,
    ):
        yield client


def test_a_session_elsewhere_can_ask_for_nothing_that_writes_folders_here(
    client: httpx2.Client, tmp_path: Path
) -> None:
    body = {"folder": str(tmp_path / "out"), "songs": str(tmp_path), "adapters": [], "dataset": str(tmp_path)}
    for key in (HOST, ADA):
        as_them = {"Authorization": f"Bearer {key}"}
        for verb in ("train", "training", "label", "merge", "dataset", "Teaching", "__class__"):
            short = client.post(f"/v1/lab/do/{verb}", json=body, headers=as_them)
            assert short.status_code == 404, (verb, short.text)
            run = client.post("/v1/lab/runs", json={"id": "abcdefgh-1", "kind": verb, **body}, headers=as_them)
            assert run.status_code >= 400, (verb, run.text)
    assert not (tmp_path / "out").exists()


def test_labels_are_not_written_beside_a_data_set_that_may_only_be_read(
    client: httpx2.Client, lab: PretendSession
) -> None:
    home = Path(lab.library.folder) / "datasets"
    home.mkdir(parents=True)
    tone(2.0, seed=1).write(home / "a.wav")
    place = Dataset.scan(home).write_reference_json(home / "mine.json")
    before = place.read_bytes()
    assert client.post("/v1/dataset/load", json={"dataset_path": str(place)}).status_code == 200
    task = client.post("/v1/dataset/auto_label_async", json={}).json()["data"]
    told: dict[str, Any] = {"status": "running"}
    end = time.monotonic() + 20
    while told["status"] == "running" and time.monotonic() < end:
        time.sleep(0.05)
        told = client.get(f"/v1/dataset/auto_label_status/{task['task_id']}").json()["data"]
    assert told["status"] == "completed", told
    assert place.read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["a.wav", "mine.json"]
    assert client.get("/v1/dataset/samples").json()["data"]["labeled_count"] == 1, (
        "what was heard is in the open data set"
    )
    for path in (str(place), str(home / "other.json")):
        answer = client.post("/v1/dataset/auto_label", json={"save_path": path})
        assert "ACESTEP_LAB_TRAINING" in json.dumps(answer.json()), answer.text


def test_a_ratio_that_is_no_percentage_is_refused_and_a_good_one_is_kept(
    client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone(2.0, seed=1).write(tmp_path / "a.wav")
    assert client.post("/v1/dataset/scan", json={"audio_dir": str(tmp_path)}).status_code == 200
    wrong = client.post("/v1/dataset/save", json={"save_path": str(tmp_path / "x.json"), "genre_ratio": 130})
    assert wrong.status_code == 400
    assert "percentage" in wrong.text
    good = client.post("/v1/dataset/save", json={"save_path": str(tmp_path / "x.json"), "genre_ratio": 30})
    assert good.status_code == 200, good.text
    assert Dataset.scan(tmp_path / "x.json").about["genre_ratio"] == 30
