"""Questions about tasks: the plain ones are answered without a handler, and nobody can tell but by the clock."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from acestep_lab.serve.api import ApiServer
from tests.pretend import PretendSession

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"
PLAIN = {"Content-Type": "application/json"}
ROUTE = {"Content-Type": "text/json"}
"""The same JSON under a name that only the route's own handler reads."""


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[httpx2.Client]:
    lab = PretendSession(tmp_path / "library")
    with (
        ApiServer(lab, 0, keys=[HOST, ADA, BOB]) as server,
        httpx2.Client(base_url=server.address, timeout=20) as client,
    ):
        yield client
    lab.close()
    lab.library.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def said(answer: Any) -> tuple[int, Any, dict[str, str]]:
    """Status, body without its time, and headers that are neither of the connection nor of Tornado's own."""
    body = {name: value for name, value in answer.json().items() if name != "timestamp"}
    own = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("server", "date", "etag", "content-length")
    }
    return answer.status_code, body, own


def task(client: httpx2.Client, key: str) -> str:
    asked = {"prompt": "dub", "audio_duration": 1, "batch_size": 1}
    return str(client.post("/release_task", json=asked, headers=bearer(key)).json()["data"]["task_id"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"task_id_list": ["nobody"]}', b'{"task_id": "nobody"}', b'{"task_id_list": "[\\"a\\", \\"b\\"]"}', b"{}",
        b'{"task_id_list": 7}', b"{", b"[]", b'{"task_id_list": ["\\ud800"]}', b"\xff{", b'{"task_id_list": [' + b'"a",' * 5000 + b'"a"]}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", [ADA, "wrong", ""])
def test_a_plain_question_gets_what_the_route_answers(keyed: httpx2.Client, body: bytes, key: str) -> None:
    headers = bearer(key) if key else {}
    plain = said(keyed.post("/query_result", content=body, headers=headers | PLAIN))
    assert plain == said(keyed.post("/query_result", content=body, headers=headers | ROUTE))
    assert key == ADA or plain[0] in (400, 401, 422), "without a key there is no answer"


def test_somebody_elses_task_is_unknown_and_a_key_in_the_body_is_one(keyed: httpx2.Client) -> None:
    id = task(keyed, ADA)
    states = {
        key: keyed.post("/query_result", json={"task_id_list": [id], "ai_token": key}).json()["data"][0][
            "progress_text"
        ]
        for key in (ADA, BOB)
    }
    assert "not known here" not in states[ADA]
    assert "not known here" in states[BOB]


def test_a_page_is_answered_with_what_its_browser_asks_for(keyed: httpx2.Client) -> None:
    page = {"Origin": "http://localhost:3000"}
    answer = keyed.post("/query_result", json={"task_id_list": []}, headers=bearer(ADA) | page)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


def test_questions_come_in_pieces_in_a_row_and_after_a_refusal_on_one_connection(keyed: httpx2.Client) -> None:
    place = urlsplit(str(keyed.base_url))
    good, bad = (_request(place.netloc, key) for key in (ADA, "wrong"))
    with socket.create_connection((str(place.hostname), int(place.port or 0)), 20) as line:
        answers = line.makefile("rb")
        line.sendall(good[:-5])
        line.sendall(good[-5:] + bad + good)
        assert [_status(answers) for _ in range(3)] == [200, 401, 200]


def _request(place: str, key: str) -> bytes:
    body = json.dumps({"task_id_list": ["a"]})
    return (
        f"POST /query_result HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _status(answers: Any) -> int:
    status, size = int(answers.readline().split()[1]), 0
    while line := answers.readline().strip():
        size = int(line[15:]) if line.lower().startswith(b"content-length:") else size
    answers.read(size)
    return status


def test_who_hangs_up_in_the_middle_costs_nothing(keyed: httpx2.Client) -> None:
    place = urlsplit(str(keyed.base_url))
    for cut in (40, -5):
        with socket.create_connection((str(place.hostname), int(place.port or 0)), 20) as line:
            line.sendall(_request(place.netloc, ADA)[:cut])
    assert keyed.post("/query_result", json={"task_id_list": []}, headers=bearer(ADA)).status_code == 200
