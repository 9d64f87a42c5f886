"""Whether a door stands after hundreds of requests of every kind, good and bad, in no order: alive, nothing lost, nothing left.

`python -m tests.benchmarks.soak_doors [requests] [seed]`; 500 without a number. A server process over sines; several clients at
once, of two people. At the end: every accepted task is over and known, no upload lies on the disk, nothing failed unexpectedly,
and threads and handles are what they were.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.benchmarks.door_server import QUIET, Served, served
from tests.replay import BOUNDARY, silence

HOST, GUEST = "the-key-of-the-host", "the-key-of-a-guest"
CLIENTS = 4
FLOOD = 230
"""Tasks at once for a queue of 200."""
SONG = {"prompt": "dub", "audio_duration": 2, "batch_size": 1, "audio_format": "wav"}
SILENCE = silence()
FORM = f"multipart/form-data; boundary={BOUNDARY}"
Said = tuple[int, bytes]


@dataclass
class Soak:
    """What was asked of a server so far."""

    place: str
    dice: random.Random
    accepted: dict[str, str] = field(default_factory=dict)
    """Tasks that were taken on, with whose they are."""
    answers: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json", key: str | None = HOST,
        **headers: str,
    ) -> Said:  # fmt: skip
        """One request on a connection of its own; status and body."""
        connection = HTTPConnection(self.place, timeout=60)
        told = {"Content-Type": kind} if body is not None else {}
        told |= {"Authorization": f"Bearer {key}"} if key else {}
        try:
            connection.request(method, path, body, told | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def begin(self, fields: Mapping[str, Any], key: str = HOST) -> Said:
        """Ask for a task, and note it where it is taken on."""
        return self.note(self.ask("POST", "/release_task", json.dumps(fields).encode(), key=key), key)

    def note(self, said: Said, key: str = HOST) -> Said:
        if said[0] == 200:
            with self.lock:
                self.accepted[json.loads(said[1])["data"]["task_id"]] = key
        return said

    def some(self, key: str | None = None) -> str:
        """The id of a task that was taken on (of somebody), or of none."""
        with self.lock:
            ids = [id for id, whose in self.accepted.items() if key in (None, whose)]
        return self.dice.choice(ids) if ids else "none"

    def raw(self, data: bytes, wait: bool = False) -> Said:
        """Send bytes as they are, and hang up."""
        host, port = self.place.split(":")
        with socket.create_connection((host, int(port)), 60) as connection:
            connection.sendall(data)
            return (int(connection.recv(4096)[9:12] or b"0"), b"") if wait else (0, b"")


def multipart(fields: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    """A whole multipart body."""
    out = b""
    for name, text in fields.items():
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
    for name, content in files.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'
        out += head.encode() + content + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


COVER = multipart({"task_type": "cover", "prompt": "strings", "batch_size": "1"}, {"src_audio": SILENCE})


def song(soak: Soak) -> Said:
    return soak.begin(SONG | {"seed": soak.dice.randrange(100)}, soak.dice.choice((HOST, GUEST)))


def cover(soak: Soak) -> Said:
    return soak.note(soak.ask("POST", "/release_task", COVER, FORM))


def wrong_types(soak: Soak) -> Said:
    wrong = soak.dice.choice(
        [{"prompt": {"a": 1}}, {"lyrics": [1]}, {"batch_size": 99}, {"task_type": 7}, {"audio_format": "exe"},
         {"src_audio_path": "/etc/passwd", "task_type": "cover"}, {"task_type": "cover"}, {"param_obj": "{"},
         {"audio_duration": 1e9}, {"audio_code_string": "nonsense"}, {"timesteps": {"a": 1}, "prompt": ["x"]}]
    )  # fmt: skip
    return soak.begin(SONG | wrong)


def malformed(soak: Soak) -> Said:
    body = soak.dice.choice(
        [COVER[: len(COVER) // 2], COVER.replace(b"form-data", b"x-data"), b"--other\r\n\r\n", b"\r\n" * 50,
         COVER.replace(b"\r\n\r\n", b"\r\n"), b"--" + BOUNDARY.encode(), COVER[:200] + bytes(range(256)) + COVER[200:]]
    )  # fmt: skip
    return soak.note(soak.ask("POST", "/release_task", body, FORM))


def no_json(soak: Soak) -> Said:
    body = soak.dice.choice([b"{", b"[1]", b"\xff\xfe", b"null", b'{"a":' * 5000, b"nothing"])
    return soak.ask("POST", soak.dice.choice(["/release_task", "/query_result", "/format_input", "/v1/init"]), body)


def hangs_up(soak: Soak) -> Said:
    whole = b"POST /release_task HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        soak.place.encode(), HOST.encode(), FORM.encode(), len(COVER), COVER,
    )  # fmt: skip
    return soak.raw(whole[: soak.dice.randrange(10, len(whole) - 10)])


def leaves_before_the_answer(soak: Soak) -> Said:
    """All is sent and nobody waits: the task is made or not, and nothing stays."""
    head = f"POST /release_task HTTP/1.1\r\nHost: {soak.place}\r\nAuthorization: {HOST}\r\nContent-Type: {FORM}\r\n"
    return soak.raw(f"{head}Content-Length: {len(COVER)}\r\n\r\n".encode() + COVER)


def no_http(soak: Soak) -> Said:
    return soak.raw(
        soak.dice.choice([b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000])
    )


def unknown_id(soak: Soak) -> Said:
    status, body = soak.ask("POST", "/query_result", b'{"task_id_list": ["gone"]}')
    assert json.loads(body)["data"][0]["status"] == 2
    return status, body


def of_another(soak: Soak) -> Said:
    """A guest asks after the host's tasks and files: as if they were not there."""
    id = soak.some(HOST)
    status, body = soak.ask("POST", "/query_result", json.dumps({"task_id_list": [id]}).encode(), key=GUEST)
    assert json.loads(body)["data"][0]["status"] == 2, body
    assert soak.ask("POST", "/v1/cancel", json.dumps({"task_id": id}).encode(), key=GUEST)[0] == 200
    for file in _files(soak, id, HOST)[:1]:
        assert soak.ask("GET", file, key=GUEST)[0] == 403
    return status, body


