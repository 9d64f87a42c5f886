"""The JSON-RPC daemon: what editors are answered, in which order, and that it ends when they do."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.engines.offered import OfferedCheckpoint
from acestep_lab.serve import daemon_process, jsonrpc
from acestep_lab.serve.backends import Backends
from acestep_lab.serve.daemon import METHODS, MOST_TRACKS, Daemon, Peer
from acestep_lab.serve.track_cache import TrackCache, key_of
from tests.pretend import PretendSession, tone

FAMILIES = {"ace_step": ("pretend-flow",), "musicgen": ("pretend-tokens",)}
CATALOG = [
    OfferedCheckpoint("pretend", "pretend-flow", "MIT"),
    OfferedCheckpoint("pretend-tokens", "pretend-tokens", "MIT"),
]


class Editor:
    """A client at the other end of two pipes."""

    def __init__(self, daemon: Daemon) -> None:
        (theirs, self.out), (self._in, ours) = os.pipe(), os.pipe()
        self.peer = Peer(lambda: daemon, lambda most: os.read(theirs, most), lambda text: os.write(ours, text))
        self.peer.begin()
        self.lines = os.fdopen(self._in, "rb")
        self.seen: list[dict[str, Any]] = []
        self.count = 0

    def send(self, text: bytes) -> None:
        os.write(self.out, text + b"\n")

    def next(self) -> Any:
        message = json.loads(self.lines.readline())
        self.seen.append(message)
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a request; notifications that come before it are in `seen`."""
        self.count += 1
        request = {"jsonrpc": "2.0", "id": self.count, "method": method, "params": params}
        self.send(json.dumps(request).encode())
        return self.until(lambda message: message.get("id") == self.count)

    def until(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not ready(message := self.next()):
            pass
        return dict(message)

    def told(self, method: str, track: str) -> dict[str, Any]:
        found = self.until(lambda one: one.get("method") == method and one["params"]["track_id"] == track)
        return dict(found["params"])


def made(folder: Path, **options: Any) -> Daemon:
    lab = PretendSession(folder / "takes", **options)
    return Daemon(lab, TrackCache(folder / "tracks"), Backends(lab, FAMILIES, lambda: CATALOG))


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def held(tmp_path: Path, gate: threading.Semaphore) -> Iterator[Daemon]:
    """A daemon whose steps wait for the gate."""
    daemon = made(tmp_path, gate=gate)
    yield daemon
    daemon.lab.close()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Daemon]:
    daemon = made(tmp_path, pause=0.0)
    yield daemon
    daemon.lab.close()


def test_a_track_is_answered_then_followed_then_complete(quick: Daemon) -> None:
    editor = Editor(quick)
    answer = editor.call("generate", prompt="lofi rain", duration_sec=5, seed=7)["result"]
    assert answer["status"] == "queued"
    assert answer["seed"] == 7
    assert answer["backend"] == "ace_step"
    done = editor.told("generation_complete", answer["track_id"])
    assert Path(done["path"]).is_file()
    assert done["duration_sec"] == 5
    assert not done["cached"]
    assert editor.seen[0]["id"] == 1, "the answer comes before anything else of the run"
    percents = [one["params"]["percent"] for one in editor.seen if one.get("method") == "generation_progress"]
    assert percents == sorted(percents)
    assert percents[0] >= 0
    assert percents[-1] <= 99
    assert all(b - a >= 5 for a, b in zip(percents, percents[1:], strict=False))


def test_the_same_request_is_found_again_after_the_answer_also_by_another_daemon(quick: Daemon, tmp_path: Path) -> None:
    first = Editor(quick)
    key = first.call("generate", prompt="dub", duration_sec=5, seed=1)["result"]["track_id"]
    path = first.told("generation_complete", key)["path"]
    second = Editor(made(tmp_path, gate=threading.Semaphore(0)))
    answer = second.call("generate", prompt="dub", duration_sec=5.0, seed=1.0)["result"]
    done = second.told("generation_complete", answer["track_id"])
    assert answer["track_id"] == key
    assert answer["position"] == 0
    assert done["path"] == path
    assert done["cached"]
    assert [list(one)[1] for one in second.seen] == ["id", "method"]


