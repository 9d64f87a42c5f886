"""The chat door: OpenAI's own client against real sockets, and the conversations of ACE-Step's chat clients."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from acestep_lab import Session
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.prompt.tasks import Cover, Repaint, Text2Music
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_body import BadBody
from acestep_lab.serve.api_chat_answer import Answer, Sounds
from acestep_lab.serve.api_chat_body import LONG, LongStrings, decode_sound
from acestep_lab.serve.api_chat_request import ChatRequest, looks_like_lyrics, read_chat
from tests.pretend import PretendSession, tone

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"
LONG_SONG = 12.0
"""Seconds of a sound whose base64 is long enough for the disk."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def held(tmp_path: Path, gate: threading.Semaphore) -> Iterator[PretendSession]:
    """A session whose renders wait until the gate is opened."""
    session = PretendSession(tmp_path / "library", gate=gate)
    yield session
    gate.release(1000)
    session.close()
    session.library.close()


@pytest.fixture
def server(lab: PretendSession, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(lab, port=0, folder=tmp_path / "door") as one:
        yield one


@pytest.fixture
def client(server: ApiServer) -> Iterator[openai.OpenAI]:
    with asking(server) as one:
        yield one


def asking(server: ApiServer, key: str = "any", retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, timeout=20, max_retries=retries)


def chat(client: openai.OpenAI, content: Any = "dub", model: str = "acestep/pretend", **more: Any) -> Any:
    """A completion; fields that are not OpenAI's go along as its client has it."""
    body = {"audio_config": {"duration": 2}} | more.pop("body", {})
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], extra_body=body, **more
    )


def sounds(listed: Any) -> list[Audio]:
    return [Audio.read(data_of(one)) for one in listed]


def data_of(listed: Any) -> bytes:
    """The file in an item of the list of sounds, as OpenAI's client hands it on."""
    return base64.b64decode(listed.audio_url["url"].partition(",")[2])


def head_of(listed: Any) -> str:
    return str(listed.audio_url["url"].partition(",")[0])


def coded(seconds: float = 1.0, seed: int = 1) -> str:
    return base64.b64encode(tone(seconds, seed, 48_000).encoded("wav", 16)).decode()


