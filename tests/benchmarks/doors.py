"""What a door costs: time added to a render, memory, 50 clients that poll, 50 that listen, an upload of 100 MB.

`python -m tests.benchmarks.doors [render] [memory] [poll] [events] [upload]`, all of them without a word. Server processes over
sines (`door_server`), looked at from outside; medians of `ROUNDS` rounds, the idle server subtracted. Aims: a render + 10 ms,
5 % of a core for 50 who ask every 0.5 s, 100 ms to the last of 50 listeners, 32 MB for an upload of 100 MB.
"""

from __future__ import annotations

import gc
import json
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.door_server import Served, served
from tests.replay import BOUNDARY, silence

ROUNDS = 3
CLIENTS, PERIOD, POLLING = 50, 0.5, 20.0
"""How many poll or listen, every so many seconds, for how long."""
UPLOAD = 100 * 2**20
SONG = {
    "prompt": "dub",
    "audio_duration": 4,
    "batch_size": 1,
    "audio_format": "wav",
    "seed": 1,
    "use_random_seed": False,
}


def _post(place: str, path: str, fields: dict[str, Any], connection: HTTPConnection | None = None) -> Any:
    own = connection or HTTPConnection(place, timeout=60)
    own.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
    answer = json.loads(own.getresponse().read())
    if connection is None:
        own.close()
    return answer["data"]


def _done(connection: HTTPConnection, id: str, pause: float) -> dict[str, Any]:
    while True:
        (entry,) = _post("", "/query_result", {"task_id_list": [id]}, connection)
        if entry["status"]:
            assert entry["status"] == 1, entry
            return dict(entry)
        time.sleep(pause)


# -- a render


def render(rounds: int = 40) -> dict[str, str]:
    """The same recipe in one process, by turns: by the session, as the studio's page makes and keeps it, through the door.

    All write a file of 16 bits; what is asked for through a page or a door is in the library as well.
    """
    from acestep_lab.serve.api import ApiServer
    from acestep_lab.serve.rest_fields import read_request
    from acestep_lab.ui.backend import backend_of
    from tests.pretend import PretendSession

    with tempfile.TemporaryDirectory() as place:
        lab: Any = PretendSession(Path(place) / "library", pause=0.01)
        recipe, backend = read_request(SONG).recipes[0], backend_of(lab)
        with ApiServer(lab, 0, folder=Path(place) / "door") as door:
            connection = HTTPConnection(urlsplit(door.address).netloc, timeout=60)

            def direct(seed: int) -> Any:
                take = lab.start(recipe.replace(seed=seed)).take()
                take.audio.write(Path(place) / "direct.wav", bits=16)
                return take

            def kept(seed: int) -> None:
                take = backend.start(recipe.replace(seed=seed)).take()
                take.audio.write(Path(place) / "kept.wav", bits=16)

            def through(seed: int) -> None:
                id = _post("", "/release_task", SONG | {"seed": seed}, connection)["task_id"]
                time.sleep(0.06)  # a client that asks all the time would take the time itself
                _done(connection, id, 0.001)

            taken = _by_turns((direct, kept, through), rounds)
        lab.close()
    beyond = [median(c - one for *both, c in taken for one in both[place : place + 1]) for place in (0, 1)]
    return {
        "a render of 60 ms, and its file": f"{median(one[0] for one in taken):.1f} ms",
        "more through the door": f"{beyond[1]:.1f} ms than a page that keeps it (aim < 10), {beyond[0]:.1f} than not kept",
    }


def _by_turns(works: tuple[Callable[[int], object], ...], rounds: int) -> list[list[float]]:
    """Milliseconds of each work in each round; two rounds are not counted."""
    taken = []
    for number in range(rounds + 2):
        times = []
        for place, work in enumerate(works):
            began = time.perf_counter()
            work(1000 * place + number)
            times.append(1000 * (time.perf_counter() - began))
        taken.append(times)
    return taken[2:]


def memory(renders: int = 200) -> dict[str, str]:
    """What a door holds: the process before and after it is opened, and after many renders through it and without it."""
    from acestep_lab.serve.api import ApiServer
    from tests.pretend import PretendSession

    def mine() -> float:
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    with tempfile.TemporaryDirectory() as place:
        lab: Any = PretendSession(Path(place) / "library", pause=0.0)
        before = mine()
        with ApiServer(lab, 0, folder=Path(place) / "door") as door:
            opened = mine()
            connection = HTTPConnection(urlsplit(door.address).netloc, timeout=60)
            seen = []
            for number in range(2 * renders):
                _done(connection, _post("", "/release_task", SONG, connection)["task_id"], 0.001)
                if number in (renders - 1, 2 * renders - 1):
                    seen.append(mine())
        lab.close()
    return {
        "a door that is open": f"+ {opened - before:.1f} MB",
        f"{renders} renders more through it": f"+ {seen[1] - seen[0]:.1f} MB",
    }


