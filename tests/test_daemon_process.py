"""The daemon as a process: how it begins, what it is asked by several at once, and that it ends when it should."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.engines.offered import OfferedCheckpoint
from acestep_lab.errors import CheckpointError, DownloadError
from acestep_lab.models.download import Progress
from acestep_lab.serve.backends import Backends
from acestep_lab.serve.daemon import Daemon
from acestep_lab.serve.track_cache import TrackCache
from tests.pretend import PretendSession
from tests.test_daemon import Editor

PROGRAM = """
import sys
import acestep_lab.cli.daemon as command
from acestep_lab.cli import main
from tests.pretend import PretendSession
command.open_session = lambda *a, library=None, **k: PretendSession(library, pause={pause})
sys.exit(main(sys.argv[1:]))
"""
LONG = {"prompt": "dub", "duration_sec": 60, "inference_steps": 200}
CHUNK = 8192
"""Bytes that Neovim hands its client at once, which joins no partial lines."""


class Process:
    """`acestep-lab daemon` over a stand-in session, and how a client speaks to it through its standard streams."""

    def __init__(self, folder: Path, *words: str, pause: float = 0.02) -> None:
        program = PROGRAM.format(pause=pause)
        own = ["--cache", str(folder / "tracks"), "--takes", str(folder / "takes")]
        command = [sys.executable, "-c", program, "--daemon", *own, *words]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1)
        self.count = 0

    def send(self, method: str, **params: Any) -> None:
        self.count += 1
        assert self.process.stdin
        self.process.stdin.write(request(self.count, method, params))
        self.process.stdin.flush()

    def next(self) -> dict[str, Any]:
        assert self.process.stdout
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def seconds_to_end(self, do: Callable[[], object]) -> float:
        """How long after an act it has ended, and well."""
        began = time.monotonic()
        do()
        assert self.process.wait(10) == 0, self.process.stderr and self.process.stderr.read()
        return time.monotonic() - began


def request(id: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


class Socketed:
    """A client of a socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.seen: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        id = len(self.seen) + 1000
        self.socket.sendall(request(id, method, params))
        return self.until(lambda one: one.get("id") == id)

    def until(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            self.seen.append(json.loads(self.lines.readline()))
            if ready(self.seen[-1]):
                return self.seen[-1]

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts daemons, and ends those that a test left."""
    started: list[Process] = []

    def begin(*words: str, **options: Any) -> Process:
        started.append(Process(tmp_path, *words, **options))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.__exit__(None, None, None)


def there(path: Path) -> Path:
    """A path, once something is there."""
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.02)
    return path


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_the_command_serves_a_socket_to_several_and_takes_it_away(begun: Any, tmp_path: Path) -> None:
    path, pid = tmp_path / "d.sock", tmp_path / "pid"
    daemon = begun("--socket", str(path), "--pid-file", str(pid))
    ada, bob = Socketed(there(path)), Socketed(path)
    first = ada.call("generate", prompt="ada's", duration_sec=5, seed=1)["result"]["track_id"]
    second = bob.call("generate", prompt="bob's", duration_sec=5, seed=2)["result"]["track_id"]
    assert [one["track_id"] for one in bob.call("queue_status")["result"]["tracks"]] == [second]
    for client, track in ((ada, first), (bob, second)):
        client.until(lambda one: one.get("method") == "generation_complete")
        assert {one["params"]["track_id"] for one in client.seen if "params" in one} == {track}
    ada.close()
    assert bob.call("ping")["result"]["pong"], "one client's end is not the others'"
    assert int(pid.read_text()) == daemon.process.pid
    assert daemon.seconds_to_end(lambda: daemon.process.send_signal(signal.SIGTERM)) < 2
    assert not path.exists()
    assert not pid.exists()
    bob.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_the_middle_of_a_render(begun: Any, tmp_path: Path, asked: signal.Signals) -> None:
    daemon = begun("--pid-file", str(tmp_path / "pid"))
    daemon.send("generate", **LONG)
    assert daemon.next()["result"]["status"] == "queued"
    assert daemon.next()["method"] == "generation_progress"
    assert daemon.seconds_to_end(lambda: daemon.process.send_signal(asked)) < 2
    assert not (tmp_path / "pid").exists()
    assert daemon.process.stderr.read() == b"", "no traceback"


def test_a_pid_file_of_a_dead_process_is_taken_over_and_one_of_a_living_is_left(begun: Any, tmp_path: Path) -> None:
    """And the end of its input ends it within a second, with what was asked before answered."""
    pid = tmp_path / "pid"
    pid.write_text("999999999\n")  # which is nobody's
    daemon = begun("--pid-file", str(pid))
    daemon.send("ping")
    assert daemon.next()["result"]["pong"]
    assert int(pid.read_text()) == daemon.process.pid
    refused = begun("--pid-file", str(pid)).process
    out, told = refused.communicate(timeout=20)
    assert (refused.returncode, out) == (2, b"")
    assert f"process {daemon.process.pid}" in told.decode()
    assert int(pid.read_text()) == daemon.process.pid
    daemon.send("status")
    assert daemon.seconds_to_end(daemon.process.stdin.close) < 1
    assert daemon.next()["result"]["pid"] == daemon.process.pid
    assert not pid.exists()


def test_it_ends_when_nothing_is_asked_for_a_while_but_not_in_the_middle_of_a_track(begun: Any) -> None:
    daemon = begun("--idle-timeout", "0.3", pause=0.15)
    began = time.monotonic()
    daemon.send("generate", prompt="dub", duration_sec=5, inference_steps=6)
    while (message := daemon.next()).get("method") != "generation_complete":
        assert "error" not in message
    assert time.monotonic() - began > 0.8, "it was quiet for longer than that while the track was made"
    assert daemon.seconds_to_end(lambda: None) < 2


# -- its notifications, over a stand-in session in this process


class Failing(PretendSession):
    """A session whose renders fail."""

    def _render(self, run: Any) -> None:
        raise CheckpointError("The weights of pretend are damaged: fetch them again.")


class Neovim:
    """lofi.nvim's client: a callback is registered when the response arrives, so that what comes before it is lost."""

    def __init__(self, daemon: Daemon) -> None:
        self.editor = Editor(daemon)
        self.tracks: dict[str, str] = {}
        self.lost: list[dict[str, Any]] = []

    def generate(self, **params: Any) -> dict[str, Any]:
        """What its callback is called with: the track, or the error."""
        self.editor.count += 1
        self.editor.send(request(self.editor.count, "generate", params).rstrip())
        while True:
            line = self.editor.lines.readline()
            assert len(line) < CHUNK
            message = json.loads(line)
            if "result" in message:
                self.tracks[message["result"]["track_id"]] = "callback"
                assert set(message["result"]) >= {"track_id", "seed", "position", "backend"}
            elif message["params"]["track_id"] not in self.tracks:
                self.lost.append(message)
            elif message["method"] in ("generation_complete", "generation_error"):
                return dict(message)


def over(folder: Path, lab: PretendSession, **options: Any) -> Daemon:
    return Daemon(lab, TrackCache(folder / "tracks"), Backends(lab, **options))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Daemon]:
    daemon = over(tmp_path, PretendSession(tmp_path / "takes", pause=0.0))
    yield daemon
    daemon.lab.close()


