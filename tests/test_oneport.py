"""The page and the REST door at one address: each judged by its own rules, with one session and one library behind both."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from acestep_lab import upstairs
from acestep_lab.errors import LabError, MachineError
from acestep_lab.serve.api_background import close_all
from acestep_lab.serve.api_background import serve as background
from acestep_lab.serve.app import serve
from acestep_lab.session import Session
from tests.pretend import PretendSession

KEY, TOKEN = "the-hosts-key", "the-visitors-token"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library")
    yield session
    session.close()
    session.library.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class OnePortServer:
    """A studio with the door beside it, for the length of a block."""

    def __init__(self, lab: PretendSession, folder: Path, **how: Any) -> None:
        self.said: list[str] = []
        port = free_port()
        self.thread = serve(
            lab, port, block=False, announce=self.said.append, people=folder / "people.secret", api=True, **how
        )
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def __enter__(self) -> httpx2.Client:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.thread.stop()
        self.thread.join()


def made(client: httpx2.Client, **more: Any) -> dict[str, Any]:
    """A song asked for, waited for, and its item."""
    asked = {"prompt": "dub", "audio_duration": 2, "batch_size": 1, "audio_format": "wav"}
    answer = client.post("/release_task", json=asked, **more)
    assert answer.status_code == 200, answer.text
    id, end = answer.json()["data"]["task_id"], time.monotonic() + 30
    while time.monotonic() < end:
        (entry,) = client.post("/query_result", json={"task_id_list": [id]}, **more).json()["data"]
        if entry["status"]:
            (item,) = json.loads(entry["result"])
            assert entry["status"] == 1, item
            return dict(item)
        time.sleep(0.05)
    raise AssertionError("the task did not end")


def test_page_and_door_share_one_port_and_one_library(lab: PretendSession, tmp_path: Path) -> None:
    with OnePortServer(lab, tmp_path) as client:
        assert client.get("/health").json()["data"]["status"] == "ok"
        assert "text/html" in client.get("/").headers["content-type"]
        item = made(client)
        assert client.get(item["file"]).content[:4] == b"RIFF"
        assert item["take_id"] in {take.id for take in lab.library.takes()}


def test_what_is_not_the_doors_stays_as_strict_as_it_was(lab: PretendSession, tmp_path: Path) -> None:
    with OnePortServer(lab, tmp_path) as client:
        assert client.post("/", content=b"x").status_code == 403
        assert client.post("/release_task/", content=b"x").status_code == 403
        assert client.post("/healthy", content=b"x").status_code == 403
        assert client.request("OPTIONS", "/").status_code == 403
        assert client.options("/release_task").status_code == 204
        assert client.post("/v1/chat/completions", json={}).status_code == 400
        assert client.get("/v1/models/pocket").headers["content-type"].startswith("application/json")
        unknown = client.get("/v1/nothing")
        assert (unknown.status_code, "detail" in unknown.json()) == (404, True)


def test_each_has_its_own_headers(lab: PretendSession, tmp_path: Path) -> None:
    with OnePortServer(lab, tmp_path) as client:
        near = {"Origin": "http://localhost:5173"}
        assert client.get("/health", headers=near).headers["access-control-allow-origin"] == near["Origin"]
        assert "access-control-allow-origin" not in client.get("/").headers
        assert "content-security-policy" in client.get("/").headers
        assert "cross-origin-resource-policy" not in client.get("/health").headers


@pytest.mark.parametrize("path", ["/", "/health", "/v1/tasks"])
def test_a_foreign_name_or_page_passes_neither(lab: PretendSession, tmp_path: Path, path: str) -> None:
    with OnePortServer(lab, tmp_path) as client:
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
        assert client.get(path, headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_key_is_asked_for_and_opens_no_page(lab: PretendSession, tmp_path: Path) -> None:
    with OnePortServer(lab, tmp_path, keys=[KEY], token=TOKEN) as client:
        assert client.post("/release_task", json={"prompt": "x"}).status_code == 401
        assert client.get("/v1/stats", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 401
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/v1/stats", headers=bearer).status_code == 200
        assert client.get("/", headers=bearer, follow_redirects=False).status_code == 302
        assert client.get("/static/js/bokeh.min.js", headers=bearer).status_code == 403


def test_a_visitors_cookie_opens_nothing_at_the_door(lab: PretendSession, tmp_path: Path) -> None:
    with OnePortServer(lab, tmp_path, token=TOKEN) as client:
        page = client.get("/login")
        form = {name: client.cookies.get(name, "") for name in ("_xsrf",)}
        client.post("/login", data={"token": TOKEN, **form}, follow_redirects=False)
        assert page.status_code == 200
        assert client.get("/", follow_redirects=False).status_code == 200, "the cookie opens the page"
        for more in ({}, {"Sec-Fetch-Site": "cross-site", "Origin": "null"}):
            assert client.get("/v1/tasks", headers=more).status_code == 401
            assert client.post("/release_task", json={"prompt": "x"}, headers=more).status_code == 401
        assert lab.library.takes() == []


def test_without_a_key_the_token_is_one_of_somebody_who_is_not_the_host(lab: PretendSession, tmp_path: Path) -> None:
    from acestep_lab.prompt.recipe import Recipe

    host = lab.keep(lab.make(Recipe("the host's", seconds=2)))
    with OnePortServer(lab, tmp_path, token=TOKEN) as client:
        assert client.get("/v1/stats").status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        made(client, headers=bearer)
        folder = lab.library.folder
        (file, *_) = [one for one in Path(folder).rglob(f"*{host.id}*") if one.is_file()]
        assert client.get("/v1/audio", params={"path": str(file)}, headers=bearer).status_code == 403


def test_a_token_that_can_be_guessed_is_no_key(lab: PretendSession, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="give --api-key"):
        OnePortServer(lab, tmp_path, token="short")


def test_bound_elsewhere_without_key_and_token_both_are_made_up(lab: PretendSession, tmp_path: Path) -> None:
    server = OnePortServer(lab, tmp_path, address="0.0.0.0")
    with server as client:
        key = server.said[1].rpartition(" key ")[2]
        assert (len(key) > 20, key in server.said[0]) == (True, False)
        assert client.get("/v1/stats").status_code == 401
        assert client.get("/v1/stats", headers={"Authorization": key}).status_code == 200


def test_a_large_upload_streams_to_disk_at_the_pages_port(lab: PretendSession, tmp_path: Path) -> None:
    """110 MB, which Tornado refuses where a body is kept in memory."""
    import resource

    piece, most = b"\0" * 2**20, 110

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ndub\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="audio_duration"\r\n\r\n2\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
        for _ in range(most):
            yield piece
        yield b"\r\n--x--\r\n"

    with OnePortServer(lab, tmp_path) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = client.post(
            "/release_task", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert answer.status_code == 200, answer.text
    assert grown < 32 * 1024, f"{grown / 1024:.0f} MB"


# -- lab.serve


@pytest.fixture
def one(lab: PretendSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSession]:
    """A session to be served from a folder in which nothing is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("acestep_lab.serve.app.default_secret_path", lambda: tmp_path / "people.secret")
    yield lab
    close_all()


