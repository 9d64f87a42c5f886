"""The REST door over a stand-in session: real sockets, the routes and words that ACE-Step's own clients use."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import MachineError
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.openapi import document
from acestep_lab.serve.rest import MORE_ROWS, ROUTES
from tests.pretend import PretendSession

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library")
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def door(lab: PretendSession) -> Iterator[httpx2.Client]:
    with ApiServer(lab, port=0) as server, httpx2.Client(base_url=server.address, timeout=20) as client:
        yield client


@pytest.fixture
def keyed(lab: PretendSession) -> Iterator[httpx2.Client]:
    with (
        ApiServer(lab, 0, keys=[HOST, ADA, BOB]) as server,
        httpx2.Client(base_url=server.address, timeout=20) as client,
    ):
        yield client


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said) == {"data", "code", "error", "timestamp", "extra"}
    return said["data"]


def until_over(client: httpx2.Client, id: str, **more: Any) -> dict[str, Any]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        (entry,) = data(client.post("/query_result", json={"task_id_list": [id]}, **more))
        if entry["status"]:
            return dict(entry)
        time.sleep(0.05)
    raise AssertionError("the task did not end")


def test_a_song_is_asked_for_polled_and_fetched_as_a_plug_in_does(door: httpx2.Client, lab: PretendSession) -> None:
    asked = {
        "prompt": "dub",
        "audio_duration": 2,
        "batch_size": 1,
        "audio_format": "wav",
        "seed": 5,
        "use_random_seed": False,
    }
    queued = data(door.post("/release_task", json=asked))
    assert (queued["status"], queued["queue_position"]) == ("queued", 1)
    entry = until_over(door, queued["task_id"])
    (item,) = json.loads(entry["result"])
    assert (entry["status"], item["status"], item["seed_value"], item["url"]) == (1, 1, "5", item["file"])
    sound = door.get(item["file"])
    assert sound.headers["content-type"] == "audio/wav"
    assert Audio.read(sound.content).seconds == pytest.approx(2, abs=0.01)
    part = door.get(item["file"], headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, sound.content[4:8])
    assert len(lab.library.ids()) == 1, "what a client makes is in the notebook's library"


def test_a_form_and_parts_with_files_say_the_same_as_json(door: httpx2.Client, tmp_path: Path) -> None:
    _tone(tmp_path / "mine.wav")
    form = data(door.post("/release_task", data={"prompt": "dub", "duration": "2", "batch_size": "1"}))
    sniffed = door.post("/release_task", content=b'{"prompt": "dub", "duration": 2, "batch_size": 1}')
    parts = door.post(
        "/release_task",
        data={"task_type": "cover", "caption": "strings", "batch_size": "1"},
        files={"src_audio": ("mine.wav", (tmp_path / "mine.wav").read_bytes(), "audio/wav")},
    )
    for id in (form["task_id"], data(sniffed)["task_id"], data(parts)["task_id"]):
        assert until_over(door, id)["status"] == 1


def _tone(path: Path) -> None:
    t = np.arange(96_000, dtype=np.float32) / 48_000
    Audio(np.stack([np.sin(2764.6 * t)] * 2) * np.float32(0.3), 48_000).write(path)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 422),
        (b"\xff\xfe", "", 415),
        (b"[" * 100_000, "application/json", 400),
        (b"--x\r\n", "multipart/form-data; boundary=y", 400),
        (b"nothing", "multipart/form-data", 400),
        (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ndub', "multipart/form-data; boundary=x", 400),
        (b'{"prompt": 7, "task_type": "nonsense"}', "application/json", 400),
        (b'{"task_type": "cover", "prompt": "a", "src_audio_path": "/etc/passwd"}', "application/json", 400),
    ],
    ids=["broken", "list", "bytes", "deep", "other boundary", "no boundary", "cut off", "no such task", "outside"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence_and_the_door_lives_on(
    door: httpx2.Client, body: bytes, kind: str, status: int
) -> None:
    answer = door.post("/release_task", content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    said = answer.json()
    assert said["detail"] == said["error"]
    assert said["detail"].endswith(".")
    assert data(door.get("/health"))["status"] == "ok"


def test_keys_come_in_three_forms_and_separate_people(keyed: httpx2.Client) -> None:
    song = {"prompt": "dub", "duration": 2, "batch_size": 1}
    assert keyed.get("/health").status_code == 200
    assert keyed.post("/release_task", json=song).status_code == 401
    assert keyed.post("/release_task", json=song, headers={"Authorization": "wrong"}).status_code == 401
    bare = data(keyed.post("/release_task", json=song, headers={"Authorization": ADA}))
    body = data(keyed.post("/release_task", json=song | {"ai_token": BOB}))
    ada, bob = ({"headers": {"Authorization": f"Bearer {key}"}} for key in (ADA, BOB))
    file = json.loads(until_over(keyed, bare["task_id"], **ada)["result"])[0]["file"]
    assert until_over(keyed, body["task_id"], **bob)["status"] == 1
    assert until_over(keyed, bare["task_id"], **bob)["status"] == 2, "somebody else's task is as unknown"
    assert [keyed.get(file, **who).status_code for who in ({}, bob, ada)] == [401, 403, 200]
    assert keyed.get(file).headers["connection"] == "close", "a client that goes on at once is not cut off"
    assert [one["task_id"] for one in data(keyed.get("/v1/tasks", **ada))] == [bare["task_id"]]
    assert keyed.post("/v1/init", json={"model": "x"}, **ada).json()["code"] == 403


def test_no_file_of_somebody_without_a_key_reaches_the_disk(lab: PretendSession, tmp_path: Path) -> None:
    with ApiServer(lab, 0, keys=[HOST], folder=tmp_path / "door") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = httpx2.post(
                f"{server.address}/release_task",
                data={"ai_token": "wrong"},
                files={"src_audio": b"RIFF"},
                headers=headers,
            )
            assert answer.status_code == 401
        assert [one for one in (tmp_path / "door").rglob("*") if one.is_file()] == []


def test_other_pages_and_other_names_are_kept_out(door: httpx2.Client) -> None:
    near = door.get("/health", headers={"Origin": "http://localhost:5173"})
    assert near.headers["access-control-allow-origin"] == "http://localhost:5173"
    asks = door.options("/release_task", headers={"Origin": "null", "Access-Control-Request-Method": "POST"})
    assert (asks.status_code, asks.headers["access-control-allow-origin"]) == (204, "null")
    assert door.get("/health", headers={"Origin": "https://evil.example"}).status_code == 403
    assert door.get("/health", headers={"Host": "evil.example"}).status_code == 403


def test_the_routes_beside_a_render_answer_in_the_names_clients_read(door: httpx2.Client, lab: PretendSession) -> None:
    assert door.get("/v1/models").json()["data"][0]["id"] == f"acestep/{lab.name}"
    assert data(door.get("/v1/model_inventory"))["default_model"] == lab.name
    assert data(door.get("/v1/stats"))["jobs"]["total"] == 0
    words = data(door.post("/format_input", json={"prompt": "dub", "lyrics": "", "param_obj": '{"bpm": 92}'}))
    assert (words["caption"], words["bpm"]) == ("dub, polished", 92)
    sample = data(door.post("/v1/create_sample", json={"query": "rain", "seed": "7"}))
    assert sample["lyrics"]
    assert (sample["vocal_language"], sample["seed"]) == ("en", 7)
    assert door.post("/v1/create_sample", json={"query": "rain", "seed": "x"}).json()["code"] == 400
    assert data(door.post("/create_random_sample", json={}))["caption"]
    assert data(door.post("/v1/init", json={}))["loaded_model"] == lab.name
    assert door.post("/v1/init", json={"model": "/etc"}).json()["code"] == 400
    for lost in (
        door.get("/nowhere"),
        door.post("/nowhere", json={"prompt": "dub"}),
        door.post("/nowhere", content=b"x" * 70_000),
    ):
        assert (lost.status_code, lost.json()["detail"]) == (404, "There is no such route.")
    assert door.get("/release_task").status_code == 405


def test_words_are_written_from_the_seed_the_song_says_it_has(door: httpx2.Client, lab: PretendSession) -> None:
    seen: list[int] = []
    sketch = lab.sketch

    def noted(sentence: str, instrumental: bool = False, seed: int = 0, **more: Any) -> Any:
        seen.append(seed)
        return sketch(sentence, instrumental, seed, **more)

    lab.sketch = noted  # type: ignore[method-assign]
    for _ in range(2):
        id = data(door.post("/release_task", json={"sample_query": "rain", "duration": 2, "batch_size": 1}))["task_id"]
        (item,) = json.loads(until_over(door, id)["result"])
        assert item["seed"] == seen[-1]
    assert seen[0] != seen[1], "a song without a seed is a new one each time"


def test_a_task_is_followed_by_events_and_cancelled(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    try:
        with ApiServer(session, port=0) as server, httpx2.Client(base_url=server.address, timeout=20) as client:
            id = data(client.post("/release_task", json={"prompt": "dub", "duration": 4, "batch_size": 1}))["task_id"]
            with client.stream("GET", f"/v1/events?task_id={id}") as stream:
                told = []
                for line in stream.iter_lines():
                    if line.startswith("data: "):
                        told.append(json.loads(line[6:]))
                        if len(told) == 1:
                            assert data(client.post("/v1/cancel", json={"task_id": id}))["cancelled"] == [id]
            assert told[-1]["state"] in ("stopped", "failed")
            assert told[0]["task_id"] == id
            assert until_over(client, id)["status"] == 2
            assert client.get("/v1/events?task_id=nobodys").status_code == 404
    finally:
        gate.release(1000)
        session.close()
        session.library.close()


def test_the_document_describes_every_route_and_no_other() -> None:
    def plain(path: str) -> str:
        return re.sub(r"\([^)]*\)|\{\w+\}", "*", path)

    assert {plain(path) for path in document(MORE_ROWS)["paths"]} == {plain(path) for path in ROUTES}


def test_a_port_in_use_and_a_key_that_can_be_guessed_are_said(lab: PretendSession) -> None:
    with ApiServer(lab, port=0) as server, pytest.raises(MachineError, match="cannot be used"):
        ApiServer(lab, port=server.port)
    with pytest.raises(MachineError, match="characters"):
        ApiServer(lab, port=0, keys=["short"])
