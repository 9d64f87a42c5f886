"""What people with bad intentions, bad programs and bad luck send to the chat door, to adapters and to events."""

from __future__ import annotations

import base64
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from acestep_lab.errors import CheckpointError, RecipeError
from acestep_lab.serve import rest_listening
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_chat_answer import Sounds
from acestep_lab.serve.api_chat_request import read_chat
from acestep_lab.serve.rest_adapters import MOST_HEADER, examined
from tests.pretend import PretendSession
from tests.test_chat import asking, chat, coded, files_in, part, until
from tests.test_rest import data, until_over
from tests.test_rest_more import ADA, BOB, HOST, adapter, as_

ODD: list[Any] = [
    None, True, False, 0, -1, 10**9, 10**400, 1e308, "", " ", "x", "nan", "1e999", "\ud800", "\0", "²", "[" * 2000, [], {},
    [[]], [{}], [None], {"a": 1}, [1, 2, 3], "9" * 5000,
]  # fmt: skip
FIELDS = (
    "model", "messages", "stream", "stream_options", "temperature", "top_p", "top_k", "seed", "n", "batch_size", "audio",
    "metadata", "audio_config", "lm_cfg_scale", "lyrics", "task_type", "thinking", "param_obj", "audio_codes", "sample_mode",
    "timesteps", "track_classes", "repainting_start", "get_scores", "instruction", "sampler_mode", "ai_token",
)  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSession]:
    monkeypatch.setenv("ACESTEP_LAB_ADAPTERS", str(tmp_path / "adapters"))
    adapter(tmp_path / "adapters" / "growl.safetensors")
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def server(lab: PretendSession, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(lab, port=0, keys=[HOST, ADA, BOB], folder=tmp_path / "door") as one:
        yield one


@pytest.fixture
def door(server: ApiServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.address, timeout=20, **as_(ADA)) as client:
        yield client


def said(door: httpx2.Client, body: Any) -> tuple[int, str]:
    """The status and the sentence of a chat's answer; "" where it was made."""
    answer = door.post("/v1/chat/completions", content=body if isinstance(body, bytes) else json.dumps(body))
    return answer.status_code, "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def body(content: Any = "dub", **more: Any) -> dict[str, Any]:
    song = {"duration": 0.5, "format": "wav"}
    return {"messages": [{"role": "user", "content": content}], "audio_config": song} | more


def raw(server: ApiServer, method: str, path: str, content: bytes = b"", key: str = ADA) -> socket.socket:
    """A request by hand, its answer not read yet."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    line.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
    return line


# -- messages


def test_whatever_a_field_is_the_answer_is_a_song_or_a_sentence(door: httpx2.Client, server: ApiServer) -> None:
    chance = random.Random(15)
    for name in FIELDS:
        for value in chance.sample(ODD, 3):
            status, sentence = said(door, body() | {name: value})
            assert status in (200, 400), (name, value, status, sentence)
            assert status == 200 or (sentence.isprintable() and len(sentence) < 300), (name, value, sentence)
    for value in ODD:
        for content in (value, [value], [{"type": value}], [part(value)], [part("AAAA", value)]):
            status, sentence = said(door, body(content))
            assert status in (200, 400), (content, status, sentence)
    until(lambda: not files_in(server._door.tasks.places.folder))


def test_tags_that_never_end_take_no_time() -> None:
    began = time.monotonic()
    for text in ("<prompt>" * 60_000, "<lyrics>" * 60_000, "<PROMPT>a<lyrics>" * 25_000, "[ " * 200_000):
        read_chat(body(text))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("text", "prompt", "lyrics"),
    [
        ("<PROMPT>dub</prompt><Lyrics>la</LYRICS>", "dub", "la"), ("</prompt>dub<prompt>", "</prompt>dub<prompt>", ""),
        ("<lyrics>la</lyrics> dub", "dub", "la"), ("İ<prompt>dub</prompt>", "dub", ""),
        ("<prompt>dub", "<prompt>dub", ""),
    ],
)  # fmt: skip
def test_tags_in_any_case_and_order(text: str, prompt: str, lyrics: str) -> None:
    fields = read_chat(body(text)).fields
    assert (fields["prompt"], fields["lyrics"]) == (prompt, lyrics)


@pytest.mark.parametrize("url", ["file:///etc/passwd", " http://x/y", "HTTPS://x/y", "ftp://x"])
def test_no_address_is_fetched(url: str) -> None:
    with pytest.raises(RecipeError, match="addresses are not fetched"):
        read_chat(body([{"type": "audio_url", "audio_url": {"url": url}}]))


def test_a_sound_that_is_none_is_not_called_by_a_name_that_its_sender_never_saw(
    door: httpx2.Client, server: ApiServer
) -> None:
    for junk in (b"hello", b"PK\3\4" + bytes(99), base64.b64decode(coded())[:50]):
        sound = part(base64.b64encode(junk).decode())
        status, sentence = said(door, body([{"type": "text", "text": "x"}, sound], task_type="cover"))
        assert (status, sentence.partition(" is no sound file")[0]) == (400, "The sound that was sent")
    until(lambda: not files_in(server._door.tasks.places.folder))


def test_nobody_starts_from_what_is_somebody_elses(door: httpx2.Client) -> None:
    assert said(door, body())[0] == 200
    task = data(door.get("/v1/tasks"))[0]["task_id"]
    (item,) = json.loads(data(door.post("/query_result", json={"task_id_list": [task]}))[0]["result"])
    assert door.get(item["file"]).status_code == 200
    assert door.get(item["file"], **as_(BOB)).status_code == 403
    stolen = body(task_type="cover", src_audio_path=item["take_id"])
    refused = door.post("/v1/chat/completions", json=stolen, **as_(BOB))
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


def test_json_that_is_nested_too_deep_is_refused(door: httpx2.Client) -> None:
    for deep in (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        assert said(door, b'{"messages":' + deep + b"}") == (400, "The body is no JSON that can be read.")


# -- people who go, and people who come in crowds


@pytest.mark.parametrize("streams", [False, True])
def test_whoever_hangs_up_leaves_no_run_no_file_and_no_thread(tmp_path: Path, streams: bool) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    try:
        with ApiServer(session, port=0, folder=tmp_path / "door") as server:
            asked = body([{"type": "text", "text": "x"}, part(coded())], task_type="cover", stream=streams)
            line = raw(server, "POST", "/v1/chat/completions", json.dumps(asked).encode())
            until(lambda: [task for task in server._door.tasks.tasks() if task.run])
            line.close()
            (task,) = server._door.tasks.tasks()
            until(lambda: task.stopping)
            gate.release(1000)
            until(lambda: task.over and not files_in(tmp_path / "door"))
            assert task.state == "stopped"
    finally:
        gate.release(1000)
        session.close()
        session.library.close()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("acestep_lab api")])


@pytest.mark.parametrize("streams", [False, True])
def test_a_sound_that_is_swept_while_it_is_sent_ends_the_answer_where_it_is(
    server: ApiServer, door: httpx2.Client, monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    def pieces(self: Sounds, text: str) -> Iterator[bytes]:
        yield text.encode()[:100]
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(Sounds, "pieces", pieces)
    line = raw(server, "POST", "/v1/chat/completions", json.dumps(body(stream=streams)).encode())
    with line, line.makefile("rb") as answer:
        heard = answer.read()
    assert heard.startswith(b"HTTP/1.1 200")
    assert b"Error:" not in heard
    assert b"DONE" not in heard, "nobody takes half a song for a whole one"
    assert data(door.get("/v1/tasks"))[0]["state"] == "succeeded"


def test_sixty_streams_at_once_all_end(server: ApiServer) -> None:
    content = json.dumps(body(stream=True)).encode()
    lines = [raw(server, "POST", "/v1/chat/completions", content) for _ in range(60)]
    for line in lines:
        with line, line.makefile("rb") as answer:
            heard = b"".join(iter(answer.readline, b"data: [DONE]\n"))
            assert b'"finish_reason": "stop"' in heard


def test_a_client_that_retries_does_not_render_what_failed_again(server: ApiServer, lab: PretendSession) -> None:
    with asking(server, ADA, retries=2) as client, pytest.raises(openai.BadRequestError):
        chat(client, body={"audio_config": {"duration": -3}, "batch_size": 10**9})
    with asking(server, ADA, retries=2) as client:
        lab._render = broken  # type: ignore[method-assign]
        with pytest.raises(openai.InternalServerError, match="failed unexpectedly"):
            chat(client)
    assert len(server._door.tasks._tasks) == 1


def broken(*_: Any) -> None:
    raise ValueError("a fault of the engine")


def test_who_waits_for_the_planner_keeps_nobody_else_waiting(door: httpx2.Client, lab: PretendSession) -> None:
    go, sketch = threading.Event(), lab.sketch

    def slow(*args: Any, **more: Any) -> Any:
        go.wait(20)
        return sketch(*args, **more)

    lab.sketch = slow  # type: ignore[method-assign]
    crowd = [threading.Thread(target=door.post, args=("/v1/create_sample",), kwargs={"json": {"query": "x"}})
             for _ in range(12)]  # fmt: skip
    for one in crowd:
        one.start()
    try:
        time.sleep(0.3)
        began = time.monotonic()
        id = data(door.post("/release_task", json={"prompt": "dub", "duration": 1}, **as_(BOB)))["task_id"]
        assert until_over(door, id, **as_(BOB))["status"] == 1
        data(door.post("/v1/cancel", json={"task_id": id}, **as_(BOB)))
        data(door.post("/v1/lora/load", json={"lora_path": "growl.safetensors"}, **as_(BOB)))
        assert data(door.post("/v1/lora/toggle", json={"use_lora": False}, **as_(BOB)))["use_lora"] is False
        assert time.monotonic() - began < 5
    finally:
        go.set()
        for one in crowd:
            one.join()


# -- adapters


def send(door: httpx2.Client, file: Path, name: str = "") -> httpx2.Response:
    return door.post(
        "/v1/lora/load", files={"f": (file.name, file.read_bytes(), "")}, data={"adapter_name": name} if name else {}
    )


def test_adapters_that_are_sent_again_and_again_do_not_fill_the_disk(
    door: httpx2.Client, server: ApiServer, tmp_path: Path
) -> None:
    growl = tmp_path / "adapters" / "growl.safetensors"
    for _ in range(5):
        data(send(door, growl, "same"))
    assert len(files_in(server._door.tasks.places.folder)) == 1
    data(door.post("/v1/lora/unload"))
    assert not files_in(server._door.tasks.places.folder)


@pytest.mark.parametrize("name", ["junk.safetensors", "evil.bin", "none"])
def test_what_is_no_adapter_is_called_what_was_sent(door: httpx2.Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 40)
    refused = send(door, tmp_path / name)
    assert refused.status_code == 400
    assert "he file that was sent" in refused.json()["detail"], refused.json()


def test_a_header_of_megabytes_is_not_read(tmp_path: Path) -> None:
    rows = {f"layers.{n}.self_attn.q_proj.lora_A.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for n in range(90_000)}  # fmt: skip
    header = json.dumps(rows).encode()
    assert len(header) > MOST_HEADER
    file = tmp_path / "long.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="is no adapter: its header has"):
        examined(str(file))


@pytest.mark.parametrize("value", ["NaN", "x", "", None, True, [], 10**400, "1e999", -1, 1.0000001])
def test_a_scale_that_is_none_is_named_as_it_was_sent(door: httpx2.Client, value: Any) -> None:
    data(door.post("/v1/lora/load", json={"lora_path": "growl.safetensors"}))
    answer = door.post("/v1/lora/scale", json={"scale": value}).json()
    assert answer["code"] == 400
    assert "nan." not in answer["error"]
    assert data(door.get("/v1/lora/status"))["lora_scale"] == 1.0


def test_an_adapter_whose_file_is_gone_fails_its_task_with_what_to_do(door: httpx2.Client, tmp_path: Path) -> None:
    data(door.post("/v1/lora/load", json={"lora_path": "growl.safetensors"}))
    (tmp_path / "adapters" / "growl.safetensors").unlink()
    status, sentence = said(door, body())
    assert status == 400
    assert "not there any more; load it again" in sentence
    assert str(tmp_path) not in sentence
    data(door.post("/v1/lora/unload"))
    assert said(door, body())[0] == 200


# -- events


def test_one_person_cannot_take_all_the_places_of_listeners(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_listening, "MOST_LISTENERS", 3)
    lines = [raw(server, "GET", "/v1/events", key=BOB) for _ in range(3)]
    heads = [line.recv(12) for line in lines]
    with raw(server, "GET", "/v1/events", key=BOB) as late, raw(server, "GET", "/v1/events") as ada:
        assert late.recv(12) == b"HTTP/1.1 503"
        assert {ada.recv(12), *heads} == {b"HTTP/1.1 200"}
    for line in lines:
        line.close()
    until(lambda: raw(server, "GET", "/v1/events", key=BOB).recv(12) == b"HTTP/1.1 200")


def test_events_asked_for_in_words_that_are_no_text_are_refused_before_they_begin(door: httpx2.Client) -> None:
    for query in ("latents=%F0", "last_event_id=%FF", "task_id=%FF"):
        assert door.get(f"/v1/events?{query}").status_code == 400