def get(url: str, **more: Any) -> httpx2.Response:
    return httpx2.get(url, timeout=20, **more)


def test_serving_returns_at_once_with_a_card_that_says_all(one: PretendSession) -> None:
    server = background(one, 0)
    card = server._repr_html_()
    for said in (
        server.page,
        server.address,
        ".close()",
        "as the server's address",
        "none is asked for",
        "openapi.json",
    ):
        assert said in card, said
    assert get(f"{server.address}/health").status_code == 200
    assert "text/html" in get(server.page).headers["content-type"]
    server.close()
    server.close()
    assert "is closed" in server._repr_html_()
    with pytest.raises(httpx2.ConnectError):
        get(f"{server.address}/health")


def test_closing_the_session_closes_what_serves_it(one: PretendSession) -> None:
    both, door = background(one, 0), background(one, 0, studio=False)
    one.close()
    assert (both.closed, door.closed) == (True, True)
    for server in (both, door):
        with pytest.raises(httpx2.ConnectError):
            get(f"{server.address}/health")
    with pytest.raises(LabError, match="closed"):
        background(one, 0)


def test_asked_once_more_a_port_gives_the_same_server_or_a_sentence(one: PretendSession, tmp_path: Path) -> None:
    port = free_port()
    server = background(one, port)
    assert background(one, port) is server
    with pytest.raises(LabError, match="in another way"):
        background(one, port, key=KEY)
    other = PretendSession(tmp_path / "other")
    with pytest.raises(LabError, match="another session"):
        background(other, port)
    server.close()
    assert not background(other, port).closed
    other.close()
    other.library.close()