# -- many clients


def poll(folder: Path) -> dict[str, str]:
    """The share of a core that the server takes for clients who ask for their task, over that of one nobody asks.

    Beside it the least that Tornado takes for as much, and what a request takes of a server that does not sleep in between:
    on a machine that is shared, waking up costs more than answering.
    """
    with served(folder, pause=0.01) as server, served(folder, bare=True) as peer:
        place, other = (urlsplit(one.address).netloc for one in (server, peer))
        ids = [_post(place, "/release_task", SONG)["task_id"] for _ in range(CLIENTS)]
        one = HTTPConnection(place, timeout=60)
        for id in ids:
            _done(one, id, 0.1)
        clients, others = ([_Poller(there, id) for id in ids] for there in (place, other))
        shares = [(_share(server, clients), _share(peer, others)) for _ in range(ROUNDS)]
        hot = [(_hot(server, clients), _hot(peer, others)) for _ in range(ROUNDS)]
    paced, least = (median(found[number] for found in shares) for number in (0, 1))
    busy, quick = (median(found[number] for found in hot) for number in (0, 1))
    rate = CLIENTS / PERIOD
    return {
        f"{CLIENTS} who ask every {PERIOD} s": f"{paced:.2f} % of a core (aim < 5); bare Tornado {least:.2f} %",
        "the same, asked back to back": f"{busy * rate * 100:.2f} % ({1e6 * busy:.0f} us each); bare {quick * rate * 100:.2f} %",
    }


def _share(server: Served, clients: list[_Poller]) -> float:
    """Percent of a core for clients who ask, what the server takes when nobody does taken off."""
    began = server.cpu_seconds()
    time.sleep(POLLING / 4)
    idle = (server.cpu_seconds() - began) / (POLLING / 4)
    began, asked = server.cpu_seconds(), _poll_all(clients)
    assert asked >= 0.9 * len(clients) * POLLING / PERIOD, f"only {asked} requests were made"
    return 100 * ((server.cpu_seconds() - began) / POLLING - idle)


def _hot(server: Served, clients: list[_Poller], count: int = 2000) -> float:
    """Processor seconds of one request among many that come one after another."""
    began = server.cpu_seconds()
    for number in range(count):
        assert clients[number % len(clients)].ask()
    return (server.cpu_seconds() - began) / count


class _Poller:
    """A client that asks after one task, on one connection: a small request is one packet, as browsers, JUCE and curl send it."""

    def __init__(self, place: str, id: str) -> None:
        host, port = place.split(":")
        body = json.dumps({"task_id_list": [id]})
        head = f"POST /query_result HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\nContent-Length: "
        self._request = f"{head}{len(body)}\r\n\r\n{body}".encode()
        self._socket = socket.create_connection((host, int(port)), 60)
        self._answers = self._socket.makefile("rb")

    def ask(self) -> bool:
        """Whether the task is done."""
        self._socket.sendall(self._request)
        size = 0
        while (line := self._answers.readline().strip()) != b"":
            size = int(line[15:]) if line.lower().startswith(b"content-length:") else size
        return bool(json.loads(self._answers.read(size))["data"][0]["status"] == 1)


def _poll_all(clients: list[_Poller]) -> int:
    """Ask in turn, evenly over each period; how often in all."""
    began, asked = time.monotonic(), 0
    while (now := time.monotonic() - began) < POLLING:
        due = int(now / PERIOD * len(clients))
        while asked < due:
            assert clients[asked % len(clients)].ask()
            asked += 1
        time.sleep(0.002)
    return asked


def events(folder: Path, past: int = 500) -> dict[str, str]:
    """How long after a step each of 50 listeners hears of it, with many tasks of before on the server."""
    with served(folder, pause=0.25, tells=True) as server:
        place = urlsplit(server.address).netloc
        host, port = place.split(":")
        late: list[float] = []
        worst: list[float] = []
        _fill(place, past)
        told = _Told(server)
        listeners = [socket.create_connection((host, int(port)), 60) for _ in range(CLIENTS)]
        for one in listeners:
            one.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        time.sleep(2)
        for _ in range(ROUNDS):
            heard = _listened(place, listeners, told)
            late.append(median(heard))
            worst.append(max(heard))
        for one in listeners:
            one.close()
        return {
            f"a step at {CLIENTS} listeners, {past} tasks before": f"median {1000 * median(late):.0f} ms, "
            f"last {1000 * median(worst):.0f} ms (aim < 100), {[round(1000 * one) for one in worst]}"
        }


