"""What strangers, broken clients and full disks do to the doors: each ends in the door's own sentence, and the door lives on."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from acestep_lab.errors import LabError, MachineError, RecipeError
from acestep_lab.serve import api, api_body, daemon, daemon_process, rest_paths, rest_tasks, rest_verbs
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_body import BadBody, reader_for
from acestep_lab.serve.backends import Backends
from acestep_lab.serve.daemon import Daemon, Lines, Peer
from acestep_lab.serve.hosts import read_page
from acestep_lab.serve.rest_fields import FIELDS
from acestep_lab.serve.track_cache import TrackCache
from tests.pretend import PretendSession, tone

HOST, ADA = "the-hosts-key", "the-key-of-ada"
PARTS = "multipart/form-data; boundary=B"
FILE = (
    b'--B\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
    + b"x" * 9000
    + b"\r\n--B--\r\n"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.001)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def server(lab: PretendSession, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(lab, 0, folder=tmp_path / "door") as one:
        yield one


@pytest.fixture
def keyed(lab: PretendSession, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(lab, 0, keys=[HOST, ADA], folder=tmp_path / "door", origins=["https://studio.example.org"]) as one:
        yield one


@pytest.fixture
def door(server: ApiServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.address, timeout=20) as client:
        yield client


def written(folder: Path) -> list[Path]:
    return [file for file in (folder / "door").rglob("*") if file.is_file()]


def refused(answer: httpx2.Response, *statuses: int) -> str:
    """The sentence of a refusal, in the door's own form."""
    assert answer.status_code in statuses, answer.text
    said = answer.json()
    assert said["detail"] == said["error"]
    assert 10 < len(said["error"]) <= 300
    assert "Traceback" not in said["error"]
    return str(said["error"])