def test_the_callback_of_an_editor_is_there_before_its_track_is_also_when_the_track_was(quick: Daemon) -> None:
    editor = Neovim(quick)
    tracks = [
        editor.generate(prompt="é" * 400, duration_sec=5, seed=seed, priority="normal")["params"] for seed in (1, 1, 2)
    ]
    assert [one["cached"] for one in tracks] == [False, True, False]
    assert tracks[0]["path"] == tracks[1]["path"] != tracks[2]["path"]
    assert editor.lost == []


def test_a_track_that_fails_is_told_with_its_name_a_sentence_and_what_helps(tmp_path: Path) -> None:
    daemon = over(tmp_path, Failing(tmp_path / "takes"))
    editor = Neovim(daemon)
    failed = editor.generate(prompt="dub", duration_sec=5, seed=1)
    assert failed["method"] == "generation_error"
    assert failed["params"]["code"] == "MODEL_LOAD_FAILED"
    assert failed["params"]["message"] == "The weights of pretend are damaged: fetch them again."
    assert failed["params"]["recovery"]
    assert editor.lost == []
    again = editor.generate(prompt="dub", duration_sec=5, seed=1)
    assert again["method"] == "generation_error", "a failure is not kept as if it were a track"
    daemon.lab.close()


class Shelf:
    """A catalog with one backend that is not here yet, and a hub that hands it out in pieces when it is let."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.here, self.go, self.problem = False, threading.Event(), problem

    def offered(self) -> list[OfferedCheckpoint]:
        missing = "" if self.here else "Fetch it first."
        return [OfferedCheckpoint("pretend-tokens", "pretend-tokens", "MIT", missing)]

    def fetch(self, name: str, show: Callable[[Progress], None]) -> None:
        show(Progress("org/tokens", "model.safetensors", 0, 100, 1, 2, "a hub"))
        assert self.go.wait(10)
        if self.problem is not None:
            raise self.problem
        for number in (1, 2):
            show(Progress("org/tokens", ("model.safetensors", "config.json")[number - 1], 100, 100, number, 2, "a hub"))
        self.here = True

    def daemon(self, folder: Path) -> Daemon:
        families = {"ace_step": ("pretend-flow",), "musicgen": ("pretend-tokens",)}
        lab = PretendSession(folder / "takes", pause=0.0)
        return over(folder, lab, families=families, catalog=self.offered, fetch=self.fetch)


def test_a_backend_is_fetched_once_for_all_who_ask_and_can_be_used_then(tmp_path: Path) -> None:
    shelf = Shelf()
    daemon = shelf.daemon(tmp_path)
    ada, bob = Editor(daemon), Editor(daemon)
    refused = ada.call("generate", prompt="dub", duration_sec=5, backend="musicgen")["error"]
    assert (refused["code"], refused["data"]["error_code"]) == (-32008, "BACKEND_NOT_INSTALLED")
    for editor in (ada, bob):
        assert editor.call("download_backend", backend="musicgen")["result"]["status"] == "downloading"
    rows = bob.call("get_backends")["result"]["backends"]
    assert {one["name"]: one["status"] for one in rows}["musicgen"] == "downloading"
    shelf.go.set()
    for editor in (ada, bob):
        done = editor.until(lambda one: one.get("method") == "download_complete")["params"]
        assert done == {"backend": "musicgen", "checkpoint": "pretend-tokens"}
        told = [one["params"] for one in editor.seen if one.get("method") == "download_progress"]
        assert [one["overall_percent"] for one in told][-1] == 100
        assert told[-1]["component"] == "config.json"
    assert ada.call("download_backend", backend="musicgen")["result"]["status"] == "ready"
    assert ada.call("generate", prompt="dub", duration_sec=5, backend="musicgen")["result"]["backend"] == "musicgen"
    daemon.lab.close()


@pytest.mark.parametrize("problem", [DownloadError("The hub does not answer."), OSError(28, "No space left")])
def test_a_fetching_that_fails_is_told_and_can_be_tried_again(tmp_path: Path, problem: Exception) -> None:
    shelf = Shelf(problem)
    shelf.go.set()
    daemon = shelf.daemon(tmp_path)
    editor = Editor(daemon)
    editor.call("download_backend", backend="musicgen")
    told = editor.until(lambda one: one.get("method") == "download_error")["params"]
    assert told["code"] == "MODEL_DOWNLOAD_FAILED"
    assert told["message"]
    assert told["recovery"]
    rows = editor.call("get_backends")["result"]["backends"]
    assert {one["name"]: one["status"] for one in rows}["musicgen"] == "error"
    shelf.problem = None
    assert editor.call("download_backend", backend="musicgen")["result"]["status"] == "downloading"
    editor.until(lambda one: one.get("method") == "download_complete")
    daemon.lab.close()