def test_a_port_of_another_program_is_a_sentence_and_leaves_nothing_behind(one: PretendSession) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for studio in (True, False):
            with pytest.raises(MachineError, match="cannot be used"):
                background(one, taken.getsockname()[1], studio=studio)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("acestep_lab rest")] == []


def test_page_and_door_can_be_served_alone(one: PretendSession) -> None:
    page, door = background(one, 0, api=False), background(one, 0, studio=False)
    assert get(f"{page.address}/health").status_code == 404
    assert (get(f"{door.address}/health").status_code, get(f"{door.address}/").status_code) == (200, 404)
    assert "REST" not in page._repr_html_()
    for nothing in ({"api": False, "studio": False}, {"studio": False, "open": True}, {"api": "yes"}):
        with pytest.raises(LabError):
            background(one, 0, **nothing)


def test_a_key_is_hinted_at_and_never_shown_unless_it_was_made_up(one: PretendSession) -> None:
    keyed, open_to_all = background(one, 0, key=KEY), background(one, 0, address="0.0.0.0")
    assert KEY not in keyed._repr_html_()
    assert get(f"{keyed.address}/v1/stats").status_code == 401
    assert open_to_all.new_key in open_to_all._repr_html_()
    assert get(f"{open_to_all.address}/v1/stats", headers={"Authorization": open_to_all.new_key}).status_code == 200
    assert "token=" in open_to_all.page


def test_settings_say_where_and_how_much(one: PretendSession, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(
        f"ACESTEP_API_PORT={port}\nACESTEP_API_KEY={KEY}\nACESTEP_QUEUE_MAXSIZE=3\nACESTEP_TMPDIR={tmp_path / 'tmp'}\n"
    )
    server = background(one)
    assert server.port == port
    stats = get(f"{server.address}/v1/stats", headers={"Authorization": KEY}).json()["data"]
    assert stats["queue_maxsize"] == 3
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    server.close()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_is_a_verb_of_the_session_also_inside_a_running_loop(one: PretendSession) -> None:
    async def cell() -> int:
        server = upstairs.call("serve", one, 0)
        async with httpx2.AsyncClient() as client:
            return int((await client.get(f"{server.address}/health")).status_code)

    assert asyncio.run(cell()) == 200
    assert "upstairs.call" in inspect.getsource(Session.serve)


def test_a_render_that_takes_too_long_is_stopped_and_says_so(one: PretendSession, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ACESTEP_GENERATION_TIMEOUT=1\n")
    server = background(one, 0, studio=False)
    with httpx2.Client(base_url=server.address, timeout=20) as client:
        asked = {"prompt": "dub", "audio_duration": 30, "inference_steps": 200, "batch_size": 1}
        id = client.post("/release_task", json=asked).json()["data"]["task_id"]
        end = time.monotonic() + 20
        while not (entry := client.post("/query_result", json={"task_id_list": [id]}).json()["data"][0])["status"]:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert entry["status"] == 2
    assert "longer than 1 seconds" in json.loads(entry["result"])[0]["error"]