def raw(server: ApiServer, data: bytes) -> bytes:
    """Everything a server answers on a connection of its own."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as one:
        one.sendall(data)
        answer = b""
        while piece := one.recv(65536):
            answer += piece
        return answer


# -- the REST door: files


@pytest.mark.parametrize("path", ["/nope", "/health", "/query_result", "/v1/cancel", "/format_input", "/openapi.json"])
@pytest.mark.parametrize("key", ["", HOST])
def test_a_route_that_takes_no_files_writes_none(keyed: ApiServer, tmp_path: Path, path: str, key: str) -> None:
    headers = {"Content-Type": PARTS} | ({"Authorization": f"Bearer {key}"} if key else {})
    httpx2.post(keyed.address + path, content=FILE, headers=headers)
    assert written(tmp_path) == []


def test_a_key_in_a_field_opens_the_door_to_fields_and_to_no_file(keyed: ApiServer, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"prompt": (None, "dub"), "ai_token": (None, ADA), "batch_size": (None, "1")}
    assert httpx2.post(f"{keyed.address}/release_task", files=parts).status_code == 200
    answer = httpx2.post(f"{keyed.address}/release_task", files=parts | {"src_audio": ("a.wav", b"x")})
    assert "key" in refused(answer, 401)
    assert not list((tmp_path / "door" / "uploads").rglob("*.wav"))


def test_a_client_that_hangs_up_in_the_middle_of_an_upload_leaves_nothing(server: ApiServer, tmp_path: Path) -> None:
    head = f"POST /release_task HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PARTS}\r\nContent-Length: 90000\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            one.sendall(head.encode() + FILE[:5000])
            time.sleep(0.02)
    end = time.monotonic() + 5
    while written(tmp_path) and time.monotonic() < end:
        time.sleep(0.02)
    assert written(tmp_path) == []


def test_a_full_disk_refuses_an_upload_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    class Full:
        """A file on a disk that takes some bytes and no more, not even at its closing."""

        closed = False

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self.closed = True
            raise OSError(errno.ENOSPC, "No space left on device")

    place = tmp_path / "upload"
    reader = reader_for(PARTS, lambda name: place)
    assert isinstance(reader, api_body._Parts)
    reader.feed(FILE[:80])
    reader._out, real = Full(), reader._out  # type: ignore[assignment]
    assert real is not None
    real.close()
    with pytest.raises(BadBody, match="disk refused"):
        reader.feed(FILE[80:])
    reader.drop()
    assert not place.exists()


# -- the REST door: bodies, origins, names


def test_a_body_that_is_too_long_is_refused_in_a_sentence_on_every_route(server: ApiServer) -> None:
    for path in ("/query_result", "/release_task", "/v1/cancel"):
        answer = httpx2.post(server.address + path, content=b" " * 12_000_000)
        assert "4 MB" in refused(answer, 413)
    head = b"POST /release_task HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000000\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://[::1", "http://localhost/evil", "http://local\thost", "http://localhost:99999", "http://a@localhost",
     "http://localhost.evil.org", "NULL", "file://", "http://2130706433"],
)  # fmt: skip
def test_an_origin_that_is_none_is_a_stranger_in_the_doors_own_form(server: ApiServer, origin: str) -> None:
    answer = raw(server, f"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403")
    assert b"Access-Control" not in head
    assert "--origin" in json.loads(body)["error"]
    assert read_page("https://[::1]:8443") == ("::1", 8443)


def test_a_page_that_was_named_may_read_what_it_is_answered(keyed: ApiServer) -> None:
    answer = httpx2.get(f"{keyed.address}/health", headers={"Origin": "https://studio.example.org"})
    assert answer.headers["access-control-allow-origin"] == "https://studio.example.org"


def test_half_a_character_is_told_back_as_it_came(door: httpx2.Client) -> None:
    for path, body in {
        "/query_result": b'{"task_id_list": ["\\ud800"]}',
        "/v1/cancel": b'{"task_id": "\\udfff"}',
    }.items():
        answer = door.post(path, content=body)
        assert answer.status_code == 200
        assert answer.json()["code"] == 200


@pytest.mark.parametrize("name", ["über 🎵.wav", 'a"b.wav', "a\r\nX-Evil: 1.wav", "a;b.wav"])
def test_a_file_is_handed_out_whatever_it_is_called(door: httpx2.Client, tmp_path: Path, name: str) -> None:
    try:
        (tmp_path / "library" / name).write_bytes(b"RIFF")
    except OSError:
        pytest.skip("this file system has no such names")
    answer = door.get(f"/v1/audio?path={quote(str(tmp_path / 'library' / name), safe='')}")
    assert (answer.status_code, answer.content) == (200, b"RIFF")
    assert answer.headers["content-disposition"].endswith(quote(name, safe=""))
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    "path", ["a" * 300, "//host/share/x.wav", "\\\\host\\share\\x.wav", "/proc/self/environ", "\0", "%2e%2e/x"]
)
def test_a_source_that_is_no_file_here_is_refused_in_a_sentence(door: httpx2.Client, path: str) -> None:
    for name in ("src_audio_path", "reference_audio_path"):
        refused(door.post("/release_task", json={"prompt": "dub", "task_type": "cover", name: path}), 400)
    assert door.get("/v1/audio", params={"path": path}).status_code in (403, 404)


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**9, 10**400, -1e308, 5e-324, float("nan"), float("inf"), "", " ", "\0", "\ud800", "1e999", "٣",
    "9" * 5000, [], {}, [[]], [None, {}], {"a": 1}, [10**400], ["\ud800"], "{", "[1", '{"a": NaN}', "\r\nX: y", "x" * 20000,
    "<|audio_code_99999999999999999999|>",
)  # fmt: skip


def test_no_value_of_any_field_is_more_than_an_answer_or_a_sentence(door: httpx2.Client) -> None:
    chance = random.Random(15)
    names = sorted({alias for aliases in FIELDS.values() for alias in aliases})
    for _ in range(400):
        body = {"prompt": "dub", "batch_size": 1, "audio_duration": 1, "inference_steps": 1}
        body |= {chance.choice(names): chance.choice(VALUES) for _ in range(chance.randint(1, 4))}
        route = chance.choice(("/release_task", "/format_input", "/v1/create_sample", "/query_result", "/v1/cancel"))
        answer = door.post(route, content=json.dumps(body).encode())
        if answer.status_code != 200:
            refused(answer, 400, 413, 422, 429)
    assert door.get("/health").status_code == 200


@pytest.mark.parametrize("depth", [900, 980, 100_000])
def test_a_nested_bomb_is_refused_or_read(door: httpx2.Client, depth: int) -> None:
    for name in ("thinking", "prompt", "timesteps", "param_obj", "task_id_list"):
        for text in ("[" * depth + "]" * depth, json.dumps("[" * depth)):
            answer = door.post("/release_task", content=f'{{"prompt": "x", "{name}": {text}}}'.encode())
            assert answer.status_code in (200, 400, 429), answer.text


def test_whoever_waits_for_the_planner_holds_up_nobody_else(lab: PretendSession, door: httpx2.Client) -> None:
    begun, gate = threading.Semaphore(0), threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        begun.release()
        gate.wait(20)
        raise LabError("The planner was slow.")

    lab.sketch = slow  # type: ignore[method-assign]
    with httpx2.Client(base_url=door.base_url, timeout=30) as patient:
        asking = [
            threading.Thread(target=patient.post, args=("/v1/create_sample",), kwargs={"json": {"query": "x"}})
            for _ in range(12)
        ]
        for one in asking:
            one.start()
        for _ in range(4):
            assert begun.acquire(timeout=10)
        try:
            assert door.post("/release_task", json={"prompt": "dub", "batch_size": 1}, timeout=5).status_code == 200
        finally:
            gate.set()
            for one in asking:
                one.join()


# -- the daemon


def test_a_client_that_asks_and_never_reads_is_held_back_and_holds_up_nobody(
    lab: PretendSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(daemon, "MOST_HELD", 20_000)
    door = Daemon(lab, TrackCache(tmp_path / "tracks"), Backends(lab))
    request.addfinalizer(door.close)
    ours, theirs = socket.socketpair()
    peer = Peer(lambda: door, ours.recv, ours.sendall)
    peer.begin()
    theirs.settimeout(0.3)
    with pytest.raises(TimeoutError):
        theirs.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "status"}\n' * 200_000)
    assert peer._lines._held + peer._out._held < 200_000
    theirs.close()
    assert peer.gone.wait(5)
    ours.close()


def test_lines_wait_for_room_and_go_on_when_nobody_takes_them() -> None:
    lines = Lines()
    lines.put(b"x" * (daemon.MOST_HELD + 1), waits=True)
    adding = threading.Thread(target=lines.put, args=(b"y",), kwargs={"waits": True})
    adding.start()
    adding.join(0.1)
    assert adding.is_alive()
    lines.put(b"told", waits=False)
    lines.end()
    adding.join(5)
    assert not adding.is_alive()
    assert lines.get() is None


@pytest.mark.parametrize(
    "junk", [{"prompt": {"a": 1}}, {"prompt": "z" * 10**6}, {"duration_sec": "x"}, {"bytes": -1}, {"seed": []}]
)
def test_a_sidecar_that_is_not_ours_is_no_track(tmp_path: Path, junk: dict[str, Any]) -> None:
    cache, key = TrackCache(tmp_path), "a" * 16
    cache.put(key, tone(0.2), {"prompt": "dub"})
    side = tmp_path / f"{key}.json"
    side.write_text(json.dumps(json.loads(side.read_text()) | junk))
    assert (cache.find(key), cache.tracks()) == (None, [])


def test_a_cache_with_folders_in_it_is_cleared_and_one_that_was_removed_begins_anew(tmp_path: Path) -> None:
    cache, key = TrackCache(tmp_path / "tracks"), "a" * 16
    (tmp_path / "tracks" / f"{'b' * 16}.json").mkdir()
    cache.put(key, tone(0.2), {"prompt": "dub"})
    assert not cache.delete("b" * 16)
    assert cache.clear() == 1
    (tmp_path / "tracks" / f"{'b' * 16}.json").rmdir()
    (tmp_path / "tracks").rmdir()
    assert cache.put(key, tone(0.2), {"prompt": "dub"})["track_id"] == key
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (tmp_path / "tracks" / f"{'c' * 16}.wav").symlink_to(secret)
    cache.put("c" * 16, tone(0.2), {})
    assert secret.read_text() == "mine"


def test_a_pid_file_stops_another_daemon_and_no_number_that_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("1\n")  # a program that lives, and is no daemon
    with daemon_process.pid_file(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(MachineError, match=str(os.getpid())), daemon_process.pid_file(path):
            pass
        assert path.exists()
    assert not path.exists()


def test_a_pid_file_that_is_a_link_or_a_pipe_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "no/folder"):
        with pytest.raises(MachineError), daemon_process.pid_file(tmp_path / name):
            pass
    assert (tmp_path / "mine").read_text() == "keep"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_no_place_for_a_socket_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind("other")
        for name in ("s" * 150, "s" * 300, "no/folder", "other", "a\0b"):
            with pytest.raises(LabError), daemon_process.unix_socket(Path(name)):
                pass
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind("busy")
        busy.listen(0)
        first.setblocking(False)
        first.connect("busy")
        with pytest.raises(LabError, match="listens"), daemon_process.unix_socket(Path("busy")):
            pass
    with daemon_process.unix_socket(Path("busy")):
        """One that nobody listens at any more makes way."""


def test_a_client_too_many_is_told_and_the_next_one_served(
    lab: PretendSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(daemon_process, "MOST_CLIENTS", 2)
    door = Daemon(lab, TrackCache(tmp_path / "tracks"), Backends(lab))
    request.addfinalizer(door.close)

    def client() -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(5)
        one.connect(str(tmp_path / "socket"))
        one.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        return one

    with daemon_process.unix_socket(tmp_path / "socket") as listener:
        daemon_process.accept(listener, lambda: door)
        first, second = client(), client()
        assert b"pong" in first.recv(500)
        assert b"pong" in second.recv(500)
        with socket.socket(socket.AF_UNIX) as third:
            third.settimeout(5)
            third.connect(str(tmp_path / "socket"))
            assert b"clients are connected" in third.recv(500)
        first.close()
        time.sleep(0.2)
        again = client()
        assert b"pong" in again.recv(500)
        again.close()
        second.close()


def test_a_connection_too_many_is_told_and_the_others_live_on(
    door: httpx2.Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOST_CONNECTIONS", 3)
    assert door.get("/health").status_code == 200
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    time.sleep(0.2)
    assert raw(server, b"").startswith(b"HTTP/1.1 503")
    assert door.get("/health").status_code == 200
    for one in idle:
        one.close()
    time.sleep(0.2)
    assert httpx2.get(f"{server.address}/health").status_code == 200


def test_tasks_that_are_over_are_forgotten_where_there_are_too_many(
    door: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_tasks, "MOST_KEPT", 5)
    lost = {"prompt": "dub", "task_type": "cover", "src_audio_path": "take-" + "0" * 16}
    for _ in range(12):
        assert door.post("/release_task", json=lost).status_code == 200
    end = time.monotonic() + 10
    while len(door.get("/v1/tasks").json()["data"]) > 5:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("exits", [SystemExit(3), KeyboardInterrupt()])
def test_an_engine_that_exits_fails_what_asked_for_it_and_nothing_else(
    door: httpx2.Client, monkeypatch: pytest.MonkeyPatch, exits: BaseException
) -> None:
    def bad(*_: Any, **__: Any) -> Any:
        raise exits

    monkeypatch.setattr(PretendSession, "sketch", bad)
    monkeypatch.setattr(PretendSession, "_render", bad)
    assert "unexpectedly" in str(door.post("/v1/create_sample", json={"query": "x"}).json()["error"])
    id = door.post("/release_task", json={"prompt": "dub"}).json()["data"]["task_id"]
    end = time.monotonic() + 10
    while not (entry := door.post("/query_result", json={"task_id": id}).json()["data"][0])["status"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (entry["status"], "unexpectedly" in entry["progress_text"]) == (2, True)
    assert door.get("/health").status_code == 200


def test_a_server_that_is_asked_to_end_leaves_no_files(tmp_path: Path) -> None:
    code = (
        "from acestep_lab.serve.api import serve_api; from tests.pretend import PretendSession; import sys;"
        "serve_api(PretendSession(sys.argv[1]), 0, announce=lambda line: print(line, flush=True))"
    )
    place = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(tmp_path / "library")]
    with subprocess.Popen(command, env=place, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "http" in process.stdout.readline()
        assert list(tmp_path.glob("acestep_lab-api-*"))
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 10
        while (left := list(tmp_path.glob("acestep_lab-api-*"))) and time.monotonic() < end:
            time.sleep(0.05)
        process.kill()
    assert left == []


def test_what_somebody_sent_and_still_waits_has_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rest_paths, "MOST_UPLOADED", 1000)
    places = rest_paths.SoundPlaces(tmp_path, None, lambda id, owner: True)
    places.new_upload("", "a.wav").write_bytes(b"0" * 1001)
    with pytest.raises(BadBody, match="share") as refused:
        places.new_upload("", "b.wav")
    assert refused.value.status == 507
    assert places.new_upload("somebody else", "b.wav").suffix == ".wav"


def test_a_planner_is_no_path_either(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lm_model_path"):
        rest_verbs.init(PretendSession(tmp_path), {"lm_model_path": "/any/folder"})