def cancels(soak: Soak) -> Said:
    said = soak.begin(SONG | {"audio_duration": 20, "inference_steps": 50})
    if said[0] != 200:
        return said
    time.sleep(soak.dice.random() * 0.05)
    id = json.loads(said[1])["data"]["task_id"]
    return soak.ask("POST", "/v1/cancel", json.dumps({"task_id_list": [id, "gone"]}).encode())


def polls(soak: Soak) -> Said:
    ids = [soak.some(HOST) for _ in range(5)]
    return soak.ask("POST", "/query_result", json.dumps({"task_id_list": json.dumps(ids)}).encode())


def fetches(soak: Soak) -> Said:
    span = soak.dice.choice(
        ["", "bytes=0-0", "bytes=-5", "bytes=10-", "bytes=9999999-", "bytes=5-2", "lines=1", "bytes=0-1,3-4"]
    )
    files = _files(soak, soak.some(HOST), HOST) or [f"/v1/audio?path={quote('/etc/passwd', safe='')}"]
    return soak.ask(soak.dice.choice(["GET", "HEAD"]), soak.dice.choice(files), **({"Range": span} if span else {}))


def listens(soak: Soak) -> Said:
    head = f"GET /v1/events HTTP/1.1\r\nHost: {soak.place}\r\nAuthorization: {HOST}\r\n\r\n".encode()
    return soak.raw(head, wait=soak.dice.random() < 0.7)


def files_for_nobody(soak: Soak) -> Said:
    """Files for routes that take none, for methods and routes that are not there, and without a key."""
    path = soak.dice.choice(["/query_result", "/health", "/nowhere", "/v1/stats", "/v1/cancel", "/format_input"])
    return soak.ask("POST", path, COVER, FORM, key=soak.dice.choice([HOST, None, "wrong-key-altogether"]))


def too_large(soak: Soak) -> Said:
    head = f"POST /release_task HTTP/1.1\r\nHost: {soak.place}\r\nAuthorization: {HOST}\r\nContent-Type: {FORM}\r\n"
    return soak.raw(f"{head}Content-Length: {2**40}\r\n\r\n".encode() + COVER[:2000], wait=False)


def looks(soak: Soak) -> Said:
    path = soak.dice.choice(
        ["/health", "/v1/models", "/v1/model_inventory", "/v1/stats", "/v1/tasks", "/openapi.json", "/nowhere"]
    )
    return soak.ask(
        soak.dice.choice(["GET", "GET", "OPTIONS", "DELETE"]), path, key=soak.dice.choice([HOST, GUEST, None])
    )


