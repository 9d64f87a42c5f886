"""The REST door beyond a render: adapters of each key, events that go on, scores, names, what is left of a stopped batch."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from safetensors.numpy import save_file

from acestep_lab.errors import Stopped
from acestep_lab.features import Feature, FeatureFlags
from acestep_lab.models import catalog
from acestep_lab.serve import rest_listening, rest_verbs
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.openapi import document
from acestep_lab.serve.rest_fields import FIELDS, WITHOUT_EFFECT, RenderRequest, read_request
from acestep_lab.serve.rest_tasks import RestTasks
from tests.pretend import TOKENS, PretendSession
from tests.test_rest import data, until_over
from tests.test_rest_tasks import begin, done, until

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"
SONG = {"prompt": "dub", "duration": 1, "batch_size": 1}
PNG = b"\x89PNG"


def as_(key: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {key}"}}


def adapter(file: Path) -> Path:
    """A LoRA of one layer, as PEFT names it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    key = "base_model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    parts = {"A": np.full((2, 16), 0.01, np.float32), "B": np.full((16, 2), 0.01, np.float32)}
    save_file({key.format(name): part for name, part in parts.items()}, file)
    return file


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSession]:
    monkeypatch.setenv("ACESTEP_LAB_ADAPTERS", str(tmp_path / "adapters"))
    adapter(tmp_path / "adapters" / "growl.safetensors")
    adapter(tmp_path / "adapters" / "deep" / "choir.safetensors")
    session = PretendSession(tmp_path / "library", pause=0.0)
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


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[tuple[httpx2.Client, threading.Semaphore, PretendSession]]:
    """A door whose songs go on a step for each release of the gate."""
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    try:
        with ApiServer(session, port=0) as server, httpx2.Client(base_url=server.address, timeout=20) as client:
            yield client, gate, session
    finally:
        gate.release(1000)
        session.close()
        session.library.close()


# -- adapters


def worn(client: httpx2.Client, lab: PretendSession, **who: Any) -> dict[str, float]:
    """The adapters a song was made with that is asked for now."""
    entry = until_over(client, data(client.post("/release_task", json=SONG, **who))["task_id"], **who)
    (item,) = json.loads(entry["result"])
    assert entry["status"] == 1, item
    return dict(lab.load(item["take_id"]).made_with["adapters"])


def test_an_adapter_is_loaded_weighed_switched_off_and_on_and_unloaded(
    door: httpx2.Client, lab: PretendSession
) -> None:
    said = data(door.post("/v1/lora/load", json={"lora_path": "growl.safetensors"}))
    assert said["adapter_name"] == "growl"
    assert data(door.post("/v1/lora/scale", json={"scale": 0.5}))["scale"] == 0.5
    assert worn(door, lab) == {"growl": 0.5}
    data(door.post("/v1/lora/load", json={"lora_path": "deep", "adapter_name": "voices"}))
    status = data(door.get("/v1/lora/status"))
    assert (status["lora_loaded"], status["use_lora"], status["adapters"]) == (True, True, ["growl", "voices"])
    assert (status["scales"], status["active_adapter"]) == ({"growl": 0.5, "voices": 1.0}, "voices")
    assert (status["lora_scale"], status["adapter_type"], status["synthetic_default_mode"]) == (1.0, "lora", False)
    assert data(door.post("/v1/lora/toggle", json={"use_lora": False}))["use_lora"] is False
    assert worn(door, lab) == {}
    status = data(door.get("/v1/lora/status"))
    assert (status["use_lora"], status["lora_loaded"], status["scales"]["growl"]) == (False, True, 0.5)
    data(door.post("/v1/lora/toggle", data={"use_lora": "true"}))
    data(door.post("/v1/lora/scale", json={"scale": 0.25, "adapter_name": "voices"}))
    assert worn(door, lab) == {"growl": 0.5, "deep": 0.25}, "a take calls them as their files do"
    data(door.post("/v1/lora/unload", json={}))
    assert data(door.get("/v1/lora/status"))["adapters"] == []
    assert worn(door, lab) == {}