def _fill(place: str, count: int) -> None:
    """Tasks that are over: cancelled as soon as they wait."""
    connection = HTTPConnection(place, timeout=60)
    while count > 0:
        ids = [_post("", "/release_task", SONG, connection)["task_id"] for _ in range(min(count, 100))]
        _post("", "/v1/cancel", {"task_id_list": ids}, connection)
        count -= len(ids)
    connection.close()


class _Told:
    """When each step happened, as the server's process says."""

    def __init__(self, server: Served) -> None:
        self.at: dict[int, float] = {}
        self._out: Any = server.process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._out:
            said = json.loads(line)
            self.at[said["step"]] = said["at"]


def _listened(place: str, listeners: list[socket.socket], told: _Told, steps: int = 8) -> list[float]:
    """Seconds from each step to each listener, of one render."""
    time.sleep(1)
    ready, heard, text = selectors.DefaultSelector(), dict[tuple[int, int], float](), [b""] * CLIENTS
    for number, one in enumerate(listeners):
        ready.register(one, selectors.EVENT_READ, number)
    for one in listeners:  # what came before
        one.setblocking(False)
        try:
            while one.recv(2**20):
                pass
        except BlockingIOError:
            pass
    told.at.clear()
    id = _post(place, "/release_task", SONG | {"inference_steps": steps})["task_id"]
    end = time.monotonic() + 10
    while time.monotonic() < end and sum(step == steps - 1 for _, step in heard) < CLIENTS:
        for key, _ in ready.select(0.1):
            arrived, number = time.monotonic(), key.data
            text[number] += key.fileobj.recv(2**20)  # type: ignore[union-attr]
            *whole, text[number] = text[number].split(b"\n")
            for line in whole:
                said = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if said.get("task_id") == id and said.get("step"):
                    heard.setdefault((number, said["step"]), arrived)
    assert sum(step == steps - 1 for _, step in heard) == CLIENTS, "not everybody heard of the end"
    time.sleep(0.2)
    return [at - told.at[step] for (_, step), at in heard.items() if step in told.at]


# -- a large file


def upload(folder: Path) -> dict[str, str]:
    """How far the server's memory rises at its most while 100 MB come in."""
    with served(folder, pause=0.0) as server:
        place = urlsplit(server.address).netloc
        _send(place, len(silence()))  # what the first upload loads
        peaks, seconds = [], []
        for _ in range(ROUNDS):
            server.forget_peak()
            before, began = server.megabytes("VmRSS"), time.perf_counter()
            status = _send(place, UPLOAD)
            seconds.append(time.perf_counter() - began)
            assert status == 400, status  # read whole, and refused at the end: it is no task
            peaks.append(server.megabytes("VmHWM") - before)
            _gone(server)
        return {"an upload of 100 MB": f"+ {median(peaks):.1f} MB at its most (aim <= 32), {median(seconds):.2f} s"}


def _gone(server: Served, seconds: float = 2.0) -> None:
    """Wait until no upload lies on the disk: it goes just after the answer."""
    end = time.monotonic() + seconds
    while server.uploads:
        assert time.monotonic() < end, server.uploads
        time.sleep(0.01)


def _send(place: str, size: int) -> int:
    """Send a file of so many bytes with a request that is refused once all of it is there."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="task_type"\r\n\r\nnone\r\n'
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="src_audio"; filename="a.wav"\r\n\r\n'
    tail = f"\r\n--{BOUNDARY}--\r\n"
    connection = HTTPConnection(place, timeout=120)
    connection.putrequest("POST", "/release_task")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + size + len(tail)))
    connection.endheaders()
    connection.send(head.encode())
    piece = bytes(range(256)) * 1024
    for start in range(0, size, len(piece)):
        connection.send(piece[: size - start])
    connection.send(tail.encode())
    status = connection.getresponse().status
    connection.close()
    return status


PARTS: dict[str, Callable[[Path], dict[str, str]]] = {
    "render": lambda folder: render(),
    "memory": lambda folder: memory(),
    "poll": poll,
    "events": events,
    "upload": upload,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for what, figure in PARTS[name](Path(folder)).items():
                print(f"{what:<44}{figure}", flush=True)