def part(data: str, kind: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def until(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end, "It never happened."
        time.sleep(0.01)


def files_in(folder: Path) -> list[Path]:
    return [one for one in (folder / "uploads").rglob("*") if one.is_file()]


# -- OpenAI's client


def test_openais_client_gets_its_song_as_a_list_of_data_urls(client: openai.OpenAI, lab: PretendSession) -> None:
    made = chat(client, "warm dub", seed=7, temperature=0.5)
    choice = made.choices[0]
    assert (made.object, made.model, choice.finish_reason) == ("chat.completion", "acestep/pretend", "stop")
    assert made.id.startswith("chatcmpl-")
    assert made.usage.total_tokens == 0
    assert head_of(choice.message.audio[0]) == "data:audio/mpeg;base64"
    assert sounds(choice.message.audio)[0].seconds == pytest.approx(2, abs=0.1)
    assert choice.message.content.startswith("## Metadata\n**Caption:** warm dub")
    assert "**Seed:** 7" in choice.message.content
    (recipe,) = lab.started
    assert (recipe.caption, recipe.seed, recipe.planning.temperature, recipe.planning.cfg_scale) == (
        "warm dub",
        7,
        0.5,
        2,
    )
    assert len(lab.library.ids()) == 1, "what a chat makes is in the notebook's library"


def test_several_songs_come_in_one_list_in_the_asked_format(client: openai.OpenAI) -> None:
    body = {"audio_config": {"duration": 1, "format": "flac"}, "batch_size": 3, "seed": "4,5,6"}
    message = chat(client, body=body).choices[0].message
    heard = sounds(message.audio)
    assert {head_of(one) for one in message.audio} == {"data:audio/flac;base64"}
    assert len({one.samples.tobytes() for one in heard}) == 3
    assert "**Seed:** 4,5,6" in message.content


@pytest.mark.parametrize(("format", "width"), [("wav", 2), ("wav32", 4)])
def test_a_wav_is_one_that_every_client_reads(client: openai.OpenAI, format: str, width: int) -> None:
    message = chat(client, body={"audio_config": {"duration": 1, "format": format}}).choices[0].message
    data = data_of(message.audio[0])
    kind = int.from_bytes(data[20:22], "little")
    assert (data[:4], data[12:16].decode()) == (b"RIFF", "fmt ")
    assert kind == (1 if width == 2 else 3), "neither an extensible header nor 24 bits"


def test_openais_own_way_to_ask_for_a_format_counts_as_well(client: openai.OpenAI) -> None:
    made = chat(client, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    assert head_of(made.choices[0].message.audio[0]) == "data:audio/wav;base64"


def test_a_stream_tells_role_then_text_then_sounds_then_its_end(client: openai.OpenAI) -> None:
    told = list(chat(client, stream=True, stream_options={"include_usage": True}))
    *chunks, used = told
    deltas = [one.choices[0].delta for one in chunks]
    assert {one.object for one in told} == {"chat.completion.chunk"}
    assert len({one.id for one in told}) == 1
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert deltas[1].content.startswith("## Metadata")
    assert len(sounds(deltas[2].audio)) == 1
    assert deltas[3].model_dump(exclude_none=True) == {}
    assert [one.choices[0].finish_reason for one in chunks] == [None, None, None, "stop"]
    assert (used.choices, used.usage.total_tokens) == ([], 0)


def test_a_stream_that_waits_shows_signs_of_life(held: PretendSession, gate: threading.Semaphore) -> None:
    with ApiServer(held, port=0) as server, asking(server) as client:
        said = []
        for one in chat(client, stream=True):
            said.append(one.choices[0].delta.content)
            if said[-1] == ".":
                gate.release(1000)
        assert said[1] == "."
        assert said[2].startswith("\n\n## Metadata")


def test_sounds_in_a_message_are_what_its_task_starts_from(
    client: openai.OpenAI, lab: PretendSession, tmp_path: Path
) -> None:
    long = f"data:audio/wav;base64,{coded(LONG_SONG, 3)}"
    assert len(long) > LONG
    content = [{"type": "text", "text": "strings"}, part(long), part(coded(1, 4))]
    made = chat(client, content, body={"task_type": "cover", "audio_cover_strength": 0.6})
    (cover,) = (one.task for one in lab.started)
    assert isinstance(cover, Cover)
    assert (round(cover.source.seconds), round(cover.reference.seconds), cover.strength) == (12, 1, 0.6)
    assert sounds(made.choices[0].message.audio)[0].seconds == pytest.approx(LONG_SONG, abs=0.1)
    chat(client, content[:2])
    assert isinstance(lab.started[-1].task, Text2Music)
    assert round(lab.started[-1].task.reference.seconds) == 12, "a song from words has a reference, and no source"
    until(lambda: files_in(tmp_path / "door") == [])


def test_an_answer_can_be_sent_back_as_a_sound(client: openai.OpenAI, lab: PretendSession) -> None:
    (answered,) = chat(client).choices[0].message.audio
    region = {"task_type": "repaint", "repainting_start": 0.5, "repainting_end": 1}
    again = {"type": "audio_url", "audio_url": answered.audio_url}
    chat(client, [{"type": "text", "text": "drums"}, again], body=region)
    task = lab.started[-1].task
    assert isinstance(task, Repaint)
    assert (task.regions[0].start, task.regions[0].end) == (0.5, 1)


def test_whatever_else_a_render_takes_a_chat_takes_too(client: openai.OpenAI, lab: PretendSession) -> None:
    chat(client, [part(coded())], body={"task_type": "extract", "track_name": "vocals"})
    assert (type(lab.started[0].task).__name__, lab.started[0].task.stem) == ("Extract", "vocals")
    chat(client, "dub", body={"use_format": True, "audio_config": {"duration": 1, "bpm": 92}}, temperature=0)
    assert (lab.started[1].caption, lab.started[1].bpm) == ("dub, polished", 92)
    heard = chat(client, [part(coded())], body={"full_analysis_only": True}).choices[0].message
    assert (heard.audio, heard.content.startswith("## Metadata\n**Caption:** a sine of 1.0 s")) == (None, True)
    assert heard.audio_codes.startswith("<|audio_code_0|>")


def test_a_door_that_closes_leaves_no_chat_waiting(held: PretendSession) -> None:
    with ApiServer(held, port=0) as server, asking(server) as client:
        threading.Timer(0.2, server.close).start()
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            chat(client)


def test_models_are_listed_and_found(client: openai.OpenAI, server: ApiServer) -> None:
    (model,) = client.models.list().data
    assert model.id == "acestep/pretend"
    named = {
        "id", "name", "created", "input_modalities", "output_modalities", "context_length", "max_output_length",
        "pricing", "description", "architecture",
    }  # fmt: skip
    assert named <= set(model.model_dump())
    assert client.models.retrieve("acestep/pretend").id == model.id
    assert httpx2.get(f"{server.address}/api/v1/models").json() == httpx2.get(f"{server.address}/v1/models").json()
    with pytest.raises(openai.NotFoundError, match="is open here"):
        client.models.retrieve("gpt-5")


# -- what goes wrong


@pytest.mark.parametrize(
    ("content", "body", "says"),
    [
        ("", {}, "is empty"),
        ([part("!!!!")], {"task_type": "cover"}, "no base64"),
        ([part("")], {"task_type": "cover"}, "is empty"),
        ([part("data:audio/wav,raw")], {"task_type": "cover"}, "data URL"),
        ([part(base64.b64encode(b"no sound").decode())], {"task_type": "cover"}, "."),
        ("dub", {"task_type": "cover"}, "starts from a sound"),
        ("dub", {"task_type": "cover", "src_audio_path": "/etc/passwd"}, "outside"),
        ([{"type": "image_url", "image_url": {"url": "data:,"}}], {}, "image_url"),
        ([{"type": "audio_url", "audio_url": {"url": "http://x/a.wav"}}], {}, "not fetched"),
        ([part(coded(0.2))] * 3, {"task_type": "cover"}, "at most two sounds"),
        ("dub", {"audio_config": {"format": "pcm16"}}, "audio_format"),
        ("dub", {"audio_config": [1]}, "is an object"),
        ("dub", {"batch_size": 99}, "batch_size"),
        ("dub", {"lyrics": ["a"]}, "lyrics is text"),
        ("x" * (LONG + 9), {}, "Only a sound"),
    ],
)
def test_what_cannot_be_made_is_said_as_a_bad_request(
    client: openai.OpenAI, tmp_path: Path, content: Any, body: dict[str, Any], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        chat(client, content, body=body)
    told = caught.value.response.json()
    assert told["detail"].endswith(".")
    until(lambda: files_in(tmp_path / "door") == [])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"x=y", b'{"messages": "dub"}', b'{"messages": [{"role": "system", "content": "x"}]}',
     b'{"messages": [{"role": "user", "content": 7}]}', b"[" * 100_000, b'{"messages": "\\', b'{"messages": "\\uZZZZ"}'],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1", "/api/v1"])
def test_a_body_that_is_no_chat_is_refused_and_the_door_lives_on(server: ApiServer, path: str, body: bytes) -> None:
    answer = httpx2.post(f"{server.address}{path}/chat/completions", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"].endswith(".")
    assert httpx2.get(f"{server.address}/health").status_code == 200


def test_a_failure_on_the_way_is_told_in_the_stream(client: openai.OpenAI) -> None:
    broken = [{"type": "text", "text": "x"}, part(base64.b64encode(b"no sound").decode())]
    told = list(chat(client, broken, stream=True, body={"task_type": "cover"}))
    last = told[-1].choices[0]
    assert (last.finish_reason, last.delta.content[:7]) == ("error", "Error: ")
    with pytest.raises(openai.BadRequestError):  # before anything was streamed
        chat(client, "", stream=True)


def test_keys_separate_people_who_chat(lab: PretendSession) -> None:
    with ApiServer(lab, 0, keys=[HOST, ADA, BOB]) as server:
        with pytest.raises(openai.AuthenticationError):
            chat(asking(server, "wrong"))
        with asking(server, ADA) as ada, asking(server, BOB) as bob:
            chat(ada)
            assert [len(tasks_of(server, key)) for key in (ADA, BOB)] == [1, 0]
            chat(bob)
        in_body = {"messages": [{"role": "user", "content": "dub"}], "audio_config": {"duration": 1}, "ai_token": BOB}
        assert httpx2.post(f"{server.address}/v1/chat/completions", json=in_body, timeout=20).status_code == 200
        assert [len(tasks_of(server, key)) for key in (ADA, BOB)] == [1, 2]
        other = {"Host": "evil.example"}
        assert httpx2.post(f"{server.address}/v1/chat/completions", json=in_body, headers=other).status_code == 403


def tasks_of(server: ApiServer, key: str) -> list[dict[str, Any]]:
    answer = httpx2.get(f"{server.address}/v1/tasks", headers={"Authorization": f"Bearer {key or 'any'}"})
    return list(answer.json()["data"])


def test_no_song_of_somebody_without_a_key_reaches_the_disk(lab: PretendSession, tmp_path: Path) -> None:
    with ApiServer(lab, 0, keys=[HOST], folder=tmp_path / "door") as server:
        body = {"messages": [{"role": "user", "content": [part("A" * 5 * 2**20)]}]}
        answer = httpx2.post(f"{server.address}/v1/chat/completions", json=body, timeout=20)
        assert answer.status_code in (401, 413)
        assert files_in(tmp_path / "door") == []


def test_a_full_queue_says_when_to_come_back(held: PretendSession) -> None:
    with ApiServer(held, port=0) as server, asking(server) as client, httpx2.Client(base_url=server.address) as rest:
        song = {"prompt": "dub", "duration": 1, "batch_size": 1}
        while rest.post("/release_task", json=song).status_code == 200:
            pass
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
        assert 1 <= int(caught.value.response.headers["Retry-After"]) <= 60


def test_whoever_waits_too_long_is_told_so_once(held: PretendSession) -> None:
    with ApiServer(held, port=0, patience=0.2) as server:
        with asking(server, retries=3) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                chat(client)
            told = list(chat(client, stream=True))
        assert caught.value.status_code == 504
        assert told[-1].choices[0].finish_reason == "error"
        until(lambda: all(run.over for run in held.runs))
        assert len(tasks_of(server, "")) == 2, "nobody asks again for what took too long"


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_hangs_up_ends_the_song(held: PretendSession, stream: bool) -> None:
    with ApiServer(held, port=0) as server:
        body = {"messages": [{"role": "user", "content": "dub"}], "stream": stream}
        with pytest.raises(httpx2.TimeoutException), httpx2.Client(base_url=server.address, timeout=0.4) as client:
            client.post("/v1/chat/completions", json=body)
        until(lambda: [one["state"] for one in tasks_of(server, "")] == ["stopped"])
        until(lambda: all(run.over for run in held.runs))


def test_a_song_that_somebody_stops_and_a_session_that_ends_are_said(held: PretendSession) -> None:
    with ApiServer(held, port=0) as server, asking(server, retries=2) as client:
        threading.Timer(0.2, lambda: [run.stop() for run in held.runs]).start()
        with pytest.raises(openai.InternalServerError, match=r"stopped|cancelled"):
            chat(client)
        assert len(tasks_of(server, "")) == 1
        held.close()
        with asking(server) as once, pytest.raises(openai.InternalServerError) as caught:
            chat(once)
        assert caught.value.status_code == 503


def test_openais_client_in_a_browser_may_send_the_headers_it_sends(server: ApiServer) -> None:
    asks = {"Origin": "http://localhost:5173", "Access-Control-Request-Headers": "content-type,x-stainless-lang,cookie"}
    told = httpx2.options(f"{server.address}/v1/chat/completions", headers=asks).headers
    assert told["Access-Control-Allow-Headers"] == "Content-Type, Authorization, x-stainless-lang"
    assert told["Access-Control-Allow-Origin"] == asks["Origin"]
    assert (
        httpx2.options(f"{server.address}/v1/models", headers=asks | {"Origin": "https://evil.example"}).status_code
        == 403
    )


# -- ACE-Step's own clients


def test_comfyuis_node_gets_songs_it_can_decode(server: ApiServer, lab: PretendSession) -> None:
    asked = {
        "model": "acemusic/acestep-v15-turbo", "modalities": ["audio"], "stream": False, "task_type": "text2music",
        "messages": [{"role": "user", "content": "disco-funk"}], "thinking": True, "temperature": 0.85, "top_p": 0.9,
        "use_cot_caption": True, "use_cot_language": True, "use_cot_metas": True, "guidance_scale": 7.0,
        "audio_config": {"format": "wav", "vocal_language": "en", "instrumental": False, "duration": 2.0, "bpm": 104},
        "lm_cfg_scale": 2.0, "inference_steps": 8, "infer_method": "ode", "lyrics": "[Verse]\nla", "seed": "42",
    }  # fmt: skip
    answer = comfy(server, asked)
    (item,) = answer["choices"][0]["message"]["audio"]
    assert decoded_as_comfyui(item["audio_url"]["url"])[0].shape[1] == 2
    assert "**BPM:** 104" in answer["choices"][0]["message"]["content"]
    (recipe,) = lab.started
    assert (recipe.caption, recipe.lyrics, recipe.seed, recipe.bpm) == ("disco-funk", "[Verse]\nla", 42, 104)
    assert (recipe.sampling.steps, recipe.planning.thinking) == (8, True)


def test_comfyuis_node_sends_the_reference_before_the_source(server: ApiServer, lab: PretendSession) -> None:
    parts = [{"type": "text", "text": "strings"}, part(coded(1)), part(coded(2))]
    asked = {
        "model": "acemusic/acestep-v15-turbo", "task_type": "cover", "audio_cover_strength": 1.0, "thinking": False,
        "messages": [{"role": "user", "content": parts}], "audio_config": {"format": "wav"}, "cover_noise_strength": 0.2,
    }  # fmt: skip
    comfy(server, asked)
    cover = lab.started[0].task
    assert (round(cover.reference.seconds), round(cover.source.seconds), cover.noise_strength) == (1, 2, 0.2)
    comfy(server, asked | {"messages": [{"role": "user", "content": [part(coded(2))]}]})
    assert (round(lab.started[1].task.source.seconds), lab.started[1].task.reference) == (2, None)
    codes = {"audio_codes": "<|audio_code_1|><|audio_code_2|>", "messages": [{"role": "user", "content": parts[:2]}]}
    comfy(server, asked | codes)
    assert (lab.started[2].task.codes, round(lab.started[2].task.reference.seconds)) == ((1, 2), 1)


def comfy(server: ApiServer, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "User-Agent": "AceMusic-ComfyUI/2.0"}
    answer = httpx2.post(
        f"{server.address}/v1/chat/completions", content=json.dumps(body).encode(), headers=headers, timeout=20
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def decoded_as_comfyui(url: str) -> tuple[Any, int]:
    """Samples and rate, read as the node does: with the standard library's `wave`, which knows plain PCM alone."""
    with wave.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])), "rb") as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
        return samples.reshape(-1, file.getnchannels()), file.getframerate()


def test_the_agent_skill_reads_an_answer_and_a_refusal(server: ApiServer, lab: PretendSession) -> None:
    tagged = "<prompt>city pop</prompt>\n<lyrics>[Verse]\nneon</lyrics>"
    asked = {
        "model": "acestep/acestep-v15-turbo", "messages": [{"role": "user", "content": tagged}], "stream": False,
        "sample_mode": False, "thinking": True, "use_format": False, "batch_size": 1, "task_type": "text2music",
        "audio_config": {"duration": 2, "format": "mp3", "vocal_language": "ja"},
    }  # fmt: skip
    post = f"{server.address}/v1/chat/completions"
    said = httpx2.post(post, json=asked, headers={"Authorization": "Bearer any"}, timeout=20).json()
    choice = said["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["audio"][0]["audio_url"]["url"].startswith("data:audio/mpeg;base64,")
    assert "## Lyrics\n[Verse]\nneon" in choice["message"]["content"]
    assert (lab.started[0].caption, lab.started[0].lyrics, lab.started[0].language) == (
        "city pop",
        "[Verse]\nneon",
        "ja",
    )
    refused = httpx2.post(post, json=asked | {"messages": []})
    assert (refused.status_code, type(refused.json()["detail"])) == (400, str)


def test_client_test_py_asks_without_a_model_and_reads_lines(server: ApiServer, lab: PretendSession) -> None:
    asked = {
        "messages": [{"role": "user", "content": "a song about rain"}], "stream": True, "sample_mode": True,
        "audio_config": {"vocal_language": "en", "duration": 2},
    }  # fmt: skip
    with httpx2.stream("POST", f"{server.address}/v1/chat/completions", json=asked, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = list(answer.iter_lines())
    assert [line for line in lines[1::2] if line] == [], "each event ends with an empty line"
    assert lines[-2] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2:2]]
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    assert "a song about rain, sketched" in text
    assert lab.started[0].lyrics == "[Verse]\na song about rain", "the planner wrote the words"
    assert [len(one["choices"][0]["delta"]["audio"]) for one in chunks if "audio" in one["choices"][0]["delta"]] == [1]


# -- a real model


def test_the_pocket_checkpoint_sings_to_openais_client_with_its_planner(tmp_path: Path) -> None:
    with Session.open(library=tmp_path / "library") as lab, ApiServer(lab, port=0) as server, asking(server) as client:
        body = {"audio_config": {"duration": 1, "format": "wav"}, "inference_steps": 2, "thinking": True}
        messages = [chat(client, "dub", body=body, seed=3).choices[0].message for _ in range(2)]
        first, second = (Audio.read(data_of(one.audio[0])) for one in messages)
        assert first.samples.tobytes() == second.samples.tobytes(), "a seed is a song"
        assert np.abs(first.samples).max() > 0.01
        assert messages[0].audio_codes.startswith("<|audio_code_")
        told = list(chat(client, [{"type": "text", "text": "rock"}, part(coded(1))], stream=True, body=body))
        assert told[-1].choices[0].finish_reason == "stop"
        assert client.models.list().data[0].id == "acestep/pocket"


# -- the parts by themselves


def asked(content: Any, **more: Any) -> ChatRequest:
    return read_chat({"messages": [{"role": "user", "content": content}]} | more)


def words(content: Any, **more: Any) -> tuple[str, str]:
    fields = asked(content, **more).fields
    return fields["prompt"], fields["lyrics"]


@pytest.mark.parametrize(
    ("text", "prompt", "lyrics"),
    [
        ("warm dub", "warm dub", ""),
        ("<PROMPT> dub </Prompt><lyrics>\nla\n</lyrics>", "dub", "la"),
        ("dub <lyrics>la</lyrics>", "dub", "la"),
        ("<prompt>dub</prompt>", "dub", ""),
        ("[Verse 1]\nla", "", "[Verse 1]\nla"),
        ("one\ntwo\nthree\nfour", "", "one\ntwo\nthree\nfour"),
        ("one\ntwo\nthree", "one\ntwo\nthree", ""),
        ("\n".join(["a long line " * 6] * 4), "\n".join(["a long line " * 6] * 4).strip(), ""),
    ],
)
def test_a_message_is_a_prompt_lyrics_or_both(text: str, prompt: str, lyrics: str) -> None:
    assert words(text) == (prompt, lyrics)


def test_lyrics_beside_a_message_make_it_the_prompt_and_sample_mode_makes_it_the_query() -> None:
    assert words("[Verse] dub", lyrics="la") == ("[Verse] dub", "la")
    sample = asked("one\ntwo\nthree\nfour", sample_mode=True).fields
    assert (sample["prompt"], sample["lyrics"], sample["sample_mode"]) == ("one\ntwo\nthree\nfour", "", True)
    assert words("dub", lyrics="la", audio_config={"instrumental": True}) == ("dub", "[Instrumental]")
    assert words([{"type": "text", "text": "dub"}, {"type": "text", "text": "slow"}]) == ("dub\nslow", "")


def test_only_the_last_message_of_the_user_counts() -> None:
    messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "new"},
    ]
    assert read_chat({"messages": [*messages, {"role": "assistant", "content": "y"}]}).fields["prompt"] == "new"
    assert not looks_like_lyrics("a solo of dub")