def test_each_key_has_its_own_adapters_and_whoever_has_none_those_of_the_session(
    keyed: httpx2.Client, lab: PretendSession, tmp_path: Path
) -> None:
    lab.lora((str(tmp_path / "adapters/deep/choir.safetensors"), 0.7))
    data(keyed.post("/v1/lora/load", json={"lora_path": "growl.safetensors"}, **as_(ADA)))
    assert worn(keyed, lab, **as_(ADA)) == {"growl": 1.0}
    assert worn(keyed, lab, **as_(BOB)) == {"choir": 0.7}
    status = data(keyed.get("/v1/lora/status", **as_(BOB)))
    assert (status["scales"], status["of_session"]) == ({"choir": 0.7}, True)
    data(keyed.post("/v1/lora/toggle", json={"use_lora": False}, **as_(BOB)))
    assert worn(keyed, lab, **as_(BOB)) == {}
    assert worn(keyed, lab, **as_(HOST)) == {"choir": 0.7}, "what bob switched off is off for bob"
    assert [name for name, _, _ in lab.adapters] == ["choir"]


def test_loading_fails_as_http_400_and_switching_as_a_code_in_the_envelope(door: httpx2.Client) -> None:
    for body in (
        {},
        {"lora_path": ""},
        {"lora_path": "nothing-there"},
        {"lora_path": 7},
        {"lora_path": "/etc"},
        {"lora_path": "a" * 300},
        {"lora_path": "a\0b"},
        {"lora_path": "../../x"},
        {"lora_path": "growl.safetensors", "adapter_name": "\ud800"},
    ):
        refused = door.post("/v1/lora/load", content=json.dumps(body))
        assert refused.status_code == 400, body
        assert refused.json()["detail"].endswith(".")
    for path, body in (
        ("toggle", {"use_lora": True}), ("scale", {"scale": 0.5}), ("scale", {"scale": 2}), ("scale", {}), ("toggle", {}),
    ):  # fmt: skip
        answer = door.post(f"/v1/lora/{path}", json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (200, 400, None), (path, body)
        assert answer.json()["error"].endswith(".")
    assert data(door.post("/v1/lora/unload"))["message"] == "No adapter was loaded."


def test_an_adapter_comes_from_the_folder_of_adapters_or_is_sent_and_the_host_may_name_more(
    keyed: httpx2.Client, lab: PretendSession, tmp_path: Path
) -> None:
    elsewhere = adapter(tmp_path / "elsewhere" / "hidden.safetensors")  # which is in the system's temp folder
    inside = tmp_path / "adapters" / "growl.safetensors"
    outside = os.path.relpath(elsewhere, tmp_path / "adapters")
    assert keyed.post("/v1/lora/load", json={"lora_path": str(inside)}, **as_(ADA)).status_code == 200
    for place in (str(elsewhere), outside):
        refused = keyed.post("/v1/lora/load", json={"lora_path": place}, **as_(ADA))
        assert (refused.status_code, "ACESTEP_LAB_ADAPTERS" in refused.json()["detail"]) == (400, True)
    assert keyed.post("/v1/lora/load", json={"lora_path": str(elsewhere)}, **as_(HOST)).status_code == 200
    sent = keyed.post(
        "/v1/lora/load", files={"lora_file": ("mine.safetensors", inside.read_bytes(), "")},
        data={"adapter_name": "mine"}, **as_(BOB),
    )  # fmt: skip
    assert data(sent)["adapter_name"] == "mine"
    assert len(worn(keyed, lab, **as_(BOB))) == 1
    broken = keyed.post("/v1/lora/load", files={"lora_file": ("a.safetensors", b"no adapter", "")}, **as_(BOB))
    assert broken.status_code == 400
    assert data(keyed.get("/v1/lora/status", **as_(BOB)))["adapters"] == ["mine"], "what failed changed nothing"


def test_a_task_sounds_with_what_was_on_when_it_was_asked_for(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    growl = adapter(tmp_path / "adapters" / "growl.safetensors")
    door = RestTasks(session, tmp_path / "door", adapters=growl.parent)
    mine = door.places.new_upload("ada", "mine.safetensors")
    mine.write_bytes(growl.read_bytes())
    try:
        door.adapters.load("", "mine", "ada", mine)
        task = begin(door, "ada")
        door.adapters.unload("ada")
        assert mine.exists(), "a task needs it still"
        gate.release(100)
        assert done(door, task)[0]["status"] == 1
        until(lambda: not mine.exists())
    finally:
        gate.release(1000)
        door.close()
        session.close()


# -- names of models


def test_planners_go_by_their_names_in_results_and_inventory(door: httpx2.Client, lab: PretendSession) -> None:
    entry = until_over(door, data(door.post("/release_task", json=SONG))["task_id"])
    (item,) = json.loads(entry["result"])
    assert (item["lm_model"], item["dit_model"]) == ("pretend-lm", "pretend")
    said = data(door.post("/v1/init", json={"model": TOKENS.name, "slot": 2, "init_llm": True}))
    assert (said["loaded_model"], said["slot"], said["llm_initialized"]) == (TOKENS.name, 2, False)
    assert "no planner" in said["message"]
    assert door.post("/v1/init", json={"model": TOKENS.name, "slot": 9}).json()["code"] == 400
    data(door.post("/v1/init", json={"model": "pretend", "lm_model_path": "pretend-lm"}))
    assert lab.planners == {}, "the planner it has is not opened once more"
    data(door.post("/v1/init", json={"model": TOKENS.name}))
    found = data(door.get("/v1/model_inventory"))
    assert [(one["name"], one["is_default"]) for one in found["models"]] == [(TOKENS.name, True), ("pretend", False)]
    assert found["loaded_lm_model"] is None
    assert [one["name"] for one in found["lm_models"]] == ["pretend-lm"], "another open checkpoint has one"
    song = until_over(door, data(door.post("/release_task", json=SONG))["task_id"])
    (item,) = json.loads(song["result"])
    assert (item["lm_model"], item["dit_model"]) == ("", TOKENS.name)


def test_a_planner_is_called_as_its_publisher_does() -> None:
    main = Path("/cache/models--ACE-Step--Ace-Step1.5/snapshots/0a1b/acestep-5Hz-lm-1.7B")
    small = Path("/cache/models--ACE-Step--acestep-5Hz-lm-0.6B/snapshots/0a1b")
    names = [catalog.lm_name(place, "mine") for place in (main, small, Path("/own/my-planner"), Path("/own/lm"))]
    assert names == ["acestep-5Hz-lm-1.7B", "acestep-5Hz-lm-0.6B", "my-planner", "mine-lm"]


def test_the_host_may_have_the_models_read_anew(keyed: httpx2.Client, lab: PretendSession) -> None:
    assert keyed.post("/v1/reinitialize", **as_(ADA)).json()["code"] == 403
    assert keyed.post("/v1/reinitialize", **as_(HOST)).json()["code"] == 500, "a pretended session holds none"
    freed: list[bool] = []
    lab.free = lambda: freed.append(True)  # type: ignore[attr-defined]
    said = data(keyed.post("/v1/reinitialize", **as_(HOST)))
    assert (freed, said["reloaded"]) == ([True], ["pretend"])
    assert rest_verbs.reinitialize(lab)["message"].endswith(".")


# -- events


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, kind and data of each event."""
    id = kind = text = ""
    for line in lines:
        name, _, value = line.partition(": ")
        id, kind, text = (value if name == key else old for key, old in (("id", id), ("event", kind), ("data", text)))
        if not line and text:
            yield id, kind, json.loads(text)
            text = ""


def test_events_tell_step_and_time_to_go_and_show_pictures_where_they_are_asked_for(gated: Any) -> None:
    client, gate, _ = gated
    id = data(client.post("/release_task", json=SONG | {"inference_steps": 4}))["task_id"]
    kinds: dict[str, list[dict[str, Any]]] = {"task": [], "latent": [], "end": []}
    let_on = set[int]()
    with client.stream("GET", f"/v1/events?task_id={id}&latents=1") as stream:
        for _id, kind, told in events(stream.iter_lines()):
            kinds[kind].append(told)
            if kind == "latent" or told["state"] != "running" or told["stage"] == "running" or told["step"] in let_on:
                continue
            if told["latent"]:  # while it stands still
                picture = client.get(told["latent"])
                assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", PNG)
            let_on.add(told["step"])
            gate.release(1)
    assert let_on >= {1, 2, 3}
    assert {"eta", "step", "steps", "progress", "stage"} <= set(kinds["task"][0])
    steps = [one["step"] for one in kinds["task"]]
    assert steps == sorted(steps)
    assert (steps[-1], kinds["task"][-1]["steps"]) == (4, 4)
    assert any(one["eta"] is not None for one in kinds["task"])
    assert kinds["latent"][0]["task_id"] == id
    png = base64.b64decode(kinds["latent"][0]["png"])
    assert png[:4] == PNG
    assert len(png) < 100_000
    assert [one["state"] for one in kinds["end"]] == ["succeeded"]
    assert client.get(f"/v1/latent?task_id={id}").status_code == 404, "it is rendered no more"
    assert client.get(f"/v1/latent?task_id={id}&step=x").status_code == 400
    assert client.get("/v1/latent?task_id=nobodys").status_code == 404


def test_who_comes_back_is_told_what_changed_since_and_after_the_end_not_to_ask(gated: Any) -> None:
    client, gate, _ = gated
    old = data(client.post("/release_task", json=SONG))["task_id"]
    gate.release(100)
    until_over(client, old)
    with client.stream("GET", "/v1/events") as stream:
        heard = next(events(stream.iter_lines()))
    assert heard[2]["task_id"] == old
    new = data(client.post("/release_task", json=SONG))["task_id"]
    again = {"Last-Event-ID": heard[0]}
    with client.stream("GET", "/v1/events", headers=again) as stream:
        assert next(events(stream.iter_lines()))[2]["task_id"] == new, "the old one has not changed"
    with client.stream("GET", "/v1/events", headers={"Last-Event-ID": "another-9"}) as stream:
        assert next(events(stream.iter_lines()))[2]["task_id"] == old, "the number of another door says nothing"
    gate.release(100)
    until_over(client, new)
    with client.stream("GET", f"/v1/events?task_id={new}") as stream:
        *_, (last, kind, told) = events(stream.iter_lines())
    assert (kind, told["state"]) == ("end", "succeeded")
    assert client.get(f"/v1/events?task_id={new}", headers={"Last-Event-ID": last}).status_code == 204


def test_a_quiet_line_is_told_that_it_stands(door: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_listening, "HEARTBEAT", 0.05)
    with door.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": still here"


def test_fifty_listeners_all_hear_of_a_task(lab: PretendSession) -> None:
    async def listen(port: int, ready: asyncio.Semaphore) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"retry: 1000")
        ready.release()
        await reader.readuntil(b"event: task")
        heard = time.monotonic()
        writer.close()
        return heard

    async def all_of(server: ApiServer) -> list[float]:
        ready = asyncio.Semaphore(0)
        listeners = [asyncio.create_task(listen(server.port, ready)) for _ in range(50)]
        for _ in listeners:
            await ready.acquire()
        asked = time.monotonic()
        server._door.tasks.begin(read_request(SONG))
        return [heard - asked for heard in await asyncio.gather(*listeners)]

    with ApiServer(lab, port=0) as server:
        waited = asyncio.run(all_of(server))
    print(f"50 listeners: the last one after {max(waited) * 1000:.0f} ms")  # how quick is a benchmark's: bench_doors
    assert len(waited) == 50


# -- scores and timed lyrics


def test_scores_come_when_they_are_asked_for_and_say_why_where_there_are_none(
    door: httpx2.Client, lab: PretendSession
) -> None:
    plain = data(door.post("/release_task", json=SONG | {"lyrics": "[verse]\nla"}))["task_id"]
    (item,) = json.loads(until_over(door, plain)["result"])
    assert (item["scores"], item["lrc"]) == (None, None)
    assert "get_lrc=true" in item["lrc_reason"]
    (found,) = data(door.get(f"/v1/scores?task_id={plain}"))
    assert "heard" not in found
    (heard,) = data(door.get(f"/v1/scores?task_id={plain}&heard=true"))
    assert {row["name"] for row in heard["heard"]} >= {"tempo", "key", "coverage", "agreement"}
    assert (found["lm_score"], found["dit_score"], found["take_id"]) == (0.5, 0.5, item["take_id"])
    assert (found["sung"]["coverage"], "chance" in found["sung"]) == (1.0, True)
    (item,) = json.loads(until_over(door, plain)["result"])
    assert item["lrc"].startswith("[00:00.00]la"), "with the scores come the times"
    assert item["scores"]["lm_score"] == 0.5, "what was found out stays"
    asked = data(door.post("/release_task", json=SONG | {"get_scores": True}))["task_id"]
    (item,) = json.loads(until_over(door, asked)["result"])
    assert (item["scores"]["lm_score"], "no words" in item["lrc_reason"]) == (0.5, True)
    words = data(door.post("/release_task", json=SONG | {"lyrics": "[verse]\nla", "get_lrc": True}))["task_id"]
    (item,) = json.loads(until_over(door, words)["result"])
    assert (item["lrc"][:12], item["scores"]) == ("[00:00.00]la", None)
    assert door.get("/v1/scores?task_id=nobodys").status_code == 404
    assert door.get(f"/v1/scores?task_id={plain}&scale=loud").status_code == 400
    lab.use(TOKENS.name)
    (found,) = data(door.get(f"/v1/scores?task_id={asked}"))
    assert (found["lm_score"], "planner" in found["lm_score_reason"]) == (None, True)
    FeatureFlags.disable(Feature.EXPERIMENTAL_SCORING)
    try:
        (found,) = data(door.get(f"/v1/scores?task_id={asked}"))
    finally:
        FeatureFlags.reset(Feature.EXPERIMENTAL_SCORING)
    assert "ACESTEP_FEATURE_EXPERIMENTAL_SCORING" in found["lm_score_reason"]


# -- training


def test_names_that_no_disk_has_are_refused_in_a_sentence(door: httpx2.Client) -> None:
    long = "a" * 300 + ".wav"
    refused = door.post("/release_task", json=SONG | {"task_type": "cover", "src_audio_path": long})
    assert (refused.status_code, refused.json()["detail"][-1]) == (400, ".")
    assert door.get("/v1/audio", params={"path": long}).status_code == 403
    for field in ("prompt", "lyrics", "sample_query", "key_scale"):
        half = door.post("/release_task", content=json.dumps(SONG | {field: "a \ud800"}))
        if half.status_code == 200:
            assert until_over(door, half.json()["data"]["task_id"])["status"] in (1, 2)
        else:
            assert (half.status_code, half.json()["detail"][-1]) == (400, ".")


# -- a batch that ends early


def test_of_a_batch_that_is_stopped_the_finished_songs_are_there(tmp_path: Path) -> None:
    session = PretendSession(tmp_path / "library", pause=0.0)
    door = RestTasks(session, tmp_path / "door")
    take, made = session._take, []

    def second_waits(recipe: Any, step: Any) -> Any:
        if made:
            door.cancel(task.id)
            raise_if_stopped()
        made.append(recipe)
        return take(recipe, step)

    def raise_if_stopped() -> None:
        until(lambda: task.run is not None)
        assert task.run is not None
        task.run.check()

    session._take = second_waits  # type: ignore[method-assign]
    try:
        task = begin(door, batch_size=2, use_random_seed=False, seed="5,6")
        entry, items = done(door, task)
        assert (entry["status"], len(items)) == (2, 1)
        assert (items[0]["status"], items[0]["seed_value"]) == (2, "5")
        assert items[0]["error"] == entry["progress_text"]
        assert items[0]["url"] == items[0]["file"]
        assert task.files[0].stat().st_size > 0
    finally:
        door.close()
        session.close()


def test_a_task_that_is_stopped_at_its_scores_has_its_songs(tmp_path: Path) -> None:
    session = PretendSession(tmp_path / "library", pause=0.0)
    door = RestTasks(session, tmp_path / "door")

    def stopped(*_: Any, **__: Any) -> Any:
        raise Stopped("The planner was stopped.")

    session.plan_score = stopped  # type: ignore[method-assign]
    try:
        entry, (item,) = done(door, begin(door, get_scores=True))
        assert (entry["status"], item["status"], item["error"]) == (2, 2, "The planner was stopped.")
        assert item["file"].endswith(".mp3")
    finally:
        door.close()
        session.close()


# -- every name of a field

Reads = Callable[[RenderRequest], object]
COVER = {"task_type": "cover", "src_audio_path": "a.wav"}
REPAINT = {"task_type": "repaint", "src_audio_path": "a.wav", "repainting_start": 1, "repainting_end": 3}
THINKS = {"thinking": True}
RETAKE = {"task_type": "retake", "src_audio_path": "a.wav", "retake_seed": 3}
FROM_A_SOUND = {"task_type": "audio2audio", "src_audio_path": "a.wav"}
EDIT = {"task_type": "edit", "src_audio_path": "a.wav"}
EXTEND = {"task_type": "extend", "src_audio_path": "a.wav"}


def recipe(name: str) -> Reads:
    return lambda request: getattr(request.recipes[0], name)


def task(name: str) -> Reads:
    return lambda request: getattr(request.recipes[0].task, name)


def planning(name: str) -> Reads:
    return lambda request: getattr(request.recipes[0].planning, name)


def sampling(name: str) -> Reads:
    return lambda request: request.recipes[0].sampling.given().get(name)


TABLE: dict[str, tuple[str, dict[str, Any], object, Reads, object]] = {
    "prompt": ("prompt caption", {}, "rain", recipe("caption"), "rain"),
    "lyrics": ("lyrics", {}, "la la", recipe("lyrics"), "la la"),
    "global_caption": (
        "global_caption", {"task_type": "lego", "src_audio_path": "a.wav", "track_name": "drums"}, "band",
        sampling("global_caption"), "band",
    ),
    "task_type": ("task_type taskType task", {"src_audio_path": "a.wav"}, "cover", lambda r: type(r.recipes[0].task).__name__, "Cover"),
    "audio_duration": ("audio_duration duration audioDuration target_duration targetDuration", {}, 42, recipe("seconds"), 42),
    "bpm": ("bpm", {}, 118, recipe("bpm"), 118),
    "key_scale": ("key_scale keyscale keyScale key", {}, "A minor", recipe("keyscale"), "A minor"),
    "time_signature": ("time_signature timesignature timeSignature", {}, "3", recipe("timesignature"), "3"),
    "vocal_language": ("vocal_language vocalLanguage language", {}, "ja", recipe("language"), "ja"),
    "batch_size": ("batch_size", {}, 3, lambda r: len(r.recipes), 3),
    "seed": ("seed manual_seeds", {"use_random_seed": False}, "7,8", lambda r: [one.seed for one in r.recipes], [7, 8]),
    "use_random_seed": ("use_random_seed useRandomSeed", {"seed": 7}, False, recipe("seed"), 7),
    "inference_steps": ("inference_steps inferenceSteps infer_steps infer_step", {}, 12, sampling("steps"), 12),
    "guidance_scale": ("guidance_scale guidanceScale", {}, 5, sampling("guidance_scale"), 5),
    "shift": ("shift", {}, 2, sampling("shift"), 2),
    "use_adg": ("use_adg", {}, True, sampling("guidance"), "adg"),
    "guidance": ("guidance cfg_type", {}, "cfg", sampling("guidance"), "cfg"),
    "guidance_interval": ("guidance_interval", {"omega": 1}, 0.3, sampling("guidance_share"), 0.3),
    "omega": ("omega omega_scale", {}, 5, sampling("omega"), 5),
    "own_steps": ("own_steps oss_steps", {}, "2,9,16", sampling("own_steps"), (2, 9, 16)),
    "guidance_share": ("guidance_share", {"omega": 1}, 0.3, sampling("guidance_share"), 0.3),
    "guidance_decay": ("guidance_decay guidance_interval_decay", {"omega": 1}, 0.5, sampling("guidance_decay"), 0.5),
    "min_guidance_scale": ("min_guidance_scale", {"omega": 1}, 2, sampling("min_guidance_scale"), 2),
    "guidance_scale_text": ("guidance_scale_text", {"omega": 1}, 5, sampling("guidance_scale_text"), 5),
    "guidance_scale_lyric": ("guidance_scale_lyric", {"omega": 1}, 1.5, sampling("guidance_scale_lyric"), 1.5),
    "erg_tag": ("erg_tag use_erg_tag", {"omega": 1}, False, sampling("erg_tag"), False),
    "erg_lyric": ("erg_lyric use_erg_lyric", {"omega": 1}, False, sampling("erg_lyric"), False),
    "erg_diffusion": ("erg_diffusion use_erg_diffusion", {"omega": 1}, False, sampling("erg_diffusion"), False),
    "retake_variance": ("retake_variance", RETAKE, 0.2, task("variance"), 0.2),
    "retake_seed": ("retake_seed retake_seeds", RETAKE, 7, task("seed"), 7),
    "audio2audio_enable": ("audio2audio_enable", {"src_audio_path": "a.wav"}, True, lambda r: type(r.recipes[0].task).__name__, "Cover"),
    "ref_audio_strength": ("ref_audio_strength", FROM_A_SOUND, 0.3, task("noise_strength"), 0.3),
    "edit_target_prompt": ("edit_target_prompt", EDIT, "a piano", recipe("caption"), "a piano"),
    "edit_target_lyrics": ("edit_target_lyrics", EDIT, "la la", recipe("lyrics"), "la la"),
    "edit_n_min": ("edit_n_min", EDIT, 0.2, task("n_min"), 0.2),
    "edit_n_max": ("edit_n_max", EDIT, 0.4, task("n_max"), 0.4),
    "edit_n_avg": ("edit_n_avg", EDIT, 2, task("n_avg"), 2),
    "left_extend_length": ("left_extend_length", EXTEND, 3, task("before"), 3),
    "right_extend_length": ("right_extend_length", EXTEND, 3, task("after"), 3),
    "cfg_interval_start": ("cfg_interval_start", {}, 0.2, sampling("guidance_interval"), (0.2, 1.0)),
    "cfg_interval_end": ("cfg_interval_end", {}, 0.8, sampling("guidance_interval"), (0.0, 0.8)),
    "infer_method": ("infer_method inferMethod", {}, "sde", sampling("solver"), "sde"),
    "sampler_mode": ("sampler_mode scheduler_type", {}, "heun", sampling("solver"), "heun"),
    "velocity_norm_threshold": ("velocity_norm_threshold", {}, 2, sampling("velocity_clamp"), 2),
    "velocity_ema_factor": ("velocity_ema_factor", {}, 0.3, sampling("velocity_ema"), 0.3),
    "latent_shift": ("latent_shift", {}, 0.1, sampling("latent_shift"), 0.1),
    "latent_rescale": ("latent_rescale", {}, 1.1, sampling("latent_rescale"), 1.1),
    "timesteps": ("timesteps", {}, "0.9,0.5,0", lambda r: list(r.recipes[0].sampling.given().get("timesteps", ()))[:2], [0.9, 0.5]),
    "reference_audio_path": (
        "reference_audio_path ref_audio_path referenceAudioPath refAudioPath ref_audio_input", {}, "r.wav", task("reference"), "r.wav",
    ),
    "src_audio_path": (
        "src_audio_path ctx_audio_path sourceAudioPath srcAudioPath ctxAudioPath", {"task_type": "cover"}, "s.wav",
        task("source"), "s.wav",
    ),
    "audio_cover_strength": (
        "audio_cover_strength audioCoverStrength cover_strength coverStrength", COVER, 0.4, task("strength"), 0.4,
    ),
    "cover_noise_strength": ("cover_noise_strength coverNoiseStrength", COVER, 0.3, task("noise_strength"), 0.3),
    "repainting_start": ("repainting_start repaint_start", REPAINT, 2, lambda r: r.recipes[0].task.regions[0].start, 2),
    "repainting_end": ("repainting_end repaint_end", REPAINT, 5, lambda r: r.recipes[0].task.regions[0].end, 5),
    "repaint_mode": ("repaint_mode", REPAINT, "aggressive", task("mode"), "aggressive"),
    "repaint_strength": ("repaint_strength", REPAINT, 0.9, task("strength"), 0.9),
    "repaint_latent_crossfade_frames": ("repaint_latent_crossfade_frames", REPAINT, 25, task("latent_crossfade"), 1.0),
    "repaint_wav_crossfade_sec": ("repaint_wav_crossfade_sec", REPAINT, 0.2, task("wave_crossfade"), 0.2),
    "chunk_mask_mode": ("chunk_mask_mode", REPAINT, "auto", task("mask"), "auto"),
    "track_name": (
        "track_name trackName", {"task_type": "extract", "src_audio_path": "a.wav"}, "bass", task("stem"), "bass",
    ),
    "track_classes": (
        "track_classes trackClasses instruments", {"task_type": "complete", "src_audio_path": "a.wav"}, ["bass", "drums"],
        lambda r: set(r.recipes[0].task.stems), {"bass", "drums"},
    ),
    "instruction": ("instruction", {}, "Make it odd.", sampling("instruction"), "Make it odd."),
    "audio_code_string": (
        "audio_code_string audioCodeString audio_codes", {}, "<|audio_code_3|><|audio_code_4|>", task("codes"), (3, 4),
    ),
    "thinking": ("thinking", {}, "yes", planning("thinking"), True),
    "use_format": ("use_format useFormat format", {}, 1, lambda r: r.polish, True),
    "sample_mode": ("sample_mode sampleMode", {"prompt": "rain"}, "on", lambda r: r.sketch, "rain"),
    "sample_query": ("sample_query sampleQuery description desc", {}, "sad song", lambda r: r.sketch, "sad song"),
    "use_cot_caption": ("use_cot_caption cot_caption cot-caption", THINKS, False, planning("rewrite_caption"), False),
    "use_cot_language": ("use_cot_language cot_language cot-language", THINKS, False, recipe("language"), "en"),
    "is_format_caption": ("is_format_caption", THINKS, True, planning("rewrite_caption"), False),
    "lm_temperature": ("lm_temperature", {}, 0.5, planning("temperature"), 0.5),
    "lm_cfg_scale": ("lm_cfg_scale", {}, 1.5, planning("cfg_scale"), 1.5),
    "lm_top_k": ("lm_top_k", {}, 40, planning("top_k"), 40),
    "lm_top_p": ("lm_top_p", {}, 0.5, planning("top_p"), 0.5),
    "lm_repetition_penalty": ("lm_repetition_penalty", {}, 1.2, planning("repetition_penalty"), 1.2),
    "lm_negative_prompt": ("lm_negative_prompt", {}, "noise", planning("negative_prompt"), "noise"),
    "model": ("model model_name modelName dit_model ditModel", {}, "other", lambda r: r.model, "other"),
    "audio_format": ("audio_format", {}, "flac", lambda r: r.audio_format, "flac"),
    "analysis_only": ("analysis_only analysisOnly", {}, True, lambda r: r.work, "analysis"),
    "full_analysis_only": ("full_analysis_only fullAnalysisOnly", {"src_audio_path": "a.wav"}, True, lambda r: r.work, "full_analysis"),
    "extract_codes_only": ("extract_codes_only extractCodesOnly", {"src_audio_path": "a.wav"}, True, lambda r: r.work, "codes"),
    "get_scores": ("get_scores getScores", {}, True, lambda r: r.scale, 0.1),
    "score_scale": ("score_scale scoreScale", {"get_scores": True}, 0.5, lambda r: r.scale, 0.5),
    "get_lrc": ("get_lrc getLrc", {}, True, lambda r: r.lrc, True),
}  # fmt: skip
"""Each field with its names as the published server has them, what else is sent, a value, and what it becomes."""


NEEDED = ("prompt", "src_audio_path", "track_name", "track_classes")
"""Without these a request of their kind is none."""


@pytest.mark.parametrize("name", TABLE)
def test_every_name_of_a_field_is_read_in_all_places(name: str) -> None:
    names, others, value, reads, becomes = TABLE[name]
    assert tuple(names.split()) == FIELDS[name]

    def read(body: dict[str, Any]) -> object:
        return reads(read_request(body, models=("pretend", "other")))

    bare = {key: one for key, one in ({"prompt": "dub"} | others).items() if key != name}
    assert name in NEEDED or read(bare) != becomes, "the value is another than the usual one"
    for alias in names.split():
        assert read(bare | {alias: value}) == becomes, alias
        if name != "prompt":
            assert read(bare | {"param_obj": json.dumps({alias: value})}) == becomes, alias
            assert read(bare | {"userMetadata": {alias: value}}) == becomes, alias


def test_every_field_is_in_the_table_and_those_without_effect_are_said_and_change_nothing() -> None:
    assert set(TABLE) == set(FIELDS)
    plain = read_request({"prompt": "dub"})
    assert read_request({"prompt": "dub", **dict.fromkeys(WITHOUT_EFFECT, "0.5")}) == plain
    asked = document()["paths"]["/release_task"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {*FIELDS, *WITHOUT_EFFECT} <= set(asked["properties"])