KINDS: list[Callable[[Soak], Said]] = [
    song, song, cover, wrong_types, malformed, no_json, hangs_up, leaves_before_the_answer, no_http, unknown_id, of_another,
    cancels, polls, fetches, fetches, listens, files_for_nobody, too_large, looks,
]  # fmt: skip


def _files(soak: Soak, id: str, key: str) -> list[str]:
    """Where the sounds of a task are fetched, once it is done."""
    _, body = soak.ask("POST", "/query_result", json.dumps({"task_id_list": [id]}).encode(), key=key)
    entry = json.loads(body)["data"][0]
    return [one["file"] for one in json.loads(entry["result"])] if entry["status"] == 1 else []


def flood(soak: Soak) -> int:
    """More tasks than can wait; those that were refused say why. Then all are stopped."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        said = list(clients.map(lambda _: soak.begin(SONG | {"audio_duration": 30}), range(FLOOD)))
    refused = [json.loads(body)["detail"] for status, body in said if status == 429]
    assert all("waiting already" in one for one in refused)
    assert {status for status, _ in said} == {200, 429}
    mine = json.dumps({"task_id_list": [id for id, key in soak.accepted.items() if key == HOST]}).encode()
    assert soak.ask("POST", "/v1/cancel", mine)[0] == 200
    return len(refused)


def settle(soak: Soak, seconds: float = 60) -> list[dict[str, Any]]:
    """Every task of both people once all are over."""
    end = time.monotonic() + seconds
    while True:
        tasks = [one for key in (HOST, GUEST) for one in json.loads(soak.ask("GET", "/v1/tasks", key=key)[1])["data"]]
        if all(one["state"] in ("succeeded", "failed", "stopped") for one in tasks):
            return tasks
        assert time.monotonic() < end, "tasks hang"
        time.sleep(0.1)


def baseline(soak: Soak, server: Served) -> tuple[int, int]:
    """Threads and handles of a server whose pools have all been used."""
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda _: song(soak), range(16)))
    settle(soak)
    return rest(server)


def rest(server: Served, seconds: float = 5) -> tuple[int, int]:
    """Threads and handles once they no longer change."""
    last, end = (0, 0), time.monotonic() + seconds
    while time.monotonic() < end:
        now = (server.threads, server.handles)
        if now == last:
            return now
        last = now
        time.sleep(0.3)
    return last


def soak_doors(count: int, seed: int, folder: Path, floods: bool = True) -> dict[str, Any]:
    """Ask a server process so much; AssertionError where it does not stand it. Gives what was seen."""
    with served(folder, pause=0.002, keys=[HOST, GUEST]) as server:
        soak = Soak(urlsplit(server.address).netloc, random.Random(seed))
        before = baseline(soak, server)
        kinds = (KINDS * (count // len(KINDS) + 1))[:count]
        soak.dice.shuffle(kinds)

        def one(kind: Callable[[Soak], Said]) -> None:
            status, body = kind(soak)
            with soak.lock:
                soak.answers[f"{kind.__name__} {status}"] += 1
            assert status < 500, f"{kind.__name__}: {status} {body[:300]!r}"

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(one, kinds))
        refused = flood(soak) if floods else 0
        tasks = settle(soak)
        lost = set(soak.accepted) - {one["task_id"] for one in tasks}
        after = rest(server)
        errors = (folder / "stderr").read_text(errors="replace")
        assert server.process.poll() is None, errors
        assert soak.ask("GET", "/health")[0] == 200
        assert not lost, f"lost tasks: {lost}"
        assert server.uploads == [], server.uploads
        assert QUIET not in errors, errors[-3000:]
        assert after[0] <= before[0] + 1, f"threads {before[0]} -> {after[0]}"
        assert after[1] <= before[1] + 1, f"handles {before[1]} -> {after[1]}"
    states = Counter(one["state"] for one in tasks)
    return {
        "requests": count, "flood refused": refused, "tasks accepted": len(soak.accepted), "tasks known": len(tasks), **states,
        "threads": f"{before[0]} -> {after[0]}", "handles": f"{before[1]} -> {after[1]}", "answers": dict(soak.answers),
    }  # fmt: skip


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as place:
        seen = soak_doors(*([*numbers, 500, 1][:1] + (numbers[1:] or [1])), Path(place))  # type: ignore[arg-type]
    for name, value in seen.items():
        if name == "answers":
            for kind, times in sorted(value.items()):
                print(f"    {kind:<32}{times}")
        else:
            print(f"{name:<20}{value}")