def test_what_a_chat_leaves_open_stays_open_and_metadata_of_openai_says_nothing() -> None:
    fields = asked("dub", metadata={"duration": "9"}, user="ada", max_tokens=5).fields
    assert (fields["batch_size"], fields["lm_cfg_scale"]) == (1, 2.0)
    assert not {"seed", "use_random_seed", "audio_format", "audio_duration", "metadata"} & set(fields)
    assert asked("dub", seed=-1).fields["seed"] == -1
    counts = [asked("dub", **one).fields["batch_size"] for one in ({"n": 2}, {"batch_size": 0}, {"batch_size": "two"})]
    assert counts == ["2", 1, 1]


def test_many_strings_are_read_as_quickly_as_few(tmp_path: Path) -> None:
    reader, data = LongStrings(lambda name: tmp_path / name), b'{"a": [' + b'"",' * 1_200_000 + b'""]}'
    began = time.process_time()
    reader.feed(data)
    assert time.process_time() - began < 0.5
    assert len(reader.finish().fields["a"]) == 1_200_001


@pytest.mark.parametrize("seed", range(6))
def test_long_strings_go_to_the_disk_wherever_the_pieces_are_cut(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    long = "".join(chance.choices('ab/+é\n"\\', k=LONG + 100))
    value = {"a": [long, 'short \\ " é'], "b": {"c": "x" * LONG, "d": 1.5}}
    data = json.dumps(value, ensure_ascii=bool(seed % 2)).replace("/", "\\/").encode()
    reader, count = LongStrings(lambda name: tmp_path / f"{chance.random()}"), 1
    while data:
        size = chance.choice([1, 7, 3000, 65536, LONG + 5])
        reader.feed(data[:size])
        data, count = data[size:], count + 1
    body = reader.finish()
    (name,) = body.files
    assert body.fields == {"a": [name, 'short \\ " é'], "b": value["b"]}
    assert body.files[name].path.read_bytes().decode() == long
    body.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    reader = LongStrings(lambda name: tmp_path / "one")
    reader.feed(b'{"a": "' + b"x" * (LONG + 1))
    with pytest.raises(BadBody):
        reader.finish()
    reader.drop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 2, 3, 2**20 - 1, 2**20, 3 * 2**20 + 2])