def test_it_answers_while_it_renders_and_percent_is_true(held: Daemon, gate: threading.Semaphore) -> None:
    editor = Editor(held)
    key = editor.call("generate", prompt="dub", duration_sec=5, seed=1)["result"]["track_id"]
    for _ in range(3):
        gate.release()
    told = editor.told("generation_progress", key)
    while told["step"] < 3:
        told = editor.told("generation_progress", key)
    assert told["total_steps"] == 6
    assert abs(told["percent"] - 50) <= 10
    assert editor.call("ping")["result"]["pong"]
    row = editor.call("queue_status")["result"]["tracks"][0]
    assert row["track_id"] == key
    assert row["state"] == "rendering"
    assert editor.call("cancel", track_id=key)["result"]["cancelled"]
    assert editor.told("generation_cancelled", key)["total_steps"] == 6


def test_the_eleventh_track_is_refused_with_a_hint_and_the_waiting_ones_can_be_cleared(held: Daemon) -> None:
    editor = Editor(held)
    keys = [
        editor.call("generate", prompt="dub", duration_sec=5, seed=seed)["result"]["track_id"]
        for seed in range(MOST_TRACKS)
    ]
    assert len(set(keys)) == MOST_TRACKS
    error = editor.call("generate", prompt="dub", duration_sec=5, seed=99)["error"]
    assert error["code"] == -32004
    assert error["data"]["error_code"] == "QUEUE_FULL"
    assert error["data"]["recovery"]
    editor.until(lambda one: one.get("method") == "generation_progress")
    assert editor.call("queue_clear")["result"]["cleared"] == MOST_TRACKS - 1
    assert editor.told("generation_cancelled", keys[-1])["at_step"] == 0


def test_each_client_hears_its_own_runs_and_what_only_it_asked_for_stops_with_it(held: Daemon) -> None:
    ada, bob = Editor(held), Editor(held)
    key = ada.call("generate", prompt="ada's", duration_sec=5, seed=1)["result"]["track_id"]
    assert bob.call("cancel", track_id=key)["error"]["code"] == -32602
    run = held.lab.jobs.waiting[0]
    os.close(ada.out)
    assert run.wait(5)
    assert run.state == "stopped"
    assert bob.call("ping")["result"]["pong"]
    assert not any("method" in one for one in bob.seen)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"prompt": ""}, "INVALID_PROMPT"),
        ({"prompt": "x" * 1001}, "INVALID_PROMPT"),
        ({"prompt": "half \ud800"}, "INVALID_PROMPT"),
        ({"prompt": "x", "duration_sec": 4.9}, "INVALID_DURATION"),
        ({"prompt": "x", "duration_sec": 240}, "INVALID_DURATION"),
        ({"prompt": "x", "duration_sec": "30"}, "INVALID_DURATION"),
        ({"prompt": "x", "backend": "jukebox"}, "INVALID_BACKEND"),
        ({"prompt": "x", "inference_steps": 201}, "INVALID_INFERENCE_STEPS"),
        ({"prompt": "x", "backend": "musicgen", "inference_steps": 20}, "INVALID_INFERENCE_STEPS"),
        ({"prompt": "x", "guidance_scale": True}, "INVALID_GUIDANCE_SCALE"),
        ({"prompt": "x", "scheduler": "karras"}, "INVALID_SCHEDULER"),
        ({"prompt": "x", "seed": 1.5}, "INVALID_PARAMS"),
        ({"prompt": "x", "sed": 1}, "INVALID_PARAMS"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name_with_a_hint(quick: Daemon, params: dict[str, Any], name: str) -> None:
    error = Editor(quick).call("generate", **params)["error"]
    assert error["data"]["error_code"] == name
    assert error["message"]
    assert error["data"]["recovery"]


def test_both_backends_make_tracks(quick: Daemon) -> None:
    editor = Editor(quick)
    rows = editor.call("get_backends")["result"]
    assert {row["name"]: row["status"] for row in rows["backends"]} == {"ace_step": "ready", "musicgen": "ready"}
    answer = editor.call("generate", prompt="dub", duration_sec=5, seed=1, backend="musicgen")["result"]
    assert answer["backend"] == "musicgen"
    assert "pretend-tokens" in editor.told("generation_complete", answer["track_id"])["model_version"]
    assert quick.lab.started[0].checkpoint == "pretend-tokens"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{nope", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"nope"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"play"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
        (b"x" * (jsonrpc.MOST_LINE + 1), -32600),
    ],
)
def test_a_bad_line_is_answered_and_the_next_one_as_well(quick: Daemon, line: bytes, code: int) -> None:
    editor = Editor(quick)
    editor.send(line)
    assert editor.next()["error"]["code"] == code
    assert editor.call("ping")["result"]["pong"]