@pytest.mark.parametrize("how", ["plain", "data URL", "lines", "url-safe", "no padding"])
def test_base64_is_read_in_every_way_it_is_written(tmp_path: Path, size: int, how: str) -> None:
    data = random.Random(size).randbytes(size)
    text = (base64.urlsafe_b64encode if how == "url-safe" else base64.b64encode)(data).decode()
    text = {"data URL": f"data:audio/wav;base64,{text}", "no padding": text.rstrip("=")}.get(how, text)
    if how == "lines":
        text = "\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n"
    decode_sound(text, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    (tmp_path / "in").write_text(text)
    decode_sound(tmp_path / "in", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize("text", ["", "a", "ab=c", "====", "é" * 8, "YWJj!", "data:audio/wav;base64", "data:x,YWJj"])
def test_what_is_no_base64_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        decode_sound(text, tmp_path / "out")


def test_a_text_is_as_long_as_its_sounds_say(tmp_path: Path) -> None:
    files = [tmp_path / f"{place}.wav" for place in range(12)]
    for place, file in enumerate(files):
        file.write_bytes(bytes([place]) * (place * 70_001))
    listed = Sounds(files)
    text = Answer("m", 1).chunk({"audio": listed.value})
    sent = b"".join(listed.pieces(text))
    assert len(sent) == listed.size(text)
    urls = [one["audio_url"]["url"] for one in json.loads(sent[6:])["choices"][0]["delta"]["audio"]]
    assert [base64.b64decode(url.partition(",")[2]) for url in urls] == [file.read_bytes() for file in files]