def test_a_batch_is_answered_together_and_a_notification_not_at_all(quick: Daemon) -> None:
    editor = Editor(quick)
    editor.send(b'{"jsonrpc":"2.0","method":"ping"}')
    editor.send(b'[{"jsonrpc":"2.0","id":"a","method":"ping","params":[]},{"jsonrpc":"2.0","method":"ping"},3]')
    answers = editor.next()
    assert [one["id"] for one in answers] == ["a", None]


def test_the_cache_gives_up_what_was_used_longest_ago_and_heals(tmp_path: Path) -> None:
    cache = TrackCache(tmp_path, most_bytes=70_000)
    keys = [key_of({"seed": seed}) for seed in range(3)]
    for place, key in enumerate(keys[:2]):
        cache.put(key, tone(1.0), {"seed": place})
    os.utime(tmp_path / f"{keys[0]}.json", (1, 1))
    assert cache.find(keys[0]) is not None, "used just now"
    os.utime(tmp_path / f"{keys[1]}.json", (2, 2))
    cache.put(keys[2], tone(1.0), {"seed": 2})
    assert [TrackCache(tmp_path).find(key) is not None for key in keys] == [True, False, True]
    (tmp_path / f"{keys[2]}.wav").write_bytes(b"cut short")
    assert cache.find(keys[2]) is None
    assert not cache.delete("../../etc/passwd")
    assert cache.stats()["tracks"] == 1
    assert cache.clear() >= 1
    assert cache.tracks() == []


def test_the_cache_is_listed_and_cleared_by_clients(quick: Daemon) -> None:
    editor = Editor(quick)
    key = editor.call("generate", prompt="dub", duration_sec=5, seed=1)["result"]["track_id"]
    editor.told("generation_complete", key)
    assert [one["track_id"] for one in editor.call("cache_list")["result"]["tracks"]] == [key]
    assert editor.call("cache_stats")["result"]["tracks"] == 1
    assert editor.call("cache_delete", track_id=key)["result"]["deleted"]
    assert editor.call("cache_clear")["result"]["cleared"] == 0
    assert set(editor.call("status")["result"]["methods"]) == set(METHODS)
    assert editor.call("shutdown")["result"]
    assert quick.ended.wait(2)


def test_a_socket_is_its_users_alone_and_serves_several(quick: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with daemon_process.unix_socket(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        daemon_process.accept(listener, lambda: quick)
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(path))
                client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
                assert b'"pong":true' in client.recv(4096)
    assert not path.exists()


def test_it_ends_within_a_second_of_the_end_of_its_input_in_the_middle_of_a_render(tmp_path: Path) -> None:
    program = "import sys; from acestep_lab.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [
        "--daemon",
        "--cache",
        str(tmp_path / "t"),
        "--takes",
        str(tmp_path / "l"),
        "--pid-file",
        str(tmp_path / "pid"),
    ]
    with subprocess.Popen([sys.executable, "-c", program, *words], stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(
            b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"prompt":"dub","duration_sec":60,"inference_steps":200}}\n'
        )
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["status"] == "queued"
        assert json.loads(process.stdout.readline())["method"] == "generation_progress"
        began = time.monotonic()
        process.stdin.close()
        assert process.wait(5) == 0
        assert time.monotonic() - began < 1.5
    assert not (tmp_path / "pid").exists()
